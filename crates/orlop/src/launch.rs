//! Starting init, and working through the plan together with it.
//!
//! Both sides hold the one list. The runtime writes how far it is to [`Header::done`], init to [`Header::at`];
//! who has to wait for the other says so, sleeps on the wake socket, and is woken by a byte, or by the other's end.

#![allow(unsafe_code)] // the shared mapping, and starting a program: each with its reason

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::fmt;
use core::ptr::null;
use core::sync::atomic::{AtomicU64, Ordering};

use orlop_init::Report;
use orlop_init::image::Image;
use orlop_init::plan::{EXCERPT_AREA, EXCERPT_AT, Header, Status};
use orlop_init::step::{Call, Place, SLOTS, Slot, Step};
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, MemfdFlags, Seals};
use orlop_sys::mem::Shared;
use orlop_sys::mount::{self, Attr, MountAttr, Reach};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Child, Ended, Pid, Program, Rights, Waiting};
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, thread};

use crate::error::{Error, Kind, Result};
use crate::explain;
use crate::hook::{self, InitHook};
use crate::plan::{Act, HookEvent, Plan, Task};
use crate::program::{self, Seen};

/// A started init.
pub(crate) struct Launch {
    child: Child,
    shared: Shared,
    wake: OwnedFd,
    /// How long to sleep before looking again: where a filter may keep init from waking us.
    patience: Option<Timespec>,
}

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

/// memfd_create(2) of kernels before 6.3 knows neither `MFD_EXEC` nor `MFD_NOEXEC_SEAL`.
fn memfd(name: &CStr, flags: MemfdFlags) -> orlop_sys::Result<OwnedFd> {
    match fs::memfd(name, flags) {
        Err(Errno::INVAL) => fs::memfd(name, MemfdFlags::from_bits(flags.bits() & MemfdFlags::ALLOW_SEALING.bits())),
        done => done,
    }
}

/// The init program as a file that nobody can write to: CVE-2019-5736 needs a writable one.
pub(crate) fn sealed_program() -> orlop_sys::Result<OwnedFd> {
    let file = memfd(c"orlop:[init]", MemfdFlags::EXEC | MemfdFlags::ALLOW_SEALING)?;
    fs::write_all(&file, orlop_init::PROGRAM)?;
    fs::seal(&file, Seals::SEAL | Seals::SHRINK | Seals::GROW | Seals::WRITE)?;
    Ok(file)
}

/// Where a memfd may not be executed (`vm.memfd_noexec=2`, a security module): the program on a tmpfs that is
/// mounted nowhere and then made read-only.
fn detached_program() -> orlop_sys::Result<OwnedFd> {
    let config = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(&config)?;
    let tmpfs = mount::fsmount(&config, Attr::NOSUID | Attr::NODEV)?;
    let name = c"orlop:[init]";
    let file = fs::open_at(&tmpfs, name, fs::OFlags::WRONLY | fs::OFlags::CREAT, 0o500)?;
    fs::write_all(&file, orlop_init::PROGRAM)?;
    drop(file);
    let attr = MountAttr { set: Attr::RDONLY, ..MountAttr::default() };
    mount::set_attr(&tmpfs, c"", Reach::One, &attr)?;
    fs::open_at(&tmpfs, name, fs::OFlags::RDONLY, 0)
}

/// A descriptor that init is born with, out of the way of those that belong to the container's program.
enum Inherited<'a> {
    AsIs(BorrowedFd<'a>),
    Copy(OwnedFd),
}

