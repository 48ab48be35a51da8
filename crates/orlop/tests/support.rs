//! README's table of configuration fields, asked of the planner: a field is built where a configuration with it is
//! planned, and not where it is refused by its own name. `ORLOP_BLESS=1` writes the table anew.

use orlop::config::Config;
use orlop::plan::{self, Options, options};
use orlop::{Host, Kind};
use serde_json::{Value, json};

mod common;
use common::{CREATE, HYBRID, V1, V2, base, host, patch};

/// One field: its name in the table, an edit that asks for it, and the host to plan for.
type Field = (&'static str, &'static str, Value, &'static str);

fn fields() -> Vec<Field> {
    let process = |value: Value| json!({"process": value});
    let linux = |value: Value| json!({"linux": value});
    let namespace = |kind: &str, path: Option<&str>| {
        let mut list = vec![json!({"type": "mount"})];
        list.retain(|_| kind != "mount");
        list.push(json!({"type": kind, "path": path.unwrap_or_default()}));
        json!({"hostname": null, "linux": {"namespaces": list}})
    };
    let resources = |value: Value| json!({"linux": {"resources": value}});
    let mount = |value: Value| json!({"mounts": [value]});
    let hook = |name: &str| json!({"hooks": {name: [{"path": "/bin/true"}]}});
    let id = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    vec![
        (
            "process",
            "user, additionalGids, umask",
            process(json!({"user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 7}})),
            V2,
        ),
        ("process", "args, env, cwd", process(json!({"args": ["a"], "env": ["A=b"], "cwd": "/c"})), V2),
        ("process", "capabilities", process(json!({"capabilities": {"bounding": ["CAP_KILL"]}})), V2),
        ("process", "noNewPrivileges", process(json!({"noNewPrivileges": true})), V2),
        ("process", "rlimits", process(json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]})), V2),
        ("process", "oomScoreAdj", process(json!({"oomScoreAdj": 1})), V2),
        ("process", "terminal, consoleSize", process(json!({"terminal": true})), V2),
        ("process", "scheduler", process(json!({"scheduler": {"policy": "SCHED_BATCH"}})), V2),
        ("process", "ioPriority", process(json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 1}})), V2),
        ("process", "apparmorProfile", process(json!({"apparmorProfile": "a"})), V2),
        ("process", "selinuxLabel", process(json!({"selinuxLabel": "a"})), V2),
        ("root", "path, readonly", json!({"root": {"readonly": true}}), V2),
        ("", "hostname, domainname", json!({"hostname": "a", "domainname": "b"}), V2),
        ("", "annotations", json!({"annotations": {"a": "b"}}), V2),
        ("mounts", "new file systems", mount(json!({"destination": "/a", "type": "tmpfs"})), V2),
        ("mounts", "bind, rbind", mount(json!({"destination": "/a", "source": "/b", "options": ["rbind"]})), V2),
        ("mounts", "cgroup on v2", mount(json!({"destination": "/a", "type": "cgroup"})), V2),
        ("mounts", "cgroup on v1", mount(json!({"destination": "/a", "type": "cgroup"})), V1),
        ("mounts", "cgroup on a hybrid host", mount(json!({"destination": "/a", "type": "cgroup"})), HYBRID),
        ("mounts", "remount", mount(json!({"destination": "/a", "options": ["remount"]})), V2),
        (
            "mounts",
            "uidMappings, gidMappings",
            mount(
                json!({"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": id, "gidMappings": id}),
            ),
            V2,
        ),
        ("hooks", "prestart", hook("prestart"), V2),
        ("hooks", "createRuntime", hook("createRuntime"), V2),
        ("hooks", "createContainer", hook("createContainer"), V2),
        ("hooks", "startContainer", hook("startContainer"), V2),
        ("hooks", "poststart", hook("poststart"), V2),
        ("hooks", "poststop", hook("poststop"), V2),
        ("linux.namespaces", "mount: new", namespace("mount", None), V2),
        ("linux.namespaces", "mount: none", json!({"linux": {"namespaces": []}, "hostname": null}), V2),
        ("linux.namespaces", "mount: joined", namespace("mount", Some("/ns")), V2),
        ("linux.namespaces", "pid: new", namespace("pid", None), V2),
        ("linux.namespaces", "pid: joined", namespace("pid", Some("/ns")), V2),
        (
            "linux.namespaces",
            "network, ipc, uts, cgroup: new",
            json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}]}}),
            V2,
        ),
        (
            "linux.namespaces",
            "network, ipc, uts, cgroup: joined",
            json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/n"}, {"type": "ipc", "path": "/i"}, {"type": "uts", "path": "/u"}, {"type": "cgroup", "path": "/c"}]}}),
            V2,
        ),
        (
            "linux.namespaces",
            "user: new",
            patch(namespace("user", None), &linux(json!({"uidMappings": id, "gidMappings": id}))),
            V2,
        ),
        ("linux.namespaces", "user: joined", namespace("user", Some("/ns")), V2),
        ("linux.namespaces", "time: new", namespace("time", None), V2),
        ("linux.namespaces", "time: joined", namespace("time", Some("/ns")), V2),
        ("linux", "devices", linux(json!({"devices": [{"path": "/dev/a", "type": "p"}]})), V2),
        ("linux", "netDevices", patch(namespace("network", None), &linux(json!({"netDevices": {"eth0": {}}}))), V2),
        (
            "linux",
            "sysctl",
            linux(
                json!({"sysctl": {"kernel.msgmax": "1"}, "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]}),
            ),
            V2,
        ),
        ("linux", "seccomp", linux(json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})), V2),
        ("linux", "rootfsPropagation", linux(json!({"rootfsPropagation": "slave"})), V2),
        ("linux", "maskedPaths, readonlyPaths", linux(json!({"maskedPaths": ["/a"], "readonlyPaths": ["/b"]})), V2),
        ("linux", "mountLabel", linux(json!({"mountLabel": "a"})), V2),
        ("linux", "intelRdt", linux(json!({"intelRdt": {"closID": "a"}})), V2),
        ("linux", "memoryPolicy", linux(json!({"memoryPolicy": {"mode": "MPOL_LOCAL"}})), V2),
        ("linux", "personality", linux(json!({"personality": {"domain": "LINUX32"}})), V2),
        (
            "linux",
            "timeOffsets",
            patch(namespace("time", None), &linux(json!({"timeOffsets": {"monotonic": {"secs": 1}}}))),
            V2,
        ),
        (
            "linux.resources",
            "memory, cpu, pids: v1",
            resources(json!({"memory": {"limit": 1_048_576}, "cpu": {"shares": 2}, "pids": {"limit": 1}})),
            V1,
        ),
        (
            "linux.resources",
            "memory, cpu, pids: v2",
            resources(json!({"memory": {"limit": 1_048_576}, "cpu": {"shares": 2}, "pids": {"limit": 1}})),
            V2,
        ),
        ("linux.resources", "devices", resources(json!({"devices": [{"allow": false}]})), V2),
        ("linux.resources", "blockIO", resources(json!({"blockIO": {"weight": 100}})), V2),
        (
            "linux.resources",
            "hugepageLimits, rdma",
            resources(
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "rdma": {"mlx5": {"hcaHandles": 1}}}),
            ),
            V2,
        ),
        ("linux.resources", "network", resources(json!({"network": {"classID": 1}})), V1),
        ("linux.resources", "unified", resources(json!({"unified": {"memory.high": "1"}})), V2),
    ]
}

