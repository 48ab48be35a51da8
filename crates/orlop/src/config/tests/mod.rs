//! Documents in, documents out: the fixtures of `fixtures/config` are ours and
//! name every member of the spec, those of `fixtures/contract` were recorded from
//! container engines.

mod errors;
mod examples;
mod oci;
mod properties;

use std::borrow::ToOwned;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::{fs, vec};

use serde_json::Value;

use super::*;

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder)
}

fn fixture(name: &str) -> String {
    let path = fixtures("config").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every JSON file below a folder, in order.
fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{} has documents", folder.display());
    files
}

/// Whether a document is a configuration, as opposed to a state or features.
fn is_config(text: &str) -> bool {
    let document: Value = serde_json::from_str(text).unwrap();
    let has = |member| document.get(member).is_some();
    has("ociVersion") && !has("status") && !has("fds")
}

/// A document that has every member is written as it was read, to the byte.
#[track_caller]
fn same_text<'a, T: serde::Deserialize<'a> + Document>(text: &'a str) {
    let document: T = parse("document", text.as_bytes()).unwrap();
    assert_eq!(document.to_json(Layout::Tabs), text.trim_end());
}

#[test]
fn every_member_survives() {
    same_text::<Config<'_>>(&fixture("full.json"));
    same_text::<State<'_>>(&fixture("state.json"));
    same_text::<ContainerState<'_>>(&fixture("container-state.json"));
    same_text::<ContainerProcessState<'_>>(&fixture("container-process-state.json"));
    same_text::<Features<'_>>(&fixture("features.json"));
}

