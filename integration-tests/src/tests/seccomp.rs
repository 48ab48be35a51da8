//! System call filters in real containers. What a filter decides is tested in the crate that compiles it.

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "seccomp":
    EVERYWHERE {
        rule_with_an_errno, rule_without_new_privileges, default_errno, killed_by_a_rule, flags_are_logged,
        unknown_names_are_ignored, unknown_names_can_be_errors, profile_of_an_engine,
        filter_is_in_force_in_start_container_hooks, init_survives_a_strict_filter, init_ends_where_it_may_not_exit,
        old_filters_are_enough, notify_needs_a_listener,
        notify_of_write_is_refused, raw_program, filter_counts_once,
    }
    ROOT {
        listener_gets_descriptor_and_state, missing_listener, listener_by_annotation, listener_of_an_exec,
    }
}

fn profile(action: &str, names: &[&str]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": action}]})
}

fn writable(t: &Context) -> Bundle {
    t.bundle().with("/root/readonly", json!(false))
}

fn rule_with_an_errno(t: &Context) -> Outcome {
    let mut profile = profile("SCMP_ACT_ERRNO", &["mkdirat", "mkdir"]);
    profile["syscalls"][0]["errnoRet"] = json!(11);
    let bundle = writable(t).args(&["mkdir", "/tmp/x"]).with("/linux/seccomp", profile);
    t.run(&bundle).exits(1).prints(&["mkdir /tmp/x: EAGAIN"]);
    Ok(())
}

/// Then the filter comes before the capabilities go: for create and start as well.
fn rule_without_new_privileges(t: &Context) -> Outcome {
    for privileges in [true, false] {
        let bundle = writable(t).args(&["mkdir", "/tmp/x", "--", "caps"]);
        let bundle = bundle.with("/linux/seccomp", profile("SCMP_ACT_ERRNO", &["mkdirat", "mkdir"]));
        let bundle = bundle.with("/process/noNewPrivileges", json!(!privileges));
        let done = t.run(&bundle).exits(1);
        assert!(done.stdout().starts_with("mkdir /tmp/x: EPERM\n"), "{}", done.stdout());
        assert_eq!(done.value("NoNewPrivs"), u8::from(!privileges).to_string());
        let id = t.id("c");
        let done = t.create(&bundle, &id).ok();
        t.orlop(&["start", &id]).end().ok();
        t.wait_for(&id, "stopped");
        t.wait_for_output(&done, "mkdir /tmp/x: EPERM");
        t.orlop(&["delete", &id]).end().ok();
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn default_errno(t: &Context) -> Outcome {
    let names = ["execve", "execveat", "write", "writev", "exit", "exit_group", "newfstatat", "close", "statx"];
    let allowed = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 6, "syscalls": allowed});
    let bundle = writable(t).args(&["mkdir", "/tmp/x"]).with("/linux/seccomp", profile);
    t.run(&bundle).exits(1).prints(&["mkdir /tmp/x: ENXIO"]);
    Ok(())
}

fn killed_by_a_rule(t: &Context) -> Outcome {
    let bundle = writable(t).args(&["mkdir", "/tmp/x"]);
    let bundle = bundle.with("/process/rlimits/-", json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0}));
    t.run(&bundle.with("/linux/seccomp", profile("SCMP_ACT_KILL_PROCESS", &["mkdirat"]))).exits(128 + 31);
    Ok(())
}

fn flags_are_logged(t: &Context) -> Outcome {
    let cases = [
        (Value::Null, 4),
        (json!([]), 0),
        (json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]), 2),
        // Without a listener there is nobody to wait for.
        (json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), 4),
    ];
    for (flags, number) in cases {
        let mut profile = profile("SCMP_ACT_ERRNO", &["mkdirat"]);
        profile["flags"] = flags;
        let bundle = t.bundle().with("/linux/seccomp", profile);
        let run = t.orlop(&["--debug", "run", "--bundle", bundle.path(), &t.id("c")]).end().ok();
        assert!(run.log().contains(&format!("seccomp filter flags: {number}\"")), "{}", run.log());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn unknown_names_are_ignored(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/seccomp", profile("SCMP_ACT_ERRNO", &["mkdirat", "teleport"]));
    let run = t.orlop(&["--debug", "run", "--bundle", bundle.path(), &t.id("c")]).end().ok();
    assert!(run.log().contains("teleport"), "{}", run.log());
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("d")]).end().ok();
    assert!(!run.log().contains("teleport"), "{}", run.log());
    Ok(())
}

