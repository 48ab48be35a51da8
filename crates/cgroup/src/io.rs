//! The few calls on kernel files that all the rest is made of, in one place so that tests can count them.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd};

/// Descriptors that are done with, closed together: see [`orlop_sys::fd::close_all`].
#[derive(Default)]
pub(crate) struct Bin(Vec<OwnedFd>);

impl Bin {
    pub(crate) fn throw(&mut self, fd: OwnedFd) {
        // The limit on open files may be low; twenty cover a create with its statistics.
        if self.0.len() == 20 {
            self.empty();
        }
        self.0.push(fd);
    }

    fn empty(&mut self) {
        count::tick(usize::from(!self.0.is_empty()));
        orlop_sys::fd::close_all(self.0.drain(..));
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        self.empty();
    }
}

/// A directory by path, and by descriptor where it is open.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) path: &'a str,
    pub(crate) fd: Option<BorrowedFd<'a>>,
}

impl At<'_> {
    /// The path of a file in it, for messages.
    pub(crate) fn join(&self, file: &str) -> String {
        let mut path = String::with_capacity(self.path.len() + 1 + file.len());
        path.push_str(self.path);
        path.push('/');
        path.push_str(file);
        path
    }

    pub(crate) fn open(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        // A name of the configuration must not lead out of the directory; the plan has checked that.
        debug_assert!(!file.contains('/'));
        count::tick(1);
        match self.fd {
            Some(dir) => fs::open_at(dir, &c(file)?, flags | OFlags::NOFOLLOW, 0),
            None => fs::open_at(CWD, &c(&self.join(file))?, flags | OFlags::NOFOLLOW, 0),
        }
    }

    /// Writes `value` in one call, as kernel files want it.
    pub(crate) fn write(&self, file: &str, value: &str, bin: &mut Bin) -> Result<(), Errno> {
        let fd = self.open(file, OFlags::WRONLY)?;
        let done = write(&fd, value);
        bin.throw(fd);
        done
    }

    /// Reads a file whose text the kernel makes in one piece.
    pub(crate) fn read(&self, file: &str, bin: &mut Bin) -> Result<String, Errno> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let text = read(&fd, Length::OnePiece);
        bin.throw(fd);
        text
    }

    /// Reads a file that may come in several pieces, such as `cgroup.procs`.
    pub(crate) fn read_all(&self, file: &str, bin: &mut Bin) -> Result<String, Errno> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let text = read(&fd, Length::Unknown);
        bin.throw(fd);
        text
    }
}

/// Writes `value` in one call.
pub(crate) fn write(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    count::tick(1);
    fs::write(fd, value.as_bytes()).map(drop)
}

/// How far to trust a short read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It was the whole file.
    OnePiece,
    /// Only a read of nothing is the end.
    Unknown,
}

pub(crate) fn read(fd: &OwnedFd, length: Length) -> Result<String, Errno> {
    let mut text = Vec::new();
    let mut piece = [0u8; 4096];
    loop {
        count::tick(1);
        let n = fs::read(fd, &mut piece)?;
        text.extend_from_slice(piece.get(..n).unwrap_or_default());
        if n == 0 || (length == Length::OnePiece && n < piece.len()) {
            break;
        }
    }
    String::from_utf8(text).map_err(|_| Errno::INVAL)
}

/// Reads the file at an absolute path.
pub(crate) fn read_path(path: &str) -> Result<String, Errno> {
    count::tick(2);
    let fd = fs::open_at(CWD, &c(path)?, OFlags::RDONLY, 0)?;
    read(&fd, Length::Unknown)
}

/// The same for a file of /proc that the kernel writes in one piece.
pub(crate) fn read_piece(path: &str) -> Result<String, Errno> {
    count::tick(2);
    let fd = fs::open_at(CWD, &c(path)?, OFlags::RDONLY, 0)?;
    read(&fd, Length::OnePiece)
}

pub(crate) fn mkdir(path: &str) -> Result<(), Errno> {
    count::tick(1);
    fs::mkdir_at(CWD, &c(path)?, 0o755)
}

pub(crate) fn rmdir(path: &str) -> Result<(), Errno> {
    count::tick(1);
    fs::unlink_at(CWD, &c(path)?, AtFlags::REMOVEDIR)
}

/// Opens a directory as a place only.
pub(crate) fn open_dir(path: &str) -> Result<OwnedFd, Errno> {
    count::tick(1);
    fs::open_at(CWD, &c(path)?, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// The names of a directory's subdirectories.
pub(crate) fn subdirectories(path: &str) -> Result<Vec<String>, Errno> {
    const DT_DIR: u8 = 4;
    count::tick(2);
    let fd = fs::open_at(CWD, &c(path)?, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let mut names = Vec::new();
    let mut buf = [0u8; 4096];
    loop {
        count::tick(1);
        let n = fs::read_dir(&fd, &mut buf)?;
        if n == 0 {
            return Ok(names);
        }
        for (name, kind) in fs::entries(buf.get(..n).unwrap_or_default()) {
            if kind == DT_DIR {
                names.push(String::from(name.to_str().map_err(|_| Errno::INVAL)?));
            }
        }
    }
}

/// A path for the kernel; one with a NUL names nothing.
pub(crate) fn c(path: &str) -> Result<CString, Errno> {
    CString::new(path).map_err(|_| Errno::INVAL)
}

/// Counts system calls, in tests.
pub(crate) mod count {
    #[cfg(test)]
    std::thread_local!(static CALLS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });

    /// Notes that `n` calls are made.
    #[inline(always)]
    pub(crate) fn tick(n: usize) {
        #[cfg(test)]
        CALLS.with(|calls| calls.set(calls.get() + n));
        #[cfg(not(test))]
        let _ = n;
    }

    /// How many there were since the last time.
    #[cfg(test)]
    pub(crate) fn take() -> usize {
        CALLS.with(|calls| calls.replace(0))
    }
}