/// Objects of a document by pointer, and the members each must show.
type Shown = [(&'static str, &'static [&'static str])];

/// Where the full documents show an object, and the members it must show.
#[test]
fn the_full_documents_are_full() {
    let config: &Shown = &[
        ("", Config::MEMBERS),
        ("/process", Process::MEMBERS),
        ("/process/consoleSize", ConsoleSize::MEMBERS),
        ("/process/user", User::MEMBERS),
        ("/process/capabilities", Capabilities::MEMBERS),
        ("/process/rlimits/0", Rlimit::MEMBERS),
        ("/process/scheduler", Scheduler::MEMBERS),
        ("/process/ioPriority", IoPriority::MEMBERS),
        ("/process/execCPUAffinity", CpuAffinity::MEMBERS),
        ("/root", Root::MEMBERS),
        ("/mounts/1", Mount::MEMBERS),
        ("/mounts/1/uidMappings/0", IdMapping::MEMBERS),
        ("/hooks", Hooks::MEMBERS),
        ("/hooks/prestart/0", Hook::MEMBERS),
        ("/linux", Linux::MEMBERS),
        ("/linux/namespaces/0", Namespace::MEMBERS),
        ("/linux/devices/0", Device::MEMBERS),
        ("/linux/netDevices/eth0", NetDevice::MEMBERS),
        ("/linux/intelRdt", IntelRdt::MEMBERS),
        ("/linux/memoryPolicy", MemoryPolicy::MEMBERS),
        ("/linux/personality", Personality::MEMBERS),
        ("/linux/timeOffsets/boottime", TimeOffset::MEMBERS),
        ("/linux/seccomp", Seccomp::MEMBERS),
        ("/linux/seccomp/syscalls/1", SyscallRule::MEMBERS),
        ("/linux/seccomp/syscalls/1/args/0", SyscallArg::MEMBERS),
        ("/linux/resources", Resources::MEMBERS),
        ("/linux/resources/devices/1", DeviceRule::MEMBERS),
        ("/linux/resources/memory", Memory::MEMBERS),
        ("/linux/resources/cpu", Cpu::MEMBERS),
        ("/linux/resources/pids", Pids::MEMBERS),
        ("/linux/resources/blockIO", BlockIo::MEMBERS),
        ("/linux/resources/blockIO/weightDevice/0", WeightDevice::MEMBERS),
        ("/linux/resources/blockIO/throttleReadBpsDevice/0", ThrottleDevice::MEMBERS),
        ("/linux/resources/hugepageLimits/0", HugepageLimit::MEMBERS),
        ("/linux/resources/network", Network::MEMBERS),
        ("/linux/resources/network/priorities/0", InterfacePriority::MEMBERS),
        ("/linux/resources/rdma/mlx5_1", Rdma::MEMBERS),
    ];
    let features: &Shown = &[
        ("", Features::MEMBERS),
        ("/linux", LinuxFeatures::MEMBERS),
        ("/linux/cgroup", CgroupFeatures::MEMBERS),
        ("/linux/seccomp", SeccompFeatures::MEMBERS),
        ("/linux/apparmor", Enabled::MEMBERS),
        ("/linux/intelRdt", IntelRdtFeatures::MEMBERS),
        ("/linux/memoryPolicy", MemoryPolicyFeatures::MEMBERS),
        ("/linux/mountExtensions", MountExtensions::MEMBERS),
    ];
    let documents: &[(&str, &Shown)] = &[
        ("full.json", config),
        ("features.json", features),
        ("state.json", &[("", State::MEMBERS)]),
        ("container-state.json", &[("", ContainerState::MEMBERS)]),
        ("container-process-state.json", &[("", ContainerProcessState::MEMBERS)]),
    ];
    for (name, objects) in documents {
        let document: Value = serde_json::from_str(&fixture(name)).unwrap();
        for (pointer, members) in *objects {
            let object = document.pointer(pointer).and_then(Value::as_object);
            let object = object.unwrap_or_else(|| panic!("{name} has an object at {pointer}"));
            for member in *members {
                assert!(object.contains_key(*member), "{name} has {pointer}/{member}");
            }
        }
    }
}

#[test]
fn reading_what_was_written_changes_nothing() {
    for folder in ["config", "contract"] {
        for path in json_files(&fixtures(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            if !is_config(&text) {
                continue;
            }
            let first = Config::parse(text.as_bytes()).unwrap();
            for layout in [Layout::Compact, Layout::Spaces, Layout::Tabs] {
                let written = first.to_json(layout);
                let second = Config::parse(written.as_bytes()).unwrap();
                assert_eq!(first, second, "{}", path.display());
                assert_eq!(written, second.to_json(layout), "{}", path.display());
            }
            let owned: Config<'static> = first.clone().into_owned();
            assert_eq!(first, owned, "{}", path.display());
        }
    }
}

#[test]
fn null_is_absence() {
    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(members) => members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
            Value::Array(items) => items.into_iter().map(without_nulls).collect(),
            other => other,
        }
    }

    for name in ["nulls.json", "nulls-inside.json"] {
        let text = fixture(name);
        let document: Value = serde_json::from_str(&text).unwrap();
        let stripped = without_nulls(document).to_string();
        assert_ne!(stripped.len(), text.len());
        let (with, without) = (Config::parse(text.as_bytes()), Config::parse(stripped.as_bytes()));
        assert_eq!(with.unwrap(), without.unwrap(), "{name}");
    }
}

#[test]
fn absent_is_the_default() {
    let empty = Config { oci_version: Str::new("1.3.0"), ..Config::default() };
    assert_eq!(Config::parse(fixture("minimal.json").as_bytes()).unwrap(), empty);

    let only_cwd = Process { cwd: Str::new("/"), ..Process::default() };
    let expected = Config { process: Some(only_cwd), ..empty };
    assert_eq!(Config::parse(fixture("nulls.json").as_bytes()).unwrap(), expected);
}

#[test]
fn unknown_members_are_ignored() {
    let text = fixture("unknown-members.json");
    let written = Config::parse(text.as_bytes()).unwrap().to_json(Layout::Compact);
    let expected = r#"{"ociVersion":"1.3.0","process":{"user":{"uid":1,"gid":2},"cwd":"/"},"linux":{"resources":{"memory":{"limit":1}}}}"#;
    assert_eq!(written, expected);
}

#[test]
fn absent_differs_from_zero_where_it_matters() {
    let text = br#"{"ociVersion":"1.3.0","process":{"cwd":"/","user":{"umask":0},"oomScoreAdj":0,"capabilities":{}},
        "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":[],"defaultErrnoRet":0},"intelRdt":{},
        "devices":[{"path":"/dev/x","type":"c","uid":0,"fileMode":0}],
        "resources":{"pids":{"limit":0},"memory":{"limit":0},"cpu":{"shares":0,"idle":0},"blockIO":{"weight":0}}}}"#;
    let config = Config::parse(text).unwrap();
    let process = config.process.as_ref().unwrap();
    assert_eq!(process.user.umask, Some(0));
    assert_eq!(process.oom_score_adj, Some(0));
    assert_eq!(process.capabilities, Some(Capabilities::default()));
    let linux = &config.linux;
    assert_eq!(linux.seccomp.as_ref().unwrap().flags, Some(Vec::new()));
    assert_eq!(linux.seccomp.as_ref().unwrap().default_errno_ret, Some(0));
    assert_eq!(linux.intel_rdt, Some(IntelRdt::default()));
    assert_eq!((linux.devices[0].uid, linux.devices[0].file_mode), (Some(0), Some(0)));
    assert_eq!((linux.resources.pids.limit, linux.resources.memory.limit), (Some(0), Some(0)));
    assert_eq!((linux.resources.cpu.shares, linux.resources.cpu.idle), (Some(0), Some(0)));
    assert_eq!(linux.resources.block_io.weight, Some(0));
    assert!(!linux.resources.is_empty());
    assert_eq!(config, Config::parse(config.to_json(Layout::Compact).as_bytes()).unwrap());
}

