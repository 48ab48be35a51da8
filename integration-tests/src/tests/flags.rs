//! Every option of every command, and the test that drives it; and the few that no area has.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::ioctl_fionread;
use serde_json::json;

use crate::context::{Context, Skip};
use crate::terminal::{Terminal, receive};
use crate::tests::terminal::{listener, listener_named};
use crate::tests::{Outcome, all, tests};
use crate::tracer::{Act, Follow, trace};

tests! { "flags":
    HOST_ROOT {
        each_has_its_test, another_configuration, create_and_run, no_pivot, documents_from_pipes, names_of_spec,
        session_keyring, weights_and_realtime, debug_tells_what_is_done,
        a_notify_socket_is_not_handed_on,
    }
}

const CONFIG: &str = "flags/another_configuration";
const BOTH: &str = "flags/create_and_run";
const PIVOT: &str = "flags/no_pivot";
const OPTIONS: &str = "exec/options";
const UPDATE: &str = "update/by_options";
const SAVE: &str = "criu/checkpoint_options";
const RESTORE: &str = "criu/restore_options";

/// By command: its options, and for each the tests that would fail if it were not there or did nothing. What criu is
/// asked is in `criu/`, what comes of it in `checkpoint/`.
const TABLE: &[(&str, &[(&str, &str)])] = &[
    (
        "checkpoint",
        &[
            ("image-path", "criu/directories"),
            ("work-path", "criu/directories checkpoint/work_directory"),
            ("parent-path", "criu/parent_images checkpoint/chain_of_pre_dumps"),
            ("leave-running", "criu/checkpointed_is_deleted checkpoint/runs_on"),
            ("tcp-established", "criu/checkpoint_options checkpoint/connections"),
            ("tcp-skip-in-flight", SAVE),
            ("link-remap", "criu/checkpoint_options checkpoint/what_needs_an_option"),
            ("ext-unix-sk", "criu/checkpoint_options checkpoint/socket_to_the_outside"),
            ("shell-job", SAVE),
            ("lazy-pages", "criu/checkpoint_options checkpoint/lazy_pages"),
            ("status-fd", "criu/lazy_pages checkpoint/lazy_pages"),
            ("page-server", "criu/checkpoint_options checkpoint/lazy_pages"),
            ("file-locks", "criu/checkpoint_options checkpoint/what_needs_an_option"),
            ("pre-dump", "criu/pre_dump checkpoint/chain_of_pre_dumps"),
            ("manage-cgroups-mode", SAVE),
            ("empty-ns", SAVE),
            ("auto-dedup", "criu/checkpoint_options checkpoint/chain_of_pre_dumps"),
            ("network-lock", "criu/checkpoint_options checkpoint/connections"),
        ],
    ),
    (
        "create",
        &[
            ("bundle", CONFIG),
            ("config", CONFIG),
            ("console-socket", BOTH),
            ("pidfd-socket", BOTH),
            ("pid-file", BOTH),
            ("no-pivot", PIVOT),
            ("no-new-keyring", "flags/session_keyring"),
            ("preserve-fds", BOTH),
        ],
    ),
    ("delete", &[("force", "lifecycle/delete_force_ends_a_running_one"), ("regex", "control/regex")]),
    ("events", &[("interval", "events/until_the_end"), ("stats", "events/once")]),
    (
        "exec",
        &[
            ("console-socket", "terminal/console_socket_of_exec"),
            ("pidfd-socket", "terminal/pidfd_socket"),
            ("cwd", OPTIONS),
            ("env", OPTIONS),
            ("tty", "terminal/exec_session"),
            ("user", OPTIONS),
            ("additional-gids", OPTIONS),
            ("process", "exec/process_file"),
            ("detach", "exec/detached"),
            ("pid-file", "exec/pid_file"),
            ("process-label", OPTIONS),
            ("apparmor", "exec/apparmor"),
            ("no-new-privs", OPTIONS),
            ("cap", OPTIONS),
            ("preserve-fds", "exec/preserved_descriptors"),
            ("cgroup", "exec/sub_cgroup"),
            ("ignore-paused", "exec/paused_container"),
        ],
    ),
    ("explain", &[("bundle", CONFIG), ("config", CONFIG), ("format", CONFIG)]),
    ("features", &[]),
    ("info", &[]),
    ("kill", &[("all", "control/kill_all"), ("regex", "control/regex")]),
    (
        "lint",
        &[("bundle", "lint/sound_bundle"), ("config", "lint/sound_bundle"), ("format", "lint/all_findings_at_once")],
    ),
    ("list", &[("format", "list/json_array"), ("quiet", "list/quiet")]),
    ("mounts", &[]),
    ("pause", &[]),
    ("ps", &[("format", "control/ps_as_json")]),
    (
        "restore",
        &[
            ("console-socket", "checkpoint/terminals"),
            ("image-path", "criu/directories"),
            ("work-path", "criu/restore_options checkpoint/work_directory"),
            ("tcp-established", "criu/restore_options checkpoint/connections"),
            ("tcp-close", "criu/restore_options checkpoint/connections"),
            ("ext-unix-sk", "criu/restore_options checkpoint/socket_to_the_outside"),
            ("shell-job", RESTORE),
            ("file-locks", "criu/restore_options checkpoint/what_needs_an_option"),
            ("manage-cgroups-mode", RESTORE),
            ("bundle", RESTORE),
            ("detach", "checkpoint/foreground"),
            ("pid-file", "checkpoint/goes_on"),
            ("no-subreaper", "criu/restore_adopts_orphans"),
            ("no-pivot", "criu/restore_prepares_the_root"),
            ("empty-ns", "checkpoint/network_stays_down"),
            ("auto-dedup", RESTORE),
            ("lazy-pages", "criu/restore_options checkpoint/lazy_pages"),
            ("network-lock", RESTORE),
            ("lsm-profile", "criu/restore_options checkpoint/another_profile"),
            ("lsm-mount-context", RESTORE),
        ],
    ),
    ("resume", &[]),
    (
        "run",
        &[
            ("bundle", CONFIG),
            ("config", CONFIG),
            ("console-socket", BOTH),
            ("pidfd-socket", BOTH),
            ("detach", "lifecycle/detach_leaves_the_container"),
            ("keep", "lifecycle/run_keep"),
            ("pid-file", BOTH),
            ("no-subreaper", "lifecycle/orphans_are_reaped"),
            ("no-pivot", PIVOT),
            ("no-new-keyring", "flags/session_keyring"),
            ("preserve-fds", BOTH),
        ],
    ),
    ("spec", &[("bundle", "cli/spec_into_a_bundle"), ("config", NAMES), ("rootless", NAMES)]),
    ("start", &[]),
    ("state", &[]),
    (
        "update",
        &[
            ("resources", "update/from_a_document"),
            ("blkio-weight", WEIGHTS),
            ("cpu-period", UPDATE),
            ("cpu-quota", UPDATE),
            ("cpu-burst", UPDATE),
            ("cpu-share", UPDATE),
            ("cpu-rt-period", WEIGHTS),
            ("cpu-rt-runtime", WEIGHTS),
            ("cpu-idle", UPDATE),
            ("cpuset-cpus", UPDATE),
            ("cpuset-mems", UPDATE),
            ("memory", UPDATE),
            ("memory-reservation", UPDATE),
            ("memory-swap", "update/of_memory_and_swap"),
            ("pids-limit", UPDATE),
            ("l3-cache-schema", UPDATE),
            ("mem-bw-schema", UPDATE),
        ],
    ),
    ("wait", &[]),
    ("doctor", &[("fix", "control/doctor_finds_and_fixes")]),
    ("help", &[]),
];

