//! Filters in the kernel: a child loads one, makes calls, and says what they returned.
#![allow(unsafe_code, reason = "fork, seccomp and raw system calls")]

mod common;

use common::random::{Actions, Random};
use common::{Owned, engine, random};
use orlop_seccomp::{Action, Arch, Arg, Flags, Operator, Options, Program};

const SET_MODE_FILTER: libc::c_uint = 1;

#[repr(C)]
struct SockFprog<'a> {
    len: u16,
    filter: *const orlop_seccomp::SockFilter,
    of: std::marker::PhantomData<&'a Program>,
}

/// seccomp(2); a listener's descriptor if there is one.
fn load(program: &Program) -> Result<i64, i32> {
    let fprog = SockFprog {
        len: program.instructions.len() as u16,
        filter: program.instructions.as_ptr(),
        of: std::marker::PhantomData,
    };
    // SAFETY: prctl takes no pointers here; the program and its description outlive the call.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, program.flags.bits(), &raw const fprog)
    };
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// A raw call's result, or its errno.
fn call(number: libc::c_long, args: [u64; 3]) -> Result<i64, i32> {
    // SAFETY: the tests only make calls that read none of the memory they are given.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2]) };
    if result < 0 { Err(errno()) } else { Ok(result) }
}

/// How a child ended in which `test` ran.
fn in_child(test: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child makes system calls and exits; it takes no lock another thread holds,
    // for what it allocates comes from its own copy of the heap.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(if test() { 0 } else { 1 });
        }
        assert!(child > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    }
}

fn program(profile: &Owned) -> Program {
    profile.compile(&Options::default()).unwrap()
}

#[test]
fn engine_profile_lets_a_process_live() {
    let program = program(&engine());
    let status = in_child(|| {
        load(&program).is_ok()
            && call(libc::SYS_getpid, [0; 3]).is_ok()
            && call(libc::SYS_add_key, [0; 3]) == Err(libc::EPERM)
            && call(libc::SYS_unshare, [0x1000_0000, 0, 0]) == Err(libc::EPERM)
            && call(libc::SYS_clone3, [0; 3]) == Err(libc::ENOSYS)
            // Newer than the profile.
            && call(471, [0; 3]) == Err(libc::ENOSYS)
            && call(9999, [0; 3]) == Err(libc::ENOSYS)
            && call(libc::SYS_personality, [0xffff_ffff, 0, 0]).is_ok()
            && call(libc::SYS_personality, [0x1234_5678, 0, 0]) == Err(libc::EPERM)
            // Only the lower half looks right; the kernel itself reads no more of it.
            && call(libc::SYS_personality, [1 << 32 | 0xffff_ffff, 0, 0]) == Err(libc::EPERM)
            && call(libc::SYS_clone, [0x1000_0000, 0, 0]) == Err(libc::EPERM)
    });
    assert_eq!(status, 0);
}

#[test]
fn actions() {
    let killed = |status: i32, signal: i32| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal;
    for (action, signal) in
        [(Action::KillProcess, libc::SIGSYS), (Action::KillThread, libc::SIGSYS), (Action::Trap, libc::SIGSYS)]
    {
        let program = program(&Owned::new(Action::Allow, &[]).rule("getppid", action, &[]));
        let status = in_child(|| {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a live rlimit. It keeps the kernel from writing a core file.
            unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
            load(&program).is_ok() && call(libc::SYS_getppid, [0; 3]).is_ok()
        });
        assert!(killed(status, signal), "{action:?}: {status:#x}");
    }
    // With nobody tracing, a traced call does not exist (seccomp(2)).
    for (action, wanted) in
        [(Action::Errno, Err(95)), (Action::Trace, Err(libc::ENOSYS)), (Action::Log, Ok(())), (Action::Allow, Ok(()))]
    {
        let mut profile =
            Owned::new(Action::KillProcess, &[]).rule("exit_group", Action::Allow, &[]).rule("getppid", action, &[]);
        if action == Action::Errno {
            profile.rules[1].errno_ret = Some(95);
        }
        let program = program(&profile);
        let status = in_child(|| load(&program).is_ok() && call(libc::SYS_getppid, [0; 3]).map(|_| ()) == wanted);
        assert_eq!(status, 0, "{action:?}");
    }
}

#[test]
fn the_kernel_takes_the_flags() {
    let [log, spec, tsync, wait] = Flags::NAMES.map(|entry| entry.1);
    for notify in [false, true] {
        for set in 0..16 {
            let chosen = [log, spec, tsync, wait].into_iter().enumerate();
            let chosen = chosen.filter(|(bit, _)| set & (1 << bit) != 0);
            let action = if notify { Action::Notify } else { Action::Errno };
            let mut profile = Owned::new(Action::Allow, &[]).rule("getppid", action, &[]);
            profile.flags = chosen.fold(Flags::NONE, |flags, (_, flag)| flags.with(flag));
            let program = program(&profile);
            let status = in_child(|| match load(&program) {
                Ok(fd) => (fd > 0) == notify,
                Err(_) => false,
            });
            assert_eq!(status, 0, "{:?}", program.flags);
        }
    }
}

/// What the kernel makes of 64-bit comparisons, with calls that only check their arguments.
#[test]
fn arguments() {
    let hi = 1u64 << 32;
    let table = [
        (Operator::Equal, hi + 5, 0, hi + 5, 5),
        (Operator::NotEqual, hi + 5, 0, 5, hi + 5),
        (Operator::Greater, hi + 5, 0, 2 * hi, hi + 5),
        (Operator::GreaterEqual, hi + 5, 0, hi + 5, hi + 4),
        (Operator::Less, hi + 5, 0, hi + 4, 2 * hi),
        (Operator::LessEqual, hi + 5, 0, hi + 5, hi + 6),
        (Operator::MaskedEqual, hi + 0xf0, hi + 0x10, 3 * hi + 0x11, 0x10),
    ];
    for (op, value, value_two, matching, other) in table {
        let arg = Arg { index: 1, op, value, value_two };
        let profile = Owned::new(Action::Allow, &[]).errno_rule("getppid", 77, &[arg]);
        let program = program(&profile);
        let status = in_child(|| {
            load(&program).is_ok()
                && call(libc::SYS_getppid, [0, matching, 0]) == Err(77)
                && call(libc::SYS_getppid, [0, other, 0]).is_ok()
        });
        assert_eq!(status, 0, "{op:?}");
    }
}

/// Whatever the compiler writes, the kernel's checker takes.
#[test]
fn random_programs_load() {
    for round in 0..100 {
        let mut random = Random::new(9000 + round);
        let archs = random.one_of(&[&[Arch::X86_64, Arch::X86, Arch::X32][..], &[Arch::Aarch64, Arch::Arm]]);
        let mut profile = random::profile(&mut random, archs, Actions::One, 6);
        profile.default_action = Action::Allow;
        // The child has to be able to say how it went.
        for rule in &mut profile.rules {
            rule.names.retain(|name| name != "exit_group");
        }
        let program = program(&profile);
        assert_eq!(in_child(|| load(&program).is_ok()), 0, "{profile:#x?}");
    }
}
