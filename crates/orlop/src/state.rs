//! What is kept of a container between two commands: one directory, `ROOT/ID`.
//!
//! | name | what | written |
//! |---|---|---|
//! | `container` | two lines of JSON ([`Told`], the rest of [`Record`]), then the configuration as it was; sticky while init waits for `start` | once, before anything else is made |
//! | `init` | a symbolic link that says `PID:pidfd=INODE` or `PID:STARTTIME`, and `:poststart` where there are such hooks | once, when init runs: a link appears whole or not at all |
//! | `start.sock` | init listens here until `start` comes | by create; removed by start |
//! | `notify/notify.sock` | whoever started the container listens here for sd_notify(3) | by create; by run and start |
//! | `start.sock.paused` | the same, while the container is paused | by pause; renamed back by resume |
//!
//! The directory is locked (flock(2)) by whoever changes the container; the kernel unlocks it when that process
//! ends, however it ends.

mod init;
mod record;

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, AtFlags, Lock, OFlags};
use orlop_sys::net;
use orlop_sys::process::Pid;
use orlop_sys::{CWD, Errno, OwnedFd};

pub(crate) use self::init::{Init, ignored_signals};
pub(crate) use self::record::{CgroupDir, RECORD_VERSION, Record, ScopeName, Told};
use self::record::{first_line, head_of, lines};
use crate::error::{Error, Kind, Result};
use crate::plan::Gate;

const RECORD: &CStr = c"container";
const INIT: &CStr = c"init";
/// Where init waits for `start`.
pub(crate) const START: &CStr = c"start.sock";
/// A directory, for the container to see, and the socket in it.
pub(crate) const NOTIFY: &CStr = c"notify";
const NOTIFY_SOCKET: &CStr = c"notify/notify.sock";
/// The same while the container is paused: init could not answer.
const START_PAUSED: &CStr = c"start.sock.paused";