const NAMES: &str = "flags/names_of_spec";
const WEIGHTS: &str = "flags/weights_and_realtime";

/// The long options that a command's help lists, and the commands of the program's own.
fn listed(help: &str, section: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != section).skip(1);
    let rows = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let word = |line: &str| {
        let word = line.split_whitespace().find(|word| section == "COMMANDS:" || word.starts_with("--"))?;
        Some(word.trim_start_matches('-').trim_end_matches(',').to_owned())
    };
    rows.filter_map(word).filter(|word| word != "help" || section == "COMMANDS:").collect()
}

/// An option that somebody adds needs a test, and one that has a test must be there.
fn each_has_its_test(t: &Context) -> Outcome {
    let tests: BTreeSet<&str> = all().map(|test| test.name).collect();
    let commands = listed(&t.orlop(&["--help"]).end().ok().stdout(), "COMMANDS:");
    let of_table: BTreeSet<String> = TABLE.iter().map(|(command, _)| (*command).to_owned()).collect();
    assert_eq!(commands, of_table);
    for (command, options) in TABLE {
        let help = t.orlop(&[command, "--help"]).end().ok().stdout();
        let names: BTreeSet<String> = options.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed(&help, "OPTIONS:"), names, "{command}");
        for (name, named) in *options {
            for test in named.split(' ') {
                assert!(tests.contains(test), "{command} --{name}: there is no test {test}");
            }
        }
    }
    // The manual pages and the completions come from the same table.
    for (command, options) in TABLE {
        let page = t.bare_orlop(&["man", command]).end().ok().stdout();
        for shell in ["bash", "zsh", "fish"] {
            let script = t.bare_orlop(&["completion", shell]).end().ok().stdout();
            assert!(script.contains(command), "{shell}: {command}");
            assert!(options.iter().all(|(name, _)| script.contains(name)), "{shell}: {command}");
        }
        let shown = |name: &str| page.contains(name) || page.contains(&name.replace('-', "\\-"));
        assert!(options.iter().all(|(name, _)| shown(name)), "{command}: {page}");
    }
    Ok(())
}

