//! What is done to a container that runs: stopped for a while, limited anew, counted, waited for.

use alloc::format;
use alloc::vec::Vec;

use orlop_cgroup::{self as cgroup, Group, Limit, OomWatch, PATIENCE, Stats, Version, Which};
use orlop_sys::process::{self, Ended, Pid, Waiting};
use orlop_sys::{Errno, OwnedFd, event};

use crate::cgroup::{Devices, from_cgroup, path, resources};
use crate::config::{Config, Resources, Status};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::runtime::{Container, group_of};
use crate::state::Init;

fn not_running() -> Error {
    Error::new(Kind::NotRunning, "container not running")
}

fn no_cgroup() -> Error {
    Error::new(Kind::NotSupported, "the container has no cgroup").hint("it was made with --cgroup-manager disabled")
}

impl Container {
    /// Stops all its processes, and returns once all have stopped: by the freezer of cgroup v1, or `cgroup.freeze`.
    pub fn pause(&self) -> Result<()> {
        self.changed("pause", || match self.full_status()? {
            (Status::Created | Status::Running, _) => {
                self.existing_group()?.freeze(PATIENCE).map_err(from_cgroup)?;
                // Init cannot answer now. Where we are killed in between, a second `pause` does the rest.
                self.dir().hide_start()
            }
            (Status::Paused, _) => Err(Error::new(Kind::WrongState, "container not running: it is paused already")),
            (status, _) => Err(not_running().hint(format!("it is {}", status.name()))),
        })
    }

    /// Lets the processes of a paused container go on.
    pub fn resume(&self) -> Result<()> {
        self.changed("resume", || match self.full_status()? {
            (Status::Paused, _) => {
                self.dir().show_start()?;
                self.existing_group()?.thaw().map_err(from_cgroup)
            }
            (status, _) => Err(Error::new(Kind::WrongState, format!("container not paused: it is {}", status.name()))),
        })
    }

    /// Whether its processes are stopped, by whomever.
    pub fn is_paused(&self) -> Result<bool> {
        Ok(matches!(self.full_status()?, (Status::Paused, _)))
    }

    /// Its status as [`Container::status`] has it, and whether it is frozen.
    pub(crate) fn full_status(&self) -> Result<(Status, Option<Init>)> {
        match self.status()? {
            (Status::Created | Status::Running, Some(init)) if self.is_frozen()? => Ok((Status::Paused, Some(init))),
            status => Ok(status),
        }
    }

    fn is_frozen(&self) -> Result<bool> {
        match self.group()? {
            Some(group) => group.is_frozen().map_err(from_cgroup),
            None => Ok(false),
        }
    }

