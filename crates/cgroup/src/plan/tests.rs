use std::fmt::Write as _;
use std::vec;

use super::*;
use crate::resources::*;

const V1: &str = "\
32 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu
34 31 0:31 / /c/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /c/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /c/devices rw - cgroup cgroup rw,devices
38 31 0:35 / /c/blkio rw - cgroup cgroup rw,blkio
39 31 0:36 / /c/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /c/hugetlb rw - cgroup cgroup rw,hugetlb
41 31 0:38 / /c/net rw - cgroup cgroup rw,net_cls,net_prio
42 31 0:39 / /c/rdma rw - cgroup cgroup rw,rdma
43 31 0:40 / /c/systemd rw - cgroup cgroup rw,name=systemd
";

fn v1() -> Layout {
    Layout::parse(V1, "").unwrap()
}

fn v2() -> Layout {
    Layout::unified("/c", "0::/a/b\n")
}

/// v1 with memory and cpu, and v2 beside it.
fn hybrid() -> Layout {
    let two = V1.lines().filter(|line| line.contains("memory") || line.contains("/cpu "));
    let text: String = two.map(|line| format!("{line}\n")).collect();
    Layout::parse(&(text + "50 31 0:50 / /c/unified rw - cgroup2 cgroup2 rw\n"), "").unwrap()
}

/// Everything that a plan says, one line each; or the error.
fn show(layout: &Layout, resources: &Resources, options: Options) -> String {
    let path = CgroupPath::from_config(Some("/x"), "x").unwrap();
    let plan = match plan(layout, &path, resources, options) {
        Ok(plan) => plan,
        Err(error) => {
            let origin = error.origin().map_or("", Origin::as_str);
            return format!("{error} [{origin}]");
        }
    };
    let mut out = String::new();
    for write in &plan.writes {
        let _ = write!(out, "{}={}", plan.file(write), write.value);
        let _ = match &write.missing {
            Missing::Fail => Ok(()),
            Missing::Skip => write!(out, " or nothing"),
            Missing::Else(file, value) => write!(out, " or {file}={value}"),
        };
        if write.retry == Retry::AfterNext {
            out.push_str(" retry");
        }
        if write.when == When::Create {
            out.push_str(" early");
        }
        let _ = writeln!(out, " {}", write.origin.as_str().trim_start_matches("/linux/resources/"));
    }
    for ignored in &plan.ignored {
        let _ = writeln!(out, "ignored {}", ignored.origin);
    }
    for dir in plan.dirs.iter().filter(|dir| dir.version == Version::V2) {
        let names: Vec<_> = dir.controllers.iter().map(|c| c.as_str()).collect();
        let _ = writeln!(out, "enable {}", names.join(" "));
    }
    out
}

fn check(layout: &Layout, resources: Resources, want: &str) {
    let got = show(layout, &resources, Options::default());
    assert_eq!(got.trim_end(), want, "{resources:?}");
}

fn memory(memory: Memory) -> Resources {
    Resources { memory, ..Resources::default() }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu, ..Resources::default() }
}

const fn at(n: u64) -> Option<Limit> {
    Some(Limit::At(n))
}

#[test]
fn nothing_asked_nothing_written() {
    check(&v1(), Resources::default(), "");
    check(&v2(), Resources::default(), "enable");
    // What engines send for "not set".
    let zeros = Resources {
        memory: Memory {
            limit: at(0),
            swap: at(0),
            reservation: at(0),
            swappiness: Some(u64::MAX),
            ..Memory::default()
        },
        cpu: Cpu { shares: Some(0), quota: at(0), period: Some(0), realtime_runtime: at(0), ..Cpu::default() },
        block_io: BlockIo { weight: Some(0), ..BlockIo::default() },
        network: Network { class_id: Some(0), priorities: vec![] },
        ..Resources::default()
    };
    check(&v1(), zeros.clone(), "");
    check(&v2(), zeros, "enable");
}