/// Another file than the bundle's config.json, for every command that takes one.
fn another_configuration(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "the bundle's"]);
    let other = t.dir().join("other.json");
    let mut config = bundle.config().clone();
    config["process"]["args"] = json!(["/bin/probe", "print", "the other"]);
    fs::write(&other, config.to_string()).expect("writable");
    let other = other.to_str().expect("a plain path");
    for option in ["--config", "-f"] {
        let args = ["run", "--bundle", bundle.path(), option, other, &t.id("run")];
        t.orlop(&args).end().ok().prints(&["the other"]);
    }
    let id = t.id("created");
    let created = t.orlop(&["create", "--bundle", bundle.path(), "--config", other, &id]).end().ok();
    t.orlop(&["start", &id]).end().ok();
    t.wait_for_output(&created, "the other");
    t.delete(&id);
    config["hostname"] = json!("elsewhere");
    fs::write(other, config.to_string()).expect("writable");
    let plan = |format: &str| {
        t.orlop(&["explain", "--bundle", bundle.path(), "--config", other, "--format", format]).end().ok()
    };
    assert!(plan("text").stdout().contains("name=elsewhere"));
    assert!(plan("json").json()["entries"].is_array());
    assert!(!t.orlop(&["explain", "--bundle", bundle.path()]).end().ok().stdout().contains("elsewhere"));
    t.orlop(&["run", "--bundle", bundle.path(), "--config", "/no/such/file", &id]).end().fails_with("/no/such/file");
    Ok(())
}

