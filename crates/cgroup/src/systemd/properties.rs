//! From a plan's writes to the properties that make systemd do the same, so that a reload of systemd or a change
//! of a neighbour does not undo them. runc's mapping, and `IOWeight` and `MemoryZSwapMax` as crun has them.
//!
//! systemd does not tell when the kernel refuses a value, and lacks a property for many files: every limit is
//! written directly as well, after the scope has been started, and there a refusal is an error.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::wire::Value;
use super::{Property, Unknown};
use crate::device::DeviceSet;
use crate::layout::Version;
use crate::plan::{DeviceNeed, Ignored, Origin, Plan, Tell, Write};
use crate::resources::{DeviceKind, Verdict};

/// How a file's value becomes a property's.
#[derive(Clone, Copy)]
enum How {
    /// Bytes, tasks or a weight; `max` and -1 are all ones.
    Number,
    /// A list of numbers and ranges, to bits.
    Bits,
    /// A weight on the scale of `io.bfq.weight`, 1 to 1000, to that of `IOWeight`; lines of devices have none.
    BfqWeight,
    /// A weight that may have `default` before it.
    Weight,
    /// `cpu.idle`: 1 is a weight of 0.
    Idle,
    /// `memory.oom.group`.
    OomGroup,
}

use How::{BfqWeight, Bits, Idle, Number, OomGroup, Weight};

const MAPPING: &[(&str, Version, How, &str)] = &[
    ("memory.max", Version::V2, Number, "MemoryMax"),
    ("memory.high", Version::V2, Number, "MemoryHigh"),
    ("memory.low", Version::V2, Number, "MemoryLow"),
    ("memory.min", Version::V2, Number, "MemoryMin"),
    ("memory.swap.max", Version::V2, Number, "MemorySwapMax"),
    ("memory.zswap.max", Version::V2, Number, "MemoryZSwapMax"),
    ("memory.oom.group", Version::V2, OomGroup, "OOMPolicy"),
    ("cpu.weight", Version::V2, Number, "CPUWeight"),
    ("cpu.idle", Version::V2, Idle, "CPUWeight"),
    ("cpuset.cpus", Version::V2, Bits, "AllowedCPUs"),
    ("cpuset.mems", Version::V2, Bits, "AllowedMemoryNodes"),
    ("pids.max", Version::V2, Number, "TasksMax"),
    ("io.bfq.weight", Version::V2, BfqWeight, "IOWeight"),
    ("io.weight", Version::V2, Weight, "IOWeight"),
    ("memory.limit_in_bytes", Version::V1, Number, "MemoryLimit"),
    ("cpu.shares", Version::V1, Number, "CPUShares"),
    ("cpuset.cpus", Version::V1, Bits, "AllowedCPUs"),
    ("cpuset.mems", Version::V1, Bits, "AllowedMemoryNodes"),
    ("pids.max", Version::V1, Number, "TasksMax"),
    ("blkio.weight", Version::V1, Number, "BlockIOWeight"),
];

/// Adds a property; a later one of the same name wins.
pub(super) fn set(list: &mut Vec<Property>, property: Property) {
    list.retain(|other| other.name != property.name);
    list.push(property);
}

/// The properties for the plan's limits. A quota that systemd would round is rounded in the plan's writes too, as
/// runc does, so that both say the same.
pub(super) fn limits(plan: &mut Plan) -> Vec<Property> {
    let mut list = Vec::new();
    weight_or_idle(plan);
    quota(plan, &mut list);
    for write in &plan.writes {
        let version = plan.dirs.get(write.dir).map(|dir| dir.version);
        let row = MAPPING.iter().find(|(file, of, ..)| *file == write.file && Some(*of) == version);
        if let Some((.., how, name)) = row
            && let Some(value) = value(*how, write.value.trim())
        {
            set(&mut list, property(name, value, write.origin.clone()));
        }
    }
    list
}

/// A group that is idle has no weight, and refuses one; systemd has one property for both.
fn weight_or_idle(plan: &mut Plan) {
    const WHY: &str = "unable to apply both CPUWeight and CPUIdle to systemd, ignoring CPUWeight";
    if !plan.writes.iter().any(|write| write.file == "cpu.idle" && write.value.trim() == "1") {
        return;
    }
    let is_weight = |write: &Write| write.file == "cpu.weight";
    let weights = plan.writes.iter().filter(|write| is_weight(write)).map(|write| write.origin.clone());
    plan.ignored.extend(weights.map(|origin| Ignored { origin, why: WHY, tell: Tell::Warn }));
    plan.writes.retain(|write| !is_weight(write));
}

pub(super) fn property(name: &'static str, value: Value, origin: Origin) -> Property {
    Property { name: Cow::Borrowed(name), value, origin, unknown: Unknown::Skip }
}

