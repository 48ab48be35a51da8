//! Further processes in a running container: every option, and what is told of those that fail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::tests::users::mapped;
use crate::tests::{Outcome, tests};

tests! { "exec":
    EVERYWHERE {
        exit_statuses, failures, pid_file, detached, process_file_inherits, joins_all_namespaces, cgroup,
        created_container, stopped_container, preserved_descriptors, listen_fds, standard_streams,
        signals_are_forwarded, why_a_program_does_not_run, execve_error_of_runc, arguments_of_any_bytes,
        unmapped_user, where_the_fault_is,
    }
    ROOT {
        options, no_pid_file_of_a_failure, process_file, sub_cgroup, paused_container, oom_score_adj_and_rlimits,
        cpu_affinity, why_a_program_does_not_get_its_capabilities,
    }
    CONTROLLERS { cgroup_of_init }
}

pub(super) const SLEEP: &[&str] = &["sleep", "600"];

/// A container that sleeps.
pub(super) fn sleeper(t: &Context) -> String {
    let id = t.id("c");
    t.detach(&t.bundle().args(SLEEP), &id);
    id
}

/// `exec OPTION... ID /bin/probe WORD...`
pub(super) fn exec<'a>(options: &[&'a str], id: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    ["exec"].into_iter().chain(options.iter().copied()).chain([id, "/bin/probe"]).chain(words.iter().copied()).collect()
}

/// Each option changes one thing that the probe sees; without it that is another.
fn options(t: &Context) -> Outcome {
    struct Row(&'static [&'static str], &'static [&'static str], &'static str, &'static str, &'static str);
    let rows = [
        Row(&["--cwd", "/tmp"], &["cwd"], "cwd", "/tmp", "/"),
        Row(&["--user", "1000"], &["id"], "uid", "1000", "0"),
        Row(&["-u", "1000:7"], &["id"], "gid", "7", "0"),
        Row(&["--user", "0:7"], &["id"], "egid", "7", "0"),
        Row(&["--additional-gids", "12", "-g", "13"], &["id"], "groups", "12 13", ""),
        Row(&["--no-new-privs=false"], &["caps"], "NoNewPrivs", "0", "1"),
        Row(&["--cap", "CAP_SYS_TIME"], &["caps"], "CapBnd", "0000000022000420", "0000000020000420"),
        Row(&["-c", "CAP_SYS_TIME"], &["caps"], "CapEff", "0000000022000420", "0000000020000420"),
        Row(&["--cap", "CAP_SYS_TIME"], &["caps"], "CapPrm", "0000000022000420", "0000000020000420"),
    ];
    let id = sleeper(t);
    for Row(options, words, key, with, without) in rows {
        assert_eq!(t.orlop(&exec(options, &id, words)).end().ok().value(key), with, "{options:?}");
        assert_eq!(t.orlop(&exec(&[], &id, words)).end().ok().value(key), without, "without {options:?}");
    }
    let options = ["--env", "A=1", "-e", "B=2", "--env", "TERM=other"];
    let mut env = t.orlop(&exec(&options, &id, &["env"])).end().ok().values("env");
    env.sort();
    assert_eq!(env[..2], ["A=1", "B=2"]);
    assert!(env.contains(&"TERM=other".to_owned()) && !env.contains(&"TERM=xterm".to_owned()), "{env:?}");
    for option in [["--apparmor", "nobodys-profile"], ["--process-label", "a:b:c:d"]] {
        // Neither may be left out silently where the host or this version does not have it.
        t.orlop(&exec(&option, &id, &["true"])).end().exits(255);
    }
    t.delete(&id);
    Ok(())
}

fn exit_statuses(t: &Context) -> Outcome {
    let id = sleeper(t);
    for (words, status) in [(&["true"][..], 0), (&["exit", "42"], 42), (&["exit", "255"], 255)] {
        t.orlop(&exec(&[], &id, words)).end().exits(status);
    }
    let done = t.orlop(&exec(&[], &id, &["alloc", "1", "--", "fork", "0", "--", "exit", "3"])).end();
    done.exits(3);
    t.delete(&id);
    Ok(())
}

