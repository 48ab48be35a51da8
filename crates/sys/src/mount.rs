//! Mounts: fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2), mount(2), pivot_root(2).

use core::ffi::CStr;
use core::mem::size_of;

use crate::arch::{syscall2, syscall3, syscall5};
use crate::errno::{Errno, Result};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::fs::AtFlags;
use crate::numbers as nr;

flags! {
    /// Attributes of a mount; see mount_setattr(2).
    pub struct Attr: u64 {
        RDONLY = 0x1,
        NOSUID = 0x2,
        NODEV = 0x4,
        NOEXEC = 0x8,
        NOATIME = 0x10,
        STRICTATIME = 0x20,
        NODIRATIME = 0x80,
        IDMAP = 0x100000,
        NOSYMFOLLOW = 0x200000,
    }
}

impl Attr {
    /// The field of the access time policy; no bit of it set means relatime.
    pub const ATIME_MASK: Attr = Attr::from_bits(0x70);
}

flags! {
    /// How mounts and unmounts spread; see mount_namespaces(7). The values are mount(2)'s.
    pub struct Propagation: u64 {
        UNBINDABLE = 1 << 17,
        PRIVATE = 1 << 18,
        SLAVE = 1 << 19,
        SHARED = 1 << 20,
    }
}

flags! {
    /// Flags of mount(2).
    pub struct MsFlags: u64 {
        RDONLY = 1,
        NOSUID = 2,
        NODEV = 4,
        NOEXEC = 8,
        SYNCHRONOUS = 16,
        REMOUNT = 32,
        MANDLOCK = 64,
        DIRSYNC = 128,
        NOSYMFOLLOW = 256,
        NOATIME = 1024,
        NODIRATIME = 2048,
        BIND = 4096,
        MOVE = 8192,
        REC = 16384,
        SILENT = 32768,
        UNBINDABLE = 1 << 17,
        PRIVATE = 1 << 18,
        SLAVE = 1 << 19,
        SHARED = 1 << 20,
        RELATIME = 1 << 21,
        I_VERSION = 1 << 23,
        STRICTATIME = 1 << 24,
        LAZYTIME = 1 << 25,
    }
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: Attr,
    /// Attributes to clear.
    pub clear: Attr,
    /// Propagation to set, or none to leave it.
    pub propagation: Propagation,
    /// User namespace of an idmapped mount, with [`Attr::IDMAP`].
    pub userns_fd: u64,
}

/// Whether a call reaches the mounts below too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Reach {
    /// This mount only.
    One,
    /// This mount and all below.
    Tree,
}

impl Reach {
    const fn flag(self) -> usize {
        match self {
            Reach::One => 0,
            Reach::Tree => AtFlags::RECURSIVE.bits() as usize,
        }
    }
}

const CLOEXEC: usize = 0o2000000;

/// fsopen(2): a configuration of a new file system instance.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name ends in NUL; 1 is FSOPEN_CLOEXEC.
    own_result(unsafe { syscall2(nr::FSOPEN, fstype.as_ptr() as usize, 1) })
}

/// fsconfig(2): `key` without a value.
pub fn fsconfig_flag(fs: impl AsFd, key: &CStr) -> Result<()> {
    // SAFETY: the key ends in NUL.
    let ret = unsafe { syscall5(nr::FSCONFIG, fs.as_fd().arg(), 0, key.as_ptr() as usize, 0, 0) };
    Errno::check(ret).map(drop)
}

/// fsconfig(2): `key=value`.
pub fn fsconfig_string(fs: impl AsFd, key: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: both strings end in NUL.
    let ret = unsafe { syscall5(nr::FSCONFIG, fs.as_fd().arg(), 1, key.as_ptr() as usize, value.as_ptr() as usize, 0) };
    Errno::check(ret).map(drop)
}

/// fsconfig(2): makes the superblock.
pub fn fsconfig_create(fs: impl AsFd) -> Result<()> {
    // SAFETY: integers only.
    let ret = unsafe { syscall5(nr::FSCONFIG, fs.as_fd().arg(), 6, 0, 0, 0) };
    Errno::check(ret).map(drop)
}

