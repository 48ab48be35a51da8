//! Saving and restoring containers with a real criu, where there is one that works.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::engines::until;
use crate::host::Layout;
use crate::terminal::{Terminal, receive};
use crate::tests::exec_security::Profiles;
use crate::tests::terminal::listener;
use crate::tests::users::mapped;
use crate::tests::{Outcome, tests};

tests! { "checkpoint":
    CRIU_CGROUPS {
        goes_on,
    }
    CRIU {
        runs_on, chain_of_pre_dumps, cgroups_by_criu, modes_of_cgroups, terminals, shell_job, foreground, lazy_pages, what_needs_an_option,
        connections, socket_to_the_outside, another_profile, namespaces_from_outside, user_namespace,
        network_stays_down, hooks, work_directory,
    }
    NOWHERE {
        criu_that_cannot,
    }
}

/// What keeps criu from changing the options of the host's cgroup2 mount, as in its issue 3029.
const IGNORE: [&str; 2] = ["--manage-cgroups-mode", "ignore"];

fn criu_works() -> bool {
    let check = Command::new("criu").arg("check").stdout(Stdio::null()).stderr(Stdio::null()).status();
    check.is_ok_and(|status| status.success())
}

/// A container of that script, with the shell that the host has without libraries.
fn shell(t: &Context, script: &str) -> Result<Bundle, Skip> {
    if !criu_works() {
        return Err(Skip("no criu that works here".into()));
    }
    let busybox = fs::read("/bin/busybox").map_err(|_| Skip("no busybox".into()))?;
    let bundle = t.bundle().with("/root/readonly", json!(false));
    bundle.file("bin/sh", &busybox, 0o755);
    bundle.file("bin/busybox", &busybox, 0o755);
    let tmp = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
    Ok(bundle.with("/mounts/-", tmp).with("/process/args", json!(["/bin/sh", "-c", script])))
}

/// Counts in /tmp/count for ever, and through a pipe.
const COUNT: &str = "i=0; exec 5>/log; while :; do i=$((i+1)); echo $i >/tmp/new; busybox mv /tmp/new /tmp/count; \
                     echo $i >&5; echo $i; busybox sleep 0.2; done | busybox cat >/dev/null";

fn count(t: &Context, id: &str) -> u32 {
    let done = t.orlop(&["exec", id, "/bin/busybox", "cat", "/tmp/count"]).end().ok();
    done.stdout().trim().parse().unwrap_or_else(|_| panic!("{:?}", done.stdout()))
}

fn counts_beyond(t: &Context, id: &str, least: u32) -> u32 {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let now = count(t, id);
        if now > least {
            return now;
        }
        assert!(Instant::now() < end, "{id} counts no further than {now}");
        sleep(Duration::from_millis(100));
    }
}

fn counting(t: &Context, id: &str) -> Result<Bundle, Skip> {
    let bundle = shell(t, COUNT)?;
    t.detach(&bundle, id);
    await_file(&bundle, "log");
    sleep(Duration::from_millis(500));
    Ok(bundle)
}

fn await_file(bundle: &Bundle, name: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !bundle.rootfs(name).exists() {
        assert!(Instant::now() < end, "{name} does not come");
        sleep(Duration::from_millis(50));
    }
}

fn checkpoint(t: &Context, args: &[&str], id: &str) -> Done {
    t.orlop(&[&["checkpoint"], &IGNORE[..], args, &[id]].concat()).end()
}

fn restore(t: &Context, bundle: &Bundle, args: &[&str], id: &str) -> Done {
    t.orlop(&[&["restore", "--detach", "--bundle", bundle.path()], &IGNORE[..], args, &[id]].concat()).end()
}