    /// With the lock, so that a `delete` or `start` waits.
    pub(crate) fn changed(&self, doing: &'static str, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let changed = self.dir().lock().and_then(|()| {
            let changed = if self.dir().is_linked()? {
                change()
            } else {
                Err(Error::new(Kind::NotFound, "container does not exist"))
            };
            changed.and(self.dir().unlock())
        });
        changed.map_err(|error| error.during(doing, self.id()))
    }

    fn existing_group(&self) -> Result<Group> {
        self.group()?.ok_or_else(no_cgroup)
    }

    /// The processes in its cgroup and below, as the caller numbers them. None is left once it has stopped, unless
    /// it shares another pid namespace.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let pids = self.existing_group().and_then(|group| group.pids().map_err(from_cgroup));
        pids.map_err(|error| error.during("ps", self.id()))
    }

    /// Changes limits. What `to` does not name stays, and its device rules are passed over: engines send rules that
    /// would cut the container off its devices. If a limit is refused, those before it are as they were.
    ///
    /// A limit that is one value together with another one that `to` leaves out, such as a quota without its period,
    /// keeps that other one.
    pub fn update(&self, to: &Resources<'_>) -> Result<()> {
        self.changed("update", || match self.status()? {
            (Status::Created | Status::Running, _) => self.limit(to),
            (status, _) => Err(not_running().hint(format!("it is {}", status.name()))),
        })
    }

    fn limit(&self, to: &Resources<'_>) -> Result<()> {
        let Some((record, text)) = self.dir().read_record()? else {
            return Err(not_running());
        };
        let config = Config::parse(&text)?;
        let mut group = group_of(&record)?.ok_or_else(no_cgroup)?;
        let host = Host::probe()?;
        let mut wanted = resources(to, Devices::Unchanged)?;
        complete(&mut wanted, &group)?;
        let how = cgroup::Options { rootless: host.rootless, user_namespace: host.rootless, ..Default::default() };
        let plan = cgroup::plan(&host.cgroups, &path(&config, self.id())?, &wanted, how);
        let mut plan = plan.map_err(from_cgroup)?;
        // Where the container is was decided when it was made: relative paths begin at the cgroup of who asks.
        let dirs = record.cgroups.iter().map(crate::state::CgroupDir::to_dir);
        if dirs.len() != plan.dirs.len() || !dirs.clone().zip(&plan.dirs).all(|(old, new)| old.version == new.version) {
            let what = "the host's cgroup hierarchies are not those that the container was made in";
            return Err(Error::new(Kind::NotSupported, what));
        }
        for (old, new) in dirs.zip(&mut plan.dirs) {
            new.path = old.path;
            new.mount_len = old.mount_len;
        }
        group.update(&plan).map_err(from_cgroup)
    }

    /// Reads what it uses.
    pub fn stats(&self, which: Which) -> Result<Stats> {
        let stats = self.existing_group().and_then(|group| group.stats(which).map_err(from_cgroup));
        stats.map_err(|error| error.during("events", self.id()))
    }

    /// Begins to watch for its running out of memory.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let watch = self.existing_group().and_then(|group| group.watch_oom().map_err(from_cgroup));
        watch.map_err(|error| error.during("events", self.id()))
    }

    /// Its first process, which can be waited for like any descriptor: readable when it has ended. `None` if it has.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        match self.dir().read_init()? {
            Some(init) => init.open(),
            None => Ok(None),
        }
    }

    /// Waits until its first process has ended. How it ended is known to its parent alone: `Some` where that is the
    /// caller, whose child is thereby reaped.
    pub fn wait(&self) -> Result<Option<Ended>> {
        self.await_end().map_err(|error| error.during("wait", self.id()))
    }

    fn await_end(&self) -> Result<Option<Ended>> {
        let Some(pidfd) = self.pidfd()? else {
            // A zombie of ours does not count as alive, but has a status.
            let zombie = self.dir().read_init()?.and_then(|init| process::pidfd_open(init.pid).ok());
            return Ok(zombie.and_then(|pidfd| process::wait(&pidfd, Waiting::Poll).ok().flatten()));
        };
        event::wait_readable(&pidfd, None)
            .map_err(|errno| Error::system("ppoll", "waiting for the end of the container's init", errno))?;
        match process::wait(&pidfd, Waiting::Poll) {
            Ok(ended) => Ok(ended),
            Err(Errno::CHILD) => Ok(None),
            Err(errno) => Err(Error::system("waitid", "the container's init", errno)),
        }
    }

    /// SIGKILL reaches what the freezer of cgroup v1 holds only when that lets go; on v2 it does so by itself.
    pub(crate) fn let_die(group: &Group) -> Result<()> {
        if group.dirs().all(|dir| dir.version == Version::V2) {
            return Ok(());
        }
        match group.is_frozen() {
            Ok(true) => group.thaw().map_err(from_cgroup),
            // Not ours to look at, as of a rootless container without cgroups.
            Ok(false) | Err(_) => Ok(()),
        }
    }
}

/// Adds what the kernel holds where the cgroup's files take two values at once, or one that depends on another:
/// quota and period; on v2 swap, which the configuration counts together with memory.
fn complete(wanted: &mut cgroup::Resources, group: &Group) -> Result<()> {
    const UNSET: Option<Limit> = Some(Limit::At(0));
    let set = |limit: Option<Limit>| limit.is_some() && limit != UNSET;
    let memory = &mut wanted.memory;
    let (limit, swap) = (set(memory.limit), set(memory.swap));
    let v2 = |file: &str| group.read_v2(file).map_err(from_cgroup);
    if limit != swap {
        let old_limit = v2("memory.max")?.and_then(|text| number(&text));
        let old_swap = v2("memory.swap.max")?.and_then(|text| number(&text));
        match (old_limit, old_swap) {
            // An unlimited memory takes the swap along: what engines send as -1 alone.
            (Some(Limit::At(old)), Some(Limit::At(swap))) if limit && memory.limit != Some(Limit::Max) => {
                memory.swap = Some(Limit::At(old.saturating_add(swap)));
            }
            (Some(old), _) if swap => memory.limit = Some(old),
            _ => {}
        }
    }
    let cpu = &mut wanted.cpu;
    let (quota, period) = (set(cpu.quota), cpu.period.is_some_and(|period| period != 0));
    if quota != period
        && let Some(text) = v2("cpu.max")?
        && let Some((old_quota, old_period)) = text.trim_end().split_once(' ')
    {
        if quota {
            cpu.period = old_period.parse().ok();
        } else {
            cpu.quota = number(old_quota);
        }
    }
    Ok(())
}

/// What a file of v2 says of a limit.
fn number(text: &str) -> Option<Limit> {
    match text.trim_end() {
        "max" => Some(Limit::Max),
        digits => digits.parse().ok().map(Limit::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_v2() {
        assert_eq!(number("max\n"), Some(Limit::Max));
        assert_eq!(number("4096\n"), Some(Limit::At(4096)));
        assert_eq!(number("x"), None);
    }
}
