//! The directories of one container: made, entered, limited.

mod remove;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use orlop_sys::fs::OFlags;
use orlop_sys::process::Pid;
use orlop_sys::time::{Timespec, sleep};
use orlop_sys::{Errno, OwnedFd};

use crate::error::Error;
use crate::io::{self, At, Bin};
use crate::layout::{Layout, Version};
use crate::path::CgroupPath;
use crate::plan::{
    Controller, DeviceNeed, DevicePlan, Dir, Missing, Need, Options, Origin, Plan, Retry, When,
    Write, plan,
};
use crate::resources::Resources;

pub use remove::PATIENCE;

/// The cgroups of one container: one directory in each hierarchy.
///
/// Dropping it leaves the cgroups as they are.
#[derive(Debug)]
pub struct Group {
    held: Vec<Held>,
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
        At {
            path: &self.dir.path,
            fd: self.fd.as_ref().map(OwnedFd::borrow),
        }
    }

    fn error(&self, call: &'static str, file: &str, errno: Errno) -> Error {
        Error::Call {
            call,
            path: if file.is_empty() {
                self.dir.path.clone()
            } else {
                self.at().join(file)
            },
            value: None,
            errno,
            origin: None,
        }
    }
}

impl Group {
    /// Makes the plan's directories and what must be set in them before a process can enter. On failure
    /// nothing is left. A directory that is there already is taken if it is empty and not frozen.
    pub fn create(plan: &Plan) -> Result<Group, Error> {
        let mut group = Group {
            held: Vec::with_capacity(plan.dirs.len()),
        };
        let made = group.make_all(plan);
        if let Err(error) = made {
            // The first error counts; what cannot be undone is found again by its path.
            let _ = group.undo();
            return Err(error);
        }
        Ok(group)
    }

    /// Finds the cgroups of a container again, whoever made them. They need not exist.
    pub fn open(layout: &Layout, path: &CgroupPath) -> Result<Group, Error> {
        let plan = plan(layout, path, &Resources::default(), Options::default())?;
        let mut group = Group {
            held: Vec::with_capacity(plan.dirs.len()),
        };
        for dir in plan.dirs {
            let (fd, presence) = match dir.version {
                Version::V1 => (None, Presence::Unknown),
                Version::V2 => match io::open_dir(&dir.path) {
                    Ok(fd) => (Some(fd), Presence::Found),
                    Err(Errno::NOENT) => (None, Presence::Absent),
                    Err(errno) => {
                        return Err(Error::Call {
                            call: "open",
                            path: dir.path,
                            value: None,
                            errno,
                            origin: None,
                        });
                    }
                },
            };
            group.held.push(Held {
                dir,
                fd,
                presence,
                parents: Vec::new(),
                enabled: false,
            });
        }
        Ok(group)
    }

    /// The v2 directory, to clone a child into: the unified one, or the v2 side of a hybrid host.
    pub fn fd(&self) -> Option<&OwnedFd> {
        self.held.iter().find_map(|held| held.fd.as_ref())
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

    /// Writes the plan's limits and device rules.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut bin = Bin::default();
        self.write_all(plan, When::Apply, &mut bin)?;
        match &plan.devices {
            Some(devices) => self.set_devices(devices, &mut bin),
            None => Ok(()),
        }
    }

