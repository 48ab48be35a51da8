//! The root file system and the mounts in it, in the configuration's order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Mode, Need, Version};
use orlop_init::step::{Follow, Make, ModeOf, NO_VALUE, OldRoot, OverProc, Slot, Step, Text};
use orlop_sys::mount::{Attr, MsFlags, Propagation, Reach};
use orlop_sys::process::Clone as CloneFlags;

use super::options::MountOptions;
use super::{Ids, Origin, Phase, Planner, Task, invalid, slot};
use crate::cgroup::{Placement, placement};
use crate::config::{IdMapping, Mount, NamespaceKind, Propagation as Configured};
use crate::error::Result;
use crate::path;

const PHASE: Phase = Phase::Mounts;

/// File systems of the kernel itself, which have no read-only superblock worth the name: `ro` is an attribute of
/// the mount there. cgroup and sysfs instances are shared, and their other mounts must stay as they are.
const VIRTUAL: &[&str] = &["cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs"];

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

/// Whether fsconfig(2), which takes keys and values of up to 255 bytes, does not take an option.
fn is_long(option: &str) -> bool {
    option.split_once('=').map_or(option.len(), |(_, value)| value.len()) > 255
}

/// Whether a mount has its label already.
fn is_context(option: &str) -> bool {
    option.split_once('=').is_some_and(|(key, _)| matches!(key, "context" | "fscontext" | "defcontext" | "rootcontext"))
}

/// mount(2)'s flag for a superblock option.
fn old_flag(option: &[u8]) -> MsFlags {
    match option {
        b"sync" => MsFlags::SYNCHRONOUS,
        b"dirsync" => MsFlags::DIRSYNC,
        b"mand" => MsFlags::MANDLOCK,
        b"lazytime" => MsFlags::LAZYTIME,
        b"iversion" => MsFlags::I_VERSION,
        _ => MsFlags::NONE,
    }
}

