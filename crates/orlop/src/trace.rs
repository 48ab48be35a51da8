//! Where the time of a call goes: one JSON object a line, as spans that any collector understands.
//!
//! `trace_id`, `span_id` and `parent_span_id` are those of the W3C's trace context; a line is written when its span
//! is over, with one write(2), so that several programs can share a file that was opened to append.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};

use orlop_sys::fs::{self, OFlags};
use orlop_sys::time::{self, Clock, Timespec};
use orlop_sys::{CWD, OwnedFd};
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::plan::Entry;

/// A trace that is being written.
#[derive(Debug)]
pub struct Trace {
    file: OwnedFd,
    id: String,
    /// The caller's span, if it has named one.
    parent: Option<String>,
    /// The span of the whole call; the others are counted from it.
    root: u64,
    next: AtomicU64,
    began: u64,
    /// What turns the monotonic clock into the time of day.
    offset: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    who: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    start_unix_ns: u64,
    duration_ns: u64,
}

/// A part of a call.
struct Span<'a> {
    name: &'a str,
    phase: Option<&'static str>,
    who: &'static str,
    origin: Option<&'a str>,
    began: u64,
    ended: u64,
}

fn nanoseconds(time: Timespec) -> u64 {
    (time.sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nsec as u64)
}

fn monotonic() -> u64 {
    nanoseconds(time::now(Clock::Monotonic))
}

/// The ids of a `traceparent` of version 00: `00-TRACE-SPAN-FLAGS`.
fn context(text: &str) -> Option<(&str, &str)> {
    let hex = |text: &str, len: usize| {
        text.len() == len
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && text.bytes().any(|b| b != b'0')
    };
    let mut parts = text.split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = version == "00" && flags.len() == 2 && parts.next().is_none();
    (whole && hex(id, 32) && hex(span, 16)).then_some((id, span))
}

impl Trace {
    /// Begins a trace that is written to `file`: as a part of the caller's, where it has named one that is valid.
    pub fn begin(file: OwnedFd, traceparent: Option<&str>) -> Result<Trace> {
        let mut random = [0u8; 24];
        let failed = |errno| Error::system("read", "/dev/urandom", errno);
        let source = fs::open_at(CWD, c"/dev/urandom", OFlags::RDONLY, 0).map_err(failed)?;
        if fs::read(&source, &mut random).map_err(failed)? != random.len() {
            return Err(Error::new(Kind::System, "/dev/urandom gave too little"));
        }
        let (id, root) = random.split_at(16);
        let id = id.iter().fold(String::with_capacity(32), |mut text, byte| {
            // A String takes all.
            let _written = write!(text, "{byte:02x}");
            text
        });
        let context = traceparent.and_then(context);
        let began = monotonic();
        Ok(Trace {
            file,
            id: context.map_or(id, |(id, _)| id.into()),
            parent: context.map(|(_, span)| span.into()),
            root: root.iter().fold(1, |n, &byte| n << 8 | u64::from(byte)),
            next: AtomicU64::new(1),
            began,
            offset: nanoseconds(time::now(Clock::Realtime)).wrapping_sub(began),
        })
    }

    /// Writes the span of the whole call, which ends with `status`.
    pub fn end(&self, name: &str, status: i32) -> Result<()> {
        let span = Span { name, phase: None, who: "runtime", origin: None, began: self.began, ended: monotonic() };
        self.write(&span, self.root, self.parent.as_deref(), None, Some(status))
    }

    fn write(
        &self,
        span: &Span<'_>,
        id: u64,
        parent: Option<&str>,
        container: Option<&str>,
        status: Option<i32>,
    ) -> Result<()> {
        let line = Line {
            trace_id: &self.id,
            span_id: &format!("{id:016x}"),
            parent_span_id: parent,
            name: span.name,
            phase: span.phase,
            who: span.who,
            container,
            origin: span.origin,
            status,
            start_unix_ns: span.began.wrapping_add(self.offset),
            duration_ns: span.ended.saturating_sub(span.began),
        };
        let text = serde_json::to_string(&line).map_err(|error| Error::new(Kind::System, format!("{error}")))?;
        fs::write_all(&self.file, format!("{text}\n").as_bytes())
            .map_err(|errno| Error::system("write", "the trace", errno))
    }
}

/// The trace of a call on one container, if there is any.
#[derive(Clone, Copy)]
pub(crate) struct Tracing<'a> {
    pub(crate) trace: Option<&'a Trace>,
    pub(crate) container: &'a str,
}

impl Tracing<'_> {
    /// Does something, and writes how long it took.
    pub(crate) fn time<T>(self, name: &str, act: impl FnOnce() -> T) -> T {
        self.timed(act, |began, ended| Span { name, phase: None, who: "runtime", origin: None, began, ended })
    }

    /// The same for a task of a plan.
    pub(crate) fn task<T>(self, entry: &Entry, act: impl FnOnce() -> T) -> T {
        if self.trace.is_none() {
            return act();
        }
        let origin = entry.origin.to_pointer();
        let origin = origin.as_deref();
        let (name, phase) = (entry.name(), Some(entry.phase.name()));
        self.timed(act, |began, ended| Span { name, phase, who: "runtime", origin, began, ended })
    }

    fn timed<'s, T>(self, act: impl FnOnce() -> T, span: impl FnOnce(u64, u64) -> Span<'s>) -> T {
        if self.trace.is_none() {
            return act();
        }
        let began = monotonic();
        let done = act();
        self.write(&span(began, monotonic()));
        done
    }

    /// The steps of init: when it began, and when it was done with each.
    pub(crate) fn steps(self, entries: &[Entry], times: &[AtomicU64]) {
        let mut began = times.first().map_or(0, |time| time.load(Ordering::Acquire));
        for (entry, time) in entries.iter().zip(times.iter().skip(1)) {
            let ended = time.load(Ordering::Acquire);
            if ended == 0 {
                continue;
            }
            let origin = entry.origin.to_pointer();
            let (name, phase, origin) = (entry.name(), Some(entry.phase.name()), origin.as_deref());
            self.write(&Span { name, phase, who: "init", origin, began, ended });
            began = ended;
        }
    }

    fn write(self, span: &Span<'_>) {
        if let Some(trace) = self.trace {
            let id = trace.root.wrapping_add(trace.next.fetch_add(1, Ordering::Relaxed));
            // The container is not to fail for want of a line. The end of the trace is written last, and tells.
            let _told = trace.write(span, id, Some(&format!("{:016x}", trace.root)), Some(self.container), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::context;

    #[test]
    fn a_context_is_one_of_version_00() {
        let (id, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let whole = std::format!("00-{id}-{span}-01");
        assert_eq!(context(&whole), Some((id, span)));
        for bad in [
            "",
            "00",
            &whole.replace("00-", "ff-"),
            &std::format!("{whole}-x"),
            &whole.to_uppercase(),
            &whole.replace(id, "00000000000000000000000000000000"),
            &whole.replace(span, "0000000000000000"),
            &whole.replace(span, "b7ad6b71692033"),
        ] {
            assert_eq!(context(bad), None, "{bad}");
        }
    }
}
