//! User namespaces, ids of mounts, joined namespaces, clocks, and callers who are not root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::tests::{Outcome, tests};

tests! { "users":
    EVERYWHERE {
        wrong_type_is_refused, long_overlay_options, remounted_read_only, readonly_dev_is_filled, flags_are_replaced,
        destination_as_the_host_sees_it, dangling_link_is_followed,
    }
    ROOT {
        ids_are_mapped, default_devices_are_the_hosts, groups_are_set, unmapped_user_is_refused,
        inaccessible_source_is_mounted, sees_mounts_made_before, id_mapped_mount, id_mapped_by_the_containers_ids,
        id_mapped_by_an_option, joins_user_namespace, joins_pid_namespace, joins_mount_namespace,
        maps_of_a_joined_namespace_must_match, clocks_have_offsets, joins_time_namespace, image_is_copied_up,
        oom_score_is_set, init_is_not_dumpable, ordinary_user, ordinary_user_sees_no_cgroup,
        ordinary_user_without_namespace, ordinary_user_executes, ordinary_user_without_cgroup_or_pids,
        root_of_a_namespace_executes, rootless_podman_with_a_single_id,
    }
}

const FIRST: u32 = 100_000;

/// With a user namespace whose ids begin at [`FIRST`].
pub fn mapped(bundle: Bundle) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
    bundle
        .with("/linux/namespaces/-", json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
}

fn ids_are_mapped(t: &Context) -> Outcome {
    let done = t.run(&mapped(t.bundle()).args(&["id", "--", "cat", "/proc/self/uid_map", "/proc/self/gid_map"])).ok();
    let text = done.stdout();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.iter().filter(|line| **line == ["0", "100000", "65536"]).count(), 2, "{text}");
    assert_eq!(done.value("uid"), "0", "{text}");
    Ok(())
}

fn default_devices_are_the_hosts(t: &Context) -> Outcome {
    let done =
        t.run(&mapped(t.bundle()).args(&["stat", "/dev/null", "--", "open-both", "/dev/null", "/dev/zero"])).ok();
    assert!(done.value("/dev/null").ends_with("1:3"), "{}", done.value("/dev/null"));
    Ok(())
}

fn groups_are_set(t: &Context) -> Outcome {
    let bundle = mapped(t.bundle()).with("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9, 10]}));
    let done = t.run(&bundle.args(&["cat", "/proc/self/status"])).ok();
    assert_eq!(done.value("Groups").split_whitespace().collect::<Vec<_>>(), ["9", "10"]);
    Ok(())
}

fn unmapped_user_is_refused(t: &Context) -> Outcome {
    t.run(&mapped(t.bundle()).with("/process/user/uid", json!(70000))).fails_with("user 70000 is not mapped");
    Ok(())
}

/// A folder that holds `name` with its name in it.
fn source(t: &Context, name: &str) -> String {
    let dir = t.dir().join(name);
    fs::create_dir(&dir).expect("writable");
    fs::write(dir.join("file"), format!("{name}\n")).expect("writable");
    dir.to_str().expect("a plain path").to_owned()
}

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "source": source, "options": ["bind"]})
}

fn inaccessible_source_is_mounted(t: &Context) -> Outcome {
    let secret = source(t, "secret");
    fs::create_dir(Path::new(&secret).join("inner")).expect("writable");
    fs::write(Path::new(&secret).join("inner/file"), "inside\n").expect("writable");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let bundle = mapped(t.bundle()).with("/mounts/-", bind(&format!("{secret}/inner"), "/tmp"));
    t.run(&bundle.args(&["cat", "/tmp/file"])).ok().prints(&["inside"]);
    Ok(())
}

fn sees_mounts_made_before(t: &Context) -> Outcome {
    let one = source(t, "one");
    let bundle = t.bundle();
    fs::create_dir(bundle.rootfs("again")).expect("writable");
    let inside = bundle.rootfs("tmp").to_str().expect("a plain path").to_owned();
    let bundle = mapped(bundle).with("/mounts/-", bind(&one, "/tmp")).with("/mounts/-", bind(&inside, "/again"));
    t.run(&bundle.args(&["cat", "/again/file"])).ok().prints(&["one"]);
    Ok(())
}

