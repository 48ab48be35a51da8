//! Limits, and what else cgroups are for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "cgroup":
    LIMITS {
        memory_limit, pids_limit, cpu_shares_and_quota, memory_limit_is_enforced,
        pids_limit_is_enforced, one_process_is_enough, zero_is_no_setting,
        missing_value_is_no_limit, kill_all_reaches_children, several_limits,
    }
    ROOT {
        path_of_the_config, path_by_default, is_gone_after_the_run, namespace_hides_the_path,
        delete_removes_groups_of_the_container,
    }
}

/// The config's path for a container, in the words of the driver; and the last part of its folder.
fn place(t: &Context, bundle: Bundle, id: &str) -> (Bundle, String) {
    if t.by_systemd() {
        let path = format!("system.slice:orlop:{id}");
        return (bundle.with("/linux/cgroupsPath", json!(path)), format!("orlop-{id}.scope"));
    }
    (bundle.with("/linux/cgroupsPath", json!(format!("/{id}"))), id.to_owned())
}

fn read(dir: &Path, file: &str) -> String {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// A file of a limit on v1 (with its controller) and on v2, and the values there.
struct File {
    v1: (&'static str, &'static str, &'static str),
    v2: (&'static str, &'static str),
}

/// A created container with those resources has those values in its files.
fn has(t: &Context, resources: Value, files: &[File]) -> Result<(), Skip> {
    t.needs_root()?;
    for file in files {
        t.needs_controller(file.v1.0)?;
    }
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle(), &id);
    let mut bundle = bundle;
    for (key, value) in resources.as_object().expect("an object") {
        bundle.set(&format!("/linux/resources/{key}"), value.clone());
    }
    t.create(&bundle, &id).ok();
    let pid = t.pid(&id);
    for File { v1, v2 } in files {
        let dir = t.cgroup_of(pid, v1.0);
        assert!(dir.to_string_lossy().contains(&id), "{} is not its own", dir.display());
        let (name, wanted) = if t.host.layout == Layout::V1 { (v1.1, v1.2) } else { *v2 };
        assert_eq!(read(&dir, name), wanted, "{name}");
    }
    t.delete(&id);
    Ok(())
}

const MEMORY_32M: File = File { v1: ("memory", "memory.limit_in_bytes", "33554432"), v2: ("memory.max", "33554432") };

fn memory_limit(t: &Context) -> Outcome {
    has(t, json!({"memory": {"limit": 33_554_432}}), &[MEMORY_32M])
}

fn pids_limit(t: &Context) -> Outcome {
    let file = File { v1: ("pids", "pids.max", "7"), v2: ("pids.max", "7") };
    has(t, json!({"pids": {"limit": 7}}), &[file])
}

/// Shares become a weight by the curve of 2025 through (2, 1), (1024, 100), (262144, 10000).
fn cpu_shares_and_quota(t: &Context) -> Outcome {
    let cpu = json!({"shares": 1024, "quota": 50_000, "period": 100_000});
    let shares = File { v1: ("cpu", "cpu.shares", "1024"), v2: ("cpu.weight", "100") };
    let quota = File { v1: ("cpu", "cpu.cfs_quota_us", "50000"), v2: ("cpu.max", "50000 100000") };
    has(t, json!({"cpu": cpu}), &[shares, quota])
}

fn several_limits(t: &Context) -> Outcome {
    let resources = json!({
        "memory": {"limit": 33_554_432, "reservation": 16_777_216},
        "pids": {"limit": 20},
        "cpu": {"quota": 25_000, "period": 50_000},
    });
    let reservation = File { v1: ("memory", "memory.soft_limit_in_bytes", "16777216"), v2: ("memory.low", "16777216") };
    let pids = File { v1: ("pids", "pids.max", "20"), v2: ("pids.max", "20") };
    let quota = File { v1: ("cpu", "cpu.cfs_quota_us", "25000"), v2: ("cpu.max", "25000 50000") };
    has(t, resources, &[MEMORY_32M, reservation, pids, quota])
}

/// Docker sends zeros for what is not set.
fn zero_is_no_setting(t: &Context) -> Outcome {
    let resources = json!({
        "memory": {"limit": 33_554_432, "reservation": 0, "swap": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0},
        "blockIO": {"weight": 0},
    });
    has(t, resources, &[MEMORY_32M])
}

fn missing_value_is_no_limit(t: &Context) -> Outcome {
    let resources = json!({"memory": {}, "cpu": {}, "pids": {"limit": -1}});
    let pids = File { v1: ("pids", "pids.max", "max"), v2: ("pids.max", "max") };
    has(t, resources, &[pids])
}

fn memory_limit_is_enforced(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle().args(&["alloc", "268435456"]), &id);
    let bundle = bundle.with("/linux/resources/memory", json!({"limit": 33_554_432}));
    let done = t.orlop(&["run", "--bundle", bundle.path(), &id]).end().exits(128 + 9);
    done.prints(&[]);
    let said = done.log();
    // systemd removes the cgroup of a scope, and what was counted there, as soon as nobody is in it.
    let told = said.contains("the kernel killed the program for want of memory: the limit is 32 MiB");
    assert!(told || t.by_systemd(), "{said}");
    let other = bundle.with("/process/args", json!(["/bin/probe", "exit", "137"]));
    let said = t.orlop(&["run", "--bundle", other.path(), &id]).end().exits(137).log();
    assert!(!said.contains("memory"), "{said}");
    Ok(())
}

