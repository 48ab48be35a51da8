//! Who the container's process is and what it may do; see credentials(7), capabilities(7).

use core::sync::atomic::Ordering;

use orlop_sys::signal::{self, SIGKILL, SIGSTOP};
use orlop_sys::thread::{self, Limit};
use orlop_sys::{Errno, OwnedFd, credentials, fs};

use crate::context::{At, Context, Failure, Result};
use crate::step::{Call, Capabilities, Groups, List, Slot};
use orlop_sys::thread::SockFilter;

pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    thread::set_limit(resource, Limit { soft, hard }).at(Call::Prlimit)
}

/// From here on only what the profile permits is done. The runtime learns of a listener from the header, without a
/// call that the filter could hand to that very listener.
#[allow(unsafe_code)] // a new descriptor by its number
pub(crate) fn seccomp(ctx: &mut Context<'_>, program: List<SockFilter>, flags: u32, listener: Slot) -> Result<()> {
    const NEW_LISTENER: u32 = 1 << 3;
    // A filter made by watching the container's program may forbid what we have yet to do.
    ctx.hear_all_of_go()?;
    let returned = thread::set_seccomp(ctx.blob.filter(program), flags).at(Call::Seccomp)?;
    ctx.filtered = true;
    if flags & NEW_LISTENER != 0 {
        // SAFETY: the kernel has made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw(returned as i32) };
        ctx.header.listener.store(fd.as_raw(), Ordering::SeqCst);
        ctx.put(listener, fd)?;
    }
    Ok(())
}

/// The kernel says EINVAL to the first capability that it does not have, whatever its version.
pub(crate) fn bounding(ctx: &Context<'_>, keep: Capabilities) -> Result<()> {
    for capability in 0..64 {
        if keep.0 & (1 << capability) != 0 {
            continue;
        }
        match credentials::drop_bounding(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => {
                ctx.note(capability);
                return Err(Failure { call: Call::CapbsetDrop, errno });
            }
        }
    }
    Ok(())
}

/// Groups before the user: who is no longer root may not change them. Capabilities are kept across the
/// change, for the step that sets them all.
pub(crate) fn user(ctx: &Context<'_>, uid: u32, gid: u32, groups: List<u32>, set_groups: Groups) -> Result<()> {
    if uid != 0 {
        credentials::keep_capabilities(true).at(Call::Keepcaps)?;
    }
    if set_groups != Groups::Keep {
        let groups = ctx.blob.words(groups);
        match credentials::set_groups(groups) {
            // With CAP_SETGID, as here, only /proc/PID/setgroups of user_namespaces(7) can forbid it.
            Err(Errno::PERM) if set_groups == Groups::SetIfAllowed && groups.iter().all(|group| *group == gid) => {}
            done => done.at(Call::Setgroups)?,
        }
    }
    if !(ctx.is_all_root && uid == 0 && gid == 0) {
        credentials::set_gid(gid).at(Call::Setresgid)?;
        credentials::set_uid(uid).at(Call::Setresuid)?;
    }
    if uid != 0 {
        credentials::keep_capabilities(false).at(Call::Keepcaps)?;
        // A change of user leaves the kernel's default, which an administrator may have loosened.
        thread::set_dumpable(false).at(Call::Dumpable)?;
    }
    Ok(())
}

pub(crate) fn capabilities(effective: Capabilities, permitted: Capabilities, inheritable: Capabilities) -> Result<()> {
    credentials::set_capabilities(effective.0, permitted.0, inheritable.0).at(Call::Capset)
}

pub(crate) fn ambient(ctx: &Context<'_>, set: Capabilities) -> Result<()> {
    credentials::clear_ambient().at(Call::AmbientClear)?;
    for capability in (0..64).filter(|capability| set.0 & (1 << capability) != 0) {
        ctx.note(capability);
        credentials::raise_ambient(capability).at(Call::AmbientRaise)?;
    }
    Ok(())
}

pub(crate) fn umask(mask: u32) {
    fs::umask(mask);
}

/// Ignored signals survive execve(2), and so does the mask: Python's SIGPIPE, nohup's SIGHUP.
pub(crate) fn signals(ctx: &Context<'_>) -> Result<()> {
    let ignored = ctx.header.ignored.load(Ordering::Acquire);
    for signal in
        (1..=signal::LAST).filter(|signal| ignored & (1 << (signal - 1)) != 0 && ![SIGKILL, SIGSTOP].contains(signal))
    {
        signal::reset(signal).at(Call::Sigaction)?;
    }
    signal::set_mask(0).at(Call::Sigprocmask).map(drop)
}
