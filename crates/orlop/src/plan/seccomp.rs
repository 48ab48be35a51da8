//! The system call filter: compiled here, loaded by init as late as the kernel lets it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_init::step::{Step, Text};
use orlop_seccomp::{Action, Arch, Arg, Flags, Operator, Profile, Program, Rule, UnknownNames, compile};
use orlop_sys::thread::SockFilter;

use super::{Origin, Phase, Planner, Task, invalid, slot};
use crate::config::{Seccomp, SeccompFlag, SyscallArg};
use crate::error::{Error, Result};

const FIELD: &str = "/linux/seccomp";

/// crun's: an unknown name of a system call is an error.
pub(super) const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";
/// crun's: a whole BPF program in base64, instead of a profile.
pub(super) const RAW_PROGRAM: &str = "run.oci.seccomp_bpf_data";
/// crun's: the socket that gets the listener, where the profile names none.
pub(super) const RECEIVER: &str = "run.oci.seccomp.receiver";

/// What init calls before anybody can listen: with a listener on it, it would wait for ever.
const NEVER_NOTIFY: &[&str] = &["write"];

/// A filter to load.
pub(super) struct Filter {
    step: Step,
    listener: Option<(Text, Text)>,
}

impl Filter {
    /// Whether somebody has to be told of a listener.
    pub(super) fn notifies(&self) -> bool {
        self.listener.is_some()
    }
}

impl Planner<'_> {
    /// The configuration's filter.
    pub(super) fn filter(&mut self) -> Result<Option<Filter>> {
        let config = self.config;
        let flag = |name: &str| config.annotations.get(name).map(|value| value.as_str());
        if let Some(raw) = flag(RAW_PROGRAM) {
            let origin = Origin::field("/annotations");
            let program = raw_program(raw)
                .ok_or_else(|| invalid(format!("{RAW_PROGRAM} is no BPF program in base64"), origin))?;
            let program = self.strings.filter(&program);
            let step = Step::Seccomp { program, flags: Flags::DEFAULT.bits(), listener: slot::SECCOMP };
            return Ok(Some(Filter { step, listener: None }));
        }
        let Some(seccomp) = &config.linux.seccomp else {
            return Ok(None);
        };
        if seccomp.listener_path.is_empty() && flag(RECEIVER).is_none() && !seccomp.listener_metadata.is_empty() {
            let origin = Origin::field("/linux/seccomp/listenerMetadata");
            self.fault(invalid("seccomp listenerMetadata is set, and listenerPath is not", origin))?;
        }
        let unknown = flag(FAIL_UNKNOWN).is_some_and(|value| value != "0" && value != "false");
        let program = compiled(seccomp, if unknown { UnknownNames::Fail } else { UnknownNames::Report })?;
        for name in &program.unknown {
            self.debug(Origin::field(FIELD), format!("unknown seccomp syscall {name:?} ignored"));
        }
        let bits = program.flags.bits();
        self.debug(Origin::field(FIELD), format!("seccomp filter flags: {bits}"));
        let listener = if program.notify { Some(self.listener(seccomp, flag(RECEIVER))?) } else { None };
        let instructions: Vec<SockFilter> =
            program.instructions.iter().map(|i| SockFilter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let program = self.strings.filter(&instructions);
        Ok(Some(Filter { step: Step::Seccomp { program, flags: bits, listener: slot::SECCOMP }, listener }))
    }

    fn listener(&mut self, seccomp: &Seccomp<'_>, receiver: Option<&str>) -> Result<(Text, Text)> {
        let origin = Origin::field("/linux/seccomp/listenerPath");
        let path = match (&*seccomp.listener_path, receiver) {
            ("", None | Some("")) => return Err(invalid("seccomp listenerPath is not set", origin)),
            ("", Some(receiver)) => receiver,
            (path, _) => path,
        };
        Ok((self.text(path, origin)?, self.text(&seccomp.listener_metadata, origin)?))
    }

    /// Loads the filter, and hands its listener over.
    pub(super) fn load(&mut self, phase: Phase, filter: &Filter) {
        let origin = Origin::field(FIELD);
        self.init(phase, origin, filter.step);
        if let Some((path, metadata)) = filter.listener {
            self.runtime(phase, Origin::field("/linux/seccomp/listenerPath"), Task::SeccompListener { path, metadata });
            // Only the receiver may have it: where it ends, the calls it had asked for fail.
            self.init(phase, origin, Step::Close { slot: slot::SECCOMP });
        }
    }
}

