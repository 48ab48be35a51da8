//! The least work that gives what the default `spec` configuration asks for on cgroup v2, in the
//! fewest system calls: no JSON, no state, no hooks. What a runtime takes beyond this is its own.
//!
//! `floor ROOTFS COMMAND [ARG...]` runs the command in such a container.
//! `floor --measure COMMAND [ARG...]` runs it without, output to /dev/null, and prints
//! `STATUS NANOSECONDS PEAK-KIB`: a process as small as this one does not add its own memory to
//! the peak, which the kernel hands on over execve(2).
//!
//! x86_64 only.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

mod nr {
    pub const WRITE: usize = 1;
    pub const OPEN: usize = 2;
    pub const CLOSE: usize = 3;
    pub const DUP2: usize = 33;
    pub const GETPID: usize = 39;
    pub const FORK: usize = 57;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const CHDIR: usize = 80;
    pub const MKDIR: usize = 83;
    pub const RMDIR: usize = 84;
    pub const SYMLINK: usize = 88;
    pub const UMASK: usize = 95;
    pub const SETSID: usize = 112;
    pub const CAPSET: usize = 126;
    pub const MKNOD: usize = 133;
    pub const PIVOT_ROOT: usize = 155;
    pub const PRCTL: usize = 157;
    pub const MOUNT: usize = 165;
    pub const UMOUNT2: usize = 166;
    pub const SETHOSTNAME: usize = 170;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const KEYCTL: usize = 250;
    pub const UNSHARE: usize = 272;
    pub const PRLIMIT64: usize = 302;
    pub const BPF: usize = 321;
    pub const OPEN_TREE: usize = 428;
    pub const MOVE_MOUNT: usize = 429;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
    pub const MOUNT_SETATTR: usize = 442;
}

fn call(n: usize, args: &[usize]) -> isize {
    let mut a = [0; 6];
    for (to, from) in a.iter_mut().zip(args) {
        *to = *from;
    }
    let result;
    // SAFETY: every pointer passed below is to memory of this program, of the size that is said.
    unsafe {
        asm!("syscall", inlateout("rax") n => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _);
    }
    result
}

fn exit(status: usize) -> ! {
    loop {
        call(nr::EXIT_GROUP, &[status]);
    }
}

/// Ends with the name of what failed.
fn must(what: &str, result: isize) -> isize {
    if result < 0 {
        let mut line = Line::new();
        line.text(b"floor: ").text(what.as_bytes()).text(b": errno ");
        line.number(result.unsigned_abs()).text(b"\n").write(2);
        exit(99);
    }
    result
}

struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; 256], len: 0 }
    }

    fn text(&mut self, text: &[u8]) -> &mut Line {
        for &b in text {
            if self.len < self.bytes.len() {
                self.bytes[self.len] = b;
                self.len += 1;
            }
        }
        self
    }

    fn number(&mut self, mut n: usize) -> &mut Line {
        let (mut digits, mut at) = ([0; 20], 20);
        loop {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return self.text(&digits[at..]);
            }
        }
    }

    fn write(&self, fd: usize) {
        call(nr::WRITE, &[fd, self.bytes.as_ptr() as usize, self.len]);
    }
}

/// The address of a constant string for the kernel.
macro_rules! s {
    ($text:literal) => {
        concat!($text, "\0").as_ptr() as usize
    };
}

const MS_RDONLY: usize = 1;
const MS_NOSUID: usize = 2;
const MS_NODEV: usize = 4;
const MS_NOEXEC: usize = 8;
const MS_REMOUNT: usize = 32;
const MS_BIND: usize = 4096;
const MS_REC: usize = 16384;
const MS_SLAVE: usize = 1 << 19;
const MS_RELATIME: usize = 1 << 21;
const MS_STRICTATIME: usize = 1 << 24;

fn mount(source: usize, target: usize, kind: usize, flags: usize, data: usize) -> isize {
    call(nr::MOUNT, &[source, target, kind, flags, data])
}

