//! Processes: clone3(2), execveat(2), waitid(2), pidfds, signals.

use core::ffi::{CStr, c_char};
use core::mem::{MaybeUninit, size_of};
use core::sync::atomic::{AtomicI32, Ordering};

use crate::arch::{clone3_child, syscall0, syscall1, syscall2, syscall3, syscall4, syscall5, trap};
use crate::errno::{Errno, Result, retry};
use crate::fd::{AsFd, BorrowedFd, OwnedFd, own_result};
use crate::fs::{AtFlags, OnExec, chdir, duplicate, duplicate_onto, set_on_exec};
use crate::numbers as nr;
use crate::thread::{capabilities, close_on_exec_from, raise_ambient, set_capabilities, setns};

flags! {
    /// What a child shares or gets new; see clone(2), namespaces(7).
    pub struct Clone: u64 {
        NEWTIME = 0x80,
        VM = 0x100,
        FS = 0x200,
        FILES = 0x400,
        PIDFD = 0x1000,
        VFORK = 0x4000,
        PARENT = 0x8000,
        NEWNS = 0x20000,
        NEWCGROUP = 0x2000000,
        NEWUTS = 0x4000000,
        NEWIPC = 0x8000000,
        NEWUSER = 0x10000000,
        NEWPID = 0x20000000,
        NEWNET = 0x40000000,
        CLEAR_SIGHAND = 0x1_0000_0000,
        INTO_CGROUP = 0x2_0000_0000,
    }
}

/// A process id as the caller's pid namespace numbers it.
pub type Pid = i32;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The signal that tells a parent of its child's end.
const SIGCHLD: u64 = 17;

/// A child that clone3 made.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Starts a child on the caller's own address space and waits until it has executed another program or
/// ended: nothing is copied, whatever the caller's size (clone(2), `CLONE_VM|CLONE_VFORK`).
///
/// The caller's signal handlers are cleared in the child, so that none of them runs on borrowed memory.
///
/// # Safety
/// `child` must only use `data` and its own stack, must not allocate, unwind or return, and must end in
/// execve or exit. `data` must be valid for it.
pub unsafe fn vfork(
    flags: Clone,
    cgroup: Option<BorrowedFd<'_>>,
    stack: &mut [MaybeUninit<u8>],
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let mut flags = flags | Clone::VM | Clone::VFORK | Clone::PIDFD | Clone::CLEAR_SIGHAND;
    if cgroup.is_some() {
        flags |= Clone::INTO_CGROUP;
    }
    // With CLONE_PARENT the signal is the caller's own; another one is EINVAL.
    let exit_signal = if flags.contains(Clone::PARENT) { 0 } else { SIGCHLD };
    let base = stack.as_mut_ptr() as usize;
    // The ABI wants 16 bytes of alignment where the stack starts, at its upper end.
    let end = (base + stack.len()) & !15;
    let args = CloneArgs {
        flags: flags.bits(),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal,
        stack: base as u64,
        stack_size: (end - base) as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw() as u64),
        ..CloneArgs::default()
    };
    let size = size_of::<CloneArgs>();
    // SAFETY: `args` is a clone_args of this size; VFORK keeps us suspended until the child is off our
    // memory; the caller vouches for `child` and `data`.
    let ret = unsafe { clone3_child((&raw const args).cast(), size, child, data) };
    let pid = Errno::check(ret)? as Pid;
    // SAFETY: CLONE_PIDFD has stored a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Starts a child that runs beside the caller on its address space and descriptor table, with a stack of its own.
