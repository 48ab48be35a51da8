//! What the container's process is: arguments, environment, user, limits, capabilities.

use serde_json::json;

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "process":
    EVERYWHERE {
        args_arrive_as_they_are, env_is_what_the_config_says, env_of_the_caller_stays_outside,
        home_comes_from_passwd, cwd, cwd_is_made, root_user, umask, umask_default, rlimits,
        unknown_rlimit, capability_sets, no_capabilities, unknown_capability_is_left_out,
        no_new_privileges, oom_score_adj, path_lookup, path_lookup_in_cwd, stdio_is_inherited,
        signal_state_is_reset, pid_1_and_session,
    }
    ROOT {
        user_and_groups, user_without_capabilities, ambient_capabilities_of_a_user,
        ambient_that_cannot_be_is_left_out,
        stdio_belongs_to_the_user, rlimit_above_the_hard_limit,
    }
}

const AUDIT_WRITE_KILL_BIND: &str = "0000000020000420";
const NONE: &str = "0000000000000000";

fn args_arrive_as_they_are(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["args", "two words", "", "quote\"", "ümlaut", "$PATH"]);
    let done = t.run(&bundle).ok();
    let wanted = ["/bin/probe", "args", "two words", "", "quote\"", "ümlaut", "$PATH"];
    assert_eq!(done.values("arg"), wanted);
    Ok(())
}

fn env_is_what_the_config_says(t: &Context) -> Outcome {
    let env = json!(["PATH=/bin", "A=1", "EMPTY=", "WITH=equals=sign", "HOME=/somewhere"]);
    let bundle = t.bundle().args(&["env"]).with("/process/env", env);
    let mut env = t.run(&bundle).ok().values("env");
    env.sort();
    assert_eq!(env, ["A=1", "EMPTY=", "HOME=/somewhere", "PATH=/bin", "WITH=equals=sign"]);
    Ok(())
}

/// Neither the caller's variables nor the runtime's own.
fn env_of_the_caller_stays_outside(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["env"]).with("/process/env", json!(["PATH=/bin"]));
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let run = run.env("_OCI_SYNCPIPE", "3").env("_OCI_STARTPIPE", "4").env("SECRET", "x");
    let mut env = run.env("LD_LIBRARY_PATH", "/x").end().ok().values("env");
    env.sort();
    assert_eq!(env, ["HOME=/root", "PATH=/bin"]);
    Ok(())
}

fn home_comes_from_passwd(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["env"]).with("/process/env", json!(["PATH=/bin"]));
    bundle.file("etc/passwd", b"root:x:0:0:root:/tmp:/bin/sh\n", 0o644);
    assert!(t.run(&bundle).ok().values("env").contains(&"HOME=/tmp".to_owned()));
    Ok(())
}

fn cwd(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cwd"]).with("/process/cwd", json!("/tmp"));
    t.run(&bundle).ok().prints(&["cwd: /tmp"]);
    Ok(())
}

fn cwd_is_made(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cwd"]).with("/process/cwd", json!("/var/new/folder"));
    t.run(&bundle).ok().prints(&["cwd: /var/new/folder"]);
    Ok(())
}

fn root_user(t: &Context) -> Outcome {
    let done = t.run(&t.bundle().args(&["id"])).ok();
    for key in ["uid", "euid", "gid", "egid"] {
        assert_eq!(done.value(key), "0", "{key}");
    }
    Ok(())
}

fn user_and_groups(t: &Context) -> Outcome {
    t.needs_root()?;
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [20, 10]});
    let done = t.run(&t.bundle().args(&["id"]).with("/process/user", user)).ok();
    for (key, wanted) in [("uid", "1000"), ("euid", "1000"), ("gid", "1001"), ("egid", "1001"), ("groups", "10 20")] {
        assert_eq!(done.value(key), wanted, "{key}");
    }
    Ok(())
}

fn umask(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["id"]).with("/process/user/umask", json!(0o027));
    assert_eq!(t.run(&bundle).ok().value("umask"), "027");
    Ok(())
}

