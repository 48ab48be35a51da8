//! Capability names to sets; see capabilities(7).

use alloc::format;

use orlop_init::step::Capabilities as Bits;

use super::{Origin, Planner, invalid};
use crate::config::{Str, capability_number};
use crate::error::Result;

const BOUNDING: &str = "/process/capabilities/bounding";
const EFFECTIVE: &str = "/process/capabilities/effective";
const INHERITABLE: &str = "/process/capabilities/inheritable";
const PERMITTED: &str = "/process/capabilities/permitted";
const AMBIENT: &str = "/process/capabilities/ambient";

/// Whether a name of a list is one of a set.
fn is_in(names: &[Str<'_>], index: usize, set: u64) -> bool {
    names.get(index).and_then(|name| capability_number(name)).is_some_and(|number| set & 1 << number != 0)
}

/// The first name of a list that is one of a set.
fn first_of(names: &[Str<'_>], set: u64) -> Option<usize> {
    if set == 0 { None } else { (0..names.len()).find(|&index| is_in(names, index, set)) }
}

/// The five sets of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CapabilitySet {
    /// The limit of what execve(2) may give.
    pub bounding: u64,
    /// What holds.
    pub effective: u64,
    /// What files may pass on.
    pub inheritable: u64,
    /// The limit of the effective set.
    pub permitted: u64,
    /// What survives execve(2) without file capabilities.
    pub ambient: u64,
}

impl Planner<'_> {
    /// The sets that the configuration names. Without any, a process has none.
    pub(super) fn capabilities(&mut self) -> Result<CapabilitySet> {
        let config = self.config;
        let Some(sets) = config.process.as_ref().and_then(|process| process.capabilities.as_ref()) else {
            return Ok(CapabilitySet::default());
        };
        let mut all = CapabilitySet {
            bounding: self.bits(&sets.bounding, BOUNDING),
            effective: self.bits(&sets.effective, EFFECTIVE),
            inheritable: self.bits(&sets.inheritable, INHERITABLE),
            permitted: self.bits(&sets.permitted, PERMITTED),
            ambient: self.bits(&sets.ambient, AMBIENT),
        };
        // What capset(2) refuses.
        for (names, pointer, set, limit, what) in [
            (&sets.effective, EFFECTIVE, all.effective, all.permitted, "effective and not permitted"),
            (&sets.inheritable, INHERITABLE, all.inheritable, all.bounding, "inheritable and not in the bounding set"),
        ] {
            if let Some(index) = first_of(names, set & !limit) {
                let what = format!("unable to apply caps: {} is {what}", names.get(index).map_or("", Str::as_str));
                self.fault(invalid(what, Origin::member(pointer, index)))?;
            }
        }
        // As in runc: what cannot be ambient is not, and the specification has no failure for it.
        let possible = all.permitted & all.inheritable;
        for index in (0..sets.ambient.len()).filter(|&index| is_in(&sets.ambient, index, all.ambient & !possible)) {
            let name = sets.ambient.get(index).map_or("", Str::as_str);
            let text = format!("can't raise ambient capability {name}: it is not both permitted and inheritable");
            self.warn(Origin::member(AMBIENT, index), text);
        }
        all.ambient &= possible;
        Ok(all)
    }

    /// A name that nobody knows is left out with a warning, as runc does: images are older and newer than kernels.
    fn bits(&mut self, names: &[Str<'_>], pointer: &'static str) -> u64 {
        let mut bits = 0;
        for (index, name) in names.iter().enumerate() {
            match capability_number(name) {
                Some(number) => bits |= 1 << number,
                None => self.warn(Origin::member(pointer, index), format!("ignoring unknown capability {name}")),
            }
        }
        bits
    }
}

impl CapabilitySet {
    /// As a step has it.
    pub(super) const fn step(bits: u64) -> Bits {
        Bits(bits)
    }
}