#[test]
fn pids() {
    for (limit, want) in [(-1, "max"), (-7, "max"), (0, "1"), (1, "1"), (2048, "2048")] {
        let resources = Resources { pids: Some(Limit::from_signed(limit)), ..Resources::default() };
        check(&v1(), resources.clone(), &format!("/c/pids/x/pids.max={want} pids/limit"));
        check(&v2(), resources, &format!("/c/x/pids.max={want} pids/limit\nenable pids"));
    }
}

#[test]
fn memories() {
    let both = memory(Memory { limit: at(100), swap: at(150), reservation: at(50), ..Memory::default() });
    check(
        &v1(),
        both.clone(),
        "\
/c/memory/x/memory.limit_in_bytes=100 retry memory/limit
/c/memory/x/memory.memsw.limit_in_bytes=150 memory/swap
/c/memory/x/memory.soft_limit_in_bytes=50 memory/reservation",
    );
    check(
        &v2(),
        both,
        "\
/c/x/memory.max=100 memory/limit
/c/x/memory.swap.max=50 memory/swap
/c/x/memory.low=50 memory/reservation
enable memory",
    );
    let unlimited = memory(Memory { limit: Some(Limit::Max), ..Memory::default() });
    check(
        &v1(),
        unlimited.clone(),
        "\
/c/memory/x/memory.limit_in_bytes=-1 retry memory/limit
/c/memory/x/memory.memsw.limit_in_bytes=-1 or nothing memory/limit",
    );
    check(
        &v2(),
        unlimited,
        "\
/c/x/memory.max=max memory/limit
/c/x/memory.swap.max=max or nothing memory/limit
enable memory",
    );
    let no_swap = memory(Memory { limit: at(100), swap: at(100), ..Memory::default() });
    check(
        &v2(),
        no_swap,
        "\
/c/x/memory.max=100 memory/limit
/c/x/memory.swap.max=0 or nothing memory/swap
enable memory",
    );
    let v1_only = memory(Memory {
        swappiness: Some(10),
        disable_oom_killer: true,
        kernel: at(1),
        kernel_tcp: at(1),
        ..Memory::default()
    });
    check(
        &v1(),
        v1_only.clone(),
        "\
/c/memory/x/memory.oom_control=1 memory/disableOOMKiller
/c/memory/x/memory.swappiness=10 memory/swappiness
ignored /linux/resources/memory/kernel
ignored /linux/resources/memory/kernelTCP",
    );
    check(
        &v2(),
        v1_only,
        "\
ignored /linux/resources/memory/kernel
ignored /linux/resources/memory/kernelTCP
ignored /linux/resources/memory/disableOOMKiller
ignored /linux/resources/memory/swappiness
enable",
    );
}

#[test]
fn contradictions() {
    let swappiness = memory(Memory { swappiness: Some(101), ..Memory::default() });
    check(
        &v1(),
        swappiness,
        "invalid memory swappiness value: 101 (valid range is 0-100) [/linux/resources/memory/swappiness]",
    );
    let low = memory(Memory { limit: at(100), swap: at(99), ..Memory::default() });
    check(&v2(), low, "memory+swap limit should be >= memory limit [/linux/resources/memory/swap]");
    let alone = memory(Memory { swap: at(99), ..Memory::default() });
    check(&v2(), alone, "unable to set swap limit without memory limit [/linux/resources/memory/swap]");
    for (shares, why) in
        [(1, "the minimum allowed cpu-shares is 2"), (262_145, "the maximum allowed cpu-shares is 262144")]
    {
        let shares = cpu(Cpu { shares: Some(shares), ..Cpu::default() });
        check(&v1(), shares, &format!("{why} [/linux/resources/cpu/shares]"));
    }
    let size = |page_size: &str| Resources {
        huge_pages: vec![HugePages { page_size: page_size.into(), limit: 1 }],
        ..Resources::default()
    };
    check(&v1(), size("../2MB"), "invalid huge page size \"../2MB\" [/linux/resources/hugepageLimits/0/limit]");
    check(
        &v1(),
        cpu(Cpu { cpus: "0\n1".into(), ..Cpu::default() }),
        "\"0\\n1\" has more than one line [/linux/resources/cpu/cpus]",
    );
    let rdma = Rdma { device: "a b".into(), handles: None, objects: None };
    check(
        &v1(),
        Resources { rdma: vec![rdma], ..Resources::default() },
        "invalid RDMA device \"a b\" [/linux/resources/rdma/a b]",
    );
}

