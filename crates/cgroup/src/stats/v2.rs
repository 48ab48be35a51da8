//! Statistics of cgroup v2.

use alloc::format;

use super::parse::{self, Files};
use super::{Counter, HugePageStats, Pressure, Stats, Which};
use crate::error::Error;
use crate::io::{self, At, Bin};

/// Adds what a v2 directory has.
pub(crate) fn read(at: At<'_>, bin: &mut Bin, which: Which, stats: &mut Stats) -> Result<(), Error> {
    let mut files = Files { at, bin };
    let files = &mut files;
    if which.has(Which::CPU) {
        cpu(files, stats)?;
        stats.cpu.pressure = pressure(files, which, "cpu.pressure")?;
    }
    if which.has(Which::MEMORY) {
        memory(files, which, stats)?;
        stats.memory.pressure = pressure(files, which, "memory.pressure")?;
    }
    if which.has(Which::PIDS) {
        pids(files, which, stats)?;
    }
    if which.has(Which::IO) {
        if let Some((bytes, operations)) = files.get("io.stat", parse::io_stat)? {
            stats.io.service_bytes = bytes;
            stats.io.serviced = operations;
        }
        stats.io.pressure = pressure(files, which, "io.pressure")?;
    }
    if which.has(Which::HUGETLB) {
        huge_pages(files, stats)?;
    }
    if which.has(Which::RDMA)
        && let Some(current) = files.get("rdma.current", parse::rdma)?
    {
        stats.rdma.current = current;
        stats.rdma.limit = files.get("rdma.max", parse::rdma)?.unwrap_or_default();
    }
    if which.has(Which::MISC) {
        misc(files, stats)?;
    }
    Ok(())
}

fn pressure(files: &mut Files<'_>, which: Which, file: &str) -> Result<Option<Pressure>, Error> {
    if which.has(Which::PRESSURE) { files.get(file, parse::pressure) } else { Ok(None) }
}

fn cpu(files: &mut Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let Some(stat) = files.get("cpu.stat", parse::pairs)? else {
        return Ok(());
    };
    let get = |key: &str| stat.get(key).copied().unwrap_or_default();
    let cpu = &mut stats.cpu;
    // The file counts microseconds.
    cpu.total = get("usage_usec") * 1000;
    cpu.user = get("user_usec") * 1000;
    cpu.kernel = get("system_usec") * 1000;
    cpu.periods = get("nr_periods");
    cpu.throttled_periods = get("nr_throttled");
    cpu.throttled_time = get("throttled_usec") * 1000;
    cpu.burst_periods = get("nr_bursts");
    cpu.burst_time = get("burst_usec") * 1000;
    Ok(())
}

fn memory(files: &mut Files<'_>, which: Which, stats: &mut Stats) -> Result<(), Error> {
    let Some(raw) = files.get("memory.stat", parse::pairs)? else {
        return Ok(());
    };
    let memory = &mut stats.memory;
    memory.cache = raw.get("file").copied().unwrap_or_default();
    memory.raw = raw;
    let mut counter = |name: &str| -> Result<Counter, Error> {
        // No swap files: the kernel does not account for swap.
        let Some(usage) = files.get(&format!("{name}.current"), parse::number)? else {
            return Ok(Counter::default());
        };
        let (limit, max) = if which.has(Which::LIMITS) {
            (files.number(&format!("{name}.max"))?, files.number(&format!("{name}.peak"))?)
        } else {
            (0, 0)
        };
        Ok(Counter { limit, usage, max, failcnt: 0 })
    };
    memory.usage = counter("memory")?;
    memory.swap_only = counter("memory.swap")?;
    // v1 counts memory and swap together. The peaks cannot be added.
    memory.swap = Counter {
        usage: memory.swap_only.usage + memory.usage.usage,
        limit: memory.swap_only.limit.saturating_add(memory.usage.limit),
        ..Counter::default()
    };
    if which.has(Which::LIMITS) {
        memory.events = files.get("memory.events", parse::pairs)?.unwrap_or_default();
    }
    Ok(())
}

fn pids(files: &mut Files<'_>, which: Which, stats: &mut Stats) -> Result<(), Error> {
    if let Some(current) = files.get("pids.current", parse::number)? {
        stats.pids.current = current;
        if which.has(Which::LIMITS) {
            let limit = files.number("pids.max")?;
            stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
        }
        return Ok(());
    }
    // The controller is off: count the processes.
    let file = match files.text("cgroup.procs")? {
        Some(text) => Some(text),
        None => files.text("cgroup.threads")?,
    };
    stats.pids.current = file.map_or(0, |text| text.lines().count() as u64);
    Ok(())
}

fn huge_pages(files: &mut Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    // A kernel without huge pages has no such folder.
    let folders = io::subdirectories("/sys/kernel/mm/hugepages").unwrap_or_default();
    for size in folders.iter().filter_map(|folder| parse::page_size(folder)) {
        let prefix = format!("hugetlb.{size}");
        let reserved = files.get(&format!("{prefix}.rsvd.current"), parse::number)?;
        let usage = match reserved {
            Some(usage) => usage,
            // The controller is off, or older than Linux 5.7.
            None => match files.get(&format!("{prefix}.current"), parse::number)? {
                Some(usage) => usage,
                None => return Ok(()),
            },
        };
        let events = files.get(&format!("{prefix}.events"), parse::pairs)?.unwrap_or_default();
        let failcnt = events.get("max").copied().unwrap_or_default();
        stats.huge_pages.insert(size, HugePageStats { usage, max: 0, failcnt });
    }
    Ok(())
}

fn misc(files: &mut Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let Some(current) = files.get("misc.current", parse::pairs)? else {
        return Ok(());
    };
    for (name, usage) in current {
        stats.misc.entry(name).or_default().usage = usage;
    }
    for (name, events) in files.get("misc.events", parse::pairs)?.unwrap_or_default() {
        let name = name.strip_suffix(".max").unwrap_or(&name);
        stats.misc.entry(name.into()).or_default().events = events;
    }
    Ok(())
}