fn number(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

fn value(how: How, text: &str) -> Option<Value> {
    match how {
        Number => number(text).map(Value::U64),
        Bits => bits(text).map(Value::Bytes),
        BfqWeight => text.parse().ok().map(|weight| Value::U64(crate::convert::blkio_to_io_weight(weight).max(1))),
        Weight => text.trim_start_matches("default").trim().parse().ok().map(Value::U64),
        Idle => (text == "1").then_some(Value::U64(0)),
        OomGroup => match text {
            "0" => Some(Value::Text("continue".into())),
            "1" => Some(Value::Text("kill".into())),
            _ => None,
        },
    }
}

/// `0-2,5` as bits, the lowest first. Lists that the kernel would not take either are left to it.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has processors.
    const MOST: usize = 65_536;
    let mut bits: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            if let Some(byte) = bits.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// The quota: microseconds for each second, in steps of 10 ms (1 %), and the period.
fn quota(plan: &mut Plan, list: &mut Vec<Property>) {
    const DEFAULT_PERIOD: u64 = 100_000;
    let find = |file: &str| plan.writes.iter().rposition(|write| write.file == file);
    let value = |at: Option<usize>| at.and_then(|at| plan.writes.get(at)).map(|write| write.value.as_str());
    let (at, quota, period) = match find("cpu.max") {
        Some(at) => {
            let mut words = value(Some(at)).unwrap_or_default().split_whitespace();
            (Some(at), words.next(), words.next())
        }
        None => {
            let (quota, period) = (find("cpu.cfs_quota_us"), find("cpu.cfs_period_us"));
            (quota.or(period), value(quota), value(period))
        }
    };
    let Some(write) = at.and_then(|at| plan.writes.get(at)) else {
        return;
    };
    let origin = write.origin.clone();
    let given_period = period.and_then(|text| text.parse::<u64>().ok()).filter(|period| *period > 0);
    let period = given_period.unwrap_or(DEFAULT_PERIOD);
    let (a_second, rounded) = match quota.and_then(number) {
        Some(quota) if quota != u64::MAX => {
            let Some(exact) = quota.checked_mul(1_000_000).map(|n| n / period) else {
                return;
            };
            let stepped = exact.next_multiple_of(10_000);
            let rounded = (stepped != exact).then(|| stepped.saturating_mul(period) / 1_000_000);
            (stepped, rounded)
        }
        _ => (u64::MAX, None),
    };
    if let Some(period) = given_period {
        list.push(property("CPUQuotaPeriodUSec", Value::U64(period), origin.clone()));
    }
    list.push(property("CPUQuotaPerSecUSec", Value::U64(a_second), origin));
    if let (Some(rounded), Some(write)) = (rounded, at.and_then(|at| plan.writes.get_mut(at))) {
        write.value = match write.file.as_ref() {
            "cpu.max" => format!("{rounded} {period}"),
            _ => format!("{rounded}"),
        };
    }
}

/// The device rules. What systemd cannot express (exceptions from a permission, one minor number of every major
/// one) it is told to stay out of: its own rules would be put in force again beside ours when it reloads.
pub(super) fn devices(plan: &Plan) -> Vec<Property> {
    const ORIGIN: Origin = Origin::new("/linux/resources/devices");
    let Some(devices) = plan.devices.as_ref().filter(|devices| devices.need == DeviceNeed::Required) else {
        return Vec::new();
    };
    let pairs = allowed(&devices.set);
    let policy = if pairs.is_some() { "strict" } else { "auto" };
    vec![
        property("DevicePolicy", Value::Text(policy.into()), ORIGIN),
        property("DeviceAllow", Value::Pairs(pairs.unwrap_or_default()), ORIGIN),
    ]
}

fn allowed(set: &DeviceSet) -> Option<Vec<(String, String)>> {
    if set.default == Verdict::Allow {
        return None;
    }
    let pairs = set.exceptions.iter().map(|(devices, access)| {
        let (folder, group) = match devices.kind {
            DeviceKind::Character => ("char", "char-"),
            DeviceKind::Block => ("block", "block-"),
            DeviceKind::All => return None,
        };
        let path = match (devices.major, devices.minor) {
            (None, None) => format!("{group}*"),
            (None, Some(_)) => return None,
            (Some(major), None) => format!("{group}{major}"),
            (Some(major), Some(minor)) => format!("/dev/{folder}/{major}:{minor}"),
        };
        Some((path, format!("{access}")))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        for (list, want) in [
            ("0", Some(vec![1])),
            ("0-2,5", Some(vec![0b10_0111])),
            ("8", Some(vec![0, 1])),
            (" 1 , 3 ", Some(vec![0b1010])),
            ("", None),
            ("3-1", None),
            ("x", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(bits(list), want, "{list}");
        }
    }
}
