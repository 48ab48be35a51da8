//! Hooks: order, surroundings, the state they read, and what their failure does.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "hooks":
    ROOT {
        hooks_run_in_order, hooks_read_the_state, hooks_get_their_environment_only,
        cve_2025_23266_env_of_the_image_stays_outside, hooks_get_no_descriptors, hook_signals_are_reset,
        failing_hook_ends_create, failing_start_container_hook, failing_poststart_hook,
        failing_poststop_hook_is_a_warning, poststop_runs_after_a_failed_create, hook_timeout,
        missing_hook_program, hook_path_must_be_absolute, large_state_is_no_deadlock,
        create_container_hook_sees_both_trees,
    }
}

/// A shell command as a hook.
fn sh(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

/// A file of the test's folder.
fn file(t: &Context, name: &str) -> String {
    t.dir().join(name).to_str().expect("a plain path").to_owned()
}

fn with_hook(bundle: Bundle, event: &str, hook: Value) -> Bundle {
    bundle.with(&format!("/hooks/{event}/-"), hook)
}

fn hooks_run_in_order(t: &Context) -> Outcome {
    let log = file(t, "order");
    let mut bundle = t.bundle().with("/root/readonly", json!(false));
    for event in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        for n in 0..2 {
            bundle = with_hook(bundle, event, sh(&format!("echo {event} {n} >>{log}")));
        }
    }
    let start = json!({"path": "/bin/probe", "args": ["probe", "write", "/started", "yes"]});
    let bundle = with_hook(bundle, "startContainer", start).args(&["cat", "/started"]);
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let created = "prestart 0\nprestart 1\ncreateRuntime 0\ncreateRuntime 1\ncreateContainer 0\ncreateContainer 1\n";
    assert_eq!(fs::read_to_string(&log).expect("hooks have run"), created);
    assert!(!bundle.rootfs("started").exists());
    t.orlop(&["start", &id]).end().ok();
    let started = format!("{created}poststart 0\npoststart 1\n");
    assert_eq!(fs::read_to_string(&log).expect("hooks have run"), started);
    assert!(bundle.rootfs("started").exists());
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    assert_eq!(fs::read_to_string(&log).expect("hooks have run"), format!("{started}poststop 0\npoststop 1\n"));
    // And the same in one call.
    fs::remove_file(&log).expect("it is ours");
    fs::remove_file(bundle.rootfs("started")).expect("it is ours");
    t.run(&bundle).ok().prints(&["yes"]);
    assert_eq!(fs::read_to_string(&log).expect("hooks have run").lines().count(), 10);
    Ok(())
}

fn hooks_read_the_state(t: &Context) -> Outcome {
    let mut bundle = t.bundle().args(&["sleep", "600"]).with("/annotations/some.key", json!("\"quoted\"\nvalue"));
    let events = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for event in events {
        bundle = with_hook(bundle, event, sh(&format!("cat >{}", file(t, event))));
    }
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let pid = t.pid(&id);
    t.orlop(&["start", &id]).end().ok();
    t.orlop(&["delete", "--force", &id]).end().ok();
    let wanted = [("created", pid), ("creating", pid), ("creating", 1), ("running", pid), ("stopped", 0)];
    for (event, (status, pid)) in events.into_iter().zip(wanted) {
        let text = fs::read_to_string(file(t, event)).expect("the hook has run");
        let state: Value = serde_json::from_str(&text).expect("the state is JSON");
        assert_eq!(state["status"], status, "{event}");
        assert_eq!(state["pid"].as_i64().unwrap_or(0), i64::from(pid), "{event}");
        assert_eq!(state["id"], id.as_str(), "{event}");
        assert_eq!(state["bundle"], bundle.path(), "{event}");
        assert_eq!(state["annotations"]["some.key"], "\"quoted\"\nvalue", "{event}");
        assert!(state["ociVersion"].is_string(), "{event}");
    }
    Ok(())
}

fn hooks_get_their_environment_only(t: &Context) -> Outcome {
    let events = ["createRuntime", "createContainer", "poststart", "poststop"];
    let script = |event: &str| format!("tr '\\0' '\\n' </proc/self/environ >{}; pwd >>{0}", file(t, event));
    let mut bundle = t.bundle();
    for event in events {
        bundle = with_hook(bundle, event, json!({"path": "/bin/sh", "args": ["sh", "-c", script(event)]}));
    }
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    run.env("SECRET", "x").env("LD_LIBRARY_PATH", "/x").end().ok();
    let rootfs = format!("{}/rootfs", bundle.path());
    for (event, cwd) in [
        ("createRuntime", bundle.path()),
        ("createContainer", &rootfs),
        ("poststart", bundle.path()),
        ("poststop", bundle.path()),
    ] {
        let seen = fs::read_to_string(file(t, event)).expect("the hook has run");
        assert_eq!(seen, format!("{cwd}\n"), "{event}: no variable, and its own working directory");
    }
    let bundle = t.bundle_again();
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script("own")], "env": ["A=1", "B=two words"]});
    t.run(&with_hook(bundle, "createRuntime", hook)).ok();
    let seen = fs::read_to_string(file(t, "own")).expect("the hook has run");
    assert!(seen.starts_with("A=1\nB=two words\n"), "{seen}");
    Ok(())
}

