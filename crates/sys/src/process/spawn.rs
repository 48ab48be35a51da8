//! Starting a program: what happens between the child's birth and execve(2).

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, Ordering};

use super::{Child, Clone, Waiting, exec_at, exit, vfork, wait};
use crate::credentials::{capabilities, raise_ambient, set_capabilities};
use crate::errno::{Errno, Result};
use crate::fd::{BorrowedFd, OnExec, OwnedFd, close_on_exec_from, duplicate, duplicate_onto, set_on_exec};
use crate::fs::{AtFlags, chdir};
use crate::signal;
use crate::thread::setns;

/// What [`spawn`] executes.
pub struct Program<'a> {
    /// The program itself where `path` is empty, else the directory that a relative path starts from.
    pub file: BorrowedFd<'a>,
    /// The path.
    pub path: &'a CStr,
    /// Pointers to the arguments, then a null.
    pub argv: &'a [*const c_char],
    /// Pointers to the environment, then a null.
    pub envp: &'a [*const c_char],
    /// Descriptors that the program gets besides stdio: ascending numbers, none below `first`. It finds them from
    /// `first` on without a gap, and none else from there.
    pub keep: &'a [i32],
    /// The number that the first of `keep` gets. Those between stdio and it are the program's as they are.
    pub first: i32,
    /// What the program has as standard input, output and error, where not what the caller has.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Namespaces that the program starts in; see setns(2). Time namespaces cannot be joined here: the kernel
    /// wants the caller to share its memory with nobody.
    pub join: &'a [(BorrowedFd<'a>, Clone)],
    /// Whether it has the capabilities that clone(2) or setns(2) into a user namespace gave.
    pub rights: Rights,
    /// The program's working directory, where not the caller's.
    pub cwd: Option<&'a CStr>,
    /// Which signals it blocks and ignores.
    pub signals: Signals,
}

/// What becomes of capabilities when a program starts whose user is not root of its user namespace, because no ids
/// are mapped there yet, or other ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// execve(2) decides.
    Exec,
    /// It keeps all, as ambient ones.
    Keep,
}

/// What a program that [`spawn`] executes blocks and ignores of signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signals {
    /// What its caller does.
    Callers,
    /// None.
    Reset,
}

struct Job<'a> {
    program: &'a Program<'a>,
    errno: AtomicI32,
}

/// A [`Job`] whose program starts in joined namespaces, and what has become of it.
struct Stone<'a> {
    job: &'a Job<'a>,
    flags: Clone,
    cgroup: Option<BorrowedFd<'a>>,
    stack: &'a mut [MaybeUninit<u8>],
    child: Result<Child>,
}

/// Starts a program in new namespaces by [`vfork`]: whatever the size of the caller, nothing of it is copied, and
/// none of its locks, handlers or threads matter. Returns once the program runs.
///
/// # Safety
/// The pointers of `argv` and `envp` are to NUL-terminated strings.
pub unsafe fn spawn(program: &Program<'_>, flags: Clone, cgroup: Option<BorrowedFd<'_>>) -> Result<Child> {
    if program.argv.last().is_none_or(|p| !p.is_null()) || program.envp.last().is_none_or(|p| !p.is_null()) {
        return Err(Errno::INVAL);
    }
    let mut stack = [const { MaybeUninit::<u8>::uninit() }; 8192];
    let job = Job { program, errno: AtomicI32::new(0) };
    let child = if program.join.is_empty() {
        let data = (&raw const job).cast_mut().cast::<u8>();
        // SAFETY: `execute` uses only `job`, which outlives the child's stay on our memory, and its own stack.
        unsafe { vfork(flags, cgroup, &mut stack, execute, data) }?
    } else {
        spawn_joined(&job, flags, cgroup, &mut stack)?
    };
    match job.errno.load(Ordering::Relaxed) {
        0 => Ok(child),
        errno => {
            // It has ended already. Where somebody else's wait(2) was faster, it is reaped all the same.
            let _reaped = wait(&child.pidfd, Waiting::Block);
            Err(Errno(errno))
        }
    }
}

