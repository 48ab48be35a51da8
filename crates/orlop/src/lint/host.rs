//! What this host does not have. Each is what a step of `create` would fail with: here the host is asked first.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Plan as CgroupPlan, Version};
use orlop_sys::CWD;
use orlop_sys::fs::{self, AtFlags, OFlags};

use super::Note;
use crate::config::{Config, NamespaceKind, SeccompAction};
use crate::host::Host;
use crate::path;
use crate::plan::options::MountOptions;
use crate::plan::{HookEvent, Options};
use crate::state::read_to_end;

/// Namespaces, and what tells that the kernel has them; see namespaces(7).
const NAMESPACES: [(NamespaceKind, &CStr); 8] = [
    (NamespaceKind::Cgroup, c"/proc/self/ns/cgroup"),
    (NamespaceKind::Ipc, c"/proc/self/ns/ipc"),
    (NamespaceKind::Mount, c"/proc/self/ns/mnt"),
    (NamespaceKind::Network, c"/proc/self/ns/net"),
    (NamespaceKind::Pid, c"/proc/self/ns/pid"),
    (NamespaceKind::Time, c"/proc/self/ns/time"),
    (NamespaceKind::User, c"/proc/self/ns/user"),
    (NamespaceKind::Uts, c"/proc/self/ns/uts"),
];

/// Looks for all that the configuration needs.
pub(crate) fn findings(config: &Config<'_>, host: &Host, options: &Options<'_>, cgroup: &CgroupPlan) -> Vec<Note> {
    let mut notes = Vec::new();
    files(config, options, &mut notes);
    hooks(config, &mut notes);
    namespaces(config, &mut notes);
    labels(config, &mut notes);
    controllers(host, cgroup, &mut notes);
    actions(config, &mut notes);
    mounts(config, &mut notes);
    notes
}

fn there(path: &str) -> bool {
    CString::new(path).is_ok_and(|path| fs::access_at(CWD, &path, 0, AtFlags::NONE).is_ok())
}

/// A small file of the kernel's; nothing where it cannot be read.
fn read(path: &CStr) -> Option<String> {
    let text = fs::open_at(CWD, path, OFlags::RDONLY, 0).and_then(|file| read_to_end(&file)).ok()?;
    String::from_utf8(text).ok()
}

fn files(config: &Config<'_>, options: &Options<'_>, notes: &mut Vec<Note>) {
    let mut needs = |pointer: String, path: &str, what: &str| {
        if !there(path) {
            notes.push(Note::error(pointer, format!("{what} {path} is not there")));
        }
    };
    if let Some(root) = config.root.as_ref().filter(|root| !root.path.is_empty()) {
        needs("/root/path".into(), &path::join(options.bundle, &root.path), "the root file system");
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        let parsed = MountOptions::of(mount);
        if parsed.bind.is_some() && !mount.source.is_empty() {
            let source = path::join(options.bundle, &mount.source);
            needs(format!("/mounts/{index}/source"), &source, "the source");
        }
    }
    for (index, namespace) in config.linux.namespaces.iter().enumerate().filter(|(_, one)| one.path.starts_with('/')) {
        needs(format!("/linux/namespaces/{index}/path"), &namespace.path, "the namespace");
    }
    if let Some(profile) = config.linux.seccomp.as_ref().filter(|profile| !profile.listener_path.is_empty()) {
        needs("/linux/seccomp/listenerPath".into(), &profile.listener_path, "the socket");
    }
}

/// Those that run on the host; what runs in the container is looked for there.
fn hooks(config: &Config<'_>, notes: &mut Vec<Note>) {
    const EXECUTE: u32 = 1;
    for event in HookEvent::ALL.into_iter().filter(|event| *event != HookEvent::StartContainer) {
        for (index, hook) in event.of(&config.hooks).iter().enumerate().filter(|(_, hook)| hook.path.starts_with('/')) {
            let pointer = format!("{}/{index}/path", event.pointer());
            let executable =
                CString::new(&*hook.path).is_ok_and(|path| fs::access_at(CWD, &path, EXECUTE, AtFlags::NONE).is_ok());
            let what = match (there(&hook.path), executable) {
                (false, _) => format!("the hook {} is not there", &*hook.path),
                (true, false) => format!("the hook {} is not executable", &*hook.path),
                (true, true) => continue,
            };
            // A failure of these comes when the container is gone.
            notes.push(match event {
                HookEvent::Poststop => Note::warning(pointer, what),
                _ => Note::error(pointer, what),
            });
        }
    }
}

