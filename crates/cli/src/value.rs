//! Numbers, sizes, times, signals and users as the command line spells them.

/// Why a value was refused, to follow `invalid value "…" for flag -…: `.
pub type Reason = &'static str;

/// `true`, `1`, `t` and their likes, as Go's ParseBool.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A decimal number within bounds.
pub fn number(text: &str, least: i64, most: i64) -> Result<i64, Reason> {
    let number: i64 = match text.parse() {
        Ok(number) => number,
        Err(error) => {
            use core::num::IntErrorKind::{NegOverflow, PosOverflow};
            return Err(match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "not a whole number",
            });
        }
    };
    if (least..=most).contains(&number) { Ok(number) } else { Err("value out of range") }
}

/// Splits `text` after its leading digits and decimal fraction: whole part, fraction digits, rest.
fn decimal(text: &str) -> Option<(u64, &str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let whole = whole.parse().ok()?;
    match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, rest) = rest.split_at(digits(rest));
            (!fraction.is_empty()).then_some((whole, fraction, rest))
        }
        None => Some((whole, "", rest)),
    }
}

/// `whole.fraction` units of `scale`, rounded down.
fn scaled(whole: u64, fraction: &str, scale: u64) -> Option<u64> {
    let mut sum = u128::from(whole) * u128::from(scale);
    let mut unit = u128::from(scale) * 1_000_000;
    let mut parts = 0;
    for digit in fraction.bytes() {
        unit /= 10;
        parts += unit * u128::from(digit - b'0');
    }
    sum += parts / 1_000_000;
    u64::try_from(sum).ok()
}

/// Bytes: a number with an optional fraction and unit (`k m g t p`, with or without `b` or `ib`, powers of
/// 1024), or -1.
pub fn size(text: &str) -> Result<i64, Reason> {
    if text == "-1" {
        return Ok(-1);
    }
    let bad = "not a size in bytes";
    let (whole, fraction, unit) = decimal(text).ok_or(bad)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let mut left = unit.bytes().map(|b| b.to_ascii_lowercase()).peekable();
    let mut shift = 0;
    if let Some(power) = left.peek().and_then(|b| b"kmgtp".iter().position(|unit| unit == b)) {
        shift = 10 * (power + 1);
        left.next();
        left.next_if_eq(&b'i');
    }
    left.next_if_eq(&b'b');
    if left.next().is_some() {
        return Err(bad);
    }
    scaled(whole, fraction, 1 << shift).and_then(|bytes| i64::try_from(bytes).ok()).ok_or("value out of range")
}

/// Nanoseconds: a sequence such as `1m30.5s` of Go's time units.
pub fn duration(text: &str) -> Result<u64, Reason> {
    const UNITS: &[(&str, u64)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    if text == "0" {
        return Ok(0);
    }
    let bad = "not a time with a unit, such as 5s";
    let mut sum: u64 = 0;
    let mut left = text;
    loop {
        let (whole, fraction, rest) = decimal(left).ok_or(bad)?;
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(bad)?;
        sum = scaled(whole, fraction, *scale).and_then(|part| sum.checked_add(part)).ok_or("value out of range")?;
        left = rest;
        if left.is_empty() {
            return Ok(sum);
        }
    }
}

/// A user id with an optional group id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id, where one was given.
    pub gid: Option<u32>,
}

/// `UID` or `UID:GID`. Names are not looked up: the container's files are not to be trusted with that.
pub fn user(text: &str) -> Result<User, Reason> {
    // 2^32-1 means "leave it" to setresuid(2), so that it would stay root.
    let id = |text: &str| match text.parse() {
        Ok(u32::MAX) | Err(_) => None,
        Ok(id) if !text.starts_with('+') => Some(id),
        Ok(_) => None,
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(id(gid).ok_or("bad gid")?)),
        None => (text, None),
    };
    Ok(User { uid: id(uid).ok_or("bad uid")?, gid })
}

/// Names and numbers of signal(7), alike on every architecture that we build for.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The range of realtime signals that programs see: the C library keeps 32 and 33 for itself.
const REALTIME: (i32, i32) = (34, 64);

/// A signal by number (0 only probes), or by name in any case, with or without `SIG`.
pub fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=REALTIME.1).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |offset: &str, sign: char| match offset.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i32>().ok(),
        None if offset.is_empty() => Some(0),
        _ => None,
    };
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        REALTIME.0.checked_add(realtime(offset, '+')?)?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        REALTIME.1.checked_sub(realtime(offset, '-')?)?
    } else {
        return SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    };
    (REALTIME.0..=REALTIME.1).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [
            ("9", Some(9)),
            ("0", Some(0)),
            ("37", Some(37)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMIN+-1", None),
            ("RTMIN+2147483647", None),
            ("65", None),
            ("-9", None),
            ("SIG", None),
            ("NOPE", None),
            ("", None),
        ] {
            assert_eq!(signal(text), number, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Ok(0)),
            ("-1", Ok(-1)),
            ("512", Ok(512)),
            ("1k", Ok(1024)),
            ("1.5g", Ok(1_610_612_736)),
            ("10MiB", Ok(10 << 20)),
            ("10 mb", Ok(10 << 20)),
            ("33554432b", Ok(33_554_432)),
            ("1p", Ok(1 << 50)),
            ("9000000p", Err("value out of range")),
            ("-2", Err("not a size in bytes")),
            ("1x", Err("not a size in bytes")),
            ("1kk", Err("not a size in bytes")),
            ("1.", Err("not a size in bytes")),
            ("", Err("not a size in bytes")),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("100ms", Some(100_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("1s2", None),
        ] {
            assert_eq!(duration(text).ok(), nanos, "{text}");
        }
    }

    #[test]
    fn users() {
        let user_of = |uid, gid| Some(User { uid, gid });
        for (text, expected) in [
            ("1", user_of(1, None)),
            ("1000:5", user_of(1000, Some(5))),
            ("4294967294:0", user_of(4_294_967_294, Some(0))),
            ("4294967295", None),
            ("4294967296", None),
            ("2147483648", user_of(2_147_483_648, None)),
            ("-1", None),
            ("+1", None),
            ("root", None),
            ("1:", None),
            (":1", None),
            ("", None),
        ] {
            assert_eq!(user(text).ok(), expected, "{text}");
        }
    }
}
