//! What a container's program tells the service manager that started the runtime; see sd_notify(3).

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

use serde_json::json;

use crate::bundle::Bundle;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "notify":
    EVERYWHERE { run_detached, run_in_the_foreground, create_and_start, never_ready, nobody_listens, manager_goes }
    HOST_ROOT { long_root_and_abstract_manager }
}

const SOCKET: &str = "/run/notify/notify.sock";

/// What the manager hears, and what `NOTIFY_SOCKET` says of it.
fn manager(t: &Context) -> (Receiver<String>, String) {
    let path = t.dir().join("manager").to_str().expect("a plain path").to_owned();
    (listens(UnixDatagram::bind(&path).expect("a free name")), path)
}

/// Reads at once, as whoever waits for a barrier relies on: a descriptor that is not asked for is closed.
fn listens(socket: UnixDatagram) -> Receiver<String> {
    let (said, heard) = channel();
    spawn(move || {
        let mut text = [0; 4096];
        while let Ok(n) = socket.recv(&mut text)
            && said.send(String::from_utf8_lossy(&text[..n]).into_owned()).is_ok()
        {}
    });
    heard
}

fn heard(manager: &Receiver<String>) -> String {
    manager.recv_timeout(Duration::from_secs(60)).expect("something is said")
}

fn says(t: &Context, words: &[&str]) -> Bundle {
    let begin = ["env", "--"];
    t.bundle().with("/root/readonly", json!(false)).args(&[&begin, words].concat())
}

const READY: &[&str] = &["notify", SOCKET, "STATUS=made\nMAINPID=1\nREADY=1", "--", "sleep", "600"];

/// A service of `Type=notify` whose main process is the container's.
fn run_detached(t: &Context) -> Outcome {
    let (manager, path) = manager(t);
    let id = t.id("c");
    // A status that has the word in it is no more than that.
    let bundle = says(t, &[&["notify", SOCKET, "STATUS=not READY=1", "--"], READY].concat());
    let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).env("NOTIFY_SOCKET", &path);
    let done = run.end().ok();
    t.wait_for_output(&done, &format!("NOTIFY_SOCKET={SOCKET}\n"));
    assert_eq!(heard(&manager), "STATUS=not READY=1\n");
    assert_eq!(heard(&manager), format!("STATUS=made\nMAINPID={}\nREADY=1\n", t.pid(&id)));
    // Whose descriptor is closed when it has been read: then our process may go.
    assert_eq!(heard(&manager), "BARRIER=1");
    // A further process has none, and the container is removed whole.
    assert!(!t.orlop(&["exec", &id, "/bin/probe", "env"]).end().ok().stdout().contains("NOTIFY_SOCKET"));
    t.delete(&id);
    assert_eq!(fs::read_dir(t.dir().join("root")).expect("it is there").count(), 0);
    Ok(())
}

/// The main process is ours, which hands on what is said to the end.
fn run_in_the_foreground(t: &Context) -> Outcome {
    let (manager, path) = manager(t);
    let words = ["notify", SOCKET, "READY=1", "--", "notify", SOCKET, "FDSTORE=1", "--"];
    let words = [&words[..], &["notify", SOCKET, "STOPPING=1", "--", "exit", "3"]].concat();
    let bundle = says(t, &words);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).env("NOTIFY_SOCKET", &path).start();
    assert_eq!(heard(&manager), format!("MAINPID={}\nREADY=1\n", run.pid()));
    run.end().exits(3);
    assert_eq!(heard(&manager), "STOPPING=1\n");
    Ok(())
}

fn create_and_start(t: &Context) -> Outcome {
    let (manager, path) = manager(t);
    let id = t.id("c");
    let bundle = says(t, READY);
    t.orlop(&["create", "--bundle", bundle.path(), &id]).env("NOTIFY_SOCKET", &path).end().ok();
    t.orlop(&["start", &id]).env("NOTIFY_SOCKET", &path).end().ok();
    assert_eq!(heard(&manager), format!("STATUS=made\nMAINPID={}\nREADY=1\n", t.pid(&id)));
    t.delete(&id);
    // One that was not created with a socket starts as ever.
    let id = t.id("d");
    t.create(&t.bundle_again(), &id).ok();
    t.orlop(&["start", &id]).env("NOTIFY_SOCKET", &path).end().ok();
    t.delete(&id);
    Ok(())
}

/// Its end is the end of waiting, whether it has said something or not.
fn never_ready(t: &Context) -> Outcome {
    let (manager, path) = manager(t);
    let id = t.id("c");
    let bundle = says(t, &["notify", SOCKET, "STATUS=no"]);
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).env("NOTIFY_SOCKET", &path).end().ok();
    assert_eq!(heard(&manager), "STATUS=no\n");
    t.delete(&id);
    Ok(())
}

/// A manager that has gone is told of, and does not end the container.
fn manager_goes(t: &Context) -> Outcome {
    let path = t.dir().join("manager");
    let socket = UnixDatagram::bind(&path).expect("a free name");
    let words =
        ["notify", SOCKET, "STATUS=one", "--", "cat", "/go", "--", "notify", SOCKET, "STATUS=two", "--", "exit", "4"];
    let bundle = says(t, &words);
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.rootfs("go"), 0o600.into()).expect("it is new");
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let run = run.env("NOTIFY_SOCKET", path.to_str().expect("a plain path")).start();
    assert_eq!(socket.recv(&mut [0; 64]).expect("it is said"), "STATUS=one\n".len());
    drop(socket);
    fs::write(bundle.rootfs("go"), "").expect("somebody reads");
    let done = run.end().exits(4);
    assert!(done.log().contains("telling the service manager"), "{}", done.log());
    Ok(())
}

/// What nobody would hear is an error before there is a container.
fn nobody_listens(t: &Context) -> Outcome {
    let bundle = says(t, READY);
    let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &t.id("c")]).env("NOTIFY_SOCKET", "/no/socket");
    run.end().fails_with("NOTIFY_SOCKET /no/socket: connect: no such file or directory");
    assert_eq!(fs::read_dir(t.dir().join("root")).expect("it is there").count(), 0);
    Ok(())
}

fn long_root_and_abstract_manager(t: &Context) -> Outcome {
    let name = format!("{}-manager", t.tag());
    let address = SocketAddr::from_abstract_name(&name).expect("short enough");
    let manager = listens(UnixDatagram::bind_addr(&address).expect("a free name"));
    let root = t.dir().join("long".repeat(30));
    let root = root.to_str().expect("a plain path");
    let id = t.id("c");
    let bundle = says(t, READY);
    let run = t.orlop(&["--root", root, "run", "--detach", "--bundle", bundle.path(), &id]);
    run.env("NOTIFY_SOCKET", &format!("@{name}")).end().ok();
    assert!(heard(&manager).contains("READY=1"));
    t.orlop(&["--root", root, "delete", "--force", &id]).end().ok();
    assert_eq!(fs::read_dir(root).expect("it is there").count(), 0);
    Ok(())
}
