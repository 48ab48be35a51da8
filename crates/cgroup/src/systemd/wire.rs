//! D-Bus messages as bytes: the few types that systemd's manager takes and gives. See "Marshaling" in the
//! D-Bus Specification.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A property's value.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`; all ones stand for infinity
    U64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ah`: places in the message's list of descriptors
    Fds(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    pub(super) const fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Bytes(_) => "ay",
            Value::Numbers(_) => "au",
            Value::Fds(_) => "ah",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// As people read it: numbers, words, lists, and a set of bits as the bits that are set.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T>(
            f: &mut fmt::Formatter<'_>,
            items: impl Iterator<Item = T>,
            each: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
        ) -> fmt::Result {
            f.write_str("[")?;
            for (index, item) in items.enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                each(f, item)?;
            }
            f.write_str("]")
        }
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::I32(value) => write!(f, "{value}"),
            Value::U32(value) => write!(f, "{value}"),
            Value::I64(value) => write!(f, "{value}"),
            Value::U64(u64::MAX) => f.write_str("infinity"),
            Value::U64(value) => write!(f, "{value}"),
            Value::Text(value) => f.write_str(value),
            Value::Texts(values) => list(f, values.iter(), |f, value| f.write_str(value)),
            Value::Numbers(values) | Value::Fds(values) => list(f, values.iter(), |f, value| write!(f, "{value}")),
            Value::Pairs(pairs) => list(f, pairs.iter(), |f, (a, b)| write!(f, "{a} {b}")),
            Value::Bytes(bytes) => {
                let bits =
                    (0..bytes.len() * 8).filter(|bit| bytes.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1));
                list(f, bits, |f, bit| write!(f, "{bit}"))
            }
        }
    }
}

/// Bytes under construction. Every value is aligned to its size, counted from the start of the message; bodies
/// begin at a multiple of eight, so they can be made apart.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// An array: its length counts neither itself nor the padding before the first element.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let len = (self.0.len() - start) as u32;
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&len.to_le_bytes());
        }
    }

    /// A value with its type before it.
    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::I32(value) => self.u32(*value as u32),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.u64(*value as u64),
            Value::U64(value) => self.u64(*value),
            Value::Text(value) => self.text(value),
            Value::Texts(values) => self.array(4, |w| values.iter().for_each(|value| w.text(value))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend_from_slice(bytes)),
            Value::Numbers(values) | Value::Fds(values) => {
                self.array(4, |w| values.iter().for_each(|value| w.u32(*value)));
            }
            Value::Pairs(pairs) => self.array(8, |w| {
                for (first, second) in pairs {
                    w.align(8);
                    w.text(first);
                    w.text(second);
                }
            }),
        }
    }

    /// `a(sv)`
    pub(super) fn properties<'a>(&mut self, properties: impl Iterator<Item = (&'a str, &'a Value)>) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.text(name);
                w.variant(value);
            }
        });
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A method call.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
    pub(super) fds: u32,
    pub(super) reply: Reply,
}

/// Whether a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Wanted,
    Unwanted,
}

/// The version of the protocol.
const VERSION: u8 = 1;
const METHOD_CALL: u8 = 1;
const NO_REPLY_EXPECTED: u8 = 1;

/// Header fields by number.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
    pub(super) const UNIX_FDS: u8 = 9;
}

impl Call<'_> {
    /// The whole message.
    pub(super) fn encode(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(256 + body.len()));
        w.byte(b'l');
        w.byte(METHOD_CALL);
        w.byte(if self.reply == Reply::Wanted { 0 } else { NO_REPLY_EXPECTED });
        w.byte(VERSION);
        w.u32(body.len() as u32);
        w.u32(serial);
        w.array(8, |w| {
            for (number, kind, text) in [
                (field::PATH, "o", self.path),
                (field::DESTINATION, "s", self.destination),
                (field::INTERFACE, "s", self.interface),
                (field::MEMBER, "s", self.member),
            ] {
                w.align(8);
                w.byte(number);
                w.signature(kind);
                w.text(text);
            }
            if !self.signature.is_empty() {
                w.align(8);
                w.byte(field::SIGNATURE);
                w.signature("g");
                w.signature(self.signature);
            }
            if self.fds > 0 {
                w.align(8);
                w.byte(field::UNIX_FDS);
                w.signature("u");
                w.u32(self.fds);
            }
        });
        w.align(8);
        w.0.extend_from_slice(body);
        w.0
    }
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Return,
    Error,
    Signal,
    Other,
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) signature: String,
    body: Vec<u8>,
    big: bool,
}

/// The length of what comes first in every message, and tells how long the rest is.
pub(super) const FIXED: usize = 16;
/// More than any answer of systemd; the specification allows 128 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// How long the message is that begins with `head`; `None` for what is none, or too long.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let big = *head.first()? == b'B';
    let number = |at: usize| Some(integer(head.get(at..at + 4)?.try_into().ok()?, big) as usize);
    let (body, fields) = (number(4)?, number(12)?);
    let whole = FIXED.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (whole <= MAX_MESSAGE).then_some(whole)
}

fn integer(bytes: [u8; 4], big: bool) -> u32 {
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

impl Message {
    /// Reads a whole message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
        let big = *bytes.first()? == b'B';
        let mut message = Message {
            kind: match *bytes.get(1)? {
                2 => Kind::Return,
                3 => Kind::Error,
                4 => Kind::Signal,
                _ => Kind::Other,
            },
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: Vec::new(),
            big,
        };
        let mut r = Reader { bytes, at: 12, big };
        let end = r.u32()? as usize + FIXED;
        while r.at < end {
            r.align(8);
            let number = r.byte()?;
            match (number, r.signature()?) {
                (field::REPLY_SERIAL, "u") => message.reply_to = r.u32()?,
                (field::MEMBER, "s") => message.member = r.text()?.into(),
                (field::ERROR_NAME, "s") => message.error = r.text()?.into(),
                (field::SIGNATURE, "g") => message.signature = r.signature()?.into(),
                (_, "s" | "o") => drop(r.text()?),
                (_, "g") => drop(r.signature()?),
                (_, "u") => drop(r.u32()?),
                _ => return None,
            }
        }
        message.body = bytes.get(end.checked_next_multiple_of(8)?..)?.into();
        Some(message)
    }

    pub(super) fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big: self.big }
    }
}

/// Bytes that came.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(integer(self.take(4)?.try_into().ok()?, self.big))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        let text = self.take(len)?;
        self.take(1)?;
        core::str::from_utf8(text).ok()
    }

    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let len = usize::from(self.byte()?);
        let text = self.take(len)?;
        self.take(1)?;
        core::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn body(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut w = Writer::default();
        fill(&mut w);
        w.into_bytes()
    }

    #[test]
    fn values() {
        for (value, bytes) in [
            (Value::Bool(true), b"\x01b\0\0\x01\0\0\0".as_slice()),
            (Value::U64(5), b"\x01t\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"),
            (Value::Text("ab".into()), b"\x01s\0\0\x02\0\0\0ab\0"),
            (Value::Bytes(vec![1, 2]), b"\x02ay\0\x02\0\0\0\x01\x02"),
            (Value::Numbers(vec![7]), b"\x02au\0\x04\0\0\0\x07\0\0\0"),
            (Value::Texts(vec!["a".into()]), b"\x02as\0\x06\0\0\0\x01\0\0\0a\0"),
            // The padding of an empty array's first element is there all the same.
            (Value::Pairs(vec![]), b"\x05a(ss)\0\0\0\0\0\0\0\0\0\0"),
            (
                Value::Pairs(vec![("p".into(), "r".into())]),
                b"\x05a(ss)\0\0\x0e\0\0\0\0\0\0\0\x01\0\0\0p\0\0\0\x01\0\0\0r\0",
            ),
        ] {
            assert_eq!(body(|w| w.variant(&value)), bytes, "{value:?}");
        }
    }

    #[test]
    fn a_call_reads_back() {
        let call = Call {
            destination: "d",
            path: "/p",
            interface: "i.i",
            member: "M",
            signature: "su",
            fds: 1,
            reply: Reply::Wanted,
        };
        let bytes = call.encode(
            9,
            &body(|w| {
                w.text("one");
                w.u32(2);
            }),
        );
        assert_eq!(length(&bytes), Some(bytes.len()));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.member.as_str(), message.signature.as_str()), ("M", "su"));
        let mut r = message.body();
        assert_eq!((r.text(), r.u32(), r.u32()), (Some("one"), Some(2), None));
    }

    #[test]
    fn broken_messages_are_none() {
        let call = Call {
            destination: "d",
            path: "/p",
            interface: "i.i",
            member: "M",
            signature: "",
            fds: 0,
            reply: Reply::Unwanted,
        };
        let bytes = call.encode(1, &[]);
        for cut in 0..bytes.len() - 1 {
            assert!(Message::decode(&bytes[..cut]).is_none(), "{cut}");
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bent = bytes.clone();
                bent[at] = value;
                let _no_panic = (length(&bent), Message::decode(&bent).map(|m| m.body().text().map(String::from)));
            }
        }
        assert_eq!(length(b"l\x01\0\x01\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff"), None);
    }
}
