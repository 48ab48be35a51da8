//! Mounts, from descriptor to descriptor: no path is looked up twice, and none outside the root.

use core::ffi::CStr;
use core::sync::atomic::Ordering;

use orlop_sys::fd::{self, BorrowedFd, OwnedFd};
use orlop_sys::fs::{AtFlags, FileType, OFlags, Resolve};
use orlop_sys::mount::{self, Attr, MountAttr, MsFlags, Propagation, Reach};
use orlop_sys::{CWD, Errno, fs, net};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::plan::{ARRAYS_AT, EXCERPT_AT};
use crate::root::{self, Leaf};
use crate::step::{Call, Follow, List, Make, ModeOf, NO_VALUE, OldRoot, OverProc, Param, Slot, Text};

pub(crate) fn root_propagation(propagation: Propagation, reach: Reach) -> Result<()> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount::set_attr(CWD, c"/", reach, &attr).at(Call::MountSetattr)
}

pub(crate) fn bind_root(
    ctx: &mut Context<'_>,
    path: Text,
    reach: Reach,
    propagation: Propagation,
    out: Slot,
) -> Result<()> {
    let path = ctx.text(path)?;
    let tree = mount::clone_tree(CWD, path, reach, AtFlags::NONE).at(Call::OpenTree)?;
    if !propagation.is_empty() {
        let attr = MountAttr { propagation, ..MountAttr::default() };
        mount::set_attr(&tree, c"", reach, &attr).at(Call::MountSetattr)?;
    }
    mount::attach_at(&tree, path).at(Call::MoveMount)?;
    ctx.put(out, tree)
}

/// pivot_root(2) refuses a root whose parent mount is shared. The mount that holds `path` is the nearest
/// one above it, so walk up until one is found.
pub(crate) fn private_parent(ctx: &Context<'_>, path: Text, propagation: Propagation) -> Result<()> {
    let attr = MountAttr { propagation, ..MountAttr::default() };
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
    /// The host's mount to copy where a user namespace may not make its own, or [`NO_VALUE`].
    pub(crate) host: Text,
}

pub(crate) fn make_fs(ctx: &mut Context<'_>, fs: &NewFs, out: Slot) -> Result<()> {
    let made = match new_fs(ctx, fs) {
        // sysfs and mqueue are refused to who does not own the network or ipc namespace; cgroup2 gives EBUSY where
        // its options are another's.
        Err(failure @ Failure { errno: Errno::PERM | Errno::BUSY, .. }) if fs.host != NO_VALUE => {
            let tree = mount::clone_tree(CWD, ctx.text(fs.host)?, Reach::Tree, AtFlags::NONE).map_err(|_| failure)?;
            let attr = MountAttr { set: fs.attr, ..MountAttr::default() };
            mount::set_attr(&tree, c"", Reach::Tree, &attr).at(Call::MountSetattr)?;
            ctx.header.said.store(0, Ordering::Relaxed);
            tree
        }
        made => made?,
    };
    ctx.put(out, made)
}

fn new_fs(ctx: &mut Context<'_>, fs: &NewFs) -> Result<OwnedFd> {
    let config = mount::fsopen(ctx.text(fs.fstype)?).at(Call::Fsopen)?;
    match configured(ctx, fs, &config) {
        Ok(made) => {
            ctx.leave(config);
            Ok(made)
        }
        Err(failure) => {
            hear(ctx, &config);
            Err(failure)
        }
    }
}

fn configured(ctx: &mut Context<'_>, fs: &NewFs, config: &OwnedFd) -> Result<OwnedFd> {
    if fs.mode_of == ModeOf::Target && ctx.target_was_there {
        let mode = fs::stat(ctx.fd(fs.target)?).at(Call::Statx)?.mode;
        mount::fsconfig_string(config, c"mode", octal(mode, &mut [0; 5])).at(Call::Fsconfig)?;
    }
    for (n, param) in ctx.blob.params(fs.params).iter().enumerate() {
        ctx.note(n as u32);
        let key = ctx.text(param.key)?;
        if param.value == NO_VALUE {
            mount::fsconfig_flag(config, key).at(Call::Fsconfig)?;
        } else {
            mount::fsconfig_string(config, key, ctx.text(param.value)?).at(Call::Fsconfig)?;
        }
    }
    mount::fsconfig_create(config).at(Call::FsconfigCreate)?;
    mount::fsmount(config, fs.attr).at(Call::Fsmount)
}

