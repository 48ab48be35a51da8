//! The file that a process's pid is left in, and what is left of one that was being written.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{self, Pid};
use orlop_sys::{CWD, Errno};

use crate::error::{Error, Result};
use crate::state::{c_string, read_all};

/// Writes it. Whoever reads the file reads all of it or finds none: it is written without a name, and then gets one. Killed on
/// the way we leave nothing.
pub(crate) fn write(path: &CStr, pid: Pid) -> Result<()> {
    let failed = |call| move |errno| failed(path, call, errno);
    let bytes = path.to_bytes();
    let name_at = bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let (directory, name) = bytes.split_at_checked(name_at).unwrap_or((b"", bytes));
    let text = format!("{pid}");
    let above = CString::new(if directory.is_empty() { b"." } else { directory })
        .map_err(|_| failed("openat")(Errno::INVAL))?;
    let file = match fs::open_at(CWD, &above, OFlags::WRONLY | OFlags::TMPFILE, 0o644) {
        Ok(file) => file,
        // Some file systems have no files without names: NFS, and overlayfs before Linux 6.1. A kernel older than
        // all of them takes the flag for an attempt to write to the directory.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => return write_beside(path, (directory, name), &text),
        Err(errno) => return Err(failed("openat")(errno)),
    };
    fs::write_all(&file, text.as_bytes()).map_err(failed("write"))?;
    match fs::link_file(&file, CWD, path) {
        Err(Errno::EXIST) => {
            fs::unlink_at(CWD, path, AtFlags::NONE).map_err(failed("unlinkat"))?;
            fs::link_file(&file, CWD, path)
        }
        done => done,
    }
    .map_err(failed("linkat"))
}

/// The same by way of a file `.NAME.PID`, which [`partial`] knows.
fn write_beside(path: &CStr, (directory, name): (&[u8], &[u8]), text: &str) -> Result<()> {
    let failed = |call| move |errno| failed(path, call, errno);
    let beside = [directory, b".", name, b".", text.as_bytes()].concat();
    let beside = CString::new(beside).map_err(|_| failed("openat")(Errno::INVAL))?;
    let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = fs::open_at(CWD, &beside, flags, 0o644).map_err(failed("openat"))?;
    let written = fs::write_all(&file, text.as_bytes())
        .map_err(failed("write"))
        .and_then(|()| fs::rename_at(CWD, &beside, CWD, path).map_err(failed("renameat2")));
    if written.is_err() {
        // The first error is the one to report.
        let _gone = fs::unlink_at(CWD, &beside, AtFlags::NONE);
    }
    written
}

fn failed(path: &CStr, call: &'static str, errno: Errno) -> Error {
    Error::system(call, format!("the pid file {}", path.to_string_lossy()), errno)
}

/// Files `.NAME.PID` in a bundle that hold no more than the beginning of that PID, of no living process: those of
/// [`write_beside`], killed before it had renamed them.
pub(crate) fn partial(bundle: &str) -> Result<Vec<(String, Pid)>> {
    let mut found = Vec::new();
    let path = c_string(bundle)?;
    let Ok(dir) = fs::open_at(CWD, &path, OFlags::DIRECTORY, 0) else {
        // The bundle is gone, and all in it.
        return Ok(found);
    };
    let mut buf = alloc::vec![0u8; 16384];
    loop {
        let n = fs::read_dir(&dir, &mut buf)
            .map_err(|errno| Error::system("getdents64", format!("bundle {bundle}"), errno))?;
        if n == 0 {
            return Ok(found);
        }
        for (name, _) in fs::entries(buf.get(..n).unwrap_or_default()) {
            let Some((name, pid)) = name.to_str().ok().and_then(|text| Some((text, pid_of(text)?))) else {
                continue;
            };
            let path = format!("{bundle}/{name}");
            let c_path = c_string(&path)?;
            let text = fs::open_at(CWD, &c_path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, 0)
                .and_then(|file| read_all(&file));
            let ours = text.is_ok_and(|text| pid.to_string().as_bytes().starts_with(&text));
            if ours && process::kill(pid, 0) == Err(Errno::SRCH) {
                found.push((path, pid));
            }
        }
    }
}

/// The number that a file name of the form `.NAME.PID` ends with.
fn pid_of(name: &str) -> Option<Pid> {
    let (front, digits) = name.rsplit_once('.')?;
    let pid: Pid = digits.parse().ok()?;
    (front.len() > 1 && front.starts_with('.') && pid > 0 && pid.to_string() == digits).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partial_pid_files() {
        for (name, pid) in [
            (".pid.12", Some(12)),
            (".init.pid.7", Some(7)),
            ("pid.12", None),
            (".12", None),
            (".pid.012", None),
            (".pid.-3", None),
            (".pid.x", None),
        ] {
            assert_eq!(pid_of(name), pid, "{name}");
        }
    }
}