fn failures(t: &Context) -> Outcome {
    let bundle = t.bundle().args(SLEEP);
    bundle.file("bin/plain", b"x", 0o644);
    bundle.file("bin/garbage", b"\x7fnot", 0o755);
    let id = t.id("c");
    t.detach(&bundle, &id);
    for (program, text) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/bin/plain", "exec: \"/bin/plain\": permission denied"),
        ("/tmp", "permission denied"),
        ("/bin/garbage", "exec format error"),
    ] {
        t.orlop(&["exec", &id, program]).end().exits(255).fails_with(text);
        t.orlop(&["exec", "--detach", &id, program]).end().exits(255).fails_with(text);
    }
    t.orlop(&["exec", "--cwd", "/nope", &id, "/bin/probe"]).end().exits(255).fails_with("no such file or directory");
    t.orlop(&["exec", "--cwd", "relative", &id, "/bin/probe"]).end().exits(255).fails_with("absolute");
    t.orlop(&["exec", "no-such-container", "x"]).end().exits(255).fails_with("does not exist");
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

/// What is wrong with a program that is there.
fn why_a_program_does_not_run(t: &Context) -> Outcome {
    let bundle = t.bundle().args(SLEEP);
    let probe = fs::read(bundle.rootfs("bin/probe")).expect("it is there");
    let mut other = probe[..64].to_vec();
    other[18..20].copy_from_slice(&[22, 0]);
    bundle.file("bin/script", b"#!/no/shell -x\n", 0o755);
    bundle.file("bin/dos", b"#!/bin/probe\r\n", 0o755);
    bundle.file("bin/bare", b"echo hello\n", 0o755);
    bundle.file("bin/empty", b"", 0o755);
    bundle.file("bin/other", &other, 0o755);
    bundle.file("bin/plain", b"x", 0o644);
    bundle.file("bin/refused", b"#!/etc/passwd\n", 0o755);
    bundle.file("bin/dynamic", &dynamic(&probe), 0o755);
    let var = bundle.rootfs("var");
    bundle.file("var/x", b"#!/bin/probe true", 0o755);
    let noexec = json!({"destination": "/var", "source": var.to_str(), "options": ["bind", "noexec"]});
    let id = t.id("c");
    t.detach(&bundle.with("/mounts/-", noexec), &id);
    for (program, words, hint) in [
        ("/bin/script", "exec /bin/script: no such file or directory", "\"/no/shell\" (the #! line) is missing"),
        ("/bin/dos", "exec /bin/dos: no such file or directory", "ends as lines of Windows do"),
        (
            "/bin/dynamic",
            "exec /bin/dynamic: no such file or directory",
            "\"/no/loader.so\" (the ELF loader) is missing",
        ),
        ("/bin/bare", "exec /bin/bare: exec format error", "a script without a #! line"),
        ("/bin/empty", "exec /bin/empty: exec format error", "the file is empty"),
        ("/bin/other", "exec /bin/other: exec format error", "a program for s390x"),
        ("/bin/plain", "exec: \"/bin/plain\": permission denied", "no execute permission"),
        ("/bin/refused", "exec /bin/refused: permission denied", "\"/etc/passwd\" (the #! line) cannot be executed"),
        ("/var/x", "permission denied", "the mount that the file is on is noexec"),
        ("/tmp", "is a directory: permission denied", "must begin with a program"),
    ] {
        t.orlop(&["exec", &id, program]).end().exits(255).fails_with(words).fails_with(hint);
    }
    t.delete(&id);
    let bundle = t.bundle_again();
    bundle.file("bin/script", b"#!/no/shell\n", 0o755);
    let bundle = bundle.with("/process/args", json!(["/bin/script"]));
    t.run(&bundle).fails_with("\"/no/shell\" (the #! line) is missing");
    let id = t.id("d");
    t.create(&bundle, &id).ok();
    t.orlop(&["start", &id]).end().fails_with("\"/no/shell\" (the #! line) is missing");
    t.delete(&id);
    Ok(())
}

