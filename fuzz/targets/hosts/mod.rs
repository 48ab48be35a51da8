//! Hosts to plan for.

use orlop::Host;
use orlop::plan::{Console, Options};
use orlop_cgroup::Layout;

const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/all rw,relatime - cgroup cgroup rw,cpuset,cpu,blkio,devices,net_cls,net_prio,hugetlb,rdma
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
";
const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";
const OWN: &str = "3:memory:/\n2:pids:/\n1:cpuset,cpu,blkio,devices,net_cls,net_prio,hugetlb,rdma:/\n0::/own\n";

/// Root of v1 and of v2, and an ordinary user.
pub fn hosts() -> [Host; 3] {
    let cgroups = |mounts| Layout::parse(mounts, OWN).expect("it is a host's");
    [
        Host { euid: 0, egid: 0, rootless: false, cgroups: cgroups(V1) },
        Host { euid: 0, egid: 0, rootless: false, cgroups: cgroups(V2) },
        Host { euid: 1000, egid: 1000, rootless: true, cgroups: cgroups(V2) },
    ]
}

/// A terminal is one wherever its master goes.
pub fn options() -> Options<'static> {
    Options { id: "fuzzed", bundle: "/bundle", console: Console::Caller { rows: 0, columns: 0 }, ..Options::default() }
}
