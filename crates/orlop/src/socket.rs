//! Sockets of others, which have a path and listen.

use alloc::format;
use core::ffi::CStr;

use orlop_sys::fs::{self, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd};

use crate::error::{Error, Result};
use crate::state::c_string;

/// Connects to a listening socket, however long its path is: a socket's address holds 107 bytes of it.
pub fn connect(path: &CStr) -> Result<OwnedFd> {
    dial(SocketType::Stream, path, |call, errno| {
        Error::system(call, format!("the socket {}", path.to_string_lossy()), errno)
    })
}

/// The same for any type of socket, with the caller's words for a call that fails.
pub(crate) fn dial(kind: SocketType, path: &CStr, failed: impl Fn(&'static str, Errno) -> Error) -> Result<OwnedFd> {
    let socket = net::unix_socket(kind).map_err(|errno| failed("socket", errno))?;
    let connected = if path.to_bytes().len() <= net::MAX_SOCKET_PATH {
        net::connect(&socket, path)
    } else {
        // An address holds no longer path, but a descriptor's link does.
        let file = fs::open_at(CWD, path, OFlags::PATH, 0).map_err(|errno| failed("openat", errno))?;
        net::connect(&socket, &c_string(&format!("/proc/self/fd/{}", file.as_raw()))?)
    };
    connected.map_err(|errno| failed("connect", errno))?;
    Ok(socket)
}

/// Sends a process's pidfd, with runc's name for the kind of process.
pub(crate) fn send_pidfd(socket: &OwnedFd, kind: &str, pidfd: BorrowedFd<'_>) -> Result<()> {
    let sent = net::send(socket, kind.as_bytes(), &[pidfd]);
    sent.map(drop).map_err(|errno| Error::system("sendmsg", "the pidfd socket", errno))
}
