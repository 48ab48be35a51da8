//! Executing a further process in a container that runs.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Controller, Dir, Group, Joined, Version};
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{self, Ended, Pid};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, thread};

use crate::cgroup::from_cgroup;
use crate::config::{Config, NamespaceKind};
use crate::console::{self, Console, Ends};
use crate::create::{write_oom_score, write_pid_file};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::launch::{Birth, Launch};
use crate::plan::exec::{self as plan, Program, SubCgroup, Target};
use crate::plan::{Act, Gate, Options, Plan, RootChange, SessionKeyring, Task, Warning, slot};
use crate::state::{CgroupDir, Init, StateDir};

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
}

/// Starts it. The container is not locked: what deletes it meanwhile ends the process too.
pub(crate) fn exec(dir: &StateDir, id: &str, program: Program<'_>, options: &ExecOptions<'_>) -> Result<Executed> {
    let (init, pidfd) = find_init(dir)?;
    let Some((record, text)) = dir.read_record()? else {
        return Err(Error::new(Kind::WrongState, "cannot exec in a container that is being created"));
    };
    let mut config = Config::parse(&text)?;
    plan::substitute(&mut config, program)?;
    let cgroups: Vec<Dir> = record.cgroups.iter().map(CgroupDir::to_dir).collect();
    if options.paused == Paused::Refused && is_frozen(&cgroups)? {
        let what = "cannot exec in a paused container (use --ignore-paused to override)";
        return Err(Error::new(Kind::WrongState, what));
    }
    let target =
        Target { cgroups, sub_cgroups: options.cgroups, own_user_namespace: shares_user_namespace(&config, init.pid)? };
    let plan = make_plan(&config, id, options, &target)?;
    let group = Group::at(plan.cgroup.dirs.clone()).map_err(from_cgroup)?;
    let console = Ends::new(&options.console, plan.has_console())?;
    let launch = launch(&config, &plan, &pidfd, &group, &console, options, init.pid)?;
    drop(console.inits);
    match accompany(&launch, &plan, &group, options) {
        Ok(()) => Ok(Executed { id: id.into(), launch, plan, console: console.ours, ended: None }),
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
    Ok((init, pidfd))
}

/// Whether the container's processes are stopped: by the freezer of v1 where there is one, else by that of v2.
fn is_frozen(dirs: &[Dir]) -> Result<bool> {
    let freezer = |dir: &&Dir| dir.controllers.contains(&Controller::FREEZER);
    let (dir, file, thawed) = match dirs.iter().find(freezer) {
        Some(dir) => (dir, "freezer.state", b'T'),
        None => match dirs.iter().find(|dir| dir.version == Version::V2) {
            Some(dir) => (dir, "cgroup.freeze", b'0'),
            None => return Ok(false),
        },
    };
    let path = format!("{}/{file}", dir.path);
    let mut state = [thawed; 1];
    let name = crate::state::c_string(&path)?;
    match fs::open_at(CWD, &name, OFlags::RDONLY, 0).and_then(|file| fs::read(&file, &mut state)) {
        Ok(_) => Ok(state != [thawed]),
        // No freezer in this kernel, or no cgroup any more.
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(Error::system("read", path, errno)),
    }
}

/// The kernel refuses to join the user namespace that one is in.
pub(crate) fn shares_user_namespace(config: &Config<'_>, init: Pid) -> Result<bool> {
    if !config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User) {
        return Ok(true);
    }
    let failed = |errno| Error::system("statx", "the container's user namespace", errno);
    let path = crate::state::c_string(&format!("/proc/{init}/ns/user"))?;
    let theirs = fs::stat_at(CWD, &path, AtFlags::NONE).map_err(failed)?;
    let ours = fs::stat_at(CWD, c"/proc/self/ns/user", AtFlags::NONE).map_err(failed)?;
    Ok((theirs.ino, theirs.dev) == (ours.ino, ours.dev))
}

fn make_plan(config: &Config<'_>, id: &str, options: &ExecOptions<'_>, target: &Target<'_>) -> Result<Plan> {
    let euid = thread::euid();
    // Which hierarchies there are is of no interest: the record names the directories.
    let cgroups = orlop_cgroup::Layout { mode: orlop_cgroup::Mode::Unified, hierarchies: Vec::new() };
    let host = Host { euid, egid: thread::egid(), rootless: euid != 0, cgroups };
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    let how = Options {
        id,
        bundle: "",
        gate: Gate::Open,
        root_change: RootChange::Pivot,
        keyring: SessionKeyring::New,
        cgroup_manager: orlop_cgroup::Manager::default(),
        preserve_fds: options.preserve_fds,
        // LISTEN_PID would have to be the number that the process gets in the container.
        listen_fds: 0,
        console: options.console.planned(terminal),
        systemd: orlop_cgroup::systemd::Bus::System,
        systemd_cgroup: "",
        joins_own_network: false,
    };
    plan::plan(config, &host, &how, target)
}