/// A hook with the runtime's rights must not load what the image's environment names.
fn cve_2025_23266_env_of_the_image_stays_outside(t: &Context) -> Outcome {
    let script = format!("tr '\\0' '\\n' </proc/self/environ >{}", file(t, "env"));
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = with_hook(t.bundle(), "createContainer", hook);
    t.run(&bundle.with("/process/env", json!(["PATH=/bin", "LD_PRELOAD=/canary.so"]))).ok();
    assert_eq!(fs::read_to_string(file(t, "env")).expect("the hook has run"), "");
    Ok(())
}

fn hooks_get_no_descriptors(t: &Context) -> Outcome {
    let mut bundle = t.bundle().with("/root/readonly", json!(false));
    for event in ["createRuntime", "createContainer", "poststart"] {
        bundle = with_hook(bundle, event, sh(&format!("ls /proc/self/fd >{}", file(t, event))));
    }
    // A failing hook's output is how one in the container is heard.
    let start = json!({"path": "/bin/probe", "args": ["probe", "fds", "--", "false"]});
    let args = ["run", "--preserve-fds", "1", "--bundle", bundle.path(), &t.id("c")];
    let script = "exec 3</etc/passwd 7</ 9>/dev/null; exec \"$@\"";
    t.orlop(&args).through_bash(script).end().ok();
    for event in ["createRuntime", "createContainer", "poststart"] {
        let seen = fs::read_to_string(file(t, event)).expect("the hook has run");
        // The fourth is that of the folder which ls reads.
        assert_eq!(seen, "0\n1\n2\n3\n", "{event}");
    }
    let bundle = with_hook(bundle, "startContainer", start);
    let args = ["run", "--preserve-fds", "1", "--bundle", bundle.path(), &t.id("d")];
    let error = t.orlop(&args).through_bash(script).end().fails_with("startContainer hook #0").stderr();
    assert!(error.contains("fd 2:") && !error.contains("fd 3:"), "{error}");
    Ok(())
}

