//! What `lint` finds: a table of edits of a sound configuration, and what each must bring to light, where.

use orlop::lint::{self, Finding};
use serde_json::{Value, json};

mod common;
use common::linted::{lines, options};
use common::{HYBRID, V1, V2, base, host, patch};

/// The text at a finding's place.
fn at<'t>(text: &'t str, finding: &Finding) -> &'t str {
    &text.lines().nth(finding.line - 1).unwrap_or_default()[finding.column - 1..]
}

/// What an edit of the base configuration must bring: the findings as lines, and what stands at each one's place.
type Row = (&'static str, Value, &'static [(&'static str, &'static str)]);

#[track_caller]
fn check(layout: &str, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (name, edit, expected) in rows {
        let text = serde_json::to_string_pretty(&patch(base(), edit)).unwrap();
        let findings = lint::check(text.as_bytes(), &host(layout), &options());
        let found: Vec<(String, &str)> =
            lines(&findings).into_iter().zip(findings.iter().map(|f| at(&text, f))).collect();
        let same = found.len() == expected.len()
            && expected.iter().all(|(line, place)| found.iter().any(|(l, p)| l == line && p.starts_with(place)));
        if !same {
            wrong.push(format!("{name}: found {found:#?}, expected {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sound_configuration_has_no_findings() {
    check(V2, &[("base", json!({}), &[])]);
}

fn mounts(list: Value) -> Value {
    json!({"mounts": list})
}

fn seccomp(profile: Value) -> Value {
    json!({"linux": {"seccomp": patch(json!({"defaultAction": "SCMP_ACT_ERRNO"}), &profile)}})
}

fn all_namespaces(more: Value) -> Value {
    let kinds = ["mount", "pid", "ipc", "uts", "network", "user", "cgroup", "time"];
    let list: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    patch(json!({"linux": {"namespaces": list}}), &more)
}

const MAPS: &str = r#"[{"containerID": 0, "hostID": 100000, "size": 1000}]"#;

fn maps() -> Value {
    serde_json::from_str(MAPS).unwrap()
}

/// What cannot be read.
#[test]
fn values() {
    check(
        V2,
        &[
            (
                "two wrong types",
                json!({"process": {"terminal": 1, "oomScoreAdj": "high"}}),
                &[
                    ("error: /process/terminal: invalid type: integer `1`, expected a boolean", "1"),
                    ("error: /process/oomScoreAdj: invalid type: string \"high\", expected i32", "\"high\""),
                ],
            ),
            (
                "a word like another",
                json!({"process": {"rlimits": [{"type": "RLIMIT_NOFILES", "soft": 1, "hard": 1}], "scheduler": {"policy": "SCHED_BACH"}}}),
                &[
                    (
                        "error: /process/rlimits/0/type: invalid value: string \"RLIMIT_NOFILES\", expected an rlimit type (RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME); did you mean \"RLIMIT_NOFILE\"?",
                        "\"RLIMIT_NOFILES\"",
                    ),
                    (
                        "error: /process/scheduler/policy: invalid value: string \"SCHED_BACH\", expected a scheduling policy (SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE); did you mean \"SCHED_BATCH\"?",
                        "\"SCHED_BACH\"",
                    ),
                ],
            ),
            (
                "items of a list keep their places",
                mounts(json!([{"destination": 1}, {"type": "tmpfs"}, {"destination": "/a", "type": ""}])),
                &[
                    ("error: /mounts/0/destination: invalid type: integer `1`, expected a string", "1"),
                    ("error: /mounts/1/destination: the specification requires `destination`", "{"),
                    ("error: /mounts/2/type: a mount without a type", "\"\""),
                ],
            ),
            (
                "what is required",
                json!({"ociVersion": null, "process": {"cwd": null}}),
                &[
                    ("error: /ociVersion: the specification requires `ociVersion`", "{"),
                    ("error: /process/cwd: the specification requires `cwd`", "{"),
                ],
            ),
            (
                "numbers out of range",
                json!({"process": {"user": {"uid": -1, "gid": 4_294_967_296u64}}, "hooks": {"poststop": [{"path": "/a", "timeout": 0}]}}),
                &[
                    ("error: /process/user/uid: invalid value: integer `-1`, expected u32", "-1"),
                    ("error: /process/user/gid: invalid value: integer `4294967296`, expected u32", "4294967296"),
                    ("error: /hooks/poststop/0/timeout: invalid value: integer `0`, expected a nonzero u32", "0"),
                ],
            ),
            (
                "namespaces that are none",
                json!({"hostname": "a", "linux": {"namespaces": [{"type": "mnt"}]}}),
                &[(
                    "error: /linux/namespaces/0/type: invalid value: string \"mnt\", expected a namespace type (pid, network, mount, ipc, uts, user, cgroup, time)",
                    "\"mnt\"",
                )],
            ),
        ],
    );
}

/// Members that nobody reads, and some that the specification requires.
#[test]
fn members() {
    check(
        V2,
        &[
            (
                "strangers",
                json!({"proces": {}, "process": {"noNewPrivilege": true, "OOMScoreAdj": 5, "commandLine": "x"}, "windows": {}, "linux": {"memory": {}, "novel": 1}}),
                &[
                    ("warning: /proces: unknown member \"proces\", which is ignored; did you mean \"process\"?", "{}"),
                    (
                        "warning: /process/noNewPrivilege: unknown member \"noNewPrivilege\", which is ignored; did you mean \"noNewPrivileges\"?",
                        "true",
                    ),
                    (
                        "warning: /process/OOMScoreAdj: is read as \"oomScoreAdj\", as runc does; crun and youki ignore it",
                        "5",
                    ),
                    ("warning: /process/commandLine: is of another platform, and ignored", "\"x\""),
                    ("warning: /windows: is of another platform, and ignored", "{}"),
                    (
                        "warning: /linux/memory: unknown member \"memory\", which is ignored; did you mean /linux/resources/memory?",
                        "{}",
                    ),
                    ("warning: /linux/novel: unknown member \"novel\", which is ignored", "1"),
                ],
            ),
            (
                "free keys are no strangers",
                json!({"annotations": {"a": "b"}, "linux": {"resources": {"unified": {"memory.high": "1"}}}}),
                &[],
            ),
            (
                "left out",
                json!({"process": {"user": {"uid": 1}}, "linux": {"devices": [{"path": "/dev/a", "type": "c", "major": 1}, {"path": "/dev/b", "type": "p"}]}}),
                &[
                    ("warning: /process/user/gid: the specification requires `gid`; 0 is taken", "{"),
                    ("warning: /linux/devices/0/minor: the specification requires `minor`; 0 is taken", "{"),
                ],
            ),
        ],
    );
}

/// What `create` refuses: every fault of one configuration, each at its place.
#[test]
fn contradictions() {
    let process = |value: Value| json!({"process": value});
    check(
        V2,
        &[
            (
                "the document",
                json!({"ociVersion": "1.0", "annotations": {"": "x"}}),
                &[
                    ("error: /ociVersion: \"1.0\" is no version as semver.org has them", "\"1.0\""),
                    ("error: /annotations: the key of an annotation is empty", "{"),
                ],
            ),
            (
                "a version to come",
                json!({"ociVersion": "2.0.0"}),
                &[("error: /ociVersion: version 2.0.0 of the specification", "\"2.0.0\"")],
            ),
            (
                "nothing to run",
                json!({"process": null, "root": null}),
                &[
                    ("error: /root: root must be specified", "{"),
                    ("error: /process: process property must not be empty", "{"),
                ],
            ),
            (
                "the process",
                process(json!({"args": [], "cwd": "tmp", "env": ["A", "=", "B=\u{0}"], "oomScoreAdj": 2000,
                "user": {"uid": u32::MAX, "gid": 0, "umask": 4096, "additionalGids": [1, u32::MAX]}})),
                &[
                    ("error: /process/args: args must not be empty", "[]"),
                    ("error: /process/cwd: Cwd must be an absolute path", "\"tmp\""),
                    ("error: /process/env/0: invalid environment variable \"A\": no name and value", "\"A\""),
                    ("error: /process/env/1: invalid environment variable \"=\": no name and value", "\"=\""),
                    ("error: /process/env/2: holds a NUL character", "\"B="),
                    ("error: /process/oomScoreAdj: 2000 is no OOM score: it lies between -1000 and 1000", "2000"),
                    ("error: /process/user/uid: 4294967295 is no user or group id", "4294967295"),
                    ("error: /process/user/additionalGids/1: 4294967295 is no user or group id", "4294967295"),
                    ("error: /process/user/umask: 0o10000 is no file mode mask", "4096"),
                ],
            ),
            (
                "limits",
                process(
                    json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}),
                ),
                &[
                    ("error: /process/rlimits/0/soft: the soft limit on RLIMIT_CORE is above the hard one", "2"),
                    ("error: /process/rlimits/1: a second limit on RLIMIT_CORE", "{"),
                ],
            ),
            (
                "capabilities",
                process(
                    json!({"capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_FLY"],
                "effective": ["CAP_KILL", "CAP_FOWNER"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_KILL"]}}),
                ),
                &[
                    ("warning: /process/capabilities/permitted/2: ignoring unknown capability CAP_FLY", "\"CAP_FLY\""),
                    (
                        "error: /process/capabilities/effective/1: unable to apply caps: CAP_FOWNER is effective and not permitted",
                        "\"CAP_FOWNER\"",
                    ),
                    (
                        "error: /process/capabilities/inheritable/0: unable to apply caps: CAP_CHOWN is inheritable and not in the bounding set",
                        "\"CAP_CHOWN\"",
                    ),
                    (
                        "warning: /process/capabilities/ambient/0: can't raise ambient capability CAP_KILL: it is not both permitted and inheritable",
                        "\"CAP_KILL\"",
                    ),
                ],
            ),
            (
                "attributes",
                process(
                    json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8},
                "execCPUAffinity": {"initial": "3-1", "final": "x"}}),
                ),
                &[
                    (
                        "error: /process/scheduler/priority: scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
                        "1",
                    ),
                    ("error: /process/ioPriority: invalid ioPriority.Priority: 8", "{"),
                    ("error: /process/execCPUAffinity/initial: invalid CPU list \"3-1\"", "\"3-1\""),
                    ("error: /process/execCPUAffinity/final: invalid CPU list \"x\"", "\"x\""),
                ],
            ),
            (
                "namespaces that are not there",
                json!({"hostname": "a", "domainname": "b", "linux": {"namespaces": [{"type": "ipc", "path": "ns"}, {"type": "ipc"}],
                "uidMappings": maps(), "timeOffsets": {"monotonic": {"secs": 1}},
                "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "1", "vm.swappiness": "1"}}}),
                &[
                    ("error: /hostname: unable to set hostname without a private UTS namespace", "\"a\""),
                    ("error: /domainname: unable to set domainname without a private UTS namespace", "\"b\""),
                    ("error: /linux/namespaces/0/path: the path of a namespace must be absolute", "\"ns\""),
                    ("error: /linux/namespaces/1: a second ipc namespace", "{"),
                    ("error: /linux/uidMappings: user namespace mappings specified, but no user namespace", "["),
                    ("error: /linux/timeOffsets: time namespace offsets specified, but no time namespace", "{"),
                    (
                        "error: /linux/sysctl/net.ipv4.ip_forward: sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
                        "\"1\"",
                    ),
                    (
                        "error: /linux/sysctl/vm.swappiness: sysctl \"vm.swappiness\" is not in a separate kernel namespace",
                        "\"1\"",
                    ),
                ],
            ),
            (
                "ids",
                all_namespaces(
                    json!({"process": {"user": {"uid": 5000, "gid": 0, "additionalGids": [1, 6000]}}, "linux": {"uidMappings": maps(),
                "gidMappings": [{"containerID": 1, "hostID": 1, "size": 5}]}}),
                ),
                &[
                    ("error: /linux/gidMappings: gid 0 of the container must be mapped", "["),
                    ("error: /process/user/uid: user 5000 is not mapped in the container's user namespace", "5000"),
                    ("error: /process/user/gid: group 0 is not mapped in the container's user namespace", "0"),
                    (
                        "error: /process/user/additionalGids/1: group 6000 is not mapped in the container's user namespace",
                        "6000",
                    ),
                ],
            ),
            (
                "clocks",
                all_namespaces(
                    json!({"linux": {"uidMappings": maps(), "gidMappings": maps(), "timeOffsets": {"realtime": {}}}}),
                ),
                &[("error: /linux/timeOffsets: \"realtime\" is no clock with an offset", "{")],
            ),
            (
                "names",
                json!({"hostname": "h".repeat(65)}),
                &[("error: /hostname: a hostname of more than 64 bytes", "\"hhh")],
            ),
            (
                "mounts",
                mounts(json!([{"destination": "/", "type": "tmpfs"}, {"destination": "/a", "type": "bind"},
                {"destination": "/b", "type": "tmpfs", "options": ["idmap"]},
                {"destination": "/c", "source": "/c", "options": ["bind", "tmpcopyup"]},
                {"destination": "/d", "source": "/d", "options": ["bind"], "uidMappings": maps()}])),
                &[
                    ("error: /mounts/0/destination: a mount on top of the root file system", "\"/\""),
                    ("error: /mounts/1/source: a bind mount without a source", "{"),
                    ("error: /mounts/2: id-mapped mounts are only supported for bind mounts", "{"),
                    ("error: /mounts/3/options: only a tmpfs can begin with a copy", "["),
                    ("error: /mounts/4: an idmap mount needs both uidMappings and gidMappings", "{"),
                ],
            ),
            (
                "hooks",
                json!({"hooks": {"createRuntime": [{"path": "a"}, {"path": "/b", "args": ["\u{0}"]}], "poststop": [{"path": "c"}]}}),
                &[
                    ("error: /hooks/createRuntime/0/path: the path of a hook must be absolute", "\"a\""),
                    ("error: /hooks/createRuntime/1: holds a NUL character", "{"),
                    ("error: /hooks/poststop/0/path: the path of a hook must be absolute", "\"c\""),
                ],
            ),
            (
                "devices and covers",
                json!({"linux": {"devices": [{"path": "a", "type": "c", "major": -1, "minor": 1}], "maskedPaths": ["proc/kcore"], "readonlyPaths": ["sys"]}}),
                &[
                    ("error: /linux/devices/0/path: the path of a device must be absolute", "\"a\""),
                    ("error: /linux/devices/0/major: -1 is no device number", "-1"),
                    ("error: /linux/maskedPaths/0: a path in the container must be absolute here", "\"proc/kcore\""),
                    ("error: /linux/readonlyPaths/0: a path in the container must be absolute here", "\"sys\""),
                ],
            ),
            (
                "policies",
                json!({"linux": {"memoryPolicy": {"mode": "MPOL_BIND"}, "personality": {"domain": "LINUX", "flags": ["X"]}}}),
                &[
                    ("error: /linux/memoryPolicy: memory policy mode requires at least one node but got 0", "{"),
                    (
                        "warning: /linux/personality/flags: ignoring personality flags: the spec defines none, [\"X\"] among them",
                        "[",
                    ),
                ],
            ),
            (
                "filters",
                seccomp(
                    json!({"listenerMetadata": "x", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}]}),
                ),
                &[
                    (
                        "error: /linux/seccomp/listenerMetadata: seccomp listenerMetadata is set, and listenerPath is not",
                        "\"x\"",
                    ),
                    ("error: /linux/seccomp: seccomp: action Allow takes no errno", "{"),
                ],
            ),
            (
                "terminals",
                json!({"process": {"terminal": true, "consoleSize": {"height": 70000, "width": 1}}}),
                &[("error: /process/consoleSize: 70000 is no size of a terminal", "{")],
            ),
            (
                "cgroup paths",
                json!({"linux": {"cgroupsPath": "a\u{0}b"}}),
                &[("error: /linux/cgroupsPath: cgroup path \"a\\0b\" holds a newline or NUL", "\"a")],
            ),
        ],
    );
}

/// Limits: each wrong one, though planning ends at the first.
#[test]
fn limits() {
    let resources = |value: Value| json!({"linux": {"resources": value}});
    let wrong = resources(json!({
        "memory": {"limit": 10, "swap": 5, "swappiness": 200},
        "cpu": {"quota": 1000, "burst": 2000},
        "blockIO": {"weightDevice": [{"major": -1, "minor": 0, "weight": 10}, {"major": 1, "minor": 0}],
            "throttleReadBpsDevice": [{"major": 1, "minor": -2, "rate": 1}]},
        "devices": [{"allow": false}, {"allow": true, "type": "c", "major": -7}],
        "rdma": {"mlx": {}},
        "unified": {"memory": "1", "a/b.c": "2", "memory.high": "3"}
    }));
    check(
        V2,
        &[(
            "all at once",
            wrong,
            &[
                (
                    "error: /linux/resources/memory/swappiness: invalid memory swappiness value: 200 (valid range is 0-100)",
                    "200",
                ),
                ("error: /linux/resources/memory/swap: memory+swap limit should be >= memory limit", "5"),
                ("error: /linux/resources/cpu/burst: the burst is larger than the quota", "2000"),
                ("error: /linux/resources/blockIO/weightDevice/0: -1 is no device number", "{"),
                (
                    "warning: /linux/resources/blockIO/weightDevice/1: the specification requires one of weight and leafWeight; nothing is set",
                    "{",
                ),
                ("error: /linux/resources/blockIO/throttleReadBpsDevice/0: -2 is no device number", "{"),
                ("error: /linux/resources/devices/1: -7 is no device number", "{"),
                ("error: /linux/resources/rdma/mlx: neither hcaHandles nor hcaObjects is given", "{}"),
                (
                    "error: /linux/resources/unified/memory: unified resource \"memory\" must be in the form CONTROLLER.PARAMETER",
                    "\"1\"",
                ),
                (
                    "error: /linux/resources/unified/a~1b.c: unified resource \"a/b.c\" must be a file name (no slashes)",
                    "\"2\"",
                ),
            ],
        )],
    );
    let for_v1 = resources(json!({"memory": {"swappiness": 10, "disableOOMKiller": true}, "network": {"classID": 1},
        "cpu": {"realtimePeriod": 1}}));
    check(
        V2,
        &[(
            "settings of v1",
            for_v1.clone(),
            &[
                ("warning: /linux/resources/memory/swappiness: not set: cgroup v2 has no such setting", "10"),
                ("warning: /linux/resources/memory/disableOOMKiller: not set: cgroup v2 has no such setting", "true"),
                ("warning: /linux/resources/network/classID: not set: cgroup v2 has no such setting", "1"),
                ("warning: /linux/resources/cpu/realtimePeriod: not set: cgroup v2 has no such setting", "1"),
            ],
        )],
    );
    check(V1, &[("the same on v1", for_v1, &[])]);
    for layout in [V1, HYBRID] {
        check(
            layout,
            &[(
                "files of v2",
                resources(json!({"unified": {"memory.high": "1"}})),
                &[("error: /linux/resources/unified: invalid configuration: cannot use unified on cgroup v1", "{")],
            )],
        );
    }
}

/// What is carried out, and has another effect than it seems.
#[test]
fn advice() {
    check(
        V2,
        &[
            (
                "the process",
                json!({"process": {"consoleSize": {"height": 1, "width": 1}, "env": ["A=1", "B=2", "A=3"]}}),
                &[
                    ("warning: /process/consoleSize: has no effect: the process has no terminal", "{"),
                    ("warning: /process/env/0: has no effect: /process/env/2 sets A again", "\"A=1\""),
                ],
            ),
            (
                "mounts",
                mounts(
                    json!([{"destination": "a", "type": "tmpfs"}, {"destination": "/b/c", "type": "tmpfs", "options": ["nosiud", "size=1m"]},
                {"destination": "/b", "source": "/x", "options": ["bind", "size=1m"]}]),
                ),
                &[
                    (
                        "warning: /mounts/0/destination: the specification requires an absolute path; it is taken as \"/a\"",
                        "\"a\"",
                    ),
                    ("warning: /mounts/1: is hidden: /mounts/2 comes after it and covers it", "{"),
                    (
                        "warning: /mounts/1/options/0: is none of mount(8), and goes to the file system; did you mean \"nosuid\"?",
                        "\"nosiud\"",
                    ),
                    ("warning: /mounts/2/options/1: has no effect on a bind mount", "\"size=1m\""),
                ],
            ),
            (
                "devices",
                json!({"mounts": [{"destination": "/dev", "source": "/dev", "options": ["rbind"]}],
                "linux": {"devices": [{"path": "/dev/a", "type": "p"}, {"path": "/dev//a", "type": "p"}]}}),
                &[
                    ("warning: /linux/devices: no device is made: /dev is the host's, by a bind mount", "["),
                    ("warning: /linux/devices/1/path: is there already, by /linux/devices/0", "\"/dev//a\""),
                ],
            ),
            (
                "covers",
                json!({"linux": {"maskedPaths": ["/proc/a", "/proc/a/b", "/proc/a"], "readonlyPaths": ["/proc/a/c", "/proc/ab"]}}),
                &[
                    ("warning: /linux/maskedPaths/1: has no effect: /linux/maskedPaths/0 covers it", "\"/proc/a/b\""),
                    ("warning: /linux/maskedPaths/2: is there already, by /linux/maskedPaths/0", "\"/proc/a\""),
                    ("warning: /linux/readonlyPaths/0: has no effect: /linux/maskedPaths/0 covers it", "\"/proc/a/c\""),
                ],
            ),
            (
                "old hooks",
                json!({"hooks": {"prestart": [{"path": "/a"}]}}),
                &[(
                    "warning: /hooks/prestart: prestart hooks are deprecated by the specification; createRuntime, createContainer and startContainer say where each hook runs",
                    "[",
                )],
            ),
        ],
    );
}

#[test]
fn rules_of_a_filter() {
    let condition =
        |index: u32, op: &str, value: u64, two: u64| json!({"index": index, "op": op, "value": value, "valueTwo": two});
    let rule = |names: &[&str], args: Value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args});
    check(
        V2,
        &[
            (
                "names",
                seccomp(json!({"syscalls": [rule(&["mkdir", "opneat", "teleport"], json!([])), rule(&[], json!([]))]})),
                &[
                    (
                        "warning: /linux/seccomp/syscalls/0/names/1: unknown system call \"opneat\", which is ignored; did you mean \"openat\"?",
                        "\"opneat\"",
                    ),
                    (
                        "warning: /linux/seccomp/syscalls/0/names/2: unknown system call \"teleport\", which is ignored",
                        "\"teleport\"",
                    ),
                    (
                        "warning: /linux/seccomp/syscalls/1: a rule for no system call; the specification requires one",
                        "{",
                    ),
                ],
            ),
            (
                "shadows",
                seccomp(json!({"syscalls": [
                rule(&["mkdir", "rmdir"], json!([condition(0, "SCMP_CMP_EQ", 1, 0)])),
                rule(&["mkdir"], json!([])),
                {"names": ["mkdir"], "action": "SCMP_ACT_KILL"},
                {"names": ["chdir"], "action": "SCMP_ACT_ERRNO"}]})),
                &[
                    (
                        "warning: /linux/seccomp/syscalls/0: does not apply to mkdir: /linux/seccomp/syscalls/1 decides before it; a rule without conditions beats those with some, and the first such rule the others",
                        "{",
                    ),
                    (
                        "warning: /linux/seccomp/syscalls/2: never applies: /linux/seccomp/syscalls/1 decides before it; a rule without conditions beats those with some, and the first such rule the others",
                        "{",
                    ),
                    ("warning: /linux/seccomp/syscalls/3: says what the default action says", "{"),
                ],
            ),
            (
                "conditions",
                seccomp(json!({"syscalls": [
                rule(&["mkdir"], json!([condition(0, "SCMP_CMP_LT", 0, 0)])),
                rule(&["rmdir"], json!([condition(0, "SCMP_CMP_MASKED_EQ", 1, 2)])),
                rule(&["chdir"], json!([condition(0, "SCMP_CMP_GE", 0, 0)])),
                rule(&["chmod"], json!([condition(0, "SCMP_CMP_EQ", 1, 2), condition(0, "SCMP_CMP_EQ", 2, 0)]))]})),
                &[
                    ("warning: /linux/seccomp/syscalls/0/args/0: never holds", "{"),
                    ("warning: /linux/seccomp/syscalls/1/args/0: never holds", "{"),
                    ("warning: /linux/seccomp/syscalls/2/args/0: always holds", "{"),
                    (
                        "warning: /linux/seccomp/syscalls/3/args/0/valueTwo: valueTwo has no effect with SCMP_CMP_EQ",
                        "2",
                    ),
                    (
                        "warning: /linux/seccomp/syscalls/3/args/1: is the second condition on argument 0: either of them is enough; as runc does it; two rules say the same more clearly",
                        "{",
                    ),
                ],
            ),
        ],
    );
}
