//! The kernel's text formats.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::Errno;

use super::{IoEntry, Pressure, RdmaEntry, Stall};
use crate::error::Error;
use crate::io::{At, Bin};

/// The files of one directory.
pub(super) struct Files<'a> {
    pub(super) at: At<'a>,
    pub(super) bin: &'a mut Bin,
}

impl Files<'_> {
    /// The text of a file; `None` where the kernel or the cgroup has not got it, or does not serve it
    /// (EOPNOTSUPP of a switched-off pressure file).
    pub(super) fn text(&mut self, file: &str) -> Result<Option<String>, Error> {
        match self.at.read(file, self.bin) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::Call { call: "read", path: self.at.join(file), value: None, errno, origin: None }),
        }
    }

    /// What `parse` makes of a file; a text that it refuses is an error.
    pub(super) fn get<T>(&mut self, file: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(text) = self.text(file)? else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Parse { path: self.at.join(file), text }),
        }
    }

    /// A number, 0 where there is no file.
    pub(super) fn number(&mut self, file: &str) -> Result<u64, Error> {
        Ok(self.get(file, number)?.unwrap_or_default())
    }
}

/// A number, `max` being the largest.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim_end() {
        "max" => Some(u64::MAX),
        // Old kernels print a size of -1 page this way.
        "-1" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// Lines of `key value`.
pub(super) fn pairs(text: &str) -> Option<BTreeMap<String, u64>> {
    text.lines()
        .map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.into(), number(value)?))
        })
        .collect()
}

/// Numbers between spaces.
pub(super) fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|n| n.parse().ok()).collect()
}

/// A list such as `0-2,7`.
pub(super) fn list(text: &str) -> Option<Vec<u16>> {
    let mut out = Vec::new();
    for part in text.trim_end().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        if from > to {
            return None;
        }
        out.extend(from..=to);
    }
    Some(out)
}

/// Lines of v1's blkio files: `8:0 Read 4096`, `8:0 17`, and a `Total 4096` to pass over.
pub(super) fn blkio(text: &str) -> Option<Vec<IoEntry>> {
    let mut out = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split([' ', ':']).filter(|f| !f.is_empty()).collect();
        let (major, minor, op, value) = match fields.as_slice() {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, *op, value),
            _ => return None,
        };
        out.push(IoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.into(),
            value: value.parse().ok()?,
        });
    }
    Some(out)
}

/// `io.stat` of v2: bytes and operations. A device without traffic may have nothing after its number.
pub(super) fn io_stat(text: &str) -> Option<(Vec<IoEntry>, Vec<IoEntry>)> {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            list.push(IoEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: op.into(),
                value: value.parse().ok()?,
            });
        }
    }
    Some((bytes, operations))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let mut out = Pressure::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let mut stall = Stall::default();
        for field in rest.split(' ') {
            match field.split_once('=')? {
                ("avg10", n) => stall.avg10 = n.parse().ok()?,
                ("avg60", n) => stall.avg60 = n.parse().ok()?,
                ("avg300", n) => stall.avg300 = n.parse().ok()?,
                ("total", n) => stall.total = n.parse().ok()?,
                _ => {}
            }
        }
        match kind {
            "some" => out.some = stall,
            "full" => out.full = stall,
            _ => {}
        }
    }
    Some(out)
}

/// `mlx4_0 hca_handle=2 hca_object=max`.
pub(super) fn rdma(text: &str) -> Option<Vec<RdmaEntry>> {
    let entry = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let mut entry = RdmaEntry { device: fields.next()?.into(), ..RdmaEntry::default() };
        for field in fields {
            let (key, value) = field.split_once('=')?;
            let value = if value == "max" { u32::MAX } else { value.parse().ok()? };
            match key {
                "hca_handle" => entry.hca_handles = value,
                "hca_object" => entry.hca_objects = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().map(entry).collect()
}

/// `cpu user system` and a line for each cpu: the times in the kernel, and those of users.
pub(super) fn usage_all(text: &str) -> Option<(Vec<u64>, Vec<u64>)> {
    let mut lines = text.lines();
    if !lines.next()?.starts_with("cpu user system") {
        return None;
    }
    let (mut kernel, mut user) = (Vec::new(), Vec::new());
    for line in lines {
        let mut fields = line.split(' ').skip(1);
        user.push(fields.next()?.parse().ok()?);
        kernel.push(fields.next()?.parse().ok()?);
    }
    Some((kernel, user))
}

/// The name that the hugetlb files have for a folder of /sys/kernel/mm/hugepages (`hugepages-2048kB`).
pub(super) fn page_size(folder: &str) -> Option<String> {
    let kb: u64 = folder.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kb {
        0x10_0000.. => alloc::format!("{}GB", kb >> 20),
        0x400.. => alloc::format!("{}MB", kb >> 10),
        _ => alloc::format!("{kb}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, vec};

    #[test]
    fn formats() {
        assert_eq!(number("max\n"), Some(u64::MAX));
        assert_eq!(number("12\n"), Some(12));
        assert_eq!(number("x"), None);
        assert_eq!(list("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list("\n"), Some(vec![]));
        assert_eq!(list("2-1"), None);
        assert_eq!(numbers("1 2 \n"), Some(vec![1, 2]));
        assert_eq!(pairs("a 1\nb 2\n").unwrap().len(), 2);
        assert_eq!(pairs("a\n"), None);
        assert_eq!(usage_all("cpu user system\n0 1 2\n1 3 4\n"), Some((vec![2, 4], vec![1, 3])));
        for (folder, want) in [
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("hugepages-64kB", Some("64KB")),
            ("other", None),
        ] {
            assert_eq!(page_size(folder).as_deref(), want);
        }
    }

    /// A device list, printed short.
    fn show(entries: &[IoEntry]) -> String {
        let show = |e: &IoEntry| format!("{}:{} {} {}\n", e.major, e.minor, e.op, e.value);
        entries.iter().map(show).collect()
    }

    #[test]
    fn devices() {
        let text = "8:0 Read 10\n8:0 Total 10\nTotal 10\n8:16 4\n";
        assert_eq!(show(&blkio(text).unwrap()), "8:0 Read 10\n8:0 Total 10\n8:16  4\n");
        assert_eq!(blkio("rubbish"), None);
        let text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1\n";
        let (bytes, operations) = io_stat(text).unwrap();
        assert_eq!(show(&bytes), "8:0 Read 1\n8:0 Write 2\n");
        assert_eq!(show(&operations), "8:0 Read 3\n8:0 Write 4\n");
        let rdma = rdma("mlx4_0 hca_handle=2 hca_object=max\n").unwrap();
        assert_eq!((rdma[0].hca_handles, rdma[0].hca_objects), (2, u32::MAX));
    }

    #[test]
    fn pressures() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let pressure = pressure(text).unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.avg60, pressure.some.total), (1.5, 0.25, 77));
        assert_eq!(pressure.full.total, 9);
    }
}
