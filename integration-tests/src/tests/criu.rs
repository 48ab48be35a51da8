//! What `checkpoint` and `restore` ask of criu, option by option, and what becomes of the container: with a criu that
//! only writes down what it is asked. What the real one makes of it is in `checkpoint.rs`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::Context;
use crate::criu::{Value, fields, script};
use crate::host::Layout;
use crate::tests::{Outcome, tests};
use crate::tracer::{Act, Follow, trace};

tests! { "criu":
    ROOT {
        checkpoint_options, restore_options, directories, parent_images, pre_dump, lazy_pages, configuration_file,
        external_mounts, outer_namespaces, standard_streams, environment, freezer, checkpointed_is_deleted,
        restore_that_fails_leaves_nothing, restore_prepares_the_root, restore_adopts_orphans, wrong_states,
        refused_arguments, no_criu, ids_of_mounts_are_refused, another_users_images,
    }
}

/// The numbers of criu's rpc.proto.
const OPTS: u64 = 2;
const EXT_MNT: u64 = 23;
const INHERIT_FD: u64 = 27;
const EXTERNAL: u64 = 37;

struct Asked(Vec<(u64, Value)>);

impl Asked {
    /// What was asked last.
    fn last(t: &Context) -> Asked {
        let request = fields(&fs::read(t.dir().join("request")).expect("something was asked"));
        Asked(fields(request.iter().find(|(field, _)| *field == OPTS).expect("it has options").1.bytes()))
    }

    fn all(&self, field: u64) -> Vec<&Value> {
        self.0.iter().filter(|(number, _)| *number == field).map(|(_, value)| value).collect()
    }

    fn one(&self, field: u64) -> Option<&Value> {
        assert!(self.all(field).len() < 2, "{field}: {:?}", self.all(field));
        self.all(field).first().copied()
    }

    /// What a message of two fields in a list says, as text.
    fn pairs(&self, field: u64) -> Vec<(String, String)> {
        let pair = |value: &&Value| {
            let both = fields(value.bytes());
            let text = |value: &Value| match value {
                Value::Number(number) => number.to_string(),
                Value::Bytes(_) => value.text(),
            };
            (text(&both[0].1), text(&both[1].1))
        };
        self.all(field).iter().map(pair).collect()
    }
}

fn kind(t: &Context) -> u64 {
    fields(&fs::read(t.dir().join("request")).expect("something was asked"))[0].1.number()
}

fn sleeper(t: &Context, bundle: &Bundle) -> String {
    let id = t.id("c");
    t.detach(bundle, &id);
    id
}

fn asleep(t: &Context) -> Bundle {
    t.bundle().args(&["sleep", "600"])
}

fn call(t: &Context, verb: &str, args: &[&str]) -> Done {
    let criu = script(t.dir());
    let criu = criu.to_str().expect("a plain path");
    t.orlop(&["--criu", criu, verb].into_iter().chain(args.iter().copied()).collect::<Vec<_>>()).end()
}

fn checkpoint(t: &Context, args: &[&str], id: &str) -> Asked {
    call(t, "checkpoint", &[args, &["--leave-running", id]].concat()).ok();
    Asked::last(t)
}

fn restore(t: &Context, bundle: &Bundle, args: &[&str]) -> Asked {
    fs::create_dir_all(t.dir().join("checkpoint")).expect("writable");
    let id = t.id("restored");
    call(t, "restore", &[&["--bundle", bundle.path()], args, &["--detach", &id]].concat())
        .fails_with("criu failed: type RESTORE errno 16");
    Asked::last(t)
}

/// An option, the field it sets, and what to: without it the field has another value, or is not there.
struct Row(&'static [&'static str], u64, u64);

const BOTH: [Row; 13] = [
    Row(&["--ext-unix-sk"], 4, 1),
    Row(&["--tcp-established"], 5, 1),
    Row(&["--shell-job"], 7, 1),
    Row(&["--file-locks"], 8, 1),
    Row(&["--auto-dedup"], 16, 1),
    Row(&["--lazy-pages"], 48, 1),
    Row(&["--manage-cgroups-mode", "ignore"], 34, 0),
    Row(&["--manage-cgroups-mode", "full"], 34, 4),
    Row(&["--manage-cgroups-mode", "strict"], 34, 5),
    Row(&["--network-lock", "iptables"], 64, 1),
    Row(&["--network-lock", "nftables"], 64, 2),
    Row(&["--network-lock", "skip"], 64, 3),
    Row(&["--work-path", "work"], 17, u64::MAX),
];