/// What the caller of exec gave stands in no config.json; what the container has does.
fn where_the_fault_is(t: &Context) -> Outcome {
    let id = sleeper(t);
    let file = t.dir().join("process.json");
    let document = |change: &dyn Fn(&mut Value)| {
        let mut process = json!({"args": ["/bin/probe"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
        change(&mut process);
        fs::write(&file, process.to_string()).expect("writable");
        t.orlop(&["exec", "--process", file.to_str().expect("a plain path"), &id]).end()
    };
    document(&|process| process["args"] = json!(["missing"])).fails_with("[process.json /args]");
    document(&|process| process["cwd"] = json!("here")).fails_with("[process.json /cwd]");
    let rlimit = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5}]);
    let done = document(&|process| process["rlimits"] = rlimit.clone());
    done.fails_with("[process.json, or config.json's process, /rlimits/0/soft]");
    for call in [&["exec", &id, "missing"][..], &["exec", "--cwd", "here", &id, "/bin/probe"]] {
        let done = t.orlop(call).end().exits(255);
        assert!(!done.stderr().contains(".json"), "{}", done.stderr());
    }
    t.delete(&id);
    Ok(())
}

/// See capabilities(7): a program that does not look at its own capabilities is not started without them.
fn why_a_program_does_not_get_its_capabilities(t: &Context) -> Outcome {
    const SYS_BOOT: u8 = 1 << (22 - 16);
    let effective = [1, 0, 0, 2, 0, 0, SYS_BOOT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let bundle = t.bundle().with("/process/args", json!(["/bin/boot"]));
    bundle.file("bin/boot", b"", 0o755);
    fs::copy(bundle.rootfs("bin/probe"), bundle.rootfs("bin/boot")).expect("it is there");
    let set = rustix::fs::setxattr(bundle.rootfs("bin/boot"), "security.capability", &effective, XattrFlags::empty());
    if let Err(error) = set {
        return Err(Skip(format!("a file cannot be given capabilities: {error}")));
    }
    let hint = "capabilities (getcap(8)) that process.capabilities.bounding lacks";
    t.run(&bundle).fails_with("exec /bin/boot: operation not permitted").fails_with(hint);
    Ok(())
}

/// The probe's ELF header with one program header: the name of a loader that is not there.
fn dynamic(probe: &[u8]) -> Vec<u8> {
    let name = b"/no/loader.so\0";
    let mut elf = vec![0u8; 4096];
    elf[..64].copy_from_slice(&probe[..64]);
    elf[32..40].copy_from_slice(&64u64.to_le_bytes());
    elf[56..58].copy_from_slice(&1u16.to_le_bytes());
    elf[64..68].copy_from_slice(&3u32.to_le_bytes());
    elf[72..80].copy_from_slice(&256u64.to_le_bytes());
    elf[96..104].copy_from_slice(&(name.len() as u64).to_le_bytes());
    elf[256..256 + name.len()].copy_from_slice(name);
    elf
}

/// A script names what is missing; `runc` says no more than its init did.
fn execve_error_of_runc(t: &Context) -> Outcome {
    let bundle = t.bundle();
    bundle.file("run.sh", b"#!/mmnnttbb foo\n", 0o755);
    let bundle = bundle.with("/process/args", json!(["/run.sh"]));
    let link = t.dir().join("runc");
    std::os::unix::fs::symlink(t.binary(), &link).expect("the test's folder is writable");
    let root = t.dir().join("root");
    let done = std::process::Command::new(&link)
        .arg("--root")
        .arg(&root)
        .args(["run", "--bundle", bundle.path(), &t.id("c")])
        .output()
        .expect("the binary can be executed");
    assert!(!done.status.success());
    assert_eq!(String::from_utf8_lossy(&done.stderr), "exec /run.sh: no such file or directory\n");
    Ok(())
}

fn arguments_of_any_bytes(t: &Context) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let id = sleeper(t);
    let mut call = t.orlop(&["exec", "--env"]).into_command();
    call.arg(std::ffi::OsStr::from_bytes(b"ODD=\xfe")).args([&*id, "/bin/probe", "print"]);
    call.arg(std::ffi::OsStr::from_bytes(b"a\xff\xc3b")).args(["--", "env"]);
    let done = call.output().expect("the binary can be executed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stdout.starts_with(b"a\xff\xc3b\n"), "{:?}", done.stdout);
    assert!(done.stdout.windows(5).any(|bytes| bytes == b"ODD=\xfe"), "{:?}", done.stdout);
    t.delete(&id);
    Ok(())
}

/// Where it begins does not show in the end; what it ends with does, and without one it is all.
fn cpu_affinity(t: &Context) -> Outcome {
    let allowed = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let list = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("it is there").trim().to_owned()
    };
    let all = list(&allowed);
    if all == "0" {
        return Err(Skip("one processor".into()));
    }
    let id = t.id("c");
    t.detach(&t.bundle().args(SLEEP).with("/process/execCPUAffinity", json!({"initial": "1", "final": "0"})), &id);
    let status = ["cat", "/proc/self/status"];
    assert_eq!(list(&t.orlop(&exec(&[], &id, &status)).end().ok().stdout()), "0");
    let file = t.dir().join("process.json");
    let path = file.to_str().expect("a plain path");
    for (affinity, wanted) in [
        (json!({"initial": "0", "final": "1"}), Ok("1")),
        (json!({"final": "0,1"}), Ok("0-1")),
        (json!({"initial": "5000"}), Err("sched_setaffinity")),
        (json!({"final": "x"}), Err("invalid CPU list \"x\"")),
    ] {
        let args = ["/bin/probe", "cat", "/proc/self/status"];
        fs::write(&file, json!({"args": args, "cwd": "/", "execCPUAffinity": affinity}).to_string()).expect("writable");
        let done = t.orlop(&["exec", "--process", path, &id]).end();
        match wanted {
            Ok(wanted) => assert_eq!(list(&done.ok().stdout()), wanted, "{affinity}"),
            Err(words) => drop(done.exits(255).fails_with(words)),
        }
    }
    t.delete(&id);
    let id = t.id("d");
    t.detach(&t.bundle_again().args(SLEEP).with("/process/execCPUAffinity", json!({"initial": "0"})), &id);
    assert_eq!(list(&t.orlop(&exec(&[], &id, &status)).end().ok().stdout()), "0", "the first affinity stays");
    t.delete(&id);
    Ok(())
}

