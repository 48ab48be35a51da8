//! Terminals: in a window, and through a console socket.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::bundle::Bundle;
use crate::context::Context;
use crate::terminal::{Terminal, receive};
use crate::tests::{Outcome, tests};

tests! { "terminal":
    EVERYWHERE {
        session, exec_session, without_a_terminal_of_ones_own, window_closed, console_socket, console_socket_of_exec,
        console_socket_with_a_long_path, console_socket_that_nobody_listens_at, console_needs_a_socket,
        console_socket_needs_a_console, console_size, console_is_the_terminal, console_link_is_refused,
        pty_link_is_refused, pidfd_socket,
    }
    ROOT { terminal_belongs_to_the_user }
}

fn with_terminal(t: &Context, args: &[&str]) -> Bundle {
    t.bundle().args(args).with("/process/terminal", json!(true))
}

/// What a user does in a window: look at the size, change it, type, interrupt; and the window is as it was.
fn converse(terminal: &mut Terminal) {
    terminal.shows("tty 0: 30 90\r\n");
    terminal.shows("tty 2: 30 90\r\n");
    terminal.resize(20, 60);
    terminal.shows("size: 20 60\r\n");
    terminal.types("hello\r");
    terminal.shows("hello\r\n");
    terminal.shows("line: hello\r\n");
    terminal.shows("ready");
    terminal.types("\x03");
    terminal.shows("signal: 2\r\n");
}

const CONVERSATION: &[&str] = &["tty", "--", "await-rows", "20", "--", "line", "--", "sigwait", "--", "exit", "7"];

fn session(t: &Context) -> Outcome {
    let bundle = with_terminal(t, CONVERSATION);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let (running, mut terminal) = run.start_in_terminal();
    let before = Terminal::open().0.attributes();
    converse(&mut terminal);
    running.end().exits(7);
    let after = terminal.attributes();
    assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes));
    assert_eq!(after.output_modes, before.output_modes);
    Ok(())
}

fn exec_session(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let args: Vec<&str> =
        ["exec", "--tty", &id, "/bin/probe"].into_iter().chain(CONVERSATION.iter().copied()).collect();
    let (running, mut terminal) = t.orlop(&args).start_in_terminal();
    let before = Terminal::open().0.attributes();
    converse(&mut terminal);
    running.end().exits(7);
    assert_eq!(terminal.attributes().local_modes, before.local_modes);
    t.delete(&id);
    Ok(())
}

/// What is redirected is passed on, without carriage returns.
fn without_a_terminal_of_ones_own(t: &Context) -> Outcome {
    let bundle = with_terminal(t, &["print", "one", "--", "print", "two", "--", "exit", "3"]);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).through_bash("exec setsid --wait \"$@\"");
    let done = run.end().exits(3);
    assert_eq!(done.stdout(), "one\ntwo\n");
    Ok(())
}

/// The container's session is hung up, as by any terminal; and `run` goes with it.
fn window_closed(t: &Context) -> Outcome {
    let bundle = with_terminal(t, &["sigwait", "--", "exit", "9"]);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]);
    let (running, mut terminal) = run.start_in_terminal();
    terminal.shows("ready");
    drop(terminal);
    running.end().exits(9);
    Ok(())
}

pub fn listener(t: &Context) -> (UnixListener, String) {
    let path = t.dir().join("console.sock").to_str().expect("a plain path").to_owned();
    // A test's folder may be deep.
    let folder = fs::File::open(t.dir()).expect("it is ours");
    let short = format!("/proc/self/fd/{}/console.sock", folder.as_raw_fd());
    (UnixListener::bind(short).expect("the folder is writable"), path)
}