fn compare(rows: &[Row], plain: &Asked, ask: impl Fn(&[&str]) -> Asked) {
    for Row(args, field, value) in rows {
        let (with, without) = (ask(args), plain.one(*field));
        let with = with.one(*field).unwrap_or_else(|| panic!("{args:?} sets nothing")).number();
        assert!(with == *value || *value == u64::MAX, "{args:?}: {with}");
        assert_ne!(without.map(Value::number), Some(with), "{args:?}");
    }
}

fn checkpoint_options(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let plain = checkpoint(t, &[], &id);
    compare(&BOTH, &plain, |args| checkpoint(t, args, &id));
    let rows = [Row(&["--tcp-skip-in-flight"], 46, 1), Row(&["--link-remap"], 18, 1)];
    compare(&rows, &plain, |args| checkpoint(t, args, &id));
    // What is not asked for: the container, notices, terminals without a master here, no network, cgroups.
    let number = |field| plain.one(field).map(Value::number);
    assert_eq!(number(2), Some(t.pid(&id) as u64));
    assert_eq!([number(3), number(12), number(50), number(38), number(34)], [1, 1, 1, 0x4000_0000, 3].map(Some));
    assert_eq!(plain.one(10).map(Value::text).as_deref(), Some("dump.log"));
    let served = checkpoint(t, &["--page-server", "[::1]:27"], &id);
    assert_eq!(served.pairs(11), [("::1".to_owned(), "27".to_owned())]);
    call(t, "checkpoint", &["--empty-ns", "network", "--leave-running", &id]).ok();
    call(t, "checkpoint", &["--empty-ns", "pid", "--leave-running", &id]).fails_with("empty-ns");
    call(t, "checkpoint", &[&id]).ok();
    assert_eq!(Asked::last(t).one(3).map(Value::number), Some(0));
    Ok(())
}

fn restore_options(t: &Context) -> Outcome {
    let bundle = asleep(t);
    let plain = restore(t, &bundle, &[]);
    compare(&BOTH, &plain, |args| restore(t, &bundle, args));
    compare(&[Row(&["--tcp-close"], 52, 1)], &plain, |args| restore(t, &bundle, args));
    for (args, field, text) in
        [(["--lsm-profile", "apparmor:x"], 53, "apparmor:x"), (["--lsm-mount-context", "a:b:c"], 63, "a:b:c")]
    {
        assert_eq!(restore(t, &bundle, &args).one(field).map(Value::text).as_deref(), Some(text));
        assert_eq!(plain.one(field), None);
    }
    let number = |field| plain.one(field).map(Value::number);
    assert_eq!([number(6), number(26), number(50), number(38)], [1, 1, 1, 0x4000_0000].map(Some));
    let root = bundle.rootfs("").to_str().expect("a plain path").trim_end_matches('/').to_owned();
    assert_eq!(plain.one(13).map(Value::text), Some(root));
    Ok(())
}

fn directories(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    checkpoint(t, &[], &id);
    assert!(t.dir().join("checkpoint/descriptors.json").is_file());
    checkpoint(t, &["--image-path", "some/where", "--work-path", "else"], &id);
    assert!(t.dir().join("some/where/descriptors.json").is_file() && t.dir().join("else").is_dir());
    assert_eq!(fs::metadata(t.dir().join("some/where")).expect("it is there").mode() & 0o777, 0o700);
    t.delete(&id);
    let bundle = t.bundle_again();
    let none = ["--bundle", bundle.path(), "--image-path", "no/where", "--detach", &t.id("r")];
    call(t, "restore", &none).fails_with("no/where");
    Ok(())
}

