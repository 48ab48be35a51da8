//! The mapping that the runtime and init share: the plan, init's progress, and some memory for init.
//!
//! ```text
//! Header | steps | blob (strings, lists) | times | scratch
//! ```
//!
//! The runtime writes all of it before init starts. Later it writes only [`Header::done`], and init only the
//! progress fields and the scratch; what either has written survives the other's end, SIGKILL included.

#![allow(unsafe_code)] // typed views of the mapping, each with its reason

use core::ffi::CStr;
use core::mem::{align_of, size_of};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::step::{List, Param, SLOTS, Slot, Step, Text};
use orlop_sys::thread::SockFilter;

/// The first bytes of a plan, which change with its layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"orlopP\0\x01") ^ ((size_of::<Step>() as u64) << 48);

/// Where init is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Status {
    /// The program has not begun to read the plan.
    Unborn = 0,
    /// It works on the step [`Header::at`].
    Working = 1,
    /// It is about to execute the container's program, or has.
    Executing = 2,
    /// A step failed, as [`Header::call`] and [`Header::errno`] say.
    Failed = 3,
}

/// The head of the mapping.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// How many bytes the mapping has.
    pub size: u32,
    /// How many steps there are; they follow this header.
    pub steps: u32,
    /// Where the blob starts.
    pub blob: u32,
    /// How long the blob is.
    pub blob_len: u32,
    /// Where the scratch starts; it reaches to the end.
    pub scratch: u32,
    /// Where the times start at which init began and was done with each step; see [`View::times`].
    pub times: u32,
    /// How many there are: none where nobody asked for them.
    pub times_len: u32,
    /// The program's arguments.
    pub args: List<Text>,
    /// The program's environment.
    pub env: List<Text>,
    /// Descriptors that init starts with, by slot; -1 for none.
    pub slots: [i32; SLOTS],
    /// The descriptor that tells either side to look here again; the other's end closes it.
    pub wake: i32,
    /// How many descriptors init is born with after those of the program: the plan's, the wake socket, the slots'.
    pub born: u32,
    /// The signals that the caller ignored: bit `n - 1` is signal `n`; known when the runtime has recorded init.
    pub ignored: AtomicU64,
    /// The number of the seccomp listener in init, once there is one; -1 before.
    pub listener: AtomicI32,
    /// The step that init works on: all before are done.
    pub at: AtomicU32,
    /// A [`Status`].
    pub status: AtomicU32,
    /// The [`crate::step::Call`] that failed.
    pub call: AtomicU32,
    /// What it failed with.
    pub errno: AtomicI32,
    /// What else the step has to say: see the step.
    pub detail: AtomicU32,
    /// How much of a hook's standard output stands in the [excerpt](crate::hook::Excerpt).
    pub said: AtomicU32,
    /// How much of its standard error.
    pub complained: AtomicU32,
    /// Every entry of the runtime before this index is done.
    pub done: AtomicU32,
    /// Not 0: init sleeps until `done` changes.
    pub init_sleeps: AtomicU32,
    /// Not 0: the runtime sleeps until `at` has reached this.
    pub runtime_awaits: AtomicU32,
}

impl Header {
    /// Where init is.
    pub fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            0 => Status::Unborn,
            1 => Status::Working,
            2 => Status::Executing,
            _ => Status::Failed,
        }
    }
}

/// The strings and lists of a plan.
#[derive(Clone, Copy)]
pub struct Blob<'a>(&'a [u8]);

impl<'a> Blob<'a> {
    /// A view of these bytes, which start 8-aligned.
    pub const fn new(bytes: &'a [u8]) -> Blob<'a> {
        Blob(bytes)
    }

    /// A string; `None` where the plan is broken.
    pub fn text(self, text: Text) -> Option<&'a CStr> {
        CStr::from_bytes_until_nul(self.0.get(text.0 as usize..)?).ok()
    }

