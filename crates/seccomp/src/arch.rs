//! Architectures as seccomp sees them: the audit token, the size and byte order
//! of an argument, and the calls that hide behind `socketcall` and `ipc`.

use crate::table::{self, Column};

/// An architecture (an ABI, rather) a profile may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the name after SCMP_ARCH_")]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mipsel,
    Mips64,
    Mipsel64,
    Mips64n32,
    Mipsel64n32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390,
    S390x,
    Sh,
    Sheb,
}

/// `__X32_SYSCALL_BIT`: what tells an x32 call from an x86_64 one.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

const BITS_64: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
/// The MIPS n32 ABI's mark in the audit token.
const N32: u32 = 0x2000_0000;

struct Facts {
    arch: Arch,
    name: &'static str,
    /// `AUDIT_ARCH_*`, see linux/audit.h.
    token: u32,
    column: &'static Column,
}

const fn facts(arch: Arch, name: &'static str, token: u32, column: &'static Column) -> Facts {
    Facts {
        arch,
        name,
        token,
        column,
    }
}

/// In the order of [`Arch`].
static FACTS: [Facts; 23] = [
    facts(Arch::X86, "SCMP_ARCH_X86", 3 | LITTLE, &table::X86),
    facts(
        Arch::X86_64,
        "SCMP_ARCH_X86_64",
        62 | LITTLE | BITS_64,
        &table::X86_64,
    ),
    facts(
        Arch::X32,
        "SCMP_ARCH_X32",
        62 | LITTLE | BITS_64,
        &table::X32,
    ),
    facts(Arch::Arm, "SCMP_ARCH_ARM", 40 | LITTLE, &table::ARM),
    facts(
        Arch::Aarch64,
        "SCMP_ARCH_AARCH64",
        183 | LITTLE | BITS_64,
        &table::AARCH64,
    ),
    facts(
        Arch::Loongarch64,
        "SCMP_ARCH_LOONGARCH64",
        258 | LITTLE | BITS_64,
        &table::LOONGARCH64,
    ),
    facts(Arch::M68k, "SCMP_ARCH_M68K", 4, &table::M68K),
    facts(Arch::Mips, "SCMP_ARCH_MIPS", 8, &table::MIPS),
    facts(Arch::Mipsel, "SCMP_ARCH_MIPSEL", 8 | LITTLE, &table::MIPS),
    facts(
        Arch::Mips64,
        "SCMP_ARCH_MIPS64",
        8 | BITS_64,
        &table::MIPS64,
    ),
    facts(
        Arch::Mipsel64,
        "SCMP_ARCH_MIPSEL64",
        8 | BITS_64 | LITTLE,
        &table::MIPS64,
    ),
    facts(
        Arch::Mips64n32,
        "SCMP_ARCH_MIPS64N32",
        8 | BITS_64 | N32,
        &table::MIPS64N32,
    ),
    facts(
        Arch::Mipsel64n32,
        "SCMP_ARCH_MIPSEL64N32",
        8 | BITS_64 | N32 | LITTLE,
        &table::MIPS64N32,
    ),
    facts(Arch::Parisc, "SCMP_ARCH_PARISC", 15, &table::PARISC),
    facts(
        Arch::Parisc64,
        "SCMP_ARCH_PARISC64",
        15 | BITS_64,
        &table::PARISC64,
    ),
    facts(Arch::Ppc, "SCMP_ARCH_PPC", 20, &table::PPC),
    facts(Arch::Ppc64, "SCMP_ARCH_PPC64", 21 | BITS_64, &table::PPC64),
    facts(
        Arch::Ppc64le,
        "SCMP_ARCH_PPC64LE",
        21 | BITS_64 | LITTLE,
        &table::PPC64,
    ),
    facts(
        Arch::Riscv64,
        "SCMP_ARCH_RISCV64",
        243 | LITTLE | BITS_64,
        &table::RISCV64,
    ),
    facts(Arch::S390, "SCMP_ARCH_S390", 22, &table::S390),
    facts(Arch::S390x, "SCMP_ARCH_S390X", 22 | BITS_64, &table::S390X),
    facts(Arch::Sh, "SCMP_ARCH_SH", 42 | LITTLE, &table::SH),
    facts(Arch::Sheb, "SCMP_ARCH_SHEB", 42, &table::SH),
];

impl Arch {
    /// The architecture this crate is compiled for.
    pub const NATIVE: Arch = native();

