//! What the compiler promises, checked against the profile's own words: no library needed.

mod common;

use common::bpf::{self, Data};
use common::random::{self, Actions, GROUPS, Random, VALUES};
use common::{Owned, by_name, engine, equal, plain, reference, value, verdict};
use orlop_seccomp::{Action, Arch, Arg, Error, NewerCalls, Operator, Options, syscall_names};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_THREAD: u32 = 0;

fn arg(index: u32, op: Operator, value: u64, value_two: u64) -> Arg {
    Arg { index, op, value, value_two }
}

#[test]
fn random_profiles_mean_what_their_rules_say() {
    for round in 0..60 {
        let mut random = Random::new(5000 + round);
        let group = random.one_of(&GROUPS);
        let actions = random.one_of(&[Actions::One, Actions::Any]);
        let mut profile = random::profile(&mut random, group, actions, 6);
        profile.rules.sort_by_key(|rule| rule.args.len());
        let options = Options { native: group[0], ..plain() };
        let program = match profile.compile(&options) {
            Ok(program) => program,
            Err(Error::Conflict { .. }) if actions == Actions::Any => continue,
            Err(error) => panic!("{error}: {profile:#x?}"),
        };
        bpf::check(&program.instructions);
        for arch in group {
            let token = arch.audit_token();
            for nr in bpf::numbers(group) {
                if reference::arch_of(group, token, nr) != Some(*arch) {
                    continue;
                }
                for _ in 0..12 {
                    let args = std::array::from_fn(|_| random.one_of(&VALUES));
                    let outcome = bpf::run(&program.instructions, &Data::new(nr, token, args));
                    let verdicts = reference::verdicts(&profile, *arch, nr, args);
                    assert!(
                        reference::is_multiplexer(*arch, nr) || verdicts.contains(&outcome.value),
                        "{arch:?} nr {nr:#x} args {args:x?}: {} of {verdicts:x?} in {profile:#x?}",
                        reference::describe(outcome.value)
                    );
                    if outcome.constant {
                        break;
                    }
                }
            }
        }
    }
}

/// The kernel notes at load time which calls are always allowed, by running the filter with
/// nothing but number and architecture (seccomp_is_const_allow in kernel/seccomp.c). These
/// never run the filter again.
#[test]
fn the_kernels_bitmap_sees_every_unconditional_call() {
    let profile = engine();
    let program = profile.compile(&Options::default()).unwrap();
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for name in syscall_names() {
            let Some(nr) = arch.syscall_number(name) else {
                continue;
            };
            let data = Data::new(nr, arch.audit_token(), [7; 6]);
            let outcome = bpf::run(&program.instructions, &data);
            let conditional =
                profile.rules.iter().any(|rule| !rule.args.is_empty() && rule.names.iter().any(|n| n == name));
            assert_eq!(outcome.constant, !conditional, "{arch:?} {name}");
            assert!(outcome.steps < 24, "{arch:?} {name}: {} instructions", outcome.steps);
        }
    }
}

#[test]
fn the_native_architecture_comes_first() {
    for native in Arch::all() {
        let archs = [Arch::X86, native, Arch::Arm];
        let profile = Owned::new(Action::Errno, &archs).rule("read", Action::Allow, &[]);
        let program = profile.compile(&Options { native, ..plain() }).unwrap();
        let first = program.instructions[..2].iter().map(|i| (i.code, i.k));
        assert_eq!(first.collect::<Vec<_>>(), [(0x20, 4), (0x15, native.audit_token())]);
    }
}

