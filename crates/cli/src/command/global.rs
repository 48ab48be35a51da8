//! The program's name and the global options.

use core::ffi::CStr;

use liballoc::format;
use liballoc::string::String;

use super::TEXT_JSON;
use crate::parse::Given;
use crate::value;

/// The name that the program was called by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Its own.
    Orlop,
    /// As a drop-in for runc.
    Runc,
    /// As a drop-in for crun.
    Crun,
}

impl Program {
    /// By the last part of `argv[0]`.
    pub fn of(argv0: &CStr) -> Program {
        match argv0.to_bytes().rsplit(|byte| *byte == b'/').next() {
            Some(b"runc") => Program::Runc,
            Some(b"crun") => Program::Crun,
            _ => Program::Orlop,
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Program::Orlop => "orlop",
            Program::Runc => "runc",
            Program::Crun => "crun",
        }
    }
}

/// How log records are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much a log record matters, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // logrus's names
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

/// Who makes cgroups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CgroupManager {
    /// The runtime itself.
    #[default]
    Cgroupfs,
    /// systemd.
    Systemd,
    /// Nobody.
    Disabled,
}

/// The global options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Global<'a> {
    /// `--root` as given.
    pub root: Option<&'a CStr>,
    /// `--log` as given: a file, `journald:ID` or `syslog:ID`.
    pub log: Option<&'a CStr>,
    /// `--log-format`.
    pub log_format: LogFormat,
    /// `--log-level` or `--debug`.
    pub level: Level,
    /// `--systemd-cgroup` or `--cgroup-manager`, whichever came last.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`; `None` to find out.
    pub rootless: Option<bool>,
    /// `--criu`.
    pub criu: Option<&'a CStr>,
    /// `--trace`.
    pub trace: Option<&'a CStr>,
}

impl Default for Global<'_> {
    fn default() -> Self {
        Global {
            root: None,
            log: None,
            log_format: LogFormat::Text,
            level: Level::Info,
            cgroup_manager: CgroupManager::Cgroupfs,
            rootless: None,
            criu: None,
            trace: None,
        }
    }
}

fn log_format(given: &Given<'_>) -> Result<LogFormat, String> {
    match given.choice("log-format", TEXT_JSON) {
        Ok(format) => Ok(format.unwrap_or_default()),
        Err(_) => {
            let text = given.raw("log-format").unwrap_or_default().to_string_lossy();
            Err(format!("invalid log-format: {text}"))
        }
    }
}

/// The global options that a refusal needs: those of the log.
pub(super) fn lenient<'a>(given: &Given<'a>) -> Global<'a> {
    Global { log: given.raw("log"), log_format: log_format(given).unwrap_or_default(), ..Global::default() }
}

pub(super) fn strict<'a>(given: &Given<'a>) -> Result<Global<'a>, String> {
    let level = given.choice(
        "log-level",
        &[("error", Level::Error), ("warning", Level::Warning), ("info", Level::Info), ("debug", Level::Debug)],
    )?;
    let manager = given.choice(
        "cgroup-manager",
        &[
            ("cgroupfs", CgroupManager::Cgroupfs),
            ("systemd", CgroupManager::Systemd),
            ("disabled", CgroupManager::Disabled),
        ],
    )?;
    let systemd = given.flag("systemd-cgroup")?;
    let named_last = given.names().rfind(|name| matches!(*name, "cgroup-manager" | "systemd-cgroup"));
    let cgroup_manager = match manager {
        Some(manager) if named_last == Some("cgroup-manager") || !systemd => manager,
        _ if systemd => CgroupManager::Systemd,
        _ => CgroupManager::Cgroupfs,
    };
    let rootless = given.convert("rootless", |text| match text {
        "" => Ok(None),
        auto if auto.eq_ignore_ascii_case("auto") => Ok(None),
        text => value::boolean(text).map(Some).ok_or("must be true, false or auto"),
    })?;
    Ok(Global {
        root: match given.names().any(|name| name == "root") {
            true => Some(given.raw("root").unwrap_or(c"")),
            false => None,
        },
        log: given.raw("log"),
        log_format: log_format(given)?,
        level: match given.flag("debug")? {
            true => Level::Debug,
            false => level.unwrap_or(Level::Info),
        },
        cgroup_manager,
        rootless: rootless.flatten(),
        criu: given.raw("criu"),
        trace: given.raw("trace"),
    })
}
