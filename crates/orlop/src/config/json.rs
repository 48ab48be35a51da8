//! Writing documents the way Go's encoding/json does, byte for byte.
//!
//! serde_json writes them compact; what differs from Go (layout, and the
//! escapes that make the text safe inside HTML) is a pass over that text.

use alloc::string::String;

use serde::Serialize;

/// How a document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// On one line, as hooks and listeners receive it.
    Compact,
    /// Indented by two spaces, as `state` prints it.
    Spaces,
    /// Indented by tabs, as `spec` writes it.
    Tabs,
}

/// Documents that are written as JSON.
pub trait Document: Serialize {
    /// The document's text, without a newline at its end.
    fn to_json(&self, layout: Layout) -> String {
        // Every map key of a document is a string and there is no float, so
        // writing into memory has no way to fail.
        let compact = serde_json::to_string(self).expect("documents have string keys");
        match layout {
            Layout::Compact => lay_out(&compact, None),
            Layout::Spaces => lay_out(&compact, Some("  ")),
            Layout::Tabs => lay_out(&compact, Some("\t")),
        }
    }
}

/// Adds Go's escapes, and new lines when there is something to indent with.
fn lay_out(compact: &str, unit: Option<&str>) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut chars = compact.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            '"' => {
                in_string ^= !escaped;
                out.push('"');
            }
            '{' | '[' if !in_string => {
                out.push(char);
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, unit, depth);
                }
            }
            '}' | ']' if !in_string => {
                depth -= 1;
                new_line(&mut out, unit, depth);
                out.push(char);
            }
            ',' if !in_string => {
                out.push(',');
                new_line(&mut out, unit, depth);
            }
            ':' if !in_string => out.push_str(if unit.is_some() { ": " } else { ":" }),
            char => out.push(char),
        }
        escaped = in_string && char == '\\' && !escaped;
    }
    out
}

fn new_line(out: &mut String, unit: Option<&str>, depth: usize) {
    if let Some(unit) = unit {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(unit);
        }
    }
}
