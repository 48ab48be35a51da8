//! Executing a further process in a container that runs.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Dir, Group, Joined, Need, Version};
use orlop_sys::event;
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{Clone as CloneFlags, Ended, Pid};
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd};

use crate::agent;
use crate::cgroup::from_cgroup;
use crate::config::{Config, NamespaceKind, Status};
use crate::console::{self, Console, Ends};
use crate::create::write_oom_score;
use crate::error::{Error, Kind, Result};
use crate::hook::Subject;
use crate::host::Host;
pub use crate::launch::Thread;
use crate::launch::{Birth, Launch};
use crate::pid_file;
use crate::plan::exec::{self as plan, Asked, Program, SubCgroup, Target};
use crate::plan::{Act, Gate, Options, Orphans, Plan, RootChange, SessionKeyring, Task, Warning, delegated, slot};
use crate::socket;
use crate::state::{Init, Record, ScopeName, StateDir, ignored_signals};
use crate::trace::{Trace, Tracing};

/// How a process is executed in a container, besides what it is.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions<'a> {
    /// A file to hold the process's pid as the caller sees it. Written when the program runs; none is left of a
    /// failure.
    pub pid_file: Option<CString>,
    /// How many of the caller's descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// Where below the container's cgroup the process goes; there by default.
    pub cgroups: &'a [SubCgroup<'a>],
    /// Whether a paused container will do: the process then waits with the others.
    pub paused: Paused,
    /// Who gets the master of a terminal.
    pub console: Console,
    /// A connected socket that gets a pidfd of the process.
    pub pidfd_socket: Option<Arc<OwnedFd>>,
    /// What becomes of the calling thread's later children.
    pub thread: Thread,
}

/// What is done about a paused container.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paused {
    /// It is an error.
    #[default]
    Refused,
    /// Nothing.
    Ignored,
}

/// A process that was started in a container.
pub struct Executed {
    id: String,
    launch: Launch,
    plan: Plan,
    console: Option<OwnedFd>,
    ended: Option<Ended>,
    trace: Option<Arc<Trace>>,
    asked: Asked,
}

/// Starts it. The container is not locked: what deletes it meanwhile ends the process too.
pub(crate) fn exec(
    dir: &StateDir,
    id: &str,
    trace: Option<&Arc<Trace>>,
    program: Program<'_>,
    options: &ExecOptions<'_>,
) -> Result<Executed> {
    let tracing = Tracing { trace: trace.map(AsRef::as_ref), container: id };
    let mut bin = Bin::default();
    let (init, pidfd) = tracing.time("find-init", || find_init(dir))?;
    let Some((record, text)) = tracing.time("read-state", || dir.read_whole(&mut bin))? else {
        return Err(Error::new(Kind::WrongState, "cannot exec in a container that is being created"));
    };
    let mut config = tracing.time("parse", || Config::parse(&text))?;
    plan::substitute(&mut config, program)?;
    let mut host = caller(&config)?;
    // As it was made: root of a user namespace, too.
    host.rootless |= record.rootless;
    // Who made a container with a user namespace may have had no right to make cgroups.
    let need = if has_user_namespace(&config) || record.rootless { Need::IfPermitted } else { Need::Required };
    let cgroups: Vec<Dir> = record.cgroups.iter().map(|dir| Dir { need, ..dir.to_dir() }).collect();
    let containers = Group::at(cgroups.clone()).map_err(from_cgroup)?;
    if options.paused == Paused::Refused && tracing.time("is-frozen", || containers.is_frozen()).map_err(from_cgroup)? {
        let what = "cannot exec in a paused container (use --ignore-paused to override)";
        return Err(Error::new(Kind::WrongState, what));
    }
    let mut target = Target {
        cgroups,
        sub_cgroups: options.cgroups,
        is_attached: false,
        own_user_namespace: shares_user_namespace(&config, init.pid)?,
        is_unprivileged: host.euid != 0,
    };
    let mut plan = tracing.time("plan", || make_plan(&config, program, &host, id, options, &target, &record))?;
    let group = match options.cgroups {
        [] if delegated(&config).is_none() => containers,
        _ => Group::at(plan.cgroup.dirs.clone()).map_err(from_cgroup)?,
    };
    let console = Ends::new(&options.console, plan.has_console())?;
    let in_scope = record.scope.is_some();
    let launch = loop {
        let timed = trace.is_some();
        let rootless = host.rootless;
        let birth =
            Origin { config: &config, target: &target, init: &pidfd, init_pid: init.pid, in_scope, timed, rootless };
        match tracing.time("clone", || launch(&birth, &plan, &group, &console, options, &mut bin))? {
            Some(launch) => break launch,
            // Init has to wait until systemd has moved it.
            None => target.is_attached = true,
        }
        plan = tracing.time("plan", || make_plan(&config, program, &host, id, options, &target, &record))?;
    };
    drop(console.inits);
    let placed = record.class.as_ref().map_or(Ok(()), |class| class.adopt(launch.pid()));
    bin.throw(pidfd);
    let subject = Subject { id, bundle: &record.told.bundle, config: &config };
    let scope = record.scope.as_ref().filter(|_| target.is_attached);
    let who = (&subject, init.pid);
    match placed.and_then(|()| accompany(&launch, &plan, (group, scope, bin), options, who, tracing)) {
        Ok(()) => {
            let trace = trace.cloned();
            let asked = Asked::of(&program);
            Ok(Executed { id: id.into(), launch, plan, console: console.ours, ended: None, trace, asked })
        }
        Err(error) => {
            launch.kill();
            Err(error)
        }
    }
}

