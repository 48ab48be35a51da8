//! What the planner needs to know of the machine: read once, and passed as data.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Layout, Mode, Version};
use orlop_sys::fs::{self, AtFlags};
use orlop_sys::{CWD, Errno, credentials};

use crate::error::{Error, Result};

/// The facts of this host, and of the process that asks.
#[derive(Clone, Debug)]
pub struct Host {
    /// The caller's effective user id.
    pub euid: u32,
    /// The caller's effective group id.
    pub egid: u32,
    /// Whether the caller lacks the rights of the host's root: another user, or root of a user namespace.
    pub rootless: bool,
    /// The cgroup hierarchies.
    pub cgroups: Layout,
}

/// The kernel gives its own user namespace this inode number (PROC_USER_INIT_INO).
fn in_user_namespace() -> Result<bool> {
    const FIRST: u64 = 0xefff_fffd;
    match fs::stat_at(CWD, c"/proc/self/ns/user", AtFlags::NONE) {
        Ok(stat) => Ok(stat.ino != FIRST),
        // A kernel without them.
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::system("statx", "/proc/self/ns/user", errno)),
    }
}

impl Host {
    /// Reads them.
    pub fn probe() -> Result<Host> {
        Host::caller(Layout::probe().map_err(crate::cgroup::from_cgroup)?)
    }

    /// Reads those of the process that asks.
    pub(crate) fn caller(cgroups: Layout) -> Result<Host> {
        let euid = credentials::euid();
        let rootless = euid != 0 || in_user_namespace()?;
        Ok(Host { euid, egid: credentials::egid(), rootless, cgroups })
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
