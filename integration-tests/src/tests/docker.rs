//! Docker's daily work, with the binary as the daemon's default runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use crate::context::Context;
use crate::engines::cases::{self, Case, Failure, check_failures};
use crate::engines::crash::{self, Shims};
use crate::engines::docker::Docker;
use crate::engines::user;
use crate::engines::{
    self, OTHER, follows_its_terminal, image, parent_of, runtime, terminal_answers as answers, until,
};
use crate::host::Layout;
use crate::processes;
use crate::tests::{Outcome, tests};

tests! { "docker":
    ENGINES {
        foreground, failures, streams_and_terminals, background, controls, restart_policies, health, networks,
        privileged, user_namespaces,
        classic_build, buildkit, fifty_at_once, shim_killed, daemon_restarted, daemon_killed,
        time_of_hello, recipe,
    }
}

/// `docker run --rm OPTION...`
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("output", &[], "echo hello; echo more >&2", 0, &["hello"]),
    ("exit status", &[], "exit 7", 7, &[]),
    ("environment", &["--env", "WORD=one two"], "echo $WORD", 0, &["one two"]),
    ("entrypoint", &["--entrypoint", "/bin/echo"], "words", 0, &["sh -c words"]),
    ("user", &["--user", "user"], "id -u; id -g; id -G", 0, &["1000", "1000", "1000 2000"]),
    ("user by numbers", &["--user", "12:34", "--group-add", "56"], "id -u; id -G", 0, &["12", "34 56"]),
    ("working directory", &["--workdir", "/new/one"], "pwd", 0, &["/new/one"]),
    ("hostname", &["--hostname", "box", "--domainname", "example"], "hostname; cat /proc/sys/kernel/domainname", 0, &["box", "example"]),
    ("read-only", &["--read-only", "--tmpfs", "/mnt:size=64k,noexec"], "touch /x 2>&- || touch /mnt/x && grep -c '/mnt tmpfs rw,nosuid,nodev,noexec' /proc/mounts", 0, &["1"]),
    ("volume", &["--volume", "/data"], "touch /data/x && grep -c ' /data ext4 rw' /proc/mounts", 0, &["1"]),
    ("bind", &["--volume", "/etc/passwd:/mnt/one:ro"], "test -s /mnt/one && ! echo x 2>&- >/mnt/one && echo ro", 0, &["ro"]),
    ("recursive bind", &["--mount", "type=bind,source=/sys,target=/mnt,readonly"], "test -d /mnt/kernel && echo there", 0, &["there"]),
    ("shared memory", &["--shm-size", "1m"], "df -k /dev/shm | tail -n1 | awk '{print $2}'", 0, &["1024"]),
    ("device", &["--device", "/dev/fuse:/dev/other:r"], "stat -c %t:%T /dev/other; dd if=/dev/zero of=/dev/other 2>&1 | grep -c 'not permitted'", 0, &["a:e5", "1"]),
    ("device rule", &["--device-cgroup-rule", "c 10:* rwm"], "mknod /tmp/m c 10 229 && stat -c %t:%T /tmp/m", 0, &["a:e5"]),
    ("tmpfs", &["--tmpfs", "/run:size=64k,mode=1777"], "grep -c '/run tmpfs rw,nosuid,nodev,noexec.*size=64k' /proc/mounts; stat -c %a /run", 0, &["1", "1777"]),
    ("nearly all of it", ALL_BUT_ONE, "grep Seccomp: /proc/self/status; grep -c CapEff:.*ffeffffff /proc/self/status; mount -t tmpfs x /tmp && mount -o remount,rw /sys && test -w /sys/kernel && grep -c ' /proc/' /proc/mounts", 1, &["Seccomp:\t0", "1", "0"]),
    ("default capabilities", &[], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80425fb"]),
    ("no capabilities", &["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "grep CapEff /proc/self/status", 0, &["CapEff:\t0000000000001000"]),
    ("default filter", &[], "unshare true 2>&1; cat /proc/self/status | grep Seccomp:", 0, &["unshare: unshare(0x0): Operation not permitted", "Seccomp:\t2"]),
    ("no filter", &["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", 0, &["Seccomp:\t0"]),
    ("no new privileges", &["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", 0, &["NoNewPrivs:\t1"]),
    ("masked paths", &[], "wc -c </proc/timer_list; ls /proc/acpi /sys/firmware | grep -v : ; ! echo 1 2>&- >/proc/sys/kernel/panic && echo ro", 0, &["0", "", "ro"]),
    ("limits of processes", &["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c", 0, &["100", "200", "0"]),
    ("kernel parameter", &["--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=9000"], "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", 0, &["0", "9000"]),
    ("init", &["--init"], "cat /proc/1/comm; test $$ != 1; exit 3", 3, &["docker-init"]),
    ("pids of the host", &["--pid", "host"], "grep -q ^dockerd$ /proc/[0-9]*/comm 2>&- && echo seen", 0, &["seen"]),
    ("uts of the host", &["--uts", "host"], "test $(hostname) != $(head -c12 /etc/hostname) && echo other", 0, &["other"]),
    ("ipc of its own", &["--ipc", "private"], "wc -l </proc/sysvipc/msg", 0, &["1"]),
    ("cgroup namespace", &["--cgroupns", "private"], "grep -c ':/$' /proc/self/cgroup | grep -qv ^0 && echo private", 0, &["private"]),
    ("no network", &["--network", "none"], "ls /sys/class/net", 0, &["lo"]),
    ("network of the host", &["--network", "host"], "ls /sys/class/net | grep -c docker0", 0, &["1"]),
    ("bridge", &["--network", "bridge"], "ip -o -4 addr show eth0 | grep -c 172.17.; ping -c1 -w5 172.17.0.1 >/dev/null && echo pong", 0, &["1", "pong"]),
    ("score", &["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", 0, &["500"]),
    ("processors", &["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status", 0, &["Cpus_allowed_list:\t0"]),
    ("few processes", &["--pids-limit", "5"], "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done", 2, &[]),
    ("little memory", &["--memory", "16m", "--memory-swap", "16m"], "head -c 64m /dev/zero | tail; exit $?", 137, &[]),
    ("limits of the cgroup", &["--memory", "64m", "--cpu-shares", "512", "--cpu-quota", "50000", "--cpu-period", "100000"],
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us", 0, &["67108864", "512", "50000"]),
];

/// What `--privileged` is, less one capability that not every root has: without it Docker asks for all the same.
const ALL_BUT_ONE: &[&str] = &[
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
];

fn foreground(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    // A bridge takes longer than all of the rest.
    let network = |options: &[&str]| if options.contains(&"--network") { "--rm" } else { "--network=none" };
    let run = |options: &[&str], words: &[&str]| docker.run(&[&["--rm", network(options)], options].concat(), words);
    cases::check(CASES, |options, words| run(options, words).end(), || docker.engine.is_clean());
    docker.engine.end();
    Ok(())
}

fn failures(t: &Context) -> Outcome {
    #[rustfmt::skip]
    let cases: &[Failure] = &[
        (&[], &["missing"], 127, "exec: \"missing\": executable file not found in $PATH"),
        (&[], &["/missing"], 127, "exec: \"/missing\": stat /missing: no such file or directory"),
        (&[], &["/etc/plain"], 126, "exec: \"/etc/plain\": permission denied"),
        (&[], &["/etc"], 126, "exec: \"/etc\": "),
        (&["--volume", "/etc:/etc/passwd"], &["true"], 125, "Are you trying to mount a directory onto a file (or vice-versa)?"),
        (&["--sysctl", "kernel.no-such=1"], &["true"], 125, "not whitelisted"),
        (&["--no-such-option"], &["true"], 125, "unknown flag"),
        (&["--workdir", "/etc/passwd"], &["true"], 125, "not a directory"),
    ];
    let docker = Docker::start(t)?;
    let run = |options: &[&str], words: &[&str]| docker.run(&[&["--rm"], options].concat(), words).end();
    check_failures(cases, run, || docker.engine.is_clean());
    docker.engine.end();
    Ok(())
}

fn streams_and_terminals(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    let input = t.dir().join("input");
    fs::write(&input, "one\ntwo\n").expect("the test's folder is writable");
    let open = || fs::File::open(&input).expect("it was just written");
    docker.run(&["--rm", "--interactive"], &["cat"]).stdin(open()).end().ok().prints(&["one", "two"]);
    let big = docker.run(&["--rm"], &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"]).end().ok();
    assert_eq!(big.stdout().len(), 3_000_000);

    let (running, terminal) = docker.run(&["--rm", "-it"], &["sh"]).start_in_terminal();
    follows_its_terminal(running, terminal);
    docker.engine.is_clean();

    docker.detach(&["-t"], "box", &["sleep", "1000"]);
    let (running, mut terminal) = docker.call(&["exec", "-it", "box", "sh"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/1");
    answers(&mut terminal, "stty size", "30 90");
    terminal.types("exit 5\n");
    running.end().exits(5);
    docker.call(&["exec", "-i", "box", "cat"]).stdin(open()).end().ok().prints(&["one", "two"]);
    docker.remove("box");

    docker.detach(&["-it"], "box", &["sh"]);
    let (running, mut terminal) = docker.call(&["attach", "box"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.types("exit 6\n");
    running.end().exits(6);
    docker.remove("box");
    docker.engine.end();
    Ok(())
}

fn background(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    let trap = "trap 'echo term; exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.02; done";
    docker.detach(&["--env", "A=of the container", "--hostname", "box"], "box", &["sh", "-c", trap]);
    until("it has said so", || docker.call(&["logs", "box"]).end().ok().stdout() == "out\n");
    assert_eq!(docker.call(&["logs", "box"]).end().ok().stderr(), "err\n");

    let sh = |options: &[&str], script: &str| docker.exec(options, "box", &["sh", "-c", script]);
    sh(&[], "echo $A; hostname").ok().prints(&["of the container", "box"]);
    sh(&["--env", "A=another", "--workdir", "/etc"], "echo $A; pwd").ok().prints(&["another", "/etc"]);
    sh(&["--user", "user"], "id -u; id -G").ok().prints(&["1000", "1000 2000"]);
    sh(&["--user", "12:34"], "id -u; id -g").ok().prints(&["12", "34"]);
    sh(&[], "exit 9").exits(9);
    sh(&[], "kill -TERM $$").exits(143);
    sh(&[], "cat /proc/self/status | grep Seccomp:").ok().prints(&["Seccomp:\t2"]);
    docker.exec(&[], "box", &["missing"]).exits(126);
    docker.exec(&[], "box", &["/etc/plain"]).exits(126);
    sh(&["--detach"], "echo done >/tmp/detached; sleep 1000").ok();
    until("the detached one is done", || sh(&[], "cat /tmp/detached 2>&-").stdout() == "done\n");
    let several: Vec<_> =
        (0..8).map(|i| docker.call(&["exec", "box", "sh", "-c", &format!("sleep 0.1; exit {i}")]).start()).collect();
    for (i, running) in several.into_iter().enumerate() {
        running.end().exits(i as i32);
    }

    let top = docker.call(&["top", "box"]).end().ok().stdout();
    assert!(top.contains("trap") && top.contains("sleep 1000"), "{top}");
    let stats =
        docker.call(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "box"]).end().ok();
    let stats = stats.stdout();
    assert!(stats.starts_with("box ") && !stats.contains(" 0 ") && !stats.contains("0B /"), "{stats}");

    let file = t.dir().join("copied");
    let path = file.to_str().expect("plain");
    docker.call(&["cp", "box:/etc/plain", path]).end().ok();
    docker.call(&["cp", path, "box:/tmp/back"]).end().ok();
    sh(&[], "cat /tmp/back").ok().prints(&["not a program"]);
    let changed = docker.call(&["diff", "box"]).end().ok().stdout();
    assert!(changed.contains("A /tmp/back"), "{changed}");
    docker.call(&["commit", "box", "localhost/changed"]).end().ok();

    docker.call(&["stop", "box"]).end().ok();
    assert_eq!(docker.inspect("box", ".State.ExitCode"), "3");
    assert!(docker.call(&["logs", "box"]).end().ok().stdout().ends_with("term\n"));
    docker.exec(&[], "box", &["true"]).exits(1);
    docker.call(&["start", "box"]).end().ok();
    let first = docker.inspect("box", ".State.Pid");
    docker.call(&["restart", "box"]).end().ok();
    assert_ne!(docker.inspect("box", ".State.Pid"), first);
    sh(&[], "test -e /tmp/back").ok();
    docker.remove("box");
    docker.call(&["run", "--rm", "localhost/changed", "cat", "/tmp/back"]).end().ok().prints(&["not a program"]);
    docker.engine.end();
    Ok(())
}

fn controls(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    docker.detach(
        &["--memory", "64m", "--memory-swap", "64m"],
        "box",
        &["sh", "-c", "trap 'exit 9' HUP; while :; do sleep 0.02; done"],
    );
    docker.call(&["pause", "box"]).end().ok();
    assert_eq!(docker.inspect("box", ".State.Status"), "paused");
    docker.exec(&[], "box", &["true"]).exits(1);
    docker.call(&["unpause", "box"]).end().ok();
    docker.exec(&[], "box", &["true"]).ok();

    let pid = docker.inspect("box", ".State.Pid").parse().expect("a pid");
    let of = |controller, v1: &str, v2: &str| {
        let name = if t.host.layout == Layout::V1 { v1 } else { v2 };
        let text = fs::read_to_string(t.cgroup_of(pid, controller).join(name)).expect("the controller is there");
        text.split_whitespace().next().expect("it has a value").to_owned()
    };
    let update = |options: &[&str]| docker.call(&[&["update"], options, &["box"]].concat()).end();
    update(&["--memory", "128m", "--memory-swap", "128m", "--cpu-quota", "30000", "--cpu-period", "100000"]).ok();
    assert_eq!(of("memory", "memory.limit_in_bytes", "memory.max"), "134217728");
    assert_eq!(of("cpu", "cpu.cfs_quota_us", "cpu.max"), "30000");
    update(&["--memory", "32m", "--memory-swap", "32m"]).ok();
    assert_eq!(of("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    assert_eq!(of("cpu", "cpu.cfs_quota_us", "cpu.max"), "30000", "what is not named stays");
    update(&["--pids-limit", "77"]).ok();
    assert_eq!(of("pids", "pids.max", "pids.max"), "77");
    docker.exec(&[], "box", &["sh", "-c", "echo x >/dev/null"]).ok();

    docker.call(&["kill", "--signal", "HUP", "box"]).end().ok();
    docker.call(&["wait", "box"]).end().ok().prints(&["9"]);
    docker.call(&["kill", "box"]).end().exits(1);
    docker.remove("box");

    // Stopped though it does not listen, while it is paused, and with the host's pids.
    docker.detach(&[], "deaf", &["sh", "-c", "trap '' TERM; while :; do sleep 0.02; done"]);
    docker.call(&["stop", "--time", "1", "deaf"]).end().ok();
    assert_eq!(docker.inspect("deaf", ".State.ExitCode"), "137");
    docker.remove("deaf");
    docker.detach(&[], "paused", &["sleep", "1000"]);
    docker.call(&["pause", "paused"]).end().ok();
    docker.remove("paused");
    docker.detach(&["--pid", "host"], "host", &["sh", "-c", "sleep 1000 & exec sleep 1000"]);
    docker.remove("host");
    docker.detach(&["--ipc", "shareable"], "one", &["sleep", "1000"]);
    docker
        .run(&["--rm", "--pid", "container:one", "--ipc", "container:one"], &["cat", "/proc/1/comm"])
        .end()
        .ok()
        .prints(&["sleep"]);
    docker.remove("one");
    docker.engine.end();
    Ok(())
}

fn restart_policies(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    docker.detach(&["--restart", "on-failure:2"], "box", &["sh", "-c", "echo run; exit 3"]);
    until("it was tried three times", || docker.call(&["logs", "box"]).end().stdout() == "run\nrun\nrun\n");
    until("that is all", || docker.inspect("box", ".State.Status") == "exited");
    assert_eq!(docker.inspect("box", ".RestartCount"), "2");
    docker.detach(&["--restart", "always"], "always", &["sleep", "1000"]);
    let pid = docker.inspect("always", ".State.Pid").parse().expect("a pid");
    processes::kill(pid, Signal::KILL);
    until("it was started again", || docker.inspect("always", ".RestartCount") == "1");
    until("it runs", || docker.inspect("always", ".State.Status") == "running");
    docker.remove("always");
    docker.remove("box");
    docker.engine.end();
    Ok(())
}

fn health(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    let options = ["--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "2"];
    docker.detach(&options, "box", &["sleep", "1000"]);
    until("it is ill", || docker.inspect("box", ".State.Health.Status") == "unhealthy");
    docker.exec(&[], "box", &["touch", "/tmp/well"]).ok();
    until("it is well", || docker.inspect("box", ".State.Health.Status") == "healthy");
    docker.remove("box");
    docker.engine.end();
    Ok(())
}

fn networks(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    docker.call(&["network", "create", "--subnet", "172.30.0.0/24", "private"]).end().ok();
    let serve = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    docker.detach(&["--network", "private", "--publish", "127.0.0.1:8080:80"], "server", &["sh", "-c", serve]);
    let get = |options: &[&str], url: &str| docker.run(&[&["--rm"], options].concat(), &["wget", "-qO-", url]).end();
    // A static program of the C library looks no names up; this applet does it itself.
    let found =
        docker.run(&["--rm", "--network", "private"], &["nslookup", "server", "127.0.0.11"]).end().ok().stdout();
    assert!(found.contains("172.30.0.2"), "{found}");
    until("it answers", || get(&["--network", "private"], "http://172.30.0.2/").stdout() == "hello\n");
    get(&["--network", "container:server"], "http://127.0.0.1/").ok().prints(&["hello"]);
    get(&["--network", "host"], "http://127.0.0.1:8080/").ok().prints(&["hello"]);
    docker.call(&["network", "connect", "bridge", "server"]).end().ok();
    docker.exec(&[], "server", &["ls", "/sys/class/net"]).ok().prints(&["eth0", "eth1", "lo"]);
    docker.remove("server");
    docker.call(&["network", "rm", "private"]).end().ok();
    docker.engine.end();
    Ok(())
}

/// Docker gives all capabilities that the kernel knows; a root who lacks one is told so.
fn privileged(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    docker.detach(&["--network", "none"], "box", &["sleep", "1000"]);
    let script = "grep -c CapEff:.*1ff /proc/self/status; test -c /dev/fuse && mount -t tmpfs x /tmp && echo mounted";
    let run = docker.run(&["--rm", "--privileged", "--network", "none"], &["sh", "-c", script]).end();
    let exec = docker.exec(&["--privileged"], "box", &["sh", "-c", "grep -c CapEff:.*1ff /proc/self/status"]);
    if t.host.may_raise_limits() {
        run.ok().prints(&["1", "mounted"]);
        exec.ok().prints(&["1"]);
    } else {
        let told = |text: &str| text.contains("unable to apply caps") && text.contains("operation not permitted");
        assert!(run.code() == 125 && told(&run.stderr()), "{}", run.stderr());
        assert!(exec.code() == 126 && told(&exec.stdout()), "{}", exec.stdout());
    }
    docker.remove("box");
    docker.engine.end();
    Ok(())
}

/// A daemon whose containers' ids are a user's subordinate ones; one container has the host's.
fn user_namespaces(t: &Context) -> Outcome {
    t.needs_root()?;
    user::become_known(t, true);
    let docker = Docker::with(t, &json!({ "userns-remap": user::NAME }))?;
    let maps = format!("0 {} 65536", user::FIRST);
    let script = "id -u; awk '{print $1, $2, $3}' /proc/self/uid_map; touch /x && stat -c %u:%g /x /etc/passwd";
    let run = |options: &[&str], script: &str| docker.run(&[&["--rm"], options].concat(), &["sh", "-c", script]).end();
    run(&[], script).ok().prints(&["0", &maps, "0:0", "0:0"]);
    run(&["--volume", "/data"], "touch /data/x && stat -c %u /data/x").ok().prints(&["0"]);
    run(&["--tmpfs", "/run", "--sysctl", "kernel.msgmax=9000"], "cat /proc/sys/kernel/msgmax").ok().prints(&["9000"]);
    run(&["--read-only", "--user", "12:34", "--init"], "id -u; id -g").ok().prints(&["12", "34"]);
    run(&["--device", "/dev/fuse"], "stat -c %t:%T /dev/fuse").ok().prints(&["a:e5"]);
    run(&["--userns", "host"], "awk '{print $2}' /proc/self/uid_map").ok().prints(&["0"]);
    docker.engine.is_clean();
    docker.detach(&["--network", "none"], "box", &["sleep", "1000"]);
    docker.exec(&[], "box", &["sh", "-c", "id -u; cut -c1-64 /proc/self/setgroups"]).ok().prints(&["0", "allow"]);
    docker.exec(&["--user", "user"], "box", &["id", "-u"]).ok().prints(&["1000"]);
    let pid = docker.inspect("box", ".State.Pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    assert!(status.contains(&format!("Uid:\t{}\t", user::FIRST)), "{status}");
    docker.call(&["pause", "box"]).end().ok();
    docker.call(&["unpause", "box"]).end().ok();
    docker.remove("box");
    user::forget();
    docker.engine.end();
    Ok(())
}

fn builds(docker: &Docker, kit: &str) {
    let folder = docker.engine.folder("context");
    let text = format!(
        "FROM {}\nENV A=one\nRUN echo $A >/made && test $(id -u) = 0\nUSER user\nRUN id -u >/tmp/user\nCMD cat /made /tmp/user\n",
        image::NAME
    );
    fs::write(folder.join("Dockerfile"), text).expect("the test's folder is writable");
    let path = folder.to_str().expect("plain");
    let build = |words: &[&str]| {
        docker.call(&[&["build", "--network", "none"], words, &[path]].concat()).env("DOCKER_BUILDKIT", kit)
    };
    build(&["--tag", "localhost/built"]).end().ok();
    docker.engine.is_clean();
    docker.call(&["run", "--rm", "localhost/built"]).end().ok().prints(&["one", "1000"]);
    fs::write(folder.join("Dockerfile"), format!("FROM {}\nRUN exit 7\n", image::NAME)).expect("it is ours");
    let failed = build(&[]).end();
    let text = failed.stderr();
    assert!(
        failed.code() > 0 && (text.contains("returned a non-zero code: 7") || text.contains("exit code: 7")),
        "{text}"
    );
}

fn classic_build(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    builds(&docker, "0");
    // The classic builder keeps the container of the step that failed.
    docker.call(&["container", "prune", "--force"]).end().ok();
    docker.engine.end();
    Ok(())
}

/// Its calls have no `--root`: the runtime's own default.
fn buildkit(t: &Context) -> Outcome {
    let mut docker = Docker::start(t)?;
    docker.engine.watch("/run/orlop");
    docker.engine.watch("/run/runc");
    builds(&docker, "1");
    docker.engine.end();
    Ok(())
}

fn fifty_at_once(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    let names: Vec<String> = (0..50).map(|i| format!("c{i}")).collect();
    let options = ["run", "--detach", "--network", "none", "--name"];
    let calls =
        names.iter().map(|name| docker.call(&[&options[..], &[name, image::NAME, "sleep", "1000"]].concat()).start());
    for running in calls.collect::<Vec<_>>() {
        running.end().ok();
    }
    assert_eq!(docker.call(&["ps", "--quiet"]).end().ok().stdout().lines().count(), 50);
    for name in &names[..3] {
        docker.exec(&[], name, &["echo", name]).ok().prints(&[name]);
    }
    let all: Vec<&str> = ["rm", "--force"].into_iter().chain(names.iter().map(String::as_str)).collect();
    docker.call(&all).end().ok();
    docker.engine.end();
    Ok(())
}

fn shim_killed(t: &Context) -> Outcome {
    let docker = Docker::start(t)?;
    crash::shim_killed(&docker);
    // What Docker still knows of such a container is enough to start it.
    docker.detach(&[], "box", crash::TWO);
    let pid = docker.pid("box");
    processes::kill(parent_of(pid), Signal::KILL);
    until("Docker knows", || !docker.runs("box"));
    docker.call(&["start", "box"]).end().ok();
    docker.remove("box");
    docker.engine.end();
    Ok(())
}

/// With and without containers that live on.
fn daemon_restarted(t: &Context) -> Outcome {
    let mut docker = Docker::with(t, &json!({ "live-restore": true }))?;
    docker.detach(&[], "box", &["sleep", "1000"]);
    docker.detach(&[], "short", &["sleep", "0.2"]);
    let pid = docker.inspect("box", ".State.Pid");
    docker.stop(Signal::TERM);
    docker.launch()?;
    assert_eq!(docker.inspect("box", ".State.Pid"), pid);
    docker.exec(&[], "box", &["echo", "hello"]).ok().prints(&["hello"]);
    until("its end was seen", || docker.inspect("short", ".State.Status") == "exited");
    docker.call(&["stop", "--time", "0", "box"]).end().ok();
    docker.remove("box");
    docker.remove("short");
    docker.engine.end();
    Ok(())
}

fn daemon_killed(t: &Context) -> Outcome {
    let mut docker = Docker::start(t)?;
    crash::all_killed(&mut docker)?;
    docker.engine.end();
    Ok(())
}

/// How long `docker run --rm` takes from beginning to end, beside runc, and how much of that are the runtime's calls:
/// these in the host's network, as Docker's own hook for another one takes longer than they do.
fn time_of_hello(t: &Context) -> Outcome {
    const VERBS: [&str; 3] = ["create", "start", "delete"];
    // In CI fewer: there it is one test of many, and says that it works.
    let rounds = if std::env::var_os("CI").is_some() { 9 } else { 31 };
    let log = |name: &str| t.dir().join(format!("{name}.times"));
    // The same runtime, with a note of how long each of its calls took.
    let timed = |name: &str, path: &Path| {
        let script = t.dir().join(format!("timed-{name}"));
        let text = format!(
            "#!/bin/bash\nbegan=${{EPOCHREALTIME/./}}\n{path:?} \"$@\"\nstatus=$?\n\
             echo $((${{EPOCHREALTIME/./}} - began)) \"$@\" >>{:?}\nexit $status\n",
            log(name)
        );
        fs::write(&script, text).expect("the test's folder is writable");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        json!({ "path": script })
    };
    let (ours, other) = (runtime(t), Path::new(OTHER));
    let runtimes = json!({
        "orlop": { "path": ours }, "other": { "path": other },
        "timed-orlop": timed("orlop", &ours), "timed-other": timed("other", other),
    });
    let docker = Docker::with(t, &json!({ "runtimes": runtimes }))?;
    let hello = |runtime: &str, network: &str| {
        let began = Instant::now();
        let options = ["--rm", "--network", network, "--runtime", runtime];
        docker.run(&options, &["echo", "hello"]).end().ok().prints(&["hello"]);
        began.elapsed().as_secs_f64() * 1e3
    };
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().expect("it was measured")
    };
    let names = [("orlop", "the runtime under test"), ("other", "runc")];
    let mut times = names.map(|_| Vec::new());
    for round in 0..rounds {
        // Each comes first as often as second.
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            times[at].push(hello(names[at].0, "none"));
            hello(&format!("timed-{}", names[at].0), "host");
        }
    }
    let differences: Vec<f64> = times[0].iter().zip(&times[1]).map(|(ours, other)| ours - other).collect();
    let shorter = differences.iter().filter(|difference| **difference < 0.0).count();
    println!(
        "# {rounds} rounds, one after the other: shorter in {shorter}, by {:.0} ms in the middle",
        -median(differences)
    );
    for ((name, shown), times) in names.into_iter().zip(times) {
        let calls = fs::read_to_string(log(name)).expect("calls were noted");
        let of = |verb: &str| {
            let calls = calls.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let time = |words: Vec<&str>| words.contains(&verb).then(|| words[0].parse::<f64>().expect("microseconds"));
            median(calls.filter_map(time).collect()) / 1e3
        };
        let share: f64 = VERBS.iter().map(|verb| of(verb)).sum();
        println!("# {shown}: median {:.0} ms; the runtime's calls take {share:.1} ms", median(times));
    }
    docker.engine.end();
    Ok(())
}

/// README's words, where README says that they go.
fn recipe(t: &Context) -> Outcome {
    t.needs_root()?;
    engines::install(t);
    let file = Path::new("/etc/docker/daemon.json");
    fs::create_dir_all("/etc/docker").expect("this /etc is the test's own");
    fs::write(file, engines::recipe("docker")).expect("this /etc is the test's own");
    let docker = Docker::configured(t, file)?;
    docker.call(&["info", "--format", "{{.DefaultRuntime}}"]).end().ok().prints(&["orlop"]);
    docker.run(&["--rm"], &["echo", "hello"]).end().ok().prints(&["hello"]);
    docker.run(&["--rm", "--runtime", "orlop"], &["echo", "hello"]).end().ok().prints(&["hello"]);
    docker.detach(&[], "box", &["sleep", "1000"]);
    assert_eq!(docker.inspect("box", ".HostConfig.Runtime"), "orlop");
    docker.remove("box");
    docker.engine.end();
    Ok(())
}
