//! Annotations that change what is done, and mount options that are crun's as they are.

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::users::mapped;
use crate::bundle::Bundle;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "annotations":
    HOST_ROOT {
        original_groups_stay, pidfd_goes_to_its_receiver, receiver_that_is_not_there, mount_context_types,
        mount_label_without_selinux, systemd_hierarchy_of_v1, refused_by_name, features_lists_them,
        output_of_hooks_goes_to_files, output_of_hooks_in_the_container, no_file_of_hooks_stays_open,
        link_is_copied, link_that_is_there, file_is_mounted_as_ever, link_is_mounted_itself, mounted_on_a_link,
    }
}

pub(super) fn annotated(t: &Context, name: &str, value: &str) -> Bundle {
    let mut annotations = serde_json::Map::new();
    annotations.insert(name.to_owned(), json!(value));
    t.bundle().with("/annotations", Value::Object(annotations))
}

fn original_groups_stay(t: &Context) -> Outcome {
    t.needs_root()?;
    for (value, kept) in [("1", true), ("0", false)] {
        let bundle = annotated(t, "run.oci.keep_original_groups", value).args(&["cat", "/proc/self/status"]);
        let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
        let done = run.through_bash("exec setpriv --groups 4321,4322 \"$@\"").end().ok();
        let groups = done.value("Groups");
        assert_eq!(groups.split_whitespace().collect::<Vec<_>>() == ["4321", "4322"], kept, "{value}: {groups}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn pidfd_goes_to_its_receiver(t: &Context) -> Outcome {
    let path = t.dir().join("receiver.sock");
    let listener = UnixListener::bind(&path).expect("the path is short");
    let id = t.id("c");
    t.create(&annotated(t, "run.oci.pidfd_receiver", path.to_str().expect("plain")), &id).ok();
    let (mut peer, _) = listener.accept().expect("somebody has connected");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0u8; 64];
    recvmsg(&peer, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty()).expect("a message");
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let fd = fd.expect("a descriptor");
    let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("it is open");
    assert!(info.contains(&format!("Pid:\t{}\n", t.pid(&id))), "{info}");
    assert_eq!(peer.read(&mut text).expect("the other end is closed"), 0);
    t.delete(&id);
    Ok(())
}

fn receiver_that_is_not_there(t: &Context) -> Outcome {
    t.run(&annotated(t, "run.oci.pidfd_receiver", "/no/such.sock")).fails_with("/no/such.sock");
    Ok(())
}

fn mount_context_types(t: &Context) -> Outcome {
    let bundle = annotated(t, "run.oci.mount_context_type", "xcontext").with("/linux/mountLabel", json!("a:b:c:s0"));
    t.run(&bundle).fails_with("invalid mount context type \"xcontext\"");
    fs::remove_dir_all(bundle.path()).expect("it is ours");
    let bundle = annotated(t, "run.oci.mount_context_type", "rootcontext").with("/linux/mountLabel", json!("a:b:c:s0"));
    let plan = t.orlop(&["explain", "--bundle", bundle.path()]).end().ok().stdout();
    assert!(plan.contains("rootcontext=a:b:c:s0"), "{plan}");
    Ok(())
}

fn mount_label_without_selinux(t: &Context) -> Outcome {
    if fs::exists("/sys/fs/selinux/enforce").unwrap_or(false) {
        return Err(crate::context::Skip("SELinux is enabled".into()));
    }
    let bundle = t.bundle().with("/linux/mountLabel", json!("no:such:label:s0"));
    let plan = t.orlop(&["explain", "--bundle", bundle.path()]).end().ok().stdout();
    assert!(plan.contains("context=no:such:label:s0"), "{plan}");
    t.run(&bundle).fails_with("SELinux is not available");
    Ok(())
}

fn systemd_hierarchy_of_v1(t: &Context) -> Outcome {
    let name = "run.oci.systemd.force_cgroup_v1";
    t.run(&annotated(t, name, "/no/mount")).fails_with("where nothing is mounted");
    fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    let bundle = annotated(t, name, "/sys/fs/cgroup").args(&["mounts"]);
    let done = t.run(&bundle);
    let table = done.stdout();
    if !fs::read_to_string("/proc/self/mountinfo").expect("it is there").contains("name=systemd") {
        return Err(crate::context::Skip("the host has no hierarchy of systemd".into()));
    }
    done.ok();
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/sys/fs/cgroup")).expect("it is mounted");
    assert!(line.contains(" - cgroup ") && line.contains("name=systemd"), "{line}");
    Ok(())
}

fn refused_by_name(t: &Context) -> Outcome {
    for name in ["run.oci.handler", "run.oci.seccomp.plugins"] {
        t.run(&annotated(t, name, "x")).fails_with(&format!("the annotation {name} is not supported"));
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

/// What is there stays, and a path may start from the bundle.
fn output_of_hooks_goes_to_files(t: &Context) -> Outcome {
    let err = t.dir().join("err");
    fs::write(&err, "before\n").expect("writable");
    let mut bundle = annotated(t, "run.oci.hooks.stdout", "out").args(&["true"]);
    bundle.set("/annotations/run.oci.hooks.stderr", json!(err));
    for event in ["prestart", "createRuntime", "poststart", "poststop"] {
        let script = format!("echo {event}; echo {event} >&2");
        bundle.set(&format!("/hooks/{event}/-"), json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    }
    t.run(&bundle).ok();
    let all = "prestart\ncreateRuntime\npoststart\npoststop\n";
    let out = std::path::Path::new(bundle.path()).join("out");
    assert_eq!(fs::read_to_string(&out).expect("it was made"), all);
    assert_eq!(fs::read_to_string(&err).expect("it was there"), format!("before\n{all}"));
    // What is elsewhere is not in the message of one that fails.
    let failing = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo why; echo reason >&2; exit 3"]});
    bundle.set("/hooks/prestart", json!([failing]));
    bundle.set("/hooks/poststop", json!([]));
    let failed = t.run(&bundle).fails_with("error running prestart hook #0: exit status 3");
    assert!(!failed.stderr().contains("why") && !failed.stderr().contains("reason"), "{}", failed.stderr());
    assert_eq!(fs::read_to_string(&out).expect("it was made"), format!("{all}why\n"));
    bundle.set("/annotations/run.oci.hooks.stdout", json!("no/such/folder"));
    t.run(&bundle).fails_with("run.oci.hooks.stdout");
    Ok(())
}

/// With hooks that say what they have open: the first in the host's tree, the second in the container.
fn with_hooks_inside(t: &Context, bundle: Bundle) -> Bundle {
    let probe = json!({"path": "/bin/probe", "args": ["probe", "print", "started", "--", "fds"]});
    let script = "echo created; echo complained >&2; ls -l /proc/self/fd";
    let mut bundle = bundle.args(&["fds"]);
    bundle.set("/hooks/createContainer/-", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    bundle.set("/hooks/startContainer/-", probe);
    bundle.set("/annotations/run.oci.hooks.stdout", json!(t.dir().join("out")));
    bundle.set("/annotations/run.oci.hooks.stderr", json!("err"));
    bundle
}

/// The files are the host's, and opened with the runtime's rights.
fn output_of_hooks_in_the_container(t: &Context) -> Outcome {
    let out = t.dir().join("out");
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]});
    let filtered = |bundle: Bundle| bundle.with("/process/noNewPrivileges", json!(false));
    let filtered = |bundle: Bundle| filtered(bundle).with("/linux/seccomp", filter.clone());
    let mapped = |bundle: Bundle| if t.host.uid == 0 { mapped(bundle) } else { bundle };
    for change in [&(|bundle| bundle) as &dyn Fn(Bundle) -> Bundle, &mapped, &filtered] {
        for by_start in [false, true] {
            let bundle = change(with_hooks_inside(t, t.bundle()));
            let done = if by_start {
                let id = t.id("c");
                let done = t.create(&bundle, &id).ok();
                t.orlop(&["start", &id]).end().ok();
                t.wait_for(&id, "stopped");
                t.delete(&id);
                done
            } else {
                t.run(&bundle).ok()
            };
            // Its program has neither.
            assert!(!done.stdout().contains("/out") && !done.stdout().contains("/err"), "{}", done.stdout());
            let text = fs::read_to_string(&out).expect("it was made");
            assert!(text.starts_with("created\n") && text.contains("\nstarted\n"), "{text}");
            let err = Path::new(bundle.path()).join("err");
            assert_eq!(fs::read_to_string(&err).expect("it was made"), "complained\n");
            // Each hook has both, as standard output and error alone.
            for (name, [listed, shown]) in [("/out", [" 1 -> ", "fd 1: "]), ("/err", [" 2 -> ", "fd 2: "])] {
                let lines = text.lines().filter(|line| line.ends_with(name)).collect::<Vec<_>>();
                let right = |line: &&str| line.contains(listed) || line.starts_with(shown);
                assert!(lines.len() == 2 && lines.iter().all(right), "{name}: {text}");
            }
            fs::remove_file(&out).expect("it is there");
            fs::remove_dir_all(bundle.path()).expect("it is ours");
        }
    }
    let bundle = with_hooks_inside(t, t.bundle());
    let failing = json!({"path": "/bin/probe", "args": ["probe", "print", "why", "--", "exit", "3"]});
    let mut bundle = bundle.with("/hooks/startContainer", json!([failing]));
    let failed = t.run(&bundle).fails_with("error running startContainer hook #0: exit status 3");
    assert!(!failed.stderr().contains("why"), "{}", failed.stderr());
    assert!(fs::read_to_string(&out).expect("it was made").ends_with("why\n"));
    bundle.set("/annotations/run.oci.hooks.stdout", json!("no/such/folder"));
    t.run(&bundle).fails_with("run.oci.hooks.stdout");
    Ok(())
}

/// What waits for `start` holds open what it needs then, and a program nothing of it.
fn no_file_of_hooks_stays_open(t: &Context) -> Outcome {
    // Of an ordinary user's init nobody but root sees what it has open.
    t.needs_root()?;
    let has_open = |pid: i32, name: &str| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
        fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|path| path.ends_with(name))
    };
    for event in ["createContainer", "startContainer"] {
        let id = t.id("c");
        let bundle = with_hooks_inside(t, t.bundle()).args(&["sleep", "600"]);
        let bundle = bundle.with(&format!("/hooks/{event}"), json!([]));
        t.create(&bundle, &id).ok();
        let pid = t.pid(&id);
        if event == "startContainer" {
            // It closes them when it waits, and `create` has not seen that.
            t.wait_until("nothing of hooks is open", || !has_open(pid, "out") && !has_open(pid, "err"));
        } else {
            assert!(has_open(pid, "out") && has_open(pid, "err"));
        }
        t.orlop(&["start", &id]).end().ok();
        assert!(!has_open(pid, "out") && !has_open(pid, "err"), "without {event}");
        t.delete(&id);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn features_lists_them(t: &Context) -> Outcome {
    let features = t.orlop(&["features"]).end().ok().json();
    let listed = features["potentiallyUnsafeConfigAnnotations"].as_array().expect("a list").clone();
    for name in [
        "org.criu.config",
        "run.oci.keep_original_groups",
        "run.oci.delegate-cgroup",
        "run.oci.hooks.stdout",
        "org.systemd.property.",
    ] {
        assert!(listed.contains(&json!(name)), "{name}: {listed:?}");
    }
    assert!(!listed.contains(&json!("run.oci.handler")), "{listed:?}");
    Ok(())
}

/// Binds `source` with an option to /etc/there.
fn bound(t: &Context, source: &std::path::Path, option: &str, commands: &[&str]) -> Bundle {
    let source = source.to_str().expect("a plain path");
    let mount = json!({"destination": "/etc/there", "source": source, "options": ["bind", option]});
    t.bundle().with("/mounts/-", mount).args(commands)
}

fn source_link(t: &Context) -> std::path::PathBuf {
    let path = t.dir().join("source-link");
    symlink("../etc/passwd", &path).expect("it is new");
    path
}

fn link_is_copied(t: &Context) -> Outcome {
    let bundle = bound(t, &source_link(t), "copy-symlink", &["readlink", "/etc/there", "--", "mounts"]);
    // A second time it is there as it should be.
    for _ in 0..2 {
        let done = t.run(&bundle).ok();
        let out = done.stdout();
        assert!(out.contains("../etc/passwd") && !out.contains(" /etc/there "), "{out}");
    }
    let made = fs::read_link(bundle.rootfs("etc/there")).expect("a link");
    assert_eq!(made.to_str(), Some("../etc/passwd"));
    Ok(())
}

fn link_that_is_there(t: &Context) -> Outcome {
    let source = source_link(t);
    let bundle = bound(t, &source, "copy-symlink", &["true"]);
    symlink("elsewhere", bundle.rootfs("etc/there")).expect("it is new");
    t.run(&bundle).fails_with("\"/etc/there\" is there already");
    fs::remove_file(bundle.rootfs("etc/there")).expect("it is ours");
    fs::write(bundle.rootfs("etc/there"), "x").expect("writable");
    t.run(&bundle).fails_with("\"/etc/there\" is there already");
    Ok(())
}

fn file_is_mounted_as_ever(t: &Context) -> Outcome {
    let source = t.dir().join("source-file");
    fs::write(&source, "content\n").expect("writable");
    let bundle = bound(t, &source, "copy-symlink", &["cat", "/etc/there"]);
    t.run(&bundle).ok().prints(&["content"]);
    let bundle = bundle.with("/mounts/0/options", json!(["copy-symlink"]));
    t.run(&bundle).fails_with("only a bind mount can copy a symbolic link");
    Ok(())
}

/// It leads to where it leads in the container.
fn link_is_mounted_itself(t: &Context) -> Outcome {
    let bundle = bound(t, &source_link(t), "src-nofollow", &["readlink", "/etc/there", "--", "cat", "/etc/there"]);
    let out = t.run(&bundle).ok().stdout();
    assert!(out.contains("../etc/passwd") && out.contains("root:x:0:0"), "{out}");
    Ok(())
}

fn mounted_on_a_link(t: &Context) -> Outcome {
    let source = t.dir().join("source-file");
    fs::write(&source, "content\n").expect("writable");
    for (option, mounted) in [("dest-nofollow", "/etc/there"), ("rw", "/etc/passwd")] {
        let bundle = bound(t, &source, option, &["mounts", "--", "cat", "/etc/there"]);
        symlink("passwd", bundle.rootfs("etc/there")).expect("it is new");
        let out = t.run(&bundle).ok().stdout();
        assert!(out.contains("content"), "{option}: {out}");
        assert!(out.lines().any(|line| line.split(' ').nth(4) == Some(mounted)), "{option}: {out}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}
