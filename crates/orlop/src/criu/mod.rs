//! criu(8): `criu swrk`, which is asked over a socket. Its messages are those of criu's rpc.proto.

#![allow(unsafe_code)] // starting a program

mod host;
mod wire;

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr::null;

use orlop_sys::net::{self, SocketType};
use orlop_sys::process::{self, Child, Clone as CloneFlags, Program, Rights, Signals, Waiting};
use orlop_sys::signal::SIGKILL;
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, fd, fs};

use crate::error::{Error, Kind, Result};
use crate::state::c_string;

pub(crate) use host::{
    Descriptors, Directory, EXTERNAL_FILE, PIPE, TERMINAL, cgroup_roots, external_mounts, is_directory,
};
pub(crate) use wire::Message;

/// The criu program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Criu {
    /// Its path.
    pub program: CString,
    /// Its environment: it calls others by `PATH`, such as tar(1).
    pub env: Vec<CString>,
}

/// How cgroups are saved and restored; see criu(8), `--manage-cgroups`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // criu's words
pub enum ManageCgroups {
    #[default]
    Soft,
    Full,
    Strict,
    Ignore,
}

/// How the network is locked while a container is saved or restored; see criu(8), `--network-lock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // criu's words
pub enum NetworkLock {
    Iptables,
    Nftables,
    Skip,
}

/// What saving and restoring have in common.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CriuOptions {
    /// The program.
    pub criu: Criu,
    /// The directory of the images.
    pub images: CString,
    /// The directory of the log and of work files; that of the images by default.
    pub work: Option<CString>,
    /// Established TCP connections are kept.
    pub tcp_established: bool,
    /// Unix sockets may be connected to the outside.
    pub ext_unix_sk: bool,
    /// The container may use the terminal of a shell.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// Memory comes on demand, by userfaultfd(2).
    pub lazy_pages: bool,
    /// Pages that newer images have are dropped from older ones.
    pub auto_dedup: bool,
    /// What becomes of cgroups.
    pub manage_cgroups: ManageCgroups,
    /// How the network is locked; criu's choice by default.
    pub network_lock: Option<NetworkLock>,
}

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Request {
    /// criu's name for it, which runc prints.
    const fn name(self) -> &'static str {
        match self {
            Request::Dump => "DUMP",
            Request::Restore => "RESTORE",
            Request::PreDump => "PRE_DUMP",
            Request::Notify => "NOTIFY",
            Request::FeatureCheck => "FEATURE_CHECK",
            Request::Version => "VERSION",
        }
    }
}

/// The fields of `criu_opts` that are used.
pub(crate) mod option {
    pub(crate) const IMAGES_DIR_FD: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const LEAVE_RUNNING: u32 = 3;
    pub(crate) const EXT_UNIX_SK: u32 = 4;
    pub(crate) const TCP_ESTABLISHED: u32 = 5;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const SHELL_JOB: u32 = 7;
    pub(crate) const FILE_LOCKS: u32 = 8;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY_SCRIPTS: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT_IMG: u32 = 14;
    pub(crate) const TRACK_MEM: u32 = 15;
    pub(crate) const AUTO_DEDUP: u32 = 16;
    pub(crate) const WORK_DIR_FD: u32 = 17;
    pub(crate) const LINK_REMAP: u32 = 18;
    pub(crate) const EXT_MNT: u32 = 23;
    pub(crate) const MANAGE_CGROUPS: u32 = 24;
    pub(crate) const CG_ROOT: u32 = 25;
    pub(crate) const RST_SIBLING: u32 = 26;
    pub(crate) const INHERIT_FD: u32 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NS: u32 = 38;
    pub(crate) const JOIN_NS: u32 = 39;
    pub(crate) const FREEZE_CGROUP: u32 = 44;
    pub(crate) const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub(crate) const LAZY_PAGES: u32 = 48;
    pub(crate) const STATUS_FD: u32 = 49;
    pub(crate) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(crate) const CONFIG_FILE: u32 = 51;
    pub(crate) const TCP_CLOSE: u32 = 52;
    pub(crate) const LSM_PROFILE: u32 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;
    pub(crate) const NETWORK_LOCK: u32 = 64;
}

/// A message of two strings: `ext_mount_map`, `join_namespace`, `cgroup_root`.
pub(crate) fn pair(first: &str, second: &str) -> Message {
    let mut message = Message::default();
    message.text(1, first.as_bytes());
    message.text(2, second.as_bytes());
    message
}

/// A message of a string and a number: `inherit_fd`, `criu_page_server_info`.
pub(crate) fn named(name: &str, number: i64) -> Message {
    let mut message = Message::default();
    message.text(1, name.as_bytes());
    message.number(2, number);
    message
}

