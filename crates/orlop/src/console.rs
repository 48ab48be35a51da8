//! The master of a container's terminal: where it goes, and how it comes.

use alloc::format;
use alloc::sync::Arc;
use core::ffi::CStr;

use orlop_sys::fs::{self, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::tty::WindowSize;
use orlop_sys::{BorrowedFd, CWD, OwnedFd};

use crate::error::{Error, Result};
use crate::plan;

/// Who gets the master of a container's terminal, if its process has one.
#[derive(Clone, Debug, Default)]
pub enum Console {
    /// Nobody: a process that asks for a terminal is refused.
    #[default]
    Nobody,
    /// The other end of this connected socket, as a message of one descriptor; a process without a terminal is
    /// refused. See [`connect`].
    Socket(Arc<OwnedFd>),
    /// The caller, by [`Running::console`](crate::Running::console). Asked for the size of its own
    /// terminal, zero where it has none, if there is going to be one.
    Caller(fn() -> WindowSize),
}

impl Console {
    pub(crate) fn planned(&self, terminal: bool) -> plan::Console {
        match self {
            Console::Caller(_) if !terminal => plan::Console::Nobody,
            Console::Nobody => plan::Console::Nobody,
            Console::Socket(_) => plan::Console::Socket,
            Console::Caller(size) => {
                let size = size();
                plan::Console::Caller { rows: size.rows, columns: size.columns }
            }
        }
    }
}

/// Connects to a listening socket, however long its path is: a socket's address holds 107 bytes of it.
pub fn connect(path: &CStr) -> Result<OwnedFd> {
    let failed = |call| move |errno| Error::system(call, format!("the socket {}", path.to_string_lossy()), errno);
    let socket = net::unix_socket(SocketType::Stream).map_err(failed("socket"))?;
    if path.to_bytes().len() <= net::MAX_SOCKET_PATH {
        net::connect(&socket, path).map_err(failed("connect"))?;
    } else {
        let file = fs::open_at(CWD, path, OFlags::PATH, 0).map_err(failed("openat"))?;
        let short = crate::state::c_string(&format!("/proc/self/fd/{}", file.as_raw()))?;
        net::connect(&socket, &short).map_err(failed("connect"))?;
    }
    Ok(socket)
}

/// What the plan's console slot is filled with.
pub(crate) struct Ends {
    /// Init's end.
    pub(crate) inits: Option<Arc<OwnedFd>>,
    /// Ours, where the master comes to us.
    pub(crate) ours: Option<OwnedFd>,
}

impl Ends {
    pub(crate) fn new(console: &Console, terminal: bool) -> Result<Ends> {
        Ok(match console {
            _ if !terminal => Ends { inits: None, ours: None },
            Console::Nobody => Ends { inits: None, ours: None },
            Console::Socket(socket) => Ends { inits: Some(Arc::clone(socket)), ours: None },
            Console::Caller(_) => {
                let pair = net::socket_pair(SocketType::Stream);
                let (ours, inits) = pair.map_err(|errno| Error::system("socketpair", "the terminal", errno))?;
                Ends { inits: Some(Arc::new(inits)), ours: Some(ours) }
            }
        })
    }
}

/// The master that init sends; `None` where init has ended before.
pub(crate) fn receive(socket: OwnedFd) -> Result<Option<OwnedFd>> {
    let mut name = [0u8; 64];
    match net::receive(&socket, &mut name) {
        Ok((_, [fd, ..])) => Ok(fd),
        Err(orlop_sys::Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(Error::system("recvmsg", "the terminal", errno)),
    }
}

/// Sends a process's pidfd, with runc's name for the kind of process.
pub(crate) fn send_pidfd(socket: &OwnedFd, kind: &str, pidfd: BorrowedFd<'_>) -> Result<()> {
    let sent = net::send(socket, kind.as_bytes(), &[pidfd]);
    sent.map(drop).map_err(|errno| Error::system("sendmsg", "the pidfd socket", errno))
}