fn pid_file(t: &Context) -> Outcome {
    let id = sleeper(t);
    let file = t.dir().join("pid");
    let path = file.to_str().expect("a plain path");
    let done = t.orlop(&exec(&["--pid-file", path], &id, &["pid"])).end().ok();
    let text = fs::read_to_string(&file).expect("it was written");
    let pid: i32 = text.parse().expect("digits alone");
    assert!(pid > 1 && pid != t.pid(&id));
    assert_ne!(done.value("pid"), text, "the number in the container is another one");
    assert_eq!(done.value("ppid"), "0");
    t.delete(&id);
    Ok(())
}

/// Nobody has looked at the maps of a container that is entered.
fn unmapped_user(t: &Context) -> Outcome {
    let mut bundle = t.bundle().args(SLEEP);
    if t.host.uid == 0 {
        let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        bundle = bundle.with("/linux/namespaces/-", json!({"type": "user"}));
        bundle = bundle.with("/linux/uidMappings", ids.clone()).with("/linux/gidMappings", ids);
    }
    let id = t.id("c");
    t.detach(&bundle, &id);
    let failed = t.orlop(&exec(&["--user", "70000"], &id, &["/bin/true"])).end().exits(255);
    let failed = failed.fails_with("user 70000 is not mapped in the container's user namespace");
    assert!(failed.stdout().is_empty());
    t.delete(&id);
    Ok(())
}

