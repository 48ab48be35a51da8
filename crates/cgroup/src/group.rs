//! The directories of one container: made, entered, limited.

mod devices;
mod freeze;
mod limits;
mod make;
mod oom;
mod remove;
mod share;
mod update;

use alloc::string::ToString;
use alloc::vec::Vec;

use orlop_sys::fs::OFlags;
use orlop_sys::process::Pid;
use orlop_sys::time::{Timespec, sleep};
use orlop_sys::{Errno, OwnedFd};

use crate::error::Error;
use crate::io::{self, At, Bin};
use crate::layout::{Layout, Version};
use crate::path::CgroupPath;
use crate::plan::{Controller, Dir, Need, Options, Plan, When, plan};
use crate::resources::Resources;
use make::{Found, inherit_cpuset, make};

pub use freeze::is_frozen;
pub use oom::{Oom, OomWatch};
pub use remove::PATIENCE;

/// The cgroups of one container: one directory in each hierarchy.
///
/// Dropping it leaves the cgroups as they are.
#[derive(Debug)]
pub struct Group {
    held: Vec<Held>,
    /// Whether the plan's device rules were set as lines when the directories were made.
    lines_set: bool,
}

/// One directory.
#[derive(Debug)]
struct Held {
    dir: Dir,
    /// v2 only: what a child is cloned into and files are opened from.
    fd: Option<OwnedFd>,
    presence: Presence,
    /// How long the paths of the ancestors are that were made along with it, outermost first.
    parents: Vec<usize>,
    /// Whether the controllers of `dir` were switched on above it (v2).
    enabled: bool,
    /// Whether a device program may be attached (v2).
    programmed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Made by this value.
    Made,
    /// It was there.
    Found,
    /// Opened by its path, not looked at.
    Unknown,
    /// Not to be had, and not needed.
    Absent,
}

/// Where a process is already when the rest of its cgroups adopt it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// In none of them.
    Nothing,
    /// In the one of v2: cloned into [`Group::fd`].
    Unified,
}

impl Held {
    fn at(&self) -> At<'_> {
        At { path: &self.dir.path, fd: self.fd.as_ref().map(OwnedFd::borrow) }
    }

    fn error(&self, call: &'static str, file: &str, errno: Errno) -> Error {
        Error::Call {
            call,
            path: if file.is_empty() { self.dir.path.clone() } else { self.at().join(file) },
            value: None,
            errno,
            origin: None,
        }
    }
}

impl Group {
    /// Makes the plan's directories and what must be set in them before a process can enter. On failure
    /// nothing is left. A directory that is there already is taken if it is empty and not frozen, or if the plan
    /// has a scope, which must have been started.
    pub fn create(plan: &Plan) -> Result<Group, Error> {
        let mut group = Group { held: Vec::with_capacity(plan.dirs.len()), lines_set: false };
        let made = group.make_all(plan);
        if let Err(error) = made {
            // The first error counts; what cannot be undone is found again by its path.
            let _ = group.undo();
            return Err(error);
        }
        Ok(group)
    }

    /// Whether the plan's cgroups, which somebody else is about to make, can be had: an error where they are there
    /// already with processes in them, or frozen.
    pub fn check_free(plan: &Plan) -> Result<(), Error> {
        let mut bin = Bin::default();
        let tells = |dir: &&Dir| dir.version == Version::V2 || dir.controllers.contains(&Controller::FREEZER);
        for dir in plan.dirs.iter().filter(tells) {
            make::check_free(dir, &mut bin)?;
        }
        Ok(())
    }

    /// Finds the cgroups of a container again, whoever made them. They need not exist.
    pub fn open(layout: &Layout, path: &CgroupPath) -> Result<Group, Error> {
        Group::at(plan(layout, path, &Resources::default(), Options::default())?.dirs)
    }

    /// The cgroups in these directories, which an earlier plan named. They need not exist.
    pub fn at(dirs: Vec<Dir>) -> Result<Group, Error> {
        let mut group = Group { held: Vec::with_capacity(dirs.len()), lines_set: false };
        for dir in dirs {
            let (fd, presence) = match dir.version {
                Version::V1 => (None, Presence::Unknown),
                Version::V2 => match io::open_dir(&dir.path) {
                    Ok(fd) => (Some(fd), Presence::Found),
                    Err(Errno::NOENT) => (None, Presence::Absent),
                    Err(errno) => {
                        return Err(Error::Call { call: "open", path: dir.path, value: None, errno, origin: None });
                    }
                },
            };
            group.held.push(Held { dir, fd, presence, parents: Vec::new(), enabled: false, programmed: false });
        }
        Ok(group)
    }

    /// The v2 directory, to clone a child into: the unified one, or the v2 side of a hybrid host.
    pub fn fd(&self) -> Option<&OwnedFd> {
        self.held.iter().find_map(|held| held.fd.as_ref())
    }

    /// Closes its descriptors together with others.
    pub fn close(self, bin: &mut orlop_sys::fd::Bin) {
        self.held.into_iter().filter_map(|held| held.fd).for_each(|fd| bin.throw(fd));
    }