fn umask_default(t: &Context) -> Outcome {
    assert_eq!(t.run(&t.bundle().args(&["id"])).ok().value("umask"), "022");
    Ok(())
}

fn rlimits(t: &Context) -> Outcome {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_FSIZE", "soft": 1_048_576, "hard": 2_097_152},
    ]);
    let done = t.run(&t.bundle().args(&["rlimits"]).with("/process/rlimits", limits)).ok();
    assert_eq!(done.value("RLIMIT_NOFILE"), "512 1024");
    assert_eq!(done.value("RLIMIT_CORE"), "0 0");
    assert_eq!(done.value("RLIMIT_FSIZE"), "1048576 2097152");
    Ok(())
}

fn unknown_rlimit(t: &Context) -> Outcome {
    let limits = json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]);
    t.run(&t.bundle().with("/process/rlimits", limits)).fails_with("RLIMIT_NONSENSE");
    Ok(())
}

/// Some hosts' root may not do this; it must then fail, not go on with a lower limit.
fn rlimit_above_the_hard_limit(t: &Context) -> Outcome {
    t.needs_root()?;
    let high = 1_000_000;
    let limits = json!([{"type": "RLIMIT_NPROC", "soft": high, "hard": high}]);
    let done = t.run(&t.bundle().args(&["rlimits"]).with("/process/rlimits", limits));
    if t.host.may_raise_limits() {
        assert_eq!(done.ok().value("RLIMIT_NPROC"), format!("{high} {high}"));
    } else {
        done.fails_with("operation not permitted");
    }
    Ok(())
}

fn capabilities(sets: &[(&str, &[&str])]) -> serde_json::Value {
    let all = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let of = |name: &str| sets.iter().find(|set| set.0 == name).map_or(&[][..], |set| set.1);
    all.iter().map(|name| ((*name).to_owned(), json!(of(name)))).collect()
}

/// Two, of which one is inheritable.
fn one_of_two_inheritable(ambient: &[&str]) -> serde_json::Value {
    let (two, one): (&[&str], &[&str]) = (&["CAP_KILL", "CAP_NET_BIND_SERVICE"], &["CAP_KILL"]);
    capabilities(&[
        ("bounding", two),
        ("effective", two),
        ("permitted", two),
        ("inheritable", one),
        ("ambient", ambient),
    ])
}

fn capability_sets(t: &Context) -> Outcome {
    let three: &[&str] = &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let sets = capabilities(&[("bounding", three), ("effective", three), ("permitted", three)]);
    let done = t.run(&t.bundle().args(&["caps"]).with("/process/capabilities", sets)).ok();
    for key in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(done.value(key), AUDIT_WRITE_KILL_BIND, "{key}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(done.value(key), NONE, "{key}");
    }
    Ok(())
}

fn no_capabilities(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["caps"]).with("/process/capabilities", capabilities(&[]));
    let done = t.run(&bundle).ok();
    for key in ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(done.value(key), NONE, "{key}");
    }
    Ok(())
}

/// A name that the kernel does not know is a warning, as in runc.
fn unknown_capability_is_left_out(t: &Context) -> Outcome {
    let some: &[&str] = &["CAP_KILL", "CAP_TO_FLY"];
    let sets = capabilities(&[("bounding", some), ("effective", some), ("permitted", some)]);
    let done = t.run(&t.bundle().args(&["caps"]).with("/process/capabilities", sets)).ok();
    assert_eq!(done.value("CapBnd"), "0000000000000020");
    Ok(())
}

/// execve(2) takes the capabilities of a user who is not root.
fn user_without_capabilities(t: &Context) -> Outcome {
    t.needs_root()?;
    let some: &[&str] = &["CAP_KILL"];
    let sets = capabilities(&[("bounding", some), ("effective", some), ("permitted", some)]);
    let bundle = t.bundle().args(&["caps"]).with("/process/capabilities", sets);
    let done = t.run(&bundle.with("/process/user", json!({"uid": 1000, "gid": 1000}))).ok();
    for (key, wanted) in [("CapBnd", "0000000000000020"), ("CapEff", NONE), ("CapPrm", NONE), ("CapAmb", NONE)] {
        assert_eq!(done.value(key), wanted, "{key}");
    }
    Ok(())
}