/// fsmount(2): a detached mount of the configured file system.
pub fn fsmount(fs: impl AsFd, attr: Attr) -> Result<OwnedFd> {
    // SAFETY: integers only; 1 is FSMOUNT_CLOEXEC.
    own_result(unsafe { syscall3(nr::FSMOUNT, fs.as_fd().arg(), 1, attr.bits() as usize) })
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`; an empty path means `dir` itself.
pub fn clone_tree(dir: impl AsFd, path: &CStr, reach: Reach, flags: AtFlags) -> Result<OwnedFd> {
    let empty = if path.is_empty() { AtFlags::EMPTY_PATH.bits() as usize } else { 0 };
    // SAFETY: the path ends in NUL.
    own_result(unsafe {
        syscall3(
            nr::OPEN_TREE,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            1 | CLOEXEC | reach.flag() | empty | flags.bits() as usize,
        )
    })
}

/// move_mount(2): attaches the mount `from` on the file or directory `to`.
pub fn attach(from: impl AsFd, to: impl AsFd) -> Result<()> {
    const F_EMPTY_PATH: usize = 4;
    const T_EMPTY_PATH: usize = 0x40;
    let empty = c"".as_ptr() as usize;
    // SAFETY: both paths are the empty string.
    let ret = unsafe {
        syscall5(nr::MOVE_MOUNT, from.as_fd().arg(), empty, to.as_fd().arg(), empty, F_EMPTY_PATH | T_EMPTY_PATH)
    };
    Errno::check(ret).map(drop)
}

/// move_mount(2): attaches the mount `from` at a path, which is followed.
pub fn attach_at(from: impl AsFd, path: &CStr) -> Result<()> {
    const F_EMPTY_PATH: usize = 4;
    const T_SYMLINKS: usize = 0x10;
    // SAFETY: both paths end in NUL.
    let ret = unsafe {
        syscall5(
            nr::MOVE_MOUNT,
            from.as_fd().arg(),
            c"".as_ptr() as usize,
            crate::fd::CWD.arg(),
            path.as_ptr() as usize,
            F_EMPTY_PATH | T_SYMLINKS,
        )
    };
    Errno::check(ret).map(drop)
}

/// mount_setattr(2) at `path` below `dir`; an empty path means `dir` itself.
pub fn set_attr(dir: impl AsFd, path: &CStr, reach: Reach, attr: &MountAttr) -> Result<()> {
    let empty = if path.is_empty() { AtFlags::EMPTY_PATH.bits() as usize } else { 0 };
    // SAFETY: the path ends in NUL, and `attr` is a struct mount_attr of the size given.
    let ret = unsafe {
        syscall5(
            nr::MOUNT_SETATTR,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            empty | reach.flag(),
            core::ptr::from_ref(attr) as usize,
            size_of::<MountAttr>(),
        )
    };
    Errno::check(ret).map(drop)
}

/// mount(2).
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: MsFlags,
    data: Option<&CStr>,
) -> Result<()> {
    let raw = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as usize);
    // SAFETY: every string ends in NUL or is absent.
    let ret = unsafe {
        syscall5(nr::MOUNT, raw(source), target.as_ptr() as usize, raw(fstype), flags.bits() as usize, raw(data))
    };
    Errno::check(ret).map(drop)
}

/// umount2(2) with `MNT_DETACH`: the mount leaves the tree now, and ends with its last user.
pub fn detach(target: &CStr) -> Result<()> {
    // SAFETY: the path ends in NUL.
    Errno::check(unsafe { syscall2(nr::UMOUNT2, target.as_ptr() as usize, 2) }).map(drop)
}

/// The same of a path whose last component is no symbolic link.
pub fn detach_here(target: &CStr) -> Result<()> {
    const DETACH: usize = 2;
    const NOFOLLOW: usize = 8;
    // SAFETY: the path ends in NUL.
    Errno::check(unsafe { syscall2(nr::UMOUNT2, target.as_ptr() as usize, DETACH | NOFOLLOW) }).map(drop)
}

/// pivot_root(2).
pub fn pivot_root(new: &CStr, old: &CStr) -> Result<()> {
    // SAFETY: both paths end in NUL.
    let ret = unsafe { syscall2(nr::PIVOT_ROOT, new.as_ptr() as usize, old.as_ptr() as usize) };
    Errno::check(ret).map(drop)
}
