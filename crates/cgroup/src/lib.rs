//! Control groups v1, v2 and hybrid: limits, devices, statistics, events.
//!
//! Deciding and acting are apart. [`Layout::probe`] reads what the host has mounted; [`plan`] turns
//! [`Resources`] into an ordered list of directories and [`Write`]s without touching anything; a [`Group`]
//! makes the directories, puts processes in, writes the limits, waits, and removes.
//!
//! ```no_run
//! use orlop_cgroup::{CgroupPath, Group, Joined, Layout, Limit, Options, Resources, plan};
//!
//! let layout = Layout::probe()?;
//! let path = CgroupPath::from_config(Some("/demo"), "demo")?;
//! let mut resources = Resources::default();
//! resources.pids = Some(Limit::At(20));
//! let plan = plan(&layout, &path, &resources, Options::default())?;
//! let mut group = Group::create(&plan)?;
//! group.apply(&plan)?;
//! group.adopt(1234, Joined::Nothing)?;
//! group.remove(orlop_cgroup::PATIENCE)?;
//! # Ok::<(), orlop_cgroup::Error>(())
//! ```
//!
//! Kernel documentation: `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1/`, cgroups(7). Where the OCI
//! specification leaves room, this crate does what runc does.
#![no_std]
#![cfg_attr(test, allow(clippy::print_stderr))] // tests say what they skip, and why

extern crate alloc;
#[cfg(test)]
extern crate std;

mod convert;
mod device;
mod error;
mod group;
mod io;
mod layout;
mod path;
mod plan;
mod program;
mod resources;
mod stats;
pub mod systemd;

pub use device::{DEFAULT_DEVICES, DeviceSet};
pub use error::Error;
pub use group::{Group, Joined, Oom, OomWatch, PATIENCE, is_frozen};
pub use layout::{Hierarchy, Layout, Mode, Version};
pub use path::CgroupPath;
pub use plan::{
    Controller, DeviceNeed, DevicePlan, Dir, Ignored, Manager, Missing, Need, Options, Origin, Plan, Retry, Write, plan,
};
pub use resources::{
    Access, BlockDevice, BlockIo, Cpu, DeviceKind, DeviceRule, HugePages, Limit, Memory, Network, Priority, Rdma,
    Resources, Throttle, Verdict, WeightDevice,
};
pub use stats::{
    Counter, CpuStats, CpusetStats, HugePageStats, IoEntry, IoStats, MemoryStats, MiscStats, PidsStats, Pressure,
    RdmaEntry, RdmaStats, Stall, Stats, Which,
};
