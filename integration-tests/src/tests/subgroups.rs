//! Cgroups below the one that has the limits: crun's `run.oci.systemd.subgroup` and `run.oci.delegate-cgroup`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::annotations::annotated;
use super::exec::exec;
use super::scopes::scope_of;
use super::systemd::{is_gone, needs_systemd, show};
use super::users::mapped;
use crate::bundle::Bundle;
use crate::context::{Context, Skip};
use crate::host::{Layout, hierarchies};
use crate::tests::{Outcome, tests};

tests! { "cgroup":
    SYSTEMD { below_a_scope, names_below_a_scope }
    V2 { delegated, delegated_to_the_root_of_a_user_namespace }
    NOWHERE { nothing_is_delegated_on_v1, only_a_scope_has_a_subgroup }
}

const SUBGROUP: &str = "run.oci.systemd.subgroup";
const DELEGATE: &str = "run.oci.delegate-cgroup";

fn read(dir: &Path, file: &str) -> String {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// Whom `exec --detach` has left.
fn executed(t: &Context, options: &[&str], id: &str) -> i32 {
    let file = t.dir().join("executed");
    let path = file.to_str().expect("a plain path");
    let options = [&["-d", "--pid-file", path], options].concat();
    t.orlop(&exec(&options, id, &["sleep", "600"])).end().ok();
    read(t.dir(), "executed").parse().expect("a pid")
}

/// What is paused, counted, listed and signalled is all that is in `dir` and below.
fn is_controlled(t: &Context, id: &str, dir: &Path, pids: &[i32]) {
    let (file, frozen) = match t.host.layout {
        Layout::V2 => (dir.join("cgroup.freeze"), "1"),
        Layout::V1 => (t.cgroup_of(pids[0], "freezer").join("freezer.state"), "FROZEN"),
    };
    t.orlop(&["pause", id]).end().ok();
    assert_eq!(fs::read_to_string(&file).expect("it is there").trim(), frozen);
    assert_eq!(t.state(id)["status"], "paused");
    t.orlop(&["resume", id]).end().ok();
    let listed = t.orlop(&["ps", "--format", "json", id]).end().ok().json();
    for pid in pids {
        assert!(listed.as_array().expect("a list").contains(&json!(pid)), "{pid}: {listed}");
    }
    if t.host.has_controller("pids") {
        let stats = t.orlop(&["events", "--stats", id]).end().ok().json();
        let current = stats["data"]["pids"]["current"].as_u64().expect("a number");
        assert!(current as usize >= pids.len(), "{current}");
    }
    t.orlop(&["kill", "--all", id, "KILL"]).end().ok();
    // Init ends after all others of its pid namespace, and these are ours: each does.
    for pid in &pids[1..] {
        let pid = rustix::process::Pid::from_raw(*pid);
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).expect("it is our child");
        let signal = ended.expect("it has ended").1.terminating_signal();
        assert_eq!(signal, Some(9));
    }
    t.wait_for(id, "stopped");
}

fn sleeping(bundle: Bundle, resources: Value) -> Bundle {
    bundle.args(&["sleep", "600"]).with("/linux/resources", resources)
}

/// Limits hold in both, so that the container sees them as well.
fn below_a_scope(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    let limits = json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 20}});
    t.detach(&sleeping(annotated(t, SUBGROUP, "payload"), limits), &id);
    let (unit, init) = (scope_of(&id), t.pid(&id));
    let dir = t.cgroup_of(init, "memory");
    assert!(dir.ends_with(format!("system.slice/{unit}/payload")), "{}", dir.display());
    let file = if t.host.layout == Layout::V2 { "memory.max" } else { "memory.limit_in_bytes" };
    for dir in [&dir, dir.parent().expect("it has one")] {
        assert_eq!(read(dir, file), "33554432", "{}", dir.display());
    }
    t.orlop(&["update", "--pids-limit", "12", &id]).end().ok();
    assert_eq!(read(&t.cgroup_of(init, "pids"), "pids.max"), "12");
    assert_eq!(show(&unit, "TasksMax"), "12");
    let other = executed(t, &[], &id);
    assert_eq!(t.cgroup_of(other, "memory"), dir);
    is_controlled(t, &id, &dir, &[init, other]);
    t.orlop(&["delete", &id]).end().ok();
    is_gone(&unit);
    // In the hierarchies too that systemd makes no cgroups in.
    for top in hierarchies() {
        assert!(!top.join("system.slice").join(&unit).exists(), "{}", top.display());
    }
    // As `run` in the foreground removes it.
    t.run(&annotated_again(t, SUBGROUP, "a/b")).ok();
    for top in hierarchies() {
        assert!(!top.join("system.slice").join(&unit).exists(), "{}", top.display());
    }
    Ok(())
}

fn annotated_again(t: &Context, name: &str, value: &str) -> Bundle {
    let mut annotations = serde_json::Map::new();
    annotations.insert(name.to_owned(), json!(value));
    t.bundle_again().with("/annotations", Value::Object(annotations))
}

fn names_below_a_scope(t: &Context) -> Outcome {
    needs_systemd(t)?;
    let id = t.id("c");
    t.create(&annotated(t, SUBGROUP, "../other"), &id).fails_with("leads out of it");
    is_gone(&scope_of(&id));
    // Empty it asks for none.
    t.create(&annotated_again(t, SUBGROUP, ""), &id).ok();
    let dir = t.cgroup_of(t.pid(&id), "memory");
    assert!(dir.ends_with(scope_of(&id)), "{}", dir.display());
    t.delete(&id);
    Ok(())
}