/// Nothing of the calling thread is to change, so a child joins the namespaces, makes the program's process there
/// as a child of ours (`CLONE_PARENT`), and ends. It shares our descriptors, among which the pidfd then is.
fn spawn_joined(
    job: &Job<'_>,
    flags: Clone,
    cgroup: Option<BorrowedFd<'_>>,
    stack: &mut [MaybeUninit<u8>],
) -> Result<Child> {
    let mut stones_stack = [const { MaybeUninit::<u8>::uninit() }; 8192];
    let mut stone = Stone { job, flags, cgroup, stack, child: Err(Errno::CHILD) };
    let data = (&raw mut stone).cast::<u8>();
    // SAFETY: `join_and_fork` uses only `stone`, which outlives its stay on our memory, and its own stack.
    let between = unsafe { vfork(Clone::FILES, None, &mut stones_stack, join_and_fork, data) }?;
    // Where somebody else's wait(2) was faster, it is reaped all the same.
    let _reaped = wait(&between.pidfd, Waiting::Block);
    stone.child
}

extern "C" fn join_and_fork(data: *mut u8) -> ! {
    // SAFETY: `spawn_joined` passes its stone, and is suspended while we use it.
    let stone: &mut Stone<'_> = unsafe { &mut *data.cast::<Stone<'_>>() };
    stone.child = join_all(stone.job.program.join).and_then(|()| {
        let data = core::ptr::from_ref(stone.job).cast_mut().cast::<u8>();
        // SAFETY: `execute` uses only the job, which outlives the child's stay on our memory, and its own stack.
        unsafe { vfork(stone.flags | Clone::PARENT, stone.cgroup, stone.stack, execute, data) }
    });
    exit(0)
}

/// What the caller's rights reach is joined first, then the user namespace, then what that one's owner may join:
/// setns(2) asks for capabilities in the user namespace that owns the one to join, and entering a user namespace
/// leaves those of the outer one behind.
fn join_all(join: &[(BorrowedFd<'_>, Clone)]) -> Result<()> {
    let user = join.iter().find(|(_, kind)| *kind == Clone::NEWUSER);
    let mut left = 0u64;
    for (n, (fd, kind)) in join.iter().enumerate().filter(|(_, (_, kind))| *kind != Clone::NEWUSER) {
        match setns(fd, *kind) {
            Err(Errno::PERM) if user.is_some() && n < 64 => left |= 1 << n,
            done => done?,
        }
    }
    if let Some((fd, kind)) = user {
        setns(fd, *kind)?;
    }
    for (_, (fd, kind)) in join.iter().enumerate().filter(|(n, _)| *n < 64 && left & (1 << n) != 0) {
        setns(fd, *kind)?;
    }
    Ok(())
}

/// Every permitted capability becomes an ambient one: execve(2) takes all others from a user who is not root.
fn keep_rights() -> Result<()> {
    let (effective, permitted, _) = capabilities()?;
    set_capabilities(effective, permitted, permitted)?;
    (0..64).filter(|capability| permitted & (1 << capability) != 0).try_for_each(raise_ambient)
}

/// Runs `work` in a child that has joined the mount namespace `namespace`, with our rights and our descriptors: a
/// descriptor that it opens is ours.
///
/// # Safety
/// `work` must not allocate, unwind, or take locks.
pub unsafe fn in_mount_namespace(namespace: BorrowedFd<'_>, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // SAFETY: the caller vouches for `work`.
    unsafe { in_namespace(namespace, Clone::NEWNS, work) }
}

/// The same in a namespace of any kind but a user namespace, which would take our rights.
///
/// # Safety
/// `work` must not allocate, unwind, or take locks.
pub unsafe fn in_namespace(namespace: BorrowedFd<'_>, kind: Clone, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // SAFETY: the caller vouches for `work`.
    unsafe { in_child(Clone::NONE, &mut || setns(namespace, kind).and_then(|()| work())) }
}

/// The same in a copy of our mount namespace, which a new user namespace owns: nobody needs a right for that, and the
/// files are reached as ours are. What is mounted is locked there; mount_namespaces(7).
///
/// # Safety
/// `work` must not allocate, unwind, or take locks.
pub unsafe fn in_copied_mount_namespace(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // SAFETY: the caller vouches for `work`.
    unsafe { in_child(Clone::NEWUSER | Clone::NEWNS, work) }
}

/// # Safety
/// `work` must not allocate, unwind, or take locks.
unsafe fn in_child(new: Clone, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    struct Visit<'a> {
        work: &'a mut dyn FnMut() -> Result<()>,
        done: Result<()>,
    }
    extern "C" fn visit(data: *mut u8) -> ! {
        // SAFETY: the caller passes its visit, and is suspended while we use it.
        let visit: &mut Visit<'_> = unsafe { &mut *data.cast::<Visit<'_>>() };
        visit.done = (visit.work)();
        exit(0)
    }
    let mut stack = [const { MaybeUninit::<u8>::uninit() }; 16384];
    let mut data = Visit { work, done: Err(Errno::CHILD) };
    // SAFETY: `visit` uses only `data`, which outlives its stay on our memory; the caller vouches for `work`.
    let child = unsafe { vfork(new | Clone::FILES, None, &mut stack, visit, (&raw mut data).cast()) }?;
    let _reaped = wait(&child.pidfd, Waiting::Block);
    data.done
}

