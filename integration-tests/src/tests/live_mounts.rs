//! `mounts add` and `mounts remove`: what a running container has mounted, and what a hostile one makes of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::tests::users::{as_user, mapped, rootless};
use crate::tests::{Outcome, tests};

tests! { "live_mounts":
    EVERYWHERE {
        adds_and_removes, options_of_a_copy, file_over_a_file, sources_start_from_the_bundle, procfs_of_the_container,
        sysfs_of_the_container, created_and_paused_containers, stopped_container, remounted, nested_ones_go_in_reverse, host_sees_nothing,
        failure_takes_the_others_back, read_only_root, refused_arguments, destination_link_stays_inside,
        destination_on_procfs_is_refused, covered_file_stays_covered,
    }
    ROOT {
        container_with_user_namespace, closed_directory, ids_of_a_mount, ordinary_user,
        what_an_ordinary_user_cannot, root_of_a_user_namespace, destination_races_with_links,
    }
}

/// A running container of that bundle that sleeps, and whose root can be written to.
fn sleeper(t: &Context, bundle: Bundle) -> String {
    let id = t.id("c");
    t.detach(&bundle.with("/root/readonly", json!(false)).args(&["sleep", "600"]), &id);
    id
}

fn change(t: &Context, what: &str, id: &str, mounts: &Value) -> Done {
    let file = t.dir().join("mounts.json");
    fs::write(&file, mounts.to_string()).expect("writable");
    t.orlop(&["mounts", what, id, file.to_str().expect("a plain path")]).end()
}

fn probe(t: &Context, id: &str, words: &[&str]) -> Done {
    let args: Vec<&str> = ["exec", id, "/bin/probe"].into_iter().chain(words.iter().copied()).collect();
    t.orlop(&args).end()
}

/// The container's line of /proc/PID/mountinfo for that place.
fn line(t: &Context, id: &str, place: &str) -> Option<String> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", t.pid(id))).expect("it runs");
    table.lines().rfind(|line| line.split(' ').nth(4) == Some(place)).map(str::to_owned)
}

/// A folder with a file in it, as a source.
fn source(t: &Context, name: &str) -> String {
    let dir = t.dir().join(name);
    fs::create_dir(&dir).expect("writable");
    fs::write(dir.join("file"), format!("{name}\n")).expect("writable");
    dir.to_str().expect("a plain path").to_owned()
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = ["bind"].iter().chain(options).copied().collect();
    json!({"destination": destination, "source": source, "options": options})
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "noexec"]})
}

fn adds_and_removes(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let mounts = json!([tmpfs("/tmp/new"), bind(&source(t, "data"), "/data", &["ro"])]);
    change(t, "add", &id, &mounts).ok().prints(&[]);
    let new = line(t, &id, "/tmp/new").expect("it is mounted");
    assert!(new.contains("noexec") && new.contains("size=64k"), "{new}");
    probe(t, &id, &["write", "/tmp/new/x", "1", "--", "cat", "/data/file"]).ok().prints(&["data"]);
    assert!(probe(t, &id, &["write", "/data/file", "1"]).exits(1).stdout().contains("EROFS"));
    // Again: it lies above the first.
    change(t, "add", &id, &json!([tmpfs("/data")])).ok();
    probe(t, &id, &["open", "/data/file"]).exits(1);
    change(t, "remove", &id, &json!([{"destination": "/data"}])).ok();
    change(t, "remove", &id, &mounts).ok();
    assert_eq!((line(t, &id, "/tmp/new"), line(t, &id, "/data")), (None, None));
    change(t, "remove", &id, &mounts).fails_with("nothing is mounted at \"/data\"");
    t.delete(&id);
    Ok(())
}

fn options_of_a_copy(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let (a, b) = (source(t, "a"), source(t, "b"));
    let mounts = json!([bind(&a, "/a", &["nosuid", "nodev", "noatime", "shared"]), bind(&b, "/b", &["unbindable"])]);
    change(t, "add", &id, &mounts).ok();
    let a = line(t, &id, "/a").expect("it is mounted");
    assert!(["nosuid", "nodev", "noatime", "shared:"].iter().all(|word| a.contains(word)), "{a}");
    assert!(line(t, &id, "/b").expect("it is mounted").contains("unbindable"));
    t.delete(&id);
    Ok(())
}

