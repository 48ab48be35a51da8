//! What the planner needs to know of the machine: read once, and passed as data.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Layout, Mode, Version};
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

    /// Which cgroup versions are in use: `unified`, `legacy` or `hybrid`.
    pub fn cgroup_mode(&self) -> &'static str {
        match self.cgroups.mode {
            Mode::Unified => "unified",
            Mode::Legacy => "legacy",
            Mode::Hybrid => "hybrid",
        }
    }

    /// Where each hierarchy is mounted, with its controllers; those of v2 are what its root offers.
    pub fn cgroup_mounts(&self) -> Vec<(String, String)> {
        let each = self.cgroups.hierarchies.iter().map(|hierarchy| {
            let controllers = match hierarchy.version {
                Version::V1 => {
                    hierarchy.controllers.iter().map(|controller| controller.as_str()).collect::<Vec<_>>().join(" ")
                }
                Version::V2 => hierarchy.offered(),
            };
            (hierarchy.mount.clone(), controllers)
        });
        each.collect()
    }

    /// Whether cgroup v2 is the only hierarchy.
    pub fn is_unified(&self) -> bool {
        self.cgroups.mode == Mode::Unified
    }
}
