//! The records of `events`, as runc writes them: one JSON object a line.

use liballoc::collections::BTreeMap;
use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use orlop::Stats;
use orlop::stats::{self as from, ClassStats};
use serde::{Serialize, Serializer};

use crate::output;

/// A record of statistics.
pub fn stats(id: &str, stats: &Stats, class: &ClassStats) -> String {
    line(&Record { kind: "stats", id, data: Some(Data::new(stats, class)) })
}

/// The record of a container that has run out of memory.
pub fn oom(id: &str) -> String {
    line(&Record { kind: "oom", id, data: None })
}

fn line(record: &Record<'_>) -> String {
    // Names and numbers only: nothing that could fail.
    output::compact(record).unwrap_or_else(|error| format!("{{\"type\":\"error\",\"data\":\"{error}\"}}")) + "\n"
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

fn zero(n: &u64) -> bool {
    *n == 0
}

#[derive(Serialize)]
struct Data<'a> {
    cpu: Cpu<'a>,
    cpuset: Cpuset<'a>,
    memory: Memory<'a>,
    pids: Pids,
    blkio: Blkio<'a>,
    hugetlb: BTreeMap<&'a str, HugePages>,
    intel_rdt: &'a ClassStats,
    network_interfaces: Option<()>,
}

#[derive(Serialize)]
struct Cpu<'a> {
    #[serde(skip_serializing_if = "CpuUsage::is_zero")]
    usage: CpuUsage<'a>,
    #[serde(skip_serializing_if = "Throttling::is_zero")]
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Serialize)]
struct CpuUsage<'a> {
    #[serde(skip_serializing_if = "zero")]
    total: u64,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu_kernel: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu_user: &'a [u64],
    kernel: u64,
    user: u64,
}

impl CpuUsage<'_> {
    fn is_zero(&self) -> bool {
        self.total == 0 && self.kernel == 0 && self.user == 0 && self.percpu.is_empty()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "zero")]
    periods: u64,
    #[serde(skip_serializing_if = "zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "zero")]
    throttled_time: u64,
}

impl Throttling {
    fn is_zero(&self) -> bool {
        self.periods == 0 && self.throttled_periods == 0 && self.throttled_time == 0
    }
}

#[derive(Serialize)]
struct Pressure {
    some: Stall,
    full: Stall,
}

#[derive(Serialize)]
struct Stall {
    avg10: Number,
    avg60: Number,
    avg300: Number,
    total: u64,
}

/// Go writes a whole number without a fraction.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Percents: they fit.
        let whole = self.0 as u64;
        if whole as f64 == self.0 { serializer.serialize_u64(whole) } else { serializer.serialize_f64(self.0) }
    }
}

impl Pressure {
    fn new(pressure: from::Pressure) -> Pressure {
        let stall = |stall: from::Stall| Stall {
            avg10: Number(stall.avg10),
            avg60: Number(stall.avg60),
            avg300: Number(stall.avg300),
            total: stall.total,
        };
        Pressure { some: stall(pressure.some), full: stall(pressure.full) }
    }
}

#[derive(Serialize)]
struct Cpuset<'a> {
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    cpus: &'a [u16],
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    mems: &'a [u16],
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Serialize)]
struct Memory<'a> {
    #[serde(skip_serializing_if = "zero")]
    cache: u64,
    #[serde(skip_serializing_if = "Counter::is_zero")]
    usage: Counter,
    #[serde(skip_serializing_if = "Counter::is_zero")]
    swap: Counter,
    #[serde(skip_serializing_if = "Counter::is_zero")]
    kernel: Counter,
    #[serde(rename = "kernelTCP", skip_serializing_if = "Counter::is_zero")]
    kernel_tcp: Counter,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Serialize)]
struct Counter {
    limit: u64,
    #[serde(skip_serializing_if = "zero")]
    usage: u64,
    #[serde(skip_serializing_if = "zero")]
    max: u64,
    failcnt: u64,
}

impl Counter {
    fn new(counter: from::Counter) -> Counter {
        let from::Counter { limit, usage, max, failcnt } = counter;
        Counter { limit, usage, max, failcnt }
    }

    fn is_zero(&self) -> bool {
        self.limit == 0 && self.usage == 0 && self.max == 0 && self.failcnt == 0
    }
}

#[derive(Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "zero")]
    current: u64,
    #[serde(skip_serializing_if = "zero")]
    limit: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_queue_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "zero")]
    major: u64,
    #[serde(skip_serializing_if = "zero")]
    minor: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    op: &'a str,
    #[serde(skip_serializing_if = "zero")]
    value: u64,
}

#[derive(Serialize)]
struct HugePages {
    #[serde(skip_serializing_if = "zero")]
    usage: u64,
    #[serde(skip_serializing_if = "zero")]
    max: u64,
    failcnt: u64,
}

