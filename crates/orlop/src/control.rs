//! What is done to a container that runs: stopped for a while, limited anew, counted, waited for.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{self as cgroup, Controller, Group, Limit, OomWatch, PATIENCE, Stats, Version, Which};
use orlop_sys::process::{self, Ended, Pid, Waiting};
use orlop_sys::{Errno, OwnedFd, event};

use crate::cgroup::{Devices, from_cgroup, path, resources, warnings};
use crate::config::{Config, Resources, Status};
use crate::container::{Container, group_of};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::Warning;
use crate::resctrl::ClassStats;

fn not_running() -> Error {
    Error::new(Kind::NotRunning, "container not running")
}

fn no_cgroup() -> Error {
    Error::new(Kind::NotSupported, "the container has no cgroup").hint("it was made with --cgroup-manager disabled")
}

impl Container {
    /// Stops all its processes, and returns once all have stopped: by the freezer of cgroup v1, or `cgroup.freeze`.
    /// [`Kind::NotRunning`] where none runs, [`Kind::WrongState`] where it is paused, [`Kind::NotSupported`] without a
    /// cgroup. Where they do not all stop within ten seconds, they go on as before.
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

    /// Lets the processes of a paused container go on; [`Kind::WrongState`] where it is not paused.
    pub fn resume(&self) -> Result<()> {
        self.changed("resume", || match self.full_status()? {
            (Status::Paused, _) => {
                self.dir().show_start()?;
                self.existing_group()?.thaw().map_err(from_cgroup)
            }
            (status, _) => Err(Error::new(Kind::WrongState, format!("container not paused: it is {}", status.name()))),
        })
    }

    /// With the lock, so that a `delete` or `start` waits.
    pub(crate) fn changed<T>(&self, doing: &'static str, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let changed = self.dir().lock().and_then(|()| {
            let changed = if self.dir().is_linked()? {
                change()
            } else {
                Err(Error::new(Kind::NotFound, "container does not exist"))
            };
            let unlocked = self.dir().unlock();
            changed.and_then(|changed| unlocked.map(|()| changed))
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
    pub fn update(&self, to: &Resources<'_>) -> Result<Vec<Warning>> {
        self.changed("update", || match self.status()? {
            (Status::Created | Status::Running, _) => self.limit(to),
            (status, _) => Err(not_running().hint(format!("it is {}", status.name()))),
        })
    }

    fn limit(&self, to: &Resources<'_>) -> Result<Vec<Warning>> {
        let Some((record, text)) = self.dir().read_record()? else {
            return Err(not_running());
        };
        let config = Config::parse(&text)?;
        let mut group = group_of(&record)?.ok_or_else(no_cgroup)?;
        let host = Host::probe()?;
        let mut wanted = resources(to, Devices::Unchanged)?;
        complete(&mut wanted, &group, record.scope.is_some())?;
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
            new.outer_len = old.outer_len;
        }
        // Whoever made the cgroup, and not whom the caller would have make one.
        let updated = match &record.scope {
            Some(scope) => scope.update(&mut group, &mut plan),
            None => group.update(&plan),
        };
        updated.map(|()| warnings(&plan).collect()).map_err(from_cgroup)
    }

    /// Changes what the container's class of service may use; see `linux.intelRdt`. Each schema is a line of resctrl's
    /// schemata file. `stand_in` is as [`CreateOptions::resctrl`](crate::CreateOptions::resctrl).
    pub fn update_class(&self, l3_cache: Option<&str>, memory: Option<&str>, stand_in: Option<&str>) -> Result<()> {
        let schemata: String = l3_cache.iter().chain(&memory).map(|line| alloc::format!("{line}\n")).collect();
        let needs = crate::resctrl::Needs { cache: l3_cache.is_some(), memory: memory.is_some() };
        self.changed("update", || match self.dir().read_head()?.and_then(|record| record.class) {
            Some(class) => class.update(&schemata, needs),
            None => Err(crate::resctrl::refuse_update(needs, stand_in)),
        })
    }

    /// Reads what it uses; each figure's unit is its own, and with its field. [`Kind::NotSupported`] without a cgroup.
    pub fn stats(&self, which: Which) -> Result<Stats> {
        let stats = self.existing_group().and_then(|group| group.stats(which).map_err(from_cgroup));
        stats.map_err(|error| error.during("events", self.id()))
    }