fn parent_images(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let absolute = t.dir().join("parent");
    for parent in [absolute.to_str().expect("a plain path"), "../nowhere"] {
        call(t, "checkpoint", &["--parent-path", parent, &id]).fails_with("--parent-path");
    }
    fs::create_dir(t.dir().join("parent")).expect("writable");
    fs::write(t.dir().join("file"), "").expect("writable");
    call(t, "checkpoint", &["--parent-path", "../file", &id]).fails_with("invalid --parent-path");
    let asked = checkpoint(t, &["--parent-path", "../parent"], &id);
    assert_eq!(asked.one(14).map(Value::text).as_deref(), Some("../parent"));
    assert_eq!(asked.one(15).map(Value::number), Some(1));
    t.delete(&id);
    Ok(())
}

fn pre_dump(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    call(t, "checkpoint", &["--pre-dump", &id]).ok();
    assert_eq!(kind(t), 4);
    assert_eq!(Asked::last(t).all(EXT_MNT).len(), 0);
    assert_eq!(t.state(&id)["status"], "running");
    call(t, "checkpoint", &["--leave-running", &id]).ok();
    assert_eq!(kind(t), 1);
    t.delete(&id);
    Ok(())
}

/// The descriptor gets its NUL from criu's notice, which this criu does not send: it is checked and closed.
fn lazy_pages(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let criu = script(t.dir());
    let args = ["--criu", criu.to_str().expect("a plain path"), "checkpoint", "--leave-running", "--status-fd", "7"];
    let ask = |script: &str, more: &[&str]| {
        t.orlop(&[&args, more, &[&id]].concat()).through_bash(&format!("{script}; exec \"$@\"")).end()
    };
    ask("exec 7>status", &["--lazy-pages"]).ok();
    ask("exec 7<>status", &[]).ok();
    ask("exec 7</dev/null", &["--lazy-pages"]).fails_with("invalid --status-fd argument 7: not writable");
    ask("exec 7>&-", &["--lazy-pages"]).fails_with("invalid --status-fd argument 7: bad file descriptor");
    t.delete(&id);
    Ok(())
}

fn configuration_file(t: &Context) -> Outcome {
    for (annotation, file) in
        [(None, Some("/etc/criu/runc.conf")), (Some("/some/file"), Some("/some/file")), (Some(""), None)]
    {
        let mut bundle = asleep(t);
        if let Some(annotation) = annotation {
            bundle.set("/annotations", json!({"org.criu.config": annotation}));
        }
        let id = sleeper(t, &bundle);
        assert_eq!(checkpoint(t, &[], &id).one(51).map(Value::text).as_deref(), file);
        t.delete(&id);
        assert_eq!(restore(t, &bundle, &[]).one(51).map(Value::text).as_deref(), file);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn external_mounts(t: &Context) -> Outcome {
    let data = t.dir().join("data");
    fs::create_dir(&data).expect("writable");
    let bundle = asleep(t);
    fs::create_dir(bundle.rootfs("real")).expect("writable");
    std::os::unix::fs::symlink("/real", bundle.rootfs("link")).expect("writable");
    let bind = |to: &str, from: &str| json!({"destination": to, "source": from, "options": ["rbind"]});
    let data = data.to_str().expect("a plain path");
    let bundle = bundle.with("/mounts/-", bind("/link/x", data)).with("/mounts/-", bind("/y", "rootfs/var"));
    let id = sleeper(t, &bundle);
    let saved = checkpoint(t, &[], &id).pairs(EXT_MNT);
    for pair in [("/real/x", "/real/x"), ("/y", "/y"), ("/proc/keys", "/dev/null"), ("/dev/tty", "/dev/tty")] {
        assert!(saved.contains(&(pair.0.into(), pair.1.into())), "{pair:?}: {saved:?}");
    }
    // A masked directory is a file system of its own, and a masked path that is not there is none.
    assert!(!saved.iter().any(|(place, _)| place == "/sys/firmware" || place == "/proc/timer_stats"), "{saved:?}");
    t.delete(&id);
    let restored = restore(t, &bundle, &[]).pairs(EXT_MNT);
    let inner = format!("{}/rootfs/var", bundle.path());
    for pair in [("/real/x", data), ("/y", inner.as_str()), ("/dev/null", "/dev/null")] {
        assert!(restored.contains(&(pair.0.into(), pair.1.into())), "{pair:?}: {restored:?}");
    }
    Ok(())
}

fn outer_namespaces(t: &Context) -> Outcome {
    let holder = sleeper(t, &asleep(t));
    let network = format!("/proc/{}/ns/net", t.pid(&holder));
    let bundle = t.bundle_again().args(&["sleep", "600"]).retain("/linux/namespaces", |one| one["type"] != "network");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "network", "path": network}));
    let id = t.id("inside");
    t.detach(&bundle, &id);
    let number = fs::metadata(&network).expect("it is there").ino();
    let asked = checkpoint(t, &[], &id);
    let outside: Vec<String> = asked.all(EXTERNAL).into_iter().map(Value::text).collect();
    assert!(outside.contains(&format!("net[{number}]:extRootNetNS")), "{outside:?}");
    t.delete(&id);
    let inherited = restore(t, &bundle, &[]).pairs(INHERIT_FD);
    let (_, fd) = inherited.iter().find(|(key, _)| key == "extRootNetNS").expect("it is handed on");
    assert!(fd.parse::<i32>().expect("a number") > 3);
    // Others are joined.
    let bundle = bundle.retain("/linux/namespaces", |one| one["type"] != "ipc" && one["type"] != "cgroup");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "ipc", "path": "/proc/1/ns/ipc"}));
    assert_eq!(restore(t, &bundle, &[]).pairs(39), [("ipc".into(), "/proc/1/ns/ipc".into())]);
    t.delete(&holder);
    restore_is_refused(t, &bundle, "does not exist");
    let bundle = bundle.retain("/linux/namespaces", |one| one["type"] != "network");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "cgroup", "path": "/proc/1/ns/cgroup"}));
    restore_is_refused(t, &bundle, "criu cannot restore into an existing cgroup namespace");
    Ok(())
}

