//! Scheduling, memory policy, personality and labels of the container's process, checked as runc's validator does.

use alloc::format;
use alloc::vec::Vec;

use orlop_init::step::{List, Slot, Step};

use super::{Origin, Phase, Planner, invalid, slot};
use crate::config::{
    IoPriorityClass, MemoryPolicyFlag, MemoryPolicyMode, NamespaceKind, PersonalityDomain, Scheduler, SchedulerFlag,
    SchedulerPolicy, Str,
};
use crate::error::Result;

const PHASE: Phase = Phase::Process;

/// `MAX_NUMNODES` of the kernel.
const NODES: u32 = 1024;
/// `NR_CPUS` of the largest kernels.
const PROCESSORS: u32 = 8192;

impl Planner<'_> {
    /// The procfs that init has from here on for writing to.
    pub(super) fn proc(&mut self, phase: Phase, origin: Origin) -> Slot {
        self.init(phase, origin, Step::OpenProc { out: slot::PROC });
        slot::PROC
    }

    /// Writes a file of procfs.
    pub(super) fn write_proc(
        &mut self,
        phase: Phase,
        origin: Origin,
        proc: Slot,
        path: &str,
        value: &str,
    ) -> Result<()> {
        let step = Step::WriteProc { proc, path: self.text(path, origin)?, value: self.text(value, origin)? };
        self.init(phase, origin, step);
        Ok(())
    }

    /// What security modules are to do at the program's execve(2): asked for with full rights, before the kernel
    /// forbids new ones.
    pub(super) fn labels(&mut self) -> Result<()> {
        let Some(process) = &self.config.process else {
            return Ok(());
        };
        let label = Origin::field("/process/selinuxLabel");
        let profile = Origin::field("/process/apparmorProfile");
        if !process.selinux_label.is_empty() {
            let proc = self.proc(PHASE, label);
            self.write_proc(PHASE, label, proc, "thread-self/attr/exec", &process.selinux_label)?;
        }
        if !process.apparmor_profile.is_empty() {
            let proc = self.proc(PHASE, profile);
            let value = format!("exec {}", &*process.apparmor_profile);
            self.write_proc(PHASE, profile, proc, "thread-self/attr/apparmor/exec", &value)?;
        }
        Ok(())
    }

    /// Whether the scheduler needs the cgroup's limits in force: the kernel refuses a deadline to a process that may
    /// not run everywhere.
    pub(super) fn has_scheduler(&self) -> bool {
        self.config.process.as_ref().is_some_and(|process| process.scheduler.is_some())
    }

    /// What the kernel keeps of a process besides its credentials.
    pub(super) fn attributes(&mut self) -> Result<()> {
        let config = self.config;
        let Some(process) = &config.process else {
            return Ok(());
        };
        if let Some(scheduler) = &process.scheduler {
            let origin = Origin::field("/process/scheduler");
            check_scheduler(scheduler, origin)?;
            let step = Step::Scheduler {
                policy: policy_number(scheduler.policy),
                flags: scheduler.flags.iter().fold(0, |flags, &flag| flags | flag_bit(flag)),
                nice: scheduler.nice,
                priority: scheduler.priority as u32,
                runtime: scheduler.runtime,
                deadline: scheduler.deadline,
                period: scheduler.period,
            };
            self.init(PHASE, origin, step);
        }
        if let Some(priority) = &process.io_priority {
            let origin = Origin::field("/process/ioPriority");
            if !(0..=7).contains(&priority.priority) {
                return Err(invalid(format!("invalid ioPriority.Priority: {}", priority.priority), origin));
            }
            let class = match priority.class {
                IoPriorityClass::RealTime => 1,
                IoPriorityClass::BestEffort => 2,
                IoPriorityClass::Idle => 3,
            };
            self.init(PHASE, origin, Step::IoPriority { priority: class << 13 | priority.priority as u32 });
        }
        if let Some(personality) = &config.linux.personality {
            let origin = Origin::field("/linux/personality");
            if !personality.flags.is_empty() {
                let text =
                    format!("ignoring personality flags: the spec defines none, {:?} among them", personality.flags);
                self.warn(origin.inside("/flags"), text);
            }
            let domain = match personality.domain {
                PersonalityDomain::Linux => 0,
                PersonalityDomain::Linux32 => 8,
            };
            self.init(PHASE, origin, Step::Personality { domain });
        }
        self.memory_policy()?;
        let affinity = &process.exec_cpu_affinity;
        for (list, tail) in [(&affinity.initial, "/initial"), (&affinity.last, "/final")] {
            let origin = Origin::field("/process/execCPUAffinity").inside(tail);
            ranges(list, PROCESSORS).ok_or_else(|| invalid(format!("invalid CPU list {:?}", &**list), origin))?;
        }
        Ok(())
    }

    fn memory_policy(&mut self) -> Result<()> {
        let Some(policy) = &self.config.linux.memory_policy else {
            return Ok(());
        };
        let origin = Origin::field("/linux/memoryPolicy");
        let mode = find(MemoryPolicyMode::ALL, MemoryPolicyMode::NAMES, &policy.mode).ok_or_else(|| {
            invalid(format!("invalid memory policy mode {:?}", &*policy.mode), origin.inside("/mode"))
        })?;
        let nodes = ranges(&policy.nodes, NODES).ok_or_else(|| {
            invalid(format!("invalid memory policy nodes {:?}", &*policy.nodes), origin.inside("/nodes"))
        })?;
        let mut bits = mode_number(mode);
        for flag in &policy.flags {
            let known = find(MemoryPolicyFlag::ALL, MemoryPolicyFlag::NAMES, flag)
                .ok_or_else(|| invalid(format!("invalid memory policy flag {:?}", &**flag), origin.inside("/flags")))?;
            bits |= mode_flag(known);
        }
        let count: u32 = nodes.iter().map(|(first, last)| last - first + 1).sum();
        match mode {
            MemoryPolicyMode::Default | MemoryPolicyMode::Local if count > 0 => {
                return Err(invalid(format!("memory policy mode requires 0 nodes but got {count}"), origin));
            }
            MemoryPolicyMode::Bind
            | MemoryPolicyMode::Interleave
            | MemoryPolicyMode::WeightedInterleave
            | MemoryPolicyMode::PreferredMany
                if count == 0 =>
            {
                return Err(invalid("memory policy mode requires at least one node but got 0", origin));
            }
            _ => {}
        }
        let nodes = self.node_mask(&nodes);
        self.init(PHASE, origin, Step::MemoryPolicy { mode: bits, nodes });
        Ok(())
    }

    fn node_mask(&mut self, nodes: &[(u32, u32)]) -> List<u32> {
        let words = nodes.iter().map(|(_, last)| last / 32 + 1).max().unwrap_or(0);
        let mut mask = alloc::vec![0u32; words as usize];
        for node in nodes.iter().flat_map(|&(first, last)| first..=last) {
            if let Some(word) = mask.get_mut((node / 32) as usize) {
                *word |= 1 << (node % 32);
            }
        }
        self.strings.words(&mask)
    }

    /// What the kernel gives a new session keyring, and what runc grants in addition: who holds the uid may search it,
    /// or with a user namespace anybody.
    pub(super) fn keyring_permissions(&self) -> u32 {
        // KEY_POS_ALL | KEY_USR_VIEW | KEY_USR_READ | KEY_USR_LINK: join_session_keyring() of security/keys.
        const NEW: u32 = 0x3f13_0000;
        const OTHER_SEARCH: u32 = 0x8;
        const USER_SEARCH: u32 = 0x80000;
        NEW | if self.has_namespace(NamespaceKind::User) { OTHER_SEARCH } else { USER_SEARCH }
    }
}

