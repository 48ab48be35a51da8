//! Making a container: who carries which part of the plan out, and when.

mod before;
mod beside;
mod made;

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::Group;
use orlop_sys::{OwnedFd, credentials};

use crate::bundle::Bundle;
use crate::config::Config;
use crate::console::Console;
use crate::error::{Error, Kind, Result};
use crate::hook::Subject;
use crate::launch::Launch;
use crate::pid_file;
use crate::plan::{Act, Entry, Gate, Origin, Orphans, Plan, RootChange, SessionKeyring, Warning};
use crate::socket;
use crate::state::StateDir;
use crate::trace::Tracing;

pub(crate) use before::prepare;
pub(crate) use beside::{contain, write_oom_score};
pub(crate) use made::{Made, unmount_outside};

/// How a container is made, besides its configuration.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// A file to hold init's pid as the caller sees it: digits, and nothing else.
    pub pid_file: Option<CString>,
    /// How the root is changed.
    pub root_change: RootChange,
    /// The session keyring.
    pub keyring: SessionKeyring,
    /// How many of the caller's descriptors from 3 on the container's program gets.
    pub preserve_fds: u32,
    /// How many of those are sockets of a service manager, which the program is told of; see sd_listen_fds(3).
    pub listen_fds: u32,
    /// Who makes the cgroup.
    pub cgroup_manager: orlop_cgroup::Manager,
    /// Whose systemd it is, where one does.
    pub systemd: orlop_cgroup::systemd::Bus,
    /// Who gets the master of a terminal.
    pub console: Console,
    /// A directory that stands in for the resctrl file system, in tests; it is looked for otherwise.
    pub resctrl: Option<String>,
    /// A connected socket that gets a pidfd of init, as a message of one descriptor.
    pub pidfd_socket: Option<Arc<OwnedFd>>,
    /// Who gets the container's orphans.
    pub orphans: Orphans,
}

/// A container that has been made, and whoever watches over it.
pub(crate) struct Created {
    pub(crate) launch: Launch,
    pub(crate) plan: Plan,
    pub(crate) group: Option<Group>,
    pub(crate) state: StateDir,
    /// Where the terminal's master comes from, if it comes to the caller.
    pub(crate) console: Option<OwnedFd>,
}

/// What is to be made, and how.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) plan: &'a Plan,
    pub(crate) gate: Gate,
    pub(crate) options: &'a CreateOptions,
    pub(crate) subject: &'a Subject<'a>,
}

/// Makes a container: to the point where it waits for `start`, or runs.
pub(crate) fn create(
    root: &CStr,
    tracing: Tracing<'_>,
    bundle: &Bundle,
    mut plan: Plan,
    gate: Gate,
    options: &CreateOptions,
    subject: &Subject<'_>,
) -> Result<Created> {
    let mut made = Made::new(root, tracing);
    let done = make(&mut made, Making { bundle, plan: &plan, gate, options, subject });
    // Whoever wants to change the container from now on may.
    let done = done.and_then(|()| made.state.as_ref().map_or(Ok(()), StateDir::unlock));
    match done {
        Ok(()) => match made {
            Made { state: Some(state), launch: Some(launch), group, console, .. } => {
                plan.warnings.extend(cannot_be_killed_whole(subject.config, group.as_ref()));
                Ok(Created { launch, plan, group, state, console })
            }
            made => Err(made.undo(Error::new(Kind::System, "the plan makes no container"))),
        },
        Err(error) => {
            let was_started = made.launch.is_some();
            let error = made.undo(error);
            Err(if was_started && plan.has_poststop { after_failure(error, subject) } else { error })
        }
    }
}

/// Whoever shares pids and has no cgroup leaves processes that nobody finds again.
fn cannot_be_killed_whole(config: &Config<'_>, group: Option<&Group>) -> Option<Warning> {
    let grouped = group.is_some_and(|group| group.dirs().next().is_some());
    if !config.shares_pids() || grouped || credentials::euid() == 0 {
        return None;
    }
    // As runc words it.
    let text = "Creating a rootless container with no cgroup and no private pid namespace. \
        Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes)";
    Some(Warning::new(Origin::field("/linux/namespaces"), text.into()))
}

/// The spec has what follows a container's end follow its failed beginning, too.
pub(crate) fn after_failure(error: Error, subject: &Subject<'_>) -> Error {
    let failed = subject.run_poststop();
    match failed.first() {
        Some(warning) if error.advice().is_none() => error.hint(format!("and afterwards: {}", warning.text)),
        _ => error,
    }
}

fn make(made: &mut Made<'_>, making: Making<'_>) -> Result<()> {
    let Making { plan, gate, options, subject, .. } = making;
    let born = plan.clone_index();
    let (before, after) = plan.entries.split_at_checked(born + 1).unwrap_or((&plan.entries, &[]));
    for entry in before {
        let Act::Runtime(task) = entry.act else {
            continue;
        };
        let tracing = made.tracing;
        let prepared = tracing.task(entry, || prepare(made, making, task));
        prepared.map_err(|error| placed(error, entry))?;
    }
    // What needs nothing of init is done while init works; then the rest in order.
    let mut done: Vec<bool> = after.iter().map(|entry| matches!(entry.act, Act::Init(_))).collect();
    for overlaps in [true, false] {
        for (index, entry) in after.iter().enumerate() {
            let Act::Runtime(task) = entry.act else {
                continue;
            };
            if task.overlaps() != overlaps {
                continue;
            }
            if !overlaps && let Some(launch) = &made.launch {
                made.tracing.time("await-init", || launch.await_init(plan, (born + 1 + index) as u32))?;
            }
            let tracing = made.tracing;
            tracing
                .task(entry, || beside::accompany(made, subject, plan, task))
                .map_err(|error| placed(error, entry))?;
            if let Some(place) = done.get_mut(index) {
                *place = true;
            }
            let until = done.iter().position(|done| !done).unwrap_or(done.len());
            if let Some(launch) = &made.launch {
                launch.complete((born + 1 + until) as u32)?;
            }
        }
    }
    let Some(launch) = &made.launch else {
        return Ok(());
    };
    if gate == Gate::Start {
        let waits = plan.entries.len().saturating_sub(1 + plan.after_gate());
        made.tracing.time("await-init", || launch.await_init(plan, waits as u32))?;
        made.tracing.steps(&plan.entries, launch.times());
    }
    if let Some(socket) = &options.pidfd_socket {
        socket::send_pidfd(socket, "standard", launch.pidfd().borrow())?;
    }
    if let Some(path) = &options.pid_file {
        if gate == Gate::Open {
            // A run that fails leaves none, and until it runs it can fail.
            launch.await_program(plan)?;
        }
        pid_file::write(path, launch.pid())?;
        made.pid_file = Some(path.clone());
    }
    Ok(())
}

pub(crate) fn placed(error: Error, entry: &Entry) -> Error {
    if error.phase().is_some() {
        return error;
    }
    // A cgroup error names the limit itself.
    let origin = error.origin().map(String::from).or_else(|| entry.origin.to_pointer());
    error.at(entry.phase, origin)
}

fn broken() -> Error {
    Error::new(Kind::System, "the plan's entries are out of order")
}
