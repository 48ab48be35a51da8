//! Limits of the container's cgroup.
//!
//! Follows the sections from "Control groups" on of the spec's
//! config-linux.md. The same object alone is what `update --resources` reads.
//! A limit that is absent is left as it is.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::error::ParseError;
use super::object::{Absent, IntoOwned, Shape, Shaped, object, tokens};
use super::text::{Map, Str};

object! {
    /// The limits of a cgroup.
    #[derive(Default, Eq)]
    pub struct Resources<'a>: "a resources object" {
        /// Device access rules, applied in order.
        devices: Vec<DeviceRule> = optional "devices",
        /// Memory.
        memory: Memory = optional "memory",
        /// CPU time and sets.
        cpu: Cpu<'a> = optional "cpu",
        /// Number of tasks.
        pids: Pids = optional "pids",
        /// Block I/O.
        block_io: BlockIo = optional "blockIO",
        /// Huge pages by size.
        hugepage_limits: Vec<HugepageLimit<'a>> = optional "hugepageLimits",
        /// Network classes and priorities, cgroup v1 only.
        network: Network<'a> = optional "network",
        /// RDMA by device.
        rdma: Map<'a, Rdma> = optional "rdma",
        /// cgroup v2 files and what to write to them.
        unified: Map<'a, Str<'a>> = optional "unified",
    }
}

impl<'a> Resources<'a> {
    /// Reads a resources document, named `resources` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        super::parse("resources", text)
    }

    /// Forgets the limit at a pointer below this object, without its leading `/`, and keeps the places of the
    /// others. Whether there was one to forget.
    pub(crate) fn forget(&mut self, pointer: &str) -> bool {
        let before = self.clone();
        let (part, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let (key, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let index = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        match (part, key) {
            ("memory", "swap") => self.memory.swap = None,
            ("memory", "swappiness") => self.memory.swappiness = None,
            ("memory", _) => self.memory = Memory::default(),
            ("cpu", "shares") => self.cpu.shares = None,
            ("cpu", "burst") => self.cpu.burst = None,
            ("cpu", "cpus") => self.cpu.cpus = Str::default(),
            ("cpu", "mems") => self.cpu.mems = Str::default(),
            ("cpu", _) => self.cpu = Cpu::default(),
            ("pids", _) => self.pids = Pids::default(),
            ("blockIO", "weight") => self.block_io.weight = None,
            ("blockIO", "leafWeight") => self.block_io.leaf_weight = None,
            ("blockIO", list) => {
                let io = &mut self.block_io;
                let at = index(rest.split('/').next().unwrap_or(rest));
                let throttles = match list {
                    "throttleReadBpsDevice" => &mut io.throttle_read_bps_device,
                    "throttleWriteBpsDevice" => &mut io.throttle_write_bps_device,
                    "throttleReadIOPSDevice" => &mut io.throttle_read_iops_device,
                    _ => &mut io.throttle_write_iops_device,
                };
                match (list, throttles.get_mut(at), io.weight_device.get_mut(at)) {
                    ("weightDevice", _, Some(device)) => {
                        *device = WeightDevice { major: 0, minor: 0, weight: None, leaf_weight: None };
                    }
                    // A controller that is not there is not there for any of them.
                    (_, Some(limit), _) if limit.major < 0 || limit.minor < 0 => {
                        *limit = ThrottleDevice { major: 0, minor: 0, rate: 0 };
                    }
                    _ => throttles.clear(),
                }
            }
            ("devices", at) => match self.devices.get_mut(index(at)) {
                Some(rule) => {
                    *rule = DeviceRule {
                        allow: false,
                        kind: DeviceRuleKind::All,
                        major: None,
                        minor: None,
                        access: Access::ALL,
                    };
                }
                None => self.devices.clear(),
            },
            // What cannot be limited is one error for each place; the list is short.
            ("hugepageLimits", _) => self.hugepage_limits.clear(),
            ("network", "classID") => self.network.class_id = None,
            ("network", _) => self.network.priorities.clear(),
            ("rdma", key) => self.rdma.remove(&unescaped(key)),
            ("unified", "") => self.unified = Map::new(),
            ("unified", key) => self.unified.remove(&unescaped(key)),
            _ => {}
        }
        *self != before
    }

    /// Whether nothing at all is limited.
    pub fn is_empty(&self) -> bool {
        self.is_absent()
    }
}

/// A key, from its form in a pointer.
fn unescaped(key: &str) -> alloc::string::String {
    key.replace("~1", "/").replace("~0", "~")
}

object! {
    /// A rule of the device controller.
    #[derive(Copy, Eq)]
    pub struct DeviceRule: "a device rule object" {
        /// Whether access is given or taken.
        allow: bool = required "allow",
        /// Which kind of device.
        kind: DeviceRuleKind = optional "type",
        /// The major number; absent or -1 is every one.
        major: Option<i64> = optional "major",
        /// The minor number; absent or -1 is every one.
        minor: Option<i64> = optional "minor",
        /// What kind of access.
        access: Access = optional "access",
    }
}

tokens! {
    /// The kind of device a rule is about.
    #[derive(Default)]
    pub enum DeviceRuleKind: "a device rule type" {
        /// Every device; also what an absent type means.
        #[default]
        All = "a",
        /// Character devices.
        Char = "c",
        /// Block devices.
        Block = "b",
    }
}

impl Absent for DeviceRuleKind {
    fn is_absent(&self) -> bool {
        *self == DeviceRuleKind::All
    }
}

/// Kinds of access to a device, `rwm` in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// `r`: read from the device.
    pub read: bool,
    /// `w`: write to the device.
    pub write: bool,
    /// `m`: make a node of it.
    pub mknod: bool,
}

