//! `fixtures/config/properties.txt`: every property that the specification's JSON schema has for Linux, and the tests
//! that drive it. Here the table is held against our types, the tests' names, the parser and the planner.
//!
//! `[]` is a member of a list and `{…}` one of a map, with the key of `fixtures/config/everything.json`.

use std::borrow::ToOwned;
use std::collections::BTreeSet;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs};

use serde_json::{Value, json};

use super::super::*;
use super::{fixture, fixtures};
use crate::Host;
use crate::plan::{self, Options};

/// Of other platforms: not read at all.
const FOREIGN: &[&str] = &["/process/commandLine", "/process/user/username"];

/// What a plan does not show, and why.
const NOT_IN_PLANS: &[(&str, &str)] = &[
    ("/ociVersion", "says how the rest is to be read"),
    ("/hooks/poststart", "run by `start` from the frozen configuration"),
    ("/hooks/poststop", "run by `delete` from the frozen configuration"),
    ("/process/execCPUAffinity", "for further processes"),
    ("/linux/resources/memory/useHierarchy", "Linux knows no other way since 5.11"),
    ("/hooks/prestart/[]/args", "handed over by the runtime, like the next ones"),
    ("/hooks/prestart/[]/env", ""),
    ("/hooks/prestart/[]/timeout", ""),
    ("/hooks/createRuntime/[]/args", ""),
    ("/hooks/createRuntime/[]/env", ""),
    ("/hooks/createRuntime/[]/timeout", ""),
];

/// Another value, where neither without nor with the next number or a longer text there is a plan.
fn other(pattern: &str) -> Option<Value> {
    Some(match pattern {
        "/process/args" => json!(["/bin/true"]),
        "/process/consoleSize/height" | "/process/consoleSize/width" => json!(7),
        "/process/rlimits/[]/type" => json!("RLIMIT_CORE"),
        "/process/ioPriority/class" => json!("IOPRIO_CLASS_IDLE"),
        "/linux/namespaces/[]/type" => json!("cgroup"),
        "/linux/devices/[]/type" => json!("b"),
        "/linux/seccomp/defaultAction" => json!("SCMP_ACT_TRACE"),
        "/linux/seccomp/syscalls/[]/action" => json!("SCMP_ACT_TRACE"),
        "/linux/seccomp/syscalls/[]/args/[]/op" => json!("SCMP_CMP_NE"),
        "/linux/seccomp/syscalls/[]/args/[]/value" => json!(3),
        "/linux/personality/domain" => json!("LINUX"),
        "/linux/memoryPolicy/mode" => json!("MPOL_BIND"),
        "/linux/resources/hugepageLimits/[]/pageSize" => json!("1GB"),
        _ => return None,
    })
}

/// Two values of something around a property, which make no plan together with the rest.
fn pair(pattern: &str) -> Option<(&'static str, [Value; 2])> {
    let scheduler = |policy: &str, priority: u32| json!({"policy": policy, "priority": priority});
    Some(match pattern {
        "/process/scheduler/policy" => ("/process/scheduler", [scheduler("SCHED_FIFO", 3), scheduler("SCHED_RR", 3)]),
        "/process/scheduler/priority" => {
            ("/process/scheduler", [scheduler("SCHED_FIFO", 3), scheduler("SCHED_FIFO", 4)])
        }
        _ => return None,
    })
}

fn rows() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(fixtures("config").join("properties.txt")).expect("it is there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        (words.next().expect("a pattern"), words.collect())
    };
    lines.map(row).collect()
}