fn restore_is_refused(t: &Context, bundle: &Bundle, text: &str) {
    fs::create_dir_all(t.dir().join("checkpoint")).expect("writable");
    call(t, "restore", &["--bundle", bundle.path(), "--detach", &t.id("refused")]).fails_with(text);
}

/// Pipes and files from outside are named, and what the caller of restore has takes their place.
fn standard_streams(t: &Context) -> Outcome {
    let bundle = asleep(t);
    let id = t.id("c");
    let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]);
    run.through_bash("exec \"$@\" > >(exec cat >output) </dev/null 2>errors").end().ok();
    let asked = checkpoint(t, &[], &id);
    let text = fs::read_to_string(t.dir().join("checkpoint/descriptors.json")).expect("it was written");
    let names: Vec<String> = serde_json::from_str(&text).expect("three names");
    let ino = fs::metadata(t.dir().join("errors")).expect("it is there").ino();
    assert!(names[0].starts_with("file[") && names[1].starts_with("pipe:["), "{names:?}");
    assert!(names[2].ends_with(&format!(":{ino:x}]")), "{names:?}, {ino:x}");
    let outside: Vec<String> = asked.all(EXTERNAL).into_iter().map(Value::text).collect();
    assert_eq!(outside, [names[0].clone(), names[2].clone()]);
    t.delete(&id);
    let inherited = restore(t, &bundle, &[]).pairs(INHERIT_FD);
    let expected: Vec<(String, String)> =
        names.iter().zip(["0", "1", "2"]).map(|(n, fd)| (n.clone(), fd.into())).collect();
    assert_eq!(inherited, expected);
    // Images of another runtime may name what we do not know.
    fs::write(t.dir().join("checkpoint/descriptors.json"), r#"["/dev/null", "socket:[1]", ""]"#).expect("writable");
    assert_eq!(restore(t, &bundle, &[]).pairs(INHERIT_FD), []);
    Ok(())
}

/// criu looks others up, such as tar.
fn environment(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let criu = script(t.dir());
    let folder = t.dir().to_str().expect("a plain path");
    let path = format!("{folder}:/usr/bin:/bin");
    // Found by PATH, without --criu.
    assert!(criu.starts_with(folder));
    t.orlop(&["checkpoint", &id]).env("PATH", &path).env("WORD", "a word").end().ok();
    let environ = fs::read_to_string(t.dir().join("environ")).expect("it was asked");
    let environ: Vec<&str> = environ.split('\0').collect();
    assert!(environ.contains(&format!("PATH={path}").as_str()) && environ.contains(&"WORD=a word"), "{environ:?}");
    Ok(())
}

