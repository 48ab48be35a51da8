//! Classes of service of the resctrl file system, for `linux.intelRdt`: caches and memory bandwidth by Intel RDT, AMD
//! QoS or Arm MPAM. See the kernel's `filesystems/resctrl.rst`.
//!
//! The file system is the one at /sys/fs/resctrl, or wherever else it is mounted. Few machines have it, so a caller may
//! name a directory that stands in for it ([`CreateOptions::resctrl`](crate::CreateOptions::resctrl); for the command
//! the variable `ORLOP_RESCTRL`): no configuration can.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::Pid;
use orlop_sys::{CWD, Errno};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::state::{c_string, read_all};

const PLACE: &str = "/sys/fs/resctrl";

/// A container's class, as its state keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Class {
    root: String,
    /// The directory of the class.
    group: String,
    /// The directory of the container's own monitoring group.
    monitor: Option<String>,
    /// Whether the class was there before the container.
    found: bool,
    /// Whether the configuration names it, so that it stays.
    named: bool,
}

/// What a configuration asks for.
pub(crate) struct Wanted<'a> {
    /// The name of the class; the container's id where there is none.
    pub(crate) class: &'a str,
    /// The lines of its schemata, each with a newline.
    pub(crate) schemata: &'a str,
    pub(crate) monitor: bool,
}

fn exists(path: &str) -> Result<bool> {
    match fs::access_at(CWD, &c_string(path)?, 0, AtFlags::NONE) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(Error::system("faccessat2", path.to_owned(), errno)),
    }
}

fn read(path: &str) -> Result<String> {
    let text = fs::open_at(CWD, &c_string(path)?, OFlags::RDONLY, 0).and_then(|file| read_all(&file));
    let text = text.map_err(|errno| Error::system("read", path.to_owned(), errno))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Where resctrl is mounted.
fn root(given: Option<&str>) -> Result<Option<String>> {
    if let Some(given) = given {
        return Ok(Some(given.to_owned()));
    }
    match fs::fs_magic_at(&c_string(PLACE)?) {
        Ok(fs::magic::RESCTRL) => return Ok(Some(PLACE.to_owned())),
        // Neither the processor nor the kernel has it.
        Err(Errno::NOENT) => return Ok(None),
        _ => {}
    }
    Ok(read("/proc/self/mountinfo")?.lines().find_map(mount_point))
}

/// The mount point in a line of mountinfo, if a resctrl is mounted there.
fn mount_point(line: &str) -> Option<String> {
    let (before, after) = line.split_once(" - ")?;
    let place = before.split(' ').nth(4)?;
    (after.split(' ').next()? == "resctrl").then(|| place.to_owned())
}

/// What the machine may lack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) cache: bool,
    pub(crate) memory: bool,
}

impl Needs {
    fn of(schemata: &str) -> Needs {
        let has =
            |resource| schemata.lines().any(|line| line.split_once(':').is_some_and(|(name, _)| name == resource));
        Needs { cache: has("L3"), memory: has("MB") }
    }
}

