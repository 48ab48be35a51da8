//! containerd's daily work: its shim calls the binary, `ctr` says what to do.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::context::Context;
use crate::engines::cases::{self, Case, Failure, check_failures, heard};
use crate::engines::containerd::Containerd;
use crate::engines::crash::{self, Shims};
use crate::engines::{self, OTHER, follows_its_terminal, image, parent_of, terminal_answers as answers, until};
use crate::host::Layout;
use crate::processes;
use crate::tests::{Outcome, tests};

tests! { "containerd":
    ENGINES {
        foreground, foreground_terminal, failing_create, user_namespace, executes, controls, limits_and_a_shared_namespace, terminal_in_background,
        shim_killed, restarted, killed, killed_with_all_it_had, two_hundred_at_once, recipe,
    }
}

/// `ctr run --rm OPTION...`
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("output", &[], "echo hello; echo more >&2", 0, &["hello"]),
    ("exit status", &[], "exit 7", 7, &[]),
    ("death by a signal", &[], "sh -c 'kill -9 $$'; exit $?", 137, &[]),
    ("environment", &["--env", "WORD=one two"], "echo $WORD $PATH", 0, &["one two /bin"]),
    ("working directory", &["--cwd", "/etc"], "pwd", 0, &["/etc"]),
    ("pids of its own", &[], "echo $$", 0, &["1"]),
    ("read-only", &["--read-only"], "touch /etc/x; touch /tmp/x", 1, &[]),
    ("no new privileges", &[], "grep NoNewPrivs /proc/self/status", 0, &["NoNewPrivs:\t1"]),
    ("new privileges", &["--allow-new-privs"], "grep NoNewPrivs /proc/self/status", 0, &["NoNewPrivs:\t0"]),
    ("default capabilities", &[], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80425fb"]),
    ("one less", &["--cap-drop", "CAP_CHOWN"], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80425fa"]),
    ("one more", &["--cap-add", "CAP_SYS_PTRACE"], "grep CapEff /proc/self/status", 0, &["CapEff:\t00000000a80c25fb"]),
    ("filter", &["--seccomp"], "unshare true 2>&1; cat /proc/self/status | grep Seccomp:", 0, &["unshare: unshare(0x0): Operation not permitted", "Seccomp:\t2"]),
    ("no filter", &[], "grep Seccomp: /proc/self/status", 0, &["Seccomp:\t0"]),
    ("tmpfs", &["--mount", "type=tmpfs,src=tmpfs,dst=/mnt,options=size=64k:ro"], "grep -c '/mnt tmpfs ro' /proc/mounts", 0, &["1"]),
    ("bind", &["--mount", "type=bind,src=/etc,dst=/mnt,options=rbind:ro"], "test -e /mnt/passwd && ! touch /mnt/x", 0, &[]),
    ("host network", &["--net-host"], "ls /sys/class/net", 0, &["lo"]),
    ("device", &["--device", "/dev/fuse"], "test -c /dev/fuse && echo there", 0, &["there"]),
    ("no device", &[], "test -e /dev/fuse; echo $?; head -c1 /dev/zero | wc -c", 0, &["1", "1"]),
    ("no pivot", &["--no-pivot"], "echo hello", 0, &["hello"]),
    ("no streams", &["--null-io"], "echo hello; exit 3", 3, &[]),
    ("no root of its own", &["--rootfs-propagation", "rslave"], "echo hello", 0, &["hello"]),
];

fn foreground(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let run = |options: &[&str], words: &[&str]| containerd.run(&[&["--rm"], options].concat(), "c", words).end();
    cases::check(CASES, run, || containerd.engine.is_clean());
    let file = t.dir().join("pid");
    containerd.run(&["--rm", "--pid-file", file.to_str().expect("plain")], "c", &["true"]).end().ok();
    assert!(fs::read_to_string(&file).expect("it was written").parse::<i32>().is_ok());
    let root = t.dir().join("rootfs");
    let (root, binary) = (root.to_str().expect("plain"), &containerd.runtime);
    containerd.ctr(&["run", "--rm", "--runc-binary", binary, "--rootfs", root, "c", "/bin/true"]).end().ok();
    containerd.engine.end();
    Ok(())
}

fn foreground_terminal(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let (running, terminal) = containerd.run(&["--rm", "--tty"], "c", &["sh"]).start_in_terminal();
    follows_its_terminal(running, terminal);
    containerd.engine.end();
    Ok(())
}

fn failing_create(t: &Context) -> Outcome {
    #[rustfmt::skip]
    let cases: &[Failure] = &[
        (&[], &["missing"], 1, "exec: \"missing\": executable file not found in $PATH"),
        (&[], &["/missing"], 1, "exec: \"/missing\": stat /missing: no such file or directory"),
        (&[], &["/etc/plain"], 1, "exec: \"/etc/plain\": permission denied"),
        (&[], &["/etc"], 1, "exec: \"/etc\": "),
        (&["--mount", "type=bind,src=/missing,dst=/mnt,options=bind"], &["true"], 1, "no such file or directory"),
        (&["--mount", "type=bind,src=/etc,dst=/etc/passwd,options=bind"], &["true"], 1, "not a directory"),
    ];
    let containerd = Containerd::start(t)?;
    let run = |options: &[&str], words: &[&str]| containerd.run(&[&["--rm"], options].concat(), "c", words).end();
    check_failures(cases, run, || containerd.engine.is_clean());
    containerd.engine.end();
    Ok(())
}

fn user_namespace(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let maps = ["--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"];
    let script = "id -u; awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; touch /x && stat -c %u:%g /x";
    let lines = ["0", "0 100000 65536", "0 200000 65536", "0:0"];
    heard(|| containerd.run(&maps, "c", &["sh", "-c", script]).end()).ok().prints(&lines);
    containerd.engine.end();
    Ok(())
}

fn executes(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    containerd.detach(&["--env", "A=of the container"], "c", &["sleep", "1000"]);
    let exec = |options: &[&str], script: &str| containerd.exec(options, "c", &["sh", "-c", script]).end();
    heard(|| exec(&[], "echo $A; cat /proc/1/comm")).ok().prints(&["of the container", "sleep"]);
    exec(&[], "exit 9").exits(9);
    exec(&[], "kill -TERM $$").exits(143);
    // Before `--user`, for which ctr mounts the container's overlay once more: the first mount takes no new files then.
    exec(&["--exec-id", "detached", "--detach"], "echo done >/tmp/detached").ok();
    until("the detached one is done", || exec(&[], "cat /tmp/detached 2>&-").stdout() == "done\n");
    heard(|| exec(&["--cwd", "/etc"], "pwd")).ok().prints(&["/etc"]);
    heard(|| exec(&["--user", "user"], "id -u; id -g; id -G")).ok().prints(&["1000", "1000", "1000"]);
    heard(|| exec(&["--user", "12:34"], "id -u; id -g")).ok().prints(&["12", "34"]);
    let missing = containerd.exec(&[], "c", &["missing"]).end().exits(1);
    assert!(missing.stderr().contains("executable file not found in $PATH"), "{}", missing.stderr());
    let plain = containerd.exec(&[], "c", &["/etc/plain"]).end().exits(1);
    assert!(plain.stderr().contains("permission denied"), "{}", plain.stderr());

    let (running, mut terminal) = containerd.exec(&["--tty"], "c", &["sh"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    answers(&mut terminal, "stty size", "30 90");
    terminal.types("exit 5\n");
    running.end().exits(5);

    let several: Vec<_> = (0..8)
        .map(|i| {
            let (id, script) = (format!("e{i}"), format!("sleep 0.1; exit {i}"));
            containerd.ctr(&["task", "exec", "--exec-id", &id, "c", "sh", "-c", &script]).start()
        })
        .collect();
    for (i, running) in several.into_iter().enumerate() {
        running.end().exits(i as i32);
    }
    containerd.remove("c");
    let gone = containerd.exec(&[], "c", &["true"]).end().exits(1);
    assert!(gone.stderr().contains("not found"), "{}", gone.stderr());
    containerd.engine.end();
    Ok(())
}

fn controls(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let trap = "trap 'echo hup >>/tmp/seen' HUP; trap 'exit 3' TERM; while :; do sleep 0.02; done";
    containerd.detach(&[], "c", &["sh", "-c", trap]);
    let (pid, status) = containerd.status("c").expect("it is listed");
    assert_eq!(status, "RUNNING");
    let listed = containerd.ctr(&["task", "ps", "c"]).end().ok().stdout();
    assert!(listed.lines().any(|line| line.split_whitespace().next() == Some(&pid.to_string())), "{listed}");
    let metrics = containerd.ctr(&["task", "metrics", "--format", "json", "c"]).end().ok().json();
    assert!(metrics["pids"]["current"].as_u64() >= Some(1), "{metrics}");
    assert!(
        metrics["memory"]["usage"]["usage"].as_u64().or(metrics["memory"]["usage"].as_u64()) > Some(0),
        "{metrics}"
    );

    containerd.ctr(&["task", "pause", "c"]).end().ok();
    assert_eq!(containerd.status("c").expect("it is listed").1, "PAUSED");
    containerd.exec(&[], "c", &["true"]).end().exits(1);
    containerd.ctr(&["task", "resume", "c"]).end().ok();
    assert_eq!(containerd.status("c").expect("it is listed").1, "RUNNING");

    containerd.ctr(&["task", "kill", "--signal", "SIGHUP", "c"]).end().ok();
    until("the signal was seen", || containerd.exec(&[], "c", &["cat", "/tmp/seen"]).end().stdout() == "hup\n");

    // Whether there is a criu that can do it or not: it goes on.
    let images = t.dir().join("images");
    let images = images.to_str().expect("a plain path");
    let checkpoint = containerd.ctr(&["task", "checkpoint", "--image-path", images, "c"]).end();
    assert!(checkpoint.code() == 0 || !checkpoint.stderr().is_empty());
    assert_eq!(containerd.status("c").expect("it is listed").1, "RUNNING");

    let running = containerd.ctr(&["task", "delete", "c"]).end();
    assert!(running.code() != 0 && running.stderr().contains("must be stopped"), "{}", running.stderr());
    containerd.ctr(&["task", "kill", "c"]).end().ok();
    until("it has ended", || containerd.status("c").is_some_and(|(_, status)| status == "STOPPED"));
    let late = containerd.ctr(&["task", "kill", "--signal", "9", "c"]).end();
    assert!(late.code() == 0 || late.stderr().contains("not found"), "{}", late.stderr());
    containerd.ctr(&["task", "delete", "c"]).end().ok();
    containerd.ctr(&["container", "delete", "c"]).end().ok();

    // All of them at once, and one that is paused.
    containerd.detach(&[], "all", &["sh", "-c", "sleep 1000 & sleep 1000"]);
    containerd.ctr(&["task", "kill", "--all", "--signal", "9", "all"]).end().ok();
    until("all have ended", || containerd.status("all").is_some_and(|(_, status)| status == "STOPPED"));
    containerd.remove("all");
    containerd.detach(&[], "paused", &["sleep", "1000"]);
    containerd.ctr(&["task", "pause", "paused"]).end().ok();
    containerd.remove("paused");
    containerd.engine.end();
    Ok(())
}

fn limits_and_a_shared_namespace(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let options =
        ["--memory-limit", "33554432", "--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-shares", "512"];
    containerd.detach(&options, "c", &["sleep", "1000"]);
    let (pid, _) = containerd.status("c").expect("it is listed");
    let of = |controller, v1: &str, v2: &str| {
        let name = if t.host.layout == Layout::V1 { v1 } else { v2 };
        let text = fs::read_to_string(t.cgroup_of(pid, controller).join(name)).expect("the controller is there");
        text.split_whitespace().next().expect("it has a value").to_owned()
    };
    assert_eq!(of("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    assert_eq!(of("cpu", "cpu.cfs_quota_us", "cpu.max"), "50000");
    let shared = format!("pid:/proc/{pid}/ns/pid");
    let joined = || containerd.run(&["--rm", "--with-ns", &shared], "joined", &["cat", "/proc/1/comm"]).end();
    heard(joined).ok().prints(&["sleep"]);
    containerd.remove("c");
    containerd.engine.end();
    Ok(())
}

fn terminal_in_background(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    let (running, _terminal) = containerd.run(&["--detach", "--tty"], "c", &["sh"]).start_in_terminal();
    running.end().ok();
    let (running, mut terminal) = containerd.ctr(&["task", "attach", "c"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.types("exit 6\n");
    running.end().exits(6);
    containerd.ctr(&["container", "delete", "c"]).end().ok();
    containerd.engine.end();
    Ok(())
}

fn shim_killed(t: &Context) -> Outcome {
    let containerd = Containerd::start(t)?;
    crash::shim_killed(&containerd);
    containerd.engine.end();
    Ok(())
}

fn restarted(t: &Context) -> Outcome {
    let mut containerd = Containerd::start(t)?;
    containerd.detach(&[], "c", &["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.02; done"]);
    containerd.detach(&[], "short", &["sleep", "0.2"]);
    let before = containerd.status("c").expect("it is listed");
    for signal in [Signal::TERM, Signal::KILL] {
        containerd.stop(signal);
        containerd.launch()?;
        assert_eq!(containerd.status("c").as_ref(), Some(&before));
        heard(|| containerd.exec(&[], "c", &["echo", "hello"]).end()).ok().prints(&["hello"]);
    }
    until("its end was seen", || containerd.status("short").is_some_and(|(_, status)| status == "STOPPED"));
    containerd.remove("short");
    containerd.ctr(&["task", "kill", "c"]).end().ok();
    until("it has ended", || containerd.status("c").is_some_and(|(_, status)| status == "STOPPED"));
    containerd.ctr(&["task", "delete", "c"]).end().ok();
    containerd.ctr(&["container", "delete", "c"]).end().ok();
    containerd.engine.end();
    Ok(())
}

fn killed(t: &Context) -> Outcome {
    let mut containerd = Containerd::start(t)?;
    crash::all_killed(&mut containerd)?;
    containerd.engine.end();
    Ok(())
}

/// Nobody is left who knows of the containers: doctor finds what the runtime had of them, the next daemon the rest.
fn killed_with_all_it_had(t: &Context) -> Outcome {
    let mut containerd = Containerd::start(t)?;
    let names = ["one", "two"];
    for name in names {
        containerd.detach(&[], name, &["sleep", "1000"]);
    }
    let pids = names.map(|name| containerd.pid(name));
    crash::kill(&mut containerd, &[pids.map(parent_of), pids].concat());
    until("the containers are gone", || !pids.into_iter().any(processes::lives));
    let root = format!("/run/containerd/runc/{}", t.tag());
    // Another runtime has no such command.
    if engines::is_orlop(t) {
        let doctor = |words: &[&str]| t.bare_orlop(&[&["--root", &root, "doctor"], words].concat()).end();
        let found = doctor(&[]).exits(1).stdout();
        for name in names {
            assert!(found.contains(&format!("{name}: found: a container that has stopped")), "{found}");
        }
        doctor(&["--fix"]).ok();
        doctor(&[]).ok().prints(&[]);
        assert_eq!(fs::read_dir(&root).expect("it stays").count(), 0);
    }
    containerd.launch()?;
    for name in names {
        containerd.clear(name);
    }
    containerd.engine.end();
    Ok(())
}

/// In CI fewer: there it is one test of many, and this takes a minute.
fn two_hundred_at_once(t: &Context) -> Outcome {
    let many = if std::env::var_os("CI").is_some() { 60 } else { 200 };
    let containerd = Containerd::start(t)?;
    for runtime in [containerd.runtime.as_str(), OTHER] {
        let names: Vec<String> = (0..many).map(|i| format!("c{i}")).collect();
        let began = Instant::now();
        // As many calls at a time as keep two processors busy.
        for some in names.chunks(many / 10) {
            let run = |id: &String| {
                let words = ["run", "--detach", "--runc-binary", runtime, image::NAME, id, "sleep", "1000"];
                containerd.ctr(&words).start()
            };
            some.iter().map(run).collect::<Vec<_>>().into_iter().for_each(|running| drop(running.end().ok()));
        }
        let created = began.elapsed();
        let list = containerd.ctr(&["task", "list"]).end().ok().stdout();
        assert_eq!(list.lines().filter(|line| line.ends_with("RUNNING")).count(), many, "{list}");
        let began = Instant::now();
        let all = |words: &[&str]| {
            let words: Vec<&str> = words.iter().copied().chain(names.iter().map(String::as_str)).collect();
            containerd.ctr(&words).end().ok();
        };
        all(&["task", "delete", "--force"]);
        let deleted = began.elapsed();
        all(&["container", "delete"]);
        containerd.engine.is_clean();
        let each = |time: Duration| time.as_secs_f64() * 1e3 / many as f64;
        let name = if runtime == OTHER { "runc" } else { "the runtime under test" };
        println!("# {many} with {name}: run {:.0} ms, delete {:.0} ms each", each(created), each(deleted));
    }
    containerd.engine.end();
    Ok(())
}

/// README's words, where README says that they go.
fn recipe(t: &Context) -> Outcome {
    t.needs_root()?;
    engines::install(t);
    let file = PathBuf::from("/etc/containerd/config.toml");
    fs::create_dir_all("/etc/containerd").expect("this /etc is the test's own");
    fs::write(&file, engines::recipe("containerd")).expect("this /etc is the test's own");
    let containerd = Containerd::configured(t, file)?;
    let plugins = containerd.ctr(&["plugins", "list"]).end().ok().stdout();
    let cri = plugins.lines().find(|line| line.contains("io.containerd.grpc.v1 ") && line.contains(" cri "));
    assert!(cri.is_some_and(|line| line.trim_end().ends_with("ok")), "{plugins}");
    // The words of the command line, for an image that there is.
    let line = engines::recipe("ctr").trim().replace("IMAGE", image::NAME);
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    heard(|| containerd.ctr(&words).end()).ok().prints(&["hello"]);
    containerd.engine.end();
    Ok(())
}
