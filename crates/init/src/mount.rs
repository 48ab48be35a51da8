//! Mounts, from descriptor to descriptor: no path is looked up twice, and none outside the root.

use core::ffi::CStr;

use orlop_sys::fd::{BorrowedFd, OwnedFd};
use orlop_sys::fs::{AtFlags, FileType, OFlags, Resolve};
use orlop_sys::mount::{self, Attr, MountAttr, MsFlags, Propagation, Reach};
use orlop_sys::{CWD, Errno, fs};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::root::{self, Leaf};
use crate::step::{Call, Follow, List, Make, ModeOf, NO_VALUE, OldRoot, OverProc, Param, Slot, Text};

pub(crate) fn root_propagation(propagation: Propagation, reach: Reach) -> Result<()> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount::set_attr(CWD, c"/", reach, &attr).at(Call::MountSetattr)
}

pub(crate) fn bind_root(ctx: &mut Context<'_>, path: Text, reach: Reach, out: Slot) -> Result<()> {
    let path = ctx.text(path)?;
    let tree = mount::clone_tree(CWD, path, reach, AtFlags::NONE).at(Call::OpenTree)?;
    mount::attach_at(&tree, path).at(Call::MoveMount)?;
    ctx.put(out, tree)
}

/// pivot_root(2) refuses a root whose parent mount is shared. The mount that holds `path` is the nearest
/// one above it, so walk up until one is found.
pub(crate) fn private_parent(ctx: &Context<'_>, path: Text) -> Result<()> {
    let attr = MountAttr { propagation: Propagation::PRIVATE, ..MountAttr::default() };
    let mut buf = [0u8; 4096];
    let path = ctx.text(path)?.to_bytes();
    buf.get_mut(..path.len())
        .ok_or(Failure { call: Call::MountSetattr, errno: Errno::NAMETOOLONG })?
        .copy_from_slice(path);
    let mut len = path.len();
    loop {
        let here = buf.get(..=len).and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok()).ok_or(BROKEN)?;
        match mount::set_attr(CWD, here, Reach::One, &attr) {
            Err(Errno::INVAL) if len > 1 => {}
            done => return done.at(Call::MountSetattr),
        }
        let parent = buf.get(..len).and_then(|bytes| bytes.iter().rposition(|&b| b == b'/')).unwrap_or(0);
        len = parent.max(1);
        *buf.get_mut(len).ok_or(BROKEN)? = 0;
    }
}

/// What a new file system is made with.
pub(crate) struct NewFs {
    pub(crate) fstype: Text,
    pub(crate) params: List<Param>,
    pub(crate) attr: Attr,
    pub(crate) mode_of: ModeOf,
    pub(crate) target: Slot,
}

pub(crate) fn make_fs(ctx: &mut Context<'_>, fs: &NewFs, out: Slot) -> Result<()> {
    let config = mount::fsopen(ctx.text(fs.fstype)?).at(Call::Fsopen)?;
    if fs.mode_of == ModeOf::Target && ctx.target_was_there {
        let mode = fs::stat(ctx.fd(fs.target)?).at(Call::Statx)?.mode;
        mount::fsconfig_string(&config, c"mode", octal(mode, &mut [0; 5])).at(Call::Fsconfig)?;
    }
    for (n, param) in ctx.blob.params(fs.params).iter().enumerate() {
        ctx.note(n as u32);
        let key = ctx.text(param.key)?;
        if param.value == NO_VALUE {
            mount::fsconfig_flag(&config, key).at(Call::Fsconfig)?;
        } else {
            mount::fsconfig_string(&config, key, ctx.text(param.value)?).at(Call::Fsconfig)?;
        }
    }
    mount::fsconfig_create(&config).at(Call::FsconfigCreate)?;
    let made = mount::fsmount(&config, fs.attr).at(Call::Fsmount)?;
    ctx.leave(config);
    ctx.put(out, made)
}

