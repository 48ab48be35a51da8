//! Plans of scopes: configuration in, properties and writes out.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::resources::{Access, Cpu, DeviceKind, DeviceRule, Limit, Memory, Verdict};

const V1: &str = "\
31 23 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct
32 23 0:29 / /cg/memory rw - cgroup cgroup rw,memory
33 23 0:30 / /cg/pids rw - cgroup cgroup rw,pids
34 23 0:31 / /cg/blkio rw - cgroup cgroup rw,blkio
35 23 0:32 / /cg/devices rw - cgroup cgroup rw,devices
36 23 0:33 / /cg/systemd rw - cgroup cgroup rw,name=systemd
";

fn v1() -> Layout {
    Layout::parse(V1, "1:cpu:/\n").unwrap()
}

fn v2() -> Layout {
    Layout::unified("/cg", "0::/\n")
}

fn planned(layout: &Layout, resources: &Resources, options: Options) -> Result<Plan, Error> {
    let place = Place::from_config(Some("a-b.slice:p:n"), "id", &Bus::System, "").unwrap();
    plan(layout, &place, resources, options, core::iter::empty())
}

/// The properties beyond those that every scope has, then the writes.
fn shown(plan: &Plan) -> Vec<String> {
    let scope = plan.scope.as_ref().unwrap();
    let limits = scope.properties.iter().filter(|p| p.origin.as_str().starts_with("/linux/resources"));
    let limits = limits.map(|p| format!("{}={}", p.name, p.value));
    limits.chain(plan.writes.iter().map(|w| format!("{} {}", plan.file(w), w.value))).collect()
}

#[test]
fn every_scope_has_these() {
    let plan = planned(&v2(), &Resources::default(), Options::default()).unwrap();
    let scope = plan.scope.as_ref().unwrap();
    assert_eq!(scope.unit, "p-n.scope");
    let all: Vec<String> = scope.properties.iter().map(|p| format!("{}={}", p.name, p.value)).collect();
    assert_eq!(
        all,
        [
            "Description=orlop container id",
            "Slice=a-b.slice",
            "Delegate=true",
            "DefaultDependencies=false",
            "MemoryAccounting=true",
            "CPUAccounting=true",
            "IOAccounting=true",
            "TasksAccounting=true",
        ]
    );
    assert_eq!(plan.dirs.first().map(|dir| dir.path.as_str()), Some("/cg/a.slice/a-b.slice/p-n.scope"));
    assert_eq!(scope.limits().count(), 0);
}

#[test]
fn limits_become_properties_and_writes() {
    let memory = Memory {
        limit: Some(Limit::At(1000)),
        swap: Some(Limit::At(1500)),
        reservation: Some(Limit::At(500)),
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: Some(1024),
        quota: Some(Limit::At(50_000)),
        period: Some(100_000),
        cpus: "0-1".into(),
        ..Cpu::default()
    };
    let block_io = crate::resources::BlockIo { weight: Some(500), ..Default::default() };
    let all = Resources {
        memory,
        cpu: Cpu { cpus: String::new(), ..cpu.clone() },
        pids: Some(Limit::At(7)),
        block_io,
        ..Resources::default()
    };
    let only_cpu = |cpu| Resources { cpu, ..Resources::default() };
    let unified = |pairs: &[(&str, &str)]| Resources {
        unified: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..Resources::default()
    };
    let quota = |quota, period| Cpu { quota: Some(quota), period, ..Cpu::default() };
    for (layout, resources, want) in [
        (
            v2(),
            all.clone(),
            vec![
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=500000",
                "TasksMax=7",
                "MemoryMax=1000",
                "MemorySwapMax=500",
                "MemoryLow=500",
                "IOWeight=4950",
                "CPUWeight=100",
                "/cg/a.slice/a-b.slice/p-n.scope/pids.max 7",
                "/cg/a.slice/a-b.slice/p-n.scope/memory.max 1000",
                "/cg/a.slice/a-b.slice/p-n.scope/memory.swap.max 500",
                "/cg/a.slice/a-b.slice/p-n.scope/memory.low 500",
                "/cg/a.slice/a-b.slice/p-n.scope/io.bfq.weight 500",
                "/cg/a.slice/a-b.slice/p-n.scope/cpu.weight 100",
                "/cg/a.slice/a-b.slice/p-n.scope/cpu.max 50000 100000",
            ],
        ),
        (
            v1(),
            all,
            vec![
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=500000",
                "TasksMax=7",
                "MemoryLimit=1000",
                "BlockIOWeight=500",
                "CPUShares=1024",
                "/cg/pids/a.slice/a-b.slice/p-n.scope/pids.max 7",
                "/cg/memory/a.slice/a-b.slice/p-n.scope/memory.limit_in_bytes 1000",
                "/cg/memory/a.slice/a-b.slice/p-n.scope/memory.memsw.limit_in_bytes 1500",
                "/cg/memory/a.slice/a-b.slice/p-n.scope/memory.soft_limit_in_bytes 500",
                "/cg/blkio/a.slice/a-b.slice/p-n.scope/blkio.weight 500",
                "/cg/cpu/a.slice/a-b.slice/p-n.scope/cpu.shares 1024",
                "/cg/cpu/a.slice/a-b.slice/p-n.scope/cpu.cfs_period_us 100000",
                "/cg/cpu/a.slice/a-b.slice/p-n.scope/cpu.cfs_quota_us 50000",
            ],
        ),
        (
            v2(),
            only_cpu(Cpu { quota: None, period: None, shares: None, ..cpu }),
            vec!["AllowedCPUs=[0, 1]", "/cg/a.slice/a-b.slice/p-n.scope/cpuset.cpus 0-1"],
        ),
        // Rounded up to a hundredth of a processor.
        (
            v2(),
            only_cpu(quota(Limit::At(50_001), Some(100_000))),
            vec![
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=510000",
                "/cg/a.slice/a-b.slice/p-n.scope/cpu.max 51000 100000",
            ],
        ),
        (
            v1(),
            only_cpu(quota(Limit::At(50_001), None)),
            vec!["CPUQuotaPerSecUSec=510000", "/cg/cpu/a.slice/a-b.slice/p-n.scope/cpu.cfs_quota_us 51000"],
        ),
        (
            v2(),
            only_cpu(quota(Limit::Max, None)),
            vec![
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=infinity",
                "/cg/a.slice/a-b.slice/p-n.scope/cpu.max max 100000",
            ],
        ),
        (
            v2(),
            only_cpu(Cpu { shares: Some(1024), idle: Some(1), ..Cpu::default() }),
            vec!["CPUWeight=0", "/cg/a.slice/a-b.slice/p-n.scope/cpu.idle 1"],
        ),
        (
            v2(),
            unified(&[("cpu.idle", "1"), ("cpu.weight", "8")]),
            vec!["CPUWeight=0", "/cg/a.slice/a-b.slice/p-n.scope/cpu.idle 1"],
        ),
        (
            v2(),
            unified(&[("memory.high", "5"), ("hugetlb.2MB.max", "0"), ("memory.oom.group", "1"), ("pids.max", "max")]),
            vec![
                "MemoryHigh=5",
                "OOMPolicy=kill",
                "TasksMax=infinity",
                "/cg/a.slice/a-b.slice/p-n.scope/memory.high 5",
                "/cg/a.slice/a-b.slice/p-n.scope/hugetlb.2MB.max 0",
                "/cg/a.slice/a-b.slice/p-n.scope/memory.oom.group 1",
                "/cg/a.slice/a-b.slice/p-n.scope/pids.max max",
            ],
        ),
    ] {
        let plan = planned(&layout, &resources, Options::default()).unwrap();
        assert_eq!(shown(&plan), want, "{resources:?}");
    }
}