/// conmon takes a pid file for a process that runs.
fn no_pid_file_of_a_failure(t: &Context) -> Outcome {
    let bundle = t.bundle().args(SLEEP);
    bundle.file("bin/garbage", b"\x7fnot", 0o755);
    let id = t.id("c");
    t.detach(&bundle, &id);
    let file = t.dir().join("pid");
    let path = file.to_str().expect("a plain path");
    for program in ["nope", "/tmp", "/bin/garbage"] {
        for how in [&["--detach"][..], &[]] {
            let args: Vec<&str> =
                ["exec", "--pid-file", path].into_iter().chain(how.iter().copied()).chain([&*id, program]).collect();
            t.orlop(&args).end().exits(255);
            assert!(!file.exists(), "{program} {how:?}");
        }
    }
    t.orlop(&exec(&["--detach", "--pid-file", "/no/such/pid"], &id, SLEEP)).end().exits(255);
    let left = fs::read_to_string(t.cgroup_of(t.pid(&id), "pids").join("cgroup.procs")).expect("it is there");
    assert_eq!(left.lines().count(), 1, "the process that has no pid file was killed");
    t.delete(&id);
    Ok(())
}

fn detached(t: &Context) -> Outcome {
    let id = sleeper(t);
    let done = t.orlop(&exec(&["--detach"], &id, &["sigwait"])).end().ok();
    t.wait_for_output(&done, "ready");
    t.delete_with_executed(&id);
    Ok(())
}

fn process_file(t: &Context) -> Outcome {
    let id = sleeper(t);
    let file = t.dir().join("process.json");
    let process = json!({
        "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o077},
        "args": ["/bin/probe", "id", "--", "env", "--", "cwd", "--", "caps", "--", "rlimits"],
        "env": ["ONLY=this", "HOME=/h"], "cwd": "/tmp", "noNewPrivileges": false,
        "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 1}],
    });
    fs::write(&file, process.to_string()).expect("the test's folder is writable");
    let path = file.to_str().expect("a plain path");
    // The options that describe a process are of no effect beside it.
    let done = t.orlop(&["exec", "--process", path, "--cwd", "/bin", "--user", "9", &id]).end().ok();
    for (key, wanted) in [("uid", "5"), ("gid", "6"), ("groups", "7"), ("umask", "077"), ("cwd", "/tmp")] {
        assert_eq!(done.value(key), wanted, "{key}");
    }
    assert_eq!(done.values("env"), ["ONLY=this", "HOME=/h"]);
    assert_eq!((done.value("CapBnd").as_str(), done.value("NoNewPrivs").as_str()), ("0000000000000020", "0"));
    assert_eq!(done.value("RLIMIT_CORE"), "0 1");
    for (text, wanted) in
        [(r#"{"args": ["x"], "cwd": ""}"#, "absolute"), (r#"{"cwd": "/"}"#, "args"), ("{", "process.json")]
    {
        fs::write(&file, text).expect("the test's folder is writable");
        t.orlop(&["exec", "-p", path, &id]).end().exits(255).fails_with(wanted);
    }
    t.delete(&id);
    Ok(())
}

/// What a process leaves out is the container's, as in runc.
fn process_file_inherits(t: &Context) -> Outcome {
    let limits = json!([{"type": "RLIMIT_CORE", "soft": 3, "hard": 4}]);
    let bundle = t.bundle().args(SLEEP).with("/process/rlimits", limits).with("/process/user/umask", json!(0o027));
    let id = t.id("c");
    t.detach(&bundle, &id);
    let file = t.dir().join("process.json");
    let process = json!({"args": ["/bin/probe", "rlimits", "--", "id", "--", "caps", "--", "env"], "cwd": "/"});
    fs::write(&file, process.to_string()).expect("the test's folder is writable");
    let done = t.orlop(&["exec", "-p", file.to_str().expect("a plain path"), &id]).end().ok();
    assert_eq!((done.value("RLIMIT_CORE").as_str(), done.value("umask").as_str()), ("3 4", "027"));
    assert_eq!(done.value("CapBnd"), "0000000020000420");
    assert_eq!(done.values("env"), ["HOME=/root"], "the environment is the process's own");
    t.delete(&id);
    Ok(())
}

fn joins_all_namespaces(t: &Context) -> Outcome {
    let id = sleeper(t);
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user", "time"];
    let paths: Vec<String> = names.iter().map(|name| format!("/proc/self/ns/{name}")).collect();
    let words: Vec<&str> = ["readlink"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let done = t.orlop(&exec(&[], &id, &words)).end().ok();
    for (name, path) in names.iter().zip(&paths) {
        let inits = fs::read_link(format!("/proc/{}/ns/{name}", t.pid(&id))).expect("it lives");
        assert_eq!(Path::new(&done.value(path)), inits, "{name}");
    }
    t.delete(&id);
    Ok(())
}

/// The same cgroups as init's, in every hierarchy.
fn cgroup(t: &Context) -> Outcome {
    let id = sleeper(t);
    let done = t.orlop(&exec(&["--detach"], &id, &["cat", "/proc/self/cgroup", "--", "sigwait"])).end().ok();
    t.wait_for_output(&done, "ready");
    let own = done.stdout();
    let own: Vec<&str> = own.lines().filter(|line| *line != "ready").collect();
    let init = t.orlop(&exec(&[], &id, &["cat", "/proc/1/cgroup"])).end().ok().stdout();
    assert_eq!(own, init.lines().collect::<Vec<_>>());
    t.delete_with_executed(&id);
    Ok(())
}

/// Where init has moved down and given the container's own cgroup controllers, no process can be in that any more.
fn cgroup_of_init(t: &Context) -> Outcome {
    t.needs_root()?;
    if t.host.layout != Layout::V2 {
        return Err(Skip("cgroup v1 has no such rule".into()));
    }
    let (controller, limits) = match t.needs_controller("pids") {
        Ok(()) => ("pids", json!({"pids": {"limit": 100}})),
        Err(_) => ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})),
    };
    t.needs_controller(controller)?;
    for (bundle, name) in [(t.bundle(), "plain"), (mapped(t.bundle_again()), "mapped")] {
        let id = t.id(name);
        t.detach(&bundle.args(&["sleep", "600"]).with("/linux/resources", limits.clone()), &id);
        let pid = t.pid(&id);
        let folder = t.cgroup_of(pid, controller);
        fs::create_dir(folder.join("inner")).expect("root may make cgroups");
        fs::write(folder.join("inner/cgroup.procs"), pid.to_string()).expect("it is a new one");
        fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")).expect("nobody is in it");
        let done = t.orlop(&exec(&[], &id, &["cat", "/proc/self/cgroup"])).end().ok();
        assert!(done.stdout().ends_with("/inner\n"), "{name}: {}", done.stdout());
        t.orlop(&exec(&["--cgroup", "/"], &id, &["true"])).end().exits(255).fails_with("error adding pid");
        t.delete(&id);
    }
    Ok(())
}