/// The limit of a controller that this host has on v2, and its file's value.
fn limit(t: &Context) -> Result<(Value, &'static str, &'static str, &'static str), Skip> {
    t.needs_root()?;
    if t.host.layout != Layout::V2 {
        return Err(Skip("needs cgroup v2".into()));
    }
    if t.host.has_controller("pids") {
        return Ok((json!({"pids": {"limit": 100}}), "pids", "pids.max", "100"));
    }
    t.needs_controller("hugetlb")?;
    Ok((json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}), "hugetlb", "hugetlb.2MB.max", "0"))
}

/// The limits stay above, which is the root of the cgroup namespace.
fn delegated(t: &Context) -> Outcome {
    let (limits, controller, file, value) = limit(t)?;
    let id = t.id("c");
    let mut bundle = sleeping(annotated(t, DELEGATE, "inner/most"), limits);
    if t.by_systemd() {
        bundle.set(&format!("/annotations/{SUBGROUP}"), json!("payload"));
    }
    t.detach(&bundle, &id);
    let init = t.pid(&id);
    let own = t.cgroup_of(init, controller);
    assert!(own.ends_with("inner/most"), "{}", own.display());
    let dir = own.ancestors().nth(2).expect("it is below").to_owned();
    assert_eq!(dir.ends_with("payload"), t.by_systemd(), "{}", dir.display());
    assert_eq!(read(&dir, file), value);
    assert_ne!(read(&own, file), value);
    assert!(read(&own, "cgroup.controllers").split(' ').any(|name| name == controller));
    let table = t.orlop(&exec(&[], &id, &["cat", "/proc/self/cgroup"])).end().ok();
    assert!(table.stdout().ends_with("0::/inner/most\n"), "{}", table.stdout());
    t.orlop(&exec(&["--cgroup", "/"], &id, &["true"])).end().exits(255).fails_with("error adding pid");
    // What the container does with it, as systemd would.
    let other = executed(t, &[], &id);
    fs::create_dir(own.join("leaf")).expect("root may make cgroups");
    for pid in [init, other] {
        fs::write(own.join("leaf/cgroup.procs"), pid.to_string()).expect("it is a new one");
    }
    fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).expect("nobody is in it");
    let third = executed(t, &[], &id);
    assert_eq!(t.cgroup_of(third, controller), own.join("leaf"));
    let images = t.dir().join("images");
    let images = images.to_str().expect("a plain path");
    t.orlop(&["checkpoint", "--image-path", images, &id]).end().fails_with("not supported with checkpoints");
    is_controlled(t, &id, &dir, &[init, other, third]);
    t.orlop(&["delete", &id]).end().ok();
    assert!(!dir.exists());
    // Without a namespace of its own it is the same.
    let bundle = bundle.retain("/linux/namespaces", |namespace| namespace["type"] != "cgroup");
    let mut bundle = bundle.args(&["cat", "/proc/self/cgroup"]);
    let table = t.run(&bundle).ok();
    assert!(table.stdout().trim_end().ends_with("/inner/most"), "{}", table.stdout());
    assert!(!dir.exists());
    bundle.set(&format!("/annotations/{DELEGATE}"), json!("../other"));
    t.run(&bundle).fails_with("run.oci.delegate-cgroup: cgroup path \"../other\"");
    Ok(())
}

fn delegated_to_the_root_of_a_user_namespace(t: &Context) -> Outcome {
    limit(t)?;
    let id = t.id("c");
    let bundle = mapped(annotated(t, DELEGATE, "inner"));
    let root = bundle.config()["linux"]["uidMappings"][0]["hostID"].as_u64().expect("a number");
    t.create(&bundle, &id).ok();
    let own = t.cgroup_of(t.pid(&id), "");
    assert!(own.ends_with("inner"), "{}", own.display());
    let owner = |path: &Path| u64::from(fs::metadata(path).expect("it is there").uid());
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        assert_eq!(owner(&own.join(file)), root, "{file}");
    }
    assert_eq!(owner(&own.join("cgroup.freeze")), 0);
    t.delete(&id);
    assert!(!own.exists());
    Ok(())
}

fn nothing_is_delegated_on_v1(t: &Context) -> Outcome {
    if t.host.layout == Layout::V2 {
        return Err(Skip("needs cgroup v1".into()));
    }
    t.run(&annotated(t, DELEGATE, "inner")).fails_with("run.oci.delegate-cgroup needs cgroup v2");
    t.run(&annotated_again(t, DELEGATE, "")).ok();
    Ok(())
}

fn only_a_scope_has_a_subgroup(t: &Context) -> Outcome {
    if t.by_systemd() {
        return Err(Skip("systemd makes the cgroups".into()));
    }
    let id = t.id("c");
    let bundle = annotated(t, SUBGROUP, "payload");
    let done = t.orlop(&["--debug", "create", "--bundle", bundle.path(), &id]).end().ok();
    assert!(done.log().contains("is for cgroups that systemd makes"), "{}", done.log());
    assert!(!fs::read_to_string(format!("/proc/{}/cgroup", t.pid(&id))).expect("it lives").contains("payload"));
    t.delete(&id);
    Ok(())
}
