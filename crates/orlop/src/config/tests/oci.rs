//! Both parsers read the same documents and must understand the same.
//!
//! `ORLOP_SPEC_EXAMPLES` names a further folder of configurations, such as the
//! spec's own examples.

use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::{env, fs};

use oci_spec::runtime::Spec;
use serde_json::Value;

use super::super::*;
use super::{fixture, fixtures, is_config, json_files};

/// Documents of ours that oci-spec refuses.
const BEYOND: &[&str] = &["beyond-oci-spec.json", "nulls.json", "nulls-inside.json"];

/// Numbers of which the spec gives zero the meaning of absence.
const ZERO_IS_ABSENT: &[&str] = &["secs", "nanosecs", "nice", "runtime", "deadline", "period", "valueTwo"];

/// Lists that oci-spec reads into sets, without an order.
const SETS: &[&str] = &["bounding", "effective", "inheritable", "permitted", "ambient"];

fn sorted(mut value: Value) -> Value {
    if let Some(items) = value.as_array_mut() {
        items.sort_by_key(ToString::to_string);
    }
    value
}

/// The first place where two documents differ.
fn difference(at: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            keys.map(|key| (std::format!("{at}/{key}"), a.get(key), b.get(key)))
                .find_map(|(at, a, b)| difference(&at, a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|index| difference(&std::format!("{at}/{index}"), &a[index], &b[index]))
        }
        _ => (ours != theirs).then(|| std::format!("{at}: ours {ours}, theirs {theirs}")),
    }
}

/// What both sides may leave out: absence, spelled differently.
fn normal(value: Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) | Value::Bool(true) => false,
    };
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key, normal(value)))
            .filter(|(key, value)| !(empty(value) || key == "type" && value == "a"))
            .filter(|(key, value)| !(value.as_u64() == Some(0) && ZERO_IS_ABSENT.contains(&key.as_str())))
            .map(|(key, value)| if SETS.contains(&key.as_str()) { (key, sorted(value)) } else { (key, value) })
            .collect(),
        Value::Array(items) => items.into_iter().map(normal).collect(),
        other => other,
    }
}

/// Members for other platforms, which we do not keep.
fn for_linux(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        for other in ["solaris", "windows", "vm", "zos", "freebsd"] {
            members.remove(other);
        }
    }
    for (object, other) in [("/process", "commandLine"), ("/process/user", "username")] {
        if let Some(members) = value.pointer_mut(object).and_then(Value::as_object_mut) {
            members.remove(other);
        }
    }
    value
}

fn ours(config: &Config<'_>) -> Value {
    normal(serde_json::to_value(config).unwrap())
}

#[track_caller]
fn same(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let config = Config::parse(text.as_bytes()).unwrap();
    let spec: Spec = serde_json::from_str(&text).unwrap();
    let theirs = for_linux(serde_json::to_value(&spec).unwrap());
    assert_eq!(difference("", &ours(&config), &normal(theirs)), None, "{}", path.display());
    let converted = Config::try_from(spec).unwrap();
    assert_eq!(difference("", &ours(&converted), &ours(&config)), None, "{}", path.display());
}

#[test]
fn both_parsers_agree() {
    for folder in ["config", "contract"] {
        for path in json_files(&fixtures(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            if BEYOND.iter().any(|name| path.ends_with(name)) {
                assert!(serde_json::from_str::<Spec>(&text).is_err(), "{}", path.display());
            } else if is_config(&text) {
                same(&path);
            }
        }
    }
}

/// Of documents that are not ours oci-spec may refuse some; we read them all.
#[test]
fn both_parsers_agree_about_further_examples() {
    let Some(folder) = env::var_os("ORLOP_SPEC_EXAMPLES") else {
        return;
    };
    for path in json_files(&PathBuf::from(folder)) {
        let text = fs::read_to_string(&path).unwrap();
        if serde_json::from_str::<Spec>(&text).is_ok() {
            same(&path);
        } else {
            Config::parse(text.as_bytes()).unwrap();
        }
    }
}

#[test]
fn documents_that_oci_spec_refuses_are_read() {
    let text = fixture("beyond-oci-spec.json");
    assert!(serde_json::from_str::<Spec>(&text).is_err());
    let config = Config::parse(text.as_bytes()).unwrap();
    let process = config.process.unwrap();
    assert_eq!(process.user, User::default());
    assert_eq!(process.capabilities.unwrap().bounding, ["CAP_FROM_THE_FUTURE"]);
    let flags = [SchedulerFlag::ResetOnFork, SchedulerFlag::DlOverrun];
    assert_eq!(process.scheduler.unwrap().flags, flags);
    assert_eq!(config.linux.resources.pids.limit, None);
    assert_eq!(config.linux.resources.hugepage_limits[0].limit, u64::MAX);
    assert_eq!(config.linux.seccomp.unwrap().syscalls[0].names, [""; 0]);
}

#[track_caller]
fn convert(edit: impl Fn(&mut Value)) -> Result<Config<'static>, ParseError> {
    let mut document = serde_json::to_value(Spec::default()).unwrap();
    edit(&mut document);
    Config::try_from(serde_json::from_value::<Spec>(document).unwrap())
}

#[test]
fn spellings_of_oci_spec_are_put_right() {
    let config = convert(|document| {
        let flags = ["SCHED_RESET_ON_FORK", "SCHED_FLAG_D_L_OVERRUN", "SCHED_FLAG_RECLAIM"];
        document["process"]["scheduler"] = serde_json::json!({"policy": "SCHED_OTHER", "flags": flags});
        let archs = ["SCMP_ARCH_NATIVE", "SCMP_ARCH_X32"];
        document["linux"]["seccomp"] = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs});
    });
    let config = config.unwrap();
    let flags = [SchedulerFlag::ResetOnFork, SchedulerFlag::DlOverrun, SchedulerFlag::Reclaim];
    assert_eq!(config.process.unwrap().scheduler.unwrap().flags, flags);
    assert_eq!(config.linux.seccomp.unwrap().architectures, [SeccompArch::X32]);
}

#[test]
fn what_the_spec_cannot_say_is_refused() {
    let error = convert(|document| {
        document["linux"]["devices"] = serde_json::json!([{"path": "/dev/x", "type": "a"}]);
    });
    let error = error.unwrap_err();
    assert_eq!(error.document, "oci_spec::runtime::Spec");
    assert_eq!(error.pointer, "/linux/devices/0/type");
}
