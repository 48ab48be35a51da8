//! `lint`: what it says of a bundle on this host, and that `create` says the same.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "lint":
    EVERYWHERE {
        sound_bundle, all_findings_at_once, warnings_are_no_failure, errors_are_those_of_create,
        what_is_not_on_this_host, what_this_kernel_lacks, no_configuration,
    }
    ROOT { missing_controllers }
}

fn lint(t: &Context, bundle: &Bundle, more: &[&str]) -> Done {
    t.orlop(&[&["lint", "--bundle", bundle.path()], more].concat()).end()
}

/// Severity and pointer of each finding.
fn found(done: &Done) -> Vec<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let list = done.json();
    list.as_array().expect("a list").iter().map(|f| (text(f, "severity"), text(f, "pointer"))).collect()
}

/// What `spec` writes has no fault, and looking makes nothing.
fn sound_bundle(t: &Context) -> Outcome {
    let bundle = t.bundle();
    lint(t, &bundle, &[]).ok().prints(&["0 errors, 0 warnings"]);
    assert_eq!(lint(t, &bundle, &["--format", "json"]).ok().json(), json!([]));
    let other = format!("{}/other.json", bundle.path());
    fs::write(&other, "{}").expect("writable");
    lint(t, &bundle, &["--config", &other]).exits(1);
    let root = fs::read_dir(t.dir().join("root")).expect("the test made it");
    assert_eq!(root.count(), 0, "looking has made something");
    Ok(())
}

fn all_findings_at_once(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/cwd", json!("tmp")).with("/process/terminal", json!("no"));
    let bundle = bundle.with("/process/nonewprivs", json!(1)).with("/hooks/poststop", json!([{"path": "a"}]));
    let done = lint(t, &bundle, &["--format", "json"]).exits(1);
    let expected = [
        ("error", "/process/cwd"),
        ("error", "/process/terminal"),
        ("warning", "/process/nonewprivs"),
        ("error", "/hooks/poststop/0/path"),
    ];
    let mut found = found(&done);
    found.sort();
    let mut expected = expected.map(|(severity, pointer)| (severity.to_owned(), pointer.to_owned()));
    expected.sort();
    assert_eq!(found, expected);
    let text = fs::read_to_string(format!("{}/config.json", bundle.path())).expect("it is ours");
    let cwd = done.json().as_array().and_then(|list| list.iter().find(|f| f["pointer"] == "/process/cwd").cloned());
    let cwd = cwd.expect("it was found");
    let line = text.lines().nth(cwd["line"].as_u64().expect("a number") as usize - 1).expect("there are so many");
    assert!(line[cwd["column"].as_u64().expect("a number") as usize - 1..].starts_with("\"tmp\""), "{line}");
    let text = lint(t, &bundle, &[]).exits(1).stdout();
    assert!(text.contains("config.json:") && text.ends_with("3 errors, 1 warning\n"), "{text}");
    Ok(())
}

fn warnings_are_no_failure(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/hostnam", json!("a"));
    let text = lint(t, &bundle, &[]).ok().stdout();
    assert!(text.contains("warning: /hostnam: unknown member") && text.contains("\"hostname\"?"), "{text}");
    t.run(&bundle).ok();
    Ok(())
}

