//! What a cgroup uses. The fields are those of runc's `events` records; on v2 they are filled from what
//! comes nearest, as runc does.

mod parse;
mod v1;
mod v2;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Which statistics to read: each costs two system calls a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Which(u16);

#[allow(missing_docs)] // the controllers' names
impl Which {
    pub const CPU: Which = Which(1);
    pub const CPUSET: Which = Which(2);
    pub const MEMORY: Which = Which(4);
    pub const PIDS: Which = Which(8);
    pub const IO: Which = Which(16);
    pub const HUGETLB: Which = Which(32);
    pub const RDMA: Which = Which(64);
    pub const MISC: Which = Which(128);
    /// Pressure stall information of what is selected.
    pub const PRESSURE: Which = Which(256);
    /// Limits, peaks and failures of what is selected.
    pub const LIMITS: Which = Which(512);
    /// What a monitor polls: cpu, memory, pids and io, as used now.
    pub const USAGE: Which = Which(1 | 4 | 8 | 16);
    pub const ALL: Which = Which(1023);
}

impl Which {
    /// Either set.
    pub const fn with(self, other: Which) -> Which {
        Which(self.0 | other.0)
    }

    /// In `self` and not in `other`.
    pub const fn without(self, other: Which) -> Which {
        Which(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn has(self, other: Which) -> bool {
        self.0 & other.0 == other.0
    }
}

/// All of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    /// `cpu`.
    pub cpu: CpuStats,
    /// `cpuset`, v1 only.
    pub cpuset: CpusetStats,
    /// `memory`.
    pub memory: MemoryStats,
    /// `pids`.
    pub pids: PidsStats,
    /// `blkio`.
    pub io: IoStats,
    /// `hugetlb`, by page size.
    pub huge_pages: BTreeMap<String, HugePageStats>,
    /// RDMA devices.
    pub rdma: RdmaStats,
    /// Miscellaneous resources of v2, by name.
    pub misc: BTreeMap<String, MiscStats>,
}

/// Times are nanoseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CpuStats {
    /// `usage.total`.
    pub total: u64,
    /// `usage.kernel`.
    pub kernel: u64,
    /// `usage.user`.
    pub user: u64,
    /// `usage.percpu`, v1 only.
    pub percpu: Vec<u64>,
    /// `usage.percpu_kernel`, v1 only.
    pub percpu_kernel: Vec<u64>,
    /// `usage.percpu_user`, v1 only.
    pub percpu_user: Vec<u64>,
    /// `throttling.periods`.
    pub periods: u64,
    /// `throttling.throttledPeriods`.
    pub throttled_periods: u64,
    /// `throttling.throttledTime`.
    pub throttled_time: u64,
    /// Periods with a burst.
    pub burst_periods: u64,
    /// Time above the quota in them.
    pub burst_time: u64,
    /// `psi`.
    pub pressure: Option<Pressure>,
}

/// A cpuset of v1: lists, flags and numbers as the files have them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // the files' names
pub struct CpusetStats {
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Sizes are bytes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MemoryStats {
    /// Page cache.
    pub cache: u64,
    /// Memory.
    pub usage: Counter,
    /// Memory and swap together, as v1 counts.
    pub swap: Counter,
    /// Kernel memory, v1 only.
    pub kernel: Counter,
    /// TCP buffers, v1 only.
    pub kernel_tcp: Counter,
    /// Swap alone.
    pub swap_only: Counter,
    /// `memory.stat`.
    pub raw: BTreeMap<String, u64>,
    /// `memory.events` of v2; of v1 `memory.oom_control`.
    pub events: BTreeMap<String, u64>,
    /// `psi`.
    pub pressure: Option<Pressure>,
}

/// A counter with its limit; `u64::MAX` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counter {
    /// The limit.
    pub limit: u64,
    /// What is used.
    pub usage: u64,
    /// The most that ever was.
    pub max: u64,
    /// How often the limit was hit, v1 only.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for any number.
    pub limit: u64,
}

/// Lists with an entry for each device and operation. v2 has the first two.
#[derive(Clone, PartialEq, Debug, Default)]
#[allow(missing_docs)] // runc's names
pub struct IoStats {
    pub service_bytes: Vec<IoEntry>,
    pub serviced: Vec<IoEntry>,
    pub queued: Vec<IoEntry>,
    pub service_time: Vec<IoEntry>,
    pub wait_time: Vec<IoEntry>,
    pub merged: Vec<IoEntry>,
    pub time: Vec<IoEntry>,
    pub sectors: Vec<IoEntry>,
    pub pressure: Option<Pressure>,
}

/// A number for one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, …, or empty.
    pub op: String,
    /// The number.
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HugePageStats {
    /// What is used, or reserved where the kernel counts that.
    pub usage: u64,
    /// The most that ever was, v1 only.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// RDMA devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RdmaStats {
    /// The limits; `u32::MAX` for none.
    pub limit: Vec<RdmaEntry>,
    /// What is used.
    pub current: Vec<RdmaEntry>,
}

/// One RDMA device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // the file's names
pub struct RdmaEntry {
    pub device: String,
    pub hca_handles: u32,
    pub hca_objects: u32,
}

/// One miscellaneous resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MiscStats {
    /// What is used.
    pub usage: u64,
    /// How often the limit was hit.
    pub events: u64,
}

/// Pressure stall information; see the kernel's `accounting/psi.rst`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Pressure {
    /// Some tasks stalled.
    pub some: Stall,
    /// All tasks stalled.
    pub full: Stall,
}

/// One line of pressure stall information.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

pub(crate) use v1::read as read_v1;
pub(crate) use v2::read as read_v2;
