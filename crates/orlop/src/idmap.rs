//! Writing the id maps of a user namespace, and holding one for the ids of a mount.

#![allow(unsafe_code)] // starting programs, each with its reason

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr::null;

use orlop_sys::fs::{self, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Clone as CloneFlags, Ended, Pid, Program, Rights, Waiting};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd};

use crate::error::{Error, Kind, Result};
use crate::launch;
use crate::plan::{Mapping, same_id_maps};
use crate::state::{c_string, read_all};

/// Where newuidmap(1) may be: it is set-user-id, so no path of the caller's is asked.
const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// Writes the maps of the process's user namespace.
pub(crate) fn write(pid: Pid, uids: &str, gids: &str, how: Mapping) -> Result<()> {
    match how {
        Mapping::Helpers => {
            helper("newuidmap", pid, uids)?;
            return helper("newgidmap", pid, gids);
        }
        Mapping::Own => write_file(pid, "setgroups", "deny")?,
        Mapping::Direct => {}
    }
    write_file(pid, "gid_map", gids)?;
    write_file(pid, "uid_map", uids)
}

fn write_file(pid: Pid, name: &'static str, text: &str) -> Result<()> {
    let path = c_string(&format!("/proc/{pid}/{name}"))?;
    let file = fs::open_at(CWD, &path, OFlags::WRONLY, 0).map_err(|errno| Error::system("openat", name, errno))?;
    // All at once: the kernel takes one write(2).
    match fs::write(&file, text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(errno) => {
            let error = Error::system("write", format!("{name} {:?}", text.trim_end()), errno);
            Err(match errno {
                Errno::PERM => error.hint("an id there is not one that the caller may map"),
                Errno::INVAL => error.hint("ids overlap, or are not ids of the namespace outside"),
                _ => error,
            })
        }
    }
}

/// Compares a process's maps with those that the configuration expects.
pub(crate) fn check(pid: Pid, uids: &str, gids: &str) -> Result<()> {
    for (name, expected) in [("uid_map", uids), ("gid_map", gids)] {
        let path = c_string(&format!("/proc/{pid}/{name}"))?;
        let text = fs::open_at(CWD, &path, OFlags::RDONLY, 0).and_then(|file| read_all(&file));
        let text = text.map_err(|errno| Error::system("read", name, errno))?;
        if !same_id_maps(&String::from_utf8_lossy(&text), expected) {
            let what = "user namespaces enabled, but both namespace path and non-matching mapping specified";
            return Err(Error::new(Kind::InvalidConfig, what).hint("give one of them"));
        }
    }
    Ok(())
}

/// Runs newuidmap(1) or newgidmap(1) to its end.
fn helper(name: &'static str, pid: Pid, map: &str) -> Result<()> {
    let failed = |errno| Error::system("", format!("running {name}"), errno);
    let open = |place: &&str| {
        let path = CString::new(format!("{place}/{name}")).ok()?;
        fs::open_at(CWD, &path, OFlags::PATH, 0).ok()
    };
    let Some(program) = PLACES.iter().find_map(open) else {
        return Err(Error::new(Kind::System, format!("{name} is not installed"))
            .hint("without it an ordinary user can only map itself; see Debian's uidmap"));
    };
    let mut args: Vec<CString> = [c_string(name)?, c_string(&format!("{pid}"))?].into();
    for word in map.split_ascii_whitespace() {
        args.push(c_string(word)?);
    }
    let argv: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).chain([null()]).collect();
    let envp = [null()];
    // What it has to say about a refusal is the reason to give.
    let (ours, theirs) = net::socket_pair(SocketType::Stream).map_err(failed)?;
    let program = Program {
        file: program.borrow(),
        path: c"",
        argv: &argv,
        envp: &envp,
        keep: &[],
        first: 3,
        stdio: [None, Some(theirs.borrow()), Some(theirs.borrow())],
        cwd: None,
        signals: process::Signals::Callers,
        join: &[],
        rights: Rights::Exec,
    };
    // SAFETY: the strings of both arrays outlive the call.
    let child = unsafe { process::spawn(&program, CloneFlags::NONE, None) }.map_err(failed)?;
    drop(theirs);
    let mut said = [0u8; 512];
    let mut len = 0;
    while let Some(room) = said.get_mut(len..).filter(|room| !room.is_empty()) {
        match fs::read(&ours, room) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    drop(ours);
    match process::wait(&child.pidfd, Waiting::Block) {
        Ok(Some(Ended::Exited(0))) => Ok(()),
        // Somebody else's wait(2) took the status; that the maps are there is seen when init becomes root.
        Err(Errno::CHILD) => Ok(()),
        Ok(_) | Err(_) => {
            let said = String::from_utf8_lossy(said.get(..len).unwrap_or_default());
            Err(Error::new(Kind::System, format!("{name}: {}", said.trim_end()))
                .hint("/etc/subuid and /etc/subgid say what a user may map"))
        }
    }
}

/// The user namespace of a process.
pub(crate) fn namespace_of(pid: Pid) -> Result<OwnedFd> {
    let path = c_string(&format!("/proc/{pid}/ns/user"))?;
    fs::open_at(CWD, &path, OFlags::RDONLY, 0).map_err(|errno| Error::system("openat", "ns/user", errno))
}

