//! An ordinary user's daily work with Podman, past the first container.

use std::fs;

use crate::context::Context;
use crate::engines::podman::Podman;
use crate::engines::{image, until};
use crate::tests::podman::{LOOP, exec, exec_in_all_forms};
use crate::tests::pods::{POD, removed};
use crate::tests::{Outcome, tests};

tests! { "rootless":
    ENGINES { background, executes, volumes, healthcheck, restart_policies, pod, played, units }
}

/// Where the user may write to no cgroup, as here, nothing can be paused; Podman says so itself, or the runtime does.
fn background(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    let c = |args: &[&str]| podman.podman(&[args, &["c"]].concat()).end();
    let logs = || c(&["logs"]).stdout();
    podman.detach(&["--label", "of=user"], "c", LOOP);
    until("it has started", || logs() == "started\n");
    podman.podman(&["ps", "--filter", "label=of=user", "--format", "{{.Names}}"]).end().ok().prints(&["c"]);
    assert!(podman.podman(&["top", "c", "pid", "user", "args"]).end().ok().stdout().contains("root"));
    let file = t.dir().join("home/copied");
    fs::write(&file, "copied\n").expect("writable");
    podman.podman(&["cp", file.to_str().expect("plain"), "c:/tmp/copied"]).end().ok();
    podman.podman(&["exec", "c", "cat", "/tmp/copied"]).end().ok().prints(&["copied"]);
    podman.podman(&["cp", "c:/etc/plain", "-"]).end().ok();
    let changed = c(&["diff"]).ok().stdout();
    assert!(changed.lines().any(|line| line == "A /tmp/copied"), "{changed}");

    if c(&["pause"]).code() == 0 {
        assert_eq!(podman.inspect("c", "{{.State.Status}}"), "paused");
        c(&["unpause"]).ok();
    }
    podman.podman(&["kill", "--signal", "URG", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "running");
    podman.podman(&["restart", "--time", "10", "c"]).end().ok();
    until("it has started again", || logs() == "started\nstopped\nstarted\n");
    podman.podman(&["stop", "--time", "10", "c"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    assert!(podman.podman(&["exec", "c", "true"]).end().code() > 0);
    c(&["start"]).ok();
    c(&["kill"]).ok();
    c(&["wait"]).ok().prints(&["137"]);
    podman.podman(&["logs", "--tail", "1", "c"]).end().ok().prints(&["started"]);
    podman.remove("c");

    // Created first; initialised; attached to.
    podman.container("create", &["--name", "c"], &["echo", "made"]).end().ok();
    c(&["init"]).ok();
    podman.podman(&["start", "--attach", "c"]).end().ok().prints(&["made"]);
    podman.remove("c");
    podman.end();
    Ok(())
}

fn executes(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    // In the user namespace that Podman makes, and in one of its own below that.
    for (map, first) in [(&[][..], "54321"), (&["--uidmap", "0:1:2000", "--gidmap", "0:1:3000"][..], "1")] {
        podman.detach(&[map, &["--env", "A=of the container"]].concat(), "c", &["sleep", "1000"]);
        let script = "echo $A; awk '{print $2; exit}' /proc/self/uid_map";
        exec(&podman, &[], script).ok().prints(&["of the container", first]);
        exec_in_all_forms(&podman, 4);
        podman.podman(&["exec", "c", "/etc/plain"]).end().exits(126);
        podman.remove("c");
    }
    podman.end();
    Ok(())
}

/// Of the user's, by name and by path: what is written belongs to the user.
fn volumes(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    podman.run(&["--volume", "named:/mnt"], "echo kept >/mnt/x").end().ok();
    podman.prints(&["--volume", "named:/mnt:ro"], "cat /mnt/x; touch /mnt/y 2>&- || echo ro", &["kept", "ro"]);
    podman.prints(&["--volume", "named:/mnt", "--user", "7"], "stat -c %u:%a /mnt/x", &["0:644"]);
    podman.podman(&["volume", "rm", "named"]).end().ok();
    podman.prints(&["--volume", "owned:/mnt:U", "--user", "7"], "touch /mnt/x && stat -c %u /mnt", &["7"]);
    podman.podman(&["volume", "rm", "owned"]).end().ok();
    let script = format!("umask 022; mkdir {dir}; echo mine >{dir}/file", dir = t.dir().join("home/dir").display());
    podman.podman(&["unshare", "sh", "-c", &script]).end().ok();
    let dir = format!("{}:/mnt", t.dir().join("home/dir").display());
    podman.prints(&["--volume", &dir], "cat /mnt/file; stat -c %u /mnt/file; echo x >/mnt/new", &["mine", "0"]);
    assert_eq!(fs::read_to_string(t.dir().join("home/dir/new")).expect("it was written"), "x\n");
    for option in ["ro", "rslave", "rprivate,nosuid", "z"] {
        podman.prints(&["--volume", &format!("{dir}:{option}")], "cat /mnt/file", &["mine"]);
    }
    podman.prints(&["--mount", "type=tmpfs,destination=/mnt,tmpfs-size=64k"], "df -k /mnt | grep -c 64", &["1"]);
    podman.prints(&["--mount", "type=devpts,destination=/mnt"], "test -c /mnt/ptmx && echo there", &["there"]);
    podman.podman(&["unshare", "rm", "-rf", dir.trim_end_matches(":/mnt")]).end().ok();
    podman.end();
    Ok(())
}

fn healthcheck(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
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

/// The monitor's cleanup, which nobody tells where the test's folders are, starts it again.
fn restart_policies(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    podman.detach(&["--restart", "on-failure:2"], "c", &["sh", "-c", "echo run; exit 3"]);
    until("it was tried three times", || podman.podman(&["logs", "c"]).end().stdout() == "run\nrun\nrun\n");
    until("that is all", || podman.inspect("c", "{{.State.Status}}") == "exited");
    assert_eq!(podman.inspect("c", "{{.RestartCount}} {{.State.ExitCode}}"), "2 3");
    podman.remove("c");
    podman.end();
    Ok(())
}

fn pod(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    let share = ["pod", "create", "--name", "p", "--network", "none", "--share", "net,ipc,uts,pid"];
    podman.podman(&share).end().ok();
    podman.detach(&["--pod", "p"], "c", &["sleep", "1000"]);
    podman.prints(&["--pod", "p"], "hostname; pidof sleep | wc -w", &["p", "1"]);
    let own = |name: &str| podman.podman(&["exec", "c", "readlink", &format!("/proc/self/ns/{name}")]).end().ok();
    let first = own("net").stdout();
    podman.prints(&["--pod", "p"], "readlink /proc/self/ns/net", &[first.trim()]);
    assert!(podman.podman(&["pod", "top", "p"]).end().ok().stdout().contains("sleep"));
    podman.podman(&["pod", "restart", "p"]).end().ok();
    until("it runs again", || podman.podman(&["exec", "c", "true"]).end().code() == 0);
    podman.podman(&["pod", "stop", "--time", "0", "p"]).end().ok();
    assert_eq!(podman.inspect("c", "{{.State.Status}}"), "exited");
    podman.podman(&["pod", "start", "p"]).end().ok();
    podman.podman(&["exec", "c", "true"]).end().ok();
    removed(&podman, "p", &["pod", "rm", "--force", "--ignore", "--time", "0", "p"]);
    podman.podman(&["rmi", "--all", "--force"]).end().ok();
    podman.end();
    Ok(())
}

/// `podman kube play` and `kube down`: the document of root's test, without the limits that need a cgroup.
fn played(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    let volume = t.dir().join("home/volume");
    podman.podman(&["unshare", "mkdir", "--mode", "777", volume.to_str().expect("plain")]).end().ok();
    let file = t.dir().join("pod.yaml");
    let text = POD.replace("@image", image::NAME).replace("@volume", volume.to_str().expect("plain"));
    fs::write(&file, text.replace("    resources:\n      limits:\n        memory: 64Mi\n", "")).expect("writable");
    let file = file.to_str().expect("plain");
    podman.podman(&["kube", "play", "--network", "none", file]).end().ok();
    let logs = |name: &str| podman.podman(&["logs", name]).end().ok().stdout();
    until("the first says it", || logs("played-one") == "hello from named\n");
    until("the second says it", || logs("played-two") == "1000\n/tmp\nCapEff:\t0000000000000000\nro\n");
    let exec = |name: &str, words: &[&str]| podman.podman(&[&["exec", name], words].concat()).end();
    exec("played-two", &["ls", "/shared"]).ok().prints(&["one"]);
    assert!(exec("played-two", &["touch", "/shared/two"]).code() > 0);
    podman.podman(&["pod", "stop", "--time", "10", "played"]).end().ok();
    assert_eq!(podman.inspect("played-one", "{{.State.ExitCode}}"), "0");
    podman.podman(&["pod", "start", "played"]).end().ok();
    exec("played-two", &["true"]).ok();
    removed(&podman, "played", &["kube", "down", file]);
    podman.podman(&["unshare", "rm", "-rf", volume.to_str().expect("plain")]).end().ok();
    podman.podman(&["rmi", "--all", "--force"]).end().ok();
    podman.end();
    Ok(())
}

/// What a user's systemd is given to start and stop a container does so.
fn units(t: &Context) -> Outcome {
    let podman = Podman::of_user(t, true)?;
    podman.container("create", &["--name", "c"], LOOP).end().ok();
    let unit = podman.podman(&["generate", "systemd", "--name", "c"]).end().ok().stdout().replace("\\\n", " ");
    let command = |key: &str| -> Vec<String> {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}: {unit}"));
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    for (key, status) in [("ExecStart=", "running"), ("ExecStop=", "exited"), ("ExecStart=", "running")] {
        let words = command(key);
        podman.podman(&words.iter().map(String::as_str).collect::<Vec<_>>()).end().ok();
        until(status, || podman.inspect("c", "{{.State.Status}}") == status);
    }
    podman.remove("c");
    podman.end();
    Ok(())
}
