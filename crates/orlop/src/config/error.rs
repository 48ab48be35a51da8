//! Why a document could not be read, and where.
//!
//! Reading keeps no path, so that the good case pays nothing for it. serde_json
//! says how far it had read when it failed; a second, type-less walk over the
//! same text finds which value that was.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::error::Category;

use super::text::Str;

/// A document that is not JSON, or not what the spec says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The document's name, such as `config.json`.
    pub document: String,
    /// The value at fault as a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// The line where that value starts, or where the text stops being JSON; from 1.
    pub line: usize,
    /// The byte in that line, from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl ParseError {
    /// The same error about a document of another name.
    pub fn in_document(mut self, document: &str) -> Self {
        self.document = String::from(document);
        self
    }

    pub(super) fn from_json(document: &str, text: &str, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = text.as_bytes();
        let end = line_start(text, line) + column;
        let (place, (line, column)) = match error.classify() {
            Category::Data => {
                let place = locate(text, end);
                let position = position(text, place.start);
                (place, position)
            }
            // The last byte is the one that is not JSON.
            Category::Io | Category::Syntax | Category::Eof => {
                let read = text.get(..end.saturating_sub(1)).unwrap_or(text);
                // It counts what it has read of the line: nothing, at the end of an empty one.
                (locate(read, end), (line, column.max(1)))
            }
        };
        let message = error.to_string();
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(suffix.as_str()).unwrap_or(&message);
        ParseError {
            document: String::from(document),
            pointer: place.pointer,
            line,
            column,
            message: String::from(message),
        }
    }

    pub(super) fn from_utf8(document: &str, text: &[u8], valid: usize) -> Self {
        let (line, column) = position(text, valid);
        ParseError {
            document: String::from(document),
            pointer: locate(&text[..valid], valid).pointer,
            line,
            column,
            message: String::from("invalid UTF-8"),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.document, self.line, self.column)?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

impl core::error::Error for ParseError {}

/// The offset of the first byte of a line.
fn line_start(text: &[u8], line: usize) -> usize {
    let mut newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    match line.checked_sub(2) {
        Some(skip) => newlines.nth(skip).map_or(text.len(), |(offset, _)| offset + 1),
        None => 0,
    }
}

/// Line and column of an offset, both from 1.
pub(crate) fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, before.len() - start + 1)
}

/// A value of a document.
struct Place {
    pointer: String,
    start: usize,
}

/// An object or array that is open, and the member the walk is in.
struct Open<'t> {
    start: usize,
    member: Member<'t>,
}

enum Member<'t> {
    /// In an object before a key.
    BeforeKey,
    /// In an object, the key as written, with its quotes.
    Key(&'t [u8]),
    /// In an array.
    Index(usize),
}

/// The value that a parser was in, or had just read, after `end` bytes.
///
/// serde_json refuses a string, number or literal after reading it, an object
/// or array of the wrong type before its bracket, and one that lacks a member
/// after its end.
fn locate(text: &[u8], end: usize) -> Place {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | b':' => {}
            b',' => match open.last_mut().map(|inner| &mut inner.member) {
                Some(Member::Index(index)) => *index += 1,
                Some(member) => *member = Member::BeforeKey,
                None => {}
            },
            b'{' | b'[' => {
                if end <= start {
                    return place(&open, start);
                }
                let member = if byte == b'{' { Member::BeforeKey } else { Member::Index(0) };
                open.push(Open { start, member });
            }
            b'}' | b']' => {
                let start = open.pop().map_or(start, |closed| closed.start);
                if end <= at {
                    return place(&open, start);
                }
            }
            _ => {
                at = token_end(text, start);
                if byte == b'"'
                    && let Some(Open { member: member @ Member::BeforeKey, .. }) = open.last_mut()
                {
                    *member = Member::Key(&text[start..at]);
                }
                if end <= at {
                    return place(&open, start);
                }
            }
        }
    }
    place(&open, text.len())
}

/// The end of the string, number or literal at `start`.
pub(crate) fn token_end(text: &[u8], start: usize) -> usize {
    let rest = &text[start + 1..];
    let length = if text[start] == b'"' {
        let mut escaped = false;
        let closing = rest.iter().position(|byte| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        });
        closing.map(|index| index + 1)
    } else {
        rest.iter().position(|byte| b" \n\r\t,:[]{}\"".contains(byte))
    };
    start + 1 + length.unwrap_or(rest.len())
}

fn place(open: &[Open<'_>], start: usize) -> Place {
    let mut pointer = String::new();
    for inner in open {
        match inner.member {
            Member::BeforeKey => {}
            Member::Index(index) => pointer.push_str(&format!("/{index}")),
            Member::Key(raw) => {
                pointer.push('/');
                push_key(&mut pointer, raw);
            }
        }
    }
    Place { pointer, start }
}

/// Adds a key with JSON's escapes undone and the pointer's made.
fn push_key(pointer: &mut String, raw: &[u8]) {
    let key = serde_json::from_slice(raw).unwrap_or_else(|_| Str::from(String::from_utf8_lossy(raw).into_owned()));
    for char in key.chars() {
        match char {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            char => pointer.push(char),
        }
    }
}
