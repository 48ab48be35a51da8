//! One container that exists: looked at, started, signalled, deleted.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use orlop_cgroup::{Group, PATIENCE};
use orlop_init::plan::EXCERPT_AREA;
use orlop_init::step::Call;
use orlop_init::{GO, Report};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Pid, Waiting};
use orlop_sys::signal::SIGKILL;
use orlop_sys::time::Timespec;
use orlop_sys::{Errno, event, fs};

use crate::cgroup::from_cgroup;
use crate::config::{Config, ContainerState, SPEC_VERSION, Status, Str};
use crate::error::{Error, Kind, Result};
use crate::exec::{self, ExecOptions, Executed};
use crate::hook::{self, InitHook, Subject};
use crate::launch::signal_to;
use crate::plan::exec::Asked;
use crate::plan::{self, Gate, HookEvent, Warning};
use crate::program::{self, Seen};
use crate::state::{CgroupDir, Init, Record, StateDir, Told};
use crate::trace::{Trace, Tracing};

/// Which processes of a container a signal goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The first one.
    Init,
    /// All in its cgroup.
    All,
}

/// Whether a running container is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Force {
    /// It is an error.
    No,
    /// It is killed first; and no container is no error.
    Yes,
}

/// How long a killed process may take to end.
const KILLED: Timespec = Timespec { sec: 10, nsec: 0 };
/// How long it takes at most, unless it is paused or the machine is busy.
const USUALLY_DEAD: Timespec = Timespec::from_millis(50);

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    id: String,
    dir: StateDir,
    trace: Option<Arc<Trace>>,
}

