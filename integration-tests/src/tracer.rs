//! A call of the binary under ptrace(2), held at each system call: to fail that call, or to kill the caller there.
//!
//! The child that clone3(2) makes is followed, through its execve(2): it becomes init.

#![allow(unsafe_code)] // ptrace(2) and waitpid(2) on processes that are ours

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null_mut;

use libc::{c_int, c_long, c_void, pid_t};

/// Which program a traced process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The binary under test.
    Runtime,
    /// Its child, still on its memory.
    Child,
    /// The child after its execve(2).
    Init,
    /// Init after its execve(2): the container's program, which is left alone.
    Program,
}

/// A process at the entry of a system call.
pub struct Entry {
    pub pid: pid_t,
    pub role: Role,
    pub number: c_long,
    pub args: [u64; 6],
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// It is carried out.
    Go,
    /// It fails with that error, and everything runs on without stops.
    Fail(c_int),
    /// The runtime is killed, and everything runs on without stops.
    KillRuntime,
    /// Init is not let on before the runtime has ended.
    Hold,
}

/// Whether the child is traced too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    Runtime,
    Child,
    /// And a process that waits already: a created container's init.
    Also(pid_t),
}

/// Seconds until a call counts as hanging.
const PATIENCE: u32 = 20;

struct Tracee {
    role: Role,
    /// What its call returns instead of the kernel's ENOSYS.
    fails: Option<c_int>,
    held: bool,
    /// It waits for `start`.
    waits: bool,
}

/// How the runtime ended: its exit status, or less than 0 for a signal.
pub fn trace(command: &mut Command, follow: Follow, on_entry: &mut dyn FnMut(&Entry) -> Act) -> Result<c_int, String> {
    interrupt_waits_by_alarm();
    // SAFETY: async-signal-safe, as pre_exec asks.
    unsafe { command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let runtime = command.spawn().expect("the binary can be executed").id() as pid_t;
    let mut trace = Trace { runtime, follow, tracees: HashMap::new(), end: None, free: false };
    trace.adopt(runtime, Role::Runtime);
    wait(runtime).expect("it stops at its execve");
    trace.options(runtime);
    trace.resume(runtime, 0);
    if let Follow::Also(pid) = follow {
        request(libc::PTRACE_ATTACH, pid, 0, 0).expect("it waits");
        wait(pid).expect("it stops");
        trace.adopt(pid, Role::Init);
        trace.options(pid);
        trace.resume(pid, 0);
    }
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(PATIENCE) };
    let outcome = trace.run(on_entry);
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
    trace.let_go();
    outcome
}

struct Trace {
    runtime: pid_t,
    follow: Follow,
    tracees: HashMap<pid_t, Tracee>,
    end: Option<c_int>,
    /// Nobody is stopped at system calls any more.
    free: bool,
}

impl Trace {
    fn adopt(&mut self, pid: pid_t, role: Role) {
        self.tracees.insert(pid, Tracee { role, fails: None, held: false, waits: false });
    }

    fn options(&self, pid: pid_t) {
        let mut options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEEXEC;
        if self.follow != Follow::Runtime {
            options |= libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACECLONE;
        }
        request(libc::PTRACE_SETOPTIONS, pid, 0, options as usize).expect("it is stopped");
    }