///
/// The kernel sends no signal at its end, and only [`wait_beside`] reaps it: the caller's other children and
/// whoever waits for any of them are not affected.
///
/// # Safety
/// `child` must only use `data` and its own stack, must make system calls only, and must end in exit. `stack` and
/// `data` must stay valid until it has ended.
pub unsafe fn beside(
    stack: &mut [MaybeUninit<u8>],
    child: extern "C" fn(*mut u8) -> !,
    data: *mut u8,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let flags = Clone::VM | Clone::FILES | Clone::PIDFD | Clone::CLEAR_SIGHAND;
    let base = stack.as_mut_ptr() as usize;
    let end = (base + stack.len()) & !15;
    let args = CloneArgs {
        flags: flags.bits(),
        pidfd: (&raw mut pidfd) as u64,
        stack: base as u64,
        stack_size: (end - base) as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a clone_args of this size; the caller vouches for `child`, `data` and the stack's life.
    let ret = unsafe { clone3_child((&raw const args).cast(), size_of::<CloneArgs>(), child, data) };
    let pid = Errno::check(ret)? as Pid;
    // SAFETY: CLONE_PIDFD has stored a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Waits for the end of a child of [`beside`].
pub fn wait_beside(child: &Child) -> Result<()> {
    const WEXITED: usize = 4;
    const WALL: usize = 0x4000_0000;
    retry(|| {
        // SAFETY: no siginfo is asked for.
        Errno::check(unsafe { syscall5(nr::WAITID, 3, child.pidfd.as_raw() as usize, 0, WEXITED | WALL, 0) })
    })
    .map(drop)
}

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
        reset_signals()?;
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

/// fork(2): `None` in the child.
///
/// # Safety
/// The caller has a single thread, so that no lock of another one stays held in the child.
pub unsafe fn fork(flags: Clone) -> Result<Option<Pid>> {
    let args = CloneArgs { flags: flags.bits(), exit_signal: SIGCHLD, ..CloneArgs::default() };
    // SAFETY: `args` is a clone_args of this size, and the child has a copy of our stack.
    let ret = unsafe { syscall2(nr::CLONE3, (&raw const args) as usize, size_of::<CloneArgs>()) };
    Ok(match Errno::check(ret)? {
        0 => None,
        pid => Some(pid as Pid),
    })
}

/// fork(2) by clone(2) instead of clone3(2), which filters of system calls refuse because they cannot look into
/// its arguments: `None` in the child.
///
/// # Safety
/// The caller has a single thread, so that no lock of another one stays held in the child.
pub unsafe fn fork_watched() -> Result<Option<Child>> {
    let mut pidfd: i32 = -1;
    let flags = Clone::PIDFD.bits() | SIGCHLD;
    // SAFETY: without a stack the child has a copy of ours; the third argument is where the pidfd is stored.
    let ret = unsafe { syscall5(nr::CLONE, flags as usize, 0, (&raw mut pidfd) as usize, 0, 0) };
    Ok(match Errno::check(ret)? {
        0 => None,
        // SAFETY: CLONE_PIDFD has stored a new descriptor there.
        pid => Some(Child { pid: pid as Pid, pidfd: unsafe { OwnedFd::from_raw(pidfd) } }),
    })
}

/// execveat(2): returns only when it failed.
///
/// # Safety
/// `argv` and `envp` are arrays of pointers to NUL-terminated strings that end in a null pointer.
pub unsafe fn exec_at(
    dir: impl AsFd,
    path: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    flags: AtFlags,
) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    let ret = unsafe {
        syscall5(
            nr::EXECVEAT,
            dir.as_fd().arg(),
            path.as_ptr() as usize,
            argv as usize,
            envp as usize,
            flags.bits() as usize,
        )
    };
    Errno(-ret as i32)
}

/// execve(2): returns only when it failed. Profiles that were made by watching a program have it, and execveat(2) not.
///
/// # Safety
/// As of [`exec_at`].
pub unsafe fn exec(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    let ret = unsafe { syscall3(nr::EXECVE, path.as_ptr() as usize, argv as usize, envp as usize) };
    Errno(-ret as i32)
}

/// exit_group(2); where a seccomp filter denies that, an instruction that ends the process by SIGILL or SIGTRAP, the
/// first process of a pid namespace as well.
pub fn exit(status: i32) -> ! {
    // SAFETY: does not return, but by a filter's decision.
    unsafe { syscall1(nr::EXIT_GROUP, status as usize) };
    trap()
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// What a shell makes of it: the status, or 128 and the signal.
    pub const fn code(self) -> i32 {
        match self {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// As the standard library has it for its own children.
#[cfg(feature = "std")]
impl From<Ended> for std::process::ExitStatus {
    fn from(ended: Ended) -> std::process::ExitStatus {
        // The bits of wait(2).
        std::os::unix::process::ExitStatusExt::from_raw(match ended {
            Ended::Exited(status) => (status & 0xff) << 8,
            Ended::Killed(signal) => signal & 0x7f,
        })
    }
}

/// Whether [`wait`] waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Until the child has ended.
    Block,
    /// Not at all.
    Poll,
}

/// waitid(2) on a pidfd: how the child ended, which is thereby reaped; `None` where it still runs.
pub fn wait(pidfd: impl AsFd, waiting: Waiting) -> Result<Option<Ended>> {
    wait_for(3, pidfd.as_fd().as_raw(), waiting)
}

/// waitid(2) on a child by number.
pub fn wait_pid(pid: Pid, waiting: Waiting) -> Result<Option<Ended>> {
    wait_for(1, pid, waiting)
}

/// waitid(2) on any child: one that has ended, and is not reaped yet.
pub fn ended_child() -> Result<Option<Pid>> {
    const WNOWAIT: usize = 0x0100_0000;
    Ok(wait_id(0, 0, WNOHANG | WNOWAIT)?.map(|(pid, _)| pid))
}

const WNOHANG: usize = 1;

fn wait_for(id_type: usize, id: i32, waiting: Waiting) -> Result<Option<Ended>> {
    let options = if waiting == Waiting::Poll { WNOHANG } else { 0 };
    Ok(wait_id(id_type, id, options)?.map(|(_, ended)| ended))
}

fn wait_id(id_type: usize, id: i32, options: usize) -> Result<Option<(Pid, Ended)>> {
    const WEXITED: usize = 4;
    const CLD_EXITED: i32 = 1;
    // siginfo_t: si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status; 128 bytes.
    let mut info = [0i32; 32];
    retry(|| {
        // SAFETY: `info` has the size of siginfo_t.
        Errno::check(unsafe {
            syscall5(nr::WAITID, id_type, id as usize, info.as_mut_ptr() as usize, WEXITED | options, 0)
        })
    })?;
    let (code, pid, status) = (info[2], info[4], info[6]);
    let ended = if code == CLD_EXITED { Ended::Exited(status) } else { Ended::Killed(status) };
    Ok((pid != 0).then_some((pid, ended)))
}

/// pidfd_open(2).
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall2(nr::PIDFD_OPEN, pid as usize, 0) })
}

