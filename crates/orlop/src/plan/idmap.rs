//! The ids of user namespaces and of mounts; see user_namespaces(7).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use orlop_init::step::{Groups, Text};

use super::{Mapping, Origin, Phase, Planner, ProcessKind, Task, invalid};
use crate::config::{IdMapping, NamespaceKind};
use crate::error::{Error, Result};

/// How many lines the kernel takes (UID_GID_MAP_MAX_EXTENTS).
const MAX_LINES: usize = 340;
/// It takes less than a page at once, and only one write(2).
const LONGEST: usize = 4095;

const UIDS: Origin = Origin::field("/linux/uidMappings");
const GIDS: Origin = Origin::field("/linux/gidMappings");

/// The id outside of an id inside.
pub(crate) fn outside(map: &[IdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|line| {
        let from_start = id.checked_sub(line.container_id)?;
        (from_start < line.size).then(|| line.host_id.checked_add(from_start))?
    })
}

/// Whether two maps in the kernel's form are the same, whatever the order of their lines.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    let lines = |text: &str| {
        let numbers = |line: &str| line.split_ascii_whitespace().map(|n| n.parse().unwrap_or(u32::MAX)).collect();
        let mut lines: Vec<Vec<u32>> = text.lines().map(numbers).collect();
        lines.sort_unstable();
        lines
    };
    lines(a) == lines(b)
}

/// As /proc/PID/uid_map takes them.
pub(crate) fn lines(map: &[IdMapping], origin: Origin) -> Result<String> {
    if map.len() > MAX_LINES {
        return Err(invalid(format!("{} id mappings are more than the kernel's {MAX_LINES}", map.len()), origin));
    }
    let mut text = String::with_capacity(map.len() * 24);
    for line in map {
        let fits = |first: u32| line.size.checked_sub(1).is_some_and(|rest| first.checked_add(rest).is_some());
        if !fits(line.container_id) || !fits(line.host_id) {
            return Err(invalid("an id mapping of no ids, or of ids that there are not", origin));
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} {}", line.container_id, line.host_id, line.size);
    }
    if text.len() > LONGEST {
        let what = format!("id mappings of {} bytes are more than the {LONGEST} that the kernel takes", text.len());
        return Err(invalid(what, origin).hint("ranges that follow each other can be one"));
    }
    Ok(text)
}

