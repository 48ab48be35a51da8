//! The plan: everything that will be done to make a container, in order, before any of it is done.
//!
//! The planner turns a configuration, the host's facts and the caller's options into one list. It does no I/O.
//! The list is what `orlop explain` prints, what the runtime and init work through, and what an error points into.

mod annotations;
mod attributes;
mod capability;
mod cgroup_mounts;
mod console;
mod devices;
mod document;
pub mod exec;
#[cfg(test)]
mod exec_tests;
mod file_systems;
mod hooks;
mod idmap;
pub(crate) mod live;
mod mounts;
mod namespaces;
pub mod options;
mod process;
pub(crate) mod restore;
mod review;
mod root;
mod seccomp;
mod sysctl;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use orlop_init::image::Strings;
use orlop_init::step::{Follow, List, Slot, Step, Text};
use orlop_sys::mount::Reach;
use orlop_sys::process::{Clone as CloneFlags, Rights};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;

pub(crate) use annotations::{
    CARRIED_OUT as UNSAFE_ANNOTATIONS, CRIU_CONFIG, HOOKS_OUTPUT, SUBGROUP, delegated, refuse_delegated,
};
pub use capability::CapabilitySet;
pub use console::Console;
pub(crate) use devices::DEFAULT as DEFAULT_DEVICES;
pub use hooks::HookEvent;
pub(crate) use hooks::state_for_hooks;
pub(crate) use idmap::is_same as same_id_maps;
pub(crate) use process::NO_PROCESS;
pub(crate) use review::review;

/// A part of a container's making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// What is made before there is a process: the state directory, the cgroup.
    Prepare,
    /// The process and its namespaces.
    Namespaces,
    /// The root file system and what is mounted in it.
    Mounts,
    /// Device nodes and links.
    Devices,
    /// What the configuration has run on the way.
    Hooks,
    /// Entering the root, and covering parts of it.
    Root,
    /// The process's own attributes.
    Process,
    /// Waiting for `start`, and executing the program.
    Start,
}

impl Phase {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Namespaces => "namespaces",
            Phase::Mounts => "mounts",
            Phase::Devices => "devices",
            Phase::Hooks => "hooks",
            Phase::Root => "root",
            Phase::Process => "process",
            Phase::Start => "start",
        }
    }
}

/// The place in `config.json` that an entry comes from; the default ones come from none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    pointer: &'static str,
    index: Option<u32>,
    tail: &'static str,
}

impl Origin {
    /// What no field asks for.
    pub const NONE: Origin = Origin::field("");

    /// A field, as a JSON pointer.
    pub const fn field(pointer: &'static str) -> Origin {
        Origin { pointer, index: None, tail: "" }
    }

    /// A member of a list.
    pub const fn member(pointer: &'static str, index: usize) -> Origin {
        Origin { pointer, index: Some(index as u32), tail: "" }
    }

    /// A field of a member of a list.
    #[must_use]
    pub const fn inside(self, tail: &'static str) -> Origin {
        Origin { tail, ..self }
    }

    /// Whether a field asks for it.
    pub const fn is_none(self) -> bool {
        self.pointer.is_empty() && self.index.is_none()
    }