/// As runc: buildah asks for ambient capabilities that are not inheritable.
fn ambient_that_cannot_be_is_left_out(t: &Context) -> Outcome {
    t.needs_root()?;
    let sets = one_of_two_inheritable(&["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let done = t.run(&t.bundle().args(&["caps"]).with("/process/capabilities", sets)).ok();
    assert_eq!(done.value("CapAmb"), "0000000000000020");
    let log = done.log();
    assert!(log.contains("can't raise ambient capability CAP_NET_BIND_SERVICE"), "{log}");
    Ok(())
}

/// CVE-2016-8867 and CVE-2022-29162: these sets are what the config says, no more.
fn ambient_capabilities_of_a_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let sets = one_of_two_inheritable(&["CAP_KILL"]);
    let bundle = t.bundle().args(&["caps"]).with("/process/capabilities", sets);
    let done = t.run(&bundle.with("/process/user", json!({"uid": 1000, "gid": 1000}))).ok();
    for key in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(done.value(key), "0000000000000020", "{key}");
    }
    assert_eq!(done.value("CapBnd"), "0000000000000420");
    Ok(())
}

fn no_new_privileges(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["caps"]);
    assert_eq!(t.run(&bundle).ok().value("NoNewPrivs"), "1");
    let bundle = bundle.with("/process/noNewPrivileges", json!(false));
    assert_eq!(t.run(&bundle).ok().value("NoNewPrivs"), "0");
    Ok(())
}

fn oom_score_adj(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cat", "/proc/self/oom_score_adj"]);
    t.run(&bundle.with("/process/oomScoreAdj", json!(500))).ok().prints(&["500"]);
    Ok(())
}

fn path_lookup(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/env", json!(["PATH=/no/such:/etc:/bin"]));
    let done = t.run(&bundle.with("/process/args", json!(["probe", "args"]))).ok();
    assert_eq!(done.values("arg"), ["probe", "args"], "argv[0] stays as it was given");
    Ok(())
}

fn path_lookup_in_cwd(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/cwd", json!("/bin"));
    t.run(&bundle.with("/process/args", json!(["./probe", "cwd"]))).ok().prints(&["cwd: /bin"]);
    Ok(())
}

/// fixStdioPermissions of runc: a user can open /dev/stdout anew.
fn stdio_belongs_to_the_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().args(&["open-write", "/dev/stdout"]);
    let done = t.run(&bundle.with("/process/user", json!({"uid": 1000, "gid": 1000}))).ok();
    done.prints(&["opened w: /dev/stdout"]);
    Ok(())
}

fn stdio_is_inherited(t: &Context) -> Outcome {
    let id = t.id("c");
    let done = t.detach(&t.bundle().args(&["fds"]), &id);
    t.wait_for(&id, "stopped");
    assert_eq!(done.value("fd 0"), "/dev/null");
    assert!(done.value("fd 1").ends_with(".out"), "{}", done.value("fd 1"));
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// conmon's clean-up calls the runtime with SIGUSR1 blocked, shells ignore signals.
fn signal_state_is_reset(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cat", "/proc/self/status"]);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let script = "trap '' PIPE HUP USR2; exec env --block-signal=USR1 --block-signal=TERM \"$@\"";
    let done = run.through_bash(script).end().ok();
    for key in ["SigBlk", "SigIgn"] {
        assert_eq!(done.value(key), NONE, "{key}");
    }
    Ok(())
}

fn pid_1_and_session(t: &Context) -> Outcome {
    t.run(&t.bundle().args(&["pid"])).ok().prints(&["pid: 1", "ppid: 0", "sid: 1"]);
    Ok(())
}
