//! What runtimes that were killed have left: found by the state that names it, and removed.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use orlop_cgroup::Group;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{self, Pid};
use orlop_sys::time::{Timespec, sleep};
use orlop_sys::{CWD, Errno};

use crate::config::Status;
use crate::container::{Container, Force, group_of};
use crate::error::{Error, Kind, Result};
use crate::runtime::Runtime;

/// Something that nobody looks after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The container that it belongs to.
    pub id: String,
    /// What it is, in words.
    pub what: String,
    remedy: Remedy,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Remedy {
    Delete,
    Unlink(String),
}

impl Runtime {
    /// Looks for state directories without a live init, the cgroups and start sockets of those, and pid files that
    /// were written only in part. Changes nothing.
    ///
    /// A container that has stopped is among them, for its engine may be gone: whether it is, the caller knows.
    pub fn findings(&self) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        for id in self.ids()? {
            match self.container(&id) {
                Ok(container) => examine(&container, &mut found)?,
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Removes what was found, unless it is in use by now.
    pub fn remove(&self, finding: &Finding) -> Result<()> {
        match &finding.remedy {
            Remedy::Delete => {
                let alive = match self.container(&finding.id) {
                    Ok(container) => container.status()?.0 != Status::Stopped,
                    Err(_) => false,
                };
                if alive {
                    return Err(Error::new(Kind::WrongState, "it is in use by now").during("doctor", &finding.id));
                }
                self.delete(&finding.id, Force::Yes).map(drop)
            }
            Remedy::Unlink(path) => match fs::unlink_at(CWD, &crate::state::c_string(path)?, AtFlags::NONE) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(Error::system("unlinkat", path.clone(), errno)),
            },
        }
    }
}

fn examine(container: &Container, found: &mut Vec<Finding>) -> Result<()> {
    let mut add = |what: String, remedy| found.push(Finding { id: container.id().into(), what, remedy });
    let mut head = container.dir().read_head();
    if matches!(head, Ok(None)) {
        // Between its first two calls a create has not locked its directory yet.
        let _woken = sleep(Timespec::from_millis(100));
        head = container.dir().read_head();
    }
    let record = match head {
        Ok(record) => record,
        Err(error) => {
            add(format!("a state that cannot be read: {error}"), Remedy::Delete);
            return Ok(());
        }
    };
    let (status, init) = (container.status()?.0, container.dir().read_init()?);
    if status == Status::Stopped {
        let mut what = String::from(match (&record, &init) {
            (None, _) => "a create that was interrupted before it had written its state",
            (Some(_), None) => "a create that was interrupted",
            (Some(_), Some(_)) => "a container that has stopped and was not deleted",
        });
        if container.dir().awaits_start()? {
            what += ", its start socket";
        }
        if let Some(group) = record.as_ref().map(group_of).transpose()?.flatten() {
            what += &cgroups(&group);
        }
        add(what, Remedy::Delete);
    }
    if let Some(record) = &record {
        for (path, pid) in partial_pid_files(&record.told.bundle)? {
            add(format!("{path}, the pid file of a create that was interrupted (pid {pid})"), Remedy::Unlink(path));
        }
    }
    Ok(())
}

/// Its cgroups that are still there, and how many processes live in them.
fn cgroups(group: &Group) -> String {
    let is_there = |path: &&str| CString::new(*path).is_ok_and(|p| fs::access_at(CWD, &p, 0, AtFlags::NONE).is_ok());
    let paths: Vec<&str> = group.dirs().map(|dir| dir.path.as_str()).filter(is_there).collect();
    if paths.is_empty() {
        return String::new();
    }
    let processes = group.pids().map_or(0, |pids| pids.len());
    let with = if processes == 0 { String::new() } else { format!(" with {processes} process(es)") };
    format!(", its cgroup{with}: {}", paths.join(" "))
}

/// Files `.NAME.PID` in a bundle that hold no more than the beginning of that PID, of no living process: what a pid
/// file is written as before it is renamed.
fn partial_pid_files(bundle: &str) -> Result<Vec<(String, Pid)>> {
    let mut found = Vec::new();
    let path = crate::state::c_string(bundle)?;
    let Ok(dir) = fs::open_at(CWD, &path, OFlags::DIRECTORY, 0) else {
        // The bundle is gone, and all in it.
        return Ok(found);
    };
    let mut buf = alloc::vec![0u8; 16384];
    loop {
        let n = fs::read_dir(&dir, &mut buf)
            .map_err(|errno| Error::system("getdents64", format!("bundle {bundle}"), errno))?;
        if n == 0 {
            return Ok(found);
        }
        for (name, _) in fs::entries(buf.get(..n).unwrap_or_default()) {
            let Some((name, pid)) = name.to_str().ok().and_then(|text| Some((text, pid_of(text)?))) else {
                continue;
            };
            let path = format!("{bundle}/{name}");
            let c_path = crate::state::c_string(&path)?;
            let text = fs::open_at(CWD, &c_path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, 0)
                .and_then(|file| crate::state::read_all(&file));
            let ours = text.is_ok_and(|text| pid.to_string().as_bytes().starts_with(&text));
            if ours && process::kill(pid, 0) == Err(Errno::SRCH) {
                found.push((path, pid));
            }
        }
    }
}

/// The number that a file name of the form `.NAME.PID` ends with.
fn pid_of(name: &str) -> Option<Pid> {
    let (front, digits) = name.rsplit_once('.')?;
    let pid: Pid = digits.parse().ok()?;
    (front.len() > 1 && front.starts_with('.') && pid > 0 && pid.to_string() == digits).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partial_pid_files() {
        for (name, pid) in [
            (".pid.12", Some(12)),
            (".init.pid.7", Some(7)),
            ("pid.12", None),
            (".12", None),
            (".pid.012", None),
            (".pid.-3", None),
            (".pid.x", None),
        ] {
            assert_eq!(pid_of(name), pid, "{name}");
        }
    }
}
