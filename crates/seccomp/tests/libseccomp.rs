//! Every number of every architecture with a choice of arguments: what our program says, and
//! what libseccomp's does for the same profile.
#![allow(clippy::print_stderr, reason = "how much was compared")]

mod common;

use common::bpf::{self, Data};
use common::libseccomp::Library;
use common::random::{self, Actions, Random, VALUES};
use common::{Owned, plain, reference};
use orlop_seccomp::{Action, Arch, Arg, Error, Operator, SockFilter, syscall_names};

/// Arguments at which the rules of a profile change their mind.
fn interesting(profile: &Owned) -> Vec<[u64; 6]> {
    let mut values: Vec<u64> = vec![0, u64::MAX];
    for arg in profile.rules.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, arg.value & arg.value_two] {
            values.extend([value, value.wrapping_sub(1), value.wrapping_add(1), value ^ (1 << 32)]);
        }
    }
    values.sort();
    values.dedup();
    // socketcall's and ipc's selectors are first arguments, too.
    let mut vectors: Vec<[u64; 6]> = (0..32).map(|selector| [selector, 5, 5, 5, 5, 5]).collect();
    for value in &values {
        vectors.push([*value; 6]);
    }
    let mut random = Random::new(values.len() as u64);
    for _ in 0..200 {
        vectors.push(std::array::from_fn(|_| random.one_of(&values)));
    }
    vectors
}

/// Compares the two programs; returns how many calls were tried, and how many of them
/// libseccomp answers with an action none of whose rules applies.
fn compare(profile: &Owned, ours: &[SockFilter], theirs: &[SockFilter]) -> (usize, usize) {
    bpf::check(ours);
    let mut archs = profile.architectures.clone();
    archs.push(Arch::NATIVE);
    let mut tokens: Vec<u32> = archs.iter().map(|arch| arch.audit_token()).collect();
    tokens.push(0xdead);
    tokens.sort();
    tokens.dedup();
    let vectors = interesting(profile);
    let (mut tried, mut wrong) = (0, 0);
    for token in tokens {
        for number in bpf::numbers(&profile.architectures) {
            for (index, args) in vectors.iter().enumerate() {
                let data = Data::new(number, token, *args);
                let (our, their) = (bpf::run(ours, &data), bpf::run(theirs, &data));
                tried += 1;
                if our.value != their.value {
                    let arch = reference::arch_of(&archs, token, number).unwrap();
                    let verdicts = reference::verdicts(profile, arch, number, *args);
                    assert!(
                        verdicts.contains(&our.value) && !verdicts.contains(&their.value),
                        "arch {token:#x} nr {number:#x} args {args:x?}: {} but {} of {verdicts:x?}: {profile:#x?}",
                        reference::describe(our.value),
                        reference::describe(their.value),
                    );
                    wrong += 1;
                }
                if index == 0 && our.constant && their.constant {
                    break;
                }
            }
        }
    }
    (tried, wrong)
}

/// Has both compile a profile, or libseccomp refuse it; libseccomp's wrong answers.
fn both(library: &Library, profile: &Owned) -> Option<usize> {
    match (profile.compile(&plain()), library.compile(profile)) {
        (Ok(ours), Ok(theirs)) => {
            let (_, wrong) = compare(profile, &ours.instructions, &theirs);
            Some(wrong)
        }
        // It also refuses bounds that only share their upper halves.
        (Err(Error::Conflict { .. }) | Ok(_), Err(libc::EEXIST)) => None,
        (ours, theirs) => {
            let ours = ours.map(|program| program.instructions.len());
            panic!("{ours:?} but {:?} for {profile:#x?}", theirs.map(|program| program.len()))
        }
    }
}

/// libseccomp's endianness is that of the first architecture it has, the native one here.
fn fits_native(archs: &[Arch]) -> bool {
    let little = |arch: &Arch| arch.audit_token() & 0x4000_0000 != 0;
    archs.iter().all(|arch| little(arch) == little(&Arch::NATIVE))
}

/// Leaves out names the library knows less of than we do.
fn known_to(library: &Library, profile: &mut Owned) {
    let mut archs = profile.architectures.clone();
    archs.push(Arch::NATIVE);
    for rule in &mut profile.rules {
        rule.names.retain(|name| {
            archs.iter().all(|arch| match library.number(*arch, name) {
                -1 => false,
                // Made through a multiplexer, and directly perhaps.
                -300..=-100 => true,
                number => arch.syscall_number(name) == u32::try_from(number).ok(),
            })
        });
    }
}

