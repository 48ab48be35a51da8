//! How many system calls a container costs, the runtime's and init's together.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libc::c_long;
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

/// A call without a log file, and of the root directory that the test's other calls use.
fn command(t: &Context) -> Command {
    let mut command = Command::new(t.binary());
    command.arg("--root").arg(t.dir().join("root"));
    command
}

/// Each signal that the caller ignores costs a call.
#[allow(unsafe_code)] // between fork and exec
fn heed_signals(command: &mut Command) {
    let heed = || {
        for signal in 1..=64 {
            // SAFETY: no memory is involved; what cannot be set is not ignored.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: signal(2) is async-signal-safe, as pre_exec asks.
    unsafe { command.pre_exec(heed) };
}

fn run(t: &Context) -> Outcome {
    t.needs_root()?;
    if t.host.layout == Layout::V1 {
        return Err(Skip("each hierarchy of cgroup v1 adds some".into()));
    }
    let bundle = t.bundle().args(&["true"]);
    // Makes the mount points of the image.
    t.run(&bundle).ok();
    let mut command = command(t);
    command.args(["run", "--bundle", bundle.path(), &t.id("c")]);
    at_most(260, command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// The most calls of an exec, besides one for each capability that it takes from the program (the kernel lowers a
/// bounding set by one a call) and those of version 1: each of its hierarchies is entered by itself.
const EXEC: usize = 60;

/// How many system calls `exec` makes until the program runs, and after its end.
fn calls_of_exec(t: &Context, bundle: &Bundle) -> BTreeMap<c_long, usize> {
    let id = t.id("c");
    t.detach(bundle, &id);
    let mut call = command(t);
    call.args(["exec", &id, "/bin/true"]).stdin(Stdio::null());
    heed_signals(&mut call);
    let mut calls = BTreeMap::from([(libc::SYS_execve, 1)]);
    let ended = trace(&mut call, Follow::Child, &mut |entry| {
        *calls.entry(entry.number).or_default() += 1;
        Act::Go
    });
    assert_eq!(ended, Ok(0));
    t.delete(&id);
    calls
}

fn judge(t: &Context, bundle: &Bundle, dropped: usize) -> Outcome {
    t.needs_root()?;
    let is_v1 = |m: &&host::Mount| m.kind == "cgroup" && m.target.starts_with("/sys/fs/cgroup");
    // Two calls for each, one that closes all, and those of the two that wait for one another.
    let hybrid = match t.host.layout {
        Layout::V2 => 0,
        _ => 2 * host::mounts().iter().filter(is_v1).count() + 5,
    };
    let calls = calls_of_exec(t, bundle);
    let total: usize = calls.values().sum();
    let most = EXEC + dropped + hybrid;
    println!("# {total} system calls, of at most {most}");
    assert!(total <= most, "{total} system calls, not {most}: {calls:?}");
    Ok(())
}

fn exec(t: &Context) -> Outcome {
    judge(t, &t.bundle().args(&["sleep", "600"]), capabilities() - 3)
}

fn exec_with_a_hundred_mounts(t: &Context) -> Outcome {
    let mut bundle = t.bundle().args(&["sleep", "600"]);
    let mut mounts = bundle.config()["mounts"].as_array().expect("a list").clone();
    mounts.extend((0..100).map(|n| json!({"destination": format!("/tmp/{n}"), "type": "tmpfs", "source": "tmpfs"})));
    bundle.set("/mounts", json!(mounts));
    judge(t, &bundle, capabilities() - 3)
}

/// How many the kernel has: those of the default configuration are three.
fn capabilities() -> usize {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("/proc is mounted");
    last.trim().parse::<usize>().expect("a number") + 1
}

/// Nothing is taken that the caller has: no more in all.
fn exec_with_all_capabilities(t: &Context) -> Outcome {
    let features = t.orlop(&["features"]).end().ok().json();
    let mut all = features["linux"]["capabilities"].as_array().expect("a list").clone();
    // What some hosts' root lacks cannot be given.
    all.retain(|name| t.host.may_raise_limits() || name != "CAP_SYS_RESOURCE");
    let sets = json!({"bounding": all, "effective": all, "permitted": all});
    judge(t, &t.bundle().args(&["sleep", "600"]).with("/process/capabilities", sets), 0)
}
