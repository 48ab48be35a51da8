//! Containers: the public interface.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::systemd::{Bus, Client};
use orlop_cgroup::{Group, PATIENCE};
use orlop_init::plan::EXCERPT_AREA;
use orlop_init::step::Call;
use orlop_init::{GO, Report};
use orlop_sys::fd::Bin;
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Ended, Pid, Waiting};
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, Errno, OwnedFd, event, fs};

use crate::bundle::Bundle;
use crate::cgroup::from_cgroup;
use crate::config::{Config, ContainerState, NamespaceKind, SPEC_VERSION, Status, Str};
use crate::create::{self, CreateOptions, Created};
use crate::error::{Error, Kind, Result};
use crate::exec::{self, ExecOptions, Executed};
use crate::hook::{self, InitHook, Subject};
use crate::host::Host;
use crate::launch::{Launch, SIGKILL};
use crate::lint;
use crate::plan::{self, Gate, HookEvent, Options, Plan, Warning};
use crate::program::{self, Seen};
use crate::state::{self, Init, Record, StateDir, Told};
use crate::trace::{Trace, Tracing};

/// A runtime: the directory that its containers' state is kept in.
///
/// It has no other state, and does not change the process that uses it: no working directory, mask, environment,
/// signal disposition or namespace. It can be used from any thread, and from many at once.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: CString,
    trace: Option<Arc<Trace>>,
}

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

impl Runtime {
    /// A runtime that keeps its state in `root`, which is made when the first container is.
    pub fn new(root: &CStr) -> Runtime {
        Runtime { root: root.into(), trace: None }
    }

    /// The same, which writes where the time of its calls goes.
    #[must_use]
    pub fn traced(self, trace: Arc<Trace>) -> Runtime {
        Runtime { trace: Some(trace), ..self }
    }

    pub(crate) fn tracing<'a>(&'a self, id: &'a str) -> Tracing<'a> {
        Tracing { trace: self.trace.as_deref(), container: id }
    }

    /// What creating a container would do, without doing any of it.
    pub fn plan(&self, id: &str, bundle: &Bundle, options: &CreateOptions, gate: Gate) -> Result<Plan> {
        let config = bundle.config()?;
        let host = Host::probe()?;
        plan_for(id, bundle, &config, &host, options, gate)
    }