extern "C" fn execute(data: *mut u8) -> ! {
    // SAFETY: `spawn` passes its job, and is suspended while we use it.
    let job: &Job<'_> = unsafe { &*data.cast::<Job<'_>>() };
    let program = job.program;
    let placed = prepare(program).and_then(|moved| match program.rights {
        Rights::Exec => Ok(moved),
        Rights::Keep => keep_rights().map(|()| moved),
    });
    let errno = match placed {
        Ok(moved) => {
            let file = moved.as_ref().map_or(program.file, OwnedFd::borrow);
            let flags = if program.path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::NONE };
            // SAFETY: `spawn` checked that both arrays end in null, and its caller vouches for the strings.
            unsafe { exec_at(file, program.path, program.argv.as_ptr(), program.envp.as_ptr(), flags) }
        }
        Err(errno) => errno,
    };
    job.errno.store(errno.0, Ordering::Relaxed);
    exit(127)
}

fn prepare(program: &Program<'_>) -> Result<Option<OwnedFd>> {
    if program.signals == Signals::Reset {
        signal::reset_all()?;
    }
    if let Some(cwd) = program.cwd {
        chdir(cwd)?;
    }
    place_descriptors(program)
}

/// Gives every descriptor of a new program its place; returns the program's own file where it had to make way.
fn place_descriptors(program: &Program<'_>) -> Result<Option<OwnedFd>> {
    let free = program.first + program.keep.len() as i32;
    let in_the_way = (program.first..free).contains(&program.file.as_raw());
    let moved = if in_the_way { Some(duplicate(program.file, free)?) } else { None };
    for (number, fd) in program.stdio.iter().enumerate() {
        match fd {
            // Onto itself it would stay close-on-exec.
            Some(fd) if fd.as_raw() == number as i32 => set_on_exec(fd, OnExec::Keep)?,
            Some(fd) => duplicate_onto(fd, number as i32)?,
            None => {}
        }
    }
    for (&fd, place) in program.keep.iter().zip(program.first..) {
        // SAFETY: the caller keeps it open; here it is a copy of ours.
        let fd = unsafe { BorrowedFd::from_raw(fd) };
        // As the numbers ascend, what lies at the new place is not one that is still to be moved.
        if fd.as_raw() == place { set_on_exec(fd, OnExec::Keep)? } else { duplicate_onto(fd, place)? }
    }
    close_on_exec_from(free as u32)?;
    Ok(moved)
}
