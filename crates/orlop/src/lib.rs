//! OCI container runtime as a library.
//!
//! A [`Runtime`] makes [`Container`]s from [`Bundle`]s. Everything that is done to make one is decided first, in a
//! [`plan`](plan::plan), and then carried out by this process together with a small sealed init program, so that a
//! caller of any size and with any number of threads can use it: nothing of the caller is copied or changed.
//!
//! ```no_run
//! use orlop::{Bundle, CreateOptions, Runtime};
//!
//! let runtime = Runtime::new(c"/run/my-engine");
//! let bundle = Bundle::open(c"/var/lib/my-engine/web")?;
//! let mut web = runtime.run("web", &bundle, &CreateOptions::default())?;
//! let ended = web.wait()?;
//! web.delete()?;
//! # Ok::<(), orlop::Error>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod agent;
mod ahead;
mod bundle;
mod cgroup;
mod checkpoint;
pub mod config;
pub mod console;
mod container;
mod control;
mod create;
pub mod criu;
mod doctor;
mod error;
pub mod exec;
pub mod explain;
pub mod features;
mod hook;
mod host;
mod idmap;
mod launch;
pub mod lint;
mod mounts;
mod netlink;
pub mod path;
mod pid_file;
pub mod plan;
mod program;
mod resctrl;
mod restore;
mod running;
mod runtime;
mod socket;
#[cfg(feature = "std")]
mod standard;
mod state;
pub mod time;
mod trace;

pub use bundle::Bundle;
pub use checkpoint::{CheckpointOptions, PageServer};
pub use console::Console;
pub use create::CreateOptions;
pub use doctor::Finding;
pub use error::{Error, Kind, Result};
pub use exec::{ExecOptions, Executed};
pub use host::Host;
pub use mounts::read_mounts;
pub use orlop_cgroup::{Manager as CgroupManager, Oom, OomWatch, Stats, Which};

/// What [`Container::stats`] and [`Container::class_stats`] give.
pub mod stats {
    pub use crate::resctrl::{BandwidthInfo, CacheInfo, ClassStats, Occupied, Transferred};
    pub use orlop_cgroup::{
        Counter, CpuStats, CpusetStats, HugePageStats, IoEntry, IoStats, MemoryStats, MiscStats, PidsStats, Pressure,
        RdmaEntry, RdmaStats, Stall,
    };
}
pub use container::{Container, Force, Scope};
pub use orlop_cgroup::systemd::Bus;
pub use orlop_sys::process::Ended;
pub use restore::{RestoreOptions, Restored};
pub use running::Running;
pub use runtime::{Listed, Runtime};
pub use trace::Trace;
