//! A configuration looked over as a whole: what `create` would refuse, what the specification asks for and is not
//! there, what nobody reads, and what cannot have the effect that it seems to have.
//!
//! An *error* is what `create` fails with, found by the very code that it runs: reading and planning, which here go
//! on behind each fault instead of ending at the first, and, with [`Runtime::lint`](crate::Runtime::lint), a look
//! at what this host has. A *warning* is what `create` does all the same.
//!
//! ```
//! use orlop::lint::{self, Severity};
//! # fn example(host: &orlop::Host) {
//! let text = br#"{"ociVersion": "1.3.0", "proces": {"cwd": "/"}, "hostname": "a"}"#;
//! for finding in lint::check(text, host, &orlop::plan::Options::default()) {
//!     if finding.severity == Severity::Error {
//!         // /root: root must be specified; and, at /proces: did you mean "process"?
//!         let _ = (finding.line, finding.column, finding.pointer, finding.message, finding.hint);
//!     }
//! }
//! # }
//! ```

mod advice;
mod document;
mod host;
mod members;
mod reading;
mod seccomp;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use orlop_cgroup::Tell;
use serde::de::IgnoredAny;

use crate::config::{self, Config, ParseError, Shaped};
use crate::error::Error;
use crate::host::Host;
use crate::plan::{self, Options, Weight};
use document::Document;
use reading::Sound;

pub(crate) use host::findings as host_findings;

/// What a finding means for the container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// It is not made.
    Error,
    /// It is made, though perhaps not as it was meant.
    Warning,
}

impl Severity {
    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Something to know of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The value that it is about, as a JSON pointer (RFC 6901); it may be one that is missing.
    pub pointer: String,
    /// The line where that value starts, or the one that it is missing in; from 1.
    pub line: usize,
    /// The byte in that line, from 1.
    pub column: usize,
    /// What it is.
    pub message: String,
    /// What may help, where we know something.
    pub hint: Option<String>,
}

/// A finding without its place in the text.
pub(crate) struct Note {
    severity: Severity,
    pointer: String,
    message: String,
    hint: Option<String>,
    /// The value, where its pointer does not tell.
    node: Option<usize>,
}

impl Note {
    fn new(severity: Severity, pointer: impl Into<String>, message: impl Into<String>) -> Note {
        Note { severity, pointer: pointer.into(), message: message.into(), hint: None, node: None }
    }

    fn error(pointer: impl Into<String>, message: impl Into<String>) -> Note {
        Note::new(Severity::Error, pointer, message)
    }

    fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Note {
        Note::new(Severity::Warning, pointer, message)
    }

    fn hint(self, hint: impl Into<String>) -> Note {
        Note { hint: Some(hint.into()), ..self }
    }

    fn of_error(error: &Error) -> Note {
        let mut message = String::from(error.reason());
        if let Some(errno) = error.errno() {
            // Writing to a string does not fail.
            let _ = write!(message, ": {}", orlop_sys::Errno(errno));
        }
        let note = Note::error(error.origin().unwrap_or_default(), message);
        Note { hint: error.advice().map(String::from), ..note }
    }

    fn place(self, document: &Document<'_>) -> Finding {
        let node = self.node.unwrap_or_else(|| document.nearest(&self.pointer));
        let (line, column) = document.position(node);
        let Note { severity, pointer, message, hint, .. } = self;
        Finding { severity, pointer, line, column, message, hint }
    }
}

/// Everything that can be said of a configuration without looking at the host's files: what reading and planning it
/// for `host` find, in the order of the text.
pub fn check(text: &[u8], host: &Host, options: &Options<'_>) -> Vec<Finding> {
    match Review::read(text) {
        Ok(mut review) => {
            review.plan(host, |_| options.clone(), |_, _, _| Vec::new());
            review.finish()
        }
        Err(finding) => alloc::vec![finding],
    }
}

/// A configuration that is looked over.
pub(crate) struct Review<'t> {
    document: Document<'t>,
    /// What of the text could be read.
    sound: Sound<'t>,
    findings: Vec<Finding>,
}