#[test]
fn strings_borrow_unless_they_have_escapes() {
    let text = br#"{"cwd": "/plain", "args": ["a b", "tab\tquote\"", "\u00e4\ud83d\ude00", "nul\u0000", "\u00fc"]}"#;
    let process = Process::parse(text).unwrap();
    let args: Vec<_> = process.args.iter().map(|arg| (arg.as_str(), arg.is_borrowed())).collect();
    let expected = [("a b", true), ("tab\tquote\"", false), ("ä😀", false), ("nul\0", false), ("ü", false)];
    assert_eq!(args, expected);
    assert!(process.cwd.is_borrowed());
}

#[test]
fn maps_are_sorted_and_the_last_value_counts() {
    let text = br#"{"ociVersion":"1","annotations":{"b":"1","a":"2","c":"3","b":"4","":"5"}}"#;
    let config = Config::parse(text).unwrap();
    let entries: Vec<_> = config.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(entries, [("", "5"), ("a", "2"), ("b", "4"), ("c", "3")]);
    assert_eq!(config.annotations.get("b").map(Str::as_str), Some("4"));
    assert_eq!(config.annotations.get("d"), None);
}

#[test]
fn capability_numbers_are_the_kernels() {
    let table = [
        ("CAP_CHOWN", Some(0)),
        ("CAP_SETPCAP", Some(8)),
        ("CAP_SYS_ADMIN", Some(21)),
        ("CAP_SETFCAP", Some(31)),
        ("CAP_CHECKPOINT_RESTORE", Some(40)),
        ("CAP_FROM_THE_FUTURE", None),
        ("cap_chown", None),
    ];
    for (name, number) in table {
        assert_eq!(capability_number(name), number, "{name}");
    }
}

#[test]
fn rlimit_discriminants_are_the_kernels() {
    let table = [(RlimitKind::Cpu, 0), (RlimitKind::Nofile, 7), (RlimitKind::As, 9), (RlimitKind::Rttime, 15)];
    for (kind, number) in table {
        assert_eq!(kind as u32, number, "{kind}");
    }
}

#[test]
fn text_is_escaped_and_laid_out_as_in_go() {
    let state = State {
        oci_version: Str::new("1.3.0"),
        id: Str::new("a\"\\<b>&\u{2028}\u{7f}\u{1}\u{8}\u{c}\n{[:,]}"),
        status: Status::Creating,
        pid: 0,
        bundle: Str::new("\\"),
        annotations: Map::default(),
    };
    let id = r#""a\"\\\u003cb\u003e\u0026\u2028"#.to_owned() + "\u{7f}" + r#"\u0001\b\f\n{[:,]}""#;
    let compact = std::format!(r#"{{"ociVersion":"1.3.0","id":{id},"status":"creating","bundle":"\\"}}"#);
    assert_eq!(state.to_json(Layout::Compact), compact);
    let spaces = std::format!(
        "{{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": {id},\n  \"status\": \"creating\",\n  \"bundle\": \"\\\\\"\n}}"
    );
    assert_eq!(state.to_json(Layout::Spaces), spaces);
    assert_eq!(State::parse(spaces.as_bytes()).unwrap(), state);
    assert_eq!(<[ContainerState<'_>]>::to_json(&[], Layout::Spaces), "[]");
}
