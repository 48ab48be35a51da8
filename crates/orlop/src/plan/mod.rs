//! The plan: everything that will be done to make a container, in order, before any of it is done.
//!
//! The planner turns a configuration, the host's facts and the caller's options into one list. It does no I/O.
//! The list is what `orlop explain` prints, what the runtime and init work through, and what an error points into.

mod annotations;
mod attributes;
mod caller;
mod capability;
mod cgroup_mounts;
mod console;
mod devices;
mod document;
mod entry;
pub mod exec;
#[cfg(test)]
mod exec_tests;
mod file_systems;
mod hooks;
mod idmap;
mod list;
pub(crate) mod live;
mod mounts;
mod namespaces;
pub mod options;
mod process;
pub(crate) mod restore;
mod review;
mod root;
mod seccomp;
pub(crate) mod slot;
mod sysctl;
mod task;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use orlop_init::image::Strings;
use orlop_init::step::{List, Slot, Step, Text};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;

pub(crate) use annotations::{
    CARRIED_OUT as UNSAFE_ANNOTATIONS, CRIU_CONFIG, HOOKS_OUTPUT, SUBGROUP, delegated, refuse_delegated,
};
pub use caller::{Gate, Options, Orphans, RootChange, SessionKeyring};
pub use capability::CapabilitySet;
pub use console::Console;
pub(crate) use devices::DEFAULT as DEFAULT_DEVICES;
pub(crate) use entry::member;
pub use entry::{Act, Entry, Origin, Phase};
pub use hooks::HookEvent;
pub(crate) use hooks::state_for_hooks;
pub(crate) use idmap::is_same as same_id_maps;
pub use list::{Plan, Warning, Weight};
pub(crate) use process::NO_PROCESS;
pub(crate) use review::review;
pub use task::{Ids, Join, Mapping, Task};

/// Decides everything.
pub fn plan(config: &Config<'_>, host: &Host, options: &Options<'_>) -> Result<Plan> {
    let mut planner = Planner::new(config, host, options, (128, 8192));
    let (cgroup, args, env) = planner.whole()?;
    Ok(Plan {
        has_poststart: !config.hooks.poststart.is_empty(),
        has_poststop: !config.hooks.poststop.is_empty(),
        ..planner.finish(cgroup, args, env)
    })
}

/// Which of a container's processes is planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProcessKind {
    /// The one that makes the container.
    First,
    /// One that joins it.
    Further,
}

/// The plan under construction.
pub(crate) struct Planner<'p> {
    pub(crate) config: &'p Config<'p>,
    pub(crate) host: &'p Host,
    pub(crate) options: &'p Options<'p>,
    kind: ProcessKind,
    /// What a further process was asked for with, byte by byte.
    command: Option<&'p exec::Command<'p>>,
    entries: Vec<Entry>,
    pub(crate) strings: Strings,
    warnings: Vec<Warning>,
    pub(crate) joined: Vec<Join>,
    rootfs: String,
    /// Whether /dev is made read-only at the end.
    readonly_dev: bool,
    /// What a container sees as its cgroup2 mount.
    own_cgroup: String,
    /// Where a procfs could be mounted by what is planned so far.
    maybe_proc: Vec<String>,
    /// Where the mount that is planned is held.
    mount_slot: Slot,
    /// Mounts that are held until the root is entered.
    kept: Vec<(String, Slot)>,
    /// The faults found so far, where all are asked for; without it the first one ends the plan.
    faults: Option<Vec<Error>>,
    /// Whether the container is there already: init enters it, and what is the host's comes from the runtime.
    runs: bool,
}

