//! The container's process: its rights, its surroundings, and its program.

use alloc::format;
use alloc::vec::Vec;

use orlop_init::step::{Attempt, List, Step, Text};

use super::seccomp::Filter;
use super::{CapabilitySet, Gate, Origin, Phase, Planner, ProcessKind, Task, invalid, slot};
use crate::cgroup::{Placement, placement};
use crate::config::{NamespaceKind, RlimitKind, User};
use crate::error::Result;
use crate::path;

const PHASE: Phase = Phase::Process;

/// The kernel's number of a resource, which differs between architectures only on mips and sparc.
pub(crate) const fn resource_number(kind: RlimitKind) -> u32 {
    kind as u32
}

/// Why a container cannot be started that has nothing to run.
pub(crate) const NO_PROCESS: &str = "process property must not be empty";

/// /proc/PID/oom_score_adj takes no other.
const OOM_SCORES: core::ops::RangeInclusive<i32> = -1000..=1000;

impl Planner<'_> {
    pub(super) fn process(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<(List<Text>, List<Text>)> {
        self.sysctls()?;
        let (args, env, filter) = self.program(cgroup)?;
        self.start(cgroup, filter.as_ref())?;
        Ok((args, env))
    }

    /// All that a process needs to be the configured one, but for what comes last: a filter that is loaded late, and
    /// the execution.
    pub(super) fn program(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<(List<Text>, List<Text>, Option<Filter>)> {
        let config = self.config;
        let Some(process) = &config.process else {
            // Only `start` needs it: init finds nothing to execute then.
            if self.options.gate == Gate::Open || self.faults.is_some() {
                self.fault(invalid(NO_PROCESS, Origin::field("/process")))?;
            }
            return Ok((List::EMPTY, List::EMPTY, None));
        };
        if process.args.is_empty() {
            self.fault(invalid("args must not be empty", Origin::field("/process/args")))?;
        }
        let args = match self.command {
            Some(command) => self.bytes(&command.args)?,
            None => self.strings_of(&process.args, "/process/args")?,
        };
        let env = self.environment()?;
        self.limits()?;
        let filter = self.filter();
        let filter = self.sound(filter)?.flatten();
        self.credentials(cgroup, filter.as_ref())?;
        let umask = process.user.umask.unwrap_or(0o022);
        if umask > 0o777 {
            self.fault(invalid(format!("{umask:#o} is no file mode mask"), Origin::field("/process/user/umask")))?;
        }
        if let Some(score) = process.oom_score_adj.filter(|score| !OOM_SCORES.contains(score)) {
            let origin = Origin::field("/process/oomScoreAdj");
            self.fault(invalid(format!("{score} is no OOM score: it lies between -1000 and 1000"), origin))?;
        }
        self.init(PHASE, Origin::field("/process/user/umask"), Step::Umask { mask: umask });
        self.init(PHASE, Origin::field("/process/user/uid"), Step::Home { uid: process.user.uid });
        if !self.tries_program(filter.as_ref()) {
            self.init(PHASE, Origin::field("/process/args"), Step::FindProgram {});
        }
        Ok((args, env, filter))
    }

    fn bytes(&mut self, texts: &[&[u8]]) -> Result<List<Text>> {
        let mut list = Vec::with_capacity(texts.len());
        for bytes in texts {
            list.push(self.bytes_text(bytes, Origin::field("/process/args"))?);
        }
        Ok(self.strings.texts(&list))
    }

    fn bytes_text(&mut self, bytes: &[u8], origin: Origin) -> Result<Text> {
        match bytes.contains(&0) {
            true => Err(invalid("holds a NUL character", origin)),
            false => Ok(self.strings.text(bytes)),
        }
    }

    /// Whether a path is executed without a look at it before: where nobody wants to know earlier, and no filter can
    /// forbid to look afterwards why it failed.
    fn tries_program(&self, filter: Option<&Filter>) -> bool {
        let path = self.config.process.as_ref().and_then(|process| process.args.first());
        self.kind == ProcessKind::Further && filter.is_none() && path.is_some_and(|path| path.contains('/'))
    }

    fn strings_of(&mut self, texts: &[crate::config::Str<'_>], pointer: &'static str) -> Result<List<Text>> {
        let mut list = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let text = self.text(text, Origin::member(pointer, index));
            list.extend(self.sound(text)?);
        }
        Ok(self.strings.texts(&list))
    }

    /// The last value of a variable counts, as in runc; what has no `=` is an error there, too.
    fn environment(&mut self) -> Result<List<Text>> {
        let config = self.config;
        let env = config.process.as_ref().map(|process| process.env.as_slice()).unwrap_or_default();
        // The last ones of a further process are its command's own.
        let own = self.command.map(|command| command.env.as_slice()).unwrap_or_default();
        let inherited = env.len().saturating_sub(own.len());
        let mut list: Vec<(&str, Text)> = Vec::with_capacity(env.len());
        for (index, entry) in env.iter().enumerate() {
            let origin = Origin::member("/process/env", index);
            let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                let what = format!("invalid environment variable {:?}: no name and value", &**entry);
                self.fault(invalid(what, origin))?;
                continue;
            };
            let text = match index.checked_sub(inherited).and_then(|at| own.get(at)) {
                Some(bytes) => self.bytes_text(bytes, origin),
                None => self.text(entry, origin),
            };
            let Some(text) = self.sound(text)? else { continue };
            match list.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = text,
                None => list.push((name, text)),
            }
        }
        if self.options.listen_fds > 0 {
            list.retain(|(name, _)| !matches!(*name, "LISTEN_FDS" | "LISTEN_PID"));
            let count = format!("LISTEN_FDS={}", self.options.listen_fds);
            list.push(("LISTEN_FDS", self.strings.text(count.as_bytes())));
            list.push(("LISTEN_PID", self.strings.text(b"LISTEN_PID=1")));
        }
        let texts: Vec<Text> = list.into_iter().map(|(_, text)| text).collect();
        Ok(self.strings.texts(&texts))
    }

    fn limits(&mut self) -> Result<()> {
        let config = self.config;
        let limits = config.process.as_ref().map(|process| process.rlimits.as_slice()).unwrap_or_default();
        for (index, limit) in limits.iter().enumerate() {
            let origin = Origin::member("/process/rlimits", index);
            if limits.iter().take(index).any(|other| other.kind == limit.kind) {
                self.fault(invalid(format!("a second limit on {}", limit.kind.name()), origin))?;
            }
            if limit.soft > limit.hard {
                let what = format!("the soft limit on {} is above the hard one", limit.kind.name());
                self.fault(invalid(what, origin.inside("/soft")))?;
            }
            let step = Step::Limit { resource: resource_number(limit.kind), soft: limit.soft, hard: limit.hard };
            self.init(PHASE, origin, step);
        }
        Ok(())
    }

    /// Ids that a process can have: the kernel means "none" by the last one.
    fn ids(&mut self, user: &User) -> Result<()> {
        let groups = user.additional_gids.iter().enumerate();
        let groups = groups.map(|(index, &id)| (id, Origin::member("/process/user/additionalGids", index)));
        let own = [(user.uid, Origin::field("/process/user/uid")), (user.gid, Origin::field("/process/user/gid"))];
        for (_, origin) in own.into_iter().chain(groups).filter(|(id, _)| *id == u32::MAX) {
            self.fault(invalid("4294967295 is no user or group id", origin))?;
        }
        Ok(())
    }

    /// The order is the kernel's: what needs a capability comes before the capability goes.
    fn credentials(&mut self, cgroup: &orlop_cgroup::Plan, filter: Option<&Filter>) -> Result<()> {
        let config = self.config;
        let Some(process) = &config.process else {
            return Ok(());
        };
        self.ids(&process.user)?;
        let caps = self.capabilities()?;
        let cwd = Origin::field("/process/cwd");
        // Entering the root has left init in `/`.
        let clean = path::clean_absolute(&process.cwd);
        let path = if clean == "/" { Ok(None) } else { self.text(&clean, cwd).map(Some) };
        let path = self.sound(path)?.flatten();
        if let Some(path) = path {
            self.init(PHASE, cwd, Step::Chdir { path, attempt: Attempt::First });
        }
        if process.user.uid != 0 || self.has_namespace(NamespaceKind::User) {
            let step = Step::Stdio { uid: process.user.uid };
            self.init(PHASE, Origin::field("/process/user/uid"), step);
        }
        self.affinity(cgroup)?;
        self.labels()?;
        if process.no_new_privileges {
            self.init(PHASE, Origin::field("/process/noNewPrivileges"), Step::NoNewPrivileges {});
        }
        if self.has_scheduler() {
            self.cgroup_tasks(PHASE, cgroup);
        }
        self.attributes()?;
        // Before there is a filter that knows no such call. What is opened from here on closes at exec by itself.
        let first = self.options.preserve_fds.saturating_add(3);
        self.init(PHASE, Origin::NONE, Step::CloseOnExec { first });
        // Without no_new_privs loading a filter takes a capability.
        if let Some(filter) = filter.filter(|_| !process.no_new_privileges) {
            self.load(PHASE, filter);
        }
        let keep = CapabilitySet::step(caps.bounding);
        self.init(PHASE, Origin::field("/process/capabilities/bounding"), Step::Bounding { keep });
        let groups = self.strings.words(&process.user.additional_gids);
        let set_groups = self.groups();
        if let Some(set_groups) = self.sound(set_groups)? {
            let step = Step::User {
                uid: process.user.uid,
                gid: process.user.gid,
                groups,
                set_groups: self.kept_groups(set_groups),
            };
            self.init(PHASE, Origin::field("/process/user"), step);
        }
        let step = Step::Capabilities {
            effective: CapabilitySet::step(caps.effective),
            permitted: CapabilitySet::step(caps.permitted),
            inheritable: CapabilitySet::step(caps.inheritable),
        };
        self.init(PHASE, Origin::field("/process/capabilities"), step);
        // What is not inheritable is not ambient: the kernel has dropped it with the step before.
        if caps.ambient != 0 || caps.inheritable != 0 {
            let ambient = Origin::field("/process/capabilities/ambient");
            self.init(PHASE, ambient, Step::Ambient { set: CapabilitySet::step(caps.ambient) });
        }
        if let Some(path) = path {
            self.init(PHASE, cwd, Step::Chdir { path, attempt: Attempt::Last });
        }
        Ok(())
    }

    /// As runc: a container that has a cgroup namespace and may write to its cgroup2 mount gets the cgroup itself.
    fn cgroup_owner(&mut self, cgroup: &orlop_cgroup::Plan) {
        let config = self.config;
        let writable = |mount: &crate::config::Mount<'_>| {
            mount.source == "cgroup"
                && path::clean_absolute(&mount.destination) == "/sys/fs/cgroup"
                && !mount.options.iter().any(|option| *option == "ro")
        };
        let unified = cgroup.dirs.iter().any(|dir| dir.version == orlop_cgroup::Version::V2);
        let own = unified && self.has_new_namespace(NamespaceKind::Cgroup) && config.mounts.iter().any(writable);
        let inside = config.process.as_ref().map_or(0, |process| process.user.uid);
        if own
            && self.host.is_unified()
            && let Some(uid) = super::idmap::outside(&config.linux.uid_mappings, inside)
            && uid != self.host.euid
        {
            self.runtime(Phase::Start, Origin::field("/linux/uidMappings"), Task::CgroupOwner { uid });
        }
    }

    pub(super) fn oom_score(&mut self) {
        if let Some(adjust) = self.config.process.as_ref().and_then(|process| process.oom_score_adj) {
            self.runtime(Phase::Start, Origin::field("/process/oomScoreAdj"), Task::OomScoreAdj(adjust));
        }
    }

    /// The cgroup's own, where they are not in the list yet.
    pub(super) fn cgroup_tasks(&mut self, phase: Phase, cgroup: &orlop_cgroup::Plan) {
        let has = |entries: &[super::Entry], task| {
            entries.iter().any(|entry| matches!(entry.act, super::Act::Runtime(known) if known == task))
        };
        if !has(&self.entries, Task::CgroupAdopt) && placement(cgroup) == Placement::Adopted {
            self.runtime(phase, Origin::field("/linux/cgroupsPath"), Task::CgroupAdopt);
        }
        let limited = self.kind == ProcessKind::First && !cgroup.dirs.is_empty();
        if limited && !has(&self.entries, Task::CgroupLimits) {
            self.runtime(phase, Origin::field("/linux/resources"), Task::CgroupLimits);
        }
    }

    fn start(&mut self, cgroup: &orlop_cgroup::Plan, filter: Option<&Filter>) -> Result<()> {
        let phase = Phase::Start;
        self.cgroup_tasks(phase, cgroup);
        self.cgroup_owner(cgroup);
        self.class_of_service()?;
        self.pidfd_receiver()?;
        if !self.has_namespace(NamespaceKind::User) {
            self.oom_score();
        }
        self.runtime(phase, Origin::NONE, Task::Record);
        // After the record: from it init learns what its caller ignored.
        self.init(phase, Origin::NONE, Step::Signals {});
        self.init(phase, Origin::NONE, Step::Detach {});
        // As late as can be: what comes before needs no place in the profile. A listener is the business of `create`.
        let late = filter.filter(|_| self.config.process.as_ref().is_some_and(|process| process.no_new_privileges));
        if let Some(filter) = late.filter(|filter| filter.notifies()) {
            self.load(phase, filter);
        }
        if self.options.gate == Gate::Start {
            self.keep_hooks_output();
            let first = self.options.preserve_fds.saturating_add(3);
            self.init(phase, Origin::NONE, Step::AwaitStart { listener: slot::LISTENER, first });
        }
        if let Some(filter) = late.filter(|filter| !filter.notifies()) {
            self.load(phase, filter);
        }
        self.start_hooks()?;
        self.init(phase, Origin::field("/process/args"), Step::Exec {});
        Ok(())
    }
}
