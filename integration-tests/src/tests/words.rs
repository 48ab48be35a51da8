//! The words and exit codes that engines match on: what each of them makes of a failure, decided as its sources do.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::context::{Context, Skip};
use crate::host::Layout;
use crate::tests::{Outcome, tests};

tests! { "words":
    ROOT {
        failed_creates, failed_execs, calls_of_a_stopped_container, calls_of_a_running_container, calls_of_no_container,
        silent_successes, unknown_options,
    }
    HOST_ROOT { refused_limit }
}

/// What engines make of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Exit status 127.
    NotFound,
    /// Exit status 126.
    Denied,
    /// The container is as the caller wants it: success.
    Gone,
    /// A failure like others.
    Other,
}
use Means::{Denied, Gone, NotFound, Other};

/// dockerd, which takes the last that fits: daemon/errors.go.
fn docker_daemon(message: &str) -> Means {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let missing = ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    if has(&["not a directory"]) {
        NotFound
    } else if has(&["permission denied"]) {
        Denied
    } else if has(&missing) {
        NotFound
    } else {
        Other
    }
}

/// The docker command, which is case-sensitive: cli/command/container/run.go.
fn docker_cli(message: &str) -> Means {
    if message.contains("executable file not found") || message.contains("no such file or directory") {
        NotFound
    } else if message.contains("permission denied") {
        Denied
    } else {
        Other
    }
}

/// libpod/oci_util.go: permission first.
fn podman(message: &str) -> Means {
    let text = message.to_lowercase();
    if text.contains("permission denied") || text.contains("operation not permitted") {
        Denied
    } else if ["executable file not found in", "no such file or directory", "open executable"]
        .iter()
        .any(|w| text.contains(w))
    {
        NotFound
    } else {
        Other
    }
}

/// The shim, of a failed kill or delete: process/utils.go.
fn containerd(message: &str) -> Means {
    let gone = ["os: process already finished", "container not running"].iter().any(|w| message.contains(w));
    if gone || message.to_lowercase().contains("no such process") || message.contains("does not exist") {
        Gone
    } else {
        Other
    }
}

/// internal/oci/runtime_oci.go, of any call.
fn crio(message: &str) -> Means {
    let gone = ["no such process", "container not running", "invalid process"];
    if gone.iter().any(|w| message.contains(w)) { Gone } else { Other }
}

/// How records are asked for, and what reads level and message of one.
type Form = (&'static [&'static str], fn(&str) -> (String, String));

fn forms() -> [Form; 2] {
    let json = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        let time = record["time"].as_str().unwrap_or_default();
        assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "not RFC 3339: {line}");
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (text("level"), text("msg"))
    };
    let text = |line: &str| {
        assert!(line.starts_with("time=\""), "{line}");
        let (_, rest) = line.split_once(" level=").expect("a level");
        let (level, rest) = rest.split_once(" msg=").expect("a message");
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        (level.to_owned(), values.next().expect("a message").expect("it is quoted"))
    };
    [(&["--log-format", "json"], json), (&[], text)]
}

/// The call fails in each form with that status, with one record of level error in the log, and with the same text on
/// standard error, and nothing on standard output. Returns the text.
#[track_caller]
fn failure(t: &Context, status: i32, call: &[&str]) -> String {
    let mut said = Vec::new();
    let root = t.dir().join("root");
    let root = root.to_str().expect("a plain path");
    for (form, read) in forms() {
        let log = t.dir().join("words.log");
        let _ = fs::remove_file(&log);
        let mut args = vec!["--root", root, "--log", log.to_str().expect("a plain path")];
        args.extend(form);
        args.extend(t.global().iter().map(String::as_str));
        args.extend(call);
        let done = t.bare_orlop(&args).end().exits(status);
        let text = fs::read_to_string(&log).expect("there is a log");
        assert_eq!(text.lines().count(), 1, "{call:?}: {text}");
        assert!(text.ends_with('\n'), "{text}");
        let (level, message) = read(text.trim_end());
        assert_eq!(level, "error", "{text}");
        assert_eq!(done.stderr(), format!("{message}\n"), "{call:?}");
        assert_eq!(done.stdout(), "", "{call:?}");
        said.push(message);
        // Without a log the record itself is what standard error gets: conmon, and Podman's own calls.
        args.drain(2..4);
        let done = t.bare_orlop(&args).end().exits(status);
        let text = done.stderr();
        assert_eq!(text.lines().count(), 1, "{call:?}: {text}");
        let (level, message) = read(text.trim_end());
        assert_eq!((level.as_str(), done.stdout().as_str()), ("error", ""), "{call:?}");
        said.push(message);
    }
    // Figures of what is used now, and the like, may differ.
    let digits = |text: &String| text.replace(|c: char| c.is_ascii_digit(), "");
    assert!(said.iter().all(|text| digits(text) == digits(&said[0])), "{said:#?}");
    said.remove(0)
}

/// A failure of what is to be executed or mounted.
struct Start {
    pointer: &'static str,
    value: Value,
    words: &'static [&'static str],
    daemon: Means,
    cli: Means,
    podman: Means,
}

