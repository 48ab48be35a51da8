//! create, start, state, kill, delete and run.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::context::Context;
use crate::processes;
use crate::tests::{Outcome, tests};

tests! { "lifecycle":
    EVERYWHERE {
        run_hands_on_the_status, run_hands_on_a_signal, run_hands_on_stdio,
        create_start_kill_delete, state_of_a_container, pid_file_is_digits,
        detach_leaves_the_container, delete_of_a_running_one_is_refused,
        delete_force_ends_a_running_one, delete_force_ends_a_created_one, id_is_taken,
        kill_takes_names_and_numbers, kill_of_a_created_one, start_twice_is_refused, config_is_frozen,
        run_forwards_signals, run_keep, pid_is_a_child_of_the_subreaper, bundle_is_the_cwd, concurrent_runs,
        start_without_a_process,
    }
    ROOT { orphans_are_reaped }
}

fn run_hands_on_the_status(t: &Context) -> Outcome {
    for code in [0, 1, 7, 126, 255] {
        let bundle = t.bundle().args(&["exit", &code.to_string()]);
        t.run(&bundle).exits(code);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn run_hands_on_a_signal(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "up", "--", "sleep", "600"]);
    let mut running = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).start();
    t.wait_for_output_of(&mut running, "up");
    t.orlop(&["kill", &t.id("c"), "KILL"]).end().ok();
    running.end().exits(128 + 9);
    Ok(())
}

fn run_hands_on_stdio(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "to stdout", "--", "error", "to stderr"]);
    let done = t.run(&bundle).ok();
    done.prints(&["to stdout"]);
    assert_eq!(done.stderr(), "to stderr\n");
    fs::write(t.dir().join("input"), "from stdin\n").expect("writable");
    let bundle = bundle.args(&["cat", "/dev/stdin"]);
    let input = fs::File::open(t.dir().join("input")).expect("it was just written");
    let id = t.id("d");
    t.orlop(&["run", "--bundle", bundle.path(), &id]).stdin(input).end().ok().prints(&["from stdin"]);
    Ok(())
}

fn create_start_kill_delete(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "started", "--", "sleep", "600"]);
    let id = t.id("c");
    let created = t.create(&bundle, &id).ok();
    assert_eq!(t.state(&id)["status"], "created");
    assert_eq!(created.stdout(), "", "the payload runs before it is started");
    t.orlop(&["start", &id]).end().ok().prints(&[]);
    t.wait_for_output(&created, "started");
    assert_eq!(t.state(&id)["status"], "running");
    t.orlop(&["kill", &id, "KILL"]).end().ok().prints(&[]);
    t.wait_for(&id, "stopped");
    assert_eq!(t.state(&id)["pid"], 0);
    t.orlop(&["kill", &id, "0"]).end().fails_with("container not running");
    t.orlop(&["start", &id]).end().exits(1);
    t.orlop(&["delete", &id]).end().ok().prints(&[]);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

/// Buildah and CRI-O decode this, the time as RFC 3339.
fn state_of_a_container(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/annotations/org.example", json!("value"));
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let state = t.state(&id);
    assert_eq!(state["id"], id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], bundle.path());
    assert_eq!(state["rootfs"], bundle.rootfs("").to_string_lossy().trim_end_matches('/'));
    assert_eq!(state["annotations"]["org.example"], "value");
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
    let created = state["created"].as_str().expect("a time");
    assert!(created.len() >= 20 && created.ends_with('Z'), "{created}");
    assert!(state["owner"].is_string(), "{state}");
    let pid = state["pid"].as_i64().expect("a number");
    assert!(fs::exists(format!("/proc/{pid}")).expect("/proc is mounted"), "{state}");
    t.delete(&id);
    Ok(())
}

/// go-runc parses the whole file as a number: not even a newline may follow.
fn pid_file_is_digits(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let id = t.id("c");
    let file = t.dir().join("pid");
    let path = file.to_str().expect("a plain path");
    t.orlop(&["create", "--bundle", bundle.path(), "--pid-file", path, &id]).end().ok();
    let text = fs::read_to_string(&file).expect("create writes the pid file");
    assert_eq!(text, t.pid(&id).to_string());
    t.delete(&id);
    Ok(())
}

fn detach_leaves_the_container(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "hello", "--", "sleep", "600"]);
    let id = t.id("c");
    let done = t.detach(&bundle, &id);
    assert_eq!(t.state(&id)["status"], "running");
    t.wait_for_output(&done, "hello");
    t.delete(&id);
    Ok(())
}

