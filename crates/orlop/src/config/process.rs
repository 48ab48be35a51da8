//! The container's process: what runs, as whom, and with which rights.
//!
//! Follows the sections "Process" and "User" of the spec's config.md. The same
//! object alone is the file that `exec --process` takes.

use alloc::vec::Vec;

use super::error::ParseError;
use super::object::{object, tokens};
use super::text::Str;

object! {
    /// A process to run in the container.
    #[derive(Default, Eq)]
    pub struct Process<'a>: "a process object" {
        /// Whether stdio is a terminal of the container's devpts.
        terminal: bool = optional "terminal",
        /// The terminal's first size.
        console_size: Option<ConsoleSize> = optional "consoleSize",
        /// The user and groups; root when absent.
        user: User = always "user",
        /// The program and its arguments.
        args: Vec<Str<'a>> = optional "args",
        /// The whole environment, as `NAME=value`.
        env: Vec<Str<'a>> = optional "env",
        /// The working directory, absolute in the container.
        cwd: Str<'a> = required "cwd",
        /// The five capability sets. Absent is none for a container's process, and
        /// for an additional one those of the container.
        capabilities: Option<Capabilities<'a>> = optional "capabilities",
        /// Resource limits to set, see getrlimit(2).
        rlimits: Vec<Rlimit> = optional "rlimits",
        /// Whether to set the no_new_privs attribute, see prctl(2).
        no_new_privileges: bool = optional "noNewPrivileges",
        /// The AppArmor profile to change to; empty is none.
        apparmor_profile: Str<'a> = optional "apparmorProfile",
        /// The value for `/proc/[pid]/oom_score_adj`; absent leaves the inherited one.
        oom_score_adj: Option<i32> = optional "oomScoreAdj",
        /// The scheduling policy, see sched_setattr(2).
        scheduler: Option<Scheduler> = optional "scheduler",
        /// The SELinux label of the process; empty is none.
        selinux_label: Str<'a> = optional "selinuxLabel",
        /// The I/O priority, see ioprio_set(2).
        io_priority: Option<IoPriority> = optional "ioPriority",
        /// CPUs of an additional process, see sched_setaffinity(2).
        exec_cpu_affinity: CpuAffinity<'a> = optional "execCPUAffinity",
    }
}

impl<'a> Process<'a> {
    /// Reads a process document, named `process.json` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        super::parse("process.json", text)
    }
}

object! {
    /// A terminal's size in characters.
    #[derive(Copy, Eq)]
    pub struct ConsoleSize: "a console size object" {
        /// Rows.
        height: u64 = required "height",
        /// Columns.
        width: u64 = required "width",
    }
}

object! {
    /// The user and groups of a process, as numbers in the container's user namespace.
    #[derive(Default, Eq)]
    pub struct User: "a user object" {
        /// The user id.
        uid: u32 = always "uid",
        /// The primary group id.
        gid: u32 = always "gid",
        /// The file mode creation mask; absent leaves the runtime's default.
        umask: Option<u32> = optional "umask",
        /// Supplementary group ids.
        additional_gids: Vec<u32> = optional "additionalGids",
    }
}

object! {
    /// The capability sets of a process, see capabilities(7).
    ///
    /// Names are kept as written: one that the kernel or this library does not
    /// know is worth a warning, not an error.
    #[derive(Default, Eq)]
    pub struct Capabilities<'a>: "a capabilities object" {
        /// The limit for sets gained by execve.
        bounding: Vec<Str<'a>> = optional "bounding",
        /// What the kernel checks.
        effective: Vec<Str<'a>> = optional "effective",
        /// What files may pass on.
        inheritable: Vec<Str<'a>> = optional "inheritable",
        /// The limit for the effective set.
        permitted: Vec<Str<'a>> = optional "permitted",
        /// What an execve without file capabilities keeps.
        ambient: Vec<Str<'a>> = optional "ambient",
    }
}

/// Capability names by number, as in linux/capability.h.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The number of a capability, `None` for a name not in [`CAPABILITIES`].
pub fn capability_number(name: &str) -> Option<u8> {
    let index = CAPABILITIES.iter().position(|known| *known == name)?;
    u8::try_from(index).ok()
}

object! {
    /// One resource limit, see getrlimit(2).
    #[derive(Copy, Eq)]
    pub struct Rlimit: "an rlimit object" {
        /// Which resource.
        kind: RlimitKind = required "type",
        /// The ceiling of the soft limit, in the resource's unit.
        hard: u64 = required "hard",
        /// What the kernel enforces, in the resource's unit.
        soft: u64 = required "soft",
    }
}