/// The container's init, and a pidfd of it and of no later process with its number.
fn find_init(dir: &StateDir) -> Result<(Init, OwnedFd)> {
    let stopped = || Error::new(Kind::WrongState, "cannot exec in a stopped container");
    let Some(init) = dir.read_init()? else {
        return Err(match dir.is_locked()? {
            true => Error::new(Kind::WrongState, "cannot exec in a container that is being created"),
            false => stopped(),
        });
    };
    let pidfd = init.open()?.ok_or_else(stopped)?;
    if !await_root(dir, init.pid, &pidfd)? {
        return Err(stopped());
    }
    Ok((init, pidfd))
}

/// Waits until init has changed its root, which `run` does not wait for: whoever joins its mount namespace before has
/// the host's. Whether it lives.
pub(crate) fn await_root(dir: &StateDir, init: Pid, pidfd: &OwnedFd) -> Result<bool> {
    const PAUSE: Timespec = Timespec::from_millis(2);
    let failed = |call| move |errno| Error::system(call, "the container's init", errno);
    let proc = |name: &str| crate::state::c_string(&format!("/proc/{init}/{name}"));
    let (program, root, mounts) = (proc("exe")?, proc("root")?, proc("mountinfo")?);
    for _ in 0..5_000 {
        // Every other program began after that. Where it cannot be read, the namespaces cannot be joined either.
        let mut buf = [0u8; 64];
        let len = fs::readlink_at(CWD, &program, &mut buf).unwrap_or(0);
        if !buf.get(..len).unwrap_or_default().windows(INIT.len()).any(|part| part == INIT) {
            return Ok(true);
        }
        let place = |path: &CStr| fs::stat_at(CWD, path, AtFlags::NONE).map(|stat| (stat.ino, stat.dev));
        let made = match place(&root) {
            // Between pivot_root(2) and umount2(2) the host's lies on top of its own.
            Ok(theirs) if theirs != place(c"/").map_err(failed("statx"))? => {
                let table = fs::open_at(CWD, &mounts, OFlags::RDONLY, 0).and_then(|file| crate::state::read_all(&file));
                table.is_ok_and(|table| roots(&table) < 2)
            }
            // It has ended meanwhile, or has not begun.
            _ => false,
        };
        // Who waits for `start` is through with it, though the root be the host's.
        if made || dir.awaits_start()? && !dir.is_locked()? {
            return Ok(true);
        }
        if event::wait_readable(pidfd, Some(PAUSE)).map_err(failed("ppoll"))? {
            return Ok(false);
        }
    }
    Err(Error::new(Kind::WrongState, "cannot exec in a container that is being created"))
}

/// How many mounts of that proc_pid_mountinfo(5) are at the root.
fn roots(table: &[u8]) -> usize {
    table.split(|&b| b == b'\n').filter(|line| line.split(|&b| b == b' ').nth(4) == Some(b"/")).count()
}

/// What stands in the path of init's program.
const INIT: &[u8] = b"orlop:[init]";

