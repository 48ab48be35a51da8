//! Carrying a plan out, and taking everything back where that fails.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Group, Joined, PATIENCE, systemd};
use orlop_init::step::{Follow, Text};
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{Clone as CloneFlags, Pid};
use orlop_sys::time::{self, Clock};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, thread, tty};

use crate::ahead::NetworkAhead;
use crate::bundle::Bundle;
use crate::cgroup::{applying, from_cgroup};
use crate::config::{
    Config, ContainerProcessState, Document, Layout, SECCOMP_FD_NAME, SPEC_VERSION, State, Status, Str,
};
use crate::console::{self, Console, Ends};
use crate::error::{Error, Kind, Result};
use crate::hook::Subject;
use crate::idmap;
use crate::launch::{Birth, Launch, Thread};
use crate::netlink;
use crate::plan::{
    Act, Entry, Gate, Ids, Join, Origin, Orphans, Plan, RootChange, SessionKeyring, Task, Warning, slot,
};
use crate::resctrl;
use crate::state::{CgroupDir, Init, RECORD_VERSION, Record, START, ScopeName, StateDir, Told};
use crate::trace::Tracing;

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

/// Network devices in the container's namespace, which is held for as long as they may have to come back.
struct GivenDevices {
    home: OwnedFd,
    namespace: OwnedFd,
    moved: Vec<netlink::Moved>,
}

impl GivenDevices {
    fn to(launch: &Launch) -> Result<GivenDevices> {
        let failed = |errno| Error::system("openat", "a network namespace", errno);
        let open = |path: &CStr| fs::open_at(CWD, path, OFlags::RDONLY, 0).map_err(failed);
        let namespace = open(&crate::state::c_string(&format!("/proc/{}/ns/net", launch.pid()))?)?;
        let home = open(c"/proc/thread-self/ns/net")?;
        let id = |fd: &OwnedFd| fs::stat(fd).map(|stat| (stat.dev, stat.ino)).map_err(failed);
        if id(&namespace)? == id(&home)? {
            let what = "unable to move network devices without a network namespace";
            return Err(Error::new(Kind::InvalidConfig, what).hint("the one that is joined is the runtime's own"));
        }
        Ok(GivenDevices { home, namespace, moved: Vec::new() })
    }
}

/// Everything that was made so far, to be taken back in reverse unless it is kept.
pub(crate) struct Made<'a> {
    tracing: Tracing<'a>,
    root: &'a CStr,
    pub(crate) state: Option<StateDir>,
    network: Option<NetworkAhead>,
    /// Network devices that the container has got.
    devices: Option<GivenDevices>,
    /// The way to systemd, where it makes the cgroup.
    systemd: Option<systemd::Client>,
    /// The unit that it was asked to start.
    scope: Option<String>,
    pub(crate) group: Option<Group>,
    class: Option<resctrl::Class>,
    pub(crate) launch: Option<Launch>,
    pub(crate) pid_file: Option<CString>,
    /// Our end of the socket that mounts go to init through.
    mounts: Option<OwnedFd>,
    /// User namespaces for the ids of mounts, by their maps.
    ids: Vec<(String, String, OwnedFd)>,
    console: Option<OwnedFd>,
}

