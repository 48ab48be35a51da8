//! What is kept of a container between two commands: one directory, `ROOT/ID`.
//!
//! | name | what | written |
//! |---|---|---|
//! | `container` | one line of JSON ([`Record`]), then the configuration as it was | once, before anything else is made |
//! | `init` | a symbolic link that says `PID:pidfd=INODE` or `PID:STARTTIME`, and `:poststart` where there are such hooks | once, when init runs: a link appears whole or not at all |
//! | `start.sock` | init listens here until `start` comes | by create; removed by start |
//! | `start.sock.paused` | the same, while the container is paused | by pause; renamed back by resume |
//!
//! The directory is locked (flock(2)) by whoever changes the container; the kernel unlocks it when that process
//! ends, however it ends.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::systemd::{self, Bus, Client, Scope};
use orlop_cgroup::{Controller, Dir, Group, Need, Plan, Version};
use orlop_sys::event::wait_readable;
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, AtFlags, Lock, OFlags};
use orlop_sys::process::{self, Pid};
use orlop_sys::time::Timespec;
use orlop_sys::{AsFd, CWD, Errno, OwnedFd};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::plan::Gate;

const RECORD: &CStr = c"container";
const INIT: &CStr = c"init";
/// Where init waits for `start`.
pub(crate) const START: &CStr = c"start.sock";
/// The same while the container is paused: init could not answer.
const START_PAUSED: &CStr = c"start.sock.paused";

/// What must be known of a container to undo all that was made for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The format of this record.
    pub(crate) version: u32,
    pub(crate) bundle: String,
    pub(crate) rootfs: String,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) cgroups: Vec<CgroupDir>,
    /// Whether the configuration has hooks for when the container is deleted.
    #[serde(default)]
    pub(crate) has_poststop: bool,
    /// Whether its processes live in a pid namespace that is not its own, and so outlive init.
    #[serde(default)]
    pub(crate) shares_pids: bool,
    /// The mount that holds the root file system, where the container's mounts come on top of it in the namespace of
    /// its runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root_mount: Option<u64>,
    /// The class of service, where the configuration asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<crate::resctrl::Class>,
    /// Whether its process has kept its caller's session keyring, as further ones then do.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) callers_keyring: bool,
    /// Whether its maker lacked the rights of the host's root: it may have no cgroup.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(crate) rootless: bool,
    /// The unit of systemd that the cgroups belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<ScopeName>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(value: &bool) -> bool {
    !value
}

/// A scope, and whose: later commands may have another environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScopeName {
    unit: String,
    /// The bus of a user's systemd; none stands for the system's.
    user_bus: Option<String>,
}

impl ScopeName {
    pub(crate) fn new(scope: &Scope) -> ScopeName {
        let user_bus = match &scope.bus {
            Bus::User(address) => Some(address.clone()),
            _ => None,
        };
        ScopeName { unit: scope.unit.clone(), user_bus }
    }

    /// Whose systemd it is.
    fn bus(&self) -> Bus {
        self.user_bus.clone().map_or(Bus::System, Bus::User)
    }

    /// Stops it; one that is gone is no error.
    pub(crate) fn stop(&self) -> core::result::Result<(), orlop_cgroup::Error> {
        Client::connect(&self.bus())?.stop(&self.unit)
    }

    /// Brings its properties and its cgroup to other limits.
    pub(crate) fn update(&self, group: &mut Group, plan: &mut Plan) -> core::result::Result<(), orlop_cgroup::Error> {
        systemd::follow(plan, &self.bus(), &self.unit);
        match &plan.scope {
            Some(scope) if scope.limits().next().is_some() => Client::connect(&scope.bus)?.update(group, plan),
            _ => group.update(plan),
        }
    }
}

/// A directory of the container in one hierarchy, as it was decided on: the caller's own cgroup, which relative paths
/// start from, may be another one the next time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CgroupDir {
    v2: bool,
    path: String,
    mount_len: usize,
    controllers: Vec<String>,
}

impl CgroupDir {
    pub(crate) fn new(dir: &Dir) -> CgroupDir {
        CgroupDir {
            v2: dir.version == Version::V2,
            path: dir.path.clone(),
            mount_len: dir.mount_len,
            controllers: dir.controllers.iter().map(|c| c.as_str().to_owned()).collect(),
        }
    }

