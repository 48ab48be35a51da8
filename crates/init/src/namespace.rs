//! Namespaces and what belongs to them; see namespaces(7).

use orlop_sys::fs::OFlags;
use orlop_sys::process::Clone as CloneFlags;
use orlop_sys::signal::SIGKILL;
use orlop_sys::{CWD, Errno, credentials, fs, net, process, thread, tty};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::step::{Call, Slot, Text};

pub(crate) fn unshare(ctx: &mut Context<'_>, namespaces: CloneFlags) -> Result<()> {
    ctx.is_all_root &= !namespaces.contains(CloneFlags::NEWUSER);
    thread::unshare(namespaces).at(Call::Unshare)
}

pub(crate) fn open(ctx: &mut Context<'_>, path: Text, namespace: CloneFlags, out: Slot) -> Result<()> {
    let fd = fs::open_at(CWD, ctx.text(path)?, OFlags::RDONLY, 0).at(Call::Open)?;
    let kind = tty::namespace_type(&fd).at(Call::NamespaceType)?;
    if kind != namespace.bits() {
        return Err(Failure { call: Call::NamespaceType, errno: Errno::INVAL });
    }
    ctx.put(out, fd)
}

/// The runtime has sent it before it said that it was done.
pub(crate) fn receive(ctx: &mut Context<'_>, out: Slot) -> Result<()> {
    while ctx.received.is_none() {
        if !ctx.hear().at(Call::Recvmsg)? {
            process::exit(1);
        }
    }
    let namespace = ctx.received.take().ok_or(BROKEN)?;
    ctx.put(out, namespace)
}

pub(crate) fn join(ctx: &mut Context<'_>, from: Slot, namespace: CloneFlags) -> Result<()> {
    let fd = ctx.take(from)?;
    // The ids are others from here on, or mean others.
    ctx.is_all_root &= !namespace.contains(CloneFlags::NEWUSER);
    thread::setns(&fd, namespace).at(Call::Setns)?;
    if namespace == CloneFlags::NEWUSER {
        // As after any change of credentials.
        thread::set_parent_death_signal(SIGKILL).at(Call::Pdeathsig)?;
    }
    ctx.leave(fd);
    Ok(())
}

/// Groups first: who has become another user may no longer change them. A change of credentials leaves the kernel's
/// default for dumpable processes and clears the parent's death signal: both are set again. The runtime may have
/// died in between, and whoever then waits for it sees the end of its socket.
pub(crate) fn become_root(ctx: &mut Context<'_>) -> Result<()> {
    credentials::set_gid(0).at(Call::Setresgid)?;
    credentials::set_uid(0).at(Call::Setresuid)?;
    ctx.is_all_root = true;
    thread::set_dumpable(false).at(Call::Dumpable)?;
    thread::set_parent_death_signal(SIGKILL).at(Call::Pdeathsig)
}

/// unshare(2) puts only children into the new time namespace, and execve(2) does so from Linux 6.0 on; setns(2)
/// always does. The offsets must be there before anybody is in it: time_namespaces(7).
pub(crate) fn time(ctx: &Context<'_>, offsets: Text) -> Result<()> {
    thread::unshare(CloneFlags::NEWTIME).at(Call::Unshare)?;
    let offsets = ctx.text(offsets)?.to_bytes();
    if !offsets.is_empty() {
        let file = fs::open_at(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY, 0).at(Call::Open)?;
        fs::write_all(&file, offsets).at(Call::Write)?;
    }
    let new = fs::open_at(CWD, c"/proc/self/ns/time_for_children", OFlags::RDONLY, 0).at(Call::Open)?;
    thread::setns(&new, CloneFlags::NEWTIME).at(Call::Setns)
}

pub(crate) fn hostname(ctx: &Context<'_>, name: Text) -> Result<()> {
    thread::set_hostname(ctx.text(name)?.to_bytes()).at(Call::Sethostname)
}

pub(crate) fn domainname(ctx: &Context<'_>, name: Text) -> Result<()> {
    thread::set_domainname(ctx.text(name)?.to_bytes()).at(Call::Setdomainname)
}

pub(crate) fn keyring(ctx: &Context<'_>, name: Text, permissions: u32) -> Result<()> {
    let key = match thread::join_session_keyring(ctx.text(name)?) {
        Ok(key) => key,
        // Without keyrings in the kernel there is none of the caller's to leak; a filter that runs us may
        // forbid the call, and then the container cannot use the caller's keys either.
        Err(Errno::NOSYS) => return Ok(()),
        Err(errno) => return Err(Failure { call: Call::Keyctl, errno }),
    };
    if permissions == 0 {
        return Ok(());
    }
    thread::set_key_permissions(key, permissions).at(Call::Keyctl)
}

pub(crate) fn session() -> Result<()> {
    match process::setsid() {
        // A process group leader has a session already; the first process of a pid namespace is none.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(Failure { call: Call::Setsid, errno }),
    }
}

/// A new network namespace has a loopback device, and it is down.
pub(crate) fn loopback(ctx: &Context<'_>) -> Result<()> {
    let socket = net::inet_socket().at(Call::Socket)?;
    net::link_up(&socket, c"lo").at(Call::LinkUp)?;
    ctx.leave(socket);
    Ok(())
}
