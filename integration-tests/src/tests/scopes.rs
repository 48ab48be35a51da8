//! Scopes of systemd that live: updated, frozen, many of them at once, and those of a user's own systemd.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::systemd::{is_gone, needs_systemd, scopes, show, systemctl};
use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! {
    "systemd":
    SYSTEMD {
        update_sets_properties, a_refused_update_leaves_the_properties, other_commands_know_the_driver,
        two_hundred_creates, features_say_so, weight_or_idle, a_frozen_cgroup_is_refused,
        a_failed_scope_stays_until_delete,
    }
    ROOTLESS_SYSTEMD {
        user_scope_has_the_limits, user_scope_is_updated, user_scope_is_paused, user_scopes_one_after_another,
        user_scope_takes_executed_processes, user_limits_that_are_not_delegated,
        user_scope_with_a_subgroup,
    }
}

/// A call without `--systemd-cgroup`: the container's record says who made its cgroup.
fn plain(t: &Context, args: &[&str]) -> Done {
    let root = t.dir().join("root");
    let root = root.to_str().expect("a plain path");
    t.bare_orlop(&[&["--root", root], args].concat()).end()
}

pub(super) fn scope_of(id: &str) -> String {
    format!("orlop-{id}.scope")
}

fn sleeping(t: &Context, id: &str, resources: Value) -> PathBuf {
    let bundle = with(t.bundle().args(&["sleep", "600"]), resources);
    t.detach(&bundle, id);
    t.cgroup_of(t.pid(id), "memory")
}

fn with(bundle: Bundle, resources: Value) -> Bundle {
    let resources = resources.as_object().expect("an object").clone();
    resources.into_iter().fold(bundle, |bundle, (key, value)| bundle.with(&format!("/linux/resources/{key}"), value))
}

#[track_caller]
fn has(t: &Context, id: &str, controller: &str, file: &str, want: &str) {
    let dir: PathBuf = t.cgroup_of(t.pid(id), controller);
    let text = fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", dir.display()));
    assert_eq!(text.trim(), want, "{file}");
}

/// An update's options; the property that it sets; and the file on v1, with its controller, and on v2.
struct Step {
    options: &'static [&'static str],
    properties: &'static [(&'static str, &'static str)],
    v1: (&'static str, &'static str, &'static str),
    v2: (&'static str, &'static str),
}

const STEPS: &[Step] = &[
    Step {
        options: &["--memory", "64M"],
        properties: &[("MemoryMax", "67108864"), ("MemoryLimit", "67108864")],
        v1: ("memory", "memory.limit_in_bytes", "67108864"),
        v2: ("memory.max", "67108864"),
    },
    Step {
        options: &["--pids-limit", "12"],
        properties: &[("TasksMax", "12")],
        v1: ("pids", "pids.max", "12"),
        v2: ("pids.max", "12"),
    },
    Step {
        options: &["--cpu-share", "2048"],
        properties: &[("CPUWeight", "174"), ("CPUShares", "2048")],
        v1: ("cpu", "cpu.shares", "2048"),
        v2: ("cpu.weight", "174"),
    },
    Step {
        options: &["--cpu-quota", "30000"],
        properties: &[("CPUQuotaPerSecUSec", "600ms")],
        v1: ("cpu", "cpu.cfs_quota_us", "30000"),
        v2: ("cpu.max", "30000 50000"),
    },
    // The property has steps of 1 %; the file says the same.
    Step {
        options: &["--cpu-quota", "30001", "--cpu-period", "100000"],
        properties: &[("CPUQuotaPerSecUSec", "310ms"), ("CPUQuotaPeriodUSec", "100ms")],
        v1: ("cpu", "cpu.cfs_quota_us", "31000"),
        v2: ("cpu.max", "31000 100000"),
    },
    Step {
        options: &["--cpuset-cpus", "0"],
        properties: &[("AllowedCPUs", "0")],
        v1: ("cpuset", "cpuset.cpus", "0"),
        v2: ("cpuset.cpus", "0"),
    },
];