fn unknown_names_can_be_errors(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/seccomp", profile("SCMP_ACT_ERRNO", &["mkdirat", "teleport"]));
    let bundle = bundle.with("/annotations", json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
    t.run(&bundle).fails_with("teleport");
    Ok(())
}

/// With start hooks, users and capabilities: whatever init does under it is in it.
fn profile_of_an_engine(t: &Context) -> Outcome {
    let text = include_str!("../../../fixtures/seccomp/engine.json");
    let profile: Value = serde_json::from_str(text).expect("it is JSON");
    let hook = json!({"path": "/bin/true", "args": ["true"]});
    for privileges in [false, true] {
        let bundle = t.bundle().args(&["unshare", "131072", "--", "cat", "/proc/self/status"]);
        let bundle = bundle.with("/linux/seccomp", profile.clone()).with("/hooks/startContainer/-", hook.clone());
        let bundle = bundle.with("/process/noNewPrivileges", json!(!privileges));
        let done = t.run(&bundle).exits(1);
        assert_eq!(done.value("Seccomp"), "2", "{}", done.stdout());
        assert!(done.stdout().starts_with("unshare 131072: EPERM\n"), "{}", done.stdout());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn filter_is_in_force_in_start_container_hooks(t: &Context) -> Outcome {
    let hook = json!({"path": "/bin/probe", "args": ["probe", "mkdir", "/tmp/x"]});
    let bundle = writable(t).with("/hooks/startContainer/-", hook);
    let bundle = bundle.with("/linux/seccomp", profile("SCMP_ACT_KILL_PROCESS", &["mkdirat"]));
    let bundle = bundle.with("/process/rlimits/-", json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0}));
    t.run(&bundle).fails_with("error running startContainer hook #0: signal: bad system call");
    Ok(())
}

/// A profile made by watching the container's program names none of the calls of whoever starts it.
fn init_survives_a_strict_filter(t: &Context) -> Outcome {
    let allowed = json!([{"names": ["execve", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": allowed});
    let bundle = t.bundle().args(&["print", "alive"]).with("/linux/seccomp", profile);
    t.run(&bundle).ok().prints(&["alive"]);
    let id = t.id("d");
    let done = t.create(&bundle, &id).ok();
    t.orlop(&["start", &id]).end().ok();
    t.wait_for_output(&done, "alive");
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// It spun, and the runtime waited for it.
fn init_ends_where_it_may_not_exit(t: &Context) -> Outcome {
    let may_not = ["execve", "execveat", "exit", "exit_group"];
    for privileges in [true, false] {
        let bundle = t.bundle().args(&["sleep", "600"]);
        let bundle = bundle.with("/linux/seccomp", profile("SCMP_ACT_ERRNO", &may_not));
        let bundle = bundle.with("/process/noNewPrivileges", json!(!privileges));
        t.run(&bundle).fails_with("exec /bin/probe: operation not permitted");
        let id = t.id("c");
        t.create(&bundle, &id).ok();
        t.orlop(&["start", &id]).end().fails_with("exec /bin/probe: operation not permitted");
        t.wait_for(&id, "stopped");
        t.orlop(&["delete", &id]).end().ok();
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// As runtime-tools' own profile, which knows neither faccessat2 nor close_range.
fn old_filters_are_enough(t: &Context) -> Outcome {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"] {
        let mut profile = profile("SCMP_ACT_ERRNO", &["statx", "faccessat2", "close_range"]);
        profile["syscalls"][0]["action"] = json!(action);
        let bundle = t.bundle().args(&["print", "found"]).with("/linux/seccomp", profile);
        let bundle = bundle.with("/process/noNewPrivileges", json!(false));
        t.run(&bundle).ok().prints(&["found"]);
        let id = t.id("d");
        let done = t.create(&bundle, &id).ok();
        t.orlop(&["start", &id]).end().ok();
        t.wait_for_output(&done, "found");
        t.orlop(&["delete", "--force", &id]).end().ok();
        t.run(&bundle.with("/process/args", json!(["nothing-like-it"]))).fails_with("not found in $PATH");
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

fn notify_needs_a_listener(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/linux/seccomp", profile("SCMP_ACT_NOTIFY", &["mkdirat"]));
    t.run(&bundle).fails_with("listenerPath is not set");
    Ok(())
}

/// Init could not even say that there is a listener.
fn notify_of_write_is_refused(t: &Context) -> Outcome {
    let mut profile = profile("SCMP_ACT_NOTIFY", &["write"]);
    profile["listenerPath"] = json!("/no/such.sock");
    let bundle = t.bundle().with("/linux/seccomp", profile);
    t.run(&bundle).fails_with("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    Ok(())
}

/// `return SECCOMP_RET_ALLOW`, and something that is none.
fn raw_program(t: &Context) -> Outcome {
    let key = "run.oci.seccomp_bpf_data";
    let bundle = t.bundle().args(&["cat", "/proc/self/status"]).with("/annotations", json!({key: "BgAAAAAA/38="}));
    assert_eq!(t.run(&bundle).ok().value("Seccomp"), "2");
    let bundle = bundle.with("/annotations", json!({key: "BgAA"}));
    t.run(&bundle).fails_with(key);
    Ok(())
}

fn filter_counts_once(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cat", "/proc/self/status"]);
    let bundle = bundle.with("/linux/seccomp", profile("SCMP_ACT_ERRNO", &["mkdirat"]));
    assert_eq!(t.run(&bundle).ok().value("Seccomp_filters"), "1");
    Ok(())
}

/// What a listener gets: one message, with one descriptor.
fn receive(listener: &UnixListener) -> (Value, OwnedFd) {
    let (mut stream, _) = listener.accept().expect("the runtime connects");
    let mut text = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty());
    text.truncate(received.expect("it sends").bytes);
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    stream.read_to_end(&mut text).expect("it closes the connection");
    assert_eq!(fds.len(), 1);
    (serde_json::from_slice(&text).expect("the state is JSON"), fds.remove(0))
}

fn listener_gets_descriptor_and_state(t: &Context) -> Outcome {
    let path = t.dir().join("agent.sock");
    let listener = UnixListener::bind(&path).expect("the test's folder is writable");
    for privileges in [false, true] {
        let mut profile = profile("SCMP_ACT_NOTIFY", &["mkdirat"]);
        profile["listenerPath"] = json!(path.to_str());
        profile["listenerMetadata"] = json!("some data");
        let bundle = writable(t).args(&["mkdir", "/tmp/x"]).with("/linux/seccomp", profile);
        let bundle = bundle.with("/annotations/key", json!("value"));
        let bundle = bundle.with("/process/noNewPrivileges", json!(!privileges));
        let id = t.id(if privileges { "c" } else { "d" });
        let create = t.orlop(&["create", "--bundle", bundle.path(), &id]).start();
        let (state, fd) = receive(&listener);
        let done = create.end().ok();
        let target = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
        assert!(target.is_ok_and(|target| target.to_string_lossy().contains("seccomp notify")));
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "some data");
        assert_eq!(state["pid"], t.pid(&id));
        assert_eq!(state["state"]["id"], id.as_str());
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["annotations"]["key"], "value");
        t.orlop(&["start", &id]).end().ok();
        // Nobody else holds the listener: with the last one gone the kernel answers itself.
        drop(fd);
        t.wait_for(&id, "stopped");
        t.wait_for_output(&done, "mkdir /tmp/x: ENOSYS");
        t.orlop(&["delete", &id]).end().ok();
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// Each process has a filter of its own, and its listener is told of the container's init as well.
fn listener_of_an_exec(t: &Context) -> Outcome {
    let path = t.dir().join("agent.sock");
    let listener = UnixListener::bind(&path).expect("the test's folder is writable");
    for privileges in [false, true] {
        let mut profile = profile("SCMP_ACT_NOTIFY", &["mkdirat"]);
        profile["listenerPath"] = json!(path.to_str());
        profile["listenerMetadata"] = json!("more data");
        let bundle = writable(t).args(&["sleep", "600"]).with("/linux/seccomp", profile);
        let bundle = bundle.with("/annotations/key", json!("value"));
        let bundle = bundle.with("/process/noNewPrivileges", json!(!privileges));
        let id = t.id(if privileges { "c" } else { "d" });
        let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).start();
        let inits = receive(&listener);
        run.end().ok();
        let exec = t.orlop(&["exec", &id, "/bin/probe", "mkdir", "/tmp/x"]).start();
        let (state, fd) = receive(&listener);
        assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("more data")));
        assert_ne!(state["pid"], t.pid(&id));
        assert_eq!(state["state"]["pid"], t.pid(&id));
        assert_eq!((&state["state"]["id"], &state["state"]["status"]), (&json!(id), &json!("running")));
        assert_eq!(state["state"]["annotations"]["key"], "value");
        drop(fd);
        exec.end().exits(1).prints(&["mkdir /tmp/x: ENOSYS"]);
        drop(inits);
        t.delete(&id);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn missing_listener(t: &Context) -> Outcome {
    let mut profile = profile("SCMP_ACT_NOTIFY", &["mkdirat"]);
    profile["listenerPath"] = json!("/no/such.sock");
    t.run(&t.bundle().with("/linux/seccomp", profile)).fails_with("failed to connect with seccomp agent");
    t.orlop(&["state", &t.id("c")]).end().fails_with("does not exist");
    Ok(())
}

fn listener_by_annotation(t: &Context) -> Outcome {
    let path = t.dir().join("agent.sock");
    let listener = UnixListener::bind(&path).expect("the test's folder is writable");
    let bundle = writable(t).args(&["mkdir", "/tmp/x"]);
    let bundle = bundle.with("/linux/seccomp", profile("SCMP_ACT_NOTIFY", &["mkdirat"]));
    let bundle = bundle.with("/annotations", json!({"run.oci.seccomp.receiver": path.to_str()}));
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).start();
    drop(receive(&listener));
    run.end().exits(1).prints(&["mkdir /tmp/x: ENOSYS"]);
    Ok(())
}
