//! What is in an open file or directory: reading, writing, its length, its locks; and files without a name.

use core::ffi::CStr;

use crate::arch::{syscall2, syscall3, syscall4};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::numbers as nr;

/// read(2): how many bytes came; 0 at the end.
pub fn read(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
    retry(|| {
        // SAFETY: the buffer is as long as said.
        Errno::check(unsafe { syscall3(nr::READ, fd.as_fd().arg(), buf.as_mut_ptr() as usize, buf.len()) })
    })
}

/// pread(2).
pub fn read_from(fd: impl AsFd, buf: &mut [u8], offset: u64) -> Result<usize> {
    retry(|| {
        // SAFETY: the buffer is as long as said.
        Errno::check(unsafe {
            syscall4(nr::PREAD64, fd.as_fd().arg(), buf.as_mut_ptr() as usize, buf.len(), offset as usize)
        })
    })
}

/// write(2): how many bytes went.
pub fn write(fd: impl AsFd, buf: &[u8]) -> Result<usize> {
    retry(|| {
        // SAFETY: the buffer is as long as said.
        Errno::check(unsafe { syscall3(nr::WRITE, fd.as_fd().arg(), buf.as_ptr() as usize, buf.len()) })
    })
}

/// Writes all of `buf`.
pub fn write_all(fd: impl AsFd, mut buf: &[u8]) -> Result<()> {
    while !buf.is_empty() {
        match write(&fd, buf)? {
            0 => return Err(Errno::IO),
            n => buf = buf.get(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// writev(2) with up to four parts: how many bytes went.
pub fn write_parts(fd: impl AsFd, parts: &[&[u8]]) -> Result<usize> {
    let mut raw = [[0usize; 2]; 4];
    let mut n = 0;
    for (slot, part) in raw.iter_mut().zip(parts) {
        *slot = [part.as_ptr() as usize, part.len()];
        n += 1;
    }
    retry(|| {
        // SAFETY: every part is as long as said.
        Errno::check(unsafe { syscall3(nr::WRITEV, fd.as_fd().arg(), raw.as_ptr() as usize, n) })
    })
}

/// lseek(2) from the start.
pub fn seek_to(fd: impl AsFd, offset: u64) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::LSEEK, fd.as_fd().arg(), offset as usize, 0) }).map(drop)
}

/// copy of up to `len` bytes between two files with sendfile(2): how many went.
pub fn sendfile(to: impl AsFd, from: impl AsFd, len: usize) -> Result<usize> {
    retry(|| {
        // SAFETY: no offset is passed.
        Errno::check(unsafe { syscall4(nr::SENDFILE, to.as_fd().arg(), from.as_fd().arg(), 0, len) })
    })
}

/// ftruncate(2).
pub fn truncate(fd: impl AsFd, size: u64) -> Result<()> {
    // SAFETY: integers only.
    let ret = unsafe { syscall2(nr::FTRUNCATE, fd.as_fd().arg(), size as usize) };
    Errno::check(ret).map(drop)
}

/// getdents64(2): fills `buf` with directory entries, to be walked with [`entries`].
pub fn read_dir(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is as long as said.
    Errno::check(unsafe { syscall3(nr::GETDENTS64, fd.as_fd().arg(), buf.as_mut_ptr() as usize, buf.len()) })
}

/// The names in a buffer that [`read_dir`] filled, `.` and `..` left out, with their `d_type`.
pub fn entries(mut buf: &[u8]) -> impl Iterator<Item = (&CStr, u8)> {
    core::iter::from_fn(move || {
        loop {
            let len = u16::from_ne_bytes(buf.get(16..18)?.try_into().ok()?);
            let kind = *buf.get(18)?;
            let name = CStr::from_bytes_until_nul(buf.get(19..usize::from(len))?).ok()?;
            buf = buf.get(usize::from(len)..)?;
            if name != c"." && name != c".." {
                return Some((name, kind));
            }
        }
    })
}

/// How flock(2) waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// Exclusive; waits.
    Exclusive,
    /// Exclusive, or `EWOULDBLOCK` at once.
    TryExclusive,
    /// Shared; waits.
    Shared,
    /// Shared, or `EWOULDBLOCK` at once.
    TryShared,
    /// None any more.
    Release,
}

/// flock(2).
pub fn lock(fd: impl AsFd, how: Lock) -> Result<()> {
    let op = match how {
        Lock::Shared => 1,
        Lock::TryShared => 1 | 4,
        Lock::Release => 8,
        Lock::Exclusive => 2,
        Lock::TryExclusive => 2 | 4,
    };
    // SAFETY: integers only.
    retry(|| Errno::check(unsafe { syscall2(nr::FLOCK, fd.as_fd().arg(), op) })).map(drop)
}

flags! {
    /// What memfd_create(2) is to make.
    pub struct MemfdFlags: u32 {
        CLOEXEC = 1,
        ALLOW_SEALING = 2,
        NOEXEC_SEAL = 8,
        EXEC = 16,
    }
}

flags! {
    /// What a seal forbids; see F_ADD_SEALS in fcntl(2).
    pub struct Seals: u32 {
        SEAL = 1,
        SHRINK = 2,
        GROW = 4,
        WRITE = 8,
        FUTURE_WRITE = 16,
        EXEC = 32,
    }
}

/// memfd_create(2).
pub fn memfd(name: &CStr, flags: MemfdFlags) -> Result<OwnedFd> {
    // SAFETY: the name ends in NUL.
    own_result(unsafe {
        syscall2(nr::MEMFD_CREATE, name.as_ptr() as usize, (flags | MemfdFlags::CLOEXEC).bits() as usize)
    })
}

/// Adds seals to a memfd; see fcntl(2).
pub fn seal(fd: impl AsFd, seals: Seals) -> Result<()> {
    const F_ADD_SEALS: usize = 1033;
    // SAFETY: integers only.
    let ret = unsafe { syscall3(nr::FCNTL, fd.as_fd().arg(), F_ADD_SEALS, seals.bits() as usize) };
    Errno::check(ret).map(drop)
}