const fn propagation(configured: Configured) -> (Propagation, Reach) {
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
        let mut options = MountOptions::parse(mount.options.iter().map(|option| option.as_str()));
        if options.bind.is_none() && mount.kind == "bind" {
            options.bind = Some(Reach::One);
        }
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
    fn keep(&mut self, destination: &str) {
        if self.mount_slot != slot::MOUNT {
            self.kept.retain(|(kept, _)| kept != destination);
            self.kept.push((String::from(destination), self.mount_slot));
        }
    }

    /// What a mount may do to procfs: S5 and CVE-2019-16884.
    fn over_proc(&self, mount: &Mount<'_>, destination: &str, bind: bool) -> OverProc {
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
        let source = origin.inside("/source");
        if mount.source.is_empty() {
            return Err(invalid("a bind mount without a source", source));
        }
        let path = self.text(&path::join(self.options.bundle, &mount.source), source)?;
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
        let follow = if options.target_nofollow { Follow::NotLast } else { Follow::Links };
        self.target(destination, Make::LikeSource, over_proc, follow, origin)?;
        self.attach(options, self.mount_slot, origin);
        self.keep(destination);
        Ok(())
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
    fn not_while_running(&self, what: &str, origin: Origin) -> crate::Error {
        let what = format!("{what} not supported on a running container");
        crate::Error::not_supported(what).field(format!("{origin}/options"))
    }

    fn receive(&mut self, origin: Origin) {
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

    fn new_file_system(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let fstype: &str = match mount.kind.as_str() {
            "" => return Err(invalid("a mount without a type", origin.inside("/type"))),
            "cgroup" => "cgroup2",
            other => other,
        };
        let follow = match fstype {
            "proc" | "sysfs" => Follow::Nothing,
            _ if options.target_nofollow => Follow::NotLast,
            _ => Follow::Links,
        };
        let over_proc = self.over_proc(mount, destination, false);
        self.target(destination, Make::Directory, over_proc, follow, origin)?;
        if options.data.iter().any(|option| is_long(option)) {
            if self.runs {
                // What is mounted by path could not be told from what somebody in the container puts there.
                return Err(self.not_while_running("options of more than 255 bytes are", origin));
            }
            return self.long_options(fstype, mount, options, destination, origin);
        }
        let params = self.params(fstype, mount, options, origin)?;
        // Read-only only when all is in there that belongs there.
        let readonly_later = options.one.set.contains(Attr::RDONLY) && (destination == "/dev" || options.copy_up);
        let out = if readonly_later && destination == "/dev" { slot::DEV } else { self.mount_slot };
        self.readonly_dev |= out == slot::DEV;
        let attr = if readonly_later { options.one.set.without(Attr::RDONLY) } else { options.one.set };
        let fstype_text = self.text(fstype, origin.inside("/type"))?;
        let explicit_mode = options.data.iter().any(|option| option.starts_with("mode="));
        let mode_of = if fstype == "tmpfs" && !explicit_mode { ModeOf::Target } else { ModeOf::Nothing };
        let step = Step::MakeFs {
            fstype: fstype_text,
            params,
            attr,
            mode_of,
            target: slot::TARGET,
            host: self.host_mount(fstype),
            out,
        };
        self.init(PHASE, origin, step);
        if options.copy_up {
            self.init(PHASE, origin.inside("/options"), Step::CopyUp { from: slot::TARGET, to: out });
        }
        if readonly_later && out != slot::DEV {
            let step = Step::SetAttr { mount: out, set: Attr::RDONLY, clear: Attr::NONE, reach: Reach::One };
            self.init(PHASE, origin.inside("/options"), step);
        }
        self.attach(options, out, origin);
        self.keep(destination);
        Ok(())
    }

    /// What stands in for a file system that a user namespace may not mount where the namespace that it shows is
    /// somebody else's.
    fn host_mount(&mut self, fstype: &str) -> Text {
        if self.runs || !self.has_namespace(NamespaceKind::User) && !self.host.rootless {
            return NO_VALUE;
        }
        match fstype {
            "sysfs" => self.strings.text(b"/sys"),
            "mqueue" => self.strings.text(b"/dev/mqueue"),
            "cgroup2" => self.strings.text(self.own_cgroup.as_bytes()),
            _ => NO_VALUE,
        }
    }

    fn params(
        &mut self,
        fstype: &str,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        origin: Origin,
    ) -> Result<orlop_init::step::List<orlop_init::step::Param>> {
        let mut params: Vec<(&[u8], Option<&[u8]>)> = Vec::with_capacity(options.data.len() + 2);
        super::no_nul(&mount.source, origin.inside("/source"))?;
        if !mount.source.is_empty() {
            params.push((b"source", Some(mount.source.as_bytes())));
        }
        if options.one.set.contains(Attr::RDONLY) && !VIRTUAL.contains(&fstype) {
            params.push((b"ro", None));
        }
        params.extend(options.superblock.iter().map(|flag| (flag.to_bytes(), None)));
        for option in &options.data {
            super::no_nul(option, origin.inside("/options"))?;
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key.as_bytes(), Some(value.as_bytes())),
                None => (option.as_bytes(), None),
            };
            // A group that nobody is would make devpts fail; gid 5 is in every configuration for root.
            if fstype == "devpts"
                && let Some(gid) = option.strip_prefix("gid=").and_then(|gid| gid.parse().ok())
                && !self.is_group_mapped(gid)
            {
                let text = format!("{option} is left out: the group is not mapped in the container's user namespace");
                self.warn(origin.inside("/options"), text);
                continue;
            }
            params.push((key, value));
        }
        let label = self.config.linux.mount_label.as_str();
        let labelled = !matches!(fstype, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2");
        if labelled && !label.is_empty() && !options.data.iter().any(|option| is_context(option)) {
            super::no_nul(label, Origin::field("/linux/mountLabel"))?;
            params.push((self.context_option()?, Some(label.as_bytes())));
        }
        Ok(self.strings.params(params))
    }

    fn target(
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
    fn attach(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        self.set_tree(options, mount, origin);
        self.init(PHASE, origin, Step::Attach { mount, target: slot::TARGET });
        self.spread(options, mount, origin);
    }

    fn set_tree(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        if !options.tree.is_empty() {
            let step = Step::SetAttr { mount, set: options.tree.set, clear: options.tree.clear, reach: Reach::Tree };
            self.init(PHASE, origin.inside("/options"), step);
        }
    }

    fn spread(&mut self, options: &MountOptions<'_>, mount: Slot, origin: Origin) {
        for &(propagation, reach) in &options.spread {
            let step = Step::SetPropagation { mount, propagation, reach };
            self.init(PHASE, origin.inside("/options"), step);
        }
    }

    /// A file system whose options fsconfig(2) does not take.
    fn long_options(
        &mut self,
        fstype: &str,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let flags = options.superblock.iter().fold(MsFlags::NONE, |all, flag| all | old_flag(flag.to_bytes()));
        let readonly = options.one.set.contains(Attr::RDONLY) && !VIRTUAL.contains(&fstype);
        let flags = if readonly { flags | MsFlags::RDONLY } else { flags };
        self.old_mount(fstype, mount, options, flags, destination, origin)?;
        self.kept.retain(|(kept, _)| *kept != destination);
        if !options.one.is_empty() {
            let (set, clear) = (options.one.set, options.one.clear);
            let step = Step::SetAttr { mount: slot::MOUNT, set, clear, reach: Reach::One };
            self.init(PHASE, origin.inside("/options"), step);
        }
        self.spread(options, slot::MOUNT, origin);
        Ok(())
    }

    /// New options for what is mounted there, as `mount -o remount` with all of them named.
    fn remount(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let follow = if options.target_nofollow { Follow::NotLast } else { Follow::Links };
        self.target(destination, Make::Directory, OverProc::Allowed, follow, origin)?;
        const OF_MOUNT: [(Attr, MsFlags); 8] = [
            (Attr::RDONLY, MsFlags::RDONLY),
            (Attr::NOSUID, MsFlags::NOSUID),
            (Attr::NODEV, MsFlags::NODEV),
            (Attr::NOEXEC, MsFlags::NOEXEC),
            (Attr::NOATIME, MsFlags::NOATIME),
            (Attr::STRICTATIME, MsFlags::STRICTATIME),
            (Attr::NODIRATIME, MsFlags::NODIRATIME),
            (Attr::NOSYMFOLLOW, MsFlags::NOSYMFOLLOW),
        ];
        let flags = options.superblock.iter().fold(MsFlags::REMOUNT, |all, flag| all | old_flag(flag.to_bytes()));
        let asked = OF_MOUNT.iter().filter(|(attr, _)| options.one.set.contains(*attr));
        let flags = asked.fold(flags, |all, (_, flag)| all | *flag);
        self.old_mount(&mount.kind, mount, options, flags, destination, origin)?;
        self.spread(options, slot::MOUNT, origin);
        Ok(())
    }

    fn old_mount(
        &mut self,
        fstype: &str,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        flags: MsFlags,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let data = options.data.join(",");
        // mount(2) takes one page, and cuts what is longer.
        if data.len() > 4095 {
            return Err(invalid("more than 4095 bytes of mount options", origin.inside("/options")));
        }
        let step = Step::Mount {
            fstype: self.text(fstype, origin.inside("/type"))?,
            source: self.text(&mount.source, origin.inside("/source"))?,
            data: self.text(&data, origin.inside("/options"))?,
            flags: flags.bits() as u32,
            root: slot::ROOT,
            path: self.text(destination, origin.inside("/destination"))?,
            target: slot::TARGET,
            out: slot::MOUNT,
        };
        self.init(PHASE, origin, step);
        Ok(())
    }

    /// A tmpfs with one directory for each v1 hierarchy: mounts of the container's own part where it has a cgroup
    /// namespace, else copies of the host's.
    fn cgroup_v1(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        cgroup: &orlop_cgroup::Plan,
        origin: Origin,
    ) -> Result<()> {
        let shell = MountOptions {
            one: super::options::Change { set: Attr::NOSUID | Attr::NODEV | Attr::NOEXEC, ..Default::default() },
            spread: options.spread.clone(),
            data: alloc::vec!["mode=755"],
            ..MountOptions::default()
        };
        let tmpfs = Mount { kind: "tmpfs".into(), source: "tmpfs".into(), ..mount.clone() };
        self.mount_slot = slot::CGROUP_TREE;
        self.new_file_system(&tmpfs, &shell, destination, origin)?;
        self.mount_slot = slot::MOUNT;
        let own = self.has_namespace(NamespaceKind::Cgroup);
        let attr = Attr::NOSUID | Attr::NODEV | Attr::NOEXEC | options.one.set;
        let host = self.host;
        let hierarchies = host.cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1);
        for hierarchy in hierarchies {
            let name = path::file_name(&hierarchy.mount);
            let place = format!("{destination}/{name}");
            self.target(&place, Make::Directory, OverProc::Refused, Follow::Nothing, origin)?;
            if own {
                let mut params: Vec<(&[u8], Option<&[u8]>)> = alloc::vec![(b"source", Some(b"cgroup".as_slice()))];
                params.extend(hierarchy.controllers.iter().map(
                    |controller| match controller.as_str().split_once('=') {
                        Some((key, value)) => (key.as_bytes(), Some(value.as_bytes())),
                        None => (controller.as_str().as_bytes(), None),
                    },
                ));
                let step = Step::MakeFs {
                    fstype: self.strings.text(b"cgroup"),
                    params: self.strings.params(params),
                    attr,
                    mode_of: ModeOf::Nothing,
                    target: slot::TARGET,
                    host: NO_VALUE,
                    out: slot::MOUNT,
                };
                self.init(PHASE, origin, step);
            } else {
                // The container's own part of the hierarchy, where it is in one.
                let mount_len = hierarchy.mount.len();
                let own =
                    cgroup.dirs.iter().find(|dir| dir.path.starts_with(&hierarchy.mount) && dir.mount_len == mount_len);
                let path = self.text(own.map_or(&hierarchy.mount, |dir| &dir.path), origin)?;
                // Where a rootless runtime may not make it, the container stays in the cgroup above.
                let parent = own
                    .filter(|dir| self.host.rootless && dir.need != Need::Required)
                    .and_then(|dir| dir.path.rsplit_once('/'));
                let or = match parent {
                    Some((parent, _)) => self.text(parent, origin)?,
                    None => NO_VALUE,
                };
                let (reach, follow) = (Reach::One, Follow::Links);
                if self.runs {
                    let ids = Ids::Same;
                    self.runtime(PHASE, origin, Task::SendMount { path, reach, follow, ids, ids_reach: Reach::One });
                    self.receive(origin);
                } else {
                    self.init(PHASE, origin, Step::CloneTree { path, reach, follow, or, out: slot::MOUNT });
                }
                let step = Step::SetAttr { mount: slot::MOUNT, set: attr, clear: Attr::NONE, reach: Reach::One };
                self.init(PHASE, origin, step);
            }
            self.init(PHASE, origin, Step::Attach { mount: slot::MOUNT, target: slot::TARGET });
            if !name.contains(',') {
                continue;
            }
            for controller in name.split(',') {
                let link = self.text(&format!("{destination}/{controller}"), origin)?;
                let target = self.text(name, origin)?;
                self.init(PHASE, origin, Step::Symlink { root: slot::ROOT, path: link, target });
            }
        }
        // Only now: the folders and links above are made in it.
        if options.one.set.contains(Attr::RDONLY) {
            let (set, clear) = (Attr::RDONLY, Attr::NONE);
            let step = Step::SetAttr { mount: slot::CGROUP_TREE, set, clear, reach: Reach::One };
            self.init(PHASE, origin.inside("/options"), step);
        }
        Ok(())
    }

    /// The v1 hierarchy that an old systemd expects, on a host that has it mounted somewhere.
    fn systemd_v1(&mut self, options: &MountOptions<'_>, destination: &str, origin: Origin) -> Result<()> {
        self.target(destination, Make::Directory, OverProc::Refused, Follow::Nothing, origin)?;
        let params: [(&[u8], Option<&[u8]>); 4] =
            [(b"source", Some(b"cgroup")), (b"none", None), (b"name", Some(b"systemd")), (b"xattr", None)];
        let step = Step::MakeFs {
            fstype: self.strings.text(b"cgroup"),
            params: self.strings.params(params),
            attr: options.one.set,
            mode_of: ModeOf::Nothing,
            target: slot::TARGET,
            host: NO_VALUE,
            out: slot::MOUNT,
        };
        self.init(PHASE, origin, step);
        self.attach(options, slot::MOUNT, origin);
        Ok(())
    }

    /// What the mounts have left is closed by execve(2) with all the rest, except where a limit on descriptors could
    /// be below it, or where init waits for long.
    fn needs_free_descriptors(&self) -> bool {
        const PLENTY: u64 = 256;
        let config = self.config;
        let limits = config.process.as_ref().map(|process| process.rlimits.as_slice()).unwrap_or_default();
        let few = limits.iter().any(|limit| limit.kind == crate::config::RlimitKind::Nofile && limit.soft < PLENTY);
        few || self.options.gate == super::Gate::Start
    }

    /// What would change the host's own mounts is refused. The mounts of the container are in the host's tree, below
    /// its root file system, until it is deleted.
    pub(super) fn check_without_mount_namespace(&self) -> Result<()> {
        let linux = &self.config.linux;
        if !linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty() {
            let pointer = if linux.masked_paths.is_empty() { "/linux/readonlyPaths" } else { "/linux/maskedPaths" };
            let what = "unable to restrict sys entries without a private MNT namespace";
            return Err(invalid(what, Origin::field(pointer)));
        }
        if linux.rootfs_propagation.is_some() {
            let what = "unable to set the propagation of the root without a private MNT namespace";
            return Err(invalid(what, Origin::field("/linux/rootfsPropagation")));
        }
        if self.has_namespace(NamespaceKind::User) {
            let what = "a user namespace without a mount namespace of its own may not mount anything";
            return Err(invalid(what, Origin::field("/linux/namespaces")));
        }
        Ok(())
    }

    /// Whether the first change of propagation reached everything below the old root.
    fn old_root(&self) -> OldRoot {
        match self.config.linux.rootfs_propagation.map(propagation) {
            None | Some((_, Reach::Tree)) => OldRoot::Alone,
            Some((_, Reach::One)) => OldRoot::MaySpread,
        }
    }

    /// The path of what is masked or made read-only, and where it begins. What lies in a procfs or sysfs of ours is
    /// looked up in that mount: whoever shares the root file system may have put another folder in its place since
    /// (CVE-2019-19921), and the mount, which moves with its folder, would stay open under another name.
    fn covered(&mut self, path: &str, origin: Origin) -> Result<Option<(Slot, Text)>> {
        if !path.starts_with('/') {
            self.fault(invalid("a path in the container must be absolute here", origin))?;
        }
        let path = path::clean_absolute(path);
        let inside = |(mount, slot): &(String, Slot)| {
            let rest = path.strip_prefix(mount.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((*slot, rest))
        };
        let (root, rest) = self.kept.iter().find_map(inside).unwrap_or((slot::ROOT, &path));
        let text = self.text(if rest.is_empty() { "/" } else { rest }, origin);
        Ok(self.sound(text)?.map(|text| (root, text)))
    }

    /// Makes the root read-only and covers what is to be covered, then changes into it.
    pub(super) fn enter_root(&mut self) -> Result<()> {
        let phase = Phase::Root;
        let config = self.config;
        if let Some(process) = &config.process {
            let origin = Origin::field("/process/cwd");
            if !process.cwd.starts_with('/') {
                self.fault(invalid("Cwd must be an absolute path", origin))?;
            }
            let cwd = path::clean_absolute(&process.cwd);
            if cwd != "/" {
                let path = self.text(&cwd, origin);
                if let Some(path) = self.sound(path)? {
                    self.init(phase, origin, Step::Directory { root: slot::ROOT, path, mode: 0o755 });
                }
            }
        }
        if !config.linux.masked_paths.is_empty() {
            self.init(phase, Origin::field("/linux/maskedPaths"), Step::OpenNull { out: slot::NULL });
        }
        for (index, masked) in config.linux.masked_paths.iter().enumerate() {
            // Covered once is covered, as runc has it.
            if config.linux.masked_paths.iter().take(index).any(|other| other == masked) {
                continue;
            }
            let origin = Origin::member("/linux/maskedPaths", index);
            let Some((root, path)) = self.covered(masked, origin)? else { continue };
            self.init(phase, origin, Step::Mask { root, path, null: slot::NULL });
        }
        for (index, readonly) in config.linux.readonly_paths.iter().enumerate() {
            let origin = Origin::member("/linux/readonlyPaths", index);
            let Some((root, path)) = self.covered(readonly, origin)? else { continue };
            self.init(phase, origin, Step::ReadOnlyPath { root, path });
        }
        if self.readonly_dev {
            let step = Step::SetAttr { mount: slot::DEV, set: Attr::RDONLY, clear: Attr::NONE, reach: Reach::One };
            self.init(phase, Origin::field("/mounts"), step);
        }
        if config.root.as_ref().is_some_and(|root| root.readonly) {
            let step = Step::SetAttr { mount: slot::ROOT, set: Attr::RDONLY, clear: Attr::NONE, reach: Reach::One };
            self.init(phase, Origin::field("/root/readonly"), step);
        }
        let origin = Origin::field("/root/path");
        let root = slot::ROOT;
        let owned = self.has_namespace(NamespaceKind::Mount);
        if owned && self.options.root_change == super::RootChange::Pivot {
            self.init(phase, origin, Step::Pivot { root, old: self.old_root() });
        } else {
            if owned {
                self.init(phase, origin, Step::MoveRoot { root });
                self.init(phase, origin, Step::DetachAllBut { root });
            }
            self.init(phase, origin, Step::Chroot { root });
        }
        self.console()?;
        if self.needs_free_descriptors() {
            let first = self.options.preserve_fds.saturating_add(3);
            self.init(phase, Origin::NONE, Step::Descriptors { first });
        }
        if let Some((propagation @ (Propagation::SHARED | Propagation::UNBINDABLE), reach)) =
            config.linux.rootfs_propagation.map(propagation)
        {
            let step = Step::RootPropagation { propagation, reach };
            self.init(phase, Origin::field("/linux/rootfsPropagation"), step);
        }
        Ok(())
    }
}