#[test]
fn cpus() {
    let all = cpu(Cpu {
        shares: Some(1024),
        quota: at(5000),
        burst: Some(7),
        period: Some(10_000),
        realtime_runtime: at(3),
        realtime_period: Some(4),
        idle: Some(1),
        cpus: "0-1".into(),
        mems: "0".into(),
    });
    check(
        &v1(),
        all.clone(),
        "\
/c/cpuset/x/cpuset.cpus=0-1 early cpu/cpus
/c/cpuset/x/cpuset.mems=0 early cpu/mems
/c/cpu/x/cpu.shares=1024 cpu/shares
/c/cpu/x/cpu.idle=1 cpu/idle
/c/cpu/x/cpu.cfs_period_us=10000 retry cpu/period
/c/cpu/x/cpu.cfs_burst_us=7 or nothing retry cpu/burst
/c/cpu/x/cpu.cfs_quota_us=5000 cpu/quota
/c/cpu/x/cpu.rt_period_us=4 retry early cpu/realtimePeriod
/c/cpu/x/cpu.rt_runtime_us=3 early cpu/realtimeRuntime",
    );
    check(
        &v2(),
        all,
        "\
/c/x/cpuset.cpus=0-1 cpu/cpus
/c/x/cpuset.mems=0 cpu/mems
/c/x/cpu.weight=100 cpu/shares
/c/x/cpu.idle=1 cpu/idle
/c/x/cpu.max.burst=7 retry cpu/burst
/c/x/cpu.max=5000 10000 cpu/quota
ignored /linux/resources/cpu/realtimeRuntime
ignored /linux/resources/cpu/realtimePeriod
enable cpuset cpu",
    );
    // What stops being idle does so before it gets a weight.
    let awake = cpu(Cpu { shares: Some(2), idle: Some(0), ..Cpu::default() });
    check(&v2(), awake, "/c/x/cpu.idle=0 cpu/idle\n/c/x/cpu.weight=1 cpu/shares\nenable cpu");
    let unlimited = cpu(Cpu { quota: Some(Limit::Max), ..Cpu::default() });
    check(&v1(), unlimited.clone(), "/c/cpu/x/cpu.cfs_quota_us=-1 cpu/quota");
    check(&v2(), unlimited, "/c/x/cpu.max=max 100000 cpu/quota\nenable cpu");
    let period = cpu(Cpu { period: Some(50_000), ..Cpu::default() });
    check(&v2(), period, "/c/x/cpu.max=max 50000 cpu/period\nenable cpu");
    let realtime = cpu(Cpu { realtime_runtime: at(3), ..Cpu::default() });
    check(&v2(), realtime, "ignored /linux/resources/cpu/realtimeRuntime\nenable");
}