impl Container {
    pub(crate) fn tracing(&self) -> Tracing<'_> {
        Tracing { trace: self.trace.as_deref(), container: &self.id }
    }

    pub(crate) fn of(id: &str, dir: StateDir, trace: Option<Arc<Trace>>) -> Container {
        Container { id: id.into(), dir, trace }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Its status but for whether it is paused: that is in the cgroup, and [`Container::full_status`] looks there.
    pub(crate) fn status(&self) -> Result<(Status, Option<Init>)> {
        Ok(match self.dir.read_init()? {
            Some(init) if init.open()?.is_none() => (Status::Stopped, None),
            Some(init) if self.dir.awaits_start()? => (Status::Created, Some(init)),
            Some(init) => (Status::Running, Some(init)),
            // Where nobody holds the lock, its maker was killed.
            None if self.dir.is_locked()? => (Status::Creating, None),
            None => (Status::Stopped, None),
        })
    }

    /// Its status, and whether it is paused.
    pub(crate) fn full_status(&self) -> Result<(Status, Option<Init>)> {
        let (status, init) = self.status()?;
        let record = if init.is_some() { self.dir.read_head()? } else { None };
        let status = record.map_or(Ok(status), |record| paused_or(status, &record.cgroups))?;
        Ok((status, init))
    }

    /// Whether its processes are stopped, by whomever.
    pub fn is_paused(&self) -> Result<bool> {
        Ok(matches!(self.full_status()?, (Status::Paused, _)))
    }

    /// Its state, as `orlop state` prints it; see "State" in the specification's runtime.md.
    pub fn state(&self) -> Result<ContainerState<'static>> {
        self.look().map_err(|error| error.during("state", &self.id))
    }

    fn look(&self) -> Result<ContainerState<'static>> {
        let (status, init) = self.status()?;
        let record = self.dir.read_head()?;
        let status = match (&init, &record) {
            (Some(_), Some(record)) => paused_or(status, &record.cgroups)?,
            _ => status,
        };
        let pid = init.map_or(0, |init| init.pid);
        Ok(describe(&self.id, pid, status, record.map(|record| record.told).unwrap_or_default()))
    }

    /// Its state, unless its making was interrupted so early that there is nothing to tell of it.
    pub(crate) fn listed(&self) -> Result<ContainerState<'static>> {
        let state = self.state()?;
        if state.bundle.is_empty() && state.status == Status::Stopped {
            let what = "its state was never written: create was interrupted";
            return Err(Error::new(Kind::WrongState, what)
                .during("list", &self.id)
                .hint("`delete --force` removes it"));
        }
        Ok(state)
    }

    /// The user id of whoever made it.
    pub fn owner(&self) -> Result<u32> {
        self.dir.owner()
    }

    /// Lets the container's program run. Returns once it does.
    ///
    /// [`Kind::WrongState`] unless the container waits for it, [`Kind::Program`] where the program cannot be executed,
    /// [`Kind::Hook`] where a hook failed. After either of the last two the container has stopped.
    pub fn start(&self) -> Result<()> {
        self.start_locked().map_err(|error| error.during("start", &self.id))
    }

    fn start_locked(&self) -> Result<()> {
        self.dir.lock()?;
        let started = self.let_go();
        self.dir.unlock()?;
        started
    }

    fn let_go(&self) -> Result<()> {
        let init = match self.status()? {
            (Status::Created, Some(init)) => init,
            (Status::Stopped, _) => {
                return Err(Error::new(Kind::WrongState, "cannot start a container that has stopped"));
            }
            (Status::Running, _) if !self.is_paused()? => {
                return Err(Error::new(Kind::WrongState, "cannot start an already running container"));
            }
            (Status::Running, _) => {
                return Err(Error::new(Kind::WrongState, "cannot start a container in the paused state"));
            }
            (status, _) => {
                let what = format!("cannot start a container in the {} state", status.name());
                return Err(Error::new(Kind::WrongState, what));
            }
        };
        let failed = |call| move |errno| Error::system(call, "reaching the container's init", errno);
        let socket = net::unix_socket(SocketType::Stream).map_err(failed("socket"))?;
        net::connect(&socket, &self.dir.start_address()?).map_err(failed("connect"))?;
        // First the file, then the word: where we are killed in between, init sees our end and waits no more.
        self.dir.remove_start()?;
        match net::send(&socket, &GO, &[]) {
            // It has hung up already, and may have said why.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
            Err(errno) => return Err(failed("sendmsg")(errno)),
        }
        let mut report = [0u8; Report::SIZE + EXCERPT_AREA];
        let n = match self.tracing().time("await-program", || fs::read(&socket, &mut report)) {
            Ok(n) => n,
            Err(Errno::CONNRESET) => {
                return Err(Error::new(Kind::System, "the container's init ended before it executed the program"));
            }
            Err(errno) => return Err(failed("read")(errno)),
        };
        match Report::from_bytes(report.get(..n).unwrap_or_default()) {
            Some(whole) => Err(self.start_error(whole, report.get(Report::SIZE..).unwrap_or_default())),
            // The socket closes with execve(2).
            None if n == 0 && init.has_poststart => self.poststart(init.pid),
            None if n == 0 => Ok(()),
            None => Err(Error::new(Kind::System, "init sent half a report")),
        }
    }

    /// What runc does too: a container whose poststart hook fails is killed.
    pub(crate) fn poststart(&self, pid: Pid) -> Result<()> {
        let Some((record, text)) = self.dir.read_record()? else {
            return Ok(());
        };
        let config = Config::parse(&text)?;
        let subject = Subject { id: &self.id, bundle: &record.told.bundle, config: &config };
        subject.run_all(HookEvent::Poststart, pid).map_err(|error| match self.end_init() {
            Ok(()) => error,
            Err(second) => error.hint(format!("and the container could not be killed: {second}")),
        })
    }

    fn start_error(&self, report: Report, excerpt: &[u8]) -> Error {
        let errno = Errno(report.errno as i32);
        let call = Call::from_number(report.call);
        if let Some(call @ (Call::Read | Call::CloseRange)) = call {
            return Error::system(call.name(), "init, which waited for `start`", errno);
        }
        let text = match self.dir.read_record() {
            Ok(Some((_, text))) => text,
            Ok(None) => Vec::new(),
            Err(error) => return error,
        };
        let config = match Config::parse(&text) {
            Ok(config) => config,
            Err(error) => return error.into(),
        };
        if let Some(index) = hook::reported(&report) {
            let event = HookEvent::StartContainer;
            let of_config = config.hooks.start_container.get(index);
            let seconds = of_config.and_then(|hook| hook.timeout).map_or(0, |seconds| seconds.get());
            let hook = InitHook { event, path: of_config.map_or("", |hook| &hook.path), seconds };
            return hook::init_failure(&hook, &report, excerpt);
        }
        if call == Some(Call::Seccomp) {
            return Error::system("seccomp", "loading the filter", errno).field("/linux/seccomp");
        }
        if config.process.is_none() {
            return Error::new(Kind::InvalidConfig, plan::NO_PROCESS).field("/process");
        }
        let name = config.process.as_ref().and_then(|process| process.args.first());
        let seen = Seen::new(excerpt, report.said, report.detail);
        program::error(name.map_or("", |name| name.as_str()), call, errno, seen).field("/process/args")
    }

    /// Starts a further process in it. [`Kind::WrongState`] where it has stopped, is being made, or is paused and
    /// `options` do not allow that.
    pub fn exec(&self, program: plan::exec::Program<'_>, options: &ExecOptions<'_>) -> Result<Executed> {
        exec::exec(&self.dir, &self.id, self.trace.as_ref(), program, options)
            .map_err(|error| Asked::of(&program).place(error).during("exec", &self.id))
    }

    /// Sends a signal, by number; see signal(7). [`Kind::NotRunning`] where the first process has ended, unless
    /// [`Scope::All`] are meant.
    pub fn kill(&self, signal: i32, scope: Scope) -> Result<()> {
        self.send(signal, scope).map_err(|error| error.during("kill", &self.id))
    }

    fn send(&self, signal: i32, scope: Scope) -> Result<()> {
        let (_, init) = self.status()?;
        if scope == Scope::All {
            return self.signal_all(signal);
        }
        let not_running = || Error::new(Kind::NotRunning, "container not running");
        let record = if signal == SIGKILL { self.dir.read_head()? } else { None };
        let group = record.as_ref().map(group_of).transpose()?.flatten();
        // Without a pid namespace of its own, the end of init is not that of the others.
        if let Some(group) = group.as_ref().filter(|_| record.is_some_and(|record| record.shares_pids)) {
            if init.is_none() && group.pids().map_err(from_cgroup)?.is_empty() {
                return Err(not_running());
            }
            group.signal_all(signal).map_err(from_cgroup)?;
            // It may be in none of its cgroups, as where a rootless runtime could make none.
            return init.map_or(Ok(true), |init| send_to(init, signal)).map(drop);
        }
        if !send_to(init.ok_or_else(not_running)?, signal)? {
            return Err(not_running());
        }
        match &group {
            Some(group) => Self::let_die(group),
            None => Ok(()),
        }
    }

    pub(crate) fn group(&self) -> Result<Option<Group>> {
        let Some(record) = self.dir.read_head()? else {
            return Ok(None);
        };
        group_of(&record)
    }

    fn signal_all(&self, signal: i32) -> Result<()> {
        match self.group()? {
            Some(group) => group.signal_all(signal).map_err(from_cgroup),
            None => Ok(()),
        }
    }

    /// Deletes it. Hooks that fail afterwards are warnings. [`Kind::WrongState`] where it has not stopped, without
    /// [`Force::Yes`].
    pub fn delete(self, force: Force) -> Result<Vec<Warning>> {
        let id = self.id.clone();
        self.destroy(force).map_err(|error| error.during("delete", &id))
    }

    fn destroy(self, force: Force) -> Result<Vec<Warning>> {
        // Before the lock: whoever makes the container right now holds it, and lets go when its init dies.
        let tracing = self.tracing();
        if force == Force::Yes {
            tracing.time("end-init", || self.end_init())?;
        }
        tracing.time("lock", || self.dir.lock())?;
        if !self.dir.is_linked()? {
            return match force {
                Force::Yes => Ok(Vec::new()),
                Force::No => Err(Error::new(Kind::NotFound, "container does not exist")),
            };
        }
        match self.status()? {
            (Status::Running | Status::Creating | Status::Paused, _) if force == Force::No => {
                let (status, _) = self.full_status()?;
                let what = format!("cannot delete container {} that is not stopped: {}", self.id, status.name());
                return Err(Error::new(Kind::WrongState, what).hint("`delete --force` kills it first"));
            }
            (Status::Stopped, _) => {}
            _ => tracing.time("end-init", || self.end_init())?,
        }
        let record = self.dir.read_head()?;
        if let Some(mut group) = record.as_ref().map_or(Ok(None), group_of)? {
            // What is left besides init: without a pid namespace of its own its children live on, and a make that
            // was interrupted leaves an init that nobody recorded.
            tracing.time("cgroup-kill", || group.signal_all(SIGKILL)).map_err(from_cgroup)?;
            tracing.time("cgroup-remove", || group.remove(PATIENCE)).map_err(from_cgroup)?;
        }
        if let Some(record) = &record {
            remove_outside(record)?;
        }
        // Once nobody is left in it: systemd would ask whoever is to end, and wait.
        if let Some(scope) = record.as_ref().and_then(|record| record.scope.as_ref()) {
            tracing.time("scope-stop", || scope.stop()).map_err(from_cgroup)?;
        }
        self.remove(record.is_some_and(|record| record.has_poststop), Gate::Start)
    }

    /// Removes what is left of it, the state, and then tells the hooks that asked for it.
    pub(crate) fn remove(&self, has_poststop: bool, gate: Gate) -> Result<Vec<Warning>> {
        let whole = if has_poststop { self.dir.read_record()? } else { None };
        self.tracing().time("state-remove", || self.dir.remove(gate))?;
        let Some((record, text)) = whole else {
            return Ok(Vec::new());
        };
        let config = Config::parse(&text)?;
        let subject = Subject { id: &self.id, bundle: &record.told.bundle, config: &config };
        Ok(self.tracing().time("poststop-hooks", || subject.run_poststop()))
    }

    /// Kills init and waits for its end.
    fn end_init(&self) -> Result<()> {
        let Some(init) = self.dir.read_init()? else {
            return Ok(());
        };
        let Some(pidfd) = init.open()? else {
            return Ok(());
        };
        match process::pidfd_signal(&pidfd, SIGKILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                return Err(Error::system("pidfd_send_signal", "killing the container's init", errno));
            }
        }
        let mut ended = event::wait_readable(&pidfd, Some(USUALLY_DEAD));
        if ended == Ok(false) {
            // Before it is said that it does not die: it may be paused.
            if let Some(group) = self.group()? {
                Self::let_die(&group)?;
            }
            ended = event::wait_readable(&pidfd, Some(KILLED));
        }
        match ended {
            Ok(true) => {
                // Ours to reap only if it is our child, as in a program that embeds us.
                let _not_ours = process::wait(&pidfd, Waiting::Poll);
                Ok(())
            }
            Ok(false) => Err(Error::new(Kind::System, "the container's init does not die of SIGKILL")),
            Err(errno) => Err(Error::system("ppoll", "waiting for the end of the container's init", errno)),
        }
    }
}