/// The record's mode while init waits for `start`, and afterwards.
const WAITS: u32 = 0o600 | STICKY;
const LET_GO: u32 = 0o600;
const STICKY: u32 = 0o1000;

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
    pub(crate) fn write_record(&self, record: &Record, config: &[u8], gate: Gate) -> Result<()> {
        let head = head_of(record)?;
        let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL;
        let mode = if gate == Gate::Start { WAITS } else { LET_GO };
        let file = fs::open_at(&self.fd, RECORD, flags, mode).map_err(|errno| self.error("openat", errno))?;
        let whole = head.len() + config.len();
        let written = fs::write_parts(&file, &[head.as_bytes(), config]);
        match written.map_err(|errno| self.error("writev", errno))? {
            n if n == whole => Ok(()),
            _ => Err(self.error("writev", Errno::NOSPC)),
        }
    }

    /// Writes those of a container that waits for nothing anew: whoever reads sees the old ones or these.
    pub(crate) fn replace_record(&self, record: &Record, config: &[u8]) -> Result<()> {
        const NEW: &CStr = c"container.new";
        let head = head_of(record)?;
        let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::TRUNC;
        let file = fs::open_at(&self.fd, NEW, flags, LET_GO).map_err(|errno| self.error("openat", errno))?;
        for part in [head.as_bytes(), config] {
            fs::write_all(&file, part).map_err(|errno| self.error("write", errno))?;
        }
        self.rename(NEW, RECORD).map(drop)
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
        match buf.get(..n).and_then(lines) {
            Some((told, rest, _)) => self.parse_record(told, rest).map(Some),
            // Annotations may make it longer.
            None => Ok(self.read_record()?.map(|(record, _)| record)),
        }
    }

    fn parse_record(&self, told: &[u8], rest: &[u8]) -> Result<Record> {
        let broken = |error| Error::new(Kind::System, format!("reading the state in {}: {error}", self.path));
        let told: Told = serde_json::from_slice(told).map_err(broken)?;
        if told.version != RECORD_VERSION {
            let what = format!("the state in {} has version {}", self.path, told.version);
            return Err(Error::new(Kind::NotSupported, what).hint("it was made by another version of orlop"));
        }
        let record: Record = serde_json::from_slice(rest).map_err(broken)?;
        Ok(Record { told, ..record })
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
        let Some((told, rest, end)) = lines(&text) else {
            return Ok(None);
        };
        let record = self.parse_record(told, rest)?;
        text.drain(..end);
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

    /// Makes the directory that the container finds its [`NOTIFY`] socket in. All of the container may look into it.
    pub(crate) fn make_notify(&self) -> Result<()> {
        fs::mkdir_at(&self.fd, NOTIFY, 0o755)
            .and_then(|()| fs::chmod_at(&self.fd, NOTIFY, 0o755))
            .map_err(|errno| self.error("mkdirat", errno))
    }

    /// Whether the container was made with one.
    pub(crate) fn has_notify(&self) -> Result<bool> {
        match fs::stat_at(&self.fd, NOTIFY, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("statx", errno)),
        }
    }

    /// Gives a socket the name that the container knows. All of its users may write to it.
    pub(crate) fn bind_notify(&self, socket: &OwnedFd) -> Result<()> {
        let failed = |call| move |errno| self.error(call, errno);
        match fs::unlink_at(&self.fd, NOTIFY_SOCKET, AtFlags::NONE) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.error("unlinkat", errno)),
        }
        let address = format!("/proc/self/fd/{}/{}", self.fd.as_raw(), NOTIFY_SOCKET.to_string_lossy());
        net::bind(socket, &c_string(&address)?).map_err(failed("bind"))?;
        fs::chmod_at(&self.fd, NOTIFY_SOCKET, 0o777).map_err(failed("fchmodat"))
    }

    /// Whether init waits for `start`.
    pub(crate) fn awaits_start(&self) -> Result<bool> {
        is_there(&self.fd, START).map_err(|errno| self.error("faccessat2", errno))
    }

    /// Takes [`START`] away. `false` where it was gone.
    pub(crate) fn remove_start(&self) -> Result<bool> {
        self.mark(LET_GO)?;
        match fs::unlink_at(&self.fd, START, AtFlags::NONE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("unlinkat", errno)),
        }
    }

    /// Takes [`START`] out of the way of a `start` that init could not answer.
    pub(crate) fn hide_start(&self) -> Result<()> {
        self.mark(LET_GO)?;
        self.rename(START, START_PAUSED).map(drop)
    }

    /// Puts it back.
    pub(crate) fn show_start(&self) -> Result<()> {
        if self.rename(START_PAUSED, START)? { self.mark(WAITS) } else { Ok(()) }
    }

    /// Says by the record's mode whether [`START`] is sure to be there: [`WAITS`] is taken away before the file is.
    fn mark(&self, mode: u32) -> Result<()> {
        fs::chmod_at(&self.fd, RECORD, mode).map_err(|errno| self.error("fchmodat", errno))
    }

    /// Whether there was something to rename.
    fn rename(&self, from: &CStr, to: &CStr) -> Result<bool> {
        match fs::rename_at(&self.fd, from, &self.fd, to) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
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
                match fs::unlink_at(&self.fd, name, AtFlags::NONE) {
                    Err(Errno::ISDIR) if name == NOTIFY => self.remove_notify(),
                    done => done,
                }
                .map_err(|errno| self.error("unlinkat", errno))?;
            }
        }
    }

    fn remove_notify(&self) -> orlop_sys::Result<()> {
        match fs::unlink_at(&self.fd, NOTIFY_SOCKET, AtFlags::NONE) {
            Ok(()) | Err(Errno::NOENT) => fs::unlink_at(&self.fd, NOTIFY, AtFlags::REMOVEDIR),
            done => done,
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
    let file = fs::open_at(root, &path(RECORD)?, OFlags::RDONLY, 0).ok()?;
    let fs::Stat { mode, uid: owner, .. } = fs::stat(&file).ok()?;
    let awaits_start = mode & STICKY != 0 || is_there(root, &path(START)?).ok()?;
    let mut buf = [0u8; 2048];
    // What follows the first line is not asked for, and four times as long.
    let wanted = if awaits_start { 512 } else { buf.len() };
    let n = fs::read(&file, buf.get_mut(..wanted)?).ok()?;
    bin.throw(file);
    let text = buf.get(..n)?;
    let told: Told = serde_json::from_slice(first_line(text)?).ok()?;
    let cgroups = if awaits_start {
        None
    } else {
        let (_, rest, _) = lines(text)?;
        Some(serde_json::from_slice::<Record>(rest).ok()?.cgroups)
    };
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
}
