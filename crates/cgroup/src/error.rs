//! What can go wrong.

use alloc::string::String;
use core::fmt;

use orlop_sys::Errno;

use crate::plan::{Controller, Origin};

/// Why a cgroup could not be planned, made, limited, read or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call.
    Call {
        /// The system call.
        call: &'static str,
        /// The file or directory.
        path: String,
        /// What was written, for a write.
        value: Option<String>,
        /// Why.
        errno: Errno,
        /// What of the configuration asked for it.
        origin: Option<Origin>,
    },
    /// A limit was asked for, and there is no controller or cgroup to set it in.
    NoController {
        /// The controller.
        controller: Controller,
        /// What asked for it.
        origin: Option<Origin>,
    },
    /// The configuration asks for what cannot be.
    Invalid {
        /// What.
        origin: Origin,
        /// Why not; ends with the value where that helps.
        why: String,
    },
    /// `cgroupsPath` is not a path that we use.
    Path {
        /// The path.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// The cgroup already uses more memory than the limit (v1).
    MemoryInUse {
        /// The limit asked for, in bytes.
        limit: String,
        /// What is used now.
        usage: u64,
        /// The most that ever was.
        peak: u64,
    },
    /// `checkBeforeUpdate` is set, and the cgroup already uses as much as the limit.
    WouldExceed {
        /// `memory` or `memory+swap`.
        what: &'static str,
        /// The limit asked for, in bytes.
        limit: u64,
        /// What is used now.
        usage: u64,
    },
    /// A rootless container's limits have no cgroup to be set in (v2).
    Rootless {
        /// The error of making it.
        cause: String,
        /// The first limit.
        origin: Option<Origin>,
    },
    /// The cgroup was there and holds processes.
    NotEmpty {
        /// Which.
        path: String,
        /// How many processes.
        processes: usize,
    },
    /// The cgroup was there and is frozen, so that whatever enters it would stop.
    Frozen {
        /// Which.
        path: String,
    },
    /// The container has no cgroup that can be frozen.
    NoFreezer,
    /// The host's mounts or /proc/self/cgroup do not fit together.
    Layout(&'static str),
    /// A kernel file did not read as documented.
    Parse {
        /// The file.
        path: String,
        /// The line or value.
        text: String,
    },
    /// A wait came to its end.
    TimedOut {
        /// Which cgroup.
        path: String,
        /// For what.
        waited_for: &'static str,
    },
    /// systemd refused, or could not do it.
    Systemd {
        /// What was asked of it.
        what: &'static str,
        /// For which unit.
        unit: String,
        /// The D-Bus name of the error; empty where a job failed.
        name: String,
        /// Why.
        message: String,
    },
    /// Nobody listens where systemd and its bus do.
    NoSystemd,
    /// Not built into this crate.
    NotSupported(&'static str),
}

impl Error {
    /// The error number, where the kernel gave one.
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Error::Call { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// What of the configuration it is about, where that is known.
    pub const fn origin(&self) -> Option<&Origin> {
        match self {
            Error::Call { origin, .. } | Error::NoController { origin, .. } | Error::Rootless { origin, .. } => {
                origin.as_ref()
            }
            Error::Invalid { origin, .. } => Some(origin),
            _ => None,
        }
    }

    /// Whether the caller lacks the right: EPERM, EACCES, or a file system mounted read-only.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::PERM | Errno::ACCES | Errno::ROFS))
    }

    /// Whether systemd refused to begin at all.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Error::Systemd { name, .. } if !name.is_empty())
    }

    /// Whether the cgroup or file is not there (any more).
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV))
    }
}

/// The words are runc's where an engine or a user knows them.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Call { call, path, value: Some(value), errno, .. } if *call == "write" => {
                write!(f, "failed to write {value:?}: write {path}: {errno}")
            }
            Error::Call { call, path, errno, .. } => write!(f, "{call} {path}: {errno}"),
            Error::NoController { controller, .. } => {
                write!(f, "cannot set {controller} limit: container could not join or create cgroup")
            }
            Error::Invalid { why, .. } => f.write_str(why),
            Error::Path { path, why } => write!(f, "cgroup path {path:?} {why}"),
            Error::MemoryInUse { limit, usage, peak } => {
                write!(f, "unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")
            }
            Error::WouldExceed { what, limit, usage } => {
                write!(f, "rejecting {what} limit {limit} <= usage {usage}")
            }
            Error::Rootless { cause, .. } => {
                write!(f, "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {cause}")
            }
            Error::NotEmpty { path, processes } => {
                write!(f, "container's cgroup is not empty: {processes} process(es) found in {path}")
            }
            Error::Frozen { path } => write!(f, "container's cgroup unexpectedly frozen: {path}"),
            Error::NoFreezer => f.write_str("cannot toggle freezer: cgroups not configured for container"),
            Error::Layout(why) => f.write_str(why),
            Error::Parse { path, text } => write!(f, "unable to parse {path}: {text:?}"),
            Error::TimedOut { path, waited_for } => {
                write!(f, "timed out waiting for cgroup {path} {waited_for}")
            }
            Error::Systemd { what, unit, name, message } if name.is_empty() => {
                write!(f, "error {what} systemd unit `{unit}`: {message}")
            }
            Error::Systemd { what, unit, name, message } => {
                write!(f, "error {what} systemd unit `{unit}`: {message} ({name})")
            }
            Error::NoSystemd => f.write_str("systemd not running on this host, cannot use systemd cgroups manager"),
            Error::NotSupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

impl core::error::Error for Error {}
