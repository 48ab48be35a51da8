//! The file system and the namespaces that the container sees.

use std::fs;

use serde_json::json;

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "rootfs":
    EVERYWHERE {
        default_mounts, cgroup_mount, hides_the_host, default_devices, devices_work,
        device_links, masked_paths_are_empty, masked_file_and_folder, readonly_paths,
        readonly_path_of_the_image, readonly_root, writable_root, hostname, domainname,
        new_namespaces, relative_and_absolute_root, bind_mounts, tmpfs_mount, later_mounts_win,
        mount_points_are_made, no_pivot, only_one_process, only_loopback,
    }
    ROOT { sysctl, shared_namespace_by_path }
}

/// Target, type, options of the mount, options of the file system.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const MOUNTS: [Row; 5] = [
    ("/proc", "proc", &["rw"], &[]),
    ("/dev", "tmpfs", &["rw", "nosuid"], &["size=65536k", "mode=755"]),
    ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"], &["mode=620", "ptmxmode=666"]),
    ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"], &["size=65536k"]),
    ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"], &[]),
];

/// The last mount on that target: type, options of the mount, of the file system.
fn mount_on(table: &str, target: &str) -> Option<(String, Vec<String>, Vec<String>)> {
    let words = |list: &str| list.split(',').map(str::to_owned).collect();
    table.lines().rev().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let head: Vec<&str> = head.split(' ').collect();
        let tail: Vec<&str> = tail.split(' ').collect();
        (head[4] == target).then(|| (tail[0].to_owned(), words(head[5]), words(tail[2])))
    })
}

#[track_caller]
fn check(table: &str, (target, kind, options, fs_options): Row) {
    let found = mount_on(table, target);
    let (k, o, f) = found.unwrap_or_else(|| panic!("nothing is mounted on {target}:\n{table}"));
    assert_eq!(k, kind, "{target}");
    for (wanted, there) in [(options, o), (fs_options, f)] {
        for option in wanted {
            assert!(there.iter().any(|o| o == option), "{target}: no {option} in {there:?}");
        }
    }
}

fn default_mounts(t: &Context) -> Outcome {
    let table = t.run(&t.bundle().args(&["mounts"])).ok().stdout();
    for row in MOUNTS {
        check(&table, row);
    }
    let (_, dev, _) = mount_on(&table, "/dev").expect("it was just found");
    assert!(!dev.iter().any(|option| option == "relatime"), "/dev is strictatime: {dev:?}");
    check(&table, ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"], &[]));
    if t.host.uid == 0 {
        check(&table, ("/dev/pts", "devpts", &[], &["gid=5"]));
    }
    Ok(())
}

fn cgroup_mount(t: &Context) -> Outcome {
    let table = t.run(&t.bundle().args(&["mounts"])).ok().stdout();
    let kind = match t.host.layout {
        crate::host::Layout::V2 => "cgroup2",
        crate::host::Layout::V1 => "tmpfs",
    };
    check(&table, ("/sys/fs/cgroup", kind, &["nosuid", "nodev", "noexec"], &[]));
    if t.host.layout == crate::host::Layout::V1 {
        check(&table, ("/sys/fs/cgroup/memory", "cgroup", &["ro", "nosuid"], &["memory"]));
    } else {
        check(&table, ("/sys/fs/cgroup", kind, &["ro"], &[]));
    }
    Ok(())
}

/// Nothing of the old root is left in the mount table.
fn hides_the_host(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["ls", "/", "--", "mounts"])).ok();
    let text = done.stdout();
    let dir = t.dir().to_string_lossy().into_owned();
    for line in text.lines().filter(|line| line.contains(" - ")) {
        let target = line.split(' ').nth(4).expect("a mountinfo line");
        let expected = ["/proc", "/dev", "/sys"].iter().any(|top| target.starts_with(top));
        assert!(target == "/" || expected, "{line}");
        assert!(!target.contains(&dir), "{line}");
    }
    let mut names: Vec<&str> = text.lines().filter(|line| !line.contains(' ')).collect();
    names.sort_unstable();
    assert_eq!(names, ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"]);
    Ok(())
}

const DEVICES: [(&str, &str); 6] = [
    ("/dev/null", "1:3"),
    ("/dev/zero", "1:5"),
    ("/dev/full", "1:7"),
    ("/dev/random", "1:8"),
    ("/dev/urandom", "1:9"),
    ("/dev/tty", "5:0"),
];

fn default_devices(t: &Context) -> Outcome {
    let mut args = vec!["stat"];
    args.extend(DEVICES.iter().map(|device| device.0));
    let done = t.run(&t.bundle().args(&args)).ok();
    for (path, number) in DEVICES {
        let value = done.value(path);
        assert!(value.starts_with("char 666 ") && value.ends_with(number), "{path}: {value}");
        // Without privilege they are the host's, bound: owned by an unmapped user.
        assert!(t.host.uid != 0 || value.starts_with("char 666 0 0 "), "{path}: {value}");
    }
    Ok(())
}