#[test]
fn device_rules() {
    let rule = |verdict, kind, major, minor, access| DeviceRule { verdict, kind, major, minor, access };
    let all = |verdict| rule(verdict, DeviceKind::All, None, None, Access::ALL);
    let allow = |major, minor| rule(Verdict::Allow, DeviceKind::Character, major, minor, Access::READ);
    for (rules, want) in [
        (vec![], "DevicePolicy=strict DeviceAllow=[]"),
        (vec![all(Verdict::Allow)], "DevicePolicy=auto DeviceAllow=[]"),
        (vec![allow(Some(1), Some(3))], "DevicePolicy=strict DeviceAllow=[/dev/char/1:3 r]"),
        (vec![allow(Some(136), None), allow(None, None)], "DevicePolicy=strict DeviceAllow=[char-* r, char-136 r]"),
        // Not to be expressed.
        (vec![allow(None, Some(3))], "DevicePolicy=auto DeviceAllow=[]"),
        (
            vec![all(Verdict::Allow), rule(Verdict::Deny, DeviceKind::Block, Some(8), None, Access::ALL)],
            "DevicePolicy=auto DeviceAllow=[]",
        ),
    ] {
        let resources = Resources { devices: Some(rules.clone()), ..Resources::default() };
        let plan = planned(&v2(), &resources, Options::default()).unwrap();
        assert_eq!(shown(&plan).join(" "), want, "{rules:?}");
        let rootless = planned(&v2(), &resources, Options { rootless: true, ..Options::default() }).unwrap();
        assert_eq!(shown(&rootless).join(" "), "", "{rules:?}");
    }
}

#[test]
fn annotations_win() {
    let place = Place::from_config(None, "id", &Bus::System, "").unwrap();
    let annotations = [("org.systemd.property.Description", "'mine'"), ("org.systemd.property.TimeoutStopSec", "3")];
    let plan = plan(&v2(), &place, &Resources::default(), Options::default(), annotations.into_iter()).unwrap();
    let properties = plan.scope.unwrap().properties;
    let told: Vec<_> = properties.iter().filter(|p| p.name == "Description").map(|p| format!("{}", p.value)).collect();
    assert_eq!(told, ["mine"]);
    assert!(properties.iter().any(|p| p.name == "TimeoutStopUSec" && p.value == Value::U64(3_000_000)));
}

#[test]
fn rootless_on_v1_is_refused() {
    let options = Options { rootless: true, ..Options::default() };
    assert!(matches!(planned(&v1(), &Resources::default(), options), Err(Error::NotSupported(_))));
}

/// Properties go to the scope, files to what is below it, and both go when it is removed.
#[test]
fn a_cgroup_below_the_scope() {
    let place = Place::from_config(Some("a.slice:p:n"), "id", &Bus::System, "").unwrap();
    let place = place.with_below("/x//y/").unwrap();
    let pids = Resources { pids: Some(Limit::At(5)), ..Resources::default() };
    for (layout, top) in [(v2(), "/cg"), (v1(), "/cg/pids")] {
        let plan = plan(&layout, &place, &pids, Options::default(), core::iter::empty()).unwrap();
        assert_eq!(shown(&plan), ["TasksMax=5".to_owned(), format!("{top}/a.slice/p-n.scope/x/y/pids.max 5")]);
        for dir in &plan.dirs {
            assert!(dir.outer().ends_with("/a.slice/p-n.scope"), "{}", dir.path);
            assert_eq!(dir.below_outer(), "/x/y");
        }
    }
    assert!(Place::with_below(place, "a/../../b").is_err());
}
