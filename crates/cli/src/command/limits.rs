//! `update`.

use core::ffi::CStr;

use liballoc::string::String;

use crate::parse::Given;
use crate::value;

/// `update`: `None` leaves a limit as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update<'a> {
    /// The container's id as given.
    pub id: &'a str,
    /// A file with limits, `-` for standard input; all below is then left aside.
    pub resources: Option<&'a CStr>,
    /// Weight for block devices.
    pub blkio_weight: Option<u16>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_burst: Option<u64>,
    /// Weight.
    pub cpu_share: Option<u64>,
    /// Microseconds.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds; -1 for no limit.
    pub cpu_rt_runtime: Option<i64>,
    /// 0 or 1.
    pub cpu_idle: Option<i64>,
    /// A list of processors.
    pub cpuset_cpus: Option<&'a str>,
    /// A list of memory nodes.
    pub cpuset_mems: Option<&'a str>,
    /// Bytes; -1 for no limit.
    pub memory: Option<i64>,
    /// Bytes; -1 for no limit.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Processes; -1 for no limit.
    pub pids_limit: Option<i64>,
    /// Intel RDT schema of the L3 cache.
    pub l3_cache_schema: Option<&'a str>,
    /// Intel RDT schema of memory bandwidth.
    pub mem_bw_schema: Option<&'a str>,
    /// Whether one of the obsolete limits of kernel memory was given, which deserves a warning.
    pub kernel_memory: bool,
}

pub(super) fn update<'a>(given: &Given<'a>) -> Result<Update<'a>, String> {
    let unsigned = |long| given.number(long).map(|n| n.map(|n| n as u64)); // not below 0: see the table
    let size = |long| given.convert(long, value::size);
    // As runc has it, a weight of 0 is none at all.
    let weight = given.number("blkio-weight")?.filter(|weight| *weight != 0);
    let kernel = [size("kernel-memory")?, size("kernel-memory-tcp")?];
    Ok(Update {
        id: super::id(given)?,
        resources: given.raw("resources"),
        blkio_weight: weight.map(|weight| weight as u16),
        cpu_period: unsigned("cpu-period")?,
        cpu_quota: given.number("cpu-quota")?,
        cpu_burst: unsigned("cpu-burst")?,
        cpu_share: unsigned("cpu-share")?,
        cpu_rt_period: unsigned("cpu-rt-period")?,
        cpu_rt_runtime: given.number("cpu-rt-runtime")?,
        cpu_idle: given.number("cpu-idle")?,
        cpuset_cpus: given.text("cpuset-cpus")?,
        cpuset_mems: given.text("cpuset-mems")?,
        memory: size("memory")?,
        memory_reservation: size("memory-reservation")?,
        memory_swap: size("memory-swap")?,
        pids_limit: given.number("pids-limit")?,
        l3_cache_schema: given.text("l3-cache-schema")?,
        mem_bw_schema: given.text("mem-bw-schema")?,
        kernel_memory: kernel.iter().any(Option::is_some),
    })
}
