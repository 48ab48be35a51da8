//! The master of a container's terminal: where it goes, and how it comes.

use alloc::sync::Arc;

use orlop_sys::net::{self, SocketType};
use orlop_sys::tty::WindowSize;
use orlop_sys::{Errno, OwnedFd};

use crate::error::{Error, Result};
use crate::plan;

pub use crate::socket::connect;

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
        Err(Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(Error::system("recvmsg", "the terminal", errno)),
    }
}
