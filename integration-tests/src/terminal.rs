//! A terminal's window, as the test sees it: the master of a pty.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Terminal {
    master: OwnedFd,
    seen: String,
}

impl Terminal {
    /// A window of 30 lines and 90 columns, and the end that programs are given.
    pub fn open() -> (Terminal, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty is left");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = std::ffi::OsStr::from_bytes(name.as_bytes());
        let mut how = OpenOptions::new();
        how.read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32);
        let peer = how.open(name).expect("its other end can be opened").into();
        let terminal = Terminal::of(master);
        terminal.resize(30, 90);
        (terminal, peer)
    }

    /// The window of a master that was received.
    pub fn of(master: OwnedFd) -> Terminal {
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).expect("it is ours");
        Terminal { master, seen: String::new() }
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("it is a terminal");
    }

    pub fn attributes(&self) -> Termios {
        tcgetattr(&self.master).expect("it is a terminal")
    }

    pub fn types(&self, text: &str) {
        let n = rustix::io::write(&self.master, text.as_bytes()).expect("a pty takes some bytes");
        assert_eq!(n, text.len());
    }

    /// Waits until the text has come; what came before it is gone.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < end, "{text:?} does not come; there is {:?}", self.seen);
            self.look();
        }
    }

    /// Whether the text has come by now.
    pub fn has_shown(&mut self, text: &str) -> bool {
        self.look();
        self.seen.contains(text)
    }

    /// Takes what has come, or waits a moment.
    fn look(&mut self) {
        let mut buffer = [0u8; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(n) if n > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Ok(_) | Err(Errno::AGAIN | Errno::IO) => sleep(Duration::from_millis(5)),
            Err(errno) => panic!("reading a terminal: {errno}; there was {:?}", self.seen),
        }
    }
}

/// The descriptor of the one message that comes over the socket, and its text.
pub fn receive(listener: &UnixListener) -> (OwnedFd, String) {
    listener.set_nonblocking(true).expect("it is ours");
    let end = Instant::now() + PATIENCE;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(Instant::now() < end, "nobody connects"),
            Err(error) => panic!("accept: {error}"),
        }
        sleep(Duration::from_millis(5));
    };
    stream.set_nonblocking(false).expect("it is ours");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0u8; 128];
    let mut parts = [IoSliceMut::new(&mut text)];
    let message = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message comes");
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.flatten().next().expect("a descriptor comes");
    (fd, String::from_utf8_lossy(&text[..message.bytes]).into_owned())
}
