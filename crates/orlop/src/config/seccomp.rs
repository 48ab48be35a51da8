//! The system call filter.
//!
//! Follows the section "Seccomp" of the spec's config-linux.md.

use alloc::vec::Vec;

use super::object::{object, tokens};
use super::text::Str;

object! {
    /// A seccomp profile.
    #[derive(Eq)]
    pub struct Seccomp<'a>: "a seccomp object" {
        /// For system calls without a rule.
        default_action: SeccompAction = required "defaultAction",
        /// The errno of the default action; absent is EPERM.
        default_errno_ret: Option<u32> = optional "defaultErrnoRet",
        /// Architectures besides the native one.
        architectures: Vec<SeccompArch> = optional "architectures",
        /// Flags of seccomp(2). Absent leaves the choice to the runtime, an empty list is none.
        flags: Option<Vec<SeccompFlag>> = optional "flags",
        /// The socket that receives the notify descriptor.
        listener_path: Str<'a> = optional "listenerPath",
        /// Data for the receiver.
        listener_metadata: Str<'a> = optional "listenerMetadata",
        /// The rules.
        syscalls: Vec<SyscallRule<'a>> = optional "syscalls",
    }
}

object! {
    /// A rule about some system calls.
    #[derive(Eq)]
    pub struct SyscallRule<'a>: "a syscall rule object" {
        /// The system calls; Go writes null for none.
        names: Vec<Str<'a>> = always "names",
        /// What happens.
        action: SeccompAction = required "action",
        /// The errno or trace message of the action; absent is EPERM.
        errno_ret: Option<u32> = optional "errnoRet",
        /// Conditions, all of which must hold.
        args: Vec<SyscallArg> = optional "args",
    }
}

object! {
    /// A condition on an argument.
    #[derive(Copy, Eq)]
    pub struct SyscallArg: "a syscall argument object" {
        /// Which argument, 0 to 5.
        index: u32 = required "index",
        /// What it is compared with, or the mask.
        value: u64 = required "value",
        /// What the masked argument is compared with.
        value_two: u64 = optional "valueTwo",
        /// How it is compared.
        op: SeccompOperator = required "op",
    }
}

tokens! {
    /// What happens to a system call, see seccomp(2).
    pub enum SeccompAction: "a seccomp action" {
        /// Kill the thread.
        Kill = "SCMP_ACT_KILL",
        /// Kill the process.
        KillProcess = "SCMP_ACT_KILL_PROCESS",
        /// Kill the thread.
        KillThread = "SCMP_ACT_KILL_THREAD",
        /// Send SIGSYS.
        Trap = "SCMP_ACT_TRAP",
        /// Fail with an errno.
        Errno = "SCMP_ACT_ERRNO",
        /// Notify the tracer.
        Trace = "SCMP_ACT_TRACE",
        /// Let it through.
        Allow = "SCMP_ACT_ALLOW",
        /// Let it through and log it.
        Log = "SCMP_ACT_LOG",
        /// Ask the listener.
        Notify = "SCMP_ACT_NOTIFY",
    }
}

tokens! {
    /// A comparison.
    pub enum SeccompOperator: "a seccomp operator" {
        /// Not equal.
        NotEqual = "SCMP_CMP_NE",
        /// Less than.
        LessThan = "SCMP_CMP_LT",
        /// Less than or equal.
        LessEqual = "SCMP_CMP_LE",
        /// Equal.
        Equal = "SCMP_CMP_EQ",
        /// Greater than or equal.
        GreaterEqual = "SCMP_CMP_GE",
        /// Greater than.
        GreaterThan = "SCMP_CMP_GT",
        /// Equal after a mask.
        MaskedEqual = "SCMP_CMP_MASKED_EQ",
    }
}

tokens! {
    /// A flag of seccomp(2).
    pub enum SeccompFlag: "a seccomp flag" {
        /// Every thread gets the filter.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
        /// Actions other than allow are logged.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// Speculative store bypass stays enabled.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        /// A call the listener has received is only interrupted by a fatal signal.
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
}

tokens! {
    /// An architecture, by libseccomp's name.
    #[allow(missing_docs)]
    pub enum SeccompArch: "a seccomp architecture" {
        X86 = "SCMP_ARCH_X86",
        X86_64 = "SCMP_ARCH_X86_64",
        X32 = "SCMP_ARCH_X32",
        Arm = "SCMP_ARCH_ARM",
        Aarch64 = "SCMP_ARCH_AARCH64",
        Loongarch64 = "SCMP_ARCH_LOONGARCH64",
        M68k = "SCMP_ARCH_M68K",
        Mips = "SCMP_ARCH_MIPS",
        Mips64 = "SCMP_ARCH_MIPS64",
        Mips64n32 = "SCMP_ARCH_MIPS64N32",
        Mipsel = "SCMP_ARCH_MIPSEL",
        Mipsel64 = "SCMP_ARCH_MIPSEL64",
        Mipsel64n32 = "SCMP_ARCH_MIPSEL64N32",
        Ppc = "SCMP_ARCH_PPC",
        Ppc64 = "SCMP_ARCH_PPC64",
        Ppc64le = "SCMP_ARCH_PPC64LE",
        S390 = "SCMP_ARCH_S390",
        S390x = "SCMP_ARCH_S390X",
        Sh = "SCMP_ARCH_SH",
        Sheb = "SCMP_ARCH_SHEB",
        Parisc = "SCMP_ARCH_PARISC",
        Parisc64 = "SCMP_ARCH_PARISC64",
        Riscv64 = "SCMP_ARCH_RISCV64",
    }
}