fn owned(t: &Context, name: &str, id: u32) -> Result<String, Skip> {
    let dir = source(t, name);
    chown(Path::new(&dir).join("file"), Some(id), Some(id)).expect("we are root");
    Ok(dir)
}

/// Whether this file system can be mounted with other ids; tmpfs can from Linux 6.3 on.
fn or_skip(done: Done) -> Result<Done, Skip> {
    if done.code() != 0 && done.stderr().contains("may not know mounts with other ids") {
        return Err(Skip("the file system has no id-mapped mounts".into()));
    }
    Ok(done.ok())
}

#[track_caller]
fn owner(done: &Done, path: &str, id: u32) {
    let value = done.value(path);
    let words: Vec<&str> = value.split(' ').collect();
    assert_eq!(words[2..4], [id.to_string(), id.to_string()], "{value}");
}

fn id_mapped_mount(t: &Context) -> Outcome {
    let map = json!([{"containerID": 1, "hostID": 4000, "size": 10}]);
    let mut mount = bind(&owned(t, "files", 3)?, "/tmp");
    mount["uidMappings"] = map.clone();
    mount["gidMappings"] = map;
    let done = or_skip(t.run(&t.bundle().with("/mounts/-", mount).args(&["stat", "/tmp/file"])))?;
    owner(&done, "/tmp/file", 4002);
    Ok(())
}

fn id_mapped_by_the_containers_ids(t: &Context) -> Outcome {
    let mut mount = bind(&owned(t, "files", 3)?, "/tmp");
    mount["options"] = json!(["rbind", "ridmap"]);
    let done = or_skip(t.run(&mapped(t.bundle()).with("/mounts/-", mount).args(&["stat", "/tmp/file"])))?;
    owner(&done, "/tmp/file", 3);
    Ok(())
}

fn id_mapped_by_an_option(t: &Context) -> Outcome {
    let mut mount = bind(&owned(t, "files", 3)?, "/tmp");
    mount["options"] = json!(["bind", "idmap=uids=3-@20-1;gids=3-20-1"]);
    t.run(&t.bundle().with("/mounts/-", mount.clone())).fails_with("are no id mappings");
    mount["options"] = json!(["bind", "idmap=uids=@3-20-1;gids=@3-20-1"]);
    let done = or_skip(t.run(&mapped(t.bundle_again()).with("/mounts/-", mount).args(&["stat", "/tmp/file"])))?;
    owner(&done, "/tmp/file", 20);
    Ok(())
}

/// The path of a namespace of the container.
fn namespace(t: &Context, id: &str, file: &str) -> String {
    format!("/proc/{}/ns/{file}", t.pid(id))
}

/// Without the new namespace of that kind, and with that one.
fn joining(bundle: Bundle, kind: &str, path: &str) -> Bundle {
    bundle
        .retain("/linux/namespaces", |space| space["type"] != kind)
        .with("/linux/namespaces/-", json!({"type": kind, "path": path}))
}

fn joins_user_namespace(t: &Context) -> Outcome {
    let id = t.id("first");
    t.detach(&mapped(t.bundle()).args(&["sleep", "600"]), &id);
    let (user, ipc) = (namespace(t, &id, "user"), namespace(t, &id, "ipc"));
    let second = joining(joining(t.bundle_again(), "user", &user), "ipc", &ipc);
    let files = ["/proc/self/ns/user", "/proc/self/ns/ipc"];
    let done = t.run(&second.args(&["readlink", files[0], files[1], "--", "id"])).ok();
    for (inside, outside) in files.iter().zip([&user, &ipc]) {
        let outside = fs::read_link(outside).expect("it runs");
        assert_eq!(done.value(inside), outside.to_string_lossy());
    }
    assert_eq!(done.value("uid"), "0");
    t.delete(&id);
    Ok(())
}

fn maps_of_a_joined_namespace_must_match(t: &Context) -> Outcome {
    let id = t.id("first");
    t.detach(&mapped(t.bundle()).args(&["sleep", "600"]), &id);
    let map = |first: u32| json!([{"containerID": 0, "hostID": first, "size": 65536}]);
    let second = joining(t.bundle_again(), "user", &namespace(t, &id, "user")).args(&["true"]);
    let second = second.with("/linux/uidMappings", map(FIRST)).with("/linux/gidMappings", map(FIRST));
    t.run(&second).ok();
    t.run(&second.with("/linux/uidMappings", map(1))).fails_with("non-matching mapping");
    t.delete(&id);
    Ok(())
}

