//! What a container costs in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::Bundle;
use crate::context::Context;
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "memory":
    ROOT { waiting_init_is_small, waiting_init_has_no_descriptor_of_the_caller }
    HOST_ROOT { smallest_limit, the_limit_that_killed_init }
}

/// Of a created container, in KiB.
const PRIVATE: u64 = 300;
/// A guard against growth where there is nothing to compare with, in KiB: 160 to 168 were measured on cgroup v1 where
/// a static crun needed 172 to 176. But the kernel charges 64 pages in advance (MEMCG_CHARGE_BATCH), and on a machine
/// that has just removed a thousand cgroups nothing below that many starts.
const SMALLEST: u64 = 256;

fn waiting_init_is_small(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", t.pid(&id))).expect("it waits");
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let sizes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let total: u64 = sizes.sum();
    println!("# a waiting container's private memory: {total} KiB");
    assert!(total > 0 && total < PRIVATE, "{total} KiB:\n{rollup}");
    t.delete(&id);
    Ok(())
}

fn waiting_init_has_no_descriptor_of_the_caller(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let bundle = t.bundle();
    let create = t.orlop(&["create", "--bundle", bundle.path(), &id]);
    create.through_bash("exec 3</etc/passwd 9</etc; exec {high}</etc/group; exec \"$@\"").end().ok();
    let fds = format!("/proc/{}/fd", t.pid(&id));
    let above = || -> Vec<(String, PathBuf)> {
        let fds = fs::read_dir(&fds).expect("it waits").flatten();
        fds.filter_map(|e| Some((e.file_name().into_string().ok()?, fs::read_link(e.path()).ok()?)))
            .filter(|(name, _)| !["0", "1", "2"].contains(&name.as_str()))
            .collect()
    };
    // The plan, the socket that `start` comes to, and nothing else that has a name. It closes the others when it begins
    // to wait, and `create` ends when it has come to that.
    let ours = |target: &Path| !target.starts_with("/") || target.starts_with("/memfd:orlop:plan (deleted)");
    t.wait_until("the caller's are closed", || above().iter().all(|(_, target)| ours(target)));
    println!("# a waiting init's descriptors above 2: {}", above().len());
    t.delete(&id);
    Ok(())
}

/// Whether a container with that limit, in KiB, gets to run its program.
fn starts(t: &Context, runtime: &Path, bundle: &mut Bundle, limit: u64, n: u32) -> bool {
    bundle.set("/linux/resources/memory/limit", json!(limit * 1024));
    let id = t.id(&format!("m{n}"));
    let root = t.dir().join("memory-root");
    let run = |args: &[&str]| {
        let mut command = Command::new(runtime);
        command.arg("--root").arg(&root).args(args).stdin(Stdio::null()).current_dir(t.dir());
        command.output().expect("the runtime can be executed")
    };
    let done = run(&["run", "--bundle", bundle.path(), &id]);
    run(&["delete", "--force", &id]);
    done.status.success() && done.stdout == b"ran\n"
}

/// The smallest limit with which it starts four times of eight, in KiB: each CPU holds a stock of charged pages back
/// (try_charge_memcg), so that near the limit it depends on where it runs.
fn smallest(t: &Context, runtime: &Path, bundle: &mut Bundle, n: &mut u32) -> u64 {
    let mut works = |limit: u64| {
        let tries = (0..8).filter(|_| {
            *n += 1;
            starts(t, runtime, bundle, limit, *n)
        });
        tries.take(4).count() == 4
    };
    let (mut low, mut high) = (0, 8192);
    assert!(works(high), "it does not start with {high} KiB");
    while high - low > 4 {
        let middle = (low + high) / 8 * 4;
        if works(middle) { high = middle } else { low = middle }
    }
    high
}

/// `CRUN` names another runtime to compare with.
fn smallest_limit(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let mut bundle = t.bundle().args(&["print", "ran"]);
    let mut n = 0;
    let ours = smallest(t, t.binary(), &mut bundle, &mut n);
    println!("# smallest memory limit that starts a program without libc: {ours} KiB");
    if let Some(other) = std::env::var_os("CRUN").filter(|path| !path.is_empty()) {
        let theirs = smallest(t, Path::new(&other), &mut bundle, &mut n);
        println!("# {}: {theirs} KiB", other.to_string_lossy());
        assert!(ours <= theirs, "{ours} KiB, more than {theirs}");
    }
    let bound = if t.host.layout == Layout::V1 { SMALLEST } else { 2 * SMALLEST };
    assert!(ours <= bound, "{ours} KiB, more than {bound}");
    let _removed = fs::remove_dir(t.dir().join("memory-root"));
    Ok(())
}

/// Whether and where the kernel ends init depends on the pages that each CPU holds back: at times, not always.
fn the_limit_that_killed_init(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let bundle = t.bundle().with("/linux/resources/memory/limit", json!(16384));
    let wanted = "the memory limit of 16 KiB (config.json /linux/resources/memory/limit) is below what";
    let killed = (0..40).any(|n| {
        let done = t.orlop(&["run", "--bundle", bundle.path(), &t.id(&format!("c{n}"))]).end();
        let said = done.stderr();
        let killed = said.contains("init was killed by SIGKILL in step");
        assert_eq!(killed, said.contains(wanted), "{said}");
        killed
    });
    assert!(killed, "forty containers lived with 16 KiB");
    Ok(())
}
