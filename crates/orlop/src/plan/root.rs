//! What becomes of the root when all is mounted: it is covered where it must be, and entered.

use alloc::string::String;

use orlop_init::step::{OldRoot, Slot, Step, Text};
use orlop_sys::mount::{Propagation, Reach};

use super::mounts::propagation;
use super::{Gate, Origin, Phase, Planner, RootChange, invalid, slot};
use crate::config::{NamespaceKind, RlimitKind};
use crate::error::Result;
use crate::path;

impl Planner<'_> {
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
            self.read_only(phase, slot::DEV, Origin::field("/mounts"));
        }
        if config.root.as_ref().is_some_and(|root| root.readonly) {
            self.read_only(phase, slot::ROOT, Origin::field("/root/readonly"));
        }
        let origin = Origin::field("/root/path");
        let root = slot::ROOT;
        let owned = self.has_namespace(NamespaceKind::Mount);
        if owned && self.options.root_change == RootChange::Pivot {
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

    /// Whether the first change of propagation reached everything below the old root.
    fn old_root(&self) -> OldRoot {
        match self.config.linux.rootfs_propagation.map(propagation) {
            None | Some((_, Reach::Tree)) => OldRoot::Alone,
            Some((_, Reach::One)) => OldRoot::MaySpread,
        }
    }

    /// What the mounts have left is closed by execve(2) with all the rest, except where a limit on descriptors could
    /// be below it, or where init waits for long.
    fn needs_free_descriptors(&self) -> bool {
        const PLENTY: u64 = 256;
        let config = self.config;
        let limits = config.process.as_ref().map(|process| process.rlimits.as_slice()).unwrap_or_default();
        let few = limits.iter().any(|limit| limit.kind == RlimitKind::Nofile && limit.soft < PLENTY);
        few || self.options.gate == Gate::Start
    }
}