impl<'t> Review<'t> {
    /// Reads a text. The error is that it is no JSON.
    pub(crate) fn read(text: &'t [u8]) -> Result<Review<'t>, Finding> {
        let at_fault = |error: ParseError| {
            let ParseError { pointer, line, column, message, .. } = error;
            Finding { severity: Severity::Error, pointer, line, column, message, hint: None }
        };
        let text = config::text("config.json", text).map_err(at_fault)?;
        config::parse::<IgnoredAny>("config.json", text.as_bytes()).map_err(at_fault)?;
        let document = Document::new(text);
        let mut notes = Vec::new();
        members::unknown(&document, &Config::SHAPE, &mut notes);
        members::left_out(&document, &mut notes);
        let sound = reading::read(text, &document, &mut notes);
        let mut review = Review { document, sound, findings: Vec::new() };
        review.add(notes);
        Ok(review)
    }

    /// Plans what was read, on `host` and with the options that its configuration gets, and adds what else is to be
    /// said of it.
    pub(crate) fn plan<'o>(
        &mut self,
        host: &Host,
        options: impl FnOnce(&Config<'_>) -> Options<'o>,
        further: impl FnOnce(&Config<'_>, &Options<'o>, &orlop_cgroup::Plan) -> Vec<Note>,
    ) {
        // Nearly everything depends on which namespaces there are.
        let is_ground = |gap: &str| matches!(gap, "" | "/linux") || gap.starts_with("/linux/namespaces");
        if self.sound.removed.iter().any(|gap| is_ground(gap)) {
            return;
        }
        let Ok(config) = Config::parse(self.sound.text.as_bytes()) else {
            return;
        };
        let options = options(&config);
        let plan = plan::review(&config, host, &options);
        let mut notes: Vec<Note> = plan.faults.iter().map(Note::of_error).collect();
        let told = plan.warnings.iter().filter(|warning| warning.weight == Weight::Warning);
        notes.extend(told.map(|warning| Note::warning(warning.origin.as_str(), warning.text.as_str())));
        for ignored in plan.cgroup.ignored.iter().filter(|ignored| ignored.tell != Tell::Warn) {
            notes.push(Note::warning(ignored.origin.as_str(), format!("not set: {}", ignored.why)));
        }
        advice::of(&config, &mut notes);
        if let Some(profile) = &config.linux.seccomp {
            seccomp::rules(profile, &mut notes);
        }
        notes.extend(further(&config, &options, &plan.cgroup));
        self.sound.translate(&self.document, &mut notes);
        // What follows from a gap that has its note is none.
        notes.retain(|note| !self.sound.has_gap(&note.pointer));
        self.add(notes);
    }

    fn add(&mut self, notes: Vec<Note>) {
        let Review { document, findings, .. } = self;
        findings.extend(notes.into_iter().map(|note| note.place(document)));
    }

    /// All, in the order of the text and each once.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
        let mut once: Vec<Finding> = Vec::with_capacity(self.findings.len());
        for finding in self.findings {
            let is_known = |known: &Finding| known.pointer == finding.pointer && known.message == finding.message;
            if !once.iter().any(is_known) {
                once.push(finding);
            }
        }
        once
    }
}

/// Findings as lines for people: `FILE:LINE:COLUMN: SEVERITY: POINTER: MESSAGE; HINT`, and how many there are.
pub fn text(file: &str, findings: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { severity, pointer, line, column, message, hint } in findings {
        // Writing to a string does not fail.
        let _ = write!(out, "{file}:{line}:{column}: {}: ", severity.name());
        if !pointer.is_empty() {
            let _ = write!(out, "{pointer}: ");
        }
        out.push_str(message);
        if let Some(hint) = hint {
            let _ = write!(out, "; {hint}");
        }
        out.push('\n');
    }
    let count = |severity, name| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    };
    let _ = writeln!(out, "{}, {}", count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    out
}

/// Findings as one JSON array of objects with `severity`, `pointer`, `line`, `column`, `message` and `hint`.
pub fn json(findings: &[Finding]) -> String {
    let string = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut out = String::from("[");
    for (i, Finding { severity, pointer, line, column, message, hint }) in findings.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let hint = hint.as_deref().map_or_else(|| String::from("null"), string);
        let _ = write!(
            out,
            "{comma}\n{{\"severity\":{:?},\"pointer\":{},\"line\":{line},\"column\":{column},\"message\":{},\"hint\":{hint}}}",
            severity.name(),
            string(pointer),
            string(message),
        );
    }
    out.push_str("\n]\n");
    out
}