fn file_over_a_file(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let file = format!("{}/file", source(t, "data"));
    let mounts = json!([bind(&file, "/etc/passwd", &[]), bind(&file, "/etc/new", &[])]);
    change(t, "add", &id, &mounts).ok();
    probe(t, &id, &["cat", "/etc/passwd", "/etc/new"]).ok().prints(&["data", "data"]);
    change(t, "remove", &id, &mounts).ok();
    assert!(probe(t, &id, &["cat", "/etc/passwd"]).ok().stdout().starts_with("root:x"));
    t.delete(&id);
    Ok(())
}

fn sources_start_from_the_bundle(t: &Context) -> Outcome {
    let bundle = t.bundle();
    fs::write(format!("{}/note", bundle.path()), "a note\n").expect("writable");
    let id = sleeper(t, bundle);
    change(t, "add", &id, &json!([bind("note", "/tmp/note", &[])])).ok();
    probe(t, &id, &["cat", "/tmp/note"]).ok().prints(&["a note"]);
    t.delete(&id);
    Ok(())
}

/// A procfs shows the pid namespace of whoever mounts it.
fn procfs_of_the_container(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    change(t, "add", &id, &json!([{"destination": "/proc2", "type": "proc", "source": "proc"}])).ok();
    assert!(probe(t, &id, &["cat", "/proc2/1/cmdline"]).ok().stdout().contains("sleep"));
    t.delete(&id);
    Ok(())
}

/// And a sysfs the network namespace.
fn sysfs_of_the_container(t: &Context) -> Outcome {
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "network");
    let id = sleeper(t, bundle.with("/linux/namespaces/-", json!({"type": "network"})));
    change(t, "add", &id, &json!([{"destination": "/sys2", "type": "sysfs", "source": "sysfs"}])).ok();
    let devices = probe(t, &id, &["ls", "/sys2/class/net"]).ok().stdout();
    assert!(devices.contains("lo") && devices.lines().count() == 1, "{devices}");
    t.delete(&id);
    Ok(())
}

fn container_with_user_namespace(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = mapped(t.bundle());
    // The host's root is nobody in there, and its directories are closed to the container's.
    chown(bundle.rootfs("tmp"), Some(100_000), Some(100_000)).expect("we are root");
    let id = sleeper(t, bundle);
    let mounts = json!([tmpfs("/var"), bind(&source(t, "data"), "/tmp/data", &["ro"])]);
    change(t, "add", &id, &mounts).ok();
    let done = probe(t, &id, &["stat", "/var", "--", "cat", "/tmp/data/file", "--", "stat", "/tmp/data/file"]).ok();
    assert!(done.value("/var").contains(" 0 0 "), "{}", done.stdout());
    assert!(done.value("/tmp/data/file").contains(" 65534 65534 "), "{}", done.stdout());
    change(t, "add", &id, &json!([tmpfs("/new")])).fails_with("permission denied");
    change(t, "remove", &id, &mounts).ok();
    assert_eq!((line(t, &id, "/tmp/data"), line(t, &id, "/var")), (None, None));
    t.delete(&id);
    Ok(())
}