#[test]
fn operators() {
    let hi = 1 << 32;
    let table: [(Arg, &[u64], &[u64]); 10] = [
        (arg(0, Operator::NotEqual, 5, 0), &[4, 6, 5 + hi, 0], &[5]),
        (arg(0, Operator::Less, 5 + hi, 0), &[0, 4 + hi, 0xffff_ffff], &[5 + hi, 2 * hi, 6 + hi]),
        (arg(0, Operator::LessEqual, 5 + hi, 0), &[5 + hi, 6, 0], &[6 + hi, 2 * hi]),
        (equal(0, 5), &[5], &[5 + hi, 4, 6]),
        (arg(0, Operator::GreaterEqual, 5 + hi, 0), &[5 + hi, 2 * hi], &[4 + hi, 6, 0xffff_ffff]),
        (arg(0, Operator::Greater, 5 + hi, 0), &[6 + hi, 2 * hi], &[5 + hi, 6, 0xffff_ffff]),
        (arg(0, Operator::MaskedEqual, 0xf0, 0x20), &[0x20, 0x2f, hi + 0x120], &[0x30, 0]),
        (arg(0, Operator::MaskedEqual, 0xf0, 0x2f), &[0x20, 0x2f], &[0x30, 0]),
        (arg(0, Operator::MaskedEqual, 0x7e02_0000, 0), &[0, 0x11, hi], &[0x0002_0000, 0x1000_0000]),
        (arg(0, Operator::MaskedEqual, hi, hi), &[hi, 3 * hi, hi + 9], &[0, 2 * hi, 9]),
    ];
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::S390x, Arch::Ppc64, Arch::Mips64] {
        for (arg, allowed, refused) in &table {
            let profile = Owned::new(Action::Errno, &[arch]).rule("close", Action::Allow, &[*arg]);
            for (values, wanted) in [(allowed, ALLOW), (refused, EPERM)] {
                for value in *values {
                    let got = by_name(&profile, arch, "close", [*value, 0, 0, 0, 0, 0]);
                    assert_eq!(got, wanted, "{arch:?} {arg:x?} {value:#x}");
                }
            }
        }
    }
}

/// 32-bit architectures compare lower halves, on both sides.
#[test]
fn narrow_arguments() {
    for arch in [Arch::X86, Arch::X32, Arch::Arm, Arch::S390, Arch::Mips, Arch::Mips64n32] {
        let minus_one = equal(0, u64::MAX);
        let profile = Owned::new(Action::Errno, &[arch]).rule("close", Action::Allow, &[minus_one]);
        for (value, wanted) in [(u64::MAX, ALLOW), (0xffff_ffff, ALLOW), (0xffff_fffe, EPERM)] {
            assert_eq!(by_name(&profile, arch, "close", [value; 6]), wanted, "{arch:?} {value:#x}");
        }
    }
}

#[test]
fn several_conditions() {
    let both = Owned::new(Action::Errno, &[]).rule("openat", Action::Allow, &[equal(0, 1), equal(2, 3)]);
    let same = Owned::new(Action::Errno, &[]).rule("openat", Action::Allow, &[equal(0, 1), equal(0, 2), equal(2, 3)]);
    let two = Owned::new(Action::Errno, &[]).rule("openat", Action::Allow, &[equal(0, 1)]).rule(
        "openat",
        Action::Allow,
        &[equal(2, 3)],
    );
    let table = [
        ([1, 0, 3], ALLOW, ALLOW, ALLOW),
        ([1, 0, 0], EPERM, ALLOW, ALLOW),
        ([2, 0, 0], EPERM, ALLOW, EPERM),
        ([0, 0, 3], EPERM, ALLOW, ALLOW),
        ([0, 0, 0], EPERM, EPERM, EPERM),
    ];
    for ([a, b, c], and, repeated, or) in table {
        for (profile, wanted) in [(&both, and), (&same, repeated), (&two, or)] {
            assert_eq!(by_name(profile, Arch::NATIVE, "openat", [a, b, c, 0, 0, 0]), wanted, "{a} {c}");
        }
    }
}

#[test]
fn precedence() {
    let new = || Owned::new(Action::Errno, &[]);
    let allow_if = |profile: Owned| profile.rule("read", Action::Allow, &[equal(0, 1)]);
    let table = [
        // An unconditional rule wins, wherever it is.
        (allow_if(new()).rule("read", Action::Trap, &[]), value(Action::Trap, None)),
        (allow_if(new().rule("read", Action::Trap, &[])), value(Action::Trap, None)),
        // Of two such, the first.
        (new().rule("read", Action::Log, &[]).rule("read", Action::Trap, &[]), value(Action::Log, None)),
        // The default action as a rule says nothing.
        (allow_if(new().rule("read", Action::Errno, &[])), ALLOW),
        (allow_if(new().errno_rule("read", 1, &[])), ALLOW),
        (allow_if(new().errno_rule("read", 2, &[])), value(Action::Errno, Some(2))),
        // A rule that asks for more than an earlier one has no effect.
        (allow_if(new()).rule("read", Action::Trap, &[equal(0, 1), equal(1, 1)]), ALLOW),
        // Equality is looked at before bounds.
        (allow_if(new().rule("read", Action::Trap, &[arg(0, Operator::Less, 9, 0)])), ALLOW),
    ];
    for (profile, wanted) in table {
        assert_eq!(by_name(&profile, Arch::NATIVE, "read", [1; 6]), wanted, "{profile:#?}");
    }
}