/// A user namespace with these maps, for mount_setattr(2).
pub(crate) fn namespace_with(uids: &str, gids: &str) -> Result<OwnedFd> {
    let failed = |call| move |errno| Error::system(call, "making a user namespace for the ids of a mount", errno);
    let init = launch::sealed_program().map_err(failed("memfd_create"))?;
    let (ours, theirs) = net::socket_pair(SocketType::Stream).map_err(failed("socketpair"))?;
    let name: &CStr = c"orlop:[userns]";
    let program = Program {
        file: init.borrow(),
        path: c"",
        argv: &[name.as_ptr(), null()],
        envp: &[null()],
        keep: &[],
        first: 3,
        stdio: [Some(theirs.borrow()), None, None],
        cwd: None,
        signals: process::Signals::Callers,
        join: &[],
        rights: Rights::Exec,
    };
    // SAFETY: the strings of both arrays outlive the call.
    let child = unsafe { process::spawn(&program, CloneFlags::NEWUSER, None) }.map_err(failed("clone3"))?;
    drop(theirs);
    let made = write(child.pid, uids, gids, Mapping::Direct).and_then(|()| namespace_of(child.pid));
    drop(ours);
    // Where another part of this process was faster, it is reaped all the same.
    let _reaped = process::wait(&child.pidfd, Waiting::Block);
    made
}

/// What [`copy_mount`] copies, and how.
pub(crate) struct Copy<'a> {
    /// The path, in the mount namespace.
    pub(crate) path: &'a CStr,
    /// How much of it.
    pub(crate) reach: orlop_sys::mount::Reach,
    /// How the last component is looked up.
    pub(crate) flags: fs::AtFlags,
    /// Whose maps its files' ids get, and how far that reaches.
    pub(crate) ids: Option<(BorrowedFd<'a>, orlop_sys::mount::Reach)>,
}

impl Copy<'_> {
    /// Makes system calls, and nothing else.
    fn make(&self, call: &mut &'static str) -> orlop_sys::Result<OwnedFd> {
        use orlop_sys::mount::{self, Attr, MountAttr};
        *call = OPEN_TREE;
        let copied = mount::clone_tree(CWD, self.path, self.reach, self.flags)?;
        if let Some((ids, reach)) = &self.ids {
            *call = "mount_setattr(MOUNT_ATTR_IDMAP)";
            let userns_fd = ids.as_raw() as u64;
            mount::set_attr(&copied, c"", *reach, &MountAttr { set: Attr::IDMAP, userns_fd, ..MountAttr::default() })?;
        }
        Ok(copied)
    }

    fn failed(&self, call: &'static str, errno: Errno) -> Error {
        let error = Error::system(call, format!("bind source {}", self.path.to_string_lossy()), errno);
        match errno {
            Errno::INVAL if self.ids.is_some() => error.hint("its file system may not know mounts with other ids"),
            Errno::PERM if self.ids.is_some() => error.hint("other ids take CAP_SYS_ADMIN where it was first mounted"),
            _ => error,
        }
    }

    /// Copies a mount of the caller's own mount namespace: with its rights there, or of a copy where it has none.
    pub(crate) fn here(&self) -> Result<OwnedFd> {
        let mut call = "";
        match self.make(&mut call) {
            Err(Errno::PERM) if call == OPEN_TREE => {}
            done => return done.map_err(|errno| self.failed(call, errno)),
        }
        call = "clone3";
        let mut tree = None;
        let mut work = || {
            tree = Some(self.make(&mut call)?);
            Ok(())
        };
        // SAFETY: `work` makes system calls, and nothing else.
        let done = unsafe { process::in_copied_mount_namespace(&mut work) };
        done.map_err(|errno| {
            let error = self.failed(call, errno);
            if (call, errno) == (OPEN_TREE, Errno::INVAL) { error.hint(LOCKED_BELOW) } else { error }
        })?;
        tree.ok_or_else(no_copy)
    }
}

/// Copies a mount of the mount namespace that a process is in, with the caller's rights.
pub(crate) fn copy_mount(pid: Pid, copy: &Copy<'_>) -> Result<OwnedFd> {
    let namespace = c_string(&format!("/proc/{pid}/ns/mnt"))?;
    let namespace = fs::open_at(CWD, &namespace, OFlags::RDONLY, 0).map_err(|errno| copy.failed("openat", errno))?;
    let mut tree = None;
    let mut call = "setns";
    let mut work = || {
        tree = Some(copy.make(&mut call)?);
        Ok(())
    };
    // SAFETY: `work` makes system calls, and nothing else.
    let done = unsafe { process::in_mount_namespace(namespace.borrow(), &mut work) };
    done.map_err(|errno| copy.failed(call, errno))?;
    tree.ok_or_else(no_copy)
}

const OPEN_TREE: &str = "open_tree";

/// mount_namespaces(7): what came from a more privileged mount namespace is one unit.
pub(crate) const LOCKED_BELOW: &str = "without root's rights what is mounted below it comes along: use \"rbind\"";

fn no_copy() -> Error {
    Error::new(Kind::System, "no mount was copied")
}
