//! What a running init knows: the plan, its descriptors, and the few results that later steps use.

use core::cell::Cell;
use core::ffi::CStr;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};

use orlop_sys::fd::{BorrowedFd, OwnedFd};
use orlop_sys::{Errno, fs, net, process, time};

use crate::plan::{ARRAYS_AT, Blob, EXCERPT_AREA, EXCERPT_AT, Header, Status, View, index};
use crate::step::{Call, SLOTS, Slot, Text};

/// Why a step failed: which call, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call.
    pub call: Call,
    /// Its error.
    pub errno: Errno,
}

/// The outcome of a step.
pub(crate) type Result<T> = core::result::Result<T, Failure>;

/// Names the call that an error comes from.
pub(crate) trait At<T> {
    /// The same result, with the call named.
    fn at(self, call: Call) -> Result<T>;
}

impl<T> At<T> for orlop_sys::Result<T> {
    #[inline]
    fn at(self, call: Call) -> Result<T> {
        self.map_err(|errno| Failure { call, errno })
    }
}

/// A plan that contradicts itself: a bug, never the user's doing.
pub(crate) const BROKEN: Failure = Failure { call: Call::Plan, errno: Errno::BADMSG };

/// Init's state.
pub struct Context<'a> {
    pub(crate) header: &'a Header,
    pub(crate) blob: Blob<'a>,
    /// The descriptors that the plan speaks of.
    slots: [Option<OwnedFd>; SLOTS],
    /// How many descriptors were left open that nothing needs any more.
    left: Cell<u32>,
    /// The directory that the last device or link was made in.
    pub(crate) parent: Option<(&'a [u8], OwnedFd)>,
    /// What a masked directory was covered with, for the next one.
    pub(crate) empty: Option<OwnedFd>,
    /// A descriptor that came over the wake socket.
    pub(crate) received: Option<OwnedFd>,
    /// The other end is the runtime's.
    pub(crate) wake: Option<OwnedFd>,
    /// The connection of `orlop start`, which waits for the outcome.
    pub(crate) starter: Option<OwnedFd>,
    /// Whether the second byte of its word is still unread.
    pub(crate) go_unread: bool,
    /// Memory for the program's path, `HOME`, and the arrays of execve(2).
    pub(crate) scratch: &'a mut [u8],
    /// Where the times of the steps go; none where nobody asked for them.
    times: &'a [AtomicU64],
    /// Whether every user and group id of this process is 0.
    pub is_all_root: bool,
    /// Whether the working directory is set.
    pub(crate) cwd_set: bool,
    /// Whether the last mount point was there already.
    pub(crate) target_was_there: bool,
    /// `HOME=…` in the scratch.
    pub(crate) home: Option<usize>,
    /// Whether the scratch begins with the program's path.
    pub(crate) program_found: bool,
    /// The slots that stay open while the container waits, as bits.
    pub(crate) kept: u32,
    /// The first descriptor that closes at exec; 0 where none of them is marked yet.
    pub(crate) first_closed: u32,
    /// Whether a filter of system calls is in force: what it may forbid is not used any more.
    pub(crate) filtered: bool,
}

