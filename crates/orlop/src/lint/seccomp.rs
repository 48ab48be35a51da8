//! Rules of the filter that never apply: what `orlop-seccomp` does with conflicts, said rule by rule.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Note, members};
use crate::config::{Seccomp, SeccompOperator, SyscallArg, SyscallRule};

/// Notes them.
pub(super) fn rules(profile: &Seccomp<'_>, notes: &mut Vec<Note>) {
    // What a rule says as the default action does is no rule: see the compiler.
    let is_default = |rule: &SyscallRule<'_>| {
        let errno = |errno: Option<u32>| errno.unwrap_or(1);
        rule.action == profile.default_action && errno(rule.errno_ret) == errno(profile.default_errno_ret)
    };
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let pointer = format!("/linux/seccomp/syscalls/{index}");
        if rule.names.is_empty() {
            notes.push(Note::warning(pointer, "a rule for no system call; the specification requires one"));
            continue;
        }
        for (at, name) in rule.names.iter().enumerate() {
            unknown(name, format!("{pointer}/names/{at}"), notes);
        }
        if is_default(rule) {
            notes.push(Note::warning(pointer, "says what the default action says"));
            continue;
        }
        conditions(rule, &pointer, notes);
        let by = |name: &str| {
            shadow(profile, index, name).filter(|&other| !profile.syscalls.get(other).is_some_and(is_default))
        };
        let shadowed: Vec<(&str, usize)> =
            rule.names.iter().filter_map(|name| Some((name.as_str(), by(name)?))).collect();
        let Some(&(_, other)) = shadowed.first() else { continue };
        let whole = shadowed.len() == rule.names.len();
        let names: Vec<&str> = shadowed.iter().map(|(name, _)| *name).collect();
        let what = match whole {
            true => format!("never applies: /linux/seccomp/syscalls/{other} decides before it"),
            false => {
                format!("does not apply to {}: /linux/seccomp/syscalls/{other} decides before it", names.join(", "))
            }
        };
        notes.push(
            Note::warning(pointer, what)
                .hint("a rule without conditions beats those with some, and the first such rule the others"),
        );
    }
}

/// The rule that decides about a call in another one's place.
fn shadow(profile: &Seccomp<'_>, index: usize, name: &str) -> Option<usize> {
    let own = profile.syscalls.get(index)?;
    let mut rules = profile.syscalls.iter().enumerate();
    let (first, _) = rules.find(|(_, rule)| rule.args.is_empty() && rule.names.iter().any(|other| *other == name))?;
    (first != index && (first < index || !own.args.is_empty())).then_some(first)
}

fn unknown(name: &str, pointer: String, notes: &mut Vec<Note>) {
    if orlop_seccomp::syscall_names().any(|known| known == name) {
        return;
    }
    let note = Note::warning(pointer, format!("unknown system call {name:?}, which is ignored"));
    notes.push(match members::nearest(name, orlop_seccomp::syscall_names()) {
        Some(near) => note.hint(format!("did you mean {near:?}?")),
        None => note,
    });
}

fn conditions(rule: &SyscallRule<'_>, pointer: &str, notes: &mut Vec<Note>) {
    for (at, arg) in rule.args.iter().enumerate() {
        let pointer = format!("{pointer}/args/{at}");
        if arg.op != SeccompOperator::MaskedEqual && arg.value_two != 0 {
            let what = format!("valueTwo has no effect with {}", arg.op);
            notes.push(Note::warning(format!("{pointer}/valueTwo"), what));
        }
        match holds(arg) {
            Holds::Never => notes.push(Note::warning(pointer.as_str(), "never holds")),
            Holds::Always => notes.push(Note::warning(pointer.as_str(), "always holds")),
            Holds::Sometimes => {}
        }
        if rule.args.iter().take(at).any(|other| other.index == arg.index) {
            let what = format!("is the second condition on argument {}: either of them is enough", arg.index);
            notes.push(Note::warning(pointer, what).hint("as runc does it; two rules say the same more clearly"));
        }
    }
}

enum Holds {
    Never,
    Sometimes,
    Always,
}

/// Whether an argument can decide about a condition.
fn holds(arg: &SyscallArg) -> Holds {
    let &SyscallArg { value, value_two, op, .. } = arg;
    match op {
        SeccompOperator::LessThan if value == 0 => Holds::Never,
        SeccompOperator::GreaterThan if value == u64::MAX => Holds::Never,
        SeccompOperator::MaskedEqual if value_two & !value != 0 => Holds::Never,
        SeccompOperator::MaskedEqual if value == 0 => Holds::Always,
        SeccompOperator::GreaterEqual if value == 0 => Holds::Always,
        SeccompOperator::LessEqual if value == u64::MAX => Holds::Always,
        _ => Holds::Sometimes,
    }
}
