//! `update`: limits of a container that runs, by options and from a document.

use std::fs;

use serde_json::json;

use crate::context::Context;
use crate::host::Layout;
use crate::tests::control::{path, sleeping, status};
use crate::tests::{Outcome, tests};

tests! { "update":
    ROOT { of_a_stopped_one }
    LIMITS { by_options, from_a_document, keeps_what_goes_with_it, of_memory_and_swap, below_the_usage, that_is_refused }
}

/// `update` with those arguments leaves those values; a file of v1 with its controller, and one of v2.
type Setting = ((&'static str, &'static str, &'static str), (&'static str, &'static str));

fn check(t: &Context, id: &str, ((controller, v1, on_v1), (v2, on_v2)): Setting) {
    let dir = t.cgroup_of(t.pid(id), controller);
    let (file, want) = if t.host.layout == Layout::V1 { (v1, on_v1) } else { (v2, on_v2) };
    let text = fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", dir.display()));
    assert_eq!(text.trim(), want, "{file}");
}

fn by_options(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    let rows: &[(&str, &[&str], Setting)] = &[
        ("memory", &["--memory", "64M"], (("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"))),
        (
            "memory",
            &["--memory-reservation=32M"],
            (("memory", "memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432")),
        ),
        ("pids", &["--pids-limit", "12"], (("pids", "pids.max", "12"), ("pids.max", "12"))),
        ("pids", &["--pids-limit", "-1"], (("pids", "pids.max", "max"), ("pids.max", "max"))),
        ("cpu", &["--cpu-share", "1024"], (("cpu", "cpu.shares", "1024"), ("cpu.weight", "100"))),
        (
            "cpu",
            &["--cpu-quota", "50000", "--cpu-period", "100000"],
            (("cpu", "cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
        ),
        ("cpu", &["--cpu-burst", "10000"], (("cpu", "cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000"))),
        ("cpu", &["--cpu-quota", "-1"], (("cpu", "cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"))),
        ("cpu", &["--cpu-idle", "1"], (("cpu", "cpu.idle", "1"), ("cpu.idle", "1"))),
        ("cpu", &["--cpu-idle", "0"], (("cpu", "cpu.idle", "0"), ("cpu.idle", "0"))),
        ("cpuset", &["--cpuset-cpus", "0"], (("cpuset", "cpuset.cpus", "0"), ("cpuset.cpus", "0"))),
        ("cpuset", &["--cpuset-mems", "0"], (("cpuset", "cpuset.mems", "0"), ("cpuset.mems", "0"))),
        ("memory", &["--memory", "-1"], (("memory", "memory.limit_in_bytes", UNLIMITED), ("memory.max", "max"))),
    ];
    for (controller, options, value) in rows {
        if t.needs_controller(controller).is_err() {
            continue;
        }
        let mut args = vec!["update"];
        args.extend(*options);
        args.push(&id);
        t.orlop(&args).end().ok().prints(&[]);
        check(t, &id, *value);
    }
    for (option, words) in [("--l3-cache-schema", "l3 cache schema"), ("--mem-bw-schema", "memory bandwidth schema")] {
        if !fs::exists("/sys/fs/resctrl/schemata").unwrap_or(false) {
            t.orlop(&["update", option, "x", &id]).end().fails_with(words);
        }
    }
    t.delete(&id);
    Ok(())
}

/// The largest number of whole pages.
const UNLIMITED: &str = "9223372036854771712";

/// As engines send it: zeros for what is not set, and rules for devices that must not be applied.
fn from_a_document(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    t.needs_controller("pids")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["sigwait", "--", "open", "/dev/null"]).with("/linux/cgroupsPath", path(t, &id));
    let bundle = bundle.with("/linux/resources/memory", json!({"limit": 33_554_432}));
    let done = t.detach(&bundle, &id);
    t.wait_for_output(&done, "ready");
    let document = json!({
        "memory": {"limit": 67_108_864, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0},
        "blockIO": {"weight": 0},
        "pids": {"limit": 9},
        "devices": [{"allow": false, "access": "rwm"}],
    });
    let file = t.dir().join("resources.json");
    fs::write(&file, document.to_string()).expect("writable");
    for source in ["-", file.to_str().expect("a plain path")] {
        let stdin = fs::File::open(&file).expect("it was just written");
        t.orlop(&["update", "--resources", source, &id]).stdin(stdin).end().ok().prints(&[]);
        check(t, &id, (("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")));
        check(t, &id, (("pids", "pids.max", "9"), ("pids.max", "9")));
        t.orlop(&["update", "--memory", "32M", "--pids-limit", "-1", &id]).end().ok();
    }
    t.orlop(&["kill", &id]).end().ok();
    t.wait_for(&id, "stopped");
    assert!(!done.stdout().contains("open /dev/null"), "{}", done.stdout());
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn keeps_what_goes_with_it(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("cpu")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]).with("/linux/cgroupsPath", path(t, &id));
    t.detach(&bundle.with("/linux/resources/cpu", json!({"quota": 500_000, "period": 1_000_000})), &id);
    // systemd counts in whole percents.
    for (option, quota, period) in [
        ("--cpu-period=500000", "500000", "500000"),
        ("--cpu-quota=600000", "600000", "500000"),
        ("--cpu-quota=-1", "-1", "500000"),
        ("--cpu-period=100000", "-1", "100000"),
    ] {
        t.orlop(&["update", option, &id]).end().ok();
        if t.host.layout == Layout::V1 {
            let dir = t.cgroup_of(t.pid(&id), "cpu");
            let read = |file| fs::read_to_string(dir.join(file)).expect("it is there").trim().to_owned();
            assert_eq!((&*read("cpu.cfs_quota_us"), &*read("cpu.cfs_period_us")), (quota, period), "{option}");
        } else {
            let quota = if quota == "-1" { "max" } else { quota };
            let dir = t.cgroup_of(t.pid(&id), "cpu");
            let text = fs::read_to_string(dir.join("cpu.max")).expect("it is there");
            assert_eq!(text.trim(), format!("{quota} {period}"), "{option}");
        }
    }
    t.delete(&id);
    Ok(())
}

/// Swap counts together with memory in the configuration, and apart on v2.
fn of_memory_and_swap(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let id = t.id("c");
    sleeping(t, &id);
    let dir = t.cgroup_of(t.pid(&id), "memory");
    let (memory, swap) = match t.host.layout {
        Layout::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        Layout::V2 => ("memory.max", "memory.swap.max"),
    };
    if !dir.join(swap).exists() {
        t.delete(&id);
        return Ok(());
    }
    const M: u64 = 1 << 20;
    // Each raises one above the other's old value, or lowers both below.
    let steps: &[(&[&str], u64, u64)] = &[
        (&["--memory=30M", "--memory-swap=50M"], 30, 50),
        (&["--memory=60M", "--memory-swap=80M"], 60, 80),
        (&["--memory=30M", "--memory-swap=40M"], 30, 40),
        (&["--memory-swap=70M"], 30, 70),
        (&["--memory=50M"], 50, 70),
    ];
    for (options, wanted, total) in steps {
        let mut args = vec!["update"];
        args.extend(*options);
        args.push(&id);
        t.orlop(&args).end().ok();
        let read = |file| -> u64 {
            fs::read_to_string(dir.join(file)).expect("it is there").trim().parse().expect("a number")
        };
        let total = if t.host.layout == Layout::V1 { *total } else { total - wanted };
        assert_eq!((read(memory) / M, read(swap) / M), (*wanted, total), "{options:?}");
    }
    t.delete(&id);
    Ok(())
}

/// On v2 the kernel would kill instead.
fn below_the_usage(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["alloc", "33554432", "--", "print", "ready", "--", "sleep", "600"]);
    let bundle = bundle.with("/linux/cgroupsPath", path(t, &id));
    let done = t.detach(&bundle.with("/linux/resources/memory", json!({"limit": 67_108_864})), &id);
    t.wait_for_output(&done, "ready");
    if t.host.layout == Layout::V1 {
        let words = "unable to set memory limit to 1048576 (current usage: ";
        t.orlop(&["update", "--memory", "1M", &id]).end().fails_with(words);
    } else {
        let document = json!({"memory": {"limit": 1_048_576, "checkBeforeUpdate": true}}).to_string();
        let file = t.dir().join("resources.json");
        fs::write(&file, document).expect("writable");
        let file = file.to_str().expect("a plain path");
        t.orlop(&["update", "--resources", file, &id]).end().fails_with("rejecting memory limit 1048576 <= usage ");
    }
    assert_eq!(status(t, &id), "running");
    check(t, &id, (("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")));
    t.delete(&id);
    Ok(())
}

/// One limit that is refused leaves the others as they were.
fn that_is_refused(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("pids")?;
    t.needs_controller("cpuset")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]).with("/linux/cgroupsPath", path(t, &id));
    t.detach(&bundle.with("/linux/resources/pids", json!({"limit": 20})), &id);
    t.orlop(&["update", "--pids-limit", "30", "--cpuset-cpus", "4000", &id]).end().fails_with("cpuset.cpus");
    check(t, &id, (("pids", "pids.max", "20"), ("pids.max", "20")));
    t.orlop(&["update", "--resources", "/nowhere", &id]).end().fails_with("no such file");
    t.delete(&id);
    Ok(())
}

fn of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.stopped();
    t.orlop(&["update", "--pids-limit", "3", &id]).end().fails_with("container not running");
    t.orlop(&["delete", &id]).end().ok();
    t.orlop(&["update", "--pids-limit", "3", &id]).end().fails_with("does not exist");
    Ok(())
}
