//! The documents of the OCI runtime specification, version 1.3, for Linux:
//! configuration, state and features.
//!
//! Values borrow from the text they were read from ([`Str`], [`Map`]);
//! [`IntoOwned`] cuts them loose. Field names are the spec's in snake case, with
//! `kind` for `type`. What the spec or runc treats alike when it is absent and
//! when it is zero is a plain value; an `Option` means that there is a difference.
//!
//! Reading accepts null for whatever is optional (Go writes it), ignores unknown
//! members, and refuses the wrong type or range, a missing required member and a
//! member that is given twice, naming the place ([`ParseError`]). Whether the
//! values make sense together is the planner's question.

mod error;
mod features;
mod hooks;
mod json;
mod linux;
mod mounts;
mod object;
#[cfg(any(feature = "oci-spec", test))]
mod oci;
mod process;
mod resources;
mod seccomp;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod text;

use alloc::vec::Vec;

use serde::Deserialize;

pub use error::ParseError;
pub(crate) use error::{position, token_end};
pub use features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures, MountExtensions,
    SeccompFeatures,
};
pub use hooks::{Hook, Hooks};
pub use json::{Document, Layout};
pub use linux::{
    Device, DeviceKind, IntelRdt, Linux, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode, Namespace, NamespaceKind,
    NetDevice, Personality, PersonalityDomain, Propagation, TimeOffset,
};
pub use mounts::{IdMapping, Mount, Root};
pub use object::IntoOwned;
pub(crate) use object::{Shape, Shaped};
pub use process::{
    CAPABILITIES, Capabilities, ConsoleSize, CpuAffinity, IoPriority, IoPriorityClass, Process, Rlimit, RlimitKind,
    Scheduler, SchedulerFlag, SchedulerPolicy, User, capability_number,
};
pub use resources::{
    Access, BlockIo, Cpu, DeviceRule, DeviceRuleKind, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma,
    Resources, ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, SeccompAction, SeccompArch, SeccompFlag, SeccompOperator, SyscallArg, SyscallRule};
pub use spec::Hierarchy;
pub use state::{ContainerProcessState, ContainerState, SECCOMP_FD_NAME, State, Status};
pub use text::{Map, Str};

use object::object;

/// The version of the specification that these types follow.
pub const SPEC_VERSION: &str = "1.3.0";

object! {
    /// A container's configuration, the bundle's `config.json`.
    #[derive(Default, Eq)]
    pub struct Config<'a>: "a config object" {
        /// The version of the spec the configuration was written for.
        oci_version: Str<'a> = required "ociVersion",
        /// The container's process; may be absent until `start`.
        process: Option<Process<'a>> = optional "process",
        /// The root filesystem.
        root: Option<Root<'a>> = optional "root",
        /// The host name; empty leaves it.
        hostname: Str<'a> = optional "hostname",
        /// The NIS domain name; empty leaves it.
        domainname: Str<'a> = optional "domainname",
        /// Mounts, in order.
        mounts: Vec<Mount<'a>> = optional "mounts",
        /// Commands at events of the container's life.
        hooks: Hooks<'a> = optional "hooks",
        /// Free data for and from callers.
        annotations: Map<'a, Str<'a>> = optional "annotations",
        /// What only Linux has.
        linux: Linux<'a> = optional "linux",
    }
}

impl<'a> Config<'a> {
    /// Whether its processes are in a pid namespace with others: the runtime's, or one that is joined.
    pub(crate) fn shares_pids(&self) -> bool {
        let mut namespaces = self.linux.namespaces.iter();
        !namespaces.any(|space| space.kind == NamespaceKind::Pid && space.path.is_empty())
    }

    /// Reads a configuration, named `config.json` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        parse("config.json", text)
    }
}

/// Reads the mounts of a file that holds nothing else: an array of them.
pub fn parse_mounts(text: &[u8]) -> Result<Vec<Mount<'_>>, ParseError> {
    parse("mounts.json", text)
}

impl Document for Config<'_> {}
impl Document for ContainerProcessState<'_> {}
impl Document for ContainerState<'_> {}
impl Document for Features<'_> {}
impl Document for Process<'_> {}
impl Document for Resources<'_> {}
impl Document for State<'_> {}
impl Document for [ContainerState<'_>] {}

/// Reads a document; `name` is for errors only.
pub(crate) fn parse<'a, T: Deserialize<'a>>(name: &str, text: &'a [u8]) -> Result<T, ParseError> {
    let text = self::text(name, text)?;
    serde_json::from_str(text).map_err(|error| ParseError::from_json(name, text, &error))
}

/// A document's text: checked once and at full speed, instead of string by string.
pub(crate) fn text<'a>(name: &str, text: &'a [u8]) -> Result<&'a str, ParseError> {
    core::str::from_utf8(text).map_err(|error| ParseError::from_utf8(name, text, error.valid_up_to()))
}
