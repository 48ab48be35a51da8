//! `run` without `--detach`: signals go to the container, and its exit status is ours.

use orlop::Running;
use orlop::plan::Warning;
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::process::{self, SignalSet};
use orlop_sys::{Errno, OwnedFd};

use liballoc::format;
use liballoc::vec::Vec;

use crate::log::Failure;

const SIGCHLD: i32 = 17;
const SIGPIPE: i32 = 13;
const SIGURG: i32 = 23;

const fn bit(signal: i32) -> SignalSet {
    1 << (signal - 1)
}

/// The signals that this process gets, to be read instead of acted on.
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks every signal that can be, from now on. Those of faults stay: the kernel would kill us anyway.
    pub(crate) fn take_over() -> Result<Signals, Failure> {
        const FAULTS: SignalSet = bit(4) | bit(5) | bit(7) | bit(8) | bit(11) | bit(31);
        let set = !FAULTS;
        let failed = |call: &'static str| move |errno: Errno| Failure::new(format!("{call}: {errno}"));
        process::set_signal_mask(set).map_err(failed("rt_sigprocmask"))?;
        let fd = event::signalfd(set).map_err(failed("signalfd4"))?;
        Ok(Signals { fd })
    }
}

/// Stays until the container's program has ended: its exit status, or 128 and the signal that killed it, and what
/// there is to say of the container's removal.
pub(crate) fn attend(mut running: Running, signals: &Signals, keep: bool) -> Result<(i32, Vec<Warning>), Failure> {
    loop {
        let mut fds = [PollFd::new(running.pidfd(), PollFlags::IN), PollFd::new(signals.fd.borrow(), PollFlags::IN)];
        match event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::new(format!("waiting for the container: ppoll: {errno}"))),
        }
        if !fds[0].happened.is_empty() {
            break;
        }
        forward(&running, signals)?;
    }
    match running.wait() {
        Ok(ended) => {
            if keep {
                return Ok((ended.code(), Vec::new()));
            }
            let warnings = running.delete()?;
            // The program ends here: the kernel takes back the rest at once.
            core::mem::forget(running);
            Ok((ended.code(), warnings))
        }
        Err(error) => Err(running.fail(error).into()),
    }
}

/// Hands on what has come. Our children's ends and broken pipes are ours alone; SIGURG is what Go programs send
/// themselves.
fn forward(running: &Running, signals: &Signals) -> Result<(), Failure> {
    loop {
        match event::next_signal(&signals.fd) {
            Ok(SIGCHLD | SIGPIPE | SIGURG) => {}
            Ok(signal) => running.signal(signal)?,
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(Failure::new(format!("reading signals: {errno}"))),
        }
    }
}
