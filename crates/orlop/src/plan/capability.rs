//! Capability names to sets; see capabilities(7).

use orlop_init::step::Capabilities as Bits;

use super::{Origin, Planner};
use crate::config::{Str, capability_number};

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
    pub(super) fn capabilities(&mut self) -> CapabilitySet {
        let config = self.config;
        let Some(sets) = config.process.as_ref().and_then(|process| process.capabilities.as_ref()) else {
            return CapabilitySet::default();
        };
        let mut set = CapabilitySet {
            bounding: self.bits(&sets.bounding, "/process/capabilities/bounding"),
            effective: self.bits(&sets.effective, "/process/capabilities/effective"),
            inheritable: self.bits(&sets.inheritable, "/process/capabilities/inheritable"),
            permitted: self.bits(&sets.permitted, "/process/capabilities/permitted"),
            ambient: self.bits(&sets.ambient, "/process/capabilities/ambient"),
        };
        let possible = set.inheritable & set.permitted;
        if set.ambient & !possible != 0 {
            // Buildah asks for it with every RUN and names nothing inheritable; runc goes on, so that it runs.
            let why = "left out what is not both inheritable and permitted, which the kernel refuses: capabilities(7)";
            self.debug(Origin::field("/process/capabilities/ambient"), alloc::string::String::from(why));
            set.ambient &= possible;
        }
        set
    }

    /// A name that nobody knows is left out with a warning, as runc does: images are older and newer than kernels.
    fn bits(&mut self, names: &[Str<'_>], pointer: &'static str) -> u64 {
        let mut bits = 0;
        for (index, name) in names.iter().enumerate() {
            match capability_number(name) {
                Some(number) => bits |= 1 << number,
                None => self.warn(Origin::member(pointer, index), alloc::format!("ignoring unknown capability {name}")),
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
