//! Hooks: running one in the container, and attending to one, which the runtime does in the same way.

use core::sync::atomic::Ordering;

use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::fd::{self, BorrowedFd, OnExec, OwnedFd};
use orlop_sys::fs::{MemfdFlags, OFlags};
use orlop_sys::process::{self, Ended, Waiting};
use orlop_sys::signal::{self, SIGKILL};
use orlop_sys::time::{self, Clock, Timespec};
use orlop_sys::{Errno, fs};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::exec::{self, Arrays, HomeToo};
use crate::plan::{ARRAYS_AT, EXCERPT_AT};
use crate::step::{Call, Environment, List, Place, Slot, Text};

/// The beginning of what a hook printed: half of the room for standard output, half for standard error.
#[derive(Debug)]
pub struct Excerpt<'b> {
    room: &'b mut [u8],
    said: usize,
    complained: usize,
}

impl<'b> Excerpt<'b> {
    /// Nothing yet.
    pub const fn new(room: &'b mut [u8]) -> Excerpt<'b> {
        Excerpt { room, said: 0, complained: 0 }
    }

    /// How much stands there of each stream.
    pub const fn lengths(&self) -> (usize, usize) {
        (self.said, self.complained)
    }

    /// The streams of an excerpt by their lengths.
    pub fn split(room: &[u8], said: usize, complained: usize) -> (&[u8], &[u8]) {
        let (out, err) = room.split_at_checked(room.len() / 2).unwrap_or_default();
        (out.get(..said).unwrap_or(out), err.get(..complained).unwrap_or(err))
    }
}

/// How a hook ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By itself.
    Ended(Ended),
    /// It was killed when its time was over.
    TimedOut,
}

/// What init says of a hook that failed: which of its list, and for [`Call::HookEnded`] how it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detail {
    /// The hook's place in its list.
    pub index: u32,
    /// How it ended.
    pub ended: Ended,
}

impl Detail {
    /// As a step's detail.
    pub const fn to_word(self) -> u32 {
        let code = match self.ended {
            Ended::Exited(status) => status as u32 & 0xff,
            Ended::Killed(signal) => 0x100 | signal as u32 & 0xff,
        };
        self.index << 16 | code
    }

    /// From a step's detail.
    pub const fn from_word(word: u32) -> Detail {
        let code = (word & 0xff) as i32;
        let ended = if word & 0x100 == 0 { Ended::Exited(code) } else { Ended::Killed(code) };
        Detail { index: word >> 16, ended }
    }
}

/// Stays with a hook until it has ended or its seconds are over, and reads what it prints, so that it never waits
/// for us. What it has started and left behind may hold the pipes open: nobody waits for that.
pub fn attend(
    pidfd: BorrowedFd<'_>,
    out: &OwnedFd,
    err: &OwnedFd,
    seconds: Option<u32>,
    excerpt: &mut Excerpt<'_>,
) -> orlop_sys::Result<Ending> {
    fd::set_status(out, OFlags::NONBLOCK)?;
    fd::set_status(err, OFlags::NONBLOCK)?;
    let end = seconds.map(|seconds| {
        let now = time::now(Clock::Monotonic);
        Timespec { sec: now.sec.saturating_add(i64::from(seconds)), ..now }
    });
    let watch = |fd| PollFd::new(fd, PollFlags::IN);
    let mut fds = [watch(out.borrow()), watch(err.borrow()), watch(pidfd)];
    loop {
        let left = end.map(|end| remaining(end, time::now(Clock::Monotonic)));
        match event::poll(&mut fds, left) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
            Ok(0) => {
                // ESRCH: it ended at this very moment.
                let _gone = process::pidfd_signal(pidfd, SIGKILL);
                process::wait(pidfd, Waiting::Block)?;
                return Ok(Ending::TimedOut);
            }
            Ok(_) => {}
        }
        let [of_out, of_err, of_end] = &mut fds;
        for (entry, fd, stream) in [(of_out, out, Stream::Out), (of_err, err, Stream::Err)] {
            if !entry.happened.is_empty() && !take(fd, stream, excerpt)? {
                *entry = PollFd::none();
            }
        }
        if !of_end.happened.is_empty() {
            take(out, Stream::Out, excerpt)?;
            take(err, Stream::Err, excerpt)?;
            return process::wait(pidfd, Waiting::Block)?.map(Ending::Ended).ok_or(Errno::CHILD);
        }
    }
}