/// The memory features that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    MemTrack = 1,
    LazyPages = 2,
}

/// What criu tells while it works, and waits for an answer to.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    pub(crate) script: String,
    pub(crate) pid: i32,
    /// What came with it.
    pub(crate) fd: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Response {
    kind: i64,
    success: bool,
    errno: i64,
    message: String,
    notice: Notice,
    version: i64,
    features: [Option<bool>; 3],
}

impl Response {
    fn parse(bytes: &[u8]) -> Option<Response> {
        let mut response = Response::default();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for (field, value) in wire::fields(bytes)? {
            match field {
                1 => response.kind = value.number()?,
                2 => response.success = value.number()? != 0,
                5 => {
                    for (field, value) in wire::fields(value.bytes()?)? {
                        match field {
                            1 => response.notice.script = lossy(value.bytes()?),
                            2 => response.notice.pid = i32::try_from(value.number()?).ok()?,
                            _ => {}
                        }
                    }
                }
                7 => response.errno = value.number()?,
                8 => {
                    for (field, value) in wire::fields(value.bytes()?)? {
                        if let Some(feature) = response.features.get_mut(field as usize) {
                            *feature = Some(value.number()? != 0);
                        }
                    }
                }
                9 => response.message = lossy(value.bytes()?),
                10 => {
                    // As criu's own tools count: 4.1.1 is 40101.
                    for (field, value) in wire::fields(value.bytes()?)? {
                        let weight = [0, 10_000, 100, 0, 1].get(field as usize).copied().unwrap_or(0);
                        response.version += value.number().unwrap_or(0).saturating_mul(weight);
                    }
                }
                _ => {}
            }
        }
        Some(response)
    }
}

/// A criu that was started, and waits for requests.
pub(crate) struct Peer {
    socket: OwnedFd,
    child: Child,
    /// What it printed before it had a log, where it has no standard error of the caller's.
    said: Option<OwnedFd>,
    done: bool,
}

/// What criu is started with.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// The mount namespace that it works in.
    pub(crate) mounts: Option<BorrowedFd<'a>>,
    /// Descriptors that it gets; [`Peer::start`] tells their numbers.
    pub(crate) inherited: &'a [OwnedFd],
    /// Whether it has the caller's standard input, output and error, to hand them on.
    pub(crate) stdio: bool,
}

