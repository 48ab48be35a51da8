//! What one thread is and may do, besides its credentials: namespaces, prctl(2), limits, scheduling, filters.

use core::ffi::CStr;

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::errno::{Errno, Result};
use crate::fd::AsFd;
use crate::numbers as nr;
use crate::process::Clone;

/// unshare(2).
pub fn unshare(what: Clone) -> Result<()> {
    // SAFETY: integers only; the address space and descriptors stay shared unless asked otherwise.
    Errno::check(unsafe { syscall1(nr::UNSHARE, what.bits() as usize) }).map(drop)
}

/// setns(2): `fd` is a namespace, or a pidfd with several namespaces named.
pub fn setns(fd: impl AsFd, what: Clone) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall2(nr::SETNS, fd.as_fd().arg(), what.bits() as usize) }).map(drop)
}

/// sethostname(2).
pub fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: the name is as long as said.
    Errno::check(unsafe { syscall2(nr::SETHOSTNAME, name.as_ptr() as usize, name.len()) }).map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &[u8]) -> Result<()> {
    // SAFETY: the name is as long as said.
    Errno::check(unsafe { syscall2(nr::SETDOMAINNAME, name.as_ptr() as usize, name.len()) }).map(drop)
}

/// prctl(2).
pub(crate) fn prctl(option: usize, a: usize, b: usize) -> Result<usize> {
    // SAFETY: only options that take integers, or a pointer that the caller below vouches for.
    Errno::check(unsafe { syscall5(nr::PRCTL, option, a, b, 0, 0) })
}

/// PR_SET_DUMPABLE: whether others may trace this process and read its /proc files.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(4, usize::from(dumpable), 0).map(drop)
}

/// PR_GET_DUMPABLE.
pub fn dumpable() -> Result<usize> {
    prctl(3, 0, 0)
}

/// PR_SET_PDEATHSIG: the signal that this process gets when the thread that made it ends; 0 for none.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(1, signal as usize, 0).map(drop)
}

/// PR_SET_CHILD_SUBREAPER.
pub fn set_subreaper(on: bool) -> Result<()> {
    prctl(36, usize::from(on), 0).map(drop)
}

/// PR_GET_CHILD_SUBREAPER.
pub fn is_subreaper() -> Result<bool> {
    let mut on: i32 = 0;
    prctl(37, (&raw mut on) as usize, 0).map(|_| on != 0)
}

/// PR_SET_NAME: what /proc/PID/comm says, cut to 15 bytes.
pub fn set_name(name: &CStr) -> Result<()> {
    prctl(15, name.as_ptr() as usize, 0).map(drop)
}

/// A limit of prlimit(2); `u64::MAX` is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What holds now.
    pub soft: u64,
    /// How far the soft limit may be raised.
    pub hard: u64,
}

/// prlimit(2): sets this process's limit on `resource`.
pub fn set_limit(resource: u32, limit: Limit) -> Result<()> {
    // SAFETY: `limit` is a struct rlimit64.
    let ret = unsafe { syscall4(nr::PRLIMIT64, 0, resource as usize, (&raw const limit) as usize, 0) };
    Errno::check(ret).map(drop)
}

/// prlimit(2): this process's limit on `resource`.
pub fn limit(resource: u32) -> Result<Limit> {
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: `limit` is a struct rlimit64.
    let ret = unsafe { syscall4(nr::PRLIMIT64, 0, resource as usize, 0, (&raw mut limit) as usize) };
    Errno::check(ret).map(|_| limit)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: a new session keyring of that name.
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    // SAFETY: the name ends in NUL.
    Errno::check(unsafe { syscall2(nr::KEYCTL, 1, name.as_ptr() as usize) }).map(|id| id as i32)
}

/// keyctl(2) `KEYCTL_SETPERM`.
pub fn set_key_permissions(key: i32, permissions: u32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::KEYCTL, 5, key as usize, permissions as usize) }).map(drop)
}

/// personality(2).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall1(nr::PERSONALITY, persona as usize) }).map(drop)
}

/// ioprio_set(2) of this process.
pub fn set_io_priority(priority: u32) -> Result<()> {
    // SAFETY: integers only; 1 is IOPRIO_WHO_PROCESS.
    Errno::check(unsafe { syscall3(nr::IOPRIO_SET, 1, 0, priority as usize) }).map(drop)
}

/// `struct sched_attr`; see sched_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's names
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) of this thread.
pub fn set_scheduler(attr: &SchedAttr) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as `attr.size` says, which are those of this structure.
    let ret = unsafe { syscall3(nr::SCHED_SETATTR, 0, core::ptr::from_ref(attr) as usize, 0) };
    Errno::check(ret).map(drop)
}

/// sched_setaffinity(2) of `pid` (0: this thread): bit `n` of the mask is processor `n`.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<()> {
    // SAFETY: the mask is as long as said.
    let ret = unsafe { syscall3(nr::SCHED_SETAFFINITY, pid as usize, size_of_val(mask), mask.as_ptr() as usize) };
    Errno::check(ret).map(drop)
}

/// set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // No nodes are a null pointer: a length of 0 is one bit less than that to the kernel, which is very many.
    let (mask, bits) = if nodes.is_empty() { (0, 0) } else { (nodes.as_ptr() as usize, nodes.len() * 64 + 1) };
    // SAFETY: the kernel reads one bit less than said.
    let ret = unsafe { syscall3(nr::SET_MEMPOLICY, mode as usize, mask, bits) };
    Errno::check(ret).map(drop)
}

/// One instruction of classic BPF; `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Whether the kernel knows these flags of seccomp(2): with them it looks at a program that is not there.
pub fn knows_seccomp_flags(flags: u32) -> bool {
    // SAFETY: the null pointer is what this is about: nothing is read from it.
    let ret = unsafe { syscall3(nr::SECCOMP, 1, flags as usize, 0) };
    Errno::check(ret) == Err(Errno::FAULT)
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`: what it returns is the listener's descriptor if `flags` asks for one.
pub fn set_seccomp(program: &[SockFilter], flags: u32) -> Result<usize> {
    #[repr(C)]
    struct Prog {
        len: u16,
        filter: *const SockFilter,
    }
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let prog = Prog { len, filter: program.as_ptr() };
    // SAFETY: `prog` names a program of that length.
    let ret = unsafe { syscall3(nr::SECCOMP, 1, flags as usize, (&raw const prog) as usize) };
    Errno::check(ret)
}