impl Access {
    /// Every kind of access.
    pub const ALL: Access = Access { read: true, write: true, mknod: true };

    /// The letters, in the order of `rwm`.
    pub const fn name(self) -> &'static str {
        match (self.read, self.write, self.mknod) {
            (false, false, false) => "",
            (true, false, false) => "r",
            (false, true, false) => "w",
            (true, true, false) => "rw",
            (false, false, true) => "m",
            (true, false, true) => "rm",
            (false, true, true) => "wm",
            (true, true, true) => "rwm",
        }
    }

    /// Reads letters in any order. Other letters beside them are passed over, as in runc; `None` for others alone.
    pub fn from_letters(letters: &str) -> Option<Self> {
        let has = |letter| letters.contains(letter);
        let access = Access { read: has('r'), write: has('w'), mknod: has('m') };
        (letters.is_empty() || access != Access::default()).then_some(access)
    }
}

impl Absent for Access {
    fn is_absent(&self) -> bool {
        *self == Access::default()
    }
}

impl Shaped for Access {
    const SHAPE: Shape = Shape::Plain;
}

impl IntoOwned for Access {
    type Owned = Access;

    fn into_owned(self) -> Access {
        self
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Letters;

        impl Visitor<'_> for Letters {
            type Value = Access;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("letters of \"rwm\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Access, E> {
                let other = || E::invalid_value(Unexpected::Str(text), &self);
                Access::from_letters(text).ok_or_else(other)
            }
        }

        deserializer.deserialize_str(Letters)
    }
}

object! {
    /// Memory limits in bytes; -1 is none.
    #[derive(Default, Copy, Eq)]
    pub struct Memory: "a memory object" {
        /// The limit.
        limit: Option<i64> = optional "limit",
        /// The soft limit.
        reservation: Option<i64> = optional "reservation",
        /// Memory and swap together.
        swap: Option<i64> = optional "swap",
        /// Kernel memory; deprecated, gone since Linux 5.4.
        kernel: Option<i64> = optional "kernel",
        /// Kernel memory for TCP; deprecated like `kernel`.
        kernel_tcp: Option<i64> = optional "kernelTCP",
        /// How eagerly pages are swapped, 0 to 100.
        swappiness: Option<u64> = optional "swappiness",
        /// Whether processes wait instead of being killed, cgroup v1 only.
        disable_oom_killer: bool = optional "disableOOMKiller",
        /// Whether children count, cgroup v1 only.
        use_hierarchy: bool = optional "useHierarchy",
        /// Whether a limit below the current usage is an error.
        check_before_update: bool = optional "checkBeforeUpdate",
    }
}

object! {
    /// CPU limits; times are in microseconds.
    #[derive(Default, Eq)]
    pub struct Cpu<'a>: "a cpu object" {
        /// The relative weight in cgroup v1's scale, 2 to 262144.
        shares: Option<u64> = optional "shares",
        /// Time in a period; negative is no limit.
        quota: Option<i64> = optional "quota",
        /// Time that may be saved up for bursts.
        burst: Option<u64> = optional "burst",
        /// The length of a period.
        period: Option<u64> = optional "period",
        /// Realtime scheduling: time in a period.
        realtime_runtime: Option<i64> = optional "realtimeRuntime",
        /// Realtime scheduling: the length of a period.
        realtime_period: Option<u64> = optional "realtimePeriod",
        /// CPUs, as a list like `0-3,7`; empty is every one.
        cpus: Str<'a> = optional "cpus",
        /// Memory nodes, as such a list.
        mems: Str<'a> = optional "mems",
        /// 1 runs the cgroup like SCHED_IDLE, 0 as usual.
        idle: Option<i64> = optional "idle",
    }
}

