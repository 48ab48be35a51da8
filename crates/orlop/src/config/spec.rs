//! The configuration that `spec` writes for a new bundle, the same as runc's.

use alloc::vec;
use alloc::vec::Vec;

use super::linux::{Linux, Namespace, NamespaceKind};
use super::mounts::{IdMapping, Mount, Root};
use super::process::{Capabilities, Process, Rlimit, RlimitKind, User};
use super::resources::{Access, DeviceRule, DeviceRuleKind, Resources};
use super::text::Str;
use super::{Config, SPEC_VERSION};

/// The cgroup hierarchy of the host a configuration is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// cgroup v1 or hybrid.
    Legacy,
    /// Only cgroup v2; the container gets a cgroup namespace.
    Unified,
}

/// Destination, type, source and options.
type MountRow = (&'static str, &'static str, &'static str, &'static [&'static str]);

const MOUNTS: &[MountRow] = &[
    ("/proc", "proc", "proc", &[]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
];

/// Instead of a new sysfs, which takes a network namespace of one's own.
const ROOTLESS_SYS: MountRow = ("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);

const CAPABILITIES: &[&str] = &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

const ENV: &[&str] = &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl Config<'static> {
    /// The configuration that `spec` writes.
    pub fn example(hierarchy: Hierarchy) -> Self {
        use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Uts};

        let mut kinds = vec![Pid, Network, Ipc, Uts, Mount];
        if hierarchy == Hierarchy::Unified {
            kinds.push(Cgroup);
        }
        Config {
            oci_version: Str::new(SPEC_VERSION),
            process: Some(process()),
            root: Some(Root { path: Str::new("rootfs"), readonly: true }),
            hostname: Str::new("runc"),
            mounts: MOUNTS.iter().map(mount).collect(),
            linux: Linux {
                resources: deny_devices(),
                namespaces: namespaces(&kinds),
                masked_paths: strings(MASKED),
                readonly_paths: strings(READONLY),
                ..Linux::default()
            },
            ..Config::default()
        }
    }

    /// The configuration that `spec --rootless` writes: `uid` and `gid` of the
    /// host are root in the container, and nothing is left that takes more
    /// rights than that.
    pub fn example_rootless(hierarchy: Hierarchy, uid: u32, gid: u32) -> Self {
        let mut config = Config::example(hierarchy);
        let linux = &mut config.linux;
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        linux.namespaces.extend(namespaces(&[NamespaceKind::User]));
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
        linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
        linux.resources = Resources::default();
        for entry in &mut config.mounts {
            if entry.destination == "/sys" {
                *entry = mount(&ROOTLESS_SYS);
            }
            // The one id that is mapped is 0: gid=5 of devpts has no meaning.
            entry.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        }
        config
    }
}

fn process() -> Process<'static> {
    Process {
        terminal: true,
        console_size: None,
        user: User::default(),
        args: strings(&["sh"]),
        env: strings(ENV),
        cwd: Str::new("/"),
        capabilities: Some(Capabilities {
            bounding: strings(CAPABILITIES),
            effective: strings(CAPABILITIES),
            permitted: strings(CAPABILITIES),
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: RlimitKind::Nofile, hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn deny_devices() -> Resources<'static> {
    let deny = DeviceRule { allow: false, kind: DeviceRuleKind::All, major: None, minor: None, access: Access::ALL };
    Resources { devices: vec![deny], ..Resources::default() }
}

fn mount((destination, kind, source, options): &MountRow) -> Mount<'static> {
    Mount {
        destination: Str::new(destination),
        kind: Str::new(kind),
        source: Str::new(source),
        options: strings(options),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
    }
}

fn namespaces(kinds: &[NamespaceKind]) -> Vec<Namespace<'static>> {
    kinds.iter().map(|kind| Namespace { kind: *kind, path: Str::default() }).collect()
}

fn strings(texts: &[&'static str]) -> Vec<Str<'static>> {
    texts.iter().map(|text| Str::new(text)).collect()
}