/// It can be mounted, and unmounted again, though nobody in the container can enter it.
fn closed_directory(t: &Context) -> Outcome {
    t.needs_root()?;
    let data = source(t, "data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let id = sleeper(t, mapped(t.bundle()));
    let mounts = json!([bind(&data, "/tmp", &[])]);
    change(t, "add", &id, &mounts).ok();
    assert!(probe(t, &id, &["open", "/tmp/file"]).exits(1).stdout().contains("EACCES"));
    change(t, "remove", &id, &mounts).ok();
    assert_eq!(line(t, &id, "/tmp"), None);
    t.delete(&id);
    Ok(())
}

/// A container of an ordinary user's that sleeps.
fn users_sleeper(t: &Context) -> String {
    let id = t.id("c");
    // As `spec --rootless` has it, with the host's network.
    let bundle = rootless(t.bundle()).retain("/linux/namespaces", |space| space["type"] != "network");
    let bundle = bundle.with("/root/readonly", json!(false)).args(&["sleep", "600"]);
    as_user(t, &["run", "--detach", "--bundle", bundle.path(), &id]).ok();
    id
}

fn change_as_user(t: &Context, what: &str, id: &str, mounts: &Value) -> Done {
    let file = t.dir().join("mounts.json");
    fs::write(&file, mounts.to_string()).expect("writable");
    as_user(t, &["mounts", what, id, file.to_str().expect("a plain path")])
}

/// Who may not copy a mount of the host's has a right to do so in a mount namespace of a user namespace.
fn ordinary_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = users_sleeper(t);
    let data = source(t, "data");
    let proc = json!({"destination": "/proc2", "type": "proc", "source": "proc"});
    let mounts =
        json!([bind(&data, "/data", &["ro"]), bind(&format!("{data}/file"), "/tmp/file", &[]), tmpfs("/new"), proc]);
    change_as_user(t, "add", &id, &mounts).ok().prints(&[]);
    let words =
        ["cat", "/data/file", "/tmp/file", "--", "write", "/tmp/file", "DATA", "--", "write", "/data/file", "x"];
    let done = probe(t, &id, &words).exits(1);
    assert!(done.stdout().starts_with("data\ndata\n"), "{}", done.stdout());
    assert!(done.stdout().contains("/data/file: EROFS"), "{}", done.stdout());
    assert_eq!(fs::read_to_string(format!("{data}/file")).expect("it is there"), "DATA\n");
    assert!(probe(t, &id, &["cat", "/proc2/1/cmdline"]).ok().stdout().contains("sleep"));
    let found = crate::host::mounts();
    assert!(!found.iter().any(|mount| mount.line.contains(t.tag())));
    change_as_user(t, "remove", &id, &mounts).ok();
    for place in ["/data", "/tmp/file", "/new", "/proc2"] {
        assert_eq!(line(t, &id, place), None);
    }
    t.delete(&id);
    Ok(())
}

/// What the kernel keeps to who has rights outside of the user namespace: refused with what to do about it.
fn what_an_ordinary_user_cannot(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = users_sleeper(t);
    for (mount, text) in [
        (json!({"destination": "/tmp", "type": "devtmpfs", "source": "devtmpfs"}), "only few can be made"),
        (json!({"destination": "/tmp", "type": "sysfs", "source": "sysfs"}), "a network namespace of its own"),
        // What is mounted below it is not shown without it.
        (bind("/sys", "/tmp", &[]), "use \"rbind\""),
        (bind(&source(t, "data"), "/tmp", &["idmap"]), "other ids take CAP_SYS_ADMIN"),
        // The files of another user's process.
        (bind("/proc/1/cwd", "/tmp", &[]), "permission denied"),
    ] {
        change_as_user(t, "add", &id, &json!([mount])).fails_with(text);
    }
    assert_eq!(line(t, &id, "/tmp"), None);
    t.delete(&id);
    Ok(())
}

