//! The directories: made with the ancestors that they lack, or found empty.

use alloc::vec::Vec;

use orlop_sys::Errno;
use orlop_sys::fs::OFlags;

use super::{Held, Presence, remove};
use crate::error::Error;
use crate::io::{self, At, Bin};
use crate::layout::Version;
use crate::plan::{Controller, Dir};

/// What is asked of a directory that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    MustBeEmpty,
    /// Nothing: systemd has just made it for us, with our process in it.
    IsOurs,
}

/// Makes the directory and the ancestors that it lacks.
pub(super) fn make(held: &mut Held, found: Found, bin: &mut Bin) -> Result<(), Error> {
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
    if held.presence == Presence::Found && found == Found::MustBeEmpty {
        check_found(&held.dir, held.at(), bin)?;
    }
    Ok(())
}

/// The same of a directory that may be there, and of what a scope's is.
pub(super) fn check_free(dir: &Dir, bin: &mut Bin) -> Result<(), Error> {
    match io::open_dir(dir.outer()) {
        Ok(fd) => {
            let checked = check_found(dir, At { path: dir.outer(), fd: Some(fd.borrow()) }, bin);
            bin.throw(fd);
            checked
        }
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::Call { call: "open", path: dir.outer().into(), value: None, errno, origin: None }),
    }
}

/// A cgroup that was there must be empty, for its processes would share the limits and be killed with the
/// container, and must not be frozen, for the container would never start.
fn check_found(dir: &Dir, at: At<'_>, bin: &mut Bin) -> Result<(), Error> {
    let mut pids = Vec::new();
    remove::collect_pids(at.path, &mut pids, bin)?;
    if !pids.is_empty() {
        return Err(Error::NotEmpty { path: at.path.into(), processes: pids.len() });
    }
    let (file, frozen) = match dir.version {
        Version::V1 if dir.controllers.contains(&Controller::FREEZER) => ("freezer.self_freezing", "1\n"),
        Version::V1 => return Ok(()),
        Version::V2 => ("cgroup.freeze", "1\n"),
    };
    match at.read(file, bin) {
        Ok(state) if state == frozen => Err(Error::Frozen { path: at.path.into() }),
        // Linux before 5.2 has no freezer on v2.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::Call { call: "read", path: at.join(file), value: None, errno, origin: None }),
    }
}

/// Fills the cpuset lists that are still empty from the parent's, and the parent's from its own, since v1
/// takes no process into a cpuset without cpus or memory nodes.
pub(super) fn inherit_cpuset(path: &str, mount_len: usize, bin: &mut Bin) -> Result<(), Error> {
    let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| parent.len() >= mount_len) else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (at, above) = (At { path, fd: None }, At { path: parent, fd: None });
        let failed =
            |call, at: At<'_>, errno| Error::Call { call, path: at.join(file), value: None, errno, origin: None };
        // One open for both: the list is empty as a rule, and then written.
        let fd = at.open(file, OFlags::RDWR).map_err(|errno| failed("open", at, errno))?;
        let list = io::read(&fd, io::Length::OnePiece).map_err(|errno| failed("read", at, errno))?;
        if list.trim_end().is_empty() {
            let read = |bin: &mut Bin| above.read(file, bin).map_err(|errno| failed("read", above, errno));
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