impl<'a> Made<'a> {
    pub(crate) fn new(root: &'a CStr, tracing: Tracing<'a>) -> Made<'a> {
        Made {
            tracing,
            root,
            state: None,
            network: None,
            devices: None,
            mounts: None,
            ids: Vec::new(),
            systemd: None,
            scope: None,
            group: None,
            class: None,
            launch: None,
            pid_file: None,
            console: None,
        }
    }

    /// Takes everything back. What cannot be is named in the error, and `delete --force` finds it again.
    pub(crate) fn undo(self, error: Error) -> Error {
        let mut left: Vec<String> = Vec::new();
        // The end of init could be that of the namespace, and of the devices.
        if let Some(devices) = &self.devices {
            let (home, namespace) = (devices.home.borrow(), devices.namespace.borrow());
            let back = devices.moved.iter().rev().map(|moved| moved.take_back(home, namespace));
            left.extend(back.filter_map(|done| done.err().map(|error| format!("{error}"))));
        }
        if let Some(launch) = &self.launch {
            launch.kill();
        }
        if let Some(path) = &self.pid_file
            && let Err(errno) = fs::unlink_at(CWD, path, AtFlags::NONE)
        {
            left.push(format!("{}: {errno}", path.to_string_lossy()));
        }
        if let Some(record) = self.state.as_ref().and_then(|state| state.read_head().ok().flatten()) {
            left.extend(unmount_outside(&record).err().map(|error| format!("{error}")));
        }
        if let Some(mut group) = self.group {
            let removed = group.remove(PATIENCE).and_then(|()| group.undo());
            left.extend(removed.err().map(|error| format!("{error}")));
        }
        if let Some(class) = &self.class {
            left.extend(class.remove().err().map(|error| format!("{error}")));
        }
        if let (Some(mut client), Some(unit)) = (self.systemd, &self.scope) {
            left.extend(client.stop(unit).err().map(|error| format!("{error}")));
        }
        if left.is_empty()
            && let Some(state) = self.state
        {
            left.extend(state.remove(Gate::Start).err().map(|error| format!("{error}")));
        }
        if left.is_empty() { error } else { error.hint(format!("and this could not be undone: {}", left.join(", "))) }
    }
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
    let done = make(&mut made, bundle, &plan, gate, options, subject);
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

/// The class of service that the plan asks for.
fn find_class(plan: &Plan, id: &str, options: &CreateOptions) -> Result<Option<resctrl::Class>> {
    let wanted = plan.entries.iter().find_map(|entry| match entry.act {
        Act::Runtime(Task::ClassOfService { class, schemata, monitor }) => Some((entry, class, schemata, monitor)),
        _ => None,
    });
    let Some((entry, class, schemata, monitor)) = wanted else {
        return Ok(None);
    };
    let (class, schemata) = (plan.string(class), plan.string(schemata));
    let wanted = resctrl::Wanted { class: &class, schemata: &schemata, monitor };
    resctrl::Class::find(&wanted, id, options.resctrl.as_deref()).map(Some).map_err(|error| placed(error, entry))
}

/// The mount that a path leads to.
fn mount_of(path: &str) -> Result<u64> {
    let stat = fs::stat_at(CWD, &crate::state::c_string(path)?, AtFlags::NONE);
    stat.map(|stat| stat.mount).map_err(|errno| Error::system("statx", format!("rootfs {path}"), errno))
}

/// Takes away what a container without a mount namespace has mounted over its root file system, and so all of its
/// mounts.
pub(crate) fn unmount_outside(record: &Record) -> Result<()> {
    const MOST: usize = 64;
    let Some(below) = record.root_mount else {
        return Ok(());
    };
    let path = &record.told.rootfs;
    for _ in 0..MOST {
        match mount_of(path) {
            Ok(mount) if mount == below => return Ok(()),
            Ok(_) => {}
            Err(error) if error.errno() == Some(Errno::NOENT.0) => return Ok(()),
            Err(error) => return Err(error),
        }
        let detached = orlop_sys::mount::detach(&crate::state::c_string(path)?);
        detached.map_err(|errno| Error::system("umount2", format!("rootfs {path}"), errno))?;
    }
    Err(Error::new(Kind::System, format!("more is mounted on {path} than a container could have")))
}

