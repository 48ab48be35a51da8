//! What a file, its file system and its mount are: statx(2), statfs(2).

use core::ffi::CStr;
use core::mem::MaybeUninit;

use super::AtFlags;
use crate::arch::{syscall2, syscall4, syscall5};
use crate::errno::{Errno, Result};
use crate::fd::AsFd;
use crate::mount::Attr;
use crate::numbers as nr;

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
