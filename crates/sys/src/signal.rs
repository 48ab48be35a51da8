//! Signals: their numbers, and which of them are blocked or ignored; see signal(7). The numbers are those of every
//! architecture that orlop is for.

use core::mem::size_of;

use crate::arch::syscall4;
use crate::errno::{Errno, Result};
use crate::numbers as nr;

/// Ends a process, whatever it does.
pub const SIGKILL: i32 = 9;
/// Nobody reads what is written.
pub const SIGPIPE: i32 = 13;
/// Asks a process to end.
pub const SIGTERM: i32 = 15;
/// A child has ended.
pub const SIGCHLD: i32 = 17;
/// Stops a process, whatever it does.
pub const SIGSTOP: i32 = 19;
/// Urgent data have come.
pub const SIGURG: i32 = 23;
/// A filter of system calls has refused one.
pub const SIGSYS: i32 = 31;
/// The highest signal number.
pub const LAST: i32 = 64;

/// A set of signals, as rt_sigprocmask(2) takes it: bit `n - 1` is signal `n`.
pub type Set = u64;

/// Sets this thread's blocked signals, and returns those before.
pub fn set_mask(mask: Set) -> Result<Set> {
    const SIG_SETMASK: usize = 2;
    let mut old: Set = 0;
    // SAFETY: both sets are 8 bytes, as said.
    let ret = unsafe {
        syscall4(nr::RT_SIGPROCMASK, SIG_SETMASK, (&raw const mask) as usize, (&raw mut old) as usize, size_of::<Set>())
    };
    Errno::check(ret).map(|_| old)
}

/// Gives `signal` its default action again.
pub fn reset(signal: i32) -> Result<()> {
    // struct sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
    let action = [0usize; 4];
    // SAFETY: SIG_DFL runs no code of ours.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action.as_ptr() as usize, 0, 8) };
    Errno::check(ret).map(drop)
}

/// Gives every signal its default action, and blocks none: ignored signals and the mask survive execve(2).
pub fn reset_all() -> Result<()> {
    for signal in (1..=LAST).filter(|&signal| signal != SIGKILL && signal != SIGSTOP) {
        reset(signal)?;
    }
    set_mask(0).map(drop)
}

/// Makes this process ignore `signal`.
pub fn ignore(signal: i32) -> Result<()> {
    // SIG_IGN is 1.
    let action = [1usize, 0, 0, 0];
    // SAFETY: SIG_IGN runs no code of ours.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action.as_ptr() as usize, 0, 8) };
    Errno::check(ret).map(drop)
}

/// Whether this process ignores `signal`.
pub fn is_ignored(signal: i32) -> Result<bool> {
    let mut action = [0usize; 4];
    // SAFETY: `action` has the size of the kernel's struct sigaction.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, 0, action.as_mut_ptr() as usize, 8) };
    Errno::check(ret).map(|_| action[0] == 1)
}
