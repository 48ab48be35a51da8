//! What can be limited: `linux.resources` of the OCI runtime specification, as plain types.
//!
//! `None` and an empty list mean "not asked for". So does a zero wherever the kernel has no use for a zero,
//! since engines send zeros for what they do not set.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// An upper bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// None at all: `max`, and -1 in the configuration.
    Max,
    /// This much.
    At(u64),
}

impl Limit {
    /// A number of the configuration where any negative one means "no limit", as pids, quota and runtime do.
    pub const fn from_signed(value: i64) -> Limit {
        if value < 0 { Limit::Max } else { Limit::At(value as u64) }
    }

    /// The value, without the zero that means "not set".
    pub(crate) const fn unless_zero(limit: Option<Limit>) -> Option<Limit> {
        match limit {
            Some(Limit::At(0)) => None,
            other => other,
        }
    }

    /// As the files of v1 take it: -1 lifts a limit.
    pub(crate) fn v1(self) -> String {
        match self {
            Limit::Max => "-1".into(),
            Limit::At(n) => alloc::format!("{n}"),
        }
    }
}

/// As the files of v2 take it.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Max => f.write_str("max"),
            Limit::At(n) => write!(f, "{n}"),
        }
    }
}

/// Everything that a cgroup limits.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Resources {
    /// `memory`.
    pub memory: Memory,
    /// `cpu`, with its cpuset.
    pub cpu: Cpu,
    /// `pids.limit`: how many tasks there may be. 0 means 1, as systemd knows no smaller limit.
    pub pids: Option<Limit>,
    /// `blockIO`.
    pub block_io: BlockIo,
    /// `hugepageLimits`.
    pub huge_pages: Vec<HugePages>,
    /// `rdma`.
    pub rdma: Vec<Rdma>,
    /// `network`.
    pub network: Network,
    /// `devices`, in order: later rules win. `None` leaves the devices alone, which is what an update wants;
    /// `Some` of an empty list denies every device.
    pub devices: Option<Vec<DeviceRule>>,
    /// `unified`: file names of v2 and what to write there.
    pub unified: Vec<(String, String)>,
}

/// `memory`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// `limit`.
    pub limit: Option<Limit>,
    /// `swap`: memory and swap together, as v1 counts.
    pub swap: Option<Limit>,
    /// `reservation`: the soft limit of v1, `memory.low` of v2.
    pub reservation: Option<Limit>,
    /// `kernel`: no kernel of today has it.
    pub kernel: Option<Limit>,
    /// `kernelTCP`: ignored likewise.
    pub kernel_tcp: Option<Limit>,
    /// `swappiness`, 0 to 100; v1 only.
    pub swappiness: Option<u64>,
    /// `disableOOMKiller`; v1 only.
    pub disable_oom_killer: bool,
    /// `checkBeforeUpdate`: refuse a limit that the cgroup already exceeds.
    pub check_before_update: bool,
}

/// `cpu`. Times are microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cpu {
    /// `shares`, 2 to 262144 on v1; converted to a weight on v2.
    pub shares: Option<u64>,
    /// `quota` in each period.
    pub quota: Option<Limit>,
    /// `burst` above the quota.
    pub burst: Option<u64>,
    /// `period`.
    pub period: Option<u64>,
    /// `realtimeRuntime`; v1 only.
    pub realtime_runtime: Option<Limit>,
    /// `realtimePeriod`; v1 only.
    pub realtime_period: Option<u64>,
    /// `idle`: 1 for SCHED_IDLE.
    pub idle: Option<i64>,
    /// `cpus`: a list such as `0-3,7`.
    pub cpus: String,
    /// `mems`: a list of memory nodes.
    pub mems: String,
}