/// Whether it is planned. A refusal for another reason than "not supported" is a mistake of this table.
fn is_built(field: &Field, host: &Host, options: &Options<'_>) -> bool {
    let (group, name, edit, _) = field;
    let document = patch(base(), edit).to_string();
    let config = Config::parse(document.as_bytes()).unwrap_or_else(|error| panic!("{group} {name}: {error}"));
    match plan::plan(&config, host, options) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), Kind::NotSupported, "{group} {name}: {error}");
            false
        }
    }
}

/// Options that another runtime knows and we do not carry out.
fn missing_options() -> String {
    let all = ["copy-symlink", "dest-nofollow", "idmap", "remount", "ridmap", "src-nofollow", "tmpcopyup"];
    let missing: Vec<_> = all
        .iter()
        .filter(|option| {
            let id = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            let mount = match option.ends_with("idmap") {
                true => json!({"destination": "/a", "source": "/b", "options": ["bind", option], "uidMappings": id, "gidMappings": id}),
                false if option.ends_with("copy-symlink") => {
                    json!({"destination": "/a", "source": "/b", "options": ["bind", option]})
                }
                false => json!({"destination": "/a", "type": "tmpfs", "options": [option]}),
            };
            let document = patch(base(), &json!({"mounts": [mount]})).to_string();
            let config = Config::parse(document.as_bytes()).unwrap();
            plan::plan(&config, &host(V2), &CREATE).is_err()
        })
        .map(|option| format!("`{option}`"))
        .collect();
    missing.join(", ")
}

#[test]
fn the_readme_tells_what_is_built() {
    let mut rows: Vec<(&str, Vec<&str>, Vec<&str>)> = Vec::new();
    for field in &fields() {
        let built = is_built(field, &host(field.3), &CREATE);
        if rows.last().is_none_or(|row| row.0 != field.0) {
            rows.push((field.0, Vec::new(), Vec::new()));
        }
        let row = rows.last_mut().unwrap();
        if built { row.1.push(field.1) } else { row.2.push(field.1) }
    }
    let mut table = String::from("| config.json | built | not yet: refused by name |\n|---|---|---|\n");
    for (group, built, missing) in rows {
        let group = if group.is_empty() { "at the top".to_owned() } else { format!("`{group}`") };
        table += &format!("| {group} | {} | {} |\n", built.join("; "), missing.join("; "));
    }
    table += &format!(
        "| mount options | {} of them: [what becomes of each](fixtures/plans/mount-options.txt) | {} |\n",
        options::supported().count(),
        missing_options()
    );
    let manager = Options { cgroup_manager: orlop::CgroupManager::Systemd, ..CREATE };
    let systemd = is_built(&("", "systemd", json!({"linux": {"cgroupsPath": "a.slice:b:c"}}), V2), &host(V2), &manager);
    let (yes, no) = if systemd { ("cgroupfs; systemd", "") } else { ("cgroupfs", "systemd") };
    table += &format!("| cgroup driver | {yes} | {no} |\n");
    common::same_section("support:config", &table);
}