fn starts() -> Vec<Start> {
    let row = |pointer, value, words, means| Start { pointer, value, words, daemon: means, cli: means, podman: means };
    vec![
        row(
            "/process/args",
            json!(["no-such", "x"]),
            &["exec: \"no-such\": executable file not found in $PATH"],
            NotFound,
        ),
        row(
            "/process/args",
            json!(["/no/such"]),
            &["exec: \"/no/such\": stat /no/such: no such file or directory"],
            NotFound,
        ),
        row("/process/args", json!(["/etc/passwd"]), &["exec: \"/etc/passwd\": permission denied"], Denied),
        row("/process/args", json!(["/etc"]), &["exec: \"/etc\"", "permission denied"], Denied),
        Start {
            pointer: "/process/cwd",
            value: json!("/etc/passwd"),
            words: &["/etc/passwd", "not a directory", "/cwd]"],
            daemon: NotFound,
            cli: Other,
            podman: Other,
        },
    ]
}

fn mounts() -> Vec<Start> {
    let bind =
        |source: &str, destination: &str| json!({"destination": destination, "source": source, "options": ["bind"]});
    vec![
        Start {
            pointer: "/mounts/-",
            value: bind("/no/such/source", "/x"),
            words: &["/no/such/source", "no such file or directory"],
            daemon: NotFound,
            cli: NotFound,
            podman: NotFound,
        },
        // dockerd adds: Are you trying to mount a directory onto a file (or vice-versa)?
        Start {
            pointer: "/mounts/-",
            value: bind("/etc/passwd", "/etc"),
            words: &["mounting at /etc: ", "not a directory"],
            daemon: NotFound,
            cli: Other,
            podman: Other,
        },
        Start {
            pointer: "/mounts/-",
            value: bind("/etc", "/etc/passwd"),
            words: &["/etc/passwd", "not a directory"],
            daemon: NotFound,
            cli: Other,
            podman: Other,
        },
    ]
}

impl Start {
    #[track_caller]
    fn check(&self, message: &str) {
        for word in self.words {
            assert!(message.contains(word), "no {word:?} in {message:?}");
        }
        assert_eq!(docker_daemon(message), self.daemon, "dockerd reads {message:?}");
        assert_eq!(podman(message), self.podman, "Podman reads {message:?}");
        if self.cli != Other {
            assert_eq!(docker_cli(message), self.cli, "docker reads {message:?}");
        }
    }
}

