//! What a configuration becomes: the names of the entries that matter, in order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use std::vec;

use orlop_cgroup::{Layout, Manager, Mode};
use orlop_init::step::Step;

use super::{Act, Entry, Gate, Options, Plan, Task, Weight, plan};
use crate::config::Config;
use crate::error::Result;
use crate::host::Host;

const SPEC: &str = r#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"], @process "user": {"uid": 0, "gid": 0}}, @top
    "linux": {@linux "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}]}}"#;

/// A small configuration with more members: of the process, of the top, of the Linux part.
fn planned(process: &str, top: &str, linux: &str) -> Result<Plan> {
    planned_text(&SPEC.replace("@process", process).replace("@top", top).replace("@linux", linux))
}

fn planned_text(text: &str) -> Result<Plan> {
    let text = text.replace("@process", "").replace("@top", "").replace("@linux", "");
    let config = Config::parse(text.as_bytes()).expect("the test's configuration is one");
    let cgroups = Layout { mode: Mode::Unified, hierarchies: vec![] };
    let host = Host { euid: 0, rootless: false, cgroups };
    let options = Options {
        id: "box",
        bundle: "/bundle",
        gate: Gate::Start,
        cgroup_manager: Manager::Disabled,
        ..Options::default()
    };
    plan(&config, &host, &options)
}

/// The entries as far as they are named in `wanted`, in their order.
#[track_caller]
fn check(plan: Result<Plan>, wanted: &[&str]) {
    let plan = plan.expect("it can be planned");
    let shown = |entry: &Entry| match entry.act {
        Act::Runtime(Task::Hook { event, index, .. }) => format!("{} {index}", event.name()),
        Act::Init(Step::Hook { place, index, .. }) => format!("{place:?} {index}"),
        _ => String::from(entry.name()),
    };
    let names: Vec<String> = plan.entries.iter().map(shown).collect();
    let of_interest: Vec<&str> = names.iter().map(String::as_str).filter(|name| wanted.contains(name)).collect();
    assert_eq!(of_interest, wanted, "{names:#?}");
}

#[track_caller]
fn refused(plan: Result<Plan>, why: &str) {
    let error = plan.map(drop).expect_err("it must be refused");
    assert!(format!("{error}").contains(why), "{error}");
}

const HOOKS: &str = r#""hooks": {"prestart": [{"path": "/a"}], "createRuntime": [{"path": "/b"}, {"path": "/b"}],
    "createContainer": [{"path": "/c"}], "startContainer": [{"path": "/d"}],
    "poststart": [{"path": "/e"}], "poststop": [{"path": "/f"}]},"#;

#[test]
fn hooks_stand_where_the_spec_has_them() {
    let order = [
        "bind-root",
        "prestart 0",
        "createRuntime 0",
        "createRuntime 1",
        "BeforePivot 0",
        "pivot",
        "record",
        "await-start",
        "Container 0",
        "execve",
    ];
    check(planned("", HOOKS, ""), &order);
    let plan = planned("", HOOKS, "").expect("it can be planned");
    assert!(plan.has_poststart && plan.has_poststop);
    let plain = planned("", "", "").expect("it can be planned");
    assert!(!plain.has_poststart && !plain.has_poststop);
}

#[test]
fn args_of_a_hook_are_its_path_without_any() {
    let plan = planned("", HOOKS, "").expect("it can be planned");
    let of_init = |entry: &Entry| match entry.act {
        Act::Init(Step::Hook { args, .. }) => Some(args),
        _ => None,
    };
    let blob = plan.strings.blob();
    let args = plan.entries.iter().find_map(of_init).expect("there is one");
    let args: Vec<_> = blob.texts(args).iter().filter_map(|&text| blob.text(text)).collect();
    assert_eq!(args, [c"/c"]);
}

