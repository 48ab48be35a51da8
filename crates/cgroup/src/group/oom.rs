//! Being told when the container runs out of memory.

use alloc::format;
use alloc::string::String;

use orlop_sys::event::{PollFd, PollFlags, eventfd, poll};
use orlop_sys::fs::{OFlags, seek_to};
use orlop_sys::time::Timespec;
use orlop_sys::{Errno, OwnedFd};

use super::{Group, Held, Presence};
use crate::error::Error;
use crate::io::{self, At, Bin, Length};
use crate::layout::Version;
use crate::plan::Controller;

/// What an [`OomWatch`] has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Oom {
    /// The kernel found no memory for the container, and killed if it may.
    OutOfMemory,
    /// The cgroup was removed, or on v2 has no process left: nothing more will come.
    Gone,
    /// Nothing so far.
    Nothing,
}

/// A watch on one container's memory. Poll [`OomWatch::polled`] together with others, and call
/// [`OomWatch::check`] when something happened; or [`OomWatch::wait`].
#[derive(Debug)]
pub struct OomWatch {
    path: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// An eventfd that the kernel writes to, bound to an open `memory.oom_control`.
    V1 { event: OwnedFd, _control: OwnedFd },
    /// `memory.events` with the kills seen so far, and `cgroup.events`.
    V2 { memory: OwnedFd, cgroup: OwnedFd, kills: u64 },
}

impl Group {
    /// Begins to watch. What happened before is not told.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        let there = || self.held.iter().filter(|held| held.presence != Presence::Absent);
        let v1 =
            there().find(|held| held.dir.version == Version::V1 && held.dir.controllers.contains(&Controller::MEMORY));
        let v2 = there().find(|held| held.dir.version == Version::V2);
        let held = v1.or(v2).ok_or(Error::NoController { controller: Controller::MEMORY, origin: None })?;
        let source = match held.dir.version {
            Version::V1 => watch_v1(held)?,
            Version::V2 => watch_v2(held)?,
        };
        Ok(OomWatch { path: held.dir.path.clone(), source })
    }
}

fn watch_v1(held: &Held) -> Result<Source, Error> {
    const CONTROL: &str = "cgroup.event_control";
    let control = held.at().open("memory.oom_control", OFlags::RDONLY);
    let control = control.map_err(|errno| held.error("open", "memory.oom_control", errno))?;
    let event = eventfd().map_err(|errno| held.error("eventfd", "", errno))?;
    let value = format!("{} {}", event.as_raw(), control.as_raw());
    let bound = held.at().write(CONTROL, &value, &mut Bin::default());
    bound.map_err(|errno| held.error("write", CONTROL, errno))?;
    Ok(Source::V1 { event, _control: control })
}

fn watch_v2(held: &Held) -> Result<Source, Error> {
    let open = |file: &'static str| {
        let fd = held.at().open(file, OFlags::RDONLY);
        fd.map_err(|errno| held.error("open", file, errno))
    };
    let (memory, cgroup) = (open("memory.events")?, open("cgroup.events")?);
    let (kills, _) = look(&memory, &cgroup).map_err(|errno| held.error("read", "memory.events", errno))?;
    Ok(Source::V2 { memory, cgroup, kills })
}

/// The kills so far, and whether there is a process. Reading arms the notification of poll(2).
fn look(memory: &OwnedFd, cgroup: &OwnedFd) -> Result<(u64, bool), Errno> {
    let again = |fd: &OwnedFd| {
        seek_to(fd, 0)?;
        io::read(fd, Length::OnePiece)
    };
    let events = again(memory)?;
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    let populated = again(cgroup)?.lines().any(|line| line == "populated 1");
    Ok((kills.and_then(|n| n.parse().ok()).unwrap_or_default(), populated))
}

impl OomWatch {
    /// What to wait for with poll(2).
    pub fn polled(&self) -> [PollFd; 2] {
        match &self.source {
            Source::V1 { event, .. } => [PollFd::new(event.borrow(), PollFlags::IN), PollFd::none()],
            Source::V2 { memory, cgroup, .. } => [memory, cgroup].map(|fd| PollFd::new(fd.borrow(), PollFlags::PRI)),
        }
    }

    /// What has happened since the last time; never waits.
    pub fn check(&mut self) -> Result<Oom, Error> {
        let failed = |call, errno| Error::Call { call, path: self.path.clone(), value: None, errno, origin: None };
        match &mut self.source {
            Source::V1 { event, .. } => {
                let mut polled = [PollFd::new(event.borrow(), PollFlags::IN)];
                match poll(&mut polled, Some(Timespec::default())) {
                    Ok(0) | Err(Errno::INTR) => return Ok(Oom::Nothing),
                    Ok(_) => {}
                    Err(errno) => return Err(failed("poll", errno)),
                }
                let mut count = [0u8; 8];
                orlop_sys::fs::read(&*event, &mut count).map_err(|errno| failed("read", errno))?;
                // Removing the cgroup notifies too.
                let at = At { path: &self.path, fd: None };
                match at.open("cgroup.event_control", OFlags::WRONLY) {
                    Err(Errno::NOENT) => Ok(Oom::Gone),
                    _ => Ok(Oom::OutOfMemory),
                }
            }
            Source::V2 { memory, cgroup, kills } => match look(memory, cgroup) {
                Ok((now, _)) if now > *kills => {
                    *kills = now;
                    Ok(Oom::OutOfMemory)
                }
                Ok((_, true)) => Ok(Oom::Nothing),
                Ok((_, false)) | Err(Errno::NODEV) => Ok(Oom::Gone),
                Err(errno) => Err(failed("read", errno)),
            },
        }
    }

    /// Waits up to `time` (`None`: for ever) for something to happen.
    pub fn wait(&mut self, time: Option<Timespec>) -> Result<Oom, Error> {
        loop {
            match self.check()? {
                Oom::Nothing => {}
                seen => return Ok(seen),
            }
            match poll(&mut self.polled(), time) {
                Ok(0) => return Ok(Oom::Nothing),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::Call {
                        call: "poll",
                        path: self.path.clone(),
                        value: None,
                        errno,
                        origin: None,
                    });
                }
            }
        }
    }
}