/// What a shell's `<(command)` gives comes in pieces, and is read to its end.
fn documents_from_pipes(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    t.detach(&bundle, &id);
    let pipe = t.dir().join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("it is new");
    let path = pipe.to_str().expect("a plain path");
    let process = json!({"args": ["/bin/probe", "print", "the pipe's"], "cwd": "/"}).to_string();
    let mount = json!([{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]).to_string();
    let limits = json!({"pids": {"limit": 77}}).to_string();
    let mut config = bundle.config().clone();
    config["process"]["args"] = json!(["/bin/probe", "print", "the pipe's"]);
    let other = t.id("other");
    let rows: [(&[&str], &str, &str); 4] = [
        (&["exec", "--process", path, &id], &process, "the pipe's\n"),
        (&["mounts", "add", &id, path], &mount, ""),
        (&["update", "--resources", path, &id], &limits, ""),
        (&["run", "--bundle", bundle.path(), "--config", path, &other], &config.to_string(), "the pipe's\n"),
    ];
    for (args, document, printed) in rows {
        if args[0] == "update" && (t.host.uid != 0 || t.needs_controller("pids").is_err()) {
            continue;
        }
        let running = t.orlop(args).start();
        let mut writer = fs::OpenOptions::new().write(true).open(&pipe).expect("somebody reads");
        let (first, second) = document.split_at(document.len() / 2);
        writer.write_all(first.as_bytes()).expect("somebody reads");
        t.wait_until("the first piece is read", || ioctl_fionread(&writer).is_ok_and(|left| left == 0));
        writer.write_all(second.as_bytes()).expect("somebody reads");
        drop(writer);
        assert_eq!(running.end().ok().stdout(), printed, "{args:?}");
    }
    t.delete(&id);
    Ok(())
}

/// What both leave with others: descriptors, a pid, the terminal.
fn create_and_run(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["fds", "--", "sleep", "600"]).with("/process/terminal", json!(true));
    let (consoles, console) = listener(t);
    let (pidfds, pidfd) = listener_named(t, "pidfd.sock");
    let file = t.dir().join("pid");
    let pid_file = file.to_str().expect("a plain path");
    for (verb, more) in [("create", &[][..]), ("run", &["--detach"]), ("run", &["-d"])] {
        let id = t.id("c");
        let options = ["--console-socket", &console, "--pidfd-socket", &pidfd, "--pid-file", pid_file];
        let args = [&[verb][..], more, &options, &["--preserve-fds", "1", "--bundle", bundle.path(), &id]].concat();
        t.orlop(&args).through_bash("exec 3</etc/passwd 4</etc/group; exec \"$@\"").end().ok();
        let mut terminal = Terminal::of(receive(&consoles).0);
        let process = receive(&pidfds).0;
        if verb == "create" {
            t.orlop(&["start", &id]).end().ok();
        }
        terminal.shows("fd 3: /etc/passwd\r\n");
        t.wait_for(&id, "running");
        assert_eq!(fs::read_to_string(&file).expect("it was written"), t.pid(&id).to_string(), "{args:?}");
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).expect("it is open");
        assert!(info.contains(&format!("Pid:\t{}\n", t.pid(&id))), "{args:?}: {info}");
        assert!(!terminal.has_shown("fd 4"), "{args:?}");
        t.delete(&id);
        fs::remove_file(&file).expect("it is there");
    }
    Ok(())
}

/// The root is moved, and the old one is not put anywhere.
fn no_pivot(t: &Context) -> Outcome {
    let bundle = t.bundle();
    for (verb, option, pivots) in
        [("run", None, 1), ("run", Some("--no-pivot"), 0), ("create", None, 1), ("create", Some("--no-pivot"), 0)]
    {
        let id = t.id("c");
        let mut args = vec![verb, "--bundle", bundle.path()];
        args.extend(option);
        args.push(&id);
        let mut found = 0;
        let ended = trace(&mut t.orlop(&args).into_command(), Follow::Child, &mut |entry| {
            found += usize::from(entry.number == libc::SYS_pivot_root);
            Act::Go
        });
        assert_eq!((ended, found), (Ok(0), pivots), "{args:?}");
        if verb == "create" {
            t.delete(&id);
        }
    }
    Ok(())
}

fn names_of_spec(t: &Context) -> Outcome {
    let path = t.dir().join("named.json");
    t.bare_orlop(&["spec", "--config", path.to_str().expect("a plain path")]).end().ok();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("it was written")).expect("JSON");
    assert_eq!(config["linux"]["uidMappings"], json!(null));
    let path = t.dir().join("rootless.json");
    t.bare_orlop(&["spec", "--rootless", "-f", path.to_str().expect("a plain path")]).end().ok();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("it was written")).expect("JSON");
    assert!(config["linux"]["uidMappings"].is_array(), "{config}");
    Ok(())
}