/// A pipeline with an open file and a tmpfs: saved, deleted with all of its state, and restored, twice.
fn goes_on(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = counting(t, &id)?;
    let pid_file = t.dir().join("pid");
    let mut last = count(t, &id);
    for _ in 0..2 {
        let cgroup = t.cgroup_of(t.pid(&id), "pids");
        checkpoint(t, &[], &id).ok().prints(&[]);
        assert_eq!(t.orlop(&["list", "--quiet"]).end().ok().stdout(), "");
        assert!(!cgroup.exists(), "{}", cgroup.display());
        let args = ["--pid-file", pid_file.to_str().expect("a plain path")];
        restore(t, &bundle, &args, &id).ok();
        let state = t.state(&id);
        assert_eq!((&state["status"], &state["bundle"]), (&json!("running"), &json!(bundle.path())));
        assert_eq!(fs::read_to_string(&pid_file).expect("it was written"), t.pid(&id).to_string());
        assert_eq!(t.cgroup_of(t.pid(&id), "pids"), cgroup);
        assert!(!crate::host::mounts().iter().any(|mount| mount.line.contains(t.tag())));
        last = counts_beyond(t, &id, last);
        let log = fs::read_to_string(bundle.rootfs("log")).expect("it is there");
        let numbers: Vec<u32> = log.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(numbers.iter().zip(1..).all(|(a, b)| *a == b), "{numbers:?}");
        let devices = t.orlop(&["exec", &id, "/bin/busybox", "ip", "address"]).end().ok().stdout();
        assert!(devices.contains("127.0.0.1"), "{devices}");
    }
    t.orlop(&["pause", &id]).end().ok();
    t.orlop(&["resume", &id]).end().ok();
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// It is saved and runs on, paused or not, and the copy runs beside it.
fn runs_on(t: &Context) -> Outcome {
    let (id, copy) = (t.id("c"), t.id("copy"));
    // Files are not saved: one that is open and grows could not be restored.
    let bundle = shell(t, &COUNT.replace("exec 5>/log", "echo >/log; exec 5>/dev/null"))?;
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    sleep(Duration::from_millis(500));
    let before = count(t, &id);
    checkpoint(t, &["--leave-running"], &id).ok();
    restore(t, &bundle, &[], &copy).ok();
    assert_ne!(t.pid(&id), t.pid(&copy));
    counts_beyond(t, &id, before);
    counts_beyond(t, &copy, before);
    t.orlop(&["pause", &id]).end().ok();
    checkpoint(t, &["--leave-running", "--image-path", "paused"], &id).ok();
    assert_eq!(t.state(&id)["status"], "paused");
    t.delete(&id);
    t.delete(&copy);
    Ok(())
}

/// The blocks that a file takes.
fn blocks(t: &Context, folder: &str) -> u64 {
    fs::metadata(t.dir().join(folder).join("pages-1.img")).map_or(0, |file| file.blocks())
}

fn chain_of_pre_dumps(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = counting(t, &id)?;
    let before = count(t, &id);
    checkpoint(t, &["--pre-dump", "--image-path", "one"], &id).ok();
    assert_eq!(t.state(&id)["status"], "running");
    checkpoint(t, &["--pre-dump", "--image-path", "two", "--parent-path", "../one"], &id).ok();
    counts_beyond(t, &id, before);
    let full = blocks(t, "one");
    let last = ["--image-path", "three", "--parent-path", "../two", "--auto-dedup"];
    checkpoint(t, &last, &id).ok();
    assert!(t.dir().join("three/parent").exists() && t.dir().join("two/parent").exists());
    // What has changed since was saved again, and taken out of the older images.
    assert!(blocks(t, "three") < full, "{} {full}", blocks(t, "three"));
    assert!(blocks(t, "one") + blocks(t, "two") < full + blocks(t, "two") || full == 0);
    restore(t, &bundle, &["--image-path", "three"], &id).ok();
    counts_beyond(t, &id, before);
    t.delete(&id);
    Ok(())
}

/// Without being told to leave cgroups alone, and with limits.
fn cgroups_by_criu(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = shell(t, COUNT)?.with("/linux/resources/pids", json!({"limit": 123}));
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    t.orlop(&["checkpoint", &id]).end().ok();
    t.orlop(&["restore", "--detach", "--bundle", bundle.path(), &id]).end().ok();
    let cgroup = t.cgroup_of(t.pid(&id), "pids");
    assert!(cgroup.to_string_lossy().contains(t.tag()), "{}", cgroup.display());
    assert_eq!(fs::read_to_string(cgroup.join("pids.max")).expect("it is there").trim(), "123");
    t.delete(&id);
    Ok(())
}

/// Whose limit holds where the configuration has another one by now: criu's, of what it saved, or ours.
fn modes_of_cgroups(t: &Context) -> Outcome {
    let limit = |most: &str| json!({"cgroup.max.descendants": most});
    for (mode, most) in [("ignore", Some("77")), ("soft", Some("77")), ("full", Some("123")), ("strict", None)] {
        let id = t.id(mode);
        let mut bundle = shell(t, COUNT)?.with("/linux/resources/unified", limit("123"));
        t.detach(&bundle, &id);
        await_file(&bundle, "log");
        let mode = ["--manage-cgroups-mode", mode];
        t.orlop(&[&["checkpoint"], &mode[..], &[&id]].concat()).end().ok();
        bundle.set("/linux/resources/unified", limit("77"));
        let restore = [&["restore", "--detach", "--bundle", bundle.path()], &mode[..], &[&id]].concat();
        let done = t.orlop(&restore).end();
        match most {
            Some(most) => {
                done.ok();
                let cgroup = t.cgroup_of(t.pid(&id), "pids");
                let now = fs::read_to_string(cgroup.join("cgroup.max.descendants")).expect("it is there");
                assert_eq!(now.trim(), most, "{mode:?}");
                t.delete(&id);
            }
            None => drop(done.fails_with("which --manage-cgroups-mode strict does not allow")),
        }
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// The terminal's master is the caller's of restore: by socket, and in the foreground.
fn terminals(t: &Context) -> Outcome {
    let id = t.id("c");
    let script = "while read word; do echo got $word; done";
    let bundle = shell(t, script)?.with("/process/terminal", json!(true));
    let (socket, path) = listener(t);
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), "--console-socket", &path, &id]).end().ok();
    let mut terminal = Terminal::of(receive(&socket).0);
    terminal.types("one\r");
    terminal.shows("got one");
    checkpoint(t, &[], &id).ok();
    restore(t, &bundle, &[], &id).fails_with("without setting console socket");
    restore(t, &bundle, &["--console-socket", &path], &id).ok();
    let mut terminal = Terminal::of(receive(&socket).0);
    terminal.types("two\r");
    terminal.shows("got two");
    checkpoint(t, &[], &id).ok();
    let args = [&["restore", "--bundle", bundle.path()], &IGNORE[..], &[&id]].concat();
    let (running, mut window) = t.orlop(&args).start_in_terminal();
    t_await(t, &id);
    window.types("three\r");
    window.shows("got three");
    window.types("\x04");
    running.end().exits(0);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

/// A terminal that the container has from its caller: that of restore's caller takes its place.
fn shell_job(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = shell(t, "while read word; do echo got $word; done")?;
    let (running, mut window) = t.orlop(&["run", "--bundle", bundle.path(), &id]).start_in_terminal();
    window.types("one\r");
    window.shows("got one");
    checkpoint(t, &[], &id).fails_with("has its caller's terminal").fails_with("--shell-job");
    window.types("one more\r");
    window.shows("got one more");
    checkpoint(t, &["--shell-job"], &id).ok();
    running.end().exits(137);
    let call = [&["restore", "--shell-job", "--bundle", bundle.path()], &IGNORE[..], &[&id]].concat();
    let (running, mut window) = t.orlop(&call).start_in_terminal();
    t_await(t, &id);
    window.types("two\r");
    window.shows("got two");
    window.types("\x04");
    running.end().exits(0);
    Ok(())
}

/// Waits until it runs again.
fn t_await(t: &Context, id: &str) {
    let end = Instant::now() + Duration::from_secs(40);
    while t.orlop(&["state", id]).end().code() != 0 || t.state(id)["status"] != "running" {
        assert!(Instant::now() < end, "{id} does not come");
        sleep(Duration::from_millis(100));
    }
}

/// Without --detach, its end is ours, and signals go to it.
fn foreground(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = shell(t, "trap 'exit 7' TERM; exec >/log; while :; do echo tick; busybox sleep 0.2; done")?;
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    sleep(Duration::from_millis(500));
    checkpoint(t, &[], &id).ok();
    let args = [&["restore", "--bundle", bundle.path()], &IGNORE[..], &[&id]].concat();
    let running = t.orlop(&args).start();
    t_await(t, &id);
    let pid = rustix::process::Pid::from_raw(running.pid()).expect("it has one");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    running.end().exits(7);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

/// Ends when the test does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Memory goes over a socket, on demand, while the container runs on the other side.
fn lazy_pages(t: &Context) -> Outcome {
    let (id, copy) = (t.id("c"), t.id("copy"));
    let bundle = counting(t, &id)?;
    let features = Command::new("criu").args(["check", "--feature", "uffd-noncoop"]).output();
    if !features.is_ok_and(|done| done.status.success()) {
        t.delete(&id);
        return Err(Skip("no userfaultfd".into()));
    }
    let before = count(t, &id);
    let port = "27277";
    let lazy = ["--lazy-pages", "--page-server", "127.0.0.1:27277", "--status-fd", "7", &id];
    let args = [&["checkpoint"], &IGNORE[..], &lazy].concat();
    let saving = t.orlop(&args).through_bash("exec 7>status; exec \"$@\"").start();
    let end = Instant::now() + Duration::from_secs(40);
    while fs::read(t.dir().join("status")).unwrap_or_default() != [0] {
        assert!(Instant::now() < end, "the page server does not begin");
        sleep(Duration::from_millis(100));
    }
    let images = t.dir().join("checkpoint");
    let mut server = Command::new("criu");
    server.args(["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port, "-D"]).arg(&images);
    let log = File::create(t.dir().join("lazy.log")).expect("writable");
    let mut server = Server(server.stdout(log).stderr(Stdio::null()).stdin(Stdio::null()).spawn().expect("criu"));
    // The socket of the daemon is where restore works.
    restore(t, &bundle, &["--lazy-pages", "--work-path", "checkpoint"], &copy).ok();
    saving.end().ok();
    assert!(server.0.wait().expect("it is ours").success());
    counts_beyond(t, &copy, before);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    t.delete(&copy);
    Ok(())
}

/// criu refuses what it cannot save faithfully, until it is told that it may. The container runs on.
fn what_needs_an_option(t: &Context) -> Outcome {
    for (script, option) in [
        ("probe flock /tmp/lock -- fork 1 >/dev/null", "--file-locks"),
        ("exec 5>/one; busybox ln /one /two; busybox rm /one", "--link-remap"),
    ] {
        // What criu lets go of may find its sleep at an end.
        let script = &format!("{script}; while :; do busybox sleep 1; done");
        let id = t.id(&option[2..]);
        let bundle = shell(t, script)?;
        t.detach(&bundle, &id);
        sleep(Duration::from_millis(1500));
        checkpoint(t, &[], &id).fails_with("criu failed: type DUMP");
        assert_eq!(t.state(&id)["status"], "running");
        checkpoint(t, &[option], &id).ok();
        let again: &[&str] = if option == "--file-locks" { &[option] } else { &[] };
        restore(t, &bundle, again, &id).ok();
        t.delete(&id);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// Connections with both ends in the container: they go on, or are closed.
fn connections(t: &Context) -> Outcome {
    let bundle =
        shell(t, "")?.with("/process/args", json!(["/bin/probe", "tcp", "/heard", "/go", "--", "sleep", "600"]));
    let heard = || fs::read_to_string(bundle.rootfs("heard")).unwrap_or_default();
    let established = ["--tcp-established", "--network-lock", "skip"];
    for (option, end) in [("--tcp-established", "one\ntwo\n"), ("--tcp-close", "one\ngone\n")] {
        let id = t.id(option.trim_start_matches('-'));
        t.detach(&bundle, &id);
        until("the connection is there", || heard() == "one\n");
        checkpoint(t, &["--network-lock", "skip"], &id).fails_with("criu failed: type DUMP");
        let rules = ["--tcp-established", "--network-lock", "nftables", "--leave-running", "--image-path", "nft"];
        checkpoint(t, &rules, &id).ok();
        checkpoint(t, &[&established[..], &["--image-path", option]].concat(), &id).ok();
        restore(t, &bundle, &[option, "--network-lock", "skip", "--image-path", option], &id).ok();
        fs::write(bundle.rootfs("go"), "").expect("writable");
        until("the second word", || heard() == end);
        t.delete(&id);
        for file in ["heard", "go"] {
            fs::remove_file(bundle.rootfs(file)).expect("it is ours");
        }
    }
    Ok(())
}

/// A socket that is connected to one of the host's, by its name.
fn socket_to_the_outside(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = shell(t, "while :; do echo ping >&3; busybox sleep 0.2; done")?;
    let data = t.dir().join("data");
    fs::create_dir(&data).expect("writable");
    let data = data.to_str().expect("a plain path");
    let bind = json!({"destination": data, "source": data, "options": ["bind", "rprivate"]});
    // criu finds sockets by their network namespace.
    let bundle = bundle.with("/mounts/-", bind).retain("/linux/namespaces", |one| one["type"] != "network");
    let heard = UnixDatagram::bind(format!("{data}/socket")).expect("a free name");
    heard.set_read_timeout(Some(Duration::from_secs(30))).expect("it is ours");
    let spoken = UnixDatagram::unbound().expect("a descriptor is left");
    spoken.connect(format!("{data}/socket")).expect("it is there");
    let args = ["run", "--detach", "--preserve-fds", "1", "--bundle", bundle.path(), &id];
    // The test's descriptor closes at exec: another one of the same socket does not.
    let kept = rustix::io::dup(&spoken).expect("a descriptor is left");
    let script = format!("exec 3>&{} {0}>&-; exec \"$@\"", kept.as_raw_fd());
    t.orlop(&args).through_bash(&script).end().ok();
    drop((kept, spoken));
    let hears = || heard.recv(&mut [0; 16]).expect("it is said again");
    assert_eq!(hears(), 5);
    checkpoint(t, &[], &id).fails_with("criu failed: type DUMP");
    checkpoint(t, &["--ext-unix-sk"], &id).ok();
    heard.set_nonblocking(true).expect("it is ours");
    while heard.recv(&mut [0; 16]).is_ok() {}
    heard.set_nonblocking(false).expect("it is ours");
    restore(t, &bundle, &["--ext-unix-sk"], &id).ok();
    assert_eq!(hears(), 5);
    t.delete(&id);
    Ok(())
}

fn another_profile(t: &Context) -> Outcome {
    let (own, other, id) = (t.id("own"), t.id("other"), t.id("c"));
    let bundle = shell(t, COUNT)?;
    let _profiles = Profiles::load(&[&own, &other])?;
    let bundle = bundle.with("/process/apparmorProfile", json!(own));
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    let profile = || {
        let text = fs::read_to_string(format!("/proc/{}/attr/current", t.pid(&id))).expect("it lives");
        text.trim().to_owned()
    };
    assert_eq!(profile(), format!("{own} (enforce)"));
    checkpoint(t, &[], &id).ok();
    restore(t, &bundle, &["--lsm-profile", &format!("apparmor:{other}")], &id).ok();
    assert_eq!(profile(), format!("{other} (enforce)"));
    t.delete(&id);
    Ok(())
}

/// A network namespace by path stays the same one; binds, nested ones too, come from the host again.
fn namespaces_from_outside(t: &Context) -> Outcome {
    let (id, holder) = (t.id("c"), t.id("holder"));
    let bundle = shell(t, COUNT)?;
    t.detach(&t.bundle_again().args(&["sleep", "600"]), &holder);
    let network = format!("/proc/{}/ns/net", t.pid(&holder));
    let data = t.dir().join("data");
    fs::create_dir(&data).expect("writable");
    let bind = |to: &str| json!({"destination": to, "source": data.to_str(), "options": ["bind", "rprivate"]});
    let bundle = bundle.retain("/linux/namespaces", |one| one["type"] != "network");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "network", "path": network}));
    let bundle = bundle.with("/mounts/-", bind("/some/data")).with("/mounts/-", bind("/some/data/inner"));
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    checkpoint(t, &[], &id).ok();
    // The mount points are made again, as in a new container.
    fs::remove_dir(data.join("inner")).expect("it is ours");
    fs::remove_dir_all(bundle.rootfs("some")).expect("it is ours");
    fs::write(data.join("file"), "data\n").expect("writable");
    restore(t, &bundle, &[], &id).ok();
    let inode = |path: &str| fs::metadata(path).expect("it is there").ino();
    assert_eq!(inode(&format!("/proc/{}/ns/net", t.pid(&id))), inode(&network));
    t.orlop(&["exec", &id, "/bin/busybox", "cat", "/some/data/inner/file"]).end().ok().prints(&["data"]);
    t.delete(&id);
    t.delete(&holder);
    Ok(())
}

fn user_namespace(t: &Context) -> Outcome {
    let id = t.id("c");
    // criu cannot mount cgroup2 for root of a user namespace.
    let bundle = mapped(shell(t, COUNT)?).retain("/mounts", |mount| mount["type"] != "cgroup");
    std::os::unix::fs::chown(bundle.rootfs(""), Some(100_000), Some(100_000)).expect("we are root");
    // A file of the host's root cannot be opened again in there, and its null device can.
    let silent = "exec \"$@\" >/dev/null 2>&1";
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).through_bash(silent).end().ok();
    await_file(&bundle, "log");
    sleep(Duration::from_millis(500));
    let before = count(t, &id);
    checkpoint(t, &[], &id).ok();
    let args = [&["restore", "--detach", "--bundle", bundle.path()], &IGNORE[..], &[&id]].concat();
    t.orlop(&args).through_bash(silent).end().ok();
    counts_beyond(t, &id, before);
    let map = fs::read_to_string(format!("/proc/{}/uid_map", t.pid(&id))).expect("it runs");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    t.delete(&id);
    Ok(())
}

/// `--empty-ns network` leaves all of it to the caller.
fn network_stays_down(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = counting(t, &id)?;
    checkpoint(t, &[], &id).ok();
    restore(t, &bundle, &["--empty-ns", "network"], &id).ok();
    let devices = t.orlop(&["exec", &id, "/bin/busybox", "ip", "address"]).end().ok().stdout();
    assert!(devices.contains("lo:") && !devices.contains("127.0.0.1"), "{devices}");
    t.delete(&id);
    Ok(())
}

/// Those of the runtime's namespaces run when the new ones are there, and poststop when the container is saved.
fn hooks(t: &Context) -> Outcome {
    let id = t.id("c");
    let mut bundle = shell(t, COUNT)?;
    for event in ["prestart", "createRuntime", "poststart", "poststop"] {
        let script = format!("cat >>{}/hooks; echo \" {event}\" >>{}/hooks", bundle.path(), bundle.path());
        bundle.set(&format!("/hooks/{event}"), json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]));
    }
    t.detach(&bundle, &id);
    await_file(&bundle, "log");
    checkpoint(t, &[], &id).ok();
    let file = Path::new(bundle.path()).join("hooks");
    fs::remove_file(&file).expect("they ran");
    restore(t, &bundle, &[], &id).ok();
    let text = fs::read_to_string(&file).expect("they ran");
    let pid = t.pid(&id);
    assert!(text.matches(&format!("\"pid\":{pid}")).count() == 2, "{text}");
    assert!(text.contains(" prestart") && text.contains(" createRuntime") && !text.contains(" post"), "{text}");
    t.delete(&id);
    // One that fails stops the restoring, and leaves nothing.
    bundle.set("/hooks/createRuntime", json!([{"path": "/bin/false"}]));
    restore(t, &bundle, &[], &id).fails_with("createRuntime hook");
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

fn work_directory(t: &Context) -> Outcome {
    let id = t.id("c");
    let bundle = counting(t, &id)?;
    fs::write(t.dir().join("criu.conf"), "log-file=other.log\n").expect("writable");
    t.delete(&id);
    let conf = t.dir().join("criu.conf");
    let bundle = bundle.with("/annotations", json!({"org.criu.config": conf.to_str()}));
    t.detach(&bundle, &id);
    checkpoint(t, &["--work-path", "work", "--image-path", "images"], &id).ok();
    assert!(t.dir().join("images/inventory.img").exists() && !t.dir().join("images/dump.log").exists());
    assert!(t.dir().join("work/other.log").exists());
    fs::write(&conf, "").expect("writable");
    restore(t, &bundle, &["--work-path", "work", "--image-path", "images"], &id).ok();
    assert!(t.dir().join("work/restore.log").exists());
    t.delete(&id);
    Ok(())
}

/// On a kernel that criu does not know its way about: what it says is told, and the container runs on.
fn criu_that_cannot(t: &Context) -> Outcome {
    let there = Command::new("criu").arg("--version").output().is_ok();
    if !there || criu_works() {
        return Err(Skip("criu works here, or is not installed".into()));
    }
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let done = checkpoint(t, &[], &id).fails_with("criu failed: type DUMP errno ");
    assert!(done.stderr().contains("Error (criu/"), "{}", done.stderr());
    assert!(done.stderr().contains("log file: checkpoint/dump.log"), "{}", done.stderr());
    assert_eq!(t.state(&id)["status"], "running");
    assert!(t.host.layout == Layout::V2 || t.cgroup_of(t.pid(&id), "pids").exists());
    t.delete(&id);
    Ok(())
}
