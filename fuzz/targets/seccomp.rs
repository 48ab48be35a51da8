//! Bytes to a profile, and that to a program: the kernel's checker would take it, and it comes to an end for every call.
#![no_main]

#[path = "../../crates/seccomp/tests/common/bpf.rs"]
#[allow(dead_code, unreachable_pub)]
mod bpf;

use libfuzzer_sys::fuzz_target;
use orlop_seccomp::{Action, Arch, Arg, Flags, Operator, Options, Profile, Rule, compile, syscall_names};

/// The input, byte by byte; zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.next()) % of.len()]
    }

    fn number(&mut self) -> u64 {
        match self.next() % 4 {
            0 => self.next().into(),
            1 => u64::from_le_bytes(std::array::from_fn(|_| self.next())),
            2 => u64::MAX - u64::from(self.next()),
            _ => u64::from(self.next()) << (self.next() % 64),
        }
    }
}

const ARCHS: [&str; 12] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let names: Vec<&str> = syscall_names().collect();
    let actions: Vec<Action> = Action::NAMES.iter().map(|(_, action)| *action).collect();
    let archs: Vec<Arch> = ARCHS.iter().filter_map(|name| Arch::from_name(name)).collect();
    let errno = |bytes: &mut Bytes<'_>| (bytes.next() % 4 == 0).then(|| bytes.number() as u32);
    let default_action = bytes.one_of(&actions);
    let default_errno_ret = errno(&mut bytes);
    let architectures: Vec<Arch> = (0..bytes.next() % 4).map(|_| bytes.one_of(&archs)).collect();
    let native = bytes.one_of(&archs);
    let mut rules = Vec::new();
    while !bytes.0.is_empty() && rules.len() < 64 {
        let action = bytes.one_of(&actions);
        let errno_ret = errno(&mut bytes);
        let of_rule: Vec<&str> = (0..bytes.next() % 8)
            .map(|_| names[(usize::from(bytes.next()) << 8 | usize::from(bytes.next())) % names.len()])
            .collect();
        let args: Vec<Arg> = (0..bytes.next() % 4)
            .map(|_| Arg {
                index: u32::from(bytes.next() % 7),
                op: Operator::from_name(bytes.one_of(&OPERATORS)).expect("it is one"),
                value: bytes.number(),
                value_two: bytes.number(),
            })
            .collect();
        rules.push((of_rule, action, errno_ret, args));
    }
    let rules: Vec<Rule<'_, &str>> = rules
        .iter()
        .map(|(names, action, errno_ret, args)| Rule { names, action: *action, errno_ret: *errno_ret, args })
        .collect();
    let profile =
        Profile { default_action, default_errno_ret, architectures: &architectures, flags: Flags::NONE, rules: &rules };
    let Ok(program) = compile(&profile, &Options { native, ..Options::default() }) else { return };
    assert!((1..=4096).contains(&program.instructions.len()));
    for arch in architectures.iter().chain([&native]) {
        for _ in 0..16 {
            // x32's calls have a bit of their own, mips's three ABIs their thousands.
            let base = bytes.one_of(&[0, 0x4000_0000, 4000, 5000, 6000]);
            let number = (bytes.number() as u32 % 600) | base;
            let call = bpf::Data::new(number, arch.audit_token(), std::array::from_fn(|_| bytes.number()));
            // The interpreter panics where the kernel would refuse the program.
            bpf::run(&program.instructions, &call);
        }
    }
});
