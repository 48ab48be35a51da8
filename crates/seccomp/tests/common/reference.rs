//! What a profile means, straight from its rules.

use orlop_seccomp::{Action, Arch, Arg, Operator};

use super::{Owned, OwnedRule, value};

fn holds(arg: &Arg, arch: Arch, args: [u64; 6]) -> bool {
    let width = match arch.audit_token() & 0x8000_0000 {
        0 => 0xffff_ffff,
        _ if matches!(arch, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32) => 0xffff_ffff,
        _ => u64::MAX,
    };
    let (have, want) = (args[arg.index as usize] & width, arg.value & width);
    match arg.op {
        Operator::NotEqual => have != want,
        Operator::Less => have < want,
        Operator::LessEqual => have <= want,
        Operator::Equal => have == want,
        Operator::GreaterEqual => have >= want,
        Operator::Greater => have > want,
        Operator::MaskedEqual => have & want == arg.value_two & want,
    }
}

fn repeats(args: &[Arg]) -> bool {
    (0..6).any(|index| args.iter().filter(|arg| arg.index == index).count() > 1)
}

fn applies(rule: &OwnedRule, arch: Arch, args: [u64; 6]) -> bool {
    let mut all = rule.args.iter().map(|arg| holds(arg, arch, args));
    if repeats(&rule.args) {
        all.any(|holds| holds)
    } else {
        all.all(|holds| holds)
    }
}

/// Whether a rule asks for nothing on an architecture: masks without a bit there.
fn unconditional(rule: &OwnedRule, arch: Arch) -> bool {
    let width = if arch.audit_token() & 0x8000_0000 == 0 {
        0xffff_ffff
    } else {
        u64::MAX
    };
    let nothing = |arg: &Arg| arg.op == Operator::MaskedEqual && arg.value & width == 0;
    if repeats(&rule.args) {
        rule.args.iter().any(nothing)
    } else {
        rule.args.iter().all(nothing)
    }
}

/// The values a filter may return for a direct call: one, unless rules with different
/// actions apply. Multiplexers and calls the profile does not name are not for this.
pub fn verdicts(profile: &Owned, arch: Arch, number: u32, args: [u64; 6]) -> Vec<u32> {
    let default = value(profile.default_action, profile.default_errno_ret);
    let rules: Vec<&OwnedRule> = profile
        .rules
        .iter()
        .filter(|rule| value(rule.action, rule.errno_ret) != default)
        .filter(|rule| {
            rule.names
                .iter()
                .any(|name| arch.syscall_number(name) == Some(number))
        })
        .collect();
    let verdict = |rule: &OwnedRule| value(rule.action, rule.errno_ret);
    if let Some(rule) = rules.iter().find(|rule| unconditional(rule, arch)) {
        return vec![verdict(rule)];
    }
    let mut values: Vec<u32> = rules
        .iter()
        .filter(|rule| applies(rule, arch, args))
        .map(|rule| verdict(rule))
        .collect();
    if values.is_empty() {
        values.push(default);
    }
    values.sort();
    values.dedup();
    values
}

/// Which of the architectures a call belongs to.
pub fn arch_of(archs: &[Arch], token: u32, number: u32) -> Option<Arch> {
    let x32 = token == Arch::X32.audit_token() && number >= 0x4000_0000;
    let mut of_token = archs
        .iter()
        .copied()
        .filter(|arch| arch.audit_token() == token);
    of_token.find(|arch| (*arch == Arch::X32) == x32)
}

/// Whether a number is a multiplexer's.
pub fn is_multiplexer(arch: Arch, number: u32) -> bool {
    ["socketcall", "ipc"]
        .iter()
        .any(|name| arch.syscall_number(name) == Some(number))
}

/// An action's name for messages.
pub fn describe(value: u32) -> String {
    let action = Action::NAMES.iter().map(|entry| entry.1);
    let same = |action: &Action| super::value(*action, Some(value & 0xffff)) == value;
    format!("{:?} ({value:#x})", action.into_iter().find(same))
}