fn compiled(seccomp: &Seccomp<'_>, unknown_names: UnknownNames) -> Result<Program> {
    let origin = Origin::field(FIELD);
    let action = |name: &str| Action::from_name(name).ok_or_else(|| not_known("action", name));
    let mut architectures = Vec::with_capacity(seccomp.architectures.len());
    for arch in &seccomp.architectures {
        architectures.push(Arch::from_name(arch.name()).ok_or_else(|| not_known("architecture", arch.name()))?);
    }
    let mut args: Vec<Vec<Arg>> = Vec::with_capacity(seccomp.syscalls.len());
    for rule in &seccomp.syscalls {
        args.push(rule.args.iter().map(condition).collect::<Result<_>>()?);
    }
    let mut rules = Vec::with_capacity(seccomp.syscalls.len());
    for (rule, args) in seccomp.syscalls.iter().zip(&args) {
        rules.push(Rule { names: &rule.names, action: action(rule.action.name())?, errno_ret: rule.errno_ret, args });
    }
    let profile = Profile {
        default_action: action(seccomp.default_action.name())?,
        default_errno_ret: seccomp.default_errno_ret,
        architectures: &architectures,
        flags: flags(seccomp)?,
        rules: &rules,
    };
    let options = orlop_seccomp::Options { unknown_names, never_notify: NEVER_NOTIFY, ..Default::default() };
    compile(&profile, &options).map_err(|error| invalid(format!("seccomp: {error}"), origin))
}

fn condition(arg: &SyscallArg) -> Result<Arg> {
    let op = Operator::from_name(arg.op.name()).ok_or_else(|| not_known("operator", arg.op.name()))?;
    Ok(Arg { index: arg.index, op, value: arg.value, value_two: arg.value_two })
}

fn flags(seccomp: &Seccomp<'_>) -> Result<Flags> {
    let Some(list) = &seccomp.flags else {
        return Ok(Flags::DEFAULT);
    };
    let mut flags = Flags::NONE;
    // Init has one thread: there is nothing for TSYNC to do, as in runc.
    for flag in list.iter().filter(|&&flag| flag != SeccompFlag::Tsync) {
        flags = flags.with(Flags::from_name(flag.name()).ok_or_else(|| not_known("flag", flag.name()))?);
    }
    Ok(flags)
}

fn not_known(what: &str, name: &str) -> Error {
    Error::not_supported(format!("the seccomp {what} {name} is not supported")).field(String::from(FIELD))
}

/// Instructions of 8 bytes each, in the machine's byte order.
fn raw_program(base64: &str) -> Option<Vec<SockFilter>> {
    let bytes = decode(base64)?;
    let (instructions, rest) = bytes.as_chunks::<8>();
    if instructions.is_empty() || !rest.is_empty() {
        return None;
    }
    let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| SockFilter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    Some(instructions.iter().map(instruction).collect())
}

/// Base64 as RFC 4648 has it, padded.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 != groups.len()) {
            return None;
        }
        let mut word = 0u32;
        for &digit in group.iter().take(4 - padding) {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(value);
        }
        word <<= 6 * padding;
        let [_, a, b, c] = word.to_be_bytes();
        bytes.extend([a, b, c].iter().take(3 - padding));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_decoded() {
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("TQ==", Some(b"M")),
            ("TWE=", Some(b"Ma")),
            ("TWFu", Some(b"Man")),
            ("+/8=", Some(b"\xfb\xff")),
            ("TQ", None),
            ("T===", None),
            ("TQ==TWFu", None),
            ("TWF\u{7f}", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(decode(text).as_deref(), *bytes, "{text}");
        }
    }
}