impl<'p> Planner<'p> {
    /// One that has planned nothing, with room for so many entries and bytes of strings.
    fn new(config: &'p Config<'p>, host: &'p Host, options: &'p Options<'p>, room: (usize, usize)) -> Planner<'p> {
        Planner {
            config,
            host,
            options,
            entries: Vec::with_capacity(room.0),
            strings: Strings::with_capacity(room.1),
            warnings: Vec::new(),
            joined: Vec::new(),
            rootfs: String::new(),
            readonly_dev: false,
            own_cgroup: String::new(),
            maybe_proc: Vec::new(),
            mount_slot: slot::MOUNT,
            kept: Vec::new(),
            faults: None,
            kind: ProcessKind::First,
            command: None,
            runs: false,
        }
    }

    /// A container's plan, in order: the cgroup's, the program's arguments and its environment.
    fn whole(&mut self) -> Result<(orlop_cgroup::Plan, List<Text>, List<Text>)> {
        self.check_document()?;
        self.check_hooks()?;
        let annotations = self.refuse_annotations();
        self.sound(annotations)?;
        let cgroup = self.cgroup()?;
        self.warnings.extend(crate::cgroup::warnings(&cgroup));
        if self.makes_network_ahead() {
            self.runtime(Phase::Prepare, Origin::field("/linux/namespaces"), Task::NetworkNamespace);
        }
        self.runtime(Phase::Prepare, Origin::NONE, Task::StateDirectory);
        if !cgroup.dirs.is_empty() {
            self.runtime(Phase::Prepare, Origin::field("/linux/cgroupsPath"), Task::CgroupCreate);
        }
        self.adopt_orphans();
        self.namespaces(&cgroup)?;
        // Files get the modes that are asked for.
        self.init(Phase::Mounts, Origin::NONE, Step::Umask { mask: 0 });
        self.mounts(&cgroup)?;
        self.devices()?;
        self.console_target()?;
        self.network_devices()?;
        self.delegated_cgroup(&cgroup)?;
        self.create_hooks()?;
        self.enter_root()?;
        let (args, env) = self.process(&cgroup)?;
        Ok((cgroup, args, env))
    }

    /// The plan as it is now, without hooks for later.
    fn finish(self, cgroup: orlop_cgroup::Plan, args: List<Text>, env: List<Text>) -> Plan {
        Plan {
            entries: self.entries,
            strings: self.strings,
            args,
            env,
            warnings: self.warnings,
            cgroup,
            rootfs: self.rootfs,
            joined: self.joined,
            has_poststart: false,
            has_poststop: false,
            rootless: self.host.rootless,
        }
    }

    /// The same for an init that executes nothing.
    fn finish_without_program(mut self, cgroup: orlop_cgroup::Plan) -> Plan {
        self.init(Phase::Mounts, Origin::NONE, Step::End {});
        let (args, env) = (self.strings.texts(&[]), self.strings.texts(&[]));
        self.finish(cgroup, args, env)
    }

    /// Before there is a process that could leave one.
    fn adopt_orphans(&mut self) {
        if self.options.orphans == Orphans::Callers && self.config.shares_pids() {
            self.runtime(Phase::Prepare, Origin::field("/linux/namespaces"), Task::AdoptOrphans);
        }
    }

    pub(crate) fn init(&mut self, phase: Phase, origin: Origin, step: Step) {
        self.entries.push(Entry { phase, origin, act: Act::Init(step) });
    }

    pub(crate) fn runtime(&mut self, phase: Phase, origin: Origin, task: Task) {
        self.entries.push(Entry { phase, origin, act: Act::Runtime(task) });
    }

    /// Whether init has been put into its cgroups so far.
    pub(crate) fn is_adopted(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Runtime(Task::CgroupAdopt)))
    }

    pub(crate) fn warn(&mut self, origin: Origin, text: String) {
        self.warnings.push(Warning::new(origin, text));
    }

    pub(crate) fn debug(&mut self, origin: Origin, text: String) {
        self.warnings.push(Warning { weight: Weight::Debug, ..Warning::new(origin, text) });
    }

    /// A string of the configuration for the kernel, which ends strings with NUL.
    pub(crate) fn text(&mut self, text: &str, origin: Origin) -> Result<Text> {
        no_nul(text, origin)?;
        Ok(self.strings.text(text.as_bytes()))
    }
}

pub(crate) fn no_nul(text: &str, origin: Origin) -> Result<()> {
    if text.as_bytes().contains(&0) {
        return Err(invalid("holds a NUL character", origin));
    }
    Ok(())
}

/// A configuration that cannot be carried out.
pub(crate) fn invalid(reason: impl Into<alloc::borrow::Cow<'static, str>>, origin: Origin) -> Error {
    let error = Error::new(crate::Kind::InvalidConfig, reason);
    match origin.to_pointer() {
        Some(pointer) => error.field(pointer),
        None => error,
    }
}