    fn make_all(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut bin = Bin::default();
        for dir in &plan.dirs {
            let mut held = Held {
                dir: dir.clone(),
                fd: None,
                presence: Presence::Absent,
                parents: Vec::new(),
                enabled: false,
            };
            let made = make(&mut held, &mut bin);
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
        self.write_all(plan, When::Create, &mut bin)?;
        for held in &self.held {
            let cpuset = held.dir.version == Version::V1
                && held.dir.controllers.contains(&Controller::CPUSET);
            if cpuset && held.presence != Presence::Absent {
                inherit_cpuset(&held.dir.path, held.dir.mount_len, &mut bin)?;
            }
        }
        Ok(())
    }

    /// The words for a rootless container whose limits have no cgroup: those of runc, for v1 and v2.
    fn unable(&self, plan: &Plan, error: Error) -> Error {
        let index = self.held.len().saturating_sub(1);
        let write = plan.writes.iter().find(|write| write.dir == index);
        match (self.held.last(), write) {
            (Some(Held { dir, .. }), Some(write)) if dir.version == Version::V1 => {
                Error::NoController {
                    controller: write.controller.clone(),
                    origin: Some(write.origin.clone()),
                }
            }
            (_, write) => Error::Rootless {
                cause: error.to_string(),
                origin: write.map(|write| write.origin.clone()),
            },
        }
    }

    fn write_all(&mut self, plan: &Plan, when: When, bin: &mut Bin) -> Result<(), Error> {
        let mut refused: Vec<&Write> = Vec::new();
        for write in plan.writes.iter().filter(|write| write.when == when) {
            let done = self.write_one(write, bin);
            match (write.retry, done) {
                (Retry::AfterNext, Err(error)) if error.errno() == Some(Errno::INVAL) => {
                    refused.push(write);
                    // Nothing comes after it that could make it fit.
                    let next = plan
                        .writes
                        .iter()
                        .skip_while(|w| !core::ptr::eq(*w, write))
                        .nth(1);
                    if next.is_none_or(|next| next.controller != write.controller) {
                        return Err(error);
                    }
                }
                (_, Err(error)) => return Err(error),
                (Retry::No, Ok(())) => {
                    for write in refused.drain(..) {
                        self.write_one(write, bin)?;
                    }
                }
                (Retry::AfterNext, Ok(())) => {}
            }
        }
        // Periods and bursts without a quota after them.
        refused
            .into_iter()
            .try_for_each(|write| self.write_one(write, bin))
    }

    fn write_one(&mut self, write: &Write, bin: &mut Bin) -> Result<(), Error> {
        let unavailable = || Error::NoController {
            controller: write.controller.clone(),
            origin: Some(write.origin.clone()),
        };
        let held = self.held.get_mut(write.dir).ok_or_else(unavailable)?;
        if held.presence == Presence::Absent {
            return Err(unavailable());
        }
        let mut done = held.at().write(&write.file, &write.value, bin);
        if done == Err(Errno::NOENT) && held.dir.version == Version::V2 && !held.enabled {
            enable(held, write, bin)?;
            done = held.at().write(&write.file, &write.value, bin);
        }
        // A cpuset must lie within its parent's, which is empty if it was just made, here or by somebody else.
        let cpuset = write.controller == Controller::CPUSET && held.dir.version == Version::V1;
        if matches!(done, Err(Errno::ACCES | Errno::INVAL)) && cpuset {
            let (parent, _) = held.dir.path.rsplit_once('/').unwrap_or_default();
            inherit_cpuset(parent, held.dir.mount_len, bin)?;
            done = held.at().write(&write.file, &write.value, bin);
        }
        let refused = |file: &str, value: &str, errno| Error::Call {
            call: "write",
            path: held.at().join(file),
            value: Some(value.into()),
            errno,
            origin: Some(write.origin.clone()),
        };
        match (done, &write.missing) {
            (Ok(()), _) | (Err(Errno::NOENT), Missing::Skip) => Ok(()),
            (Err(Errno::NOENT), Missing::Else(file, value)) => {
                let done = held.at().write(file, value, bin);
                done.map_err(|errno| refused(file, value, errno))
            }
            (Err(Errno::BUSY), _) if write.file == "memory.limit_in_bytes" => {
                Err(Error::MemoryInUse {
                    limit: write.value.clone(),
                    usage: number(held, "memory.usage_in_bytes", bin)?,
                    peak: number(held, "memory.max_usage_in_bytes", bin)?,
                })
            }
            (Err(errno), _) => Err(refused(&write.file, &write.value, errno)),
        }
    }

    fn set_devices(&mut self, devices: &DevicePlan, bin: &mut Bin) -> Result<(), Error> {
        let held = self
            .held
            .get(devices.dir)
            .filter(|held| held.presence != Presence::Absent);
        let done = match held {
            None => Err(Error::NoController {
                controller: Controller::DEVICES,
                origin: Some(Origin::new("/linux/resources/devices")),
            }),
            Some(held) if held.dir.version == Version::V1 => set_devices_v1(held, devices, bin),
            Some(_) => Err(Error::NotSupported("device rules on cgroup v2")),
        };
        match devices.need {
            DeviceNeed::IfPermitted => Ok(()),
            DeviceNeed::Required => done,
        }
    }
}

/// Makes the directory and the ancestors that it lacks.
fn make(held: &mut Held, bin: &mut Bin) -> Result<(), Error> {
    let path = held.dir.path.clone();
    let mut end = path.len();
    // Usually the parent is there: try the whole path first, then go up.
    loop {
        let part = path.get(..end).unwrap_or_default();
        match io::mkdir(part) {
            Ok(()) if end == path.len() => held.presence = Presence::Made,
            Ok(()) => held.parents.push(end),
            Err(Errno::EXIST) if end == path.len() => held.presence = Presence::Found,
            // Somebody else made it in between.
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => match part.rfind('/').filter(|up| *up > held.dir.mount_len) {
                Some(up) => {
                    end = up;
                    continue;
                }
                None => return Err(held.error("mkdir", "", Errno::NOENT)),
            },
            Err(errno) => return Err(held.error("mkdir", "", errno)),
        }
        if end == path.len() {
            break;
        }
        let rest = path.get(end + 1..).unwrap_or_default();
        end += 1 + rest.find('/').unwrap_or(rest.len());
    }
    if held.dir.version == Version::V2 {
        let fd = io::open_dir(&path).map_err(|errno| held.error("open", "", errno))?;
        held.fd = Some(fd);
    }
    if held.presence == Presence::Found {
        check_found(held, bin)?;
    }
    Ok(())
}

/// A cgroup that was there must be empty, for its processes would share the limits and be killed with the
/// container, and must not be frozen, for the container would never start.
fn check_found(held: &Held, bin: &mut Bin) -> Result<(), Error> {
    let mut pids = Vec::new();
    remove::collect_pids(&held.dir.path, &mut pids, bin)?;
    if !pids.is_empty() {
        return Err(Error::NotEmpty {
            path: held.dir.path.clone(),
            processes: pids.len(),
        });
    }
    let (file, frozen) = match held.dir.version {
        Version::V1 if held.dir.controllers.contains(&Controller::FREEZER) => {
            ("freezer.self_freezing", "1\n")
        }
        Version::V1 => return Ok(()),
        Version::V2 => ("cgroup.freeze", "1\n"),
    };
    match held.at().read(file, bin) {
        Ok(state) if state == frozen => Err(Error::Frozen {
            path: held.dir.path.clone(),
        }),
        // Linux before 5.2 has no freezer on v2.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(held.error("read", file, errno)),
    }
}

/// Fills the cpuset lists that are still empty from the parent's, and the parent's from its own, since v1
/// takes no process into a cpuset without cpus or memory nodes.
fn inherit_cpuset(path: &str, mount_len: usize, bin: &mut Bin) -> Result<(), Error> {
    let Some((parent, _)) = path
        .rsplit_once('/')
        .filter(|(parent, _)| parent.len() >= mount_len)
    else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (at, above) = (
            At { path, fd: None },
            At {
                path: parent,
                fd: None,
            },
        );
        let failed = |call, at: At<'_>, errno| Error::Call {
            call,
            path: at.join(file),
            value: None,
            errno,
            origin: None,
        };
        // One open for both: the list is empty as a rule, and then written.
        let fd = at
            .open(file, OFlags::RDWR)
            .map_err(|errno| failed("open", at, errno))?;
        let list =
            io::read(&fd, io::Length::OnePiece).map_err(|errno| failed("read", at, errno))?;
        if list.trim_end().is_empty() {
            let read = |bin: &mut Bin| {
                above
                    .read(file, bin)
                    .map_err(|errno| failed("read", above, errno))
            };
            let mut list = read(bin)?;
            if list.trim_end().is_empty() {
                inherit_cpuset(parent, mount_len, bin)?;
                list = read(bin)?;
            }
            io::write(&fd, list.trim_end()).map_err(|errno| failed("write", at, errno))?;
        }
        bin.throw(fd);
    }
    Ok(())
}

