//! What a test may have left behind: looked for after each one, and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::{host, processes};

/// How long the kernel and systemd may take to drop what was removed.
const GRACE: Duration = Duration::from_secs(3);

/// Where a runtime could put files of its own.
const SHARED_FOLDERS: [&str; 5] = ["/tmp", "/run", "/var/tmp", "/dev/shm", "/run/orlop"];

/// What is still there of the test with that folder and tag, a line each. Waits a moment for it to
/// go away by itself.
pub fn wait_for_none(dir: &Path, tag: &str) -> Vec<String> {
    let end = Instant::now() + GRACE;
    loop {
        let found = find(dir, tag);
        if found.is_empty() || Instant::now() > end {
            return found;
        }
        sleep(Duration::from_millis(10));
    }
}

fn find(dir: &Path, tag: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in processes::living_below(std::process::id() as i32) {
        found.push(format!("process {} ({})", process.pid, process.name));
    }
    for mount in mounts_of(dir, tag) {
        found.push(format!("mount {}", mount.line));
    }
    for path in cgroups_of(tag) {
        found.push(format!("cgroup {}", path.display()));
    }
    for folder in [dir.join("root"), dir.join("tmp"), dir.join("run")] {
        for entry in names(&folder) {
            found.push(format!("file {}", folder.join(entry).display()));
        }
    }
    for folder in SHARED_FOLDERS {
        for entry in names(Path::new(folder)).into_iter().filter(|name| name.contains(tag)) {
            let path = Path::new(folder).join(entry);
            if path != dir {
                found.push(format!("file {}", path.display()));
            }
        }
    }
    found
}

/// Removes all that a test left, however it ended. Its processes are gone already.
pub fn clean(dir: &Path, tag: &str) {
    for cgroup in cgroups_of(tag) {
        for pid in fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines() {
            processes::kill(pid.parse().unwrap_or(0), Signal::KILL);
        }
    }
    let mut mounts = mounts_of(dir, tag);
    mounts.reverse();
    for mount in mounts {
        let _ = unmount(&mount.target, UnmountFlags::DETACH);
    }
    let end = Instant::now() + GRACE;
    loop {
        let mut cgroups = cgroups_of(tag);
        cgroups.reverse();
        if cgroups.is_empty() || Instant::now() > end {
            break;
        }
        for cgroup in cgroups {
            let _ = fs::remove_dir(cgroup);
        }
        sleep(Duration::from_millis(5));
    }
    let _ = fs::remove_dir_all(dir);
}

fn mounts_of(dir: &Path, tag: &str) -> Vec<host::Mount> {
    let ours = |m: &host::Mount| m.target.starts_with(dir) || m.line.contains(tag);
    host::mounts().into_iter().filter(ours).collect()
}

/// The cgroups with the tag in their name and those below, parents first.
pub fn cgroups_of(tag: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in host::hierarchies() {
        walk(&top, &mut |path| {
            if path.to_string_lossy().contains(tag) {
                found.push(path.to_owned());
            }
        });
    }
    found
}

fn walk(dir: &Path, f: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            f(&entry.path());
            walk(&entry.path(), f);
        }
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