    /// A list of strings; empty where the plan is broken.
    pub fn texts(self, list: List<Text>) -> &'a [Text] {
        // SAFETY: `Text` is a transparent u32.
        unsafe { self.list(list) }
    }

    /// A list of numbers.
    pub fn words(self, list: List<u32>) -> &'a [u32] {
        // SAFETY: any four bytes are a u32.
        unsafe { self.list(list) }
    }

    /// A list of file system parameters.
    pub fn params(self, list: List<Param>) -> &'a [Param] {
        // SAFETY: `Param` is two u32.
        unsafe { self.list(list) }
    }

    /// A seccomp program.
    pub fn filter(self, list: List<SockFilter>) -> &'a [SockFilter] {
        // SAFETY: `SockFilter` is integers without padding.
        unsafe { self.list(list) }
    }

    /// # Safety
    /// Any bytes are a `T`.
    unsafe fn list<T>(self, list: List<T>) -> &'a [T] {
        let len = (list.len as usize).saturating_mul(size_of::<T>());
        let start = list.at as usize;
        match start.checked_add(len).and_then(|end| self.0.get(start..end)) {
            Some(bytes) if bytes.as_ptr().addr().is_multiple_of(align_of::<T>()) => {
                // SAFETY: the bytes are in bounds, aligned, as many as said, and any are a `T`.
                unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), list.len as usize) }
            }
            _ => &[],
        }
    }
}

/// The plan as it lies in the mapping.
pub struct View<'a> {
    /// The head.
    pub header: &'a Header,
    /// The steps, in order.
    pub steps: &'a [Step],
    /// Strings and lists.
    pub blob: Blob<'a>,
    /// In nanoseconds of the monotonic clock: when init began, and when it was done with each step; 0 for not yet.
    pub times: &'a [AtomicU64],
}

impl<'a> View<'a> {
    /// Reads a mapping of `len` bytes. `None` where it is no plan of this version.
    ///
    /// # Safety
    /// `start` is a page-aligned mapping of `len` bytes, written by [`crate::image`] of the same build, that
    /// lives for `'a`; but for the atomics and the scratch nobody changes it.
    pub unsafe fn new(start: *mut u8, len: usize) -> Option<(View<'a>, &'a mut [u8])> {
        if len < size_of::<Header>() {
            return None;
        }
        // SAFETY: long enough and aligned; the caller vouches for the rest.
        let header: &'a Header = unsafe { &*start.cast::<Header>() };
        let count = header.steps as usize;
        let steps_end = size_of::<Header>() + count.checked_mul(size_of::<Step>())?;
        let (blob, scratch) = (header.blob as usize, header.scratch as usize);
        let blob_end = blob.checked_add(header.blob_len as usize)?;
        let times_at = header.times as usize;
        let times_end = times_at.checked_add((header.times_len as usize).checked_mul(size_of::<u64>())?)?;
        if header.magic != MAGIC
            || header.size as usize != len
            || steps_end > blob
            || blob_end > times_at
            || !times_at.is_multiple_of(align_of::<AtomicU64>())
            || times_end > scratch
            || scratch > len
        {
            return None;
        }
        // SAFETY: the same build wrote `count` steps there; the bounds were checked.
        let steps = unsafe { core::slice::from_raw_parts(start.add(size_of::<Header>()).cast::<Step>(), count) };
        // SAFETY: in bounds, and never written after init starts.
        let bytes = unsafe { core::slice::from_raw_parts(start.add(blob), header.blob_len as usize) };
        // SAFETY: in bounds, aligned, and only used as atomics.
        let times = unsafe { core::slice::from_raw_parts(start.add(times_at).cast(), header.times_len as usize) };
        // SAFETY: in bounds, and init alone uses it: no other view covers it.
        let scratch = unsafe { core::slice::from_raw_parts_mut(start.add(scratch), len - scratch) };
        Some((View { header, steps, blob: Blob::new(bytes), times }, scratch))
    }
}

/// How the scratch is divided: the program's path, then `HOME`, then what a failed hook printed, then the arrays of
/// execve(2).
pub const PATH_AREA: usize = 4096;
/// See [`PATH_AREA`].
pub const HOME_AREA: usize = 4096;
/// See [`PATH_AREA`].
pub const EXCERPT_AREA: usize = 4096;
/// Where the excerpt stands in the scratch.
pub const EXCERPT_AT: usize = PATH_AREA + HOME_AREA;
/// Where the arrays stand in the scratch.
pub const ARRAYS_AT: usize = EXCERPT_AT + EXCERPT_AREA;

/// The number of a slot's table entry.
pub(crate) fn index(slot: Slot) -> usize {
    usize::from(slot.0)
}
