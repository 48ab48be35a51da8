//! The steps of a plan: what the runtime writes down, and init does.
//!
//! A step is plain data of fixed size. Strings and lists stand in the plan's blob and are named by offset, so
//! that a plan is copied into the shared mapping as it is, and init reads it there without decoding.

use core::marker::PhantomData;

use orlop_sys::fs::FileType;
use orlop_sys::mount::{Attr, Propagation, Reach};
use orlop_sys::process::Clone as CloneFlags;
use orlop_sys::thread::SockFilter;

/// A NUL-terminated string of the blob, by its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Text(pub u32);

/// `len` values of type `T` in the blob, from offset `at` on.
#[derive(PartialEq, Eq, Debug)]
#[repr(C)]
pub struct List<T> {
    /// Where it starts.
    pub at: u32,
    /// How many there are.
    pub len: u32,
    /// What they are.
    pub kind: PhantomData<T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> List<T> {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> List<T> {
    /// The list without members.
    pub const EMPTY: List<T> = List { at: 0, len: 0, kind: PhantomData };
}

/// A place that holds one descriptor while init runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Slot(pub u8);

impl Slot {
    /// What stands for no slot.
    pub const NONE: Slot = Slot(u8::MAX);
}

/// How many slots there are.
pub const SLOTS: usize = 32;

/// `key` or `key=value` for fsconfig(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Param {
    /// The key.
    pub key: Text,
    /// The value; [`NO_VALUE`] for a flag.
    pub value: Text,
}

/// What stands for no value in a [`Param`].
pub const NO_VALUE: Text = Text(u32::MAX);

/// What a mount point is made as, where it is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Make {
    /// A directory.
    Directory,
    /// An empty file.
    File,
    /// Whatever the mount's own root is.
    LikeSource,
}

/// Where a new file system's root gets its mode from, unless a parameter says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ModeOf {
    /// The file system's own default.
    Nothing,
    /// The mount point, if it was there before: an image's /tmp stays 1777, its /run 755.
    Target,
}

/// Whether a mount point may lie on procfs; see CVE-2019-16884.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OverProc {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
    /// It may not, and can only be there by a symbolic link: its path is below no mount that could be a procfs.
    RefusedByLink,
    /// Only if what is mounted is a procfs itself.
    BySameKind,
}

/// Whether symbolic links on the way to a mount point are followed; see CVE-2023-27561.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Follow {
    /// Inside the root.
    Links,
    /// All but the last one: it is mounted on itself.
    NotLast,
    /// None is.
    Nothing,
}

/// Whether the end of the old root could be seen outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OldRoot {
    /// Every mount of it is private, or receives only.
    Alone,
    /// Some may be shared: they are made to receive only.
    MaySpread,
}

/// Whether a step that may be tried again later fails for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Attempt {
    /// A later step tries again.
    First,
    /// It fails.
    Last,
}

/// What a new terminal makes of a line's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Newlines {
    /// Carriage return and newline, as every new terminal does.
    Both,
    /// Newline alone: for a relay whose own terminal adds the carriage return.
    Plain,
}

/// Which environment a hook gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Environment {
    /// The hook's own.
    Hook,
    /// The container's program's.
    Program,
}