fn check(root: &str, needs: Needs) -> Result<()> {
    for (needed, resource, lacking) in [
        (needs.cache, "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        (needs.memory, "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        if needed && !exists(&format!("{root}/info/{resource}"))? {
            return Err(Error::new(Kind::NotSupported, lacking));
        }
    }
    Ok(())
}

/// The kernel's own words for what it has refused last.
fn explained(root: &str, error: Error) -> Error {
    match read(&format!("{root}/info/last_cmd_status")) {
        Ok(status) if !matches!(status.trim(), "" | "ok") => error.hint(format!("last_cmd_status: {}", status.trim())),
        _ => error,
    }
}

/// The values of schemata by resource and domain. As one writes them they may have zeros in front.
fn values(schemata: &str) -> Vec<(&str, &str, String)> {
    let mut all = Vec::new();
    for line in schemata.lines() {
        let Some((resource, domains)) = line.split_once(':') else { continue };
        for domain in domains.split(';') {
            let Some((domain, value)) = domain.split_once('=') else { continue };
            let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
            all.push((resource.trim(), domain.trim(), value));
        }
    }
    all
}

impl Class {
    /// Finds out which one it is, before anything is made.
    pub(crate) fn find(wanted: &Wanted<'_>, id: &str, given_root: Option<&str>) -> Result<Class> {
        let Some(root) = root(given_root)? else {
            let what = "intelRdt is specified in config, but Intel RDT is not enabled";
            return Err(Error::new(Kind::NotSupported, what).hint("no resctrl file system is mounted"));
        };
        check(&root, Needs::of(wanted.schemata))?;
        let group = match wanted.class {
            "/" => root.clone(),
            "" => format!("{root}/{id}"),
            name => format!("{root}/{name}"),
        };
        let found = exists(&group)?;
        let named = !wanted.class.is_empty();
        if named && wanted.schemata.is_empty() && !found {
            let what = format!("the class of service {:?} does not exist", wanted.class);
            return Err(Error::new(Kind::InvalidConfig, what)
                .hint("without a schema in the configuration it must have been made before"));
        }
        let monitor = wanted.monitor.then(|| format!("{group}/mon_groups/{id}"));
        Ok(Class { root, group, monitor, found, named })
    }

    /// Makes it where it is missing, and puts the process into it.
    pub(crate) fn make(&self, schemata: &str, pid: Pid) -> Result<()> {
        let made = self.make_group(schemata).and_then(|()| {
            if let Some(monitor) = &self.monitor {
                make_directory(monitor)?;
            }
            self.adopt(pid)
        });
        made.map_err(|error| explained(&self.root, error))
    }

    fn make_group(&self, schemata: &str) -> Result<()> {
        if !self.found {
            make_directory(&self.group)?;
        } else if self.named && !schemata.is_empty() {
            let there = read(&format!("{}/schemata", self.group))?;
            let there = values(&there);
            if let Some((resource, domain, value)) = values(schemata).iter().find(|value| !there.contains(value)) {
                let what = format!("the class of service {} exists, and has another value", self.group);
                return Err(Error::new(Kind::InvalidConfig, format!("{what} than {resource}:{domain}={value}")));
            }
        }
        self.write_schemata(schemata)
    }

    fn write_schemata(&self, schemata: &str) -> Result<()> {
        match schemata {
            "" => Ok(()),
            schemata => write(&format!("{}/schemata", self.group), schemata),
        }
    }

    /// Puts a process into the class; its children are born there.
    pub(crate) fn adopt(&self, pid: Pid) -> Result<()> {
        for group in [Some(&self.group), self.monitor.as_ref()].into_iter().flatten() {
            write(&format!("{group}/tasks"), &format!("{pid}"))?;
        }
        Ok(())
    }

    /// Changes what the class may use.
    pub(crate) fn update(&self, schemata: &str, needs: Needs) -> Result<()> {
        check(&self.root, needs)?;
        self.write_schemata(schemata).map_err(|error| explained(&self.root, error))
    }

    /// Removes what was made for the container alone.
    pub(crate) fn remove(&self) -> Result<()> {
        if let Some(monitor) = &self.monitor {
            remove_directory(monitor)?;
        }
        if !self.named && !self.found { remove_directory(&self.group) } else { Ok(()) }
    }
}

/// What a container's class of service may use, and what it does use, with the names that runc prints. What the machine
/// does not have is absent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ClassStats {
    /// What the processor has of caches to share out.
    #[serde(rename = "l3_cache_info", skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheInfo>,
    /// The line of the root class for them.
    #[serde(rename = "l3_cache_schema_root", skip_serializing_if = "String::is_empty")]
    pub root_cache: String,
    /// The line of this class.
    #[serde(rename = "l3_cache_schema", skip_serializing_if = "String::is_empty")]
    pub own_cache: String,
    /// How memory bandwidth is shared out.
    #[serde(rename = "mem_bw_info", skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BandwidthInfo>,
    /// The line of the root class for it.
    #[serde(rename = "mem_bw_schema_root", skip_serializing_if = "String::is_empty")]
    pub root_bandwidth: String,
    /// The line of this class.
    #[serde(rename = "mem_bw_schema", skip_serializing_if = "String::is_empty")]
    pub own_bandwidth: String,
    /// All lines of this class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Bytes that went between caches and memory, by domain.
    #[serde(rename = "mbm_stats", skip_serializing_if = "Option::is_none")]
    pub transferred: Option<Vec<Transferred>>,
    /// Bytes of cache that are occupied, by domain.
    #[serde(rename = "cmt_stats", skip_serializing_if = "Option::is_none")]
    pub occupied: Option<Vec<Occupied>>,
}