fn namespaces(config: &Config<'_>, notes: &mut Vec<Note>) {
    for (index, namespace) in config.linux.namespaces.iter().enumerate() {
        let known = NAMESPACES.iter().find(|(kind, _)| *kind == namespace.kind);
        if known.is_some_and(|(_, path)| fs::access_at(CWD, path, 0, AtFlags::NONE).is_err()) {
            let what = format!("this kernel has no {} namespaces", namespace.kind.name());
            notes.push(Note::error(format!("/linux/namespaces/{index}"), what));
        }
    }
}

fn labels(config: &Config<'_>, notes: &mut Vec<Note>) {
    let process = config.process.as_ref();
    let apparmor = || read(c"/sys/module/apparmor/parameters/enabled").is_some_and(|text| text.trim() == "Y");
    if process.is_some_and(|process| !process.apparmor_profile.is_empty()) && !apparmor() {
        notes.push(Note::error("/process/apparmorProfile", "AppArmor is not available on this host"));
    }
    let selinux =
        || read(c"/proc/filesystems").is_some_and(|text| text.lines().any(|line| line.ends_with("\tselinuxfs")));
    for (label, pointer) in [
        (process.map_or("", |process| &process.selinux_label), "/process/selinuxLabel"),
        (&*config.linux.mount_label, "/linux/mountLabel"),
    ] {
        if !label.is_empty() && !selinux() {
            notes.push(Note::error(pointer, "SELinux is not available on this host"));
        }
    }
}

/// Which limits need a controller that the v2 hierarchy does not offer.
fn controllers(host: &Host, cgroup: &CgroupPlan, notes: &mut Vec<Note>) {
    let Some(unified) = host.cgroups.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2) else {
        return;
    };
    let is_unified = |dir: usize| cgroup.dirs.get(dir).is_some_and(|dir| dir.version == Version::V2);
    let mut offered = None;
    for write in cgroup.writes.iter().filter(|write| is_unified(write.dir) && write.controller.as_str() != "cgroup") {
        let offered = offered.get_or_insert_with(|| unified.offered());
        if !offered.split(' ').any(|controller| controller == write.controller.as_str()) {
            let what = format!("this host has no {} controller", write.controller);
            let note = Note::error(write.origin.as_str(), what);
            notes.push(note.hint(format!("{} has: {offered}", unified.mount)));
        }
    }
}

fn actions(config: &Config<'_>, notes: &mut Vec<Note>) {
    let Some(profile) = &config.linux.seccomp else { return };
    let Some(available) = read(c"/proc/sys/kernel/seccomp/actions_avail") else {
        notes.push(Note::error("/linux/seccomp", "this kernel has no filters of system calls"));
        return;
    };
    let rules = profile.syscalls.iter().enumerate();
    let rules = rules.map(|(index, rule)| (format!("/linux/seccomp/syscalls/{index}/action"), rule.action));
    for (pointer, action) in rules.chain([("/linux/seccomp/defaultAction".into(), profile.default_action)]) {
        let name = match action {
            SeccompAction::Kill | SeccompAction::KillThread => "kill_thread",
            SeccompAction::KillProcess => "kill_process",
            SeccompAction::Trap => "trap",
            SeccompAction::Errno => "errno",
            SeccompAction::Trace => "trace",
            SeccompAction::Allow => "allow",
            SeccompAction::Log => "log",
            SeccompAction::Notify => "user_notif",
        };
        if !available.split_ascii_whitespace().any(|known| known == name) {
            notes.push(Note::error(pointer, format!("this kernel has no {action}")));
        }
    }
}

/// File systems that the kernel does not know yet; it may load a module for one.
fn mounts(config: &Config<'_>, notes: &mut Vec<Note>) {
    let Some(known) = read(c"/proc/filesystems") else { return };
    for (index, mount) in config.mounts.iter().enumerate() {
        let parsed = MountOptions::of(mount);
        let is_new = parsed.bind.is_none() && !parsed.remount;
        let kind = &*mount.kind;
        if is_new && !matches!(kind, "" | "none") && !known.lines().any(|line| line.rsplit('\t').next() == Some(kind)) {
            let what = format!("this kernel has no file system {kind:?} now");
            notes.push(Note::warning(format!("/mounts/{index}/type"), what).hint("a module may bring it"));
        }
    }
}