fn sub_cgroup(t: &Context) -> Outcome {
    let id = sleeper(t);
    let folder = t.cgroup_of(t.pid(&id), "pids").join("below");
    fs::create_dir(&folder).expect("root may make cgroups");
    let file = t.dir().join("pid");
    let path = file.to_str().expect("a plain path");
    let spelling = if t.host.layout == Layout::V2 { "below" } else { "pids:below" };
    t.orlop(&exec(&["-d", "--pid-file", path, "--cgroup", spelling], &id, SLEEP)).end().ok();
    let pid = fs::read_to_string(&file).expect("it was written");
    assert_eq!(fs::read_to_string(folder.join("cgroup.procs")).expect("it is there").trim(), pid);
    t.orlop(&exec(&["--cgroup", "/"], &id, &["true"])).end().ok();
    t.orlop(&exec(&["--cgroup", ".."], &id, &["true"])).end().exits(255).fails_with("bad sub cgroup path: ..");
    t.orlop(&exec(&["--cgroup", "none"], &id, &["true"])).end().exits(255).fails_with("no such file or directory");
    t.orlop(&exec(&["--cgroup", "odd:/"], &id, &["true"])).end().exits(255).fails_with("unknown controller odd");
    t.delete_with_executed(&id);
    Ok(())
}

fn created_container(t: &Context) -> Outcome {
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    t.orlop(&exec(&[], &id, &["print", "in"])).end().ok().prints(&["in"]);
    assert_eq!(t.state(&id)["status"], "created");
    t.delete(&id);
    Ok(())
}