    pub(crate) fn to_dir(&self) -> Dir {
        Dir {
            version: if self.v2 { Version::V2 } else { Version::V1 },
            path: self.path.clone(),
            mount_len: self.mount_len,
            controllers: self.controllers.iter().map(|name| Controller::named(name)).collect(),
            need: Need::Wanted,
        }
    }
}

/// The version of [`Record`] that this code writes and reads.
pub(crate) const RECORD_VERSION: u32 = 1;

/// What ends the text of the link `init` where there are poststart hooks.
const POSTSTART: &str = ":poststart";

/// A process, told from a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Init {
    pub(crate) pid: Pid,
    pub(crate) birth: Birth,
    /// Whether the configuration has hooks for when the program runs: `start` then has to read it.
    pub(crate) has_poststart: bool,
}

/// What a process has for itself alone, for as long as the system is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Birth {
    /// The inode of its pidfds, which Linux 6.9 gives each process one of: half as dear as what follows.
    Inode(u64),
    /// When it started, in clock ticks since boot; field 22 of proc_pid_stat(5).
    StartTime(u64),
}

/// What precedes an inode in the text of the link `init`.
const INODE: &str = "pidfd=";

impl Init {
    /// The process of that pidfd and number, as it runs now, and the signals that it ignores.
    pub(crate) fn born(pid: Pid, pidfd: impl AsFd) -> Result<Option<(Init, u64)>> {
        const PIDFS_MAGIC: u64 = 0x5049_4446;
        let pidfd = pidfd.as_fd();
        let failed = |call, errno| Error::system(call, "init's pidfd", errno);
        let birth = match fs::fs_magic(pidfd).map_err(|errno| failed("fstatfs", errno))? {
            PIDFS_MAGIC => Birth::Inode(fs::stat(pidfd).map_err(|errno| failed("statx", errno))?.ino),
            _ => match start_time_of(pid)? {
                Some(start_time) => Birth::StartTime(start_time),
                None => return Ok(None),
            },
        };
        Ok(ignored_by(pid)?.map(|ignored| (Init { pid, birth, has_poststart: false }, ignored)))
    }

    /// A pidfd of it and of no later process with its number; `None` where it has ended: a zombie has.
    pub(crate) fn open(self) -> Result<Option<OwnedFd>> {
        let failed = |call, errno| Error::system(call, "the container's init", errno);
        let pidfd = match process::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            // The number is a thread's now: EINVAL, and from Linux 6.16 on ENOENT.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("pidfd_open", errno)),
        };
        let lives = match self.birth {
            Birth::Inode(inode) => {
                fs::stat(&pidfd).map_err(|errno| failed("statx", errno))?.ino == inode
                    && !wait_readable(&pidfd, Some(Timespec::from_millis(0))).map_err(|errno| failed("ppoll", errno))?
            }
            Birth::StartTime(start_time) => start_time_of(self.pid)? == Some(start_time),
        };
        Ok(lives.then_some(pidfd))
    }

    /// Its text in the link, and back.
    fn to_text(self) -> String {
        let hooks = if self.has_poststart { POSTSTART } else { "" };
        match self.birth {
            Birth::Inode(inode) => format!("{}:{INODE}{inode}{hooks}", self.pid),
            Birth::StartTime(start_time) => format!("{}:{start_time}{hooks}", self.pid),
        }
    }

    fn from_text(text: &str) -> Option<Init> {
        let (numbers, has_poststart) = text.strip_suffix(POSTSTART).map_or((text, false), |numbers| (numbers, true));
        let (pid, birth) = numbers.split_once(':')?;
        let birth = match birth.strip_prefix(INODE) {
            Some(inode) => Birth::Inode(inode.parse().ok()?),
            None => Birth::StartTime(birth.parse().ok()?),
        };
        Some(Init { pid: pid.parse().ok()?, birth, has_poststart })
    }
}

/// The signals that a process ignores: bit `n - 1` is signal `n`.
fn ignored_by(pid: Pid) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/status");
    Ok(read_proc(&path, &mut [0u8; 2048], &mut Bin::default())?.and_then(signals_ignored))
}

