//! Options of mounts, against what the host's mount already has.

use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::host::mounts;
use crate::tests::{Outcome, tests};

tests! { "mounts":
    ROOTLESS { flags_that_the_host_has_locked }
    HOST_ROOT {
        flags_of_a_bind_mount, locked_flags_stay, locked_flags_that_must_go, without_a_mount_namespace,
        slave_root_hears_of_the_host, iversion_is_for_any_file_system,
    }
}

/// Binds a tmpfs with `host`'s options to /mnt with these, in a mount namespace of its own.
fn bound(t: &Context, bundle: Bundle, host: &str, options: &str) -> Done {
    bound_by(t, bundle, host, options, "orlop")
}

/// The same, called by that name.
fn bound_by(t: &Context, bundle: Bundle, host: &str, options: &str, name: &str) -> Done {
    let source = t.dir().join("tmp").to_str().expect("a plain path").to_owned();
    let options: Vec<&str> = options.split(',').collect();
    let mount = json!({"destination": "/mnt", "source": source, "options": options});
    std::fs::create_dir(bundle.rootfs("mnt")).expect("it is new");
    let bundle = bundle.with("/mounts/-", mount);
    let script = format!(
        "exec unshare --mount bash -c 'mount -t tmpfs -o strictatime t {source} &&
         mount -o remount,bind,{host} {source} && exec -a {name} \"$@\"' bash \"$@\""
    );
    let done = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).through_bash(&script).end();
    std::fs::remove_dir_all(bundle.path()).expect("it is ours");
    done
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    let map: Value = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "user"}));
    bundle.with("/linux/uidMappings", map.clone()).with("/linux/gidMappings", map)
}

fn attributes(done: &Done) -> String {
    let table = done.stdout();
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/mnt")).expect("it is mounted");
    line.split(' ').nth(5).unwrap_or_default().to_owned()
}

/// As `mount --bind -o` has it: what is named holds and the rest goes, but for access times, which stay until another
/// policy is named; and where nothing is named, all stays.
fn flags_of_a_bind_mount(t: &Context) -> Outcome {
    t.needs_root()?;
    for (host, options, wanted) in [
        ("ro,noexec,nodiratime", "bind", "ro,noexec,nodiratime,relatime"),
        ("ro,noexec,nodiratime", "bind,dev", "rw,nodiratime,relatime"),
        ("ro", "bind,rw,nosuid,nodev,rprivate", "rw,nosuid,nodev"),
        ("nosuid,nodev,noexec,noatime", "bind,dev,suid,exec,atime", "rw,noatime"),
        ("noatime", "bind,norelatime", "rw,noatime"),
        ("noatime", "bind,relatime", "rw,relatime"),
        ("noatime", "bind,nodiratime", "rw,nodiratime,relatime"),
        ("nodiratime", "bind,strictatime", "rw"),
        ("noatime", "bind,nodiratime,strictatime", "rw,nodiratime"),
    ] {
        let bundle = t.bundle().args(&["mounts"]);
        assert_eq!(attributes(&bound(t, bundle, host, options).ok()), wanted, "{host}, {options}");
    }
    Ok(())
}

/// Of a more privileged mount what is locked stays, unless it is named.
fn locked_flags_stay(t: &Context) -> Outcome {
    t.needs_root()?;
    for (host, options, wanted) in [
        ("ro", "bind,nosuid,nodev", "ro,nosuid,nodev"),
        ("nodev,nosuid,noatime", "bind,ro,exec", "ro,nosuid,nodev,noatime"),
        ("nodev,nosymfollow", "bind,ro,symfollow", "ro,nodev"),
        ("noatime,nodiratime", "bind,norelatime", "rw,noatime,nodiratime"),
        ("nodiratime", "bind,diratime", "rw,nodiratime,relatime"),
    ] {
        let bundle = in_user_namespace(t.bundle()).args(&["mounts"]);
        assert_eq!(attributes(&bound(t, bundle, host, options).ok()), wanted, "{host}, {options}");
    }
    Ok(())
}

fn locked_flags_that_must_go(t: &Context) -> Outcome {
    t.needs_root()?;
    for (host, options) in
        [("ro", "bind,rw"), ("nodev", "bind,dev"), ("relatime", "bind,noatime"), ("noatime", "bind,relatime")]
    {
        let failed = bound(t, in_user_namespace(t.bundle()), host, options).fails_with("operation not permitted");
        assert!(
            failed.stderr().starts_with("run ") && failed.stderr().contains(": mounting at /mnt"),
            "{}",
            failed.stderr()
        );
        // In runc's words where that was called.
        const WORDS: &str =
            "runc run failed: unable to start container process: error during container init: error mounting at /mnt: ";
        let failed = bound_by(t, in_user_namespace(t.bundle()), host, options, "runc");
        failed.fails_with(WORDS).fails_with("operation not permitted");
    }
    Ok(())
}

