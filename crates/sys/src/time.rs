//! Clocks.

use crate::arch::{syscall2, syscall4};
use crate::errno::{Errno, Result};
use crate::numbers as nr;

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: i64,
}

impl Timespec {
    /// Milliseconds.
    pub const fn from_millis(ms: u64) -> Timespec {
        Timespec { sec: (ms / 1000) as i64, nsec: (ms % 1000 * 1_000_000) as i64 }
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> i64 {
        self.sec * 1_000_000_000 + self.nsec
    }
}

/// A clock of clock_gettime(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Clock {
    Realtime = 0,
    Monotonic = 1,
    Boottime = 7,
}

/// clock_gettime(2).
pub fn now(clock: Clock) -> Timespec {
    let mut out = Timespec::default();
    // SAFETY: `out` is a timespec; these clocks exist on every kernel that we run on.
    unsafe { syscall2(nr::CLOCK_GETTIME, clock as usize, (&raw mut out) as usize) };
    out
}

/// Sleeps for `time`, or until a signal comes (`EINTR`).
pub fn sleep(time: Timespec) -> Result<()> {
    // SAFETY: `time` is a timespec; the remainder is not asked for.
    let ret = unsafe { syscall4(nr::CLOCK_NANOSLEEP, 1, 0, (&raw const time) as usize, 0) };
    Errno::check(ret).map(drop)
}