    /// The directories that there are, with the controllers of each.
    pub fn dirs(&self) -> impl Iterator<Item = &Dir> {
        let there = |held: &&Held| held.presence != Presence::Absent;
        self.held.iter().filter(there).map(|held| &held.dir)
    }

    /// Puts a process into every cgroup but those that it is in already.
    pub fn adopt(&self, pid: Pid, joined: Joined) -> Result<(), Error> {
        let mut bin = Bin::default();
        let mut entered = joined == Joined::Unified;
        for held in &self.held {
            let cloned = joined == Joined::Unified && held.dir.version == Version::V2;
            if cloned || held.presence == Presence::Absent {
                continue;
            }
            match enter(held, pid, &mut bin) {
                Ok(()) => entered = true,
                // Found by its path: the container was never in it.
                Err(error) if held.presence == Presence::Unknown && error.is_missing() => {}
                Err(_) if held.dir.need == Need::Wanted => {}
                Err(error) if held.dir.need == Need::IfPermitted && error.is_permission() => {}
                Err(error) => return Err(error),
            }
        }
        match self.held.first() {
            Some(held) if !entered && held.presence == Presence::Unknown => {
                Err(held.error("open", "cgroup.procs", Errno::NOENT))
            }
            _ => Ok(()),
        }
    }

    /// Writes the limits and device rules of the plan that the group was created with; for another one see
    /// [`Group::update`].
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut bin = Bin::default();
        self.take_controllers(plan);
        self.write_all(plan, When::Apply, &mut bin)?;
        match &plan.devices {
            Some(devices) if !(self.lines_set && self.devices_are_lines(devices)) => {
                self.set_devices(devices, &mut bin)
            }
            _ => Ok(()),
        }
    }

    /// Notes which controllers a plan needs on v2 beyond those of an earlier one.
    fn take_controllers(&mut self, plan: &Plan) {
        for (held, dir) in self.held.iter_mut().zip(&plan.dirs) {
            if dir.version == Version::V2 && held.dir.controllers != dir.controllers {
                held.dir.controllers.clone_from(&dir.controllers);
                held.enabled = false;
            }
        }
    }

    fn make_all(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut bin = Bin::default();
        let found = if plan.scope.is_some() { Found::IsOurs } else { Found::MustBeEmpty };
        for dir in &plan.dirs {
            let mut held = Held {
                dir: dir.clone(),
                fd: None,
                presence: Presence::Absent,
                parents: Vec::new(),
                enabled: false,
                programmed: false,
            };
            let made = make(&mut held, found, &mut bin);
            let need = held.dir.need;
            self.held.push(held);
            match made {
                Ok(()) => {}
                Err(_) if need == Need::Wanted => {}
                Err(error) if need == Need::IfPermitted && error.is_permission() => {}
                Err(error) if need == Need::ForLimits && error.is_permission() => {
                    return Err(self.unable(plan, error));
                }
                Err(error) => return Err(error),
            }
        }
        if plan.all_controllers {
            self.held.iter_mut().for_each(|held| limits::enable_all(held, &mut bin));
        }
        self.write_all(plan, When::Create, &mut bin)?;
        for held in &self.held {
            let cpuset = held.dir.version == Version::V1 && held.dir.controllers.contains(&Controller::CPUSET);
            if cpuset && held.presence != Presence::Absent {
                inherit_cpuset(&held.dir.path, held.dir.mount_len, &mut bin)?;
            }
        }
        // Lines take effect one by one, the first of which denies everything: before anybody is inside.
        if let Some(devices) = plan.devices.as_ref().filter(|devices| self.devices_are_lines(devices)) {
            self.set_devices(devices, &mut bin)?;
            self.lines_set = true;
        }
        Ok(())
    }

    /// The words for a rootless container whose limits have no cgroup: those of runc, for v1 and v2.
    fn unable(&self, plan: &Plan, error: Error) -> Error {
        let index = self.held.len().saturating_sub(1);
        let write = plan.writes.iter().find(|write| write.dir == index);
        match (self.held.last(), write) {
            (Some(Held { dir, .. }), Some(write)) if dir.version == Version::V1 => {
                Error::NoController { controller: write.controller.clone(), origin: Some(write.origin.clone()) }
            }
            (_, write) => Error::Rootless { cause: error.to_string(), origin: write.map(|write| write.origin.clone()) },
        }
    }
}

fn enter(held: &Held, pid: Pid, bin: &mut Bin) -> Result<(), Error> {
    const FILE: &str = "cgroup.procs";
    let fd = held.at().open(FILE, OFlags::WRONLY).map_err(|errno| held.error("open", FILE, errno))?;
    let value = pid.to_string();
    let mut wait = 50_000;
    let done = loop {
        match io::write(&fd, &value) {
            // EINVAL: the task is still being made (TASK_NEW), for as long as its parent is in clone(2).
            Err(Errno::INVAL) if wait < 100_000_000 => {
                // Being woken early only means trying early.
                let _ = sleep(Timespec { sec: 0, nsec: wait });
                wait *= 2;
            }
            done => break done,
        }
    };
    bin.throw(fd);
    done.map_err(|errno| Error::Call {
        call: "write",
        path: held.at().join(FILE),
        value: Some(value),
        errno,
        origin: None,
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_devices;
#[cfg(test)]
mod tests_run;
