//! What the planner needs to know of the machine: read once, and passed as data.

use orlop_cgroup::Layout;
use orlop_sys::thread;

use crate::error::Result;

/// The facts of this host, and of the process that asks.
#[derive(Clone, Debug)]
pub struct Host {
    /// The caller's effective user id.
    pub euid: u32,
    /// Whether the caller lacks the rights of the host's root.
    pub rootless: bool,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
}

impl Host {
    /// Reads them.
    pub fn probe() -> Result<Host> {
        let cgroups = Layout::probe().map_err(crate::cgroup::from_cgroup)?;
        let euid = thread::euid();
        Ok(Host { euid, rootless: euid != 0, cgroups })
    }

    /// Whether cgroup v2 is the only hierarchy.
    pub fn is_unified(&self) -> bool {
        self.cgroups.mode == orlop_cgroup::Mode::Unified
    }
}