/// When the process started, if it runs.
fn start_time_of(pid: Pid) -> Result<Option<u64>> {
    Ok(read_proc(&format!("/proc/{pid}/stat"), &mut [0u8; 1024], &mut Bin::default())?.and_then(start_time))
}

/// The signals that this process ignores, and its children after it: bit `n - 1` is signal `n`.
pub(crate) fn ignored_signals(bin: &mut Bin) -> Result<u64> {
    let ignored = read_proc("/proc/self/status", &mut [0u8; 2048], bin)?.and_then(signals_ignored);
    ignored.ok_or_else(|| Error::system("read", "/proc/self/status", Errno::NOENT).hint("is /proc mounted?"))
}

/// `None` where there is no such process. Not to know is an error: a process taken for dead would be left behind.
fn read_proc<'b>(path: &str, buf: &'b mut [u8], bin: &mut Bin) -> Result<Option<&'b [u8]>> {
    let file = match fs::open_at(CWD, &c_string(path)?, OFlags::RDONLY, 0) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::system("openat", String::from(path), errno)),
    };
    let read = fs::read(&file, buf);
    bin.throw(file);
    match read {
        Ok(n) => Ok(buf.get(..n)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(Error::system("read", String::from(path), errno)),
    }
}

/// Field 22 of /proc/PID/stat, unless field 3 says that the process has ended. Field 2, the name, may hold anything.
fn start_time(stat: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(stat.get(stat.iter().rposition(|&b| b == b')')? + 2..)?).ok()?;
    let mut fields = text.split(' ');
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// The line `SigIgn` of /proc/PID/status.
fn signals_ignored(status: &[u8]) -> Option<u64> {
    let mut lines = status.split(|&b| b == b'\n');
    let set = lines.find_map(|line| line.strip_prefix(b"SigIgn:\t"))?;
    u64::from_str_radix(core::str::from_utf8(set).ok()?, 16).ok()
}

/// Whether an id is one: as runc has it, and no path.
pub(crate) fn check_id(id: &str) -> Result<()> {
    const MAX: usize = 1024;
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    if id.is_empty() {
        return Err(Error::new(Kind::InvalidId, "container id cannot be empty"));
    }
    if id.len() > MAX || id == "." || id == ".." || !id.bytes().all(good) {
        return Err(Error::new(Kind::InvalidId, format!("invalid container ID format {id:?}"))
            .hint("an id is made of letters, digits and _ + - ."));
    }
    Ok(())
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct StateDir {
    fd: OwnedFd,
    /// For messages, and for a socket's address.
    path: String,
    /// Its own name, as it is found from itself: `../ID`. The directory above stays the same one whatever becomes
    /// of the root's path, and of itself.
    name: CString,
}

impl StateDir {
    /// Claims an id: the directory is new, and locked.
    pub(crate) fn create(root: &CStr, id: &str) -> Result<StateDir> {
        check_id(id)?;
        let path = state_path(root, id)?;
        let made = match fs::mkdir_at(CWD, &path, 0o700) {
            Err(Errno::NOENT) => {
                make_root(root)?;
                fs::mkdir_at(CWD, &path, 0o700)
            }
            done => done,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(Error::new(Kind::AlreadyExists, "container with given ID already exists"));
            }
            Err(errno) => {
                return Err(Error::system("mkdirat", format!("state directory {}", path.to_string_lossy()), errno));
            }
        }
        let claimed = Self::open(root, id).and_then(|dir| {
            dir.lock()?;
            Ok(dir)
        });
        if claimed.is_err() {
            // The first error is the one to report; `delete --force` removes what stays.
            let _gone = fs::unlink_at(CWD, &path, AtFlags::REMOVEDIR);
        }
        claimed
    }

    /// Finds a container's directory.
    pub(crate) fn open(root: &CStr, id: &str) -> Result<StateDir> {
        check_id(id)?;
        let path = state_path(root, id)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = fs::open_at(CWD, &path, flags, 0).map_err(|errno| match errno {
            Errno::NOENT => Error::new(Kind::NotFound, "container does not exist"),
            errno => Error::system("openat", format!("state directory {}", path.to_string_lossy()), errno),
        })?;
        Ok(StateDir { fd, path: path.to_string_lossy().into_owned(), name: c_string(&format!("../{id}"))? })
    }

    /// Waits until nobody else changes the container. The lock goes with `self`.
    pub(crate) fn lock(&self) -> Result<()> {
        fs::lock(&self.fd, Lock::Exclusive).map_err(|errno| self.error("flock", errno))
    }

    fn error(&self, call: &'static str, errno: Errno) -> Error {
        Error::system(call, format!("state directory {}", self.path), errno)
    }

    /// Whether the directory is still what its path names: it may have been deleted while we waited for the lock.
    pub(crate) fn is_linked(&self) -> Result<bool> {
        let ours = fs::stat(&self.fd).map_err(|errno| self.error("statx", errno))?;
        match fs::stat_at(&self.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(theirs) => Ok(ours.ino == theirs.ino && ours.dev == theirs.dev),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("statx", errno)),
        }
    }

    /// Lets others change the container.
    pub(crate) fn unlock(&self) -> Result<()> {
        fs::lock(&self.fd, Lock::Release).map_err(|errno| self.error("flock", errno))
    }

    /// Whether somebody changes the container right now. A second open file: locks of one do not exclude each other.
    pub(crate) fn is_locked(&self) -> Result<bool> {
        let again = fs::open_at(&self.fd, c".", OFlags::DIRECTORY, 0);
        match again.and_then(|again| fs::lock(&again, Lock::TryShared)) {
            // The first is of a directory that was deleted meanwhile.
            Err(Errno::NOENT) | Ok(()) => Ok(false),
            Err(Errno::AGAIN) => Ok(true),
            Err(errno) => Err(self.error("flock", errno)),
        }
    }

    /// Writes the record and the configuration.
    pub(crate) fn write_record(&self, record: &Record, config: &[u8]) -> Result<()> {
        let head = serde_json::to_string(record)
            .map_err(|error| Error::new(Kind::System, format!("writing the state: {error}")))?;
        let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL;
        let file = fs::open_at(&self.fd, RECORD, flags, 0o600).map_err(|errno| self.error("openat", errno))?;
        let whole = head.len() + 1 + config.len();
        let written = fs::write_parts(&file, &[head.as_bytes(), b"\n", config]);
        match written.map_err(|errno| self.error("writev", errno))? {
            n if n == whole => Ok(()),
            _ => Err(self.error("writev", Errno::NOSPC)),
        }
    }

    /// Writes them anew: whoever reads sees the old ones or these.
    pub(crate) fn replace_record(&self, record: &Record, config: &[u8]) -> Result<()> {
        const NEW: &CStr = c"container.new";
        let head = serde_json::to_string(record)
            .map_err(|error| Error::new(Kind::System, format!("writing the state: {error}")))?;
        let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::TRUNC;
        let file = fs::open_at(&self.fd, NEW, flags, 0o600).map_err(|errno| self.error("openat", errno))?;
        for part in [head.as_bytes(), b"\n", config] {
            fs::write_all(&file, part).map_err(|errno| self.error("write", errno))?;
        }
        self.rename(NEW, RECORD)
    }

    /// The record alone.
    pub(crate) fn read_head(&self) -> Result<Option<Record>> {
        let mut buf = [0u8; 4096];
        let file = match fs::open_at(&self.fd, RECORD, OFlags::RDONLY, 0) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.error("openat", errno)),
        };
        let n = fs::read(&file, &mut buf).map_err(|errno| self.error("read", errno))?;
        match buf.get(..n).and_then(first_line) {
            Some(head) => self.parse_record(head).map(Some),
            // Annotations may make it longer.
            None => Ok(self.read_record()?.map(|(record, _)| record)),
        }
    }

    fn parse_record(&self, head: &[u8]) -> Result<Record> {
        let record: Record = serde_json::from_slice(head)
            .map_err(|error| Error::new(Kind::System, format!("reading the state in {}: {error}", self.path)))?;
        if record.version != RECORD_VERSION {
            let what = format!("the state in {} has version {}", self.path, record.version);
            return Err(Error::new(Kind::NotSupported, what).hint("it was made by another version of orlop"));
        }
        Ok(record)
    }

    /// The record and the text of the configuration. `None` where create was killed before it had written them.
    pub(crate) fn read_record(&self) -> Result<Option<(Record, Vec<u8>)>> {
        self.read_whole(&mut Bin::default())
    }

    /// The same, for a caller who has more to close.
    pub(crate) fn read_whole(&self, bin: &mut Bin) -> Result<Option<(Record, Vec<u8>)>> {
        let file = match fs::open_at(&self.fd, RECORD, OFlags::RDONLY, 0) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.error("openat", errno)),
        };
        let text = read_all(&file);
        bin.throw(file);
        let mut text = text.map_err(|errno| self.error("read", errno))?;
        let Some(end) = text.iter().position(|&b| b == b'\n') else {
            return Ok(None);
        };
        let head = text.get(..end).unwrap_or_default();
        let record = self.parse_record(head)?;
        text.drain(..=end);
        Ok(Some((record, text)))
    }

    /// Records init. One call: there is no moment with half of it.
    pub(crate) fn write_init(&self, init: Init) -> Result<()> {
        fs::symlink_at(&c_string(&init.to_text())?, &self.fd, INIT).map_err(|errno| self.error("symlinkat", errno))
    }

    /// What was recorded of init.
    pub(crate) fn read_init(&self) -> Result<Option<Init>> {
        read_init_at(&self.fd, INIT, &self.path)
    }

    /// An address for [`START`] that fits into a socket address whatever the root is.
    pub(crate) fn start_address(&self) -> Result<CString> {
        c_string(&format!("/proc/self/fd/{}/start.sock", self.fd.as_raw()))
    }

    /// Whether init waits for `start`.
    pub(crate) fn awaits_start(&self) -> Result<bool> {
        is_there(&self.fd, START).map_err(|errno| self.error("faccessat2", errno))
    }

    /// Takes [`START`] away. `false` where it was gone.
    pub(crate) fn remove_start(&self) -> Result<bool> {
        match fs::unlink_at(&self.fd, START, AtFlags::NONE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("unlinkat", errno)),
        }
    }

    /// Takes [`START`] out of the way of a `start` that init could not answer.
    pub(crate) fn hide_start(&self) -> Result<()> {
        self.rename(START, START_PAUSED)
    }

    /// Puts it back.
    pub(crate) fn show_start(&self) -> Result<()> {
        self.rename(START_PAUSED, START)
    }

    /// What is not there need not be renamed.
    fn rename(&self, from: &CStr, to: &CStr) -> Result<()> {
        match fs::rename_at(&self.fd, from, &self.fd, to) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("renameat2", errno)),
        }
    }

    /// Removes the directory and all in it; the record last, so that a crash on the way leaves what names the rest.
    pub(crate) fn remove(&self, gate: Gate) -> Result<()> {
        let names: &[&CStr] = match gate {
            Gate::Start => &[START, INIT, RECORD],
            Gate::Open => &[INIT, RECORD],
        };
        let mut ours = false;
        for &name in names {
            match fs::unlink_at(&self.fd, name, AtFlags::NONE) {
                Ok(()) => ours = true,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.error("unlinkat", errno)),
            }
        }
        // Somebody else has removed it, and a new container may have its name by now.
        if !ours && !self.is_linked()? {
            return Ok(());
        }
        match fs::unlink_at(&self.fd, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY) => {
                self.remove_strays()?;
                fs::unlink_at(&self.fd, &self.name, AtFlags::REMOVEDIR).map_err(|errno| self.error("unlinkat", errno))
            }
            Err(errno) => Err(self.error("unlinkat", errno)),
        }
    }

    /// Files that are not ours, such as those of an older version.
    fn remove_strays(&self) -> Result<()> {
        let mut buf = alloc::vec![0u8; 4096];
        fs::seek_to(&self.fd, 0).map_err(|errno| self.error("lseek", errno))?;
        loop {
            let n = fs::read_dir(&self.fd, &mut buf).map_err(|errno| self.error("getdents64", errno))?;
            if n == 0 {
                return Ok(());
            }
            for (name, _) in fs::entries(buf.get(..n).unwrap_or_default()) {
                fs::unlink_at(&self.fd, name, AtFlags::NONE).map_err(|errno| self.error("unlinkat", errno))?;
            }
        }
    }

    /// The owner's user id.
    pub(crate) fn owner(&self) -> Result<u32> {
        fs::stat(&self.fd).map(|stat| stat.uid).map_err(|errno| self.error("statx", errno))
    }
}