fn joins_pid_namespace(t: &Context) -> Outcome {
    let id = t.id("first");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let pid = namespace(t, &id, "pid");
    let done = t.run(&joining(t.bundle_again(), "pid", &pid).args(&["readlink", "/proc/self/ns/pid"])).ok();
    let outside = fs::read_link(&pid).expect("it runs");
    assert_eq!(done.value("/proc/self/ns/pid"), outside.to_string_lossy());
    t.delete(&id);
    Ok(())
}

/// The root file system is looked up, and everything mounted, in there.
fn joins_mount_namespace(t: &Context) -> Outcome {
    let script = "exec unshare --mount --propagation private sleep 600";
    let mut holder = std::process::Command::new("sh").args(["-c", script]).spawn().expect("unshare is there");
    let path = format!("/proc/{}/ns/mnt", holder.id());
    let ours = fs::read_link("/proc/self/ns/mnt").expect("it is ours");
    let theirs = loop {
        match fs::read_link(&path) {
            Ok(theirs) if theirs != ours => break theirs,
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    let bundle = joining(t.bundle(), "mount", &path).args(&["readlink", "/proc/self/ns/mnt"]);
    let done = t.run(&bundle);
    holder.kill().expect("it runs");
    holder.wait().expect("it was ours");
    assert_eq!(done.ok().value("/proc/self/ns/mnt"), theirs.to_string_lossy());
    Ok(())
}

fn wrong_type_is_refused(t: &Context) -> Outcome {
    let mut bundle = t.bundle();
    for (kind, file) in [("ipc", "mnt"), ("pid", "net"), ("user", "uts")] {
        bundle = joining(bundle, kind, &format!("/proc/self/ns/{file}"));
        t.run(&bundle).fails_with("is no namespace of type");
        bundle = bundle.retain("/linux/namespaces", |space| space["type"] != kind);
    }
    Ok(())
}

fn timed(bundle: Bundle) -> Bundle {
    let offsets = json!({"monotonic": {"secs": 7881, "nanosecs": 2}, "boottime": {"secs": 1337}});
    bundle.with("/linux/namespaces/-", json!({"type": "time"})).with("/linux/timeOffsets", offsets)
}

#[track_caller]
fn has_offsets(done: &Done) {
    let text = done.stdout();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["monotonic", "7881", "2"], ["boottime", "1337", "0"]], "{text}");
}

fn clocks_have_offsets(t: &Context) -> Outcome {
    let show = ["cat", "/proc/self/timens_offsets"];
    has_offsets(&t.run(&timed(t.bundle()).args(&show)).ok());
    has_offsets(&t.run(&timed(mapped(t.bundle_again())).args(&show)).ok());
    Ok(())
}

fn joins_time_namespace(t: &Context) -> Outcome {
    let id = t.id("first");
    t.detach(&timed(t.bundle()).args(&["sleep", "600"]), &id);
    let second = joining(t.bundle_again(), "time", &namespace(t, &id, "time"));
    has_offsets(&t.run(&second.args(&["cat", "/proc/self/timens_offsets"])).ok());
    t.delete(&id);
    Ok(())
}

fn image_is_copied_up(t: &Context) -> Outcome {
    let options = json!(["tmpcopyup", "nosuid"]);
    let mount = json!({"destination": "/data", "source": "tmpfs", "type": "tmpfs", "options": options});
    let bundle = t.bundle().with("/mounts/-", mount);
    bundle.file("data/inner/file", b"content\n", 0o666);
    chown(bundle.rootfs("data/inner/file"), Some(5), Some(6)).expect("we are root");
    symlink("inner/file", bundle.rootfs("data/link")).expect("it is new");
    let commands = ["cat", "/data/link", "--", "stat", "/data/inner/file", "--", "write", "/data/inner/file", "x"];
    let bundle = bundle.args(&commands);
    let done = t.run(&bundle).ok();
    assert!(done.stdout().contains("content"), "{}", done.stdout());
    assert!(done.value("/data/inner/file").starts_with("file 666 5 6 "), "{}", done.value("/data/inner/file"));
    assert_eq!(fs::read_to_string(bundle.rootfs("data/inner/file")).expect("it is there"), "content\n");
    Ok(())
}

