//! Failures: their words, on which engines match, their records, and what they leave (nothing).

use std::fs;

use serde_json::{Value, json};

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "errors":
    EVERYWHERE {
        command_not_in_path, command_at_no_path, command_is_not_executable, command_is_a_folder,
        no_command, failed_create_leaves_no_pid_file, unknown_ids, delete_force_of_unknown_id,
        kill_all_of_a_stopped_one, invalid_ids, missing_bundle, missing_config, invalid_configs,
        text_log, error_without_log, json_on_stderr, unwritable_log, hostname_without_uts,
        invalid_signals, failing_mount_leaves_nothing, kernel_says_why,
        exec_format_error, null_stdio,
        missing_rootfs, wrong_argument_counts, a_directory_on_a_file,
    }
}

/// Engines read these from a failed `create`, which must leave nothing behind.
fn refuses(t: &Context, args: Value, env: Value, words: &[&str]) {
    let bundle = t.bundle().with("/process/args", args).with("/process/env", env);
    for command in ["create", "run"] {
        let done = t.orlop(&[command, "--bundle", bundle.path(), &t.id(command)]).end();
        let done = done.fails_with(words[0]);
        for word in words {
            assert!(done.stderr().contains(word), "no {word:?} in {}", done.stderr());
        }
        let root = fs::read_dir(t.dir().join("root")).expect("it is there");
        assert_eq!(root.count(), 0, "the state folder is empty again");
    }
}

fn command_not_in_path(t: &Context) -> Outcome {
    let words = ["executable file not found in $PATH", "exec: \"no-such\""];
    refuses(t, json!(["no-such", "x"]), json!(["PATH=/bin:/etc"]), &words);
    Ok(())
}

fn command_at_no_path(t: &Context) -> Outcome {
    let words = ["stat /no/such: no such file or directory", "exec: \"/no/such\""];
    refuses(t, json!(["/no/such"]), json!(["PATH=/bin"]), &words);
    Ok(())
}

fn command_is_not_executable(t: &Context) -> Outcome {
    let words = ["permission denied", "exec: \"/etc/passwd\""];
    refuses(t, json!(["/etc/passwd"]), json!(["PATH=/bin"]), &words);
    Ok(())
}

fn command_is_a_folder(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/args", json!(["/etc"]));
    let done = t.create(&bundle, &t.id("c"));
    let text = done.stderr();
    assert!(text.contains("permission denied") || text.contains("is a directory"), "{text}");
    done.exits(1);
    Ok(())
}

fn no_command(t: &Context) -> Outcome {
    t.create(&t.bundle().with("/process/args", json!([])), &t.id("c")).fails_with("args");
    Ok(())
}

fn failed_create_leaves_no_pid_file(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/args", json!(["no-such"]));
    let file = t.dir().join("pid");
    let path = file.to_str().expect("a plain path");
    let args = ["create", "--bundle", bundle.path(), "--pid-file", path, &t.id("c")];
    t.orlop(&args).end().fails_with("executable file not found in $PATH");
    assert!(!file.exists());
    Ok(())
}

fn unknown_ids(t: &Context) -> Outcome {
    for args in [
        ["state", "no-such"].as_slice(),
        &["start", "no-such"],
        &["kill", "no-such", "9"],
        &["kill", "--all", "no-such", "9"],
        &["delete", "no-such"],
    ] {
        t.orlop(args).end().exits(1).fails_with("does not exist");
    }
    Ok(())
}

fn delete_force_of_unknown_id(t: &Context) -> Outcome {
    let plain = t.orlop(&["delete", "no-such"]).end();
    plain.fails_with("does not exist");
    for option in ["--force", "-f", "-force"] {
        let done = t.orlop(&["delete", option, "no-such"]).end().ok();
        assert_eq!(done.stdout() + &done.stderr() + &done.log(), "");
    }
    Ok(())
}

/// CRI's last step for a pod with a shared pid namespace, when its init has gone.
fn kill_all_of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.stopped();
    t.orlop(&["kill", &id, "9"]).end().fails_with("container not running");
    let done = t.orlop(&["kill", "--all", &id, "9"]).end().ok();
    assert_eq!(done.stdout() + &done.stderr(), "");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn invalid_ids(t: &Context) -> Outcome {
    let bundle = t.bundle();
    for id in ["", "..", ".", "a/b", "../up", "a b", "ä", "a\nb"] {
        let done = t.create(&bundle, id);
        assert!(done.code() > 0, "{id:?} was taken");
        done.fails_with("container");
    }
    assert!(!t.dir().join("up").exists());
    Ok(())
}

fn missing_bundle(t: &Context) -> Outcome {
    let done = t.orlop(&["create", "--bundle", "/no/such/bundle", &t.id("c")]).end();
    done.fails_with("no such file or directory");
    Ok(())
}

fn missing_config(t: &Context) -> Outcome {
    let bundle = t.bundle();
    fs::remove_file(format!("{}/config.json", bundle.path())).expect("it is ours");
    t.create(&bundle, &t.id("c")).fails_with("config.json");
    Ok(())
}

