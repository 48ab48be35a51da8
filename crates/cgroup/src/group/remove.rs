//! Finding, ending and removing: the processes of a cgroup and its sub-cgroups, and the directories.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::Errno;
use orlop_sys::event::{PollFd, PollFlags, poll};
use orlop_sys::fs::{OFlags, seek_to};
use orlop_sys::process::Pid;
use orlop_sys::time::{Clock, Timespec, now, sleep};

use super::{Group, Held, Presence};
use crate::error::Error;
use crate::io::{self, At, Bin};
use crate::layout::Version;
use crate::plan::Controller;

/// How long to wait for processes that are ending, by default: killing one that dumps core or holds much
/// memory takes its time, and one that does not end at all will not end later either.
pub const PATIENCE: Timespec = Timespec { sec: 10, nsec: 0 };

impl Group {
    /// Removes the cgroups with all the sub-cgroups that the container made, waiting up to `patience` for
    /// processes that are ending. Those that are gone already are no error. Ancestors stay.
    pub fn remove(&mut self, patience: Timespec) -> Result<(), Error> {
        // Most often the container is gone, and made no cgroups of its own.
        for held in self.held.iter_mut().filter(|held| held.presence != Presence::Absent) {
            if io::rmdir(held.dir.outer()).is_ok() {
                held.presence = Presence::Absent;
                held.fd = None;
            }
        }
        if self.held.iter().all(|held| held.presence == Presence::Absent) {
            return Ok(());
        }
        let deadline = now(Clock::Monotonic).as_nanos() + patience.as_nanos();
        // v2 first: it alone tells when the last process has left, and by then v1 is free as well.
        let v2_first = |held: &&mut Held| held.dir.version == Version::V2;
        let (v2, v1): (Vec<&mut Held>, Vec<&mut Held>) = self.held.iter_mut().partition(v2_first);
        let mut first = Ok(());
        for held in v2.into_iter().chain(v1) {
            let there = held.presence != Presence::Absent;
            let done = if there { remove_tree(held.dir.outer(), held.dir.version, deadline) } else { Ok(()) };
            match done {
                Ok(()) => {
                    held.presence = Presence::Absent;
                    held.fd = None;
                }
                // One that stays must not keep the others.
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    /// Takes back what [`Group::create`] made, the ancestors too where they are empty.
    pub fn undo(&mut self) -> Result<(), Error> {
        let deadline = now(Clock::Monotonic).as_nanos() + PATIENCE.as_nanos();
        let mut first = Ok(());
        for held in self.held.iter_mut().rev() {
            if held.presence == Presence::Made {
                match remove_tree(&held.dir.path, held.dir.version, deadline) {
                    Ok(()) => held.presence = Presence::Absent,
                    Err(error) => first = first.and(Err(error)),
                }
            }
            for end in core::mem::take(&mut held.parents).into_iter().rev() {
                match io::rmdir(held.dir.path.get(..end).unwrap_or_default()) {
                    // Somebody else uses it by now.
                    Ok(()) | Err(Errno::BUSY | Errno::NOENT) => {}
                    Err(errno) => first = first.and(Err(held.error("rmdir", "", errno))),
                }
            }
        }
        first
    }

    /// The processes of the container, those of its sub-cgroups included, as the caller's pid namespace
    /// numbers them (0 for one that it cannot see).
    pub fn pids(&self) -> Result<Vec<Pid>, Error> {
        let mut pids = Vec::new();
        if let Some(held) = self.primary() {
            collect_pids(&held.dir.path, &mut pids, &mut Bin::default())?;
        }
        Ok(pids)
    }

    /// Whether the container's cgroup is there.
    pub fn exists(&self) -> bool {
        self.primary().is_some_and(|held| io::open_dir(&held.dir.path).is_ok())
    }

    /// The directory that stands for all: on v1 the one that no limit may do without.
    fn primary(&self) -> Option<&Held> {
        let there = || self.held.iter().filter(|held| held.presence != Presence::Absent);
        let of = |c: Controller| {
            there().find(move |held| held.dir.controllers.contains(&c) && held.dir.version == Version::V1)
        };
        of(Controller::DEVICES).or_else(|| there().next())
    }
}

/// Adds the processes of the cgroup at `path` and below.
pub(super) fn collect_pids(path: &str, pids: &mut Vec<Pid>, bin: &mut Bin) -> Result<(), Error> {
    let at = At { path, fd: None };
    let failed = |call, file: &str, errno| Error::Call { call, path: at.join(file), value: None, errno, origin: None };
    let mut file = "cgroup.procs";
    let text = match at.read_all(file, bin) {
        // A threaded cgroup has threads only.
        Err(Errno::OPNOTSUPP) => {
            file = "cgroup.threads";
            at.read_all(file, bin)
        }
        done => done,
    };
    match text {
        Ok(text) => {
            for line in text.lines() {
                pids.push(line.parse().map_err(|_| Error::Parse { path: at.join(file), text: line.into() })?);
            }
        }
        // Removed in between: no processes.
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(failed("read", file, errno)),
    }
    match io::subdirectories(path) {
        Ok(names) => names.iter().try_for_each(|name| collect_pids(&at.join(name), pids, bin)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(failed("read", "", errno)),
    }
}

/// Removes a directory and those below it.
fn remove_tree(path: &str, version: Version, deadline: i64) -> Result<(), Error> {
    // Usually there is nothing below and nobody in it.
    let errno = match io::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => errno,
    };
    let failed = |errno| Error::Call { call: "rmdir", path: path.into(), value: None, errno, origin: None };
    // A read-only mount says EROFS even of what is not there.
    let names = match io::subdirectories(path) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Ok(()),
        Err(_) => return Err(failed(errno)),
    };
    let at = At { path, fd: None };
    for name in &names {
        remove_tree(&at.join(name), version, deadline)?;
    }
    if !matches!(errno, Errno::BUSY | Errno::NOTEMPTY) {
        return Err(failed(errno));
    }
    if version == Version::V2 {
        wait_event(path, "populated 0", deadline)?;
    }
    // v1 has no such event; and after it a task may still be on its way out of the kernel.
    let mut wait = 50_000;
    loop {
        match io::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if now(Clock::Monotonic).as_nanos() < deadline => {
                // Being woken early only means trying early.
                let _ = sleep(Timespec { sec: 0, nsec: wait });
                wait = (wait * 2).min(20_000_000);
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Waits until `cgroup.events` holds a line; true at once if it does. A removed cgroup is as good.
pub(super) fn wait_event(path: &str, line: &'static str, deadline: i64) -> Result<(), Error> {
    const FILE: &str = "cgroup.events";
    let at = At { path, fd: None };
    let failed = |call, errno| Error::Call { call, path: at.join(FILE), value: None, errno, origin: None };
    let fd = match at.open(FILE, OFlags::RDONLY) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed("open", errno)),
    };
    loop {
        // Reading arms the notification that poll(2) waits for.
        let text = match io::read(&fd, io::Length::OnePiece) {
            Ok(text) => text,
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(failed("read", errno)),
        };
        if text.lines().any(|l| l == line) {
            return Ok(());
        }
        let left = deadline - now(Clock::Monotonic).as_nanos();
        if left <= 0 {
            return Err(Error::TimedOut { path: String::from(path), waited_for: line });
        }
        let left = Timespec { sec: left / 1_000_000_000, nsec: left % 1_000_000_000 };
        let mut fds = [PollFd::new(fd.borrow(), PollFlags::PRI)];
        match poll(&mut fds, Some(left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll", errno)),
        }
        match seek_to(&fd, 0) {
            Ok(_) => {}
            // systemd removes what is empty as well.
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(failed("lseek", errno)),
        }
    }
}