    /// ESRCH: somebody has killed it.
    fn resume(&self, pid: pid_t, signal: c_int) {
        let tracee = self.tracees.get(&pid);
        let free = tracee.is_none_or(|tracee| tracee.fails.is_none() && (self.free || tracee.role == Role::Program));
        let how = if free { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        let _killed = request(how, pid, 0, signal as usize);
    }

    fn done(&self) -> bool {
        let over = |tracee: &Tracee| tracee.waits || tracee.role == Role::Program;
        self.end.is_some() && (self.free || self.tracees.values().all(over))
    }

    fn run(&mut self, on_entry: &mut dyn FnMut(&Entry) -> Act) -> Result<c_int, String> {
        loop {
            if let Some(end) = self.end
                && self.done()
            {
                return Ok(end);
            }
            let (pid, status) = wait(-1).map_err(|error| match error.raw_os_error() {
                Some(libc::EINTR) => format!("still not done after {PATIENCE} s"),
                _ => format!("waitpid: {error}"),
            })?;
            if libc::WIFSTOPPED(status) {
                self.stopped(pid, status, on_entry);
                continue;
            }
            self.tracees.remove(&pid);
            if pid == self.runtime {
                let killed = libc::WIFSIGNALED(status);
                self.end = Some(if killed { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) });
                let held: Vec<pid_t> = self.tracees.iter().filter(|(_, t)| t.held).map(|(pid, _)| *pid).collect();
                for pid in held {
                    self.resume(pid, 0);
                }
            }
        }
    }

    fn stopped(&mut self, pid: pid_t, status: c_int, on_entry: &mut dyn FnMut(&Entry) -> Act) {
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            libc::PTRACE_EVENT_EXEC => {
                if let Some(tracee) = self.tracees.get_mut(&pid) {
                    tracee.role = match tracee.role {
                        Role::Child => Role::Init,
                        Role::Init => Role::Program,
                        other => other,
                    };
                }
                return self.resume(pid, 0);
            }
            0 => {}
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                // Known from now on, also where the runtime ends before the child's first stop is seen.
                let mut child: libc::c_ulong = 0;
                let asked = request(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut child) as usize);
                if asked.is_ok() && !self.tracees.contains_key(&(child as pid_t)) {
                    self.adopt(child as pid_t, Role::Child);
                }
                return self.resume(pid, 0);
            }
            _ => return self.resume(pid, 0),
        }
        if signal == libc::SIGTRAP | 0x80 {
            return self.at_call(pid, on_entry);
        }
        if !self.tracees.contains_key(&pid) {
            // A new child begins with a stop.
            self.adopt(pid, Role::Child);
            return self.resume(pid, 0);
        }
        let ours = signal == libc::SIGTRAP || signal == libc::SIGSTOP;
        self.resume(pid, if ours { 0 } else { signal });
    }

    fn at_call(&mut self, pid: pid_t, on_entry: &mut dyn FnMut(&Entry) -> Act) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        let Some(info) = call_info(pid) else { return };
        if !info.at_entry {
            if let Some(errno) = tracee.fails.take() {
                set_result(pid, -i64::from(errno));
            }
            return self.resume(pid, 0);
        }
        let role = tracee.role;
        let act = if self.free || role == Role::Program {
            Act::Go
        } else {
            on_entry(&Entry { pid, role, number: info.number, args: info.args })
        };
        match act {
            Act::Go => tracee.waits = role == Role::Init && matches!(info.number, libc::SYS_accept4 | libc::SYS_ppoll),
            Act::Fail(errno) => {
                set_number(pid, -1);
                tracee.fails = Some(errno);
                self.free = true;
            }
            Act::KillRuntime => {
                kill(self.runtime, libc::SIGKILL);
                self.free = true;
            }
            Act::Hold => {
                tracee.held = true;
                if self.end.is_none() {
                    return;
                }
            }
        }
        self.resume(pid, 0);
    }

    /// Leaves what still runs to itself; a runtime that hangs is killed.
    fn let_go(&mut self) {
        if self.end.is_none() {
            kill(self.runtime, libc::SIGKILL);
        }
        for pid in self.tracees.keys().copied() {
            // Detaching asks for a stop. One that is stopped already stays so.
            kill(pid, libc::SIGSTOP);
            while let Ok((_, status)) = wait(pid) {
                if libc::WIFSTOPPED(status) {
                    if let Some(errno) = self.tracees.get(&pid).and_then(|tracee| tracee.fails) {
                        // It is on its way out of the call that was to fail.
                        set_result(pid, -i64::from(errno));
                    }
                    let _killed = request(libc::PTRACE_DETACH, pid, 0, 0);
                    // Another stop may still be to come, to a process that nobody traces.
                    kill(pid, libc::SIGCONT);
                    break;
                }
            }
        }
    }
}

