//! Annotations that change what is done: crun's, of which its users have come to depend.
//!
//! Each is carried out or refused by name; `features` lists those that are carried out, for whoever may set them decides
//! on more than a name. What is about system calls is in the plan of the filter.

use alloc::format;

use orlop_cgroup::CgroupPath;
use orlop_init::step::Groups;

use super::{Origin, Phase, Planner, Task, invalid};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::path;

const ORIGIN: Origin = Origin::field("/annotations");

/// The supplementary groups of the caller stay.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// A socket that gets a pidfd of init.
const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// The mount that shows the v1 hierarchy of systemd, whatever it is.
const FORCE_CGROUP_V1: &str = "run.oci.systemd.force_cgroup_v1";
/// Which of SELinux's options gets the label of the mounts.
const CONTEXT_TYPE: &str = "run.oci.mount_context_type";

/// A configuration file of criu's, whose options go before ours.
pub(crate) const CRIU_CONFIG: &str = "org.criu.config";
/// A cgroup below a scope, for the processes.
pub(crate) const SUBGROUP: &str = "run.oci.systemd.subgroup";
/// A cgroup below all that, for the container to manage.
const DELEGATE: &str = "run.oci.delegate-cgroup";

/// A file of the host that what hooks print is added to: the first for their standard output, the second for their
/// standard error.
pub(crate) const HOOKS_OUTPUT: [&str; 2] = ["run.oci.hooks.stdout", "run.oci.hooks.stderr"];

/// All of these, and those of other parts of the plan. One that ends in a dot stands for all that begin so.
pub(crate) const CARRIED_OUT: [&str; 13] = [
    "org.systemd.property.",
    CRIU_CONFIG,
    HOOKS_OUTPUT[0],
    HOOKS_OUTPUT[1],
    KEEP_GROUPS,
    CONTEXT_TYPE,
    PIDFD_RECEIVER,
    super::seccomp::RECEIVER,
    super::seccomp::RAW_PROGRAM,
    super::seccomp::FAIL_UNKNOWN,
    FORCE_CGROUP_V1,
    SUBGROUP,
    DELEGATE,
];

/// What crun would do and we do not.
const REFUSED: [&str; 2] = ["run.oci.handler", "run.oci.seccomp.plugins"];

/// The cgroup below the container's own that its configuration has the container manage.
pub(crate) fn delegated<'a>(config: &'a Config<'_>) -> Option<&'a str> {
    config.annotations.get(DELEGATE).map(|name| name.as_str()).filter(|name| !name.is_empty())
}

/// criu saves where below its cgroup namespace a process is, and restores it with the namespace elsewhere.
pub(crate) fn refuse_delegated(config: &Config<'_>) -> Result<()> {
    match delegated(config) {
        Some(_) => {
            let what = format!("the annotation {DELEGATE} is not supported with checkpoints");
            Err(Error::not_supported(what).field(format!("{ORIGIN}")))
        }
        None => Ok(()),
    }
}

impl Planner<'_> {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.config.annotations.get(name).map(|value| value.as_str())
    }

    /// A container without what its annotations ask for is not made.
    pub(super) fn refuse_annotations(&self) -> Result<()> {
        if let Some(name) = REFUSED.iter().find(|name| self.annotation(name).is_some()) {
            return Err(
                Error::not_supported(format!("the annotation {name} is not supported")).field(format!("{ORIGIN}"))
            );
        }
        if let Some(path) = self.annotation(FORCE_CGROUP_V1)
            && !self.config.mounts.iter().any(|mount| self.is_forced_v1(&path::clean_absolute(&mount.destination)))
        {
            return Err(invalid(format!("{FORCE_CGROUP_V1} names {path:?}, where nothing is mounted"), ORIGIN));
        }
        Ok(())
    }

    /// What becomes of the groups, where the configuration alone would say `otherwise`.
    pub(super) fn kept_groups(&self, otherwise: Groups) -> Groups {
        match self.annotation(KEEP_GROUPS) {
            None | Some("0") => otherwise,
            Some(_) => Groups::Keep,
        }
    }

    /// Sends a pidfd of init to whoever asked for it.
    pub(super) fn pidfd_receiver(&mut self) -> Result<()> {
        let config = self.config;
        if let Some(path) = config.annotations.get(PIDFD_RECEIVER) {
            let path = self.text(path, ORIGIN)?;
            self.runtime(Phase::Start, ORIGIN, Task::PidfdReceiver { path });
        }
        Ok(())
    }

    /// Moves init on to the cgroup that the container manages, once its cgroup namespace is there: the root of that
    /// stays the cgroup that has the limits. Before any hook, as in crun.
    pub(super) fn delegated_cgroup(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<()> {
        let config = self.config;
        if cgroup.scope.is_none() && self.annotation(SUBGROUP).is_some_and(|name| !name.is_empty()) {
            self.debug(ORIGIN, format!("{SUBGROUP} is for cgroups that systemd makes, and changes nothing here"));
        }
        let Some(name) = delegated(config) else { return Ok(()) };
        let checked = CgroupPath::below(name).map_err(|error| invalid(format!("{DELEGATE}: {error}"), ORIGIN));
        let Some(name) = self.sound(checked)? else { return Ok(()) };
        if !self.host.is_unified() {
            return self.fault(Error::not_supported(format!("{DELEGATE} needs cgroup v2")).field(format!("{ORIGIN}")));
        }
        if cgroup.dirs.is_empty() {
            return self.fault(invalid(format!("{DELEGATE}: the container has no cgroup"), ORIGIN));
        }
        let name = self.text(&name, ORIGIN)?;
        self.cgroup_tasks(Phase::Namespaces, cgroup);
        let root = super::idmap::outside(&config.linux.uid_mappings, 0);
        let owner = root.filter(|uid| *uid != self.host.euid);
        self.runtime(Phase::Namespaces, ORIGIN, Task::CgroupDelegate { name, owner });
        Ok(())
    }

    /// Whether a mount is to be the v1 hierarchy of systemd instead of what the configuration says.
    pub(super) fn is_forced_v1(&self, destination: &str) -> bool {
        self.annotation(FORCE_CGROUP_V1).is_some_and(|path| path::clean_absolute(path) == destination)
    }

    /// The option that the label of the mounts goes to.
    pub(super) fn context_option(&self) -> Result<&'static [u8]> {
        match self.annotation(CONTEXT_TYPE) {
            None | Some("context") => Ok(b"context"),
            Some("fscontext") => Ok(b"fscontext"),
            Some("defcontext") => Ok(b"defcontext"),
            Some("rootcontext") => Ok(b"rootcontext"),
            Some(other) => {
                let what = format!(
                    "invalid mount context type {other:?} (must be one of: context, fscontext, defcontext, rootcontext)"
                );
                Err(invalid(what, ORIGIN))
            }
        }
    }
}