    /// Looks a bundle's configuration over, without making anything of it: every error that creating a container
    /// would end with at the first, on this host, and what is worth a warning.
    pub fn lint(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<Vec<lint::Finding>> {
        let host = Host::probe()?;
        let systemd_cgroup = systemd_cgroup(options)?;
        let mut review = match lint::Review::read(bundle.text()) {
            Ok(review) => review,
            Err(finding) => return Ok(alloc::vec![finding]),
        };
        review.plan(
            &host,
            |config| planned(id, bundle, config, options, Gate::Start, &systemd_cgroup),
            |config, options, cgroup| lint::host_findings(config, &host, options, cgroup),
        );
        Ok(review.finish())
    }

    /// Makes a container that waits for [`Container::start`].
    pub fn create(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<(Container, Vec<Warning>)> {
        let created = self.make(id, bundle, options, Gate::Start).map_err(|error| error.during("create", id))?;
        let Created { plan, state, .. } = created;
        let container = Container { id: id.into(), dir: state, trace: self.trace.clone() };
        Ok((container, plan.warnings))
    }

    /// Makes a container and runs its program at once. The returned value watches over it.
    pub fn run(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<Running> {
        let created = self.make(id, bundle, options, Gate::Open).map_err(|error| error.during("run", id))?;
        let Created { launch, plan, group, state, console } = created;
        // Whoever wants to change the container from now on may.
        let container = Container { id: id.into(), dir: state, trace: self.trace.clone() };
        let running = Running { container, launch, plan, group, console, ended: None };
        if running.plan.has_poststart { running.poststart() } else { Ok(running) }
    }

    fn make(&self, id: &str, bundle: &Bundle, options: &CreateOptions, gate: Gate) -> Result<Created> {
        state::check_id(id)?;
        let tracing = self.tracing(id);
        let config = tracing.time("parse", || bundle.config())?;
        let host = tracing.time("probe", Host::probe)?;
        let plan = tracing.time("plan", || plan_for(id, bundle, &config, &host, options, gate))?;
        create::create(
            &self.root,
            tracing,
            bundle,
            plan,
            gate,
            options,
            &Subject { id, bundle: bundle.path(), config: &config },
        )
    }

    pub(crate) fn root(&self) -> &CStr {
        &self.root
    }

    /// Finds a container.
    pub fn container(&self, id: &str) -> Result<Container> {
        let dir = StateDir::open(&self.root, id)?;
        Ok(Container { id: id.into(), dir, trace: self.trace.clone() })
    }

    /// Deletes a container, and with `Force::Yes` also one that runs, one whose making was interrupted, or none.
    /// Hooks that fail afterwards are warnings.
    pub fn delete(&self, id: &str, force: Force) -> Result<Vec<Warning>> {
        match self.container(id) {
            Ok(container) => container.delete(force),
            Err(error) if error.kind() == Kind::NotFound && force == Force::Yes => Ok(Vec::new()),
            Err(error) => Err(error.during("delete", id)),
        }
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        Ok(state::ids(&self.root)?.map_or_else(Vec::new, |(_, ids)| ids))
    }

    /// The state of every container, by id. One that cannot be read is an error in its place.
    pub fn list(&self) -> Result<Vec<(String, Result<Listed>)>> {
        let Some((root, ids)) = state::ids(&self.root)? else {
            return Ok(Vec::new());
        };
        let mut bin = Bin::default();
        let each = ids.into_iter().filter_map(|id| match self.listed(&root, &id, &mut bin) {
            // Deleted while we looked.
            Err(error) if error.kind() == Kind::NotFound => None,
            listed => Some((id, listed)),
        });
        Ok(each.collect())
    }

    fn listed(&self, root: &OwnedFd, id: &str, bin: &mut Bin) -> Result<Listed> {
        let Some(glance) = state::glance(root, id, bin) else {
            let container = self.container(id)?;
            return Ok(Listed { state: container.listed()?, owner: container.owner()? });
        };
        let frozen = |cgroups: &[state::CgroupDir]| {
            let dirs: Vec<_> = cgroups.iter().map(state::CgroupDir::to_dir).collect();
            orlop_cgroup::is_frozen(&dirs).map_err(|error| from_cgroup(error).during("list", id))
        };
        let status = match &glance.cgroups {
            None => Status::Created,
            Some(cgroups) if frozen(cgroups)? => Status::Paused,
            Some(_) => Status::Running,
        };
        Ok(Listed { state: describe(id, glance.pid, status, glance.told), owner: glance.owner })
    }
}

fn describe(id: &str, pid: Pid, status: Status, told: Told) -> ContainerState<'static> {
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

fn plan_for(
    id: &str,
    bundle: &Bundle,
    config: &Config<'_>,
    host: &Host,
    options: &CreateOptions,
    gate: Gate,
) -> Result<Plan> {
    with_options(id, bundle, config, options, gate, |options| plan::plan(config, host, options))
}

/// Plans with what the planner is told of the caller's choices.
pub(crate) fn with_options(
    id: &str,
    bundle: &Bundle,
    config: &Config<'_>,
    options: &CreateOptions,
    gate: Gate,
    plan: impl FnOnce(&Options<'_>) -> Result<Plan>,
) -> Result<Plan> {
    let systemd_cgroup = systemd_cgroup(options)?;
    plan(&planned(id, bundle, config, options, gate, &systemd_cgroup))
}

/// What a plan has to know of the caller's choices.
fn planned<'a>(
    id: &'a str,
    bundle: &'a Bundle,
    config: &Config<'_>,
    options: &CreateOptions,
    gate: Gate,
    systemd_cgroup: &'a str,
) -> Options<'a> {
    Options {
        id,
        bundle: bundle.path(),
        gate,
        root_change: options.root_change,
        keyring: options.keyring,
        cgroup_manager: options.cgroup_manager,
        systemd: options.systemd.clone(),
        systemd_cgroup,
        preserve_fds: options.preserve_fds,
        listen_fds: options.listen_fds,
        console: options.console.planned(config.process.as_ref().is_some_and(|process| process.terminal)),
        joins_own_network: joins_own_network(config),
    }
}

/// Where a user's systemd is, only it can tell; the system's has the root.
fn systemd_cgroup(options: &CreateOptions) -> Result<String> {
    if options.cgroup_manager != orlop_cgroup::Manager::Systemd || options.systemd == Bus::System {
        return Ok(String::new());
    }
    Client::connect(&options.systemd).and_then(|mut client| client.cgroup()).map_err(from_cgroup)
}

/// A container as [`Runtime::list`] finds it.
#[derive(Debug)]
pub struct Listed {
    /// Its state; the owner's name is left open.
    pub state: ContainerState<'static>,
    /// The user id of whoever made it.
    pub owner: u32,
}

/// Whether a sysctl of the container's network would be one of the caller's: looked up only where one is set.
fn joins_own_network(config: &Config<'_>) -> bool {
    let network = config.linux.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::Network);
    let Some(path) = network.map(|namespace| &*namespace.path).filter(|path| !path.is_empty()) else {
        return false;
    };
    let id = |path: &CStr| fs::stat_at(orlop_sys::CWD, path, fs::AtFlags::NONE).ok().map(|stat| (stat.dev, stat.ino));
    // A namespace that cannot be found cannot be joined either.
    !config.linux.sysctl.is_empty()
        && state::c_string(path)
            .is_ok_and(|path| id(&path).is_some_and(|theirs| Some(theirs) == id(c"/proc/self/ns/net")))
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    id: String,
    dir: StateDir,
    trace: Option<Arc<Trace>>,
}

impl Container {
    fn tracing(&self) -> Tracing<'_> {
        Tracing { trace: self.trace.as_deref(), container: &self.id }
    }

