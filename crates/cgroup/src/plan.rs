//! From resources to directories and writes. Nothing here asks the kernel anything.

mod limits;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::device::DeviceSet;
use crate::error::Error;
use crate::layout::{Layout, Mode, Version};
use crate::path::CgroupPath;
use crate::resources::Resources;
use crate::systemd::Scope;

/// A controller by its name in the kernel; named hierarchies of v1 count as one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Controller(Cow<'static, str>);

#[allow(missing_docs)] // the kernel's names
impl Controller {
    pub const BLKIO: Controller = Controller(Cow::Borrowed("blkio"));
    pub const CPU: Controller = Controller(Cow::Borrowed("cpu"));
    pub const CPUACCT: Controller = Controller(Cow::Borrowed("cpuacct"));
    pub const CPUSET: Controller = Controller(Cow::Borrowed("cpuset"));
    pub const DEVICES: Controller = Controller(Cow::Borrowed("devices"));
    pub const FREEZER: Controller = Controller(Cow::Borrowed("freezer"));
    pub const HUGETLB: Controller = Controller(Cow::Borrowed("hugetlb"));
    pub const IO: Controller = Controller(Cow::Borrowed("io"));
    pub const MEMORY: Controller = Controller(Cow::Borrowed("memory"));
    pub const MISC: Controller = Controller(Cow::Borrowed("misc"));
    pub const NET_CLS: Controller = Controller(Cow::Borrowed("net_cls"));
    pub const NET_PRIO: Controller = Controller(Cow::Borrowed("net_prio"));
    pub const PERF_EVENT: Controller = Controller(Cow::Borrowed("perf_event"));
    pub const PIDS: Controller = Controller(Cow::Borrowed("pids"));
    pub const RDMA: Controller = Controller(Cow::Borrowed("rdma"));
    pub const SYSTEMD: Controller = Controller(Cow::Borrowed("name=systemd"));
}

impl Controller {
    /// The controller of that name.
    pub fn named(name: &str) -> Controller {
        Controller(Cow::Owned(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A JSON pointer into config.json.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(Cow<'static, str>);

impl Origin {
    /// A fixed place.
    pub const fn new(pointer: &'static str) -> Origin {
        Origin(Cow::Borrowed(pointer))
    }

    /// A place in a list or map; `key` is escaped as JSON pointers want it.
    pub(crate) fn within(base: &str, key: impl fmt::Display, field: &str) -> Origin {
        let key = format!("{key}").replace('~', "~0").replace('/', "~1");
        Origin(Cow::Owned(format!("{base}/{key}{field}")))
    }

    /// The pointer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who makes the cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Manager {
    /// This crate, through the file system.
    #[default]
    Cgroupfs,
    /// systemd, through D-Bus: see [`systemd::plan`](crate::systemd::plan).
    Systemd,
    /// Nobody: the container stays in its caller's cgroup, and no limit is set.
    Disabled,
}

/// Under which circumstances to plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The caller is not root on the host: without a configured path and without limits, lacking the
    /// permission to make a cgroup is no error; device rules that cannot be set are none either.
    pub rootless: bool,
    /// The caller runs in a user namespace below the initial one, where no device rule can be set.
    pub user_namespace: bool,
    /// Who makes the cgroup.
    pub manager: Manager,
}

/// A directory of the container, one for each hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dir {
    /// The version of its hierarchy.
    pub version: Version,
    /// Its path.
    pub path: String,
    /// How much of the path is the mount point.
    pub mount_len: usize,
    /// How much of it is the outermost cgroup that goes with the container: all of it, unless the processes are in
    /// one below a scope's own.
    pub outer_len: usize,
    /// v1: the controllers of the hierarchy. v2: those that a limit needs, to be enabled in the parents.
    pub controllers: Vec<Controller>,
    /// Whether the container can do without it.
    pub need: Need,
}

impl Dir {
    /// The outermost cgroup that goes with the container.
    pub fn outer(&self) -> &str {
        self.path.get(..self.outer_len).unwrap_or(&self.path)
    }

    /// Where the processes are below it, with a slash before it; empty where they are in it.
    pub fn below_outer(&self) -> &str {
        self.path.get(self.outer_len..).unwrap_or_default()
    }
}

/// Whether the container can do without a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Failing to make it is an error.
    Required,
    /// Lacking the permission is no error: rootless, no path given, and no limit to set there.
    IfPermitted,
    /// rootless, no path given, but a limit to set there: lacking the permission is reported as the limit
    /// that cannot be set.
    ForLimits,
    /// A v1 name or the v2 side of a hybrid host: no limit, so any failure is passed over, as runc does.
    Wanted,
}

/// What to do if the file is not there although its controller is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The limit cannot be set: an error.
    Fail,
    /// The kernel has no such knob, and the value is what happens without it.
    Skip,
    /// Write this value to that file.
    Else(&'static str, String),
}

/// What to do if the kernel refuses the value with EINVAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It is an error.
    No,
    /// The value contradicts the old value of the limit that is written next (memory and swap, period and
    /// quota): try again after that one.
    AfterNext,
}

/// When a write is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// Before a process enters, for the kernel refuses processes otherwise.
    Create,
    /// Any time.
    Apply,
}

