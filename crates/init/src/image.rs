//! The runtime's side of a plan: collecting steps and strings, and laying them out for init.

#![allow(unsafe_code)] // bytes of plain structures, each with its reason

extern crate alloc;

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::size_of;

use orlop_sys::thread::SockFilter;

use crate::plan::{ARRAYS_AT, Blob, Header, MAGIC};
use crate::step::{Environment, List, NO_VALUE, Param, SLOTS, Step, Text};

/// Strings and lists under construction.
#[derive(Default, Clone)]
pub struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    /// Nothing yet.
    pub const fn new() -> Strings {
        Strings { bytes: Vec::new() }
    }

    /// Nothing yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Strings {
        Strings { bytes: Vec::with_capacity(bytes) }
    }

    /// Adds a string, which ends at its first NUL byte if it has one.
    pub fn text(&mut self, text: &[u8]) -> Text {
        self.join(&[text])
    }

    /// Adds the concatenation of `parts`.
    pub fn join(&mut self, parts: &[&[u8]]) -> Text {
        let at = Text(self.bytes.len() as u32);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        at
    }

    /// Adds a list of strings.
    pub fn texts(&mut self, texts: &[Text]) -> List<Text> {
        // SAFETY: `Text` is a transparent u32.
        unsafe { self.list(texts) }
    }

    /// Adds a list of numbers.
    pub fn words(&mut self, words: &[u32]) -> List<u32> {
        // SAFETY: integers.
        unsafe { self.list(words) }
    }

    /// Adds parameters of a file system: `key` or `key=value` each.
    pub fn params<'p>(&mut self, params: impl IntoIterator<Item = (&'p [u8], Option<&'p [u8]>)>) -> List<Param> {
        let params: Vec<Param> = params
            .into_iter()
            .map(|(key, value)| Param { key: self.text(key), value: value.map_or(NO_VALUE, |value| self.text(value)) })
            .collect();
        // SAFETY: two u32 each.
        unsafe { self.list(&params) }
    }

    /// Adds a seccomp program.
    pub fn filter(&mut self, program: &[SockFilter]) -> List<SockFilter> {
        // SAFETY: integers without padding.
        unsafe { self.list(program) }
    }

    /// What has been added.
    pub fn blob(&self) -> Blob<'_> {
        Blob::new(&self.bytes)
    }

    /// # Safety
    /// A `T` has no padding.
    unsafe fn list<T: Copy>(&mut self, items: &[T]) -> List<T> {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let at = self.bytes.len() as u32;
        // SAFETY: as many bytes as the slice has; without padding all are initialized.
        let raw = unsafe { core::slice::from_raw_parts(items.as_ptr().cast::<u8>(), size_of_val(items)) };
        self.bytes.extend_from_slice(raw);
        List { at, len: items.len() as u32, kind: PhantomData }
    }
}

/// Everything that [`write`](Image::write) lays out.
pub struct Image<'a> {
    /// The steps.
    pub steps: &'a [Step],
    /// Their strings.
    pub strings: &'a Strings,
    /// The program's arguments.
    pub args: List<Text>,
    /// The program's environment.
    pub env: List<Text>,
    /// Descriptors by slot, -1 for none.
    pub slots: [i32; SLOTS],
    /// Init's end of the wake socket.
    pub wake: i32,
    /// How many descriptors init is born with.
    pub born: u32,
    /// Whether init records when it was done with each step.
    pub timed: bool,
}

impl Image<'_> {
    fn blob_start(&self) -> usize {
        (size_of::<Header>() + size_of_val(self.steps)).next_multiple_of(8)
    }

    fn times_start(&self) -> usize {
        (self.blob_start() + self.strings.bytes.len()).next_multiple_of(8)
    }

    fn times_len(&self) -> usize {
        if self.timed { self.steps.len() + 1 } else { 0 }
    }

    fn scratch_start(&self) -> usize {
        self.times_start() + self.times_len() * size_of::<u64>()
    }

    /// How many bytes the image takes.
    pub fn size(&self) -> usize {
        let arrays = |args: List<Text>, env: List<Text>| {
            // A null ends each array; HOME may come on top of the environment.
            (args.len as usize + env.len as usize + 3) * size_of::<usize>()
        };
        let hooks = self.steps.iter().filter_map(|step| match *step {
            Step::Hook { args, env, environment: Environment::Hook, .. } => Some(arrays(args, env)),
            Step::Hook { args, environment: Environment::Program, .. } => Some(arrays(args, self.env)),
            _ => None,
        });
        let largest = hooks.fold(arrays(self.args, self.env), usize::max);
        (self.scratch_start() + ARRAYS_AT + largest).next_multiple_of(4096)
    }

    /// Lays the plan out in fresh zeroed memory.
    ///
    /// # Safety
    /// `to` is page-aligned, writable for [`size`](Image::size) bytes, zeroed, and nobody else uses it yet.
    pub unsafe fn write(&self, to: *mut u8) {
        let header = Header {
            magic: MAGIC,
            size: self.size() as u32,
            steps: self.steps.len() as u32,
            blob: self.blob_start() as u32,
            blob_len: self.strings.bytes.len() as u32,
            scratch: self.scratch_start() as u32,
            times: self.times_start() as u32,
            times_len: self.times_len() as u32,
            args: self.args,
            env: self.env,
            slots: self.slots,
            wake: self.wake,
            born: self.born,
            // Until the runtime knows better: all of them.
            ignored: u64::MAX.into(),
            listener: (-1).into(),
            at: 0.into(),
            status: 0.into(),
            call: 0.into(),
            errno: 0.into(),
            detail: 0.into(),
            said: 0.into(),
            complained: 0.into(),
            done: 0.into(),
            init_sleeps: 0.into(),
            runtime_awaits: 0.into(),
        };
        // SAFETY: the caller gives room for all of it; the parts do not overlap.
        unsafe {
            to.cast::<Header>().write(header);
            let steps = to.add(size_of::<Header>()).cast::<Step>();
            core::ptr::copy_nonoverlapping(self.steps.as_ptr(), steps, self.steps.len());
            let blob = to.add(self.blob_start());
            core::ptr::copy_nonoverlapping(self.strings.bytes.as_ptr(), blob, self.strings.bytes.len());
        }
    }
}
