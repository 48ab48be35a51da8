//! `tmpcopyup`: what an image has at a mount point appears in the new file system.
//!
//! Every file is opened below its directory's descriptor and no link is followed, so the worst that a racing image
//! can do is to have other files of its own copied.

use core::ffi::CStr;

use orlop_sys::fd::{BorrowedFd, OwnedFd};
use orlop_sys::fs::{AtFlags, FileType, OFlags, Stat};
use orlop_sys::{Errno, fs};

use crate::context::{At, Context, Failure, Result};
use crate::step::{Call, Slot};

/// How deep the directories may be, so that our stack is enough.
const DEPTH: usize = 48;

pub(crate) fn copy_up(ctx: &Context<'_>, from: Slot, to: Slot) -> Result<()> {
    let from = fs::open_at(ctx.fd(from)?, c".", OFlags::DIRECTORY, 0).at(Call::Open)?;
    let to = ctx.fd(to)?;
    let stat = fs::stat(&from).at(Call::Statx)?;
    directory(from.borrow(), to, DEPTH)?;
    fs::chown_at(to, c".", stat.uid, stat.gid, AtFlags::NONE).at(Call::Fchownat)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or(Failure { call: Call::CopyDepth, errno: Errno::LOOP })?;
    let mut buf = [0u8; 2048];
    loop {
        let n = fs::read_dir(from, &mut buf).at(Call::Getdents)?;
        if n == 0 {
            return Ok(());
        }
        for (name, _) in fs::entries(buf.get(..n).unwrap_or_default()) {
            entry(from, to, name, depth)?;
        }
    }
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let stat = fs::stat_at(from, name, AtFlags::SYMLINK_NOFOLLOW).at(Call::Statx)?;
    let open = |dir, flags| fs::open_at(dir, name, flags | OFlags::NOFOLLOW, 0);
    match stat.file_type() {
        FileType::Directory => {
            fs::mkdir_at(to, name, 0o700).at(Call::Mkdirat)?;
            let inner = open(from, OFlags::DIRECTORY).at(Call::Open)?;
            let made = open(to, OFlags::DIRECTORY).at(Call::Open)?;
            directory(inner.borrow(), made.borrow(), depth)?;
        }
        FileType::Regular => {
            let inner = open(from, OFlags::NONBLOCK).at(Call::Open)?;
            let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL | OFlags::NOFOLLOW;
            let made = fs::open_at(to, name, flags, 0o600).at(Call::Open)?;
            contents(&inner, &made)?;
        }
        FileType::Symlink => {
            let mut target = [0u8; 4096];
            let n = fs::readlink_at(from, name, &mut target).at(Call::Readlinkat)?;
            let target = target.get(..=n).and_then(|text| CStr::from_bytes_with_nul(text).ok());
            let target = target.ok_or(Failure { call: Call::Readlinkat, errno: Errno::NAMETOOLONG })?;
            fs::symlink_at(target, to, name).at(Call::Symlinkat)?;
        }
        _ => fs::mknod_at(to, name, stat.mode, stat.rdev.0, stat.rdev.1).at(Call::Mknodat)?,
    }
    attributes(to, name, &stat)
}

/// The owner first: a change of owner takes set-user-id away.
fn attributes(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    fs::chown_at(to, name, stat.uid, stat.gid, AtFlags::SYMLINK_NOFOLLOW).at(Call::Fchownat)?;
    if stat.file_type() == FileType::Symlink {
        return Ok(());
    }
    fs::chmod_at(to, name, stat.mode & 0o7777).at(Call::Fchmodat)
}

fn contents(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    const CHUNK: usize = 1 << 20;
    while fs::sendfile(to, from, CHUNK).at(Call::Copy)? > 0 {}
    Ok(())
}