fn interrupt_waits_by_alarm() {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: an all-zero sigaction is a valid one, without SA_RESTART; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, null_mut());
    }
}

fn request(what: libc::c_uint, pid: pid_t, addr: usize, data: usize) -> io::Result<c_long> {
    // SAFETY: callers pass addresses of live buffers where the request wants some.
    let ret = unsafe { libc::ptrace(what, pid, addr as *mut c_void, data as *mut c_void) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn wait(pid: pid_t) -> io::Result<(pid_t, c_int)> {
    let mut status = 0;
    // SAFETY: `status` is live.
    let ret = unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok((ret, status)) }
}

pub fn kill(pid: pid_t, signal: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps all children that have ended; whether others are left.
pub fn children_left() -> bool {
    loop {
        // SAFETY: no status is asked for.
        match unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG | libc::__WALL) } {
            0 => return true,
            n if n < 0 => return false,
            _ => {}
        }
    }
}

struct CallInfo {
    at_entry: bool,
    number: c_long,
    args: [u64; 6],
}

fn call_info(pid: pid_t) -> Option<CallInfo> {
    const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    // struct ptrace_syscall_info: op, then at 24 the number and the six arguments.
    let mut words = [0u64; 11];
    request(PTRACE_GET_SYSCALL_INFO, pid, size_of_val(&words), words.as_mut_ptr() as usize).ok()?;
    let mut args = [0; 6];
    args.copy_from_slice(&words[4..10]);
    Some(CallInfo { at_entry: words[0] & 0xff == 1, number: words[3] as c_long, args })
}

#[cfg(target_arch = "x86_64")]
fn set_number(pid: pid_t, number: i64) {
    let _killed = request(libc::PTRACE_POKEUSER, pid, 8 * libc::ORIG_RAX as usize, number as usize);
}

#[cfg(target_arch = "x86_64")]
fn set_result(pid: pid_t, result: i64) {
    let _killed = request(libc::PTRACE_POKEUSER, pid, 8 * libc::RAX as usize, result as usize);
}

#[cfg(target_arch = "aarch64")]
fn set_number(pid: pid_t, number: i64) {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut number = number as i32;
    let part = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: 4 };
    let _killed = request(libc::PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, (&raw const part) as usize);
}

#[cfg(target_arch = "aarch64")]
fn set_result(pid: pid_t, result: i64) {
    const NT_PRSTATUS: usize = 1;
    let mut registers = [0u64; 34];
    let part = libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: size_of_val(&registers) };
    if request(libc::PTRACE_GETREGSET, pid, NT_PRSTATUS, (&raw const part) as usize).is_ok() {
        registers[0] = result as u64;
        let _killed = request(libc::PTRACE_SETREGSET, pid, NT_PRSTATUS, (&raw const part) as usize);
    }
}

impl Entry {
    /// The NUL-terminated text at an address of the process; what is not to be had is empty.
    fn text(&self, at: u64) -> String {
        let mut buf = [0u8; 256];
        // By pages: the next one may be missing, and a part that is there is read.
        let here = buf.len().min(4096 - (at as usize & 4095));
        let to = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let part = |at: u64, len| libc::iovec { iov_base: at as *mut c_void, iov_len: len };
        let from = [part(at, here), part(at + here as u64, buf.len() - here)];
        // SAFETY: `to` is a live buffer of that length.
        let n = unsafe { libc::process_vm_readv(self.pid, &to, 1, from.as_ptr(), 2, 0) };
        let bytes = buf.get(..n.max(0) as usize).unwrap_or_default();
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    }

    fn file(&self, fd: u64) -> String {
        let link = fs::read_link(format!("/proc/{}/fd/{}", self.pid, fd as i32));
        let name = link.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        // Anonymous ones have a number that says nothing.
        name.split_once(":[").map_or(name.as_str(), |(kind, _)| kind).to_owned()
    }

