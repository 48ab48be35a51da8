//! The container's root file system before the pivot: every path is resolved inside it by openat2(2), and
//! what is made is made below a directory that is already open.

use core::ffi::CStr;

use orlop_sys::fd::{BorrowedFd, OwnedFd};
use orlop_sys::fs::{AtFlags, OFlags, Resolve};
use orlop_sys::mount::{self, Reach};
use orlop_sys::{CWD, Errno, fs};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::mount::INSIDE;
use crate::step::{Call, DeviceKind, Follow, NodeBy, Slot, Text};

/// What the last component of a path is made as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaf {
    Directory,
    File,
}

/// Opens a path of the container, following its links inside the root.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> orlop_sys::Result<OwnedFd> {
    fs::open_at2(root, dot(path), flags, 0, INSIDE)
}

/// The root itself, in words that openat2(2) takes with every flag.
fn dot(path: &CStr) -> &CStr {
    if path.to_bytes() == b"/" { c"." } else { path }
}

/// A mount point.
pub(crate) struct Found {
    pub(crate) fd: OwnedFd,
    pub(crate) was_there: bool,
    /// Whether a symbolic link led there.
    pub(crate) linked: bool,
    /// The directory that it was made in.
    pub(crate) parent: Option<OwnedFd>,
}

/// Opens a path of the container; what is missing of it is made, directories with mode 0755.
pub(crate) fn open_or_make(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf, follow: Follow) -> Result<Found> {
    let mut linked = false;
    let opened = match follow {
        Follow::Links => match fs::open_at2(root, dot(path), OFlags::PATH, 0, INSIDE | Resolve::NO_SYMLINKS) {
            Err(Errno::LOOP) => {
                linked = true;
                open(root, path, OFlags::PATH)
            }
            done => done,
        },
        Follow::NotLast => {
            linked = true;
            open(root, path, OFlags::PATH | OFlags::NOFOLLOW)
        }
        // A directory as it stands, or nothing: the kernel says ELOOP to the first link.
        Follow::Nothing => fs::open_at2(root, path, OFlags::PATH | OFlags::DIRECTORY, 0, INSIDE | Resolve::NO_SYMLINKS),
    };
    match opened {
        Ok(fd) => Ok(Found { fd, was_there: true, linked, parent: None }),
        Err(Errno::NOENT) => make(root, path, leaf),
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) if follow == Follow::Nothing => {
            Err(Failure { call: Call::DirectoryCheck, errno })
        }
        Err(errno) => Err(Failure { call: Call::Openat2, errno }),
    }
}

/// The components of a path that are not `.`, each with the place where it ends.
fn components(path: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut end = 0;
    path.split(|&b| b == b'/').filter_map(move |name| {
        end += name.len() + 1;
        (!name.is_empty() && name != b".").then_some((name, end - 1))
    })
}

/// A path with room for a NUL, so that each of its prefixes can be passed to the kernel.
pub(crate) struct PathBuf([u8; 4097]);

impl PathBuf {
    pub(crate) fn new() -> PathBuf {
        PathBuf([0; 4097])
    }

    pub(crate) fn set(&mut self, path: &[u8]) -> Result<&CStr> {
        let too_long = Failure { call: Call::Openat2, errno: Errno::NAMETOOLONG };
        let room = self.0.get_mut(..=path.len()).ok_or(too_long)?;
        let (last, text) = room.split_last_mut().ok_or(BROKEN)?;
        text.copy_from_slice(path);
        *last = 0;
        CStr::from_bytes_with_nul(room).map_err(|_| BROKEN)
    }

    /// The same from its bytes, one after the other.
    pub(crate) fn fill(&mut self, bytes: impl Iterator<Item = u8>) -> Result<&CStr> {
        let mut len = 0;
        for byte in bytes.chain([0]) {
            let too_long = Failure { call: Call::Openat2, errno: Errno::NAMETOOLONG };
            *self.0.get_mut(len).ok_or(too_long)? = byte;
            len += 1;
        }
        CStr::from_bytes_with_nul(self.0.get(..len).ok_or(BROKEN)?).map_err(|_| BROKEN)
    }

