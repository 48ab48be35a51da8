//! Device rules as a set: what a list of `linux.resources.devices` comes to once later rules have overridden
//! earlier ones. Both versions are planned from it, so that the same list means the same on either.
//!
//! The model is that of the v1 controller (`security/device_cgroup.c`): a default, and exceptions from it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::resources::{Access, DeviceKind, DeviceRule, Verdict};

/// Devices of one kind; `None` for any number. Printed and sorted as runc does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Devices {
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) kind: DeviceKind,
}

/// A default verdict and the exceptions from it.
#[derive(Clone, Debug)]
pub struct DeviceSet {
    pub(crate) default: Verdict,
    pub(crate) exceptions: BTreeMap<Devices, Access>,
    /// The exceptions as they were listed, which is how `devices.list` has them then; it may name some that are gone.
    listed: Vec<Devices>,
}

/// What they let through, in whatever order that was said.
impl PartialEq for DeviceSet {
    fn eq(&self, other: &DeviceSet) -> bool {
        self.default == other.default && self.exceptions == other.exceptions
    }
}

impl Eq for DeviceSet {}

impl Verdict {
    /// The other one.
    pub(crate) const fn not(self) -> Verdict {
        match self {
            Verdict::Allow => Verdict::Deny,
            Verdict::Deny => Verdict::Allow,
        }
    }
}

impl DeviceSet {
    /// A set without exceptions.
    pub const fn all(default: Verdict) -> DeviceSet {
        DeviceSet { default, exceptions: BTreeMap::new(), listed: Vec::new() }
    }

    /// What `rules` come to on a cgroup that denies everything. An error names a rule, by index, that would
    /// take a part out of a wildcard: v1 ignores such a rule without a word, so neither version gets it.
    pub fn from_rules(rules: &[DeviceRule]) -> Result<DeviceSet, (usize, String)> {
        let mut set = DeviceSet::all(Verdict::Deny);
        for (index, rule) in rules.iter().enumerate() {
            set.push(rule).map_err(|why| (index, why))?;
        }
        Ok(set)
    }

    fn push(&mut self, rule: &DeviceRule) -> Result<(), String> {
        if rule.kind == DeviceKind::All {
            *self = DeviceSet::all(rule.verdict);
            return Ok(());
        }
        let devices = Devices { kind: rule.kind, major: rule.major, minor: rule.minor };
        if rule.verdict != self.default {
            self.except(devices, rule.access);
            return Ok(());
        }
        let (major, minor, kind) = (rule.major, rule.minor, rule.kind);
        for (major, minor) in [(None, minor), (major, None), (None, None)] {
            let wider = Devices { kind, major, minor };
            let overlap = self.access(&wider);
            if wider != devices && !overlap.and(rule.access).is_empty() {
                let wide = rule_of(self.default.not(), wider, overlap);
                return Err(format!(
                    "device rule {rule} cannot punch a hole in the wildcard rule {wide}: cgroup v1 ignores that"
                ));
            }
        }
        if let Some(access) = self.exceptions.get_mut(&devices) {
            *access = access.without(rule.access);
            if access.is_empty() {
                self.exceptions.remove(&devices);
                self.listed.retain(|listed| *listed != devices);
            }
        }
        Ok(())
    }

    fn except(&mut self, devices: Devices, access: Access) {
        let known = self.exceptions.entry(devices).or_default();
        if known.is_empty() {
            self.listed.push(devices);
        }
        *known = known.with(access);
    }

    /// Reads `devices.list`. A list that allows everything tells nothing of its exceptions.
    pub(crate) fn from_list(list: &str) -> Option<DeviceSet> {
        let mut set = DeviceSet::all(Verdict::Deny);
        for line in list.lines() {
            let mut fields = line.split([' ', ':']);
            let kind = match fields.next()? {
                "a" => return Some(DeviceSet::all(Verdict::Allow)),
                "c" => DeviceKind::Character,
                "b" => DeviceKind::Block,
                _ => return None,
            };
            let mut number = || match fields.next()? {
                "*" => Some(None),
                n => n.parse().ok().map(Some),
            };
            let (major, minor) = (number()?, number()?);
            let access = Access::parse(fields.next()?)?;
            set.except(Devices { major, minor, kind }, access);
        }
        Some(set)
    }

    /// The rules that lead from `self` to `target` with the least disturbance: no device that both allow is
    /// refused for a moment, unless what `self` holds is not known. They come in the listed order.
    pub(crate) fn transition(&self, target: &DeviceSet) -> Vec<DeviceRule> {
        let mut rules = Vec::new();
        let nothing = DeviceSet::all(target.default);
        // devices.list does not tell the exceptions of a cgroup that allows everything.
        let known = if self.default == Verdict::Allow || self.default != target.default {
            rules.push(DeviceRule {
                verdict: target.default,
                kind: DeviceKind::All,
                major: None,
                minor: None,
                access: Access::ALL,
            });
            &nothing
        } else {
            self
        };
        let mut difference = |from: &DeviceSet, without: &DeviceSet, verdict| {
            for devices in &from.listed {
                let access = from.access(devices).without(without.access(devices));
                if !access.is_empty() {
                    rules.push(rule_of(verdict, *devices, access));
                }
            }
        };
        difference(known, target, target.default);
        difference(target, known, target.default.not());
        rules
    }

    /// The rules that make this set of whatever there is, as v1 takes them: the default for all, then the exceptions.
    pub fn rules(&self) -> Vec<DeviceRule> {
        DeviceSet::all(Verdict::Allow).transition(self)
    }

    /// What is excepted for exactly these.
    fn access(&self, devices: &Devices) -> Access {
        self.exceptions.get(devices).copied().unwrap_or_default()
    }

    /// Whether the set lets `access` through to a device.
    pub fn allows(&self, kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        // The kernel grants an access that one exception covers whole; it refuses one that any touches.
        let matching = self.exceptions.iter().filter(|(devices, _)| {
            devices.kind == kind && devices.major.is_none_or(|n| n == major) && devices.minor.is_none_or(|n| n == minor)
        });
        match self.default {
            Verdict::Deny => matching.map(|(_, a)| *a).any(|a| access.without(a).is_empty()),
            Verdict::Allow => !matching.map(|(_, a)| *a).any(|a| !access.and(a).is_empty()),
        }
    }
}

fn rule_of(verdict: Verdict, devices: Devices, access: Access) -> DeviceRule {
    DeviceRule { verdict, kind: devices.kind, major: devices.major, minor: devices.minor, access }
}

const fn allowed(kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
    DeviceRule { verdict: Verdict::Allow, kind, major, minor, access }
}

const fn character(major: u32, minor: u32) -> DeviceRule {
    allowed(DeviceKind::Character, Some(major), Some(minor), Access::ALL)
}

/// What runc lets every container use, to be appended to the configuration's rules by the caller: making
/// nodes of any number, null, random, full, tty, zero, urandom, pts/*, ptmx and net/tun.
pub const DEFAULT_DEVICES: [DeviceRule; 11] = [
    allowed(DeviceKind::Character, None, None, Access::MKNOD),
    allowed(DeviceKind::Block, None, None, Access::MKNOD),
    character(1, 3),
    character(1, 8),
    character(1, 7),
    character(5, 0),
    character(1, 5),
    character(1, 9),
    allowed(DeviceKind::Character, Some(136), None, Access::ALL),
    character(5, 2),
    character(10, 200),
];
