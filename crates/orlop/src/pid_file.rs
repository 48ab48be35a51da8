//! The file that a process's pid is left in.

use alloc::ffi::CString;
use alloc::format;
use core::ffi::CStr;

use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::Pid;
use orlop_sys::{CWD, Errno};

use crate::error::{Error, Result};

/// Whoever reads the file reads all of it or finds none: it is written without a name, and then gets one. Killed on
/// the way we leave nothing.
pub(crate) fn write(path: &CStr, pid: Pid) -> Result<()> {
    let failed = |call| {
        let path = path.to_string_lossy().into_owned();
        move |errno| Error::system(call, format!("the pid file {path}"), errno)
    };
    let bytes = path.to_bytes();
    let name_at = bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let (directory, name) = bytes.split_at_checked(name_at).unwrap_or((b"", bytes));
    let text = format!("{pid}");
    let above = CString::new(if directory.is_empty() { b"." } else { directory })
        .map_err(|_| failed("openat")(Errno::INVAL))?;
    match fs::open_at(CWD, &above, OFlags::WRONLY | OFlags::TMPFILE, 0o644) {
        Ok(file) => {
            fs::write_all(&file, text.as_bytes()).map_err(failed("write"))?;
            return match fs::link_file(&file, CWD, path) {
                Err(Errno::EXIST) => {
                    fs::unlink_at(CWD, path, AtFlags::NONE).map_err(failed("unlinkat"))?;
                    fs::link_file(&file, CWD, path)
                }
                done => done,
            }
            .map_err(failed("linkat"));
        }
        // Some file systems have no files without names: NFS, and overlayfs before Linux 6.1. A kernel older than
        // all of them takes the flag for an attempt to write to the directory.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        Err(errno) => return Err(failed("openat")(errno)),
    }
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