/// `info/L3` of resctrl.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CacheInfo {
    /// The mask of all that can be shared out, in hexadecimal.
    #[serde(rename = "cbm_mask", skip_serializing_if = "String::is_empty")]
    pub mask: String,
    /// How many bits a mask must have.
    #[serde(rename = "min_cbm_bits", skip_serializing_if = "is_zero")]
    pub min_bits: u64,
    /// How many classes there can be.
    #[serde(rename = "num_closids", skip_serializing_if = "is_zero")]
    pub classes: u64,
}

/// `info/MB` of resctrl.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BandwidthInfo {
    /// The steps, in percent.
    #[serde(rename = "bandwidth_gran", skip_serializing_if = "is_zero")]
    pub granularity: u64,
    /// Whether delays grow evenly.
    #[serde(rename = "delay_linear", skip_serializing_if = "is_zero")]
    pub linear: u64,
    /// The least, in percent.
    #[serde(rename = "min_bandwidth", skip_serializing_if = "is_zero")]
    pub min: u64,
    /// How many classes there can be.
    #[serde(rename = "num_closids", skip_serializing_if = "is_zero")]
    pub classes: u64,
}

/// Memory bandwidth monitoring, in one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Transferred {
    /// Bytes to and from any memory.
    #[serde(rename = "mbm_total_bytes")]
    pub total: u64,
    /// To and from that of the domain's own node.
    #[serde(rename = "mbm_local_bytes")]
    pub local: u64,
}

/// Cache monitoring, in one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Occupied {
    /// Bytes.
    #[serde(rename = "llc_occupancy")]
    pub bytes: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn number(path: &str) -> Result<u64> {
    let text = read(path)?;
    let text = text.trim();
    text.parse().map_err(|_| Error::new(Kind::System, format!("{path}: {text:?} is no number")))
}

/// The last line about a resource, as runc finds it.
fn line_of(lines: &[String], resource: &str) -> String {
    lines.iter().rev().find(|line| line.contains(resource)).map(|line| line.trim().to_owned()).unwrap_or_default()
}

impl Class {
    /// What it may use, and uses. Without a monitoring group of its own these are the figures of all in the class.
    pub(crate) fn stats(&self) -> Result<ClassStats> {
        let lines = |group: &str| -> Result<Vec<String>> {
            Ok(read(&format!("{group}/schemata"))?.trim().split('\n').map(ToOwned::to_owned).collect())
        };
        let (root, own) = (lines(&self.root)?, lines(&self.group)?);
        let info = |name: &str| format!("{}/info/{name}", self.root);
        let mut stats = ClassStats::default();
        if exists(&info("L3"))? {
            stats.cache = Some(CacheInfo {
                mask: read(&info("L3/cbm_mask"))?.trim().to_owned(),
                min_bits: number(&info("L3/min_cbm_bits"))?,
                classes: number(&info("L3/num_closids"))?,
            });
            (stats.root_cache, stats.own_cache) = (line_of(&root, "L3"), line_of(&own, "L3"));
        }
        if exists(&info("MB"))? {
            stats.bandwidth = Some(BandwidthInfo {
                granularity: number(&info("MB/bandwidth_gran"))?,
                linear: number(&info("MB/delay_linear"))?,
                min: number(&info("MB/min_bandwidth"))?,
                classes: number(&info("MB/num_closids"))?,
            });
            (stats.root_bandwidth, stats.own_bandwidth) = (line_of(&root, "MB"), line_of(&own, "MB"));
        }
        stats.schemata = own;
        self.monitored(&mut stats)?;
        Ok(stats)
    }

