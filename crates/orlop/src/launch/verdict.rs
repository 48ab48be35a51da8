//! What became of an init that did not get to the program, in words.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::sync::atomic::Ordering;

use orlop_init::Report;
use orlop_init::plan::{Header, Status};
use orlop_init::step::{Call, Place, Step};
use orlop_sys::Errno;
use orlop_sys::process::Ended;
use orlop_sys::signal::{SIGKILL, SIGSYS};

use super::Launch;
use crate::error::{Error, Kind};
use crate::explain;
use crate::hook::{self, InitHook};
use crate::plan::{Act, HookEvent, Plan};
use crate::program::{self, Seen};

impl Launch {
    /// What became of an init that ended before the program ran; `None` where the program has run.
    pub(crate) fn verdict(&self, plan: &Plan, ended: Option<Ended>) -> Option<Error> {
        let header = self.header();
        match header.status() {
            Status::Executing => None,
            Status::Failed => {
                let report = self.report();
                let failed = self.failed_hook(plan, &report);
                Some(failed.unwrap_or_else(|| failed_step(plan, &report, self.excerpt())))
            }
            Status::Unborn | Status::Working => Some(ended_early(plan, header, ended)),
        }
    }

    /// The error of a hook, where that is what failed.
    fn failed_hook(&self, plan: &Plan, report: &Report) -> Option<Error> {
        hook::reported(report)?;
        let entry = plan.entries.get(report.step as usize)?;
        let Act::Init(Step::Hook { place, path, timeout, .. }) = entry.act else {
            return None;
        };
        let event = match place {
            Place::BeforePivot => HookEvent::CreateContainer,
            Place::Container => HookEvent::StartContainer,
        };
        let path = plan.strings.blob().text(path).map(|path| path.to_string_lossy()).unwrap_or_default();
        let hook = InitHook { event, path: &path, seconds: timeout };
        Some(entry.blame(hook::init_failure(&hook, report, self.excerpt())))
    }
}

/// The error of a step, in the words of what it was to do.
fn failed_step(plan: &Plan, report: &Report, excerpt: &[u8]) -> Error {
    let (index, call, errno) = (report.step as usize, Call::from_number(report.call), Errno(report.errno as i32));
    let Some(entry) = plan.entries.get(index) else {
        return Error::new(Kind::System, format!("init failed in step {index}, which the plan does not have"));
    };
    let error = match &entry.act {
        Act::Init(Step::FindProgram {} | Step::Exec {}) => {
            program_error(plan, call, errno, Seen::new(excerpt, report.said, report.detail))
        }
        Act::Init(Step::Attach { .. }) => {
            let before = plan.entries.get(..index).unwrap_or_default().iter().rev();
            let target = before.filter_map(|entry| match entry.act {
                Act::Init(Step::Target { path, .. }) => Some(plan.string(path)),
                _ => None,
            });
            let path = target.take(1).next().unwrap_or_default();
            let error = Error::system(call.map_or("", Call::name), format!("mounting at {path}"), errno);
            if errno == Errno::NOTDIR { error.hint("a directory goes on a directory, a file on a file") } else { error }
        }
        Act::Init(Step::BindAttr { .. }) => {
            let after = plan.entries.get(index..).unwrap_or_default().iter();
            let mut target = after.filter_map(|entry| match entry.act {
                Act::Init(Step::Target { path, .. } | Step::AttachOrLink { path, .. }) => Some(plan.string(path)),
                _ => None,
            });
            let path = target.next().unwrap_or_default();
            let error = Error::system(call.map_or("", Call::name), format!("mounting at {path}"), errno);
            if call == Some(Call::LockedFlags) { error.hint("see mount_namespaces(7)") } else { error }
        }
        Act::Init(step) => {
            let heard = excerpt.get(..report.said as usize).unwrap_or_default();
            explain::step_error(plan, step, (call, errno), report.detail, heard)
        }
        // Before its first step.
        Act::Runtime(_) => {
            return plan.at_birth(Error::system(call.map_or("", Call::name), "starting init", errno));
        }
    };
    entry.blame(error)
}

fn program_error(plan: &Plan, call: Option<Call>, errno: Errno, seen: Seen<'_>) -> Error {
    let blob = plan.strings.blob();
    let name = blob.texts(plan.args).first().and_then(|&text| blob.text(text)).unwrap_or_default();
    program::error(&String::from_utf8_lossy(name.to_bytes()), call, errno, seen)
}

fn ended_early(plan: &Plan, header: &Header, ended: Option<Ended>) -> Error {
    let index = header.at.load(Ordering::Relaxed) as usize;
    let how = match ended {
        Some(Ended::Killed(SIGKILL)) => String::from("was killed by SIGKILL"),
        Some(Ended::Killed(signal)) => format!("was killed by signal {signal}"),
        Some(Ended::Exited(status)) => format!("ended with status {status}"),
        None => String::from("ended"),
    };
    let unborn = header.status() == Status::Unborn;
    let index = if unborn { plan.clone_index() } else { index };
    let Some(entry) = plan.entries.get(index) else {
        return Error::new(Kind::System, format!("init {how}"));
    };
    if unborn && let Some(Ended::Exited(errno)) = ended {
        return entry.blame(Error::system("mmap", "init could not map its plan", Errno(errno)));
    }
    let error = Error::new(Kind::System, format!("init {how} in step {index} ({})", entry.name()));
    let error = entry.blame(error);
    match ended {
        Some(Ended::Killed(SIGKILL)) => error.hint(memory_hint(plan)),
        Some(Ended::Killed(SIGSYS)) => error.hint("a seccomp filter that the runtime itself runs under forbids a call"),
        _ => error,
    }
}

/// Whom the kernel kills for want of memory it kills so.
fn memory_hint(plan: &Plan) -> String {
    match limit_of_memory(plan) {
        Some(bytes) if bytes < ENOUGH => {
            format!(
                "the memory limit of {} (config.json {MEMORY_LIMIT}) is below what making this container took",
                Size(bytes)
            )
        }
        Some(_) => String::from("somebody killed it, or the host, or a cgroup above, is out of memory"),
        None => String::from("somebody killed it, or there is no memory left for it"),
    }
}

/// The field that [`limit_of_memory`] comes from.
pub(crate) const MEMORY_LIMIT: &str = "/linux/resources/memory/limit";

/// The limit of memory that the container was given, in bytes.
pub(crate) fn limit_of_memory(plan: &Plan) -> Option<u64> {
    plan.cgroup.writes.iter().find(|write| write.origin.as_str() == MEMORY_LIMIT)?.value.parse().ok()
}

/// What no container takes to start, but for its program and what its mounts copy.
const ENOUGH: u64 = 64 << 20;

/// Bytes, for a person.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10) >> 20;
        match (self.0 >> 20, tenths % 10) {
            (0, _) => write!(f, "{} KiB", self.0 >> 10),
            (whole, 0) => write!(f, "{whole} MiB"),
            (whole, tenth) => write!(f, "{whole}.{tenth} MiB"),
        }
    }
}