#[test]
fn hooks_are_checked_before_anything_is_done() {
    refused(planned("", r#""hooks": {"poststop": [{"path": "f"}]},"#, ""), "must be absolute");
    refused(planned("", r#""hooks": {"poststop": [{"path": "/f", "args": ["\u0000"]}]},"#, ""), "NUL");
}

const FILTER: &str = r#""seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "teleport"], "action": "SCMP_ACT_ERRNO"}]},"#;
const NOTIFY: &str = r#""seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent.sock",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]},"#;
const NO_NEW: &str = r#""noNewPrivileges": true,"#;

#[test]
fn the_filter_comes_as_late_as_the_kernel_lets_it() {
    let early = ["close-on-exec", "seccomp", "bounding", "user", "await-start", "execve"];
    check(planned("", "", FILTER), &early);
    let late = ["no-new-privileges", "bounding", "user", "detach", "await-start", "seccomp", "Container 0", "execve"];
    check(planned(NO_NEW, HOOKS, FILTER), &late);
    let notify = ["user", "detach", "seccomp", "seccomp-listener", "close", "await-start", "execve"];
    check(planned(NO_NEW, "", NOTIFY), &notify);
    let early = ["seccomp", "seccomp-listener", "close", "bounding", "await-start"];
    check(planned("", "", NOTIFY), &early);
}

#[test]
fn what_a_filter_leaves_out_is_said_to_who_debugs() {
    let plan = planned("", "", FILTER).expect("it can be planned");
    let texts: Vec<&str> = plan.warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert_eq!(texts, ["unknown seccomp syscall \"teleport\" ignored", "seccomp filter flags: 4"]);
    assert!(plan.warnings.iter().all(|warning| warning.weight == Weight::Debug));
    let annotation = r#""annotations": {"run.oci.seccomp_fail_unknown_syscall": "1"},"#;
    refused(planned("", annotation, FILTER), "teleport");
    refused(planned("", "", &NOTIFY.replace("/agent.sock", "")), "listenerPath is not set");
    refused(planned("", "", &NOTIFY.replace("mkdir", "write")), "cannot be used for the write syscall");
}

#[test]
fn attributes_are_set_before_rights_go() {
    let process = r#""scheduler": {"policy": "SCHED_BATCH"}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
        "apparmorProfile": "web", "selinuxLabel": "label", "noNewPrivileges": true,"#;
    let linux = r#""personality": {"domain": "LINUX32"}, "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,33"},
        "sysctl": {"net.ipv4.ip_forward": "1"},"#;
    let order = [
        "open-proc", // for the keyring's label
        "write-proc",
        "keyring",
        "write-proc",
        "open-proc", // for the sysctl
        "write-proc",
        "affinity",
        "open-proc", // for the label
        "write-proc",
        "open-proc", // for the profile
        "write-proc",
        "no-new-privileges",
        "scheduler",
        "io-priority",
        "personality",
        "memory-policy",
        "bounding",
        "user",
    ];
    check(planned(process, "", linux), &order);
    let plan = planned(process, "", linux).expect("it can be planned");
    let nodes = plan.entries.iter().find_map(|entry| match entry.act {
        Act::Init(Step::MemoryPolicy { nodes, .. }) => Some(nodes),
        _ => None,
    });
    assert_eq!(plan.strings.blob().words(nodes.expect("there is one")), [1, 2]);
}

#[test]
fn stdio_is_given_to_a_user() {
    let user = r#""user": {"uid": 7, "gid": 7}"#;
    check(planned_text(&SPEC.replace(r#""user": {"uid": 0, "gid": 0}"#, user)), &["stdio", "bounding", "user"]);
}

#[test]
fn a_plain_container_pays_for_nothing_else() {
    let plan = planned(NO_NEW, "", "").expect("it can be planned");
    let of_others = ["open-proc", "write-proc", "hook", "seccomp", "scheduler", "stdio", "memory-policy"];
    assert!(plan.entries.iter().all(|entry| !of_others.contains(&entry.name())));
}
