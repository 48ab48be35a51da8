//! Saving a container's processes with criu(8).

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Controller, Dir, Version};
use orlop_sys::fs::{self, AtFlags, OFlags, Resolve};
use orlop_sys::{BorrowedFd, CWD, OwnedFd, credentials};

use crate::config::{Config, Mount, NamespaceKind, Status};
use crate::container::{Container, Force};
use crate::criu::{
    self, CriuOptions, Descriptors, Directory, Feature, MakeImages, Message, Peer, Request, Start, option,
};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::path;
use crate::plan::Warning;
use crate::plan::options::MountOptions;
use crate::state::{CgroupDir, Init, Record, c_string};

/// How a container is saved.
#[derive(Debug, Default)]
pub struct CheckpointOptions {
    /// What restoring has too.
    pub criu: CriuOptions,
    /// The images of an earlier pre-dump, relative to the images.
    pub parent: Option<CString>,
    /// The container runs on.
    pub leave_running: bool,
    /// TCP connections that are still being set up are left out.
    pub tcp_skip_in_flight: bool,
    /// Unlinked files are linked back where possible.
    pub link_remap: bool,
    /// Gets a NUL when the server of memory pages is ready, and is then closed.
    pub status: Option<OwnedFd>,
    /// Where memory pages are sent.
    pub page_server: Option<PageServer>,
    /// Only memory is saved, for a later checkpoint with these images as its parent.
    pub pre_dump: bool,
}

/// A server of memory pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageServer {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// criu's log of a checkpoint.
const LOG: &str = "dump.log";
/// What masked files are covered with, and so what criu finds outside.
pub(crate) const NULL: &str = "/dev/null";

/// What criu calls a namespace that it finds outside, and how old it may be at most.
pub(crate) const OUTSIDE: [(NamespaceKind, &str, &str, i64); 2] =
    [(NamespaceKind::Network, "net", "extRootNetNS", 31_100), (NamespaceKind::Pid, "pid", "extRootPidNS", 31_500)];

impl Container {
    /// Saves its processes, and deletes it unless it is to run on. Hooks that fail afterwards are warnings.
    pub fn checkpoint(self, mut options: CheckpointOptions) -> Result<Vec<Warning>> {
        let id = String::from(self.id());
        self.save(&mut options)?;
        if options.leave_running || options.pre_dump { Ok(Vec::new()) } else { self.delete(Force::Yes) }
            .map_err(|error: Error| error.during("checkpoint", &id))
    }

    fn save(&self, options: &mut CheckpointOptions) -> Result<()> {
        self.changed("checkpoint", || {
            let (status, init) = self.full_status()?;
            let Some(init) = init.filter(|_| matches!(status, Status::Running | Status::Paused)) else {
                let what = format!("Container cannot be checkpointed in {} state", status.name());
                return Err(Error::new(Kind::WrongState, what));
            };
            if credentials::euid() != 0 {
                return Err(Error::not_supported("a checkpoint needs root"));
            }
            criu::check(&options.criu.criu)?;
            let (record, text) = self
                .dir()
                .read_record()?
                .ok_or_else(|| Error::new(Kind::WrongState, "the container's state was never written"))?;
            let config = Config::parse(&text)?;
            refuse_what_criu_loses(&config)?;
            let mapped = config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User);
            let make = if mapped { MakeImages::Traversable } else { MakeImages::Yes };
            let (images, work) = options.criu.directories(make)?;
            check_parent(&images, options.parent.as_ref())?;
            dump(init, &record, &config, options, &images, work.as_ref())
        })
    }
}

/// Ids of mounts are not in criu's images: what is restored would show the files of others.
fn refuse_what_criu_loses(config: &Config<'_>) -> Result<()> {
    crate::plan::refuse_delegated(config)?;
    let mapped = |mount: &Mount<'_>| {
        let options = MountOptions::of(mount);
        !mount.uid_mappings.is_empty() || options.ids.is_some()
    };
    match config.mounts.iter().position(mapped) {
        Some(index) => {
            Err(Error::not_supported("criu does not save mounts with other ids").field(format!("/mounts/{index}")))
        }
        None => Ok(()),
    }
}

fn check_parent(images: &Directory, parent: Option<&CString>) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    if parent.to_bytes().starts_with(b"/") {
        return Err(Error::new(Kind::InvalidConfig, "--parent-path must be relative"));
    }
    let shown = parent.to_string_lossy().into_owned();
    criu::is_directory(images, parent)
        .map_err(|errno| Error::system("statx", format!("invalid --parent-path: {}/{shown}", images.path), errno))
}

