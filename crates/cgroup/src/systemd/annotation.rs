//! Properties that the caller asks for by annotations, `org.systemd.property.NAME`, with a value in GVariant's
//! text format.
//!
//! Who may write annotations need not be who may shut the host down (CVE-2024-3154), so a property that makes
//! systemd act beyond the scope is refused, as are those that say which processes the scope has and where it is.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::wire::Value;
use super::{Property, Unknown};
use crate::error::Error;
use crate::plan::Origin;

const PREFIX: &str = "org.systemd.property.";

/// What nobody may set: sorted.
const REFUSED: &[&str] = &[
    // Jobs of other units, and actions on the host.
    "BindsTo",
    // Names code to be run by root.
    "BPFProgram",
    "Conflicts",
    "ControlGroup",
    "Controller",
    "Delegate",
    "DelegateSubgroup",
    "FailureAction",
    "FailureActionExitStatus",
    "Group",
    "IPEgressFilterPath",
    "IPIngressFilterPath",
    "JobTimeoutAction",
    "JobTimeoutRebootArgument",
    "JoinsNamespaceOf",
    "Markers",
    "Names",
    "OnFailure",
    "OnFailureJobMode",
    "OnSuccess",
    "OnSuccessJobMode",
    "PAMName",
    "PIDFDs",
    "PIDs",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "RebootArgument",
    "RequiredBy",
    "Requires",
    "RequiresMountsFor",
    "Slice",
    "StartLimitAction",
    "SuccessAction",
    "SuccessActionExitStatus",
    "Triggers",
    "Upholds",
    "User",
    "Wants",
    "WantsMountsFor",
];

/// The properties among the annotations.
pub(super) fn properties<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<Property>, Error> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let origin = Origin::within("/annotations", key, "");
        let bad = |why: String| Error::Invalid { origin: origin.clone(), why };
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(bad(format!("annotation {key} name incorrect: {name:?} is no property of systemd")));
        }
        let parsed = parse(text).ok_or_else(|| bad(format!("annotation {key}={text} value parse error")))?;
        let (name, value) = match (name.strip_suffix("Sec"), parsed) {
            // Documented as seconds, transferred as microseconds.
            (Some(stem), parsed) if stem.bytes().last().is_some_and(|b| b.is_ascii_lowercase()) => {
                let micros = parsed.micros().ok_or_else(|| {
                    bad(format!("annotation {key}={text} value parse error: not a number of seconds"))
                })?;
                (format!("{stem}USec"), Value::U64(micros))
            }
            (_, Parsed::Value(value)) => (String::from(name), value),
            (_, Parsed::Millionths(_)) => {
                return Err(bad(format!("annotation {key}={text}: systemd has no property of that type")));
            }
        };
        if REFUSED.iter().any(|refused| refused.eq_ignore_ascii_case(&name)) {
            return Err(bad(format!("annotation {key}: the property {name} must not be set by a container")));
        }
        list.push(Property { name: Cow::Owned(name), value, origin, unknown: Unknown::Fail });
    }
    Ok(list)
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Parsed {
    Value(Value),
    /// A number with a fraction: only seconds have one.
    Millionths(u64),
}

impl Parsed {
    fn micros(self) -> Option<u64> {
        let seconds = match self {
            Parsed::Millionths(n) => return Some(n),
            Parsed::Value(Value::I32(n)) => u64::try_from(n).ok()?,
            Parsed::Value(Value::I64(n)) => u64::try_from(n).ok()?,
            Parsed::Value(Value::U32(n)) => u64::from(n),
            Parsed::Value(Value::U64(n)) => n,
            Parsed::Value(_) => return None,
        };
        seconds.checked_mul(1_000_000)
    }
}