    /// Puts what a link says in its place; returns the new length. The link is in the directory `here`.
    fn expand(&mut self, len: usize, start: usize, end: usize, here: BorrowedFd<'_>) -> Result<usize> {
        let too_long = Failure { call: Call::Readlinkat, errno: Errno::NAMETOOLONG };
        let mut old = PathBuf::new();
        old.set(self.0.get(..len).ok_or(BROKEN)?)?;
        let mut name = PathBuf::new();
        let name = name.set(old.0.get(start..end).ok_or(BROKEN)?)?;
        let mut link = [0u8; 4096];
        let n = fs::readlink_at(here, name, &mut link).at(Call::Readlinkat)?;
        let link = link.get(..n).ok_or(too_long)?;
        let keep = if link.first() == Some(&b'/') { 0 } else { start };
        let mut at = keep;
        for part in [link, old.0.get(end..len).ok_or(BROKEN)?] {
            let to = self.0.get_mut(at..at + part.len()).ok_or(too_long)?;
            to.copy_from_slice(part);
            at += part.len();
        }
        Ok(at)
    }
}

fn make(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf) -> Result<Found> {
    let path = path.to_bytes();
    let mut buf = PathBuf::new();
    // Most often only the last component is missing.
    let (above, name) = split(path)?;
    if name == b".." {
        return Err(Failure { call: Call::Openat2, errno: Errno::NOENT });
    }
    let parent = match open(root, buf.set(if above.is_empty() { b"." } else { above })?, OFlags::PATH) {
        Err(Errno::NOENT) => return make_all(root, path, leaf),
        done => done.at(Call::Openat2)?,
    };
    match make_one(parent.borrow(), buf.set(name)?, leaf) {
        Err(Failure { errno: Errno::LOOP, .. }) => make_all(root, path, leaf),
        made => made.map(|(fd, was_there)| Found { fd, was_there, linked: true, parent: Some(parent) }),
    }
}

/// Makes what is missing, from the top on. A link that leads nowhere yet is followed inside the root, as the container
/// will follow it, and what it names is made.
#[inline(never)]
fn make_all(root: BorrowedFd<'_>, path: &[u8], leaf: Leaf) -> Result<Found> {
    // As many as the kernel follows.
    const LINKS: usize = 40;
    let mut expanded = PathBuf::new();
    let mut len = expanded.set(path)?.count_bytes();
    for _ in 0..LINKS {
        match walk(root, expanded.0.get(..len).ok_or(BROKEN)?, leaf)? {
            Walk::Done(fd, was_there) => return Ok(Found { fd, was_there, linked: true, parent: None }),
            Walk::Link { start, end, parent } => {
                let here = parent.as_ref().map_or(root, OwnedFd::borrow);
                len = expanded.expand(len, start, end, here)?;
            }
        }
    }
    Err(Failure { call: Call::Openat2, errno: Errno::LOOP })
}

/// How far a walk came.
enum Walk {
    /// To its end, and whether somebody else made that meanwhile.
    Done(OwnedFd, bool),
    /// To a dangling link, at these bytes of the path, in that directory.
    Link { start: usize, end: usize, parent: Option<OwnedFd> },
}

fn walk(root: BorrowedFd<'_>, path: &[u8], leaf: Leaf) -> Result<Walk> {
    let last = components(path).map(|(_, end)| end).last().ok_or(BROKEN)?;
    let mut buf = PathBuf::new();
    let mut parent: Option<OwnedFd> = None;
    let mut was_there = true;
    for (name, end) in components(path) {
        let here = parent.as_ref().map_or(root, OwnedFd::borrow);
        // By the whole prefix, so that a link on the way is followed as it will be in the container.
        let prefix = buf.set(path.get(..end).ok_or(BROKEN)?)?;
        let next = match open(root, prefix, OFlags::PATH) {
            Ok(fd) => {
                was_there = true;
                fd
            }
            Err(Errno::NOENT) if name == b".." => {
                return Err(Failure { call: Call::Openat2, errno: Errno::NOENT });
            }
            Err(Errno::NOENT) => {
                let leaf = if end == last { leaf } else { Leaf::Directory };
                match make_one(here, buf.set(name)?, leaf) {
                    Err(Failure { errno: Errno::LOOP, .. }) => {
                        return Ok(Walk::Link { start: end.saturating_sub(name.len()), end, parent });
                    }
                    made => {
                        let (fd, there) = made?;
                        was_there = there;
                        fd
                    }
                }
            }
            Err(errno) => {
                return Err(Failure { call: Call::Openat2, errno });
            }
        };
        parent = Some(next);
    }
    parent.map(|fd| Walk::Done(fd, was_there)).ok_or(BROKEN)
}

