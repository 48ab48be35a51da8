//! What a runtime supports.
//!
//! Follows the spec's features.md and features-linux.md. Everything optional
//! means "unknown" when it is absent, not "no".

use alloc::vec::Vec;

use super::error::ParseError;
use super::object::object;
use super::text::{Map, Str};

object! {
    /// The features document.
    #[derive(Default, Eq)]
    pub struct Features<'a>: "a features object" {
        /// The lowest version of the spec.
        oci_version_min: Str<'a> = required "ociVersionMin",
        /// The highest version of the spec.
        oci_version_max: Str<'a> = required "ociVersionMax",
        /// Hooks by name.
        hooks: Vec<Str<'a>> = optional "hooks",
        /// Mount options that are not the filesystem's.
        mount_options: Vec<Str<'a>> = optional "mountOptions",
        /// The Linux part.
        linux: Option<LinuxFeatures<'a>> = optional "linux",
        /// Facts outside the spec, like the runtime's version.
        annotations: Map<'a, Str<'a>> = optional "annotations",
        /// Annotations of a configuration that change what the runtime does; one that
        /// ends with a dot is a prefix.
        potentially_unsafe_config_annotations: Vec<Str<'a>> = optional "potentiallyUnsafeConfigAnnotations",
    }
}

impl<'a> Features<'a> {
    /// Reads a features document, named `features.json` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        super::parse("features.json", text)
    }
}

object! {
    /// What a runtime supports on Linux.
    #[derive(Default, Eq)]
    pub struct LinuxFeatures<'a>: "a linux features object" {
        /// Namespaces by type.
        namespaces: Vec<Str<'a>> = optional "namespaces",
        /// Capabilities by name.
        capabilities: Vec<Str<'a>> = optional "capabilities",
        /// Cgroups.
        cgroup: Option<CgroupFeatures> = optional "cgroup",
        /// System call filters.
        seccomp: Option<SeccompFeatures<'a>> = optional "seccomp",
        /// AppArmor.
        apparmor: Option<Enabled> = optional "apparmor",
        /// SELinux.
        selinux: Option<Enabled> = optional "selinux",
        /// Intel Resource Director Technology.
        intel_rdt: Option<IntelRdtFeatures> = optional "intelRdt",
        /// NUMA memory policies.
        memory_policy: Option<MemoryPolicyFeatures<'a>> = optional "memoryPolicy",
        /// Kinds of mounts beyond mount(2).
        mount_extensions: Option<MountExtensions> = optional "mountExtensions",
        /// Moving network devices.
        net_devices: Option<Enabled> = optional "netDevices",
    }
}

object! {
    /// Cgroup support.
    #[derive(Default, Copy, Eq)]
    pub struct CgroupFeatures: "a cgroup features object" {
        /// cgroup v1.
        v1: Option<bool> = optional "v1",
        /// cgroup v2.
        v2: Option<bool> = optional "v2",
        /// The system manager of systemd.
        systemd: Option<bool> = optional "systemd",
        /// A user's manager of systemd.
        systemd_user: Option<bool> = optional "systemdUser",
        /// The rdma controller.
        rdma: Option<bool> = optional "rdma",
    }
}

object! {
    /// Seccomp support.
    #[derive(Default, Eq)]
    pub struct SeccompFeatures<'a>: "a seccomp features object" {
        /// Whether there is any.
        enabled: Option<bool> = optional "enabled",
        /// Actions.
        actions: Vec<Str<'a>> = optional "actions",
        /// Operators.
        operators: Vec<Str<'a>> = optional "operators",
        /// Architectures.
        archs: Vec<Str<'a>> = optional "archs",
        /// Flags that are recognized.
        known_flags: Vec<Str<'a>> = optional "knownFlags",
        /// Flags that the kernel supports too.
        supported_flags: Vec<Str<'a>> = optional "supportedFlags",
    }
}

object! {
    /// Support that is there or not.
    #[derive(Default, Copy, Eq)]
    pub struct Enabled: "an object with enabled" {
        /// Whether it is there.
        enabled: Option<bool> = optional "enabled",
    }
}

object! {
    /// Intel Resource Director Technology support.
    #[derive(Default, Copy, Eq)]
    pub struct IntelRdtFeatures: "an intelRdt features object" {
        /// Whether there is any.
        enabled: Option<bool> = optional "enabled",
        /// The `schemata` field.
        schemata: Option<bool> = optional "schemata",
        /// The `enableMonitoring` field.
        monitoring: Option<bool> = optional "monitoring",
    }
}

object! {
    /// Memory policy support.
    #[derive(Default, Eq)]
    pub struct MemoryPolicyFeatures<'a>: "a memory policy features object" {
        /// Modes.
        modes: Vec<Str<'a>> = optional "modes",
        /// Mode flags.
        flags: Vec<Str<'a>> = optional "flags",
    }
}

object! {
    /// Kinds of mounts beyond mount(2).
    #[derive(Default, Copy, Eq)]
    pub struct MountExtensions: "a mount extensions object" {
        /// Id-mapped mounts.
        idmap: Option<Enabled> = optional "idmap",
    }
}
