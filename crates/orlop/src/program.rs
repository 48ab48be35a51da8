//! Why the container's program cannot be executed, in words; see execve(2), elf(5).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use orlop_init::step::Call;
use orlop_sys::Errno;

use crate::error::{Error, Kind};

/// What init has seen of a program that it could not execute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    /// The beginning of the file; empty where it could not be read.
    pub(crate) head: &'a [u8],
    /// Whether its mount forbids execution.
    pub(crate) noexec: bool,
}

impl<'a> Seen<'a> {
    /// From what init has left: `said` bytes of `excerpt`, and `detail`.
    pub(crate) fn new(excerpt: &'a [u8], said: u32, detail: u32) -> Seen<'a> {
        Seen { head: excerpt.get(..said as usize).unwrap_or_default(), noexec: detail == 1 }
    }
}

/// The words that engines match on: see exec.LookPath of Go, whose users these are.
pub(crate) fn error(name: &str, call: Option<Call>, errno: Errno, seen: Seen<'_>) -> Error {
    let what = match (call, errno) {
        (Some(Call::Lookup), Errno::NOENT) => String::from("executable file not found in $PATH"),
        (Some(Call::Lookup), Errno::ISDIR) => String::from("is a directory: permission denied"),
        (Some(Call::Statx), errno) => format!("stat {name}: {errno}"),
        (Some(Call::Execve), errno) => format!("exec {name}: {errno}"),
        (_, errno) => format!("{errno}"),
    };
    let what = format!("unable to start container process: exec: {name:?}: {what}");
    let error = match call {
        Some(Call::Execve) => Error::told(what, "execve", errno).of_kind(Kind::Program),
        _ => Error::new(Kind::Program, what),
    };
    match hint(call, errno, seen) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(call: Option<Call>, errno: Errno, seen: Seen<'_>) -> Option<Cow<'static, str>> {
    let said = |text: &'static str| Some(Cow::Borrowed(text));
    match (call?, errno) {
        (Call::Lookup, Errno::ISDIR) => said("process.args must begin with a program"),
        (Call::Access | Call::Execve, Errno::ACCES) if seen.noexec => {
            said("the mount that the file is on is noexec: a mount without that option, or a copy elsewhere, would do")
        }
        (Call::Access, Errno::ACCES) => said("the file has no execute permission for the container's user"),
        (Call::Execve, Errno::ACCES) => Some(match interpreter(seen.head) {
            Some((kind, path)) => format!("its interpreter {path:?} ({kind}) cannot be executed").into(),
            None => "a security module of the host may forbid it".into(),
        }),
        (Call::Execve, Errno::NOENT) => Some(match interpreter(seen.head) {
            Some((kind, path)) if path.ends_with('\r') => {
                format!("{kind} asks for the interpreter {path:?}: the line ends as lines of Windows do").into()
            }
            Some((kind, path)) => {
                format!("the file is there, but its interpreter {path:?} ({kind}) is missing in the container").into()
            }
            None => {
                "the file is there: its interpreter (the #! line, or the ELF loader) is missing in the container".into()
            }
        }),
        (Call::Execve, Errno::PERM) => said(
            "its file has capabilities (getcap(8)) that process.capabilities.bounding lacks, or linux.seccomp forbids it",
        ),
        (Call::Execve, Errno::NOSYS) => said("linux.seccomp forbids execve"),
        (Call::Execve, Errno::NOEXEC) => Some(format(seen.head)),
        _ => None,
    }
}

const ELF: &[u8] = b"\x7fELF";

/// What the kernel executes instead of the file: where it is named, and its path.
fn interpreter(head: &[u8]) -> Option<(&'static str, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&b| b == b'\n').next()?;
        let line = line.trim_ascii_start();
        let end = line.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(line.len());
        return Some(("the #! line", text(line.get(..end)?))).filter(|(_, path)| !path.is_empty());
    }
    let elf = Elf::new(head)?;
    Some(("the ELF loader", text(elf.interpreter()?)))
}

/// The kernel knows no way to execute it: what it is.
fn format(head: &[u8]) -> Cow<'static, str> {
    if head.is_empty() {
        return "the file is empty, or cannot be read".into();
    }
    let Some(elf) = Elf::new(head) else {
        return match head.starts_with(ELF) {
            true => "an ELF file that is cut off".into(),
            false if head.iter().take(128).all(|&b| b >= b' ' || b.is_ascii_whitespace()) => {
                "a script without a #! line".into()
            }
            false => "a file of no format that this kernel executes".into(),
        };
    };
    match elf.machine() {
        Some(machine) if machine != OWN.0 => {
            let known = MACHINES.iter().find(|(number, _)| *number == machine);
            let name =
                known.map_or_else(|| format!("the ELF machine {machine}").into(), |(_, name)| Cow::Borrowed(*name));
            format!("a program for {name}, on a host of {}", OWN.1).into()
        }
        Some(_) => "an ELF file for this machine that is no program, or is broken".into(),
        None => "an ELF file that is cut off".into(),
    }
}

/// `e_machine` of elf(5).
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
    (258, "loongarch"),
];

/// The beginning of an ELF file.
struct Elf<'a> {
    head: &'a [u8],
    is_64: bool,
    is_big: bool,
}

