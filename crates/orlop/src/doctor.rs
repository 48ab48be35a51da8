//! What runtimes that were killed have left: found by the state that names it, and removed.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::Group;
use orlop_sys::fs::{self, AtFlags};
use orlop_sys::time::{Timespec, sleep};
use orlop_sys::{CWD, Errno};

use crate::config::Status;
use crate::container::{Container, Force, group_of};
use crate::error::{Error, Kind, Result};
use crate::pid_file;
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
        for (path, pid) in pid_file::partial(&record.told.bundle)? {
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