fn delete_of_a_running_one_is_refused(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.detach(&bundle, &id);
    t.orlop(&["delete", &id]).end().fails_with("not stopped");
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

fn delete_force_ends_a_running_one(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["fork", "3", "--", "sleep", "600"]);
    let id = t.id("c");
    let done = t.detach(&bundle, &id);
    t.wait_for_output(&done, "forked");
    t.orlop(&["delete", "--force", &id]).end().ok().prints(&[]);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

fn delete_force_ends_a_created_one(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    t.delete(&id);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

fn id_is_taken(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.detach(&bundle, &id);
    let pid = t.pid(&id);
    t.create(&bundle, &id).fails_with("already exists");
    assert_eq!(t.pid(&id), pid, "the first container is as it was");
    t.delete(&id);
    Ok(())
}

/// As engines send them: numbers, names with and without SIG, realtime signals, and none at all.
fn kill_takes_names_and_numbers(t: &Context) -> Outcome {
    for (i, (word, number)) in [
        (Some("TERM"), "15"),
        (Some("SIGUSR1"), "10"),
        (Some("12"), "12"),
        (Some("37"), "37"),
        (Some("int"), "2"),
        (Some("RTMIN+3"), "37"),
        (None, "15"),
    ]
    .into_iter()
    .enumerate()
    {
        // runc knows realtime signals by number only.
        if word == Some("RTMIN+3") && t.binary().ends_with("runc") {
            continue;
        }
        let id = t.id(&format!("c{i}"));
        let bundle = t.bundle().args(&["sigwait"]);
        let done = t.detach(&bundle, &id);
        t.wait_for_output(&done, "ready");
        let mut args = vec!["kill", &id];
        args.extend(word);
        t.orlop(&args).end().ok();
        t.wait_for_output(&done, &format!("signal: {number}\n"));
        t.wait_for(&id, "stopped");
        t.orlop(&["delete", &id]).end().ok();
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn kill_of_a_created_one(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn start_twice_is_refused(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    t.orlop(&["start", &id]).end().ok();
    t.orlop(&["start", &id]).end().exits(1);
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

/// Only `start` needs something to run; what it could not start has ended.
fn start_without_a_process(t: &Context) -> Outcome {
    const WHY: &str = "process property must not be empty";
    let bundle = t.bundle().with("/process", json!(null));
    t.orlop(&["run", "--bundle", bundle.path(), &t.id("run")]).end().fails_with(WHY);
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    assert_eq!(t.state(&id)["status"], "created");
    t.orlop(&["start", &id]).end().fails_with(WHY);
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// What is in config.json after `create` is of no effect.
fn config_is_frozen(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "first"]);
    let id = t.id("c");
    let created = t.create(&bundle, &id).ok();
    let bundle = bundle.args(&["print", "second"]);
    t.orlop(&["start", &id]).end().ok();
    t.wait_for_output(&created, "\n");
    created.prints(&["first"]);
    fs::remove_dir_all(bundle.path()).expect("it is ours");
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn run_forwards_signals(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sigwait", "--", "exit", "3"]);
    let mut running = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).start();
    t.wait_for_output_of(&mut running, "ready");
    processes::kill(running.pid(), Signal::TERM);
    let done = running.end().exits(3);
    done.prints(&["ready", "signal: 15"]);
    Ok(())
}

fn run_keep(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let id = t.id("c");
    t.orlop(&["run", "--keep", "--bundle", bundle.path(), &id]).end().ok();
    assert_eq!(t.state(&id)["status"], "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// A shim waits for the container's process, which the kernel gives to the nearest subreaper.
fn pid_is_a_child_of_the_subreaper(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["exit", "9"]);
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let pid = t.pid(&id);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    assert_eq!(parent, Some(std::process::id().to_string().as_str()));
    t.orlop(&["start", &id]).end().ok();
    let child = rustix::process::Pid::from_raw(pid);
    let options = rustix::process::WaitOptions::empty();
    let ended = rustix::process::waitpid(child, options).expect("it is our child").expect("ended");
    assert_eq!(ended.1.exit_status(), Some(9));
    assert_eq!(t.state(&id)["status"], "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// What a container without a pid namespace of its own leaves comes to the `run` that waits for it, and no further.
fn orphans_are_reaped(t: &Context) -> Outcome {
    // A procfs of a pid namespace that is not its own is not an ordinary user's to mount.
    t.needs_root()?;
    let bundle = t.bundle().args(&["orphan", "--", "sleep", "600"]);
    let bundle = bundle.retain("/linux/namespaces", |one| one["type"] != "pid");
    for (options, is_ours) in [(&[][..], true), (&["--no-subreaper"][..], false)] {
        let id = t.id(&format!("c{}", options.len()));
        let args = [&["run", "--bundle", bundle.path()], options, &[&id]].concat();
        let mut running = t.orlop(&args).start();
        t.wait_for_output_of(&mut running, "orphan: ");
        let orphan: i32 = running.output().value("orphan").parse().expect("a number");
        let adopted = if is_ours { running.pid() } else { std::process::id() as i32 };
        assert_eq!(processes::parent(orphan), Some(adopted), "{options:?}");
        processes::kill(orphan, Signal::KILL);
        if is_ours {
            t.wait_until("the orphan is reaped", || !fs::exists(format!("/proc/{orphan}")).unwrap_or(true));
        }
        assert_eq!(t.state(&id)["status"], "running");
        t.orlop(&["kill", &id, "KILL"]).end().ok();
        running.end().exits(128 + 9);
        t.orlop(&["state", &id]).end().fails_with("does not exist");
    }
    Ok(())
}

fn bundle_is_the_cwd(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "here"]);
    let done = t.orlop(&["run", &t.id("c")]).current_dir(bundle.path()).end().ok();
    done.prints(&["here"]);
    Ok(())
}

/// Eight at once, of one bundle, twice.
fn concurrent_runs(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["exit", "5"]);
    for round in 0..2 {
        let ids: Vec<String> = (0..8).map(|i| t.id(&format!("c{round}-{i}"))).collect();
        let calls: Vec<_> = ids.iter().map(|id| t.orlop(&["run", "--bundle", bundle.path(), id]).start()).collect();
        for call in calls {
            call.end().exits(5);
        }
    }
    Ok(())
}
