//! The writes of a plan, and what the kernel wants before it takes them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::Errno;

use super::make::inherit_cpuset;
use super::{Group, Held, Presence};
use crate::error::Error;
use crate::io::{At, Bin};
use crate::layout::Version;
use crate::plan::{Controller, Missing, Plan, Retry, When, Write};

impl Group {
    pub(super) fn write_all(&mut self, plan: &Plan, when: When, bin: &mut Bin) -> Result<(), Error> {
        let mut refused: Vec<&Write> = Vec::new();
        for write in plan.writes.iter().filter(|write| write.when == when) {
            let done = self.write_one(write, bin);
            match (write.retry, done) {
                (Retry::AfterNext, Err(error)) if error.errno() == Some(Errno::INVAL) => {
                    refused.push(write);
                    // Nothing comes after it that could make it fit.
                    let next = plan.writes.iter().skip_while(|w| !core::ptr::eq(*w, write)).nth(1);
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
        refused.into_iter().try_for_each(|write| self.write_one(write, bin))
    }

    fn write_one(&mut self, write: &Write, bin: &mut Bin) -> Result<(), Error> {
        let unavailable =
            || Error::NoController { controller: write.controller.clone(), origin: Some(write.origin.clone()) };
        let held = self.held.get_mut(write.dir).ok_or_else(unavailable)?;
        if held.presence == Presence::Absent {
            return Err(unavailable());
        }
        let mut blocked = None;
        let mut done = held.at().write(&write.file, &write.value, bin);
        if done == Err(Errno::NOENT) && held.dir.version == Version::V2 && !held.enabled {
            blocked = enable(held, write, bin).err();
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
            (Err(Errno::NOENT), Missing::Else(file, value)) => match held.at().write(file, value, bin) {
                Err(Errno::NOENT) => Err(blocked.unwrap_or_else(|| lacking(held, write, bin))),
                done => done.map_err(|errno| refused(file, value, errno)),
            },
            (Err(Errno::NOENT), Missing::Fail) => Err(blocked.unwrap_or_else(|| lacking(held, write, bin))),
            (Err(Errno::BUSY), _) if write.file == "memory.limit_in_bytes" => Err(Error::MemoryInUse {
                limit: write.value.clone(),
                usage: number(held, "memory.usage_in_bytes", bin)?,
                peak: number(held, "memory.max_usage_in_bytes", bin)?,
            }),
            (Err(errno), _) => Err(refused(&write.file, &write.value, errno)),
        }
    }
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
        let done = enable_above(path, mount_len, &list(core::slice::from_ref(controller)), bin);
        if *controller == write.controller {
            verdict = done;
        }
    }
    match verdict {
        // A controller that is not there: the file tells, or its lack.
        Ok(()) | Err((_, Errno::NOENT | Errno::INVAL)) => Ok(()),
        Err((path, errno)) => Err(Error::Call {
            call: "write",
            path,
            value: Some(format!("+{}", write.controller)),
            errno,
            origin: Some(write.origin.clone()),
        }),
    }
}

/// Switches on what the hierarchy offers and the cgroup lacks. Whether it worked is seen by the limits that
/// need it.
pub(super) fn enable_all(held: &mut Held, bin: &mut Bin) {
    if held.dir.version == Version::V1 || held.presence == Presence::Absent {
        return;
    }
    /// Where these are on, so are the others that the kernel has: whoever switched the last of them on, as a rule we,
    /// did the same for all.
    const TELLING: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];
    let (parent, _) = held.dir.path.rsplit_once('/').unwrap_or_default();
    let Ok(on) = (At { path: parent, fd: None }).read("cgroup.subtree_control", bin) else {
        return;
    };
    let lacks = |name: &&str| !on.split_whitespace().any(|other| other == *name);
    if !TELLING.iter().any(lacks) {
        return;
    }
    let mount = At { path: held.dir.path.get(..held.dir.mount_len).unwrap_or_default(), fd: None };
    let Ok(offered) = mount.read("cgroup.controllers", bin) else {
        return;
    };
    let lacking: Vec<String> = offered.split_whitespace().filter(lacks).map(|name| format!("+{name}")).collect();
    let above = |value: &str, bin: &mut Bin| enable_above(&held.dir.path, held.dir.mount_len, value, bin);
    if !lacking.is_empty() && above(&lacking.join(" "), bin).is_err() {
        // The kernel takes all or none.
        for one in &lacking {
            let _ = above(one, bin);
        }
    }
}

/// Why a file is not there: for want of the controller, or because the kernel is older than it.
fn lacking(held: &Held, write: &Write, bin: &mut Bin) -> Error {
    let origin = write.origin.clone();
    let list = held.at().read("cgroup.controllers", bin).unwrap_or_default();
    let there = list.split_whitespace().any(|name| name == write.controller.as_str());
    if there || held.dir.version == Version::V1 || write.controller.as_str() == "cgroup" {
        return Error::Call {
            call: "write",
            path: held.at().join(&write.file),
            value: Some(write.value.clone()),
            errno: Errno::NOENT,
            origin: Some(origin),
        };
    }
    if origin.as_str().starts_with("/linux/resources/unified/") {
        let (key, controller) = (&write.file, &write.controller);
        let why = format!("unified resource {key:?} can't be set: controller \"{controller}\" not available");
        return Error::Invalid { origin, why };
    }
    Error::NoController { controller: write.controller.clone(), origin: Some(origin) }
}

fn enable_above(path: &str, mount_len: usize, value: &str, bin: &mut Bin) -> Result<(), (String, Errno)> {
    const FILE: &str = "cgroup.subtree_control";
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    let at = At { path: parent, fd: None };
    let mut done = at.write(FILE, value, bin);
    // ENOENT: the parent has not got the controller from its own parent.
    if done == Err(Errno::NOENT) && parent.len() > mount_len {
        enable_above(parent, mount_len, value, bin)?;
        done = at.write(FILE, value, bin);
    }
    done.map_err(|errno| (at.join(FILE), errno))
}

pub(super) fn number(held: &Held, file: &str, bin: &mut Bin) -> Result<u64, Error> {
    let text = held.at().read(file, bin).map_err(|errno| held.error("read", file, errno))?;
    match text.trim_end() {
        "max" => Ok(u64::MAX),
        digits => digits.parse().map_err(|_| Error::Parse { path: held.at().join(file), text: text.clone() }),
    }
}