/// A pattern with `{}` for every key.
fn without_keys(pattern: &str) -> String {
    let parts = pattern.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn shape_patterns(shape: &Shape, at: &str, found: &mut BTreeSet<String>) {
    if !at.is_empty() {
        found.insert(at.to_owned());
    }
    match shape {
        Shape::Plain => {}
        Shape::List(inner) => shape_patterns(inner, &format!("{at}/[]"), found),
        Shape::Map(inner) => shape_patterns(inner, &format!("{at}/{{}}"), found),
        Shape::Object(members) => {
            members.iter().for_each(|(name, inner)| shape_patterns(inner, &format!("{at}/{name}"), found))
        }
    }
}

#[test]
fn our_types_have_the_properties_and_no_others() {
    let mut ours = BTreeSet::new();
    shape_patterns(&Config::SHAPE, "", &mut ours);
    let listed: BTreeSet<String> = rows().iter().map(|(pattern, _)| without_keys(pattern)).collect();
    let missing: Vec<_> = ours.difference(&listed).collect();
    assert!(missing.is_empty(), "not in properties.txt: {missing:#?}");
    let unread: Vec<_> = listed.difference(&ours).filter(|pattern| !FOREIGN.contains(&pattern.as_str())).collect();
    assert!(unread.is_empty(), "in no type of ours: {unread:#?}");
}

#[test]
fn each_has_tests_and_they_exist() {
    let root = fixtures("..");
    let files: Vec<String> = fs::read_dir(root.join("integration-tests/src/tests"))
        .expect("it is there")
        .map(|entry| fs::read_to_string(entry.expect("it is there").path()).expect("it is text"))
        .collect();
    let exists = |test: &str| match test.split_once(".rs:") {
        Some((file, name)) => fs::read_to_string(root.join(format!("{file}.rs")))
            .is_ok_and(|source| source.contains(&format!("fn {name}("))),
        None => test.split_once('/').is_some_and(|(area, name)| {
            files
                .iter()
                .any(|source| source.contains(&format!("\"{area}\":")) && source.contains(&format!("fn {name}(")))
        }),
    };
    let mut wrong = Vec::new();
    for (pattern, tests) in rows() {
        if tests.is_empty() {
            wrong.push(format!("{pattern}: no test"));
        }
        wrong.extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{pattern}: there is no {test}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The object that has nothing but what leads to that value.
fn around(pattern: &str, value: Value) -> Value {
    pattern.rsplit('/').filter(|part| !part.is_empty()).fold(value, |inner, part| match part {
        "[]" => json!([inner]),
        key => json!({key.trim_matches(['{', '}']): inner}),
    })
}

#[test]
fn a_wrong_type_is_an_error_there() {
    for (pattern, _) in rows().into_iter().filter(|(pattern, _)| !FOREIGN.contains(&pattern.as_str())) {
        let pointer = pattern.replace("[]", "0").replace(['{', '}'], "");
        // No type takes both.
        let errors: Vec<ParseError> = [json!(true), json!("\u{1}")]
            .into_iter()
            .filter_map(|value| Config::parse(around(&pattern, value).to_string().as_bytes()).err())
            .collect();
        assert!(errors.iter().any(|error| error.pointer == pointer), "{pattern}: {errors:?}");
    }
}

/// What is planned on that host: everything that a plan shows.
fn planned(config: &Value, mountinfo: &str) -> crate::error::Result<Vec<String>> {
    const OWN: &str = "3:memory:/\n2:pids:/\n1:cpuset,cpu,blkio,devices,net_cls,net_prio,hugetlb,rdma:/\n0::/own\n";
    let cgroups = orlop_cgroup::Layout::parse(mountinfo, OWN).expect("it is a host's");
    let host = Host { euid: 0, egid: 0, rootless: false, cgroups };
    let options =
        Options { id: "c", bundle: "/b", console: plan::Console::Caller { rows: 0, columns: 0 }, ..Options::default() };
    let text = config.to_string();
    let config = Config::parse(text.as_bytes())?;
    let plan = plan::plan(&config, &host, &options)?;
    let blob = plan.strings.blob();
    let texts = |list| blob.texts(list).iter().filter_map(|text| blob.text(*text)).collect::<Vec<_>>();
    let rest =
        format!("{:?}", (plan.has_poststart, plan.has_poststop, &plan.rootfs, texts(plan.args), texts(plan.env)));
    let mut shown = std::vec![crate::explain::text(&plan), rest, format!("{:?}", plan.cgroup)];
    // A filter is shown by its length only.
    for entry in &plan.entries {
        if let plan::Act::Init(orlop_init::step::Step::Seccomp { program, .. }) = entry.act {
            shown.push(format!(
                "{:?}",
                plan.strings.blob().filter(program).iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect::<Vec<_>>()
            ));
        }
    }
    Ok(shown)
}

const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/all rw,relatime - cgroup cgroup rw,cpuset,cpu,blkio,devices,net_cls,net_prio,hugetlb,rdma
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
";
const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

fn without(config: &Value, pointer: &str) -> Value {
    let mut config = config.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match config.pointer_mut(parent).expect("it is there") {
        Value::Object(members) => drop(members.remove(key)),
        Value::Array(list) => drop(list.remove(key.parse().expect("an index"))),
        _ => panic!("{pointer}"),
    }
    config
}

fn with(config: &Value, pointer: &str, value: Value) -> Value {
    let mut config = config.clone();
    *config.pointer_mut(pointer).expect("it is there") = value;
    config
}

/// The next number, the opposite, a longer text.
fn changed(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_i64().expect("a small one") + 1),
        Value::String(text) => json!(format!("{text}1")),
        other => other.clone(),
    }
}

/// No property is parsed and ignored: with it there is another plan than without, or than with another value.
#[test]
fn each_makes_a_difference_in_the_plan() {
    let full: Value = serde_json::from_str(&fixture("everything.json")).expect("it is JSON");
    let mut for_v1 = full.clone();
    for_v1.pointer_mut("/linux/resources").and_then(Value::as_object_mut).expect("it is there").remove("unified");
    let hosts = [(V2, &full), (V1, &for_v1)];
    let plans = hosts.map(|(host, config)| planned(config, host).expect("all of it can be planned"));
    let differs = |pattern: &str| {
        let one = |config: &Value, host: &str, plan: &[String], pointer: &str| {
            let Some(value) = config.pointer(pointer) else { return false };
            let mut edits = std::vec![without(config, pointer), with(config, pointer, changed(value))];
            edits.extend(other(pattern).map(|value| with(config, pointer, value)));
            edits.iter().any(|edit| planned(edit, host).is_ok_and(|other| other != *plan))
        };
        let mut pointers = std::vec![pattern.replace(['{', '}'], "")];
        // Any member of a list will do.
        while let Some(at) = pointers.iter().position(|pointer| pointer.contains("[]")) {
            let pointer = pointers.swap_remove(at);
            pointers.extend((0..3).map(|index| pointer.replacen("[]", &format!("{index}"), 1)));
        }
        let of_host = |((host, config), plan): (&(&str, &Value), &Vec<String>)| {
            pointers.iter().any(|pointer| one(config, host, plan, pointer))
        };
        hosts.iter().zip(&plans).any(of_host)
            || pair(pattern).is_some_and(|(pointer, values)| {
                let [one, other] =
                    values.map(|value| planned(&with(&full, pointer, value), V2).expect("it can be planned"));
                one != other
            })
    };
    let mut wrong = Vec::new();
    let rows = rows();
    for (pattern, _) in &rows {
        let explained =
            NOT_IN_PLANS.iter().any(|(exempt, _)| pattern == exempt || pattern.starts_with(&format!("{exempt}/")));
        if explained || FOREIGN.contains(&pattern.as_str()) {
            continue;
        }
        let below = |other: &&(String, Vec<String>)| other.0.starts_with(&format!("{pattern}/"));
        if !differs(pattern) && !rows.iter().filter(below).any(|(inner, _)| differs(inner)) {
            wrong.push(pattern.clone());
        }
    }
    assert!(wrong.is_empty(), "without effect on the plan: {wrong:#?}");
}