/// The first error of `create` is one of `lint`, in the same words.
fn errors_are_those_of_create(t: &Context) -> Outcome {
    for (pointer, value) in [
        ("/ociVersion", json!("one")),
        ("/process/args", json!([])),
        ("/process/oomScoreAdj", json!(1001)),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
        ("/process/capabilities/effective/-", json!("CAP_SYS_BOOT")),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "priority": 3})),
        ("/linux/namespaces/-", json!({"type": "mount"})),
        ("/linux/maskedPaths/-", json!("proc")),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}})),
        ("/linux/resources/rdma", json!({"mlx": {}})),
        ("/mounts/-", json!({"destination": "/", "type": "tmpfs"})),
        ("/mounts/-", json!({"destination": "/x", "source": "/no/such/source", "options": ["bind"]})),
    ] {
        let bundle = t.bundle().with(pointer, value.clone());
        let errors = lint(t, &bundle, &["--format", "json"]).exits(1).json();
        let messages = errors.as_array().expect("a list").iter().filter(|f| f["severity"] == "error");
        let create = t.create(&bundle, &t.id("c"));
        let said = create.stderr();
        assert!(create.code() > 0, "{pointer} = {value} was taken, and lint says {errors}");
        let is_said = |f: &Value| {
            let message = f["message"].as_str().expect("a text");
            said.contains(message) || (message.ends_with("is not there") && said.contains("/no/such/source"))
        };
        assert!(messages.clone().any(is_said), "lint says {errors}, create {said}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn what_is_not_on_this_host(t: &Context) -> Outcome {
    let mut bundle = t.bundle().with("/root/path", json!("no-such-root"));
    bundle.set("/mounts/-", json!({"destination": "/x", "source": "/no/such/source", "options": ["rbind"]}));
    bundle.set("/mounts/-", json!({"destination": "/y", "type": "nosuchfs", "source": "y"}));
    bundle.set("/hooks/createRuntime", json!([{"path": "/no/such/hook"}, {"path": "/etc/passwd"}]));
    bundle.set("/hooks/poststop", json!([{"path": "/no/such/hook"}]));
    let list = bundle.config()["mounts"].as_array().expect("a list").len();
    let expected = [
        ("error", "/root/path".to_owned()),
        ("error", format!("/mounts/{}/source", list - 2)),
        ("warning", format!("/mounts/{}/type", list - 1)),
        ("error", "/hooks/createRuntime/0/path".to_owned()),
        ("error", "/hooks/createRuntime/1/path".to_owned()),
        ("warning", "/hooks/poststop/0/path".to_owned()),
    ];
    let mut expected = expected.map(|(severity, pointer)| (severity.to_owned(), pointer));
    let mut found = found(&lint(t, &bundle, &["--format", "json"]).exits(1));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    Ok(())
}

/// A label where there is no security module for it: what `create` fails with, too.
fn what_this_kernel_lacks(t: &Context) -> Outcome {
    let has = |path: &str, what: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(what));
    for (pointer, there) in [
        ("/process/apparmorProfile", has("/sys/module/apparmor/parameters/enabled", "Y")),
        ("/process/selinuxLabel", has("/proc/filesystems", "selinuxfs")),
    ] {
        let bundle = t.bundle().with(pointer, json!("label"));
        let done = lint(t, &bundle, &["--format", "json"]);
        if there {
            done.ok();
        } else {
            assert_eq!(found(&done.exits(1)), [("error".to_owned(), pointer.to_owned())]);
            assert!(t.run(&bundle).code() > 0, "{pointer} has no effect, and nobody says so");
        }
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// A limit is an error exactly where setting it is one.
fn missing_controllers(t: &Context) -> Outcome {
    t.needs_root()?;
    for (pointer, value) in [
        ("/linux/resources/pids/limit", json!(20)),
        ("/linux/resources/memory/limit", json!(64 << 20)),
        ("/linux/resources/cpu/shares", json!(100)),
    ] {
        let bundle = t.bundle().with(pointer, value);
        let (linted, run) = (lint(t, &bundle, &[]), t.run(&bundle));
        assert_eq!(linted.code() == 0, run.code() == 0, "{}: {}", linted.stdout(), run.stderr());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn no_configuration(t: &Context) -> Outcome {
    let bundle = t.bundle();
    fs::write(format!("{}/config.json", bundle.path()), "{\n  \"ociVersion\": }").expect("writable");
    let text = lint(t, &bundle, &[]).exits(1).stdout();
    assert!(text.contains("config.json:2:17: error: /ociVersion: expected value"), "{text}");
    fs::remove_file(format!("{}/config.json", bundle.path())).expect("it is ours");
    lint(t, &bundle, &[]).fails_with("config.json");
    Ok(())
}
