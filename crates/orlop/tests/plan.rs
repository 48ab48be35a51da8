//! Plans as text, compared with the files of `fixtures/plans`: every configuration of `fixtures/contract` and
//! `fixtures/config`, and small ones for each area. `ORLOP_BLESS=1 cargo test -p orlop --test plan` writes the files
//! anew; read the difference before you commit it.
//!
//! What is refused stands at the head of a file, and the plan of the rest follows.

use std::path::{Path, PathBuf};
use std::{env, fs};

use orlop::config::Config;
use orlop::plan::{self, Gate, Options, RootChange, options};
use orlop::{Host, Kind, explain};
use serde_json::{Value, json};

mod common;
use common::{CREATE, HYBRID, V1, V2, base, host, patch};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The plan's text without the entries' numbers: one that is inserted should change one line.
fn text(plan: &plan::Plan) -> String {
    let cut = |line: &str| match line.as_bytes() {
        [b' ' | b'0'..=b'9', b' ' | b'0'..=b'9', b'0'..=b'9', b' ', ..] => line[4..].to_owned(),
        _ => line.to_owned(),
    };
    explain::text(plan).lines().map(|line| cut(line) + "\n").collect()
}

/// Removes what a JSON pointer names, where it is there.
fn remove(document: &mut Value, pointer: &str) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => members.remove(name).is_some(),
        Some(Value::Array(members)) => {
            name.parse().ok().filter(|&n| n < members.len()).map(|n: usize| members.remove(n)).is_some()
        }
        _ => false,
    }
}

/// Every refusal, one after the other, and the plan of what is left.
fn describe(mut config: Value, host: &Host, options: &Options<'_>) -> String {
    let mut out = String::new();
    loop {
        let document = config.to_string();
        let planned = Config::parse(document.as_bytes())
            .map_err(Into::into)
            .and_then(|config| plan::plan(&config, host, options));
        match planned {
            Ok(plan) => return out + &text(&plan),
            Err(error) => {
                out += &format!("refused: {error}\n");
                let pointer = error.origin().unwrap_or_default().to_owned();
                if error.kind() != Kind::NotSupported || !remove(&mut config, &pointer) {
                    return out;
                }
            }
        }
    }
}

