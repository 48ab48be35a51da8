//! `run` without `--detach`: signals go to the container, and its exit status is ours.

use orlop::plan::Warning;
use orlop::{Executed, Restored, Running};
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::process::{self, Pid, Waiting};
use orlop_sys::signal::{self, SIGCHLD, SIGKILL, SIGPIPE, SIGURG};
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, Errno, OwnedFd};

use liballoc::format;
use liballoc::vec::Vec;

use crate::log::Failure;
use crate::terminal::{POLLED, Relay};

const SIGWINCH: i32 = 28;

const fn bit(signal: i32) -> signal::Set {
    1 << (signal - 1)
}

/// The signals that this process gets, to be read instead of acted on.
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks every signal that can be, from now on. Those of faults stay: the kernel would kill us anyway. So do those
    /// of a terminal that we are in the background of: we stop, as every job does.
    pub(crate) fn take_over() -> Result<Signals, Failure> {
        const FAULTS: signal::Set = bit(4) | bit(5) | bit(7) | bit(8) | bit(11) | bit(31);
        const BACKGROUND: signal::Set = bit(21) | bit(22);
        let set = !(FAULTS | BACKGROUND);
        let failed = |call: &'static str| move |errno: Errno| Failure::new(format!("{call}: {errno}"));
        signal::set_mask(set).map_err(failed("rt_sigprocmask"))?;
        let fd = event::signalfd(set).map_err(failed("signalfd4"))?;
        Ok(Signals { fd })
    }
}

/// A process that was started by this one.
pub(crate) trait Attended {
    fn pidfd(&self) -> BorrowedFd<'_>;
    fn pid(&self) -> Pid;
    fn signal(&self, signal: i32) -> Result<(), orlop::Error>;
    fn console(&mut self) -> Result<Option<OwnedFd>, orlop::Error>;
}

macro_rules! attended {
    ($($process:ty)*) => {
        $(impl Attended for $process {
            fn pidfd(&self) -> BorrowedFd<'_> {
                self.pidfd()
            }

            fn pid(&self) -> Pid {
                self.pid()
            }

            fn signal(&self, signal: i32) -> Result<(), orlop::Error> {
                self.signal(signal)
            }

            fn console(&mut self) -> Result<Option<OwnedFd>, orlop::Error> {
                self.console()
            }
        })*
    };
}

attended! { Running Executed Restored }

/// Stays until a restored container's first process has ended, as [`attend`] does.
pub(crate) fn attend_restored(mut restored: Restored, signals: &Signals) -> Result<(i32, Vec<Warning>), Failure> {
    let children = Children::of(restored.adopts_orphans());
    let watched = watch(&mut restored, signals, children);
    if watched.is_err() {
        restored.signal(SIGKILL)?;
    }
    let ended = restored.wait()?;
    let warnings = restored.delete()?;
    watched.map(|()| (ended.code(), warnings))
}

/// Stays until a further process has ended, as [`attend`] does.
pub(crate) fn attend_executed(mut executed: Executed, signals: &Signals) -> Result<i32, Failure> {
    if let Err(failure) = watch(&mut executed, signals, Children::Own) {
        executed.signal(SIGKILL)?;
        executed.wait()?;
        return Err(failure);
    }
    let ended = executed.wait()?;
    // The program ends here: the kernel takes back the rest at once.
    core::mem::forget(executed);
    Ok(ended.code())
}

/// Stays until the container's program has ended: its exit status, or 128 and the signal that killed it, and what
/// there is to say of the container's removal.
pub(crate) fn attend(mut running: Running, signals: &Signals, keep: bool) -> Result<(i32, Vec<Warning>), Failure> {
    let children = Children::of(running.adopts_orphans());
    if let Err(failure) = watch(&mut running, signals, children) {
        running.signal(SIGKILL)?;
        running.wait()?;
        running.delete()?;
        return Err(failure);
    }
    match running.wait() {
        Ok(ended) => {
            let mut warnings: Vec<Warning> = running.shortage().into_iter().collect();
            if keep {
                return Ok((ended.code(), warnings));
            }
            warnings.extend(running.delete()?);
            // The program ends here: the kernel takes back the rest at once.
            core::mem::forget(running);
            Ok((ended.code(), warnings))
        }
        Err(error) => Err(running.fail(error).into()),
    }
}

/// How long a terminal that nobody has open is left alone.
const AGAIN: Timespec = Timespec::from_millis(50);

/// Which children end while a process is attended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Children {
    /// It alone.
    Own,
    /// Those of others, too, which are ours to reap.
    Orphans,
}

impl Children {
    fn of(adopts_orphans: bool) -> Children {
        if adopts_orphans { Children::Orphans } else { Children::Own }
    }
}

/// Hands signals, and what is typed, to the process until it has ended.
pub(crate) fn watch(process: &mut impl Attended, signals: &Signals, children: Children) -> Result<(), Failure> {
    let mut relay = process.console()?.map(Relay::new).transpose()?;
    loop {
        let [input, output, master] = relay.as_ref().map_or([PollFd::none(); POLLED], Relay::polled);
        let own = [PollFd::new(process.pidfd(), PollFlags::IN), PollFd::new(signals.fd.borrow(), PollFlags::IN)];
        let mut fds = [own[0], own[1], input, output, master];
        let timeout = relay.as_ref().is_some_and(Relay::looks_again).then_some(AGAIN);
        match event::poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Failure::new(format!("waiting for the container: ppoll: {errno}"))),
        }
        let [ended, signal, input, output, master] = fds;
        if !ended.happened.is_empty() {
            break;
        }
        if !signal.happened.is_empty() {
            forward(process, signals, relay.as_ref(), children)?;
        }
        if let Some(relay) = &mut relay {
            relay.pass(&[input, output, master]);
        }
    }
    if let Some(relay) = relay {
        relay.finish();
    }
    Ok(())
}

/// Hands on what has come. Our children's ends and broken pipes are ours alone; SIGURG is what Go programs send
/// themselves; a new size of our terminal is one of the container's.
fn forward(
    process: &impl Attended,
    signals: &Signals,
    relay: Option<&Relay>,
    children: Children,
) -> Result<(), Failure> {
    loop {
        match (event::next_signal(&signals.fd), relay) {
            (Ok(SIGCHLD), _) if children == Children::Orphans => reap_orphans(process.pid())?,
            (Ok(SIGCHLD | SIGPIPE | SIGURG), _) => {}
            (Ok(SIGWINCH), Some(relay)) => relay.resize(),
            (Ok(signal), _) => process.signal(signal)?,
            (Err(Errno::AGAIN), _) => return Ok(()),
            (Err(errno), _) => return Err(Failure::new(format!("reading signals: {errno}"))),
        }
    }
}

/// Reaps what has come to us as a subreaper, and never the process itself: its end is for who waits for it. One that
/// stands before others hides them, and it is the last that we wait for.
fn reap_orphans(own: Pid) -> Result<(), Failure> {
    let failed = |errno: Errno| Failure::new(format!("reaping the container's orphans: waitid: {errno}"));
    loop {
        match process::ended_child() {
            Ok(Some(pid)) if pid != own => process::wait_pid(pid, Waiting::Poll).map_err(failed)?,
            Ok(_) | Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
    }
}