    pub(crate) fn to_pointer(self) -> Option<String> {
        (!self.is_none()).then(|| alloc::format!("{self}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pointer)?;
        if let Some(index) = self.index {
            write!(f, "/{index}")?;
        }
        f.write_str(self.tail)
    }
}

/// What the runtime does itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Task {
    /// Begins to make the network namespace, which takes the kernel longer than anything else.
    NetworkNamespace,
    /// Makes the state directory, and writes down what `delete` will need.
    StateDirectory,
    /// Makes the cgroup, or connects to the systemd that will.
    CgroupCreate,
    /// Makes the runtime a subreaper.
    AdoptOrphans,
    /// Starts init in new namespaces.
    Clone {
        /// The new namespaces that it starts in.
        namespaces: CloneFlags,
        /// Whether it starts in its cgroup (`CLONE_INTO_CGROUP`).
        into_cgroup: bool,
        /// What becomes of the capabilities that a user namespace gives.
        rights: Rights,
    },
    /// Writes the id maps of init's user namespace.
    IdMaps {
        /// The user ids, as /proc/PID/uid_map takes them.
        uids: Text,
        /// The group ids.
        gids: Text,
        /// How.
        how: Mapping,
    },
    /// Compares the id maps of a joined user namespace with those of the configuration.
    CheckIdMaps {
        /// The user ids.
        uids: Text,
        /// The group ids.
        gids: Text,
    },
    /// Copies a mount in init's mount namespace, with the runtime's rights, and sends it to init.
    SendMount {
        /// The path on the host.
        path: Text,
        /// How much of it.
        reach: Reach,
        /// Whether a symbolic link there is followed.
        follow: Follow,
        /// The ids that its files get.
        ids: Ids,
        /// Whether the mounts below get them too.
        ids_reach: Reach,
    },
    /// Keeps the mount namespace that init has made so far, for criu.
    MountNamespace,
    /// Hands the network namespace to init.
    SendNetworkNamespace,
    /// Moves a network device into the container.
    NetworkDevice {
        /// Its name here.
        name: Text,
        /// Its name there, or a template such as `eth%d`.
        new_name: Text,
    },
    /// Puts init into its cgroups, where it could not start there; starts the scope around it.
    CgroupAdopt,
    /// Writes the limits.
    CgroupLimits,
    /// Puts init into its class of service, and makes that where it is missing.
    ClassOfService {
        /// Its name; empty stands for the container's id.
        class: Text,
        /// The lines of its schemata, each with a newline.
        schemata: Text,
        /// Whether the container has a monitoring group.
        monitor: bool,
    },
    /// Gives the cgroup to the container's user, who may then make others below.
    CgroupOwner {
        /// The user, as the host numbers it.
        uid: u32,
    },
    /// Makes a cgroup below the container's, and puts init there.
    CgroupDelegate {
        /// Its path from there.
        name: Text,
        /// Whose it is to be, as the host numbers users, where that is not the caller.
        owner: Option<u32>,
    },
    /// Writes /proc/PID/oom_score_adj.
    OomScoreAdj(i32),
    /// Records init's pid.
    Record,
    /// Sends a pidfd of init to a socket that an annotation names.
    PidfdReceiver {
        /// The socket.
        path: Text,
    },
    /// Hands the listener of the filter over to whoever answers for it.
    SeccompListener {
        /// The socket.
        path: Text,
        /// What the profile has to say to it.
        metadata: Text,
    },
    /// Runs a hook of the host.
    Hook {
        /// Of which list.
        event: HookEvent,
        /// Its place there.
        index: u32,
        /// Its program.
        path: Text,
    },
}

impl Task {
    /// What `orlop explain` and messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Task::NetworkNamespace => "network-namespace",
            Task::SendNetworkNamespace => "send-network-namespace",
            Task::NetworkDevice { .. } => "network-device",
            Task::MountNamespace => "mount-namespace",
            Task::StateDirectory => "state-directory",
            Task::CgroupCreate => "cgroup-create",
            Task::AdoptOrphans => "adopt-orphans",
            Task::Clone { .. } => "clone",
            Task::IdMaps { .. } => "id-maps",
            Task::CheckIdMaps { .. } => "check-id-maps",
            Task::SendMount { .. } => "send-mount",
            Task::CgroupAdopt => "cgroup-adopt",
            Task::CgroupLimits => "cgroup-limits",
            Task::CgroupOwner { .. } => "cgroup-owner",
            Task::CgroupDelegate { .. } => "cgroup-delegate",
            Task::ClassOfService { .. } => "class-of-service",
            Task::OomScoreAdj(_) => "oom-score-adj",
            Task::Record => "record",
            Task::Hook { .. } => "hook",
            Task::SeccompListener { .. } => "seccomp-listener",
            Task::PidfdReceiver { .. } => "pidfd-receiver",
        }
    }

    /// Whether it needs nothing of what init does before it: then it is done while init works, and its place in
    /// the list is only the point that init does not pass before.
    pub const fn overlaps(self) -> bool {
        matches!(
            self,
            Task::IdMaps { .. }
                | Task::CheckIdMaps { .. }
                | Task::SendNetworkNamespace
                | Task::CgroupAdopt
                | Task::CgroupLimits
                | Task::CgroupOwner { .. }
                | Task::ClassOfService { .. }
                | Task::PidfdReceiver { .. }
                | Task::OomScoreAdj(_)
                | Task::Record
        )
    }
}

/// A namespace that init is born in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// Where it is.
    pub path: Text,
    /// Its place in the configuration.
    pub index: u32,
    /// Its kind.
    pub kind: CloneFlags,
}

/// How the id maps of a user namespace are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// By the runtime, which has the right to map any id.
    Direct,
    /// By the runtime, which has not: its own ids, and no change of groups.
    Own,
    /// By newuidmap(1) and newgidmap(1), as /etc/subuid and /etc/subgid allow.
    Helpers,
}

