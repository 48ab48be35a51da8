//! Starting init: what it is born with, and where.

use alloc::format;
use alloc::vec::Vec;
use core::ffi::c_char;
use core::ptr::null;
use core::sync::atomic::Ordering;

use orlop_init::image::Image;
use orlop_init::plan::Header;
use orlop_init::step::{SLOTS, Slot, Step};
use orlop_sys::fd::{self, Bin};
use orlop_sys::fs::{self, MemfdFlags};
use orlop_sys::mem::Shared;
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Program};
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, credentials, thread};

use super::Launch;
use super::sealed::{detached_program, memfd, sealed_program};
use crate::error::{Error, Result};
use crate::plan::Plan;

/// What init is born with, besides the plan.
pub(crate) struct Birth<'a> {
    /// The cgroup it starts in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The namespaces it starts in and that are there already.
    pub(crate) join: &'a [(BorrowedFd<'a>, process::Clone)],
    /// Descriptors by slot.
    pub(crate) slots: Vec<(Slot, BorrowedFd<'a>)>,
    /// How many descriptors after stdio belong to the container's program.
    pub(crate) preserve_fds: u32,
    /// A process whose pid namespace it starts in, by pidfd.
    pub(crate) pid_namespace: Option<BorrowedFd<'a>>,
    /// Whether the calling thread leaves that namespace again.
    pub(crate) thread: Thread,
    /// Whether it records when it was done with each step.
    pub(crate) timed: bool,
    /// The signals that its caller ignores, where nobody tells it later.
    pub(crate) ignored: Option<u64>,
}

/// What becomes of the calling thread's later children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Thread {
    /// They are born where they were before.
    #[default]
    Returns,
    /// They are born in the container's pid namespace: for a caller that starts nothing else. It spares three system
    /// calls.
    Stays,
}

impl Launch {
    /// Lays the plan out and starts init in the namespaces that the plan's clone names.
    pub(crate) fn start(plan: &Plan, birth: &Birth<'_>, bin: &mut Bin) -> Result<Launch> {
        let first = 3 + birth.preserve_fds as i32;
        // What stays open comes first: the others' numbers are neighbours then, and go with one call.
        let (wake, inits_wake) = net::socket_pair(SocketType::Stream).map_err(failed("socketpair"))?;
        let program = sealed_program().map_err(failed("memfd_create"))?;
        let plan_file = memfd(c"orlop:plan", MemfdFlags::NOEXEC_SEAL).map_err(failed("memfd_create"))?;
        let inherit = |fd| Inherited::new(fd, first).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"));
        let plan_fd = inherit(plan_file.borrow())?;
        let wake_fd = inherit(inits_wake.borrow())?;
        let others = birth.slots.iter().map(|&(slot, fd)| Ok((slot, inherit(fd)?))).collect::<Result<Vec<_>>>()?;
        let mut keep: Vec<i32> = others.iter().map(|(_, fd)| fd.raw()).collect();
        keep.extend([plan_fd.raw(), wake_fd.raw()]);
        keep.sort_unstable();
        // What init will know a descriptor by; see `Program::keep`.
        let place = |fd: &Inherited<'_>| {
            let at = keep.iter().position(|&raw| raw == fd.raw()).unwrap_or(0);
            first + at as i32
        };
        let mut slots = [-1; SLOTS];
        for (slot, fd) in &others {
            if let Some(entry) = slots.get_mut(usize::from(slot.0)) {
                *entry = place(fd);
            }
        }

        let steps: Vec<Step> = plan.entries.iter().map(|entry| entry.act.step()).collect();
        let image = Image {
            steps: &steps,
            strings: &plan.strings,
            args: plan.args,
            env: plan.env,
            slots,
            wake: place(&wake_fd),
            born: keep.len() as u32,
            timed: birth.timed,
        };
        let size = image.size();
        let shared = lay_out(plan, &image, size, &plan_file, birth.ignored)?;