#[test]
fn old_multiplexers_follow_their_calls() {
    let profile = Owned::new(Action::Errno, &[Arch::X86])
        .rule("socket", Action::Allow, &[arg(0, Operator::NotEqual, 40, 0)])
        .rule("shmget", Action::Allow, &[]);
    let table = [
        ("socket", [2, 1, 0], ALLOW),
        ("socket", [40, 1, 0], EPERM),
        // The arguments are behind a pointer, so the condition cannot be kept.
        ("socketcall", [1, 40, 40], ALLOW),
        ("socketcall", [2, 0, 0], EPERM),
        ("ipc", [23, 0, 0], ALLOW),
        ("ipc", [21, 0, 0], EPERM),
        ("shmget", [0, 0, 0], ALLOW),
    ];
    for (name, [a, b, c], wanted) in table {
        assert_eq!(by_name(&profile, Arch::X86, name, [a, b, c, 0, 0, 0]), wanted, "{name} {a}");
    }
}

/// Which calls are newer than the profile, by number: (architecture, number, verdict).
#[test]
fn newer_calls_do_not_exist() {
    let x32 = 0x4000_0000;
    let profile = |default, archs: &[Arch]| {
        Owned::new(default, archs).rule("openat2", Action::Allow, &[]).rule("dup", Action::Errno, &[])
    };
    let errno = |archs: &[Arch]| profile(Action::Errno, archs);
    let all = errno(&[Arch::X86, Arch::X32]);
    let cacheflush = errno(&[Arch::Aarch64, Arch::Arm]).rule("cacheflush", Action::Allow, &[]);
    let only_default = Owned::new(Action::Errno, &[]).rule("dup", Action::Errno, &[]);
    let none = Owned::new(Action::Errno, &[]);
    let table = [
        (&all, Arch::X86_64, 437, ALLOW),
        (&all, Arch::X86_64, 436, EPERM),
        (&all, Arch::X86_64, 438, ENOSYS),
        (&all, Arch::X86_64, 520, ENOSYS),
        (&all, Arch::X86, 438, ENOSYS),
        (&all, Arch::X86, u32::MAX, ENOSYS),
        (&all, Arch::X86_64, u32::MAX, ENOSYS),
        (&all, Arch::X32, x32 + 437, ALLOW),
        (&all, Arch::X32, x32 + 438, ENOSYS),
        (&all, Arch::X32, x32 + 511, ENOSYS),
        // x32's own calls are numbered above, and old.
        (&all, Arch::X32, x32 + 520, EPERM),
        (&all, Arch::X32, x32 + 548, ENOSYS),
        (&errno(&[]), Arch::X86_64, x32 + 437, KILL_THREAD),
        (&errno(&[]), Arch::X86_64, u32::MAX, ENOSYS),
        (&cacheflush, Arch::Arm, 438, ENOSYS),
        (&cacheflush, Arch::Arm, 0xf_0001, EPERM),
        (&cacheflush, Arch::Arm, 0xf_0002, ALLOW),
        (&cacheflush, Arch::Arm, 0xf_0003, ENOSYS),
        (&cacheflush, Arch::Aarch64, 438, ENOSYS),
        (&errno(&[Arch::S390x]), Arch::S390x, 0, ENOSYS),
        (&errno(&[Arch::S390x]), Arch::S390x, 1, EPERM),
        (&errno(&[Arch::S390]), Arch::S390, 0, ENOSYS),
        (&errno(&[Arch::Mips64]), Arch::Mips64, 5437, ALLOW),
        (&errno(&[Arch::Mips64]), Arch::Mips64, 5438, ENOSYS),
        (&errno(&[Arch::Mips64]), Arch::Mips64, 0, EPERM),
        // A name counts even if its rule says nothing; without any, nothing is known.
        (&only_default, Arch::X86_64, 32, EPERM),
        (&only_default, Arch::X86_64, 33, ENOSYS),
        (&none, Arch::X86_64, 9999, EPERM),
        // Who traces or logs wants to see them.
        (&profile(Action::Allow, &[]), Arch::X86_64, 438, ALLOW),
        (&profile(Action::Log, &[]), Arch::X86_64, 438, value(Action::Log, None)),
        (&profile(Action::Trace, &[]), Arch::X86_64, 438, value(Action::Trace, None)),
        (&profile(Action::KillProcess, &[]), Arch::X86_64, 438, ENOSYS),
        (&profile(Action::Trap, &[]), Arch::X86_64, 438, ENOSYS),
    ];
    let options = Options { native: Arch::X86_64, ..Options::default() };
    for (profile, arch, nr, wanted) in table {
        let got = verdict(profile, &options, arch, nr, [0; 6]);
        assert_eq!(got, wanted, "{arch:?} {nr:#x} of {profile:#?}");
    }
    let plain = Options { newer_calls: NewerCalls::DefaultAction, ..options };
    assert_eq!(verdict(&all, &plain, Arch::X86, 438, [0; 6]), EPERM);
}

