//! Starting init, and working through the plan together with it.
//!
//! Both sides hold the one list. The runtime writes how far it is to [`Header::done`], init to [`Header::at`];
//! who has to wait for the other says so, sleeps on the wake socket, and is woken by a byte, or by the other's end.

#![allow(unsafe_code)] // the shared mapping, and starting a program: each with its reason

mod sealed;
mod start;
mod verdict;

use alloc::format;
use core::sync::atomic::{AtomicU64, Ordering};

use orlop_init::Report;
use orlop_init::plan::{EXCERPT_AREA, EXCERPT_AT, Header, Status};
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::mem::Shared;
use orlop_sys::process::{self, Child, Ended, Pid, Waiting};
use orlop_sys::signal::SIGKILL;
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, Errno, OwnedFd, fs, net};

use crate::error::{Error, Kind, Result};
use crate::plan::Plan;

pub(crate) use sealed::sealed_program;
pub(crate) use start::Birth;
pub use start::Thread;
pub(crate) use verdict::{MEMORY_LIMIT, Size, limit_of_memory};

/// A started init.
pub(crate) struct Launch {
    child: Child,
    shared: Shared,
    wake: OwnedFd,
    /// How long to sleep before looking again: where a filter may keep init from waking us.
    patience: Option<Timespec>,
}

impl Launch {
    fn header(&self) -> &Header {
        // SAFETY: an image was written there, the mapping lives as long as `self`, and what init changes is atomic.
        unsafe { &*self.shared.start().cast::<Header>() }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.child.pid
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.child.pidfd
    }

    /// When init began, and when it was done with each step; none where nobody asked.
    pub(crate) fn times(&self) -> &[AtomicU64] {
        let header = self.header();
        let (at, len) = (header.times as usize, header.times_len as usize);
        // SAFETY: the image has that area, aligned, and it is only used as atomics.
        unsafe { core::slice::from_raw_parts(self.shared.start().add(at).cast(), len) }
    }

    /// Tells init which signals its caller ignored: bit `n - 1` is signal `n`.
    pub(crate) fn ignores(&self, signals: u64) {
        self.header().ignored.store(signals, Ordering::Release);
    }

    /// A copy of the seccomp listener that init has got.
    pub(crate) fn listener(&self) -> Result<OwnedFd> {
        let number = self.header().listener.load(Ordering::SeqCst);
        process::pidfd_getfd(&self.child.pidfd, number)
            .map_err(|errno| Error::system("pidfd_getfd", "the seccomp listener", errno))
    }

    /// Says that every entry of the runtime before `index` is done.
    pub(crate) fn complete(&self, index: u32) -> Result<()> {
        let header = self.header();
        header.done.store(index, Ordering::SeqCst);
        if header.init_sleeps.swap(0, Ordering::SeqCst) != 0 {
            match net::send(&self.wake, &[1], &[]) {
                // Where init is gone, the next wait says so.
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
                Err(errno) => return Err(Error::system("sendmsg", "waking init", errno)),
            }
        }
        Ok(())
    }

    /// Sends init a descriptor.
    pub(crate) fn send(&self, fd: BorrowedFd<'_>) -> orlop_sys::Result<()> {
        net::send(&self.wake, &[1], &[fd]).map(drop)
    }

    /// The entry that init has come to.
    pub(crate) fn reached(&self) -> u32 {
        self.header().at.load(Ordering::SeqCst)
    }

    /// Waits until init has come to the entry `index`.
    pub(crate) fn await_init(&self, plan: &Plan, index: u32) -> Result<()> {
        let header = self.header();
        loop {
            // Announced first and looked at second, as init does it the other way round: one of us sees the other.
            header.runtime_awaits.store(index, Ordering::SeqCst);
            if header.at.load(Ordering::SeqCst) >= index && header.status() != Status::Failed {
                header.runtime_awaits.store(0, Ordering::SeqCst);
                return Ok(());
            }
            if !self.sleep()? {
                return Err(self.failure(plan));
            }
        }
    }