/// All are raised by `create`, which leaves nothing: neither a pid file nor a state.
fn failed_creates(t: &Context) -> Outcome {
    let pid_file = t.dir().join("pid");
    let pid_path = pid_file.to_str().expect("a plain path");
    for start in starts().into_iter().chain(mounts()) {
        let bundle = t.bundle().with(start.pointer, start.value.clone());
        for command in ["create", "run"] {
            let id = t.id("c");
            let message = failure(t, 1, &[command, "--bundle", bundle.path(), "--pid-file", pid_path, &id]);
            start.check(&message);
            assert!(!pid_file.exists(), "{message}");
            assert_eq!(fs::read_dir(t.dir().join("root")).expect("it is there").count(), 0, "{message}");
        }
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.detach(&bundle, &id);
    let message = failure(t, 1, &["create", "--bundle", bundle.path(), &id]);
    assert!(message.contains("already exists"), "{message}");
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

/// 255, which a process can give as well: so no pid file, by which conmon knows; the container goes on.
fn failed_execs(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let pid_file = t.dir().join("pid");
    let pid_path = pid_file.to_str().expect("a plain path");
    for start in starts() {
        let mut process =
            json!({"args": ["/bin/probe", "true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        let member = start.pointer.strip_prefix("/process/").expect("a member of the process");
        process[member] = start.value.clone();
        let file = write(t, "process.json", &process);
        let file = file.to_str().expect("a plain path");
        for detach in [true, false] {
            let mut call = vec!["exec", "--process", file, "--pid-file", pid_path];
            call.extend(detach.then_some("--detach"));
            call.push(&id);
            start.check(&failure(t, 255, &call));
            assert!(!pid_file.exists());
        }
    }
    assert_eq!(t.state(&id)["status"], "running");
    // An ordinary user's container is in no cgroup of its own.
    if t.host.uid == 0 {
        t.orlop(&["pause", &id]).end().ok();
        let message = failure(t, 255, &["exec", &id, "/bin/probe", "true"]);
        assert!(message.contains("paused"), "{message}");
        t.orlop(&["resume", &id]).end().ok();
    }
    t.delete(&id);
    Ok(())
}

fn write(t: &Context, name: &str, document: &Value) -> PathBuf {
    let path = t.dir().join(name);
    fs::write(&path, document.to_string()).expect("the test's folder is writable");
    path
}

/// A call, its status and words, and what containerd's shim and CRI-O make of them.
struct Call<'a>(&'a [&'a str], i32, &'static str, Means, Means);

#[track_caller]
fn check(t: &Context, calls: &[Call<'_>]) {
    for Call(call, status, words, shim, cri) in calls {
        let message = failure(t, *status, call);
        assert!(message.contains(words), "{call:?}: no {words:?} in {message:?}");
        assert_eq!(containerd(&message), *shim, "{call:?}: containerd reads {message:?}");
        assert_eq!(crio(&message), *cri, "{call:?}: CRI-O reads {message:?}");
    }
}

fn calls_of_a_stopped_container(t: &Context) -> Outcome {
    let c = t.id("c");
    t.detach(&t.bundle(), &c);
    t.wait_for(&c, "stopped");
    check(
        t,
        &[
            Call(&["kill", &c, "9"], 1, "container not running", Gone, Gone),
            Call(&["kill", &c, "SIGKILL"], 1, "container not running", Gone, Gone),
            Call(&["kill", &c, "KILL"], 1, "container not running", Gone, Gone),
            Call(&["kill", &c], 1, "container not running", Gone, Gone),
            Call(&["pause", &c], 1, "container not running", Gone, Gone),
            Call(&["start", &c], 1, "cannot start a container that has stopped", Other, Other),
            Call(&["exec", &c, "/bin/probe"], 255, "cannot exec in a stopped container", Other, Other),
        ],
    );
    t.delete(&c);
    Ok(())
}

fn calls_of_a_running_container(t: &Context) -> Outcome {
    let c = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &c);
    check(
        t,
        &[
            Call(&["delete", &c], 1, "is not stopped", Other, Other),
            Call(&["start", &c], 1, "cannot start an already running container", Other, Other),
            Call(&["resume", &c], 1, "not paused", Other, Other),
            Call(&["kill", &c, "NONSENSE"], 1, "NONSENSE", Other, Other),
            Call(&["update", "--resources", "/no/such", &c], 1, "no such file or directory", Other, Other),
        ],
    );
    assert_eq!(t.state(&c)["status"], "running", "none of them touched it");
    t.delete(&c);
    Ok(())
}

fn calls_of_no_container(t: &Context) -> Outcome {
    for call in [
        &["state", "none"][..],
        &["start", "none"],
        &["kill", "none", "15"],
        &["kill", "--all", "none", "9"],
        &["pause", "none"],
        &["resume", "none"],
        &["delete", "none"],
        &["ps", "--format", "json", "none"],
        &["update", "--pids-limit", "5", "none"],
        &["events", "--stats", "none"],
    ] {
        check(t, &[Call(call, 1, "container does not exist", Gone, Other)]);
    }
    check(t, &[Call(&["exec", "none", "true"], 255, "container does not exist", Gone, Other)]);
    Ok(())
}

/// Shown to the user verbatim; the container goes on with what it had.
fn refused_limit(t: &Context) -> Outcome {
    t.needs_controller("memory")?;
    if t.host.layout != Layout::V1 {
        return Err(Skip("cgroup v2 takes the limit and kills".into()));
    }
    let c = t.id("c");
    let bundle = t.bundle().args(&["alloc", "8388608", "--", "print", "ready", "--", "sleep", "600"]);
    let done = t.detach(&bundle.with("/linux/resources/memory", json!({"limit": 67_108_864})), &c);
    t.wait_for_output(&done, "ready");
    let file = write(t, "resources.json", &json!({"memory": {"limit": 65536}}));
    let file = format!("--resources={}", file.display());
    let message = failure(t, 1, &["update", &file, &c]);
    assert!(message.contains("unable to set memory limit to 65536 (current usage: "), "{message}");
    assert_eq!(t.state(&c)["status"], "running");
    t.delete(&c);
    Ok(())
}

/// Cleaning up what is gone already: status 0 and not a word, on which CRI and the shim's cleanup depend.
fn silent_successes(t: &Context) -> Outcome {
    let c = t.id("c");
    t.detach(&t.bundle(), &c);
    t.wait_for(&c, "stopped");
    for call in
        [&["kill", "--all", &c, "9"][..], &["delete", &c], &["delete", "--force", &c], &["delete", "--force", "none"]]
    {
        let done = t.orlop(call).end().ok();
        assert_eq!(done.stdout() + &done.stderr() + &done.log(), "", "{call:?}");
    }
    Ok(())
}

/// Usage goes to standard output, the reason to standard error.
fn unknown_options(t: &Context) -> Outcome {
    for call in [&["--no-such-option", "list"][..], &["create", "--no-such-option", "c"], &["no-such-command"]] {
        let done = t.bare_orlop(call).end();
        assert!(done.code() > 0, "{call:?}");
        assert!(done.stderr().contains("no-such"), "{call:?}: {}", done.stderr());
    }
    // Podman asks so whether checkpoints of pods are possible, and by `--help` whether any are.
    let done = t.bare_orlop(&["restore", "--lsm-mount-context"]).end();
    assert!(done.code() > 0, "a value is missing");
    let said = done.stdout() + &done.stderr();
    assert!(said.contains("flag needs an argument") || said.contains("requires an argument"), "{said}");
    t.bare_orlop(&["checkpoint", "--help"]).end().ok();
    Ok(())
}
