//! The tasks before there is a process, and the one that starts it.

use alloc::format;
use alloc::vec::Vec;

use orlop_cgroup::{Group, systemd};
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::Clone as CloneFlags;
use orlop_sys::time::{self, Clock};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, thread, tty};

use super::made::mount_of;
use super::{CreateOptions, Made, Making, broken, placed};
use crate::ahead::NetworkAhead;
use crate::cgroup::{applying, from_cgroup};
use crate::console::Ends;
use crate::error::{Error, Kind, Result};
use crate::launch::{Birth, Launch, Thread};
use crate::plan::{Act, Gate, Join, Origin, Plan, SessionKeyring, Task, slot};
use crate::resctrl;
use crate::state::{CgroupDir, RECORD_VERSION, Record, START, ScopeName, StateDir, Told};

/// Carries one of them out.
pub(crate) fn prepare(made: &mut Made<'_>, making: Making<'_>, task: Task) -> Result<()> {
    let plan = making.plan;
    match task {
        Task::NetworkNamespace => {
            let network = NetworkAhead::begin();
            made.network = Some(network.map_err(|errno| Error::system("clone3", "a network namespace", errno))?);
            Ok(())
        }
        Task::StateDirectory => make_state(made, making),
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
        Task::Clone { into_cgroup, .. } => start_init(made, making, into_cgroup),
        _ => Err(broken()),
    }
}

/// Makes the state directory, and writes down what `delete` will need, before there is any of it.
fn make_state(made: &mut Made<'_>, making: Making<'_>) -> Result<()> {
    let Making { bundle, plan, gate, options, subject } = making;
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

/// Starts init, with all that it is born with.
fn start_init(made: &mut Made<'_>, making: Making<'_>, into_cgroup: bool) -> Result<()> {
    let Making { plan, gate, options, subject, .. } = making;
    let state = made.state.as_ref().ok_or_else(broken)?;
    let listener = if gate == Gate::Start { Some(listen(state)?) } else { None };
    let console = Ends::new(&options.console, plan.has_console())?;
    let opened = open_joined(plan)?;
    let join: Vec<(BorrowedFd<'_>, CloneFlags)> =
        opened.iter().filter(|(kind, _)| *kind != CloneFlags::NEWTIME).map(|(kind, fd)| (fd.borrow(), *kind)).collect();
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

/// The socket that `start` will connect to.
fn listen(state: &StateDir) -> Result<OwnedFd> {
    let failed = |call| move |errno| Error::system(call, format!("the socket {}", START.to_string_lossy()), errno);
    let socket = net::unix_socket(SocketType::Stream).map_err(failed("socket"))?;
    // bind(2) gives the file the socket's own mode.
    fs::chmod(&socket, 0o600).map_err(failed("fchmod"))?;
    net::bind(&socket, &state.start_address()?).map_err(failed("bind"))?;
    net::listen(&socket, 1).map_err(failed("listen"))?;
    Ok(socket)
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
