//! Names: opening, making, moving and removing what is at a path, and where paths start.

use core::ffi::CStr;
use core::mem::size_of;

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::numbers as nr;

flags! {
    /// How a file is opened; see open(2). `CLOEXEC` is set by every call here that opens.
    pub struct OFlags: u32 {
        WRONLY = 1,
        RDWR = 2,
        CREAT = 0o100,
        EXCL = 0o200,
        NOCTTY = 0o400,
        TRUNC = 0o1000,
        APPEND = 0o2000,
        NONBLOCK = 0o4000,
        DIRECTORY = DIRECTORY_BIT,
        NOFOLLOW = NOFOLLOW_BIT,
        TMPFILE = 0o20000000 | DIRECTORY_BIT,
        CLOEXEC = 0o2000000,
        PATH = 0o10000000,
    }
}

/// arm64 numbers these two its own way; see its uapi/asm/fcntl.h.
const DIRECTORY_BIT: u32 = if cfg!(target_arch = "aarch64") { 0o40000 } else { 0o200000 };
const NOFOLLOW_BIT: u32 = if cfg!(target_arch = "aarch64") { 0o100000 } else { 0o400000 };

impl OFlags {
    /// Open for reading: no bit at all.
    pub const RDONLY: OFlags = OFlags::NONE;
}

flags! {
    /// How openat2(2) may resolve a path.
    pub struct Resolve: u64 {
        NO_XDEV = 1,
        NO_MAGICLINKS = 2,
        NO_SYMLINKS = 4,
        BENEATH = 8,
        IN_ROOT = 16,
    }
}

flags! {
    /// The `AT_*` bits that most calls with a directory and a path share.
    pub struct AtFlags: u32 {
        SYMLINK_NOFOLLOW = 0x100,
        EACCESS = 0x200,
        REMOVEDIR = 0x200,
        EMPTY_PATH = 0x1000,
        RECURSIVE = 0x8000,
    }
}

/// openat(2), close-on-exec. `mode` counts when the file is created.
pub fn open_at(dir: impl AsFd, path: &CStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    retry(|| {
        // SAFETY: the path ends in NUL.
        own_result(unsafe {
            syscall4(nr::OPENAT, dir.as_fd().arg(), path.as_ptr() as usize, flags.bits() as usize, mode as usize)
        })
    })
}

/// openat2(2), close-on-exec, resolving as `resolve` says.
pub fn open_at2(dir: impl AsFd, path: &CStr, flags: OFlags, mode: u32, resolve: Resolve) -> Result<OwnedFd> {
    let how: [u64; 3] = [u64::from((flags | OFlags::CLOEXEC).bits()), u64::from(mode), resolve.bits()];
    // RESOLVE_IN_ROOT gives EAGAIN when a rename raced with the walk; the man page says to try again.
    let mut raced = 0;
    loop {
        // SAFETY: the path ends in NUL, and `how` is a struct open_how of the size given.
        let done = own_result(unsafe {
            syscall4(
                nr::OPENAT2,
                dir.as_fd().arg(),
                path.as_ptr() as usize,
                how.as_ptr() as usize,
                size_of::<[u64; 3]>(),
            )
        });
        match done {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if raced < 128 => raced += 1,
            done => return done,
        }
    }
}

/// mkdirat(2).
pub fn mkdir_at(dir: impl AsFd, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe { syscall3(nr::MKDIRAT, dir.as_fd().arg(), path.as_ptr() as usize, mode as usize) };
    Errno::check(ret).map(drop)
}

/// mknodat(2): `mode` with its type bits.
pub fn mknod_at(dir: impl AsFd, path: &CStr, mode: u32, major: u32, minor: u32) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe {
        syscall4(nr::MKNODAT, dir.as_fd().arg(), path.as_ptr() as usize, mode as usize, makedev(major, minor) as usize)
    };
    Errno::check(ret).map(drop)
}

/// The 32-bit device number that mknod(2) takes; see makedev(3).
pub const fn makedev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

/// symlinkat(2): a link at `path` that says `target`.
pub fn symlink_at(target: &CStr, dir: impl AsFd, path: &CStr) -> Result<()> {
    // SAFETY: both paths end in NUL.
    let ret = unsafe { syscall3(nr::SYMLINKAT, target.as_ptr() as usize, dir.as_fd().arg(), path.as_ptr() as usize) };
    Errno::check(ret).map(drop)
}

