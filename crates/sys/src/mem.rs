//! Memory: mmap(2), and the shared mapping of two processes.

use crate::arch::{syscall2, syscall6};
use crate::errno::{Errno, Result};
use crate::fd::AsFd;
use crate::numbers as nr;

const READ_WRITE: usize = 3;

/// A shared, writable mapping of a file, unmapped when dropped.
pub struct Shared {
    start: *mut u8,
    len: usize,
}

impl Shared {
    /// Maps the first `len` bytes of `fd`, which must be that long for as long as the mapping lives.
    pub fn map(fd: impl AsFd, len: usize) -> Result<Shared> {
        const MAP_SHARED: usize = 1;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let ret = unsafe { syscall6(nr::MMAP, 0, len, READ_WRITE, MAP_SHARED, fd.as_fd().arg(), 0) };
        Ok(Shared { start: Errno::check(ret)? as *mut u8, len })
    }

    /// Where it starts.
    pub const fn start(&self) -> *mut u8 {
        self.start
    }

    /// How long it is.
    pub const fn size(&self) -> usize {
        self.len
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        unsafe { syscall2(nr::MUNMAP, self.start as usize, self.len) };
    }
}

/// Anonymous private memory for an allocator, which never gives it back.
pub fn anonymous(len: usize) -> Result<*mut u8> {
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let ret = unsafe { syscall6(nr::MMAP, 0, len, READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0) };
    Errno::check(ret).map(|at| at as *mut u8)
}