impl<'a> Elf<'a> {
    fn new(head: &'a [u8]) -> Option<Elf<'a>> {
        if !head.starts_with(ELF) {
            return None;
        }
        Some(Elf { head, is_64: *head.get(4)? == 2, is_big: *head.get(5)? == 2 })
    }

    fn number(&self, at: usize, len: usize) -> Option<u64> {
        let bytes = self.head.get(at..at.checked_add(len)?)?;
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if self.is_big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    fn machine(&self) -> Option<u16> {
        self.number(18, 2).map(|machine| machine as u16)
    }

    /// The string of the program header `PT_INTERP`.
    fn interpreter(&self) -> Option<&'a [u8]> {
        const INTERPRETER: u64 = 3;
        let word = if self.is_64 { 8 } else { 4 };
        let (headers, sizes) = if self.is_64 { (32, 54) } else { (28, 42) };
        let start = self.number(headers, word)? as usize;
        let (size, count) = (self.number(sizes, 2)? as usize, self.number(sizes + 2, 2)? as usize);
        let (offset, length) = if self.is_64 { (8, 32) } else { (4, 16) };
        for index in 0..count {
            let at = start.checked_add(index * size)?;
            if self.number(at, 4)? == INTERPRETER {
                let from = self.number(at.checked_add(offset)?, word)? as usize;
                let len = self.number(at.checked_add(length)?, word)? as usize;
                let text = self.head.get(from..from.checked_add(len)?)?;
                return text.split(|&b| b == 0).next().filter(|path| !path.is_empty());
            }
        }
        None
    }
}

#[cfg(target_arch = "x86_64")]
const OWN: (u16, &str) = (62, "x86_64");
#[cfg(target_arch = "aarch64")]
const OWN: (u16, &str) = (183, "aarch64");
#[cfg(target_arch = "riscv64")]
const OWN: (u16, &str) = (243, "riscv64");

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A header of that class and byte order, one program header `PT_INTERP`, and its string.
    fn elf(class: u8, big: bool, machine: u16, path: &[u8]) -> Vec<u8> {
        let is_64 = class == 2;
        let mut head = alloc::vec![0u8; 512];
        head[..4].copy_from_slice(ELF);
        head[4] = class;
        head[5] = if big { 2 } else { 1 };
        let mut put = |at: usize, len: usize, value: usize| {
            for n in 0..len {
                let shift = 8 * if big { len - 1 - n } else { n };
                head[at + n] = (value >> shift) as u8;
            }
        };
        let word = if is_64 { 8 } else { 4 };
        put(18, 2, usize::from(machine));
        put(if is_64 { 32 } else { 28 }, word, 64);
        put(if is_64 { 54 } else { 42 }, 2, if is_64 { 56 } else { 32 });
        put(if is_64 { 56 } else { 44 }, 2, 1);
        put(64, 4, 3);
        put(64 + if is_64 { 8 } else { 4 }, word, 256);
        put(64 + if is_64 { 32 } else { 16 }, word, path.len() + 1);
        head[256..256 + path.len()].copy_from_slice(path);
        head
    }

    fn hint_of(call: Call, errno: Errno, head: &[u8]) -> String {
        hint(Some(call), errno, Seen { head, noexec: false }).unwrap_or_default().into_owned()
    }

    #[test]
    fn interpreters_are_named() {
        let cases: [(&[u8], &str); 8] = [
            (b"#!/bin/foo\necho", "\"/bin/foo\" (the #! line) is missing"),
            (b"#! /usr/bin/env python\n", "\"/usr/bin/env\" (the #! line) is missing"),
            (b"#!/bin/sh\r\nx", "asks for the interpreter \"/bin/sh\\r\": the line ends as lines of Windows do"),
            (b"#!", "the #! line, or the ELF loader"),
            (b"", "the #! line, or the ELF loader"),
            (&elf(2, false, 62, b"/lib64/ld.so"), "\"/lib64/ld.so\" (the ELF loader) is missing"),
            (&elf(1, true, 20, b"/lib/ld.so.1"), "\"/lib/ld.so.1\" (the ELF loader) is missing"),
            (&elf(2, false, 62, b""), "the #! line, or the ELF loader"),
        ];
        for (head, wanted) in cases {
            let hint = hint_of(Call::Execve, Errno::NOENT, head);
            assert!(hint.contains(wanted), "{hint}");
        }
        let hint = hint_of(Call::Execve, Errno::ACCES, b"#!/etc/passwd\n");
        assert_eq!(hint, "its interpreter \"/etc/passwd\" (the #! line) cannot be executed");
    }

    #[test]
    fn formats_are_named() {
        let other = if OWN.0 == 183 { (62, "x86_64") } else { (183, "aarch64") };
        let cases: [(&[u8], &str); 7] = [
            (b"", "empty"),
            (b"echo hello\n", "without a #! line"),
            (b"\x7fELF", "cut off"),
            (b"\x00\x01\x02", "no format"),
            (&elf(2, false, other.0, b"x"), other.1),
            (&elf(2, false, 9999, b"x"), "the ELF machine 9999"),
            (&elf(2, false, OWN.0, b"x"), "broken"),
        ];
        for (head, wanted) in cases {
            let hint = hint_of(Call::Execve, Errno::NOEXEC, head);
            assert!(hint.contains(wanted), "{hint}");
        }
    }

    #[test]
    fn any_bytes_are_looked_at() {
        let whole = elf(2, false, 62, b"/lib64/ld.so");
        for end in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut head = whole.clone();
                head[end] = byte;
                hint_of(Call::Execve, Errno::NOENT, &head);
                hint_of(Call::Execve, Errno::NOEXEC, &head[..end]);
            }
        }
    }
}
