//! What only Linux has: namespaces, devices, sysctl and the like.
//!
//! Follows the spec's config-linux.md.

use alloc::vec::Vec;

use super::mounts::IdMapping;
use super::object::{object, tokens};
use super::resources::Resources;
use super::seccomp::Seccomp;
use super::text::{Map, Str};

object! {
    /// The Linux part of a configuration.
    #[derive(Default, Eq)]
    pub struct Linux<'a>: "a linux object" {
        /// User ids of a new user namespace.
        uid_mappings: Vec<IdMapping> = optional "uidMappings",
        /// Group ids of a new user namespace.
        gid_mappings: Vec<IdMapping> = optional "gidMappings",
        /// Kernel parameters to set in the container, by dotted name.
        sysctl: Map<'a, Str<'a>> = optional "sysctl",
        /// Limits of the cgroup.
        resources: Resources<'a> = optional "resources",
        /// The cgroup, in the form of the cgroup driver; empty leaves it to the runtime.
        cgroups_path: Str<'a> = optional "cgroupsPath",
        /// Namespaces to create or join; one that is not listed is inherited.
        namespaces: Vec<Namespace<'a>> = optional "namespaces",
        /// Device nodes besides the default ones.
        devices: Vec<Device<'a>> = optional "devices",
        /// Network devices to move into the container, by their name on the host.
        net_devices: Map<'a, NetDevice<'a>> = optional "netDevices",
        /// The system call filter.
        seccomp: Option<Seccomp<'a>> = optional "seccomp",
        /// Mount propagation of the root filesystem.
        rootfs_propagation: Option<Propagation> = optional "rootfsPropagation",
        /// Paths that the container cannot read.
        masked_paths: Vec<Str<'a>> = optional "maskedPaths",
        /// Paths that the container cannot write.
        readonly_paths: Vec<Str<'a>> = optional "readonlyPaths",
        /// The SELinux context of mounts; empty is none.
        mount_label: Str<'a> = optional "mountLabel",
        /// Intel Resource Director Technology; its presence makes a class or joins one.
        intel_rdt: Option<IntelRdt<'a>> = optional "intelRdt",
        /// The NUMA memory policy, see set_mempolicy(2).
        memory_policy: Option<MemoryPolicy<'a>> = optional "memoryPolicy",
        /// The execution domain, see personality(2).
        personality: Option<Personality<'a>> = optional "personality",
        /// Clock offsets of a new time namespace, by clock (`boottime`, `monotonic`).
        time_offsets: Map<'a, TimeOffset> = optional "timeOffsets",
    }
}

object! {
    /// A namespace to create or to join.
    #[derive(Eq)]
    pub struct Namespace<'a>: "a namespace object" {
        /// Which kind.
        kind: NamespaceKind = required "type",
        /// The namespace to join, absolute in the runtime's mount namespace; empty creates one.
        path: Str<'a> = optional "path",
    }
}

tokens! {
    /// A kind of namespace, see namespaces(7).
    pub enum NamespaceKind: "a namespace type" {
        /// Process ids.
        Pid = "pid",
        /// Network devices, stacks and ports.
        Network = "network",
        /// Mount points.
        Mount = "mount",
        /// System V IPC and POSIX message queues.
        Ipc = "ipc",
        /// Host name and NIS domain name.
        Uts = "uts",
        /// User and group ids.
        User = "user",
        /// The cgroup root.
        Cgroup = "cgroup",
        /// Boot and monotonic clocks.
        Time = "time",
    }
}

object! {
    /// A device node.
    #[derive(Eq)]
    pub struct Device<'a>: "a device object" {
        /// Where, in the container.
        path: Str<'a> = required "path",
        /// Which kind of node.
        kind: DeviceKind = required "type",
        /// The major number; without meaning for a FIFO.
        major: i64 = always "major",
        /// The minor number; without meaning for a FIFO.
        minor: i64 = always "minor",
        /// The permission bits; absent leaves the runtime's default.
        file_mode: Option<u32> = optional "fileMode",
        /// The owner; absent is the container's root.
        uid: Option<u32> = optional "uid",
        /// The owning group; absent is the container's root.
        gid: Option<u32> = optional "gid",
    }
}

tokens! {
    /// A kind of device node, see mknod(1).
    pub enum DeviceKind: "a device type" {
        /// Character device.
        Char = "c",
        /// Block device.
        Block = "b",
        /// Unbuffered character device, the same as `c` on Linux.
        Unbuffered = "u",
        /// FIFO.
        Fifo = "p",
    }
}