fn dump(
    init: Init,
    record: &Record,
    config: &Config<'_>,
    options: &mut CheckpointOptions,
    images: &Directory,
    work: Option<&Directory>,
) -> Result<()> {
    let (mut peer, _) = Peer::start(&options.criu.criu, &Start::default())?;
    let version = peer.version()?;
    let request = if options.pre_dump { Request::PreDump } else { Request::Dump };
    if options.pre_dump {
        peer.require(Feature::MemTrack)?;
    }
    if options.criu.lazy_pages {
        peer.require(Feature::LazyPages)?;
    }
    let mut message = options.criu.message(images, work, LOG);
    message.number(option::PID, i64::from(init.pid));
    message.text(option::ROOT, record.told.rootfs.as_bytes());
    message.flag(option::LEAVE_RUNNING, options.leave_running);
    message.flag(option::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight);
    message.flag(option::LINK_REMAP, options.link_remap);
    config_file(config, &mut message);
    let dirs: Vec<Dir> = record.cgroups.iter().map(CgroupDir::to_dir).collect();
    if let Some(freezer) = freezer(&dirs, version) {
        message.text(option::FREEZE_CGROUP, freezer.as_bytes());
    }
    if let Some(server) = &options.page_server {
        message.message(option::PAGE_SERVER, &criu::named(&server.address, i64::from(server.port)));
    }
    if let Some(parent) = &options.parent {
        message.text(option::PARENT_IMG, parent.to_bytes());
        message.flag(option::TRACK_MEM, true);
    }
    outside(config, version, &mut message)?;
    // Of memory alone, mounts and descriptors are none.
    if !options.pre_dump {
        let descriptors = Descriptors::of(init.pid, options.criu.shell_job)?;
        let outside = |name: &&String| name.starts_with(criu::EXTERNAL_FILE) || name.starts_with(criu::TERMINAL);
        for name in descriptors.0.iter().filter(outside) {
            message.text(option::EXTERNAL, name.as_bytes());
        }
        images.write(Descriptors::FILE, &descriptors.to_json())?;
        let host = Host::probe()?;
        for (place, _) in criu::external_mounts(config, &host, &record.told.bundle, &record.told.rootfs, &dirs)? {
            message.message(option::EXT_MNT, &criu::pair(&place, &place));
        }
        for masked in masked_files(config, init)? {
            message.message(option::EXT_MNT, &criu::pair(&masked, NULL));
        }
    }
    let mut status = options.status.take().filter(|_| options.criu.lazy_pages);
    if let Some(status) = status.as_ref().filter(|_| version < 31_500) {
        message.number(option::STATUS_FD, i64::from(status.as_raw()));
    }
    let done = peer.carry_out(request, &message, |notice| match notice.script.as_str() {
        "status-ready" => match status.take() {
            Some(status) => fs::write_all(&status, &[0]).map_err(|errno| Error::system("write", "--status-fd", errno)),
            None => Ok(()),
        },
        _ => Ok(()),
    });
    done.map_err(|error| work.unwrap_or(images).with_log(error, LOG))
}

/// Which of criu's configuration files counts, besides its own defaults: what it says goes before our options.
pub(crate) fn config_file(config: &Config<'_>, message: &mut Message) {
    let asked = config.annotations.iter().find(|(name, _)| name.as_str() == crate::plan::CRIU_CONFIG);
    match asked.map(|(_, path)| path.as_str()) {
        Some("") => {}
        Some(path) => message.text(option::CONFIG_FILE, path.as_bytes()),
        None => message.text(option::CONFIG_FILE, b"/etc/criu/runc.conf"),
    }
}

/// The cgroup that criu stops the processes in; without one it traces each. That of v2 it knows since 3.14.
fn freezer(dirs: &[Dir], version: i64) -> Option<&str> {
    let v1 = dirs.iter().find(|dir| dir.version == Version::V1 && dir.controllers.contains(&Controller::FREEZER));
    let v2 = || dirs.iter().find(|dir| dir.version == Version::V2 && version >= 31_400);
    v1.or_else(v2).map(|dir| dir.path.as_str())
}

/// Namespaces that the configuration names stay outside, and are there again when the container is restored.
fn outside(config: &Config<'_>, version: i64, message: &mut Message) -> Result<()> {
    for (kind, word, key, since) in OUTSIDE {
        let namespace = config.linux.namespaces.iter().find(|namespace| namespace.kind == kind);
        let Some(path) = namespace.map(|namespace| &*namespace.path).filter(|path| !path.is_empty()) else { continue };
        if version < since {
            return Err(Error::not_supported(format!("criu lacks support for external {word} namespaces"))
                .hint("it is too old"));
        }
        let stat = fs::stat_at(CWD, &c_string(path)?, AtFlags::NONE);
        let stat = stat.map_err(|errno| Error::system("statx", format!("namespace {path}"), errno))?;
        message.text(option::EXTERNAL, format!("{word}[{}]:{key}", stat.ino).as_bytes());
    }
    Ok(())
}

/// The masked paths that are files: those are covered with the host's null device.
fn masked_files(config: &Config<'_>, init: Init) -> Result<Vec<String>> {
    let root = c_string(&format!("/proc/{}/root", init.pid))?;
    let root = fs::open_at(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, 0)
        .map_err(|errno| Error::system("openat", "the container's root", errno))?;
    let is_file = |path: &str, root: BorrowedFd<'_>| {
        let flags = Resolve::IN_ROOT | Resolve::NO_MAGICLINKS;
        let found = c_string(path).ok().and_then(|path| fs::open_at2(root, &path, OFlags::PATH, 0, flags).ok());
        found.is_some_and(|file| fs::stat(&file).is_ok_and(|stat| !stat.is_dir()))
    };
    let paths = config.linux.masked_paths.iter().map(|path| path::clean_absolute(path));
    Ok(paths.filter(|path| is_file(path, root.borrow())).collect())
}
