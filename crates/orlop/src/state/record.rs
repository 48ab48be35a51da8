//! What is kept of a container, as it stands in its file.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::systemd::{self, Bus, Client, Scope};
use orlop_cgroup::{Controller, Dir, Group, Need, Plan, Version};
use orlop_sys::process::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// What of a container is told to users. Lists read no more than this.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The format of the record.
    pub(crate) version: u32,
    pub(crate) bundle: String,
    pub(crate) rootfs: String,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: Vec<(String, String)>,
}
/// What must be known of a container to undo all that was made for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// A line of its own.
    #[serde(skip)]
    pub(crate) told: Told,
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
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(crate) callers_keyring: bool,
    /// Whether its maker lacked the rights of the host's root: it may have no cgroup.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(crate) rootless: bool,
    /// The unit of systemd that the cgroups belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<ScopeName>,
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

    /// Has systemd put a process into its cgroup, or into one below it.
    pub(crate) fn attach(&self, below: &str, pid: Pid) -> core::result::Result<(), orlop_cgroup::Error> {
        Client::connect(&self.bus())?.attach(&self.unit, below, pid)
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
    /// How much of the path is the outermost cgroup of the container, where that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outer_len: Option<usize>,
    controllers: Vec<String>,
}

impl CgroupDir {
    pub(crate) fn new(dir: &Dir) -> CgroupDir {
        CgroupDir {
            v2: dir.version == Version::V2,
            path: dir.path.clone(),
            mount_len: dir.mount_len,
            outer_len: Some(dir.outer_len).filter(|len| *len != dir.path.len()),
            controllers: dir.controllers.iter().map(|c| c.as_str().to_owned()).collect(),
        }
    }

    pub(crate) fn to_dir(&self) -> Dir {
        Dir {
            version: if self.v2 { Version::V2 } else { Version::V1 },
            path: self.path.clone(),
            mount_len: self.mount_len,
            outer_len: self.outer_len.unwrap_or(self.path.len()),
            controllers: self.controllers.iter().map(|name| Controller::named(name)).collect(),
            need: Need::Wanted,
        }
    }
}

/// The version of [`Record`] that this code writes and reads.
pub(crate) const RECORD_VERSION: u32 = 2;

/// The record as it stands in its file.
pub(super) fn head_of(record: &Record) -> Result<String> {
    let failed = |error| Error::new(Kind::System, format!("writing the state: {error}"));
    let mut text = serde_json::to_string(&record.told).map_err(failed)?;
    text.push('\n');
    text.push_str(&serde_json::to_string(record).map_err(failed)?);
    text.push('\n');
    Ok(text)
}

/// The record's lines and where the configuration begins, where the text goes so far.
pub(super) fn lines(text: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let told = first_line(text)?;
    let rest = first_line(text.get(told.len() + 1..)?)?;
    Some((told, rest, told.len() + 1 + rest.len() + 1))
}

pub(super) fn first_line(text: &[u8]) -> Option<&[u8]> {
    text.get(..text.iter().position(|&b| b == b'\n')?)
}
