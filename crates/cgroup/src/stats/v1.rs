//! Statistics of cgroup v1.

use alloc::format;

use super::parse::{self, Files};
use super::{Counter, HugePageStats, IoStats, Stats, Which};
use crate::error::Error;
use crate::io::{self, At, Bin};
use crate::plan::Controller;

/// Nanoseconds in a clock tick, of which user space always sees 100 a second.
const TICK: u64 = 10_000_000;

/// Adds what a v1 directory with these controllers has.
pub(crate) fn read(
    at: At<'_>,
    bin: &mut Bin,
    controllers: &[Controller],
    which: Which,
    stats: &mut Stats,
) -> Result<(), Error> {
    let mut files = Files { at, bin };
    type Reader = fn(&mut Files<'_>, Which, &mut Stats) -> Result<(), Error>;
    const READERS: [(Controller, Which, Reader); 8] = [
        (Controller::CPU, Which::CPU, cpu),
        (Controller::CPUACCT, Which::CPU, cpuacct),
        (Controller::CPUSET, Which::CPUSET, cpuset),
        (Controller::MEMORY, Which::MEMORY, memory),
        (Controller::PIDS, Which::PIDS, pids),
        (Controller::BLKIO, Which::IO, blkio),
        (Controller::HUGETLB, Which::HUGETLB, huge_pages),
        (Controller::RDMA, Which::RDMA, rdma),
    ];
    for (controller, part, reader) in READERS {
        if which.has(part) && controllers.contains(&controller) {
            reader(&mut files, which, stats)?;
        }
    }
    Ok(())
}

fn cpu(files: &mut Files<'_>, _: Which, stats: &mut Stats) -> Result<(), Error> {
    let stat = files.get("cpu.stat", parse::pairs)?.unwrap_or_default();
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    stats.cpu.periods = get("nr_periods");
    stats.cpu.throttled_periods = get("nr_throttled");
    stats.cpu.throttled_time = get("throttled_time");
    stats.cpu.burst_periods = get("nr_bursts");
    stats.cpu.burst_time = get("burst_time");
    Ok(())
}

fn cpuacct(files: &mut Files<'_>, which: Which, stats: &mut Stats) -> Result<(), Error> {
    let stat = files.get("cpuacct.stat", parse::pairs)?.unwrap_or_default();
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let cpu = &mut stats.cpu;
    cpu.user = get("user") * TICK;
    cpu.kernel = get("system") * TICK;
    cpu.total = files.number("cpuacct.usage")?;
    if which.has(Which::LIMITS) {
        cpu.percpu = files.get("cpuacct.usage_percpu", parse::numbers)?.unwrap_or_default();
        let modes = files.get("cpuacct.usage_all", parse::usage_all)?.unwrap_or_default();
        (cpu.percpu_kernel, cpu.percpu_user) = modes;
    }
    Ok(())
}

fn cpuset(files: &mut Files<'_>, _: Which, stats: &mut Stats) -> Result<(), Error> {
    let set = &mut stats.cpuset;
    set.cpus = files.get("cpuset.cpus", parse::list)?.unwrap_or_default();
    set.mems = files.get("cpuset.mems", parse::list)?.unwrap_or_default();
    for (file, field) in [
        ("cpuset.cpu_exclusive", &mut set.cpu_exclusive),
        ("cpuset.mem_hardwall", &mut set.mem_hardwall),
        ("cpuset.mem_exclusive", &mut set.mem_exclusive),
        ("cpuset.memory_migrate", &mut set.memory_migrate),
        ("cpuset.memory_spread_page", &mut set.memory_spread_page),
        ("cpuset.memory_spread_slab", &mut set.memory_spread_slab),
        ("cpuset.memory_pressure", &mut set.memory_pressure),
        ("cpuset.sched_load_balance", &mut set.sched_load_balance),
    ] {
        *field = files.number(file)?;
    }
    let level = |text: &str| text.trim_end().parse().ok();
    set.sched_relax_domain_level = files.get("cpuset.sched_relax_domain_level", level)?.unwrap_or_default();
    Ok(())
}

fn memory(files: &mut Files<'_>, which: Which, stats: &mut Stats) -> Result<(), Error> {
    let Some(raw) = files.get("memory.stat", parse::pairs)? else {
        return Ok(());
    };
    let memory = &mut stats.memory;
    memory.cache = raw.get("cache").copied().unwrap_or_default();
    memory.raw = raw;
    let mut counter = |name: &str| -> Result<Counter, Error> {
        // Swap and kernel memory are counted by some kernels only.
        let Some(usage) = files.get(&format!("{name}.usage_in_bytes"), parse::number)? else {
            return Ok(Counter::default());
        };
        if !which.has(Which::LIMITS) {
            return Ok(Counter { usage, ..Counter::default() });
        }
        Ok(Counter {
            usage,
            max: files.number(&format!("{name}.max_usage_in_bytes"))?,
            failcnt: files.number(&format!("{name}.failcnt"))?,
            limit: files.number(&format!("{name}.limit_in_bytes"))?,
        })
    };
    memory.usage = counter("memory")?;
    memory.swap = counter("memory.memsw")?;
    memory.swap_only = Counter {
        usage: memory.swap.usage.saturating_sub(memory.usage.usage),
        failcnt: memory.swap.failcnt.saturating_sub(memory.usage.failcnt),
        ..Counter::default()
    };
    if which.has(Which::LIMITS) {
        memory.kernel = counter("memory.kmem")?;
        memory.kernel_tcp = counter("memory.kmem.tcp")?;
        memory.events = files.get("memory.oom_control", parse::pairs)?.unwrap_or_default();
    }
    Ok(())
}

fn pids(files: &mut Files<'_>, which: Which, stats: &mut Stats) -> Result<(), Error> {
    stats.pids.current = files.number("pids.current")?;
    if which.has(Which::LIMITS) {
        let limit = files.number("pids.max")?;
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    Ok(())
}

/// The scheduler's own files where it has any; otherwise those of throttling, which count all traffic.
fn blkio(files: &mut Files<'_>, _: Which, stats: &mut Stats) -> Result<(), Error> {
    type Field = fn(&mut IoStats) -> &mut alloc::vec::Vec<super::IoEntry>;
    const COUNTS: [(&str, Field); 2] =
        [("io_serviced_recursive", |io| &mut io.serviced), ("io_service_bytes_recursive", |io| &mut io.service_bytes)];
    const DETAILS: [(&str, Field); 6] = [
        ("sectors_recursive", |io| &mut io.sectors),
        ("io_service_time_recursive", |io| &mut io.service_time),
        ("io_wait_time_recursive", |io| &mut io.wait_time),
        ("io_merged_recursive", |io| &mut io.merged),
        ("io_queued_recursive", |io| &mut io.queued),
        ("time_recursive", |io| &mut io.time),
    ];
    for (prefix, detailed) in [("blkio.bfq", true), ("blkio.bfq", false), ("blkio", true), ("blkio.throttle", false)] {
        let details: &[(&str, Field)] = if detailed { &DETAILS } else { &[] };
        let mut found = false;
        for (name, field) in details.iter().chain(&COUNTS) {
            // An empty file says that this scheduler is not the one in use.
            let entries = files.get(&format!("{prefix}.{name}"), parse::blkio)?.unwrap_or_default();
            if entries.is_empty() && !found {
                break;
            }
            found = true;
            *field(&mut stats.io) = entries;
        }
        if found {
            return Ok(());
        }
    }
    Ok(())
}

fn huge_pages(files: &mut Files<'_>, _: Which, stats: &mut Stats) -> Result<(), Error> {
    // A kernel without huge pages has no such folder.
    let folders = io::subdirectories("/sys/kernel/mm/hugepages").unwrap_or_default();
    for size in folders.iter().filter_map(|folder| parse::page_size(folder)) {
        let mut prefix = format!("hugetlb.{size}.rsvd");
        let mut usage = files.get(&format!("{prefix}.usage_in_bytes"), parse::number)?;
        if usage.is_none() {
            prefix = format!("hugetlb.{size}");
            usage = files.get(&format!("{prefix}.usage_in_bytes"), parse::number)?;
        }
        let Some(usage) = usage else {
            continue;
        };
        let max = files.number(&format!("{prefix}.max_usage_in_bytes"))?;
        let failcnt = files.number(&format!("{prefix}.failcnt"))?;
        stats.huge_pages.insert(size, HugePageStats { usage, max, failcnt });
    }
    Ok(())
}

fn rdma(files: &mut Files<'_>, _: Which, stats: &mut Stats) -> Result<(), Error> {
    if let Some(current) = files.get("rdma.current", parse::rdma)? {
        stats.rdma.current = current;
        stats.rdma.limit = files.get("rdma.max", parse::rdma)?.unwrap_or_default();
    }
    Ok(())
}
