//! User namespaces, joined namespaces, ids of mounts, and the mounts that go with them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::format;

use orlop_cgroup::Layout;

use crate::config::Config;
use crate::explain;
use crate::host::Host;
use crate::plan::{Options, plan};

const BASE: &str =
    r#""ociVersion":"1.3.0","root":{"path":"rootfs"},"process":{"args":["/x"],"cwd":"/","user":{"uid":0,"gid":0}}"#;
const NEW: &str = r#"{"type":"pid"},{"type":"mount"},{"type":"ipc"}"#;
const MAPS: &str = r#""uidMappings":[{"containerID":0,"hostID":1000,"size":1}],"gidMappings":[{"containerID":0,"hostID":1000,"size":1}]"#;

fn host(uid: u32) -> Host {
    Host { euid: uid, egid: uid, rootless: uid != 0, cgroups: Layout::unified("/sys/fs/cgroup", "/") }
}

/// The plan's lines without their numbers and origins, or the error.
fn lines(uid: u32, config: &str) -> Vec<String> {
    let config = Config::parse(config.as_bytes()).unwrap();
    let options =
        Options { id: "c", bundle: "/b", cgroup_manager: orlop_cgroup::Manager::Disabled, ..Options::default() };
    match plan(&config, &host(uid), &options) {
        Err(error) => [error.to_string()].into(),
        Ok(plan) => {
            let text = explain::text(&plan);
            let short = |line: &str| line.split("  [").next().unwrap_or_default().get(15..).unwrap_or(line).to_string();
            text.lines().map(short).collect()
        }
    }
}

/// Every expected line is one of the plan, in this order.
#[track_caller]
fn check(uid: u32, linux: &str, mounts: &str, expected: &[&str]) {
    let lines = lines(uid, &format!("{{{BASE},\"mounts\":[{mounts}],\"linux\":{{{linux}}}}}"));
    let mut rest = lines.iter();
    for wanted in expected {
        assert!(rest.any(|line| line.contains(wanted)), "no {wanted:?} in its place: {lines:#?}");
    }
}

