//! A container's init, told from a later process with the same number.

use alloc::format;
use alloc::string::String;

use orlop_sys::event::wait_readable;
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, OFlags};
use orlop_sys::process::{self, Pid};
use orlop_sys::time::Timespec;
use orlop_sys::{AsFd, CWD, Errno, OwnedFd};

use super::c_string;
use crate::error::{Error, Result};

/// What ends the text of the link `init` where there are poststart hooks.
const POSTSTART: &str = ":poststart";

/// A process, told from a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Init {
    pub(crate) pid: Pid,
    pub(crate) birth: Birth,
    /// Whether the configuration has hooks for when the program runs: `start` then has to read it.
    pub(crate) has_poststart: bool,
}

/// What a process has for itself alone, for as long as the system is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Birth {
    /// The inode of its pidfds, which Linux 6.9 gives each process one of: half as dear as what follows.
    Inode(u64),
    /// When it started, in clock ticks since boot; field 22 of proc_pid_stat(5).
    StartTime(u64),
}

/// What precedes an inode in the text of the link `init`.
const INODE: &str = "pidfd=";

impl Init {
    /// The process of that pidfd and number, as it runs now, and the signals that it ignores.
    pub(crate) fn born(pid: Pid, pidfd: impl AsFd) -> Result<Option<(Init, u64)>> {
        const PIDFS_MAGIC: u64 = 0x5049_4446;
        let pidfd = pidfd.as_fd();
        let failed = |call, errno| Error::system(call, "init's pidfd", errno);
        let birth = match fs::fs_magic(pidfd).map_err(|errno| failed("fstatfs", errno))? {
            PIDFS_MAGIC => Birth::Inode(fs::stat(pidfd).map_err(|errno| failed("statx", errno))?.ino),
            _ => match start_time_of(pid)? {
                Some(start_time) => Birth::StartTime(start_time),
                None => return Ok(None),
            },
        };
        Ok(ignored_by(pid)?.map(|ignored| (Init { pid, birth, has_poststart: false }, ignored)))
    }

    /// A pidfd of it and of no later process with its number; `None` where it has ended: a zombie has.
    pub(crate) fn open(self) -> Result<Option<OwnedFd>> {
        let failed = |call, errno| Error::system(call, "the container's init", errno);
        let pidfd = match process::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            // The number is a thread's now: EINVAL, and from Linux 6.16 on ENOENT.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("pidfd_open", errno)),
        };
        let lives = match self.birth {
            Birth::Inode(inode) => {
                fs::stat(&pidfd).map_err(|errno| failed("statx", errno))?.ino == inode
                    && !wait_readable(&pidfd, Some(Timespec::from_millis(0))).map_err(|errno| failed("ppoll", errno))?
            }
            Birth::StartTime(start_time) => start_time_of(self.pid)? == Some(start_time),
        };
        Ok(lives.then_some(pidfd))
    }

    /// Its text in the link, and back.
    pub(super) fn to_text(self) -> String {
        let hooks = if self.has_poststart { POSTSTART } else { "" };
        match self.birth {
            Birth::Inode(inode) => format!("{}:{INODE}{inode}{hooks}", self.pid),
            Birth::StartTime(start_time) => format!("{}:{start_time}{hooks}", self.pid),
        }
    }

    pub(super) fn from_text(text: &str) -> Option<Init> {
        let (numbers, has_poststart) = text.strip_suffix(POSTSTART).map_or((text, false), |numbers| (numbers, true));
        let (pid, birth) = numbers.split_once(':')?;
        let birth = match birth.strip_prefix(INODE) {
            Some(inode) => Birth::Inode(inode.parse().ok()?),
            None => Birth::StartTime(birth.parse().ok()?),
        };
        Some(Init { pid: pid.parse().ok()?, birth, has_poststart })
    }
}

/// The signals that a process ignores: bit `n - 1` is signal `n`.
fn ignored_by(pid: Pid) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/status");
    Ok(read_proc(&path, &mut [0u8; 2048], &mut Bin::default())?.and_then(signals_ignored))
}

/// When the process started, if it runs.
fn start_time_of(pid: Pid) -> Result<Option<u64>> {
    Ok(read_proc(&format!("/proc/{pid}/stat"), &mut [0u8; 1024], &mut Bin::default())?.and_then(start_time))
}

/// The signals that this process ignores, and its children after it: bit `n - 1` is signal `n`.
pub(crate) fn ignored_signals(bin: &mut Bin) -> Result<u64> {
    let ignored = read_proc("/proc/self/status", &mut [0u8; 2048], bin)?.and_then(signals_ignored);
    ignored.ok_or_else(|| Error::system("read", "/proc/self/status", Errno::NOENT).hint("is /proc mounted?"))
}

/// `None` where there is no such process. Not to know is an error: a process taken for dead would be left behind.
fn read_proc<'b>(path: &str, buf: &'b mut [u8], bin: &mut Bin) -> Result<Option<&'b [u8]>> {
    let file = match fs::open_at(CWD, &c_string(path)?, OFlags::RDONLY, 0) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::system("openat", String::from(path), errno)),
    };
    let read = fs::read(&file, buf);
    bin.throw(file);
    match read {
        Ok(n) => Ok(buf.get(..n)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(Error::system("read", String::from(path), errno)),
    }
}

/// Field 22 of /proc/PID/stat, unless field 3 says that the process has ended. Field 2, the name, may hold anything.
fn start_time(stat: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(stat.get(stat.iter().rposition(|&b| b == b')')? + 2..)?).ok()?;
    let mut fields = text.split(' ');
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// The line `SigIgn` of /proc/PID/status.
fn signals_ignored(status: &[u8]) -> Option<u64> {
    let mut lines = status.split(|&b| b == b'\n');
    let set = lines.find_map(|line| line.strip_prefix(b"SigIgn:\t"))?;
    u64::from_str_radix(core::str::from_utf8(set).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_recorded_in_either_form() {
        for text in ["7:4242", "7:4242:poststart", "7:pidfd=18446744073709551615", "7:pidfd=9:poststart"] {
            assert_eq!(Init::from_text(text).map(Init::to_text).as_deref(), Some(text));
        }
        for text in ["", "7", "7:", "7:pidfd=", "x:1", "7:1:other"] {
            assert_eq!(Init::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn start_time_is_read_past_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(start_time(format!("7 (sh) {rest}").as_bytes()), Some(4242));
        assert_eq!(start_time(format!("7 (a) Z (b) {rest}").as_bytes()), Some(4242));
        assert_eq!(start_time(format!("7 (sh) Z{}", &rest[1..]).as_bytes()), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn ignored_signals_are_all_64() {
        let status = b"Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t8000000180001000\nSigCgt:\t0\n";
        assert_eq!(signals_ignored(status), Some(0x8000_0001_8000_1000));
        assert_eq!(signals_ignored(b"Name:\tx\n"), None);
    }
}