impl<'a> Data<'a> {
    fn new(stats: &'a Stats, class: &'a ClassStats) -> Data<'a> {
        let from::CpuStats { total, kernel, user, percpu, percpu_kernel, percpu_user, .. } = &stats.cpu;
        let set = &stats.cpuset;
        Data {
            cpu: Cpu {
                usage: CpuUsage { total: *total, percpu, percpu_kernel, percpu_user, kernel: *kernel, user: *user },
                throttling: Throttling {
                    periods: stats.cpu.periods,
                    throttled_periods: stats.cpu.throttled_periods,
                    throttled_time: stats.cpu.throttled_time,
                },
                psi: stats.cpu.pressure.map(Pressure::new),
            },
            cpuset: Cpuset {
                cpus: &set.cpus,
                cpu_exclusive: set.cpu_exclusive,
                mems: &set.mems,
                mem_hardwall: set.mem_hardwall,
                mem_exclusive: set.mem_exclusive,
                memory_migrate: set.memory_migrate,
                memory_spread_page: set.memory_spread_page,
                memory_spread_slab: set.memory_spread_slab,
                memory_pressure: set.memory_pressure,
                sched_load_balance: set.sched_load_balance,
                sched_relax_domain_level: set.sched_relax_domain_level,
            },
            memory: Memory {
                cache: stats.memory.cache,
                usage: Counter::new(stats.memory.usage),
                swap: Counter::new(stats.memory.swap),
                kernel: Counter::new(stats.memory.kernel),
                kernel_tcp: Counter::new(stats.memory.kernel_tcp),
                raw: &stats.memory.raw,
                psi: stats.memory.pressure.map(Pressure::new),
            },
            pids: Pids { current: stats.pids.current, limit: stats.pids.limit },
            blkio: Blkio {
                io_service_bytes_recursive: io(&stats.io.service_bytes),
                io_serviced_recursive: io(&stats.io.serviced),
                io_queue_recursive: io(&stats.io.queued),
                io_service_time_recursive: io(&stats.io.service_time),
                io_wait_time_recursive: io(&stats.io.wait_time),
                io_merged_recursive: io(&stats.io.merged),
                io_time_recursive: io(&stats.io.time),
                sectors_recursive: io(&stats.io.sectors),
                psi: stats.io.pressure.map(Pressure::new),
            },
            hugetlb: stats
                .huge_pages
                .iter()
                .map(|(size, pages)| {
                    let from::HugePageStats { usage, max, failcnt } = *pages;
                    (size.as_str(), HugePages { usage, max, failcnt })
                })
                .collect(),
            intel_rdt: class,
            // runc's command line knows no container with interfaces that it counts.
            network_interfaces: None,
        }
    }
}

fn io(list: &[from::IoEntry]) -> Vec<Entry<'_>> {
    list.iter().map(|e| Entry { major: e.major, minor: e.minor, op: &e.op, value: e.value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_runc_writes_them() {
        assert_eq!(oom("a"), "{\"type\":\"oom\",\"id\":\"a\"}\n");
        let mut some = Stats::default();
        some.pids.current = 3;
        some.cpu.total = 5;
        some.cpu.user = 5;
        some.cpu.pressure = Some(from::Pressure {
            some: from::Stall { avg10: 1.5, total: 7, ..Default::default() },
            ..Default::default()
        });
        some.io.sectors.push(from::IoEntry { major: 8, op: "Read".into(), value: 9, ..Default::default() });
        let nothing = "{\"avg10\":0,\"avg60\":0,\"avg300\":0,\"total\":0}";
        let cpu = format!(
            "{{\"usage\":{{\"total\":5,\"kernel\":0,\"user\":5}},\
             \"psi\":{{\"some\":{{\"avg10\":1.5,\"avg60\":0,\"avg300\":0,\"total\":7}},\"full\":{nothing}}}}}"
        );
        let cpuset = "{\"cpu_exclusive\":0,\"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\
                      \"memory_spread_page\":0,\"memory_spread_slab\":0,\"memory_pressure\":0,\
                      \"sched_load_balance\":0,\"sched_relax_domain_level\":0}";
        let blkio = "{\"sectorsRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":9}]}";
        assert_eq!(
            stats("a", &some, &ClassStats::default()),
            format!(
                "{{\"type\":\"stats\",\"id\":\"a\",\"data\":{{\"cpu\":{cpu},\"cpuset\":{cpuset},\"memory\":{{}},\
                 \"pids\":{{\"current\":3}},\"blkio\":{blkio},\"hugetlb\":{{}},\"intel_rdt\":{{}},\
                 \"network_interfaces\":null}}}}\n"
            )
        );
    }
}
