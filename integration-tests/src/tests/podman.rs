//! Podman's and Buildah's daily work, of root and of an ordinary user.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::command::Done;
use crate::context::Context;
use crate::engines::cases::{self, Case, Failure, check_failures, heard};
use crate::engines::podman::Podman;
use crate::engines::terminal_answers as answers;
use crate::engines::user::USER;
use crate::engines::{follows_its_terminal, image, is_orlop, runtime, tool, until};
use crate::host::Layout;
use crate::processes;
use crate::tests::builds::build;
use crate::tests::{Outcome, tests};

tests! { "podman":
    ENGINES {
        foreground, failures, background, executes, terminals, limits, namespaces, networks, user_namespaces,
        restart_policies, service,
        healthcheck, fifty_at_once, monitor_killed, runtime_named_by_path, rootless, rootless_life,
        rootless_without_subordinate_ids,
    }
}

/// `podman run --rm OPTION...`
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("output", &[], "echo hello; echo more >&2", 0, &["hello"]),
    ("exit status", &[], "exit 7", 7, &[]),
    ("death by a signal", &[], "sh -c 'kill -9 $$'; exit $?", 137, &[]),
    ("environment", &["--env", "WORD=one two"], "echo $WORD $container", 0, &["one two podman"]),
    ("working directory", &["--workdir", "/etc"], "pwd", 0, &["/etc"]),
    ("user", &["--user", "12:34"], "id -u; id -g", 0, &["12", "34"]),
    ("user by name", &["--user", "user"], "id -u; id -G", 0, &["1000", "1000 2000"]),
    ("groups", &["--group-add", "55"], "id -G", 0, &["0 55"]),
    ("hostname", &["--hostname", "named"], "hostname; cat /etc/hostname", 0, &["named", "named"]),
    ("pids of its own", &[], "echo $$", 0, &["1"]),
    ("init", &["--init"], "test $$ != 1 && readlink /proc/1/exe", 0, &["/run/podman-init"]),
    ("read-only", &["--read-only"], "touch /etc/x || touch /tmp/x && echo tmp", 0, &["tmp"]),
    ("tmpfs", &["--tmpfs", "/mnt:size=64k,mode=1777"], "grep -c '/mnt tmpfs .*size=64k' /proc/mounts; stat -c %a /mnt", 0, &["1", "1777"]),
    ("volume", &["--volume", "/etc:/mnt"], "test -e /mnt/passwd && echo there", 0, &["there"]),
    ("read-only volume", &["--volume", "/etc:/mnt:ro"], "touch /mnt/x", 1, &[]),
    ("slave volume", &["--volume", "/etc:/mnt:rslave"], "test -e /mnt/passwd && echo there", 0, &["there"]),
    ("device", &["--device", "/dev/fuse"], "test -c /dev/fuse && echo there", 0, &["there"]),
    ("device by another name", &["--device", "/dev/null:/dev/none"], "echo x >/dev/none; stat -c %t:%T /dev/none", 0, &["1:3"]),
    ("no device", &[], "test -e /dev/fuse; echo $?; head -c1 /dev/zero | wc -c", 0, &["1", "1"]),
    ("device rule", &["--device-cgroup-rule", "c 10:* rwm", "--cap-add", "mknod"], "mknod /tmp/m c 10 229 && echo made", 0, &["made"]),
    ("default capabilities", &[], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80425fb"]),
    ("one less", &["--cap-drop", "CHOWN"], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80425fa"]),
    ("one more", &["--cap-add", "SYS_PTRACE"], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80c25fb"]),
    ("none", &["--cap-drop", "ALL"], "grep CapEff /proc/self/status", 0, &["CapEff:\t0000000000000000"]),
    ("ambient ones of a user", &["--user", "1000", "--cap-add", "NET_RAW"], "grep CapAmb /proc/self/status", 0, &["CapAmb:\t0000000000002000"]),
    ("all of it", &["--privileged"], "grep Seccomp: /proc/self/status; grep -c CapEff:.*1ff /proc/self/status; test -c /dev/fuse && mount -t tmpfs x /tmp && test -w /sys/kernel && grep -c ' /proc/' /proc/mounts", 1, &["Seccomp:\t0", "1", "0"]),
    ("filter", &[], "grep Seccomp: /proc/self/status", 0, &["Seccomp:\t2"]),
    ("no filter", &["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", 0, &["Seccomp:\t0"]),
    ("no new privileges", &["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", 0, &["NoNewPrivs:\t1"]),
    ("masked", &["--security-opt", "mask=/etc/plain"], "cat /etc/plain; wc -c <\"/proc/keys\"", 0, &["0"]),
    ("unmasked", &["--security-opt", "unmask=ALL"], "grep -c ' /proc/' /proc/mounts", 1, &["0"]),
    ("ulimits", &["--ulimit", "nofile=100:200", "--ulimit", "core=0:0", "--ulimit", "nproc=4096:8192"], "ulimit -n; ulimit -Hn; ulimit -c", 0, &["100", "200", "0"]),
    ("sysctl", &["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", 0, &["1"]),
    ("umask", &["--umask", "0077"], "umask", 0, &["0077"]),
    ("shm", &["--shm-size", "1m"], "grep -c ' /dev/shm .*size=1024k' /proc/mounts", 0, &["1"]),
    ("personality", &["--personality", "LINUX32"], "uname -m", 0, &["i686"]),
    ("oom score", &["--oom-score-adj", "100"], "cat /proc/self/oom_score_adj", 0, &["100"]),
    ("hosts", &["--network", "private", "--add-host", "other:1.2.3.4"], "grep -c 1.2.3.4 /etc/hosts", 0, &["1"]),
    ("timezone", &["--tz", "UTC"], "echo ok", 0, &["ok"]),
];

fn foreground(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    cases::check(CASES, |options, words| podman.outcome(options, words), || ());
    println!("standard input:");
    let input = t.dir().join("input");
    fs::write(&input, "typed\n").expect("writable");
    let file = fs::File::open(&input).expect("it is there");
    podman.run(&["--interactive"], "cat").stdin(file).end().ok().prints(&["typed"]);
    println!("volumes, secrets, a root file system:");
    podman.run(&["--volume", "named:/mnt"], "echo kept >/mnt/x").end().ok();
    podman.prints(&["--volume", "named:/mnt"], "cat /mnt/x", &["kept"]);
    podman.podman(&["volume", "rm", "named"]).end().ok();
    podman.podman(&["secret", "create", "word", input.to_str().expect("plain")]).end().ok();
    podman.prints(&["--secret", "word"], "cat /run/secrets/word", &["typed"]);
    let root = t.dir().join("rootfs");
    let parent = format!("--cgroup-parent=/{}", t.tag());
    let root =
        ["run", "--rm", &parent, "--network", "none", "--rootfs", root.to_str().expect("plain"), "echo", "rootfs"];
    heard(|| podman.podman(&root).end()).ok().prints(&["rootfs"]);
    println!("preserved descriptors:");
    let call = || podman.run(&["--preserve-fds", "1"], "cat <&3");
    let script = format!("exec 3<{}; exec \"$@\"", input.display());
    heard(|| call().through_bash(&script).end()).ok().prints(&["typed"]);
    podman.end();
    Ok(())
}

/// Podman's exit status and words come from the runtime's.
fn failures(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    #[rustfmt::skip]
    let cases: &[Failure] = &[
        (&[], &["missing"], 127, "executable file not found in $PATH"),
        (&[], &["/missing"], 127, "stat /missing: no such file or directory"),
        (&[], &["/etc/plain"], 126, "exec: \"/etc/plain\": permission denied"),
        (&[], &["/etc"], 126, "permission denied"),
        (&["--volume", "/etc/passwd:/etc"], &["true"], 126, "not a directory"),
        (&["--volume", "/missing:/x"], &["true"], 125, "no such file or directory"),
        (&["--ulimit", "nofile=20:10"], &["true"], 125, "nofile"),
    ];
    check_failures(cases, |options, words| podman.outcome(options, words), || podman.is_clean());
    podman.end();
    Ok(())
}

pub const LOOP: &[&str] = &["sh", "-c", "trap 'echo stopped; exit 3' TERM; echo started; while :; do sleep 0.1; done"];

fn background(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let c = |args: &[&str]| podman.podman(&[args, &["c"]].concat()).end();
    podman.detach(&[], "c", LOOP);
    until("it has started", || c(&["logs"]).stdout() == "started\n");
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "running");
    assert!(c(&["top"]).ok().stdout().contains("trap"));
    assert!(podman.podman(&["top", "c", "pid", "user", "args"]).end().ok().stdout().contains("root"));
    podman.podman(&["ps", "--format", "{{.Names}}"]).end().ok().prints(&["c"]);
    if t.host.layout == Layout::V1 {
        let stats = podman.podman(&["stats", "--no-stream", "--format", "{{.Name}}", "c"]).end().ok();
        stats.prints(&["c"]);
    }
    let file = t.dir().join("copied");
    fs::write(&file, "copied\n").expect("writable");
    podman.podman(&["cp", file.to_str().expect("plain"), "c:/tmp/copied"]).end().ok();
    podman.podman(&["exec", "c", "cat", "/tmp/copied"]).end().ok().prints(&["copied"]);
    podman.podman(&["cp", "c:/etc/plain", t.dir().join("back").to_str().expect("plain")]).end().ok();
    assert_eq!(fs::read_to_string(t.dir().join("back")).expect("it was copied"), "not a program\n");

    c(&["pause"]).ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "paused");
    assert!(podman.podman(&["exec", "c", "true"]).end().code() > 0);
    c(&["unpause"]).ok();
    podman.podman(&["kill", "--signal", "URG", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "running");
    podman.podman(&["restart", "--time", "10", "c"]).end().ok();
    until("it has started again", || c(&["logs"]).stdout() == "started\nstopped\nstarted\n");
    podman.podman(&["stop", "--time", "10", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    assert!(podman.podman(&["exec", "c", "true"]).end().code() > 0);
    c(&["start"]).ok();
    c(&["kill"]).ok();
    c(&["wait"]).ok().prints(&["137"]);
    c(&["rm"]).ok();

    // One that does not heed, one that is paused, one that runs.
    podman.detach(&[], "deaf", &["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]);
    podman.podman(&["stop", "--time", "1", "deaf"]).end().ok();
    podman.podman(&["rm", "deaf"]).end().ok();
    for pause in [true, false] {
        podman.detach(&[], "c", &["sleep", "1000"]);
        if pause {
            c(&["pause"]).ok();
        }
        podman.remove("c");
    }
    // Created first; initialised; attached to.
    podman.container("create", &["--name", "c"], &["echo", "made"]).end().ok();
    c(&["init"]).ok();
    podman.podman(&["start", "--attach", "c"]).end().ok().prints(&["made"]);
    c(&["rm"]).ok();
    podman.end();
    Ok(())
}

/// `podman exec OPTION... c sh -c SCRIPT`
#[track_caller]
pub fn exec(podman: &Podman, options: &[&str], script: &str) -> Done {
    podman.podman(&[&["exec"], options, &["c", "sh", "-c", script]].concat()).end()
}

/// In a running container `c`: alone, in a terminal, and so many at once.
#[track_caller]
pub fn exec_in_all_forms(podman: &Podman, times: usize) {
    let exec = |options: &[&str], script: &str| exec(podman, options, script);
    exec(&[], "exit 9").exits(9);
    exec(&[], "kill -TERM $$").exits(143);
    exec(&["--workdir", "/etc", "--env", "A=B"], "pwd; echo $A").ok().prints(&["/etc", "B"]);
    exec(&["--user", "user"], "id -u; id -G").ok().prints(&["1000", "1000 2000"]);
    exec(&["--privileged"], "grep -c CapEff:.*1ff /proc/self/status").ok().prints(&["1"]);
    exec(&["--detach"], "echo done >/tmp/detached").ok();
    until("the detached one is done", || exec(&[], "cat /tmp/detached 2>&-").stdout() == "done\n");
    let (running, mut terminal) = podman.podman(&["exec", "-it", "c", "sh"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.resize(20, 50);
    answers(&mut terminal, "stty size", "20 50");
    terminal.types("exit 5\n");
    running.end().exits(5);
    let many: Vec<_> = (0..times).map(|n| podman.podman(&["exec", "c", "echo", &n.to_string()]).start()).collect();
    for (n, running) in many.into_iter().enumerate() {
        running.end().ok().prints(&[&n.to_string()]);
    }
}

fn executes(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    podman.detach(&["--env", "A=of the container"], "c", &["sleep", "1000"]);
    exec(&podman, &[], "echo $A; cat /proc/1/comm").ok().prints(&["of the container", "sleep"]);
    exec_in_all_forms(&podman, 8);
    let file = t.dir().join("file");
    fs::write(&file, "typed\n").expect("writable");
    let call = podman.podman(&["exec", "--interactive", "c", "cat"]);
    call.stdin(fs::File::open(&file).expect("it is there")).end().ok().prints(&["typed"]);
    let call = podman.podman(&["exec", "--preserve-fds", "1", "c", "sh", "-c", "cat <&3"]);
    call.through_bash(&format!("exec 3<{}; exec \"$@\"", file.display())).end().ok().prints(&["typed"]);
    for (words, code, text) in [
        (&["missing"][..], 127, "executable file not found in $PATH"),
        (&["/etc/plain"], 126, "permission denied"),
        (&["/etc"], 126, "permission denied"),
    ] {
        let done = podman.podman(&[&["exec", "c"], words].concat()).end().exits(code);
        assert!(done.stderr().contains(text), "{}", done.stderr());
    }
    let done = podman.podman(&["exec", "--workdir", "/missing", "c", "pwd"]).end().exits(127);
    assert!(done.stderr().contains("no such file or directory"), "{}", done.stderr());
    podman.remove("c");
    podman.end();
    Ok(())
}

fn terminals(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let (running, terminal) = podman.container("run", &["--rm", "-it"], &["sh"]).start_in_terminal();
    follows_its_terminal(running, terminal);
    // In the background with a terminal, and attached to later.
    podman.detach(&["-it"], "c", &["sh"]);
    let (running, mut terminal) = podman.podman(&["attach", "c"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.types("exit 6\n");
    running.end();
    podman.podman(&["wait", "c"]).end().ok().prints(&["6"]);
    podman.remove("c");
    podman.end();
    Ok(())
}

/// The cgroup's files as the container sees them.
fn limits(t: &Context) -> Outcome {
    t.needs_controller("memory")?;
    let podman = Podman::of_root(t)?;
    let all = ["--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0"];
    let (files, lines) = match t.host.layout {
        Layout::V1 => (
            "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpuset/cpuset.cpus",
            ["67108864", "50000", "50", "0"],
        ),
        _ => ("memory.max cpu.max pids.max cpuset.cpus", ["67108864", "50000 100000", "50", "0"]),
    };
    podman.prints(&all, &format!("cd /sys/fs/cgroup; cat {files}"), &lines);
    let done = podman.run(&["--memory", "16m"], "tail /dev/zero; echo $?").end();
    assert!(done.code() == 137 || done.stdout() == "137\n", "{}", done.stdout());
    podman.detach(&["--memory", "64m", "--memory-swap", "64m"], "c", &["sleep", "1000"]);
    podman.podman(&["update", "--memory", "100m", "--memory-swap", "200m", "--cpus", "0.7", "c"]).end().ok();
    let (files, lines) = match t.host.layout {
        Layout::V1 => ("memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us", ["104857600", "70000"]),
        _ => ("memory.max cpu.max", ["104857600", "70000 100000"]),
    };
    let script = format!("cd /sys/fs/cgroup; cat {files}");
    podman.podman(&["exec", "c", "sh", "-c", &script]).end().ok().prints(&lines);
    if t.host.layout == Layout::V1 {
        let done = podman.podman(&["update", "--memory", "1k", "c"]).end();
        assert!(done.code() > 0 && done.stderr().contains("unable to set memory limit to 1024"), "{}", done.stderr());
    }
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "running");
    podman.remove("c");
    podman.end();
    Ok(())
}

fn namespaces(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("/proc is mounted");
    for (option, name) in
        [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--network", "net"), ("--cgroupns", "cgroup")]
    {
        let script = format!("readlink /proc/self/ns/{name}");
        let line = own(name).to_string_lossy().into_owned();
        podman.prints(&[option, "host"], &script, &[&line]);
    }
    assert_ne!(
        heard(|| podman.outcome(&["--cgroupns", "private"], &["readlink", "/proc/self/ns/cgroup"]))
            .ok()
            .stdout()
            .trim(),
        own("cgroup").to_string_lossy()
    );
    for cgroups in ["no-conmon", "disabled"] {
        podman.prints(&["--cgroups", cgroups], "echo ran", &["ran"]);
    }
    // One joins what another has; with the host's pids, whoever is left when the first process ends is ended.
    podman.detach(&[], "c", &["sleep", "1000"]);
    let shared = ["--pid", "container:c", "--ipc", "container:c", "--network", "container:c"];
    podman.prints(&shared, "cat /proc/1/comm", &["sleep"]);
    podman.remove("c");
    podman.detach(&["--pid", "host"], "c", &["sh", "-c", "sleep 1000 & sleep 1000"]);
    until("both sleep", || podman.podman(&["top", "c", "args"]).end().stdout().matches("sleep").count() >= 2);
    podman.remove("c");
    podman.end();
    Ok(())
}

fn networks(t: &Context) -> Outcome {
    tool("netavark")?;
    let podman = Podman::of_root(t)?;
    podman.prints(&["--network", "host"], "ls /sys/class/net", &["lo"]);
    podman.prints(&["--network", "none"], "ls /sys/class/net | grep -v sit0", &["lo"]);
    podman.prints(&["--network", "podman"], "ip -4 -o addr show eth0 | wc -l", &["1"]);
    podman.podman(&["network", "create", "other"]).end().ok();
    podman.detach(
        &["--network", "other", "--publish", "127.0.0.1:8099:80"],
        "server",
        &["sh", "-c", "mkdir /www; echo page >/www/index.html; httpd -f -h /www"],
    );
    let address = podman.inspect("server", "{{.NetworkSettings.Networks.other.IPAddress}}");
    let script = format!("for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://{address} && exit; sleep 0.2; done; exit 1");
    podman.prints(&["--network", "other"], &script, &["page"]);
    podman.remove("server");
    podman.podman(&["network", "rm", "other"]).end().ok();
    podman.end();
    Ok(())
}

fn user_namespaces(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let map = ["--uidmap", "0:100000:2000", "--gidmap", "0:200000:3000"];
    let script = "id -u; awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; touch /x && stat -c %u:%g /x";
    podman.prints(&map, script, &["0", "0 100000 2000", "0 200000 3000", "0:0"]);
    let volume = t.dir().join("volume");
    fs::create_dir(&volume).expect("writable");
    fs::write(volume.join("file"), "").expect("writable");
    let volume = format!("{}:/mnt:idmap", volume.display());
    podman.prints(&[&map[..], &["--volume", &volume]].concat(), "stat -c %u:%g /mnt/file", &["0:0"]);
    podman.prints(&[&map[..], &["--volume", "owned:/mnt:U"]].concat(), "stat -c %u:%g /mnt", &["0:0"]);
    podman.podman(&["volume", "rm", "owned"]).end().ok();
    podman.detach(&map, "c", &["sleep", "1000"]);
    podman.podman(&["exec", "c", "sh", "-c", "awk '{print $2}' /proc/self/uid_map"]).end().ok().prints(&["100000"]);
    podman.prints(&["--userns", "container:c"], "awk '{print $2}' /proc/self/uid_map", &["100000"]);
    podman.remove("c");
    podman.end();
    Ok(())
}

/// The monitor's cleanup starts a container again.
fn restart_policies(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    podman.detach(&["--restart", "on-failure:2"], "c", &["sh", "-c", "echo run; exit 3"]);
    until("it was tried three times", || podman.podman(&["logs", "c"]).end().stdout() == "run\nrun\nrun\n");
    until("that is all", || podman.inspect("c", "{{.State.Status}}") == "exited");
    assert_eq!(podman.inspect("c", "{{.RestartCount}} {{.State.ExitCode}}"), "2 3");
    podman.remove("c");
    podman.detach(&["--restart", "always"], "always", &["sleep", "1000"]);
    let pid = || podman.inspect("always", "{{.State.Pid}}").parse::<i32>().expect("a pid");
    let first = pid();
    processes::kill(first, Signal::KILL);
    until("it was started again", || ![0, first].contains(&pid()));
    podman.podman(&["exec", "always", "true"]).end().ok();
    // Stopped by hand, it stays so.
    podman.podman(&["stop", "--time", "0", "always"]).end().ok();
    assert_eq!(podman.inspect("always", "{{.State.Status}}"), "exited");
    podman.remove("always");
    podman.end();
    Ok(())
}

/// What there is of a daemon: containers outlive it, however it ends, and the next one knows them.
fn service(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let url = format!("unix://{}", t.dir().join("service.sock").display());
    let remote = |words: &[&str]| podman.podman(&[&["--remote", "--url", &url], words].concat()).end();
    let mut before = None;
    for signal in [Signal::TERM, Signal::KILL] {
        let mut service = podman.podman(&["system", "service", "--time", "0", &url]).start();
        until("it answers", || remote(&["version"]).code() == 0);
        if before.is_none() {
            let parent = format!("--cgroup-parent=/{}", t.tag());
            let options = ["run", "--detach", "--name", "c", "--network", "none", &parent];
            remote(&[&options[..], &[image::NAME, "sleep", "1000"]].concat()).ok();
            before = Some(podman.inspect("c", "{{.State.Pid}}"));
        }
        // What is executed through a service leaves its monitor for another five minutes.
        assert!(remote(&["top", "c", "args"]).ok().stdout().contains("sleep"));
        processes::kill(service.pid(), signal);
        until("the service has ended", || service.has_ended());
        assert_eq!(Some(podman.inspect("c", "{{.State.Pid}}")), before);
    }
    podman.podman(&["exec", "c", "echo", "still"]).end().ok().prints(&["still"]);
    podman.remove("c");
    podman.end();
    Ok(())
}

fn healthcheck(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "disable", "--health-retries", "1"];
    podman.detach(&health, "c", &["sleep", "1000"]);
    podman.podman(&["healthcheck", "run", "c"]).end().exits(1);
    assert_eq!(podman.inspect("c", "{{.State.Health.Status}}"), "unhealthy");
    podman.podman(&["exec", "c", "touch", "/tmp/well"]).end().ok();
    podman.podman(&["healthcheck", "run", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Health.Status}}"), "healthy");
    podman.remove("c");
    podman.end();
    Ok(())
}

fn fifty_at_once(t: &Context) -> Outcome {
    const COUNT: usize = 50;
    let podman = Podman::of_root(t)?;
    let start = Instant::now();
    let all: Vec<_> = (0..COUNT).map(|_| podman.container("run", &["--detach"], &["sleep", "1000"]).start()).collect();
    for running in all {
        running.end().ok();
    }
    let made = start.elapsed();
    assert_eq!(podman.podman(&["ps", "--quiet"]).end().ok().stdout().lines().count(), COUNT);
    let start = Instant::now();
    podman.podman(&["rm", "--all", "--force", "--time", "0"]).end().ok();
    let gone = start.elapsed();
    println!(
        "# {COUNT} containers: made in {} ms each, removed in {} ms each",
        made.as_millis() as usize / COUNT,
        gone.as_millis() as usize / COUNT
    );
    podman.end();
    Ok(())
}

/// Podman then kills, and never deletes: `doctor` finds what is left.
fn monitor_killed(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    podman.detach(&[], "c", &["sleep", "1000"]);
    let pid = |field: &str| podman.inspect("c", field).parse::<i32>().expect("a pid");
    let (monitor, init) = (pid("{{.State.ConmonPid}}"), pid("{{.State.Pid}}"));
    let id = podman.inspect("c", "{{.Id}}");
    processes::kill(monitor, Signal::KILL);
    until("the monitor has ended", || !processes::lives(monitor));
    podman.podman(&["exec", "c", "echo", "still"]).end().ok().prints(&["still"]);
    // Without a monitor nobody writes down how it ended, which Podman may wait for in vain the first time.
    podman.podman(&["rm", "--force", "--time", "0", "c"]).end();
    podman.podman(&["rm", "--force", "--ignore", "--time", "0", "c"]).end().ok();
    assert!(!processes::lives(init));
    if is_orlop(t) {
        let found = t.bare_orlop(&["doctor"]).end();
        assert!(found.code() > 0 && found.stdout().contains("stopped"), "{}", found.stdout());
        t.bare_orlop(&["doctor", "--fix"]).end().ok();
        t.bare_orlop(&["doctor"]).end().ok();
    } else {
        let path = runtime(t);
        podman.engine.call(path.to_str().expect("plain"), &["delete", "--force", &id])?.end().ok();
    }
    podman.end();
    Ok(())
}

/// `--runtime PATH`: a name that Podman does not know gets no JSON log, and its words are read from standard error.
fn runtime_named_by_path(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let other = t.dir().join("another-name");
    fs::copy(runtime(t), &other).expect("the binary can be copied");
    podman.engine.folder("podman");
    let run = |words: &[&str]| {
        let parent = format!("/{}", t.tag());
        let start = [
            "--runtime",
            other.to_str().expect("plain"),
            "run",
            "--rm",
            "--network",
            "none",
            "--cgroup-parent",
            &parent,
        ];
        heard(|| podman.podman(&[&start[..], &[image::NAME], words].concat()).end())
    };
    run(&["echo", "hello"]).ok().prints(&["hello"]);
    let done = run(&["missing"]).exits(127);
    assert!(done.stderr().contains("executable file not found in $PATH"), "{}", done.stderr());
    let done = run(&["/etc/plain"]).exits(126);
    assert!(done.stderr().contains("permission denied"), "{}", done.stderr());
    podman.end();
    Ok(())
}

/// What of [`CASES`] an ordinary user may do as well.
fn of_users(name: &str) -> bool {
    !["slave volume", "device rule", "all of it", "oom score", "hosts", "unmasked", "volume", "read-only volume"]
        .contains(&name)
}

fn rootless(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    let of_users = CASES.iter().filter(|case| of_users(case.0));
    cases::check(of_users, |options, words| podman.outcome(options, words), || ());
    podman.end();
    Ok(())
}

fn rootless_life(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    let user = USER.to_string();
    podman.prints(&["--userns", "keep-id"], "id -u; id -g", &[&user, &user]);
    podman.prints(&["--userns", "nomap"], "id -u", &["0"]);
    podman.prints(&["--userns", "keep-id:uid=500,gid=600"], "id -u; id -g", &["500", "600"]);
    podman.prints(&["--uidmap", "0:1:1000"], "awk '{print $1, $2, $3}' /proc/self/uid_map", &["0 1 1000"]);
    podman.prints(&["--network", "host"], "echo hosted", &["hosted"]);
    podman.prints(&["--pid", "host"], "echo $?", &["0"]);
    podman.prints(&["--cgroups", "disabled"], "echo ran", &["ran"]);
    podman.prints(&["--privileged"], "grep -c CapEff:.*1ff /proc/self/status", &["1"]);
    life_of_a_user(&podman);
    let (running, mut terminal) = podman.container("run", &["--rm", "-it"], &["sh"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.types("exit 4\n");
    running.end().exits(4);
    build(&podman)?;
    podman.end();
    Ok(())
}

/// In the background, executed in, stopped.
fn life_of_a_user(podman: &Podman<'_>) {
    podman.detach(&[], "c", LOOP);
    until("it has started", || podman.podman(&["logs", "c"]).end().stdout() == "started\n");
    podman.podman(&["exec", "c", "cat", "/proc/1/comm"]).end().ok().prints(&["sh"]);
    podman.podman(&["exec", "--detach", "c", "touch", "/tmp/x"]).end().ok();
    podman.podman(&["exec", "c", "missing"]).end().exits(127);
    assert!(podman.podman(&["top", "c"]).end().ok().stdout().contains("trap"));
    podman.podman(&["stop", "--time", "10", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.ExitCode}}"), "3");
    podman.podman(&["start", "c"]).end().ok();
    podman.podman(&["kill", "c"]).end().ok();
    podman.remove("c");
    // The runtime of the user removes its state before the monitor's cleanup is through.
    sleep(Duration::from_millis(50));
}

/// One id: the user namespace that Podman makes has no groups, either.
fn rootless_without_subordinate_ids(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, false)?;
    podman.prints(&[], "id -u; awk '{print $2, $3}' /proc/self/uid_map", &["0", &format!("{USER} 1")]);
    life_of_a_user(&podman);
    podman.end();
    Ok(())
}