/// Leaves word of what the kernel has to say of a file system that it does not make: a message for each read(2) of its
/// context, see fsopen(2). The last one is why.
fn hear(ctx: &mut Context<'_>, config: &OwnedFd) {
    let Some(room) = ctx.scratch.get_mut(EXCERPT_AT..ARRAYS_AT) else { return };
    let mut said = 0;
    while let Ok(n) = fs::read(config, room)
        && n > 0
    {
        said = n as u32;
    }
    ctx.header.said.store(said, Ordering::Relaxed);
}

/// What mount(2) is given.
pub(crate) struct OldMount {
    pub(crate) fstype: Text,
    pub(crate) source: Text,
    pub(crate) data: Text,
    pub(crate) flags: u32,
    pub(crate) root: Slot,
    pub(crate) path: Text,
    pub(crate) target: Slot,
}

/// mount(2) takes a path: a directory is the working directory, and a file gets that of its descriptor.
pub(crate) fn old_mount(ctx: &mut Context<'_>, mount: &OldMount, out: Slot) -> Result<()> {
    let flags = MsFlags::from_bits(u64::from(mount.flags));
    let (source, fstype, data) = (ctx.text(mount.source)?, ctx.text(mount.fstype)?, ctx.text(mount.data)?);
    let change = |path: &CStr| mount::mount(Some(source), path, Some(fstype), flags, Some(data)).at(Call::Mount);
    let target = ctx.fd(mount.target)?;
    if fs::stat(target).at(Call::Statx)?.is_dir() {
        fs::fchdir(target).at(Call::Fchdir)?;
        change(c".")?;
    } else {
        in_proc(target, change)?;
    }
    let made = if flags.contains(MsFlags::REMOUNT) {
        fd::duplicate(target, 0).at(Call::Dup3)?
    } else {
        // What is there now is the new mount.
        root::open(ctx.fd(mount.root)?, ctx.text(mount.path)?, OFlags::PATH).at(Call::Openat2)?
    };
    ctx.put(out, made)
}

/// The path of a descriptor in a /proc that is verified to be one: nobody of the container is in this mount namespace
/// yet, and whoever made it such that /proc is another file system's is refused.
fn in_proc(fd: BorrowedFd<'_>, work: impl FnOnce(&CStr) -> Result<()>) -> Result<()> {
    const PROC_ROOT: u64 = 1;
    let proc = fs::open_at(CWD, c"/proc", OFlags::PATH | OFlags::DIRECTORY, 0).at(Call::Open)?;
    let is_root = fs::stat(&proc).at(Call::Statx)?.ino == PROC_ROOT;
    if !is_root || fs::fs_magic(&proc).at(Call::Fstatfs)? != fs::magic::PROC {
        return Err(Failure { call: Call::ProcfsCheck, errno: Errno::PERM });
    }
    fs::fchdir(&proc).at(Call::Fchdir)?;
    let mut path = *b"self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    decimal(fd.as_raw() as u32, path.get_mut(8..).unwrap_or_default());
    work(CStr::from_bytes_until_nul(&path).map_err(|_| BROKEN)?)
}

/// Writes a number, with room for ten digits.
fn decimal(mut number: u32, out: &mut [u8]) {
    let mut digits = [0u8; 10];
    let mut first = digits.len();
    while first == digits.len() || number > 0 {
        first = first.saturating_sub(1);
        if let Some(digit) = digits.get_mut(first) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
    }
    for (to, digit) in out.iter_mut().zip(digits.get(first..).unwrap_or_default()) {
        *to = *digit;
    }
}

/// The permission bits in octal.
fn octal(mode: u32, digits: &mut [u8; 5]) -> &CStr {
    for (place, digit) in digits.iter_mut().take(4).enumerate() {
        *digit = b'0' + ((mode >> (9 - 3 * place)) & 7) as u8;
    }
    CStr::from_bytes_with_nul(digits).unwrap_or(c"0755")
}

