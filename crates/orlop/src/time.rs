//! Points of time as text.

use alloc::format;
use alloc::string::String;

use orlop_sys::time::Timespec;

/// RFC 3339 in UTC with nanoseconds, as Go prints a time.Time.
pub fn rfc3339(time: Timespec) -> String {
    let days = time.sec.div_euclid(86_400);
    let second = time.sec.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let date = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    match format!("{:09}", time.nsec).trim_end_matches('0') {
        "" => format!("{date}Z"),
        fraction => format!("{date}.{fraction}Z"),
    }
}

/// The date of a day, counted from 1970-01-01: years of 400 begin in March, so that the leap day comes last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + (month <= 2) as i64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (4_107_542_400, 500_000_000, "2100-03-01T00:00:00.5Z"),
            (1_709_210_096, 120_000_000, "2024-02-29T12:34:56.12Z"),
        ];
        for (sec, nsec, text) in cases {
            assert_eq!(rfc3339(Timespec { sec, nsec }), text);
        }
    }
}
