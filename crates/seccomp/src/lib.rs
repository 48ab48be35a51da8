//! Compiles an OCI seccomp profile into one BPF program.
//!
//! The crate is pure: no system call, no libseccomp, no `std`. It turns `linux.seccomp` of
//! config.json ([`Profile`]) into what seccomp(2) wants ([`Program`]); to load it is the
//! caller's.
//!
//! ```
//! use orlop_seccomp::{Action, Arch, Flags, Options, Profile, Rule, compile};
//!
//! let rules = [Rule { names: &["read", "write"], action: Action::Allow, errno_ret: None, args: &[] }];
//! let profile = Profile {
//!     default_action: Action::Errno,
//!     default_errno_ret: None,
//!     architectures: &[Arch::X86_64, Arch::X86, Arch::X32],
//!     flags: Flags::DEFAULT,
//!     rules: &rules,
//! };
//! let program = compile(&profile, &Options::default())?;
//! assert!(program.instructions.len() < 40 && !program.notify);
//! # Ok::<(), orlop_seccomp::Error>(())
//! ```
//!
//! # From rules to numbers
//!
//! A name is looked up once, in one sorted list for all architectures; its place there is
//! its row in each architecture's table of numbers (`table`). Each architecture then
//! gets, for every number, one of: the default action, a rule's action, or a graph of tests
//! on arguments. As with libseccomp:
//!
//! - a rule without conditions beats those with conditions, wherever it stands, and the first
//!   such rule beats later ones;
//! - a rule whose action is the default one says nothing;
//! - the conditions of a rule must all hold, unless two are for the same argument (runc's
//!   rule: then each stands for itself); of several rules for one call any may apply;
//! - where rules with different actions apply, higher arguments, equality and tighter bounds
//!   are looked at first; rules that say different things about the very same
//!   conditions are an error ([`Error::Conflict`]);
//! - 32-bit architectures, x32 and n32 compare lower halves only;
//! - where old C libraries call through socketcall(2) and ipc(2), a rule for one of the calls
//!   behind these is also one for the multiplexer with the call's number as its first argument;
//! - the native architecture is always filtered, and calls of one not named get
//!   [`Options::bad_arch`].
//!
//! As with runc, a number above all that the profile names is a call the profile's author did
//! not know, and fails with ENOSYS ([`NewerCalls`]). x32's own calls (512 to 547) and
//! ARM's private ones (from 0xf0000) lie above newer ones and are not taken for new.
//!
//! # From numbers to a program
//!
//! Numbers become ranges with the same outcome, neighbours merged, and the ranges a
//! balanced binary tree of comparisons, in which a single number amid another range costs one
//! test for equality. Trees, argument tests and the dispatch on the architecture are nodes of
//! one graph (`graph`): a node tests one 32-bit word of `struct seccomp_data` and has two
//! successors. Equal nodes are shared, and a test whose answer follows from those before it
//! is left out. A 64-bit comparison is two or three nodes, upper half first; each
//! architecture's byte order says where the halves are.
//!
//! Nodes are created after their successors, so the list of nodes written backwards is a
//! program that only jumps forwards, as classic BPF must. A word is loaded only where
//! the accumulator does not hold it. Returns are repeated, and jumps longer than the 8 bits
//! of a conditional one led over an unconditional one, where nothing nearer serves.
//!
//! The native architecture's test comes first. Calls that need no look at their arguments
//! are decided by loads of `arch` and `nr` alone: for these the kernel (5.11 and newer,
//! `seccomp_cache_prepare`) notes when the filter is loaded whether they are allowed, and
//! never runs the filter for one that is.
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
    /// The filter, 1 to 4096 instructions: what `struct sock_fprog` points to.
    pub instructions: Vec<SockFilter>,
    /// The flags for `SECCOMP_SET_MODE_FILTER`: the profile's, and what the filter needs.
    pub flags: Flags,
    /// Names that no architecture knows, each once, in the profile's order.
    pub unknown: Vec<String>,
    /// Whether seccomp(2) returns a listener's descriptor that somebody has to serve.
    pub notify: bool,
}
