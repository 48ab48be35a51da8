//! Starting a container from the images that criu(8) has made of it.

#![allow(unsafe_code)] // a look into another network namespace

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{self, Clone as CloneFlags, Ended, Pid, Waiting};
use orlop_sys::signal::SIGKILL;
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, STDERR, STDIN, STDOUT, credentials, fd, net};

use crate::bundle::Bundle;
use crate::checkpoint::{NULL, OUTSIDE, config_file};
use crate::config::{Config, Document, Layout, Namespace, NamespaceKind, Str};
use crate::console::Console;
use crate::container::{Container, Force};
use crate::create::{self, CreateOptions, Made, Making};
use crate::criu::{self, CriuOptions, Descriptors, MakeImages, Message, Notice, Peer, Request, Start, option};
use crate::error::{Error, Kind, Result};
use crate::hook::Subject;
use crate::host::Host;
use crate::launch::{Launch, signal_to};
use crate::pid_file;
use crate::plan::{self, Act, Gate, HookEvent, Plan, Task, Warning};
use crate::runtime::{Runtime, with_options};
use crate::state::{Init, StateDir, c_string};

/// How a container is restored.
#[derive(Debug, Default)]
pub struct RestoreOptions {
    /// What saving has too.
    pub criu: CriuOptions,
    /// Its pid file, its cgroup's manager, its terminal, and how the root is changed. The rest is as it was saved.
    pub create: CreateOptions,
    /// TCP connections are closed.
    pub tcp_close: bool,
    /// The loopback device of a new network namespace stays down, too.
    pub empty_network: bool,
    /// Another profile of a security module, as `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// Another SELinux context of mounts.
    pub lsm_mount_context: Option<String>,
}

/// criu's log of a restore.
const LOG: &str = "restore.log";

/// A container whose processes were restored by this process, and are its children.
pub struct Restored {
    container: Option<Container>,
    id: String,
    pid: Pid,
    pidfd: OwnedFd,
    warnings: Vec<Warning>,
    adopts_orphans: bool,
    console: Option<OwnedFd>,
    ended: Option<Ended>,
}

impl Runtime {
    /// Makes a container of a bundle and of images, and lets its processes go on where they were.
    pub fn restore(&self, id: &str, bundle: &Bundle, options: &RestoreOptions) -> Result<Restored> {
        self.make_restored(id, bundle, options).map_err(|error| error.during("restore", id))
    }

    fn make_restored(&self, id: &str, bundle: &Bundle, options: &RestoreOptions) -> Result<Restored> {
        crate::state::check_id(id)?;
        if credentials::euid() != 0 {
            return Err(Error::not_supported("a restore needs root"));
        }
        criu::check(&options.criu.criu)?;
        let config = bundle.config()?;
        let host = Host::probe()?;
        let plan = with_options(id, bundle, &config, &options.create, Gate::Open, |how| {
            plan::restore::plan(&config, &host, how)
        })?;
        let subject = Subject { id, bundle: bundle.path(), config: &config };
        let mut job =
            Job { bundle, options, plan: &plan, host: &host, subject: &subject, process: None, console: None };
        let mut made = Made::new(self.root(), self.tracing(id));
        let done = job.restore(&mut made);
        let Job { process, console, .. } = job;
        match (done, made, process) {
            (Ok(()), Made { state: Some(state), .. }, Some((pid, pidfd))) => Ok(Restored {
                container: Some(Container::of(id, state, None)),
                id: id.into(),
                pid,
                pidfd,
                adopts_orphans: plan.adopts_orphans(),
                warnings: plan.warnings,
                console,
                ended: None,
            }),
            (done, made, process) => {
                let error = done.err().unwrap_or_else(|| Error::new(Kind::System, "criu did not say what it restored"));
                let began = process.is_some();
                if let Some((_, pidfd)) = process {
                    // Gone it is where criu has taken everything back.
                    let _gone = process::pidfd_signal(&pidfd, SIGKILL);
                    let _reaped = process::wait(&pidfd, Waiting::Block);
                }
                let error = made.undo(error);
                Err(if began && plan.has_poststop { create::after_failure(error, &subject) } else { error })
            }
        }
    }
}

