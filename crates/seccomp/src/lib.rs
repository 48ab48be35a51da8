//! Compiles an OCI seccomp profile into one BPF program.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod arch;
mod compile;
mod condition;
mod graph;
mod profile;
mod table;

use alloc::string::String;
use alloc::vec::Vec;

pub use arch::Arch;
pub use compile::compile;
pub use profile::{Action, Arg, Error, Flags, NewerCalls, Operator, Options, Profile, Rule, UnknownNames};
pub use table::names as syscall_names;

/// A classic BPF instruction, `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockFilter {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip when a condition holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// What comes out: all that seccomp(2) needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The filter, at most 4096 instructions, each for the memory of `struct sock_fprog`.
    pub instructions: Vec<SockFilter>,
    /// The flags for `SECCOMP_SET_MODE_FILTER`: the profile's, and what the filter needs.
    pub flags: Flags,
    /// Names that no architecture knows, each once, in the profile's order.
    pub unknown: Vec<String>,
    /// Whether seccomp(2) returns a listener's descriptor that somebody has to serve.
    pub notify: bool,
}
