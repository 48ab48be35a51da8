//! The container's process: its rights, its surroundings, and its program.

use alloc::format;
use alloc::vec::Vec;

use orlop_init::step::{Attempt, List, Step, Text};

use super::{CapabilitySet, Gate, Origin, Phase, Planner, Task, invalid, slot};
use crate::cgroup::{Placement, placement};
use crate::config::RlimitKind;
use crate::error::Result;
use crate::path;

const PHASE: Phase = Phase::Process;

/// The kernel's number of a resource, which differs between architectures only on mips and sparc.
pub(crate) const fn resource_number(kind: RlimitKind) -> u32 {
    kind as u32
}

/// An id that a process can have: the kernel means "none" by the last one.
fn id(id: u32, origin: Origin) -> Result<u32> {
    if id == u32::MAX { Err(invalid("4294967295 is no user or group id", origin)) } else { Ok(id) }
}

impl Planner<'_> {
    pub(super) fn process(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<(List<Text>, List<Text>)> {
        let lists = self.program()?;
        let first = self.options.preserve_fds.saturating_add(3);
        self.init(PHASE, Origin::NONE, Step::CloseOnExec { first });
        self.start(cgroup);
        Ok(lists)
    }

    /// All that a process needs to be the configured one, but the last step.
    pub(super) fn program(&mut self) -> Result<(List<Text>, List<Text>)> {
        let config = self.config;
        let Some(process) = &config.process else {
            return Err(invalid("process property must not be empty", Origin::field("/process")));
        };
        if process.args.is_empty() {
            return Err(invalid("args must not be empty", Origin::field("/process/args")));
        }
        let args = self.strings_of(&process.args, "/process/args")?;
        let env = self.environment()?;
        self.limits()?;
        self.credentials()?;
        let umask = process.user.umask.unwrap_or(0o022);
        if umask > 0o777 {
            return Err(invalid(format!("{umask:#o} is no file mode mask"), Origin::field("/process/user/umask")));
        }
        self.init(PHASE, Origin::field("/process/user/umask"), Step::Umask { mask: umask });
        self.init(PHASE, Origin::field("/process/user/uid"), Step::Home { uid: process.user.uid });
        self.init(PHASE, Origin::field("/process/args"), Step::FindProgram {});
        Ok((args, env))
    }

    fn strings_of(&mut self, texts: &[crate::config::Str<'_>], pointer: &'static str) -> Result<List<Text>> {
        let mut list = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            list.push(self.text(text, Origin::member(pointer, index))?);
        }
        Ok(self.strings.texts(&list))
    }

    /// The last value of a variable counts, as in runc; what has no `=` is an error there, too.
    fn environment(&mut self) -> Result<List<Text>> {
        let config = self.config;
        let env = config.process.as_ref().map(|process| process.env.as_slice()).unwrap_or_default();
        let mut list: Vec<(&str, Text)> = Vec::with_capacity(env.len());
        for (index, entry) in env.iter().enumerate() {
            let origin = Origin::member("/process/env", index);
            let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(invalid(format!("invalid environment variable {:?}: no name and value", &**entry), origin));
            };
            let text = self.text(entry, origin)?;
            match list.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = text,
                None => list.push((name, text)),
            }
        }
        let count = self.options.listen_fds;
        if count > 0 {
            // The container's program is the first process of its namespace; see sd_listen_fds(3).
            for (name, value) in [("LISTEN_FDS", format!("{count}")), ("LISTEN_PID", alloc::string::String::from("1"))]
            {
                let text = self.strings.join(&[name.as_bytes(), b"=", value.as_bytes()]);
                list.retain(|(known, _)| *known != name);
                list.push((name, text));
            }
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
                return Err(invalid(format!("a second limit on {}", limit.kind.name()), origin));
            }
            let step = Step::Limit { resource: resource_number(limit.kind), soft: limit.soft, hard: limit.hard };
            self.init(PHASE, origin, step);
        }
        Ok(())
    }

    /// The order is the kernel's: what needs a capability comes before the capability goes.
    fn credentials(&mut self) -> Result<()> {
        let config = self.config;
        let Some(process) = &config.process else {
            return Ok(());
        };
        let caps = self.capabilities();
        let cwd = Origin::field("/process/cwd");
        // Entering the root has left init in `/`.
        let clean = path::clean_absolute(&process.cwd);
        let path = if clean == "/" { None } else { Some(self.text(&clean, cwd)?) };
        if let Some(path) = path {
            self.init(PHASE, cwd, Step::Chdir { path, attempt: Attempt::First });
        }
        if process.no_new_privileges {
            self.init(PHASE, Origin::field("/process/noNewPrivileges"), Step::NoNewPrivileges {});
        }
        let keep = CapabilitySet::step(caps.bounding);
        self.init(PHASE, Origin::field("/process/capabilities/bounding"), Step::Bounding { keep });
        let uid = id(process.user.uid, Origin::field("/process/user/uid"))?;
        let gid = id(process.user.gid, Origin::field("/process/user/gid"))?;
        for (index, &group) in process.user.additional_gids.iter().enumerate() {
            id(group, Origin::member("/process/user/additionalGids", index))?;
        }
        let groups = self.strings.words(&process.user.additional_gids);
        let step = Step::User { uid, gid, groups, set_groups: true };
        self.init(PHASE, Origin::field("/process/user"), step);
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

    fn start(&mut self, cgroup: &orlop_cgroup::Plan) {
        let phase = Phase::Start;
        let adopted = self.entries.iter().any(|e| matches!(e.act, super::Act::Runtime(Task::CgroupAdopt)));
        if !adopted && placement(cgroup) == Placement::Adopted {
            self.runtime(phase, Origin::field("/linux/cgroupsPath"), Task::CgroupAdopt);
        }
        if !cgroup.dirs.is_empty() {
            self.runtime(phase, Origin::field("/linux/resources"), Task::CgroupLimits);
        }
        self.oom_score();
        self.runtime(phase, Origin::NONE, Task::Record);
        // After the record: from it init learns what its caller ignored.
        self.init(phase, Origin::NONE, Step::Signals {});
        self.init(phase, Origin::NONE, Step::Detach {});
        if self.options.gate == Gate::Start {
            let first = self.options.preserve_fds.saturating_add(3);
            self.init(phase, Origin::NONE, Step::AwaitStart { listener: slot::LISTENER, first });
        }
        self.init(phase, Origin::field("/process/args"), Step::Exec {});
    }

    pub(super) fn oom_score(&mut self) {
        if let Some(adjust) = self.config.process.as_ref().and_then(|process| process.oom_score_adj) {
            self.runtime(Phase::Start, Origin::field("/process/oomScoreAdj"), Task::OomScoreAdj(adjust));
        }
    }
}