const ENV: [&[u8]; 2] = [b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0", b"TERM=xterm\0"];

/// In the new namespaces, up to the command.
fn child(root: usize, argv: usize) -> ! {
    const CLONE_NEWCGROUP: usize = 0x0200_0000;
    must("unshare", call(nr::UNSHARE, &[CLONE_NEWCGROUP]));
    must("setsid", call(nr::SETSID, &[]));
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    call(nr::KEYCTL, &[KEYCTL_JOIN_SESSION_KEYRING, s!("_ses.floor")]);
    must("sethostname", call(nr::SETHOSTNAME, &[s!("runc"), 4]));

    must("propagation", mount(0, s!("/"), 0, MS_REC | MS_SLAVE, 0));
    must("bind root", mount(root, root, 0, MS_BIND | MS_REC, 0));
    must("chdir", call(nr::CHDIR, &[root]));
    must("proc", mount(s!("proc"), s!("proc"), s!("proc"), 0, 0));
    call(nr::UMASK, &[0]);
    let dev = s!("mode=755,size=65536k");
    must("dev", mount(s!("tmpfs"), s!("dev"), s!("tmpfs"), MS_NOSUID | MS_STRICTATIME, dev));
    for path in [s!("dev/pts"), s!("dev/shm"), s!("dev/mqueue")] {
        must("mkdir", call(nr::MKDIR, &[path, 0o755]));
    }
    let pts = s!("newinstance,ptmxmode=0666,mode=0620,gid=5");
    must("pts", mount(s!("devpts"), s!("dev/pts"), s!("devpts"), MS_NOSUID | MS_NOEXEC, pts));
    let safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    let shm = s!("mode=1777,size=65536k");
    must("shm", mount(s!("shm"), s!("dev/shm"), s!("tmpfs"), safe, shm));
    must("mqueue", mount(s!("mqueue"), s!("dev/mqueue"), s!("mqueue"), safe, 0));
    must("sysfs", mount(s!("sysfs"), s!("sys"), s!("sysfs"), safe | MS_RDONLY, 0));
    let flags = safe | MS_RDONLY | MS_RELATIME;
    must("cgroup", mount(s!("cgroup"), s!("sys/fs/cgroup"), s!("cgroup2"), flags, 0));
    devices();
    // Stacks the old root on the new one, then takes it away: pivot_root(2), "." for both.
    must("pivot_root", call(nr::PIVOT_ROOT, &[s!("."), s!(".")]));
    const MNT_DETACH: usize = 2;
    must("umount", call(nr::UMOUNT2, &[s!("."), MNT_DETACH]));
    must("chdir /", call(nr::CHDIR, &[s!("/")]));
    cover();
    must("read-only root", mount(0, s!("/"), 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0));
    privileges();
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    must("close_range", call(nr::CLOSE_RANGE, &[3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC]));
    let env = [ENV[0].as_ptr() as usize, ENV[1].as_ptr() as usize, 0];
    // SAFETY: argv has at least the command.
    let command = unsafe { *(argv as *const usize) };
    must("execve", call(nr::EXECVE, &[command, argv, env.as_ptr() as usize]));
    exit(99)
}

fn devices() {
    const S_IFCHR: usize = 0o20000;
    for (path, major, minor) in [
        (s!("dev/null"), 1, 3),
        (s!("dev/zero"), 1, 5),
        (s!("dev/full"), 1, 7),
        (s!("dev/random"), 1, 8),
        (s!("dev/urandom"), 1, 9),
        (s!("dev/tty"), 5, 0),
    ] {
        must("mknod", call(nr::MKNOD, &[path, S_IFCHR | 0o666, major << 8 | minor]));
    }
    for (target, path) in [
        (s!("/proc/self/fd"), s!("dev/fd")),
        (s!("/proc/self/fd/0"), s!("dev/stdin")),
        (s!("/proc/self/fd/1"), s!("dev/stdout")),
        (s!("/proc/self/fd/2"), s!("dev/stderr")),
        (s!("pts/ptmx"), s!("dev/ptmx")),
        (s!("/proc/kcore"), s!("dev/core")),
    ] {
        must("symlink", call(nr::SYMLINK, &[target, path]));
    }
    call(nr::UMASK, &[0o022]);
}

/// The masked and the read-only paths; one that this kernel lacks is passed over.
fn cover() {
    const ENOTDIR: isize = -20;
    for path in [
        s!("/proc/acpi"),
        s!("/proc/asound"),
        s!("/proc/kcore"),
        s!("/proc/keys"),
        s!("/proc/latency_stats"),
        s!("/proc/timer_list"),
        s!("/proc/timer_stats"),
        s!("/proc/sched_debug"),
        s!("/sys/firmware"),
        s!("/proc/scsi"),
    ] {
        if mount(s!("/dev/null"), path, 0, MS_BIND, 0) == ENOTDIR {
            let small = s!("nr_blocks=1,nr_inodes=1");
            must("mask", mount(s!("tmpfs"), path, s!("tmpfs"), MS_RDONLY, small));
        }
    }
    const OPEN_TREE_CLONE: usize = 1;
    const OPEN_TREE_CLOEXEC: usize = 0o2000000;
    const AT_FDCWD: usize = -100isize as usize;
    const AT_EMPTY_PATH: usize = 0x1000;
    const AT_RECURSIVE: usize = 0x8000;
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
    // struct mount_attr: set MOUNT_ATTR_RDONLY, clear nothing
    let read_only = [1u64, 0, 0, 0];
    let size = size_of_val(&read_only);
    for path in [s!("/proc/bus"), s!("/proc/fs"), s!("/proc/irq"), s!("/proc/sys"), s!("/proc/sysrq-trigger")] {
        let how = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
        let tree = call(nr::OPEN_TREE, &[AT_FDCWD, path, how]);
        if tree < 0 {
            continue;
        }
        let tree = tree as usize;
        let attr = read_only.as_ptr() as usize;
        let flags = AT_EMPTY_PATH | AT_RECURSIVE;
        must("setattr", call(nr::MOUNT_SETATTR, &[tree, s!(""), flags, attr, size]));
        let args = [tree, s!(""), AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH];
        must("move_mount", call(nr::MOVE_MOUNT, &args));
        call(nr::CLOSE, &[tree]);
    }
}

fn privileges() {
    const RLIMIT_NOFILE: usize = 7;
    let limit = [1024usize, 1024];
    must("prlimit", call(nr::PRLIMIT64, &[0, RLIMIT_NOFILE, limit.as_ptr() as usize]));
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    must("no_new_privs", call(nr::PRCTL, &[PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]));
    // CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE
    const KEEP: u32 = 1 << 5 | 1 << 10 | 1 << 29;
    const CAP_LAST: usize = 40;
    const PR_CAPBSET_DROP: usize = 24;
    for cap in (0..=CAP_LAST).filter(|cap| *cap > 31 || KEEP >> cap & 1 == 0) {
        must("drop", call(nr::PRCTL, &[PR_CAPBSET_DROP, cap, 0, 0, 0]));
    }
    const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
    let header = [LINUX_CAPABILITY_VERSION_3, 0];
    let sets = [KEEP, KEEP, 0, 0, 0, 0]; // effective, permitted, inheritable; twice 32 bits
    must("capset", call(nr::CAPSET, &[header.as_ptr() as usize, sets.as_ptr() as usize]));
    const PR_CAP_AMBIENT: usize = 47;
    const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
    must("ambient", call(nr::PRCTL, &[PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]));
}

/// One eBPF instruction.
const fn op(code: u8, to: u8, from: u8, skip: i16, value: i32) -> u64 {
    code as u64 | (to as u64) << 8 | (from as u64) << 12 | (skip as u16 as u64) << 16 | (value as u32 as u64) << 32
}

/// The default device list: mknod of anything, and the use of the default devices and terminals.
fn limit_devices(cgroup: usize) {
    const LOAD: u8 = 0x61;
    const AND: u8 = 0x57;
    const SHIFT: u8 = 0x77;
    const COPY: u8 = 0xbf;
    const EQUAL: u8 = 0x15;
    const DIFFERS: u8 = 0x55;
    const SET: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    const CHAR: i32 = 2;
    const MKNOD: i32 = 1;
    // r2: type and access of the request, r3 and r4: major and minor, r5: access
    static PROGRAM: [u64; 24] = [
        op(LOAD, 2, 1, 0, 0),
        op(LOAD, 3, 1, 4, 0),
        op(LOAD, 4, 1, 8, 0),
        op(COPY, 5, 2, 0, 0),
        op(SHIFT, 5, 0, 0, 16),
        op(EQUAL, 5, 0, 16, MKNOD),
        op(AND, 2, 0, 0, 0xffff),
        op(DIFFERS, 2, 0, 12, CHAR),
        op(EQUAL, 3, 0, 13, 136),
        op(DIFFERS, 3, 0, 2, 5),
        op(EQUAL, 4, 0, 11, 0),
        op(EQUAL, 4, 0, 10, 2),
        op(DIFFERS, 3, 0, 1, 10),
        op(EQUAL, 4, 0, 8, 200),
        op(DIFFERS, 3, 0, 5, 1),
        op(EQUAL, 4, 0, 6, 3),
        op(EQUAL, 4, 0, 5, 5),
        op(EQUAL, 4, 0, 4, 7),
        op(EQUAL, 4, 0, 3, 8),
        op(EQUAL, 4, 0, 2, 9),
        op(SET, 0, 0, 0, 0),
        op(EXIT, 0, 0, 0, 0),
        op(SET, 0, 0, 0, 1),
        op(EXIT, 0, 0, 0, 0),
    ];
    const BPF_PROG_LOAD: usize = 5;
    const BPF_PROG_ATTACH: usize = 8;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u64 = 15;
    const BPF_CGROUP_DEVICE: u64 = 6;
    const BPF_F_ALLOW_MULTI: u64 = 2;
    // union bpf_attr: type and count, instructions, licence; then log, kernel version, flags, name,
    // interface; and the attach type
    let mut load = [0u64; 9];
    load[0] = BPF_PROG_TYPE_CGROUP_DEVICE | (PROGRAM.len() as u64) << 32;
    load[1] = PROGRAM.as_ptr() as u64;
    load[2] = s!("Apache-2.0") as u64;
    load[8] = BPF_CGROUP_DEVICE << 32;
    let args = [BPF_PROG_LOAD, load.as_ptr() as usize, size_of_val(&load)];
    let program = must("program", call(nr::BPF, &args)) as usize;
    let attach = [cgroup as u64 | (program as u64) << 32, BPF_CGROUP_DEVICE | BPF_F_ALLOW_MULTI << 32];
    let args = [BPF_PROG_ATTACH, attach.as_ptr() as usize, size_of_val(&attach)];
    must("attach", call(nr::BPF, &args));
    call(nr::CLOSE, &[program]);
}

fn wait(pid: isize, usage: usize) -> usize {
    let mut status = 0i32;
    const EINTR: isize = -4;
    while call(nr::WAIT4, &[pid as usize, &raw mut status as usize, 0, usage]) == EINTR {}
    if status & 0x7f != 0 { 128 + (status & 0x7f) as usize } else { (status >> 8 & 0xff) as usize }
}

fn contain(root: usize, argv: usize) -> ! {
    let mut path = Line::new();
    path.text(b"/sys/fs/cgroup/floor-").number(call(nr::GETPID, &[]) as usize);
    let path = path.bytes.as_ptr() as usize; // zero-terminated: the buffer is larger
    must("mkdir cgroup", call(nr::MKDIR, &[path, 0o755]));
    const O_DIRECTORY_CLOEXEC: usize = 0o2200000;
    let cgroup = must("open cgroup", call(nr::OPEN, &[path, O_DIRECTORY_CLOEXEC])) as usize;
    limit_devices(cgroup);
    const NEW_NET_PID_IPC_UTS_NS: u64 = 0x4000_0000 | 0x2000_0000 | 0x0800_0000 | 0x0400_0000 | 0x0002_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const SIGCHLD: u64 = 17;
    let mut args = [0u64; 11];
    args[0] = NEW_NET_PID_IPC_UTS_NS | CLONE_INTO_CGROUP;
    args[4] = SIGCHLD;
    args[10] = cgroup as u64;
    let pid = call(nr::CLONE3, &[args.as_ptr() as usize, size_of_val(&args)]);
    if pid == 0 {
        child(root, argv);
    }
    must("clone3", pid);
    let status = wait(pid, 0);
    call(nr::CLOSE, &[cgroup]);
    must("rmdir", call(nr::RMDIR, &[path]));
    exit(status)
}

fn now() -> usize {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0usize; 2];
    call(nr::CLOCK_GETTIME, &[CLOCK_MONOTONIC, time.as_mut_ptr() as usize]);
    time[0] * 1_000_000_000 + time[1]
}

