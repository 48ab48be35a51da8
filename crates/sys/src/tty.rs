//! Terminals: ioctl(2) on ttys and ptys; see ioctl_tty(2), pts(4).

use core::mem::MaybeUninit;

use crate::arch::syscall3;
use crate::errno::{Errno, Result};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::fs::OFlags;
use crate::numbers as nr;

/// `struct winsize`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Pixels across.
    pub x_pixels: u16,
    /// Pixels down.
    pub y_pixels: u16,
}

fn ioctl(fd: impl AsFd, request: usize, arg: usize) -> Result<usize> {
    // SAFETY: every caller below passes an argument of the type that its request takes.
    Errno::check(unsafe { syscall3(nr::IOCTL, fd.as_fd().arg(), request, arg) })
}

/// TIOCGWINSZ.
pub fn window_size(tty: impl AsFd) -> Result<WindowSize> {
    let mut size = WindowSize::default();
    ioctl(tty, 0x5413, (&raw mut size) as usize).map(|_| size)
}

/// TIOCSWINSZ.
pub fn set_window_size(tty: impl AsFd, size: WindowSize) -> Result<()> {
    ioctl(tty, 0x5414, (&raw const size) as usize).map(drop)
}

/// TIOCSCTTY: makes `tty` the controlling terminal of this session.
pub fn set_controlling(tty: impl AsFd) -> Result<()> {
    ioctl(tty, 0x540e, 0).map(drop)
}

/// TIOCSPTLCK: lets the other end of a pty master be opened.
pub fn unlock(master: impl AsFd) -> Result<()> {
    let off: i32 = 0;
    ioctl(master, 0x4004_5431, (&raw const off) as usize).map(drop)
}

/// TIOCGPTN: the number of a pty.
pub fn number(master: impl AsFd) -> Result<u32> {
    let mut n: u32 = 0;
    ioctl(master, 0x8004_5430, (&raw mut n) as usize).map(|_| n)
}

/// TIOCGPTPEER: the other end of a pty master, by no path that anyone could have replaced.
pub fn peer(master: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // SAFETY: the argument is an integer.
    own_result(unsafe { syscall3(nr::IOCTL, master.as_fd().arg(), 0x5441, flags.bits() as usize) })
}

/// `struct termios` as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // termios(3)
pub struct Termios {
    pub input: u32,
    pub output: u32,
    pub control: u32,
    pub local: u32,
    pub line: u8,
    pub chars: [u8; 19],
}

impl Termios {
    /// cfmakeraw(3).
    #[must_use]
    pub fn raw(mut self) -> Termios {
        self.input &= !0o2753;
        self.output &= !1;
        self.local &= !0o100113;
        self.control = self.control & !0o460 | 0o60;
        self.chars[6] = 1;
        self.chars[5] = 0;
        self
    }
}

/// TCGETS; `ENOTTY` where `tty` is no terminal.
pub fn attributes(tty: impl AsFd) -> Result<Termios> {
    let mut termios = MaybeUninit::<Termios>::zeroed();
    ioctl(tty, 0x5401, termios.as_mut_ptr() as usize)?;
    // SAFETY: all integers, and zeroed before the kernel filled it.
    Ok(unsafe { termios.assume_init() })
}

/// TCSETS.
pub fn set_attributes(tty: impl AsFd, termios: &Termios) -> Result<()> {
    ioctl(tty, 0x5402, core::ptr::from_ref(termios) as usize).map(drop)
}

/// NS_GET_NSTYPE: the `CLONE_NEW*` bit of a namespace's descriptor; see ioctl_ns(2).
pub fn namespace_type(namespace: impl AsFd) -> Result<u64> {
    ioctl(namespace, 0xb703, 0).map(|kind| kind as u64)
}
