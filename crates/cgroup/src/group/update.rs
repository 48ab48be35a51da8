//! Changing the limits of a running container.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::Errno;

use super::limits::number;
use super::{Group, Held, Presence};
use crate::error::Error;
use crate::io::Bin;
use crate::layout::Version;
use crate::plan::{Missing, Plan, Retry, When, Write};

impl Group {
    /// Brings the cgroup to another plan's limits and device rules. What the plan does not name stays. If one
    /// of the limits is refused, those before it get their old values back.
    ///
    /// A memory limit below what is used fails on v1, as the kernel has it. On v2 it would at once kill;
    /// here the cgroup is first throttled and reclaimed down to the limit (`memory.high`), so that only what
    /// cannot be freed makes the kernel kill. With `checkBeforeUpdate` such a limit is refused instead.
    pub fn update(&mut self, plan: &Plan) -> Result<(), Error> {
        self.update_with(plan, |_, _| Ok(()))
    }

    /// The same, where somebody else is told of the limits before they are written: of the plan, and where one of them
    /// is refused of the plan that takes it back.
    pub(crate) fn update_with(
        &mut self,
        plan: &Plan,
        mut tell: impl FnMut(&Group, &mut Plan) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bin = Bin::default();
        self.take_controllers(plan);
        self.check(plan, &mut bin)?;
        let mut back = Plan { dirs: plan.dirs.clone(), writes: self.values(plan, &mut bin), ..Plan::default() };
        let shrunk = self.shrink(plan, &mut bin);
        let told = tell(self, &mut plan.clone());
        let is_told = told.is_ok();
        let mut done = told.and_then(|()| self.write_all(plan, When::Create, &mut bin));
        if done.is_ok() {
            done = self.write_all(plan, When::Apply, &mut bin);
        }
        // The reclaim was for the limit's sake only.
        if let Some((dir, high)) = shrunk
            && let Some(held) = self.held.get(dir)
        {
            let restored = held.at().write("memory.high", &high, &mut bin);
            done = done.and(restored.map_err(|errno| held.error("write", "memory.high", errno)));
        }
        if done.is_ok()
            && let Some(devices) = &plan.devices
        {
            done = self.set_devices(devices, &mut bin);
        }
        if done.is_err() {
            // The first error is the one to tell; a value that cannot be restored is the kernel's last word.
            if is_told {
                let _ = tell(self, &mut back);
            }
            let _ = self.write_all(&back, When::Apply, &mut bin);
        }
        done
    }

    /// `checkBeforeUpdate`: compares with what is used. As in runc, a usage that cannot be read is no reason
    /// to refuse.
    fn check(&self, plan: &Plan, bin: &mut Bin) -> Result<(), Error> {
        let Some((limit, swap)) = plan.check else {
            return Ok(());
        };
        let Some(held) = self.v2() else {
            return Ok(());
        };
        let Ok(usage) = number(held, "memory.current", bin) else {
            return Ok(());
        };
        for (what, limit) in [("memory+swap", swap), ("memory", limit)] {
            if let Some(limit) = limit.filter(|limit| *limit <= usage) {
                return Err(Error::WouldExceed { what, limit, usage });
            }
        }
        Ok(())
    }

    fn v2(&self) -> Option<&Held> {
        let v2 = |held: &&Held| held.dir.version == Version::V2 && held.presence != Presence::Absent;
        self.held.iter().find(v2)
    }

    /// The writes that would restore what the plan's writes overwrite, in an order that the kernel takes:
    /// backwards, and with the pairs that depend on each other as they are. Files that cannot be read are left out.
    fn values(&self, plan: &Plan, bin: &mut Bin) -> Vec<Write> {
        let mut old: Vec<Write> = Vec::new();
        for write in &plan.writes {
            let Some(held) = self.held.get(write.dir).filter(|held| held.presence != Presence::Absent) else {
                continue;
            };
            let (file, text) = match (held.at().read(&write.file, bin), &write.missing) {
                (Ok(text), _) => (write.file.clone(), text),
                (Err(Errno::NOENT), Missing::Else(file, _)) => match held.at().read(file, bin) {
                    Ok(text) => (Cow::Borrowed(*file), text),
                    Err(_) => continue,
                },
                (Err(_), _) => continue,
            };
            let key = key(&file, &write.value);
            let Some(value) = restorable(&file, &text, key) else {
                continue;
            };
            let same = |old: &Write| old.dir == write.dir && old.file == file && self::key(&file, &old.value) == key;
            if old.iter().any(same) {
                continue;
            }
            old.push(Write { file, value, missing: Missing::Skip, when: When::Apply, ..write.clone() });
        }
        // Limit and swap, period and quota: whichever goes first, the other is tried again after it.
        for i in 0..old.len() {
            let next_is_kin =
                old.get(i + 1).is_some_and(|next| Some(&next.controller) == old.get(i).map(|w| &w.controller));
            if let Some(write) = old.get_mut(i) {
                write.retry = if next_is_kin { Retry::AfterNext } else { Retry::No };
            }
        }
        old
    }