        let number = crate::state::c_string(&format!("{}", place(&plan_fd)))?;
        let length = crate::state::c_string(&format!("{size}"))?;
        let unmapped = if plan.maps_ids() { orlop_init::UNMAPPED.as_ptr() } else { null() };
        let argv = [c"orlop:[init]".as_ptr(), number.as_ptr(), length.as_ptr(), unmapped, null()];
        let envp: [*const c_char; 1] = [null()];
        let mut spawn = |program: &OwnedFd| {
            let program = Program {
                file: program.borrow(),
                path: c"",
                argv: &argv,
                envp: &envp,
                keep: &keep,
                first,
                stdio: [None, None, None],
                join: birth.join,
                rights: plan.rights_at_birth(),
                cwd: None,
                signals: process::Signals::Callers,
            };
            in_pid_namespace(birth.pid_namespace, birth.thread, bin, || {
                // SAFETY: the strings of both arrays outlive the call.
                unsafe { process::spawn(&program, plan.namespaces_at_birth(), birth.cgroup) }
            })
        };
        let child = match spawn(&program) {
            Err(Errno::ACCES | Errno::PERM) if credentials::euid() == 0 => detached_program().and_then(|p| spawn(&p)),
            done => done,
        };
        let child = child.map_err(|errno| clone_error(plan, errno))?;
        drop((plan_fd, wake_fd, others));
        for fd in [inits_wake, program, plan_file] {
            bin.throw(fd);
        }
        let filtered = steps.iter().any(|step| matches!(step, Step::Seccomp { .. }));
        let patience = filtered.then_some(Timespec::from_millis(20));
        Ok(Launch { child, shared, wake, patience })
    }
}

/// Writes the plan where init will find it, and where both say how far they are.
fn lay_out(plan: &Plan, image: &Image<'_>, size: usize, file: &OwnedFd, ignored: Option<u64>) -> Result<Shared> {
    fs::truncate(file, size as u64).map_err(failed("ftruncate"))?;
    let shared = Shared::map(file, size).map_err(failed("mmap"))?;
    // SAFETY: the mapping is new, of that size, and zeroed as every new file is.
    unsafe { image.write(shared.start()) };
    // SAFETY: the header was just written, and nobody else uses it yet.
    let header = unsafe { &*shared.start().cast::<Header>() };
    // Who runs has been started: init sleeps for what comes after.
    header.done.store(plan.done_at_birth() as u32, Ordering::Relaxed);
    if let Some(signals) = ignored {
        header.ignored.store(signals, Ordering::Relaxed);
    }
    Ok(shared)
}

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::system(call, "starting init", errno)
}

fn clone_error(plan: &Plan, errno: Errno) -> Error {
    let error = Error::system("clone3", format!("starting init in {}", plan.namespaces_at_birth()), errno);
    let error = plan.at_birth(error);
    match errno {
        Errno::PERM => error.hint("new namespaces need CAP_SYS_ADMIN, or a user namespace"),
        Errno::NOSPC => error.hint("a limit in /proc/sys/user/max_*_namespaces is reached"),
        Errno::AGAIN => error.hint("pids.max of a cgroup, RLIMIT_NPROC, or kernel.pid_max is reached"),
        Errno::NOSYS => error.hint("clone3 needs Linux 5.7, or is forbidden by a seccomp filter"),
        Errno::BUSY => error.hint("the cgroup has children with controllers, so no process can be in it"),
        _ => error,
    }
}

/// Lets this thread's children be born in the pid namespace of another process, for as long as `spawn` takes.
fn in_pid_namespace<T>(
    of: Option<BorrowedFd<'_>>,
    thread: Thread,
    bin: &mut Bin,
    spawn: impl FnOnce() -> orlop_sys::Result<T>,
) -> orlop_sys::Result<T> {
    let Some(of) = of else { return spawn() };
    if thread == Thread::Stays {
        thread::setns(of, process::Clone::NEWPID)?;
        return spawn();
    }
    let before = fs::open_at(CWD, c"/proc/thread-self/ns/pid_for_children", fs::OFlags::RDONLY, 0)?;
    thread::setns(of, process::Clone::NEWPID)?;
    let spawned = spawn();
    let left = thread::setns(&before, process::Clone::NEWPID);
    bin.throw(before);
    left.and(spawned)
}

/// A descriptor that init is born with, out of the way of those that belong to the container's program.
enum Inherited<'a> {
    AsIs(BorrowedFd<'a>),
    Copy(OwnedFd),
}

impl<'a> Inherited<'a> {
    fn new(fd: BorrowedFd<'a>, first: i32) -> orlop_sys::Result<Inherited<'a>> {
        Ok(if fd.as_raw() < first { Inherited::Copy(fd::duplicate(fd, first)?) } else { Inherited::AsIs(fd) })
    }

    fn raw(&self) -> i32 {
        match self {
            Inherited::AsIs(fd) => fd.as_raw(),
            Inherited::Copy(fd) => fd.as_raw(),
        }
    }
}
