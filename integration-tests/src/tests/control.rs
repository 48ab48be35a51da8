//! What is done to a container that runs: pause, resume, ps, wait, kill and delete of many; info and doctor.

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
        wait_for_the_end, kill_without_pid_namespace, kill_all, doctor_finds_and_fixes,
    }
    EVERYWHERE { regex, regex_that_is_none, info }
}

pub fn sleeping(t: &Context, id: &str) {
    t.detach(&t.bundle().args(&["sleep", "600"]).with("/linux/cgroupsPath", path(t, id)), id);
}

pub fn path(t: &Context, id: &str) -> Value {
    if t.by_systemd() { json!(format!("system.slice:orlop:{id}")) } else { json!(format!("/{id}")) }
}

pub fn status(t: &Context, id: &str) -> String {
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
    let id = t.stopped();
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
    let id = t.stopped();
    t.orlop(&["ps", "--format", "json", &id]).end().ok().prints(&["[]"]);
    t.orlop(&["delete", &id]).end().ok();
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