impl Planner<'_> {
    /// Whether ids of the container are ids of a user namespace whose maps the configuration has.
    pub(crate) fn has_id_maps(&self) -> bool {
        self.has_new_namespace(NamespaceKind::User)
    }

    /// Whether a group of the container is one: without a user namespace, or where somebody else mapped it, it is.
    pub(crate) fn is_group_mapped(&self, gid: u32) -> bool {
        !self.has_id_maps() || outside(&self.config.linux.gid_mappings, gid).is_some()
    }

    fn is_user_mapped(&self, uid: u32) -> bool {
        !self.has_id_maps() || outside(&self.config.linux.uid_mappings, uid).is_some()
    }

    pub(super) fn check_id_maps(&mut self) -> Result<()> {
        let config = self.config;
        let linux = &config.linux;
        let given = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if !self.has_namespace(NamespaceKind::User) {
            let origin = if self.config.linux.uid_mappings.is_empty() { GIDS } else { UIDS };
            return match given {
                true => self.fault(invalid("user namespace mappings specified, but no user namespace", origin)),
                false if self.host.euid != 0 => self.fault(
                    Error::new(crate::Kind::System, "rootless container requires user namespaces")
                        .field("/linux/namespaces")
                        .hint("`orlop spec --rootless` writes a configuration with one"),
                ),
                false => Ok(()),
            };
        }
        if !self.has_id_maps() {
            return Ok(());
        }
        for (what, map, origin) in [("uid", &linux.uid_mappings, UIDS), ("gid", &linux.gid_mappings, GIDS)] {
            if map.is_empty() {
                self.fault(invalid(format!("a new user namespace needs at least one {what} mapping"), origin))?;
            } else if outside(map, 0).is_none() {
                self.fault(invalid(format!("{what} 0 of the container must be mapped"), origin))?;
            }
        }
        let Some(user) = self.config.process.as_ref().map(|process| &process.user) else {
            return Ok(());
        };
        let unmapped = |what: &str, id: u32, origin| {
            invalid(format!("{what} {id} is not mapped in the container's user namespace"), origin)
        };
        if !self.is_user_mapped(user.uid) {
            self.fault(unmapped("user", user.uid, Origin::field("/process/user/uid")))?;
        }
        if !self.is_group_mapped(user.gid) {
            self.fault(unmapped("group", user.gid, Origin::field("/process/user/gid")))?;
        }
        for (index, &gid) in user.additional_gids.iter().enumerate() {
            if !self.is_group_mapped(gid) {
                let origin = Origin::member("/process/user/additionalGids", index);
                self.fault(unmapped("group", gid, origin))?;
            }
        }
        Ok(())
    }

    /// How the maps are written: the kernel lets an ordinary user map only itself, and then nobody may change groups
    /// (CVE-2014-8989), else programs do it that /etc/subuid steers.
    fn mapping(&self) -> Mapping {
        let only = |map: &[IdMapping], id: u32| matches!(map, [one] if one.size == 1 && one.host_id == id);
        let linux = &self.config.linux;
        if self.host.euid == 0 {
            Mapping::Direct
        } else if only(&linux.uid_mappings, self.host.euid) && only(&linux.gid_mappings, self.host.egid) {
            Mapping::Own
        } else {
            Mapping::Helpers
        }
    }

    /// What the process may do about its groups.
    pub(super) fn groups(&self) -> Result<Groups> {
        if !self.has_namespace(NamespaceKind::User) {
            // Podman without subordinate ids: the user namespace is the caller's, which may have no groups.
            return Ok(if self.host.rootless { Groups::SetIfAllowed } else { Groups::Set });
        }
        // Who made a running container's namespace decided on that.
        if !self.has_id_maps() || self.kind == ProcessKind::Further {
            return Ok(Groups::SetIfAllowed);
        }
        if self.mapping() != Mapping::Own {
            return Ok(if self.host.rootless { Groups::SetIfAllowed } else { Groups::Set });
        }
        match &self.config.process {
            Some(process) if !process.user.additional_gids.is_empty() => Err(invalid(
                "cannot set any additional groups in a rootless container",
                Origin::field("/process/user/additionalGids"),
            )),
            _ => Ok(Groups::Keep),
        }
    }

    pub(super) fn map_texts(
        &mut self,
        uids: &[IdMapping],
        gids: &[IdMapping],
        at: (Origin, Origin),
    ) -> Result<(Text, Text)> {
        let (uids, gids) = (lines(uids, at.0)?, lines(gids, at.1)?);
        Ok((self.strings.text(uids.as_bytes()), self.strings.text(gids.as_bytes())))
    }

    /// After the clone: init's ids are mapped, or those it has joined are looked at.
    pub(super) fn id_maps(&mut self) -> Result<()> {
        let linux = &self.config.linux;
        if !self.has_id_maps() && linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty() {
            return Ok(());
        }
        let texts = self.map_texts(&linux.uid_mappings, &linux.gid_mappings, (UIDS, GIDS));
        let Some((uids, gids)) = self.sound(texts)? else {
            return Ok(());
        };
        let how = self.mapping();
        let task = if self.has_id_maps() { Task::IdMaps { uids, gids, how } } else { Task::CheckIdMaps { uids, gids } };
        self.runtime(Phase::Namespaces, UIDS, task);
        Ok(())
    }
}

/// crun's `idmap=uids=0-1-10#10-11-10;gids=@0-100-10`: lines of first id on the file system, first id outside, and how
/// many; after `@` the id is one of the container's user namespace.
pub(crate) fn parse_option(
    text: &str,
    uids: &[IdMapping],
    gids: &[IdMapping],
) -> Option<(Vec<IdMapping>, Vec<IdMapping>)> {
    let mut parsed = (Vec::new(), Vec::new());
    for part in text.split(';') {
        let (of, map, lines) = match part.split_once('=')? {
            ("uids", lines) => (uids, &mut parsed.0, lines),
            ("gids", lines) => (gids, &mut parsed.1, lines),
            _ => return None,
        };
        for line in lines.split('#') {
            let (relative, line) = line.strip_prefix('@').map_or((false, line), |line| (true, line));
            let mut numbers = line.split('-').map(|n| n.parse::<u32>().ok());
            let (container_id, host_id, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let host_id = if relative { outside(of, host_id)? } else { host_id };
            if numbers.next().is_some() {
                return None;
            }
            map.push(IdMapping { container_id, host_id, size });
        }
    }
    Some(parsed)
}
