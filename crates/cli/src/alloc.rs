//! The binary's allocator: one thread, short life.
//!
//! Blocks are powers of two. A new one is cut off the end of the arena, a freed one goes to the list of its
//! size, and the block that was cut last grows and shrinks in place, which is what a growing `String` or
//! `Vec` wants. The first 64 KiB are in .bss, so that most commands never call mmap(2).
#![allow(unsafe_code)] // an allocator hands out raw memory: see each SAFETY comment

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};

/// What the arena holds before it asks the kernel for more.
const FIRST: usize = 64 << 10;
/// What it asks the kernel for at least.
const CHUNK: usize = 256 << 10;
/// The smallest block, and the alignment of every block.
const LEAST: usize = 16;

/// The allocator. It is for programs with a single thread.
pub struct Arena {
    first: UnsafeCell<First>,
    state: UnsafeCell<State>,
}

#[repr(C, align(16))]
struct First([u8; FIRST]);

struct State {
    /// Where the next block is cut; null before the first one.
    next: *mut u8,
    /// Where the current chunk ends.
    end: *mut u8,
    /// The block that was cut last.
    last: *mut u8,
    /// Freed blocks by the exponent of their size.
    free: [*mut Free; usize::BITS as usize],
}

struct Free {
    next: *mut Free,
}

// SAFETY: the program has one thread, which the type's documentation asks for.
unsafe impl Sync for Arena {}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// An arena in which nothing is allocated: all zeros, so that it takes no room in the file.
    pub const fn new() -> Arena {
        Arena {
            first: UnsafeCell::new(First([0; FIRST])),
            state: UnsafeCell::new(State {
                next: null_mut(),
                end: null_mut(),
                last: null_mut(),
                free: [null_mut(); usize::BITS as usize],
            }),
        }
    }
}

/// The exponent of the block that holds `layout`, or `None` where none can.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(LEAST).checked_next_power_of_two()?;
    Some(size.trailing_zeros() as usize)
}

impl State {
    /// Takes a freed block of `1 << class` bytes that is aligned to `align`.
    fn reuse(&mut self, class: usize, align: usize) -> Option<*mut u8> {
        let mut link: *mut *mut Free = self.free.get_mut(class)?;
        loop {
            // SAFETY: `link` is the list's head or the `next` of a block in it.
            let block = unsafe { *link };
            if block.is_null() {
                return None;
            }
            if (block as usize).is_multiple_of(align) {
                // SAFETY: as above; a block in a list is whole and nobody else's.
                unsafe { *link = (*block).next };
                return Some(block.cast());
            }
            // SAFETY: `block` is in the list.
            link = unsafe { &raw mut (*block).next };
        }
    }

    /// Puts a block of `1 << class` bytes into its list.
    ///
    /// # Safety
    /// The block is that large, aligned to [`LEAST`], and nobody uses it.
    unsafe fn give(&mut self, block: *mut u8, class: usize) {
        if let Some(head) = self.free.get_mut(class) {
            let block: *mut Free = block.cast();
            // SAFETY: the caller gives the block away, and it holds a pointer: LEAST bytes are enough.
            unsafe { (*block).next = *head };
            *head = block;
        }
    }

    /// Cuts `size` bytes off the chunk's end.
    fn cut(&mut self, size: usize, align: usize) -> Option<*mut u8> {
        let skip = self.next.align_offset(align);
        let room = self.end as usize - self.next as usize;
        if skip.checked_add(size)? > room {
            return None;
        }
        // SAFETY: skip + size bytes of the chunk are left.
        let block = unsafe { self.next.add(skip) };
        // SAFETY: as above.
        self.next = unsafe { block.add(size) };
        self.last = block;
        Some(block)
    }

    /// Goes on in a new chunk that holds `size` bytes at `align`; what is left of the old one is kept.
    fn chunk(&mut self, size: usize, align: usize) -> Option<()> {
        const PAGE: usize = 4096;
        let want = size.checked_add(align)?.checked_next_multiple_of(PAGE)?.max(CHUNK);
        let start = orlop_sys::mem::anonymous(want).ok()?;
        loop {
            let room = self.end as usize - self.next as usize;
            if room < LEAST {
                break;
            }
            let class = room.ilog2() as usize;
            let block = self.next;
            // SAFETY: the block lies in the old chunk's rest.
            self.next = unsafe { block.add(1 << class) };
            // SAFETY: it has never been handed out, or was taken back.
            unsafe { self.give(block, class) };
        }
        self.last = null_mut();
        self.next = start;
        // SAFETY: the kernel has just mapped that much.
        self.end = unsafe { start.add(want) };
        Some(())
    }
}