    /// Waits until the container's program is executed.
    pub(crate) fn await_program(&self, plan: &Plan) -> Result<()> {
        while self.sleep()? {}
        match self.header().status() {
            Status::Executing => Ok(()),
            _ => Err(self.failure(plan)),
        }
    }

    /// Sleeps until init has something to say; `false` when its end of the socket is closed: by its end, or by
    /// execve(2) of the program.
    fn sleep(&self) -> Result<bool> {
        let mut fds =
            [PollFd::new(self.wake.borrow(), PollFlags::IN), PollFd::new(self.child.pidfd.borrow(), PollFlags::IN)];
        loop {
            match event::poll(&mut fds, self.patience) {
                Ok(0) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("ppoll", "waiting for init", errno)),
                Ok(_) => break,
            }
        }
        if fds[0].happened.is_empty() {
            return Ok(false);
        }
        let mut byte = [0u8; 1];
        match fs::read(&self.wake, &mut byte) {
            Ok(n) => Ok(n > 0),
            Err(Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(Error::system("read", "waiting for init", errno)),
        }
    }

    /// Sends it a signal; one that has ended gets none.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        signal_to(&self.child.pidfd, signal).map(drop)
    }

    /// Whether init has ended.
    pub(crate) fn has_ended(&self) -> bool {
        event_ready(self.pidfd().borrow())
    }

    /// What init has left of its failure.
    fn report(&self) -> Report {
        let header = self.header();
        Report {
            step: header.at.load(Ordering::Relaxed),
            call: header.call.load(Ordering::Relaxed),
            errno: header.errno.load(Ordering::Relaxed) as u32,
            detail: header.detail.load(Ordering::Relaxed),
            said: header.said.load(Ordering::Relaxed),
            complained: header.complained.load(Ordering::Relaxed),
        }
    }

    fn excerpt(&self) -> &[u8] {
        let at = self.header().scratch as usize + EXCERPT_AT;
        // SAFETY: the mapping has that area; init, the only one to write there, does so no more after its failure.
        unsafe { core::slice::from_raw_parts(self.shared.start().add(at), EXCERPT_AREA) }
    }

    /// The error of an init that did not get to the program. It is killed and reaped.
    pub(crate) fn failure(&self, plan: &Plan) -> Error {
        if self.header().status() != Status::Failed && !event_ready(self.pidfd().borrow()) {
            let _gone = process::pidfd_signal(&self.child.pidfd, SIGKILL);
        }
        // Where nobody can tell how, it has ended all the same.
        let ended = self.reap().ok().flatten();
        let none = || Error::new(Kind::System, "init executed the program, and ended");
        self.verdict(plan, ended).unwrap_or_else(none)
    }

    /// Kills init, and with it all of its pid namespace, and reaps it.
    pub(crate) fn kill(&self) {
        // ESRCH: it has ended, which is what we want.
        let _gone = process::pidfd_signal(&self.child.pidfd, SIGKILL);
        let _reaped = self.reap();
    }

    /// How it ended; `None` where another part of this process has reaped it.
    pub(crate) fn reap(&self) -> Result<Option<Ended>> {
        match process::wait(&self.child.pidfd, Waiting::Block) {
            Err(Errno::CHILD) => Ok(None),
            done => done.map_err(|errno| Error::system("waitid", "the end of the container's program", errno)),
        }
    }
}

/// Sends a signal to a process; `false` where it has ended.
pub(crate) fn signal_to(pidfd: &OwnedFd, signal: i32) -> Result<bool> {
    match process::pidfd_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(Error::system("pidfd_send_signal", format!("signal {signal}"), errno)),
    }
}

fn event_ready(fd: BorrowedFd<'_>) -> bool {
    event::wait_readable(fd, Some(Timespec::default())).unwrap_or(false)
}