fn invalid_configs(t: &Context) -> Outcome {
    let set = |pointer: &str, value: Value| t.bundle_again().with(pointer, value);
    for (pointer, value) in [
        ("/root", Value::Null),
        ("/process", json!("text")),
        ("/process/cwd", json!("relative")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(4_294_967_296u64)),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
        ("/mounts/-", json!({"destination": "/x", "type": "no-such-type", "source": "x"})),
        ("/linux/namespaces/-", json!({"type": "no-such-namespace"})),
        ("/linux/namespaces/-", json!({"type": "pid"})),
    ] {
        let bundle = set(pointer, value.clone());
        let done = t.run(&bundle);
        assert!(done.code() > 0, "{pointer} = {value} was taken");
        assert!(!done.stderr().is_empty(), "{pointer} = {value} is refused without a word");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    let bundle = t.bundle();
    fs::write(format!("{}/config.json", bundle.path()), "{\"ociVersion\": ").expect("writable");
    assert!(t.run(&bundle).code() > 0);
    Ok(())
}

fn text_log(t: &Context) -> Outcome {
    let log = t.dir().join("text.log");
    let path = log.to_str().expect("a plain path");
    let root = t.dir().join("root").to_string_lossy().into_owned();
    let args = ["--root", &root, "--log", path, "state", "no-such"];
    let done = t.bare_orlop(&args).end().exits(1);
    assert!(done.stderr().contains("does not exist"));
    let text = fs::read_to_string(log).expect("it was written");
    assert!(text.starts_with("time=") && text.contains(" level=error msg="), "{text}");
    Ok(())
}

/// A text log on stderr when no file is named: what conmon gets for a runtime it does not know.
fn error_without_log(t: &Context) -> Outcome {
    let root = t.dir().join("root").to_string_lossy().into_owned();
    let done = t.bare_orlop(&["--root", &root, "state", "no-such"]).end().exits(1);
    let text = done.stderr();
    assert!(text.contains("level=error msg=") && text.contains("does not exist"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    Ok(())
}

fn json_on_stderr(t: &Context) -> Outcome {
    let root = t.dir().join("root").to_string_lossy().into_owned();
    let args = ["--root", &root, "--log-format", "json", "state", "no-such"];
    let text = t.bare_orlop(&args).end().exits(1).stderr();
    let record: Value = serde_json::from_str(&text).expect("one JSON record");
    assert_eq!(record["level"], "error");
    assert!(record["msg"].as_str().is_some_and(|m| m.contains("does not exist")), "{text}");
    Ok(())
}

fn unwritable_log(t: &Context) -> Outcome {
    let done = t.bare_orlop(&["--log", "/no/such/folder/log", "list"]).end();
    assert!(done.code() > 0 && done.stderr().contains("/no/such/folder/log"), "{}", done.stderr());
    Ok(())
}

fn hostname_without_uts(t: &Context) -> Outcome {
    let bundle = t.bundle().retain("/linux/namespaces", |space| space["type"] != "uts");
    t.run(&bundle).fails_with("UTS");
    Ok(())
}

fn invalid_signals(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    for signal in ["NONSENSE", "-1", "9x", "SIG", "1000"] {
        let done = t.orlop(&["kill", &id, signal]).end();
        assert!(done.code() > 0, "{signal} was taken");
    }
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

fn failing_mount_leaves_nothing(t: &Context) -> Outcome {
    let mount = json!({"destination": "/x", "source": "/no/such/source", "options": ["bind"]});
    let bundle = t.bundle().with("/mounts/-", mount);
    t.create(&bundle, &t.id("c")).fails_with("no such file or directory");
    t.run(&bundle).fails_with("/no/such/source");
    Ok(())
}

/// fsconfig(2) itself has an errno for it all.
fn kernel_says_why(t: &Context) -> Outcome {
    for (kind, option, words) in [
        ("tmpfs", "sizee=12", "the kernel says: tmpfs: Unknown parameter 'sizee'"),
        ("tmpfs", "size=twelve", "the kernel says: tmpfs: Bad value for 'size'"),
        ("ext9", "ro", "/proc/filesystems has no such type"),
    ] {
        let mount = json!({"destination": "/tmp", "type": kind, "source": "some", "options": [option]});
        let bundle = t.bundle().with("/mounts/-", mount);
        t.run(&bundle).fails_with(words);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// Only execve(2) finds this, so it is the container's own failure.
fn exec_format_error(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/args", json!(["/bin/nonsense"]));
    bundle.file("bin/nonsense", b"\x7fELF but not a program", 0o755);
    let done = t.run(&bundle);
    assert!(done.code() > 0);
    assert!(done.stderr().contains("exec format error"), "{}", done.stderr());
    Ok(())
}

/// A pod's sandbox: descriptors 0 to 2 can be read only, and writes to them fail.
fn null_stdio(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "to nobody", "--", "exit", "4"]);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    run.through_bash("exec \"$@\" </dev/null >&0 2>&0").end().exits(4);
    let run = t.orlop(&["state", "no-such"]);
    let done = run.through_bash("exec \"$@\" </dev/null >&0 2>&0").end().exits(1);
    assert!(done.log().contains("does not exist"), "the log is the only channel: {}", done.log());
    Ok(())
}

fn missing_rootfs(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/root/path", json!("no-such-rootfs"));
    t.create(&bundle, &t.id("c")).fails_with("no-such-rootfs");
    Ok(())
}

fn wrong_argument_counts(t: &Context) -> Outcome {
    for args in [
        ["create"].as_slice(),
        &["run"],
        &["start"],
        &["start", "a", "b"],
        &["state"],
        &["state", "a", "b"],
        &["kill"],
        &["delete"],
        &["list", "a"],
    ] {
        let done = t.orlop(args).end();
        assert!(done.code() > 0, "{args:?} was taken");
    }
    Ok(())
}

/// Docker adds a hint of its own to these words.
fn a_directory_on_a_file(t: &Context) -> Outcome {
    let mount = json!({"destination": "/etc/passwd", "type": "bind", "source": "/etc", "options": ["bind"]});
    let bundle = t.bundle().with("/mounts/-", mount);
    t.create(&bundle, &t.id("c")).fails_with("mounting at /etc/passwd: move_mount: not a directory");
    Ok(())
}
