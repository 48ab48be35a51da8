//! What is planned, as the names of the entries that a configuration adds.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_init::step::{Newlines, Step};
use orlop_sys::process::Clone as CloneFlags;

use super::exec::{Command, Program, SubCgroup, Target};
use super::{Act, Console, Options, Plan, exec};
use crate::config::Config;
use crate::error::Result;
use crate::host::Host;

const CONFIG: &[u8] = br#"{
    "ociVersion": "1.2.0", "root": {"path": "rootfs"},
    "process": {"user": {"uid": 1, "gid": 2}, "args": ["sh"], "env": ["A=1", "B=1"], "cwd": "/",
        "consoleSize": {"height": 5, "width": 6},
        "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}},
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "user"}]}
}"#;

fn host() -> Host {
    let cgroups = orlop_cgroup::Layout { mode: orlop_cgroup::Mode::Unified, hierarchies: Vec::new() };
    Host { euid: 0, egid: 0, rootless: false, cgroups }
}

fn exec_plan(command: &Command<'_>, console: Console, target: &Target<'_>) -> Result<Plan> {
    let mut config = Config::parse(CONFIG).expect("it is one");
    exec::substitute(&mut config, Program::Command(command))?;
    exec::plan(&config, Program::Command(command), &host(), &Options { id: "c", console, ..Options::default() }, target)
}

fn steps(plan: &Plan) -> Vec<Step> {
    let step = |act: &Act| match act {
        Act::Init(step) => Some(*step),
        Act::Runtime(_) => None,
    };
    plan.entries.iter().filter_map(|entry| step(&entry.act)).collect()
}

fn env(plan: &Plan) -> Vec<String> {
    let blob = plan.strings.blob();
    let text = |&text| String::from(blob.text(text).expect("it is there").to_str().expect("UTF-8"));
    blob.texts(plan.env).iter().map(text).collect()
}

fn own() -> Target<'static> {
    Target { own_user_namespace: true, ..Target::default() }
}

#[test]
fn exec_joins_what_the_container_does_not_share() {
    let command = Command { args: Vec::from([&b"true"[..]]), ..Command::default() };
    let joined = |target: &Target<'_>| {
        let plan = exec_plan(&command, Console::Nobody, target).expect("it can be planned");
        let become_root = steps(&plan).iter().any(|step| matches!(step, Step::BecomeRoot {}));
        let flags = steps(&plan).iter().find_map(|step| match step {
            Step::JoinNamespace { namespace, .. } => Some(*namespace),
            _ => None,
        });
        (flags, become_root)
    };
    let own_flags = CloneFlags::NEWNS | CloneFlags::NEWNET;
    assert_eq!(joined(&own()), (Some(own_flags), false));
    assert_eq!(joined(&Target::default()), (Some(own_flags | CloneFlags::NEWUSER), true));
}

#[test]
fn exec_changes_what_the_command_says() {
    let mut command = Command { args: Vec::from([&b"true"[..]]), ..Command::default() };
    command.env = Vec::from([&b"B=2"[..], b"C=3"]);
    command.user = Some((7, None));
    command.capabilities = Vec::from(["CAP_KILL", "CAP_CHOWN"]);
    let plan = exec_plan(&command, Console::Nobody, &own()).expect("it can be planned");
    assert_eq!(env(&plan), ["A=1", "B=2", "C=3"]);
    let steps = steps(&plan);
    assert!(steps.iter().any(|step| matches!(step, Step::User { uid: 7, gid: 2, .. })));
    // CVE-2022-29162: inheritable stays, and ambient is what of the new ones was inheritable.
    let sets = steps.iter().filter_map(|step| match step {
        Step::Bounding { keep } => Some(keep.0),
        Step::Capabilities { inheritable, .. } => Some(inheritable.0),
        Step::Ambient { set } => Some(set.0),
        _ => None,
    });
    assert_eq!(sets.collect::<Vec<_>>(), [0x21, 0x20, 0x20]);
}

#[test]
fn terminals_go_where_somebody_takes_them() {
    let command = Command { args: Vec::from([&b"true"[..]]), terminal: true, ..Command::default() };
    let console = |console| {
        let plan = exec_plan(&command, console, &own())?;
        Ok(steps(&plan).iter().find_map(|step| match *step {
            Step::Console { rows, columns, uid, newlines, .. } => Some((rows, columns, uid, newlines)),
            _ => None,
        }))
    };
    let size: Result<_> = console(Console::Socket);
    assert_eq!(size.expect("it can be planned"), Some((0, 0, 1, Newlines::Both)));
    let size = console(Console::Caller { rows: 3, columns: 4 });
    assert_eq!(size.expect("it can be planned"), Some((3, 4, 1, Newlines::Plain)));
    assert!(console(Console::Nobody).is_err());
    let plain = Command { args: Vec::from([&b"true"[..]]), ..Command::default() };
    assert!(exec_plan(&plain, Console::Socket, &own()).is_err());
}

#[test]
fn sub_cgroups_stay_below() {
    let dir = orlop_cgroup::Dir {
        version: orlop_cgroup::Version::V2,
        path: "/sys/fs/cgroup/c".into(),
        outer_len: "/sys/fs/cgroup/c".len(),
        mount_len: 14,
        controllers: Vec::new(),
        need: orlop_cgroup::Need::Wanted,
    };
    let command = Command { args: Vec::from([&b"true"[..]]), ..Command::default() };
    for (path, wanted) in [
        ("/", Some("/sys/fs/cgroup/c")),
        ("a/b", Some("/sys/fs/cgroup/c/a/b")),
        ("a/../b", Some("/sys/fs/cgroup/c/b")),
        ("..", None),
        ("../cc", None),
        ("../../x", None),
    ] {
        let sub = [SubCgroup { controllers: Vec::new(), path }];
        let target = Target { cgroups: Vec::from([dir.clone()]), sub_cgroups: &sub, ..own() };
        let plan = exec_plan(&command, Console::Nobody, &target).ok();
        assert_eq!(plan.as_ref().map(|plan| plan.cgroup.dirs[0].path.as_str()), wanted, "{path}");
    }
}
