//! Samples, their medians, and random order.

use std::time::{SystemTime, UNIX_EPOCH};

/// What was measured of one call of one runtime.
#[derive(Default)]
pub struct Samples {
    /// milliseconds
    pub times: Vec<f64>,
    /// KiB
    pub peaks: Vec<f64>,
    pub failed: usize,
}

impl Samples {
    pub fn add(&mut self, result: Option<(f64, f64)>) {
        match result {
            Some((time, peak)) => {
                self.times.push(time);
                self.peaks.push(peak);
            }
            None => self.failed += 1,
        }
    }

    pub fn quartiles(&self) -> (f64, f64, f64) {
        (quantile(&self.times, 0.25), median(&self.times), quantile(&self.times, 0.75))
    }
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// NaN when there is no value.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// xorshift64: order needs no better randomness.
pub struct Order(u64);

impl Order {
    pub fn new() -> Order {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        Order(now.as_nanos() as u64 | 1)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            items.swap(i, (self.0 % (i as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let values = [4.0, 1.0, 3.0, 2.0, 5.0];
        assert_eq!(median(&values), 3.0);
        assert_eq!(quantile(&values, 0.25), 2.0);
        assert_eq!(quantile(&values, 1.0), 5.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn shuffling_keeps_all() {
        let mut items: Vec<u32> = (0..100).collect();
        Order::new().shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