fn long_overlay_options(t: &Context) -> Outcome {
    let lower = ["a", "b", "c"].map(|name| source(t, &name.repeat(120)));
    fs::write(Path::new(&lower[2]).join("only"), "there\n").expect("writable");
    let options = json!([format!("lowerdir={}", lower.join(":")), "ro", "nosuid"]);
    let mount = json!({"destination": "/tmp", "source": "overlay", "type": "overlay", "options": options});
    let done = t.run(&t.bundle().with("/mounts/-", mount).args(&["cat", "/tmp/only", "--", "write", "/tmp/new", "x"]));
    done.exits(1).prints(&["there", "write /tmp/new: EROFS"]);
    Ok(())
}

fn remounted_read_only(t: &Context) -> Outcome {
    let mount = |options: Value| json!({"destination": "/tmp", "source": "t", "type": "tmpfs", "options": options});
    let bundle = t.bundle().with("/mounts/-", mount(json!([]))).with("/mounts/-", mount(json!(["remount", "ro"])));
    t.run(&bundle.args(&["write", "/tmp/x", "x"])).exits(1).prints(&["write /tmp/x: EROFS"]);
    Ok(())
}

fn readonly_dev_is_filled(t: &Context) -> Outcome {
    let mut bundle = t.bundle();
    let mounts = bundle.config()["mounts"].as_array().expect("a list").clone();
    let dev = mounts.iter().position(|mount| mount["destination"] == "/dev").expect("there is one");
    bundle.set(&format!("/mounts/{dev}/options/-"), json!("ro"));
    let done = t.run(&bundle.args(&["write", "/dev/null", "x", "--", "write", "/dev/new", "x"])).exits(1);
    done.prints(&["write /dev/new: EROFS"]);
    Ok(())
}

/// As `mount --bind -o`: what is not asked for is gone, unless nothing is asked for.
fn flags_are_replaced(t: &Context) -> Outcome {
    let inner =
        |path: &str, options: Value| json!({"destination": path, "source": "t", "type": "tmpfs", "options": options});
    let bundle = t.bundle().with("/mounts/-", inner("/tmp", json!(["nosuid", "noexec"])));
    let again = bundle.rootfs("tmp").to_str().expect("a plain path").to_owned();
    let mut asked = bind(&again, "/tmp/asked");
    asked["options"] = json!(["bind", "nodev"]);
    let bundle = bundle.with("/mounts/-", bind(&again, "/tmp/same")).with("/mounts/-", asked);
    let table = t.run(&bundle.args(&["mounts"])).ok().stdout();
    let options = |path: &str| {
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(path)).expect("it is mounted");
        line.split(' ').nth(5).unwrap_or_default().to_owned()
    };
    assert!(options("/tmp/same").contains("nosuid,noexec"), "{}", options("/tmp/same"));
    let asked = options("/tmp/asked");
    assert!(asked.contains("nodev") && !asked.contains("nosuid") && !asked.contains("noexec"), "{asked}");
    Ok(())
}

fn destination_as_the_host_sees_it(t: &Context) -> Outcome {
    let files = source(t, "files");
    let bundle = t.bundle();
    let destination = bundle.rootfs("tmp").to_str().expect("a plain path").to_owned();
    let done = t.run(&bundle.with("/mounts/-", bind(&files, &destination)).args(&["cat", "/tmp/file"]));
    done.ok().prints(&["files"]);
    Ok(())
}

