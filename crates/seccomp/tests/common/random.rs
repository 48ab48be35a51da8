//! Random profiles, the same ones in every run unless ORLOP_SEED says otherwise.

use orlop_seccomp::{Action, Arch, Arg, Operator, syscall_names};

use super::Owned;

/// xorshift64*
pub struct Random(u64);

impl Random {
    pub fn new(stream: u64) -> Random {
        let seed: u64 = match std::env::var("ORLOP_SEED") {
            Ok(seed) => seed.parse().expect("ORLOP_SEED is a number"),
            Err(_) => 1,
        };
        Random((seed << 32 | stream).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Values at which something changes.
pub const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    0x7f,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x5_0000_0005,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

const OPERATORS: [Operator; 7] = [
    Operator::NotEqual,
    Operator::Less,
    Operator::LessEqual,
    Operator::Equal,
    Operator::GreaterEqual,
    Operator::Greater,
    Operator::MaskedEqual,
];

pub fn arg(random: &mut Random, index: u32) -> Arg {
    Arg {
        index,
        op: random.one_of(&OPERATORS),
        value: random.one_of(&VALUES),
        value_two: random.one_of(&VALUES),
    }
}

/// How the conditional rules of a random profile get their actions.
#[derive(Clone, Copy, PartialEq)]
pub enum Actions {
    /// All the same.
    One,
    /// Any; then they may contradict each other.
    Any,
}

/// Groups of architectures a kernel can have at once.
pub const GROUPS: [&[Arch]; 13] = [
    &[Arch::X86_64],
    &[Arch::X86_64, Arch::X86],
    &[Arch::X86_64, Arch::X86, Arch::X32],
    &[Arch::X32, Arch::X86, Arch::X86_64],
    &[Arch::X86],
    &[Arch::Aarch64, Arch::Arm],
    &[Arch::Riscv64],
    &[Arch::Ppc64le],
    &[Arch::Ppc64, Arch::Ppc],
    &[Arch::S390x, Arch::S390],
    &[Arch::Mips64, Arch::Mips, Arch::Mips64n32],
    &[Arch::Mipsel64, Arch::Mipsel, Arch::Mipsel64n32],
    &[Arch::Parisc64, Arch::Parisc],
];

pub fn profile(random: &mut Random, archs: &[Arch], actions: Actions, arguments: usize) -> Owned {
    const ACTIONS: [Action; 7] = [
        Action::Allow,
        Action::Log,
        Action::Errno,
        Action::Trap,
        Action::Trace,
        Action::KillThread,
        Action::KillProcess,
    ];
    let names: Vec<&str> = syscall_names().collect();
    let default = random.one_of(&[
        Action::Errno,
        Action::Allow,
        Action::KillProcess,
        Action::Trap,
    ]);
    let mut profile = Owned::new(default, archs);
    let usual = random.one_of(&ACTIONS);
    for _ in 0..random.below(300) {
        let action = if random.below(5) == 0 {
            random.one_of(&ACTIONS)
        } else {
            usual
        };
        profile = profile.rule(random.one_of(&names), action, &[]);
    }
    // Few names, so that they meet each other.
    let few: Vec<&str> = (0..1 + random.below(6))
        .map(|_| random.one_of(&names))
        .collect();
    let conditional = random.one_of(&ACTIONS);
    for _ in 0..random.below(20) {
        let action = match actions {
            Actions::One => conditional,
            Actions::Any => random.one_of(&ACTIONS),
        };
        let mut args = Vec::new();
        for _ in 0..1 + random.below(3) {
            let index = random.below(arguments) as u32;
            if random.below(8) == 0 || args.iter().all(|arg: &Arg| arg.index != index) {
                args.push(arg(random, index));
            }
        }
        let errno = (action == Action::Errno && actions == Actions::Any)
            .then(|| random.below(4) as u32 + 10);
        profile = profile.rule(random.one_of(&few), action, &args);
        profile.rules.last_mut().unwrap().errno_ret = errno;
    }
    profile
}