impl Peer {
    /// Starts it. The numbers are those of the inherited descriptors.
    pub(crate) fn start(criu: &Criu, start: &Start<'_>) -> Result<(Peer, Vec<i32>)> {
        let failed = |call: &'static str| move |errno| Error::system(call, "starting criu", errno);
        let (socket, theirs) = net::socket_pair(SocketType::SeqPacket).map_err(failed("socketpair"))?;
        let said = match start.stdio {
            true => None,
            false => Some(fs::memfd(c"criu", fs::MemfdFlags::NONE).map_err(failed("memfd_create"))?),
        };
        // Those of the program come first; ascending numbers stay in their order.
        let above = |fd: BorrowedFd<'_>| fd::duplicate(fd, 3).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"));
        let passed = core::iter::once(theirs.borrow()).chain(start.inherited.iter().map(OwnedFd::borrow));
        let passed = passed.map(above).collect::<Result<Vec<OwnedFd>>>()?;
        let mut keep: Vec<i32> = passed.iter().map(OwnedFd::as_raw).collect();
        keep.sort_unstable();
        let places: Vec<i32> =
            passed.iter().map(|fd| 3 + keep.iter().position(|&raw| raw == fd.as_raw()).unwrap_or(0) as i32).collect();
        let (server, inherited) = places.split_first().unwrap_or((&3, &[]));
        let number = c_string(&format!("{server}"))?;
        let argv = [c"criu".as_ptr(), c"swrk".as_ptr(), number.as_ptr(), null()];
        let envp: Vec<*const c_char> = criu.env.iter().map(|text| text.as_ptr()).chain([null()]).collect();
        let join: Vec<(BorrowedFd<'_>, CloneFlags)> =
            start.mounts.map(|fd| (fd, CloneFlags::NEWNS)).into_iter().collect();
        let out = said.as_ref().map(OwnedFd::borrow);
        let program = Program {
            file: CWD,
            path: &criu.program,
            argv: &argv,
            envp: &envp,
            keep: &keep,
            first: 3,
            stdio: [None, out, out],
            join: &join,
            rights: Rights::Exec,
            cwd: None,
            // It waits for its children by SIGCHLD, which a caller in the foreground blocks.
            signals: Signals::Reset,
        };
        // SAFETY: the strings of both arrays outlive the call.
        let child = unsafe { process::spawn(&program, CloneFlags::NONE, None) }.map_err(|errno| {
            let error = Error::system("execve", criu.program.to_string_lossy().into_owned(), errno);
            error.hint("checkpoint and restore need criu; --criu names its binary")
        })?;
        Ok((Peer { socket, child, said, done: false }, inherited.to_vec()))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.borrow()
    }

    fn send(&self, message: &Message) -> Result<()> {
        match net::send(&self.socket, message.bytes(), &[]) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.ended()),
            Err(errno) => Err(Error::system("sendmsg", "asking criu", errno)),
        }
    }

    fn receive(&self) -> Result<Response> {
        let mut buf = alloc::vec![0u8; 65536];
        let (n, fds) = match net::receive(&self.socket, &mut buf) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Err(self.ended()),
            Ok(done) => done,
            Err(errno) => return Err(Error::system("recvmsg", "hearing of criu", errno)),
        };
        let parsed = Response::parse(buf.get(..n).unwrap_or_default());
        let mut response = parsed.ok_or_else(|| Error::new(Kind::System, "criu's answer makes no sense"))?;
        response.notice.fd = fds.into_iter().flatten().next();
        Ok(response)
    }

    fn ended(&self) -> Error {
        let mut text = [0u8; 1024];
        let said = self.said.as_ref().and_then(|file| fs::read_from(file, &mut text, 0).ok()).unwrap_or(0);
        let said = String::from_utf8_lossy(text.get(..said).unwrap_or_default());
        let said = said.trim_end();
        let colon = if said.is_empty() { "" } else { ": " };
        Error::new(Kind::System, format!("criu ended without an answer{colon}{said}"))
    }

    /// Asks for something that is answered at once, and lets criu wait for more.
    fn ask(&self, request: Request, features: &[Feature]) -> Result<Response> {
        let mut message = Message::default();
        message.number(1, request as i64);
        message.flag(4, true);
        if !features.is_empty() {
            let mut wanted = Message::default();
            features.iter().for_each(|feature| wanted.flag(*feature as u32, true));
            message.message(5, &wanted);
        }
        self.send(&message)?;
        let response = self.receive()?;
        match response.success {
            true => Ok(response),
            false => Err(failed(request, &response)),
        }
    }

    /// Its version: 4.1.1 is 40101.
    pub(crate) fn version(&self) -> Result<i64> {
        self.ask(Request::Version, &[]).map(|response| response.version)
    }

    /// Refuses to go on without a feature of this criu and this kernel.
    pub(crate) fn require(&self, feature: Feature) -> Result<()> {
        let response = self.ask(Request::FeatureCheck, &[feature])?;
        match response.features.get(feature as usize).copied().flatten() {
            Some(false) => Err(Error::new(Kind::NotSupported, format!("criu is missing features: [{feature:?}]"))
                .hint("`criu check --all` says what this kernel lacks")),
            _ => Ok(()),
        }
    }

    /// Has it done. `heard` answers for what it tells meanwhile.
    pub(crate) fn carry_out(
        &mut self,
        request: Request,
        options: &Message,
        mut heard: impl FnMut(Notice) -> Result<()>,
    ) -> Result<()> {
        let mut message = Message::default();
        message.number(1, request as i64);
        message.message(2, options);
        self.send(&message)?;
        let answered = self.converse(request, &mut heard);
        // It may wait for a further request, and ends when nobody is there to send one. After a failure it cleans up.
        let (unused, _) = net::socket_pair(SocketType::SeqPacket)
            .map_err(|errno| Error::system("socketpair", "ending criu", errno))?;
        drop(core::mem::replace(&mut self.socket, unused));
        self.done = true;
        let ended = process::wait(&self.child.pidfd, Waiting::Block);
        answered?;
        match ended {
            // In its series of pre-dumps it takes our going for an error.
            Ok(Some(ended)) if ended.code() != 0 && request != Request::PreDump => {
                Err(Error::new(Kind::System, format!("criu failed: exit status {}", ended.code())))
            }
            // Where somebody else's wait(2) was faster, its answer has to do.
            Ok(_) | Err(Errno::CHILD) => Ok(()),
            Err(errno) => Err(Error::system("waitid", "the end of criu", errno)),
        }
    }

    /// Answers until the request is done. What made us refuse is the reason that counts.
    fn converse(&self, request: Request, heard: &mut impl FnMut(Notice) -> Result<()>) -> Result<()> {
        let mut refused = None;
        let why = |refused: Option<Error>, error| Err(refused.unwrap_or(error));
        loop {
            let response = match self.receive() {
                Ok(response) => response,
                Err(error) => return why(refused, error),
            };
            if !response.success {
                let kind = if response.kind == Request::Notify as i64 { Request::Notify } else { request };
                return why(refused, failed(kind, &response));
            }
            if response.kind != Request::Notify as i64 {
                return refused.map_or(Ok(()), Err);
            }
            let answered = heard(response.notice);
            let mut answer = Message::default();
            answer.number(1, Request::Notify as i64);
            answer.flag(3, answered.is_ok());
            refused = refused.or(answered.err());
            if let Err(error) = self.send(&answer) {
                return why(refused, error);
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.done {
            // ESRCH: it has ended. Nobody asked for what it may have been doing.
            let _gone = process::pidfd_signal(&self.child.pidfd, SIGKILL);
            let _reaped = process::wait(&self.child.pidfd, Waiting::Block);
        }
    }
}

/// In runc's words.
fn failed(request: Request, response: &Response) -> Error {
    let colon = if response.message.is_empty() { "" } else { ": " };
    let what =
        format!("criu failed: type {} errno {}{colon}{}", request.name(), response.errno, response.message.trim_end());
    Error::new(Kind::System, what)
}

impl CriuOptions {
    /// The fields that both requests have.
    pub(crate) fn message(&self, images: &Directory, work: Option<&Directory>, log: &str) -> Message {
        use option::*;
        let mut message = Message::default();
        message.number(IMAGES_DIR_FD, i64::from(images.fd.as_raw()));
        if let Some(work) = work {
            message.number(WORK_DIR_FD, i64::from(work.fd.as_raw()));
        }
        message.number(LOG_LEVEL, 4);
        message.text(LOG_FILE, log.as_bytes());
        message.flag(NOTIFY_SCRIPTS, true);
        message.flag(ORPHAN_PTS_MASTER, true);
        for (field, value) in [
            (TCP_ESTABLISHED, self.tcp_established),
            (EXT_UNIX_SK, self.ext_unix_sk),
            (SHELL_JOB, self.shell_job),
            (FILE_LOCKS, self.file_locks),
            (LAZY_PAGES, self.lazy_pages),
            (AUTO_DEDUP, self.auto_dedup),
        ] {
            message.flag(field, value);
        }
        // Devices and addresses of a network namespace are whose business it is who made it.
        message.number(EMPTY_NS, CloneFlags::NEWNET.bits() as i64);
        message.flag(MANAGE_CGROUPS, true);
        message.number(
            MANAGE_CGROUPS_MODE,
            match self.manage_cgroups {
                ManageCgroups::Ignore => 0,
                ManageCgroups::Soft => 3,
                ManageCgroups::Full => 4,
                ManageCgroups::Strict => 5,
            },
        );
        if let Some(lock) = self.network_lock {
            let method = match lock {
                NetworkLock::Iptables => 1,
                NetworkLock::Nftables => 2,
                NetworkLock::Skip => 3,
            };
            message.number(option::NETWORK_LOCK, method);
        }
        message
    }

    /// Opens the directories; where they are missing, they are made for a checkpoint.
    pub(crate) fn directories(&self, make: host::MakeImages) -> Result<(Directory, Option<Directory>)> {
        let images = Directory::open(&self.images, "images", make)?;
        // A container can be saved and restored many times, with the same work directory.
        let work = self.work.as_deref().map(|path| Directory::open(path, "work files", host::MakeImages::Yes));
        Ok((images, work.transpose()?))
    }
}

pub(crate) use host::MakeImages;

/// Whether there is anything to execute at that path.
pub(crate) fn check(criu: &Criu) -> Result<()> {
    const EXECUTE: u32 = 1;
    fs::access_at(CWD, &criu.program, EXECUTE, fs::AtFlags::NONE).map_err(|errno| {
        let name: &CStr = &criu.program;
        Error::system("faccessat2", name.to_string_lossy().into_owned(), errno)
            .hint("checkpoint and restore need criu: Debian's package criu, or --criu PATH")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        // As criu 3.17.1 has sent them.
        let version = Response::parse(b"\x08\n\x10\x01R\x06\x08\x03\x10\x11 \x01").unwrap();
        assert_eq!((version.kind, version.success, version.version), (10, true, 31701));
        let refused = Response::parse(b"\x08\x01\x10\x00\x1a\x02\x08\x00").unwrap();
        assert_eq!((refused.kind, refused.success, refused.errno), (1, false, 0));
        let notify = Response::parse(b"\x08\x06\x10\x01\x2a\x0f\x0a\x0bpost-resume\x10\x07").unwrap();
        assert_eq!((notify.notice.script.as_str(), notify.notice.pid), ("post-resume", 7));
        assert!(Response::parse(b"\x08").is_none());
    }
}
