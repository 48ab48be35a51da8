//! What of a container is there so far, and taking it back.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Group, PATIENCE, systemd};
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::{CWD, Errno, OwnedFd};

use crate::ahead::NetworkAhead;
use crate::error::{Error, Kind, Result};
use crate::launch::Launch;
use crate::netlink;
use crate::plan::Gate;
use crate::resctrl;
use crate::state::{Record, StateDir};
use crate::trace::Tracing;

/// Everything that was made so far, to be taken back in reverse unless it is kept.
pub(crate) struct Made<'a> {
    pub(super) tracing: Tracing<'a>,
    pub(super) root: &'a CStr,
    pub(crate) state: Option<StateDir>,
    pub(super) network: Option<NetworkAhead>,
    /// Network devices that the container has got.
    pub(super) devices: Option<GivenDevices>,
    /// The way to systemd, where it makes the cgroup.
    pub(super) systemd: Option<systemd::Client>,
    /// The unit that it was asked to start.
    pub(super) scope: Option<String>,
    pub(crate) group: Option<Group>,
    pub(super) class: Option<resctrl::Class>,
    pub(crate) launch: Option<Launch>,
    pub(crate) pid_file: Option<CString>,
    /// Our end of the socket that mounts go to init through.
    pub(super) mounts: Option<OwnedFd>,
    /// User namespaces for the ids of mounts, by their maps.
    pub(super) ids: Vec<(String, String, OwnedFd)>,
    pub(super) console: Option<OwnedFd>,
}

impl<'a> Made<'a> {
    pub(crate) fn new(root: &'a CStr, tracing: Tracing<'a>) -> Made<'a> {
        Made {
            tracing,
            root,
            state: None,
            network: None,
            devices: None,
            mounts: None,
            ids: Vec::new(),
            systemd: None,
            scope: None,
            group: None,
            class: None,
            launch: None,
            pid_file: None,
            console: None,
        }
    }

    /// Takes everything back. What cannot be is named in the error, and `delete --force` finds it again.
    pub(crate) fn undo(self, error: Error) -> Error {
        let mut left: Vec<String> = Vec::new();
        // The end of init could be that of the namespace, and of the devices.
        if let Some(devices) = &self.devices {
            let (home, namespace) = (devices.home.borrow(), devices.namespace.borrow());
            let back = devices.moved.iter().rev().map(|moved| moved.take_back(home, namespace));
            left.extend(back.filter_map(|done| done.err().map(|error| format!("{error}"))));
        }
        if let Some(launch) = &self.launch {
            launch.kill();
        }
        if let Some(path) = &self.pid_file
            && let Err(errno) = fs::unlink_at(CWD, path, AtFlags::NONE)
        {
            left.push(format!("{}: {errno}", path.to_string_lossy()));
        }
        if let Some(record) = self.state.as_ref().and_then(|state| state.read_head().ok().flatten()) {
            left.extend(unmount_outside(&record).err().map(|error| format!("{error}")));
        }
        if let Some(mut group) = self.group {
            let removed = group.remove(PATIENCE).and_then(|()| group.undo());
            left.extend(removed.err().map(|error| format!("{error}")));
        }
        if let Some(class) = &self.class {
            left.extend(class.remove().err().map(|error| format!("{error}")));
        }
        if let (Some(mut client), Some(unit)) = (self.systemd, &self.scope) {
            left.extend(client.stop(unit).err().map(|error| format!("{error}")));
        }
        if left.is_empty()
            && let Some(state) = self.state
        {
            left.extend(state.remove(Gate::Start).err().map(|error| format!("{error}")));
        }
        if left.is_empty() { error } else { error.hint(format!("and this could not be undone: {}", left.join(", "))) }
    }
}

/// Network devices in the container's namespace, which is held for as long as they may have to come back.
pub(super) struct GivenDevices {
    pub(super) home: OwnedFd,
    pub(super) namespace: OwnedFd,
    pub(super) moved: Vec<netlink::Moved>,
}

impl GivenDevices {
    pub(super) fn to(launch: &Launch) -> Result<GivenDevices> {
        let failed = |errno| Error::system("openat", "a network namespace", errno);
        let open = |path: &CStr| fs::open_at(CWD, path, OFlags::RDONLY, 0).map_err(failed);
        let namespace = open(&crate::state::c_string(&format!("/proc/{}/ns/net", launch.pid()))?)?;
        let home = open(c"/proc/thread-self/ns/net")?;
        let id = |fd: &OwnedFd| fs::stat(fd).map(|stat| (stat.dev, stat.ino)).map_err(failed);
        if id(&namespace)? == id(&home)? {
            let what = "unable to move network devices without a network namespace";
            return Err(Error::new(Kind::InvalidConfig, what).hint("the one that is joined is the runtime's own"));
        }
        Ok(GivenDevices { home, namespace, moved: Vec::new() })
    }
}

/// Takes away what a container without a mount namespace has mounted over its root file system, and so all of its
/// mounts.
pub(crate) fn unmount_outside(record: &Record) -> Result<()> {
    const MOST: usize = 64;
    let Some(below) = record.root_mount else {
        return Ok(());
    };
    let path = &record.told.rootfs;
    for _ in 0..MOST {
        match mount_of(path) {
            Ok(mount) if mount == below => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_any(&[Errno::NOENT]) => return Ok(()),
            Err(error) => return Err(error),
        }
        let detached = orlop_sys::mount::detach(&crate::state::c_string(path)?);
        detached.map_err(|errno| Error::system("umount2", format!("rootfs {path}"), errno))?;
    }
    Err(Error::new(Kind::System, format!("more is mounted on {path} than a container could have")))
}

/// The mount that a path leads to.
pub(super) fn mount_of(path: &str) -> Result<u64> {
    let stat = fs::stat_at(CWD, &crate::state::c_string(path)?, AtFlags::NONE);
    stat.map(|stat| stat.mount).map_err(|errno| Error::system("statx", format!("rootfs {path}"), errno))
}