#[test]
fn ids_are_mapped_before_anything_is_made_in_the_namespace() {
    let linux = format!(r#""namespaces":[{NEW},{{"type":"user"}}],{MAPS}"#);
    for (uid, how) in [(0, "how=direct"), (1000, "how=own"), (1001, "how=helpers")] {
        let maps = format!("id-maps uids=0 1000 1 gids=0 1000 1 {how}");
        let clone = "clone namespaces=NEWUSER|NEWPID ";
        check(uid, &linux, "", &[clone, &maps, "become-root", "unshare namespaces=NEWNS|NEWIPC", "bind-root"]);
    }
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let user = r#"{"type":"user"}"#;
    let mapped = |maps: &str| format!(r#""namespaces":[{NEW},{user}],{maps}"#);
    let cases = [
        (0, mapped(r#""uidMappings":[]"#), "at least one uid mapping"),
        (
            0,
            mapped(r#""uidMappings":[{"containerID":1,"hostID":1,"size":1}]"#),
            "uid 0 of the container must be mapped",
        ),
        (0, format!(r#""namespaces":[{NEW}],{MAPS}"#), "no user namespace"),
        (1000, format!(r#""namespaces":[{NEW}]"#), "rootless container requires user namespaces"),
        (0, format!(r#""namespaces":[{NEW}],"timeOffsets":{{"monotonic":{{"secs":1}}}}"#), "no time namespace"),
        (
            0,
            format!(r#""namespaces":[{NEW},{{"type":"time"}}],"timeOffsets":{{"realtime":{{"secs":1}}}}"#),
            "no clock with an offset",
        ),
    ];
    for (uid, linux, error) in cases {
        check(uid, &linux, "", &[error]);
    }
}

#[test]
fn what_must_be_joined_first_is_joined_at_birth() {
    let join = |kind: &str| format!(r#"{{"type":"{kind}","path":"/n/{kind}"}}"#);
    let (user, pid, ipc, time) = (join("user"), join("pid"), join("ipc"), join("time"));
    let mount = r#"{"type":"mount"}"#;
    let cases: [(String, &[&str]); 4] = [
        (format!("{mount},{ipc}"), &["clone namespaces=NEWNS ", "open-namespace path=/n/ipc", "join-namespace"]),
        (format!("{mount},{pid}"), &["join=NEWPID=/n/pid"]),
        (format!("{mount},{user},{ipc}"), &["join=NEWUSER=/n/user join=NEWIPC=/n/ipc", "become-root", "NEWNS"]),
        (format!("{mount},{user},{time}"), &["join=NEWTIME=/n/time", "join-namespace from=#25 namespace=NEWTIME"]),
    ];
    for (namespaces, expected) in cases {
        check(0, &format!(r#""namespaces":[{namespaces}]"#), "", expected);
    }
    let maps = format!(r#""namespaces":[{mount},{user}],{MAPS}"#);
    check(0, &maps, "", &["check-id-maps uids=0 1000 1"]);
}

#[test]
fn offsets_are_set_before_anybody_is_in_the_time_namespace() {
    let linux =
        r#""namespaces":[{"type":"mount"},{"type":"time"}],"timeOffsets":{"boottime":{"secs":-5,"nanosecs":7}}"#;
    check(0, linux, "", &["clone namespaces=NEWNS ", "time-namespace offsets=boottime -5 7"]);
}

#[test]
fn sources_of_binds_are_opened_with_the_rights_they_need() {
    let bind = r#"{"destination":"/a","source":"/s","options":["bind"]}"#;
    let idmap = r#"{"destination":"/a","source":"/s","options":["rbind","ridmap"]}"#;
    let own = format!(r#"{{"destination":"/a","source":"/s","options":["bind"],{MAPS}}}"#);
    let crun = r#"{"destination":"/a","source":"/s","options":["bind","idmap=uids=0-5-1#1-@9-1;gids=0-7-2"]}"#;
    let crun_relative = r#"{"destination":"/a","source":"/s","options":["bind","idmap=uids=@7-0-1;gids=0-7-2"]}"#;
    let plain = format!(r#""namespaces":[{NEW}]"#);
    let users = format!(r#""namespaces":[{NEW},{{"type":"user"}}],{MAPS}"#);
    let cases: [(u32, &str, &str, &[&str]); 8] = [
        (0, &plain, bind, &["open-tree path=/s reach=one"]),
        (0, &users, bind, &["send-mount path=/s reach=one", "receive from=#24 out=#1", "attach"]),
        (1000, &users, bind, &["open-tree path=/s"]),
        (0, &users, idmap, &["send-mount path=/s reach=tree follow=links ids=container ids_reach=tree"]),
        (0, &plain, idmap, &["needs id mappings, or a user namespace"]),
        (0, &plain, &own, &["send-mount path=/s reach=one follow=links uids=0 1000 1 gids=0 1000 1 ids_reach=one"]),
        (0, &plain, crun, &["are no id mappings"]),
        (0, &users, crun_relative, &["uids=7 1000 1 gids=0 7 2"]),
    ];
    for (uid, linux, mount, expected) in cases {
        check(uid, linux, mount, expected);
    }
}

#[test]
fn flags_of_a_bind_replace_those_that_were_there() {
    let linux = format!(r#""namespaces":[{NEW}]"#);
    let mount = |options: &str| format!(r#"{{"destination":"/a","source":"/s","options":[{options}]}}"#);
    let rest = "clear=NOSUID|NODEV|NOEXEC|NOSYMFOLLOW";
    check(0, &linux, &mount(r#""bind","ro""#), &[&format!("bind-attributes mount=#1 set=RDONLY {rest} asked=-")]);
    check(0, &linux, &mount(r#""bind","remount","ro""#), &["bind-attributes mount=#1 set=RDONLY clear=- asked=-"]);
    check(0, &linux, &mount(r#""bind","suid""#), &["asked=NOSUID"]);
}

#[test]
fn mounts_that_take_more_than_one_call() {
    let linux = format!(r#""namespaces":[{NEW}]"#);
    let long = "l".repeat(300);
    let overlay = format!(r#"{{"destination":"/a","source":"o","type":"overlay","options":["lowerdir={long}","ro"]}}"#);
    let cases: [(&str, &[&str]); 5] = [
        (&overlay, &["mount fstype=overlay source=o data=lowerdir=l", "mount-setattr mount=#1 set=RDONLY"]),
        (
            r#"{"destination":"/a","source":"t","type":"tmpfs","options":["tmpcopyup","ro"]}"#,
            &["fsmount fstype=tmpfs", "copy-up from=#2 to=#1", "mount-setattr mount=#1 set=RDONLY", "attach"],
        ),
        (
            r#"{"destination":"/dev","source":"t","type":"tmpfs","options":["ro"]}"#,
            &["attr=-", "attach mount=#26", "mknod", "mount-setattr mount=#26 set=RDONLY", "pivot"],
        ),
        (r#"{"destination":"/b/rootfs/a","source":"t","type":"tmpfs"}"#, &["target root=#0 path=/a "]),
        (
            r#"{"destination":"/a","source":"t","type":"tmpfs","options":["remount","ro"]}"#,
            &["mount fstype=tmpfs source=t data= flags=33 "],
        ),
    ];
    for (mount, expected) in cases {
        check(0, &linux, mount, expected);
    }
}

#[test]
fn a_group_that_nobody_is_is_left_out_of_devpts() {
    let linux = format!(r#""namespaces":[{NEW},{{"type":"user"}}],{MAPS}"#);
    let mount = r#"{"destination":"/dev/pts","source":"devpts","type":"devpts","options":["gid=5","mode=620"]}"#;
    check(1000, &linux, mount, &["fstype=devpts params=source=devpts,mode=620", "gid=5 is left out"]);
}
