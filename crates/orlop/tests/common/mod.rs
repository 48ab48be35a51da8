//! What the tests of plans share: a configuration to edit, and hosts that are text.

#![allow(dead_code)] // each test uses its part

pub(crate) mod linted;

use orlop::plan::{self, Options};
use orlop::{Bus, CgroupManager, Host};
use serde_json::{Value, json};

/// /proc/self/mountinfo of a host with v1 alone.
pub(crate) const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
37 31 0:34 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
38 31 0:35 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/net_cls,net_prio rw,relatime - cgroup cgroup rw,net_cls,net_prio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
";

/// With v1 for the controllers, and v2 beside it.
pub(crate) const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
37 31 0:34 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

/// With v2 alone.
pub(crate) const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

/// /proc/self/cgroup, with a line for each kind of hierarchy.
const OWN: &str = "8:net_cls,net_prio:/\n7:name=systemd:/\n6:freezer:/\n5:devices:/\n4:blkio:/\n3:memory:/a\n2:pids:/\n1:cpuset:/\n1:cpu,cpuacct:/\n0::/user/session\n";

/// A host with those mounts, as its root sees it.
pub(crate) fn host(mountinfo: &str) -> Host {
    Host { euid: 0, egid: 0, rootless: false, cgroups: orlop_cgroup::Layout::parse(mountinfo, OWN).unwrap() }
}

/// `create`, with nothing chosen.
pub(crate) const CREATE: Options<'_> = Options {
    id: "snapshot",
    bundle: "/bundle",
    gate: plan::Gate::Start,
    root_change: plan::RootChange::Pivot,
    keyring: plan::SessionKeyring::New,
    cgroup_manager: CgroupManager::Cgroupfs,
    systemd: Bus::System,
    systemd_cgroup: "",
    preserve_fds: 0,
    listen_fds: 0,
    // A terminal is one wherever its master goes.
    console: plan::Console::Caller { rows: 0, columns: 0 },
    joins_own_network: false,
    orphans: plan::Orphans::Elsewhere,
};

/// The least that the tests edit.
pub(crate) fn base() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"]},
        "root": {"path": "rootfs"},
        "hostname": "base",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}]}
    })
}

/// A merge patch, RFC 7386.
pub(crate) fn patch(mut document: Value, patch_of: &Value) -> Value {
    let Value::Object(edits) = patch_of else { return patch_of.clone() };
    if !document.is_object() {
        document = json!({});
    }
    for (name, edit) in edits {
        let old = document.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default();
        if !edit.is_null() {
            document[name] = patch(old, edit);
        }
    }
    document
}

/// Compares the part of README.md between `<!-- NAME -->` and `<!-- end -->`, or writes it with `ORLOP_BLESS=1`.
pub(crate) fn same_section(name: &str, found: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let head = format!("<!-- {name} -->\n");
    let (before, rest) = text.split_once(&head).unwrap_or_else(|| panic!("README.md has no {head}"));
    let (section, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{name} has no end"));
    if std::env::var_os("ORLOP_BLESS").is_some() {
        std::fs::write(path, format!("{before}{head}{found}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(section, found, "README.md is behind: ORLOP_BLESS=1 writes the section {name}");
}
