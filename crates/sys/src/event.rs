//! Waiting: poll(2), eventfd(2), signalfd(2), inotify(7), pipes.

use core::ffi::CStr;

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, BorrowedFd, OwnedFd, own_result};
use crate::numbers as nr;
use crate::signal;
use crate::time::Timespec;

flags! {
    /// What poll(2) waits for, and what happened.
    pub struct PollFlags: u16 {
        IN = 1,
        PRI = 2,
        OUT = 4,
        ERR = 8,
        HUP = 16,
        NVAL = 32,
    }
}

/// One descriptor to wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    fd: i32,
    events: PollFlags,
    /// What happened.
    pub happened: PollFlags,
}

impl PollFd {
    /// Waits on `fd` for `events`. The caller keeps the descriptor open.
    pub const fn new(fd: BorrowedFd<'_>, events: PollFlags) -> PollFd {
        PollFd { fd: fd.as_raw(), events, happened: PollFlags::NONE }
    }

    /// An entry that poll(2) passes over.
    pub const fn none() -> PollFd {
        PollFd { fd: -1, events: PollFlags::NONE, happened: PollFlags::NONE }
    }
}

/// ppoll(2): how many entries something happened to; 0 when the time is over. `EINTR` is the caller's.
pub fn poll(fds: &mut [PollFd], timeout: Option<Timespec>) -> Result<usize> {
    let mut time = timeout.unwrap_or_default();
    let time_arg = if timeout.is_some() { (&raw mut time) as usize } else { 0 };
    // SAFETY: the array is as long as said; no signal mask is passed.
    let ret = unsafe { syscall5(nr::PPOLL, fds.as_mut_ptr() as usize, fds.len(), time_arg, 0, 8) };
    Errno::check(ret)
}

/// Waits until `fd` is readable or its peer is gone; `false` when the time is over.
pub fn wait_readable(fd: impl AsFd, timeout: Option<Timespec>) -> Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::IN)];
    let mut time = timeout.unwrap_or_default();
    let time_arg = if timeout.is_some() { (&raw mut time) as usize } else { 0 };
    retry(|| {
        // The kernel writes the time that is left, so that an interrupted wait does not begin anew; see ppoll(2).
        // SAFETY: there is one entry, and no signal mask.
        Errno::check(unsafe { syscall5(nr::PPOLL, fds.as_mut_ptr() as usize, 1, time_arg, 0, 8) })
    })
    .map(|n| n > 0)
}

/// eventfd2(2), close-on-exec.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall2(nr::EVENTFD2, 0, 0o2000000) })
}

/// pipe2(2), close-on-exec: the end to read, the end to write.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1i32; 2];
    // SAFETY: two descriptors are stored.
    let ret = unsafe { syscall2(nr::PIPE2, fds.as_mut_ptr() as usize, 0o2000000) };
    Errno::check(ret)?;
    let [r, w] = fds;
    // SAFETY: both are new and ours.
    Ok(unsafe { (OwnedFd::from_raw(r), OwnedFd::from_raw(w)) })
}

/// signalfd4(2), close-on-exec and non-blocking: the signals of `set`, which the caller has blocked.
pub fn signalfd(set: signal::Set) -> Result<OwnedFd> {
    // SAFETY: the set is 8 bytes; -1 asks for a new descriptor.
    own_result(unsafe { syscall4(nr::SIGNALFD4, usize::MAX, (&raw const set) as usize, 8, 0o2004000) })
}

/// The next signal of a [`signalfd`]: its number, or `EAGAIN`.
pub fn next_signal(fd: impl AsFd) -> Result<i32> {
    // struct signalfd_siginfo: 128 bytes, the number first.
    let mut info = [0u32; 32];
    retry(|| {
        // SAFETY: the buffer is as long as said.
        Errno::check(unsafe { syscall3(nr::READ, fd.as_fd().arg(), info.as_mut_ptr() as usize, 128) })
    })
    .map(|_| info[0] as i32)
}

/// inotify_init1(2), close-on-exec.
pub fn inotify() -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall1(nr::INOTIFY_INIT1, 0o2000000) })
}

/// inotify_add_watch(2) for `IN_MODIFY` at `path`.
pub fn watch_modified(inotify: impl AsFd, path: &CStr) -> Result<i32> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe { syscall3(nr::INOTIFY_ADD_WATCH, inotify.as_fd().arg(), path.as_ptr() as usize, 2) };
    Errno::check(ret).map(|watch| watch as i32)
}