fn pids_limit_is_enforced(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("pids")?;
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle().args(&["fork", "10"]), &id);
    let bundle = bundle.with("/linux/resources/pids", json!({"limit": 4}));
    let done = t.orlop(&["run", "--bundle", bundle.path(), &id]).end().exits(1);
    done.prints(&["forked: 3", "fork 10: EAGAIN"]);
    Ok(())
}

/// No process of the runtime counts against the limit.
fn one_process_is_enough(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("pids")?;
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle().args(&["print", "alone"]), &id);
    let bundle = bundle.with("/linux/resources/pids", json!({"limit": 1}));
    t.orlop(&["run", "--bundle", bundle.path(), &id]).end().ok().prints(&["alone"]);
    Ok(())
}

/// A controller that this layout surely has.
fn any_controller(t: &Context) -> &'static str {
    if t.host.layout == Layout::V1 { "memory" } else { "" }
}

fn path_of_the_config(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let (bundle, name) = place(t, t.bundle(), &id);
    t.create(&bundle, &id).ok();
    let dir = t.cgroup_of(t.pid(&id), any_controller(t));
    assert!(dir.ends_with(&name) || dir.join("..").ends_with(&name), "{}", dir.display());
    t.delete(&id);
    assert!(!dir.exists());
    Ok(())
}

fn path_by_default(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let dir = t.cgroup_of(t.pid(&id), any_controller(t));
    assert!(dir.to_string_lossy().contains(&id), "{}", dir.display());
    t.delete(&id);
    assert!(!dir.exists());
    Ok(())
}

fn is_gone_after_the_run(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle(), &id);
    t.orlop(&["run", "--bundle", bundle.path(), &id]).end().ok();
    assert!(!Path::new("/sys/fs/cgroup").join(&id).exists());
    Ok(())
}

fn namespace_hides_the_path(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "cgroup");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "cgroup"}));
    let done = t.run(&bundle.args(&["cat", "/proc/self/cgroup"])).ok();
    for line in done.stdout().lines() {
        // Without a controller, v1 runtimes leave the process where it is in v2.
        assert!(line.ends_with(":/") || line.starts_with("0::"), "{line}");
    }
    Ok(())
}

/// Groups that the container made in its own, as systemd and Docker do inside.
fn delete_removes_groups_of_the_container(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let (bundle, _) = place(t, t.bundle().args(&["sleep", "600"]), &id);
    t.detach(&bundle, &id);
    let dir = t.cgroup_of(t.pid(&id), any_controller(t));
    fs::create_dir_all(dir.join("a/b")).expect("root may do this");
    t.delete(&id);
    assert!(!dir.exists());
    Ok(())
}

/// Processes of a container without a pid namespace outlive its first one.
fn kill_all_reaches_children(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("pids")?;
    let id = t.id("c");
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "pid");
    let (bundle, _) = place(t, bundle.args(&["fork", "3"]), &id);
    let done = t.detach(&bundle, &id);
    t.wait_for_output(&done, "forked: 3");
    t.wait_for(&id, "stopped");
    t.orlop(&["kill", "--all", &id, "9"]).end().ok();
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}