/// readlinkat(2): the length of what was written to `buf`, which is cut where it is too short.
pub fn readlink_at(dir: impl AsFd, path: &CStr, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the path ends in NUL, and the buffer is as long as said.
    let ret = unsafe {
        syscall4(nr::READLINKAT, dir.as_fd().arg(), path.as_ptr() as usize, buf.as_mut_ptr() as usize, buf.len())
    };
    Errno::check(ret)
}

/// unlinkat(2); `REMOVEDIR` for a directory.
pub fn unlink_at(dir: impl AsFd, path: &CStr, flags: AtFlags) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe { syscall3(nr::UNLINKAT, dir.as_fd().arg(), path.as_ptr() as usize, flags.bits() as usize) };
    Errno::check(ret).map(drop)
}

/// linkat(2) of an open file that has no name (`TMPFILE`), by its number in /proc.
pub fn link_file(file: impl AsFd, dir: impl AsFd, path: &CStr) -> Result<()> {
    const SYMLINK_FOLLOW: usize = 0x400;
    let mut source = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let mut number = file.as_fd().as_raw().unsigned_abs();
    let mut digits = [0u8; 10];
    let mut len = 0;
    for digit in &mut digits {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    let room = source.get_mut(14..).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(digits.iter().take(len).rev()) {
        *to = *from;
    }
    // SAFETY: both paths end in NUL: the first has room for ten digits and one.
    let ret = unsafe {
        syscall5(
            nr::LINKAT,
            crate::CWD.arg(),
            source.as_ptr() as usize,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            SYMLINK_FOLLOW,
        )
    };
    Errno::check(ret).map(drop)
}

/// renameat2(2).
pub fn rename_at(from: impl AsFd, old: &CStr, to: impl AsFd, new: &CStr) -> Result<()> {
    // SAFETY: both paths end in NUL.
    let ret = unsafe {
        syscall5(nr::RENAMEAT2, from.as_fd().arg(), old.as_ptr() as usize, to.as_fd().arg(), new.as_ptr() as usize, 0)
    };
    Errno::check(ret).map(drop)
}

/// faccessat2(2): whether the caller may do what `mode` asks (4 read, 2 write, 1 execute).
pub fn access_at(dir: impl AsFd, path: &CStr, mode: u32, flags: AtFlags) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe {
        syscall4(nr::FACCESSAT2, dir.as_fd().arg(), path.as_ptr() as usize, mode as usize, flags.bits() as usize)
    };
    Errno::check(ret).map(drop)
}

/// faccessat(2) without flags, by the real ids: what filters of system calls from before Linux 5.8 know.
pub fn access_by_real_ids_at(dir: impl AsFd, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe { syscall3(nr::FACCESSAT, dir.as_fd().arg(), path.as_ptr() as usize, mode as usize) };
    Errno::check(ret).map(drop)
}

/// fchmodat(2): follows symbolic links.
pub fn chmod_at(dir: impl AsFd, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe { syscall3(nr::FCHMODAT, dir.as_fd().arg(), path.as_ptr() as usize, mode as usize) };
    Errno::check(ret).map(drop)
}

/// fchmod(2).
pub fn chmod(fd: impl AsFd, mode: u32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall2(nr::FCHMOD, fd.as_fd().arg(), mode as usize) }).map(drop)
}

/// fchownat(2); an empty path with `EMPTY_PATH` means `dir` itself. `u32::MAX` leaves an id alone.
pub fn chown_at(dir: impl AsFd, path: &CStr, uid: u32, gid: u32, flags: AtFlags) -> Result<()> {
    // SAFETY: the path ends in NUL.
    let ret = unsafe {
        syscall5(
            nr::FCHOWNAT,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            uid as usize,
            gid as usize,
            flags.bits() as usize,
        )
    };
    Errno::check(ret).map(drop)
}

/// umask(2): the mask before.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: integers only; it cannot fail.
    unsafe { syscall1(nr::UMASK, mask as usize) as u32 }
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: the path ends in NUL.
    Errno::check(unsafe { syscall1(nr::CHDIR, path.as_ptr() as usize) }).map(drop)
}

/// fchdir(2).
pub fn fchdir(fd: impl AsFd) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall1(nr::FCHDIR, fd.as_fd().arg()) }).map(drop)
}

/// chroot(2).
pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: the path ends in NUL.
    Errno::check(unsafe { syscall1(nr::CHROOT, path.as_ptr() as usize) }).map(drop)
}

/// getcwd(2): the length with its NUL. A path outside the root begins with `(unreachable)`.
pub fn getcwd(buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is as long as said.
    Errno::check(unsafe { syscall2(nr::GETCWD, buf.as_mut_ptr() as usize, buf.len()) })
}
