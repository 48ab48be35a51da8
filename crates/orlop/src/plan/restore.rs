//! What a restored container needs before criu can begin: its cgroup, a mount namespace whose root file system is a
//! mount, and in that the mount points that an image may lack.

use orlop_init::step::{Follow, List, Make, ModeOf, NO_VALUE, OverProc, Step, Text};
use orlop_sys::mount::{Attr, Reach};
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::options::MountOptions;
use super::{Options, Origin, Phase, Plan, Planner, RootChange, Task, invalid, slot};
use crate::config::{Config, Mount};
use crate::error::Result;
use crate::host::Host;
use crate::path;

const PHASE: Phase = Phase::Mounts;

/// Decides all of it.
pub(crate) fn plan(config: &Config<'_>, host: &Host, options: &Options<'_>) -> Result<Plan> {
    let mut planner = Planner::new(config, host, options, (64, 4096));
    planner.check_hooks()?;
    super::refuse_delegated(config)?;
    planner.has_terminal()?;
    let cgroup = crate::cgroup::plan(config, host, options)?;
    planner.runtime(Phase::Prepare, Origin::NONE, Task::StateDirectory);
    if !cgroup.dirs.is_empty() {
        planner.runtime(Phase::Prepare, Origin::field("/linux/cgroupsPath"), Task::CgroupCreate);
    }
    planner.adopt_orphans();
    let clone = Task::Clone { namespaces: CloneFlags::NEWNS, into_cgroup: false, rights: Rights::Exec };
    planner.runtime(Phase::Namespaces, Origin::NONE, clone);
    planner.root()?;
    planner.mount_points()?;
    Ok(Plan { has_poststop: !config.hooks.poststop.is_empty(), ..planner.finish_without_program(cgroup) })
}

impl Planner<'_> {
    /// criu wants the root file system to be a mount. Nothing of that reaches the host, and nothing of it is left.
    fn root(&mut self) -> Result<()> {
        let origin = Origin::field("/root/path");
        let root = self.config.root.as_ref().filter(|root| !root.path.is_empty());
        let root = root.ok_or_else(|| invalid("root must be specified", Origin::field("/root")))?;
        self.rootfs = path::join(self.options.bundle, &root.path);
        let rootfs = self.rootfs.clone();
        let path = self.text(&rootfs, origin)?;
        let (propagation, _) = self.first_propagation();
        self.init(PHASE, Origin::NONE, Step::RootPropagation { propagation, reach: Reach::Tree });
        if self.options.root_change == RootChange::Move {
            // criu pivots out of what it starts in, which an initial ramfs does not allow: out of a copy of it. Nothing
            // of the original stays, as criu does not know it.
            let top = self.strings.text(b"/");
            self.init(PHASE, Origin::NONE, Step::BindRoot { path: top, reach: Reach::Tree, out: slot::ROOT });
            self.init(PHASE, Origin::NONE, Step::DetachAllBut { root: slot::ROOT });
            self.init(PHASE, Origin::NONE, Step::Chroot { root: slot::ROOT });
        }
        self.init(PHASE, origin, Step::BindRoot { path, reach: Reach::Tree, out: slot::ROOT });
        self.runtime(PHASE, Origin::NONE, Task::MountNamespace);
        // What follows is seen by nobody, and only the mount points stay.
        self.init(PHASE, Origin::NONE, Step::Unshare { namespaces: CloneFlags::NEWNS });
        self.init(PHASE, origin, Step::BindRoot { path, reach: Reach::Tree, out: slot::ROOT });
        Ok(())
    }

    /// A mount point on a new file system is saved with that, so an empty one stands in for each.
    fn mount_points(&mut self) -> Result<()> {
        let config = self.config;
        for (index, mount) in config.mounts.iter().enumerate() {
            let origin = Origin::member("/mounts", index);
            let options = MountOptions::of(mount);
            if options.bind.is_none() && options.remount {
                continue;
            }
            let make = match options.bind {
                Some(reach) => {
                    self.stand_in_copy(mount, &options, reach, origin)?;
                    Make::LikeSource
                }
                None => {
                    self.stand_in();
                    Make::Directory
                }
            };
            let destination = self.inside(&mount.destination);
            self.target(&destination, make, OverProc::Allowed, options.target_follow(), origin)?;
            self.init(PHASE, origin, Step::Attach { mount: slot::MOUNT, target: slot::TARGET });
        }
        Ok(())
    }

    fn stand_in_copy(
        &mut self,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        reach: Reach,
        origin: Origin,
    ) -> Result<()> {
        let path = self.bind_source(mount, origin)?;
        let follow = if options.source_nofollow { Follow::Nothing } else { Follow::Links };
        self.init(
            PHASE,
            origin.inside("/source"),
            Step::CloneTree { path, reach, follow, or: NO_VALUE, out: slot::MOUNT },
        );
        Ok(())
    }

    fn stand_in(&mut self) {
        let fstype: Text = self.strings.text(b"tmpfs");
        let step = Step::MakeFs {
            fstype,
            params: List::EMPTY,
            attr: Attr::NONE,
            mode_of: ModeOf::Nothing,
            target: slot::TARGET,
            host: NO_VALUE,
            out: slot::MOUNT,
        };
        self.init(PHASE, Origin::NONE, step);
    }
}