/// Whoever shares pids and has no cgroup leaves processes that nobody finds again.
fn cannot_be_killed_whole(config: &Config<'_>, group: Option<&Group>) -> Option<Warning> {
    let grouped = group.is_some_and(|group| group.dirs().next().is_some());
    if !config.shares_pids() || grouped || thread::euid() == 0 {
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

fn make(
    made: &mut Made<'_>,
    bundle: &Bundle,
    plan: &Plan,
    gate: Gate,
    options: &CreateOptions,
    subject: &Subject<'_>,
) -> Result<()> {
    let born = plan.clone_index();
    let (before, after) = plan.entries.split_at_checked(born + 1).unwrap_or((&plan.entries, &[]));
    for entry in before {
        let Act::Runtime(task) = entry.act else {
            continue;
        };
        let tracing = made.tracing;
        let prepared = tracing.task(entry, || prepare(made, bundle, plan, task, gate, options, subject));
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
            tracing.task(entry, || accompany(made, subject, plan, task)).map_err(|error| placed(error, entry))?;
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
        console::send_pidfd(socket, "standard", launch.pidfd().borrow())?;
    }
    if let Some(path) = &options.pid_file {
        if gate == Gate::Open {
            // A run that fails leaves none, and until it runs it can fail.
            launch.await_program(plan)?;
        }
        write_pid_file(path, launch.pid())?;
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

pub(crate) fn prepare(
    made: &mut Made<'_>,
    bundle: &Bundle,
    plan: &Plan,
    task: Task,
    gate: Gate,
    options: &CreateOptions,
    subject: &Subject<'_>,
) -> Result<()> {
    match task {
        Task::NetworkNamespace => {
            let network = NetworkAhead::begin();
            made.network = Some(network.map_err(|errno| Error::system("clone3", "a network namespace", errno))?);
            Ok(())
        }
        Task::StateDirectory => {
            let state = made.state.insert(StateDir::create(made.root, subject.id)?);
            let config = subject.config;
            made.class = find_class(plan, subject.id, options)?;
            let told = Told {
                version: RECORD_VERSION,
                bundle: bundle.path().into(),
                rootfs: plan.rootfs.clone(),
                created: crate::time::rfc3339(time::now(Clock::Realtime)),
                annotations: config.annotations.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect(),
            };
            let record = Record {
                told,
                cgroups: plan.cgroup.dirs.iter().map(CgroupDir::new).collect(),
                scope: plan.cgroup.scope.as_ref().map(ScopeName::new),
                has_poststop: plan.has_poststop,
                class: made.class.clone(),
                root_mount: if plan.mounts_outside() { Some(mount_of(&plan.rootfs)?) } else { None },
                callers_keyring: options.keyring == SessionKeyring::Callers,
                shares_pids: config.shares_pids(),
                rootless: plan.rootless,
            };
            state.write_record(&record, bundle.text(), gate)
        }
        Task::CgroupCreate => {
            if let Some(scope) = &plan.cgroup.scope {
                Group::check_free(&plan.cgroup).map_err(from_cgroup)?;
                made.systemd = Some(systemd::Client::connect(&scope.bus).map_err(from_cgroup)?);
                return Ok(());
            }
            made.group = Some(Group::create(&plan.cgroup).map_err(applying)?);
            Ok(())
        }
        Task::AdoptOrphans => {
            thread::set_subreaper(true).map_err(|errno| Error::system("prctl", "becoming a subreaper", errno))
        }
        Task::Clone { into_cgroup, .. } => {
            let state = made.state.as_ref().ok_or_else(broken)?;
            let listener = if gate == Gate::Start { Some(listen(state)?) } else { None };
            let console = Ends::new(&options.console, plan.has_console())?;
            let opened = open_joined(plan)?;
            let join: Vec<(BorrowedFd<'_>, CloneFlags)> = opened
                .iter()
                .filter(|(kind, _)| *kind != CloneFlags::NEWTIME)
                .map(|(kind, fd)| (fd.borrow(), *kind))
                .collect();
            let time = opened.iter().find(|(kind, _)| *kind == CloneFlags::NEWTIME);
            let sends = plan.entries.iter().any(|e| matches!(e.act, Act::Runtime(Task::SendMount { .. })));
            let mounts = if sends {
                let failed = |errno| Error::system("socketpair", "a socket for mounts", errno);
                let (ours, inits) = net::socket_pair(SocketType::Stream).map_err(failed)?;
                made.mounts = Some(ours);
                Some(inits)
            } else {
                None
            };
            // Opened here: init is elsewhere, and may be somebody else.
            let outputs = if plan.redirects_init_hooks() { subject.outputs()? } else { [None, None] };
            let outputs = slot::HOOKS_OUTPUT.into_iter().zip(&outputs);
            let slots = listener.iter().map(|fd| (slot::LISTENER, fd.borrow()));
            let slots = slots.chain(console.inits.iter().map(|fd| (slot::CONSOLE_SOCKET, fd.borrow())));
            let slots = slots.chain(time.map(|(_, fd)| (slot::TIME, fd.borrow())));
            let slots = slots.chain(outputs.filter_map(|(slot, fd)| fd.as_ref().map(|fd| (slot, fd.borrow()))));
            let birth = Birth {
                join: &join,
                cgroup: made.group.as_ref().filter(|_| into_cgroup).and_then(Group::fd).map(OwnedFd::borrow),
                slots: slots.chain(mounts.iter().map(|fd| (slot::MOUNTS, fd.borrow()))).collect(),
                preserve_fds: options.preserve_fds,
                pid_namespace: None,
                thread: Thread::Returns,
                timed: made.tracing.trace.is_some(),
                ignored: None,
            };
            made.launch = Some(Launch::start(plan, &birth, &mut Bin::default())?);
            made.console = console.ours;
            Ok(())
        }
        _ => Err(broken()),
    }
}

/// What is done beside a running init.
fn accompany(made: &mut Made<'_>, subject: &Subject<'_>, plan: &Plan, task: Task) -> Result<()> {
    let launch = made.launch.as_ref().ok_or_else(broken)?;
    match task {
        Task::SendNetworkNamespace => {
            let network = made.network.take().ok_or_else(broken)?.finish().map_err(|errno| {
                let error = Error::system("unshare", "a network namespace", errno);
                match errno {
                    orlop_sys::Errno::PERM => error.hint("new namespaces need CAP_SYS_ADMIN, or a user namespace"),
                    orlop_sys::Errno::NOSPC => error.hint("the limit /proc/sys/user/max_net_namespaces is reached"),
                    _ => error,
                }
            })?;
            // Where init is gone, the next wait says why.
            match launch.send(network.borrow()) {
                Ok(()) | Err(orlop_sys::Errno::PIPE | orlop_sys::Errno::CONNRESET) => Ok(()),
                Err(errno) => Err(Error::system("sendmsg", "a network namespace", errno)),
            }
        }
        Task::NetworkDevice { name, new_name } => {
            let devices = match &mut made.devices {
                Some(devices) => devices,
                none => none.insert(GivenDevices::to(launch)?),
            };
            let (name, new_name) = (plan.string(name), plan.string(new_name));
            let moved = netlink::give(&name, &new_name, devices.home.borrow(), devices.namespace.borrow())?;
            devices.moved.push(moved);
            Ok(())
        }
        Task::CgroupAdopt => {
            let (pid, pidfd) = (launch.pid(), launch.pidfd().borrow());
            if let Some(scope) = &plan.cgroup.scope {
                let started = start_scope(&mut made.systemd, &mut made.scope, scope, pid, pidfd)?;
                started.map_err(|error| if launch.has_ended() { launch.failure(plan) } else { from_cgroup(error) })?;
                made.group = Some(Group::create(&plan.cgroup).map_err(from_cgroup)?);
            }
            let group = made.group.as_ref().ok_or_else(broken)?;
            // systemd has put it into the scope's own.
            let below = plan.cgroup.dirs.iter().any(|dir| !dir.below_outer().is_empty());
            let joined = if !below && group.fd().is_some() { Joined::Unified } else { Joined::Nothing };
            group.adopt(pid, joined).map_err(from_cgroup)
        }
        Task::CgroupLimits => made.group.as_mut().ok_or_else(broken)?.apply(&plan.cgroup).map_err(from_cgroup),
        Task::PidfdReceiver { path } => {
            let path = crate::state::c_string(&plan.string(path))?;
            console::send_pidfd(&console::connect(&path)?, "standard", launch.pidfd().borrow())
        }
        Task::ClassOfService { schemata, .. } => {
            made.class.as_ref().ok_or_else(broken)?.make(&plan.string(schemata), launch.pid())
        }
        Task::CgroupOwner { uid } => made.group.as_ref().ok_or_else(broken)?.delegate(uid).map_err(from_cgroup),
        Task::CgroupDelegate { name, owner } => {
            let group = made.group.as_ref().ok_or_else(broken)?;
            group.delegate_below(&plan.string(name), launch.pid(), owner).map_err(from_cgroup)
        }
        Task::OomScoreAdj(value) => write_oom_score(launch.pid(), value),
        Task::IdMaps { uids, gids, how } => idmap::write(launch.pid(), &plan.string(uids), &plan.string(gids), how),
        Task::CheckIdMaps { uids, gids } => idmap::check(launch.pid(), &plan.string(uids), &plan.string(gids)),
        Task::SendMount { .. } => send_mount(made, plan, task),
        Task::Record => {
            let (init, ignored) = Init::born(launch.pid(), launch.pidfd())?.ok_or_else(|| launch.failure(plan))?;
            launch.ignores(ignored);
            let init = Init { has_poststart: plan.has_poststart, ..init };
            made.state.as_ref().ok_or_else(broken)?.write_init(init)
        }
        Task::SeccompListener { path, metadata } => {
            let state = subject.state(Status::Creating, launch.pid());
            offer(&launch.listener()?, plan, launch.pid(), (path, metadata), state)
        }
        Task::Hook { event, index, .. } => subject.run(event, index as usize, launch.pid()),
        _ => Err(broken()),
    }
}

/// Has systemd start the scope around a process.
fn start_scope(
    systemd: &mut Option<systemd::Client>,
    started: &mut Option<String>,
    scope: &systemd::Scope,
    pid: Pid,
    pidfd: BorrowedFd<'_>,
) -> Result<core::result::Result<(), orlop_cgroup::Error>> {
    let client = systemd.as_mut().ok_or_else(broken)?;
    let done = client.start(scope, pid, Some(pidfd));
    // Refused, the unit is not ours to stop; without an answer, it may be there all the same.
    if !done.as_ref().is_err_and(orlop_cgroup::Error::is_refusal) {
        *started = Some(scope.unit.clone());
    }
    Ok(done)
}

/// Puts a process that was started elsewhere into the container's cgroup, with all its limits.
pub(crate) fn contain(made: &mut Made<'_>, plan: &Plan, pid: Pid, pidfd: BorrowedFd<'_>) -> Result<()> {
    if let Some(scope) = &plan.cgroup.scope {
        start_scope(&mut made.systemd, &mut made.scope, scope, pid, pidfd)?.map_err(from_cgroup)?;
        made.group = Some(Group::create(&plan.cgroup).map_err(from_cgroup)?);
    }
    let Some(group) = made.group.as_mut() else { return Ok(()) };
    group.adopt(pid, Joined::Nothing).and_then(|()| group.apply(&plan.cgroup)).map_err(from_cgroup)
}

/// The namespaces that init is born in, each verified to be one of its kind.
fn open_joined(plan: &Plan) -> Result<Vec<(CloneFlags, OwnedFd)>> {
    let open = |join: &Join| {
        let path = plan.string(join.path);
        let origin = Origin::member("/linux/namespaces", join.index as usize).inside("/path");
        let failed = |call: &'static str, errno| {
            Error::system(call, format!("namespace {path}"), errno).field(format!("{origin}"))
        };
        let file = fs::open_at(CWD, &crate::state::c_string(&path)?, OFlags::RDONLY, 0);
        let file = file.map_err(|errno| failed("openat", errno))?;
        match tty::namespace_type(&file) {
            Ok(kind) if kind == join.kind.bits() => Ok((join.kind, file)),
            Ok(_) | Err(Errno::NOTTY) => {
                Err(Error::new(Kind::InvalidConfig, format!("{path} is no namespace of type {}", join.kind))
                    .field(format!("{origin}")))
            }
            Err(errno) => Err(failed("ioctl(NS_GET_NSTYPE)", errno)),
        }
    };
    plan.joined.iter().map(open).collect()
}

/// Copies a mount where init is, with our rights, and sends it.
fn send_mount(made: &mut Made<'_>, plan: &Plan, task: Task) -> Result<()> {
    let (Task::SendMount { path, reach, follow, ids, ids_reach }, Some(launch), Some(socket)) =
        (task, &made.launch, &made.mounts)
    else {
        return Err(broken());
    };
    let containers;
    let namespace = match ids {
        Ids::Same => None,
        Ids::Container => {
            containers = idmap::namespace_of(launch.pid())?;
            Some(containers.borrow())
        }
        Ids::Maps { uids, gids } => {
            let (uids, gids) = (plan.string(uids), plan.string(gids));
            let known = made.ids.iter().position(|(u, g, _)| *u == uids && *g == gids);
            let at = match known {
                Some(at) => at,
                None => {
                    let namespace = idmap::namespace_with(&uids, &gids)?;
                    made.ids.push((uids.into_owned(), gids.into_owned(), namespace));
                    made.ids.len() - 1
                }
            };
            made.ids.get(at).map(|(.., fd)| fd.borrow())
        }
    };
    let copy = idmap::Copy {
        path: &crate::state::c_string(&plan.string(path))?,
        reach,
        flags: if follow == Follow::Nothing { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::NONE },
        ids: namespace.map(|fd| (fd, ids_reach)),
    };
    let tree = idmap::copy_mount(launch.pid(), &copy)?;
    match net::send(socket, &[1], &[tree.borrow()]) {
        Ok(_) => Ok(()),
        // Init is gone, and has left word why.
        Err(Errno::PIPE | Errno::CONNRESET) => Err(launch.failure(plan)),
        Err(errno) => Err(Error::system("sendmsg", "sending a mount to init", errno)),
    }
}

/// Offers a seccomp listener to the process at `path`, and tells it whose it is.
pub(crate) fn offer(
    listener: &OwnedFd,
    plan: &Plan,
    pid: Pid,
    (path, metadata): (Text, Text),
    state: State<'_>,
) -> Result<()> {
    let blob = plan.strings.blob();
    let text = |text| blob.text(text).unwrap_or_default();
    let process = ContainerProcessState {
        oci_version: Str::new(SPEC_VERSION),
        fds: alloc::vec![Str::new(SECCOMP_FD_NAME)],
        pid,
        metadata: text(metadata).to_string_lossy().into_owned().into(),
        state,
    };
    hand_over(listener, text(path), &process.to_json(Layout::Compact))
}

/// Sends a seccomp listener to the process that is to serve it.
fn hand_over(listener: &OwnedFd, path: &CStr, process: &str) -> Result<()> {
    let shown = path.to_string_lossy();
    let what = |what: &str| format!("{what} seccomp agent specified in the seccomp profile: {shown}");
    let failed = |call, text: &str| {
        let text = what(text);
        move |errno| Error::system(call, text, errno)
    };
    let socket = net::unix_socket(SocketType::Stream).map_err(failed("socket", "failed to connect with"))?;
    let connected = match path.to_bytes().len() {
        0..=net::MAX_SOCKET_PATH => net::connect(&socket, path),
        // An address holds no longer path, but a descriptor's link does.
        _ => fs::open_at(CWD, path, OFlags::PATH, 0).and_then(|file| {
            let link = CString::new(format!("/proc/self/fd/{}", file.as_raw())).unwrap_or_default();
            net::connect(&socket, &link)
        }),
    };
    connected.map_err(failed("connect", "failed to connect with"))?;
    match net::send(&socket, process.as_bytes(), &[listener.borrow()]) {
        Ok(n) if n == process.len() => Ok(()),
        Ok(_) => Err(Error::new(Kind::System, what("sent half of the container's state to"))),
        Err(errno) => Err(failed("sendmsg", "cannot send the seccomp listener to")(errno)),
    }
}

fn broken() -> Error {
    Error::new(Kind::System, "the plan's entries are out of order")
}

fn listen(state: &StateDir) -> Result<OwnedFd> {
    let failed = |call| move |errno| Error::system(call, format!("the socket {}", START.to_string_lossy()), errno);
    let socket = net::unix_socket(SocketType::Stream).map_err(failed("socket"))?;
    // bind(2) gives the file the socket's own mode.
    fs::chmod(&socket, 0o600).map_err(failed("fchmod"))?;
    net::bind(&socket, &state.start_address()?).map_err(failed("bind"))?;
    net::listen(&socket, 1).map_err(failed("listen"))?;
    Ok(socket)
}

/// The runtime's procfs is the host's: only here is the path what it seems to be.
pub(crate) fn write_oom_score(pid: Pid, value: i32) -> Result<()> {
    let path = crate::state::c_string(&format!("/proc/{pid}/oom_score_adj"))?;
    let text = format!("{value}");
    let written = fs::open_at(CWD, &path, OFlags::WRONLY, 0).and_then(|file| fs::write_all(&file, text.as_bytes()));
    written.map_err(|errno| {
        let error = Error::system("write", format!("oom_score_adj {value}"), errno);
        match errno {
            Errno::ACCES | Errno::PERM => error.hint("a value below the caller's own needs CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

/// Whoever reads the file reads all of it or finds none: it is written without a name, and then gets one. Killed on
/// the way we leave nothing.
pub(crate) fn write_pid_file(path: &CStr, pid: Pid) -> Result<()> {
    let failed = |call| {
        let path = path.to_string_lossy().into_owned();
        move |errno| Error::system(call, format!("the pid file {path}"), errno)
    };
    let bytes = path.to_bytes();
    let name_at = bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let (directory, name) = bytes.split_at_checked(name_at).unwrap_or((b"", bytes));
    let text = format!("{pid}");
    let above = CString::new(if directory.is_empty() { b"." } else { directory }).map_err(|_| broken())?;
    match fs::open_at(CWD, &above, OFlags::WRONLY | OFlags::TMPFILE, 0o644) {
        Ok(file) => {
            fs::write_all(&file, text.as_bytes()).map_err(failed("write"))?;
            return match fs::link_file(&file, CWD, path) {
                Err(Errno::EXIST) => {
                    fs::unlink_at(CWD, path, AtFlags::NONE).map_err(failed("unlinkat"))?;
                    fs::link_file(&file, CWD, path)
                }
                done => done,
            }
            .map_err(failed("linkat"));
        }
        // Some file systems have no files without names: NFS, and overlayfs before Linux 6.1. A kernel older than
        // all of them takes the flag for an attempt to write to the directory.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        Err(errno) => return Err(failed("openat")(errno)),
    }
    let beside = [directory, b".", name, b".", text.as_bytes()].concat();
    let beside = CString::new(beside).map_err(|_| broken())?;
    let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = fs::open_at(CWD, &beside, flags, 0o644).map_err(failed("openat"))?;
    let written = fs::write_all(&file, text.as_bytes())
        .map_err(failed("write"))
        .and_then(|()| fs::rename_at(CWD, &beside, CWD, path).map_err(failed("renameat2")));
    if written.is_err() {
        // The first error is the one to report.
        let _gone = fs::unlink_at(CWD, &beside, AtFlags::NONE);
    }
    written
}
