//! Fields of config.json that no other area drives, each through the binary; `fixtures/config/properties.txt` says which
//! test is whose.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::Context;
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "fields":
    ROOT {
        limits, ignored_limits, device_rules, devices, rootfs_propagation, hooks_have_args_and_env, hooks_time_out,
        conditions_of_a_filter, mount_label_without_selinux,
    }
    EVERYWHERE {
        personality_flags_are_ignored,
    }
}

/// A limit: where it is in the configuration, what it is, and the file and value that it becomes. Where a host lacks
/// the controller or the file, it is an error that names the field.
struct Limit {
    field: &'static str,
    with: Value,
    /// The controller, the file and its value.
    v1: Option<(&'static str, &'static str, &'static str)>,
    v2: Option<(&'static str, &'static str, &'static str)>,
}

fn row(
    field: &'static str,
    with: Value,
    v1: (&'static str, &'static str, &'static str),
    v2: (&'static str, &'static str, &'static str),
) -> Limit {
    let some =
        |file: (&'static str, &'static str, &'static str)| Some(file).filter(|(controller, ..)| !controller.is_empty());
    Limit { field, with, v1: some(v1), v2: some(v2) }
}

/// What a version has no file for.
const NONE: (&str, &str, &str) = ("", "", "");

/// A block device of this host, as `MAJOR:MINOR`.
fn disk() -> Option<(i64, i64)> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let number = |path: &Path| {
        let text = fs::read_to_string(path.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let is_disk = |name: &str| ["vd", "sd", "nvme", "loop"].iter().any(|kind| name.starts_with(kind));
    disks.filter(|entry| is_disk(&entry.file_name().to_string_lossy())).find_map(|entry| number(&entry.path()))
}

fn of_disks() -> Vec<Limit> {
    let Some((major, minor)) = disk() else { return Vec::new() };
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let device = |more: Value| {
        let mut device = json!({"major": major, "minor": minor});
        device.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!([device])
    };
    let line = |value: &str| leak(format!("{major}:{minor} {value}"));
    vec![
        row("blockIO/weight", json!(500), ("blkio", "blkio.bfq.weight", "500"), ("io", "io.bfq.weight", "default 500")),
        row(
            "blockIO/weightDevice",
            device(json!({"weight": 400})),
            ("blkio", "blkio.bfq.weight_device", line("400")),
            ("io", "io.bfq.weight", line("400")),
        ),
        row(
            "blockIO/throttleReadBpsDevice",
            device(json!({"rate": 1_048_576})),
            ("blkio", "blkio.throttle.read_bps_device", line("1048576")),
            ("io", "io.max", line("rbps=1048576 wbps=max riops=max wiops=max")),
        ),
        row(
            "blockIO/throttleWriteBpsDevice",
            device(json!({"rate": 1_048_576})),
            ("blkio", "blkio.throttle.write_bps_device", line("1048576")),
            ("io", "io.max", line("rbps=max wbps=1048576 riops=max wiops=max")),
        ),
        row(
            "blockIO/throttleReadIOPSDevice",
            device(json!({"rate": 100})),
            ("blkio", "blkio.throttle.read_iops_device", line("100")),
            ("io", "io.max", line("rbps=max wbps=max riops=100 wiops=max")),
        ),
        row(
            "blockIO/throttleWriteIOPSDevice",
            device(json!({"rate": 100})),
            ("blkio", "blkio.throttle.write_iops_device", line("100")),
            ("io", "io.max", line("rbps=max wbps=max riops=max wiops=100")),
        ),
    ]
}

fn is_mounted_as_v1(controller: &str) -> bool {
    let table = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    table
        .lines()
        .any(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller)))
}

/// The folder of a process in the hierarchy that has the controller.
fn folder(pid: i32, controller: &str) -> PathBuf {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let path = |has: &dyn Fn(&str) -> bool| {
        let line = table.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(has)))?;
        line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned())
    };
    if let Some(path) = path(&|name: &str| name == controller) {
        return Path::new("/sys/fs/cgroup").join(controller).join(path);
    }
    let path = path(&|name: &str| name.is_empty()).expect("there is a unified hierarchy");
    let top = Path::new("/sys/fs/cgroup/unified");
    if top.exists() { top.join(path) } else { Path::new("/sys/fs/cgroup").join(path) }
}

fn limits(t: &Context) -> Outcome {
    t.needs_root()?;
    let memory = json!({"limit": 33_554_432, "swap": 67_108_864, "reservation": 16_777_216, "checkBeforeUpdate": true});
    let huge = json!([{"pageSize": "2MB", "limit": 4_194_304}]);
    let mut rows = vec![
        row(
            "memory",
            memory.clone(),
            ("memory", "memory.memsw.limit_in_bytes", "67108864"),
            ("memory", "memory.swap.max", "33554432"),
        ),
        row(
            "memory",
            memory,
            ("memory", "memory.soft_limit_in_bytes", "16777216"),
            ("memory", "memory.low", "16777216"),
        ),
        row("memory/swappiness", json!(10), ("memory", "memory.swappiness", "10"), NONE),
        row("memory/disableOOMKiller", json!(true), ("memory", "memory.oom_control", "oom_kill_disable 1"), NONE),
        row(
            "cpu",
            json!({"quota": 50_000, "period": 100_000, "burst": 10_000}),
            ("cpu", "cpu.cfs_burst_us", "10000"),
            ("cpu", "cpu.max.burst", "10000"),
        ),
        row("cpu/idle", json!(1), ("cpu", "cpu.idle", "1"), ("cpu", "cpu.idle", "1")),
        row("cpu/cpus", json!("0"), ("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.cpus", "0")),
        row("cpu/mems", json!("0"), ("cpuset", "cpuset.mems", "0"), ("cpuset", "cpuset.mems", "0")),
        row(
            "cpu",
            json!({"realtimePeriod": 1_000_000, "realtimeRuntime": 0}),
            ("cpu", "cpu.rt_period_us", "1000000"),
            NONE,
        ),
        row(
            "hugepageLimits",
            huge,
            ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
            ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ),
        row("network/classID", json!(1_048_577), ("net_cls", "net_cls.classid", "1048577"), NONE),
        row(
            "network/priorities",
            json!([{"name": "lo", "priority": 5}]),
            ("net_prio", "net_prio.ifpriomap", "lo 5"),
            NONE,
        ),
        row(
            "rdma",
            json!({"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10_000}}),
            ("rdma", "rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"),
            ("rdma", "rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"),
        ),
        row("unified", json!({"memory.high": "33554432"}), NONE, ("memory", "memory.high", "33554432")),
    ];
    rows.extend(of_disks());
    let (mut set, mut refused) = (0, Vec::new());
    for (number, Limit { field, with, v1, v2 }) in rows.into_iter().enumerate() {
        // A controller that no v1 hierarchy has may be in the unified one.
        let on_v1 = |file: &(&str, &str, &str)| t.host.layout == Layout::V1 && is_mounted_as_v1(file.0);
        let file = v1.filter(on_v1).or(v2);
        let id = t.id(&format!("c{number}"));
        let bundle = t.bundle_again().with(&format!("/linux/resources/{field}"), with);
        let done = t.create(&bundle, &id);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
        if done.code() != 0 {
            let pointer = format!("/linux/resources/{}", field.split('/').next().unwrap_or_default());
            assert!(done.stderr().contains(&pointer), "{field}: refused without its name: {}", done.stderr());
            let told = file.is_some_and(|(controller, ..)| {
                ["memory", "cpu", "cpuset"].contains(&controller) && t.host.has_controller(controller)
            });
            let may_lack = field == "cpu" && done.stderr().contains("rt_")
                || done.stderr().contains("memsw")
                || done.stderr().contains("swap");
            let of_v2 = field == "unified" && t.host.layout == Layout::V1;
            assert!(!told || may_lack || of_v2, "{field}: {}", done.stderr());
            refused.push(field);
            continue;
        }
        if let Some((controller, name, value)) = file {
            let folder = folder(t.pid(&id), controller);
            // Without BFQ a kernel of v2 has weights from 1 to 10000.
            let (name, value) = match (name, value.rsplit_once(' ')) {
                ("io.bfq.weight", Some((whose, weight))) if !folder.join(name).exists() => {
                    let weight = weight.parse::<u32>().expect("a number");
                    ("io.weight", format!("{whose} {}", 1 + (weight - 10) * 9999 / 990))
                }
                _ => (name, value.to_owned()),
            };
            let path = folder.join(name);
            let text = fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{field} is taken, and {}: {error}", path.display()));
            assert!(text.lines().any(|line| line.trim() == value), "{field}: {name} is {text:?}, not {value:?}");
            set += 1;
        }
        t.delete(&id);
    }
    println!("{set} are set; without a controller or file for it: {refused:?}");
    assert!(set > 0 || !t.host.has_controller("memory"));
    Ok(())
}

/// What Linux has no limit for any more, or this cgroup version none: told, and no failure.
fn ignored_limits(t: &Context) -> Outcome {
    t.needs_root()?;
    let mut fields = vec!["/memory/kernel", "/memory/kernelTCP"];
    if t.host.layout == Layout::V2 {
        fields.push("/blockIO/leafWeight");
    }
    for field in fields {
        let bundle = t.bundle_again().with(&format!("/linux/resources{field}"), json!(100));
        let said = t.orlop(&["explain", "--bundle", bundle.path()]).end().ok().stdout();
        assert!(said.contains(&format!("not set: /linux/resources{field}: ")), "{field}: {said}");
        t.run(&bundle).ok();
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    t.run(&t.bundle_again().with("/linux/resources/memory", json!({"useHierarchy": true}))).ok();
    Ok(())
}

/// Each field of a rule decides: kind, major, minor, access, and whether it allows.
fn device_rules(t: &Context) -> Outcome {
    t.needs_root()?;
    let deny = json!({"allow": false, "access": "rwm"});
    let fuse = |more: Value| {
        let mut rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
        rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        rule
    };
    for (rule, read, write) in [
        (fuse(json!({})), true, true),
        (fuse(json!({"allow": false})), false, false),
        (fuse(json!({"type": "b"})), false, false),
        (fuse(json!({"major": 11})), false, false),
        (fuse(json!({"minor": 228})), false, false),
        (fuse(json!({"minor": -1})), true, true),
        (fuse(json!({"access": "r"})), true, false),
        (fuse(json!({"access": "w"})), false, true),
    ] {
        let node = json!({"path": "/dev/node", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666});
        let bundle = t.bundle_again().with("/linux/devices/-", node);
        let bundle = bundle.with("/linux/resources/devices", json!([deny, rule]));
        let done = t.run(&bundle.args(&["open", "/dev/node", "--", "open-write", "/dev/node"]));
        // Without the driver the kernel has other errors, once the rule has let it through.
        let text = done.stdout();
        let (read_failed, write_failed) =
            (text.contains("open /dev/node: EPERM"), text.contains("open-write /dev/node: EPERM"));
        assert_eq!((!read_failed, !write_failed), (read, write), "{rule}: {text}");
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
    }
    Ok(())
}

fn devices(t: &Context) -> Outcome {
    t.needs_root()?;
    let mut bundle = t.bundle();
    for device in [
        json!({"path": "/dev/c", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6}),
        json!({"path": "/dev/u", "type": "u", "major": 162, "minor": 1}),
        json!({"path": "/dev/deep/b", "type": "b", "major": 7, "minor": 300, "fileMode": 0o777}),
        json!({"path": "/dev/p", "type": "p", "fileMode": 0o600, "uid": 7}),
    ] {
        bundle.set("/linux/devices/-", device);
    }
    let done = t.run(&bundle.args(&["stat", "/dev/c", "/dev/u", "/dev/deep/b", "/dev/p"])).ok();
    assert_eq!(done.value("/dev/c"), "char 640 5 6 0 10:229");
    assert_eq!(done.value("/dev/u"), "char 666 0 0 0 162:1");
    assert_eq!(done.value("/dev/deep/b"), "block 777 0 0 0 7:300");
    assert_eq!(done.value("/dev/p"), "fifo 600 7 0 0");
    Ok(())
}

/// What mountinfo says of the root: shared with nobody, a slave, a peer, or not to be bound.
fn rootfs_propagation(t: &Context) -> Outcome {
    t.needs_root()?;
    for (mode, has, has_not) in [
        ("private", "", &["shared:", "master:"][..]),
        ("rprivate", "", &["shared:", "master:"]),
        ("slave", "", &["shared:"]),
        ("rslave", "", &["shared:"]),
        ("shared", "shared:", &[]),
        ("rshared", "shared:", &[]),
        ("unbindable", "unbindable", &["shared:"]),
        ("runbindable", "unbindable", &["shared:"]),
    ] {
        let bundle = t.bundle_again().with("/linux/rootfsPropagation", json!(mode)).args(&["mounts"]);
        let done = t.run(&bundle).ok();
        let text = done.stdout();
        let root = text.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("there is a root");
        let options = root.split(" - ").next().unwrap_or_default();
        assert!(options.contains(has) && !has_not.iter().any(|not| options.contains(not)), "{mode}: {root}");
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
    }
    Ok(())
}

const EVENTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A program of the host, or of the container for the hook that runs there.
fn program(bundle: &Bundle, event: &str) -> String {
    if event == "startContainer" {
        "/bin/probe".into()
    } else {
        bundle.rootfs("bin/probe").to_string_lossy().into_owned()
    }
}

fn hooks_have_args_and_env(t: &Context) -> Outcome {
    t.needs_root()?;
    for event in EVENTS {
        let bundle = t.bundle_again().with("/root/readonly", json!(false));
        let out =
            if event == "startContainer" { "/out".into() } else { bundle.rootfs("out").to_string_lossy().into_owned() };
        let hook = json!({"path": program(&bundle, event), "args": ["probe", "write", out, event], "env": ["A=b"]});
        t.run(&bundle.with(&format!("/hooks/{event}"), json!([hook]))).ok();
        let written = fs::read_to_string(t.dir().join("bundle-2/rootfs/out")).expect("the hook has run");
        assert_eq!(written, event);
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
        // And the environment, where its output can be seen: in the error of one that fails.
        let bundle = t.bundle_again();
        let hook =
            json!({"path": program(&bundle, event), "args": ["probe", "env", "--", "false"], "env": ["A=b", "C=d e"]});
        let done = t.run(&bundle.with(&format!("/hooks/{event}"), json!([hook])));
        let said = done.stderr() + &done.log();
        assert!(said.contains("env: A=b") && said.contains("C=d e"), "{event}: {said}");
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
    }
    Ok(())
}

/// All but poststop's end the container; that one is a warning.
fn hooks_time_out(t: &Context) -> Outcome {
    t.needs_root()?;
    for event in EVENTS {
        let bundle = t.bundle_again();
        let hook = json!({"path": program(&bundle, event), "args": ["probe", "sleep", "600"], "timeout": 1});
        let done = t.run(&bundle.with(&format!("/hooks/{event}"), json!([hook])));
        let (said, code) = (done.stderr() + &done.log(), done.code());
        assert!(said.contains(&format!("{event} hook #0")) && said.contains("timeout"), "{event}: {said}");
        assert_eq!(code == 0, event == "poststop", "{event}: {said}");
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
    }
    Ok(())
}

/// kill(2) with a signal as its second argument, which pid 1 ignores: which of two the condition is true for.
fn conditions_of_a_filter(t: &Context) -> Outcome {
    // The operator, its value and second value; a signal that it holds for, and one that it does not.
    for (op, value, two, holds, not) in [
        ("SCMP_CMP_EQ", 10, 0, 10, 12),
        ("SCMP_CMP_NE", 10, 0, 12, 10),
        ("SCMP_CMP_LT", 10, 0, 1, 10),
        ("SCMP_CMP_LE", 10, 0, 10, 12),
        ("SCMP_CMP_GT", 10, 0, 12, 10),
        ("SCMP_CMP_GE", 12, 0, 12, 10),
        ("SCMP_CMP_MASKED_EQ", 0b110, 0b100, 12, 10),
    ] {
        let args = json!([{"index": 1, "value": value, "valueTwo": two, "op": op}]);
        let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11, "args": args});
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [rule]});
        let bundle = t.bundle_again().with("/linux/seccomp", profile);
        let (holds, not) = (holds.to_string(), not.to_string());
        let done =
            t.run(&bundle.args(&["kill", "1", &holds, "--", "print", "between", "--", "kill", "1", &not])).exits(1);
        done.prints(&["kill 1: EAGAIN", "between"]);
        fs::remove_dir_all(t.dir().join("bundle-2")).expect("it is ours");
    }
    Ok(())
}

/// A label that nobody would enforce is an error.
fn mount_label_without_selinux(t: &Context) -> Outcome {
    t.needs_root()?;
    if fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("selinuxfs")) {
        return Err(crate::context::Skip("SELinux is there".into()));
    }
    let bundle = t.bundle().with("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0"));
    let done = t.run(&bundle);
    assert!(done.code() > 0, "the label has no effect, and nobody says so");
    assert!(done.stderr().contains("context"), "{}", done.stderr());
    Ok(())
}

fn personality_flags_are_ignored(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/personality", json!({"domain": "LINUX", "flags": ["SOME"]}));
    let done = t.run(&bundle).ok();
    assert!(done.log().contains("ignoring personality flags"), "{}", done.log());
    Ok(())
}
