//! What criu has to be told of the host and of the container, and what its log says.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::{Dir, Mode, Version};
use orlop_sys::fs::{self, AtFlags, FileType, OFlags, Resolve};
use orlop_sys::process::{self, Pid};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd};

use crate::config::{Config, NamespaceKind};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::path;
use crate::plan::options::MountOptions;
use crate::state::{c_string, read_all, read_to_end};

/// A directory that criu works in.
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: String,
}

/// Whether a missing directory is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MakeImages {
    /// It is, for its owner alone.
    Yes,
    /// It is, and root of a user namespace may pass through: criu's processes in there look for images.
    Traversable,
    /// It is not.
    No,
}

impl Directory {
    pub(super) fn open(path: &CStr, what: &str, make: MakeImages) -> Result<Directory> {
        let shown = path.to_string_lossy().into_owned();
        let failed = |call| {
            let what = format!("the directory {shown} for criu's {what}");
            move |errno| Error::system(call, what, errno)
        };
        let mode = if make == MakeImages::Traversable { 0o711 } else { 0o700 };
        if make != MakeImages::No {
            make_all(path, mode).map_err(failed("mkdirat"))?;
        }
        let fd = fs::open_at(CWD, path, OFlags::DIRECTORY, 0).map_err(failed("openat"))?;
        Ok(Directory { fd, path: shown })
    }

    /// The same directory in another mount namespace: criu makes mounts where it works, and that is here.
    #[allow(unsafe_code)] // a look into that namespace
    pub(crate) fn within(&mut self, namespace: BorrowedFd<'_>) -> Result<()> {
        let shown = self.path.clone();
        let failed = |call| move |errno| Error::system(call, format!("criu's directory {shown}"), errno);
        let mut path = alloc::vec![0u8; 4096];
        let link = c_string(&format!("/proc/self/fd/{}", self.fd.as_raw()))?;
        let n = fs::readlink_at(CWD, &link, &mut path).map_err(failed.clone()("readlinkat"))?;
        path.truncate(n);
        let path = alloc::ffi::CString::new(path).map_err(|_| failed.clone()("readlinkat")(Errno::INVAL))?;
        let mut opened = None;
        let mut work = || {
            opened = Some(fs::open_at(CWD, &path, OFlags::DIRECTORY, 0)?);
            Ok(())
        };
        // SAFETY: `work` makes system calls, and nothing else.
        unsafe { process::in_mount_namespace(namespace, &mut work) }.map_err(failed("openat"))?;
        self.fd = opened.ok_or_else(|| Error::new(Kind::System, "no directory was opened"))?;
        Ok(())
    }

    /// The lines of criu's log that tell of errors, as runc quotes them; adds them to `error` with the log's place.
    pub(crate) fn with_log(&self, error: Error, log: &str) -> Error {
        const LINES: usize = 5;
        let name = c_string(log).unwrap_or_default();
        let text = fs::open_at(&self.fd, &name, OFlags::RDONLY, 0).and_then(|file| read_all(&file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
        let known = HINTS.iter().find(|(words, _)| lines.iter().any(|line| line.contains(words)));
        let known = known.map_or_else(String::new, |(_, hint)| format!("{hint}; "));
        let place = format!("{known}log file: {}/{log}", self.path);
        if lines.is_empty() {
            return error.hint(place);
        }
        let first = lines.len().saturating_sub(LINES);
        let quoted = lines.get(first..).unwrap_or_default().join("; ");
        error.more(&quoted).hint(place)
    }

    /// Writes a file of ours beside the images.
    pub(crate) fn write(&self, name: &CStr, text: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::TRUNC;
        let written = fs::open_at(&self.fd, name, flags, 0o600).and_then(|file| fs::write_all(&file, text));
        written.map_err(|errno| Error::system("write", format!("{}/{}", self.path, name.to_string_lossy()), errno))
    }

    /// Reads it again: a container that was saved by another runtime may come without.
    pub(crate) fn read(&self, name: &CStr) -> Result<Option<Vec<u8>>> {
        match fs::open_at(&self.fd, name, OFlags::RDONLY, 0).and_then(|file| read_all(&file)) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system("read", format!("{}/{}", self.path, name.to_string_lossy()), errno)),
        }
    }
}

