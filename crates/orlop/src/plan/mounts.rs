//! The root file system and the mounts in it, in the configuration's order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Mode, Version};
use orlop_init::step::{Follow, Make, NO_VALUE, OverProc, Slot, Step, Text};
use orlop_sys::mount::{Attr, Propagation, Reach};
use orlop_sys::process::Clone as CloneFlags;

use super::options::MountOptions;
use super::{Ids, Origin, Phase, Planner, Task, invalid, slot};
use crate::cgroup::{Placement, placement};
use crate::config::{IdMapping, Mount, NamespaceKind, Propagation as Configured};
use crate::error::Result;
use crate::path;

const PHASE: Phase = Phase::Mounts;

/// Files of procfs that a container may have replaced; as runc allows them, for lxcfs and its like.
const OVER_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

pub(super) const fn propagation(configured: Configured) -> (Propagation, Reach) {
    match configured {
        Configured::Private => (Propagation::PRIVATE, Reach::One),
        Configured::Rprivate => (Propagation::PRIVATE, Reach::Tree),
        Configured::Shared => (Propagation::SHARED, Reach::One),
        Configured::Rshared => (Propagation::SHARED, Reach::Tree),
        Configured::Slave => (Propagation::SLAVE, Reach::One),
        Configured::Rslave => (Propagation::SLAVE, Reach::Tree),
        Configured::Unbindable => (Propagation::UNBINDABLE, Reach::One),
        Configured::Runbindable => (Propagation::UNBINDABLE, Reach::Tree),
    }
}
impl Planner<'_> {
    pub(super) fn mounts(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<()> {
        let config = self.config;
        let origin = Origin::field("/root/path");
        let root = match &config.root {
            Some(root) => &*root.path,
            None => {
                self.fault(invalid("root must be specified", Origin::field("/root")))?;
                "/"
            }
        };
        if root.is_empty() {
            self.fault(invalid("the path of the root file system is empty", origin))?;
        }
        self.own_cgroup = match cgroup.dirs.iter().find(|dir| dir.version == Version::V2) {
            Some(dir) if self.has_new_namespace(NamespaceKind::Cgroup) => dir.path.clone(),
            _ => String::from("/sys/fs/cgroup"),
        };
        let rootfs = path::join(self.options.bundle, root);
        self.rootfs.clone_from(&rootfs);
        let path = self.text(&rootfs, origin)?;
        // Nothing mounted from here on may spread to the host; the root's own propagation comes at the end.
        let spread = Origin::field("/linux/rootfsPropagation");
        let (mode, reach) = self.first_propagation();
        if self.has_namespace(NamespaceKind::Mount) {
            self.init(PHASE, spread, Step::RootPropagation { propagation: mode, reach });
            if reach == Reach::One {
                // The root is a copy of it, and a slave is to hear of the host's mounts.
                let slave = config.linux.rootfs_propagation == Some(Configured::Slave);
                let propagation = if slave { Propagation::SLAVE } else { Propagation::PRIVATE };
                self.init(PHASE, spread, Step::PrivateParent { path, propagation });
            }
            self.init(PHASE, origin, Step::BindRoot { path, reach: Reach::Tree, out: slot::ROOT });
        } else {
            self.init(PHASE, origin, Step::BindRootOutside { path, out: slot::ROOT });
        }
        let mut cgroup_namespace = self.has_new_namespace(NamespaceKind::Cgroup);
        let mut network = self.makes_network_ahead();
        for (index, mount) in config.mounts.iter().enumerate() {
            let origin = Origin::member("/mounts", index);
            // An instance of sysfs belongs to the network namespace of its maker.
            if mount.kind == "sysfs" && core::mem::take(&mut network) {
                self.join_network();
            }
            if mount.kind == "cgroup" && core::mem::take(&mut cgroup_namespace) {
                self.new_cgroup_namespace(cgroup);
            } else if mount.kind == "cgroup" && cgroup.scope.is_some() && !self.is_adopted() {
                // What is mounted is the cgroup itself, and systemd has to make it.
                self.runtime(Phase::Namespaces, Origin::field("/linux/cgroupsPath"), super::Task::CgroupAdopt);
            }
            let planned = self.mount(mount, cgroup, origin);
            self.sound(planned)?;
        }
        if network {
            self.join_network();
        }
        if cgroup_namespace {
            self.new_cgroup_namespace(cgroup);
        }
        Ok(())
    }

    /// As late as possible: its root is the cgroup that init is in by then, and on v1 being put there takes the
    /// kernel longer than all the mounts.
    fn new_cgroup_namespace(&mut self, cgroup: &orlop_cgroup::Plan) {
        if placement(cgroup) == Placement::Adopted && !self.is_adopted() {
            let origin = Origin::field("/linux/cgroupsPath");
            self.runtime(Phase::Namespaces, origin, super::Task::CgroupAdopt);
        }
        let origin = Origin::field("/linux/namespaces");
        self.init(Phase::Namespaces, origin, Step::Unshare { namespaces: CloneFlags::NEWCGROUP });
    }

    pub(super) fn mount(&mut self, mount: &Mount<'_>, cgroup: &orlop_cgroup::Plan, origin: Origin) -> Result<()> {
        let options = MountOptions::of(mount);
        let destination = self.inside(&mount.destination);
        if options.copy_symlink && self.runs {
            return Err(self.not_while_running("copy-symlink is", origin));
        }
        if options.copy_symlink && options.bind.is_none() {
            return Err(invalid("only a bind mount can copy a symbolic link", origin.inside("/options")));
        }
        if options.copy_up && mount.kind != "tmpfs" {
            self.fault(invalid("only a tmpfs can begin with a copy", origin.inside("/options")))?;
        }
        if destination == "/" {
            self.fault(invalid("a mount on top of the root file system", origin.inside("/destination")))?;
        }
        let ids = options.ids.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        if ids && options.bind.is_none() {
            self.fault(invalid("id-mapped mounts are only supported for bind mounts", origin))?;
        }
        self.mount_slot = match destination.as_str() {
            "/proc" => slot::PROC_TREE,
            "/sys" => slot::SYS_TREE,
            _ => slot::MOUNT,
        };
        let maybe_proc = options.bind.is_some() || mount.kind == "proc";
        match options.bind {
            _ if self.is_forced_v1(&destination) => self.systemd_v1(&options, &destination, origin),
            Some(reach) => self.bind(mount, &options, reach, &destination, origin),
            None if options.remount => self.remount(mount, &options, &destination, origin),
            None if mount.kind == "cgroup" && self.host.cgroups.mode != Mode::Unified => {
                self.cgroup_v1(mount, &options, &destination, cgroup, origin)
            }
            None => self.new_file_system(mount, &options, &destination, origin),
        }?;
        if maybe_proc {
            self.maybe_proc.push(destination);
        }
        Ok(())
    }

    /// Remembers where what was just mounted is held.
    pub(super) fn keep(&mut self, destination: &str) {
        if self.mount_slot != slot::MOUNT {
            self.kept.retain(|(kept, _)| kept != destination);
            self.kept.push((String::from(destination), self.mount_slot));
        }
    }

    /// What a mount may do to procfs: S5 and CVE-2019-16884.
    pub(super) fn over_proc(&self, mount: &Mount<'_>, destination: &str, bind: bool) -> OverProc {
        match destination {
            "/proc" if bind => OverProc::BySameKind,
            "/proc" if mount.kind == "proc" => OverProc::Allowed,
            _ if bind && OVER_PROC.contains(&destination) => OverProc::Allowed,
            _ if self.could_be_below_proc(destination) => OverProc::Refused,
            _ => OverProc::RefusedByLink,
        }
    }

    /// Whether the path is at or below one where a procfs could be by now: mounted as such, or copied from the host.
    fn could_be_below_proc(&self, destination: &str) -> bool {
        let below = |above: &str| {
            let rest = destination.strip_prefix(above);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        below("/proc") || self.maybe_proc.iter().any(|above| below(above))
    }

    fn bind(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        reach: Reach,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let path = self.bind_source(mount, origin)?;
        self.copy(mount, options, path, reach, origin)?;
        if let Some((change, asked)) = options.bind_change() {
            let step = Step::BindAttr { mount: self.mount_slot, set: change.set, clear: change.clear, asked };
            self.init(PHASE, origin.inside("/options"), step);
        }
        let over_proc = self.over_proc(mount, destination, true);
        if options.copy_symlink {
            if options.source_nofollow || options.target_nofollow {
                let what = "copy-symlink excludes src-nofollow and dest-nofollow";
                return Err(invalid(what, origin.inside("/options")));
            }
            self.set_tree(options, slot::MOUNT, origin);
            let path = self.text(destination, origin.inside("/destination"))?;
            let step = Step::AttachOrLink { mount: slot::MOUNT, root: slot::ROOT, path, over_proc, out: slot::TARGET };
            self.init(PHASE, origin, step);
            self.spread(options, slot::MOUNT, origin);
            return Ok(());
        }
        self.target(destination, Make::LikeSource, over_proc, options.target_follow(), origin)?;
        self.attach(options, self.mount_slot, origin);
        self.keep(destination);
        Ok(())
    }

    /// Where a bind mount's source is on the host.
    pub(super) fn bind_source(&mut self, mount: &Mount<'_>, origin: Origin) -> Result<Text> {
        let source = origin.inside("/source");
        if mount.source.is_empty() {
            return Err(invalid("a bind mount without a source", source));
        }
        self.text(&path::join(self.options.bundle, &mount.source), source)
    }

    /// A copy of the source: by init, unless that takes the rights of the runtime, which init gives up where it
    /// enters a user namespace.
    fn copy(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        path: Text,
        reach: Reach,
        origin: Origin,
    ) -> Result<()> {
        let source = origin.inside("/source");
        let ids = self.mount_ids(mount, options, origin)?;
        let follow = if options.source_nofollow || options.copy_symlink { Follow::Nothing } else { Follow::Links };
        let privileged = self.has_namespace(NamespaceKind::User) && !self.host.rootless;
        if ids == Ids::Same && !privileged && !self.runs {
            self.init(PHASE, source, Step::CloneTree { path, reach, follow, or: NO_VALUE, out: self.mount_slot });
            return Ok(());
        }
        let ids_reach = options.ids.map_or(Reach::One, |(_, reach)| reach);
        self.runtime(PHASE, source, Task::SendMount { path, reach, follow, ids, ids_reach });
        self.receive(source);
        Ok(())
    }

    /// A copy that the runtime sends. Out of its own mount namespace it could be shared with the host.
    pub(super) fn not_while_running(&self, what: &str, origin: Origin) -> crate::Error {
        let what = format!("{what} not supported on a running container");
        crate::Error::not_supported(what).field(format!("{origin}/options"))
    }

    pub(super) fn receive(&mut self, origin: Origin) {
        self.init(PHASE, origin, Step::Receive { from: slot::MOUNTS, out: self.mount_slot });
        if self.runs {
            let propagation = self.first_propagation().0;
            self.init(PHASE, origin, Step::SetPropagation { mount: self.mount_slot, propagation, reach: Reach::Tree });
        }
    }

    /// What keeps mounts from spreading to the host, and from where on.
    pub(super) fn first_propagation(&self) -> (Propagation, Reach) {
        match self.config.linux.rootfs_propagation.map(propagation) {
            Some((Propagation::PRIVATE, reach)) => (Propagation::PRIVATE, reach),
            Some((_, reach)) => (Propagation::SLAVE, reach),
            None => (Propagation::SLAVE, Reach::Tree),
        }
    }

    /// Whose ids the files of a mount get.
    fn mount_ids(&mut self, mount: &Mount<'_>, options: &MountOptions<'_>, origin: Origin) -> Result<Ids> {
        let both = (origin.inside("/uidMappings"), origin.inside("/gidMappings"));
        let mut own: (Vec<IdMapping>, Vec<IdMapping>) = (mount.uid_mappings.clone(), mount.gid_mappings.clone());
        if let Some((text, _)) = options.ids.filter(|(text, _)| !text.is_empty()) {
            let linux = &self.config.linux;
            own = super::idmap::parse_option(text, &linux.uid_mappings, &linux.gid_mappings)
                .ok_or_else(|| invalid(format!("{text:?} are no id mappings"), origin.inside("/options")))?;
        }
        match (own.0.is_empty(), own.1.is_empty()) {
            (true, true) if options.ids.is_none() => Ok(Ids::Same),
            (true, true) if self.has_namespace(NamespaceKind::User) => Ok(Ids::Container),
            (true, true) => Err(invalid("an idmap mount needs id mappings, or a user namespace", origin)),
            (false, false) => {
                let (uids, gids) = self.map_texts(&own.0, &own.1, both)?;
                Ok(Ids::Maps { uids, gids })
            }
            _ => Err(invalid("an idmap mount needs both uidMappings and gidMappings", origin)),
        }
    }

    pub(super) fn target(
        &mut self,
        destination: &str,
        make: Make,
        over_proc: OverProc,
        follow: Follow,
        origin: Origin,
    ) -> Result<()> {
        let origin = origin.inside("/destination");
        let path = self.text(destination, origin)?;
        let step =
            Step::Target { root: slot::ROOT, path, make, like: self.mount_slot, over_proc, follow, out: slot::TARGET };
        self.init(PHASE, origin, step);
        Ok(())
    }

    /// What every mount ends with: it is attached, and only then do attributes reach what came with it, and
    /// events spread.
    pub(super) fn attach(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        self.set_tree(options, mount, origin);
        self.init(PHASE, origin, Step::Attach { mount, target: slot::TARGET });
        self.spread(options, mount, origin);
    }

    pub(super) fn set_tree(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        if !options.tree.is_empty() {
            let step = Step::SetAttr { mount, set: options.tree.set, clear: options.tree.clear, reach: Reach::Tree };
            self.init(PHASE, origin.inside("/options"), step);
        }
    }

    /// Where all is in it that belongs there.
    pub(super) fn read_only(&mut self, phase: Phase, mount: Slot, origin: Origin) {
        self.init(phase, origin, Step::SetAttr { mount, set: Attr::RDONLY, clear: Attr::NONE, reach: Reach::One });
    }

    pub(super) fn spread(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        for &(propagation, reach) in &options.spread {
            let step = Step::SetPropagation { mount, propagation, reach };
            self.init(PHASE, origin.inside("/options"), step);
        }
    }
}
