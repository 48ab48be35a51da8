//! The caller's own terminal while it stands for a container's: raw, and copied to and fro.

use liballoc::format;
use liballoc::vec;
use liballoc::vec::Vec;

use orlop_sys::event::{PollFd, PollFlags};
use orlop_sys::fd::{self, BorrowedFd, OwnedFd, STDERR, STDIN, STDOUT};
use orlop_sys::fs::{self, OFlags};
use orlop_sys::tty::{self, Termios, WindowSize};
use orlop_sys::{CWD, Errno};

use crate::log::Failure;

/// The terminal that the caller sits at: any of the standard descriptors may be redirected, and even all of them.
enum Own {
    Standard(BorrowedFd<'static>),
    Opened(OwnedFd),
}

impl Own {
    fn find() -> Option<Own> {
        let is_tty = |fd: &BorrowedFd<'static>| tty::attributes(fd).is_ok();
        match [STDERR, STDOUT, STDIN].into_iter().find(is_tty) {
            Some(fd) => Some(Own::Standard(fd)),
            None => fs::open_at(CWD, c"/dev/tty", OFlags::RDWR | OFlags::NOCTTY, 0).ok().map(Own::Opened),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Own::Standard(fd) => *fd,
            Own::Opened(fd) => fd.borrow(),
        }
    }
}

/// The size of the caller's terminal; zero where there is none.
pub(crate) fn own_size() -> WindowSize {
    Own::find().and_then(|own| tty::window_size(own.fd()).ok()).unwrap_or_default()
}

/// The caller's terminal in raw mode, until it is dropped.
struct Raw {
    own: Own,
    before: Termios,
}

impl Raw {
    /// OPOST of termios(3).
    const PROCESS_OUTPUT: u32 = 1;

    fn new(own: Own) -> Result<Raw, Errno> {
        let before = tty::attributes(own.fd())?;
        let mut raw = before.raw();
        // A line's end gets its carriage return here, and not in the container: redirected output has none.
        raw.output |= before.output & Raw::PROCESS_OUTPUT;
        tty::set_attributes(own.fd(), &raw)?;
        Ok(Raw { own, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to restore.
        let _gone = tty::set_attributes(self.own.fd(), &self.before);
    }
}

/// Bytes on their way.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What a pipe that is writable at all takes at once (PIPE_BUF), so that no write blocks.
    const SIZE: usize = 4096;

    fn new() -> Buffer {
        Buffer { bytes: vec![0; Buffer::SIZE], start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn fill(&mut self, from: BorrowedFd<'_>) -> Result<usize, Errno> {
        let n = fs::read(from, &mut self.bytes)?;
        (self.start, self.end) = (0, n);
        Ok(n)
    }

    fn drain(&mut self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        self.start += fs::write(to, self.bytes.get(self.start..self.end).unwrap_or_default())?;
        Ok(())
    }
}

/// What passes between the caller's standard descriptors and the master of a container's terminal.
pub(crate) struct Relay {
    master: Option<OwnedFd>,
    raw: Option<Raw>,
    input: Buffer,
    output: Buffer,
    /// Whether standard input may still bring something.
    reads: bool,
    /// Whether standard output still takes something.
    writes: bool,
    /// Nobody in the container has the terminal open right now; somebody may open /dev/console again.
    idle: bool,
}

/// How many descriptors a relay waits for.
pub(crate) const POLLED: usize = 3;

impl Relay {
    pub(crate) fn new(master: OwnedFd) -> Result<Relay, Failure> {
        fd::set_status(&master, OFlags::RDWR | OFlags::NONBLOCK)
            .map_err(|errno| Failure::new(format!("the container's terminal: fcntl(F_SETFL): {errno}")))?;
        // Without a terminal of its own the caller's streams are passed on all the same.
        let raw = Own::find().map(Raw::new).transpose();
        let raw = raw.map_err(|errno| Failure::new(format!("failed to set the terminal to raw mode: {errno}")))?;
        let (input, output) = (Buffer::new(), Buffer::new());
        Ok(Relay { master: Some(master), raw, input, output, reads: true, writes: true, idle: false })
    }

    /// Gives the container's terminal the size of ours.
    pub(crate) fn resize(&self) {
        if let (Some(raw), Some(master)) = (&self.raw, &self.master)
            && let Ok(size) = tty::window_size(raw.own.fd())
        {
            // Where either terminal is gone, its size does not matter.
            let _gone = tty::set_window_size(master, size);
        }
    }

    /// Whether to look again after a while, whatever happens.
    pub(crate) fn looks_again(&self) -> bool {
        self.idle && self.master.is_some()
    }

    /// What to wait for: standard input, standard output, the master.
    pub(crate) fn polled(&self) -> [PollFd; POLLED] {
        let mut polled = [const { PollFd::none() }; POLLED];
        let Some(master) = &self.master else { return polled };
        if self.reads && self.input.is_empty() {
            polled[0] = PollFd::new(STDIN, PollFlags::IN);
        }
        let mut wanted = PollFlags::NONE;
        if !self.output.is_empty() {
            polled[1] = PollFd::new(STDOUT, PollFlags::OUT);
        } else {
            wanted |= PollFlags::IN;
        }
        if !self.input.is_empty() {
            wanted |= PollFlags::OUT;
        }
        if !wanted.is_empty() && !self.idle {
            polled[2] = PollFd::new(master.borrow(), wanted);
        }
        polled
    }

    /// Passes on what can be.
    pub(crate) fn pass(&mut self, polled: &[PollFd; POLLED]) {
        let [input, output, master] = polled.map(|fd| fd.happened);
        let again = core::mem::take(&mut self.idle);
        if !input.is_empty() {
            self.read_input(input);
        }
        if !output.is_empty() {
            self.write_output();
        }
        if !master.is_empty() || again {
            self.exchange();
        }
    }

    fn read_input(&mut self, happened: PollFlags) {
        match self.input.fill(STDIN) {
            Ok(n) if n > 0 => {}
            Err(Errno::AGAIN) => {}
            // The caller's window was closed: the container's session is hung up, as by any terminal.
            _ if happened.contains(PollFlags::HUP) && tty::window_size(STDIN).is_err_and(|e| e != Errno::NOTTY) => {
                self.master = None;
            }
            // As runc has it, the end of a file is not the terminal's: ^D is.
            _ => self.reads = false,
        }
    }

    fn write_output(&mut self) {
        match self.output.drain(STDOUT) {
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(_) => {
                // Nobody reads any more; the container must not stop for that.
                self.writes = false;
                self.output.start = self.output.end;
            }
        }
    }

    fn exchange(&mut self) {
        let Some(master) = &self.master else { return };
        if !self.input.is_empty() {
            match self.input.drain(master.borrow()) {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(_) => self.input.start = self.input.end,
            }
        }
        if self.output.is_empty() {
            match self.output.fill(master.borrow()) {
                Ok(_) if !self.writes => self.output.start = self.output.end,
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(_) => self.idle = true,
            }
        }
    }

    /// Passes on what the container has written, and gives the caller its terminal back.
    pub(crate) fn finish(mut self) {
        while self.writes && self.master.is_some() {
            if self.output.is_empty() {
                match self.master.as_ref().map(|master| self.output.fill(master.borrow())) {
                    Some(Ok(n)) if n > 0 => {}
                    _ => break,
                }
            }
            self.write_output();
        }
    }
}
