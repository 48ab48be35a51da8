//! Local sockets: socketpair(2), unix(7), descriptors in messages.

use core::ffi::CStr;
use core::mem::size_of;

use crate::arch::{syscall2, syscall3, syscall4};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, BorrowedFd, OwnedFd, own_result};
use crate::numbers as nr;

const AF_UNIX: usize = 1;
const CLOEXEC: usize = 0o2000000;
const NOSIGNAL: usize = 0x4000;

/// The type of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketType {
    /// `SOCK_STREAM`.
    Stream = 1,
    /// `SOCK_DGRAM`.
    Datagram = 2,
    /// `SOCK_SEQPACKET`.
    SeqPacket = 5,
}

/// socketpair(2), close-on-exec.
pub fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1i32; 2];
    // SAFETY: two descriptors are stored.
    let ret = unsafe { syscall4(nr::SOCKETPAIR, AF_UNIX, kind as usize | CLOEXEC, 0, fds.as_mut_ptr() as usize) };
    Errno::check(ret)?;
    let [a, b] = fds;
    // SAFETY: both are new and ours.
    Ok(unsafe { (OwnedFd::from_raw(a), OwnedFd::from_raw(b)) })
}

/// socket(2) of the unix domain, close-on-exec.
pub fn unix_socket(kind: SocketType) -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::SOCKET, AF_UNIX, kind as usize | CLOEXEC, 0) })
}

/// socket(2) of `NETLINK_ROUTE`.
pub fn route_socket() -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::SOCKET, 16, 3 | CLOEXEC, 0) })
}

/// How long a path a socket address holds, without its NUL; see unix(7).
pub const MAX_SOCKET_PATH: usize = 107;

#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

/// The address for `path`, or `ENAMETOOLONG`.
fn address(path: &CStr) -> Result<(Address, usize)> {
    address_of(path.to_bytes_with_nul())
}

fn address_of(bytes: &[u8]) -> Result<(Address, usize)> {
    let mut raw = Address { family: AF_UNIX as u16, path: [0; 108] };
    raw.path.get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
    Ok((raw, size_of::<u16>() + bytes.len()))
}

/// bind(2) to a path; a socket file appears there.
pub fn bind(socket: impl AsFd, path: &CStr) -> Result<()> {
    let (raw, len) = address(path)?;
    // SAFETY: `raw` is a sockaddr_un of that length.
    let ret = unsafe { syscall3(nr::BIND, socket.as_fd().arg(), (&raw const raw) as usize, len) };
    Errno::check(ret).map(drop)
}

/// connect(2) to a path.
pub fn connect(socket: impl AsFd, path: &CStr) -> Result<()> {
    connect_to(socket, address(path)?)
}

/// connect(2) to a name of unix(7)'s abstract ones.
pub fn connect_abstract(socket: impl AsFd, name: &[u8]) -> Result<()> {
    let mut bytes = [0u8; 108];
    let (_, rest) = bytes.split_at_mut(1);
    rest.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
    connect_to(socket, address_of(bytes.get(..=name.len()).ok_or(Errno::NAMETOOLONG)?)?)
}

fn connect_to(socket: impl AsFd, (raw, len): (Address, usize)) -> Result<()> {
    retry(|| {
        // SAFETY: `raw` is a sockaddr_un of that length.
        Errno::check(unsafe { syscall3(nr::CONNECT, socket.as_fd().arg(), (&raw const raw) as usize, len) })
    })
    .map(drop)
}

/// listen(2).
pub fn listen(socket: impl AsFd, backlog: u32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall2(nr::LISTEN, socket.as_fd().arg(), backlog as usize) }).map(drop)
}

/// accept4(2), close-on-exec.
pub fn accept(socket: impl AsFd) -> Result<OwnedFd> {
    retry(|| {
        // SAFETY: the peer's address is not asked for.
        own_result(unsafe { syscall4(nr::ACCEPT4, socket.as_fd().arg(), 0, 0, CLOEXEC) })
    })
}

/// How many descriptors one message carries here.
pub const MAX_FDS: usize = 8;