    /// Throttles and reclaims a v2 cgroup that uses more than its new limit: the directory and the
    /// `memory.high` to restore.
    fn shrink(&self, plan: &Plan, bin: &mut Bin) -> Option<(usize, String)> {
        let write = plan.writes.iter().find(|write| write.file == "memory.max")?;
        let limit: u64 = write.value.parse().ok()?;
        let held = self.held.get(write.dir)?;
        if number(held, "memory.current", bin).ok()? <= limit {
            return None;
        }
        let high = held.at().read("memory.high", bin).ok()?;
        // Writing it reclaims at once, and makes what allocates on top of it reclaim too.
        held.at().write("memory.high", &format!("{limit}"), bin).ok()?;
        Some((write.dir, high.trim_end().into()))
    }
}

/// Files that hold a line for each device, interface or resource, and what a line is that is not there.
const KEYED: &[(&str, Option<&str>)] = &[
    ("io.max", Some("rbps=max wbps=max riops=max wiops=max")),
    ("io.weight", Some("default")),
    ("io.bfq.weight", Some("default")),
    ("blkio.throttle.", Some("0")),
    ("blkio.weight_device", Some("0")),
    ("blkio.bfq.weight_device", Some("default")),
    ("blkio.leaf_weight_device", Some("0")),
    ("net_prio.ifpriomap", None),
    ("rdma.max", None),
    ("misc.max", None),
];

/// What begins the line that a value is for; none where the file has one value.
fn key<'a>(file: &str, value: &'a str) -> Option<&'a str> {
    KEYED.iter().find(|(prefix, _)| file.starts_with(prefix))?;
    // A weight alone is the default of all devices.
    value.split_once(' ').map(|(key, _)| key).filter(|key| *key != "default")
}

/// What to write to get a file's text back, or its line of that key; `None` where a write would not.
fn restorable(file: &str, text: &str, key: Option<&str>) -> Option<String> {
    let text = text.trim_end();
    if let Some(key) = key {
        let line = text.lines().find(|line| line.split(' ').next() == Some(key));
        let absent = KEYED.iter().find(|(prefix, _)| file.starts_with(prefix)).and_then(|(_, absent)| *absent);
        return line.map(Into::into).or_else(|| absent.map(|absent| format!("{key} {absent}")));
    }
    // io.weight and io.bfq.weight begin with the default; other lines are devices.
    let text = match text.strip_prefix("default ") {
        Some(rest) => rest.lines().next()?,
        None => text,
    };
    if text.contains('\n') || file.starts_with("memory.oom_control") {
        return None;
    }
    if file.starts_with("blkio.") && text.is_empty() {
        return None;
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_restored() {
        for (file, text, value, want) in [
            ("memory.max", "max\n", "5", Some("max")),
            ("cpu.max", "max 100000\n", "1000 5000", Some("max 100000")),
            ("io.weight", "default 100\n", "300", Some("100")),
            ("io.weight", "default 100\n8:0 50\n", "300", Some("100")),
            ("io.weight", "default 100\n8:0 50\n", "8:0 70", Some("8:0 50")),
            ("io.weight", "default 100\n8:0 50\n", "8:16 70", Some("8:16 default")),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 wbps=4",
                Some("8:0 rbps=1 wbps=max riops=max wiops=max"),
            ),
            ("io.max", "", "8:0 wbps=4", Some("8:0 rbps=max wbps=max riops=max wiops=max")),
            ("cpuset.cpus", "\n", "0", Some("")),
            ("blkio.throttle.read_bps_device", "", "8:0 5", Some("8:0 0")),
            ("blkio.throttle.read_bps_device", "8:0 7\n8:1 2\n", "8:1 5", Some("8:1 2")),
            ("net_prio.ifpriomap", "lo 3\neth0 0\n", "lo 5", Some("lo 3")),
            ("rdma.max", "", "mlx hca_handle=3", None),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", None),
        ] {
            assert_eq!(restorable(file, text, key(file, value)).as_deref(), want, "{file} {text:?} {value}");
        }
    }
}