#[test]
fn block_io() {
    let device = BlockDevice { major: 8, minor: 16 };
    let throttle = |rate| vec![Throttle { device, rate }];
    let resources = Resources {
        block_io: BlockIo {
            weight: Some(500),
            leaf_weight: Some(20),
            weight_device: vec![WeightDevice { device, weight: Some(1000), leaf_weight: Some(30) }],
            read_bps: throttle(1),
            write_bps: throttle(2),
            read_iops: throttle(3),
            write_iops: throttle(0),
        },
        ..Resources::default()
    };
    check(
        &v1(),
        resources.clone(),
        "\
/c/blkio/x/blkio.weight=500 or blkio.bfq.weight=500 blockIO/weight
/c/blkio/x/blkio.leaf_weight=20 blockIO/leafWeight
/c/blkio/x/blkio.weight_device=8:16 1000 or blkio.bfq.weight_device=8:16 1000 blockIO/weightDevice/0/weight
/c/blkio/x/blkio.leaf_weight_device=8:16 30 blockIO/weightDevice/0/leafWeight
/c/blkio/x/blkio.throttle.read_bps_device=8:16 1 blockIO/throttleReadBpsDevice/0/rate
/c/blkio/x/blkio.throttle.write_bps_device=8:16 2 blockIO/throttleWriteBpsDevice/0/rate
/c/blkio/x/blkio.throttle.read_iops_device=8:16 3 blockIO/throttleReadIOPSDevice/0/rate
/c/blkio/x/blkio.throttle.write_iops_device=8:16 0 blockIO/throttleWriteIOPSDevice/0/rate",
    );
    check(
        &v2(),
        resources,
        "\
/c/x/io.bfq.weight=500 or io.weight=4950 blockIO/weight
/c/x/io.bfq.weight=8:16 1000 or io.weight=8:16 10000 blockIO/weightDevice/0/weight
/c/x/io.max=8:16 rbps=1 blockIO/throttleReadBpsDevice/0/rate
/c/x/io.max=8:16 wbps=2 blockIO/throttleWriteBpsDevice/0/rate
/c/x/io.max=8:16 riops=3 blockIO/throttleReadIOPSDevice/0/rate
/c/x/io.max=8:16 wiops=max blockIO/throttleWriteIOPSDevice/0/rate
ignored /linux/resources/blockIO/leafWeight
ignored /linux/resources/blockIO/weightDevice/0/leafWeight
enable io",
    );
}

#[test]
fn the_rest() {
    let resources = Resources {
        huge_pages: vec![HugePages { page_size: "2MB".into(), limit: 4 }],
        rdma: vec![Rdma { device: "mlx5_0".into(), handles: Some(2), objects: Some(3) }],
        network: Network { class_id: Some(9), priorities: vec![Priority { name: "eth0".into(), priority: 5 }] },
        ..Resources::default()
    };
    check(
        &v1(),
        resources.clone(),
        "\
/c/hugetlb/x/hugetlb.2MB.limit_in_bytes=4 hugepageLimits/0/limit
/c/hugetlb/x/hugetlb.2MB.rsvd.limit_in_bytes=4 or nothing hugepageLimits/0/limit
/c/rdma/x/rdma.max=mlx5_0 hca_handle=2 hca_object=3 rdma/mlx5_0
/c/net/x/net_cls.classid=9 network/classID
/c/net/x/net_prio.ifpriomap=eth0 5 network/priorities/0",
    );
    check(
        &v2(),
        resources,
        "\
/c/x/hugetlb.2MB.max=4 hugepageLimits/0/limit
/c/x/hugetlb.2MB.rsvd.max=4 or nothing hugepageLimits/0/limit
/c/x/rdma.max=mlx5_0 hca_handle=2 hca_object=3 rdma/mlx5_0
ignored /linux/resources/network/classID
ignored /linux/resources/network/priorities
enable hugetlb rdma",
    );
}