object! {
    /// Limit of the number of tasks.
    #[derive(Default, Copy, Eq)]
    pub struct Pids: "a pids object" {
        /// The limit; -1 is none.
        limit: Option<i64> = optional "limit",
    }
}

object! {
    /// Block I/O weights and limits.
    #[derive(Default, Eq)]
    pub struct BlockIo: "a blockIO object" {
        /// The relative weight, 10 to 1000; 0 is not set.
        weight: Option<u16> = optional "weight",
        /// The weight against child cgroups; CFQ only, gone since Linux 5.0.
        leaf_weight: Option<u16> = optional "leafWeight",
        /// Weights by device.
        weight_device: Vec<WeightDevice> = optional "weightDevice",
        /// Read limits in bytes per second.
        throttle_read_bps_device: Vec<ThrottleDevice> = optional "throttleReadBpsDevice",
        /// Write limits in bytes per second.
        throttle_write_bps_device: Vec<ThrottleDevice> = optional "throttleWriteBpsDevice",
        /// Read limits in operations per second.
        throttle_read_iops_device: Vec<ThrottleDevice> = optional "throttleReadIOPSDevice",
        /// Write limits in operations per second.
        throttle_write_iops_device: Vec<ThrottleDevice> = optional "throttleWriteIOPSDevice",
    }
}

object! {
    /// The weight of one device.
    #[derive(Copy, Eq)]
    pub struct WeightDevice: "a weight device object" {
        /// The major number.
        major: i64 = required "major",
        /// The minor number.
        minor: i64 = required "minor",
        /// The relative weight, 10 to 1000.
        weight: Option<u16> = optional "weight",
        /// The weight against child cgroups.
        leaf_weight: Option<u16> = optional "leafWeight",
    }
}

object! {
    /// The limit of one device.
    #[derive(Copy, Eq)]
    pub struct ThrottleDevice: "a throttle device object" {
        /// The major number.
        major: i64 = required "major",
        /// The minor number.
        minor: i64 = required "minor",
        /// Bytes or operations per second; 0 is no limit.
        rate: u64 = always "rate",
    }
}

object! {
    /// Limit of one size of huge pages.
    #[derive(Eq)]
    pub struct HugepageLimit<'a>: "a hugepage limit object" {
        /// The page size as the kernel's file names have it, like `2MB`.
        page_size: Str<'a> = required "pageSize",
        /// The limit in bytes.
        limit: u64 = required "limit",
    }
}

object! {
    /// Network classes and priorities.
    #[derive(Default, Eq)]
    pub struct Network<'a>: "a network object" {
        /// The class of sent packets.
        class_id: Option<u32> = optional "classID",
        /// Priorities by interface.
        priorities: Vec<InterfacePriority<'a>> = optional "priorities",
    }
}

object! {
    /// The priority of one network interface.
    #[derive(Eq)]
    pub struct InterfacePriority<'a>: "an interface priority object" {
        /// The interface.
        name: Str<'a> = required "name",
        /// The priority.
        priority: u32 = required "priority",
    }
}

object! {
    /// Limits of one RDMA device.
    #[derive(Default, Copy, Eq)]
    pub struct Rdma: "an rdma object" {
        /// HCA handles.
        hca_handles: Option<u32> = optional "hcaHandles",
        /// HCA objects.
        hca_objects: Option<u32> = optional "hcaObjects",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in Go, and as a test of runc's writes them both.
    #[test]
    fn names_in_other_case() {
        let shares = |text: &str| Resources::parse(text.as_bytes()).map(|resources| resources.cpu.shares);
        for (text, want) in [
            (r#"{"CPU": {"Shares": 3}}"#, 3),
            (r#"{"cpu": {"shares": 2}, "CPU": {"shares": 3}}"#, 3),
            (r#"{"CPU": {"shares": 3}, "cpu": {"shares": 2}}"#, 2),
            (r#"{"cpu": {"shares": 2}, "CPU": {"cpus": "0"}}"#, 2),
            (r#"{"CPU": {"shares": 3}, "cpu": null}"#, 3),
        ] {
            assert_eq!(shares(text).unwrap(), Some(want), "{text}");
        }
        assert!(shares(r#"{"cpu": {"shares": 2}, "cpu": {"shares": 2}}"#).is_err());
        let resources = Resources::parse(br#"{"hugepageLimits": [{"pagesize": "2MB", "limit": 5}]}"#).unwrap();
        assert_eq!(resources.hugepage_limits.first().map(|limit| limit.page_size.as_str()), Some("2MB"));
    }

    #[test]
    fn letters() {
        for (text, want) in
            [("", Some("")), ("wr", Some("rw")), ("rwa", Some("rw")), ("mmm", Some("m")), ("a", None), ("R", None)]
        {
            assert_eq!(Access::from_letters(text).map(Access::name), want, "{text}");
        }
    }
}