/// pidfd_send_signal(2); signal 0 asks whether the process is there.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: no siginfo is passed.
    let ret = unsafe { syscall4(nr::PIDFD_SEND_SIGNAL, pidfd.as_fd().arg(), signal as usize, 0, 0) };
    Errno::check(ret).map(drop)
}

/// pidfd_getfd(2): a copy of another process's descriptor.
pub fn pidfd_getfd(pidfd: impl AsFd, fd: i32) -> Result<OwnedFd> {
    // SAFETY: integers only.
    own_result(unsafe { syscall3(nr::PIDFD_GETFD, pidfd.as_fd().arg(), fd as usize, 0) })
}

/// kill(2).
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: integers only.
    Errno::check(unsafe { syscall2(nr::KILL, pid as usize, signal as usize) }).map(drop)
}

/// getpid(2).
pub fn pid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETPID) as Pid }
}

/// getppid(2); 0 where the parent is in an outer pid namespace.
pub fn parent_pid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETPPID) as Pid }
}

/// gettid(2).
pub fn tid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { syscall0(nr::GETTID) as Pid }
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    // SAFETY: no arguments.
    Errno::check(unsafe { syscall0(nr::SETSID) }).map(drop)
}

/// The highest signal number.
pub const LAST_SIGNAL: i32 = 64;

/// A set of signals, as rt_sigprocmask(2) takes it: bit `n - 1` is signal `n`.
pub type SignalSet = u64;

/// Sets this thread's blocked signals, and returns those before.
pub fn set_signal_mask(mask: SignalSet) -> Result<SignalSet> {
    const SIG_SETMASK: usize = 2;
    let mut old: SignalSet = 0;
    // SAFETY: both sets are 8 bytes, as said.
    let ret = unsafe {
        syscall4(
            nr::RT_SIGPROCMASK,
            SIG_SETMASK,
            (&raw const mask) as usize,
            (&raw mut old) as usize,
            size_of::<SignalSet>(),
        )
    };
    Errno::check(ret).map(|_| old)
}

/// Gives `signal` its default action again.
pub fn default_signal(signal: i32) -> Result<()> {
    // struct sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
    let action = [0usize; 4];
    // SAFETY: SIG_DFL runs no code of ours.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action.as_ptr() as usize, 0, 8) };
    Errno::check(ret).map(drop)
}

/// Gives every signal its default action, and blocks none: ignored signals and the mask survive execve(2).
pub fn reset_signals() -> Result<()> {
    const KILL: i32 = 9;
    const STOP: i32 = 19;
    for signal in (1..=LAST_SIGNAL).filter(|&signal| signal != KILL && signal != STOP) {
        default_signal(signal)?;
    }
    set_signal_mask(0).map(drop)
}

/// Makes this process ignore `signal`.
pub fn ignore_signal(signal: i32) -> Result<()> {
    // SIG_IGN is 1.
    let action = [1usize, 0, 0, 0];
    // SAFETY: SIG_IGN runs no code of ours.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action.as_ptr() as usize, 0, 8) };
    Errno::check(ret).map(drop)
}

/// Whether this process ignores `signal`.
pub fn ignores_signal(signal: i32) -> Result<bool> {
    let mut action = [0usize; 4];
    // SAFETY: `action` has the size of the kernel's struct sigaction.
    let ret = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, 0, action.as_mut_ptr() as usize, 8) };
    Errno::check(ret).map(|_| action[0] == 1)
}
