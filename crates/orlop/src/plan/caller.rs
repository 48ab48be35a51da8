//! What the caller chooses, besides the configuration.

use super::Console;

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