/// Compares with a file, or writes it.
fn check(name: &str, found: &str) -> Result<(), String> {
    let path = fixtures().join("plans").join(format!("{name}.txt"));
    if env::var_os("ORLOP_BLESS").is_some() {
        fs::write(&path, found).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
    Err(format!(
        "{}: {} lines, found {}; first difference (file, found): {differing:#?}",
        path.display(),
        expected.lines().count(),
        found.lines().count()
    ))
}

#[track_caller]
fn check_all(found: impl IntoIterator<Item = (String, String)>) {
    let wrong: Vec<String> = found.into_iter().filter_map(|(name, text)| check(&name, &text).err()).collect();
    assert!(wrong.is_empty(), "ORLOP_BLESS=1 accepts these:\n{}", wrong.join("\n"));
}

#[test]
fn recorded_and_written_configurations() {
    let mut found = Vec::new();
    for folder in ["contract", "config"] {
        let mut files: Vec<PathBuf> =
            fs::read_dir(fixtures().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        assert!(files.len() > 5, "{folder} has configurations");
        for path in files {
            let config = read(&path);
            // States and features stand there, too.
            if config.get("ociVersion").is_none() || config.get("status").is_some() || config.get("fds").is_some() {
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap();
            found.push((format!("{folder}-{name}"), describe(config, &host(V2), &CREATE)));
        }
    }
    check_all(found);
}

/// A patch of the base configuration (RFC 7386), on each host, with each kind of options.
#[test]
fn areas() {
    let none = json!({});
    let joined = json!({"linux": {"namespaces": [
        {"type": "mount"}, {"type": "network", "path": "/run/netns/a"}, {"type": "ipc", "path": "/proc/7/ns/ipc"},
        {"type": "uts", "path": "/proc/7/ns/uts"}, {"type": "cgroup"}]}, "hostname": null});
    let devices = json!({"linux": {"devices": [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 5, "gid": 6},
        {"path": "/dev/a/block", "type": "b", "major": 8, "minor": 0},
        {"path": "/run/fifo", "type": "p"}]}});
    let covered = json!({"linux": {"maskedPaths": ["/proc/kcore", "/sys/firmware"], "readonlyPaths": ["/proc/sys"]},
        "root": {"readonly": true}});
    let credentials = json!({"process": {
        "user": {"uid": 1000, "gid": 100, "additionalGids": [5, 6], "umask": 0o077}, "noNewPrivileges": true,
        "cwd": "/home", "oomScoreAdj": 500, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NO_SUCH"], "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}}});
    let cgroup = json!({"linux": {"cgroupsPath": "/pod/web", "resources": {
        "memory": {"limit": 1048576, "swap": 2097152, "reservation": 524288},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1"}, "pids": {"limit": 10},
        "blockIO": {"weight": 100}, "unified": {"memory.high": "1000000"}}}});
    let v1_cgroup = patch(cgroup.clone(), &json!({"linux": {"resources": {"unified": null}}}));
    let cgroup_mount = json!({"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}]});
    let with_namespace =
        patch(cgroup_mount.clone(), &json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}}));
    let propagation = |mode: &str| json!({"linux": {"rootfsPropagation": mode}});
    let run = Options { gate: Gate::Open, ..CREATE };
    let initramfs = Options { root_change: RootChange::Move, keyring: plan::SessionKeyring::Callers, ..CREATE };
    let no_cgroup = Options { cgroup_manager: orlop::CgroupManager::Disabled, ..CREATE };
    let preserved = Options { preserve_fds: 2, gate: Gate::Open, ..CREATE };
    let by_systemd = Options { cgroup_manager: orlop::CgroupManager::Systemd, ..CREATE };
    let hook = json!([{"path": "/bin/hook"}]);
    let hooks_output = json!({"annotations": {"run.oci.hooks.stdout": "out", "run.oci.hooks.stderr": "/err"},
        "hooks": {"createRuntime": hook, "createContainer": hook, "startContainer": hook}});
    let delegated = json!({"annotations": {"run.oci.delegate-cgroup": "inner/most"},
        "hooks": {"prestart": [{"path": "/bin/network"}]}});
    let below = json!({"annotations": {"run.oci.delegate-cgroup": "inner", "run.oci.systemd.subgroup": "payload"},
        "linux": {"cgroupsPath": "a.slice:p:n", "resources": {"pids": {"limit": 10}},
            "namespaces": [{"type": "mount"}, {"type": "user"}, {"type": "cgroup"}],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}, "hostname": null});
    let net_devices = json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}],
        "netDevices": {"eth7": {}, "eth8": {"name": "public%d"}}},
        "hooks": {"createRuntime": [{"path": "/bin/network"}]}, "hostname": null});
    let table: [(&str, &str, &Options<'_>, &Value); 28] = [
        ("base", V2, &CREATE, &none),
        ("run", V2, &run, &none),
        ("no-pivot", V2, &initramfs, &none),
        ("no-cgroup", V2, &no_cgroup, &none),
        ("preserve-fds", V2, &preserved, &none),
        ("namespaces-joined", V2, &CREATE, &joined),
        ("devices", V2, &CREATE, &devices),
        ("no-mount-namespace", V2, &CREATE, &json!({"linux": {"namespaces": []}, "hostname": null})),
        (
            "class-of-service",
            V2,
            &CREATE,
            &json!({"linux": {"intelRdt": {"closID": "gold", "schemata": ["L2:0=f"], "memBwSchema": "MB:0=20",
                "l3CacheSchema": "L3:0=7f0", "enableMonitoring": true}}}),
        ),
        (
            "annotations",
            V2,
            &CREATE,
            &json!({"annotations": {"run.oci.keep_original_groups": "1", "run.oci.pidfd_receiver": "/run/pidfd.sock",
                "run.oci.systemd.force_cgroup_v1": "/sys/fs/cgroup", "run.oci.mount_context_type": "fscontext"},
                "linux": {"mountLabel": "a:b:c:s0"}, "mounts": [
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/own", "type": "tmpfs", "options": ["rootcontext=x:y:z:s0"]}]}),
        ),
        ("hooks-output", V2, &CREATE, &hooks_output),
        ("cgroup-delegated", V2, &CREATE, &delegated),
        ("cgroup-delegated-v1", V1, &CREATE, &delegated),
        ("cgroup-below-a-scope", V2, &by_systemd, &below),
        ("net-devices", V2, &CREATE, &net_devices),
        ("covered", V2, &CREATE, &covered),
        ("credentials", V2, &CREATE, &credentials),
        ("cgroup-v1", V1, &CREATE, &v1_cgroup),
        ("cgroup-hybrid", HYBRID, &CREATE, &v1_cgroup),
        ("cgroup-v2", V2, &CREATE, &cgroup),
        ("cgroup-mount-v1", V1, &CREATE, &cgroup_mount),
        ("cgroup-mount-hybrid", HYBRID, &CREATE, &cgroup_mount),
        ("cgroup-mount-v2", V2, &CREATE, &cgroup_mount),
        ("cgroup-mount-v1-own-namespace", V1, &CREATE, &with_namespace),
        ("propagation-private", V2, &CREATE, &propagation("private")),
        ("propagation-shared", V2, &CREATE, &propagation("rshared")),
        ("names", V2, &CREATE, &json!({"hostname": "a", "domainname": "b"})),
        (
            "mounts",
            V2,
            &CREATE,
            &json!({"mounts": [
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=700", "size=1m", "rslave"]},
            {"destination": "/b/../c", "type": "bind", "source": "data", "options": ["rbind", "rro", "noexec"]},
            {"destination": "/data", "type": "ext4", "source": "/dev/sda1", "options": ["ro", "sync", "data=journal"]},
            {"destination": "/proc", "type": "proc"},
            {"destination": "/proc/cpuinfo", "source": "/lxcfs/cpuinfo", "options": ["bind"]},
            {"destination": "/proc/sys", "source": "/evil", "options": ["bind"]}]}),
        ),
    ];
    check_all(table.into_iter().map(|(name, layout, options, edit)| {
        (format!("area-{name}"), describe(patch(base(), edit), &host(layout), options))
    }));
}

/// What becomes of each mount option, on a bind mount and on a new file system.
#[test]
fn mount_options() {
    let mut out = String::new();
    for option in options::supported() {
        for (name, mount) in [
            ("bind", json!({"destination": "/a", "source": "/s", "options": ["rbind", option]})),
            ("tmpfs", json!({"destination": "/a", "type": "tmpfs", "options": [option]})),
        ] {
            out += &format!("{name}, {option}\n");
            let config = patch(base(), &json!({"mounts": [mount]}));
            for line in describe(config, &host(V2), &CREATE).lines().filter(|line| line.contains("/mounts/0")) {
                // The mount point is the same each time.
                if !line.contains(" target ") {
                    out += &format!("    {}\n", line.trim_start_matches("mounts     init    "));
                }
            }
        }
    }
    check_all([("mount-options".to_owned(), out)]);
}

/// A file that no test writes any more would stay for ever.
#[test]
fn no_snapshot_is_left_over() {
    let known = ["area-", "config-", "contract-", "mount-options"];
    for entry in fs::read_dir(fixtures().join("plans")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let source = name.strip_suffix(".txt").and_then(|stem| stem.split_once('-'));
        assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
        if let Some((folder @ ("config" | "contract"), stem)) = source {
            assert!(fixtures().join(folder).join(format!("{stem}.json")).exists(), "{name} has no configuration");
        }
    }
}

/// Invariant 1: the planner knows the kernel's types and none of its calls.
#[test]
fn planning_does_no_io() {
    let data = [
        "orlop_sys::mount::Reach",
        "orlop_sys::mount::{Attr, MsFlags, Reach}",
        "orlop_sys::mount::{Propagation, Reach}",
        "orlop_sys::mount::{Attr, Propagation, Reach}",
        "orlop_sys::mount::{Attr, Reach}",
        "orlop_sys::mount::{Attr, Propagation}",
        "orlop_sys::mount::Attr",
        "orlop_sys::process::Clone",
        "orlop_sys::process::Clone as CloneFlags",
        "orlop_sys::process::{Clone as CloneFlags, Rights}",
        "orlop_sys::thread::SockFilter",
        "orlop_sys::Errno",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> =
        fs::read_dir(source.join("plan")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.ends_with("tests.rs") && path.is_file());
    files.push(source.join("cgroup.rs"));
    assert!(files.len() > 6);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let pure =
            if file.ends_with("cgroup.rs") { text.split("\npub(crate) fn signal").next().unwrap() } else { &text };
        for (number, line) in pure.lines().enumerate() {
            let Some(at) = line.find("orlop_sys::") else { continue };
            let named = line[at..].trim_end_matches(';');
            assert!(data.contains(&named), "{}:{}: {named}", file.display(), number + 1);
        }
        for call in ["Host::probe", "std::fs", "open_at", "unsafe", "Layout::probe", "Group::"] {
            assert!(!pure.contains(call), "{}: {call}", file.display());
        }
    }
}

/// What a configuration contradicts itself in: the edit, the place, the reason.
#[test]
fn contradictions() {
    let mounts = |mount: Value| json!({"mounts": [mount]});
    let device = |device: Value| json!({"linux": {"devices": [device]}});
    let table = [
        (json!({"root": null}), "/root", "root must be specified"),
        (json!({"root": {"path": ""}}), "/root/path", "the path of the root file system is empty"),
        (json!({"root": {"path": "a\0b"}}), "/root/path", "holds a NUL character"),
        (json!({"process": null}), "/process", "process property must not be empty"),
        (json!({"process": {"args": []}}), "/process/args", "args must not be empty"),
        (json!({"process": {"args": ["a", "b\0"]}}), "/process/args/1", "holds a NUL character"),
        (
            json!({"process": {"env": ["A=1", "B"]}}),
            "/process/env/1",
            "invalid environment variable \"B\": no name and value",
        ),
        (
            json!({"process": {"env": ["=1"]}}),
            "/process/env/0",
            "invalid environment variable \"=1\": no name and value",
        ),
        (json!({"process": {"user": {"uid": u32::MAX}}}), "/process/user/uid", "4294967295 is no user or group id"),
        (
            json!({"process": {"user": {"additionalGids": [0, u32::MAX]}}}),
            "/process/user/additionalGids/1",
            "4294967295 is no user or group id",
        ),
        (json!({"process": {"user": {"umask": 0o1000}}}), "/process/user/umask", "0o1000 is no file mode mask"),
        (
            json!({"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}}),
            "/process/rlimits/1",
            "a second limit on RLIMIT_CORE",
        ),
        (
            mounts(json!({"destination": "/", "type": "tmpfs"})),
            "/mounts/0/destination",
            "a mount on top of the root file system",
        ),
        (
            mounts(json!({"destination": "/a/..", "type": "tmpfs"})),
            "/mounts/0/destination",
            "a mount on top of the root file system",
        ),
        (mounts(json!({"destination": "/a"})), "/mounts/0/type", "a mount without a type"),
        (mounts(json!({"destination": "/a", "type": "bind"})), "/mounts/0/source", "a bind mount without a source"),
        (
            device(json!({"path": "a", "type": "c", "major": 1, "minor": 1})),
            "/linux/devices/0/path",
            "the path of a device must be absolute",
        ),
        (
            device(json!({"path": "/a", "type": "c", "major": -1, "minor": 1})),
            "/linux/devices/0/major",
            "-1 is no device number",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "ipc"}]}}),
            "/linux/namespaces/2",
            "a second ipc namespace",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc", "path": "ns"}]}}),
            "/linux/namespaces/1/path",
            "the path of a namespace must be absolute",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}]}}),
            "/hostname",
            "unable to set hostname without a private UTS namespace",
        ),
        (
            json!({"annotations": {"run.oci.delegate-cgroup": "a/../../b"}}),
            "/annotations",
            "run.oci.delegate-cgroup: cgroup path \"a/../../b\" is to be below another one, and leads out of it",
        ),
    ];
    for (edit, pointer, reason) in table {
        let document = patch(base(), &edit).to_string();
        let config = Config::parse(document.as_bytes()).unwrap_or_else(|error| panic!("{edit}: {error}"));
        match plan::plan(&config, &host(V2), &Options { gate: Gate::Open, ..CREATE }) {
            Ok(_) => panic!("{edit}: planned"),
            Err(error) => {
                let found = (error.kind(), error.origin().unwrap_or_default(), error.reason());
                assert_eq!(found, (Kind::InvalidConfig, pointer, reason), "{edit}");
            }
        }
    }
}