fn check_scheduler(scheduler: &Scheduler, origin: Origin) -> Result<()> {
    let policy = scheduler.policy;
    if matches!(policy, SchedulerPolicy::Other | SchedulerPolicy::Batch) && !(-20..=19).contains(&scheduler.nice) {
        let what = format!("invalid scheduler.nice: {} when scheduler.policy is {policy}", scheduler.nice);
        return Err(invalid(what, origin.inside("/nice")));
    }
    if scheduler.priority != 0 && !matches!(policy, SchedulerPolicy::Fifo | SchedulerPolicy::Rr) {
        let what = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        return Err(invalid(what, origin.inside("/priority")));
    }
    if scheduler.priority < 0 {
        return Err(invalid(format!("invalid scheduler.priority: {}", scheduler.priority), origin.inside("/priority")));
    }
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    if policy != SchedulerPolicy::Deadline && times != [0; 3] {
        let what = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        return Err(invalid(what, origin));
    }
    Ok(())
}

/// linux/sched.h
const fn policy_number(policy: SchedulerPolicy) -> u32 {
    match policy {
        SchedulerPolicy::Other => 0,
        SchedulerPolicy::Fifo => 1,
        SchedulerPolicy::Rr => 2,
        SchedulerPolicy::Batch => 3,
        SchedulerPolicy::Iso => 4,
        SchedulerPolicy::Idle => 5,
        SchedulerPolicy::Deadline => 6,
    }
}