#[test]
fn other_architectures_are_killed() {
    let profile = Owned::new(Action::Allow, &[Arch::X86_64]);
    let options = Options { native: Arch::X86_64, ..plain() };
    let table = [
        (Arch::X86_64, 0, ALLOW),
        (Arch::X86, 0, KILL_THREAD),
        (Arch::Aarch64, 0, KILL_THREAD),
        (Arch::X32, 0x4000_0000, KILL_THREAD),
    ];
    for (arch, nr, wanted) in table {
        assert_eq!(verdict(&profile, &options, arch, nr, [0; 6]), wanted, "{arch:?}");
    }
    let options = Options { bad_arch: Action::Errno, ..options };
    assert_eq!(verdict(&profile, &options, Arch::X86, 0, [0; 6]), EPERM);
    // The default action is all there is.
    let nothing = Owned::new(Action::KillThread, &[]).compile(&plain()).unwrap();
    assert_eq!(nothing.instructions.len(), 1);
}

/// As many conditions as a program holds, and more; and so many that jumps get long.
#[test]
fn long_programs() {
    let build = |count: u64| {
        let mut profile = Owned::new(Action::Errno, &[]);
        for at in 0..count {
            profile = profile.errno_rule("read", 2 + (at % 9) as u32, &[equal(0, at * 3), equal(1, at)]);
        }
        profile
    };
    for count in [1, 10, 100, 500] {
        let profile = build(count);
        let program = profile.compile(&plain()).unwrap();
        bpf::check(&program.instructions);
        for at in (0..count).step_by(7) {
            for (args, wanted) in [([at * 3, at], 0x0005_0002 + (at % 9) as u32), ([at * 3 + 1, at], EPERM)] {
                let [a, b] = args;
                assert_eq!(by_name(&profile, Arch::NATIVE, "read", [a, b, 0, 0, 0, 0]), wanted);
            }
        }
    }
    for count in [2000, 20_000] {
        assert_eq!(build(count).compile(&plain()).err(), Some(Error::TooLong), "{count}");
    }
    // Every call for itself, on every architecture one kernel can have.
    let mut profile = Owned::new(Action::Errno, &[Arch::X86, Arch::X32]);
    for (at, name) in syscall_names().enumerate() {
        profile = profile.errno_rule(name, 2 + (at % 7) as u32, &[]);
    }
    let program = profile.compile(&plain()).unwrap();
    bpf::check(&program.instructions);
    for (at, name) in syscall_names().enumerate().step_by(5) {
        if let Some(nr) = Arch::X86_64.syscall_number(name) {
            let data = Data::new(nr, Arch::X86_64.audit_token(), [0; 6]);
            let outcome = bpf::run(&program.instructions, &data);
            assert_eq!(outcome.value, 0x0005_0002 + (at % 7) as u32, "{name}");
        }
    }
}