/// One write(2) to one kernel file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Into which of the plan's directories.
    pub dir: usize,
    /// The file.
    pub file: Cow<'static, str>,
    /// The value.
    pub value: String,
    /// The controller that has the file.
    pub controller: Controller,
    /// What asked for it.
    pub origin: Origin,
    /// If the file is not there.
    pub missing: Missing,
    /// If the value is refused.
    pub retry: Retry,
    pub(crate) when: When,
}

/// A setting that is not put in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ignored {
    /// The setting.
    pub origin: Origin,
    /// Why.
    pub why: &'static str,
    /// Who should know.
    pub tell: Tell,
}

/// Who should know of a setting that is [`Ignored`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// Whoever asks: this host's cgroup version has no place for it, and runc passes over it without a word.
    Nobody,
    /// The user, as in runc.
    Warn,
}

/// The device rules, planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DevicePlan {
    /// In which of the plan's directories.
    pub dir: usize,
    /// What is to hold.
    pub set: DeviceSet,
    /// Whether failing to set them is passed over, as runc does for rootless containers.
    pub need: DeviceNeed,
}

/// What it means if device rules cannot be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceNeed {
    /// An error.
    Required,
    /// Nothing: rootless, where no device is within reach anyway.
    IfPermitted,
}

/// What to make and to write, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The directories.
    pub dirs: Vec<Dir>,
    /// The writes.
    pub writes: Vec<Write>,
    /// The device rules.
    pub devices: Option<DevicePlan>,
    /// What systemd is to start before the directories are looked at.
    pub scope: Option<Scope>,
    /// What is not set, and why.
    pub ignored: Vec<Ignored>,
    /// `checkBeforeUpdate`, with the limit and swap to compare.
    pub(crate) check: Option<(Option<u64>, Option<u64>)>,
    pub(crate) all_controllers: bool,
}

impl Plan {
    /// Has every controller that v2 offers switched on for the cgroup, as runc does, and not only those that
    /// a limit needs: for statistics of what is not limited, and for a container that limits its own parts.
    /// What cannot be switched on is passed over. Costs a read where nothing is lacking, else a second one, and a write for each level
    /// that lacks any.
    pub fn with_all_controllers(mut self) -> Plan {
        self.all_controllers = true;
        self
    }

    /// The whole path of a write's file.
    pub fn file(&self, write: &Write) -> String {
        let dir = self.dirs.get(write.dir).map_or("", |dir| dir.path.as_str());
        format!("{dir}/{}", write.file)
    }
}

/// Plans the cgroup at `path` with these limits. Fails where the configuration contradicts itself, or asks
/// for a limit that no mounted hierarchy has.
pub fn plan(layout: &Layout, path: &CgroupPath, resources: &Resources, options: Options) -> Result<Plan, Error> {
    match options.manager {
        Manager::Cgroupfs => {}
        Manager::Systemd => return Err(Error::NotSupported("a plan for systemd without the place of a scope")),
        Manager::Disabled => return Ok(Plan::default()),
    }
    let mut planner = Planner { layout, plan: Plan::default() };
    for hierarchy in &layout.hierarchies {
        let path = hierarchy.locate(layout.mode, path)?;
        planner.plan.dirs.push(Dir {
            version: hierarchy.version,
            outer_len: path.len(),
            path,
            mount_len: hierarchy.mount.len(),
            controllers: hierarchy.controllers.clone(),
            need: Need::Required,
        });
    }
    planner.limits(resources)?;
    planner.enabled();
    planner.devices(resources, options)?;
    planner.needs(path, options);
    Ok(planner.plan)
}