fn make_all(path: &CStr, mode: u32) -> orlop_sys::Result<()> {
    let bytes = path.to_bytes();
    let ends = bytes.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
    for end in ends.chain([bytes.len()]) {
        let part = alloc::ffi::CString::new(bytes.get(..end).unwrap_or_default()).map_err(|_| Errno::INVAL)?;
        match fs::mkdir_at(CWD, &part, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether a path below a directory is one itself.
pub(crate) fn is_directory(directory: &Directory, path: &CStr) -> orlop_sys::Result<()> {
    let stat = fs::stat_at(&directory.fd, path, AtFlags::NONE)?;
    if stat.is_dir() { Ok(()) } else { Err(Errno::NOTDIR) }
}

/// What a pipe's name begins with.
pub(crate) const PIPE: &str = "pipe:";
/// And a file's that lies outside of the container.
pub(crate) const EXTERNAL_FILE: &str = "file[";

/// And a terminal's.
pub(crate) const TERMINAL: &str = "tty[";

/// The major numbers of terminals: consoles, and the programs' ends of ptys; see devices.txt of the kernel.
const TERMINALS: [u32; 10] = [4, 5, 136, 137, 138, 139, 140, 141, 142, 143];

/// The container's standard input, output and error, by the names that criu knows them by: they come from outside,
/// and others take their place when it is restored. Kept beside the images, as runc keeps them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptors(pub(crate) Vec<String>);

impl Descriptors {
    pub(crate) const FILE: &CStr = c"descriptors.json";

    /// Those of a process.
    pub(crate) fn of(pid: Pid, shell_job: bool) -> Result<Descriptors> {
        let mounts = read_text(&format!("/proc/{pid}/mountinfo"))?;
        let name = |fd: u32| -> Result<String> {
            let link = c_string(&format!("/proc/{pid}/fd/{fd}"))?;
            let mut buf = [0u8; 4096];
            let n = match fs::readlink_at(CWD, &link, &mut buf) {
                Ok(n) => n,
                Err(Errno::NOENT) => return Ok(String::new()),
                Err(errno) => return Err(Error::system("readlinkat", link.to_string_lossy().into_owned(), errno)),
            };
            let target = String::from_utf8_lossy(buf.get(..n).unwrap_or_default()).into_owned();
            if !target.starts_with('/') {
                return Ok(target);
            }
            let info = read_text(&format!("/proc/{pid}/fdinfo/{fd}"))?;
            let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim();
            if mounts.lines().any(|line| line.split(' ').next() == Some(mount)) {
                return Ok(target);
            }
            let stat = fs::stat_at(CWD, &link, AtFlags::NONE);
            let stat = stat.map_err(|errno| Error::system("statx", target.clone(), errno))?;
            if stat.file_type() == FileType::Character && TERMINALS.contains(&stat.rdev.0) {
                // criu would save it, and not be able to restore it.
                if !shell_job {
                    let what = format!("the container has its caller's terminal {target} as descriptor {fd}");
                    return Err(Error::not_supported(what).hint("--shell-job saves it: restore's caller gives another"));
                }
                return Ok(format!("{TERMINAL}{:x}:{:x}]", number(stat.rdev), number(stat.dev)));
            }
            Ok(format!("{EXTERNAL_FILE}{:x}:{:x}]", mount.parse().unwrap_or(0u32), stat.ino))
        };
        (0..3).map(name).collect::<Result<Vec<String>>>().map(Descriptors)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings always have a JSON form.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// An image is not to be trusted: three names, and nothing else.
    pub(crate) fn parse(text: &[u8]) -> Result<Descriptors> {
        let names: Vec<String> = serde_json::from_slice(text).map_err(|error| {
            let what = format!("reading {}: {error}", Descriptors::FILE.to_string_lossy());
            Error::new(Kind::System, what)
        })?;
        Ok(Descriptors(names.into_iter().take(3).collect()))
    }
}

/// A device's number as stat(2) of the C library has it, which criu goes by; see makedev(3).
fn number((major, minor): (u32, u32)) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & !0xfff) << 32 | (major & 0xfff) << 8 | (minor & !0xff) << 12 | minor & 0xff
}

fn read_text(path: &str) -> Result<String> {
    let text = fs::open_at(CWD, &c_string(path)?, OFlags::RDONLY, 0).and_then(|file| read_to_end(&file));
    let text = text.map_err(|errno| Error::system("read", String::from(path), errno))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What to do about words of criu's that do not say so themselves.
const HINTS: &[(&str, &str)] = &[(
    "Abort restore of existing cgroups",
    "the container's cgroup is there before criu comes, which --manage-cgroups-mode strict does not allow",
)];

/// The cgroups of a process, as criu names them: controller and path.
pub(crate) fn cgroup_roots(pid: Pid) -> Result<Vec<(String, String)>> {
    let text = read_text(&format!("/proc/{pid}/cgroup"))?;
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        roots.extend(controllers.split(',').map(|controller| (controller.into(), path.into())));
    }
    Ok(roots)
}

/// The mounts that criu is not to save, but to find outside: where each is in the container, and what it is a copy of.
pub(crate) fn external_mounts(
    config: &Config<'_>,
    host: &Host,
    bundle: &str,
    rootfs: &str,
    dirs: &[Dir],
) -> Result<Vec<(String, String)>> {
    let root = fs::open_at(CWD, &c_string(rootfs)?, OFlags::PATH | OFlags::DIRECTORY, 0)
        .map_err(|errno| Error::system("openat", format!("rootfs {rootfs}"), errno))?;
    let mut all = Vec::new();
    for mount in &config.mounts {
        let destination = path::clean_absolute(&mount.destination);
        let inside = destination.strip_prefix(rootfs).filter(|rest| rest.starts_with('/'));
        let place = inside_root(&root, inside.unwrap_or(&destination))?;
        let options = MountOptions::of(mount);
        if options.bind.is_some() {
            all.push((place, path::join(bundle, &mount.source)));
        } else if mount.kind == "cgroup"
            && host.cgroups.mode != Mode::Unified
            && !config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Cgroup)
        {
            // Copies of the host's hierarchies, as the planner has them.
            for hierarchy in host.cgroups.hierarchies.iter().filter(|h| h.version == Version::V1) {
                let len = hierarchy.mount.len();
                let own = dirs.iter().find(|dir| dir.path.starts_with(&hierarchy.mount) && dir.mount_len == len);
                let source = own.map_or(&hierarchy.mount, |dir| &dir.path);
                all.push((format!("{place}/{}", path::file_name(&hierarchy.mount)), source.clone()));
            }
        }
    }
    let devices = crate::plan::DEFAULT_DEVICES.iter().map(|(path, ..)| *path);
    let devices = devices.chain(config.linux.devices.iter().map(|device| device.path.as_str()));
    all.extend(devices.map(|device| (String::from(device), String::from(device))));
    Ok(all)
}

/// A path of the container without the links on it, as its mount table shows it.
pub(crate) fn inside_root(root: &OwnedFd, path: &str) -> Result<String> {
    const LINKS: u32 = 40;
    let mut left: Vec<String> = path.split('/').rev().map(String::from).collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let here = c_string(&done.join("/"))?;
        let resolve = Resolve::IN_ROOT | Resolve::NO_MAGICLINKS;
        let Ok(file) = fs::open_at2(root, &here, OFlags::PATH | OFlags::NOFOLLOW, 0, resolve) else { continue };
        let failed = |call| move |errno| Error::system(call, String::from(path), errno);
        if fs::stat(&file).map_err(failed("statx"))?.file_type() != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(failed("readlinkat")(Errno::LOOP));
        }
        let mut buf = [0u8; 4096];
        let n = fs::readlink_at(&file, c"", &mut buf).map_err(failed("readlinkat"))?;
        let target = String::from_utf8_lossy(buf.get(..n).unwrap_or_default()).into_owned();
        done.pop();
        if target.starts_with('/') {
            done.clear();
        }
        left.extend(target.split('/').rev().map(String::from));
    }
    Ok(format!("/{}", done.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_three() {
        let text = br#"["pipe:[1]", "file[1a:2b]", "/dev/null", "pipe:[9]"]"#;
        assert_eq!(Descriptors::parse(text).unwrap().0, ["pipe:[1]", "file[1a:2b]", "/dev/null"]);
        assert!(Descriptors::parse(b"{}").is_err());
        assert!(Descriptors::parse(b"[1]").is_err());
    }

    #[test]
    fn links_are_followed_inside() {
        let dir = std::env::temp_dir().join(format!("orlop-criu-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        for (name, to) in [("abs", "/a"), ("up", "../../../a/b"), ("a/self", "."), ("loop", "loop")] {
            std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
        }
        let root = c_string(dir.to_str().unwrap()).unwrap();
        let root = fs::open_at(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, 0).unwrap();
        for (path, expected) in [
            ("/abs/b", "/a/b"),
            ("/up/missing/x", "/a/b/missing/x"),
            ("/a/self/self/b", "/a/b"),
            ("/abs/../abs", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(inside_root(&root, path).unwrap(), expected, "{path}");
        }
        assert!(inside_root(&root, "/loop").is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