/// Switches the plan's controllers on in the parents' `cgroup.subtree_control`, from below: the parent has
/// them as a rule.
fn enable(held: &mut Held, write: &Write, bin: &mut Bin) -> Result<(), Error> {
    held.enabled = true;
    // A key such as `cgroup.x` needs no controller.
    if !held.dir.controllers.contains(&write.controller) {
        return Ok(());
    }
    let list = |controllers: &[Controller]| {
        let names: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
        names.join(" ")
    };
    let (path, mount_len) = (&held.dir.path, held.dir.mount_len);
    if enable_above(path, mount_len, &list(&held.dir.controllers), bin).is_ok() {
        return Ok(());
    }
    // The kernel takes all or none; one that it lacks must not cost the others. Only what this write needs
    // is an error here: the other writes find out for themselves.
    let mut verdict = Ok(());
    for controller in &held.dir.controllers {
        let done = enable_above(
            path,
            mount_len,
            &list(core::slice::from_ref(controller)),
            bin,
        );
        if *controller == write.controller {
            verdict = done;
        }
    }
    verdict.map_err(|(file, errno)| match errno {
        Errno::NOENT | Errno::INVAL => Error::NoController {
            controller: write.controller.clone(),
            origin: Some(write.origin.clone()),
        },
        errno => Error::Call {
            call: "write",
            path: file,
            value: Some(format!("+{}", write.controller)),
            errno,
            origin: Some(write.origin.clone()),
        },
    })
}