fn launch(
    config: &Config<'_>,
    plan: &Plan,
    init: &OwnedFd,
    group: &Group,
    console: &Ends,
    options: &ExecOptions<'_>,
    init_pid: Pid,
) -> Result<Launch> {
    let console_slot = console.inits.iter().map(|fd| (slot::CONSOLE_SOCKET, fd.borrow()));
    let own_pids = config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Pid);
    let start = |cgroup: Option<BorrowedFd<'_>>| {
        let birth = Birth {
            join: &[],
            cgroup,
            slots: [(slot::INIT, init.borrow())].into_iter().chain(console_slot.clone()).collect(),
            preserve_fds: options.preserve_fds,
            pid_namespace: own_pids.then(|| init.borrow()),
        };
        Launch::start(plan, &birth)
    };
    let Some(dir) = plan.cgroup.dirs.iter().find(|dir| dir.version == Version::V2) else {
        return start(None);
    };
    let tried = match group.fd() {
        Some(fd) => start(Some(fd.borrow())),
        None => Err(Error::system("openat", dir.path.clone(), Errno::NOENT)),
    };
    match tried {
        // Controllers were switched on below the container's cgroup, so that no process can be in it any more, or
        // init has left it and somebody removed it: init's own cgroup is where the container is.
        Err(error) if is_cgroup_gone(&error) && options.cgroups.is_empty() => {
            let fd = cgroup_of(init_pid, dir).map_err(|_| adding(&error))?;
            start(Some(fd.borrow()))
        }
        Err(error) if is_cgroup_gone(&error) => Err(adding(&error)),
        done => done,
    }
}

fn is_cgroup_gone(error: &Error) -> bool {
    [Errno::BUSY, Errno::NOENT, Errno::NODEV].iter().any(|errno| error.errno() == Some(errno.0))
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

/// What is done beside the process's init.
fn accompany(launch: &Launch, plan: &Plan, group: &Group, options: &ExecOptions<'_>) -> Result<()> {
    for entry in &plan.entries {
        let done = match entry.act {
            Act::Runtime(Task::CgroupAdopt) => adopt(launch, plan, group, options),
            Act::Runtime(Task::OomScoreAdj(value)) => write_oom_score(launch.pid(), value),
            Act::Runtime(Task::IgnoredSignals) => match crate::state::ignored_by(launch.pid())? {
                Some(signals) => {
                    launch.ignores(signals);
                    Ok(())
                }
                // It has ended: what it failed with is the reason.
                None => return Err(launch.failure(plan)),
            },
            _ => Ok(()),
        };
        done.map_err(|error| {
            let origin = entry.origin.to_pointer();
            error.at(entry.phase, origin)
        })?;
    }
    launch.complete(plan.entries.len() as u32)?;
    if let Some(socket) = &options.pidfd_socket {
        console::send_pidfd(socket, "setns", launch.pidfd().borrow())?;
    }
    if let Some(path) = &options.pid_file {
        launch.await_program(plan)?;
        write_pid_file(path, launch.pid())?;
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
    group.adopt(launch.pid(), joined).map_err(|error| adding(&from_cgroup(error)))
}

fn is_meant(dir: &Dir, cgroups: &[SubCgroup<'_>]) -> bool {
    cgroups.iter().any(|sub| dir.controllers.iter().any(|c| sub.controllers.contains(&c.as_str())))
}

impl Executed {
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

    /// Sends it a signal; one that has ended gets none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        match process::pidfd_signal(self.launch.pidfd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => {
                Err(Error::system("pidfd_send_signal", format!("signal {signal}"), errno).during("exec", &self.id))
            }
        }
    }

    /// Waits until its program is executed, and leaves it to itself.
    pub fn detach(self) -> Result<()> {
        self.launch.await_program(&self.plan).map_err(|error| error.during("exec", &self.id))
    }

    /// Waits for its end: how it ended, or why its program never began.
    pub fn wait(&mut self) -> Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = self.launch.reap();
        if let Some(error) = self.launch.verdict(&self.plan, ended) {
            return Err(error.during("exec", &self.id));
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
    crate::state::read_all(&file).map_err(failed("read"))
}