fn devices_work(t: &Context) -> Outcome {
    let commands = ["write", "/dev/null", "x", "--", "open-both", "/dev/null", "/dev/zero"];
    let more = ["--", "open", "/dev/random", "/dev/urandom", "--", "open-both", "/dev/ptmx"];
    t.run(&t.bundle().args(&[commands.as_slice(), &more].concat())).ok();
    let full = t.run(&t.bundle_again().args(&["write", "/dev/full", "x"])).exits(1);
    full.prints(&["write /dev/full: ENOSPC"]);
    Ok(())
}

fn device_links(t: &Context) -> Outcome {
    const LINKS: [(&str, &str); 5] = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    let mut args = vec!["readlink"];
    args.extend(LINKS.iter().map(|link| link.0));
    // One that is asked for again is the link as well.
    let again = json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]);
    for (bundle, devices) in [(t.bundle(), json!([])), (t.bundle_again(), again)] {
        let done = t.run(&bundle.args(&args).with("/linux/devices", devices)).ok();
        for (path, target) in LINKS {
            assert_eq!(done.value(path), target, "{path}");
        }
    }
    Ok(())
}

/// Reading and listing give nothing, or an error, whatever a path is on this kernel.
fn masked_paths_are_empty(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let list = bundle.config()["linux"]["maskedPaths"].as_array().expect("a list").clone();
    assert!(list.len() >= 10, "{list:?}");
    let paths: Vec<&str> = list.iter().filter_map(|path| path.as_str()).collect();
    let args = [&["cat"], paths.as_slice(), &["--", "ls"], &paths].concat();
    let done = t.run(&bundle.args(&args));
    for line in done.stdout().lines() {
        assert!(line.starts_with("cat /") || line.starts_with("ls /"), "{line}");
        let error = line.rsplit(' ').next().unwrap_or_default();
        assert!(["ENOENT", "EISDIR", "ENOTDIR", "EACCES", "EPERM"].contains(&error), "{line}");
    }
    Ok(())
}

fn masked_file_and_folder(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/maskedPaths", json!(["/etc/secret", "/secret", "/none"]));
    bundle.file("etc/secret", b"hidden", 0o644);
    bundle.file("secret/file", b"hidden", 0o644);
    let done = t.run(&bundle.args(&["cat", "/etc/secret", "--", "ls", "/secret"])).ok();
    assert_eq!(done.stdout(), "");
    Ok(())
}

fn readonly_paths(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["write", "/proc/sys/kernel/hostname", "x"])).exits(1);
    // An ordinary user's root is not the file's owner, which the kernel looks at first.
    let error = if t.host.uid == 0 { "EROFS" } else { "EACCES" };
    done.prints(&[&format!("write /proc/sys/kernel/hostname: {error}")]);
    Ok(())
}

fn readonly_path_of_the_image(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/readonlyPaths", json!(["/var", "/none"]));
    let bundle = bundle.with("/root/readonly", json!(false));
    let done = t.run(&bundle.args(&["write", "/tmp/x", "x", "--", "write", "/var/x", "x"])).exits(1);
    done.prints(&["write /var/x: EROFS"]);
    Ok(())
}

fn readonly_root(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["write", "/x", "x", "--", "write", "/dev/shm/x", "x"]));
    done.exits(1).prints(&["write /x: EROFS"]);
    Ok(())
}

fn writable_root(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/root/readonly", json!(false)).args(&["write", "/x", "content"]);
    t.run(&bundle).ok();
    assert_eq!(fs::read_to_string(bundle.rootfs("x")).expect("it was written"), "content");
    Ok(())
}

fn hostname(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["hostname"]).with("/hostname", json!("box.example"))).ok();
    assert_eq!(done.value("hostname"), "box.example");
    Ok(())
}

fn domainname(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["hostname"]).with("/domainname", json!("example.test"));
    assert_eq!(t.run(&bundle).ok().value("domainname"), "example.test");
    Ok(())
}

fn new_namespaces(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let list = bundle.config()["linux"]["namespaces"].as_array().expect("a list").clone();
    let wanted: Vec<&str> = list.iter().filter_map(|space| space["type"].as_str()).collect();
    let file = |kind: &str| match kind {
        "network" => "/proc/self/ns/net".to_owned(),
        "mount" => "/proc/self/ns/mnt".to_owned(),
        other => format!("/proc/self/ns/{other}"),
    };
    let files: Vec<String> = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"].map(file).to_vec();
    let mut args = vec!["readlink"];
    args.extend(files.iter().map(String::as_str));
    let done = t.run(&bundle.args(&args)).ok();
    for path in &files {
        let inside = done.value(path);
        let outside = fs::read_link(path).expect("this kernel has it");
        let new = wanted.iter().any(|kind| file(kind) == *path);
        assert_eq!(inside != outside.to_string_lossy(), new, "{path}: {inside}");
    }
    Ok(())
}

fn relative_and_absolute_root(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "x"]);
    t.run(&bundle).ok();
    let absolute = bundle.rootfs("").to_string_lossy().into_owned();
    t.run(&bundle.with("/root/path", json!(absolute))).ok().prints(&["x"]);
    Ok(())
}

