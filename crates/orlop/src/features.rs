//! What this build does, as `orlop features` prints it: runtime-spec's features.md.

use alloc::vec::Vec;

use crate::config::Features;

/// The features document. What it says is true of this build, not of this host.
pub fn features() -> Features<'static> {
    let _: Vec<()> = Vec::new();
    Features::default()
}
