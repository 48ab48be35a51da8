//! Freezing, and signals to all processes.

use orlop_sys::Errno;
use orlop_sys::process::{Pid, kill};
use orlop_sys::signal::SIGKILL;
use orlop_sys::time::{Clock, Timespec, now, sleep};

use super::remove::wait_event;
use super::{Group, Held, Presence};
use crate::error::Error;
use crate::io::{At, Bin, count};
use crate::layout::Version;
use crate::plan::{Controller, Dir};

/// Whether the container with these directories is itself frozen: by the freezer of v1 where there is one, else by
/// that of v2. What is above it does not count, and a cgroup that is gone is not frozen.
pub fn is_frozen(dirs: &[Dir]) -> Result<bool, Error> {
    let freezer = dirs.iter().find(|dir| dir.controllers.contains(&Controller::FREEZER));
    match freezer.or_else(|| dirs.iter().find(|dir| dir.version == Version::V2)) {
        Some(dir) => frozen(At { path: &dir.path, fd: None }, dir.version),
        None => Ok(false),
    }
}

fn frozen(at: At<'_>, version: Version) -> Result<bool, Error> {
    let file = match version {
        Version::V1 => "freezer.self_freezing",
        Version::V2 => "cgroup.freeze",
    };
    match at.read(file, &mut Bin::default()) {
        Ok(text) => Ok(text.trim_end() == "1"),
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(Error::Call { call: "read", path: at.join(file), value: None, errno, origin: None }),
    }
}

impl Group {
    /// Stops every process of the container, and waits up to `patience` until all have stopped. Where they do
    /// not, they go on as before.
    pub fn freeze(&self, patience: Timespec) -> Result<(), Error> {
        let held = self.freezer()?;
        let deadline = now(Clock::Monotonic).as_nanos() + patience.as_nanos();
        let done = match held.dir.version {
            Version::V1 => freeze_v1(held, deadline),
            Version::V2 => {
                set(held, "cgroup.freeze", "1").and_then(|()| wait_event(&held.dir.path, "frozen 1", deadline))
            }
        };
        if done.is_err() {
            // A cgroup that is frozen in part is worse than one that runs. The first error is the one to tell.
            let _ = self.thaw();
        }
        done
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<(), Error> {
        let held = self.freezer()?;
        match held.dir.version {
            Version::V1 => set(held, "freezer.state", "THAWED"),
            Version::V2 => set(held, "cgroup.freeze", "0"),
        }
    }

    /// As [`is_frozen`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        self.freezer().map_or(Ok(false), |held| frozen(held.at(), held.dir.version))
    }

    /// Sends a signal to every process of the container, those of its sub-cgroups included. None being left
    /// is no error, and a container that was frozen stays so, unless it is killed.
    ///
    /// SIGKILL reaches all at once through `cgroup.kill`; otherwise the cgroup is frozen while its processes
    /// are signalled, so that none can be born meanwhile.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let there = |held: &&Held| held.presence != Presence::Absent;
        let v2 = self.held.iter().filter(there).find(|held| held.dir.version == Version::V2);
        let mut killed = false;
        if let (SIGKILL, Some(held)) = (signal, v2) {
            killed = match held.at().write("cgroup.kill", "1", &mut Bin::default()) {
                Ok(()) => true,
                // Linux before 5.14; or a cgroup that is gone.
                Err(Errno::NOENT | Errno::NODEV) => false,
                Err(errno) => return Err(held.error("write", "cgroup.kill", errno)),
            };
            if killed && self.held.len() == 1 {
                return Ok(());
            }
        }
        // On a hybrid host a process may be in v1 alone, if somebody moved it.
        let paused = signal != SIGKILL && self.is_frozen()?;
        let freezes = !killed && !paused && self.freeze(Timespec { sec: 2, nsec: 0 }).is_ok();
        let pids = self.pids();
        let done = pids.and_then(|pids| pids.into_iter().try_for_each(|pid| send(pid, signal)));
        // What the freezer of v1 holds dies of SIGKILL only when it is let go, whoever froze it.
        let held = signal == SIGKILL && self.freezer().is_ok_and(|held| held.dir.version == Version::V1);
        if freezes || held {
            match self.thaw() {
                Err(error) if error.is_missing() => {}
                thawed => return done.and(thawed),
            }
        }
        done
    }

    fn freezer(&self) -> Result<&Held, Error> {
        let there = || self.held.iter().filter(|held| held.presence != Presence::Absent);
        let v1 = there().find(|held| held.dir.controllers.contains(&Controller::FREEZER));
        v1.or_else(|| there().find(|held| held.dir.version == Version::V2)).ok_or(Error::NoFreezer)
    }
}

fn set(held: &Held, file: &str, value: &str) -> Result<(), Error> {
    let done = held.at().write(file, value, &mut Bin::default());
    done.map_err(|errno| Error::Call {
        call: "write",
        path: held.at().join(file),
        value: Some(value.into()),
        errno,
        origin: None,
    })
}

/// v1 sends no event, and misses a process that is born while it freezes: the kernel's documentation asks
/// for the state to be written again until it has come true.
fn freeze_v1(held: &Held, deadline: i64) -> Result<(), Error> {
    const FILE: &str = "freezer.state";
    let mut wait = 50_000;
    for round in 1u32.. {
        set(held, FILE, "FROZEN")?;
        let state = held.at().read(FILE, &mut Bin::default());
        let state = state.map_err(|errno| held.error("read", FILE, errno))?;
        match state.trim_end() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            _ => {
                return Err(Error::Parse { path: held.at().join(FILE), text: state });
            }
        }
        if now(Clock::Monotonic).as_nanos() >= deadline {
            break;
        }
        // Processes that keep appearing freeze sooner if the others may move for a moment.
        if round % 50 == 0 {
            set(held, FILE, "THAWED")?;
        }
        // Being woken early only means looking early.
        let _ = sleep(Timespec { sec: 0, nsec: wait });
        wait = (wait * 2).min(10_000_000);
    }
    Err(Error::TimedOut { path: held.dir.path.clone(), waited_for: "FROZEN" })
}

fn send(pid: Pid, signal: i32) -> Result<(), Error> {
    // 0 is a process that our pid namespace does not show; as an argument of kill(2) it means ourselves.
    if pid <= 0 {
        return Ok(());
    }
    count::tick(1);
    match kill(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => {
            Err(Error::Call { call: "kill", path: alloc::format!("{pid}"), value: None, errno, origin: None })
        }
    }
}