fn console_socket(t: &Context) -> Outcome {
    let (listener, path) = listener(t);
    let bundle = with_terminal(t, &["tty", "--", "line", "--", "readlink", "/proc/self/fd/0"]);
    let id = t.id("c");
    t.orlop(&["create", "--bundle", bundle.path(), "--console-socket", &path, &id]).end().ok();
    let (master, name) = receive(&listener);
    assert!(name.starts_with("/dev/pts/"), "{name}");
    let mut terminal = Terminal::of(master);
    // An engine may do so before the program runs.
    terminal.resize(12, 34);
    t.orlop(&["start", &id]).end().ok();
    terminal.shows("tty 1: 12 34\r\n");
    terminal.types("word\r");
    terminal.shows("line: word\r\n");
    terminal.shows(&format!("/proc/self/fd/0: {name}\r\n"));
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

fn console_socket_of_exec(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let (listener, path) = listener(t);
    let args = ["exec", "--tty", "--detach", "--console-socket", &path, &id, "/bin/probe", "tty", "--", "line"];
    t.orlop(&args).end().ok();
    let mut terminal = Terminal::of(receive(&listener).0);
    terminal.shows("tty 0: 0 0\r\n");
    terminal.types("x\r");
    terminal.shows("line: x\r\n");
    t.delete_with_executed(&id);
    Ok(())
}

/// A socket's address holds 107 bytes.
fn console_socket_with_a_long_path(t: &Context) -> Outcome {
    let folder = t.dir().join("f".repeat(100)).join("g".repeat(100));
    fs::create_dir_all(&folder).expect("the test's folder is writable");
    let (listener, path) = listener(t);
    let long = folder.join("console.sock");
    fs::rename(path, &long).expect("it is ours");
    let bundle = with_terminal(t, &["tty"]);
    let id = t.id("c");
    let path = long.to_str().expect("a plain path");
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), "--console-socket", path, &id]).end().ok();
    Terminal::of(receive(&listener).0).shows("tty 0: 0 0\r\n");
    t.delete(&id);
    Ok(())
}

fn console_socket_that_nobody_listens_at(t: &Context) -> Outcome {
    let (listener, path) = listener(t);
    drop(listener);
    let bundle = with_terminal(t, &["tty"]);
    let id = t.id("c");
    let create = t.orlop(&["create", "--bundle", bundle.path(), "--console-socket", &path, &id]);
    create.end().fails_with("connection refused");
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    Ok(())
}

fn console_needs_a_socket(t: &Context) -> Outcome {
    let bundle = with_terminal(t, &["tty"]);
    let id = t.id("c");
    let text = "cannot allocate tty if runc will detach without setting console socket";
    t.create(&bundle, &id).fails_with(text);
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).end().fails_with(text);
    let id = t.id("running");
    t.detach(&t.bundle_again().args(&["sleep", "600"]), &id);
    t.orlop(&["exec", "--tty", "--detach", &id, "/bin/probe", "tty"]).end().exits(255).fails_with(text);
    t.delete(&id);
    Ok(())
}

fn console_socket_needs_a_console(t: &Context) -> Outcome {
    let (_listener, path) = listener(t);
    let text = "cannot use console socket if runc will not detach or allocate tty";
    let bundle = t.bundle().args(&["tty"]);
    let id = t.id("c");
    for call in [&["create"][..], &["run", "--detach"], &["run"]] {
        let rest = ["--bundle", bundle.path(), "--console-socket", &path, &id];
        let args: Vec<&str> = call.iter().copied().chain(rest).collect();
        t.orlop(&args).end().fails_with(text);
    }
    Ok(())
}

fn console_size(t: &Context) -> Outcome {
    let (listener, path) = listener(t);
    let bundle = with_terminal(t, &["tty"]).with("/process/consoleSize", json!({"height": 11, "width": 22}));
    let id = t.id("c");
    t.orlop(&["run", "--detach", "--bundle", bundle.path(), "--console-socket", &path, &id]).end().ok();
    Terminal::of(receive(&listener).0).shows("tty 0: 11 22\r\n");
    t.delete(&id);
    let bundle = bundle.with("/process/consoleSize", json!({"height": 65536, "width": 22}));
    let args = ["create", "--bundle", bundle.path(), "--console-socket", &path, &id];
    t.orlop(&args).end().fails_with("65536 is no size of a terminal");
    Ok(())
}

