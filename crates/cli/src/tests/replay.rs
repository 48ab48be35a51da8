//! Calls that were recorded from engines, against the parser and the planner: understood or refused as they were by
//! runc, with nothing lost on the way.
//!
//! `fixtures/contract/calls.jsonl` has a line for each kind of call: who sent it and how often, the words, what of the
//! environment matters here, which descriptors beyond the standard ones were open, which signals were blocked, the
//! line of `processes.jsonl` and the limits that came with it, and how it ended. `says` is why a call failed that only
//! carrying it out could fail: the end-to-end tests `words/` have those. Without `calls` it was read off a source.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;
use std::string::String;
use std::vec::Vec;
use std::{format, fs, vec};

use orlop::config::{Config, Resources};
use orlop::plan::exec::{self, Target};
use orlop::plan::{self, Act, Gate, Options, Plan, RootChange, SessionKeyring};
use orlop::{CgroupManager, Host};
use serde_json::{Value, json};

use super::with;
use crate::command::{self, Command, Create, Exec, Global, Invocation, Update};
use crate::environment::{Caller, Environment, Root};

const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";
const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
37 31 0:34 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
38 31 0:35 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
";
const OWN: &str =
    "7:name=systemd:/\n6:freezer:/\n5:devices:/\n4:blkio:/\n3:memory:/\n2:pids:/\n1:cpuset:/\n1:cpu,cpuacct:/\n0::/\n";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/contract").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(name: &str) -> Vec<Value> {
    fixture(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// The hosts that a call is planned for: with either version of cgroups.
fn hosts(rootless: bool) -> Vec<Host> {
    let host = |mounts| Host { euid: 0, egid: 0, rootless, cgroups: orlop_cgroup::Layout::parse(mounts, OWN).unwrap() };
    vec![host(V1), host(V2)]
}

/// The recorded configurations of a client.
fn configurations(client: &str) -> &'static [&'static str] {
    match client {
        "docker" => &["docker.json", "docker-tty.json", "docker-userns-remap.json"],
        "docker-buildkit" => &["buildkit.json"],
        "containerd" | "containerd-ctr" | "containerd2-ctr" => &["containerd-ctr.json"],
        "containerd-cri" | "containerd2-cri" | "cri-o" => &["cri-sandbox.json", "cri-container.json"],
        "podman" | "podman6" | "conmon" => &["podman.json", "podman-pod.json", "podman-uidmap.json"],
        "podman-rootless" => &["podman-rootless.json"],
        "buildah" => &["buildah.json"],
        _ => panic!("no configuration of {client}"),
    }
}

/// One recorded kind of call.
struct Call(Value);

impl Call {
    fn is_rootless(&self) -> bool {
        self.0["env"]["XDG_RUNTIME_DIR"].as_str().is_some_and(|dir| !dir.is_empty())
    }

    fn fds(&self) -> BTreeSet<u64> {
        self.0["fds"].as_array().into_iter().flatten().map(|fd| fd.as_u64().unwrap()).collect()
    }

    /// The state directory is the same whatever of the environment came along: conmon creates, Podman starts.
    fn finds_its_root(&self, global: &Global<'_>) {
        let entries = self.0["env"].as_object().into_iter().flatten();
        let entries: Vec<CString> =
            entries.map(|(name, value)| CString::new(format!("{name}={}", value.as_str().unwrap())).unwrap()).collect();
        let env = Environment::new(entries.iter().map(CString::as_c_str));
        let in_user_namespace: fn() -> bool = if self.is_rootless() { || true } else { || false };
        let root = Root::find(global, &env, Caller { euid: 0, in_user_namespace }).unwrap();
        match global.root {
            Some(given) => assert_eq!(root.path.as_c_str(), given),
            None if self.is_rootless() => assert_eq!(root.path.as_c_str(), c"/run/user/1000/orlop"),
            None => assert_eq!(root.path.as_c_str(), c"/run/orlop"),
        }
    }

    /// What the caller left open is closed, but for what it asked to hand on; what it blocked is unblocked.
    fn leaves_nothing_of_the_caller(&self, plan: &Plan, preserved: u32) {
        let at = |name: &str| {
            let found = plan.entries.iter().position(|entry| entry.name() == name);
            found.unwrap_or_else(|| panic!("{}: no {name}", self.0))
        };
        let closes = plan.entries.iter().find_map(|entry| match entry.act {
            Act::Init(orlop_init::step::Step::CloseOnExec { first }) => Some(first),
            _ => None,
        });
        assert_eq!(closes, Some(3 + preserved), "{}", self.0);
        assert!((3..3 + u64::from(preserved)).all(|fd| self.fds().contains(&fd)), "{}: handed on and not open", self.0);
        assert!(at("signals") < at("execve"), "{}", self.0);
    }

    fn check(&self, invocation: &Invocation<'_>, processes: &[Value], planned: &mut usize) {
        self.finds_its_root(&invocation.global);
        let manager = match invocation.global.cgroup_manager {
            command::CgroupManager::Cgroupfs => CgroupManager::Cgroupfs,
            command::CgroupManager::Systemd => CgroupManager::Systemd,
            command::CgroupManager::Disabled => CgroupManager::Disabled,
        };
        match &invocation.command {
            Command::Create(create) => self.creates(create, manager, planned),
            Command::Run(run) => self.creates(&run.create, manager, planned),
            Command::Exec(options) => {
                if let Some(line) = self.0["process"].as_u64() {
                    self.executes(options, &processes[line as usize], planned);
                }
            }
            Command::Update(update) => self.updates(update),
            _ => assert!(self.0["process"].is_null() && self.0["resources"].is_null(), "{}", self.0),
        }
    }