fn stopped_container(t: &Context) -> Outcome {
    let id = t.stopped();
    t.orlop(&exec(&[], &id, &["true"])).end().exits(255).fails_with("cannot exec in a stopped container");
    t.delete(&id);
    Ok(())
}

fn paused_container(t: &Context) -> Outcome {
    let id = sleeper(t);
    let group = t.cgroup_of(t.pid(&id), "freezer");
    let (file, frozen, thawed) = match t.host.layout {
        Layout::V2 => ("cgroup.freeze", "1", "0"),
        _ => ("freezer.state", "FROZEN", "THAWED"),
    };
    if !group.join(file).exists() {
        t.delete(&id);
        return Err(Skip("no freezer".into()));
    }
    fs::write(group.join(file), frozen).expect("root may freeze");
    t.orlop(&exec(&[], &id, &["true"])).end().exits(255).fails_with("cannot exec in a paused container");
    let running = t.orlop(&exec(&["--ignore-paused"], &id, &["exit", "4"])).start();
    std::thread::sleep(Duration::from_millis(50));
    fs::write(group.join(file), thawed).expect("root may thaw");
    running.end().exits(4);
    t.delete(&id);
    Ok(())
}

fn preserved_descriptors(t: &Context) -> Outcome {
    let id = sleeper(t);
    let call = exec(&["--preserve-fds", "2"], &id, &["fds"]);
    let done = t.orlop(&call).through_bash("exec 3</etc/hostname 4</dev/null 5</dev/zero; exec \"$@\"").end().ok();
    assert_eq!((done.values("fd 3").len(), done.values("fd 4").len(), done.values("fd 5").len()), (1, 1, 0));
    t.orlop(&exec(&["--preserve-fds", "9"], &id, &["fds"])).end().exits(255).fails_with("is not open");
    t.delete(&id);
    Ok(())
}

fn listen_fds(t: &Context) -> Outcome {
    let id = sleeper(t);
    let call = t.orlop(&exec(&["--preserve-fds", "1"], &id, &["fds"])).env("LISTEN_FDS", "1");
    let done = call.through_bash("exec 3</etc/hostname 4</dev/null 5</dev/zero; exec \"$@\"").end().ok();
    assert_eq!((done.values("fd 3").len(), done.values("fd 4").len(), done.values("fd 5").len()), (1, 1, 0));
    t.delete(&id);
    Ok(())
}

fn standard_streams(t: &Context) -> Outcome {
    let id = sleeper(t);
    let input = t.dir().join("input");
    fs::write(&input, "typed\n").expect("the test's folder is writable");
    let call = t.orlop(&exec(&[], &id, &["line", "--", "error", "wrong"]));
    let done = call.stdin(fs::File::open(&input).expect("it was written")).end().ok();
    assert_eq!((done.stdout().as_str(), done.stderr().as_str()), ("line: typed\n", "wrong\n"));
    t.delete(&id);
    Ok(())
}

fn signals_are_forwarded(t: &Context) -> Outcome {
    let id = sleeper(t);
    let mut running = t.orlop(&exec(&[], &id, &["sigwait", "--", "exit", "6"])).start();
    t.wait_for_output_of(&mut running, "ready");
    crate::processes::kill(running.pid(), rustix::process::Signal::USR1);
    running.end().exits(6).prints(&["ready", "signal: 10"]);
    t.delete(&id);
    Ok(())
}

fn oom_score_adj_and_rlimits(t: &Context) -> Outcome {
    let limits = json!([{"type": "RLIMIT_CORE", "soft": 3, "hard": 4}]);
    let bundle = t.bundle().args(SLEEP).with("/process/oomScoreAdj", json!(321)).with("/process/rlimits", limits);
    let id = t.id("c");
    t.detach(&bundle, &id);
    let done = t.orlop(&exec(&[], &id, &["cat", "/proc/self/oom_score_adj", "--", "rlimits"])).end().ok();
    assert!(done.stdout().starts_with("321\n"));
    assert_eq!(done.value("RLIMIT_CORE"), "3 4");
    t.delete(&id);
    Ok(())
}