fn console_is_the_terminal(t: &Context) -> Outcome {
    let bundle =
        with_terminal(t, &["stat", "/dev/console", "--", "stat", "/dev/pts/0", "--", "write", "/dev/console", "x"]);
    let done = t.run(&bundle).ok();
    let (console, pty) = (done.value("/dev/console"), done.value("/dev/pts/0"));
    assert!(console.starts_with("char "), "{console}");
    assert_eq!(console.split(' ').next_back(), pty.split(' ').next_back());
    assert!(done.stdout().ends_with('x'));
    Ok(())
}

fn terminal_belongs_to_the_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let user = json!({"uid": 1000, "gid": 1001});
    let bundle = with_terminal(t, &["stat", "/dev/pts/0", "--", "open-both", "/dev/tty"]).with("/process/user", user);
    let done = t.run(&bundle).ok();
    assert!(done.value("/dev/pts/0").starts_with("char 620 1000 5 "), "{}", done.stdout());
    assert!(done.stdout().contains("opened rw: /dev/tty"));
    Ok(())
}

/// CVE-2025-52565: what covers and what is covered is never found by a link of the container's.
fn console_link_is_refused(t: &Context) -> Outcome {
    let bundle = with_terminal(t, &["tty"]).retain("/mounts", |mount| mount["destination"] != "/dev");
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir_all(bundle.rootfs(name)).expect("it is ours");
    }
    std::os::unix::fs::symlink("/etc/target", bundle.rootfs("dev/console")).expect("it is ours");
    t.run(&bundle).fails_with("/dev/console is a symbolic link");
    assert!(!bundle.rootfs("etc/target").exists());
    Ok(())
}

/// /dev/pts is a link to a folder with files of pty names: there is no devpts.
fn pty_link_is_refused(t: &Context) -> Outcome {
    let bundle = with_terminal(t, &["tty"])
        .retain("/mounts", |mount| mount["type"] != "devpts" && mount["destination"] != "/dev");
    for name in ["dev/shm", "dev/mqueue", "trap"] {
        fs::create_dir_all(bundle.rootfs(name)).expect("it is ours");
    }
    std::os::unix::fs::symlink("/trap", bundle.rootfs("dev/pts")).expect("it is ours");
    fs::write(bundle.rootfs("trap/ptmx"), "").expect("it is ours");
    t.run(&bundle).fails_with("check that /dev/pts is a devpts");
    Ok(())
}

/// A pidfd of init for create and run, and of the process for exec.
fn pidfd_socket(t: &Context) -> Outcome {
    let (listener, path) = listener(t);
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    let pid_of = |fd: &std::os::fd::OwnedFd| -> i32 {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("it is open");
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("it is a pidfd");
        line.trim().parse().expect("a number")
    };
    t.orlop(&["create", "--bundle", bundle.path(), "--pidfd-socket", &path, &id]).end().ok();
    let (fd, name) = receive(&listener);
    assert_eq!((pid_of(&fd), name.as_str()), (t.pid(&id), "standard"));
    t.orlop(&["start", &id]).end().ok();
    let pid_file = t.dir().join("pid");
    let file = pid_file.to_str().expect("a plain path");
    let args = ["exec", "-d", "--pid-file", file, "--pidfd-socket", &path, &id, "/bin/probe", "sleep", "600"];
    t.orlop(&args).end().ok();
    let (fd, name) = receive(&listener);
    let pid: i32 = fs::read_to_string(&pid_file).expect("it was written").parse().expect("digits alone");
    assert_eq!((pid_of(&fd), name.as_str()), (pid, "setns"));
    t.delete_with_executed(&id);
    Ok(())
}