#[test]
fn unified_keys() {
    let unified =
        |key: &str, value: &str| Resources { unified: vec![(key.into(), value.into())], ..Resources::default() };
    for (key, want) in [
        ("memory.high", "/c/x/memory.high=1 unified/memory.high\nenable memory"),
        ("misc.max", "/c/x/misc.max=1 unified/misc.max\nenable misc"),
        ("cgroup.max.depth", "/c/x/cgroup.max.depth=1 unified/cgroup.max.depth\nenable"),
        ("a/b.c", "unified resource \"a/b.c\" must be a file name (no slashes) [/linux/resources/unified/a~1b.c]"),
        ("high", "unified resource \"high\" must be in the form CONTROLLER.PARAMETER [/linux/resources/unified/high]"),
        (
            ".high",
            "unified resource \".high\" must be in the form CONTROLLER.PARAMETER [/linux/resources/unified/.high]",
        ),
    ] {
        check(&v2(), unified(key, "1"), want);
    }
    check(
        &v2(),
        unified("io.max", "8:0 rbps=1\n8:1 rbps=2"),
        "\
/c/x/io.max=8:0 rbps=1 unified/io.max
/c/x/io.max=8:1 rbps=2 unified/io.max
enable io",
    );
    check(
        &v1(),
        unified("memory.high", "1"),
        "invalid configuration: cannot use unified on cgroup v1 [/linux/resources/unified]",
    );
    check(
        &hybrid(),
        unified("memory.high", "1"),
        "invalid configuration: cannot use unified on cgroup v1 [/linux/resources/unified]",
    );
}

/// On a hybrid host a controller that v1 has not got is v2's.
#[test]
fn hybrid_hosts() {
    let resources = Resources {
        memory: Memory { limit: at(5), ..Memory::default() },
        pids: at(6),
        huge_pages: vec![HugePages { page_size: "2MB".into(), limit: 4 }],
        ..Resources::default()
    };
    check(
        &hybrid(),
        resources,
        "\
/c/unified/x/pids.max=6 pids/limit
/c/memory/x/memory.limit_in_bytes=5 retry memory/limit
/c/unified/x/hugetlb.2MB.max=4 hugepageLimits/0/limit
/c/unified/x/hugetlb.2MB.rsvd.max=4 or nothing hugepageLimits/0/limit
enable pids hugetlb",
    );
    let only_memory = Layout::parse("35 31 0:32 / /c/memory rw - cgroup cgroup rw,memory\n", "").unwrap();
    let pids = Resources { pids: at(1), ..Resources::default() };
    check(
        &only_memory,
        pids,
        "cannot set pids limit: container could not join or create cgroup [/linux/resources/pids/limit]",
    );
}

#[test]
fn who_can_do_without() {
    let default = CgroupPath::from_config(None, "x").unwrap();
    let given = CgroupPath::from_config(Some("/x"), "x").unwrap();
    let rootless = Options { rootless: true, ..Options::default() };
    let limited = Resources { pids: at(1), ..Resources::default() };
    let none = Resources::default();
    let own = "3:memory:/\n3:cpu:/\n0::/\n";
    let mut hybrid = hybrid();
    hybrid.hierarchies.iter_mut().for_each(|h| h.own = Some("".into()));
    let v2 = Layout::unified("/c", own);
    use Need::*;
    for (layout, path, resources, options, want) in [
        (&v2, &given, &limited, Options::default(), vec![Required]),
        (&v2, &given, &none, rootless, vec![Required]),
        (&v2, &default, &none, rootless, vec![IfPermitted]),
        (&v2, &default, &limited, rootless, vec![ForLimits]),
        (&v2, &default, &none, Options::default(), vec![Required]),
        (&hybrid, &given, &none, Options::default(), vec![Required, Required, Wanted]),
        (&hybrid, &given, &limited, Options::default(), vec![Required, Required, Required]),
        (&hybrid, &default, &limited, rootless, vec![IfPermitted, IfPermitted, ForLimits]),
    ] {
        let plan = plan(layout, path, resources, options).unwrap();
        let needs: Vec<_> = plan.dirs.iter().map(|dir| dir.need).collect();
        assert_eq!(needs, want, "{path:?} {options:?}");
    }
}

#[test]
fn managers() {
    let systemd = Options { manager: Manager::Systemd, ..Options::default() };
    assert_eq!(
        show(&v2(), &Resources::default(), systemd),
        "not supported: a plan for systemd without the place of a scope []"
    );
    let disabled = Options { manager: Manager::Disabled, ..Options::default() };
    let limited = Resources { pids: at(1), ..Resources::default() };
    assert_eq!(show(&v2(), &limited, disabled), "");
}