/// The part of GVariant's text format that properties are made of: `true`, `5`, `uint64 5`, `@t 5`, `'text'`, and
/// lists of texts.
fn parse(text: &str) -> Option<Parsed> {
    let text = text.trim();
    let (kind, rest) = match text.split_once(char::is_whitespace) {
        Some((kind, rest)) if kind.starts_with('@') || kind.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            (kind, rest.trim_start())
        }
        _ => ("", text),
    };
    let number = |rest: &str| -> Option<i128> {
        let (minus, digits) = rest.strip_prefix('-').map_or((false, rest), |digits| (true, digits));
        let value = match digits.strip_prefix("0x") {
            Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
            None if digits.starts_with(|c: char| c.is_ascii_digit()) => i128::from(digits.parse::<u64>().ok()?),
            None => return None,
        };
        Some(if minus { -value } else { value })
    };
    let value = match kind {
        "" => match rest.bytes().next()? {
            b'\'' | b'"' => Value::Text(whole(quoted(rest)?)?),
            b'[' => Value::Texts(texts(rest)?),
            _ if rest == "true" => Value::Bool(true),
            _ if rest == "false" => Value::Bool(false),
            _ => match number(rest) {
                Some(number) => Value::I32(i32::try_from(number).ok()?),
                None => return fraction(rest).map(Parsed::Millionths),
            },
        },
        "boolean" | "@b" => Value::Bool(rest.parse().ok()?),
        "int32" | "@i" => Value::I32(number(rest)?.try_into().ok()?),
        "uint32" | "@u" => Value::U32(number(rest)?.try_into().ok()?),
        "int64" | "@x" => Value::I64(number(rest)?.try_into().ok()?),
        "uint64" | "@t" => Value::U64(number(rest)?.try_into().ok()?),
        "string" | "@s" => Value::Text(whole(quoted(rest)?)?),
        "@as" => Value::Texts(texts(rest)?),
        "double" | "@d" => return fraction(rest).map(Parsed::Millionths),
        _ => return None,
    };
    Some(Parsed::Value(value))
}

/// `1.5` in millionths.
fn fraction(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let millionths = format!("{:0<6.6}", part).parse::<u64>().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(millionths)
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            }),
            '\0' => return None,
            c if c == quote => return Some((out, text.get(at + c.len_utf8()..)?)),
            c => out.push(c),
        }
    }
    None
}

fn whole((text, rest): (String, &str)) -> Option<String> {
    rest.trim().is_empty().then_some(text)
}

/// `['a', 'b']`
fn texts(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut list = Vec::new();
    while !rest.starts_with(']') {
        let (one, after) = quoted(rest)?;
        list.push(one);
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.starts_with(']') => rest,
            None => return None,
        };
    }
    (rest == "]").then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn values() {
        let value = |value| Some(Parsed::Value(value));
        for (text, want) in [
            ("true", value(Value::Bool(true))),
            ("5", value(Value::I32(5))),
            ("-5", value(Value::I32(-5))),
            ("uint64 123456789", value(Value::U64(123_456_789))),
            ("@t 0xff", value(Value::U64(255))),
            ("uint32 -1", None),
            ("'inactive-or-failed'", value(Value::Text("inactive-or-failed".into()))),
            ("\"it's\"", value(Value::Text("it's".into()))),
            ("'a\\'b'", value(Value::Text("a'b".into()))),
            ("'a' 'b'", None),
            ("'a", None),
            ("['a', 'b']", value(Value::Texts(vec!["a".into(), "b".into()]))),
            ("@as []", value(Value::Texts(vec![]))),
            ("['a' 'b']", None),
            ("[1, 2]", None),
            ("(1, 2)", None),
            ("<5>", None),
            ("2.25", Some(Parsed::Millionths(2_250_000))),
            ("1e9", None),
            ("99999999999", None),
            ("", None),
            ("word", None),
            ("objectpath '/a'", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn names() {
        for (key, text, want) in [
            ("org.systemd.property.TimeoutStopSec", "1", Some("TimeoutStopUSec=1000000")),
            ("org.systemd.property.RuntimeMaxSec", "1.5", Some("RuntimeMaxUSec=1500000")),
            ("org.systemd.property.TimeoutStopUSec", "uint64 7", Some("TimeoutStopUSec=7")),
            ("org.systemd.property.TimeoutStopSec", "'1'", None),
            ("org.systemd.property.CollectMode", "'inactive'", Some("CollectMode=inactive")),
            ("org.systemd.property.CPUWeight", "1.5", None),
            ("org.systemd.property.SuccessAction", "'poweroff-force'", None),
            ("org.systemd.property.successaction", "'poweroff-force'", None),
            ("org.systemd.property.Wants", "['poweroff.target']", None),
            ("org.systemd.property.PIDs", "[1]", None),
            ("org.systemd.property.Exec\nStart", "'x'", None),
            ("org.systemd.property.", "'x'", None),
        ] {
            let got = properties([(key, text)].into_iter()).ok();
            let got = got.map(|list| list.iter().map(|p| format!("{}={}", p.name, p.value)).collect::<String>());
            assert_eq!(got.as_deref(), want, "{key}={text}");
        }
        assert_eq!(properties([("org.example", "x")].into_iter()).map(|list| list.len()), Ok(0));
    }
}