tokens! {
    /// A resource of getrlimit(2). The discriminant is the kernel's number on
    /// x86, arm and riscv (asm-generic/resource.h).
    pub enum RlimitKind: "an rlimit type" {
        /// CPU time in seconds.
        Cpu = "RLIMIT_CPU",
        /// File size in bytes.
        Fsize = "RLIMIT_FSIZE",
        /// Data segment in bytes.
        Data = "RLIMIT_DATA",
        /// Stack in bytes.
        Stack = "RLIMIT_STACK",
        /// Core file in bytes.
        Core = "RLIMIT_CORE",
        /// Resident set in bytes, without effect since Linux 2.4.30.
        Rss = "RLIMIT_RSS",
        /// Processes of the user.
        Nproc = "RLIMIT_NPROC",
        /// One more than the largest descriptor.
        Nofile = "RLIMIT_NOFILE",
        /// Locked memory in bytes.
        Memlock = "RLIMIT_MEMLOCK",
        /// Address space in bytes.
        As = "RLIMIT_AS",
        /// File locks, without effect since Linux 2.4.25.
        Locks = "RLIMIT_LOCKS",
        /// Queued signals.
        Sigpending = "RLIMIT_SIGPENDING",
        /// Bytes in POSIX message queues.
        Msgqueue = "RLIMIT_MSGQUEUE",
        /// Ceiling of the nice value, as 20 minus it.
        Nice = "RLIMIT_NICE",
        /// Ceiling of the realtime priority.
        Rtprio = "RLIMIT_RTPRIO",
        /// Realtime CPU time without a blocking call, in microseconds.
        Rttime = "RLIMIT_RTTIME",
    }
}

object! {
    /// Scheduling attributes, see sched_setattr(2).
    #[derive(Eq)]
    pub struct Scheduler: "a scheduler object" {
        /// The policy.
        policy: SchedulerPolicy = required "policy",
        /// The nice value.
        nice: i32 = optional "nice",
        /// The static priority of SCHED_FIFO and SCHED_RR.
        priority: i32 = optional "priority",
        /// Flags of sched_setattr(2).
        flags: Vec<SchedulerFlag> = optional "flags",
        /// SCHED_DEADLINE: run time in a period, in nanoseconds.
        runtime: u64 = optional "runtime",
        /// SCHED_DEADLINE: relative deadline, in nanoseconds.
        deadline: u64 = optional "deadline",
        /// SCHED_DEADLINE: period, in nanoseconds.
        period: u64 = optional "period",
    }
}

tokens! {
    /// A scheduling policy, see sched(7).
    pub enum SchedulerPolicy: "a scheduling policy" {
        /// Time sharing, the default.
        Other = "SCHED_OTHER",
        /// First in, first out.
        Fifo = "SCHED_FIFO",
        /// Round robin.
        Rr = "SCHED_RR",
        /// Time sharing for batch work.
        Batch = "SCHED_BATCH",
        /// Reserved by the kernel, never implemented.
        Iso = "SCHED_ISO",
        /// Below every other process.
        Idle = "SCHED_IDLE",
        /// Earliest deadline first.
        Deadline = "SCHED_DEADLINE",
    }
}

tokens! {
    /// A flag of sched_setattr(2).
    pub enum SchedulerFlag: "a scheduler flag" {
        /// Children start with the default policy.
        ResetOnFork = "SCHED_FLAG_RESET_ON_FORK",
        /// Unused bandwidth may be reclaimed.
        Reclaim = "SCHED_FLAG_RECLAIM",
        /// SIGXCPU on overrun.
        DlOverrun = "SCHED_FLAG_DL_OVERRUN",
        /// Keep the current policy.
        KeepPolicy = "SCHED_FLAG_KEEP_POLICY",
        /// Keep the current parameters.
        KeepParams = "SCHED_FLAG_KEEP_PARAMS",
        /// Set the minimum utilization.
        UtilClampMin = "SCHED_FLAG_UTIL_CLAMP_MIN",
        /// Set the maximum utilization.
        UtilClampMax = "SCHED_FLAG_UTIL_CLAMP_MAX",
    }
}

object! {
    /// An I/O priority, see ioprio_set(2).
    #[derive(Copy, Eq)]
    pub struct IoPriority: "an I/O priority object" {
        /// The class.
        class: IoPriorityClass = required "class",
        /// The level in the class, 0 (highest) to 7.
        priority: i32 = always "priority",
    }
}

tokens! {
    /// An I/O scheduling class, see ioprio_set(2).
    pub enum IoPriorityClass: "an I/O priority class" {
        /// Before everything else.
        RealTime = "IOPRIO_CLASS_RT",
        /// By priority.
        BestEffort = "IOPRIO_CLASS_BE",
        /// Only when the disk is idle.
        Idle = "IOPRIO_CLASS_IDLE",
    }
}

object! {
    /// CPUs of an additional process, as lists like `0-3,7`; empty leaves them alone.
    #[derive(Default, Eq)]
    pub struct CpuAffinity<'a>: "a CPU affinity object" {
        /// Before the process is moved to the container's cgroup.
        initial: Str<'a> = optional "initial",
        /// After that.
        last: Str<'a> = optional "final",
    }
}
