//! Where descriptors stand while init runs.

use orlop_init::step::Slot;

pub(crate) const ROOT: Slot = Slot(0);
pub(crate) const MOUNT: Slot = Slot(1);
pub(crate) const TARGET: Slot = Slot(2);
pub(crate) const NULL: Slot = Slot(3);
/// The socket that `start` connects to: init is born with it.
pub(crate) const LISTENER: Slot = Slot(4);
/// The network namespace that the runtime makes.
pub(crate) const NETWORK: Slot = Slot(5);
/// The socket that the terminal's master goes through: init is born with it.
pub(crate) const CONSOLE_SOCKET: Slot = Slot(6);
pub(crate) const CONSOLE_FILE: Slot = Slot(7);
pub(crate) const CONSOLE: Slot = Slot(8);
/// For a further process: the pidfd of the container's init, which it is born with.
pub(crate) const INIT: Slot = Slot(9);
/// A procfs that is mounted nowhere.
pub(crate) const PROC: Slot = Slot(10);
/// The filter's listener.
pub(crate) const SECCOMP: Slot = Slot(11);
/// Joined namespaces, from here on.
pub(crate) const NAMESPACES: u8 = 12;
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
