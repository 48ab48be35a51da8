//! The mounts of a container that runs: added and removed by an init that enters its mount namespace.
//!
//! The planner of the container's own mounts does the work. What differs is that the root is there, that a copy of
//! what is the host's comes from the runtime, and that everything in the root may change while it is looked up.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_init::step::{OverProc, Step};
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::exec::Target;
use super::{Origin, Phase, Plan, Planner, Task, invalid, slot};
use crate::config::{Config, Mount, NamespaceKind};
use crate::error::Result;
use crate::host::Host;
use crate::path;
use crate::plan::Options;

const PHASE: Phase = Phase::Mounts;

/// A container that runs.
pub(crate) struct Live<'a> {
    pub(crate) config: &'a Config<'a>,
    pub(crate) host: &'a Host,
    pub(crate) options: &'a Options<'a>,
    pub(crate) target: &'a Target<'a>,
    /// Its root file system, as the host sees it.
    pub(crate) rootfs: &'a str,
}

/// Whether the mounts can only be made by a process of the container's pid namespace, which a procfs shows.
pub(crate) fn needs_pid_namespace(config: &Config<'_>, mounts: &[Mount<'_>]) -> bool {
    let has_own = config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Pid);
    has_own && mounts.iter().any(|mount| mount.kind == "proc")
}

/// Decides how mounts are added.
pub(crate) fn add(live: &Live<'_>, mounts: &[Mount<'_>]) -> Result<Plan> {
    let mut planner = live.planner(needs_pid_namespace(live.config, mounts))?;
    let mut cgroup = orlop_cgroup::Plan::default();
    cgroup.dirs.clone_from(&live.target.cgroups);
    for (index, mount) in mounts.iter().enumerate() {
        planner.mount(mount, &cgroup, Origin::member("", index))?;
    }
    Ok(planner.finish_without_program(orlop_cgroup::Plan::default()))
}

/// Decides how what is mounted at these places is taken away, the last one first.
pub(crate) fn remove(live: &Live<'_>, destinations: &[&str]) -> Result<Plan> {
    let mut planner = live.planner(false)?;
    for (index, destination) in destinations.iter().enumerate().rev() {
        let origin = Origin::member("", index).inside("/destination");
        let destination = planner.inside(destination);
        if destination == "/" {
            return Err(invalid("the root file system cannot be removed", origin));
        }
        let path = planner.text(&destination, origin)?;
        let named = ["/proc/", "/sys/"].iter().any(|above| destination.starts_with(above));
        let over_proc = if named { OverProc::Allowed } else { OverProc::Refused };
        planner.init(PHASE, origin, Step::Unmount { root: slot::ROOT, path, over_proc });
    }
    Ok(planner.finish_without_program(orlop_cgroup::Plan::default()))
}

impl<'a> Live<'a> {
    fn planner(&self, in_pid_namespace: bool) -> Result<Planner<'a>> {
        let mut planner = Planner::new(self.config, self.host, self.options, (32, 4096));
        planner.runs = true;
        planner.rootfs = String::from(self.rootfs);
        // A procfs may be anywhere.
        planner.maybe_proc = Vec::from([String::new()]);
        if !planner.has_namespace(NamespaceKind::Mount) {
            let origin = Origin::field("/linux/namespaces");
            return Err(invalid("the container has no mount namespace of its own", origin).of("config.json"));
        }
        let phase = Phase::Namespaces;
        // As in `exec`: an ordinary user joins the pid namespace of a user namespace that he has entered before. Init
        // is not born there without need, for what has rights there could look into it.
        let at_birth = in_pid_namespace && self.target.is_joined_at_birth(self.config);
        let rights = if at_birth { Rights::Keep } else { Rights::Exec };
        let clone = Task::Clone { namespaces: CloneFlags::NONE, into_cgroup: false, rights };
        planner.runtime(phase, Origin::NONE, clone);
        // Before anybody in the container can look: CVE-2016-9962, CVE-2024-21626.
        planner.init(phase, Origin::NONE, Step::CloseOnExec { first: 3 });
        let joined = planner.joined(self.target);
        let namespace = if at_birth { joined.without(CloneFlags::NEWUSER) } else { joined };
        planner.init(phase, Origin::NONE, Step::JoinNamespace { from: slot::INIT, namespace });
        if joined.contains(CloneFlags::NEWUSER) {
            planner.init(phase, Origin::NONE, Step::BecomeRoot {});
        }
        planner.init(phase, Origin::NONE, Step::OpenRoot { out: slot::ROOT });
        Ok(planner)
    }
}

impl Planner<'_> {
    /// As runc: a destination may be given as the host sees it.
    pub(super) fn inside(&self, destination: &str) -> String {
        let destination = path::clean_absolute(destination);
        match destination.strip_prefix(self.rootfs.as_str()).filter(|rest| rest.starts_with('/')) {
            Some(inside) => String::from(inside),
            None => destination,
        }
    }
}
