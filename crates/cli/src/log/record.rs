//! One record, as text, as JSON, and in the protocols of journald and syslog.

use core::fmt::Write as _;

use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use crate::command::Level;
use crate::time::Moment;

/// One line of the log.
pub(super) struct Record<'a> {
    pub(super) level: Level,
    pub(super) message: &'a str,
    pub(super) time: Moment,
    pub(super) fields: &'a [(&'static str, String)],
    pub(super) warnings: &'a [String],
}

impl Level {
    /// logrus's name.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The priority of syslog(3).
    const fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
            Level::Debug => 7,
        }
    }
}

impl Record<'_> {
    pub(super) fn json(&self) -> String {
        let mut line = String::from("{\"level\":");
        quote_json(&mut line, self.level.name());
        line.push_str(",\"msg\":");
        quote_json(&mut line, self.message);
        line.push_str(",\"time\":");
        quote_json(&mut line, &self.time.to_string());
        for (name, value) in self.fields {
            line.push(',');
            quote_json(&mut line, name);
            line.push(':');
            quote_json(&mut line, value);
        }
        for (i, warning) in self.warnings.iter().enumerate() {
            line.push_str(if i == 0 { ",\"warnings\":[" } else { "," });
            quote_json(&mut line, warning);
        }
        line.push_str(if self.warnings.is_empty() { "}\n" } else { "]}\n" });
        line
    }

    pub(super) fn text(&self) -> String {
        let mut line = format!("time=\"{}\" level={} msg=", self.time, self.level.name());
        quote_text(&mut line, self.message);
        let warnings = self.warnings.iter().map(|warning| ("warning", warning));
        for (name, value) in self.fields.iter().map(|(name, value)| (*name, value)).chain(warnings) {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            quote_text(&mut line, value);
        }
        line.push('\n');
        line
    }

    /// For a person at a terminal.
    pub(super) fn coloured(&self) -> String {
        let (colour, word) = match self.level {
            Level::Error => (31, "ERRO"),
            Level::Warning => (33, "WARN"),
            Level::Info => (36, "INFO"),
            Level::Debug => (37, "DEBU"),
        };
        let mut line = format!("\x1b[{colour}m{word}\x1b[0m[0000] {}", self.message);
        for (name, value) in self.fields {
            line.push_str(&format!(" \x1b[{colour}m{name}\x1b[0m="));
            quote_text(&mut line, value);
        }
        line.push('\n');
        line
    }

    /// A datagram in the journal's own protocol: `NAME=value` lines, or a length where a value holds newlines.
    pub(super) fn journal(&self, id: &str) -> Vec<u8> {
        let mut datagram = Vec::new();
        let priority = self.level.priority().to_string();
        let mut put = |name: &str, value: &str| {
            datagram.extend(name.bytes().map(|b| b.to_ascii_uppercase()));
            if value.contains('\n') {
                datagram.push(b'\n');
                datagram.extend((value.len() as u64).to_le_bytes());
            } else {
                datagram.push(b'=');
            }
            datagram.extend(value.bytes());
            datagram.push(b'\n');
        };
        put("MESSAGE", self.message);
        put("PRIORITY", &priority);
        put("SYSLOG_IDENTIFIER", id);
        put("ID", id);
        for (name, value) in self.fields {
            put(&format!("ORLOP_{name}"), value);
        }
        for warning in self.warnings {
            put("ORLOP_WARNING", warning);
        }
        datagram
    }

    /// A datagram of RFC 3164 without the time, which the receiver adds.
    pub(super) fn syslog(&self, id: &str) -> String {
        const LOG_USER: u8 = 1 << 3;
        let mut line = format!("<{}>{id}: {}", LOG_USER | self.level.priority(), self.message);
        for (name, value) in self.fields {
            let _ = write!(line, " {name}={value:?}"); // a String takes everything
        }
        line
    }
}

fn quote_json(line: &mut String, text: &str) {
    quote(line, text, |c| (c < ' ').then(|| format!("\\u{:04x}", u32::from(c))));
}

/// Quotes as logrus does: only what is not made of letters, digits and a few signs.
fn quote_text(line: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return line.push_str(text);
    }
    quote(line, text, |c| (c < ' ' || c == '\x7f').then(|| format!("\\x{:02x}", u32::from(c))));
}

/// Quotes; `escape` says how those characters are written that have no letter of their own.
fn quote(line: &mut String, text: &str, escape: impl Fn(char) -> Option<String>) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c => match escape(c) {
                Some(escaped) => line.push_str(&escaped),
                None => line.push(c),
            },
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_sys::time::Timespec;

    fn record<'a>(message: &'a str, fields: &'a [(&'static str, String)], warnings: &'a [String]) -> Record<'a> {
        Record { level: Level::Error, message, time: Moment(Timespec { sec: 0, nsec: 0 }), fields, warnings }
    }

    #[test]
    fn records() {
        let fields = [("container", "c1".to_string()), ("hint", "try \"this\"".to_string())];
        let warnings = ["a\tb".to_string(), "c".to_string()];
        for (message, fields, warnings, json, text) in [
            (
                "plain",
                &fields[..0],
                &warnings[..0],
                r#"{"level":"error","msg":"plain","time":"1970-01-01T00:00:00Z"}"#,
                r#"time="1970-01-01T00:00:00Z" level=error msg=plain"#,
            ),
            (
                "exec: \"x\": not\nfound \u{1}",
                &fields[..],
                &warnings[..],
                r#"{"level":"error","msg":"exec: \"x\": not\nfound \u0001","time":"1970-01-01T00:00:00Z","container":"c1","hint":"try \"this\"","warnings":["a\tb","c"]}"#,
                r#"time="1970-01-01T00:00:00Z" level=error msg="exec: \"x\": not\nfound \x01" container=c1 hint="try \"this\"" warning="a\tb" warning=c"#,
            ),
        ] {
            let record = record(message, fields, warnings);
            assert_eq!(record.json(), format!("{json}\n"));
            assert_eq!(record.text(), format!("{text}\n"));
            let _: serde_json::Value = serde_json::from_str(&record.json()).unwrap();
        }
    }

    #[test]
    fn datagrams() {
        let fields = [("phase", "mount".to_string())];
        assert_eq!(
            record("two\nlines", &fields, &[]).journal("c1"),
            b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\nSYSLOG_IDENTIFIER=c1\nID=c1\nORLOP_PHASE=mount\n"
        );
        assert_eq!(record("text", &fields, &[]).syslog("c1"), "<11>c1: text phase=\"mount\"");
    }
}