/// Not only the files, which systemd would write anew from its properties.
fn update_sets_properties(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let resources = json!({
        "memory": {"limit": 33_554_432}, "pids": {"limit": 20}, "cpu": {"quota": 25_000, "period": 50_000, "shares": 1024},
    });
    let dir = sleeping(t, &id, resources);
    let unit = scope_of(&id);
    let v2 = t.host.layout == Layout::V2;
    let told = |step: &Step| {
        for (property, value) in step.properties {
            // Those of the other version are not set.
            let other = if v2 { ["MemoryLimit", "CPUShares"] } else { ["MemoryMax", "CPUWeight"] };
            let no_such = !v2 && *property == "AllowedCPUs";
            if !other.contains(property) && !no_such {
                assert_eq!(show(&unit, property), *value, "{property} after {:?}", step.options);
            }
        }
        let (controller, file, want) = if v2 { ("", step.v2.0, step.v2.1) } else { step.v1 };
        has(t, &id, controller, file, want);
    };
    for (number, step) in STEPS.iter().enumerate() {
        let args = [&["update"], step.options, &[id.as_str()]].concat();
        let done = if number % 2 == 0 { t.orlop(&args).end() } else { plain(t, &args) };
        done.ok();
        told(step);
    }
    systemctl(&["daemon-reload"]);
    // A change of one property makes systemd write all of its controller.
    let others: &[&str] = if v2 { &["CPUWeight=200", "MemoryHigh=90M"] } else { &["CPUShares=3000"] };
    systemctl(&[&["set-property", "--runtime", &unit, "TasksMax=13"], others].concat());
    let last = STEPS.len() - 2;
    for kept in [&STEPS[0], &STEPS[last], &STEPS[last + 1]] {
        told(kept);
    }
    has(t, &id, "pids", "pids.max", "13");
    plain(t, &["delete", "--force", &id]).ok();
    is_gone(&unit);
    assert!(!dir.exists());
    Ok(())
}

fn a_refused_update_leaves_the_properties(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    sleeping(t, &id, json!({"pids": {"limit": 20}}));
    t.orlop(&["update", "--pids-limit", "30", "--cpuset-cpus", "4000", &id]).end().fails_with("cpuset.cpus");
    assert_eq!(show(&scope_of(&id), "TasksMax"), "20");
    has(t, &id, "pids", "pids.max", "20");
    t.delete(&id);
    Ok(())
}

fn other_commands_know_the_driver(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let dir = sleeping(t, &id, json!({}));
    plain(t, &["pause", &id]).ok();
    assert_eq!(t.state(&id)["status"], "paused");
    systemctl(&["daemon-reload"]);
    assert_eq!(t.state(&id)["status"], "paused");
    plain(t, &["resume", &id]).ok();
    assert_eq!(plain(t, &["ps", "--format", "json", &id]).ok().json(), json!([t.pid(&id)]));
    plain(t, &["kill", "--all", &id, "KILL"]).ok();
    t.wait_for(&id, "stopped");
    plain(t, &["delete", &id]).ok();
    is_gone(&scope_of(&id));
    assert!(!dir.exists());
    Ok(())
}

/// Sixteen at a time; fewer where systemd has a dozen hierarchies to serve.
fn two_hundred_creates(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let bundle = t.bundle();
    let many = if t.host.layout == Layout::V2 { 200 } else { 32 };
    let ids: Vec<String> = (0..many).map(|n| t.id(&format!("n{n}"))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    t.create(&bundle, id).ok();
                    t.orlop(&["delete", "--force", id]).end().ok();
                }
            });
        }
    });
    println!("# {many} creates and deletes in {:?}", began.elapsed());
    assert_eq!(scopes(t.tag()), [""; 0]);
    Ok(())
}

fn features_say_so(t: &Context) -> Outcome {
    let cgroup = t.orlop(&["features"]).end().ok().json()["linux"]["cgroup"].clone();
    assert_eq!((&cgroup["systemd"], &cgroup["systemdUser"]), (&json!(true), &json!(true)));
    Ok(())
}