fn remaining(end: Timespec, now: Timespec) -> Timespec {
    let mut sec = end.sec.saturating_sub(now.sec);
    let mut nsec = end.nsec - now.nsec;
    if nsec < 0 {
        sec = sec.saturating_sub(1);
        nsec += 1_000_000_000;
    }
    if sec < 0 { Timespec::default() } else { Timespec { sec, nsec } }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Reads what is there now; `false` at the end of the stream. What the excerpt has no room for is lost.
fn take(fd: &OwnedFd, stream: Stream, excerpt: &mut Excerpt<'_>) -> orlop_sys::Result<bool> {
    let mut lost = [0u8; 512];
    loop {
        let half = excerpt.room.len() / 2;
        let (out, err) = excerpt.room.split_at_mut_checked(half).unwrap_or_default();
        let (room, filled) = match stream {
            Stream::Out => (out, &mut excerpt.said),
            Stream::Err => (err, &mut excerpt.complained),
        };
        let room = room.get_mut(*filled..).unwrap_or_default();
        let keeps = !room.is_empty();
        match fs::read(fd, if keeps { room } else { &mut lost }) {
            Ok(0) => return Ok(false),
            Ok(n) if keeps => *filled += n,
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

/// A file with what a hook reads, from its beginning.
pub fn input(parts: &[&[u8]]) -> orlop_sys::Result<OwnedFd> {
    let file = match fs::memfd(c"state", MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag.
        Err(Errno::INVAL) => fs::memfd(c"state", MemfdFlags::NONE),
        done => done,
    }?;
    for part in parts {
        fs::write_all(&file, part)?;
    }
    fs::seek_to(&file, 0)?;
    Ok(file)
}

/// A hook that init runs.
pub(crate) struct Hook {
    pub(crate) index: u32,
    pub(crate) path: Text,
    pub(crate) args: List<Text>,
    pub(crate) env: List<Text>,
    pub(crate) environment: Environment,
    pub(crate) place: Place,
    pub(crate) root: Slot,
    pub(crate) out: Slot,
    pub(crate) err: Slot,
    pub(crate) timeout: u32,
    pub(crate) state: List<Text>,
}

/// A filter of system calls may be in force: that is why the child is forked by clone(2), and why nothing is done
/// here that the programs of containers do not do themselves.
#[allow(unsafe_code)] // forking
pub(crate) fn run(ctx: &mut Context<'_>, hook: &Hook) -> Result<()> {
    let detail = |ended| Detail { index: hook.index, ended }.to_word();
    ctx.note(detail(Ended::Exited(0)));
    let mut digits = [0u8; 10];
    let &[before, after] = ctx.blob.texts(hook.state) else {
        return Err(BROKEN);
    };
    let parts = [ctx.text(before)?.to_bytes(), decimal(process::pid(), &mut digits), ctx.text(after)?.to_bytes()];
    let stdin = input(&parts).at(Call::HookState)?;
    let (out, out_end) = event::pipe().at(Call::HookPipe)?;
    let (err, err_end) = event::pipe().at(Call::HookPipe)?;
    let (env, home) = match hook.environment {
        Environment::Hook => (hook.env, HomeToo::No),
        Environment::Program => (ctx.header.env, HomeToo::Yes),
    };
    let arrays = exec::arrays(ctx, hook.args, env, home)?;
    // A pipe that nobody writes to has ended.
    let stdout = ctx.fd_or(hook.out, &out_end)?;
    let stderr = ctx.fd_or(hook.err, &err_end)?;
    // The child's only way to say that it could not execute the hook; nothing else has failed, or we were not here.
    ctx.header.errno.store(0, Ordering::SeqCst);
    // SAFETY: init has one thread.
    let child = match unsafe { process::fork_watched() }.at(Call::HookFork)? {
        Some(child) => child,
        None => {
            let errno = execute(ctx, hook, &arrays, [stdin.borrow(), stdout, stderr]);
            ctx.header.errno.store(errno.0, Ordering::SeqCst);
            process::exit(127)
        }
    };
    drop((stdin, out_end, err_end));
    let timeout = (hook.timeout != 0).then_some(hook.timeout);
    let mut excerpt = Excerpt::new(ctx.scratch.get_mut(EXCERPT_AT..ARRAYS_AT).ok_or(BROKEN)?);
    let ending = attend(child.pidfd.borrow(), &out, &err, timeout, &mut excerpt).at(Call::HookWait)?;
    let (said, complained) = excerpt.lengths();
    ctx.header.said.store(said as u32, Ordering::Relaxed);
    ctx.header.complained.store(complained as u32, Ordering::Relaxed);
    match (ctx.header.errno.swap(0, Ordering::SeqCst), ending) {
        (0, Ending::Ended(Ended::Exited(0))) => {
            ctx.header.said.store(0, Ordering::Relaxed);
            ctx.header.complained.store(0, Ordering::Relaxed);
            Ok(())
        }
        (0, Ending::TimedOut) => Err(Failure { call: Call::HookTimeout, errno: Errno::TIMEDOUT }),
        (0, Ending::Ended(ended)) => {
            ctx.note(detail(ended));
            Err(Failure { call: Call::HookEnded, errno: Errno(0) })
        }
        (errno, _) => Err(Failure { call: Call::HookExec, errno: Errno(errno) }),
    }
}

/// In the child: returns only with what kept it from the hook's program.
fn execute(ctx: &Context<'_>, hook: &Hook, arrays: &Arrays, stdio: [BorrowedFd<'_>; 3]) -> Errno {
    match prepare(ctx, hook, stdio).and_then(|()| ctx.blob.text(hook.path).ok_or(Errno::BADMSG)) {
        #[allow(unsafe_code)] // pointers for execve(2)
        // SAFETY: both arrays end in a null, and every pointer is to a string of the mapping.
        Ok(path) => unsafe { process::exec(path, arrays.argv, arrays.envp) },
        Err(errno) => errno,
    }
}

fn prepare(ctx: &Context<'_>, hook: &Hook, stdio: [BorrowedFd<'_>; 3]) -> orlop_sys::Result<()> {
    match ctx.first_closed {
        // Not even what the container's program is to keep: a hook of the host has no business with it.
        0 => fd::close_on_exec_from(3)?,
        // The rest was marked before there was a filter, which might not know close_range(2).
        first => (3..first as i32).try_for_each(close_at_exec)?,
    }
    signal::reset_all()?;
    if hook.place == Place::BeforePivot {
        fs::fchdir(ctx.fd(hook.root).map_err(|failure| failure.errno)?)?;
    }
    for (number, fd) in stdio.into_iter().enumerate() {
        fd::duplicate_onto(fd, number as i32)?;
    }
    Ok(())
}

fn close_at_exec(fd: i32) -> orlop_sys::Result<()> {
    #[allow(unsafe_code)] // a descriptor by its number
    // SAFETY: it is only marked; where there is none the kernel says so.
    match fd::set_on_exec(unsafe { BorrowedFd::from_raw(fd) }, OnExec::Close) {
        Err(Errno::BADF) => Ok(()),
        done => done,
    }
}

/// The number's digits.
fn decimal(number: i32, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        at = place;
        if rest == 0 {
            break;
        }
    }
    digits.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_digits() {
        for (number, digits) in [(0, "0"), (1, "1"), (10, "10"), (4_194_304, "4194304"), (i32::MAX, "2147483647")] {
            assert_eq!(decimal(number, &mut [0; 10]), digits.as_bytes());
        }
    }

    #[test]
    fn endings_travel_as_numbers() {
        for ended in [Ended::Exited(0), Ended::Exited(255), Ended::Killed(31)] {
            let detail = Detail { index: 7, ended };
            assert_eq!(Detail::from_word(detail.to_word()), detail);
        }
    }

    #[test]
    fn time_left_is_never_negative() {
        let at = |sec, nsec| Timespec { sec, nsec };
        assert_eq!(remaining(at(5, 100), at(3, 200)), at(1, 999_999_900));
        assert_eq!(remaining(at(3, 100), at(3, 200)), at(0, 0));
        assert_eq!(remaining(at(3, 300), at(3, 200)), at(0, 100));
    }
}