/// The kernel refuses to join the user namespace that one is in.
pub(crate) fn shares_user_namespace(config: &Config<'_>, init: Pid) -> Result<bool> {
    if !has_user_namespace(config) {
        return Ok(true);
    }
    let failed = |errno| Error::system("statx", "the container's user namespace", errno);
    let path = crate::state::c_string(&format!("/proc/{init}/ns/user"))?;
    let theirs = fs::stat_at(CWD, &path, AtFlags::NONE).map_err(failed)?;
    let ours = fs::stat_at(CWD, c"/proc/self/ns/user", AtFlags::NONE).map_err(failed)?;
    Ok((theirs.ino, theirs.dev) == (ours.ino, ours.dev))
}

fn has_user_namespace(config: &Config<'_>) -> bool {
    config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User)
}

/// Who asks matters only for what a user namespace allows.
fn caller(config: &Config<'_>) -> Result<Host> {
    // Which hierarchies there are is of no interest: the record names the directories.
    let cgroups = orlop_cgroup::Layout { mode: orlop_cgroup::Mode::Unified, hierarchies: Vec::new() };
    match has_user_namespace(config) {
        true => Host::caller(cgroups),
        false => Ok(Host { euid: 0, egid: 0, rootless: false, cgroups }),
    }
}

fn make_plan(
    config: &Config<'_>,
    program: Program<'_>,
    host: &Host,
    id: &str,
    options: &ExecOptions<'_>,
    target: &Target<'_>,
    record: &Record,
) -> Result<Plan> {
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    let how = Options {
        id,
        bundle: "",
        gate: Gate::Open,
        root_change: RootChange::Pivot,
        keyring: if record.callers_keyring { SessionKeyring::Callers } else { SessionKeyring::New },
        cgroup_manager: orlop_cgroup::Manager::default(),
        preserve_fds: options.preserve_fds,
        // LISTEN_PID would have to be the number that the process gets in the container.
        listen_fds: 0,
        console: options.console.planned(terminal),
        systemd: orlop_cgroup::systemd::Bus::System,
        systemd_cgroup: "",
        joins_own_network: false,
        orphans: Orphans::default(),
    };
    plan::plan(config, program, host, &how, target)
}

/// What a process is born from.
struct Origin<'a> {
    config: &'a Config<'a>,
    target: &'a Target<'a>,
    init: &'a OwnedFd,
    init_pid: Pid,
    /// Whether systemd can put it where the caller may not.
    in_scope: bool,
    timed: bool,
    /// Whether who asks lacks the host's rights.
    rootless: bool,
}

/// `None` where the caller may not enter the container's cgroup and systemd can do it for him.
fn launch(
    origin: &Origin<'_>,
    plan: &Plan,
    group: &Group,
    console: &Ends,
    options: &ExecOptions<'_>,
    bin: &mut Bin,
) -> Result<Option<Launch>> {
    let ignored = ignored_signals(bin)?;
    let console_slot = console.inits.iter().map(|fd| (slot::CONSOLE_SOCKET, fd.borrow()));
    let own_pids = origin.config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Pid);
    let at_birth = origin.target.is_joined_at_birth(origin.config);
    let init = origin.init.borrow();
    // A thread gets back into a pid namespace by a right over it alone, which root of a user namespace may not have.
    let by_child = at_birth || origin.rootless && options.thread == Thread::Returns;
    let mut join = Vec::new();
    join.extend(at_birth.then_some((init, CloneFlags::NEWUSER)));
    join.extend((own_pids && by_child).then_some((init, CloneFlags::NEWPID)));
    let own_mounts = origin.config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Mount);
    // Where the user namespace is the container's, its CAP_SYS_PTRACE counts: what it can see has no root of the host's.
    join.extend((own_mounts && at_birth).then_some((init, CloneFlags::NEWNS)));
    // Without a mount namespace of its own the container is where its root is.
    let root = match own_mounts {
        true => None,
        false => Some(root_of(origin.init_pid)?),
    };
    let mut start = |cgroup: Option<BorrowedFd<'_>>| {
        let root = root.iter().map(|fd| (slot::ROOT, fd.borrow()));
        let birth = Birth {
            join: &join,
            cgroup,
            slots: [(slot::INIT, init)].into_iter().chain(console_slot.clone()).chain(root).collect(),
            preserve_fds: options.preserve_fds,
            pid_namespace: (own_pids && !by_child).then_some(init),
            thread: options.thread,
            timed: origin.timed,
            ignored: Some(ignored),
        };
        Launch::start(plan, &birth, bin)
    };
    let Some(dir) = plan.cgroup.dirs.iter().find(|dir| dir.version == Version::V2 && !origin.target.is_attached) else {
        return start(None).map(Some);
    };
    let tried = match group.fd() {
        Some(fd) => start(Some(fd.borrow())),
        None => Err(Error::system("openat", dir.path.clone(), Errno::NOENT)),
    };
    match tried {
        Err(error) if origin.in_scope && options.cgroups.is_empty() && is_permission(&error) => return Ok(None),
        // Controllers were switched on below the container's cgroup, so that no process can be in it any more, or
        // init has left it and somebody removed it, or it never had one: init's own cgroup is where the container is.
        Err(error) if options.cgroups.is_empty() && cannot_enter(&error) => {
            let fd = cgroup_of(origin.init_pid, dir).map_err(|_| adding(&error));
            match fd.and_then(|fd| start(Some(fd.borrow()))) {
                // As runc: who may not enter that either stays where it is.
                Err(_) if dir.need == Need::IfPermitted => start(None),
                done => done,
            }
        }
        Err(error) if is_cgroup_gone(&error) => Err(adding(&error)),
        done => done,
    }
    .map(Some)
}