    fn monitored(&self, stats: &mut ClassStats) -> Result<()> {
        const FEATURES: &str = "info/L3_MON/mon_features";
        let path = format!("{}/{FEATURES}", self.root);
        let features = if exists(&path)? { read(&path)? } else { return Ok(()) };
        let has = |feature: &str| features.lines().any(|line| line == feature);
        let [total, local, occupied] =
            ["mbm_total_bytes", "mbm_local_bytes", "llc_occupancy"].map(|f| has(f).then_some(f));
        let data = format!("{}/mon_data", self.monitor.as_ref().unwrap_or(&self.group));
        let mut domains = directories(&data)?;
        domains.sort();
        let value = |domain: &str, file: Option<&str>| match file {
            Some(file) => number(&format!("{data}/{domain}/{file}")),
            None => Ok(0),
        };
        if total.or(local).is_some() {
            let all = domains.iter().map(|d| Ok(Transferred { total: value(d, total)?, local: value(d, local)? }));
            stats.transferred = Some(all.collect::<Result<_>>()?);
        }
        if occupied.is_some() {
            let all = domains.iter().map(|domain| Ok(Occupied { bytes: value(domain, occupied)? }));
            stats.occupied = Some(all.collect::<Result<_>>()?);
        }
        Ok(())
    }
}

/// The names of the directories in one.
fn directories(path: &str) -> Result<Vec<String>> {
    const DIRECTORY: u8 = 4;
    let failed = |call| move |errno| Error::system(call, path.to_owned(), errno);
    let dir = fs::open_at(CWD, &c_string(path)?, OFlags::RDONLY | OFlags::DIRECTORY, 0).map_err(failed("open"))?;
    let mut names = Vec::new();
    let mut buf = [0u8; 4096];
    loop {
        let n = fs::read_dir(&dir, &mut buf).map_err(failed("getdents64"))?;
        if n == 0 {
            return Ok(names);
        }
        let found = fs::entries(buf.get(..n).unwrap_or_default()).filter(|(_, kind)| *kind == DIRECTORY);
        names.extend(found.map(|(name, _)| name.to_string_lossy().into_owned()));
    }
}

/// Why a container that was made without a class gets none.
pub(crate) fn refuse_update(needs: Needs, given_root: Option<&str>) -> Error {
    let checked = match root(given_root) {
        Ok(root) => check(root.as_deref().unwrap_or("/"), needs),
        Err(error) => Err(error),
    };
    let what = "changing the class of service of a container that was made without intelRdt is not supported";
    checked.err().unwrap_or_else(|| Error::not_supported(what))
}

fn make_directory(path: &str) -> Result<()> {
    match fs::mkdir_at(CWD, &c_string(path)?, 0o755) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::system("mkdirat", path.to_owned(), errno)),
    }
}

/// resctrl's own files are there; a directory that stands in for it has none to begin with.
fn write(path: &str, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::TRUNC;
    let written =
        fs::open_at(CWD, &c_string(path)?, flags, 0o600).and_then(|file| fs::write_all(&file, text.as_bytes()));
    written.map_err(|errno| Error::system("write", format!("{path}: {:?}", text.trim_end()), errno))
}

fn remove_directory(path: &str) -> Result<()> {
    let remove = || -> Result<orlop_sys::Result<()>> { Ok(fs::unlink_at(CWD, &c_string(path)?, AtFlags::REMOVEDIR)) };
    let mut removed = remove()?;
    if removed == Err(Errno::NOTEMPTY) {
        // resctrl's own directories go with their files. Where another one stands in for it, they are ordinary.
        for name in ["tasks", "schemata", "mon_groups"] {
            let flags = if name == "mon_groups" { AtFlags::REMOVEDIR } else { AtFlags::NONE };
            // What matters is whether the directory can go then.
            let _gone = fs::unlink_at(CWD, &c_string(&format!("{path}/{name}"))?, flags);
        }
        removed = remove()?;
    }
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::system("unlinkat", path.to_owned(), errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found() {
        let line = "40 24 0:36 / /mnt/res rw,relatime shared:14 - resctrl resctrl rw";
        assert_eq!(mount_point(line).as_deref(), Some("/mnt/res"));
        assert_eq!(mount_point("40 24 0:36 / /resctrl rw - tmpfs resctrl rw"), None);
    }

    #[test]
    fn values_are_compared_as_numbers() {
        let there = values("    L3:0=007f0;1=1F\n    MB:0=  20;1= 70\n");
        for (wanted, same) in
            [("L3:1=1f;0=7f0\n", true), ("MB:0=20\nL3:0=07F0", true), ("L3:0=7f1", false), ("L2:0=7f0", false)]
        {
            assert_eq!(values(wanted).iter().all(|value| there.contains(value)), same, "{wanted}");
        }
    }
}
