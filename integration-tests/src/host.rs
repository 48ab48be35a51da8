//! What this machine offers, as far as tests must know.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
const CAP_SYS_RESOURCE: u32 = 24;

/// How cgroups are mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Controllers on v1; there may be a v2 hierarchy without controllers beside them.
    V1,
    /// The unified hierarchy is all there is.
    V2,
}

pub struct Host {
    pub uid: u32,
    pub layout: Layout,
    capabilities: u64,
}

impl Host {
    pub fn probe() -> Host {
        let magic = statfs("/sys/fs/cgroup").map_or(0, |s| s.f_type);
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Host {
            uid: rustix::process::getuid().as_raw(),
            layout: if magic == CGROUP2_SUPER_MAGIC { Layout::V2 } else { Layout::V1 },
            capabilities: u64::from_str_radix(effective.unwrap_or("").trim(), 16).unwrap_or(0),
        }
    }

    /// Some hosts' root lacks this one: hard limits cannot be raised there, nor OOM scores lowered.
    pub fn may_raise_limits(&self) -> bool {
        self.capabilities >> CAP_SYS_RESOURCE & 1 == 1
    }

    /// Whether limits of that controller (its v1 name: memory, pids, cpu) can be set.
    pub fn has_controller(&self, name: &str) -> bool {
        match self.layout {
            Layout::V1 => Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists(),
            Layout::V2 => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                .is_ok_and(|list| list.split_whitespace().any(|c| c == name)),
        }
    }
}

/// The folders of the hierarchies, each at its mount point.
pub fn hierarchies() -> Vec<PathBuf> {
    mounts()
        .into_iter()
        .filter(|m| m.kind == "cgroup" || m.kind == "cgroup2")
        .map(|m| m.target)
        .filter(|target| target.starts_with("/sys/fs/cgroup"))
        .collect()
}

/// A line of /proc/self/mountinfo.
pub struct Mount {
    pub target: PathBuf,
    pub kind: String,
    pub line: String,
}

pub fn mounts() -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let parse = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        Some(Mount {
            target: PathBuf::from(head.split(' ').nth(4)?),
            kind: tail.split(' ').next()?.to_owned(),
            line: line.to_owned(),
        })
    };
    table.lines().filter_map(parse).collect()
}