    fn creates(&self, create: &Create<'_>, cgroup_manager: CgroupManager, planned: &mut usize) {
        for name in texts(&self.0["clients"]).into_iter().flat_map(configurations) {
            let mut document: Value = serde_json::from_str(&fixture(name)).unwrap();
            // The recorded one asked for a terminal where it came with a socket.
            document["process"]["terminal"] = json!(create.console_socket.is_some());
            if cgroup_manager == CgroupManager::Systemd {
                document["linux"]["cgroupsPath"] = json!("system.slice:test:ID");
            }
            let document = document.to_string();
            let config = Config::parse(document.as_bytes()).unwrap();
            let options = Options {
                id: create.id,
                bundle: "/bundle",
                gate: Gate::Start,
                root_change: if create.no_pivot { RootChange::Move } else { RootChange::Pivot },
                keyring: if create.no_new_keyring { SessionKeyring::Callers } else { SessionKeyring::New },
                cgroup_manager,
                preserve_fds: create.preserve_fds,
                console: match create.console_socket {
                    Some(_) => plan::Console::Socket,
                    None => plan::Console::Nobody,
                },
                ..Options::default()
            };
            for host in hosts(self.is_rootless()) {
                let plan = plan::plan(&config, &host, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
                if !self.0["calls"].is_null() {
                    self.leaves_nothing_of_the_caller(&plan, create.preserve_fds);
                }
                let is_there = |name: &str| plan.entries.iter().any(|entry| entry.name() == name);
                assert_eq!(is_there("console"), create.console_socket.is_some(), "{}", self.0);
                assert_eq!(is_there("keyring"), !create.no_new_keyring, "{}", self.0);
                assert_eq!(is_there("pivot"), !create.no_pivot, "{}", self.0);
                *planned += 1;
            }
        }
    }

    fn executes(&self, options: &Exec<'_>, process: &Value, planned: &mut usize) {
        let process = process.to_string();
        assert!(options.process.is_some() && options.detach && options.pid_file.is_some(), "{}", self.0);
        for name in texts(&self.0["clients"]).into_iter().flat_map(configurations) {
            let document = fixture(name);
            let mut config = Config::parse(document.as_bytes()).unwrap();
            let program = || exec::Program::Document(process.as_bytes());
            exec::substitute(&mut config, program()).unwrap();
            let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
            assert_eq!(terminal, options.console_socket.is_some(), "{}", self.0);
            let how = Options {
                id: options.id,
                preserve_fds: options.preserve_fds,
                console: if terminal { plan::Console::Socket } else { plan::Console::Nobody },
                ..Options::default()
            };
            for host in hosts(self.is_rootless()) {
                let plan = exec::plan(&config, program(), &host, &how, &Target::default());
                let plan = plan.unwrap_or_else(|error| panic!("{name} {process}: {error}"));
                self.leaves_nothing_of_the_caller(&plan, options.preserve_fds);
                *planned += 1;
            }
        }
    }

    /// The limits are a document; what becomes of it is `orlop`'s test `recorded_limits`.
    fn updates(&self, update: &Update<'_>) {
        if self.0["calls"].is_null() {
            return;
        }
        assert!(update.resources.is_some(), "{}", self.0);
        let document = self.0["resources"].to_string();
        let resources = Resources::parse(document.as_bytes()).unwrap();
        assert!(resources.memory.limit.is_some(), "{}", self.0);
    }
}

#[test]
fn engines() {
    let processes = lines("processes.jsonl");
    let (mut calls, mut planned) = (0, 0);
    for line in lines("calls.jsonl") {
        let call = Call(line);
        let words = texts(&call.0["argv"]);
        calls += call.0["calls"].as_u64().unwrap_or(0);
        with("runc", &words, |parsed| match (call.0["refused"].as_str(), parsed) {
            (Some(reason), Err(refused)) => {
                assert!(refused.status != 0 && refused.message == reason, "{}: {refused:?}", call.0);
            }
            (None, Ok(invocation)) => {
                nothing_lost(&words, invocation);
                call.check(invocation, &processes, &mut planned);
            }
            (_, parsed) => panic!("{}: {parsed:?}", call.0),
        });
    }
    assert_eq!(calls, 2488);
    assert!(planned > 200, "{planned} plans");
    let as_orlop = super::shown("orlop", "--cgroup-manager disabled create --bundle /b ID");
    assert!(as_orlop.is_ok_and(|text| text.contains("Disabled")));
}

/// Every word of the line is found in what was understood.
fn nothing_lost(words: &[&str], invocation: &Invocation<'_>) {
    if matches!(invocation.command, Command::Help(_) | Command::Version) {
        return;
    }
    let text = format!("{invocation:?}").to_lowercase();
    for word in words {
        let word = match *word {
            "--debug" => "level: debug",
            "--systemd-cgroup" => "systemd",
            "-a" => "all",
            "SIGKILL" | "KILL" => "signal: 9",
            "TERM" => "signal: 15",
            word if word.starts_with('-') && word.contains('=') => word.split_once('=').unwrap().1,
            word if word.starts_with("--") => continue,
            word => word,
        };
        assert!(text.contains(&word.to_lowercase()), "{words:?}: {word} is not in {text}");
    }
}
