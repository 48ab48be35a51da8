//! The hierarchies of cgroup v1, as a container sees them.

use alloc::format;
use alloc::vec::Vec;

use orlop_cgroup::{Need, Version};
use orlop_init::step::{Follow, Make, ModeOf, NO_VALUE, OverProc, Step};
use orlop_sys::mount::{Attr, Reach};

use super::options::{Change, MountOptions};
use super::{Ids, Origin, Phase, Planner, Task, slot};
use crate::config::{Mount, NamespaceKind};
use crate::error::Result;
use crate::path;

const PHASE: Phase = Phase::Mounts;

impl Planner<'_> {
    /// A tmpfs with one directory for each v1 hierarchy: mounts of the container's own part where it has a cgroup
    /// namespace, else copies of the host's.
    pub(super) fn cgroup_v1(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        destination: &str,
        cgroup: &orlop_cgroup::Plan,
        origin: Origin,
    ) -> Result<()> {
        let shell = MountOptions {
            one: Change { set: Attr::NOSUID | Attr::NODEV | Attr::NOEXEC, ..Default::default() },
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
            self.read_only(PHASE, slot::CGROUP_TREE, origin.inside("/options"));
        }
        Ok(())
    }

    /// The v1 hierarchy that an old systemd expects, on a host that has it mounted somewhere.
    pub(super) fn systemd_v1(&mut self, options: &MountOptions<'_>, destination: &str, origin: Origin) -> Result<()> {
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
}
