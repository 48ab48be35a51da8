//! What the runtime does itself. Init's part has its names in `orlop_init::step`.

use orlop_init::step::{Follow, Text};
use orlop_sys::mount::Reach;
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::HookEvent;

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
