//! The system call instruction, one function for each number of arguments, and the two places where a
//! program's control flow is not Rust's own: entering it, and a child on a borrowed address space.

use core::arch::asm;

macro_rules! syscalls {
    ($($name:ident($($arg:ident = $reg64:tt $rega:tt $regr:tt),*);)*) => {$(
        /// # Safety
        /// The arguments must be what system call `n` asks for.
        #[inline(always)]
        #[allow(clippy::too_many_arguments)] // a system call has up to six
        pub(crate) unsafe fn $name(n: usize, $($arg: usize),*) -> isize {
            let ret: isize;
            // SAFETY: the caller vouches for the arguments; the clobbers are those of the kernel's entry code.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                asm!("syscall", inlateout("rax") n as isize => ret, $(in($reg64) $arg,)*
                    lateout("rcx") _, lateout("r11") _, options(nostack));
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                asm!("svc 0", in("x8") n, $(in($rega) $arg,)* lateout("x0") ret, options(nostack));
            }
            // SAFETY: as above.
            #[cfg(target_arch = "riscv64")]
            unsafe {
                asm!("ecall", in("a7") n, $(in($regr) $arg,)* lateout("a0") ret, options(nostack));
            }
            ret
        }
    )*};
}

syscalls! {
    syscall0();
    syscall1(a = "rdi" "x0" "a0");
    syscall2(a = "rdi" "x0" "a0", b = "rsi" "x1" "a1");
    syscall3(a = "rdi" "x0" "a0", b = "rsi" "x1" "a1", c = "rdx" "x2" "a2");
    syscall4(a = "rdi" "x0" "a0", b = "rsi" "x1" "a1", c = "rdx" "x2" "a2", d = "r10" "x3" "a3");
    syscall5(a = "rdi" "x0" "a0", b = "rsi" "x1" "a1", c = "rdx" "x2" "a2", d = "r10" "x3" "a3", e = "r8" "x4" "a4");
    syscall6(a = "rdi" "x0" "a0", b = "rsi" "x1" "a1", c = "rdx" "x2" "a2", d = "r10" "x3" "a3", e = "r8" "x4" "a4", f = "r9" "x5" "a5");
}

/// The instruction that is none, by which the kernel ends whoever comes to it.
pub(crate) fn trap() -> ! {
    // SAFETY: never continues.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("ud2", options(noreturn, nomem, nostack))
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("udf #0", options(noreturn, nomem, nostack))
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        asm!("unimp", options(noreturn, nomem, nostack))
    }
}

/// `clone3` whose child runs `child(data)` on the stack that `args` names, and never returns.
///
/// # Safety
/// `args` is a `struct clone_args` of `size` bytes that names a live stack; with `CLONE_VM` the caller must stay
/// suspended (`CLONE_VFORK`) until the child has executed another program or ended.
pub(crate) unsafe fn clone3_child(
    args: *const u8,
    size: usize,
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> isize {
    let ret: isize;
    // SAFETY: the child starts on its own stack with all registers but the return value kept, so it
    // touches nothing of this frame; the caller vouches for the rest.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") crate::numbers::CLONE3 as isize => ret,
            in("rdi") args, in("rsi") size, in("r8") data, in("r9") child,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") crate::numbers::CLONE3,
            inlateout("x0") args => ret, in("x1") size, in("x9") data, in("x10") child,
            lateout("x30") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        asm!(
            "ecall",
            "bnez a0, 2f",
            "mv a0, t0",
            "jalr t1",
            "unimp",
            "2:",
            in("a7") crate::numbers::CLONE3,
            inlateout("a0") args => ret, in("a1") size, in("t0") data, in("t1") child,
            lateout("ra") _,
        );
    }
    ret
}
