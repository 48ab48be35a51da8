//! Which hierarchies the host has: see cgroups(7), "Cgroups version 1" and "/proc/[pid]/cgroup".

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use orlop_sys::Errno;
use orlop_sys::fs::{self, magic};

use crate::error::Error;
use crate::io;
use crate::path::{CgroupPath, clean};
use crate::plan::Controller;

/// Which versions are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// v2 alone.
    Unified,
    /// v1 alone.
    Legacy,
    /// v1 with a cgroup2 mount beside it, which has the controllers that v1 does not.
    Hybrid,
}

/// A hierarchy's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hierarchy {
    /// Its version.
    pub version: Version,
    /// Where it is mounted.
    pub mount: String,
    /// v1: the controllers and the name (`name=systemd`) mounted there. v2: empty.
    pub controllers: Vec<Controller>,
    /// The caller's own cgroup below the mount point, without slashes around it; `None` where it lies
    /// outside of what is mounted.
    pub own: Option<String>,
}

impl Hierarchy {
    /// The controllers that v2 offers below its mount point, between spaces; none where they cannot be read.
    pub fn offered(&self) -> String {
        let text = io::read_path(&alloc::format!("{}/cgroup.controllers", self.mount));
        text.map_or_else(|_| String::new(), |text| text.trim_end().into())
    }

    /// Where `path` lies in this hierarchy.
    pub(crate) fn locate(&self, mode: Mode, path: &CgroupPath) -> Result<String, Error> {
        let own = match (path.is_absolute(), self.version) {
            (true, _) => "",
            (false, Version::V1) => self.own.as_deref().ok_or(OUTSIDE)?,
            // The caller's own cgroup has processes, so its children cannot get controllers; its parent may.
            (false, Version::V2) if mode == Mode::Unified => {
                let own = self.own.as_deref().ok_or(OUTSIDE)?;
                own.rsplit_once('/').map_or("", |(parent, _)| parent)
            }
            // runc puts the v2 side of a hybrid host below the mount point whatever the own cgroup is.
            (false, Version::V2) => "",
        };
        let mut place = String::with_capacity(self.mount.len() + own.len() + path.as_str().len() + 2);
        for part in [self.mount.as_str(), own, path.as_str()] {
            if !part.is_empty() {
                if !place.is_empty() && !place.ends_with('/') {
                    place.push('/');
                }
                place.push_str(part);
            }
        }
        Ok(place)
    }
}

const OUTSIDE: Error = Error::Layout("the own cgroup lies outside of the mounted hierarchy");

/// What is mounted, and where the caller is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Which versions.
    pub mode: Mode,
    /// The hierarchies; that of v2 last.
    pub hierarchies: Vec<Hierarchy>,
}

/// v1 hierarchies that a container joins; others, such as another init system's, are left alone.
const JOINED: [Controller; 15] = [
    Controller::CPUSET,
    Controller::DEVICES,
    Controller::MEMORY,
    Controller::CPU,
    Controller::CPUACCT,
    Controller::PIDS,
    Controller::BLKIO,
    Controller::HUGETLB,
    Controller::NET_CLS,
    Controller::NET_PRIO,
    Controller::PERF_EVENT,
    Controller::FREEZER,
    Controller::RDMA,
    Controller::MISC,
    Controller::SYSTEMD,
];

impl Layout {
    /// Looks at the host: one statfs(2) and a read of /proc/self/cgroup where v2 is alone, otherwise
    /// /proc/self/mountinfo as well.
    pub fn probe() -> Result<Layout, Error> {
        io::count::tick(1);
        let own = io::read_piece("/proc/self/cgroup").map_err(|errno| failed("/proc/self/cgroup", errno))?;
        match fs::fs_magic_at(c"/sys/fs/cgroup") {
            Ok(magic::CGROUP2) => return Ok(Layout::unified("/sys/fs/cgroup", &own)),
            // v1, or somewhere else.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let path = "/sys/fs/cgroup".into();
                return Err(Error::Call { call: "statfs", path, value: None, errno, origin: None });
            }
        }
        Layout::parse(&read("/proc/self/mountinfo")?, &own)
    }

    /// The layout of a host with v2 alone, mounted at `mount`, from the text of /proc/self/cgroup.
    pub fn unified(mount: &str, own: &str) -> Layout {
        Layout {
            mode: Mode::Unified,
            hierarchies: vec![Hierarchy {
                version: Version::V2,
                mount: mount.into(),
                controllers: Vec::new(),
                own: own_cgroup(own, "", "/"),
            }],
        }
    }

    /// The layout that the texts of /proc/self/mountinfo and /proc/self/cgroup describe.
    pub fn parse(mountinfo: &str, own: &str) -> Result<Layout, Error> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut v2: Option<Hierarchy> = None;
        for line in mountinfo.lines() {
            // proc(5): id parent dev root mountpoint options [tags] - type source super-options
            let mut fields = line.split(' ');
            let (Some(root), Some(mount)) = (fields.nth(3), fields.next()) else {
                continue;
            };
            let mut tail = fields.skip_while(|field| *field != "-").skip(1);
            let kind = tail.next();
            let options = tail.nth(1).unwrap_or_default();
            match kind {
                Some("cgroup2") if v2.is_none() => {
                    v2 = Some(Hierarchy {
                        version: Version::V2,
                        mount: unescape(mount),
                        controllers: Vec::new(),
                        own: own_cgroup(own, "", &unescape(root)),
                    });
                }
                Some("cgroup") => {
                    let known = |name: &&Controller| options.split(',').any(|o| o == name.as_str());
                    let controllers: Vec<_> = JOINED.iter().filter(known).cloned().collect();
                    let seen = |c: &Controller| hierarchies.iter().any(|h| h.controllers.contains(c));
                    let Some(first) = controllers.first() else {
                        continue;
                    };
                    // The same hierarchy can be mounted in several places.
                    if !seen(first) {
                        hierarchies.push(Hierarchy {
                            version: Version::V1,
                            mount: unescape(mount),
                            own: own_cgroup(own, first.as_str(), &unescape(root)),
                            controllers,
                        });
                    }
                }
                _ => {}
            }
        }
        let mode = match (hierarchies.is_empty(), v2.is_some()) {
            (true, true) => Mode::Unified,
            (true, false) => return Err(Error::Layout("no cgroup mount found in mountinfo")),
            (false, true) => Mode::Hybrid,
            (false, false) => Mode::Legacy,
        };
        hierarchies.extend(v2);
        Ok(Layout { mode, hierarchies })
    }
}

