//! Cgroups that systemd makes: scopes, their properties, and their end.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Outcome, tests};
use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::processes;
use rustix::process::Signal;

tests! {
    "systemd":
    SYSTEMD {
        scope_has_the_limits, default_name_and_slice, slices_are_folders, stop_on_delete, gone_after_the_run,
        properties_by_annotation, dangerous_properties_are_refused, bad_paths_are_refused,
        reload_keeps_devices, a_failed_create_leaves_no_scope, a_name_can_be_used_again,
        the_scope_of_another_is_left_alone, many_at_once, killed_creates_are_deleted, explained,
        children_are_killed_with_the_scope,
    }
}

pub(super) fn needs_systemd(t: &Context) -> Result<(), Skip> {
    if t.by_systemd() { Ok(()) } else { Err(Skip("needs --systemd-cgroup".into())) }
}

pub(super) fn systemctl(args: &[&str]) -> String {
    let done = Command::new("systemctl").args(args).output().expect("there is a systemctl");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// What systemd says of a unit.
pub(super) fn show(unit: &str, property: &str) -> String {
    systemctl(&["show", "--value", "-p", property, unit]).trim().to_owned()
}

#[track_caller]
pub(super) fn is_gone(unit: &str) {
    assert_eq!(show(unit, "LoadState"), "not-found", "{unit} is {}", show(unit, "ActiveState"));
}

pub(super) fn scopes(tag: &str) -> Vec<String> {
    let list = systemctl(&["list-units", "--all", "--plain", "--no-legend", "--type=scope"]);
    list.lines().filter(|line| line.contains(tag)).map(str::to_owned).collect()
}

fn scope_has_the_limits(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let bundle = t.bundle().with("/linux/cgroupsPath", json!(format!("system.slice:orlop:{id}")));
    let resources = [
        ("memory", json!({"limit": 33_554_432, "reservation": 16_777_216})),
        ("pids", json!({"limit": 20})),
        ("cpu", json!({"shares": 1024, "quota": 25_000, "period": 50_000, "cpus": "0", "mems": "0"})),
    ];
    let bundle =
        resources.into_iter().fold(bundle, |b, (key, value)| b.with(&format!("/linux/resources/{key}"), value));
    t.create(&bundle, &id).ok();
    let unit = format!("orlop-{id}.scope");
    let mut wanted = vec![
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("TasksMax", "20"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("DevicePolicy", "strict"),
    ];
    match t.host.layout {
        Layout::V2 => wanted.extend([
            ("MemoryMax", "33554432"),
            ("MemoryLow", "16777216"),
            ("CPUWeight", "100"),
            ("AllowedCPUs", "0"),
            ("AllowedMemoryNodes", "0"),
        ]),
        Layout::V1 => wanted.extend([("MemoryLimit", "33554432"), ("CPUShares", "1024")]),
    }
    for (property, value) in wanted {
        assert_eq!(show(&unit, property), value, "{property}");
    }
    assert!(show(&unit, "DeviceAllow").contains("/dev/char/1:3 rwm"), "{}", show(&unit, "DeviceAllow"));
    // And in the kernel.
    let dir = t.cgroup_of(t.pid(&id), "memory");
    assert!(dir.ends_with(format!("system.slice/{unit}")), "{}", dir.display());
    let file = if t.host.layout == Layout::V2 { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(fs::read_to_string(dir.join(file)).expect("it is there").trim(), "33554432");
    t.delete(&id);
    is_gone(&unit);
    assert!(!dir.exists());
    Ok(())
}

fn default_name_and_slice(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let unit = format!("orlop-{id}.scope");
    assert_eq!(show(&unit, "Slice"), "system.slice");
    assert_eq!(show(&unit, "Description"), format!("orlop container {id}"));
    t.delete(&id);
    is_gone(&unit);
    Ok(())
}

fn slices_are_folders(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let tag = t.tag().replace('-', "_");
    let bundle = t.bundle().with("/linux/cgroupsPath", json!(format!("{tag}-b.slice:p:{id}")));
    t.create(&bundle, &id).ok();
    let dir = t.cgroup_of(t.pid(&id), "memory");
    assert!(dir.ends_with(format!("{tag}.slice/{tag}-b.slice/p-{id}.scope")), "{}", dir.display());
    t.delete(&id);
    is_gone(&format!("p-{id}.scope"));
    systemctl(&["stop", &format!("{tag}-b.slice"), &format!("{tag}.slice")]);
    // On v1 systemd does not know of the hierarchies that it has no use for; slices stay there, as with runc.
    for top in crate::host::hierarchies() {
        for slice in [format!("{tag}.slice/{tag}-b.slice"), format!("{tag}.slice")] {
            let _ = fs::remove_dir(top.join(slice));
        }
    }
    Ok(())
}

fn stop_on_delete(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let unit = format!("orlop-{id}.scope");
    assert_eq!(show(&unit, "ActiveState"), "active");
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    is_gone(&unit);
    Ok(())
}

fn gone_after_the_run(t: &Context) -> Outcome {
    needs_systemd(t)?;
    t.run(&t.bundle()).ok();
    is_gone(&format!("orlop-{}.scope", t.id("c")));
    Ok(())
}

/// Without a pid namespace they live on when the first process ends.
fn children_are_killed_with_the_scope(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "pid");
    let done = t.detach(&bundle.args(&["fork", "3"]), &id);
    t.wait_for_output(&done, "forked: 3");
    t.wait_for(&id, "stopped");
    let begin = Instant::now();
    t.orlop(&["delete", &id]).end().ok();
    assert!(begin.elapsed() < Duration::from_secs(20), "systemd was left to wait for them");
    is_gone(&format!("orlop-{id}.scope"));
    Ok(())
}

fn properties_by_annotation(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let bundle = t
        .bundle()
        .with("/annotations/org.systemd.property.TimeoutStopSec", json!("3"))
        .with("/annotations/org.systemd.property.RuntimeMaxUSec", json!("uint64 7000000000"))
        .with("/annotations/org.systemd.property.Description", json!("'it is \"mine\"'"))
        .with("/annotations/org.systemd.property.CollectMode", json!("'inactive-or-failed'"));
    t.create(&bundle, &id).ok();
    let unit = format!("orlop-{id}.scope");
    assert_eq!(show(&unit, "TimeoutStopUSec"), "3s");
    assert_eq!(show(&unit, "RuntimeMaxUSec"), "1h 56min 40s");
    assert_eq!(show(&unit, "Description"), "it is \"mine\"");
    assert_eq!(show(&unit, "CollectMode"), "inactive-or-failed");
    t.delete(&id);
    is_gone(&unit);
    Ok(())
}

/// CVE-2024-3154: who may annotate must not shut the host down.
fn dangerous_properties_are_refused(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    for (name, value, text) in [
        ("SuccessAction", "'poweroff-force'", "must not be set by a container"),
        ("Wants", "['poweroff.target']", "must not be set by a container"),
        ("PIDs", "[1]", "value parse error"),
        ("Slice", "'x.slice'", "must not be set by a container"),
        ("X'", "'a'", "name incorrect"),
        ("NoSuchProperty", "'a'", "NoSuchProperty"),
    ] {
        let bundle = t.bundle_again().with(&format!("/annotations/org.systemd.property.{name}"), json!(value));
        t.create(&bundle, &id).fails_with(text);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    assert_eq!(scopes(t.tag()), [""; 0]);
    Ok(())
}

fn bad_paths_are_refused(t: &Context) -> Outcome {
    needs_systemd(t)?;
    for (path, text) in [
        ("/a/b", "expected cgroupsPath to be of format"),
        ("a/b.slice:p:n", "does not begin with the name of a slice"),
        ("system.slice:p:../n", "does not make a unit name"),
    ] {
        let bundle = t.bundle_again().with("/linux/cgroupsPath", json!(path));
        t.create(&bundle, &t.id("c")).fails_with(text);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn reload_keeps_devices(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let caps = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let mut bundle = t.bundle().with("/root/readonly", json!(false));
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), caps.clone());
    }
    let made = ["mknod", "/tmp/mem", "1", "1", "--", "sigwait", "--"];
    let opened = ["open-both", "/dev/null", "/dev/zero", "--", "open", "/tmp/mem", "--", "print", "over"];
    let bundle = bundle.args(&[made.as_slice(), &opened].concat());
    let done = t.detach(&bundle, &id);
    t.wait_for_output(&done, "ready");
    for _ in 0..3 {
        systemctl(&["daemon-reload"]);
    }
    // A change of its properties makes systemd apply all of them.
    systemctl(&["set-property", "--runtime", &format!("orlop-{id}.scope"), "TasksMax=100"]);
    t.orlop(&["kill", &id, "USR1"]).end().ok();
    t.wait_for_output(&done, "over");
    let out = done.stdout();
    for line in ["opened rw: /dev/null", "opened rw: /dev/zero", "open /tmp/mem: EPERM"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    t.delete(&id);
    is_gone(&format!("orlop-{id}.scope"));
    Ok(())
}

fn a_failed_create_leaves_no_scope(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let bundle = t.bundle().with("/process/args", json!(["/no/such/program"]));
    t.create(&bundle, &id).exits(1);
    is_gone(&format!("orlop-{id}.scope"));
    Ok(())
}

fn a_name_can_be_used_again(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let bundle = t.bundle();
    for _ in 0..5 {
        t.run(&bundle).ok();
    }
    Ok(())
}

/// Two runtimes with different states, and one name.
fn the_scope_of_another_is_left_alone(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let (first, second) = (t.id("c"), t.id("d"));
    let bundle = t.bundle().args(&["sleep", "600"]);
    let bundle = bundle.with("/linux/cgroupsPath", json!(format!(":orlop:{first}")));
    t.detach(&bundle, &first);
    t.create(&bundle, &second).fails_with("container's cgroup is not empty: 1 process(es) found");
    assert_eq!(t.state(&first)["status"], "running");
    assert_eq!(show(&format!("orlop-{first}.scope"), "ActiveState"), "active");
    t.delete(&first);
    Ok(())
}

fn many_at_once(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let bundle = t.bundle();
    let ids: Vec<String> = (0..64).map(|n| t.id(&format!("m{n}"))).collect();
    let calls: Vec<_> = ids.iter().map(|id| t.orlop(&["create", "--bundle", bundle.path(), id]).start()).collect();
    for call in calls {
        call.end().ok();
    }
    assert_eq!(scopes(t.tag()).len(), 64);
    let calls: Vec<_> = ids.iter().map(|id| t.orlop(&["delete", "--force", id]).start()).collect();
    for call in calls {
        call.end().ok();
    }
    assert_eq!(scopes(t.tag()), [""; 0]);
    Ok(())
}

/// Wherever `create` is killed, `delete --force` finds all of it.
fn killed_creates_are_deleted(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let bundle = t.bundle();
    for n in 0..16 {
        let id = t.id(&format!("k{n}"));
        let call = t.orlop(&["create", "--bundle", bundle.path(), &id]).start();
        sleep(Duration::from_millis(n * 8));
        processes::kill(call.pid(), Signal::KILL);
        call.end();
        t.orlop(&["delete", "--force", &id]).end().ok();
    }
    let end = Instant::now() + Duration::from_secs(3);
    while !scopes(t.tag()).is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(20));
    }
    assert_eq!(scopes(t.tag()), [""; 0]);
    Ok(())
}

fn explained(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let bundle = t.bundle().with("/linux/resources/pids", json!({"limit": 20}));
    let done = t.orlop(&["explain", "--bundle", bundle.path()]).end().ok();
    let text = done.stdout();
    for part in ["scope=orlop-explained.scope", "TasksMax=20  [/linux/resources/pids/limit]", "pids.max = 20"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}