impl<'a> Inherited<'a> {
    fn new(fd: BorrowedFd<'a>, first: i32) -> orlop_sys::Result<Inherited<'a>> {
        Ok(if fd.as_raw() < first { Inherited::Copy(fs::duplicate(fd, first)?) } else { Inherited::AsIs(fd) })
    }

    fn raw(&self) -> i32 {
        match self {
            Inherited::AsIs(fd) => fd.as_raw(),
            Inherited::Copy(fd) => fd.as_raw(),
        }
    }
}

impl Launch {
    /// Lays the plan out and starts init in the namespaces that the plan's clone names.
    pub(crate) fn start(plan: &Plan, birth: &Birth<'_>, bin: &mut Bin) -> Result<Launch> {
        let failed = |call: &'static str| move |errno| Error::system(call, "starting init", errno);
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
        fs::truncate(&plan_file, size as u64).map_err(failed("ftruncate"))?;
        let shared = Shared::map(&plan_file, size).map_err(failed("mmap"))?;
        // SAFETY: the mapping is new, of that size, and zeroed as every new file is.
        unsafe { image.write(shared.start()) };
        // SAFETY: the header was just written, and nobody else uses it yet.
        let header = unsafe { &*shared.start().cast::<Header>() };
        // Who runs has been started: init sleeps for what comes after.
        header.done.store(plan.done_at_birth() as u32, Ordering::Relaxed);
        if let Some(signals) = birth.ignored {
            header.ignored.store(signals, Ordering::Relaxed);
        }

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
            Err(Errno::ACCES | Errno::PERM) if thread::euid() == 0 => detached_program().and_then(|p| spawn(&p)),
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

    fn header(&self) -> &Header {
        // SAFETY: an image was written there, the mapping lives as long as `self`, and what init changes is atomic.
        unsafe { &*self.shared.start().cast::<Header>() }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.child.pid
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.child.pidfd
    }

    /// When init began, and when it was done with each step; none where nobody asked.
    pub(crate) fn times(&self) -> &[AtomicU64] {
        let header = self.header();
        let (at, len) = (header.times as usize, header.times_len as usize);
        // SAFETY: the image has that area, aligned, and it is only used as atomics.
        unsafe { core::slice::from_raw_parts(self.shared.start().add(at).cast(), len) }
    }

    /// Tells init which signals its caller ignored: bit `n - 1` is signal `n`.
    pub(crate) fn ignores(&self, signals: u64) {
        self.header().ignored.store(signals, Ordering::Release);
    }

    /// A copy of the seccomp listener that init has got.
    pub(crate) fn listener(&self) -> Result<OwnedFd> {
        let number = self.header().listener.load(Ordering::SeqCst);
        process::pidfd_getfd(&self.child.pidfd, number)
            .map_err(|errno| Error::system("pidfd_getfd", "the seccomp listener", errno))
    }

    /// Says that every entry of the runtime before `index` is done.
    pub(crate) fn complete(&self, index: u32) -> Result<()> {
        let header = self.header();
        header.done.store(index, Ordering::SeqCst);
        if header.init_sleeps.swap(0, Ordering::SeqCst) != 0 {
            match net::send(&self.wake, &[1], &[]) {
                // Where init is gone, the next wait says so.
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
                Err(errno) => return Err(Error::system("sendmsg", "waking init", errno)),
            }
        }
        Ok(())
    }

    /// Sends init a descriptor.
    pub(crate) fn send(&self, fd: BorrowedFd<'_>) -> orlop_sys::Result<()> {
        net::send(&self.wake, &[1], &[fd]).map(drop)
    }

    /// The entry that init has come to.
    pub(crate) fn reached(&self) -> u32 {
        self.header().at.load(Ordering::SeqCst)
    }

    /// Waits until init has come to the entry `index`.
    pub(crate) fn await_init(&self, plan: &Plan, index: u32) -> Result<()> {
        let header = self.header();
        loop {
            // Announced first and looked at second, as init does it the other way round: one of us sees the other.
            header.runtime_awaits.store(index, Ordering::SeqCst);
            if header.at.load(Ordering::SeqCst) >= index && header.status() != Status::Failed {
                header.runtime_awaits.store(0, Ordering::SeqCst);
                return Ok(());
            }
            if !self.sleep()? {
                return Err(self.failure(plan));
            }
        }
    }

    /// Waits until the container's program is executed.
    pub(crate) fn await_program(&self, plan: &Plan) -> Result<()> {
        while self.sleep()? {}
        match self.header().status() {
            Status::Executing => Ok(()),
            _ => Err(self.failure(plan)),
        }
    }

    /// Sleeps until init has something to say; `false` when its end of the socket is closed: by its end, or by
    /// execve(2) of the program.
    fn sleep(&self) -> Result<bool> {
        let mut fds =
            [PollFd::new(self.wake.borrow(), PollFlags::IN), PollFd::new(self.child.pidfd.borrow(), PollFlags::IN)];
        loop {
            match event::poll(&mut fds, self.patience) {
                Ok(0) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("ppoll", "waiting for init", errno)),
                Ok(_) => break,
            }
        }
        if fds[0].happened.is_empty() {
            return Ok(false);
        }
        let mut byte = [0u8; 1];
        match fs::read(&self.wake, &mut byte) {
            Ok(n) => Ok(n > 0),
            Err(Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(Error::system("read", "waiting for init", errno)),
        }
    }

    /// What became of an init that ended before the program ran; `None` where the program has run.
    pub(crate) fn verdict(&self, plan: &Plan, ended: Option<Ended>) -> Option<Error> {
        let header = self.header();
        match header.status() {
            Status::Executing => None,
            Status::Failed => {
                let report = self.report();
                let failed = self.failed_hook(plan, &report);
                Some(failed.unwrap_or_else(|| failed_step(plan, &report, self.excerpt())))
            }
            Status::Unborn | Status::Working => Some(ended_early(plan, header, ended)),
        }
    }

    /// Whether init has ended.
    pub(crate) fn has_ended(&self) -> bool {
        event_ready(self.pidfd().borrow())
    }

    /// What init has left of its failure.
    fn report(&self) -> Report {
        let header = self.header();
        Report {
            step: header.at.load(Ordering::Relaxed),
            call: header.call.load(Ordering::Relaxed),
            errno: header.errno.load(Ordering::Relaxed) as u32,
            detail: header.detail.load(Ordering::Relaxed),
            said: header.said.load(Ordering::Relaxed),
            complained: header.complained.load(Ordering::Relaxed),
        }
    }

    fn excerpt(&self) -> &[u8] {
        let at = self.header().scratch as usize + EXCERPT_AT;
        // SAFETY: the mapping has that area; init, the only one to write there, does so no more after its failure.
        unsafe { core::slice::from_raw_parts(self.shared.start().add(at), EXCERPT_AREA) }
    }

    /// The error of a hook, where that is what failed.
    fn failed_hook(&self, plan: &Plan, report: &Report) -> Option<Error> {
        hook::reported(report)?;
        let entry = plan.entries.get(report.step as usize)?;
        let Act::Init(Step::Hook { place, path, timeout, .. }) = entry.act else {
            return None;
        };
        let event = match place {
            Place::BeforePivot => HookEvent::CreateContainer,
            Place::Container => HookEvent::StartContainer,
        };
        let path = plan.strings.blob().text(path).map(|path| path.to_string_lossy()).unwrap_or_default();
        let hook = InitHook { event, path: &path, seconds: timeout };
        Some(hook::init_failure(&hook, report, self.excerpt()).at(entry.phase, entry.origin.to_pointer()))
    }

    /// The error of an init that did not get to the program. It is killed and reaped.
    pub(crate) fn failure(&self, plan: &Plan) -> Error {
        if self.header().status() != Status::Failed && !event_ready(self.pidfd().borrow()) {
            let _gone = process::pidfd_signal(&self.child.pidfd, SIGKILL);
        }
        let ended = self.reap();
        let none = || Error::new(Kind::System, "init executed the program, and ended");
        self.verdict(plan, ended).unwrap_or_else(none)
    }

    /// Kills init, and with it all of its pid namespace, and reaps it.
    pub(crate) fn kill(&self) {
        // ESRCH: it has ended, which is what we want.
        let _gone = process::pidfd_signal(&self.child.pidfd, SIGKILL);
        self.reap();
    }

    /// How it ended; `None` where another part of this process has reaped it, or nobody can tell.
    pub(crate) fn reap(&self) -> Option<Ended> {
        self.try_reap().ok().flatten()
    }

    /// The same, and why it is not known.
    pub(crate) fn try_reap(&self) -> Result<Option<Ended>> {
        match process::wait(&self.child.pidfd, Waiting::Block) {
            Err(Errno::CHILD) => Ok(None),
            done => done.map_err(|errno| Error::system("waitid", "the end of the container's program", errno)),
        }
    }
}

/// SIGKILL's number, on every architecture.
pub(crate) const SIGKILL: i32 = 9;

fn event_ready(fd: BorrowedFd<'_>) -> bool {
    event::wait_readable(fd, Some(orlop_sys::time::Timespec::default())).unwrap_or(false)
}

impl Act {
    fn step(&self) -> Step {
        match *self {
            Act::Runtime(_) => Step::Runtime {},
            Act::Init(step) => step,
        }
    }
}

impl Plan {
    /// Where init is started.
    pub(crate) fn clone_index(&self) -> usize {
        let is_clone = |act: &Act| matches!(act, Act::Runtime(Task::Clone { .. }));
        self.entries.iter().position(|entry| is_clone(&entry.act)).unwrap_or(0)
    }

