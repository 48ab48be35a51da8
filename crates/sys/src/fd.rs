//! Descriptors: owned ones close when dropped, borrowed ones live no longer than their owner.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use crate::arch::{syscall1, syscall2, syscall3};
use crate::errno::{Errno, Result, retry};
use crate::fs::OFlags;
use crate::numbers as nr;

/// A descriptor that this value closes when it is dropped.
#[repr(transparent)]
pub struct OwnedFd(i32);

/// A descriptor that somebody else owns for at least `'fd`.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct BorrowedFd<'fd>(i32, PhantomData<&'fd OwnedFd>);

/// The working directory, where a call takes a directory.
pub const CWD: BorrowedFd<'static> = BorrowedFd(-100, PhantomData);
/// Standard input.
pub const STDIN: BorrowedFd<'static> = BorrowedFd(0, PhantomData);
/// Standard output.
pub const STDOUT: BorrowedFd<'static> = BorrowedFd(1, PhantomData);
/// Standard error.
pub const STDERR: BorrowedFd<'static> = BorrowedFd(2, PhantomData);

impl OwnedFd {
    /// Takes a descriptor over.
    ///
    /// # Safety
    /// `raw` is an open descriptor that nobody else closes.
    pub const unsafe fn from_raw(raw: i32) -> OwnedFd {
        OwnedFd(raw)
    }

    /// The number, which stays owned by `self`.
    pub const fn as_raw(&self) -> i32 {
        self.0
    }

    /// Gives the number away, to be closed by whoever gets it.
    pub const fn into_raw(self) -> i32 {
        let this = ManuallyDrop::new(self);
        // `ManuallyDrop` keeps the descriptor open.
        let raw: *const OwnedFd = (&raw const this).cast();
        // SAFETY: `ManuallyDrop<OwnedFd>` has the layout of `OwnedFd`, and `this` is alive.
        unsafe { (*raw).0 }
    }

    /// Lends the descriptor.
    pub const fn borrow(&self) -> BorrowedFd<'_> {
        BorrowedFd(self.0, PhantomData)
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours. The kernel frees it whatever close(2) returns.
        unsafe { syscall1(nr::CLOSE, self.0 as usize) };
    }
}

/// Closes all of `fds`: neighbouring numbers with one close_range(2), for a kernel file costs less to close
/// than the call itself. Nobody else's descriptor can lie between two neighbours that are ours.
pub fn close_all(fds: impl IntoIterator<Item = OwnedFd>) {
    let mut run: Option<(i32, i32)> = None;
    for fd in fds {
        let fd = fd.into_raw();
        run = match run {
            Some((first, last)) if last + 1 == fd => Some((first, fd)),
            Some(whole) => {
                close_run(whole);
                Some((fd, fd))
            }
            None => Some((fd, fd)),
        };
    }
    if let Some(whole) = run {
        close_run(whole);
    }
}

/// Descriptors that are done with, closed together when it is dropped: see [`close_all`].
#[derive(Debug)]
pub struct Bin {
    held: [Option<OwnedFd>; Bin::ROOM],
    len: usize,
}

impl Default for Bin {
    fn default() -> Bin {
        Bin { held: [const { None }; Bin::ROOM], len: 0 }
    }
}

impl Bin {
    /// How many it holds: the limit on open files may be low.
    const ROOM: usize = 24;

    /// Takes one.
    pub fn throw(&mut self, fd: OwnedFd) {
        if self.len == Bin::ROOM {
            self.empty();
        }
        if let Some(place) = self.held.get_mut(self.len) {
            *place = Some(fd);
            self.len += 1;
        }
    }

    /// Closes what it holds.
    pub fn empty(&mut self) {
        let held = self.held.get_mut(..self.len).unwrap_or_default();
        held.sort_unstable_by_key(|fd| fd.as_ref().map_or(-1, OwnedFd::as_raw));
        close_all(held.iter_mut().filter_map(Option::take));
        self.len = 0;
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        self.empty();
    }
}

/// close_range(2): closes every descriptor from `first` to `last`.
///
/// # Safety
/// No value owns any of them any more.
pub unsafe fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: the caller vouches for the descriptors.
    Errno::check(unsafe { syscall3(nr::CLOSE_RANGE, first as usize, last as usize, 0) }).map(drop)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`: every descriptor from `first` on closes at exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only marks descriptors.
    Errno::check(unsafe { syscall3(nr::CLOSE_RANGE, first as usize, u32::MAX as usize, 4) }).map(drop)
}

/// close_range(2): closes every descriptor from `first` on. None of them may be owned by a value that is still to be
/// dropped: another file could have the number by then.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::CLOSE_RANGE, first as usize, u32::MAX as usize, 0) }).map(drop)
}

fn close_run((first, last): (i32, i32)) {
    if first == last {
        // SAFETY: the descriptor was given to us.
        unsafe { syscall1(nr::CLOSE, first as usize) };
    } else {
        // SAFETY: every descriptor of the run was given to us.
        unsafe { syscall3(nr::CLOSE_RANGE, first as usize, last as usize, 0) };
    }
}

impl<'fd> BorrowedFd<'fd> {
    /// Names a descriptor by number.
    ///
    /// # Safety
    /// `raw` stays open for `'fd`.
    pub const unsafe fn from_raw(raw: i32) -> BorrowedFd<'fd> {
        BorrowedFd(raw, PhantomData)
    }

    /// The number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// The number as an argument of a system call.
    #[inline(always)]
    pub(crate) const fn arg(self) -> usize {
        self.0 as isize as usize
    }
}