/// A container has a session keyring of its own, unless it is to keep the caller's.
fn session_keyring(t: &Context) -> Outcome {
    if !fs::exists("/proc/keys").unwrap_or(false) {
        return Err(Skip("no keyrings in this kernel".into()));
    }
    let bundle = t.bundle().with("/linux/maskedPaths", json!([])).args(&["cat", "/proc/keys"]);
    let keys = |verb: &str, options: &[&str]| {
        // The kernel forgets a key some time after its last user.
        let id = t.id(&format!("{verb}{}", options.len()));
        let own = format!("_ses.{id}");
        let done = t.orlop(&[&[verb, "--bundle", bundle.path()], options, &[&id]].concat()).end().ok();
        if verb == "create" {
            t.orlop(&["start", &id]).end().ok();
            t.wait_for(&id, "stopped");
            t.delete(&id);
        }
        done.stdout().contains(&own)
    };
    for verb in ["run", "create"] {
        assert!(keys(verb, &[]), "{verb}: none of its own");
        assert!(!keys(verb, &["--no-new-keyring"]), "{verb}: one of its own");
    }
    Ok(())
}

/// Limits that not every kernel has.
fn weights_and_realtime(t: &Context) -> Outcome {
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let pid = t.pid(&id);
    let mut seen = 0;
    for (controller, file, option, value) in [
        ("blkio", "blkio.weight", "--blkio-weight", "123"),
        ("blkio", "blkio.bfq.weight", "--blkio-weight", "123"),
        ("cpu", "cpu.rt_period_us", "--cpu-rt-period", "900000"),
        ("cpu", "cpu.rt_runtime_us", "--cpu-rt-runtime", "0"),
    ] {
        if t.needs_controller(controller).is_err() {
            continue;
        }
        let path = t.cgroup_of(pid, controller).join(file);
        if path.exists() {
            t.orlop(&["update", option, value, &id]).end().ok();
            assert_eq!(fs::read_to_string(&path).expect("it is there").trim(), value, "{option}");
            seen += 1;
        }
    }
    t.orlop(&["update", "--blkio-weight", "1001", &id]).end().exits(1);
    t.orlop(&["update", "--cpu-rt-period", "x", &id]).end().exits(1);
    t.delete(&id);
    if seen == 0 { Err(Skip("this kernel has none of them".into())) } else { Ok(()) }
}

/// Each entry of the plan is a record, and without the option none is.
fn debug_tells_what_is_done(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let run = |options: &[&str], verb: &[&str]| {
        let done = t.orlop(&[options, verb, &["--bundle", bundle.path(), &t.id("c")]].concat()).end().ok();
        t.delete(&t.id("c"));
        done.log()
    };
    for verb in [&["create"] as &[&str], &["run"], &["run", "--detach"]] {
        for options in [&["--debug"] as &[&str], &["--log-level", "debug"]] {
            let log = run(options, verb);
            for step in ["runtime state-directory", "init    pivot root=", "init    execve"] {
                assert!(log.contains(step), "{options:?} {verb:?}: no {step} in {log}");
            }
            assert_eq!(log.contains("await-start"), verb[0] == "create", "{log}");
        }
        assert!(!run(&[], verb).contains("execve"), "{verb:?}");
    }
    Ok(())
}

/// Silence would be a service that systemd waits for.
fn a_notify_socket_is_not_handed_on(t: &Context) -> Outcome {
    let bundle = t.bundle();
    for (path, told) in [("/run/systemd/notify", true), ("", false)] {
        let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).env("NOTIFY_SOCKET", path).end().ok();
        assert_eq!(run.log().contains("NOTIFY_SOCKET is not supported"), told, "{path:?}: {}", run.log());
    }
    Ok(())
}