fn enable_above(
    path: &str,
    mount_len: usize,
    value: &str,
    bin: &mut Bin,
) -> Result<(), (String, Errno)> {
    const FILE: &str = "cgroup.subtree_control";
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    let at = At {
        path: parent,
        fd: None,
    };
    let mut done = at.write(FILE, value, bin);
    // ENOENT: the parent has not got the controller from its own parent.
    if done == Err(Errno::NOENT) && parent.len() > mount_len {
        enable_above(parent, mount_len, value, bin)?;
        done = at.write(FILE, value, bin);
    }
    done.map_err(|errno| (at.join(FILE), errno))
}

fn enter(held: &Held, pid: Pid, bin: &mut Bin) -> Result<(), Error> {
    const FILE: &str = "cgroup.procs";
    let fd = held
        .at()
        .open(FILE, OFlags::WRONLY)
        .map_err(|errno| held.error("open", FILE, errno))?;
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

/// Brings `devices.list` to the planned set by the rules that differ.
fn set_devices_v1(held: &Held, devices: &DevicePlan, bin: &mut Bin) -> Result<(), Error> {
    use crate::device::DeviceSet;
    use crate::resources::Verdict;
    const LIST: &str = "devices.list";
    let list = held
        .at()
        .read_all(LIST, bin)
        .map_err(|errno| held.error("read", LIST, errno))?;
    let current = DeviceSet::from_list(&list).ok_or_else(|| Error::Parse {
        path: held.at().join(LIST),
        text: list.clone(),
    })?;
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for rule in current.transition(&devices.set) {
        let (name, slot) = match rule.verdict {
            Verdict::Allow => ("devices.allow", 0),
            Verdict::Deny => ("devices.deny", 1),
        };
        let value = rule.to_string();
        let failed = |call, errno| Error::Call {
            call,
            path: held.at().join(name),
            value: Some(value.clone()),
            errno,
            origin: Some(Origin::new("/linux/resources/devices")),
        };
        let fd = match files[slot].take() {
            Some(fd) => fd,
            None => held
                .at()
                .open(name, OFlags::WRONLY)
                .map_err(|errno| failed("open", errno))?,
        };
        io::write(&fd, &value).map_err(|errno| failed("write", errno))?;
        files[slot] = Some(fd);
    }
    files.into_iter().flatten().for_each(|fd| bin.throw(fd));
    Ok(())
}

fn number(held: &Held, file: &str, bin: &mut Bin) -> Result<u64, Error> {
    let text = held
        .at()
        .read(file, bin)
        .map_err(|errno| held.error("read", file, errno))?;
    match text.trim_end() {
        "max" => Ok(u64::MAX),
        digits => digits.parse().map_err(|_| Error::Parse {
            path: held.at().join(file),
            text: text.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
