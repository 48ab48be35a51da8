//! Giving the cgroup to the container, and entering what the container has made of it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use orlop_sys::fs::{AtFlags, chown_at};
use orlop_sys::process::Pid;
use orlop_sys::{CWD, Errno, OwnedFd};

use super::{Group, Held, Presence, enter};
use crate::error::Error;
use crate::io::{self, At, Bin, count};
use crate::layout::Version;
use crate::path::{CgroupPath, clean};
use crate::plan::{Controller, Dir};
use crate::stats::{Stats, Which, read_v1, read_v2};

/// What the kernel lets be delegated, where it does not say itself in /sys/kernel/cgroup/delegate.
const DELEGATED: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

const SUBTREE: &str = "cgroup.subtree_control";

impl Group {
    /// Gives the v2 cgroup to a user, the container's root as the host numbers it: the directory and the
    /// files that the kernel names for it, none of which is a limit. See "Delegation" in
    /// `admin-guide/cgroup-v2.rst`.
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        let v2 = |held: &&Held| held.dir.version == Version::V2 && held.presence != Presence::Absent;
        let Some(held) = self.held.iter().find(v2) else {
            return Ok(());
        };
        own(held.at(), uid)
    }

    /// Makes a cgroup below that of v2, has it offer all that the container's has, and puts a process there, the
    /// container's only one: from then on the container's own cgroup takes no other. No limit is set on it; with an
    /// owner it is that user's, as with [`Group::delegate`].
    pub fn delegate_below(&self, name: &str, pid: Pid, owner: Option<u32>) -> Result<(), Error> {
        let mut bin = Bin::default();
        let v2 = |held: &&Held| held.dir.version == Version::V2 && held.presence != Presence::Absent;
        let held = self.held.iter().find(v2).ok_or(Error::NotSupported("a cgroup below one that is not there"))?;
        let failed =
            |call, path: &str, errno| Error::Call { call, path: path.into(), value: None, errno, origin: None };
        let mut tops: Vec<String> = Vec::new();
        let mut path = held.dir.path.clone();
        for part in CgroupPath::below(name)?.split('/') {
            let next = format!("{path}/{part}");
            match io::mkdir(&next) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("mkdir", &next, errno)),
            }
            tops.push(core::mem::replace(&mut path, next));
        }
        let dir = Dir { path, ..held.dir.clone() };
        let place =
            Held { dir, fd: None, presence: Presence::Made, parents: Vec::new(), enabled: true, programmed: true };
        enter(&place, pid, &mut bin)?;
        let offered = held.at().read("cgroup.controllers", &mut bin);
        let offered = offered.map_err(|errno| held.error("read", "cgroup.controllers", errno))?;
        let all: Vec<String> = offered.split_whitespace().map(|name| format!("+{name}")).collect();
        for top in tops.iter().filter(|_| !all.is_empty()) {
            let at = At { path: top, fd: None };
            if at.write(SUBTREE, &all.join(" "), &mut bin).is_err() {
                // The kernel takes all or none. What it does not give, the container does not find in its list.
                for one in &all {
                    let _ = at.write(SUBTREE, one, &mut bin);
                }
            }
        }
        owner.map_or(Ok(()), |uid| own(place.at(), uid))
    }

    /// Puts a process into sub-cgroups that the container has made: `below` says for each directory which,
    /// relative to it; empty for the directory itself.
    pub fn adopt_below<'a>(&self, pid: Pid, below: impl Fn(&Dir) -> &'a str) -> Result<(), Error> {
        let mut bin = Bin::default();
        for held in self.held.iter().filter(|held| held.presence != Presence::Absent) {
            let sub = below(&held.dir);
            let cleaned = clean(sub);
            if sub.split('/').any(|part| part == "..") {
                return Err(Error::Path { path: sub.into(), why: "is a bad sub cgroup path" });
            }
            let mut dir = held.dir.clone();
            if !cleaned.is_empty() {
                dir.path = format!("{}/{cleaned}", dir.path);
            }
            let place = Held {
                dir,
                fd: None,
                presence: held.presence,
                parents: Default::default(),
                enabled: true,
                programmed: true,
            };
            match enter(&place, pid, &mut bin) {
                // Found by its path: the container was never in it.
                Err(error) if cleaned.is_empty() && held.presence == Presence::Unknown && error.is_missing() => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Opens the v2 cgroup of a process of the container, to clone another one into it: once the container
    /// has moved its processes into sub-cgroups with controllers, its own top takes none any more (EBUSY).
    pub fn open_of(&self, pid: Pid) -> Result<OwnedFd, Error> {
        let proc = format!("/proc/{pid}/cgroup");
        let failed =
            |call, path: &str, errno| Error::Call { call, path: path.into(), value: None, errno, origin: None };
        let v2 = |held: &&Held| held.dir.version == Version::V2 && held.presence != Presence::Absent;
        let held = self.held.iter().find(v2).ok_or_else(|| failed("open", "cgroup2", Errno::NOENT))?;
        let text = io::read_path(&proc).map_err(|errno| failed("read", &proc, errno))?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        let mount = held.dir.path.get(..held.dir.mount_len).unwrap_or_default();
        let path = format!("{mount}/{}", clean(own));
        let rest = path.strip_prefix(held.dir.path.as_str());
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(Error::Path { path: own.to_string(), why: "is not within the container's cgroup" });
        }
        io::open_dir(&path).map_err(|errno| failed("open", &path, errno))
    }

    /// Reads a file of the v2 directory; `None` where there is none, as where the controller is off or on v1.
    pub fn read_v2(&self, file: &str) -> Result<Option<String>, Error> {
        self.read_of(file, |dir| dir.version == Version::V2)
    }

    /// The same of the v1 directory of a controller.
    pub fn read_v1(&self, controller: &Controller, file: &str) -> Result<Option<String>, Error> {
        self.read_of(file, |dir| dir.version == Version::V1 && dir.controllers.contains(controller))
    }

    fn read_of(&self, file: &str, is_it: impl Fn(&Dir) -> bool) -> Result<Option<String>, Error> {
        let there = |held: &&Held| held.presence != Presence::Absent && is_it(&held.dir);
        let Some(held) = self.held.iter().find(there) else {
            return Ok(None);
        };
        match held.at().read(file, &mut Bin::default()) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(held.error("read", file, errno)),
        }
    }

    /// Reads statistics. A controller that is not there leaves its part at zero.
    pub fn stats(&self, which: Which) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        let mut bin = Bin::default();
        let hybrid = self.held.iter().any(|held| held.dir.version == Version::V1);
        for held in self.held.iter().filter(|held| held.presence != Presence::Absent) {
            match held.dir.version {
                Version::V1 => read_v1(held.at(), &mut bin, &held.dir.controllers, which, &mut stats)?,
                // Beside v1, only what v1 has not got: the core of v2 counts cpu time everywhere.
                Version::V2 if hybrid => {
                    let of = |c: &str| {
                        self.held
                            .iter()
                            .any(|h| h.dir.version == Version::V1 && h.dir.controllers.iter().any(|x| x.as_str() == c))
                    };
                    let mut rest = which;
                    for (controller, part) in [
                        ("cpu", Which::CPU),
                        ("memory", Which::MEMORY),
                        ("pids", Which::PIDS),
                        ("blkio", Which::IO),
                        ("hugetlb", Which::HUGETLB),
                        ("rdma", Which::RDMA),
                        ("misc", Which::MISC),
                    ] {
                        if of(controller) {
                            rest = rest.without(part);
                        }
                    }
                    read_v2(held.at(), &mut bin, rest, &mut stats)?;
                }
                Version::V2 => read_v2(held.at(), &mut bin, which, &mut stats)?,
            }
        }
        Ok(stats)
    }
}

fn own(at: At<'_>, uid: u32) -> Result<(), Error> {
    let own = |path: &str| {
        count::tick(1);
        chown_at(CWD, &io::c(path)?, uid, u32::MAX, AtFlags::SYMLINK_NOFOLLOW)
    };
    let failed = |path: String, errno| Error::Call { call: "chown", path, value: None, errno, origin: None };
    own(at.path).map_err(|errno| failed(at.path.into(), errno))?;
    let list = io::read_path("/sys/kernel/cgroup/delegate");
    for file in list.as_deref().unwrap_or(DELEGATED).lines() {
        match own(&at.join(file)) {
            // Files of controllers that are off here.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(at.join(file), errno)),
        }
    }
    Ok(())
}
