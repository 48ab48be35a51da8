//! What the binary says without a container.

use std::fs;

use crate::bundle::Bundle;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "cli":
    EVERYWHERE {
        version, spec_is_what_runc_writes, spec_into_a_bundle, spec_does_not_overwrite,
        features_name_the_versions, features_are_complete, unknown_options_are_errors, help_exits_0,
    }
}

/// The name by which the binary introduces itself.
fn name(t: &Context) -> String {
    t.binary().file_name().expect("a file").to_string_lossy().into_owned()
}

/// Docker and containerd split these lines.
fn version(t: &Context) -> Outcome {
    let done = t.bare_orlop(&["--version"]).end().ok();
    let text = done.stdout();
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("{} version ", name(t))), "{first}");
    assert!(text.lines().any(|line| line.starts_with("spec: 1.")), "{text}");
    assert_eq!(done.stderr(), "");
    Ok(())
}

fn spec_is_what_runc_writes(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let config = bundle.config();
    let process = &config["process"];
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(config["root"]["path"], "rootfs");
    assert_eq!(config["root"]["readonly"], true);
    let list = |pointer: &str, key: &str| -> Vec<String> {
        let entries = config.pointer(pointer).and_then(|v| v.as_array()).expect("an array");
        entries.iter().map(|e| e[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(
        list("/mounts", "destination"),
        ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    );
    let spaces = list("/linux/namespaces", "type");
    let wanted: &[&str] = match t.host.uid {
        0 => &["pid", "network", "ipc", "uts", "mount"],
        _ => &["pid", "ipc", "uts", "mount", "user"],
    };
    for name in wanted {
        assert!(spaces.iter().any(|s| s == name), "no {name} in {spaces:?}");
    }
    assert_eq!(spaces.iter().any(|s| s == "cgroup"), t.host.layout == crate::host::Layout::V2);
    Ok(())
}

fn spec_into_a_bundle(t: &Context) -> Outcome {
    let dir = t.dir().join("new");
    fs::create_dir(&dir).expect("writable");
    let path = dir.to_str().expect("a plain path");
    t.bare_orlop(&["spec", "--bundle", path]).end().ok();
    assert!(dir.join("config.json").is_file());
    Ok(())
}

fn spec_does_not_overwrite(t: &Context) -> Outcome {
    let bundle: Bundle = t.bundle();
    let done = t.bare_orlop(&["spec"]).current_dir(bundle.path()).end().exits(1);
    assert!(done.stderr().contains("exist"), "{}", done.stderr());
    Ok(())
}

/// CRI-O reads stdout and stderr together and demands both versions.
/// The members that engines ask for; CRI-O reads both streams, so there is nothing on the other one.
fn features_are_complete(t: &Context) -> Outcome {
    let done = t.bare_orlop(&["features"]).end().ok();
    assert_eq!(done.stderr(), "");
    let features = done.json();
    assert_eq!(features["hooks"].as_array().map(Vec::len), Some(6));
    for (list, member) in [
        ("/mountOptions", "rro"),
        ("/linux/namespaces", "network"),
        ("/linux/capabilities", "CAP_SYS_ADMIN"),
        ("/linux/seccomp/actions", "SCMP_ACT_NOTIFY"),
        ("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ"),
        ("/linux/seccomp/archs", "SCMP_ARCH_X86_64"),
        ("/linux/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        ("/linux/seccomp/supportedFlags", "SECCOMP_FILTER_FLAG_LOG"),
        ("/linux/memoryPolicy/modes", "MPOL_INTERLEAVE"),
        ("/linux/memoryPolicy/flags", "MPOL_F_STATIC_NODES"),
        ("/potentiallyUnsafeConfigAnnotations", "run.oci.seccomp.receiver"),
    ] {
        let members = features.pointer(list).and_then(serde_json::Value::as_array);
        assert!(members.is_some_and(|members| members.iter().any(|m| m == member)), "{member} in {list}: {features}");
    }
    let cgroup = &features["linux"]["cgroup"];
    assert_eq!((&cgroup["v1"], &cgroup["v2"]), (&serde_json::json!(true), &serde_json::json!(true)));
    let switches = ["seccomp", "apparmor", "selinux", "intelRdt", "netDevices"];
    assert!(switches.iter().all(|name| features["linux"][name]["enabled"].is_boolean()), "{features}");
    assert!(features["linux"]["mountExtensions"]["idmap"]["enabled"].is_boolean(), "{features}");
    Ok(())
}

fn features_name_the_versions(t: &Context) -> Outcome {
    let done = t.bare_orlop(&["features"]).end().ok();
    assert_eq!(done.stderr(), "");
    let features = done.json();
    for key in ["ociVersionMin", "ociVersionMax"] {
        assert!(features[key].as_str().is_some_and(|v| v.starts_with("1.")), "{key}: {features}");
    }
    let options = features["mountOptions"].as_array().expect("a list");
    for option in ["bind", "nosuid", "rbind", "ro"] {
        assert!(options.iter().any(|o| o == option), "no {option} in {options:?}");
    }
    Ok(())
}

fn unknown_options_are_errors(t: &Context) -> Outcome {
    for args in [
        ["--no-such-option", "list"].as_slice(),
        &["no-such-command"],
        &["state", "--no-such-option", "x"],
        &["create", "--preserve-fds", "many", "x"],
    ] {
        let done = t.bare_orlop(args).end();
        assert!(done.code() > 0, "{args:?} was accepted: {}", done.stdout());
        let said = done.stderr() + &done.stdout();
        assert!(!said.is_empty(), "{args:?} is refused without a word");
    }
    Ok(())
}

/// The exit status of `checkpoint --help` is an engine's test for that ability.
fn help_exits_0(t: &Context) -> Outcome {
    for args in [["--help"].as_slice(), &["create", "--help"], &["run", "-h"]] {
        let done = t.bare_orlop(args).end().ok();
        assert!(done.stdout().to_lowercase().contains("usage"), "{}", done.stdout());
    }
    Ok(())
}
