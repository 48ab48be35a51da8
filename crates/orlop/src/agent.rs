//! The seccomp agent: the process outside that is handed the listener of a filter, and told whose it is.

use alloc::format;
use core::ffi::CStr;

use orlop_init::step::Text;
use orlop_sys::net::SocketType;
use orlop_sys::process::Pid;
use orlop_sys::{OwnedFd, net};

use crate::config::{ContainerProcessState, Document, Layout, SECCOMP_FD_NAME, SPEC_VERSION, State, Str};
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::socket;

/// Offers a seccomp listener to the process at `path`, and tells it whose it is.
pub(crate) fn offer(
    listener: &OwnedFd,
    plan: &Plan,
    pid: Pid,
    (path, metadata): (Text, Text),
    state: State<'_>,
) -> Result<()> {
    let blob = plan.strings.blob();
    let text = |text| blob.text(text).unwrap_or_default();
    let process = ContainerProcessState {
        oci_version: Str::new(SPEC_VERSION),
        fds: alloc::vec![Str::new(SECCOMP_FD_NAME)],
        pid,
        metadata: text(metadata).to_string_lossy().into_owned().into(),
        state,
    };
    hand_over(listener, text(path), &process.to_json(Layout::Compact))
}

/// Sends a seccomp listener to the process that is to serve it.
fn hand_over(listener: &OwnedFd, path: &CStr, process: &str) -> Result<()> {
    let shown = path.to_string_lossy();
    let what = |what: &str| format!("{what} seccomp agent specified in the seccomp profile: {shown}");
    let failed = |call, text: &str, errno| Error::system(call, what(text), errno);
    let socket = socket::dial(SocketType::Stream, path, |call, errno| failed(call, "failed to connect with", errno))?;
    match net::send(&socket, process.as_bytes(), &[listener.borrow()]) {
        Ok(n) if n == process.len() => Ok(()),
        Ok(_) => Err(Error::new(Kind::System, what("sent half of the container's state to"))),
        Err(errno) => Err(failed("sendmsg", "cannot send the seccomp listener to", errno)),
    }
}