fn freezer(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let own = t.cgroup_of(t.pid(&id), "freezer");
    let asked = checkpoint(t, &[], &id).one(44).map(Value::text);
    assert_eq!(asked.as_deref(), own.to_str(), "{:?}", t.host.layout);
    t.delete(&id);
    Ok(())
}

fn checkpointed_is_deleted(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let cgroup = t.cgroup_of(t.pid(&id), "pids");
    call(t, "checkpoint", &["--leave-running", &id]).ok();
    assert_eq!(t.state(&id)["status"], "running");
    call(t, "checkpoint", &[&id]).ok().prints(&[]);
    t.orlop(&["state", &id]).end().fails_with("does not exist");
    assert!(!cgroup.exists(), "{}", cgroup.display());
    Ok(())
}

fn restore_that_fails_leaves_nothing(t: &Context) -> Outcome {
    let bundle = asleep(t);
    let pid_file = t.dir().join("pid");
    let args =
        ["--bundle", bundle.path(), "--detach", "--pid-file", pid_file.to_str().expect("a plain path"), &t.id("c")];
    fs::create_dir(t.dir().join("checkpoint")).expect("writable");
    call(t, "restore", &args).fails_with("criu failed: type RESTORE errno 16");
    assert!(!pid_file.exists());
    t.orlop(&["state", &t.id("c")]).end().fails_with("does not exist");
    let log = t.dir().join("checkpoint/restore.log");
    fs::write(&log, "(1) a line\n(2) Error (a.c:1): this went wrong\n").expect("writable");
    let done = call(t, "restore", &args).fails_with("(2) Error (a.c:1): this went wrong");
    assert!(done.stderr().contains("log file: checkpoint/restore.log"), "{}", done.stderr());
    // The id is free for others, and one that is taken is not.
    let id = t.id("c");
    t.detach(&bundle, &id);
    call(t, "restore", &args).fails_with("container with given ID already exists");
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

/// criu works where the root file system is a mount, in the container's cgroup; the host sees nothing of the first.
fn restore_prepares_the_root(t: &Context) -> Outcome {
    let bundle = asleep(t);
    let data = t.dir().join("data");
    fs::create_dir(&data).expect("writable");
    let bind = |to: &str| json!({"destination": to, "source": data.to_str(), "options": ["bind"]});
    let bundle = bundle.with("/mounts/-", bind("/new/point")).with("/mounts/-", bind("/new/point/inner"));
    let mut gaps = Vec::new();
    for options in [&[][..], &["--no-pivot"]] {
        restore(t, &bundle, options);
        let table = fs::read_to_string(t.dir().join("mountinfo")).expect("it was asked");
        let root = bundle.rootfs("").to_str().expect("a plain path").trim_end_matches('/').to_owned();
        let is_root = |line: &str| line.split(' ').nth(4) == Some(root.as_str());
        assert!(table.lines().any(is_root), "{options:?}: {table}");
        // Whether / is where it was, or a copy of it above, which can be pivoted out of on an initial ramfs too.
        let top = table.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("there is a root");
        let ids: Vec<i64> = top.split(' ').take(2).map(|id| id.parse().expect("a number")).collect();
        gaps.push(ids[0] - ids[1]);
        assert!(!table.contains("/new/point"), "{table}");
        assert!(bundle.rootfs("new/point").is_dir() && data.join("inner").is_dir());
        assert!(!crate::host::mounts().iter().any(|mount| mount.line.contains(t.tag())));
        let cgroup = fs::read_to_string(t.dir().join("cgroup")).expect("it was asked");
        let limited = t.host.layout == Layout::V2 || t.host.has_controller("pids");
        assert!(!limited || cgroup.contains(t.tag()), "{cgroup}");
    }
    assert_ne!(gaps[0], gaps[1], "--no-pivot changes nothing");
    Ok(())
}

/// Whose processes are in the host's pid namespace leaves its orphans to the restore that waits for it, unless that is
/// told not to.
fn restore_adopts_orphans(t: &Context) -> Outcome {
    const PR_SET_CHILD_SUBREAPER: u64 = 36;
    let criu = script(t.dir());
    let own = asleep(t);
    let shared = t.bundle_again().args(&["sleep", "600"]).retain("/linux/namespaces", |one| one["type"] != "pid");
    fs::create_dir(t.dir().join("checkpoint")).expect("writable");
    for (bundle, option, calls) in
        [(&shared, None, 1), (&shared, Some("--no-subreaper"), 0), (&shared, Some("--detach"), 0), (&own, None, 0)]
    {
        let id = t.id("restored");
        let mut args = vec!["--criu", criu.to_str().expect("a plain path"), "restore", "--bundle", bundle.path()];
        args.extend(option);
        args.push(&id);
        let mut found = 0;
        let ended = trace(&mut t.orlop(&args).into_command(), Follow::Runtime, &mut |entry| {
            found += usize::from(entry.number == libc::SYS_prctl && entry.args[0] == PR_SET_CHILD_SUBREAPER);
            Act::Go
        });
        assert_eq!((ended, found), (Ok(1), calls), "{option:?}");
    }
    Ok(())
}

fn wrong_states(t: &Context) -> Outcome {
    let id = t.id("c");
    t.create(&asleep(t), &id).ok();
    call(t, "checkpoint", &[&id]).fails_with("Container cannot be checkpointed in created state");
    t.orlop(&["kill", &id, "KILL"]).end().ok();
    t.wait_for(&id, "stopped");
    call(t, "checkpoint", &[&id]).fails_with("Container cannot be checkpointed in stopped state");
    call(t, "checkpoint", &["nobody"]).fails_with("container does not exist");
    t.delete(&id);
    Ok(())
}

fn refused_arguments(t: &Context) -> Outcome {
    t.orlop(&["restore", "--lsm-mount-context"]).end().fails_with("flag needs an argument");
    t.orlop(&["checkpoint", "--help"]).end().ok();
    t.orlop(&["restore", "--help"]).end().ok();
    for server in ["nowhere", "host:", ":7", "host:x"] {
        t.orlop(&["checkpoint", "--page-server", server, "c"]).end().fails_with("ADDRESS:PORT");
    }
    let bundle = asleep(t).with("/process/terminal", json!(true));
    restore_is_refused(t, &bundle, "cannot allocate tty if runc will detach without setting console socket");
    Ok(())
}

fn no_criu(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    let empty = t.dir().join("empty");
    fs::create_dir(&empty).expect("writable");
    let path = empty.to_str().expect("a plain path");
    t.orlop(&["checkpoint", &id]).env("PATH", path).end().fails_with("criu: executable file not found in $PATH");
    let named = t.orlop(&["--criu", "/no/such/criu", "checkpoint", &id]).end().fails_with("/no/such/criu");
    assert!(named.stderr().contains("Debian's package criu"), "{}", named.stderr());
    assert_eq!(t.state(&id)["status"], "running");
    t.delete(&id);
    Ok(())
}

/// What is restored would show files as somebody else's.
fn ids_of_mounts_are_refused(t: &Context) -> Outcome {
    let id = sleeper(t, &asleep(t));
    t.delete(&id);
    let data = t.dir().join("data");
    fs::create_dir(&data).expect("writable");
    let map = json!([{"containerID": 0, "hostID": 7, "size": 10}]);
    let mount = json!({"destination": "/x", "source": data.to_str(), "options": ["bind"], "uidMappings": map.clone(),
        "gidMappings": map});
    let bundle = t.bundle_again().args(&["sleep", "600"]).with("/mounts/-", mount);
    let run = t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).end();
    if run.code() == 0 {
        call(t, "checkpoint", &[&id]).fails_with("criu does not save mounts with other ids");
        t.delete(&id);
    }
    Ok(())
}

/// A checkpoint image may be hostile.
fn another_users_images(t: &Context) -> Outcome {
    let bundle = asleep(t);
    fs::create_dir(t.dir().join("checkpoint")).expect("writable");
    for text in ["{}", "[1]", "[\"pipe:", ""] {
        fs::write(t.dir().join("checkpoint/descriptors.json"), text).expect("writable");
        restore_is_refused(t, &bundle, "descriptors.json");
    }
    Ok(())
}
