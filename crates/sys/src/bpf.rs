//! bpf(2), as far as device programs of cgroups need it.

use core::ffi::CStr;

use crate::arch::syscall3;
use crate::errno::{Errno, Result};
use crate::fd::{AsFd, BorrowedFd, OwnedFd, own_result};
use crate::numbers as nr;

const PROG_LOAD: usize = 5;
const PROG_ATTACH: usize = 8;
const PROG_DETACH: usize = 9;
const PROG_GET_FD_BY_ID: usize = 13;
const PROG_QUERY: usize = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;

/// One instruction: `struct bpf_insn` of a little-endian machine.
pub type Instruction = u64;

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
}

/// The same for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// The same for BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    _pad: u32,
}

/// # Safety
/// `T` is the part of `union bpf_attr` that `command` reads, and what it points to is alive.
unsafe fn bpf<T>(command: usize, attr: &mut T) -> isize {
    let attr: *mut T = attr;
    // SAFETY: the structure is as long as said; the caller vouches for the rest.
    unsafe { syscall3(nr::BPF, command, attr as usize, size_of::<T>()) }
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`. `name` is cut after 15 bytes.
pub fn load_device_program(program: &[Instruction], license: &CStr, name: &CStr) -> Result<OwnedFd> {
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    for (to, from) in attr.name.iter_mut().take(15).zip(name.to_bytes()) {
        *to = *from;
    }
    // The verifier gives EAGAIN to whoever has a signal pending, so that long programs can be interrupted. Ours is not
    // long: tried again it gets through, or the signal has come by then.
    const TRIES: u32 = 16;
    let mut tries = 0;
    loop {
        // SAFETY: program and license live until the call returns; the kernel copies both.
        match own_result(unsafe { bpf(PROG_LOAD, &mut attr) }) {
            Err(Errno::AGAIN) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Attaches a device program to a cgroup, beside others that allow that (`BPF_F_ALLOW_MULTI`), or in the
/// place of `replaced` (`BPF_F_REPLACE`).
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd, replaced: Option<BorrowedFd<'_>>) -> Result<()> {
    const ALLOW_MULTI: u32 = 2;
    const REPLACE: u32 = 4;
    let mut attr = Attach {
        target: cgroup.as_fd().as_raw() as u32,
        program: program.as_fd().as_raw() as u32,
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 },
        replaced: replaced.map_or(0, |fd| fd.as_raw() as u32),
    };
    // SAFETY: integers only.
    Errno::check(unsafe { bpf(PROG_ATTACH, &mut attr) }).map(drop)
}

/// Detaches a device program from a cgroup.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let mut attr = Attach {
        target: cgroup.as_fd().as_raw() as u32,
        program: program.as_fd().as_raw() as u32,
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: integers only.
    Errno::check(unsafe { bpf(PROG_DETACH, &mut attr) }).map(drop)
}

/// The ids of the device programs attached to a cgroup itself: how many of `ids` were filled. `ENOSPC` where
/// there are more; the kernel lets 64 be attached.
pub fn device_programs(cgroup: impl AsFd, ids: &mut [u32]) -> Result<usize> {
    let mut attr = Query {
        target: cgroup.as_fd().as_raw() as u32,
        attach_type: CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).map_err(|_| Errno::TOOBIG)?,
        ..Query::default()
    };
    // SAFETY: the array is as long as `count` says.
    Errno::check(unsafe { bpf(PROG_QUERY, &mut attr) })?;
    Ok(attr.count as usize)
}

/// A descriptor of the loaded program with this id.
pub fn program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = [id, 0, 0];
    // SAFETY: prog_id, next_id and open_flags, all integers.
    own_result(unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) })
}