/// Where a hook starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Place {
    /// In the host's tree, with the root file system as its working directory.
    BeforePivot,
    /// In the container, in the program's working directory.
    Container,
}

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident $text:literal { $($(#[doc = $field_doc:literal])* $field:ident: $kind:ty),* $(,)? })*) => {
        /// One thing to do; the fields are what it is done with, named as the call's own parameters.
        #[allow(missing_docs)] // the fields
        #[derive(Clone, Copy, Debug)]
        #[repr(C, u16)]
        pub enum Step {
            $($(#[doc = $doc])* $name { $($(#[doc = $field_doc])* $field: $kind),* }),*
        }

        impl Step {
            /// What `orlop explain` and messages call it.
            pub const fn name(&self) -> &'static str {
                match self { $(Step::$name { .. } => $text),* }
            }
        }

        #[cfg(not(orlop_program))]
        impl Step {
            /// Passes every field to `each`, by name, in order.
            pub fn fields(&self, each: &mut dyn FnMut(&'static str, &dyn crate::show::Show)) {
                match self { $(Step::$name { $($field),* } => { $(each(stringify!($field), $field);)* let _ = &each; }),* }
            }
        }
    };
}

steps! {
    /// Stands for an entry that the runtime does.
    Runtime "runtime" {}
    /// unshare(2).
    Unshare "unshare" { namespaces: CloneFlags }
    /// Opens a namespace by path, and checks its type.
    OpenNamespace "open-namespace" { path: Text, namespace: CloneFlags, out: Slot }
    /// Takes a namespace over that the runtime has made meanwhile.
    ReceiveNamespace "receive-namespace" { out: Slot }
    /// setns(2).
    JoinNamespace "join-namespace" { from: Slot, namespace: CloneFlags }
    /// unshare(2) of a time namespace, its offsets, and setns(2) into it.
    TimeNamespace "time-namespace" { offsets: Text }
    /// Becomes root of the user namespace.
    BecomeRoot "become-root" {}
    /// setsid(2).
    Session "setsid" {}
    /// Brings the loopback device of a new network namespace up.
    Loopback "loopback" {}
    /// A session keyring of that name, with these permissions, if any; see keyctl(2).
    Keyring "keyring" { name: Text, permissions: u32 }
    /// sethostname(2).
    Hostname "sethostname" { name: Text }
    /// setdomainname(2).
    Domainname "setdomainname" { name: Text }
    /// Propagation of every mount of the namespace.
    RootPropagation "root-propagation" { propagation: Propagation, reach: Reach }
    /// A copy of the root file system's mount, attached on itself: the container's future root.
    BindRoot "bind-root" { path: Text, reach: Reach, out: Slot }
    /// The same where there is no mount namespace: what is mounted below stays out of the mounts that were there.
    BindRootOutside "bind-root-outside" { path: Text, out: Slot }
    /// Takes the mount that holds the root file system out of its peer group, as pivot_root(2) asks.
    PrivateParent "private-parent" { path: Text, propagation: Propagation }
    /// A new file system, as a detached mount.
    MakeFs "fsmount" { fstype: Text, params: List<Param>, attr: Attr, mode_of: ModeOf, target: Slot, host: Text, out: Slot }
    /// A copy of the mount at a host path, detached; of a symbolic link itself where none is followed. Where nothing
    /// is there, of another path.
    CloneTree "open-tree" { path: Text, reach: Reach, follow: Follow, or: Text, out: Slot }
    /// A mount that the runtime has made and sends.
    Receive "receive" { from: Slot, out: Slot }
    /// mount_setattr(2).
    SetAttr "mount-setattr" { mount: Slot, set: Attr, clear: Attr, reach: Reach }
    /// Copies what lies under the mount point into a mount that is not attached yet.
    CopyUp "copy-up" { from: Slot, to: Slot }
    /// mount(2): a file system whose options are too long for fsconfig(2), or new options for one that is there.
    Mount "mount" { fstype: Text, source: Text, data: Text, flags: u32, root: Slot, path: Text, target: Slot, out: Slot }
    /// Attributes of a copied mount, as `mount --bind -o` has them: those not asked for go, but locked ones stay.
    BindAttr "bind-attributes" { mount: Slot, set: Attr, clear: Attr, asked: Attr }
    /// Propagation of one mount, or of it and all below.
    SetPropagation "propagation" { mount: Slot, propagation: Propagation, reach: Reach }
    /// Opens a mount point inside the root, and makes what is missing of it.
    Target "target" { root: Slot, path: Text, make: Make, like: Slot, over_proc: OverProc, follow: Follow, out: Slot }
    /// move_mount(2).
    Attach "attach" { mount: Slot, target: Slot }
    /// A copied mount at its mount point; but where it is of a symbolic link, a link like it is made there.
    AttachOrLink "attach-or-link" { mount: Slot, root: Slot, path: Text, over_proc: OverProc, out: Slot }
    /// Opens a file inside the root, made where missing; the path's last component may be no link.
    File "file" { root: Slot, path: Text, out: Slot }
    /// A new terminal: standard input, output and error, and the session's. Its master goes through the socket.
    Console "console" { socket: Slot, rows: u32, columns: u32, uid: u32, newlines: Newlines, out: Slot }
    /// Covers a file with another one.
    BindFile "bind-file" { from: Slot, target: Slot }
    /// Closes a slot.
    Close "close" { slot: Slot }
    /// Has a slot stay open while the container waits for `start`.
    KeepOpen "keep-open" { slot: Slot }
    /// Makes a directory inside the root, with its parents.
    Directory "mkdir" { root: Slot, path: Text, mode: u32 }
    /// mknodat(2), then the owner if it is not root.
    Device "mknod" { root: Slot, path: Text, kind: DeviceKind, mode: u32, major: u32, minor: u32, uid: u32, gid: u32, node: NodeBy }
    /// symlinkat(2); what is there already stays.
    Symlink "symlink" { root: Slot, path: Text, target: Text }
    /// The host's null device, verified: what masked files are covered with.
    OpenNull "open-null" { out: Slot }
    /// Covers a path, if it is there.
    Mask "mask" { root: Slot, path: Text, null: Slot }
    /// Makes a path read-only, if it is there.
    ReadOnlyPath "readonly-path" { root: Slot, path: Text }
    /// pivot_root(2) into the root, and the old root goes.
    Pivot "pivot" { root: Slot, old: OldRoot }
    /// Moves the root over `/`, for a ramfs that cannot pivot.
    MoveRoot "move-root" { root: Slot }
    /// umount2(2) of every mount in the old root but the one that lies over it, and what is in that.
    DetachAllBut "detach-all-but" { root: Slot }
    /// The root of a container that is entered, which has been changed into long ago.
    OpenRoot "open-root" { out: Slot }
    /// umount2(2) of what is mounted at a path inside the root.
    Unmount "unmount" { root: Slot, path: Text, over_proc: OverProc }
    /// chroot(2), where nothing was pivoted.
    Chroot "chroot" { root: Slot }
    /// chdir(2), and the check that this is inside the root.
    Chdir "chdir" { path: Text, attempt: Attempt }
    /// prlimit(2).
    Limit "rlimit" { resource: u32, soft: u64, hard: u64 }
    /// prctl(2) `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivileges "no-new-privileges" {}
    /// seccomp(2). Where the flags ask for a listener, it goes to `listener`, and its number to the header.
    Seccomp "seccomp" { program: List<SockFilter>, flags: u32, listener: Slot }
    /// Leaves these capabilities in the bounding set.
    Bounding "bounding" { keep: Capabilities }
    /// setgroups(2), setresgid(2), setresuid(2), with capabilities kept.
    User "user" { uid: u32, gid: u32, groups: List<u32>, set_groups: Groups }
    /// capset(2).
    Capabilities "capabilities" { effective: Capabilities, permitted: Capabilities, inheritable: Capabilities }
    /// The ambient set.
    Ambient "ambient" { set: Capabilities }
    /// umask(2).
    Umask "umask" { mask: u32 }
    /// Gives `HOME` a value, from the container's /etc/passwd, unless the environment has one.
    Home "home" { uid: u32 }
    /// Finds the program to execute.
    FindProgram "find-program" {}
    /// Closes every descriptor that mounting has left, but those that init was born with.
    Descriptors "descriptors" { first: u32 }
    /// Every descriptor from `first` on closes at exec.
    CloseOnExec "close-on-exec" { first: u32 }
    /// No signal blocked or ignored.
    Signals "signals" {}
    /// From here on the runtime's end does not end the container.
    Detach "detach" {}
    /// Waits for `orlop start`, with no other descriptor from `first` on.
    AwaitStart "await-start" { listener: Slot, first: u32 }
    /// A procfs that is mounted nowhere.
    OpenProc "open-proc" { out: Slot }
    /// Writes to a file of it.
    WriteProc "write-proc" { proc: Slot, path: Text, value: Text }
    /// sched_setaffinity(2): these processors, as a mask of 32 bits a word; none stands for every one that the cpuset
    /// allows, whatever the caller's affinity.
    Affinity "affinity" { processors: List<u32> }
    /// sched_setattr(2).
    Scheduler "scheduler" {
        policy: u32, flags: u32, nice: i32, priority: u32, runtime: u64, deadline: u64, period: u64
    }
    /// ioprio_set(2).
    IoPriority "io-priority" { priority: u32 }
    /// personality(2).
    Personality "personality" { domain: u32 }
    /// set_mempolicy(2); the nodes are a mask of 32 bits a word.
    MemoryPolicy "memory-policy" { mode: u32, nodes: List<u32> }
    /// The user owns standard input, output and error.
    Stdio "stdio" { uid: u32 }
    /// Runs a hook in the container's namespaces. `state` is what it reads, before and after its pid. What it prints
    /// goes to `out` and `err`; without them a failure tells it.
    Hook "hook" {
        index: u32, path: Text, args: List<Text>, env: List<Text>, environment: Environment, place: Place, root: Slot,
        out: Slot, err: Slot, timeout: u32, state: List<Text>
    }
    /// execve(2).
    Exec "execve" {}
    /// The end of a plan without a program.
    End "end" {}
}

/// A set of capabilities: bit `n` is capability `n`; see capabilities(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Capabilities(pub u64);

/// Where a device node comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NodeBy {
    /// It is made.
    Mknod,
    /// The host's node at the same path is bound, with the mode and owner it has: in a user namespace none can be made.
    Bind,
}

/// What becomes of the supplementary groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Groups {
    /// setgroups(2).
    Set,
    /// setgroups(2), unless the user namespace forbids it for good and none are to be set.
    SetIfAllowed,
    /// They stay: the user namespace forbids any change.
    Keep,
}

/// What mknodat(2) makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

impl DeviceKind {
    /// The type bits of a mode.
    pub const fn mode(self) -> u32 {
        match self {
            DeviceKind::Character => 0o020000,
            DeviceKind::Block => 0o060000,
            DeviceKind::Fifo => 0o010000,
        }
    }

    /// Whether a file is of this kind.
    pub fn is(self, file: FileType) -> bool {
        FileType::from_mode(self.mode()) == file
    }
}

macro_rules! calls {
    ($($name:ident $text:literal)*) => {
        /// A system call, or a check of ours, that can fail in a step.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        #[allow(missing_docs)] // each is named by its text
        pub enum Call { $($name),* }

        impl Call {
            /// Its name, as the man pages have it.
            pub const fn name(self) -> &'static str {
                match self { $(Call::$name => $text),* }
            }

            /// The call of that number.
            pub fn from_number(n: u32) -> Option<Call> {
                [$(Call::$name),*].get(n as usize).copied()
            }
        }
    };
}

