//! What the tests share: profiles that own their parts, JSON, a BPF interpreter, chance.
#![allow(dead_code, unreachable_pub, reason = "every test uses another part of this")]

pub mod bpf;
pub mod json;
pub mod libseccomp;
pub mod random;
pub mod reference;

use bpf::Data;
use orlop_seccomp::{Action, Arch, Arg, Error, Flags, NewerCalls, Operator, Options, Profile, Program, Rule, compile};

/// A profile that owns its parts.
#[derive(Clone, Debug)]
pub struct Owned {
    pub default_action: Action,
    pub default_errno_ret: Option<u32>,
    pub architectures: Vec<Arch>,
    pub flags: Flags,
    pub rules: Vec<OwnedRule>,
}

#[derive(Clone, Debug)]
pub struct OwnedRule {
    pub names: Vec<String>,
    pub action: Action,
    pub errno_ret: Option<u32>,
    pub args: Vec<Arg>,
}

impl Owned {
    pub fn new(default_action: Action, architectures: &[Arch]) -> Owned {
        Owned {
            default_action,
            default_errno_ret: None,
            architectures: architectures.to_vec(),
            flags: Flags::NONE,
            rules: Vec::new(),
        }
    }

    pub fn rule(mut self, name: &str, action: Action, args: &[Arg]) -> Owned {
        self.rules.push(OwnedRule { names: vec![name.to_string()], action, errno_ret: None, args: args.to_vec() });
        self
    }

    pub fn errno_rule(mut self, name: &str, errno: u32, args: &[Arg]) -> Owned {
        self = self.rule(name, Action::Errno, args);
        self.rules.last_mut().unwrap().errno_ret = Some(errno);
        self
    }

    pub fn compile(&self, options: &Options<'_>) -> Result<Program, Error> {
        let rules: Vec<Rule<'_, String>> = self
            .rules
            .iter()
            .map(|rule| Rule { names: &rule.names, action: rule.action, errno_ret: rule.errno_ret, args: &rule.args })
            .collect();
        let profile = Profile {
            default_action: self.default_action,
            default_errno_ret: self.default_errno_ret,
            architectures: &self.architectures,
            flags: self.flags,
            rules: &rules,
        };
        compile(&profile, options)
    }
}

/// Options under which new calls get the default action, as with libseccomp alone.
pub fn plain() -> Options<'static> {
    Options { newer_calls: NewerCalls::DefaultAction, ..Options::default() }
}

/// A filter's return value.
pub fn value(action: Action, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno => 0x0005_0000 | errno,
        Action::Notify => 0x7fc0_0000,
        Action::Trace => 0x7ff0_0000 | errno,
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

/// An argument has a value.
pub fn equal(index: u32, value: u64) -> Arg {
    Arg { index, op: Operator::Equal, value, value_two: 0 }
}

/// What a profile's program returns for one call.
pub fn verdict(profile: &Owned, options: &Options<'_>, arch: Arch, nr: u32, args: [u64; 6]) -> u32 {
    let program = profile.compile(options).unwrap();
    bpf::check(&program.instructions);
    bpf::run(&program.instructions, &Data::new(nr, arch.audit_token(), args)).value
}

/// The same by a call's name, and without regard to newer ones.
pub fn by_name(profile: &Owned, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    verdict(profile, &plain(), arch, arch.syscall_number(name).expect(name), args)
}

/// An allow list of the size and shape that engines hand to their runtime on x86_64.
pub fn engine() -> Owned {
    json::profile(include_str!("../../../../fixtures/seccomp/engine.json"))
}
