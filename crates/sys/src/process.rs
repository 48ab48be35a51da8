//! Processes: which one this is, what it executes, how others end, and pidfds.

mod clone;
mod spawn;

use core::ffi::{CStr, c_char};

use crate::arch::{syscall0, syscall1, syscall2, syscall3, syscall4, syscall5, trap};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, OwnedFd, own_result};
use crate::fs::AtFlags;
use crate::numbers as nr;

pub use clone::{Child, Clone, beside, fork, fork_watched, vfork, wait_beside};
pub use spawn::{Program, Rights, Signals, in_copied_mount_namespace, in_mount_namespace, in_namespace, spawn};

/// A process id as the caller's pid namespace numbers it.
pub type Pid = i32;

/// execveat(2): returns only when it failed.
///
/// # Safety
/// `argv` and `envp` are arrays of pointers to NUL-terminated strings that end in a null pointer.
pub unsafe fn exec_at(
    dir: impl AsFd,
    path: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    flags: AtFlags,
) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    let ret = unsafe {
        syscall5(
            nr::EXECVEAT,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            argv as usize,
            envp as usize,
            flags.bits() as usize,
        )
    };
    Errno(-ret as i32)
}

/// execve(2): returns only when it failed. Profiles that were made by watching a program have it, and execveat(2) not.
///
/// # Safety
/// As of [`exec_at`].
pub unsafe fn exec(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    let ret = unsafe { syscall3(nr::EXECVE, path.as_ptr() as usize, argv as usize, envp as usize) };
    Errno(-ret as i32)
}

/// exit_group(2); where a seccomp filter denies that, an instruction that ends the process by SIGILL or SIGTRAP, the
/// first process of a pid namespace as well.
pub fn exit(status: i32) -> ! {
    // SAFETY: does not return, but by a filter's decision.
    unsafe { syscall1(nr::EXIT_GROUP, status as usize) };
    trap()
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// What a shell makes of it: the status, or 128 and the signal.
    pub const fn code(self) -> i32 {
        match self {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// As the standard library has it for its own children.
#[cfg(feature = "std")]
impl From<Ended> for std::process::ExitStatus {
    fn from(ended: Ended) -> std::process::ExitStatus {
        // The bits of wait(2).
        std::os::unix::process::ExitStatusExt::from_raw(match ended {
            Ended::Exited(status) => (status & 0xff) << 8,
            Ended::Killed(signal) => signal & 0x7f,
        })
    }
}

/// Whether [`wait`] waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Until the child has ended.
    Block,
    /// Not at all.
    Poll,
}

/// waitid(2) on a pidfd: how the child ended, which is thereby reaped; `None` where it still runs.
pub fn wait(pidfd: impl AsFd, waiting: Waiting) -> Result<Option<Ended>> {
    wait_for(3, pidfd.as_fd().as_raw(), waiting)
}

/// waitid(2) on a child by number.
pub fn wait_pid(pid: Pid, waiting: Waiting) -> Result<Option<Ended>> {
    wait_for(1, pid, waiting)
}

/// waitid(2) on any child: one that has ended, and is not reaped yet.
pub fn ended_child() -> Result<Option<Pid>> {
    const WNOWAIT: usize = 0x0100_0000;
    Ok(wait_id(0, 0, WNOHANG | WNOWAIT)?.map(|(pid, _)| pid))
}

const WNOHANG: usize = 1;

fn wait_for(id_type: usize, id: i32, waiting: Waiting) -> Result<Option<Ended>> {
    let options = if waiting == Waiting::Poll { WNOHANG } else { 0 };
    Ok(wait_id(id_type, id, options)?.map(|(_, ended)| ended))
}

fn wait_id(id_type: usize, id: i32, options: usize) -> Result<Option<(Pid, Ended)>> {
    const WEXITED: usize = 4;
    const CLD_EXITED: i32 = 1;
    // siginfo_t: si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status; 128 bytes.
    let mut info = [0i32; 32];
    retry(|| {
        // SAFETY: `info` has the size of siginfo_t.
        Errno::check(unsafe {
            syscall5(nr::WAITID, id_type, id as usize, info.as_mut_ptr() as usize, WEXITED | options, 0)
        })
    })?;
    let (code, pid, status) = (info[2], info[4], info[6]);
    let ended = if code == CLD_EXITED { Ended::Exited(status) } else { Ended::Killed(status) };
    Ok((pid != 0).then_some((pid, ended)))
}

/// pidfd_open(2).
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall2(nr::PIDFD_OPEN, pid as usize, 0) })
}

/// pidfd_send_signal(2); signal 0 asks whether the process is there.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: no siginfo is passed.
    let ret = unsafe { syscall4(nr::PIDFD_SEND_SIGNAL, pidfd.as_fd().arg(), signal as usize, 0, 0) };
    Errno::check(ret).map(drop)
}

/// pidfd_getfd(2): a copy of another process's descriptor.
pub fn pidfd_getfd(pidfd: impl AsFd, fd: i32) -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::PIDFD_GETFD, pidfd.as_fd().arg(), fd as usize, 0) })
}

/// kill(2).
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall2(nr::KILL, pid as usize, signal as usize) }).map(drop)
}

/// getpid(2).
pub fn pid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETPID) as Pid }
}

/// getppid(2); 0 where the parent is in an outer pid namespace.
pub fn parent_pid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETPPID) as Pid }
}

/// gettid(2).
pub fn tid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETTID) as Pid }
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    // SAFETY: no arguments.
    Errno::check(unsafe { syscall0(nr::SETSID) }).map(drop)
}