#[test]
fn numbers_are_libseccomps() {
    let Some(library) = Library::load() else {
        return;
    };
    let mut wrong = Vec::new();
    let mut known = 0;
    for name in syscall_names() {
        for arch in Arch::all() {
            let ours = arch.syscall_number(name);
            match library.number(arch, name) {
                // A name or an architecture it is too old for.
                -1 => continue,
                -300..=-100 => {}
                number if ours == u32::try_from(number).ok() => known += 1,
                // New since: calls that other architectures had already.
                number if number < 0 => {}
                number => wrong.push((name, arch, ours, number)),
            }
        }
    }
    // libseccomp up to 2.5.4 has one that parisc's 64-bit kernels have not.
    wrong.retain(|(name, arch, ..)| (*name, *arch) != ("_llseek", Arch::Parisc64));
    assert_eq!(wrong, []);
    assert!(known > 5000, "{known} numbers compared");
}

#[test]
fn engine() {
    let Some(library) = Library::load() else {
        return;
    };
    let profile = common::engine();
    let ours = profile.compile(&plain()).unwrap();
    let theirs = library.compile(&profile).unwrap();
    assert_eq!(ours.unknown, [] as [String; 0]);
    let (tried, wrong) = compare(&profile, &ours.instructions, &theirs);
    assert_eq!(wrong, 0);
    eprintln!("{} instructions for {}, {tried} calls", ours.instructions.len(), theirs.len());
}

#[test]
fn random_profiles() {
    let Some(library) = Library::load() else {
        return;
    };
    let (mut compared, mut wrong) = (0, 0);
    for round in 0..300 {
        let mut random = Random::new(round);
        let archs = random.one_of(&random::GROUPS);
        if !fits_native(archs) {
            continue;
        }
        let mut profile = random::profile(&mut random, archs, Actions::One, 6);
        // The time it takes grows exponentially with the bounds one call has.
        let mut conditional = 0;
        profile.rules.retain(|rule| {
            conditional += usize::from(!rule.args.is_empty());
            rule.args.is_empty() || conditional <= 5 && rule.args.len() <= 2
        });
        known_to(&library, &mut profile);
        if let Some(lies) = both(&library, &profile) {
            compared += 1;
            wrong += lies;
        }
    }
    eprintln!("{compared} profiles compared, {wrong} wrong answers of libseccomp");
    assert!(compared > 100 || !fits_native(&[Arch::X86]), "{compared} compared");
}

/// Two rules with different actions: which one wins where both apply, and which pairs are
/// refused, is up to libseccomp.
#[test]
fn conflicts() {
    let Some(library) = Library::load() else {
        return;
    };
    let (mut compared, mut refused, mut wrong) = (0, 0, 0);
    let mut random = Random::new(1000);
    for _ in 0..4000 {
        let mut profile = Owned::new(Action::Errno, &[Arch::X86_64, Arch::X86]);
        for action in [Action::Allow, Action::Log] {
            let mut args = vec![random::arg(&mut random, 0)];
            // Rules that go on behind other operators meet in its tree in orders of their own.
            let goes_on = matches!(args[0].op, Operator::Equal | Operator::MaskedEqual);
            if goes_on && random.below(2) == 0 {
                args.push(random::arg(&mut random, 1));
            } else if random.below(3) == 0 {
                args[0].index = 1;
            }
            profile = profile.rule("openat", action, &args);
        }
        let [one, other] = [0, 1].map(|rule| profile.rules[rule].args[0]);
        let both_are = |ops: &[Operator]| ops.contains(&one.op) && ops.contains(&other.op);
        if both_are(&[Operator::NotEqual])
            || library.version() < [2, 6, 0] && both_are(&[Operator::Less, Operator::LessEqual])
        {
            // For these its order is another one where the upper halves differ.
            continue;
        }
        match both(&library, &profile) {
            Some(lies) => {
                compared += 1;
                wrong += lies;
            }
            None => refused += 1,
        }
    }
    eprintln!("{compared} pairs compared, {refused} refused, {wrong} wrong answers of libseccomp");
    assert!(compared > 2000 && refused > 10, "{compared} compared, {refused} refused by both");
}

#[test]
fn each_operator_at_each_value() {
    let Some(library) = Library::load() else {
        return;
    };
    for (_, op) in Operator::NAMES {
        for value in VALUES {
            for value_two in VALUES.iter().take(if op == Operator::MaskedEqual { 14 } else { 1 }) {
                let arg = Arg { index: 1, op, value, value_two: *value_two };
                let archs = [Arch::X86_64, Arch::X86, Arch::X32];
                let profile = Owned::new(Action::Errno, &archs).rule("openat", Action::Allow, &[arg]);
                let ours = profile.compile(&plain()).unwrap();
                let theirs = library.compile(&profile).unwrap();
                assert_eq!(compare(&profile, &ours.instructions, &theirs).1, 0);
            }
        }
    }
}