/// The permission bits in octal.
fn octal(mode: u32, digits: &mut [u8; 5]) -> &CStr {
    for (place, digit) in digits.iter_mut().take(4).enumerate() {
        *digit = b'0' + ((mode >> (9 - 3 * place)) & 7) as u8;
    }
    CStr::from_bytes_with_nul(digits).unwrap_or(c"0755")
}

pub(crate) fn clone_tree(ctx: &mut Context<'_>, path: Text, reach: Reach, out: Slot) -> Result<()> {
    let tree = mount::clone_tree(CWD, ctx.text(path)?, reach, AtFlags::NONE).at(Call::OpenTree)?;
    ctx.put(out, tree)
}

pub(crate) fn set_attr(ctx: &Context<'_>, mount: Slot, set: Attr, clear: Attr, reach: Reach) -> Result<()> {
    let attr = MountAttr { set, clear, ..MountAttr::default() };
    mount::set_attr(ctx.fd(mount)?, c"", reach, &attr).at(Call::MountSetattr)
}

pub(crate) fn set_propagation(ctx: &Context<'_>, mount: Slot, propagation: Propagation, reach: Reach) -> Result<()> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount::set_attr(ctx.fd(mount)?, c"", reach, &attr).at(Call::MountSetattr)
}

/// How a mount point is found.
pub(crate) struct MountPoint {
    pub(crate) root: Slot,
    pub(crate) path: Text,
    pub(crate) make: Make,
    pub(crate) like: Slot,
    pub(crate) over_proc: OverProc,
    pub(crate) follow: Follow,
}

pub(crate) fn target(ctx: &mut Context<'_>, point: &MountPoint, out: Slot) -> Result<()> {
    let leaf = match point.make {
        Make::Directory => Leaf::Directory,
        Make::File => Leaf::File,
        Make::LikeSource if fs::stat(ctx.fd(point.like)?).at(Call::Statx)?.is_dir() => Leaf::Directory,
        Make::LikeSource => Leaf::File,
    };
    let found = root::open_or_make(ctx.fd(point.root)?, ctx.text(point.path)?, leaf, point.follow)?;
    let on_proc = |fd: BorrowedFd<'_>| Ok(fs::fs_magic(fd).at(Call::Fstatfs)? == fs::magic::PROC);
    let refused = match point.over_proc {
        OverProc::Allowed => false,
        // What we could make just now is on no procfs.
        OverProc::Refused => found.was_there && on_proc(found.fd.borrow())?,
        OverProc::RefusedByLink => found.was_there && found.linked && on_proc(found.fd.borrow())?,
        OverProc::BySameKind => !on_proc(ctx.fd(point.like)?)?,
    };
    if refused {
        return Err(Failure { call: Call::ProcCheck, errno: Errno::PERM });
    }
    ctx.target_was_there = found.was_there;
    if let Some(parent) = found.parent {
        ctx.leave(parent);
    }
    ctx.put(out, found.fd)
}

pub(crate) fn attach(ctx: &mut Context<'_>, mount: Slot, target: Slot) -> Result<()> {
    // Another directory may be at that path from now on.
    if let Some((_, parent)) = ctx.parent.take() {
        ctx.leave(parent);
    }
    mount::attach(ctx.fd(mount)?, ctx.fd(target)?).at(Call::MoveMount)
}

/// CVE-2025-31133: what covers a masked file is the host's null device, opened before the container's own
/// tree is in reach, and checked to be that device.
pub(crate) fn open_null(ctx: &mut Context<'_>, out: Slot) -> Result<()> {
    let null = fs::open_at(CWD, c"/dev/null", OFlags::PATH | OFlags::NOFOLLOW, 0).at(Call::Open)?;
    let stat = fs::stat(&null).at(Call::Statx)?;
    if stat.file_type() != FileType::Character || stat.rdev != (1, 3) {
        return Err(Failure { call: Call::DeviceCheck, errno: Errno::NODEV });
    }
    ctx.put(out, null)
}

/// A look first: a mount on a missing path costs the kernel 100 µs, a stat 2.
fn open_if_there(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>> {
    match root::open(root, path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Failure { call: Call::Openat2, errno }),
    }
}

