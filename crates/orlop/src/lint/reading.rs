//! Reading on behind a value that cannot be read.
//!
//! Reading ends at its first error. Here the value at fault is blanked, so that all others stay where they are, and
//! the text is read again, until nothing is left to complain of.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::document::{Document, ROOT};
use super::{Note, members};
use crate::config::{Config, ParseError};
use crate::plan::member;

/// Stands in for the version where there is none, for nothing can be read without it.
const VERSION: &str = "\"ociVersion\":\"1.0.0\"";

/// A text without what cannot be read of it.
pub(super) struct Sound<'t> {
    /// What is left, each value at its place.
    pub(super) text: Cow<'t, str>,
    /// How many bytes were put in at the front.
    added: usize,
    /// The pointers of what was taken out.
    pub(super) removed: Vec<String>,
}

impl Sound<'_> {
    /// Whether a value was taken out there, below or above.
    pub(super) fn has_gap(&self, pointer: &str) -> bool {
        let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        !pointer.is_empty() && self.removed.iter().any(|gap| below(gap, pointer) || below(pointer, gap))
    }

    /// Gives pointers into this text the form that they have in the whole one, where lists are longer.
    pub(super) fn translate(&self, whole: &Document<'_>, notes: &mut [Note]) {
        if self.removed.is_empty() {
            return;
        }
        let own = Document::new(&self.text);
        for note in notes {
            let node = own.nearest(&note.pointer);
            let there = own.pointer(node);
            let tail = note.pointer.strip_prefix(there.as_str()).unwrap_or_default();
            let offset = own.start(node);
            let original = if node == ROOT { ROOT } else { whole.at(offset.saturating_sub(self.added)) };
            note.pointer = whole.pointer(original) + tail;
        }
    }
}

/// Takes out what cannot be read, and notes why.
pub(super) fn read<'t>(text: &'t str, document: &Document<'_>, notes: &mut Vec<Note>) -> Sound<'t> {
    let mut sound = Cow::Borrowed(text);
    let mut removed: Vec<String> = Vec::new();
    let mut added = 0;
    loop {
        let error = match Config::parse(sound.as_bytes()) {
            Ok(_) => return Sound { text: sound, added, removed },
            Err(error) => error,
        };
        let node = document.at(offset(&sound, &error).saturating_sub(added));
        let pointer = document.pointer(node);
        let missing = error.message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        // What is missing because it was taken out has had its note.
        if !missing.is_some_and(|name| removed.contains(&member(&pointer, name))) {
            notes.push(Note { node: Some(node), ..note(&pointer, &error, missing) });
        }
        match (node, missing) {
            (ROOT, Some("ociVersion")) if added == 0 => {
                let (front, rest) = sound.split_at(document.start(ROOT) + 1);
                let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
                sound = Cow::Owned([front, VERSION, comma, rest].concat());
                added = VERSION.len() + comma.len();
            }
            (ROOT, _) => {
                removed.push(String::new());
                return Sound { text: sound, added, removed };
            }
            _ => {
                let span = document.span(node);
                sound = Cow::Owned(without(&sound, span.start + added..span.end + added));
                removed.push(pointer);
            }
        }
    }
}

fn note(pointer: &str, error: &ParseError, missing: Option<&str>) -> Note {
    let note = match missing {
        Some(name) => Note::error(member(pointer, name), alloc::format!("the specification requires `{name}`")),
        None => Note::error(pointer, error.message.as_str()),
    };
    match members::nearest_value(&error.message) {
        Some(near) => note.hint(alloc::format!("did you mean {near:?}?")),
        None => note,
    }
}

fn offset(text: &str, error: &ParseError) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line.saturating_sub(1)).map(str::len).sum();
    before + error.column.saturating_sub(1)
}

/// The text with blanks for a value and the comma that would be one too many.
fn without(text: &str, span: core::ops::Range<usize>) -> String {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let mut bytes = Vec::from(text.as_bytes());
    for byte in bytes.get_mut(span.clone()).unwrap_or_default().iter_mut().filter(|byte| !is_blank(byte)) {
        *byte = b' ';
    }
    let after = bytes.iter().skip(span.end).position(|byte| !is_blank(byte)).map(|skip| span.end + skip);
    let before = bytes.iter().take(span.start).rposition(|byte| !is_blank(byte));
    let is_comma = |at: &usize| bytes.get(*at) == Some(&b',');
    if let Some(comma) = after.filter(is_comma).or(before.filter(is_comma)) {
        bytes[comma] = b' ';
    }
    // Whole values were replaced, so no character was cut.
    String::from_utf8(bytes).unwrap_or_default()
}
