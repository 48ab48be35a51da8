//! Whose rights one thread has: its ids, and its capabilities; see credentials(7), capabilities(7).

use crate::arch::{syscall0, syscall2, syscall3};
use crate::errno::{Errno, Result};
use crate::numbers as nr;
use crate::thread::prctl;

/// The effective user id.
pub fn euid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETEUID) as u32 }
}

/// The effective group id.
pub fn egid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETEGID) as u32 }
}

/// The real user id.
pub fn uid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETUID) as u32 }
}

/// setresuid(2) with the same id thrice: this thread only, as a raw call is.
pub fn set_uid(uid: u32) -> Result<()> {
    let id = uid as usize;
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::SETRESUID, id, id, id) }).map(drop)
}

/// setresgid(2) with the same id thrice.
pub fn set_gid(gid: u32) -> Result<()> {
    let id = gid as usize;
    // SAFETY: integers only.
    Errno::check(unsafe { syscall3(nr::SETRESGID, id, id, id) }).map(drop)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the list is as long as said.
    Errno::check(unsafe { syscall2(nr::SETGROUPS, groups.len(), groups.as_ptr() as usize) }).map(drop)
}

/// A set of capabilities: bit `n` is capability `n`; see capabilities(7).
pub type CapSet = u64;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// capset(2) on this thread.
pub fn set_capabilities(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> Result<()> {
    let header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let low = [effective as u32, permitted as u32, inheritable as u32];
    let high = [(effective >> 32) as u32, (permitted >> 32) as u32, (inheritable >> 32) as u32];
    let data = [low, high];
    // SAFETY: version 3 takes two triples.
    let ret = unsafe { syscall2(nr::CAPSET, (&raw const header) as usize, data.as_ptr() as usize) };
    Errno::check(ret).map(drop)
}

/// capget(2) of this thread: effective, permitted, inheritable.
pub fn capabilities() -> Result<(CapSet, CapSet, CapSet)> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 fills two triples.
    let ret = unsafe { syscall2(nr::CAPGET, (&raw mut header) as usize, data.as_mut_ptr() as usize) };
    Errno::check(ret)?;
    let [low, high] = data;
    let set = |l: u32, h: u32| u64::from(l) | u64::from(h) << 32;
    Ok((set(low[0], high[0]), set(low[1], high[1]), set(low[2], high[2])))
}

/// Drops a capability from the bounding set; `EINVAL` where the kernel has no such capability.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(24, capability as usize, 0).map(drop)
}

/// Whether a capability is in the bounding set; `EINVAL` where the kernel has no such capability.
pub fn in_bounding(capability: u32) -> Result<bool> {
    prctl(23, capability as usize, 0).map(|set| set != 0)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    prctl(47, 4, 0).map(drop)
}

/// Raises a capability in the ambient set.
pub fn raise_ambient(capability: u32) -> Result<()> {
    prctl(47, 2, capability as usize).map(drop)
}

/// PR_SET_KEEPCAPS: whether permitted capabilities survive a change of user.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    prctl(8, usize::from(keep), 0).map(drop)
}

/// PR_SET_NO_NEW_PRIVS.
pub fn no_new_privileges() -> Result<()> {
    prctl(38, 1, 0).map(drop)
}
