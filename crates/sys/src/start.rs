//! What a program without a C library needs: an entry, the memory functions that the compiler calls, and
//! an end for what can only be a bug.
//!
//! A program uses [`program!`](crate::program) once:
//!
//! ```ignore
//! orlop_sys::program!(main);
//! fn main(args: orlop_sys::start::Args) -> i32 { 0 }
//! ```

use core::ffi::{CStr, c_char};

/// What the kernel puts on a new program's stack; see execve(2).
#[derive(Clone, Copy)]
pub struct Args {
    stack: *const usize,
}

impl Args {
    /// # Safety
    /// `stack` is the stack pointer as the kernel set it at the program's entry.
    pub const unsafe fn new(stack: *const usize) -> Args {
        Args { stack }
    }

    /// How many arguments there are, the program's name included.
    pub fn count(self) -> usize {
        // SAFETY: the kernel stores argc there.
        unsafe { *self.stack }
    }

    /// The arguments, as a null-terminated array.
    pub fn argv(self) -> *const *const c_char {
        // SAFETY: argv follows argc.
        unsafe { self.stack.add(1).cast() }
    }

    /// The environment, as a null-terminated array.
    pub fn envp(self) -> *const *const c_char {
        // SAFETY: the environment follows argv and its null.
        unsafe { self.argv().add(self.count() + 1) }
    }

    /// The arguments.
    pub fn iter(self) -> impl Iterator<Item = &'static CStr> {
        strings(self.argv())
    }

    /// The environment, each entry `NAME=value`.
    pub fn env(self) -> impl Iterator<Item = &'static CStr> {
        strings(self.envp())
    }

    /// The effective user id: what the kernel tells a new program of itself, without a call; see getauxval(3).
    pub fn euid(self) -> Option<u32> {
        const AT_EUID: usize = 12;
        let mut at = self.envp();
        // SAFETY: `at` walks the environment up to its null, and then the pairs that follow it up to their end.
        unsafe {
            while !(*at).is_null() {
                at = at.add(1);
            }
            let mut pair: *const [usize; 2] = at.add(1).cast();
            while (*pair)[0] != 0 {
                if (*pair)[0] == AT_EUID {
                    return Some((*pair)[1] as u32);
                }
                pair = pair.add(1);
            }
        }
        None
    }
}

fn strings(mut at: *const *const c_char) -> impl Iterator<Item = &'static CStr> {
    core::iter::from_fn(move || {
        // SAFETY: `at` walks a null-terminated array that lives as long as the program.
        let text = unsafe { *at };
        if text.is_null() {
            return None;
        }
        // SAFETY: the array has not ended.
        at = unsafe { at.add(1) };
        // SAFETY: the kernel ends every string with NUL, and nobody writes to them.
        Some(unsafe { CStr::from_ptr(text) })
    })
}

/// Makes `$main: fn(Args) -> i32` the entry of a program that links no C library.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            ".globl _start",
            "_start:",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "and rsp, -16",
            "call {entry}",
            "ud2",
            entry = sym entry,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            ".globl _start",
            "_start:",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, sp",
            "and sp, x0, -16",
            "bl {entry}",
            "brk 1",
            entry = sym entry,
        );
        #[cfg(target_arch = "riscv64")]
        core::arch::global_asm!(
            ".globl _start",
            "_start:",
            "mv a0, sp",
            "andi sp, sp, -16",
            "call {entry}",
            "unimp",
            entry = sym entry,
        );

        extern "C" fn entry(stack: *const usize) -> ! {
            // SAFETY: the assembly above passes the stack pointer of the program's entry.
            let args = unsafe { $crate::start::Args::new(stack) };
            $crate::process::exit($main(args))
        }

        // The memory functions that the compiler calls. `rep movsb` is what the kernel itself copies with:
        // on a processor with ERMS it is as fast as any loop from some hundred bytes on.
        $crate::memory_functions!();

        // liballoc is compiled with landing pads that a program with `panic=abort` never enters.
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}
        #[unsafe(no_mangle)]
        extern "C" fn _Unwind_Resume() -> ! {
            $crate::process::exit(134)
        }
    };
}

/// `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp` and `strlen` for a program without a C library.
#[macro_export]
macro_rules! memory_functions {
    () => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
            // SAFETY: memcpy's contract is the same.
            unsafe { $crate::start::copy_forward(to, from, n) };
            to
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
            // SAFETY: forward where the target does not begin inside the source, else backward.
            unsafe {
                if (to as usize).wrapping_sub(from as usize) >= n {
                    $crate::start::copy_forward(to, from, n);
                } else {
                    $crate::start::copy_backward(to, from, n);
                }
            }
            to
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
            // SAFETY: memset's contract is the same.
            unsafe { $crate::start::fill(to, byte as u8, n) };
            to
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
            // SAFETY: memcmp's contract is the same.
            unsafe { $crate::start::compare(a, b, n) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
            // SAFETY: bcmp's contract is weaker than memcmp's.
            unsafe { $crate::start::compare(a, b, n) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn strlen(text: *const u8) -> usize {
            // SAFETY: strlen's contract is the same.
            unsafe { $crate::start::length(text) }
        }
    };
}

/// # Safety
/// As memcpy(3), or an overlap in which `to` is below `from`.
#[inline(always)]
pub unsafe fn copy_forward(to: *mut u8, from: *const u8, n: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: the caller vouches for both ranges; volatile keeps this from becoming a call of memcpy.
        unsafe { to.add(i).write_volatile(from.add(i).read()) };
    }
}

/// # Safety
/// As memmove(3).
#[inline(always)]
pub unsafe fn copy_backward(to: *mut u8, from: *const u8, n: usize) {
    let mut i = n;
    // Eight bytes at a time: `std; rep movsb` is microcoded and slow.
    while i >= 8 {
        i -= 8;
        // SAFETY: inside both ranges; the word is read before it is written.
        unsafe {
            let word = from.add(i).cast::<u64>().read_unaligned();
            to.add(i).cast::<u64>().write_unaligned(word);
        }
    }
    while i > 0 {
        i -= 1;
        // SAFETY: inside both ranges; volatile keeps this from becoming a call of memmove.
        unsafe { to.add(i).write_volatile(from.add(i).read()) };
    }
}

/// # Safety
/// As memset(3).
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: u8, n: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the range; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: the caller vouches for the range; volatile keeps this from becoming a call of memset.
        unsafe { to.add(i).write_volatile(byte) };
    }
}

/// # Safety
/// As memcmp(3).
#[inline(always)]
pub unsafe fn compare(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    while i + 8 <= n {
        // SAFETY: inside both ranges.
        let (x, y) = unsafe { (a.add(i).cast::<u64>().read_unaligned(), b.add(i).cast::<u64>().read_unaligned()) };
        if x != y {
            break;
        }
        i += 8;
    }
    while i < n {
        // SAFETY: inside both ranges; volatile keeps this from becoming a call of memcmp.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// # Safety
/// As strlen(3).
#[inline(always)]
pub unsafe fn length(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the string has not ended before its NUL.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