fn measure(argv: usize, env: usize) -> ! {
    let start = now();
    let pid = call(nr::FORK, &[]);
    if pid == 0 {
        const O_RDWR: usize = 2;
        let null = must("/dev/null", call(nr::OPEN, &[s!("/dev/null"), O_RDWR])) as usize;
        call(nr::DUP2, &[null, 0]);
        call(nr::DUP2, &[null, 1]);
        call(nr::CLOSE, &[null]);
        // SAFETY: argv has at least the command.
        let command = unsafe { *(argv as *const usize) };
        must("execve", call(nr::EXECVE, &[command, argv, env]));
    }
    must("fork", pid);
    // struct rusage: two times of 16 bytes, then ru_maxrss
    let mut usage = [0usize; 18];
    let status = wait(pid, usage.as_mut_ptr() as usize);
    let time = now() - start;
    let mut line = Line::new();
    line.number(status).text(b" ").number(time).text(b" ").number(usage[4]).text(b"\n").write(1);
    exit(0)
}

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym begin,
);

/// # Safety
/// `stack` is the stack pointer at the program's first instruction.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: argc, then argv and envp, each with a null pointer at its end.
    unsafe {
        let argc = *stack;
        if argc < 3 {
            must("usage: floor ROOTFS COMMAND", -22);
        }
        let first = *stack.add(2);
        let command = stack.add(3) as usize;
        if *(first as *const u8) == b'-' {
            measure(command, stack.add(argc + 2) as usize);
        }
        contain(first, command)
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// # Safety
/// As memset(3): the compiler calls it for the arrays of zeros above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: n bytes at `to` are the caller's.
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8);
    }
    to
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: both are n bytes long, says the caller.
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _);
    }
    to
}
