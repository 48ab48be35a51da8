//! The container's terminal: a pty of its own devpts; see pts(4), ioctl_tty(2).
//!
//! CVE-2025-52565: whoever races with us in the container's /dev can put a link where a pty's path was. No path of
//! a pty is used here: its other end comes from the master itself.

use orlop_sys::fs::{AtFlags, OFlags, Resolve};
use orlop_sys::mount::{self, Reach};
use orlop_sys::tty::{self, WindowSize};
use orlop_sys::{CWD, Errno, OwnedFd, fd, fs, net};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::step::{Call, Newlines, Slot};

/// What a terminal is set up as.
pub(crate) struct Console {
    pub(crate) size: WindowSize,
    pub(crate) uid: u32,
    pub(crate) newlines: Newlines,
}

/// A new pty of the devpts at /dev/pts. In a devpts nobody but the kernel makes files, so `ptmx` on that very mount
/// is its multiplexer.
fn open_master() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let devpts = fs::open_at2(CWD, c"/dev/pts", flags, 0, Resolve::NO_MAGICLINKS).at(Call::OpenDevpts)?;
    if fs::fs_magic(&devpts).at(Call::Fstatfs)? != fs::magic::DEVPTS {
        return Err(Failure { call: Call::DevptsCheck, errno: Errno::NODEV });
    }
    let inside = Resolve::BENEATH | Resolve::NO_XDEV | Resolve::NO_SYMLINKS;
    fs::open_at2(&devpts, c"ptmx", OFlags::RDWR | OFlags::NOCTTY, 0, inside).at(Call::OpenPtmx)
}

/// ONLCR of termios(3).
const NEWLINE_TO_CR_NEWLINE: u32 = 4;

/// Makes the terminal, makes it this session's and standard input, output and error, and sends its master away.
pub(crate) fn console(ctx: &mut Context<'_>, socket: Slot, console: &Console, out: Slot) -> Result<()> {
    let master = open_master()?;
    tty::unlock(&master).at(Call::UnlockPty)?;
    let peer = tty::peer(&master).at(Call::PtyPeer)?;
    if console.size != WindowSize::default() {
        tty::set_window_size(&master, console.size).at(Call::WindowSize)?;
    }
    if console.newlines == Newlines::Plain {
        let mut attributes = tty::attributes(&peer).at(Call::Termios)?;
        attributes.output &= !NEWLINE_TO_CR_NEWLINE;
        tty::set_attributes(&peer, &attributes).at(Call::Termios)?;
    }
    // The group stays the one that the devpts was mounted with.
    fs::chown_at(&peer, c"", console.uid, u32::MAX, AtFlags::EMPTY_PATH).at(Call::Fchownat)?;
    tty::set_controlling(&peer).at(Call::ControllingTty)?;
    let mut name = [0u8; 24];
    let name = pts_name(tty::number(&master).at(Call::PtyPeer)?, &mut name)?;
    let socket = ctx.take(socket)?;
    net::send(&socket, name, &[master.borrow()]).at(Call::SendConsole)?;
    for number in 0..3 {
        fd::duplicate_onto(&peer, number).at(Call::Dup3)?;
    }
    ctx.put(out, peer)
}

/// Covers a file of the container with the one in a slot.
pub(crate) fn bind(ctx: &Context<'_>, from: Slot, target: Slot) -> Result<()> {
    let copy = mount::clone_tree(ctx.fd(from)?, c"", Reach::One, AtFlags::NONE).at(Call::OpenTree)?;
    mount::attach(&copy, ctx.fd(target)?).at(Call::MoveMount)
}

/// `/dev/pts/N`, as the container names the terminal.
fn pts_name(number: u32, out: &mut [u8; 24]) -> Result<&[u8]> {
    const PREFIX: &[u8] = b"/dev/pts/";
    let digits = 1 + number.checked_ilog10().unwrap_or(0) as usize;
    let name = out.get_mut(..PREFIX.len() + digits).ok_or(BROKEN)?;
    let (prefix, room) = name.split_at_mut_checked(PREFIX.len()).ok_or(BROKEN)?;
    prefix.copy_from_slice(PREFIX);
    let mut left = number;
    for place in room.iter_mut().rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::pts_name;

    #[test]
    fn names_of_ptys() {
        for (number, name) in [(0, "/dev/pts/0"), (10, "/dev/pts/10"), (u32::MAX, "/dev/pts/4294967295")] {
            assert_eq!(pts_name(number, &mut [0; 24]), Ok(name.as_bytes()));
        }
    }
}