fn read(path: &'static str) -> Result<String, Error> {
    io::read_path(path).map_err(|errno| failed(path, errno))
}

fn failed(path: &str, errno: Errno) -> Error {
    Error::Call { call: "read", path: path.into(), value: None, errno, origin: None }
}

/// The caller's cgroup in the hierarchy of `controller` (none for v2), below a mount of `root`.
fn own_cgroup(text: &str, controller: &str, root: &str) -> Option<String> {
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let list = fields.next()?;
        let path = fields.next()?;
        list.split(',').any(|name| name == controller).then_some(path)
    })?;
    // In a container without a cgroup namespace the mount shows a part only, while /proc tells the whole.
    let below = match root {
        "/" => path,
        root => path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))?,
    };
    (!below.split('/').any(|part| part == "..")).then(|| clean(below))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                out.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use std::format;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /mnt/a\\040b rw,relatime - cgroup cgroup rw,memory
37 31 0:33 / /sys/fs/cgroup/elogind rw,relatime - cgroup cgroup rw,name=elogind
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "5:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/x\n0::/u/v\n";

    /// One line a hierarchy: where an absolute and a relative cgroup lie.
    fn places(layout: &Layout) -> String {
        let mut out = format!("{:?}\n", layout.mode);
        for h in &layout.hierarchies {
            let names: Vec<_> = h.controllers.iter().map(|c| c.as_str()).collect();
            let place = |path| h.locate(layout.mode, &path).unwrap_or_else(|e| e.to_string());
            out += &format!(
                "{} {} {}\n",
                names.join(","),
                place(CgroupPath::Absolute("p/q".into())),
                place(CgroupPath::Relative("r".into())),
            );
        }
        out
    }

    #[test]
    fn layouts() {
        let v1_in_container = "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for (layout, want) in [
            (
                Layout::parse(HYBRID, OWN),
                "Hybrid
cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct/p/q /sys/fs/cgroup/cpu,cpuacct/x/r
memory /sys/fs/cgroup/memory/p/q /sys/fs/cgroup/memory/a/b/r
name=systemd /sys/fs/cgroup/systemd/p/q /sys/fs/cgroup/systemd/r
 /sys/fs/cgroup/unified/p/q /sys/fs/cgroup/unified/r
",
            ),
            (
                Ok(Layout::unified("/sys/fs/cgroup", "0::/user.slice/s.scope\n")),
                "Unified\n /sys/fs/cgroup/p/q /sys/fs/cgroup/user.slice/r\n",
            ),
            (Ok(Layout::unified("/sys/fs/cgroup", "0::/\n")), "Unified\n /sys/fs/cgroup/p/q /sys/fs/cgroup/r\n"),
            (
                Layout::parse(v1_in_container, "4:memory:/docker/abc/in\n"),
                "Legacy\nmemory /sys/fs/cgroup/memory/p/q /sys/fs/cgroup/memory/in/r\n",
            ),
            (
                Layout::parse(v1_in_container, "4:memory:/docker/abcd\n"),
                "Legacy\nmemory /sys/fs/cgroup/memory/p/q the own cgroup lies outside of the mounted hierarchy\n",
            ),
            (Layout::parse("1 0 0:1 / /cg\\134x rw - cgroup2 none rw\n", "0::/a\n"), "Unified\n /cg\\x/p/q /cg\\x/r\n"),
        ] {
            assert_eq!(layout.map(|l| places(&l)).as_deref(), Ok(want));
        }
        assert!(Layout::parse("", OWN).is_err());
    }

    #[test]
    fn this_host() {
        match Layout::probe() {
            Ok(layout) => assert!(!layout.hierarchies.is_empty()),
            Err(error) => std::eprintln!("skipped: {error}"),
        }
    }
}
