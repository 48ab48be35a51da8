//! Files and directories: open(2), openat2(2), statx(2), memfd_create(2) and their kin.

use core::ffi::CStr;
use core::mem::{MaybeUninit, size_of};

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::mount::Attr;
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

/// The type bits of a mode; see inode(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // inode(7)'s names
pub enum FileType {
    Fifo,
    Character,
    Directory,
    Block,
    Regular,
    Symlink,
    Socket,
    Unknown,
}

impl FileType {
    /// The type that a mode's upper bits name.
    pub const fn from_mode(mode: u32) -> FileType {
        match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::Character,
            0o040000 => FileType::Directory,
            0o060000 => FileType::Block,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => FileType::Unknown,
        }
    }
}

/// What statx(2) tells of a file.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Major and minor number of the device that holds the file.
    pub dev: (u32, u32),
    /// Major and minor number that the file stands for, if it is a device.
    pub rdev: (u32, u32),
    /// Mount id, where asked for and known.
    pub mount: u64,
    /// Whether this is the root of a mount; `None` where the kernel does not say.
    pub mount_root: Option<bool>,
}

impl Stat {
    /// The type that the mode names.
    pub const fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }
}

#[repr(C)]
struct RawStatx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    _pad: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    times: [[u64; 2]; 4],
    rdev_major: u32,
    rdev_minor: u32,
    dev_major: u32,
    dev_minor: u32,
    mnt_id: u64,
    _spare: [u64; 13],
}

const ATTR_MOUNT_ROOT: u64 = 0x2000;

/// statx(2): what the file at `path` is. With an empty path and `EMPTY_PATH`, `dir` itself.
pub fn stat_at(dir: impl AsFd, path: &CStr, flags: AtFlags) -> Result<Stat> {
    const BASIC_STATS_AND_MNT_ID: usize = 0x7ff | 0x1000;
    let mut raw = MaybeUninit::<RawStatx>::zeroed();
    // SAFETY: the path ends in NUL, and `raw` is a statx structure that the kernel fills.
    let ret = unsafe {
        syscall5(
            nr::STATX,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            flags.bits() as usize,
            BASIC_STATS_AND_MNT_ID,
            raw.as_mut_ptr() as usize,
        )
    };
    Errno::check(ret)?;
    // SAFETY: all of the structure is integers, and it was zeroed.
    let raw = unsafe { raw.assume_init() };
    Ok(Stat {
        mode: u32::from(raw.mode),
        uid: raw.uid,
        gid: raw.gid,
        ino: raw.ino,
        size: raw.size,
        dev: (raw.dev_major, raw.dev_minor),
        rdev: (raw.rdev_major, raw.rdev_minor),
        mount: raw.mnt_id,
        mount_root: (raw.attributes_mask & ATTR_MOUNT_ROOT != 0).then_some(raw.attributes & ATTR_MOUNT_ROOT != 0),
    })
}

/// What the open file `fd` is.
pub fn stat(fd: impl AsFd) -> Result<Stat> {
    stat_at(fd, c"", AtFlags::EMPTY_PATH)
}

/// The magic number of the file system that holds `fd`; see statfs(2).
pub fn fs_magic(fd: impl AsFd) -> Result<u64> {
    // struct statfs: the type is the first word; 120 bytes in all.
    let mut raw = [0u64; 16];
    // SAFETY: the buffer is larger than struct statfs.
    let ret = unsafe { syscall2(nr::FSTATFS, fd.as_fd().arg(), raw.as_mut_ptr() as usize) };
    Errno::check(ret)?;
    Ok(raw[0])
}

/// The magic number of the file system at `path`.
pub fn fs_magic_at(path: &CStr) -> Result<u64> {
    let mut raw = [0u64; 16];
    // SAFETY: the path ends in NUL, and the buffer is larger than struct statfs.
    let ret = unsafe { syscall2(nr::STATFS, path.as_ptr() as usize, raw.as_mut_ptr() as usize) };
    Errno::check(ret)?;
    Ok(raw[0])
}

/// The attributes of the mount that holds `fd`, as far as fstatfs(2) tells them: no bit of the access time policy
/// means relatime, as in mount_setattr(2).
pub fn mount_flags(fd: impl AsFd) -> Result<Attr> {
    const FLAGS_WORD: usize = 10;
    const ROWS: [(u64, Attr); 7] = [
        (1, Attr::RDONLY),
        (2, Attr::NOSUID),
        (4, Attr::NODEV),
        (8, Attr::NOEXEC),
        (0x400, Attr::NOATIME),
        (0x800, Attr::NODIRATIME),
        (0x2000, Attr::NOSYMFOLLOW),
    ];
    let mut raw = [0u64; 16];
    // SAFETY: the buffer is larger than struct statfs.
    let ret = unsafe { syscall2(nr::FSTATFS, fd.as_fd().arg(), raw.as_mut_ptr() as usize) };
    Errno::check(ret)?;
    let flags = raw[FLAGS_WORD];
    Ok(ROWS.iter().filter(|(bit, _)| flags & bit != 0).fold(Attr::NONE, |all, (_, attr)| all | *attr))
}

/// Magic numbers of linux/magic.h.
pub mod magic {
    #![allow(missing_docs)]
    pub const RESCTRL: u64 = 0x7655821;
    pub const CGROUP: u64 = 0x27e0eb;
    pub const CGROUP2: u64 = 0x63677270;
    pub const PROC: u64 = 0x9fa0;
    pub const SYSFS: u64 = 0x62656572;
    pub const TMPFS: u64 = 0x01021994;
    pub const NSFS: u64 = 0x6e736673;
    pub const DEVPTS: u64 = 0x1cd1;
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

/// newfstatat(2): the mode of the file at `path`, links followed, with its type. What filters of system calls from
/// before Linux 4.11 know.
pub fn mode_at(dir: impl AsFd, path: &CStr) -> Result<u32> {
    // struct stat: 144 bytes on x86_64, 128 elsewhere, with the mode after a device, an inode and, there, a count.
    #[repr(C)]
    struct RawStat {
        before: [u64; if cfg!(target_arch = "x86_64") { 3 } else { 2 }],
        mode: u32,
        after: [u32; 32],
    }
    let mut raw = MaybeUninit::<RawStat>::zeroed();
    // SAFETY: the path ends in NUL, and `raw` is at least as large as a stat structure.
    let ret =
        unsafe { syscall4(nr::NEWFSTATAT, dir.as_fd().arg(), path.as_ptr() as usize, raw.as_mut_ptr() as usize, 0) };
    Errno::check(ret)?;
    // SAFETY: all of the structure is integers, and it was zeroed.
    Ok(unsafe { raw.assume_init() }.mode)
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

/// ftruncate(2).
pub fn truncate(fd: impl AsFd, size: u64) -> Result<()> {
    // SAFETY: integers only.
    let ret = unsafe { syscall2(nr::FTRUNCATE, fd.as_fd().arg(), size as usize) };
    Errno::check(ret).map(drop)
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

/// Whether a number is that of an open descriptor.
pub fn is_open(fd: i32) -> bool {
    const F_GETFD: usize = 1;
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::FCNTL, fd as usize, F_GETFD, 0) }).is_ok()
}