fn read_init_at(dir: &OwnedFd, path: &CStr, container: &str) -> Result<Option<Init>> {
    let mut buf = [0u8; 64];
    let n = match fs::readlink_at(dir, path, &mut buf) {
        Ok(n) => n,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::system("readlinkat", format!("state directory {container}"), errno)),
    };
    let text = buf.get(..n).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default();
    let init = Init::from_text(text);
    init.map(Some).ok_or_else(|| Error::new(Kind::System, format!("{container}/init says {text:?}")))
}

fn is_there(dir: &OwnedFd, path: &CStr) -> orlop_sys::Result<bool> {
    match fs::access_at(dir, path, 0, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The record's line, where the text holds all of it.
fn first_line(text: &[u8]) -> Option<&[u8]> {
    text.get(..text.iter().position(|&b| b == b'\n')?)
}

/// What `list` tells of a container whose init lives, read by path: lists are long.
#[derive(Debug)]
pub(crate) struct Glance {
    pub(crate) pid: Pid,
    /// The directories to look into for whether it is paused; `None` where init waits for `start`, and so is not:
    /// see [`START_PAUSED`].
    pub(crate) cgroups: Option<Vec<CgroupDir>>,
    pub(crate) told: Told,
    pub(crate) owner: u32,
}

/// What of a [`Record`] is told to users.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Told {
    version: u32,
    pub(crate) bundle: String,
    pub(crate) rootfs: String,
    pub(crate) created: String,
    pub(crate) annotations: Vec<(String, String)>,
}

impl From<Record> for Told {
    fn from(record: Record) -> Told {
        let Record { version, bundle, rootfs, created, annotations, .. } = record;
        Told { version, bundle, rootfs, created, annotations }
    }
}

/// Looks at a container below that root. `None` where there is more to ask: it has stopped, it is being made, its
/// state is broken, or it is gone.
pub(crate) fn glance(root: &OwnedFd, id: &str, bin: &mut Bin) -> Option<Glance> {
    let path = |name: &CStr| {
        let mut path = Vec::with_capacity(id.len() + 1 + name.count_bytes() + 1);
        path.extend_from_slice(id.as_bytes());
        path.push(b'/');
        path.extend_from_slice(name.to_bytes_with_nul());
        CString::from_vec_with_nul(path).ok()
    };
    let init = read_init_at(root, &path(INIT)?, id).ok()??;
    bin.throw(init.open().ok()??);
    let awaits_start = is_there(root, &path(START)?).ok()?;
    let file = fs::open_at(root, &path(RECORD)?, OFlags::RDONLY, 0).ok()?;
    let mut buf = [0u8; 2048];
    let n = fs::read(&file, &mut buf).ok()?;
    let (cgroups, told) = if awaits_start {
        // What follows is not asked for, and four times as long. A string has no such quotation mark in it.
        const REST: &[u8] = b",\"cgroups\":[";
        let end = buf.get(..n)?.windows(REST.len()).position(|text| text == REST)?;
        *buf.get_mut(end)? = b'}';
        (None, serde_json::from_slice::<Told>(buf.get(..=end)?).ok()?)
    } else {
        let mut record: Record = serde_json::from_slice(first_line(buf.get(..n)?)?).ok()?;
        (Some(core::mem::take(&mut record.cgroups)), Told::from(record))
    };
    let owner = fs::stat(&file).ok()?.uid;
    bin.throw(file);
    (told.version == RECORD_VERSION).then_some(Glance { pid: init.pid, cgroups, told, owner })
}

fn state_path(root: &CStr, id: &str) -> Result<CString> {
    CString::new([root.to_bytes(), b"/", id.as_bytes()].concat())
        .map_err(|_| Error::new(Kind::System, format!("{id:?} holds a NUL character")))
}

/// Makes the root with its parents, closed to others.
pub(crate) fn make_root(root: &CStr) -> Result<()> {
    let failed = |errno| Error::system("mkdirat", format!("state root {}", root.to_string_lossy()), errno);
    match fs::mkdir_at(CWD, root, 0o700) {
        Ok(()) | Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let bytes = root.to_bytes();
    for end in (1..=bytes.len()).filter(|&end| end == bytes.len() || bytes.get(end) == Some(&b'/')) {
        let prefix = CString::new(bytes.get(..end).unwrap_or_default()).map_err(|_| failed(Errno::INVAL))?;
        match fs::mkdir_at(CWD, &prefix, 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            // One that is there may answer so where nobody may write.
            Err(Errno::ACCES | Errno::PERM | Errno::ROFS) if end < bytes.len() => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// The root, and the ids that there are, sorted. `None` where the root is missing.
pub(crate) fn ids(root: &CStr) -> Result<Option<(OwnedFd, Vec<String>)>> {
    let failed = |call, errno| Error::system(call, format!("state root {}", root.to_string_lossy()), errno);
    let dir = match fs::open_at(CWD, root, OFlags::DIRECTORY, 0) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed("openat", errno)),
    };
    let mut ids = Vec::new();
    let mut buf = alloc::vec![0u8; 32768];
    loop {
        let n = fs::read_dir(&dir, &mut buf).map_err(|errno| failed("getdents64", errno))?;
        if n == 0 {
            break;
        }
        let names = fs::entries(buf.get(..n).unwrap_or_default()).filter_map(|(name, _)| name.to_str().ok());
        ids.extend(names.filter(|name| check_id(name).is_ok()).map(ToOwned::to_owned));
    }
    ids.sort_unstable();
    Ok(Some((dir, ids)))
}

pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::System, format!("{text:?} holds a NUL character")))
}

