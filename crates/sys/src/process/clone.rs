//! Making a process: clone3(2), onto the caller's memory or a copy of it.

use core::mem::{MaybeUninit, size_of};

use super::Pid;
use crate::arch::{clone3_child, syscall2, syscall5};
use crate::errno::{Errno, Result, retry};
use crate::fd::{BorrowedFd, OwnedFd};
use crate::numbers as nr;
use crate::signal::SIGCHLD;

flags! {
    /// What a child shares or gets new; see clone(2), namespaces(7).
    pub struct Clone: u64 {
        NEWTIME = 0x80,
        VM = 0x100,
        FS = 0x200,
        FILES = 0x400,
        PIDFD = 0x1000,
        VFORK = 0x4000,
        PARENT = 0x8000,
        NEWNS = 0x20000,
        NEWCGROUP = 0x2000000,
        NEWUTS = 0x4000000,
        NEWIPC = 0x8000000,
        NEWUSER = 0x10000000,
        NEWPID = 0x20000000,
        NEWNET = 0x40000000,
        CLEAR_SIGHAND = 0x1_0000_0000,
        INTO_CGROUP = 0x2_0000_0000,
    }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child that clone3 made.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Starts a child on the caller's own address space and waits until it has executed another program or
/// ended: nothing is copied, whatever the caller's size (clone(2), `CLONE_VM|CLONE_VFORK`).
///
/// The caller's signal handlers are cleared in the child, so that none of them runs on borrowed memory.
///
/// # Safety
/// `child` must only use `data` and its own stack, must not allocate, unwind or return, and must end in
/// execve or exit. `data` must be valid for it.
pub unsafe fn vfork(
    flags: Clone,
    cgroup: Option<BorrowedFd<'_>>,
    stack: &mut [MaybeUninit<u8>],
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> Result<Child> {
    let mut flags = flags | Clone::VFORK;
    if cgroup.is_some() {
        flags |= Clone::INTO_CGROUP;
    }
    // With CLONE_PARENT the signal is the caller's own; another one is EINVAL.
    let exit_signal = if flags.contains(Clone::PARENT) { 0 } else { SIGCHLD as u64 };
    let cgroup = cgroup.map_or(0, |fd| fd.as_raw() as u64);
    let args = CloneArgs { flags: flags.bits(), exit_signal, cgroup, ..CloneArgs::default() };
    // SAFETY: VFORK keeps us suspended until the child is off our memory; the caller vouches for `child` and `data`.
    unsafe { on_our_memory(args, stack, child, data) }
}

/// Starts a child that runs beside the caller on its address space and descriptor table, with a stack of its own.
///
/// The kernel sends no signal at its end, and only [`wait_beside`] reaps it: the caller's other children and
/// whoever waits for any of them are not affected.
///
/// # Safety
/// `child` must only use `data` and its own stack, must make system calls only, and must end in exit. `stack` and
/// `data` must stay valid until it has ended.
pub unsafe fn beside(
    stack: &mut [MaybeUninit<u8>],
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> Result<Child> {
    let args = CloneArgs { flags: Clone::FILES.bits(), ..CloneArgs::default() };
    // SAFETY: the caller vouches for `child`, `data` and the stack's life.
    unsafe { on_our_memory(args, stack, child, data) }
}

/// Starts a child on a stack of its own, with none of our signal handlers.
///
/// # Safety
/// `child` must only use `data` and its own stack, and must not return; both must be valid for as long as it runs.
unsafe fn on_our_memory(
    args: CloneArgs,
    stack: &mut [MaybeUninit<u8>],
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let base = stack.as_mut_ptr() as usize;
    // The ABI wants 16 bytes of alignment where the stack starts, at its upper end.
    let end = (base + stack.len()) & !15;
    let args = CloneArgs {
        flags: args.flags | (Clone::VM | Clone::PIDFD | Clone::CLEAR_SIGHAND).bits(),
        pidfd: (&raw mut pidfd) as u64,
        stack: base as u64,
        stack_size: (end - base) as u64,
        ..args
    };
    // SAFETY: `args` is a clone_args of this size; the caller vouches for `child`, `data` and the stack.
    let ret = unsafe { clone3_child((&raw const args).cast(), size_of::<CloneArgs>(), child, data) };
    let pid = Errno::check(ret)? as Pid;
    // SAFETY: CLONE_PIDFD has stored a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Waits for the end of a child of [`beside`].
pub fn wait_beside(child: &Child) -> Result<()> {
    const WEXITED: usize = 4;
    const WALL: usize = 0x4000_0000;
    retry(|| {
        // SAFETY: no siginfo is asked for.
        Errno::check(unsafe { syscall5(nr::WAITID, 3, child.pidfd.as_raw() as usize, 0, WEXITED | WALL, 0) })
    })
    .map(drop)
}

/// fork(2): `None` in the child.
///
/// # Safety
/// The caller has a single thread, so that no lock of another one stays held in the child.
pub unsafe fn fork(flags: Clone) -> Result<Option<Pid>> {
    let args = CloneArgs { flags: flags.bits(), exit_signal: SIGCHLD as u64, ..CloneArgs::default() };
    // SAFETY: `args` is a clone_args of this size, and the child has a copy of our stack.
    let ret = unsafe { syscall2(nr::CLONE3, (&raw const args) as usize, size_of::<CloneArgs>()) };
    Ok(match Errno::check(ret)? {
        0 => None,
        pid => Some(pid as Pid),
    })
}

/// fork(2) by clone(2) instead of clone3(2), which filters of system calls refuse because they cannot look into
/// its arguments: `None` in the child.
///
/// # Safety
/// The caller has a single thread, so that no lock of another one stays held in the child.
pub unsafe fn fork_watched() -> Result<Option<Child>> {
    let mut pidfd: i32 = -1;
    let flags = Clone::PIDFD.bits() | SIGCHLD as u64;
    // SAFETY: without a stack the child has a copy of ours; the third argument is where the pidfd is stored.
    let ret = unsafe { syscall5(nr::CLONE, flags as usize, 0, (&raw mut pidfd) as usize, 0, 0) };
    Ok(match Errno::check(ret)? {
        0 => None,
        // SAFETY: CLONE_PIDFD has stored a new descriptor there.
        pid => Some(Child { pid: pid as Pid, pidfd: unsafe { OwnedFd::from_raw(pidfd) } }),
    })
}