    /// How many entries of the runtime's are done when init is there: up to the first that works on it.
    fn done_at_birth(&self) -> usize {
        let born = self.clone_index() + 1;
        let later = self.entries.iter().skip(born).position(|entry| matches!(entry.act, Act::Runtime(_)));
        later.map_or(self.entries.len(), |at| born + at)
    }

    fn rights_at_birth(&self) -> Rights {
        match self.entries.get(self.clone_index()).map(|entry| entry.act) {
            Some(Act::Runtime(Task::Clone { rights, .. })) => rights,
            _ => Rights::Exec,
        }
    }

    /// Whether init starts in a user namespace without ids.
    fn maps_ids(&self) -> bool {
        self.namespaces_at_birth().contains(process::Clone::NEWUSER)
    }

    fn namespaces_at_birth(&self) -> process::Clone {
        match self.entries.get(self.clone_index()).map(|entry| entry.act) {
            Some(Act::Runtime(Task::Clone { namespaces, .. })) => namespaces,
            _ => process::Clone::NONE,
        }
    }
}

fn clone_error(plan: &Plan, errno: Errno) -> Error {
    let entry = plan.entries.get(plan.clone_index());
    let error = Error::system("clone3", format!("starting init in {}", plan.namespaces_at_birth()), errno);
    let error = match entry {
        Some(entry) => error.at(entry.phase, entry.origin.to_pointer()),
        None => error,
    };
    match errno {
        Errno::PERM => error.hint("new namespaces need CAP_SYS_ADMIN, or a user namespace"),
        Errno::NOSPC => error.hint("a limit in /proc/sys/user/max_*_namespaces is reached"),
        Errno::AGAIN => error.hint("pids.max of a cgroup, RLIMIT_NPROC, or kernel.pid_max is reached"),
        Errno::NOSYS => error.hint("clone3 needs Linux 5.7, or is forbidden by a seccomp filter"),
        Errno::BUSY => error.hint("the cgroup has children with controllers, so no process can be in it"),
        _ => error,
    }
}

/// The error of a step, in the words of what it was to do.
fn failed_step(plan: &Plan, report: &Report, excerpt: &[u8]) -> Error {
    let (index, call, errno) = (report.step as usize, Call::from_number(report.call), Errno(report.errno as i32));
    let Some(entry) = plan.entries.get(index) else {
        return Error::new(Kind::System, format!("init failed in step {index}, which the plan does not have"));
    };
    let error = match &entry.act {
        Act::Init(Step::FindProgram {} | Step::Exec {}) => {
            program_error(plan, call, errno, Seen::new(excerpt, report.said, report.detail))
        }
        Act::Init(Step::Attach { .. }) => {
            let before = plan.entries.get(..index).unwrap_or_default().iter().rev();
            let target = before.filter_map(|entry| match entry.act {
                Act::Init(Step::Target { path, .. }) => Some(plan.string(path)),
                _ => None,
            });
            let path = target.take(1).next().unwrap_or_default();
            let error = Error::system(call.map_or("", Call::name), format!("mounting at {path}"), errno);
            if errno == Errno::NOTDIR { error.hint("a directory goes on a directory, a file on a file") } else { error }
        }
        Act::Init(Step::BindAttr { .. }) => {
            let after = plan.entries.get(index..).unwrap_or_default().iter();
            let mut target = after.filter_map(|entry| match entry.act {
                Act::Init(Step::Target { path, .. } | Step::AttachOrLink { path, .. }) => Some(plan.string(path)),
                _ => None,
            });
            let path = target.next().unwrap_or_default();
            let error = Error::system(call.map_or("", Call::name), format!("mounting at {path}"), errno);
            if call == Some(Call::LockedFlags) { error.hint("see mount_namespaces(7)") } else { error }
        }
        Act::Init(step) => {
            let heard = excerpt.get(..report.said as usize).unwrap_or_default();
            explain::step_error(plan, step, (call, errno), report.detail, heard)
        }
        // Before its first step.
        Act::Runtime(_) => {
            let error = Error::system(call.map_or("", Call::name), "starting init", errno);
            return match plan.entries.get(plan.clone_index()) {
                Some(entry) => error.at(entry.phase, entry.origin.to_pointer()),
                None => error,
            };
        }
    };
    error.at(entry.phase, entry.origin.to_pointer())
}

fn program_error(plan: &Plan, call: Option<Call>, errno: Errno, seen: Seen<'_>) -> Error {
    let blob = plan.strings.blob();
    let name = blob.texts(plan.args).first().and_then(|&text| blob.text(text)).unwrap_or_default();
    program::error(&String::from_utf8_lossy(name.to_bytes()), call, errno, seen)
}

fn ended_early(plan: &Plan, header: &Header, ended: Option<Ended>) -> Error {
    let index = header.at.load(Ordering::Relaxed) as usize;
    let how = match ended {
        Some(Ended::Killed(SIGKILL)) => String::from("was killed by SIGKILL"),
        Some(Ended::Killed(signal)) => format!("was killed by signal {signal}"),
        Some(Ended::Exited(status)) => format!("ended with status {status}"),
        None => String::from("ended"),
    };
    let unborn = header.status() == Status::Unborn;
    let index = if unborn { plan.clone_index() } else { index };
    let Some(entry) = plan.entries.get(index) else {
        return Error::new(Kind::System, format!("init {how}"));
    };
    if unborn && let Some(Ended::Exited(errno)) = ended {
        return Error::system("mmap", "init could not map its plan", Errno(errno))
            .at(entry.phase, entry.origin.to_pointer());
    }
    let error = Error::new(Kind::System, format!("init {how} in step {index} ({})", entry.name()))
        .at(entry.phase, entry.origin.to_pointer());
    match ended {
        Some(Ended::Killed(SIGKILL)) => error.hint(memory_hint(plan)),
        Some(Ended::Killed(SIGSYS)) => error.hint("a seccomp filter that the runtime itself runs under forbids a call"),
        _ => error,
    }
}

/// Whom the kernel kills for want of memory it kills so.
fn memory_hint(plan: &Plan) -> String {
    match limit_of_memory(plan) {
        Some(bytes) if bytes < ENOUGH => {
            format!(
                "the memory limit of {} (config.json {MEMORY_LIMIT}) is below what making this container took",
                Size(bytes)
            )
        }
        Some(_) => String::from("somebody killed it, or the host, or a cgroup above, is out of memory"),
        None => String::from("somebody killed it, or there is no memory left for it"),
    }
}

/// The field that [`limit_of_memory`] comes from.
pub(crate) const MEMORY_LIMIT: &str = "/linux/resources/memory/limit";

/// The limit of memory that the container was given, in bytes.
pub(crate) fn limit_of_memory(plan: &Plan) -> Option<u64> {
    plan.cgroup.writes.iter().find(|write| write.origin.as_str() == MEMORY_LIMIT)?.value.parse().ok()
}

/// What no container takes to start, but for its program and what its mounts copy.
const ENOUGH: u64 = 64 << 20;

/// Bytes, for a person.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10) >> 20;
        match (self.0 >> 20, tenths % 10) {
            (0, _) => write!(f, "{} KiB", self.0 >> 10),
            (whole, 0) => write!(f, "{whole} MiB"),
            (whole, tenth) => write!(f, "{whole}.{tenth} MiB"),
        }
    }
}

const SIGSYS: i32 = 31;
