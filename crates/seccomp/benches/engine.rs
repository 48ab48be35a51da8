//! An engine's allow list for three architectures: how long compiling and loading take,
//! how long the program is, and what a call costs under it.
#![allow(unsafe_code, reason = "seccomp, fork and raw system calls")]
#![allow(clippy::print_stdout, reason = "a benchmark's results")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::libseccomp::Library;
use orlop_seccomp::{Flags, Options, Program, Rule, SockFilter};

/// The least and the median of many runs, in nanoseconds.
fn measure(runs: usize, mut run: impl FnMut() -> u64) -> String {
    let mut times: Vec<u64> = (0..runs).map(|_| run()).collect();
    times.sort();
    format!("median {:.1} us, least {:.1} us", times[runs / 2] as f64 / 1e3, times[0] as f64 / 1e3)
}

fn timed<T>(what: impl FnOnce() -> T) -> u64 {
    let start = Instant::now();
    std::hint::black_box(what());
    start.elapsed().as_nanos() as u64
}

/// What a child measures, in nanoseconds.
fn in_child(what: impl FnOnce() -> u64) -> u64 {
    // SAFETY: one thread only; the child exits after writing to the pipe's own end.
    unsafe {
        let mut pipe = [0; 2];
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            let result = what().to_ne_bytes();
            libc::write(pipe[1], result.as_ptr().cast(), 8);
            libc::_exit(0);
        }
        let mut result = [0; 8];
        libc::close(pipe[1]);
        assert_eq!(libc::read(pipe[0], result.as_mut_ptr().cast(), 8), 8);
        libc::close(pipe[0]);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        u64::from_ne_bytes(result)
    }
}

fn load(instructions: &[SockFilter], flags: Flags) {
    #[repr(C)]
    struct SockFprog(u16, *const SockFilter);
    let fprog = SockFprog(instructions.len() as u16, instructions.as_ptr());
    // SAFETY: the program outlives the call.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        assert_eq!(libc::syscall(libc::SYS_seccomp, 1, flags.bits(), &raw const fprog), 0);
    }
}

fn calls(number: libc::c_long, arg: u64) -> u64 {
    const CALLS: u64 = 200_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: getppid and personality take no pointers.
        unsafe { libc::syscall(number, arg) };
    }
    start.elapsed().as_nanos() as u64 * 1000 / CALLS
}

fn main() {
    let profile = common::engine();
    let rules: Vec<Rule<'_, String>> = profile
        .rules
        .iter()
        .map(|rule| Rule { names: &rule.names, action: rule.action, errno_ret: rule.errno_ret, args: &rule.args })
        .collect();
    let borrowed = orlop_seccomp::Profile {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures: &profile.architectures,
        flags: profile.flags,
        rules: &rules,
    };
    let compile = || orlop_seccomp::compile(&borrowed, &Options::default()).unwrap();
    let Program { instructions, .. } = compile();
    println!("ours: {} instructions", instructions.len());
    println!("  compile: {}", measure(5000, || timed(compile)));
    let load_time = |program: &[SockFilter]| measure(500, || in_child(|| timed(|| load(program, Flags::SPEC_ALLOW))));
    println!("  load: {}", load_time(&instructions));
    let cost = |program: &[SockFilter]| {
        for (name, number, arg) in
            [("allowed", libc::SYS_getppid, 0), ("by argument", libc::SYS_personality, 0xffff_ffff)]
        {
            let under = measure(9, || {
                in_child(|| {
                    if !program.is_empty() {
                        load(program, Flags::SPEC_ALLOW);
                    }
                    calls(number, arg)
                })
            });
            println!("  1000 calls, {name}: {under}");
        }
    };
    cost(&instructions);
    println!("no filter:");
    cost(&[]);
    // What a call costs that the kernel's bitmap lets through, whatever the filter.
    println!("a filter that allows everything:");
    cost(&[SockFilter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }]);
    if let Some(library) = Library::load() {
        let theirs = library.compile(&profile).unwrap();
        println!("libseccomp: {} instructions", theirs.len());
        println!("  compile: {}", measure(50, || timed(|| library.compile(&profile))));
        println!("  load: {}", load_time(&theirs));
        cost(&theirs);
    }
}
