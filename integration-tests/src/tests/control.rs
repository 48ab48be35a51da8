//! What is done to a container that runs: pause, resume, ps, update, events, wait, kill and delete of many; doctor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::context::Context;
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "control":
    ROOT {
        pause_and_resume, pause_of_a_created_one, pause_of_a_stopped_one, kill_of_a_paused_one, kill_all_of_a_paused_one,
        term_of_a_paused_one_waits, delete_of_a_paused_one, ps_as_json, ps_by_the_hosts, ps_of_a_stopped_one,
        update_of_a_stopped_one, events_once, events_until_the_end, events_of_a_stopped_one, wait_for_the_end,
        kill_without_pid_namespace, kill_all, doctor_finds_and_fixes,
    }
    LIMITS {
        update_by_options, update_from_a_document, update_keeps_what_goes_with_it, update_of_memory_and_swap,
        update_below_the_usage, update_that_is_refused, events_of_memory, statistics_without_limits,
    }
    EVERYWHERE { regex, regex_that_is_none, info }
}

fn sleeping(t: &Context, id: &str) {
    t.detach(&t.bundle().args(&["sleep", "600"]).with("/linux/cgroupsPath", path(t, id)), id);
}

fn path(t: &Context, id: &str) -> Value {
    if t.by_systemd() { json!(format!("system.slice:orlop:{id}")) } else { json!(format!("/{id}")) }
}

fn status(t: &Context, id: &str) -> String {
    t.state(id)["status"].as_str().expect("a word").to_owned()
}

fn pause_and_resume(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    t.orlop(&["pause", &id]).end().ok().prints(&[]);
    assert_eq!(status(t, &id), "paused");
    let listed = t.orlop(&["list", "--format", "json"]).end().ok().json();
    assert_eq!(listed[0]["status"], "paused");
    t.orlop(&["pause", &id]).end().fails_with("paused");
    t.orlop(&["start", &id]).end().fails_with("paused");
    t.orlop(&["delete", &id]).end().fails_with("not stopped: paused");
    t.orlop(&["resume", &id]).end().ok().prints(&[]);
    assert_eq!(status(t, &id), "running");
    t.orlop(&["resume", &id]).end().fails_with("container not paused");
    t.delete(&id);
    Ok(())
}

fn pause_of_a_created_one(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    t.create(&t.bundle().args(&["sleep", "600"]), &id).ok();
    t.orlop(&["pause", &id]).end().ok();
    assert_eq!(status(t, &id), "paused");
    t.orlop(&["start", &id]).end().fails_with("paused");
    t.orlop(&["resume", &id]).end().ok();
    assert_eq!(status(t, &id), "created");
    t.orlop(&["start", &id]).end().ok();
    assert_eq!(status(t, &id), "running");
    t.delete(&id);
    Ok(())
}

fn pause_of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle(), &id);
    t.wait_for(&id, "stopped");
    t.orlop(&["pause", &id]).end().fails_with("container not running");
    t.orlop(&["resume", &id]).end().fails_with("container not paused");
    t.orlop(&["pause", &t.id("none")]).end().fails_with("container does not exist");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// What the freezer of v1 holds dies only when it is let go.
fn kill_of_a_paused_one(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["kill", &id, "KILL"]).end().fails_with("container not running");
    t.orlop(&["kill", "--all", &id, "KILL"]).end().ok().prints(&[]);
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn kill_all_of_a_paused_one(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["kill", "--all", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn term_of_a_paused_one_waits(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let done = t.detach(&t.bundle().args(&["sigwait", "--", "sleep", "600"]), &id);
    t.wait_for_output(&done, "ready");
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["kill", &id, "TERM"]).end().ok();
    assert_eq!(status(t, &id), "paused");
    assert!(!done.stdout().contains("signal"), "{}", done.stdout());
    t.orlop(&["resume", &id]).end().ok();
    t.wait_for_output(&done, "signal: 15\n");
    t.delete(&id);
    Ok(())
}

fn delete_of_a_paused_one(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["delete", "--force", &id]).end().ok().prints(&[]);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    t.create(&t.bundle_again(), &id).ok();
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["delete", "--force", &id]).end().ok().prints(&[]);
    Ok(())
}