/// linux/sched.h
const fn flag_bit(flag: SchedulerFlag) -> u32 {
    match flag {
        SchedulerFlag::ResetOnFork => 0x01,
        SchedulerFlag::Reclaim => 0x02,
        SchedulerFlag::DlOverrun => 0x04,
        SchedulerFlag::KeepPolicy => 0x08,
        SchedulerFlag::KeepParams => 0x10,
        SchedulerFlag::UtilClampMin => 0x20,
        SchedulerFlag::UtilClampMax => 0x40,
    }
}

/// linux/mempolicy.h
const fn mode_number(mode: MemoryPolicyMode) -> u32 {
    match mode {
        MemoryPolicyMode::Default => 0,
        MemoryPolicyMode::Preferred => 1,
        MemoryPolicyMode::Bind => 2,
        MemoryPolicyMode::Interleave => 3,
        MemoryPolicyMode::Local => 4,
        MemoryPolicyMode::PreferredMany => 5,
        MemoryPolicyMode::WeightedInterleave => 6,
    }
}

/// linux/mempolicy.h
const fn mode_flag(flag: MemoryPolicyFlag) -> u32 {
    match flag {
        MemoryPolicyFlag::NumaBalancing => 1 << 13,
        MemoryPolicyFlag::RelativeNodes => 1 << 14,
        MemoryPolicyFlag::StaticNodes => 1 << 15,
    }
}

fn find<T: Copy>(all: &[T], names: &[&str], name: &Str<'_>) -> Option<T> {
    let index = names.iter().position(|known| *name == *known)?;
    all.get(index).copied()
}

/// The ranges of a list such as `0-3,7`, all below `end`.
fn ranges(list: &str, end: u32) -> Option<Vec<(u32, u32)>> {
    let parse = |part: &str| -> Option<(u32, u32)> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last && last < end).then_some((first, last))
    };
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::ranges;
    use std::vec;

    #[test]
    fn lists_are_ranges() {
        let cases = [
            ("", Some(vec![])),
            ("0", Some(vec![(0, 0)])),
            ("0-3,7", Some(vec![(0, 3), (7, 7)])),
            (" 1 , 2-4 ,", Some(vec![(1, 1), (2, 4)])),
            ("3-1", None),
            ("0-9876543210", None),
            ("1023", Some(vec![(1023, 1023)])),
            ("1024", None),
            ("a", None),
            ("-1", None),
        ];
        for (list, wanted) in cases {
            assert_eq!(ranges(list, 1024), wanted, "{list}");
        }
    }
}
