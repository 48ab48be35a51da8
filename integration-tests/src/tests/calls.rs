//! How many system calls a container costs, the runtime's and init's together.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::tests::{Outcome, tests};
use crate::tracer::{Act, Entry, Follow, trace};

tests! { "calls":
    UNIFIED { run }
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