/// `blockIO`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockIo {
    /// `weight`, 10 to 1000.
    pub weight: Option<u16>,
    /// `leafWeight`; v1 with CFQ only.
    pub leaf_weight: Option<u16>,
    /// `weightDevice`.
    pub weight_device: Vec<WeightDevice>,
    /// `throttleReadBpsDevice`.
    pub read_bps: Vec<Throttle>,
    /// `throttleWriteBpsDevice`.
    pub write_bps: Vec<Throttle>,
    /// `throttleReadIOPSDevice`.
    pub read_iops: Vec<Throttle>,
    /// `throttleWriteIOPSDevice`.
    pub write_iops: Vec<Throttle>,
}

/// A block device's number, printed as `major:minor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockDevice {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for BlockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The weight of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightDevice {
    /// Which.
    pub device: BlockDevice,
    /// `weight`, 10 to 1000.
    pub weight: Option<u16>,
    /// `leafWeight`; v1 with CFQ only.
    pub leaf_weight: Option<u16>,
}

/// The rate of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Throttle {
    /// Which.
    pub device: BlockDevice,
    /// Bytes or operations a second; 0 lifts the limit.
    pub rate: u64,
}

/// The limit of one huge page size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HugePages {
    /// `pageSize` as the file names spell it: `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// The limits of one RDMA device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rdma {
    /// The device's name, such as `mlx5_0`.
    pub device: String,
    /// `hcaHandles`.
    pub handles: Option<u32>,
    /// `hcaObjects`.
    pub objects: Option<u32>,
}

/// `network`; v1 only.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Network {
    /// `classID` for net_cls.
    pub class_id: Option<u32>,
    /// `priorities` for net_prio.
    pub priorities: Vec<Priority>,
}

/// The priority of traffic through one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priority {
    /// The interface.
    pub name: String,
    /// The priority.
    pub priority: u32,
}

/// Which kind of device node a rule means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeviceKind {
    /// `a`: every device; the rule's numbers and access do not count.
    All,
    /// `c`.
    Character,
    /// `b`.
    Block,
}

/// What may be done with a device: `r`, `w` and `m`(knod).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Access(u8);

impl Access {
    /// Nothing.
    pub const NONE: Access = Access(0);
    /// Make nodes. The numbers are those of `BPF_DEVCG_ACC_*`.
    pub const MKNOD: Access = Access(1);
    /// Read.
    pub const READ: Access = Access(2);
    /// Write.
    pub const WRITE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    /// Reads `rwm` letters; `None` for any other letter, and for none at all.
    pub fn parse(text: &str) -> Option<Access> {
        let bits = text.bytes().try_fold(0, |bits, letter| match letter {
            b'r' => Some(bits | Access::READ.0),
            b'w' => Some(bits | Access::WRITE.0),
            b'm' => Some(bits | Access::MKNOD.0),
            _ => None,
        })?;
        (bits != 0).then_some(Access(bits))
    }

    /// The bits, as the kernel numbers them.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits of `BPF_DEVCG_ACC_*`.
    pub const fn from_bits(bits: u8) -> Access {
        Access(bits & Access::ALL.0)
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In either.
    pub const fn with(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// In `self` and not in `other`.
    pub const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// In both.
    pub const fn and(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if !self.and(bit).is_empty() {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// What a rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The access is granted.
    Allow,
    /// The access is refused with EPERM.
    Deny,
}

/// One line of `devices`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceRule {
    /// What it says.
    pub verdict: Verdict,
    /// For which kind of node.
    pub kind: DeviceKind,
    /// Major number; `None` for any.
    pub major: Option<u32>,
    /// Minor number; `None` for any.
    pub minor: Option<u32>,
    /// Which accesses it is about.
    pub access: Access,
}

/// As `devices.allow` and `devices.deny` take it.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => "a",
            DeviceKind::Character => "c",
            DeviceKind::Block => "b",
        };
        let number = |f: &mut fmt::Formatter<'_>, n: Option<u32>| match n {
            Some(n) => write!(f, "{n}"),
            None => f.write_str("*"),
        };
        write!(f, "{kind} ")?;
        number(f, self.major)?;
        f.write_str(":")?;
        number(f, self.minor)?;
        write!(f, " {}", self.access)
    }
}
