//! What this build does, as `orlop features` prints it: runtime-spec's features.md.
//!
//! Every list is that of the table which implements it, so that neither can say more than the other.

use alloc::vec::Vec;

use orlop_seccomp::{Action, Arch, Flags, Operator};
use orlop_sys::thread;

use crate::config::{
    CAPABILITIES, CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, Map, MemoryPolicyFeatures,
    MemoryPolicyFlag, MemoryPolicyMode, MountExtensions, NamespaceKind, SPEC_VERSION, SeccompFeatures, Str,
};
use crate::plan::{self, HookEvent};

/// The oldest version of the spec whose configurations are understood.
const OLDEST: &str = "1.0.0";

/// The features document. What it says is true of this build, and for the flags of seccomp also of this kernel.
pub fn features() -> Features<'static> {
    let mount_options = || plan::options::supported();
    let mut annotations = Map::new();
    annotations.insert(Str::new("orlop.version"), Str::new(env!("CARGO_PKG_VERSION")));
    // What engines look for before they offer checkpoints; whether there is a criu shows when one is made.
    annotations.insert(Str::new("org.opencontainers.runc.checkpoint.enabled"), Str::new("true"));
    Features {
        oci_version_min: Str::new(OLDEST),
        oci_version_max: Str::new(SPEC_VERSION),
        hooks: list(HookEvent::ALL.iter().map(|event| event.name())),
        mount_options: list(mount_options()),
        linux: Some(LinuxFeatures {
            namespaces: sorted(NamespaceKind::ALL.iter().map(|kind| kind.name())),
            capabilities: list(CAPABILITIES.iter().copied()),
            cgroup: Some(CgroupFeatures {
                v1: Some(true),
                v2: Some(true),
                systemd: Some(crate::cgroup::HAS_SYSTEMD),
                systemd_user: Some(crate::cgroup::HAS_SYSTEMD),
                rdma: Some(true),
            }),
            seccomp: Some(seccomp()),
            apparmor: enabled(true),
            selinux: enabled(true),
            intel_rdt: Some(IntelRdtFeatures { enabled: Some(true), schemata: Some(true), monitoring: Some(true) }),
            memory_policy: Some(MemoryPolicyFeatures {
                modes: sorted(MemoryPolicyMode::NAMES.iter().copied()),
                flags: sorted(MemoryPolicyFlag::NAMES.iter().copied()),
            }),
            mount_extensions: Some(MountExtensions { idmap: enabled(mount_options().any(|name| name == "idmap")) }),
            net_devices: enabled(true),
        }),
        annotations,
        potentially_unsafe_config_annotations: list(plan::UNSAFE_ANNOTATIONS.iter().copied()),
    }
}

fn seccomp() -> SeccompFeatures<'static> {
    let names = |flags: &[(&'static str, Flags)]| list(flags.iter().map(|(name, _)| *name));
    let supported: Vec<_> = Flags::NAMES.into_iter().filter(|(_, flags)| is_supported(*flags)).collect();
    SeccompFeatures {
        enabled: Some(true),
        actions: list(Action::NAMES.iter().map(|(name, _)| *name)),
        operators: list(Operator::NAMES.iter().map(|(name, _)| *name)),
        archs: sorted(Arch::all().map(Arch::name)),
        known_flags: names(&Flags::NAMES),
        supported_flags: names(&supported),
    }
}

/// The kernel takes the wait for a listener only together with one.
fn is_supported(flags: Flags) -> bool {
    let whole = if flags == Flags::WAIT_KILLABLE_RECV { flags.with(Flags::NEW_LISTENER) } else { flags };
    thread::knows_seccomp_flags(whole.bits())
}

fn enabled(enabled: bool) -> Option<Enabled> {
    Some(Enabled { enabled: Some(enabled) })
}

fn list(names: impl Iterator<Item = &'static str>) -> Vec<Str<'static>> {
    names.map(Str::new).collect()
}

fn sorted(names: impl Iterator<Item = &'static str>) -> Vec<Str<'static>> {
    let mut names = list(names);
    names.sort_unstable();
    names
}