/// The status of a container whose init lives: `status`, unless its cgroup is frozen.
pub(crate) fn paused_or(status: Status, cgroups: &[CgroupDir]) -> Result<Status> {
    let dirs: Vec<_> = cgroups.iter().map(CgroupDir::to_dir).collect();
    let frozen = orlop_cgroup::is_frozen(&dirs).map_err(from_cgroup)?;
    Ok(if frozen { Status::Paused } else { status })
}

/// Sends init a signal; `false` where it has ended.
fn send_to(init: Init, signal: i32) -> Result<bool> {
    init.open()?.map_or(Ok(false), |pidfd| signal_to(&pidfd, signal))
}

/// What few containers have outside of themselves, besides cgroups.
pub(crate) fn remove_outside(record: &Record) -> Result<()> {
    crate::create::unmount_outside(record)?;
    record.class.as_ref().map_or(Ok(()), crate::resctrl::Class::remove)
}

pub(crate) fn group_of(record: &Record) -> Result<Option<Group>> {
    if record.cgroups.is_empty() {
        return Ok(None);
    }
    let dirs = record.cgroups.iter().map(CgroupDir::to_dir).collect();
    Group::at(dirs).map(Some).map_err(from_cgroup)
}

pub(crate) fn describe(id: &str, pid: Pid, status: Status, told: Told) -> ContainerState<'static> {
    ContainerState {
        oci_version: Str::new(SPEC_VERSION),
        id: String::from(id).into(),
        pid,
        status,
        bundle: told.bundle.into(),
        rootfs: told.rootfs.into(),
        created: told.created.into(),
        annotations: told.annotations.into_iter().map(|(k, v)| (Str::from(k), Str::from(v))).collect(),
        owner: Str::default(),
    }
}
