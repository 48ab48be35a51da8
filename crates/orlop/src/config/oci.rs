//! Configurations from the `oci-spec` crate, for programs that already have one.
//!
//! By way of JSON, so that what that crate can hold and the spec cannot say (a
//! device of type `a`, a path that is not UTF-8, a negative hugepage limit) is
//! refused with the same words as in a file.

use alloc::string::ToString;

use oci_spec::runtime::Spec;
use serde_json::Value;

use super::error::ParseError;
use super::{Config, IntoOwned};

/// What errors call the document.
const NAME: &str = "oci_spec::runtime::Spec";

/// Spellings of that crate which are not the spec's.
const SPELLINGS: &[(&str, &str)] =
    &[("SCHED_RESET_ON_FORK", "SCHED_FLAG_RESET_ON_FORK"), ("SCHED_FLAG_D_L_OVERRUN", "SCHED_FLAG_DL_OVERRUN")];

impl TryFrom<Spec> for Config<'static> {
    type Error = ParseError;

    /// Fails on values that a `config.json` cannot have; the error's pointer
    /// says which, its line and column are without meaning.
    fn try_from(spec: Spec) -> Result<Self, ParseError> {
        let mut document = serde_json::to_value(spec).map_err(|error| ParseError::from_json(NAME, "", &error))?;
        if let Some(Value::Array(flags)) = document.pointer_mut("/process/scheduler/flags") {
            for (theirs, right) in SPELLINGS {
                flags.iter_mut().filter(|flag| *flag == theirs).for_each(|flag| *flag = (*right).into());
            }
        }
        // libseccomp's name for an architecture that a filter has anyway.
        if let Some(Value::Array(archs)) = document.pointer_mut("/linux/seccomp/architectures") {
            archs.retain(|arch| arch != "SCMP_ARCH_NATIVE");
        }
        // That crate keeps them in hash sets, in another order each time.
        if let Some(Value::Object(sets)) = document.pointer_mut("/process/capabilities") {
            for set in sets.values_mut().filter_map(Value::as_array_mut) {
                set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
        }
        let text = document.to_string();
        super::parse::<Config<'_>>(NAME, text.as_bytes()).map(IntoOwned::into_owned)
    }
}