/// Makes one file or directory below an open directory, and opens it without following anything: whoever
/// races with us can give us another file of the root, but none outside. `true` where somebody was faster: then it
/// may be anything, a part of procfs too.
fn make_one(parent: BorrowedFd<'_>, name: &CStr, leaf: Leaf) -> Result<(OwnedFd, bool)> {
    let (made, call) = match leaf {
        Leaf::Directory => (fs::mkdir_at(parent, name, 0o755), Call::Mkdirat),
        Leaf::File => (fs::mknod_at(parent, name, 0o100644, 0, 0), Call::Mknodat),
    };
    let was_there = match made {
        Ok(()) => false,
        Err(Errno::EXIST) => true,
        Err(errno) => return Err(Failure { call, errno }),
    };
    let resolve = Resolve::BENEATH | Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS;
    // With O_NOFOLLOW a link would be opened itself, whatever RESOLVE_NO_SYMLINKS says: openat2(2).
    Ok((fs::open_at2(parent, name, OFlags::PATH, 0, resolve).at(Call::Openat2)?, was_there))
}

/// Makes a mount point in the directory that the one before was made in: `/dev/shm` after `/dev/pts`. `None` where
/// that is another directory, or there is something already.
pub(crate) fn make_beside(ctx: &Context<'_>, path: Text, leaf: Leaf) -> Result<Option<Found>> {
    let (directory, name) = split(ctx.text(path)?.to_bytes())?;
    let Some((_, parent)) = ctx.parent.as_ref().filter(|(known, _)| *known == directory) else {
        return Ok(None);
    };
    Ok(match make_one(parent.borrow(), PathBuf::new().set(name)?, leaf) {
        Ok((fd, false)) => Some(Found { fd, was_there: false, linked: true, parent: None }),
        // What is in the way is told by the path.
        Ok((_, true)) | Err(Failure { errno: Errno::LOOP, .. }) => None,
        Err(failure) => return Err(failure),
    })
}

/// Keeps the directory that a mount point was made in.
pub(crate) fn keep_parent(ctx: &mut Context<'_>, path: Text, parent: OwnedFd) -> Result<()> {
    let (directory, _) = split(ctx.text(path)?.to_bytes())?;
    if let Some((_, old)) = ctx.parent.replace((directory, parent)) {
        ctx.leave(old);
    }
    Ok(())
}

/// A path's last component, and what is before it.
pub(crate) fn split(path: &[u8]) -> Result<(&[u8], &[u8])> {
    let (name, end) = components(path).last().ok_or(BROKEN)?;
    Ok((path.get(..end.checked_sub(name.len()).ok_or(BROKEN)?).ok_or(BROKEN)?, name))
}

/// Opens the directory that holds `path`'s last component, made where missing, as [`Context::parent`], and writes
/// that component to `buf`. Devices and links come in rows: the directory of the one before is used again.
fn enter_parent<'b>(ctx: &mut Context<'_>, root: Slot, path: Text, buf: &'b mut PathBuf) -> Result<&'b CStr> {
    let (directory, name) = split(ctx.text(path)?.to_bytes())?;
    if ctx.parent.as_ref().is_none_or(|(known, _)| *known != directory) {
        let shown = if directory.is_empty() { b"." } else { directory };
        let parent = open_or_make(ctx.fd(root)?, buf.set(shown)?, Leaf::Directory, Follow::Links)?;
        if let Some((_, old)) = ctx.parent.replace((directory, parent.fd)) {
            ctx.leave(old);
        }
    }
    buf.set(name)
}

fn parent<'c>(ctx: &'c Context<'_>) -> Result<BorrowedFd<'c>> {
    ctx.parent.as_ref().map(|(_, fd)| fd.borrow()).ok_or(BROKEN)
}