fn ps_as_json(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let done = t.detach(&t.bundle().args(&["fork", "2", "--", "sleep", "600"]), &id);
    t.wait_for_output(&done, "forked");
    let done = t.orlop(&["ps", "--format", "json", &id]).end().ok();
    assert_eq!(done.stdout().lines().count(), 1, "{}", done.stdout());
    let pids = done.json();
    let pids = pids.as_array().expect("an array");
    assert!(pids.len() == 3 && pids.contains(&json!(t.pid(&id))), "{pids:?}");
    t.delete(&id);
    Ok(())
}

/// The table is that of the program `ps`, less the processes of others.
fn ps_by_the_hosts(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    let bin = t.dir().join("bin");
    fs::create_dir(&bin).expect("the test's folder is writable");
    let script = "#!/bin/sh\necho \"USER PID $*\"\necho 'root 1 init'\necho \"root $WANTED sleep\"\n";
    fs::write(bin.join("ps"), script).expect("writable");
    fs::set_permissions(bin.join("ps"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let pid = t.pid(&id).to_string();
    let ps =
        |args: &[&str]| t.orlop(args).env("PATH", bin.to_str().expect("a plain path")).env("WANTED", &pid).end().ok();
    let row = format!("root {pid} sleep");
    ps(&["ps", &id]).prints(&["USER PID -ef", &row]);
    ps(&["ps", &id, "-o", "--forest"]).prints(&["USER PID -o --forest", &row]);
    fs::write(bin.join("ps"), "#!/bin/sh\necho no such option >&2\nexit 3\n").expect("writable");
    let bin = bin.to_str().expect("a plain path");
    t.orlop(&["ps", &id]).env("PATH", bin).end().fails_with("exit status 3: no such option");
    t.orlop(&["ps", &id]).env("PATH", "/nowhere").end().fails_with("executable file not found in $PATH");
    t.delete(&id);
    Ok(())
}

fn ps_of_a_stopped_one(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    t.detach(&t.bundle(), &id);
    t.wait_for(&id, "stopped");
    t.orlop(&["ps", "--format", "json", &id]).end().ok().prints(&["[]"]);
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// `update` with those arguments leaves those values; a file of v1 with its controller, and one of v2.
type Setting = ((&'static str, &'static str, &'static str), (&'static str, &'static str));

fn check(t: &Context, id: &str, ((controller, v1, on_v1), (v2, on_v2)): Setting) {
    let dir = t.cgroup_of(t.pid(id), controller);
    let (file, want) = if t.host.layout == Layout::V1 { (v1, on_v1) } else { (v2, on_v2) };
    let text = fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", dir.display()));
    assert_eq!(text.trim(), want, "{file}");
}

fn update_by_options(t: &Context) -> Outcome {
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
fn update_from_a_document(t: &Context) -> Outcome {
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

fn update_keeps_what_goes_with_it(t: &Context) -> Outcome {
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
fn update_of_memory_and_swap(t: &Context) -> Outcome {
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
fn update_below_the_usage(t: &Context) -> Outcome {
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
fn update_that_is_refused(t: &Context) -> Outcome {
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

fn update_of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle(), &id);
    t.wait_for(&id, "stopped");
    t.orlop(&["update", "--pids-limit", "3", &id]).end().fails_with("container not running");
    t.orlop(&["delete", &id]).end().ok();
    t.orlop(&["update", "--pids-limit", "3", &id]).end().fails_with("does not exist");
    Ok(())
}

fn events_once(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    let done = t.orlop(&["events", "--stats", &id]).end().ok();
    assert!(done.stdout().starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":{{\"cpu\":")));
    assert_eq!(done.stdout().lines().count(), 1);
    let data = &done.json()["data"];
    assert_eq!(data["pids"]["current"], 1, "{data}");
    if t.needs_controller("memory").is_ok() {
        assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{data}");
        assert!(data["memory"]["raw"].is_object(), "{data}");
    }
    if t.host.layout == Layout::V2 && std::path::Path::new("/proc/pressure/cpu").exists() {
        assert!(data["cpu"]["psi"]["some"]["avg10"].is_number(), "{data}");
    }
    t.delete(&id);
    Ok(())
}

fn events_until_the_end(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    // While one looks often, another does not look yet.
    let seldom = t.orlop(&["events", "--interval", "1h", &id]).start();
    let mut events = t.orlop(&["events", "--interval", "20ms", &id]).start();
    t.wait_for_output_of(&mut events, "\n{\"type\":\"stats\",");
    t.wait_until("ten looks", || events.output().stdout().lines().count() >= 10);
    assert_eq!(seldom.output().stdout(), "");
    t.delete(&id);
    seldom.end().ok();
    let done = events.end().ok();
    for line in done.stdout().lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        assert_eq!((&record["type"], &record["id"]), (&json!("stats"), &json!(id)));
    }
    Ok(())
}

fn events_of_memory(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["alloc", "268435456"]).with("/linux/cgroupsPath", path(t, &id));
    let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
    t.create(&bundle.with("/linux/resources/memory", limit), &id).ok();
    let mut events = t.orlop(&["events", "--interval", "50ms", &id]).start();
    t.wait_for_output_of(&mut events, "\"stats\"");
    t.orlop(&["start", &id]).end().ok();
    t.wait_for_output_of(&mut events, &format!("{{\"type\":\"oom\",\"id\":\"{id}\"}}\n"));
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    events.end().ok();
    Ok(())
}

fn events_of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle(), &id);
    t.wait_for(&id, "stopped");
    t.orlop(&["events", "--stats", &id]).end().fails_with("is not running");
    t.orlop(&["events", "--interval", "0s", &id]).end().exits(1);
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// Engines read the files of controllers that limit nothing.
fn statistics_without_limits(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    for (controller, v1, v2) in [
        ("memory", "memory.usage_in_bytes", "memory.current"),
        ("pids", "pids.current", "pids.current"),
        ("cpu", "cpu.stat", "cpu.max"),
    ] {
        if t.needs_controller(controller).is_err() {
            continue;
        }
        let dir = t.cgroup_of(t.pid(&id), controller);
        let file = dir.join(if t.host.layout == Layout::V1 { v1 } else { v2 });
        assert!(file.exists(), "{}", file.display());
    }
    t.delete(&id);
    Ok(())
}

fn wait_for_the_end(t: &Context) -> Outcome {
    let id = t.id("c");
    let started = t.detach(&t.bundle().args(&["sigwait", "--", "exit", "3"]), &id);
    t.wait_for_output(&started, "ready");
    let mut wait = t.orlop(&["wait", &id]).start();
    sleep(Duration::from_millis(100));
    assert!(!wait.has_ended());
    t.orlop(&["kill", &id]).end().ok();
    // The exit status is that of our child, and not of orlop's.
    wait.end().ok().prints(&[]);
    t.wait_for(&id, "stopped");
    t.orlop(&["wait", &id]).end().ok();
    t.orlop(&["delete", &id]).end().ok();
    t.orlop(&["wait", &id]).end().fails_with("does not exist");
    Ok(())
}

/// Where the processes of the container would outlive its first one, SIGKILL goes to all.
fn kill_without_pid_namespace(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "pid");
    let bundle = bundle.args(&["fork", "3", "--", "sleep", "600"]).with("/linux/cgroupsPath", path(t, &id));
    let done = t.detach(&bundle, &id);
    t.wait_for_output(&done, "forked");
    t.orlop(&["kill", &id, "9"]).end().ok();
    t.wait_for(&id, "stopped");
    let pids = || t.orlop(&["ps", "--format", "json", &id]).end().ok().stdout();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while pids().trim() != "[]" {
        assert!(std::time::Instant::now() < end, "{} stay", pids());
        sleep(Duration::from_millis(5));
    }
    t.orlop(&["kill", &id, "9"]).end().fails_with("container not running");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// Of its own pid namespace, too; without the option the signal is init's.
fn kill_all(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["fork", "3", "--", "sigwait", "--", "sleep", "600"]);
    let pids = || t.orlop(&["ps", "--format", "json", &id]).end().ok().json().as_array().map_or(0, Vec::len);
    for option in ["--all", "-a"] {
        let done = t.detach(&bundle, &id);
        t.wait_for_output(&done, "ready");
        t.orlop(&["kill", &id, "USR1"]).end().ok();
        t.wait_for_output(&done, "signal: 10");
        assert_eq!(pids(), 4);
        t.orlop(&["kill", option, &id, "USR1"]).end().ok();
        t.wait_until("only init is left", || pids() == 1);
        t.delete(&id);
    }
    Ok(())
}

fn regex(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sigwait"]);
    let ids: Vec<String> = ["web-1", "web-2", "db-1"].iter().map(|name| t.id(name)).collect();
    for id in &ids {
        let done = t.detach(&bundle, id);
        t.wait_for_output(&done, "ready");
    }
    t.orlop(&["kill", "--regex", "web-[12]$", "TERM"]).end().ok().prints(&[]);
    t.wait_for(&ids[0], "stopped");
    t.wait_for(&ids[1], "stopped");
    assert_eq!(t.state(&ids[2])["status"], "running");
    // Those that have stopped are no error among others.
    t.orlop(&["kill", "--regex", "-[0-9]+$", "0"]).end().ok();
    t.orlop(&["delete", "--regex", "-(web|db)-1$"]).end().fails_with("not stopped");
    t.orlop(&["state", &ids[0]]).end().fails_with("does not exist");
    t.orlop(&["delete", "--force", "--regex", t.tag()]).end().ok();
    t.orlop(&["list", "--quiet"]).end().ok().prints(&[]);
    t.orlop(&["delete", "--regex", "nobody"]).end().ok();
    Ok(())
}

fn regex_that_is_none(t: &Context) -> Outcome {
    t.orlop(&["delete", "--regex", "a("]).end().fails_with("unmatched (");
    t.orlop(&["kill", "--regex", "*"]).end().fails_with("nothing to repeat");
    Ok(())
}

fn info(t: &Context) -> Outcome {
    let done = t.orlop(&["info"]).end().ok();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    assert_eq!(done.value("kernel"), release.trim());
    assert!(done.value("namespaces").contains("mount"));
    let unified = done.value("cgroups") == "unified";
    assert_eq!(unified, t.host.layout == Layout::V2, "{}", done.stdout());
    Ok(())
}

fn doctor_finds_and_fixes(t: &Context) -> Outcome {
    t.needs_root()?;
    t.orlop(&["doctor"]).end().ok().prints(&[]);
    let (alive, stopped, interrupted) = (t.id("a"), t.id("b"), t.id("c"));
    sleeping(t, &alive);
    let bundle = t.bundle_again();
    t.create(&bundle, &stopped).ok();
    t.orlop(&["kill", &stopped, "KILL"]).end().ok();
    t.wait_for(&stopped, "stopped");
    fs::create_dir(t.dir().join("root").join(&interrupted)).expect("it is ours");
    // No process can have the number: it is beyond the largest.
    let partial = format!("{}/.pid.2000000000", bundle.path());
    fs::write(&partial, "2000").expect("writable");
    let mine = format!("{}/.pid.{}", bundle.path(), std::process::id());
    fs::write(&mine, std::process::id().to_string()).expect("writable");

    let found = t.orlop(&["doctor"]).end();
    let text = found.stdout();
    found.fails_with("3 left behind");
    for (id, words) in [
        (&stopped, "a container that has stopped and was not deleted, its start socket"),
        (&stopped, partial.as_str()),
        (&interrupted, "a create that was interrupted"),
    ] {
        let is_it = |line: &str| line.starts_with(&format!("{id}: found: ")) && line.contains(words);
        assert!(text.lines().any(is_it), "{words}: {text}");
    }
    assert!(!text.contains(&alive) && !text.contains(&mine), "{text}");

    let fixed = t.orlop(&["doctor", "--fix"]).end().ok();
    assert_eq!(fixed.stdout().matches(": removed: ").count(), 3, "{}", fixed.stdout());
    t.orlop(&["doctor"]).end().ok().prints(&[]);
    t.orlop(&["list", "--quiet"]).end().ok().prints(&[&alive]);
    assert!(!fs::exists(&partial).expect("a plain path") && fs::exists(&mine).expect("a plain path"));
    t.delete(&alive);
    Ok(())
}
