//! The log: a file, standard error, journald or syslog; text or JSON in logrus's shape.
//!
//! Engines read the log file of a failed call and want exactly one record in it: containerd takes the last
//! one of level error, Podman decodes the whole file as one object. So what goes to a file below the level
//! of an error is held back until it is known that the call succeeds ([`Log::settle`]); a failure takes the
//! held warnings along in its own record. `--debug` asks for records as they come.

mod record;

use core::cell::RefCell;
use core::ffi::CStr;

use liballoc::borrow::ToOwned as _;
use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use orlop_sys::fd::{CWD, OwnedFd, STDERR};
use orlop_sys::fs::{self, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::{Errno, tty};

use crate::command::{Global, Level, LogFormat};
use crate::time::Moment;
use record::Record;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the user and the engine read.
    pub message: String,
    /// The program's exit status.
    pub status: i32,
    /// More for the log: container, phase, origin, call, errno, hint.
    pub fields: Vec<(&'static str, String)>,
    /// All that standard error gets, where that is something else: runc's init prints an execve(2) that fails there
    /// by itself, and tools look for it.
    pub plain: Option<String>,
}

impl Failure {
    /// A failure that ends the program with 1.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), status: 1, fields: Vec::new(), plain: None }
    }

    /// With another exit status.
    pub fn status(mut self, status: i32) -> Failure {
        self.status = status;
        self
    }

    /// With a field for the log.
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Failure {
        self.fields.push((name, value.into()));
        self
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(message)
    }
}

/// Where records go.
enum Sink {
    Stderr,
    File(OwnedFd),
    Journal { socket: OwnedFd, id: String },
    Syslog { socket: OwnedFd, id: String },
}

/// The log of this call.
pub struct Log {
    sink: Sink,
    format: LogFormat,
    level: Level,
    held: RefCell<Vec<(Level, Moment, String)>>,
}

impl Log {
    /// The log that the global options ask for. `program` is the name to use where `journald:` or `syslog:`
    /// is followed by none.
    pub fn open(global: &Global<'_>, program: &str) -> Result<Log, Failure> {
        let sink = match global.log {
            None => Sink::Stderr,
            Some(target) => open(target, program)?,
        };
        Ok(Log { sink, format: global.log_format, level: global.level, held: RefCell::default() })
    }

    /// A log on standard error, for when the one asked for cannot be opened.
    pub const fn stderr(format: LogFormat) -> Log {
        Log { sink: Sink::Stderr, format, level: Level::Info, held: RefCell::new(Vec::new()) }
    }

    /// Whether records of `level` are written at all.
    pub fn wants(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes a record below the level of an error, or holds it until [`Log::settle`].
    pub fn note(&self, level: Level, message: impl Into<String>) {
        if !self.wants(level) {
            return;
        }
        let (message, time) = (message.into(), Moment::now());
        if matches!(self.sink, Sink::File(_)) && self.level < Level::Debug {
            self.held.borrow_mut().push((level, time, message));
        } else {
            self.write(&Record { level, message: &message, time, fields: &[], warnings: &[] });
        }
    }

    /// Writes what was held: the call can no longer fail, or runs on for long.
    pub fn settle(&self) {
        for (level, time, message) in self.held.take() {
            self.write(&Record { level, message: &message, time, fields: &[], warnings: &[] });
        }
    }

    /// Writes the one record of a failure, and its message to standard error.
    pub fn fail(&self, failure: &Failure) {
        if let Some(plain) = &failure.plain {
            complain(plain);
            if matches!(self.sink, Sink::Stderr) {
                return;
            }
        }
        let warnings: Vec<String> = self.held.take().into_iter().map(|(_, _, message)| message).collect();
        self.write(&Record {
            level: Level::Error,
            message: &failure.message,
            time: Moment::now(),
            fields: &failure.fields,
            warnings: &warnings,
        });
        if !matches!(self.sink, Sink::Stderr) && failure.plain.is_none() {
            complain(&failure.message);
        }
    }

    fn write(&self, record: &Record<'_>) {
        let line = || match self.format {
            LogFormat::Json => record.json(),
            LogFormat::Text => record.text(),
        };
        let written = match &self.sink {
            Sink::Stderr => {
                let terminal = self.format == LogFormat::Text && tty::attributes(STDERR).is_ok();
                let line = if terminal { record.coloured() } else { line() };
                to_stderr(&line);
                Ok(())
            }
            Sink::File(file) => fs::write_all(file, line().as_bytes()),
            Sink::Journal { socket, id } => net::send(socket, &record.journal(id), &[]).map(drop),
            Sink::Syslog { socket, id } => net::send(socket, record.syslog(id).as_bytes(), &[]).map(drop),
        };
        if let Err(errno) = written {
            complain(&format!("write log: {errno}"));
        }
    }
}

/// Says something on standard error.
pub fn complain(message: &str) {
    let mut line = String::from(message);
    line.push('\n');
    to_stderr(&line);
}

fn to_stderr(line: &str) {
    // A sandbox's standard error is /dev/null opened for reading: EBADF here has nobody to be told to, and
    // the call must not fail for it.
    let _: Result<(), Errno> = fs::write_all(STDERR, line.as_bytes());
}

fn open(target: &CStr, program: &str) -> Result<Sink, Failure> {
    let text = target.to_string_lossy();
    let failed = |errno: Errno| Failure::new(format!("open log {text}: {errno}"));
    let id = |id: &str| {
        if id.is_empty() { program.to_owned() } else { id.to_owned() }
    };
    let socket = |path: &CStr| {
        let socket = net::unix_socket(SocketType::Datagram)?;
        net::connect(&socket, path)?;
        Ok(socket)
    };
    if let Some(name) = text.strip_prefix("journald:") {
        return Ok(Sink::Journal { socket: socket(c"/run/systemd/journal/socket").map_err(failed)?, id: id(name) });
    }
    if let Some(name) = text.strip_prefix("syslog:") {
        return Ok(Sink::Syslog { socket: socket(c"/dev/log").map_err(failed)?, id: id(name) });
    }
    let path = match target.to_bytes_with_nul().strip_prefix(b"file:") {
        Some(path) => CStr::from_bytes_with_nul(path).unwrap_or(target),
        None => target,
    };
    let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::APPEND;
    fs::open_at(CWD, path, flags, 0o644).map(Sink::File).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// Logs two warnings and then fails or settles, and gives what is in the file.
    fn file(level: Level, fails: bool) -> Vec<serde_json::Value> {
        static COUNT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("orlop-log-{}-{n}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let global = Global { log: Some(&name), log_format: LogFormat::Json, level, ..Global::default() };
        let log = Log::open(&global, "orlop").unwrap();
        log.note(Level::Warning, "first");
        log.note(Level::Debug, "second");
        if fails {
            log.fail(&Failure::new("broken"));
        }
        log.settle();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_failure_is_one_record_with_the_warnings_in_it() {
        let records = file(Level::Info, true);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["level"], "error");
        assert_eq!(records[0]["msg"], "broken");
        assert_eq!(records[0]["warnings"], serde_json::json!(["first"]));
    }

    #[test]
    fn levels() {
        for (level, fails, expected) in [
            (Level::Info, false, vec!["first"]),
            (Level::Error, false, vec![]),
            (Level::Error, true, vec!["broken"]),
            (Level::Debug, true, vec!["first", "second", "broken"]),
        ] {
            let records = file(level, fails);
            let messages: Vec<_> = records.iter().map(|record| record["msg"].as_str().unwrap()).collect();
            assert_eq!(messages, expected, "{level:?} {fails}");
        }
    }
}
