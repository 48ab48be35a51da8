//! RFC 3339 times in UTC.

use core::fmt;

use orlop_sys::time::{Clock, Timespec, now};
use serde::{Serialize, Serializer};

/// A moment that prints as Go's RFC3339Nano does: nanoseconds without trailing zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(pub Timespec);

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment(now(Clock::Realtime))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&orlop::time::rfc3339(self.0))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_go() {
        for (sec, nsec, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_709_251_199, 1, "2024-02-29T23:59:59.000000001Z"),
            (1_709_251_200, 120_000_000, "2024-03-01T00:00:00.12Z"),
            (4_107_542_400, 999_999_999, "2100-03-01T00:00:00.999999999Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            let moment = Moment(Timespec { sec, nsec });
            assert_eq!(std::format!("{moment}"), text);
            assert_eq!(serde_json::to_string(&moment).unwrap(), std::format!("\"{text}\""));
        }
    }
}
