//! Every field of `linux.resources`, as it stands in the kernel's files on v1 and on v2.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::Context;
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "cgroup":
    LIMITS {
        fields_of_memory, fields_of_cpu, fields_of_block_io, fields_of_other_controllers, unified_keys,
        contradictions, all_at_once, explain_shows_what_is_written, refused_update_restores_devices,
    }
}

/// A controller (its name on v1), a file there (or several, of which the kernel has one, between bars), and its text.
type Text = (&'static str, &'static str, &'static str);

/// Resources, and what they come to. `DEVICE` is a block device of this machine. What one version has no place for
/// leaves nothing there.
struct Row(&'static str, &'static [Text], &'static [Text]);

/// The largest number of whole pages.
const UNLIMITED: &str = "9223372036854771712";

const MEMORY: &[Row] = &[
    Row(
        r#"{"memory": {"limit": 67108864}}"#,
        &[("memory", "memory.limit_in_bytes", "67108864")],
        &[("memory", "memory.max", "67108864")],
    ),
    Row(
        r#"{"memory": {"limit": -1}}"#,
        &[("memory", "memory.limit_in_bytes", UNLIMITED), ("memory", "memory.memsw.limit_in_bytes", UNLIMITED)],
        &[("memory", "memory.max", "max"), ("memory", "memory.swap.max", "max")],
    ),
    Row(
        r#"{"memory": {"limit": 67108864, "swap": 100663296}}"#,
        &[("memory", "memory.memsw.limit_in_bytes", "100663296")],
        &[("memory", "memory.max", "67108864"), ("memory", "memory.swap.max", "33554432")],
    ),
    Row(
        r#"{"memory": {"limit": 67108864, "swap": 67108864}}"#,
        &[("memory", "memory.memsw.limit_in_bytes", "67108864")],
        &[("memory", "memory.swap.max", "0")],
    ),
    Row(
        r#"{"memory": {"limit": 67108864, "swap": -1}}"#,
        &[("memory", "memory.limit_in_bytes", "67108864"), ("memory", "memory.memsw.limit_in_bytes", UNLIMITED)],
        &[("memory", "memory.max", "67108864"), ("memory", "memory.swap.max", "max")],
    ),
    Row(
        r#"{"memory": {"reservation": 33554432}}"#,
        &[("memory", "memory.soft_limit_in_bytes", "33554432"), ("memory", "memory.limit_in_bytes", UNLIMITED)],
        &[("memory", "memory.low", "33554432"), ("memory", "memory.max", "max")],
    ),
    Row(r#"{"memory": {"swappiness": 7}}"#, &[("memory", "memory.swappiness", "7")], &[]),
    Row(
        r#"{"memory": {"disableOOMKiller": true, "limit": 67108864}}"#,
        &[("memory", "memory.oom_control", "oom_kill_disable 1")],
        &[("memory", "memory.max", "67108864")],
    ),
    // Not what any kernel still has; and what is written on an update only.
    Row(
        r#"{"memory": {"limit": 67108864, "kernel": 1, "kernelTCP": 1, "useHierarchy": true, "checkBeforeUpdate": true}}"#,
        &[("memory", "memory.limit_in_bytes", "67108864")],
        &[("memory", "memory.max", "67108864")],
    ),
];

const CPU: &[Row] = &[
    Row(r#"{"cpu": {"shares": 2}}"#, &[("cpu", "cpu.shares", "2")], &[("cpu", "cpu.weight", "1")]),
    Row(r#"{"cpu": {"shares": 512}}"#, &[("cpu", "cpu.shares", "512")], &[("cpu", "cpu.weight", "59")]),
    Row(r#"{"cpu": {"shares": 1024}}"#, &[("cpu", "cpu.shares", "1024")], &[("cpu", "cpu.weight", "100")]),
    Row(r#"{"cpu": {"shares": 262144}}"#, &[("cpu", "cpu.shares", "262144")], &[("cpu", "cpu.weight", "10000")]),
    Row(
        r#"{"cpu": {"quota": 20000, "period": 50000}}"#,
        &[("cpu", "cpu.cfs_quota_us", "20000"), ("cpu", "cpu.cfs_period_us", "50000")],
        &[("cpu", "cpu.max", "20000 50000")],
    ),
    Row(
        r#"{"cpu": {"quota": 20000}}"#,
        &[("cpu", "cpu.cfs_quota_us", "20000"), ("cpu", "cpu.cfs_period_us", "100000")],
        &[("cpu", "cpu.max", "20000 100000")],
    ),
    Row(
        r#"{"cpu": {"period": 50000}}"#,
        &[("cpu", "cpu.cfs_quota_us", "-1"), ("cpu", "cpu.cfs_period_us", "50000")],
        &[("cpu", "cpu.max", "max 50000")],
    ),
    Row(
        r#"{"cpu": {"quota": -1, "period": 50000}}"#,
        &[("cpu", "cpu.cfs_quota_us", "-1"), ("cpu", "cpu.cfs_period_us", "50000")],
        &[("cpu", "cpu.max", "max 50000")],
    ),
    Row(
        r#"{"cpu": {"quota": 20000, "period": 50000, "burst": 10000}}"#,
        &[("cpu", "cpu.cfs_burst_us", "10000")],
        &[("cpu", "cpu.max", "20000 50000"), ("cpu", "cpu.max.burst", "10000")],
    ),
    Row(r#"{"cpu": {"idle": 1}}"#, &[("cpu", "cpu.idle", "1")], &[("cpu", "cpu.idle", "1")]),
    Row(
        r#"{"cpu": {"idle": 0, "shares": 2048}}"#,
        &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "2048")],
        &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.weight", "174")],
    ),
    Row(
        r#"{"cpu": {"cpus": "0", "mems": "0"}}"#,
        &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
    ),
    Row(
        r#"{"cpu": {"cpus": "0"}}"#,
        &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        &[("cpuset", "cpuset.cpus", "0")],
    ),
];

const REALTIME: Row = Row(
    r#"{"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 5000}}"#,
    &[("cpu", "cpu.rt_period_us", "900000"), ("cpu", "cpu.rt_runtime_us", "5000")],
    &[],
);

const BLOCK_IO: &[Row] = &[
    Row(
        r#"{"blockIO": {"throttleReadBpsDevice": [DEVICE, "rate": 1048576}]}}"#,
        &[("blkio", "blkio.throttle.read_bps_device", "DEVICE 1048576")],
        &[("io", "io.max", "DEVICE rbps=1048576 wbps=max riops=max wiops=max")],
    ),
    Row(
        r#"{"blockIO": {
            "throttleWriteBpsDevice": [DEVICE, "rate": 2097152}],
            "throttleReadIOPSDevice": [DEVICE, "rate": 300}],
            "throttleWriteIOPSDevice": [DEVICE, "rate": 400}]
        }}"#,
        &[
            ("blkio", "blkio.throttle.write_bps_device", "DEVICE 2097152"),
            ("blkio", "blkio.throttle.read_iops_device", "DEVICE 300"),
            ("blkio", "blkio.throttle.write_iops_device", "DEVICE 400"),
        ],
        &[("io", "io.max", "DEVICE rbps=max wbps=2097152 riops=300 wiops=400")],
    ),
    // Without a limit.
    Row(
        r#"{"blockIO": {"throttleReadBpsDevice": [DEVICE, "rate": 0}]}}"#,
        &[("blkio", "blkio.throttle.read_bps_device", "")],
        &[("io", "io.max", "")],
    ),
];

const WEIGHT: Row = Row(
    r#"{"blockIO": {"weight": 500}}"#,
    &[("blkio", "blkio.weight|blkio.bfq.weight", "500")],
    &[("io", "io.bfq.weight|io.weight", "default 500|default 4950")],
);

const OTHERS: &[Row] = &[
    Row(r#"{"pids": {"limit": 7}}"#, &[("pids", "pids.max", "7")], &[("pids", "pids.max", "7")]),
    Row(r#"{"pids": {"limit": 0}}"#, &[("pids", "pids.max", "1")], &[("pids", "pids.max", "1")]),
    Row(r#"{"pids": {"limit": -1}}"#, &[("pids", "pids.max", "max")], &[("pids", "pids.max", "max")]),
    Row(
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
        &[
            ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
            ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
        ],
        &[("hugetlb", "hugetlb.2MB.max", "4194304"), ("hugetlb", "hugetlb.2MB.rsvd.max", "4194304")],
    ),
    Row(r#"{"network": {"classID": 1048577}}"#, &[("net_cls", "net_cls.classid", "1048577")], &[]),
    Row(
        r#"{"network": {"priorities": [{"name": "lo", "priority": 5}]}}"#,
        &[("net_prio", "net_prio.ifpriomap", "lo 5")],
        &[],
    ),
];

const UNIFIED: &[Row] = &[
    Row(r#"{"unified": {"memory.high": "50331648"}}"#, &[], &[("memory", "memory.high", "50331648")]),
    Row(r#"{"unified": {"memory.oom.group": "1"}}"#, &[], &[("memory", "memory.oom.group", "1")]),
    Row(r#"{"unified": {"cpu.weight": "42", "pids.max": "11"}}"#, &[], &[("cpu", "cpu.weight", "42")]),
    Row(r#"{"unified": {"hugetlb.2MB.max": "8388608"}}"#, &[], &[("hugetlb", "hugetlb.2MB.max", "8388608")]),
    Row(r#"{"unified": {"cgroup.max.descendants": "3"}}"#, &[], &[("", "cgroup.max.descendants", "3")]),
    // It comes after the others, and wins.
    Row(
        r#"{"memory": {"limit": 67108864}, "unified": {"memory.max": "71303168"}}"#,
        &[],
        &[("memory", "memory.max", "71303168")],
    ),
];

/// A disk of this machine, as `MAJOR:MINOR`.
fn disk() -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let named = |name: &str| !["loop", "ram", "zram", "fd", "sr"].iter().any(|other| name.starts_with(other));
    let real = disks.filter(|disk| disk.file_name().to_str().is_some_and(named));
    real.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok()).map(|dev| dev.trim().to_owned()).min()
}

fn resources(text: &str, disk: &str) -> Value {
    let (major, minor) = disk.split_once(':').unwrap_or(("0", "0"));
    let device = format!("{{\"major\": {major}, \"minor\": {minor}");
    let text = text.replace("DEVICE", &device);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn bundle(t: &Context, id: &str, resources: &Value) -> Bundle {
    let path = if t.by_systemd() { format!("system.slice:orlop:{id}") } else { format!("/{id}") };
    let bundle = t.bundle().with("/linux/cgroupsPath", json!(path));
    let fields = resources.as_object().expect("an object").clone();
    fields.into_iter().fold(bundle, |bundle, (key, value)| bundle.with(&format!("/linux/resources/{key}"), value))
}

/// Where the files of a controller are, and whether as on v2. A hybrid host has some on v2.
fn place(t: &Context, pid: i32, controller: &str) -> Option<(PathBuf, bool)> {
    match t.host.layout {
        Layout::V2 => {
            Some((t.cgroup_of(pid, ""), true)).filter(|_| controller.is_empty() || t.host.has_controller(controller))
        }
        Layout::V1 if t.host.has_controller(controller) => Some((t.cgroup_of(pid, controller), false)),
        Layout::V1 => {
            let top = Path::new("/sys/fs/cgroup/unified");
            let offered = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
            let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it waits");
            let own = table.lines().find_map(|line| line.strip_prefix("0::/"))?;
            offered.split_whitespace().any(|c| c == controller).then(|| (top.join(own), true))
        }
    }
}

/// Whether a controller of one version is had by this host.
fn offers(t: &Context, controller: &str) -> bool {
    controller.is_empty() || place(t, std::process::id() as i32, controller).is_some()
}

#[track_caller]
fn holds(dir: &Path, (_, files, texts): &Text, disk: &str) {
    let file = files.split('|').zip(texts.split('|').chain(std::iter::repeat(*texts)));
    let there = file.filter(|(file, _)| dir.join(file).exists()).collect::<Vec<_>>();
    let (file, want) = there.first().unwrap_or_else(|| panic!("{}: no {files}", dir.display()));
    let want = want.replace("DEVICE", disk);
    let text = fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", dir.display()));
    let is_it = text.trim() == want || !want.is_empty() && text.lines().any(|line| line.trim() == want);
    assert!(is_it, "{}/{file} is {text:?}, not {want:?}", dir.display());
}

/// Each row in a container of its own, as far as this host has the controllers.
fn check<'a>(t: &Context, rows: impl IntoIterator<Item = &'a Row>) -> Outcome {
    t.needs_root()?;
    let disk = disk().unwrap_or_default();
    for (number, Row(text, v1, v2)) in rows.into_iter().enumerate() {
        let of_v1 = || v1.iter().all(|(controller, ..)| t.host.has_controller(controller));
        let on_v1 = t.host.layout == Layout::V1 && of_v1();
        let wanted = if on_v1 { v1 } else { v2 };
        let nowhere = t.host.layout == Layout::V1 && !on_v1 && v2.is_empty();
        if nowhere
            || text.contains("DEVICE") && disk.is_empty()
            || !wanted.iter().all(|(controller, ..)| offers(t, controller))
        {
            println!("# without {text}");
            continue;
        }
        let id = t.id(&format!("r{number}"));
        let bundle = bundle(t, &id, &resources(text, &disk));
        t.create(&bundle, &id).ok();
        let pid = t.pid(&id);
        for row in *wanted {
            let (dir, _) = place(t, pid, row.0).expect("it is offered");
            holds(&dir, row, &disk);
        }
        t.delete(&id);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn fields_of_memory(t: &Context) -> Outcome {
    check(t, MEMORY)
}

fn fields_of_cpu(t: &Context) -> Outcome {
    let realtime = Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() && !t.by_systemd();
    check(t, CPU.iter().chain(realtime.then_some(&REALTIME)))
}

fn fields_of_block_io(t: &Context) -> Outcome {
    check(t, BLOCK_IO)?;
    // Some kernels have weights of no kind: then it is an error that names the controller or the file.
    t.needs_root()?;
    let id = t.id("c");
    let done = t.create(&bundle(t, &id, &resources(WEIGHT.0, "")), &id);
    if done.code() == 0 {
        t.delete(&id);
        let _ = fs::remove_dir_all(t.dir().join("bundle"));
        return check(t, [&WEIGHT]);
    }
    if offers(t, "blkio") && t.host.layout == Layout::V1 {
        done.fails_with("blkio");
    } else {
        done.fails_with("io");
    }
    Ok(())
}

fn fields_of_other_controllers(t: &Context) -> Outcome {
    check(t, OTHERS)
}

fn unified_keys(t: &Context) -> Outcome {
    t.needs_root()?;
    if t.host.layout == Layout::V2 {
        check(t, UNIFIED)?;
    }
    let id = t.id("e");
    let refused: &[(Value, &str)] = match t.host.layout {
        Layout::V1 => &[(json!({"memory.max": "1"}), "cannot use unified on cgroup v1")],
        Layout::V2 => &[
            (json!({"../memory.max": "1"}), "must be a file name (no slashes)"),
            (json!({"memory": "1"}), "must be in the form CONTROLLER.PARAMETER"),
            (json!({"nonesuch.max": "1"}), "can't be set: controller \"nonesuch\" not available"),
            (json!({"memory.nonesuch": "1"}), "memory.nonesuch"),
            (json!({"memory.max": "much"}), "memory.max"),
        ],
    };
    for (unified, words) in refused {
        let bundle = bundle(t, &id, &json!({"unified": unified}));
        t.create(&bundle, &id).fails_with(words);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// What is refused, on which version, and in which words; nothing is left of it.
fn contradictions(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("e");
    let (v1, v2) = (t.host.layout == Layout::V1, t.host.layout == Layout::V2);
    for (on, controller, resources, words) in [
        (v2, "memory", json!({"memory": {"swap": 100}}), "unable to set swap limit without memory limit"),
        (v2, "memory", json!({"memory": {"limit": 200, "swap": 100}}), "memory+swap limit should be >= memory limit"),
        (true, "memory", json!({"memory": {"swappiness": 101}}), "valid range is 0-100"),
        (v1, "cpu", json!({"cpu": {"shares": 1}}), "minimum allowed cpu-shares is 2"),
        (v1, "cpu", json!({"cpu": {"shares": 300_000}}), "maximum allowed cpu-shares is 262144"),
        (true, "cpu", json!({"cpu": {"quota": 5000, "period": 2_000_000}}), "2000000"),
        (true, "cpuset", json!({"cpu": {"cpus": "4000"}}), "cpuset.cpus"),
        (true, "hugetlb", json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), "hugetlb.3MB"),
        (true, "", json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}), "invalid huge page size"),
        (true, "rdma", json!({"rdma": {"nonesuch": {"hcaHandles": 3}}}), "rdma.max"),
        (
            v1,
            "net_prio",
            json!({"network": {"priorities": [{"name": "nonesuch", "priority": 1}]}}),
            "net_prio.ifpriomap",
        ),
    ] {
        if !on || !offers(t, controller) {
            continue;
        }
        let bundle = bundle(t, &id, &resources);
        t.create(&bundle, &id).fails_with(words);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
        t.orlop(&["state", &id]).end().fails_with("does not exist");
    }
    Ok(())
}

/// Together they do not stand in each other's way, and every one of them can be changed.
fn all_at_once(t: &Context) -> Outcome {
    t.needs_root()?;
    for controller in ["memory", "cpu", "cpuset", "pids"] {
        t.needs_controller(controller)?;
    }
    let id = t.id("c");
    let whole = json!({
        "memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432},
        "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "burst": 5_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
    });
    t.create(&bundle(t, &id, &whole), &id).ok();
    let other = json!({
        "memory": {"limit": 134_217_728, "swap": 268_435_456, "reservation": 67_108_864},
        "cpu": {"shares": 1024, "quota": 40_000, "period": 100_000, "burst": 10_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 44},
    });
    let file = t.dir().join("resources.json");
    fs::write(&file, other.to_string()).expect("writable");
    t.orlop(&["update", "--resources", file.to_str().expect("a plain path"), &id]).end().ok();
    let pid = t.pid(&id);
    let v1: &[Text] = &[
        ("memory", "memory.limit_in_bytes", "134217728"),
        ("memory", "memory.memsw.limit_in_bytes", "268435456"),
        ("memory", "memory.soft_limit_in_bytes", "67108864"),
        ("cpu", "cpu.shares", "1024"),
        ("cpu", "cpu.cfs_quota_us", "40000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("pids", "pids.max", "44"),
    ];
    let v2: &[Text] = &[
        ("memory", "memory.max", "134217728"),
        ("memory", "memory.swap.max", "134217728"),
        ("memory", "memory.low", "67108864"),
        ("cpu", "cpu.weight", "100"),
        ("cpu", "cpu.max", "40000 100000"),
        ("cpu", "cpu.max.burst", "10000"),
        ("pids", "pids.max", "44"),
    ];
    for row in if t.host.layout == Layout::V1 { v1 } else { v2 } {
        let (dir, _) = place(t, pid, row.0).expect("it is offered");
        holds(&dir, row, "");
    }
    t.delete(&id);
    Ok(())
}

/// The files and values that `explain` names are those that a container then has.
fn explain_shows_what_is_written(t: &Context) -> Outcome {
    t.needs_root()?;
    for controller in ["memory", "cpu", "pids"] {
        t.needs_controller(controller)?;
    }
    let id = t.id("c");
    let limits = json!({
        "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swappiness": 60},
        "cpu": {"shares": 2048, "quota": 20_000, "period": 50_000},
        "pids": {"limit": 33},
    });
    let bundle = bundle(t, &id, &limits);
    let explained = t.orlop(&["explain", "--bundle", bundle.path()]).end().ok().stdout();
    t.create(&bundle, &id).ok();
    let mut compared = 0;
    for line in explained.lines().filter(|line| line.starts_with("      /sys/fs/cgroup/")) {
        let Some((file, rest)) = line.trim().split_once(" = ") else { continue };
        let value = rest.split("  [").next().expect("the value");
        if file.contains("devices.") {
            continue;
        }
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(text.trim(), value, "{file}");
        compared += 1;
    }
    assert!(compared >= 5, "{explained}");
    if t.host.layout == Layout::V2 {
        assert!(explained.contains("not set: /linux/resources/memory/swappiness"), "{explained}");
    }
    assert!(explained.contains("c 1:3 rwm"), "{explained}");
    t.delete(&id);
    Ok(())
}

/// Files with a line for each device, too.
fn refused_update_restores_devices(t: &Context) -> Outcome {
    t.needs_root()?;
    let Some(disk) = disk().filter(|_| offers(t, "blkio") || offers(t, "io")) else {
        println!("# no disk, or no controller of its input and output");
        return Ok(());
    };
    let id = t.id("c");
    let throttled = |rate: u64| {
        let field = r#"{"blockIO": {"throttleReadBpsDevice": [DEVICE, "rate": "#;
        resources(&format!("{field}{rate}}}]}}}}"), &disk)
    };
    t.create(&bundle(t, &id, &throttled(1_048_576)), &id).ok();
    let mut refused = throttled(2_097_152);
    // No kernel knows a period of two seconds, and it comes after.
    refused["cpu"] = json!({"quota": 5000, "period": 2_000_000});
    let file = t.dir().join("resources.json");
    fs::write(&file, refused.to_string()).expect("writable");
    t.orlop(&["update", "--resources", file.to_str().expect("a plain path"), &id]).end().fails_with("2000000");
    let v1 = ("blkio", "blkio.throttle.read_bps_device", "DEVICE 1048576");
    let v2 = ("io", "io.max", "DEVICE rbps=1048576 wbps=max riops=max wiops=max");
    let row = if t.host.layout == Layout::V1 { v1 } else { v2 };
    let (dir, _) = place(t, t.pid(&id), row.0).expect("it is offered");
    holds(&dir, &row, &disk);
    t.delete(&id);
    Ok(())
}
