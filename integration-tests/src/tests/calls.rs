//! How many system calls a container costs, the runtime's and init's together.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::Bundle;
use crate::context::{Context, Skip};
use crate::host::{self, Layout};
use crate::tests::{Outcome, tests};
use crate::tracer::{Act, Entry, Follow, trace};

tests! { "calls":
    UNIFIED { run }
    ROOT { exec, exec_with_a_hundred_mounts, exec_with_all_capabilities }
}

/// The most that one command may make.
fn at_most(limit: usize, command: &mut Command) -> Outcome {
    let mut calls = BTreeMap::<String, usize>::new();
    let status = trace(command, Follow::Child, &mut |entry: &Entry| {
        let words = entry.describe();
        *calls.entry(words.split(' ').take(2).collect::<Vec<_>>().join(" ")).or_default() += 1;
        Act::Go
    });
    assert_eq!(status, Ok(0));
    let total: usize = calls.values().sum();
    println!("# {total} system calls");
    assert!(total <= limit, "{total} system calls, {limit} were wanted: {calls:?}");
    Ok(())
}

fn run(t: &Context) -> Outcome {
    t.needs_root()?;
    if t.host.layout == Layout::V1 {
        return Err(Skip("each hierarchy of cgroup v1 adds some".into()));
    }
    let bundle = t.bundle().args(&["true"]);
    // Makes the mount points of the image.
    t.run(&bundle).ok();
    let mut command = Command::new(t.binary());
    command.arg("--root").arg(t.dir().join("root")).args(["run", "--bundle", bundle.path(), &t.id("c")]);
    at_most(260, command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// The calls of an exec besides those that the configuration or the host's cgroups make necessary.
const EXEC: usize = 62;

/// How many system calls `exec` makes until the program runs, and after its end.
fn calls_of_exec(t: &Context, bundle: &Bundle) -> usize {
    let id = t.id("c");
    t.detach(bundle, &id);
    let call = t.orlop(&["exec", &id, "/bin/true"]);
    let mut calls = 1;
    let ended = trace(&mut call.into_command(), Follow::Child, &mut |_| {
        calls += 1;
        Act::Go
    });
    assert_eq!(ended, Ok(0));
    t.delete(&id);
    calls
}

/// The kernel lowers a bounding set by one capability a call, and every cgroup of version 1 is entered by itself.
fn floor(t: &Context, kept: usize) -> usize {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("/proc is mounted");
    let capabilities = last.trim().parse::<usize>().expect("a number") + 1;
    let is_v1 = |m: &&host::Mount| m.kind == "cgroup" && m.target.starts_with("/sys/fs/cgroup");
    let v1 = if t.host.layout == Layout::V2 { 0 } else { host::mounts().iter().filter(is_v1).count() };
    // One more says that there is no further capability; and where one waits for the other, that costs a call on each
    // side: on a busy machine, and for the cgroups of version 1.
    let hybrid = if v1 > 0 { 2 * v1 + 8 } else { 2 };
    EXEC + capabilities - kept + 1 + hybrid
}

fn judge(t: &Context, bundle: &Bundle, kept: usize) -> Outcome {
    t.needs_root()?;
    let (calls, most) = (calls_of_exec(t, bundle), floor(t, kept));
    println!("# {calls} system calls, of which {} are an exec's own", calls + EXEC - most);
    assert!(calls <= most, "{calls} system calls, not {most}");
    Ok(())
}

fn exec(t: &Context) -> Outcome {
    judge(t, &t.bundle().args(&["sleep", "600"]), 3)
}

fn exec_with_a_hundred_mounts(t: &Context) -> Outcome {
    let mut bundle = t.bundle().args(&["sleep", "600"]);
    let mut mounts = bundle.config()["mounts"].as_array().expect("a list").clone();
    mounts.extend((0..100).map(|n| json!({"destination": format!("/tmp/{n}"), "type": "tmpfs", "source": "tmpfs"})));
    bundle.set("/mounts", json!(mounts));
    judge(t, &bundle, 3)
}

fn exec_with_all_capabilities(t: &Context) -> Outcome {
    let features = t.orlop(&["features"]).end().ok().json();
    let mut all = features["linux"]["capabilities"].as_array().expect("a list").clone();
    // What some hosts' root lacks cannot be given.
    all.retain(|name| t.host.may_raise_limits() || name != "CAP_SYS_RESOURCE");
    let kept = all.len();
    let sets = json!({"bounding": all, "effective": all, "permitted": all});
    judge(t, &t.bundle().args(&["sleep", "600"]).with("/process/capabilities", sets), kept)
}