/// It tells why the container ended.
fn a_failed_scope_stays_until_delete(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]);
    let bundle = bundle.with("/annotations/org.systemd.property.RuntimeMaxSec", json!("1"));
    let bundle = bundle.with("/annotations/org.systemd.property.TimeoutStopSec", json!("1"));
    t.detach(&bundle, &id);
    t.wait_for(&id, "stopped");
    let unit = scope_of(&id);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while show(&unit, "ActiveState") != "failed" && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!((show(&unit, "ActiveState"), show(&unit, "Result")), ("failed".into(), "timeout".into()));
    t.orlop(&["delete", &id]).end().ok();
    is_gone(&unit);
    Ok(())
}

fn needs_users_systemd(t: &Context) -> Result<(), Skip> {
    needs_systemd(t)?;
    if t.host.uid == 0 { Err(Skip("is about a user's systemd".into())) } else { Ok(()) }
}

/// systemd has one property for both.
fn weight_or_idle(t: &Context) -> Outcome {
    needs_systemd(t)?;
    // Of v1 systemd knows no idle cgroups.
    if t.host.layout == Layout::V1 {
        return Ok(());
    }
    let id = t.id("c");
    sleeping(t, &id, json!({"cpu": {"shares": 2048}}));
    let unit = scope_of(&id);
    let both = t.orlop(&["update", "--cpu-share", "200", "--cpu-idle", "1", &id]).end().ok();
    assert!(both.log().contains("unable to apply both"), "{}", both.log());
    has(t, &id, "", "cpu.idle", "1");
    t.orlop(&["update", "--cpu-share", "1024", &id]).end().ok();
    has(t, &id, "", "cpu.idle", "0");
    has(t, &id, "", "cpu.weight", "100");
    t.orlop(&["update", "--cpu-share", "2048", &id]).end().ok();
    // It is not: nothing changes.
    t.orlop(&["update", "--cpu-idle", "0", &id]).end().ok();
    has(t, &id, "", "cpu.weight", "174");
    t.orlop(&["update", "--cpu-idle", "1", &id]).end().ok();
    t.orlop(&["update", "--cpu-idle", "0", &id]).end().ok();
    assert_eq!(show(&unit, "CPUWeight"), "100");
    systemctl(&["set-property", "--runtime", &unit, "CPUQuota=50%"]);
    has(t, &id, "", "cpu.idle", "0");
    t.delete(&id);
    Ok(())
}

/// Its first process would stop before it began.
fn a_frozen_cgroup_is_refused(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let unit = format!("system.slice/{}", scope_of(&id));
    let (dir, file, value) = match t.host.layout {
        Layout::V2 => (Path::new("/sys/fs/cgroup").join(unit), "cgroup.freeze", "1"),
        Layout::V1 => (Path::new("/sys/fs/cgroup/freezer").join(unit), "freezer.state", "FROZEN"),
    };
    fs::create_dir_all(&dir).expect("root may do this");
    fs::write(dir.join(file), value).expect("it can be frozen");
    t.create(&t.bundle(), &id).fails_with("container's cgroup unexpectedly frozen");
    fs::remove_dir(&dir).expect("nobody is in it");
    Ok(())
}