/// What is copied.
pub(crate) struct Source {
    pub(crate) path: Text,
    pub(crate) reach: Reach,
    pub(crate) follow: Follow,
    pub(crate) or: Text,
}

pub(crate) fn clone_tree(ctx: &mut Context<'_>, source: &Source, out: Slot) -> Result<()> {
    let flags = match source.follow {
        Follow::Links => AtFlags::NONE,
        Follow::Nothing | Follow::NotLast => AtFlags::SYMLINK_NOFOLLOW,
    };
    let tree = match mount::clone_tree(CWD, ctx.text(source.path)?, source.reach, flags) {
        Err(Errno::NOENT) if source.or != NO_VALUE => {
            mount::clone_tree(CWD, ctx.text(source.or)?, source.reach, flags).at(Call::OpenTree)?
        }
        tree => tree.at(Call::OpenTree)?,
    };
    ctx.put(out, tree)
}

pub(crate) fn receive(ctx: &mut Context<'_>, from: Slot, out: Slot) -> Result<()> {
    let (n, [fd, ..]) = net::receive(ctx.fd(from)?, &mut [0]).at(Call::Recvmsg)?;
    match fd {
        Some(fd) if n == 1 => ctx.put(out, fd),
        _ => Err(Failure { call: Call::Recvmsg, errno: Errno::CONNRESET }),
    }
}

/// A mount that came from a more privileged namespace has its read-only, nosuid, nodev, noexec and access time flags
/// locked; mount_namespaces(7). What stays of those is what `mount -o remount` would leave, but never against what
/// is asked for. Of the access time policy the second attempt changes nothing: the kernel decides.
pub(crate) fn bind_attr(ctx: &Context<'_>, mount: Slot, set: Attr, clear: Attr, asked: Attr) -> Result<()> {
    let mount = ctx.fd(mount)?;
    let wanted = MountAttr { set, clear, ..MountAttr::default() };
    match mount::set_attr(mount, c"", Reach::One, &wanted) {
        Err(Errno::PERM) => {}
        done => return done.at(Call::MountSetattr),
    }
    let there = fs::mount_flags(mount).at(Call::Fstatfs)?.and(LOCKABLE);
    if !asked.and(there).is_empty() {
        return Err(Failure { call: Call::LockedFlags, errno: Errno::PERM });
    }
    let wanted = MountAttr { set, clear: clear.without(there), ..MountAttr::default() };
    mount::set_attr(mount, c"", Reach::One, &wanted).at(Call::MountSetattr)
}

const LOCKABLE: Attr =
    Attr::from_bits(Attr::RDONLY.bits() | Attr::NOSUID.bits() | Attr::NODEV.bits() | Attr::NOEXEC.bits());

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
    let beside = if point.follow == Follow::Links { root::make_beside(ctx, point.path, leaf)? } else { None };
    let found = match beside {
        Some(found) => found,
        None => root::open_or_make(ctx.fd(point.root)?, ctx.text(point.path)?, leaf, point.follow)?,
    };
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
        root::keep_parent(ctx, point.path, parent)?;
    }
    ctx.put(out, found.fd)
}

pub(crate) fn attach(ctx: &mut Context<'_>, mount: Slot, target: Slot) -> Result<()> {
    // Another directory may be at that path from now on; a mount point that was just made is none of it.
    if ctx.target_was_there
        && let Some((_, parent)) = ctx.parent.take()
    {
        ctx.leave(parent);
    }
    let (mount, target) = (ctx.fd(mount)?, ctx.fd(target)?);
    let attached = mount::attach(mount, target).at(Call::MoveMount);
    match attached {
        // mount(2) says ENOTDIR where a directory meets a file, and engines look for its words; move_mount(2) says only
        // that something is wrong.
        Err(Failure { errno: Errno::INVAL, .. }) if is_directory(mount)? != is_directory(target)? => {
            Err(Failure { call: Call::MoveMount, errno: Errno::NOTDIR })
        }
        other => other,
    }
}

fn is_directory(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(fs::stat(fd).at(Call::Statx)?.is_dir())
}