fn bind_mounts(t: &Context) -> Outcome {
    let source = t.dir().join("source");
    fs::create_dir(&source).expect("writable");
    fs::write(source.join("file"), "content\n").expect("writable");
    let file = source.join("file");
    let bundle = t
        .bundle()
        .with("/root/readonly", json!(false))
        .with("/mounts/-", json!({"destination": "/rw", "source": source, "type": "bind", "options": ["rbind"]}))
        .with(
            "/mounts/-",
            json!({"destination": "/ro", "source": source, "type": "none", "options": ["bind", "ro", "nosuid"]}),
        )
        .with("/mounts/-", json!({"destination": "/etc/file", "source": file, "options": ["bind", "ro"]}));
    let commands = ["cat", "/rw/file", "/ro/file", "/etc/file", "--", "write", "/rw/new", "x"];
    let refused = ["--", "write", "/ro/new2", "x", "--", "write", "/etc/file", "x"];
    let done = t.run(&bundle.args(&[commands.as_slice(), &refused].concat())).exits(1);
    let errors = ["write /ro/new2: EROFS", "write /etc/file: EROFS"];
    done.prints(&[["content"; 3].as_slice(), &errors].concat());
    assert_eq!(fs::read_to_string(source.join("new")).expect("it was written"), "x");
    Ok(())
}

fn tmpfs_mount(t: &Context) -> Outcome {
    let options = json!(["nosuid", "noexec", "mode=1770", "size=1m"]);
    let mount = json!({"destination": "/scratch", "source": "tmpfs", "type": "tmpfs", "options": options});
    let bundle = t.bundle().with("/root/readonly", json!(false)).with("/mounts/-", mount);
    let done = t.run(&bundle.args(&["stat", "/scratch", "--", "mounts"])).ok();
    assert!(done.value("/scratch").starts_with("dir 1770 0 0 "), "{}", done.value("/scratch"));
    check(&done.stdout(), ("/scratch", "tmpfs", &["rw", "nosuid", "noexec"], &["size=1024k"]));
    Ok(())
}

/// Mounts are made in the config's order, one on another.
fn later_mounts_win(t: &Context) -> Outcome {
    let tmpfs = |path: &str| json!({"destination": path, "source": "tmpfs", "type": "tmpfs"});
    let bundle = t.bundle().with("/mounts/-", tmpfs("/tmp")).with("/mounts/-", tmpfs("/tmp/a/b"));
    t.run(&bundle.args(&["write", "/tmp/a/b/x", "1", "--", "write", "/tmp/y", "1"])).ok();
    Ok(())
}

/// A missing mount point is made, in the image and with its parents: a folder, or a file for a file.
fn mount_points_are_made(t: &Context) -> Outcome {
    let source = t.dir().join("file");
    fs::write(&source, "content\n").expect("writable");
    let mount = json!({"destination": "/a/b/file", "source": source, "options": ["bind"]});
    let bundle = t.bundle().with("/mounts/-", mount).args(&["cat", "/a/b/file"]);
    t.run(&bundle).ok().prints(&["content"]);
    assert_eq!(fs::read(bundle.rootfs("a/b/file")).expect("it was made"), b"");
    Ok(())
}

fn no_pivot(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["ls", "/etc"]);
    let args = ["run", "--no-pivot", "--bundle", bundle.path(), &t.id("c")];
    let done = t.orlop(&args).end().ok();
    let mut names: Vec<String> = done.stdout().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["group", "passwd"]);
    Ok(())
}

fn only_one_process(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["ls", "/proc"])).ok();
    let pids: Vec<String> =
        done.stdout().lines().filter(|name| name.parse::<u32>().is_ok()).map(str::to_owned).collect();
    assert_eq!(pids, ["1"]);
    Ok(())
}

fn only_loopback(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let spaces = bundle.config()["linux"]["namespaces"].to_string();
    let done = t.run(&bundle.args(&["cat", "/proc/net/dev"])).ok();
    // Without privilege `spec` leaves the host's network in place.
    if spaces.contains("network") {
        let text = done.stdout();
        let names: Vec<&str> = text.lines().filter_map(|l| Some(l.split_once(':')?.0.trim())).collect();
        assert_eq!(names, ["lo"]);
    }
    Ok(())
}

fn sysctl(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().with("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let bundle = bundle.args(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    t.run(&bundle).ok().prints(&["1"]);
    let bundle = bundle.with("/linux/sysctl", json!({"kernel.core_pattern": "x"}));
    t.run(&bundle).fails_with("kernel.core_pattern");
    Ok(())
}

fn shared_namespace_by_path(t: &Context) -> Outcome {
    t.needs_root()?;
    let first = t.bundle().args(&["sleep", "600"]).with("/hostname", json!("shared"));
    let id = t.id("first");
    t.detach(&first, &id);
    let path = format!("/proc/{}/ns/uts", t.pid(&id));
    let second = t
        .bundle_again()
        .retain("/linux/namespaces", |space| space["type"] != "uts")
        .with("/linux/namespaces/-", json!({"type": "uts", "path": path}))
        .remove("/hostname")
        .args(&["hostname"]);
    assert_eq!(t.run(&second).ok().value("hostname"), "shared");
    t.delete(&id);
    Ok(())
}