    /// Reads what its class of service may use, and uses; `None` where it has none. See `linux.intelRdt`.
    pub fn class_stats(&self) -> Result<Option<ClassStats>> {
        let class = self.dir().read_head().map(|record| record.and_then(|record| record.class));
        let stats = class.and_then(|class| class.map(|class| class.stats()).transpose());
        stats.map_err(|error| error.during("events", self.id()))
    }

    /// Begins to watch for its running out of memory: by `memory.oom_control` of cgroup v1, or `memory.events`.
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
///
/// systemd takes quota and period for one as well, on v1 too; and of a group that is idle it keeps no weight that the
/// kernel could fall back to.
fn complete(wanted: &mut cgroup::Resources, group: &Group, has_scope: bool) -> Result<()> {
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
    if !has_scope {
        return Ok(());
    }
    let v1 = |file: &str| group.read_v1(&Controller::CPU, file).map_err(from_cgroup);
    if quota && cpu.period.is_none_or(|period| period == 0) {
        cpu.period = v1("cpu.cfs_period_us")?.and_then(|text| text.trim_end().parse().ok());
    } else if period && !set(cpu.quota) {
        cpu.quota = v1("cpu.cfs_quota_us")?.and_then(|text| number(&text));
    }
    const DEFAULT_SHARES: u64 = 1024;
    let no_shares = cpu.shares.is_none_or(|shares| shares == 0);
    if cpu.idle == Some(0) && no_shares && v2("cpu.idle")?.is_some_and(|text| text.trim_end() == "1") {
        cpu.shares = Some(DEFAULT_SHARES);
    }
    Ok(())
}

/// What a file says of a limit.
fn number(text: &str) -> Option<Limit> {
    match text.trim_end() {
        "max" | "-1" => Some(Limit::Max),
        digits => digits.parse().ok().map(Limit::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use orlop_cgroup::Layout;
    use std::string::{String, ToString};
    use std::{fs, vec::Vec};

    /// What engines were recorded to hand to `update`: no zero is a setting, and no device rule is touched.
    #[test]
    fn recorded_limits() {
        let v1 = |id, name| std::format!("{id} 1 0:{id} / /cg/{name} rw - cgroup cgroup rw,{name}\n");
        let names = ["cpu", "cpuset", "memory", "pids", "blkio", "devices"];
        let v1: String = names.iter().zip(30..).map(|(name, id)| v1(id, name)).collect();
        let own: String = names.iter().map(|name| std::format!("1:{name}:/\n")).collect();
        let v2 = "30 1 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
        let calls = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contract/calls.jsonl");
        let calls = fs::read_to_string(calls).expect("the fixture is there");
        let calls = calls.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let documents: Vec<String> =
            calls.map(|call| call["resources"].to_string()).filter(|document| document != "null").collect();
        assert!(documents.len() >= 4);
        for document in documents {
            let to = Resources::parse(document.as_bytes()).expect("recorded");
            let wanted = resources(&to, Devices::Unchanged).expect("recorded");
            for (mounts, own) in [(v1.as_str(), own.as_str()), (v2, "0::/\n")] {
                let layout = Layout::parse(mounts, own).expect("a layout");
                let path = cgroup::CgroupPath::from_config(Some("/c"), "c").expect("a path");
                let plan = cgroup::plan(&layout, &path, &wanted, cgroup::Options::default()).expect("it is taken");
                let writes: Vec<(String, &str)> =
                    plan.writes.iter().map(|write| (plan.file(write), write.value.as_str())).collect();
                assert!(!writes.is_empty(), "{document}");
                assert!(
                    writes
                        .iter()
                        .all(|(file, value)| *value != "0"
                            || ["cpus", "swap.max"].iter().any(|name| file.ends_with(name))),
                    "{writes:?}"
                );
                assert!(
                    plan.devices.is_none() && writes.iter().all(|(file, _)| !file.contains("devices")),
                    "{writes:?}"
                );
            }
        }
    }

    #[test]
    fn limits_of_v2() {
        assert_eq!(number("max\n"), Some(Limit::Max));
        assert_eq!(number("4096\n"), Some(Limit::At(4096)));
        assert_eq!(number("-1\n"), Some(Limit::Max));
        assert_eq!(number("x"), None);
    }
}