fn root_of(init: Pid) -> Result<OwnedFd> {
    let path = crate::state::c_string(&format!("/proc/{init}/root"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    fs::open_at(CWD, &path, flags, 0).map_err(|errno| Error::system("openat", "the container's root", errno))
}

fn cannot_enter(error: &Error) -> bool {
    is_cgroup_gone(error) || is_permission(error)
}

fn is_permission(error: &Error) -> bool {
    error.is_any(&[Errno::ACCES, Errno::PERM])
}

fn is_cgroup_gone(error: &Error) -> bool {
    error.is_any(&[Errno::BUSY, Errno::NOENT, Errno::NODEV])
}

/// As runc words it.
fn adding(error: &Error) -> Error {
    Error::new(error.kind(), format!("error adding pid of the new process to cgroups: {error}"))
}

/// The v2 cgroup that a process is in.
fn cgroup_of(pid: Pid, dir: &Dir) -> orlop_sys::Result<OwnedFd> {
    let path = CString::new(format!("/proc/{pid}/cgroup")).map_err(|_| Errno::INVAL)?;
    let file = fs::open_at(CWD, &path, OFlags::RDONLY, 0)?;
    let text = crate::state::read_all(&file)?;
    let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::")).ok_or(Errno::NOENT)?;
    let mount = dir.path.get(..dir.mount_len).unwrap_or_default();
    let path = CString::new([mount.as_bytes(), line].concat()).map_err(|_| Errno::INVAL)?;
    fs::open_at(CWD, &path, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// What is done beside the process's init. What waits for it comes last.
fn accompany(
    launch: &Launch,
    plan: &Plan,
    (group, scope, mut bin): (Group, Option<&ScopeName>, Bin),
    options: &ExecOptions<'_>,
    (subject, init): (&Subject<'_>, Pid),
    tracing: Tracing<'_>,
) -> Result<()> {
    let mut group = Some(group);
    for overlaps in [true, false] {
        if !overlaps && let Some(group) = group.take() {
            group.close(&mut bin);
            // Init's end of the socket among them: only without it does its end show to who waits for it, and what
            // overlaps waits for nothing.
            bin.empty();
        }
        for (index, entry) in plan.entries.iter().enumerate() {
            let Act::Runtime(task) = entry.act else { continue };
            let act = || match task {
                Task::CgroupAdopt => match (scope, &group) {
                    (Some(scope), _) => {
                        let below = plan.cgroup.dirs.iter().map(Dir::below_outer).next().unwrap_or_default();
                        scope.attach(below, launch.pid()).map_err(|error| adding(&from_cgroup(error)))
                    }
                    (None, Some(group)) => adopt(launch, plan, group, options),
                    (None, None) => Ok(()),
                },
                Task::OomScoreAdj(value) => write_oom_score(launch.pid(), value),
                Task::SeccompListener { path, metadata } => {
                    launch.complete(index as u32)?;
                    launch.await_init(plan, index as u32)?;
                    let state = subject.state(Status::Running, init);
                    launch
                        .listener()
                        .and_then(|listener| agent::offer(&listener, plan, launch.pid(), (path, metadata), state))
                }
                _ => Ok(()),
            };
            let done = if task.overlaps() == overlaps { tracing.task(entry, act) } else { Ok(()) };
            done.map_err(|error| entry.blame(error))?;
        }
    }
    launch.complete(plan.entries.len() as u32)?;
    if let Some(socket) = &options.pidfd_socket {
        socket::send_pidfd(socket, "setns", launch.pidfd().borrow())?;
    }
    if let Some(path) = &options.pid_file {
        launch.await_program(plan)?;
        pid_file::write(path, launch.pid())?;
    }
    Ok(())
}

fn adopt(launch: &Launch, plan: &Plan, group: &Group, options: &ExecOptions<'_>) -> Result<()> {
    // A directory that the container was never in is left out; not so one that was asked for.
    for dir in plan.cgroup.dirs.iter().filter(|dir| is_meant(dir, options.cgroups)) {
        let path = crate::state::c_string(&dir.path)?;
        fs::access_at(CWD, &path, 0, AtFlags::NONE)
            .map_err(|errno| adding(&Error::system("openat", dir.path.clone(), errno)))?;
    }
    let joined = if group.fd().is_some() { Joined::Unified } else { Joined::Nothing };
    match group.adopt(launch.pid(), joined) {
        // Where none could be made there is none.
        Err(error) if error.is_missing() && plan.cgroup.dirs.iter().all(|dir| dir.need == Need::IfPermitted) => Ok(()),
        done => done.map_err(|error| adding(&from_cgroup(error))),
    }
}

fn is_meant(dir: &Dir, cgroups: &[SubCgroup<'_>]) -> bool {
    cgroups.iter().any(|sub| dir.controllers.iter().any(|c| sub.controllers.contains(&c.as_str())))
}

impl Executed {
    fn tracing(&self) -> Tracing<'_> {
        Tracing { trace: self.trace.as_deref(), container: &self.id }
    }

    /// The process's pid, as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.launch.pid()
    }

    /// Its pidfd: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.launch.pidfd().borrow()
    }

    /// What the caller should be told.
    pub fn warnings(&self) -> &[Warning] {
        &self.plan.warnings
    }

    /// The master of the program's terminal; see [`Running::console`](crate::Running::console).
    pub fn console(&mut self) -> Result<Option<OwnedFd>> {
        self.console.take().map_or(Ok(None), console::receive)
    }

    /// Sends it a signal, by number; see signal(7). One that has ended gets none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.launch.signal(signal).map_err(|error| error.during("exec", &self.id))
    }

    /// Waits until its program is executed, and leaves it to itself.
    pub fn detach(self) -> Result<()> {
        let executed = self.tracing().time("await-program", || self.launch.await_program(&self.plan));
        self.tracing().steps(&self.plan.entries, self.launch.times());
        executed.map_err(|error| self.asked.place(error).during("exec", &self.id))
    }

    /// Waits for its end: how it ended, or why its program never began.
    pub fn wait(&mut self) -> Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = self.tracing().time("wait", || self.launch.reap());
        let ended = ended.map_err(|error| error.during("exec", &self.id))?;
        self.tracing().steps(&self.plan.entries, self.launch.times());
        if let Some(error) = self.launch.verdict(&self.plan, ended) {
            return Err(self.asked.place(error).during("exec", &self.id));
        }
        self.ended = ended;
        ended.ok_or_else(|| {
            Error::new(Kind::System, "another part of this program has taken the process's exit status")
                .during("exec", &self.id)
        })
    }
}

/// Reads the file of a process object.
pub fn read_process(path: &CStr) -> Result<Vec<u8>> {
    let failed = |call| {
        let path = path.to_string_lossy().into_owned();
        move |errno| Error::system(call, format!("the process in {path}"), errno)
    };
    let file = fs::open_at(CWD, path, OFlags::RDONLY, 0).map_err(failed("openat"))?;
    crate::state::read_to_end(&file).map_err(failed("read"))
}
