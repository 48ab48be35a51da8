//! What README tells readers to write into an engine's configuration, taken from there, word for word but for where the
//! binary is.

use std::fs;
use std::process::Command;

use rustix::mount::UnmountFlags;
use serde_json::{Value, json};

use crate::context::Context;
use crate::engines::cases::heard;
use crate::engines::podman::Podman;
use crate::engines::{Engine, image, runtime, tool, until};
use crate::tests::{Outcome, tests};

tests! { "recipes":
    ENGINES { podman, buildah, crio }
}

const README: &str = include_str!("../../../README.md");
/// Where the recipes have the binary.
const INSTALLED: &str = "/usr/local/bin/orlop";

/// The recipe of that name, for the binary under test.
fn recipe(t: &Context, name: &str) -> String {
    let mark = format!("<!-- recipe:{name} -->\n");
    let (_, rest) = README.split_once(&mark).unwrap_or_else(|| panic!("README.md has no {mark}"));
    let (_, rest) = rest.split_once('\n').expect("a fence");
    let (text, _) = rest.split_once("\n```").expect("the fence ends");
    assert!(text.contains(INSTALLED), "{text}");
    text.replace(INSTALLED, runtime(t).to_str().expect("a plain path"))
}

/// As root writes it, in a folder that is `/etc/containers` to this test alone.
fn podman(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let own = podman.engine.folder("etc-containers");
    let copied = Command::new("cp").args(["-a", "/etc/containers/."]).arg(&own).status();
    assert!(copied.expect("cp is there").success());
    fs::write(own.join("containers.conf"), recipe(t, "podman")).expect("writable");
    rustix::mount::mount_bind(&own, "/etc/containers").expect("this mount namespace is ours");
    let call = |args: &[&str]| {
        let dir = |name: &str| t.dir().join("podman").join(name).to_str().expect("plain").to_owned();
        let (networks, tmp) = (dir("networks"), dir("tmp_dir"));
        let start = [
            ["--cgroup-manager", "cgroupfs"],
            ["--events-backend", "file"],
            ["--network-config-dir", &networks],
            ["--tmpdir", &tmp],
        ];
        let args = [start.concat().as_slice(), args].concat();
        heard(|| podman.podman(&args).env("CONTAINERS_CONF", "/etc/containers/containers.conf").end())
    };
    call(&["info", "--format", "{{.Host.OCIRuntime.Name}}"]).ok().prints(&["orlop"]);
    let parent = format!("--cgroup-parent=/{}", t.tag());
    let run = |options: &[&str], words: &[&str]| {
        let pids = if t.host.has_controller("pids") { "1024" } else { "0" };
        let limits = ["--ulimit", "nofile=1024:2048", "--ulimit", "nproc=4096:8192", "--network", "none"];
        let pids: &[&str] = if options == ["--cgroups=disabled"] { &[] } else { &["--pids-limit", pids] };
        call(&[&["run", "--rm"], &limits[..], pids, options, &[image::NAME], words].concat())
    };
    run(&[&parent], &["echo", "hello"]).ok().prints(&["hello"]);
    run(&["--cgroups=disabled"], &["echo", "hello"]).ok().prints(&["hello"]);
    // Read from the JSON log: the words alone, and no record around them.
    let done = run(&[&parent], &["missing"]).exits(127);
    let text = done.stderr();
    assert!(text.contains("executable file not found in $PATH") && !text.contains("level="), "{text}");
    // The clean-up that Podman starts on its own may still read there.
    rustix::mount::unmount("/etc/containers", UnmountFlags::DETACH).expect("it was mounted");
    podman.end();
    Ok(())
}

fn buildah(t: &Context) -> Outcome {
    tool("buildah")?;
    let podman = Podman::of_root(t)?;
    let text = recipe(t, "buildah");
    let variables: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
    assert_eq!(variables.len(), 2, "{text}");
    podman.program("buildah", &["from", "--name", "working", image::NAME]).end().ok();
    let mut call = podman.program("buildah", &["run", "--network", "none", "working", "cat", "/proc/1/comm"]);
    for (name, value) in &variables {
        call = call.env(name, value);
    }
    call.end().ok().prints(&["cat"]);
    podman.program("buildah", &["rm", "working"]).end().ok();
    podman.end();
    Ok(())
}

/// conmon makes the container, and CRI-O does the rest itself.
fn crio(t: &Context) -> Outcome {
    let mut engine = Engine::new(t)?;
    engine.begin();
    let text = recipe(t, "crio");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().trim_matches('"').to_owned()
    };
    let name = value("default_runtime");
    assert!(text.contains(&format!("[crio.runtime.runtimes.{name}]")), "{text}");
    assert_eq!(value("runtime_type"), "oci");
    let (path, root) = (value("runtime_path"), value("runtime_root"));
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]).with("/linux/cgroupsPath", json!(format!("/{}/{id}", t.tag())));
    let file = |name: &str| t.dir().join(name).to_str().expect("plain").to_owned();
    fs::create_dir_all(t.dir().join("exits")).expect("writable");
    let root_option = format!("--root={root}");
    let (pid_file, exits, log) = (file("pid"), file("exits"), format!("k8s-file:{}", file("log")));
    // In the foreground, as a child that a subreaper finds.
    let monitor = [
        ["-c", &id],
        ["-u", &id],
        ["-n", &id],
        ["-r", &path],
        ["-b", bundle.path()],
        ["-p", &pid_file],
        ["-l", &log],
        ["--exit-dir", &exits],
        ["--runtime-arg", &root_option],
    ];
    let monitor = engine.call("conmon", &[&["--sync", "--full-attach"], monitor.concat().as_slice()].concat())?.start();
    until("there is a pid", || fs::read_to_string(&pid_file).is_ok_and(|text| text.parse::<i32>().is_ok()));
    let call = |args: &[&str]| {
        let args = [&["--root", root.as_str()], args].concat();
        engine.call(&path, &args).unwrap_or_else(|skip| panic!("{}", skip.0)).end()
    };
    let status = || call(&["state", &id]).ok().json()["status"].clone();
    until("it is created", || status() == "created");
    call(&["start", &id]).ok();
    assert_eq!(status(), "running");
    let process = t.dir().join("process.json");
    let document = json!({"args": ["/bin/probe", "id"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    fs::write(&process, document.to_string()).expect("writable");
    let done = call(&["exec", "--process", process.to_str().expect("plain"), &id]).ok();
    assert_eq!(done.value("uid"), "0");
    let limits = t.dir().join("limits.json");
    fs::write(&limits, r#"{"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 512}}"#)
        .expect("writable");
    let update = engine.call(&path, &["--root", &root, "update", "--resources", "-", &id])?;
    if t.host.has_controller("cpu") {
        update.stdin(fs::File::open(&limits).expect("it is there")).end().ok();
    }
    call(&["pause", &id]).ok();
    call(&["resume", &id]).ok();
    call(&["kill", &id, "TERM"]).ok();
    call(&["kill", &id, "KILL"]);
    until("it has stopped", || status() == "stopped");
    assert!(call(&["kill", &id, "KILL"]).stderr().contains("container not running"));
    monitor.end().exits(137);
    assert!(t.dir().join("exits").join(&id).exists(), "the monitor says how it ended");
    call(&["kill", "-a", &id, "9"]).ok();
    call(&["delete", "--force", &id]).ok();
    // It reads both streams as one.
    let features = call(&["features"]).ok();
    assert_eq!(features.stderr(), "");
    assert!(features.json()["ociVersionMin"] != Value::Null && features.json()["ociVersionMax"] != Value::Null);
    engine.end();
    Ok(())
}