/// What the host has not mounted for an ordinary user, who binds it: the kernel locks its flags for whoever does not own
/// the mount namespace that it comes from.
fn flags_that_the_host_has_locked(t: &Context) -> Outcome {
    if t.host.uid == 0 {
        return Err(Skip("needs an ordinary user".into()));
    }
    const FLAGS: [&str; 2] = ["nosuid", "nodev"];
    let flags = |line: &str| -> Vec<String> {
        line.split(' ').nth(5).unwrap_or_default().split(',').map(str::to_owned).collect()
    };
    let has_both = |flags: &[String]| FLAGS.iter().all(|flag| flags.iter().any(|there| there == flag));
    let places = ["/dev/shm", "/dev/mqueue", "/sys", "/proc", "/run"].map(Path::new);
    let is_source = |mount: &crate::host::Mount| places.contains(&&*mount.target) && has_both(&flags(&mount.line));
    let source = mounts().into_iter().find(is_source);
    let source = source.ok_or_else(|| Skip("nothing is mounted nosuid and nodev".into()))?.target;
    let with = |options: &[&str]| {
        let options = [&["rbind"], options].concat();
        let mount = json!({"destination": "/tmp", "source": source, "options": options});
        let bundle = t.bundle().with("/mounts/-", mount).args(&["mounts"]);
        let done = t.run(&bundle);
        std::fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
        done
    };
    for options in [&[][..], &["ro"], &["ro", "nosuid"]] {
        let table = with(options).ok().stdout();
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/tmp")).expect("it is mounted");
        assert!(has_both(&flags(line)), "{options:?}: {line}");
        assert!(!options.contains(&"ro") || flags(line).contains(&"ro".to_owned()), "{line}");
    }
    for options in [["suid"], ["dev"]] {
        with(&options).fails_with("operation not permitted").fails_with("see mount_namespaces(7)");
    }
    Ok(())
}

/// The container's mounts are in the host's tree then, and gone with it.
fn without_a_mount_namespace(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "mount");
    t.run(&bundle).fails_with("unable to restrict sys entries without a private MNT namespace");
    let bundle = bundle.with("/linux/maskedPaths", json!([])).with("/linux/readonlyPaths", json!([]));
    let bundle = bundle.args(&["ls", "/etc"]);
    let mut names: Vec<String> = t.run(&bundle).ok().stdout().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["group", "passwd"]);
    let rootfs = bundle.rootfs("");
    let mounted = || mounts().iter().filter(|mount| mount.target.starts_with(&rootfs)).count();
    assert_eq!(mounted(), 0, "run has left some");
    let id = t.id("lasting");
    let bundle = bundle.args(&["sleep", "600"]);
    t.detach(&bundle, &id);
    let ours = std::fs::read_link("/proc/self/ns/mnt").expect("procfs is mounted");
    assert_eq!(std::fs::read_link(format!("/proc/{}/ns/mnt", t.pid(&id))).expect("it runs"), ours);
    assert!(mounted() > 3, "{}", mounted());
    let done = t.orlop(&["exec", &id, "/bin/probe", "ls", "/etc"]).end().ok();
    assert!(done.stdout().contains("passwd") && !done.stdout().contains("fstab"), "{}", done.stdout());
    t.delete(&id);
    assert_eq!(mounted(), 0, "delete has left some");
    t.run(&bundle.with("/hooks/createRuntime/-", json!({"path": "/bin/false"}))).fails_with("hook");
    assert_eq!(mounted(), 0, "a failure has left some");
    Ok(())
}

/// The root is a copy of the mount that holds it: as a slave it hears of the host's mounts.
fn slave_root_hears_of_the_host(t: &Context) -> Outcome {
    t.needs_root()?;
    for (mode, heard) in [("slave", true), ("private", false)] {
        let bundle = t.bundle().with("/linux/rootfsPropagation", json!(mode)).args(&["mounts"]);
        let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
        let script =
            "exec unshare --mount --propagation private bash -c 'mount --make-rshared / && \"$@\"' bash \"$@\"";
        let table = run.through_bash(script).end().ok().stdout();
        let root = table.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("it is mounted");
        assert_eq!(root.contains(" master:"), heard, "{mode}: {root}");
        std::fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// What mount(2) takes as a flag no file system knows by name.
fn iversion_is_for_any_file_system(t: &Context) -> Outcome {
    t.needs_root()?;
    for (kind, options) in [
        ("tmpfs", json!(["iversion", "nosuid"])),
        ("tmpfs", json!(["noiversion", "nosuid"])),
        ("ramfs", json!(["iversion", "nosuid"])),
        ("ramfs", json!(["iversion", "noiversion", "nosuid"])),
    ] {
        let mount = json!({"destination": "/mnt", "type": kind, "source": kind, "options": options});
        let bundle = t.bundle().with("/mounts/-", mount).args(&["mounts"]);
        let table = t.run(&bundle).ok().stdout();
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/mnt")).expect("it is mounted");
        assert!(line.contains(&format!(" - {kind} {kind} ")) && line.contains("nosuid"), "{options}: {line}");
        std::fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}