impl Mapping {
    /// What `orlop explain` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Mapping::Direct => "direct",
            Mapping::Own => "own",
            Mapping::Helpers => "helpers",
        }
    }
}

/// The ids of a mount's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ids {
    /// As they are.
    Same,
    /// As the container's user namespace maps them.
    Container,
    /// As these maps say.
    Maps {
        /// The user ids, as /proc/PID/uid_map takes them.
        uids: Text,
        /// The group ids.
        gids: Text,
    },
}

/// Who does an entry, and what.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The runtime.
    Runtime(Task),
    /// Init.
    Init(Step),
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When.
    pub phase: Phase,
    /// Why.
    pub origin: Origin,
    /// What, and by whom.
    pub act: Act,
}

impl Entry {
    /// What `orlop explain` and messages call it.
    pub fn name(&self) -> &'static str {
        match &self.act {
            Act::Runtime(task) => task.name(),
            Act::Init(step) => step.name(),
        }
    }
}

/// Whether the container's program runs at once, or waits for `start`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gate {
    /// At once: `run`.
    #[default]
    Open,
    /// When `start` says so: `create`.
    Start,
}

/// How the old root is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RootChange {
    /// pivot_root(2).
    #[default]
    Pivot,
    /// Moving the new root over it: for an initial ramfs.
    Move,
}

/// Whether the container's process gets a session keyring of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SessionKeyring {
    /// It does.
    #[default]
    New,
    /// It keeps the caller's.
    Callers,
}

/// Whose children the orphans of a container become that has no pid namespace of its own: in one, they are its init's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Orphans {
    /// As those of any program: the nearest subreaper's, or those of the first process.
    #[default]
    Elsewhere,
    /// The caller's: it becomes a subreaper (PR_SET_CHILD_SUBREAPER of prctl(2)), and has to reap them.
    Callers,
}

/// What the caller chose, besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle, as an absolute path: relative paths of the configuration start there.
    pub bundle: &'a str,
    /// When the program runs.
    pub gate: Gate,
    /// How the root is changed.
    pub root_change: RootChange,
    /// The keyring.
    pub keyring: SessionKeyring,
    /// Who makes the cgroup.
    pub cgroup_manager: orlop_cgroup::Manager,
    /// Whose systemd makes it, where one does.
    pub systemd: orlop_cgroup::systemd::Bus,
    /// That systemd's own cgroup, from the root of the hierarchy; empty for the system's.
    pub systemd_cgroup: &'a str,
    /// How many descriptors after stdio the container's program keeps.
    pub preserve_fds: u32,
    /// How many of them are sockets of a service manager, which the program is told of; see sd_listen_fds(3).
    pub listen_fds: u32,
    /// Whether the network namespace that the configuration names is the caller's own.
    pub joins_own_network: bool,
    /// Who gets the master of a terminal.
    pub console: Console,
    /// Who gets the container's orphans.
    pub orphans: Orphans,
}

/// Something that does not stop the container, but that somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it comes from, as a JSON pointer.
    pub origin: String,
    /// What it is.
    pub text: String,
    /// Whom it is for.
    pub weight: Weight,
}

/// Whom a [`Warning`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// Whoever runs the container.
    Warning,
    /// Whoever looks for a fault.
    Debug,
}

impl Warning {
    pub(crate) fn new(origin: Origin, text: String) -> Warning {
        Warning { origin: alloc::format!("{origin}"), text, weight: Weight::Warning }
    }
}

/// A container's making, whole.
#[derive(Clone)]
pub struct Plan {
    /// What is done, in order.
    pub entries: Vec<Entry>,
    /// The strings of the steps.
    pub strings: Strings,
    /// The program's arguments.
    pub args: List<Text>,
    /// The program's environment.
    pub env: List<Text>,
    /// What the caller should be told.
    pub warnings: Vec<Warning>,
    /// The cgroup's own plan.
    pub cgroup: orlop_cgroup::Plan,
    /// The root file system, as an absolute path.
    pub rootfs: String,
    /// The namespaces that init is born in.
    pub(crate) joined: Vec<Join>,
    /// Whether there are hooks for when the program runs.
    pub(crate) has_poststart: bool,
    /// Whether there are hooks for when the container is deleted.
    pub(crate) has_poststop: bool,
    /// Whether whoever asks lacks the rights of the host's root.
    pub(crate) rootless: bool,
}