/// The link is read from the mount, and so is what was looked at.
pub(crate) fn attach_or_link(ctx: &mut Context<'_>, point: &MountPoint, out: Slot) -> Result<()> {
    if fs::stat(ctx.fd(point.like)?).at(Call::Statx)?.file_type() != FileType::Symlink {
        target(ctx, point, out)?;
        return attach(ctx, point.like, out);
    }
    let mut buf = [0u8; 4096];
    let len = fs::readlink_at(ctx.fd(point.like)?, c"", &mut buf).at(Call::Readlinkat)?;
    // What fills the buffer may be longer.
    let link = buf.get(..=len).and_then(|link| CStr::from_bytes_with_nul(link).ok());
    let link = link.ok_or(Failure { call: Call::Readlinkat, errno: Errno::NAMETOOLONG })?;
    root::copied_link(ctx, point.root, point.path, link)
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

pub(crate) fn empty_directory(ctx: &Context<'_>) -> Result<OwnedFd> {
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
    mount::mount(Some(c"."), c"/", None, MsFlags::MOVE, None).at(Call::Mount)
}

/// setns(2) into a mount namespace changes the root to the namespace's own, with what is mounted on it.
pub(crate) fn open_root(ctx: &mut Context<'_>, out: Slot) -> Result<()> {
    let root = fs::open_at(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY, 0).at(Call::Open)?;
    ctx.put(out, root)
}

/// A directory is unmounted by its descriptor, a file by its name in a directory that is open: what a container
/// exchanges meanwhile changes nothing, and a mount point cannot be renamed. What covers parts of procfs and sysfs is
/// not uncovered by a link that leads there.
pub(crate) fn unmount(ctx: &Context<'_>, root: Slot, path: Text, over_proc: OverProc) -> Result<()> {
    let (root, path) = (ctx.fd(root)?, ctx.text(path)?);
    let mut buf = root::PathBuf::new();
    let mut name = root::PathBuf::new();
    let (directory, last) = root::split(path.to_bytes())?;
    let directory = if directory == b"/" { b"." } else { directory };
    let name = name.set(last)?;
    let mut parent = root::open(root, buf.set(directory)?, OFlags::PATH | OFlags::DIRECTORY).at(Call::Openat2)?;
    let beneath = Resolve::BENEATH | Resolve::NO_MAGICLINKS;
    let mut found = fs::open_at2(&parent, name, OFlags::PATH | OFlags::NOFOLLOW, 0, beneath).at(Call::Openat2)?;
    let linked = fs::stat(&found).at(Call::Statx)?.file_type() == FileType::Symlink;
    if linked {
        found = root::open(root, path, OFlags::PATH | OFlags::DIRECTORY).at(Call::Openat2)?;
        // From the root of a mount this leads to where it is mounted.
        parent = fs::open_at(&found, c"..", OFlags::PATH | OFlags::DIRECTORY, 0).at(Call::Open)?;
    }
    let magic = fs::fs_magic(&parent).at(Call::Fstatfs)?;
    if over_proc == OverProc::Refused && (magic == fs::magic::PROC || magic == fs::magic::SYSFS) {
        return Err(Failure { call: Call::ProcCheck, errno: Errno::PERM });
    }
    if fs::stat(&found).at(Call::Statx)?.is_dir() {
        match fs::fchdir(&found) {
            Ok(()) => return mount::detach_here(c".").at(Call::Umount2),
            // The host may have closed it to the root of a user namespace.
            Err(Errno::ACCES) if !linked => {}
            Err(errno) => return Err(Failure { call: Call::Fchdir, errno }),
        }
    }
    fs::fchdir(&parent).at(Call::Fchdir)?;
    mount::detach_here(name).at(Call::Umount2)
}

pub(crate) fn chroot(ctx: &Context<'_>, root: Slot) -> Result<()> {
    fs::fchdir(ctx.fd(root)?).at(Call::Fchdir)?;
    fs::chroot(c".").at(Call::Chroot)?;
    fs::chdir(c"/").at(Call::Chdir)
}

/// The one way in which a path of the container is resolved before the pivot.
pub(crate) const INSIDE: Resolve = Resolve::from_bits(Resolve::IN_ROOT.bits() | Resolve::NO_MAGICLINKS.bits());