/// Root, and yet without a right in the mount namespace that it is in.
fn root_of_a_user_namespace(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = t.bundle().args(&["sleep", "600"]).with("/linux/namespaces/-", json!({"type": "user"}));
    let bundle = bundle.with("/linux/uidMappings", map.clone()).with("/linux/gidMappings", map);
    let bundle = bundle.with("/root/readonly", json!(false)).remove("/linux/resources");
    let file = t.dir().join("mounts.json");
    let proc = json!({"destination": "/proc2", "type": "proc", "source": "proc"});
    let mounts = json!([bind(&source(t, "data"), "/data", &[]), tmpfs("/new"), proc]);
    fs::write(&file, mounts.to_string()).expect("writable");
    // The words before the command are the binary, `--root` and the log.
    let script = format!(
        "exec unshare --user --map-root-user bash -euc '
            call=(); while [ \"$1\" != list ]; do call+=(\"$1\"); shift; done
            \"${{call[@]}}\" run --detach --bundle {bundle} {id}
            \"${{call[@]}}\" mounts add {id} {file}
            \"${{call[@]}}\" exec {id} /bin/probe cat /data/file /proc2/1/comm
            \"${{call[@]}}\" mounts remove {id} {file}
            \"${{call[@]}}\" exec {id} /bin/probe ls /data
            \"${{call[@]}}\" delete --force {id}' bash \"$@\"",
        bundle = bundle.path(),
        file = file.display()
    );
    t.orlop(&["list"]).through_bash(&script).end().ok().prints(&["data", "probe"]);
    Ok(())
}

fn ids_of_a_mount(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = sleeper(t, t.bundle());
    let mut mount = bind(&source(t, "data"), "/data", &[]);
    let map = json!([{"containerID": 0, "hostID": 7, "size": 10}]);
    mount["uidMappings"] = map.clone();
    mount["gidMappings"] = map;
    let done = change(t, "add", &id, &json!([mount]));
    if done.stderr().contains("may not know mounts with other ids") {
        t.delete(&id);
        return Err(Skip("the file system has no id-mapped mounts".into()));
    }
    done.ok();
    let file = probe(t, &id, &["stat", "/data/file"]).ok().value("/data/file");
    assert!(file.contains(" 7 7 "), "{file}");
    t.delete(&id);
    Ok(())
}

fn created_and_paused_containers(t: &Context) -> Outcome {
    let id = t.id("c");
    t.create(&t.bundle().with("/root/readonly", json!(false)).args(&["sleep", "600"]), &id).ok();
    change(t, "add", &id, &json!([tmpfs("/tmp/created")])).ok();
    t.orlop(&["start", &id]).end().ok();
    assert!(line(t, &id, "/tmp/created").is_some());
    // An ordinary user's container is in no cgroup of its own.
    let can_pause = t.host.has_controller("freezer") || t.host.layout == crate::host::Layout::V2;
    if can_pause && t.host.uid == 0 {
        t.orlop(&["pause", &id]).end().ok();
        change(t, "add", &id, &json!([tmpfs("/tmp/paused")])).ok();
        t.orlop(&["resume", &id]).end().ok();
        assert!(line(t, &id, "/tmp/paused").is_some());
    }
    t.delete(&id);
    Ok(())
}

fn stopped_container(t: &Context) -> Outcome {
    let id = t.stopped();
    change(t, "add", &id, &json!([tmpfs("/tmp/new")])).fails_with("container not running");
    change(t, "remove", &id, &json!([tmpfs("/tmp/new")])).fails_with("container not running");
    change(t, "add", "nobody", &json!([tmpfs("/tmp/new")])).fails_with("container does not exist");
    t.delete(&id);
    Ok(())
}

fn remounted(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let read_only = json!({"destination": "/tmp/new", "type": "tmpfs", "options": ["remount", "ro"]});
    change(t, "add", &id, &json!([tmpfs("/tmp/new"), read_only])).ok();
    assert!(probe(t, &id, &["write", "/tmp/new/x", "1"]).exits(1).stdout().contains("EROFS"));
    t.delete(&id);
    Ok(())
}

fn nested_ones_go_in_reverse(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let mounts = json!([tmpfs("/new"), tmpfs("/new/inner")]);
    change(t, "add", &id, &mounts).ok();
    change(t, "remove", &id, &mounts).ok();
    assert_eq!((line(t, &id, "/new"), line(t, &id, "/new/inner")), (None, None));
    t.delete(&id);
    Ok(())
}

/// What is mounted in the container is not mounted on the host, not even where a shared source is.
fn host_sees_nothing(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    let data = source(t, "data");
    fs::create_dir(format!("{data}/inner")).expect("writable");
    change(t, "add", &id, &json!([bind(&data, "/data", &[]), tmpfs("/data/inner")])).ok();
    assert!(line(t, &id, "/data/inner").is_some());
    let found: Vec<String> = crate::host::mounts().into_iter().map(|mount| mount.line).collect();
    assert!(!found.iter().any(|line| line.contains(t.tag())), "{found:?}");
    t.delete(&id);
    Ok(())
}

fn failure_takes_the_others_back(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    // The first has been attached when the second fails: a file cannot be mounted on a directory.
    let file = format!("{}/file", source(t, "data"));
    change(t, "add", &id, &json!([tmpfs("/new"), bind(&file, "/tmp", &[])])).fails_with("[mounts.json /1");
    assert_eq!(line(t, &id, "/new"), None);
    change(t, "add", &id, &json!([tmpfs("/new"), bind("/no/such/source", "/tmp", &[])])).fails_with("/no/such/source");
    assert_eq!(line(t, &id, "/new"), None);
    t.delete(&id);
    Ok(())
}

/// Nothing can be made in a root that is read-only, but what is there can be mounted on.
fn read_only_root(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.detach(&bundle, &id);
    change(t, "add", &id, &json!([tmpfs("/new")])).fails_with("has to be there where the root is read-only");
    change(t, "add", &id, &json!([tmpfs("/var")])).ok();
    t.delete(&id);
    Ok(())
}

fn refused_arguments(t: &Context) -> Outcome {
    let id = sleeper(t, t.bundle());
    for (mounts, text) in [
        (json!({"destination": "/x"}), "mounts.json"),
        (json!([tmpfs("/")]), "root file system"),
        (json!([{"destination": "/x"}]), "without a type"),
        (json!([{"destination": "/x", "options": ["bind"]}]), "without a source"),
        (json!([{"destination": "/x", "type": "nosuchfs"}]), "nosuchfs"),
    ] {
        change(t, "add", &id, &mounts).fails_with(text);
    }
    change(t, "remove", &id, &json!([tmpfs("/")])).fails_with("root file system");
    t.orlop(&["mounts", "add", &id, "/no/such/file"]).end().fails_with("/no/such/file");
    t.orlop(&["mounts", "move", &id, "/no/such/file"]).end().fails_with("unknown command");
    t.delete(&id);
    Ok(())
}

fn destination_link_stays_inside(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let outside = t.dir().join("outside");
    symlink(&outside, bundle.rootfs("absolute")).expect("writable");
    symlink("../../../../../../../../../../outside", bundle.rootfs("relative")).expect("writable");
    let id = sleeper(t, bundle);
    let mounts = json!([tmpfs("/absolute"), tmpfs("/relative")]);
    change(t, "add", &id, &mounts).ok();
    assert!(line(t, &id, "/outside").is_some());
    assert!(line(t, &id, outside.to_str().expect("a plain path")).is_some());
    assert!(!outside.exists());
    change(t, "remove", &id, &mounts).ok();
    assert_eq!(line(t, &id, "/outside"), None);
    t.delete(&id);
    Ok(())
}

/// CVE-2019-16884 and its like, by name, by a link, and by a magic link.
fn destination_on_procfs_is_refused(t: &Context) -> Outcome {
    let bundle = t.bundle();
    symlink("/proc/1/attr", bundle.rootfs("link")).expect("writable");
    let id = sleeper(t, bundle);
    for destination in ["/proc/sys", "/link", "/proc"] {
        change(t, "add", &id, &json!([bind(&source(t, &destination.replace('/', "-")), destination, &[])]))
            .fails_with("inside /proc");
    }
    for destination in ["/proc/1/root/tmp", "/proc/1/cwd"] {
        change(t, "add", &id, &json!([tmpfs(destination)])).exits(1);
    }
    t.delete(&id);
    Ok(())
}

/// A link of the image's does not uncover what the configuration covers.
fn covered_file_stays_covered(t: &Context) -> Outcome {
    let bundle = t.bundle();
    for (name, to) in [("to-proc", "/proc"), ("to-sys", "/sys"), ("to-keys", "/proc/keys"), ("to-set", "/proc/sys")] {
        symlink(to, bundle.rootfs(name)).expect("writable");
    }
    let id = sleeper(t, bundle);
    let covered = ["/proc/keys", "/proc/sys", "/sys/firmware"];
    assert!(covered.iter().all(|place| line(t, &id, place).is_some()));
    for (destination, text) in [
        ("/to-proc/keys", "stays covered"),
        ("/to-sys/firmware", "stays covered"),
        ("/to-proc/sys", "stays covered"),
        ("/to-set", "stays covered"),
        // A file is not looked for behind a link.
        ("/to-keys", "not a directory"),
    ] {
        change(t, "remove", &id, &json!([{"destination": destination}])).fails_with(text);
    }
    assert!(covered.iter().all(|place| line(t, &id, place).is_some()));
    // Who names it means it.
    change(t, "remove", &id, &json!([{"destination": "/proc/keys"}])).ok();
    assert_eq!(line(t, &id, "/proc/keys"), None);
    t.delete(&id);
    Ok(())
}

/// A directory that becomes a link to the host's tree and back, as fast as it can.
fn destination_races_with_links(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle();
    let outside = t.dir().join("outside");
    fs::create_dir(&outside).expect("writable");
    let (a, b) = (bundle.rootfs("place"), bundle.rootfs("other"));
    fs::create_dir(&a).expect("writable");
    symlink("/proc/1/root/../../../../..", &b).expect("writable");
    let id = sleeper(t, bundle);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _busy = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..100 {
            let mounts = json!([tmpfs("/place/inner")]);
            // Refused or made, but never outside.
            if change(t, "add", &id, &mounts).code() == 0 {
                let _moved_meanwhile = change(t, "remove", &id, &mounts);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 0);
    assert!(!crate::host::mounts().iter().any(|mount| mount.line.contains(t.tag())));
    assert!(!std::path::Path::new("/inner").exists());
    t.delete(&id);
    Ok(())
}