fn hook_signals_are_reset(t: &Context) -> Outcome {
    let mut bundle = t.bundle();
    for event in ["createRuntime", "createContainer"] {
        bundle = with_hook(bundle, event, sh(&format!("grep -E 'Sig(Blk|Ign)' /proc/self/status >{}", file(t, event))));
    }
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let script = "trap '' PIPE HUP USR2; exec env --block-signal=USR1 --block-signal=TERM \"$@\"";
    run.through_bash(script).end().ok();
    for event in ["createRuntime", "createContainer"] {
        let seen = fs::read_to_string(file(t, event)).expect("the hook has run");
        assert_eq!(seen, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", "{event}");
    }
    Ok(())
}

/// What a failed call leaves is nothing.
fn leaves_nothing(t: &Context, id: &str) {
    t.orlop(&["state", id]).end().fails_with("does not exist");
}

fn failing_hook_ends_create(t: &Context) -> Outcome {
    for event in ["prestart", "createRuntime", "createContainer"] {
        let bundle = with_hook(t.bundle(), event, sh("true"));
        let bundle = with_hook(bundle, event, sh("echo to out; echo to err >&2; exit 3"));
        let bundle = with_hook(bundle, event, sh(&format!("touch {}", file(t, "third"))));
        let wanted = format!("error running {event} hook #1: exit status 3, stdout: to out\n, stderr: to err\n");
        for command in ["create", "run"] {
            let id = t.id(command);
            t.orlop(&[command, "--bundle", bundle.path(), &id]).end().fails_with(&wanted);
            leaves_nothing(t, &id);
        }
        assert!(!t.dir().join("third").exists());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn failing_start_container_hook(t: &Context) -> Outcome {
    let hook =
        json!({"path": "/bin/probe", "args": ["probe", "print", "to out", "--", "error", "to err", "--", "exit", "4"]});
    let bundle = with_hook(t.bundle().args(&["print", "ran"]), "startContainer", hook);
    let wanted = "error running startContainer hook #0: exit status 4, stdout: to out\n, stderr: to err\n";
    let done = t.run(&bundle).fails_with(wanted);
    assert_eq!(done.stdout(), "");
    leaves_nothing(t, &t.id("c"));
    let id = t.id("d");
    t.create(&bundle, &id).ok();
    t.orlop(&["start", &id]).end().fails_with(wanted);
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn failing_poststart_hook(t: &Context) -> Outcome {
    let bundle = with_hook(t.bundle().args(&["sleep", "600"]), "poststart", sh("exit 5"));
    let wanted = "error running poststart hook #0: exit status 5";
    for args in [&["run"][..], &["run", "--detach"]] {
        let id = t.id("r");
        let args: Vec<&str> = args.iter().copied().chain(["--bundle", bundle.path(), &id]).collect();
        t.orlop(&args).end().fails_with(wanted);
        leaves_nothing(t, &id);
    }
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    t.orlop(&["start", &id]).end().fails_with(wanted);
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn failing_poststop_hook_is_a_warning(t: &Context) -> Outcome {
    let bundle = with_hook(t.bundle(), "poststop", sh("echo why >&2; exit 6"));
    let bundle = with_hook(bundle, "poststop", sh(&format!("touch {}", file(t, "second"))));
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let done = t.orlop(&["delete", "--force", &id]).end().ok();
    assert!(done.log().contains("error running poststop hook #0: exit status 6"), "{}", done.log());
    assert!(t.dir().join("second").exists());
    leaves_nothing(t, &id);
    let done = t.run(&bundle).ok();
    assert!(done.log().contains("error running poststop hook #0: exit status 6"), "{}", done.log());
    Ok(())
}

/// "Continue the lifecycle at" the step after which poststop hooks run: runtime.md.
fn poststop_runs_after_a_failed_create(t: &Context) -> Outcome {
    let bundle = with_hook(t.bundle(), "createRuntime", sh("exit 1"));
    let bundle = with_hook(bundle, "poststop", sh(&format!("cat >{}", file(t, "stopped"))));
    t.run(&bundle).fails_with("createRuntime hook #0");
    let state = fs::read_to_string(file(t, "stopped")).expect("the hook has run");
    assert!(state.contains("\"stopped\""), "{state}");
    Ok(())
}

fn hook_timeout(t: &Context) -> Outcome {
    let begin = Instant::now();
    for (event, path, args) in [
        ("createRuntime", "/bin/sleep", json!(["sleep", "600"])),
        ("createContainer", "/bin/sleep", json!(["sleep", "600"])),
        ("startContainer", "/bin/sleep", json!(["sleep", "600"])),
    ] {
        let hook = json!({"path": path, "args": args, "timeout": 1});
        let bundle = with_hook(t.bundle(), event, hook);
        let error = t.run(&bundle).fails_with(&format!("error running {event} hook #0: hook ran past")).stderr();
        assert!(error.contains("timeout of 1.0s"), "{error}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    let slow = json!({"path": "/bin/sleep", "args": ["sleep", "0"], "timeout": 60});
    t.run(&with_hook(t.bundle(), "createRuntime", slow)).ok();
    assert!(begin.elapsed() < Duration::from_secs(60));
    Ok(())
}

fn missing_hook_program(t: &Context) -> Outcome {
    for event in ["createRuntime", "createContainer", "startContainer"] {
        let bundle = with_hook(t.bundle(), event, json!({"path": "/no/such"}));
        let error = t.run(&bundle).fails_with(&format!("error running {event} hook #0: fork/exec /no/such: ")).stderr();
        assert!(error.contains("no such file or directory"), "{error}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn hook_path_must_be_absolute(t: &Context) -> Outcome {
    for event in ["createRuntime", "startContainer", "poststop"] {
        let bundle = with_hook(t.bundle(), event, json!({"path": "bin/true"}));
        t.run(&bundle).fails_with("must be absolute");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// More than a pipe holds, and nobody who reads it.
fn large_state_is_no_deadlock(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/annotations/large", json!("x".repeat(300_000)));
    let bundle = with_hook(bundle, "createRuntime", sh("true"));
    let count = sh(&format!("wc -c >{}", file(t, "count")));
    t.run(&with_hook(bundle, "createContainer", count)).ok();
    let count: usize = fs::read_to_string(file(t, "count")).expect("it has run").trim().parse().expect("a number");
    assert!(count > 300_000, "{count}");
    Ok(())
}

/// The container's mounts are there, and the host's tree still is.
fn create_container_hook_sees_both_trees(t: &Context) -> Outcome {
    let script = format!("stat -f -c %T proc >{0}; readlink /proc/self/ns/mnt >>{0}; hostname >>{0}", file(t, "seen"));
    let bundle = with_hook(t.bundle().with("/hostname", json!("of-the-container")), "createContainer", sh(&script));
    t.run(&bundle).ok();
    let seen = fs::read_to_string(file(t, "seen")).expect("it has run");
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("proc"));
    let own = fs::read_link("/proc/self/ns/mnt").expect("procfs is mounted");
    assert_ne!(lines.next(), own.to_str());
    assert_eq!(lines.next(), Some("of-the-container"));
    Ok(())
}