/// The property of a scope, in the words of the caller's own systemd.
fn users(unit: &str, property: &str) -> String {
    let done = std::process::Command::new("systemctl")
        .args(["--user", "show", "--value", "-p", property, unit])
        .output()
        .expect("there is a systemctl");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

#[track_caller]
fn users_is_gone(unit: &str) {
    assert_eq!(users(unit, "LoadState"), "not-found", "{unit} is {}", users(unit, "ActiveState"));
}

/// Where an ordinary user's systemd has been given controllers.
fn user_scope_has_the_limits(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    let resources =
        json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 20}, "cpu": {"quota": 25_000, "period": 50_000}});
    let dir = sleeping(t, &id, resources);
    let unit = scope_of(&id);
    for (property, want) in [
        ("ActiveState", "active"),
        ("Slice", "user.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "33554432"),
        ("TasksMax", "20"),
        ("CPUQuotaPerSecUSec", "500ms"),
    ] {
        assert_eq!(users(&unit, property), want, "{property}");
    }
    for (file, want) in [("memory.max", "33554432"), ("pids.max", "20"), ("cpu.max", "25000 50000")] {
        has(t, &id, "", file, want);
    }
    let above = format!("user@{}.service/user.slice/{unit}", t.host.uid);
    assert!(dir.ends_with(Path::new(&above)), "{}", dir.display());
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    users_is_gone(&unit);
    assert!(!dir.exists());
    Ok(())
}

fn user_scope_is_updated(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    sleeping(t, &id, json!({"pids": {"limit": 20}}));
    let unit = scope_of(&id);
    plain(t, &["update", "--pids-limit", "30", "--memory", "64M", &id]).ok();
    assert_eq!((users(&unit, "TasksMax"), users(&unit, "MemoryMax")), ("30".into(), "67108864".into()));
    has(t, &id, "", "pids.max", "30");
    has(t, &id, "", "memory.max", "67108864");
    let reload = std::process::Command::new("systemctl").args(["--user", "daemon-reload"]).status();
    assert!(reload.expect("there is a systemctl").success());
    has(t, &id, "", "pids.max", "30");
    let stats = plain(t, &["events", "--stats", &id]).ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 30, "{stats}");
    plain(t, &["delete", "--force", &id]).ok();
    users_is_gone(&unit);
    Ok(())
}

/// From a login session, whose cgroup is not the user's to leave.
fn user_scope_takes_executed_processes(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    sleeping(t, &id, json!({"pids": {"limit": 20}}));
    // Told from the root of the container's cgroup namespace.
    plain(t, &["exec", &id, "/bin/probe", "cat", "/proc/self/cgroup"]).ok().prints(&["0::/"]);
    t.delete(&id);
    Ok(())
}

/// An ordinary user's processes come there by way of systemd alone.
fn user_scope_with_a_subgroup(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    let annotations = json!({"run.oci.systemd.subgroup": "payload", "run.oci.delegate-cgroup": "inner"});
    let bundle = t.bundle().args(&["sleep", "600"]).with("/annotations", annotations);
    t.detach(&with(bundle, json!({"pids": {"limit": 20}})), &id);
    let dir = t.cgroup_of(t.pid(&id), "");
    assert!(dir.ends_with(format!("user.slice/{}/payload/inner", scope_of(&id))), "{}", dir.display());
    let file = t.dir().join("executed");
    let path = file.to_str().expect("a plain path");
    plain(t, &["exec", "--detach", "--pid-file", path, &id, "/bin/probe", "sleep", "600"]).ok();
    let pid = fs::read_to_string(&file).expect("it was written").parse().expect("a pid");
    assert_eq!(t.cgroup_of(pid, ""), dir);
    t.delete_with_executed(&id);
    users_is_gone(&scope_of(&id));
    Ok(())
}

fn user_scope_is_paused(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    sleeping(t, &id, json!({}));
    plain(t, &["pause", &id]).ok();
    assert_eq!(t.state(&id)["status"], "paused");
    plain(t, &["resume", &id]).ok();
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    users_is_gone(&scope_of(&id));
    Ok(())
}

fn user_scopes_one_after_another(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let bundle = t.bundle();
    for _ in 0..10 {
        t.run(&bundle).ok();
    }
    users_is_gone(&scope_of(&t.id("c")));
    Ok(())
}

/// hugetlb is not among what a user's systemd gets.
fn user_limits_that_are_not_delegated(t: &Context) -> Outcome {
    needs_users_systemd(t)?;
    let id = t.id("c");
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]});
    t.create(&with(t.bundle(), limits), &id).fails_with("hugetlb");
    users_is_gone(&scope_of(&id));
    Ok(())
}