    /// Every architecture.
    pub fn all() -> impl Iterator<Item = Arch> {
        FACTS.iter().map(|facts| facts.arch)
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// The name in config.json, `SCMP_ARCH_*`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Finds an architecture by its name in config.json.
    pub fn from_name(name: &str) -> Option<Arch> {
        FACTS
            .iter()
            .find(|facts| facts.name == name)
            .map(|facts| facts.arch)
    }

    /// What the kernel puts into `seccomp_data.arch` (`AUDIT_ARCH_*`). x32 has x86_64's.
    pub fn audit_token(self) -> u32 {
        self.facts().token
    }

    /// The number `seccomp_data.nr` has for a system call, if this architecture has it.
    pub fn syscall_number(self, name: &str) -> Option<u32> {
        self.number(table::find(name)?)
    }

    pub(crate) fn number(self, row: u16) -> Option<u32> {
        self.facts().column.number(row)
    }

    /// What this architecture's numbers start from: x32's bit, or MIPS's offset.
    pub(crate) fn base(self) -> u32 {
        self.facts().column.base
    }

    /// Whether a system call's arguments are compared as 64-bit values. n32 and x32 pass
    /// 32-bit values in 64-bit registers; like libseccomp we look at the lower halves only.
    pub(crate) fn has_64_bit_arguments(self) -> bool {
        self.audit_token() & BITS_64 != 0
            && !matches!(self, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32)
    }

    pub(crate) fn is_little_endian(self) -> bool {
        self.audit_token() & LITTLE != 0
    }

    /// The numbers of socketcall(2) and ipc(2) where old C libraries use them.
    pub(crate) fn multiplexers(self) -> Option<(u32, u32)> {
        match self {
            Arch::X86 | Arch::M68k | Arch::Ppc | Arch::Ppc64 | Arch::Ppc64le => Some((102, 117)),
            Arch::S390 | Arch::S390x | Arch::Sh | Arch::Sheb => Some((102, 117)),
            Arch::Mips | Arch::Mipsel => Some((4102, 4117)),
            _ => None,
        }
    }
}

/// The first argument that selects a call: of socketcall(2) (`SYS_*` of linux/net.h), and
/// 100 + that of ipc(2) (linux/ipc.h).
pub(crate) static SUBCALLS: [(u8, &str); 32] = [
    (1, "socket"),
    (2, "bind"),
    (3, "connect"),
    (4, "listen"),
    (5, "accept"),
    (6, "getsockname"),
    (7, "getpeername"),
    (8, "socketpair"),
    (9, "send"),
    (10, "recv"),
    (11, "sendto"),
    (12, "recvfrom"),
    (13, "shutdown"),
    (14, "setsockopt"),
    (15, "getsockopt"),
    (16, "sendmsg"),
    (17, "recvmsg"),
    (18, "accept4"),
    (19, "recvmmsg"),
    (20, "sendmmsg"),
    (101, "semop"),
    (102, "semget"),
    (103, "semctl"),
    (104, "semtimedop"),
    (111, "msgsnd"),
    (112, "msgrcv"),
    (113, "msgget"),
    (114, "msgctl"),
    (121, "shmat"),
    (122, "shmdt"),
    (123, "shmget"),
    (124, "shmctl"),
];

const fn native() -> Arch {
    let big = cfg!(target_endian = "big");
    if cfg!(target_arch = "x86_64") {
        if cfg!(target_pointer_width = "32") {
            Arch::X32
        } else {
            Arch::X86_64
        }
    } else if cfg!(target_arch = "x86") {
        Arch::X86
    } else if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else if cfg!(target_arch = "arm") {
        Arch::Arm
    } else if cfg!(target_arch = "riscv64") {
        Arch::Riscv64
    } else if cfg!(target_arch = "loongarch64") {
        Arch::Loongarch64
    } else if cfg!(target_arch = "powerpc64") {
        if big { Arch::Ppc64 } else { Arch::Ppc64le }
    } else if cfg!(target_arch = "powerpc") {
        Arch::Ppc
    } else if cfg!(target_arch = "s390x") {
        Arch::S390x
    } else if cfg!(target_arch = "m68k") {
        Arch::M68k
    } else if cfg!(target_arch = "mips64") {
        match (cfg!(target_pointer_width = "32"), big) {
            (true, true) => Arch::Mips64n32,
            (true, false) => Arch::Mipsel64n32,
            (false, true) => Arch::Mips64,
            (false, false) => Arch::Mipsel64,
        }
    } else if cfg!(target_arch = "mips") {
        if big { Arch::Mips } else { Arch::Mipsel }
    } else {
        panic!("no system call table for this target")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_in_the_order_of_the_enum() {
        for (index, facts) in FACTS.iter().enumerate() {
            assert_eq!(facts.arch as usize, index, "{}", facts.name);
        }
    }

    #[test]
    fn numbers_of_known_calls() {
        let table = [
            (Arch::X86_64, "execve", Some(59)),
            (Arch::X86, "execve", Some(11)),
            (Arch::X32, "execve", Some(X32_BIT + 520)),
            (Arch::X32, "read", Some(X32_BIT)),
            (Arch::Arm, "cacheflush", Some(0xf_0002)),
            (Arch::Aarch64, "open", None),
            (Arch::Mips, "close_range", Some(4436)),
            (Arch::Mips64, "close_range", Some(5436)),
            (Arch::Mips64n32, "close_range", Some(6436)),
            (Arch::S390, "setuid32", Some(213)),
            (Arch::S390x, "setuid32", None),
            (Arch::S390x, "setuid", Some(213)),
            (Arch::X86_64, "no_such_call", None),
            (Arch::X86_64, "", None),
        ];
        for (arch, name, number) in table {
            assert_eq!(arch.syscall_number(name), number, "{arch:?} {name}");
        }
    }
}