impl Plan {
    /// Whether the container's orphans are the runtime's to reap.
    pub(crate) fn adopts_orphans(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Runtime(Task::AdoptOrphans)))
    }

    /// A string of a task.
    pub(crate) fn string(&self, text: Text) -> alloc::borrow::Cow<'_, str> {
        let text = self.strings.blob().text(text).unwrap_or_default();
        String::from_utf8_lossy(text.to_bytes())
    }

    /// Whether the container's mounts are in the namespace of its runtime.
    pub(crate) fn mounts_outside(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Init(Step::BindRootOutside { .. })))
    }

    /// Whether the record names more than cgroups that goes with the container.
    pub(crate) fn has_more_outside(&self) -> bool {
        let is_class = |entry: &Entry| matches!(entry.act, Act::Runtime(Task::ClassOfService { .. }));
        self.mounts_outside() || self.entries.iter().any(is_class)
    }

    /// Whether init has hooks that print to files.
    pub(crate) fn redirects_init_hooks(&self) -> bool {
        let redirected = |step: &Step| matches!(step, Step::Hook { out, err, .. } if [*out, *err] != [Slot::NONE; 2]);
        self.entries.iter().any(|entry| matches!(&entry.act, Act::Init(step) if redirected(step)))
    }

    /// Whether the process gets a terminal.
    pub(crate) fn has_console(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Init(Step::Console { .. })))
    }

    /// How many entries follow the one that waits for `start`.
    pub(crate) fn after_gate(&self) -> usize {
        let is_gate = |entry: &&Entry| matches!(entry.act, Act::Init(Step::AwaitStart { .. }));
        self.entries.iter().rev().take_while(|entry| !is_gate(entry)).count()
    }
}

/// Where descriptors stand while init runs.
pub(crate) mod slot {
    use super::Slot;

    pub(crate) const ROOT: Slot = Slot(0);
    pub(crate) const MOUNT: Slot = Slot(1);
    pub(crate) const TARGET: Slot = Slot(2);
    pub(crate) const NULL: Slot = Slot(3);
    /// The socket that `start` connects to: init is born with it.
    pub(crate) const LISTENER: Slot = Slot(4);
    /// The network namespace that the runtime makes.
    pub(crate) const NETWORK: Slot = Slot(5);
    /// A procfs that is mounted nowhere.
    pub(crate) const PROC: Slot = Slot(10);
    /// The filter's listener.
    pub(crate) const SECCOMP: Slot = Slot(11);
    /// The socket that the terminal's master goes through: init is born with it.
    pub(crate) const CONSOLE_SOCKET: Slot = Slot(6);
    pub(crate) const CONSOLE_FILE: Slot = Slot(7);
    pub(crate) const CONSOLE: Slot = Slot(8);
    /// For a further process: the pidfd of the container's init, which it is born with.
    pub(crate) const INIT: Slot = Slot(9);
    /// The socket that the runtime sends mounts through: init is born with it.
    pub(crate) const MOUNTS: Slot = Slot(24);
    /// A time namespace that the runtime has opened: init is born with it.
    pub(crate) const TIME: Slot = Slot(25);
    /// A /dev that is to be read-only once it is filled.
    pub(crate) const DEV: Slot = Slot(26);
    /// The files that take what hooks print: init is born with them.
    pub(crate) const HOOKS_OUTPUT: [Slot; 2] = [Slot(27), Slot(28)];
    /// The folder of the v1 hierarchies, until all are in it.
    pub(crate) const CGROUP_TREE: Slot = Slot(29);
    /// What is mounted at /proc, until all of it that is to be covered is.
    pub(crate) const PROC_TREE: Slot = Slot(30);
    /// What is mounted at /sys.
    pub(crate) const SYS_TREE: Slot = Slot(31);
    /// Joined namespaces, from here on.
    pub(crate) const NAMESPACES: u8 = 12;
}

/// Decides everything.
pub fn plan(config: &Config<'_>, host: &Host, options: &Options<'_>) -> Result<Plan> {
    let mut planner = Planner::new(config, host, options, (128, 8192));
    let (cgroup, args, env) = planner.whole()?;
    Ok(Plan {
        entries: planner.entries,
        strings: planner.strings,
        args,
        env,
        warnings: planner.warnings,
        cgroup,
        rootfs: planner.rootfs,
        joined: planner.joined,
        has_poststart: !config.hooks.poststart.is_empty(),
        has_poststop: !config.hooks.poststop.is_empty(),
        rootless: host.rootless,
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

/// A member of an object by its key, as a JSON pointer.
pub(crate) fn member(pointer: &str, key: &str) -> String {
    alloc::format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
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
