//! New file systems, and new options for those that are there.

use alloc::format;
use alloc::vec::Vec;

use orlop_init::step::{Follow, List, Make, ModeOf, NO_VALUE, OverProc, Param, Step, Text};
use orlop_sys::mount::{Attr, MsFlags, Reach};

use super::options::MountOptions;
use super::{Origin, Phase, Planner, invalid, slot};
use crate::config::{Mount, NamespaceKind};
use crate::error::Result;

const PHASE: Phase = Phase::Mounts;

/// File systems of the kernel itself, which have no read-only superblock worth the name: `ro` is an attribute of
/// the mount there. cgroup and sysfs instances are shared, and their other mounts must stay as they are.
const VIRTUAL: &[&str] = &["cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs"];

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
        _ => MsFlags::NONE,
    }
}

fn old_flags(options: &MountOptions<'_>) -> MsFlags {
    let flags = options.superblock.iter().fold(MsFlags::NONE, |all, flag| all | old_flag(flag.to_bytes()));
    if counts_changes(options) { flags | MsFlags::I_VERSION } else { flags }
}

fn is_of_changes(flag: &core::ffi::CStr) -> bool {
    matches!(flag.to_bytes(), b"iversion" | b"noiversion")
}

/// Whether inodes are to have a counter of changes: fsconfig(2) has no such flag, and file systems do not know the name.
fn counts_changes(options: &MountOptions<'_>) -> bool {
    options.superblock.iter().rev().find(|flag| is_of_changes(flag)).is_some_and(|flag| *flag == c"iversion")
}

impl Planner<'_> {
    pub(super) fn new_file_system(
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
            _ => options.target_follow(),
        };
        let over_proc = self.over_proc(mount, destination, false);
        self.target(destination, Make::Directory, over_proc, follow, origin)?;
        let is_long = options.data.iter().any(|option| is_long(option));
        // Of the virtual ones the kernel has it or has not, whoever asks.
        if is_long || counts_changes(options) && !VIRTUAL.contains(&fstype) {
            if self.runs {
                // What is mounted by path could not be told from what somebody in the container puts there.
                let what = if is_long { "options of more than 255 bytes are" } else { "the option iversion is" };
                return Err(self.not_while_running(what, origin));
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
            self.read_only(PHASE, out, origin.inside("/options"));
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
    ) -> Result<List<Param>> {
        let mut params: Vec<(&[u8], Option<&[u8]>)> = Vec::with_capacity(options.data.len() + 2);
        super::no_nul(&mount.source, origin.inside("/source"))?;
        if !mount.source.is_empty() {
            params.push((b"source", Some(mount.source.as_bytes())));
        }
        if options.one.set.contains(Attr::RDONLY) && !VIRTUAL.contains(&fstype) {
            params.push((b"ro", None));
        }
        let flags = options.superblock.iter().filter(|flag| !is_of_changes(flag));
        params.extend(flags.map(|flag| (flag.to_bytes(), None)));
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

    /// A file system whose options fsconfig(2) does not take.
    fn long_options(
        &mut self,
        fstype: &str,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        let flags = old_flags(options);
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
    pub(super) fn remount(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        origin: Origin,
    ) -> Result<()> {
        self.target(destination, Make::Directory, OverProc::Allowed, options.target_follow(), origin)?;
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
        let asked = OF_MOUNT.iter().filter(|(attr, _)| options.one.set.contains(*attr));
        let flags = asked.fold(MsFlags::REMOUNT | old_flags(options), |all, (_, flag)| all | *flag);
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
}