/// Reads a regular file to its end: it gives less than was asked for nowhere else.
pub(crate) fn read_all(file: &OwnedFd) -> orlop_sys::Result<Vec<u8>> {
    read_until(file, |n, asked| n < asked)
}

/// Reads to its end what may be a pipe, or a file that the kernel gives out in pieces.
pub(crate) fn read_to_end(file: &OwnedFd) -> orlop_sys::Result<Vec<u8>> {
    read_until(file, |n, _| n == 0)
}

fn read_until(file: &OwnedFd, is_end: impl Fn(usize, usize) -> bool) -> orlop_sys::Result<Vec<u8>> {
    let mut text = alloc::vec![0u8; 16384];
    let mut len = 0;
    loop {
        if len == text.len() {
            text.resize(len * 2, 0);
        }
        let room = text.get_mut(len..).unwrap_or_default();
        let asked = room.len();
        let n = fs::read(file, room)?;
        len += n;
        if is_end(n, asked) {
            break;
        }
    }
    text.truncate(len);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_as_runc_does() {
        for id in ["a", "a.b", "A-b_c+d", "0", "...", &"x".repeat(1024)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(1025)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn init_is_recorded_in_either_form() {
        for text in ["7:4242", "7:4242:poststart", "7:pidfd=18446744073709551615", "7:pidfd=9:poststart"] {
            assert_eq!(Init::from_text(text).map(Init::to_text).as_deref(), Some(text));
        }
        for text in ["", "7", "7:", "7:pidfd=", "x:1", "7:1:other"] {
            assert_eq!(Init::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn start_time_is_read_past_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(start_time(format!("7 (sh) {rest}").as_bytes()), Some(4242));
        assert_eq!(start_time(format!("7 (a) Z (b) {rest}").as_bytes()), Some(4242));
        assert_eq!(start_time(format!("7 (sh) Z{}", &rest[1..]).as_bytes()), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn ignored_signals_are_all_64() {
        let status = b"Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t8000000180001000\nSigCgt:\t0\n";
        assert_eq!(signals_ignored(status), Some(0x8000_0001_8000_1000));
        assert_eq!(signals_ignored(b"Name:\tx\n"), None);
    }
}
