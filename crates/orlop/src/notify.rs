//! The socket on which a container's program tells a service manager of itself; see sd_notify(3). The program cannot
//! reach the manager's own, and the manager would not listen to it: what it says is handed on by whoever started it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::Pid;
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, Errno, OwnedFd};

use crate::config::{Config, Mount, Str};
use crate::error::{Error, Result};
use crate::path;
use crate::socket::dial;
use crate::state::{NOTIFY, StateDir};

/// Where the container has the socket's directory, as under runc.
const INSIDE: &str = "/run/notify";
const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

/// What a program may say of the service that it is. Who the main process is the manager hears of us.
const ALLOWED: [&str; 7] =
    ["READY=", "STATUS=", "RELOADING=", "STOPPING=", "ERRNO=", "WATCHDOG=", "EXTEND_TIMEOUT_USEC="];

/// How long a manager may take to have read all that it was told: as long as systemd's own programs give it.
const BARRIER: Timespec = Timespec::from_millis(30_000);

/// Gives the configuration the mount and the variable by which the program finds its socket.
pub(crate) fn ask(config: &mut Config<'_>, root: &CStr, id: &str) -> Result<()> {
    let root = path::absolute(root)?;
    let source = format!("{}/{id}/{}", String::from_utf8_lossy(&root), NOTIFY.to_string_lossy());
    config.mounts.push(Mount {
        destination: Str::new(INSIDE),
        kind: Str::new("bind"),
        source: source.into(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].into_iter().map(Str::new).collect(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
    });
    if let Some(process) = &mut config.process {
        process.env.push(Str::new(VARIABLE));
    }
    Ok(())
}

/// What a container's program says, on its way to a service manager.
#[derive(Debug)]
pub struct Notify {
    program: OwnedFd,
    manager: OwnedFd,
    ready: bool,
}

impl Notify {
    /// Listens for a container's program, for the manager at the path `NOTIFY_SOCKET` names: one that begins with `@` is
    /// an abstract address of unix(7).
    pub(crate) fn bind(state: &StateDir, manager: &CStr) -> Result<Notify> {
        let failed = |call, errno| Error::system(call, format!("NOTIFY_SOCKET {}", manager.to_string_lossy()), errno);
        let socket = || net::unix_socket(SocketType::Datagram).map_err(|errno| failed("socket", errno));
        let towards = match manager.to_bytes().strip_prefix(b"@") {
            Some(name) => {
                let towards = socket()?;
                net::connect_abstract(&towards, name).map_err(|errno| failed("connect", errno))?;
                towards
            }
            None => dial(SocketType::Datagram, manager, failed)?,
        };
        let program = socket()?;
        state.bind_notify(&program)?;
        Ok(Notify { program, manager: towards, ready: false })
    }

    /// Readable when the program has said something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.program.borrow()
    }

    /// Hands on what the program has said, and with its being ready which process is the main one of the service. Waits
    /// where it has said nothing.
    pub fn pass(&mut self, main: Pid) -> Result<()> {
        let mut heard = [0u8; 4096];
        // A descriptor that comes with it is closed, which is the answer to a barrier of the program's own.
        let (n, _closed) = net::receive(&self.program, &mut heard)
            .map_err(|errno| Error::system("recvmsg", "what the container's program tells its manager", errno))?;
        let told = translated(heard.get(..n).unwrap_or_default(), if self.ready { None } else { Some(main) });
        if told.is_empty() {
            return Ok(());
        }
        self.ready |= told.split(|&byte| byte == b'\n').any(is_ready);
        self.tell(&told, &[])
    }

    /// Stays until the program is ready, or its process, of which that is the pidfd, has ended.
    pub fn until_ready(&mut self, main: Pid, pidfd: BorrowedFd<'_>) -> Result<()> {
        while !self.ready {
            let mut fds = [PollFd::new(self.fd(), PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            match event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("ppoll", "waiting until the program is ready", errno)),
            }
            let [said, ended] = fds;
            if !said.happened.is_empty() {
                self.pass(main)?;
            } else if !ended.happened.is_empty() {
                return Ok(());
            }
        }
        self.barrier()
    }

    /// The manager takes a message for that of a service by its sender, who must be there when it is read.
    fn barrier(&self) -> Result<()> {
        let failed = |call| move |errno| Error::system(call, "waiting for the service manager", errno);
        let (ours, theirs) = net::socket_pair(SocketType::Stream).map_err(failed("socketpair"))?;
        self.tell(b"BARRIER=1", &[theirs.borrow()])?;
        drop(theirs);
        event::wait_readable(&ours, Some(BARRIER)).map(drop).map_err(failed("ppoll"))
    }

    fn tell(&self, text: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        net::send(&self.manager, text, fds)
            .map(drop)
            .map_err(|errno| Error::system("sendmsg", "telling the service manager", errno))
    }
}

fn is_ready(line: &[u8]) -> bool {
    line.starts_with(b"READY=")
}

/// The lines of a message that are handed on; with the first that says `READY`, who is the main process.
fn translated(message: &[u8], main: Option<Pid>) -> Vec<u8> {
    let mut told = Vec::new();
    let lines = message.split(|&byte| byte == b'\n');
    for line in lines.filter(|line| ALLOWED.iter().any(|start| line.starts_with(start.as_bytes()))) {
        if is_ready(line)
            && let Some(main) = main
        {
            told.extend(format!("MAINPID={main}\n").into_bytes());
        }
        told.extend(line);
        told.push(b'\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_on() {
        for (message, main, told) in [
            (&b"READY=1"[..], Some(7), &b"MAINPID=7\nREADY=1\n"[..]),
            (b"STATUS=half way\nREADY=1\n", Some(7), b"STATUS=half way\nMAINPID=7\nREADY=1\n"),
            (b"READY=1", None, b"READY=1\n"),
            (b"STATUS=busy", Some(7), b"STATUS=busy\n"),
            (b"MAINPID=1\nBARRIER=1\nFDSTORE=1\nFDNAME=x\nNOTREADY=1\nready=1", Some(7), b""),
            (b"", Some(7), b""),
        ] {
            assert_eq!(translated(message, main), told, "{}", String::from_utf8_lossy(message));
        }
    }
}