struct Planner<'a> {
    layout: &'a Layout,
    plan: Plan,
}

/// Where a controller's files are.
#[derive(Clone, Copy)]
struct Home {
    dir: usize,
    version: Version,
}

impl Planner<'_> {
    /// The hierarchy that has a controller: a v1 mount of it, otherwise v2, which says itself what it lacks.
    fn home(&self, controller: &Controller, origin: &Origin) -> Result<Home, Error> {
        let dirs = &self.plan.dirs;
        let v1 = |dir: &Dir| dir.version == Version::V1 && dir.controllers.contains(controller);
        if let Some(dir) = dirs.iter().position(v1) {
            return Ok(Home { dir, version: Version::V1 });
        }
        let missing = || Error::NoController { controller: controller.clone(), origin: Some(origin.clone()) };
        let dir = dirs.iter().position(|dir| dir.version == Version::V2);
        let dir = dir.ok_or_else(missing)?;
        Ok(Home { dir, version: Version::V2 })
    }

    /// Whether a controller is mounted as v1.
    fn on_v1(&self, controller: &Controller) -> bool {
        self.plan.dirs.iter().any(|dir| dir.controllers.contains(controller) && dir.version == Version::V1)
    }

    fn ignore(&mut self, pointer: &'static str, why: &'static str) {
        self.plan.ignored.push(Ignored { origin: Origin::new(pointer), why, tell: Tell::Nobody });
    }

    fn devices(&mut self, resources: &Resources, options: Options) -> Result<(), Error> {
        const POINTER: &str = "/linux/resources/devices";
        let Some(rules) = &resources.devices else {
            return Ok(());
        };
        let set = DeviceSet::from_rules(rules)
            .map_err(|(index, why)| Error::Invalid { origin: Origin::within(POINTER, index, ""), why })?;
        let Home { dir, version } = self.home(&Controller::DEVICES, &Origin::new(POINTER))?;
        if options.user_namespace && version == Version::V1 {
            self.ignore(POINTER, "a user namespace cannot set device rules on cgroup v1");
            return Ok(());
        }
        let harmless = options.user_namespace || options.rootless;
        self.plan.devices =
            Some(DevicePlan { dir, set, need: if harmless { DeviceNeed::IfPermitted } else { DeviceNeed::Required } });
        Ok(())
    }

    /// Notes which controllers the v2 directory needs; the core's own files need none.
    fn enabled(&mut self) {
        for write in &self.plan.writes {
            let dir = self.plan.dirs.get_mut(write.dir);
            if let Some(dir) = dir.filter(|dir| dir.version == Version::V2)
                && write.controller.as_str() != "cgroup"
                && !dir.controllers.contains(&write.controller)
            {
                dir.controllers.push(write.controller.clone());
            }
        }
    }

    /// Decides which directories the container can do without.
    fn needs(&mut self, path: &CgroupPath, options: Options) {
        let lenient = options.rootless && matches!(path, CgroupPath::Default(_));
        let hybrid = self.layout.mode == Mode::Hybrid;
        let required_devices = self.plan.devices.as_ref().is_some_and(|d| d.need == DeviceNeed::Required);
        let devices_dir = self.plan.devices.as_ref().map(|d| d.dir);
        for (index, dir) in self.plan.dirs.iter_mut().enumerate() {
            let limited = self.plan.writes.iter().any(|write| write.dir == index)
                || (required_devices && devices_dir == Some(index));
            let bare = dir.version == Version::V2 && hybrid
                || dir.controllers.iter().all(|c| *c == Controller::SYSTEMD || *c == Controller::MISC)
                    && dir.version == Version::V1;
            dir.need = match (limited, bare, lenient) {
                (false, true, _) => Need::Wanted,
                (false, false, true) => Need::IfPermitted,
                (true, _, true) => Need::ForLimits,
                (_, _, false) => Need::Required,
            };
        }
    }
}

#[cfg(test)]
mod tests;