calls! {
    Plan "reading the plan"
    Unshare "unshare"
    Setns "setns"
    Open "open"
    Openat2 "openat2"
    Setsid "setsid"
    Keyctl "keyctl"
    Sethostname "sethostname"
    Setdomainname "setdomainname"
    MountSetattr "mount_setattr"
    Mount "mount"
    OpenTree "open_tree"
    MoveMount "move_mount"
    Fsopen "fsopen"
    Fsconfig "fsconfig"
    FsconfigCreate "fsconfig(FSCONFIG_CMD_CREATE)"
    Fsmount "fsmount"
    Mkdirat "mkdirat"
    Mknodat "mknodat"
    Fchownat "fchownat"
    Fchmodat "fchmodat"
    Symlinkat "symlinkat"
    Statx "statx"
    Fchdir "fchdir"
    PivotRoot "pivot_root"
    Umount2 "umount2"
    Chroot "chroot"
    Chdir "chdir"
    Getcwd "getcwd"
    CwdCheck "check that cwd is inside the root"
    Prlimit "prlimit"
    NoNewPrivileges "prctl(PR_SET_NO_NEW_PRIVS)"
    Seccomp "seccomp"
    CapbsetDrop "prctl(PR_CAPBSET_DROP)"
    Keepcaps "prctl(PR_SET_KEEPCAPS)"
    Setgroups "setgroups"
    Setresgid "setresgid"
    Setresuid "setresuid"
    Capset "capset"
    AmbientClear "prctl(PR_CAP_AMBIENT_CLEAR_ALL)"
    AmbientRaise "prctl(PR_CAP_AMBIENT_RAISE)"
    Read "read"
    Access "faccessat2"
    Lookup "look up the program"
    CloseRange "close_range"
    Sigprocmask "rt_sigprocmask"
    Sigaction "rt_sigaction"
    Pdeathsig "prctl(PR_SET_PDEATHSIG)"
    Dumpable "prctl(PR_SET_DUMPABLE)"
    Accept "accept4"
    Execve "execve"
    NamespaceType "ioctl(NS_GET_NSTYPE)"
    ProcCheck "check that no mount covers procfs"
    DirectoryCheck "check that the mount point is a directory"
    Fstatfs "fstatfs"
    Socket "socket"
    Recvmsg "recvmsg"
    LinkUp "ioctl(SIOCSIFFLAGS)"
    DeviceCheck "check of an existing device"
    Execveat "execveat"
    OpenDevpts "openat2 /dev/pts"
    DevptsCheck "check that /dev/pts is a devpts"
    OpenPtmx "openat2 /dev/pts/ptmx"
    UnlockPty "ioctl(TIOCSPTLCK)"
    PtyPeer "ioctl(TIOCGPTPEER)"
    WindowSize "ioctl(TIOCSWINSZ)"
    Termios "ioctl(TCSETS)"
    ControllingTty "ioctl(TIOCSCTTY)"
    SendConsole "sendmsg"
    Dup3 "dup3"
    Signalfd "signalfd4"
    Poll "ppoll"
    Write "write"
    LockedFlags "clearing locked mount flags"
    LinkCheck "check of an existing link"
    Getdents "getdents64"
    Readlinkat "readlinkat"
    CopyDepth "copying directories that deep"
    Copy "copying a file"
    ProcfsCheck "check of /proc"
    Sendmsg "sendmsg"
    SchedSetaffinity "sched_setaffinity"
    SchedSetattr "sched_setattr"
    IoprioSet "ioprio_set"
    Personality "personality"
    SetMempolicy "set_mempolicy"
    HookPipe "pipe2"
    HookState "memfd_create"
    HookFork "clone"
    HookExec "executing the hook"
    HookWait "waiting for the hook"
    HookEnded "the hook's status"
    HookTimeout "the hook's timeout"
}