#[repr(C)]
struct MessageHeader {
    name: usize,
    name_len: u32,
    _pad: u32,
    parts: *mut [usize; 2],
    parts_len: usize,
    control: *mut Control,
    control_len: usize,
    flags: u32,
    _pad2: u32,
}

#[repr(C)]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; MAX_FDS],
}

const CONTROL_HEADER: usize = 16;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// sendmsg(2): `data` with up to [`MAX_FDS`] descriptors. `EPIPE` instead of a signal.
pub fn send(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(Errno::INVAL);
    }
    let mut control =
        Control { len: CONTROL_HEADER + 4 * fds.len(), level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [0; MAX_FDS] };
    for (slot, fd) in control.fds.iter_mut().zip(fds) {
        *slot = fd.as_raw();
    }
    let mut part = [data.as_ptr() as usize, data.len()];
    let header = MessageHeader {
        name: 0,
        name_len: 0,
        _pad: 0,
        parts: &raw mut part,
        parts_len: 1,
        control: if fds.is_empty() { core::ptr::null_mut() } else { &raw mut control },
        // CMSG_SPACE: the payload rounded up to a word.
        control_len: if fds.is_empty() { 0 } else { CONTROL_HEADER + (4 * fds.len()).next_multiple_of(8) },
        flags: 0,
        _pad2: 0,
    };
    retry(|| {
        // SAFETY: the header names live buffers of the lengths it gives.
        Errno::check(unsafe { syscall3(nr::SENDMSG, socket.as_fd().arg(), (&raw const header) as usize, NOSIGNAL) })
    })
}

/// recvmsg(2): the length of the data (0: the peer is gone), and the descriptors that came, close-on-exec.
pub fn receive(socket: impl AsFd, data: &mut [u8]) -> Result<(usize, [Option<OwnedFd>; MAX_FDS])> {
    const CMSG_CLOEXEC: usize = 0x4000_0000;
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [-1; MAX_FDS] };
    let mut part = [data.as_mut_ptr() as usize, data.len()];
    let mut header = MessageHeader {
        name: 0,
        name_len: 0,
        _pad: 0,
        parts: &raw mut part,
        parts_len: 1,
        control: &raw mut control,
        control_len: size_of::<Control>(),
        flags: 0,
        _pad2: 0,
    };
    let n = retry(|| {
        // SAFETY: the header names live buffers of the lengths it gives.
        Errno::check(unsafe { syscall3(nr::RECVMSG, socket.as_fd().arg(), (&raw mut header) as usize, CMSG_CLOEXEC) })
    })?;
    let mut fds = [const { None }; MAX_FDS];
    if control.level == SOL_SOCKET && control.kind == SCM_RIGHTS {
        let count = control.len.saturating_sub(CONTROL_HEADER) / 4;
        for (slot, raw) in fds.iter_mut().zip(control.fds).take(count) {
            // SAFETY: the kernel has just made these descriptors for us.
            *slot = Some(unsafe { OwnedFd::from_raw(raw) });
        }
    }
    Ok((n, fds))
}

/// socket(2) of `AF_INET`, close-on-exec: a handle for the ioctls of network devices.
pub fn inet_socket() -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::SOCKET, 2, SocketType::Datagram as usize | CLOEXEC, 0) })
}

/// SIOCSIFFLAGS with `IFF_UP`; see netdevice(7).
pub fn link_up(socket: impl AsFd, name: &CStr) -> Result<()> {
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u16 = 1;
    // struct ifreq: a name of 16 bytes, then a union that begins with the flags.
    let mut request = [0u8; 40];
    let bytes = name.to_bytes_with_nul();
    if bytes.len() > 16 {
        return Err(Errno::INVAL);
    }
    for (to, from) in request.iter_mut().zip(bytes) {
        *to = *from;
    }
    let [low, high] = IFF_UP.to_ne_bytes();
    request[16] = low;
    request[17] = high;
    // SAFETY: the request has the size of struct ifreq.
    let ret = unsafe { syscall3(nr::IOCTL, socket.as_fd().arg(), SIOCSIFFLAGS, request.as_ptr() as usize) };
    Errno::check(ret).map(drop)
}