impl<'a> Context<'a> {
    /// The state at the beginning of a plan.
    ///
    /// # Safety
    /// The header's slots and wake name open descriptors that nobody else closes.
    #[allow(unsafe_code)] // taking the inherited descriptors over
    pub unsafe fn new(view: &View<'a>, scratch: &'a mut [u8]) -> Context<'a> {
        // SAFETY: the caller vouches for the number.
        let own = |raw: i32| (raw >= 0).then(|| unsafe { OwnedFd::from_raw(raw) });
        Context {
            header: view.header,
            blob: view.blob,
            slots: view.header.slots.map(own),
            left: Cell::new(0),
            parent: None,
            empty: None,
            received: None,
            wake: own(view.header.wake),
            starter: None,
            go_unread: true,
            scratch,
            times: view.times,
            is_all_root: false,
            cwd_set: false,
            target_was_there: false,
            home: None,
            program_found: false,
            kept: 0,
            first_closed: 0,
            filtered: false,
        }
    }

    /// Forgets every descriptor that this process opened itself, as something else closes them.
    pub(crate) fn forget_left(&mut self) {
        let born = |raw: i32| self.header.slots.contains(&raw);
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|fd| !born(fd.as_raw())) {
                mem::forget(slot.take());
            }
        }
        mem::forget(self.parent.take());
        mem::forget(self.empty.take());
        self.left.set(0);
    }

    /// The descriptor in a slot.
    pub(crate) fn fd(&self, slot: Slot) -> Result<BorrowedFd<'_>> {
        self.slots.get(index(slot)).and_then(Option::as_ref).map(OwnedFd::borrow).ok_or(BROKEN)
    }

    /// The descriptor in a slot, or another one where there is to be no slot.
    pub(crate) fn fd_or<'f>(&'f self, slot: Slot, other: &'f OwnedFd) -> Result<BorrowedFd<'f>> {
        if slot == Slot::NONE { Ok(other.borrow()) } else { self.fd(slot) }
    }

    /// Notes that a slot is to stay open.
    pub(crate) fn keep_open(&mut self, slot: Slot) -> Result<()> {
        self.fd(slot)?;
        self.kept |= 1u32.wrapping_shl(u32::from(slot.0));
        Ok(())
    }

    /// Fills a slot; what it held is of no more use.
    pub(crate) fn put(&mut self, slot: Slot, fd: OwnedFd) -> Result<()> {
        let old = self.slots.get_mut(index(slot)).ok_or(BROKEN)?.replace(fd);
        if let Some(old) = old {
            self.leave(old);
        }
        Ok(())
    }

    /// Leaves a descriptor that nothing needs any more to the one call that closes all of them
    /// ([`Step::Descriptors`](crate::step::Step::Descriptors)), unless they are many: the caller's limit may be low.
    pub(crate) fn leave(&self, fd: OwnedFd) {
        const MANY: u32 = 64;
        if self.left.get() < MANY {
            self.left.set(self.left.get() + 1);
            mem::forget(fd);
        }
    }

    /// Empties a slot.
    pub(crate) fn take(&mut self, slot: Slot) -> Result<OwnedFd> {
        self.slots.get_mut(index(slot)).and_then(Option::take).ok_or(BROKEN)
    }

    /// Closes every descriptor from `first` on but one and those that are to stay open: the plan's, and what the caller
    /// of the runtime has left open. A created container may wait for long, and would keep somebody's pipe open.
    #[allow(unsafe_code)] // closing by number
    pub(crate) fn close_all_but(&mut self, listener: &OwnedFd, first: u32) -> Result<()> {
        let kept = self.kept;
        let is_kept = |(place, _): &(usize, &mut Option<OwnedFd>)| kept.wrapping_shr(*place as u32) & 1 != 0;
        let slots = self.slots.iter_mut().enumerate().filter(|slot| !is_kept(slot)).map(|(_, fd)| fd);
        let ours = slots.chain([&mut self.wake, &mut self.starter]);
        // A filter may be older than close_range(2); what the caller has left was closed before it.
        if self.filtered {
            ours.for_each(|fd| drop(fd.take()));
            self.parent = None;
            return Ok(());
        }
        ours.for_each(|fd| mem::forget(fd.take()));
        self.parent.take().map(|(_, fd)| fd.into_raw());
        let numbers = || self.slots.iter().flatten().chain([listener]).map(|fd| fd.as_raw() as u32);
        let mut from = first;
        loop {
            let next = numbers().filter(|fd| *fd >= from).min();
            if next != Some(from) {
                let last = next.map_or(u32::MAX, |fd| fd.saturating_sub(1));
                // SAFETY: what owned them has just given them away.
                unsafe { orlop_sys::fd::close_range(from, last) }.at(Call::CloseRange)?;
            }
            match next {
                Some(fd) => from = fd.saturating_add(1),
                None => return Ok(()),
            }
        }
    }

    /// A string of the plan.
    pub(crate) fn text(&self, text: Text) -> Result<&'a CStr> {
        self.blob.text(text).ok_or(BROKEN)
    }

    /// Notes the time at which the first `done` steps were done, where that was asked for.
    #[inline]
    pub(crate) fn note_time(&self, done: usize) {
        if let Some(time) = self.times.get(done) {
            let now = time::now(time::Clock::Monotonic);
            time.store((now.sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.nsec as u64), Ordering::Release);
        }
    }

    /// More about a failure that is on its way.
    pub(crate) fn note(&self, detail: u32) {
        self.header.detail.store(detail, Ordering::Relaxed);
    }

    /// Waits until every entry of the runtime before `index` is done. Ends init where the runtime is gone.
    pub(crate) fn await_runtime(&mut self, index: u32) -> Result<()> {
        let header = self.header;
        while header.done.load(Ordering::Acquire) < index {
            header.init_sleeps.store(1, Ordering::SeqCst);
            if header.done.load(Ordering::SeqCst) < index {
                match self.hear() {
                    Ok(true) => {}
                    Ok(false) | Err(Errno::CONNRESET) => process::exit(1),
                    Err(errno) => {
                        return Err(Failure { call: Call::Read, errno });
                    }
                }
            }
            header.init_sleeps.store(0, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Reads what the runtime sends: a byte to wake us, at times with a descriptor. `false` where it is gone.
    pub(crate) fn hear(&mut self) -> orlop_sys::Result<bool> {
        let Some(wake) = &self.wake else { return Ok(false) };
        // Every profile has read(2); and no descriptor comes so late.
        if self.filtered {
            return Ok(fs::read(wake, &mut [0u8; 1])? > 0);
        }
        let (n, fds) = net::receive(wake, &mut [0u8; 1])?;
        for fd in fds.into_iter().flatten() {
            self.received = Some(fd);
        }
        Ok(n > 0)
    }

    /// Says that every step before `index` is done.
    pub(crate) fn reached(&self, index: u32) -> Result<()> {
        self.header.at.store(index, Ordering::SeqCst);
        let awaited = self.header.runtime_awaits.load(Ordering::SeqCst);
        if awaited != 0 && index >= awaited {
            self.header.runtime_awaits.store(0, Ordering::SeqCst);
            self.wake_runtime()?;
        }
        Ok(())
    }

    /// Reads the second byte of `start`'s word: from now on our end is taken for that of the program.
    pub(crate) fn hear_all_of_go(&mut self) -> Result<()> {
        if let Some(starter) = &self.starter
            && self.go_unread
        {
            fs::read(starter, &mut [0u8; 1]).at(Call::Read)?;
            self.go_unread = false;
        }
        Ok(())
    }

    /// Makes the runtime look at the header. Where it is gone there is nobody to tell; where it could not be told
    /// it would wait for ever, and our end tells it.
    fn wake_runtime(&self) -> Result<()> {
        match self.wake.as_ref().map(|wake| self.tell(wake, &[1])) {
            None | Some(Ok(_) | Err(Errno::PIPE | Errno::CONNRESET)) => Ok(()),
            Some(Err(errno)) => Err(Failure { call: Call::Sendmsg, errno }),
        }
    }

    /// Says something on a socket. Under a filter by write(2), which no profile does without, and at the risk of
    /// SIGPIPE: init is about to end then anyway.
    fn tell(&self, socket: &OwnedFd, bytes: &[u8]) -> orlop_sys::Result<usize> {
        if self.filtered { fs::write(socket, bytes) } else { net::send(socket, bytes, &[]) }
    }

    /// Records a failure, for the runtime and for `orlop start`, and ends.
    pub fn fail(&self, failure: Failure) -> ! {
        let header = self.header;
        header.call.store(failure.call as u32, Ordering::Relaxed);
        header.errno.store(failure.errno.0, Ordering::Relaxed);
        header.status.store(Status::Failed as u32, Ordering::SeqCst);
        if let Some(starter) = &self.starter {
            let report = Report {
                step: header.at.load(Ordering::Relaxed),
                call: failure.call as u32,
                errno: failure.errno.0 as u32,
                detail: header.detail.load(Ordering::Relaxed),
                said: header.said.load(Ordering::Relaxed),
                complained: header.complained.load(Ordering::Relaxed),
            };
            let mut bytes = [0u8; Report::SIZE + EXCERPT_AREA];
            let (head, tail) = bytes.split_at_mut(Report::SIZE);
            head.copy_from_slice(&report.to_bytes());
            let excerpt = self.scratch.get(EXCERPT_AT..ARRAYS_AT).unwrap_or_default();
            for (to, from) in tail.iter_mut().zip(excerpt) {
                *to = *from;
            }
            let whole = if report.said + report.complained == 0 { head } else { &mut bytes };
            // The starter may have been killed: then nobody wants to know. Otherwise it learns from our end, before
            // the second byte of its word was read, that the program was not executed.
            let _gone = self.tell(starter, whole);
        }
        process::exit(1)
    }
}

/// What init tells `orlop start` when it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The index of the step.
    pub step: u32,
    /// The number of the [`Call`].
    pub call: u32,
    /// The error number.
    pub errno: u32,
    /// What else the step has to say.
    pub detail: u32,
    /// How much a hook printed: then the excerpt of both streams follows.
    pub said: u32,
    /// The same of its standard error.
    pub complained: u32,
}

impl Report {
    /// How many bytes it has, without the excerpt.
    pub const SIZE: usize = 24;

    /// As it travels.
    pub fn to_bytes(self) -> [u8; Report::SIZE] {
        let mut bytes = [0; Report::SIZE];
        let words = [self.step, self.call, self.errno, self.detail, self.said, self.complained];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// As it arrived; `None` where it is not whole.
    pub fn from_bytes(bytes: &[u8]) -> Option<Report> {
        let bytes = bytes.get(..Report::SIZE)?;
        let mut words = bytes.chunks_exact(4).filter_map(|word| word.try_into().ok().map(u32::from_ne_bytes));
        Some(Report {
            step: words.next()?,
            call: words.next()?,
            errno: words.next()?,
            detail: words.next()?,
            said: words.next()?,
            complained: words.next()?,
        })
    }
}