/// What is done, and what has come of it so far.
struct Job<'a> {
    bundle: &'a Bundle,
    options: &'a RestoreOptions,
    plan: &'a Plan,
    host: &'a Host,
    subject: &'a Subject<'a>,
    process: Option<(Pid, OwnedFd)>,
    console: Option<OwnedFd>,
}

impl Job<'_> {
    fn restore(&mut self, made: &mut Made<'_>) -> Result<()> {
        let (options, plan, config) = (self.options, self.plan, self.subject.config);
        let (mut images, mut work) = options.criu.directories(MakeImages::No)?;
        let making =
            Making { bundle: self.bundle, plan, gate: Gate::Open, options: &options.create, subject: self.subject };
        for entry in plan.entries.iter().take(plan.clone_index() + 1) {
            if let Act::Runtime(task) = entry.act {
                create::prepare(made, making, task).map_err(|error| create::placed(error, entry))?;
            }
        }
        let mounts = match made.launch.take() {
            Some(launch) => mount_namespace(&launch, plan)?,
            None => return Err(Error::new(Kind::System, "the plan makes no mount namespace")),
        };
        images.within(mounts.borrow())?;
        if let Some(work) = &mut work {
            work.within(mounts.borrow())?;
        }
        let descriptors = match images.read(Descriptors::FILE)? {
            Some(text) => Descriptors::parse(&text)?,
            None => Descriptors::default(),
        };
        let namespaces = open_outside(config)?;
        let mut fds: Vec<OwnedFd> =
            namespaces.iter().map(|(fd, ..)| duplicate(fd.borrow())).collect::<Result<Vec<OwnedFd>>>()?;
        // Copies: criu takes what it is given, and with --shell-job looks for its own standard input.
        let mut terminals: Vec<&String> = Vec::new();
        for (name, fd) in descriptors.0.iter().zip([STDIN, STDOUT, STDERR]) {
            if name.starts_with(criu::TERMINAL) && !terminals.contains(&name) {
                terminals.push(name);
                fds.push(duplicate(fd)?);
            }
        }
        let start = Start { mounts: Some(mounts.borrow()), inherited: &fds, stdio: true };
        let (mut peer, places) = Peer::start(&options.criu.criu, &start)?;
        let version = peer.version()?;
        let mut message = options.criu.message(&images, work.as_ref(), LOG);
        self.options_of(config, version, &mut message)?;
        for (name, place) in terminals.iter().zip(places.iter().skip(namespaces.len())) {
            message.message(option::INHERIT_FD, &criu::named(name, i64::from(*place)));
        }
        for ((_, key, since), place) in namespaces.iter().zip(places) {
            if version < *since {
                return Err(Error::not_supported("criu lacks support for external namespaces").hint("it is too old"));
            }
            message.message(option::INHERIT_FD, &criu::named(key, i64::from(place)));
        }
        for (fd, name) in descriptors.0.iter().enumerate() {
            if name.starts_with(criu::PIPE) || name.starts_with(criu::EXTERNAL_FILE) {
                message.message(option::INHERIT_FD, &criu::named(name, fd as i64));
            }
        }
        // What it restores is born in its own cgroup.
        create::contain(made, plan, peer.pid(), peer.pidfd())?;
        for (controller, path) in criu::cgroup_roots(peer.pid())? {
            message.message(option::CG_ROOT, &criu::pair(&controller, &path));
        }
        let state = made.state.as_ref().ok_or_else(|| Error::new(Kind::System, "the plan makes no state"))?;
        let place = work.as_ref().unwrap_or(&images);
        peer.carry_out(Request::Restore, &message, |notice| self.hear(notice, state))
            .map_err(|error| place.with_log(error, LOG))?;
        if let (Some(path), Some((pid, _))) = (&options.create.pid_file, &self.process) {
            pid_file::write(path, *pid)?;
            made.pid_file = Some(path.clone());
        }
        state.unlock()
    }

    fn options_of(&self, config: &Config<'_>, version: i64, message: &mut Message) -> Result<()> {
        let (options, plan) = (self.options, self.plan);
        message.text(option::ROOT, plan.rootfs.as_bytes());
        message.flag(option::EVASIVE_DEVICES, true);
        message.flag(option::RST_SIBLING, true);
        if options.tcp_close {
            message.flag(option::TCP_CLOSE, true);
        }
        for (value, field, flag) in [
            (&options.lsm_profile, option::LSM_PROFILE, "--lsm-profile"),
            (&options.lsm_mount_context, option::LSM_MOUNT_CONTEXT, "--lsm-mount-context"),
        ] {
            let Some(value) = value else { continue };
            if version < 31_600 {
                return Err(Error::not_supported(format!("{flag} requires at least CRIU 3.16")));
            }
            message.text(field, value.as_bytes());
        }
        config_file(config, message);
        for namespace in config.linux.namespaces.iter().filter(|namespace| !namespace.path.is_empty()) {
            let word = match namespace.kind {
                NamespaceKind::Network | NamespaceKind::Pid => continue,
                NamespaceKind::Cgroup => {
                    return Err(Error::not_supported("criu cannot restore into an existing cgroup namespace"));
                }
                NamespaceKind::Mount => "mnt",
                kind => kind.name(),
            };
            message.message(option::JOIN_NS, &criu::pair(word, &namespace.path));
        }
        let dirs = &plan.cgroup.dirs;
        for (key, source) in criu::external_mounts(config, self.host, self.bundle.path(), &plan.rootfs, dirs)? {
            message.message(option::EXT_MNT, &criu::pair(&key, &source));
        }
        if !config.linux.masked_paths.is_empty() {
            message.message(option::EXT_MNT, &criu::pair(NULL, NULL));
        }
        Ok(())
    }

    /// What criu tells on the way.
    fn hear(&mut self, notice: Notice, state: &StateDir) -> Result<()> {
        let pid = notice.pid;
        match notice.script.as_str() {
            "setup-namespaces" => {
                self.keep(pid)?;
                let config = self.subject.config;
                let new_network =
                    |namespace: &Namespace<'_>| namespace.kind == NamespaceKind::Network && namespace.path.is_empty();
                if config.linux.namespaces.iter().any(new_network) && !self.options.empty_network {
                    loopback(pid)?;
                }
                self.subject.run_all(HookEvent::Prestart, pid)?;
                self.subject.run_all(HookEvent::CreateRuntime, pid)
            }
            "post-restore" => {
                self.keep(pid)?;
                let born = self.process.as_ref().map(|(pid, pidfd)| Init::born(*pid, pidfd)).transpose()?.flatten();
                let (init, _) = born.ok_or_else(|| Error::new(Kind::System, "what criu restored has ended"))?;
                self.note_time_namespace(pid, state)?;
                state.write_init(init)
            }
            "orphan-pts-master" => match (&self.options.create.console, notice.fd) {
                (Console::Socket(socket), Some(master)) => net::send(&**socket, b"/dev/ptmx", &[master.borrow()])
                    .map(drop)
                    .map_err(|errno| Error::system("sendmsg", "sending the terminal to the console socket", errno)),
                (Console::Caller(_), Some(master)) => {
                    self.console = Some(master);
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn keep(&mut self, pid: Pid) -> Result<()> {
        if self.process.is_none() {
            let pidfd = process::pidfd_open(pid);
            let pidfd = pidfd.map_err(|errno| Error::system("pidfd_open", "what criu restored", errno))?;
            self.process = Some((pid, pidfd));
        }
        Ok(())
    }

    /// criu restores into a time namespace, so that clocks go on from where they were: what is executed later has to
    /// join it.
    fn note_time_namespace(&self, pid: Pid, state: &StateDir) -> Result<()> {
        let config = self.subject.config;
        let id = |path: &CStr| match fs::stat_at(CWD, path, AtFlags::NONE) {
            Ok(stat) => Ok(Some((stat.dev, stat.ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system("statx", "a time namespace", errno)),
        };
        let theirs = id(&c_string(&format!("/proc/{pid}/ns/time"))?)?;
        if theirs == id(c"/proc/self/ns/time")?
            || config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Time)
        {
            return Ok(());
        }
        let Some((record, _)) = state.read_record()? else { return Ok(()) };
        let mut changed = config.clone();
        changed.linux.namespaces.push(Namespace { kind: NamespaceKind::Time, path: Str::default() });
        state.replace_record(&record, changed.to_json(Layout::Compact).as_bytes())
    }
}

/// Lets the plan's init make the mount namespace and the mount points; it ends, and the namespace is held by us.
fn mount_namespace(launch: &Launch, plan: &Plan) -> Result<OwnedFd> {
    let kept = plan.entries.iter().position(|entry| matches!(entry.act, Act::Runtime(Task::MountNamespace)));
    let done = (|| {
        launch.await_init(plan, kept.unwrap_or_default() as u32)?;
        let path = c_string(&format!("/proc/{}/ns/mnt", launch.pid()))?;
        let namespace = fs::open_at(CWD, &path, OFlags::RDONLY, 0);
        let namespace = namespace.map_err(|errno| Error::system("openat", "criu's mount namespace", errno))?;
        launch.complete(plan.entries.len() as u32)?;
        launch.await_program(plan)?;
        Ok(namespace)
    })();
    launch.kill();
    done
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd::duplicate(fd, 3).map_err(|errno| Error::system("fcntl(F_DUPFD_CLOEXEC)", "a descriptor for criu", errno))
}

/// The namespaces that were outside when the container was saved: opened, with criu's key, and how old criu may be.
fn open_outside(config: &Config<'_>) -> Result<Vec<(OwnedFd, &'static str, i64)>> {
    let mut opened = Vec::new();
    for namespace in config.linux.namespaces.iter().filter(|namespace| !namespace.path.is_empty()) {
        let Some((_, word, key, since)) = OUTSIDE.into_iter().find(|(kind, ..)| *kind == namespace.kind) else {
            continue;
        };
        let file = fs::open_at(CWD, &c_string(&namespace.path)?, OFlags::RDONLY, 0).map_err(|errno| {
            Error::system("openat", format!("Requested {word} namespace {} does not exist", &*namespace.path), errno)
        })?;
        opened.push((file, key, since));
    }
    Ok(opened)
}

/// Brings the loopback device of a restored network namespace up, as that of a new one.
fn loopback(pid: Pid) -> Result<()> {
    let failed = |call| move |errno| Error::system(call, "the restored network namespace", errno);
    let path = c_string(&format!("/proc/{pid}/ns/net"))?;
    let namespace = fs::open_at(CWD, &path, OFlags::RDONLY, 0).map_err(failed("openat"))?;
    let mut work = || net::inet_socket().and_then(|socket| net::link_up(&socket, c"lo"));
    // SAFETY: `work` makes system calls, and nothing else.
    unsafe { process::in_namespace(namespace.borrow(), CloneFlags::NEWNET, &mut work) }
        .map_err(failed("ioctl(SIOCSIFFLAGS)"))
}

impl Restored {
    /// The first process's pid, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.borrow()
    }

    /// What the caller should be told.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether this process has become a subreaper, and has to reap the container's orphans.
    pub fn adopts_orphans(&self) -> bool {
        self.adopts_orphans
    }

    /// The master of the container's terminal, if that is to come to the caller; `None` the second time.
    pub fn console(&mut self) -> Result<Option<OwnedFd>> {
        Ok(self.console.take())
    }

    /// Sends a signal to the first process, by number; see signal(7). One that has ended gets none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        signal_to(&self.pidfd, signal).map(drop).map_err(|error| error.during("restore", &self.id))
    }

    /// Waits for its end. The container stays, stopped.
    pub fn wait(&mut self) -> Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = process::wait(&self.pidfd, Waiting::Block);
        let ended = ended.map_err(|errno| {
            Error::system("waitid", "the end of the container's process", errno).during("restore", &self.id)
        })?;
        self.ended = ended;
        ended.ok_or_else(|| {
            Error::new(Kind::System, "the container's process has no status").during("restore", &self.id)
        })
    }

    /// Removes the container, which has ended. Hooks that fail afterwards are warnings.
    pub fn delete(&mut self) -> Result<Vec<Warning>> {
        self.container.take().map_or(Ok(Vec::new()), |container| container.delete(Force::Yes))
    }
}
