//! From the units of v1, which the OCI specification uses, to those of v2.

use crate::resources::Limit;

/// cpu shares (2 to 262144, default 1024) to a cpu weight (1 to 10000, default 100): the quadratic curve
/// through minimum, default and maximum, `10^((l² + 125 l) / 612 - 7/34)` of `l = log2(shares)`, rounded up.
pub(crate) fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = log2(shares);
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            let weight = exp2(exponent * core::f64::consts::LOG2_10);
            // The curve meets whole numbers at the default and at the ends only: what is nearer to one than
            // this came from rounding.
            let floor = (weight + 1e-9) as u64;
            if weight - floor as f64 > 1e-9 { floor + 1 } else { floor }
        }
    }
}

/// log2 of a whole number: its bits, and for the rest the series of atanh, whose argument is at most 1/3.
fn log2(n: u64) -> f64 {
    let whole = n.ilog2();
    let m = n as f64 / (1u64 << whole) as f64;
    let z = (m - 1.0) / (m + 1.0);
    let mut power = z;
    let mut sum = 0.0;
    for k in 0..20 {
        sum += power / f64::from(2 * k + 1);
        power *= z * z;
    }
    f64::from(whole) + 2.0 * sum / core::f64::consts::LN_2
}

/// 2 to the power of `x`, which lies between 0 and 14.
fn exp2(x: f64) -> f64 {
    let whole = x as u32;
    let r = (x - f64::from(whole)) * core::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..20 {
        term *= r / f64::from(k);
        sum += term;
    }
    sum * (1u64 << whole) as f64
}

/// A blkio weight (10 to 1000) to an io weight (1 to 10000), along a straight line.
pub(crate) fn blkio_to_io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// The swap of v2, which counts without memory, from the swap of v1, which counts with it.
pub(crate) fn swap(swap: Option<Limit>, memory: Option<Limit>) -> Result<Option<Limit>, &'static str> {
    match (swap, memory) {
        // Unlimited memory with nothing said of swap means both, as on v1.
        (None, Some(Limit::Max)) => Ok(Some(Limit::Max)),
        (None, _) => Ok(None),
        (Some(Limit::Max), _) => Ok(Some(Limit::Max)),
        (Some(swap), Some(Limit::Max)) => Ok(Some(swap)),
        (Some(_), None) => Err("unable to set swap limit without memory limit"),
        (Some(Limit::At(swap)), Some(Limit::At(memory))) => {
            swap.checked_sub(memory).map(|n| Some(Limit::At(n))).ok_or("memory+swap limit should be >= memory limit")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        // The ends, the default, and what runc's own table holds.
        for (shares, weight) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (1024, 100),
            (2048, 174),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
        for shares in 3..262_144u64 {
            let l = (shares as f64).log2();
            let exact = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
            assert_eq!(shares_to_weight(shares), (exact - 1e-9).ceil() as u64, "{shares}");
        }
    }

    #[test]
    fn io_weights() {
        for (blkio, io) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(blkio_to_io_weight(blkio), io);
        }
    }

    #[test]
    fn swap_limits() {
        use Limit::{At, Max};
        for (given, memory, want) in [
            (None, None, Ok(None)),
            (None, Some(At(5)), Ok(None)),
            (None, Some(Max), Ok(Some(Max))),
            (Some(Max), Some(At(5)), Ok(Some(Max))),
            (Some(At(7)), Some(At(5)), Ok(Some(At(2)))),
            (Some(At(5)), Some(At(5)), Ok(Some(At(0)))),
            (Some(At(7)), Some(Max), Ok(Some(At(7)))),
            (Some(At(7)), None, Err("unable to set swap limit without memory limit")),
            (Some(At(4)), Some(At(5)), Err("memory+swap limit should be >= memory limit")),
        ] {
            assert_eq!(swap(given, memory), want);
        }
    }
}