fn dangling_link_is_followed(t: &Context) -> Outcome {
    let file = format!("{}/file", source(t, "files"));
    let bundle = t.bundle();
    symlink("/tmp/foo/bar", bundle.rootfs("jump")).expect("it is new");
    symlink("/jump/../baz/hosts", bundle.rootfs("etc/hosts")).expect("it is new");
    symlink("loop", bundle.rootfs("etc/loop")).expect("it is new");
    let bundle = bundle.with("/mounts/-", bind(&file, "/etc/hosts")).args(&["cat", "/tmp/foo/baz/hosts", "/etc/hosts"]);
    t.run(&bundle).ok().prints(&["files", "files"]);
    assert!(!Path::new("/tmp/foo/bar").exists(), "made outside");
    t.run(&bundle.with("/mounts/-", bind(&file, "/etc/loop"))).fails_with("ELOOP");
    Ok(())
}

fn oom_score_is_set(t: &Context) -> Outcome {
    let bundle = mapped(t.bundle()).with("/process/oomScoreAdj", json!(123)).args(&["cat", "/proc/self/oom_score_adj"]);
    t.run(&bundle).ok().prints(&["123"]);
    Ok(())
}

/// Its files in /proc belong to the namespace's root, not to the caller: it was not dumpable when it waited.
fn init_is_not_dumpable(t: &Context) -> Outcome {
    let id = t.id("created");
    t.create(&mapped(t.bundle()).args(&["true"]), &id).ok();
    let stat = fs::metadata(format!("/proc/{}/environ", t.pid(&id))).expect("it waits");
    assert_eq!(stat.uid(), FIRST);
    t.delete(&id);
    Ok(())
}

const USER: u32 = 54_321;

/// All files of the test become that user's.
fn hand_over(t: &Context) {
    let all = std::process::Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(t.dir()).status();
    assert!(all.expect("chown is there").success());
}

/// Calls the binary as a user who has no rights, nor more ids than the own one.
pub fn as_user(t: &Context, call: &[&str]) -> Done {
    hand_over(t);
    let script = format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all \"$@\"");
    t.orlop(call).through_bash(&script).end()
}

fn run_as_user(t: &Context, bundle: &Bundle) -> Done {
    as_user(t, &["run", "--bundle", bundle.path(), &t.id("c")])
}

/// As `spec --rootless` has it, for [`USER`].
pub fn rootless(bundle: Bundle) -> Bundle {
    let own = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    bundle
        .with("/linux/namespaces/-", json!({"type": "user"}))
        .with("/linux/uidMappings", own.clone())
        .with("/linux/gidMappings", own)
        .remove("/linux/resources")
}

fn ordinary_user(t: &Context) -> Outcome {
    let commands =
        ["id", "--", "cat", "/proc/self/setgroups", "--", "stat", "/dev/null", "--", "write", "/dev/null", "x"];
    let done = run_as_user(t, &rootless(t.bundle()).args(&commands)).ok();
    assert_eq!(done.value("uid"), "0");
    assert!(done.stdout().contains("deny"), "{}", done.stdout());
    assert!(done.value("/dev/null").ends_with("1:3"));
    Ok(())
}

fn ordinary_user_sees_no_cgroup(t: &Context) -> Outcome {
    let bundle = rootless(t.bundle()).with("/linux/resources", json!({"pids": {"limit": 20}})).args(&["true"]);
    run_as_user(t, &bundle).fails_with("limit");
    let bundle = rootless(t.bundle_again()).with("/linux/cgroupsPath", json!("/not-ours/c"));
    run_as_user(t, &bundle).fails_with("unable to apply cgroup configuration: mkdir ").fails_with("permission denied");
    Ok(())
}

/// Podman without subordinate ids makes the user namespace itself: one of a single id, where setgroups(2) is forbidden;
/// and whoever runs the containers may write to no cgroup, of either version.
fn rootless_podman_with_a_single_id(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = t.bundle().remove("/linux/resources").with("/process/user/additionalGids", json!([0]));
    // As there is no group 5, either.
    let pts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]});
    let bundle = bundle.retain("/mounts", |mount| mount["type"] != "devpts").with("/mounts/-", pts);
    let bundle = bundle.args(&["sleep", "600"]);
    hand_over(t);
    // The words before the command are the binary, `--root` and the log.
    let script = format!(
        "exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all \
         unshare --user --map-root-user bash -euc '
            call=(); while [ \"$1\" != list ]; do call+=(\"$1\"); shift; done
            \"${{call[@]}}\" run --detach --bundle {} {id}
            \"${{call[@]}}\" exec {id} /bin/probe id
            \"${{call[@]}}\" exec --additional-gids 7 {id} /bin/probe id || echo refused
            \"${{call[@]}}\" delete --force {id}' bash \"$@\"",
        bundle.path()
    );
    let done = t.orlop(&["list"]).through_bash(&script).end().ok();
    assert_eq!(done.value("uid"), "0");
    assert!(done.stdout().ends_with("refused\n") && done.stderr().contains("setgroups"), "{}", done.stderr());
    Ok(())
}