    pub(crate) fn of(id: &str, dir: StateDir) -> Container {
        Container { id: id.into(), dir, trace: None }
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

    /// Its state, as `orlop state` prints it.
    pub fn state(&self) -> Result<ContainerState<'static>> {
        self.look().map_err(|error| error.during("state", &self.id))
    }

    fn look(&self) -> Result<ContainerState<'static>> {
        let (mut status, init) = self.status()?;
        let record = self.dir.read_head()?;
        if init.is_some()
            && let Some(group) = record.as_ref().map(group_of).transpose()?.flatten()
            && group.is_frozen().map_err(from_cgroup)?
        {
            status = Status::Paused;
        }
        Ok(describe(
            &self.id,
            init.map_or(0, |init| init.pid),
            status,
            record.map(|record| record.told).unwrap_or_default(),
        ))
    }

    /// Its state, unless its making was interrupted so early that there is nothing to tell of it.
    fn listed(&self) -> Result<ContainerState<'static>> {
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
    fn poststart(&self, pid: Pid) -> Result<()> {
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

    /// Starts a further process in it.
    pub fn exec(&self, program: plan::exec::Program<'_>, options: &ExecOptions<'_>) -> Result<Executed> {
        exec::exec(&self.dir, &self.id, self.trace.as_ref(), program, options)
            .map_err(|error| error.during("exec", &self.id))
    }

    /// Sends a signal, by number.
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

    /// Deletes it. Hooks that fail afterwards are warnings.
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
    fn remove(&self, has_poststop: bool, gate: Gate) -> Result<Vec<Warning>> {
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

/// Sends a signal; `false` where init has ended.
fn send_to(init: Init, signal: i32) -> Result<bool> {
    let Some(pidfd) = init.open()? else { return Ok(false) };
    match process::pidfd_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(Error::system("pidfd_send_signal", format!("signal {signal}"), errno)),
    }
}

/// What few containers have outside of themselves, besides cgroups.
fn remove_outside(record: &Record) -> Result<()> {
    crate::create::unmount_outside(record)?;
    record.class.as_ref().map_or(Ok(()), crate::resctrl::Class::remove)
}

pub(crate) fn group_of(record: &Record) -> Result<Option<Group>> {
    if record.cgroups.is_empty() {
        return Ok(None);
    }
    let dirs = record.cgroups.iter().map(state::CgroupDir::to_dir).collect();
    Group::at(dirs).map(Some).map_err(from_cgroup)
}

/// A container whose program was started by this process.
pub struct Running {
    container: Container,
    launch: Launch,
    plan: Plan,
    group: Option<Group>,
    console: Option<OwnedFd>,
    ended: Option<Ended>,
}

impl Running {
    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Init's pid, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.launch.pid()
    }

    /// Init's pidfd: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.launch.pidfd().borrow()
    }

    /// What the caller should be told.
    pub fn warnings(&self) -> &[Warning] {
        &self.plan.warnings
    }

    /// The master of the program's terminal, if that was to come to the caller: waits for it. `None` the second time,
    /// without a terminal, and where init has failed before there was one.
    pub fn console(&mut self) -> Result<Option<OwnedFd>> {
        match self.console.take() {
            Some(socket) => crate::console::receive(socket),
            None => Ok(None),
        }
    }

    /// Waits until the program is executed, and leaves the container to itself.
    pub fn detach(self) -> Result<Container> {
        let tracing = self.container.tracing();
        let executed = tracing.time("await-program", || self.launch.await_program(&self.plan));
        tracing.steps(&self.plan.entries, self.launch.times());
        match executed {
            Ok(()) => Ok(self.container),
            Err(error) => {
                let id = self.container.id.clone();
                Err(self.clean(error).during("run", &id))
            }
        }
    }

    /// Sends a signal to init; one that has ended is none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        match process::pidfd_signal(self.launch.pidfd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => {
                let error = Error::system("pidfd_send_signal", format!("signal {signal}"), errno);
                Err(error.during("run", &self.container.id))
            }
        }
    }

    /// Waits for the program's end: how it ended, or why it never began. The container stays, stopped.
    pub fn wait(&mut self) -> Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let tracing = self.container.tracing();
        let ended = tracing.time("wait", || self.launch.try_reap());
        let ended = ended.map_err(|error| error.during("run", &self.container.id))?;
        tracing.steps(&self.plan.entries, self.launch.times());
        if let Some(error) = self.launch.verdict(&self.plan, ended) {
            return Err(error.during("run", &self.container.id));
        }
        self.ended = ended;
        ended.ok_or_else(|| {
            Error::new(Kind::System, "another part of this program has taken the container's exit status")
                .during("run", &self.container.id)
        })
    }

    /// Runs the hooks that wait for the program to run.
    fn poststart(self) -> Result<Running> {
        let pid = self.launch.pid();
        let done = self.launch.await_program(&self.plan).and_then(|()| self.container.poststart(pid));
        match done {
            Ok(()) => Ok(self),
            Err(error) => {
                self.launch.kill();
                let id = self.container.id.clone();
                Err(self.clean(error).during("run", &id))
            }
        }
    }

    /// Removes the container, which has ended. Hooks that fail afterwards are warnings.
    pub fn delete(&mut self) -> Result<Vec<Warning>> {
        let Running { container, group, plan, .. } = self;
        let tracing = container.tracing();
        let deleted = container.dir.lock().and_then(|()| {
            if let Some(mut group) = group.take()
                // Most often nothing is left in it.
                && tracing.time("cgroup-remove", || group.remove(Timespec::default())).is_err()
            {
                group.signal_all(SIGKILL).map_err(from_cgroup)?;
                group.remove(PATIENCE).map_err(from_cgroup)?;
            }
            if let Some(scope) = plan.cgroup.scope.take() {
                Client::connect(&scope.bus).and_then(|mut client| client.stop(&scope.unit)).map_err(from_cgroup)?;
            }
            if plan.has_more_outside()
                && let Some(record) = container.dir.read_head()?
            {
                remove_outside(&record)?;
            }
            container.remove(plan.has_poststop, Gate::Open)
        });
        deleted.map_err(|error| error.during("delete", &container.id))
    }

    fn clean(mut self, error: Error) -> Error {
        match self.delete() {
            Ok(_) => error,
            Err(second) => error.hint(format!("and it could not be removed: {second}")),
        }
    }
}

/// The same for the standard library: to wait for it in an event loop.
#[cfg(feature = "std")]
impl std::os::fd::AsFd for Running {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.launch.pidfd())
    }
}

/// What a failed run leaves is nothing; for callers of [`Running::wait`].
impl Running {
    /// Removes the container after `error`, which is handed back with what could not be removed.
    #[must_use]
    pub fn fail(self, error: Error) -> Error {
        self.clean(error)
    }
}