/// What can lend a descriptor.
pub trait AsFd {
    /// Lends it.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

impl AsFd for OwnedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.borrow()
    }
}

impl AsFd for BorrowedFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        *self
    }
}

impl<T: AsFd + ?Sized> AsFd for &T {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl fmt::Debug for OwnedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.0)
    }
}

impl fmt::Debug for BorrowedFd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.0)
    }
}

/// Whether `fd` closes at exec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExec {
    /// It is closed.
    Close,
    /// It stays open.
    Keep,
}

/// Sets what happens to `fd` at exec.
pub fn set_on_exec(fd: impl AsFd, on_exec: OnExec) -> Result<()> {
    const F_SETFD: usize = 2;
    let flag = usize::from(on_exec == OnExec::Close);
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::FCNTL, fd.as_fd().arg(), F_SETFD, flag) }).map(drop)
}

/// Sets the status flags `NONBLOCK` and `APPEND`; see F_SETFL in fcntl(2).
pub fn set_status(fd: impl AsFd, flags: OFlags) -> Result<()> {
    const F_SETFL: usize = 4;
    // SAFETY: integers only.
    let ret = unsafe { syscall3(nr::FCNTL, fd.as_fd().arg(), F_SETFL, flags.bits() as usize) };
    Errno::check(ret).map(drop)
}

/// How a file is open: its access mode and status flags; see F_GETFL in fcntl(2).
pub fn status(fd: impl AsFd) -> Result<OFlags> {
    const F_GETFL: usize = 3;
    // SAFETY: integers only.
    let ret = unsafe { syscall2(nr::FCNTL, fd.as_fd().arg(), F_GETFL) };
    Errno::check(ret).map(|flags| OFlags::from_bits(flags as u32))
}

/// A close-on-exec copy of `fd`, numbered `least` or higher.
pub fn duplicate(fd: impl AsFd, least: i32) -> Result<OwnedFd> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::FCNTL, fd.as_fd().arg(), F_DUPFD_CLOEXEC, least as usize) })
}

/// dup3(2) onto the number `to`, which stays open at exec. What `to` was is closed.
pub fn duplicate_onto(fd: impl AsFd, to: i32) -> Result<()> {
    // SAFETY: integers only; the caller means to replace `to`.
    retry(|| Errno::check(unsafe { syscall3(nr::DUP3, fd.as_fd().arg(), to as usize, 0) })).map(drop)
}

/// Whether a number is that of an open descriptor.
pub fn is_open(fd: i32) -> bool {
    const F_GETFD: usize = 1;
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::FCNTL, fd as usize, F_GETFD, 0) }).is_ok()
}

/// The descriptor that a call which opens has returned.
#[inline]
pub(crate) fn own_result(ret: isize) -> Result<OwnedFd> {
    // SAFETY: the call has just made this descriptor for us.
    Errno::check(ret).map(|fd| unsafe { OwnedFd::from_raw(fd as i32) })
}

/// The standard library's descriptors, for programs that embed orlop.
#[cfg(feature = "std")]
mod std_fd {
    use std::os::fd;
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

    use super::{BorrowedFd, OwnedFd};

    impl From<OwnedFd> for fd::OwnedFd {
        fn from(fd: OwnedFd) -> fd::OwnedFd {
            // SAFETY: `into_raw` gives up an open descriptor, and nobody else closes it.
            unsafe { fd::OwnedFd::from_raw_fd(fd.into_raw()) }
        }
    }

    impl From<fd::OwnedFd> for OwnedFd {
        fn from(fd: fd::OwnedFd) -> OwnedFd {
            // SAFETY: `into_raw_fd` gives up an open descriptor, and nobody else closes it.
            unsafe { OwnedFd::from_raw(fd.into_raw_fd()) }
        }
    }

    impl fd::AsFd for OwnedFd {
        fn as_fd(&self) -> fd::BorrowedFd<'_> {
            // SAFETY: open for as long as `self` lives.
            unsafe { fd::BorrowedFd::borrow_raw(self.as_raw()) }
        }
    }

    impl<'fd> From<fd::BorrowedFd<'fd>> for BorrowedFd<'fd> {
        fn from(fd: fd::BorrowedFd<'fd>) -> BorrowedFd<'fd> {
            // SAFETY: open for `'fd`.
            unsafe { BorrowedFd::from_raw(fd.as_raw_fd()) }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::os::fd::{self, AsRawFd};

        use super::super::{AsFd, BorrowedFd, OwnedFd};

        #[test]
        fn descriptors_cross_over_and_back() {
            let file = std::fs::File::open("/dev/null").unwrap();
            let number = file.as_raw_fd();
            assert_eq!(BorrowedFd::from(fd::AsFd::as_fd(&file)).as_raw(), number);
            let ours = OwnedFd::from(fd::OwnedFd::from(file));
            assert_eq!(AsFd::as_fd(&ours).as_raw(), number);
            assert_eq!(fd::AsFd::as_fd(&ours).as_raw_fd(), number);
            assert_eq!(fd::OwnedFd::from(ours).as_raw_fd(), number);
        }
    }
}