pub(crate) fn mask(ctx: &mut Context<'_>, root: Slot, path: Text, null: Slot) -> Result<()> {
    let Some(target) = open_if_there(ctx.fd(root)?, ctx.text(path)?)? else { return Ok(()) };
    let is_dir = fs::stat(&target).at(Call::Statx)?.is_dir();
    let cover = match (is_dir, &ctx.empty) {
        (true, None) => empty_directory(ctx)?,
        (true, Some(empty)) => clone_one(empty.borrow())?,
        (false, _) => clone_one(ctx.fd(null)?)?,
    };
    mount::attach(&cover, &target).at(Call::MoveMount)?;
    ctx.leave(target);
    if is_dir && ctx.empty.is_none() {
        ctx.empty = Some(cover);
    } else {
        ctx.leave(cover);
    }
    Ok(())
}

fn clone_one(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    mount::clone_tree(fd, c"", Reach::One, AtFlags::NONE).at(Call::OpenTree)
}

fn empty_directory(ctx: &Context<'_>) -> Result<OwnedFd> {
    let config = mount::fsopen(c"tmpfs").at(Call::Fsopen)?;
    mount::fsconfig_string(&config, c"nr_blocks", c"1").at(Call::Fsconfig)?;
    mount::fsconfig_string(&config, c"nr_inodes", c"1").at(Call::Fsconfig)?;
    mount::fsconfig_create(&config).at(Call::FsconfigCreate)?;
    let empty = mount::fsmount(&config, Attr::RDONLY).at(Call::Fsmount)?;
    ctx.leave(config);
    Ok(empty)
}

pub(crate) fn readonly_path(ctx: &Context<'_>, root: Slot, path: Text) -> Result<()> {
    let Some(target) = open_if_there(ctx.fd(root)?, ctx.text(path)?)? else { return Ok(()) };
    let copy = mount::clone_tree(&target, c"", Reach::Tree, AtFlags::NONE).at(Call::OpenTree)?;
    let attr = MountAttr { set: Attr::RDONLY, ..MountAttr::default() };
    mount::set_attr(&copy, c"", Reach::One, &attr).at(Call::MountSetattr)?;
    mount::attach(&copy, &target).at(Call::MoveMount)?;
    ctx.leave(target);
    ctx.leave(copy);
    Ok(())
}

/// pivot_root(2) with the same directory twice puts the old root over the new one, from where it is detached:
/// no directory for it is needed in the container.
pub(crate) fn pivot(ctx: &Context<'_>, root: Slot, spread: OldRoot) -> Result<()> {
    fs::fchdir(ctx.fd(root)?).at(Call::Fchdir)?;
    mount::pivot_root(c".", c".").at(Call::PivotRoot)?;
    if spread == OldRoot::MaySpread {
        // Nothing of the old root's end may reach the host: its mounts could be shared with it.
        let attr = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
        mount::set_attr(CWD, c".", Reach::Tree, &attr).at(Call::MountSetattr)?;
    }
    mount::detach(c".").at(Call::Umount2)?;
    fs::chdir(c"/").at(Call::Chdir)
}

/// Where `/` is the initial ramfs pivot_root(2) gives EINVAL: the root is moved over it instead.
pub(crate) fn move_root(ctx: &Context<'_>, root: Slot) -> Result<()> {
    fs::fchdir(ctx.fd(root)?).at(Call::Fchdir)?;
    mount::mount(Some(c"."), c"/", None, MsFlags::MOVE, None).at(Call::Mount)?;
    fs::chroot(c".").at(Call::Chroot)?;
    fs::chdir(c"/").at(Call::Chdir)
}

pub(crate) fn chroot(ctx: &Context<'_>, root: Slot) -> Result<()> {
    fs::fchdir(ctx.fd(root)?).at(Call::Fchdir)?;
    fs::chroot(c".").at(Call::Chroot)?;
    fs::chdir(c"/").at(Call::Chdir)
}

/// The one way in which a path of the container is resolved before the pivot.
pub(crate) const INSIDE: Resolve = Resolve::from_bits(Resolve::IN_ROOT.bits() | Resolve::NO_MAGICLINKS.bits());
