//! Device rules: lines for v1, a program for v2.

use alloc::string::ToString;
use alloc::vec::Vec;

use orlop_sys::bpf;
use orlop_sys::fs::OFlags;
use orlop_sys::{Errno, OwnedFd};

use super::{Group, Held, Presence};
use crate::device::DeviceSet;
use crate::error::Error;
use crate::io::{self, Bin, count};
use crate::layout::Version;
use crate::plan::{Controller, DeviceNeed, DevicePlan, Origin};
use crate::program::program;
use crate::resources::Verdict;

const ORIGIN: Origin = Origin::new("/linux/resources/devices");

impl Group {
    /// Whether device rules are lines, which take effect one by one, and not a program.
    pub(crate) fn devices_are_lines(&self, devices: &DevicePlan) -> bool {
        let held = self.held.get(devices.dir);
        held.is_some_and(|held| held.dir.version == Version::V1)
    }

    pub(super) fn set_devices(&mut self, devices: &DevicePlan, bin: &mut Bin) -> Result<(), Error> {
        let held = self.held.get_mut(devices.dir).filter(|held| held.presence != Presence::Absent);
        let done = match held {
            None => Err(Error::NoController { controller: Controller::DEVICES, origin: Some(ORIGIN) }),
            Some(held) if held.dir.version == Version::V1 => set_lines(held, &devices.set, bin),
            Some(held) => set_program(held, &devices.set),
        };
        match done {
            Err(error) if devices.need == DeviceNeed::IfPermitted => {
                let lacking = error.is_permission() || matches!(error, Error::NoController { .. });
                if lacking { Ok(()) } else { Err(error) }
            }
            done => done,
        }
    }
}

/// Brings `devices.list` to the set by the rules that differ.
fn set_lines(held: &Held, set: &DeviceSet, bin: &mut Bin) -> Result<(), Error> {
    const LIST: &str = "devices.list";
    let list = held.at().read(LIST, bin).map_err(|errno| held.error("read", LIST, errno))?;
    let current =
        DeviceSet::from_list(&list).ok_or_else(|| Error::Parse { path: held.at().join(LIST), text: list.clone() })?;
    let mut files: [Option<OwnedFd>; 2] = [None, None];
    for rule in current.transition(set) {
        let [allow, deny] = &mut files;
        let (name, file) = match rule.verdict {
            Verdict::Allow => ("devices.allow", allow),
            Verdict::Deny => ("devices.deny", deny),
        };
        let value = rule.to_string();
        let failed = |call, errno| Error::Call {
            call,
            path: held.at().join(name),
            value: Some(value.clone()),
            errno,
            origin: Some(ORIGIN),
        };
        let fd = match file.take() {
            Some(fd) => fd,
            None => held.at().open(name, OFlags::WRONLY).map_err(|errno| failed("open", errno))?,
        };
        io::write(&fd, &value).map_err(|errno| failed("write", errno))?;
        *file = Some(fd);
    }
    files.into_iter().flatten().for_each(|fd| bin.throw(fd));
    Ok(())
}

/// Puts the set's program in the place of whatever device programs the cgroup has. At no moment is there
/// none, and at the end there is one.
fn set_program(held: &mut Held, set: &DeviceSet) -> Result<(), Error> {
    let path = held.dir.path.clone();
    let failed = |call, errno| Error::Call { call, path: path.clone(), value: None, errno, origin: Some(ORIGIN) };
    let cgroup = held.fd.as_ref().ok_or_else(|| failed("open", Errno::NOENT))?;
    let new = program(set)
        .map_err(|_| Error::Invalid { origin: ORIGIN, why: "too many device rules for one program".into() })?;
    // A cgroup that we have just made has none.
    let old = if held.presence == Presence::Made && !held.programmed {
        Vec::new()
    } else {
        attached(cgroup).map_err(|errno| failed("bpf(BPF_PROG_QUERY)", errno))?
    };
    held.programmed = true;
    let Some(new) = new else {
        return detach(cgroup, &old).map_err(|errno| failed("bpf(BPF_PROG_DETACH)", errno));
    };
    count::tick(2);
    let new = bpf::load_device_program(&new, c"Apache-2.0", c"orlop_devices")
        .map_err(|errno| failed("bpf(BPF_PROG_LOAD)", errno))?;
    if let [only] = old.as_slice()
        && bpf::attach_device_program(cgroup, &new, Some(only.borrow())).is_ok()
    {
        return Ok(());
    }
    // Several, or one that somebody else has replaced by now: while both hold, the stricter wins.
    bpf::attach_device_program(cgroup, &new, None).map_err(|errno| failed("bpf(BPF_PROG_ATTACH)", errno))?;
    detach(cgroup, &old).map_err(|errno| failed("bpf(BPF_PROG_DETACH)", errno))
}

/// The device programs of a cgroup. Those that the caller may not touch are left out: they can only refuse
/// more.
fn attached(cgroup: &OwnedFd) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; 64];
    count::tick(1);
    let n = bpf::device_programs(cgroup, &mut ids)?;
    let mut programs = Vec::with_capacity(n);
    for id in ids.into_iter().take(n) {
        count::tick(1);
        match bpf::program_by_id(id) {
            Ok(program) => programs.push(program),
            Err(Errno::PERM | Errno::ACCES | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(programs)
}

fn detach(cgroup: &OwnedFd, programs: &[OwnedFd]) -> Result<(), Errno> {
    for program in programs {
        count::tick(1);
        match bpf::detach_device_program(cgroup, program) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// How many device programs a cgroup has.
#[cfg(test)]
pub(super) fn programs(group: &Group) -> usize {
    attached(group.fd().unwrap()).unwrap().len()
}
