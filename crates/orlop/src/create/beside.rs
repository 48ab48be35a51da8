//! The tasks beside an init that runs.

use alloc::format;
use alloc::string::String;

use orlop_cgroup::{Group, Joined, systemd};
use orlop_init::step::Follow;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::Pid;
use orlop_sys::{BorrowedFd, CWD, Errno, net};

use super::made::GivenDevices;
use super::{Made, broken};
use crate::agent;
use crate::ahead::NetworkAhead;
use crate::cgroup::from_cgroup;
use crate::config::Status;
use crate::error::{Error, Result};
use crate::hook::Subject;
use crate::idmap;
use crate::launch::Launch;
use crate::netlink;
use crate::plan::{Ids, Plan, Task};
use crate::socket;
use crate::state::Init;

/// Carries one of them out.
pub(super) fn accompany(made: &mut Made<'_>, subject: &Subject<'_>, plan: &Plan, task: Task) -> Result<()> {
    let launch = made.launch.as_ref().ok_or_else(broken)?;
    match task {
        Task::SendNetworkNamespace => {
            let network = made.network.take().ok_or_else(broken)?;
            send_network(launch, network)
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
            socket::send_pidfd(&socket::connect(&path)?, "standard", launch.pidfd().borrow())
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
            agent::offer(&launch.listener()?, plan, launch.pid(), (path, metadata), state)
        }
        Task::Hook { event, index, .. } => subject.run(event, index as usize, launch.pid()),
        _ => Err(broken()),
    }
}

/// Hands the network namespace over as soon as it is made.
fn send_network(launch: &Launch, network: NetworkAhead) -> Result<()> {
    let network = network.finish().map_err(|errno| {
        let error = Error::system("unshare", "a network namespace", errno);
        match errno {
            Errno::PERM => error.hint("new namespaces need CAP_SYS_ADMIN, or a user namespace"),
            Errno::NOSPC => error.hint("the limit /proc/sys/user/max_net_namespaces is reached"),
            _ => error,
        }
    })?;
    // Where init is gone, the next wait says why.
    match launch.send(network.borrow()) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Error::system("sendmsg", "a network namespace", errno)),
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