    /// What the call does and to what, such as `init fsconfig 6 mode`.
    pub fn describe(&self) -> String {
        let role = match self.role {
            Role::Runtime => "runtime",
            Role::Child => "child",
            Role::Init => "init",
            Role::Program => "program",
        };
        let name = name(self.number);
        let [a, b, c, ..] = self.args;
        let detail = match self.number {
            libc::SYS_openat | libc::SYS_openat2 | libc::SYS_mkdirat | libc::SYS_mknodat | libc::SYS_unlinkat => {
                self.text(b)
            }
            libc::SYS_statx | libc::SYS_faccessat | libc::SYS_faccessat2 | libc::SYS_readlinkat => self.text(b),
            libc::SYS_open_tree | libc::SYS_mount_setattr => self.text(b),
            libc::SYS_fsopen | libc::SYS_memfd_create | libc::SYS_chdir | libc::SYS_statfs => self.text(a),
            libc::SYS_symlinkat => self.text(c),
            libc::SYS_renameat2 => self.text(b),
            libc::SYS_fsconfig => format!("{b} {}", if c == 0 { String::new() } else { self.text(c) }),
            libc::SYS_fcntl | libc::SYS_ioctl => format!("{b:#x}"),
            libc::SYS_prctl => format!("{a} {}", if a == 47 { b } else { 0 }),
            libc::SYS_read | libc::SYS_write | libc::SYS_writev | libc::SYS_getdents64 => self.file(a),
            _ => String::new(),
        };
        // Process ids and the like differ from run to run.
        let detail = match detail.contains('/') {
            true => without_numbers(&detail),
            false => detail,
        };
        format!("{role} {name} {detail}").trim_end().to_owned()
    }
}

fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(c),
        }
    }
    out
}

macro_rules! names {
    ($($name:ident)*) => {
        fn name(number: c_long) -> String {
            // No libc names every call, so the numbers are the kernel's own for all machines of today.
            $(if number == libc::$name { return stringify!($name).trim_start_matches("SYS_").to_owned(); })*
            number.to_string()
        }
    };
}

names! {
    SYS_read SYS_write SYS_writev SYS_close SYS_close_range SYS_openat SYS_openat2 SYS_mkdirat SYS_mknodat SYS_unlinkat
    SYS_symlinkat SYS_readlinkat SYS_renameat2 SYS_statx SYS_faccessat SYS_faccessat2 SYS_fstatfs SYS_statfs SYS_lseek
    SYS_getdents64 SYS_flock SYS_ftruncate SYS_fcntl SYS_ioctl SYS_memfd_create SYS_mmap SYS_munmap SYS_mprotect
    SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_connect SYS_accept4 SYS_sendmsg SYS_recvmsg SYS_ppoll
    SYS_signalfd4 SYS_rt_sigprocmask SYS_rt_sigaction SYS_clone3 SYS_execveat SYS_execve SYS_exit_group SYS_waitid
    SYS_pidfd_open SYS_pidfd_send_signal SYS_kill SYS_prctl SYS_prlimit64 SYS_capset SYS_setgroups SYS_setresgid
    SYS_setresuid SYS_setsid SYS_sched_setaffinity SYS_keyctl SYS_sethostname SYS_setdomainname SYS_umask SYS_chdir SYS_fchdir SYS_getcwd
    SYS_chroot SYS_pivot_root SYS_umount2 SYS_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_open_tree SYS_move_mount
    SYS_mount_setattr SYS_getpid SYS_geteuid SYS_getegid SYS_getuid SYS_getppid SYS_gettid SYS_clock_gettime
    SYS_clock_nanosleep SYS_unshare SYS_setns SYS_fchownat SYS_fchmodat SYS_seccomp SYS_bpf SYS_sendfile SYS_dup3
    SYS_eventfd2 SYS_pipe2 SYS_inotify_init1 SYS_inotify_add_watch SYS_set_robust_list SYS_getrandom
}