fn ordinary_user_without_namespace(t: &Context) -> Outcome {
    run_as_user(t, &t.bundle()).fails_with("rootless container requires user namespaces");
    Ok(())
}

/// Who has no rights but in the container's user namespace joins that first, and is born in its pid namespace there.
fn ordinary_user_executes(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = rootless(t.bundle()).args(&["sleep", "600"]);
    as_user(t, &["run", "--detach", "--bundle", bundle.path(), &id]).ok();
    let pid = t.pid(&id);
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"];
    let paths: Vec<String> = names.iter().map(|name| format!("/proc/self/ns/{name}")).collect();
    let words = ["exec", &id, "/bin/probe", "id", "--", "pid", "--", "caps", "--", "readlink"];
    let words: Vec<&str> = words.into_iter().chain(paths.iter().map(String::as_str)).collect();
    let done = as_user(t, &words).ok();
    assert_eq!((done.value("uid").as_str(), done.value("gid").as_str()), ("0", "0"));
    assert_eq!(done.value("ppid"), "0", "its parent is outside");
    assert_eq!(done.value("CapBnd"), "0000000020000420");
    for (name, path) in names.iter().zip(&paths) {
        let inits = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("it lives");
        assert_eq!(Path::new(&done.value(path)), inits, "{name}");
    }
    as_user(t, &["exec", &id, "/bin/probe", "exit", "9"]).exits(9);
    as_user(t, &["exec", &id, "/no/program"]).exits(255).fails_with("no such file or directory");
    as_user(t, &["exec", "--detach", &id, "/bin/probe", "sleep", "600"]).ok();
    // Root joins it as any other.
    t.orlop(&["exec", &id, "/bin/probe", "exit", "8"]).end().exits(8);
    t.delete_with_executed(&id);
    Ok(())
}

/// What shares pids and has no cgroup cannot be killed as a whole: that is said.
fn ordinary_user_without_cgroup_or_pids(t: &Context) -> Outcome {
    let proc = json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind", "nosuid"]});
    let words = "no cgroup and no private pid namespace";
    let bundle = rootless(t.bundle());
    assert!(!run_as_user(t, &bundle).ok().log().contains(words));
    let bundle = bundle.retain("/linux/namespaces", |space| space["type"] != "pid");
    let bundle = bundle.retain("/mounts", |mount| mount["destination"] != "/proc").with("/mounts/-", proc);
    let done = as_user(t, &["run", "--bundle", bundle.path(), &t.id("d")]).ok();
    assert!(done.log().contains(words), "{}", done.log());
    Ok(())
}

/// As where the runtime itself runs in a container: root, and yet without the host's rights.
fn root_of_a_namespace_executes(t: &Context) -> Outcome {
    let id = t.id("c");
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = t.bundle().args(&["sleep", "600"]).with("/linux/namespaces/-", json!({"type": "user"}));
    let bundle = bundle.with("/linux/uidMappings", map.clone()).with("/linux/gidMappings", map);
    let bundle = bundle.remove("/linux/resources");
    let holder = std::process::Command::new("unshare").args(["--user", "--map-root-user", "sleep", "60"]).spawn();
    let mut holder = holder.expect("unshare is there");
    let inside = format!("exec nsenter --preserve-credentials --user --target {} \"$@\"", holder.id());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).through_bash(&inside).end();
    run.ok();
    let done = t.orlop(&["exec", &id, "/bin/probe", "id", "--", "pid"]).through_bash(&inside).end().ok();
    assert_eq!((done.value("uid").as_str(), done.value("ppid").as_str()), ("0", "0"));
    t.delete(&id);
    holder.kill().expect("it sleeps");
    holder.wait().expect("it was killed");
    Ok(())
}