object! {
    /// A network device in the container.
    #[derive(Default, Eq)]
    pub struct NetDevice<'a>: "a network device object" {
        /// Its name in the container; empty keeps the name.
        name: Str<'a> = optional "name",
    }
}

tokens! {
    /// Mount propagation, see mount_namespaces(7). The `r` forms include submounts.
    pub enum Propagation: "a mount propagation" {
        /// Neither sends nor receives events.
        Private = "private",
        /// `private` with submounts.
        Rprivate = "rprivate",
        /// Sends and receives events.
        Shared = "shared",
        /// `shared` with submounts.
        Rshared = "rshared",
        /// Only receives events.
        Slave = "slave",
        /// `slave` with submounts.
        Rslave = "rslave",
        /// Private, and cannot be bind mounted.
        Unbindable = "unbindable",
        /// `unbindable` with submounts.
        Runbindable = "runbindable",
    }
}

object! {
    /// Intel Resource Director Technology, see the kernel's resctrl.rst.
    #[derive(Default, Eq)]
    pub struct IntelRdt<'a>: "an intelRdt object" {
        /// The class of service; empty names it after the container.
        clos_id: Str<'a> = optional "closID",
        /// Lines for the class's schemata file.
        schemata: Vec<Str<'a>> = optional "schemata",
        /// The L3 cache line of the schemata file.
        l3_cache_schema: Str<'a> = optional "l3CacheSchema",
        /// The memory bandwidth line of the schemata file.
        mem_bw_schema: Str<'a> = optional "memBwSchema",
        /// Whether the container gets a monitoring group of its own.
        enable_monitoring: bool = optional "enableMonitoring",
    }
}

object! {
    /// The NUMA memory policy, see set_mempolicy(2).
    #[derive(Eq)]
    pub struct MemoryPolicy<'a>: "a memory policy object" {
        /// The mode, one of [`MemoryPolicyMode`].
        mode: Str<'a> = always "mode",
        /// Nodes, as a list like `0-3,7`.
        nodes: Str<'a> = optional "nodes",
        /// Mode flags, each one of [`MemoryPolicyFlag`].
        flags: Vec<Str<'a>> = optional "flags",
    }
}

tokens! {
    /// A mode of set_mempolicy(2).
    pub enum MemoryPolicyMode: "a memory policy mode" {
        /// No policy of its own.
        Default = "MPOL_DEFAULT",
        /// Only the nodes.
        Bind = "MPOL_BIND",
        /// Pages in turn.
        Interleave = "MPOL_INTERLEAVE",
        /// Pages in turn, by the nodes' weights.
        WeightedInterleave = "MPOL_WEIGHTED_INTERLEAVE",
        /// One node first.
        Preferred = "MPOL_PREFERRED",
        /// Some nodes first.
        PreferredMany = "MPOL_PREFERRED_MANY",
        /// The node of the CPU.
        Local = "MPOL_LOCAL",
    }
}

tokens! {
    /// A mode flag of set_mempolicy(2).
    pub enum MemoryPolicyFlag: "a memory policy flag" {
        /// NUMA balancing for the policy's nodes.
        NumaBalancing = "MPOL_F_NUMA_BALANCING",
        /// Nodes count within the cpuset.
        RelativeNodes = "MPOL_F_RELATIVE_NODES",
        /// Nodes are not remapped with the cpuset.
        StaticNodes = "MPOL_F_STATIC_NODES",
    }
}

object! {
    /// The execution domain, see personality(2).
    #[derive(Eq)]
    pub struct Personality<'a>: "a personality object" {
        /// The domain.
        domain: PersonalityDomain = required "domain",
        /// Flags; the spec defines none.
        flags: Vec<Str<'a>> = optional "flags",
    }
}

tokens! {
    /// A domain of personality(2).
    pub enum PersonalityDomain: "a personality domain" {
        /// PER_LINUX.
        Linux = "LINUX",
        /// PER_LINUX32.
        Linux32 = "LINUX32",
    }
}

object! {
    /// The offset of a clock, see time_namespaces(7).
    #[derive(Default, Copy, Eq)]
    pub struct TimeOffset: "a time offset object" {
        /// Seconds.
        secs: i64 = optional "secs",
        /// Nanoseconds to add.
        nanosecs: u32 = optional "nanosecs",
    }
}