// SAFETY: every block is exclusive from `alloc` to `dealloc`, at least as large and as aligned as its layout.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and nothing here allocates, so nobody else holds the state.
        let state = unsafe { &mut *self.state.get() };
        let Some(class) = class(layout) else {
            return null_mut();
        };
        let (size, align) = (1 << class, layout.align().max(LEAST));
        if let Some(block) = state.reuse(class, align) {
            return block;
        }
        if state.next.is_null() {
            state.next = self.first.get().cast();
            // SAFETY: the end of the array.
            state.end = unsafe { state.next.add(FIRST) };
        }
        if let Some(block) = state.cut(size, align) {
            return block;
        }
        match state.chunk(size, align) {
            Some(()) => state.cut(size, align).unwrap_or(null_mut()),
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let state = unsafe { &mut *self.state.get() };
        if block == state.last {
            // Only one step back: where the block before began is not known.
            state.next = block;
            state.last = null_mut();
        } else if let Some(class) = class(layout) {
            // SAFETY: the caller gives back what `alloc` made for this layout.
            unsafe { state.give(block, class) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else {
            return null_mut();
        };
        let (Some(old_class), Some(new_class)) = (class(layout), class(new)) else {
            return null_mut();
        };
        if old_class == new_class {
            return block;
        }
        {
            // SAFETY: as in `alloc`.
            let state = unsafe { &mut *self.state.get() };
            if block == state.last && (1usize << new_class) <= state.end as usize - block as usize {
                // SAFETY: the chunk holds that much from the block's start.
                state.next = unsafe { block.add(1 << new_class) };
                return block;
            }
        }
        // SAFETY: the layout is valid and not empty, as the caller's is.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both blocks hold the smaller of the two sizes, and they are two blocks.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the caller gives the old block away.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Runs `(size, align)` allocations, each filled with its own byte, frees every second one, allocates
    /// again, and checks that no block was touched by another.
    fn check(sizes: &[(usize, usize)]) {
        let arena = Box::new(Arena::new());
        let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..3u8 {
            for (i, &(size, align)) in sizes.iter().enumerate() {
                let layout = layout(size, align);
                let byte = round.wrapping_mul(83).wrapping_add(i as u8);
                // SAFETY: the size is not zero; the block is filled within its size.
                let block = unsafe {
                    let block = arena.alloc(layout);
                    assert!(!block.is_null() && (block as usize).is_multiple_of(align));
                    block.write_bytes(byte, size);
                    block
                };
                live.push((block, layout, byte));
            }
            let mut n = 0;
            live.retain(|&(block, layout, byte)| {
                // SAFETY: the block is live and was filled.
                let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
                assert!(bytes.iter().all(|b| *b == byte), "{layout:?}");
                n += 1;
                if n % 2 == 0 {
                    // SAFETY: not used after this.
                    unsafe { arena.dealloc(block, layout) };
                }
                n % 2 != 0
            });
        }
    }

    #[test]
    fn blocks_do_not_touch_each_other() {
        check(&[(1, 1), (16, 8), (17, 1), (100, 4), (4096, 16), (3000, 1), (8, 64)]);
        check(&[(40_000, 8), (70_000, 8), (300_000, 4096), (1 << 20, 8), (24, 8)]);
        check(&[(5000, 4096); 40]);
    }

    #[test]
    fn the_last_block_grows_in_place() {
        let arena = Box::new(Arena::new());
        // SAFETY: sizes are not zero, and each layout is the block's own.
        unsafe {
            let block = arena.alloc(layout(100, 1));
            block.write_bytes(7, 100);
            assert_eq!(arena.realloc(block, layout(100, 1), 30_000), block);
            let other = arena.alloc(layout(8, 8));
            let moved = arena.realloc(block, layout(30_000, 1), 60_000);
            assert!(moved != block && moved != other && *moved.add(99) == 7);
            assert_eq!(arena.alloc(layout(30_000, 1)), block, "the old block is used again");
        }
    }

    #[test]
    fn what_is_freed_is_used_again() {
        let arena = Box::new(Arena::new());
        let ends: Vec<usize> = (0..1000)
            .map(|_| {
                // SAFETY: sizes are not zero, and each layout is the block's own.
                unsafe {
                    let a = arena.alloc(layout(40, 8));
                    let b = arena.alloc(layout(700, 8));
                    arena.dealloc(a, layout(40, 8));
                    arena.dealloc(b, layout(700, 8));
                    (*arena.state.get()).next as usize
                }
            })
            .collect();
        assert_eq!(ends[1], ends[999]);
    }
}
