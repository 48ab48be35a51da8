//! Many containers at once.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::context::Context;
use crate::host;
use crate::tests::{Outcome, tests};
use crate::tracer::children_left;

tests! { "scale":
    HOST_ROOT { a_thousand }
}

const MANY: usize = 1000;

/// What may not grow: the descriptors of this process, which the runtime's processes inherit, mounts, and cgroups.
fn counts() -> [usize; 3] {
    let descriptors = fs::read_dir("/proc/self/fd").expect("ours").count();
    let table = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let cgroups = table.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<usize>().ok()).max();
    [descriptors, host::mounts().len(), cgroups.unwrap_or(0)]
}

fn a_thousand(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().args(&["true"]);
    let root = t.dir().join("root");
    let call = |args: &[&str]| {
        let mut command = Command::new(t.binary());
        command.arg("--root").arg(&root).args(args).stdin(Stdio::null()).current_dir(t.dir()).env_clear();
        command
    };
    let must = |args: &[&str]| {
        let done = call(args).stdout(Stdio::null()).status().expect("the binary can be executed");
        assert!(done.success(), "{args:?}: {done}");
    };
    let ids: Vec<String> = (0..MANY).map(|i| t.id(&format!("c{i:03}"))).collect();
    let (shared, before) = (shared_cgroups(t), counts());

    let began = Instant::now();
    ids.iter().for_each(|id| must(&["create", "--bundle", bundle.path(), id]));
    let created = began.elapsed();

    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        let list = call(&["list"]).output().expect("the binary can be executed");
        times.push(began.elapsed());
        let text = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        assert_eq!(text.lines().filter(|line| line.contains(" created ")).count(), MANY, "{text}");
    }
    times.sort();
    println!("# list of {MANY}: median {:.2} ms", times[times.len() / 2].as_secs_f64() * 1e3);

    let began = Instant::now();
    ids.iter().for_each(|id| must(&["start", id]));
    let started = began.elapsed();
    let began = Instant::now();
    ids.iter().for_each(|id| must(&["delete", "--force", id]));
    let per = |time: std::time::Duration| time.as_secs_f64() * 1e3 / MANY as f64;
    println!(
        "# create {:.2} ms, start {:.2} ms, delete {:.2} ms each",
        per(created),
        per(started),
        per(began.elapsed())
    );

    assert!(!children_left(), "a process is left");
    assert_eq!(fs::read_dir(&root).expect("it stays").count(), 0);
    let after = counts();
    println!("# descriptors, mounts, cgroups: {before:?} before, {after:?} after");
    assert_eq!(after[..2], before[..2], "descriptors and mounts");
    assert_eq!(shared_cgroups(t), shared, "cgroups");
    Ok(())
}

/// How many cgroups of this test there are; others come and go beside it.
fn shared_cgroups(t: &Context) -> usize {
    let mut found = 0;
    for top in host::hierarchies() {
        let entries = fs::read_dir(top).into_iter().flatten().flatten();
        found += entries.filter(|e| e.file_name().to_string_lossy().contains(t.tag())).count();
    }
    found
}