pub(crate) fn directory(ctx: &mut Context<'_>, root: Slot, path: Text, mode: u32) -> Result<()> {
    match open(ctx.fd(root)?, ctx.text(path)?, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(found) => {
            ctx.leave(found);
            return Ok(());
        }
        Err(Errno::NOENT) => {}
        Err(errno) => {
            return Err(Failure { call: Call::Openat2, errno });
        }
    }
    let mut buf = PathBuf::new();
    let name = enter_parent(ctx, root, path, &mut buf)?;
    match fs::mkdir_at(parent(ctx)?, name, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Failure { call: Call::Mkdirat, errno }),
    }
}

pub(crate) fn file(ctx: &mut Context<'_>, root: Slot, path: Text, out: Slot) -> Result<()> {
    let mut buf = PathBuf::new();
    let name = enter_parent(ctx, root, path, &mut buf)?;
    let (file, _) = make_one(parent(ctx)?, name, Leaf::File)?;
    ctx.put(out, file)
}

/// What a device node is made with.
pub(crate) struct Node {
    pub(crate) kind: DeviceKind,
    pub(crate) mode: u32,
    pub(crate) number: (u32, u32),
    pub(crate) owner: (u32, u32),
    pub(crate) by: NodeBy,
}

pub(crate) fn device(ctx: &mut Context<'_>, root: Slot, path: Text, node: &Node) -> Result<()> {
    let mut buf = PathBuf::new();
    let name = enter_parent(ctx, root, path, &mut buf)?;
    let parent = parent(ctx)?;
    if node.by == NodeBy::Bind {
        return bind_device(ctx.text(path)?, parent, name, node);
    }
    let (major, minor) = node.number;
    match fs::mknod_at(parent, name, node.kind.mode() | node.mode, major, minor) {
        Ok(()) => {}
        // An image may bring its devices; only the same one will do.
        Err(Errno::EXIST) => {
            let stat = fs::stat_at(parent, name, AtFlags::SYMLINK_NOFOLLOW).at(Call::Statx)?;
            let same = node.kind.is(stat.file_type()) && (node.kind == DeviceKind::Fifo || stat.rdev == node.number);
            if !same {
                return Err(Failure { call: Call::DeviceCheck, errno: Errno::EXIST });
            }
        }
        Err(errno) => {
            return Err(Failure { call: Call::Mknodat, errno });
        }
    }
    let (uid, gid) = node.owner;
    if uid != 0 || gid != 0 {
        fs::chown_at(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at(Call::Fchownat)?;
    }
    Ok(())
}

/// The node of the host at the same path, if it is that device.
fn bind_device(path: &CStr, parent: BorrowedFd<'_>, name: &CStr, node: &Node) -> Result<()> {
    let tree = mount::clone_tree(CWD, path, Reach::One, AtFlags::NONE).at(Call::OpenTree)?;
    let stat = fs::stat(&tree).at(Call::Statx)?;
    if !node.kind.is(stat.file_type()) || stat.rdev != node.number {
        return Err(Failure { call: Call::DeviceCheck, errno: Errno::NODEV });
    }
    let (point, _) = make_one(parent, name, Leaf::File)?;
    mount::attach(&tree, &point).at(Call::MoveMount)
}

/// A link, or the same one that is there already.
pub(crate) fn copied_link(ctx: &mut Context<'_>, root: Slot, path: Text, target: &CStr) -> Result<()> {
    let mut buf = PathBuf::new();
    let name = enter_parent(ctx, root, path, &mut buf)?;
    match fs::symlink_at(target, parent(ctx)?, name) {
        Err(Errno::EXIST) => {}
        done => return done.at(Call::Symlinkat),
    }
    let mut there = [0u8; 4096];
    match fs::readlink_at(parent(ctx)?, name, &mut there) {
        Ok(len) if there.get(..len) == Some(target.to_bytes()) => Ok(()),
        Ok(_) | Err(Errno::INVAL) => Err(Failure { call: Call::LinkCheck, errno: Errno::EXIST }),
        Err(errno) => Err(Failure { call: Call::Readlinkat, errno }),
    }
}

pub(crate) fn symlink(ctx: &mut Context<'_>, root: Slot, path: Text, target: Text) -> Result<()> {
    let mut buf = PathBuf::new();
    let name = enter_parent(ctx, root, path, &mut buf)?;
    match fs::symlink_at(ctx.text(target)?, parent(ctx)?, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Failure { call: Call::Symlinkat, errno }),
    }
}
