//! `checkpoint` and `restore`.

use liballoc::borrow::ToOwned;
use liballoc::ffi::CString;
use liballoc::format;
use liballoc::string::ToString;

use orlop::criu::{Criu, CriuOptions};
use orlop::plan::RootChange;
use orlop::{CheckpointOptions, CreateOptions, PageServer, RestoreOptions};
use orlop_sys::fd::{self, OwnedFd};
use orlop_sys::fs::OFlags;

use crate::command::{self, Checkpoint, Restore};
use crate::control::look_up;
use crate::foreground;
use crate::log::Failure;
use crate::options::{Attendance, bundle, cgroup_manager, console, orphans, runtime, systemd};
use crate::run::{Context, Outcome};
use crate::verbs::warn;

fn criu(context: &Context<'_>, options: &command::CriuOptions) -> Result<CriuOptions, Failure> {
    let program = match context.global.criu {
        Some(path) => path.to_owned(),
        None => look_up(context.env.path, "criu").map_err(|_| {
            Failure::new("criu: executable file not found in $PATH")
                .field("hint", "checkpoint and restore need criu: Debian's package criu, or --criu PATH".to_owned())
        })?,
    };
    let env = context.args.env().map(ToOwned::to_owned).collect();
    Ok(CriuOptions { criu: Criu { program, env }, ..options.how.clone() })
}

pub(crate) fn checkpoint(context: &Context<'_>, options: &Checkpoint<'_>) -> Outcome {
    let container = runtime(context).container(options.id)?;
    let how = CheckpointOptions {
        criu: criu(context, &options.criu)?,
        parent: options.parent_path.map(ToOwned::to_owned),
        leave_running: options.leave_running,
        tcp_skip_in_flight: options.tcp_skip_in_flight,
        link_remap: options.link_remap,
        status: options.status_fd.map(status).transpose()?,
        page_server: options
            .page_server
            .as_ref()
            .map(|server| PageServer { address: server.address.to_owned(), port: server.port }),
        pre_dump: options.pre_dump,
    };
    warn(context, &container.checkpoint(how)?);
    Ok(0)
}

/// The caller's descriptor, which must be open for writing.
fn status(fd: i32) -> Result<OwnedFd, Failure> {
    let invalid = |why: &str| Failure::new(format!("invalid --status-fd argument {fd}: {why}"));
    if !fd::is_open(fd) {
        return Err(invalid("bad file descriptor"));
    }
    #[allow(unsafe_code)]
    // SAFETY: it is open, and nothing else here has it.
    let file = unsafe { OwnedFd::from_raw(fd) };
    let access = fd::status(&file).map_err(|errno| invalid(&errno.to_string()))?;
    if access.and(OFlags::WRONLY | OFlags::RDWR).is_empty() {
        return Err(invalid("not writable"));
    }
    fd::set_on_exec(&file, fd::OnExec::Close).map_err(|errno| invalid(&errno.to_string()))?;
    Ok(file)
}

pub(crate) fn restore(context: &Context<'_>, options: &Restore<'_>) -> Outcome {
    let attendance = if options.detach { Attendance::Detached } else { Attendance::Foreground };
    let how = RestoreOptions {
        criu: criu(context, &options.criu)?,
        create: CreateOptions {
            pid_file: options.pid_file.map(CString::from),
            root_change: if options.no_pivot { RootChange::Move } else { RootChange::Pivot },
            cgroup_manager: cgroup_manager(context),
            systemd: systemd(context)?,
            console: console(attendance, options.console_socket)?,
            orphans: orphans(attendance, options.no_subreaper),
            ..CreateOptions::default()
        },
        tcp_close: options.tcp_close,
        empty_network: options.criu.empty_network,
        lsm_profile: options.lsm_profile.map(ToOwned::to_owned),
        lsm_mount_context: options.lsm_mount_context.map(ToOwned::to_owned),
    };
    let bundle = bundle(options.bundle, None)?;
    if options.detach {
        let restored = runtime(context).restore(options.id, &bundle, &how)?;
        warn(context, restored.warnings());
        return Ok(0);
    }
    // Before there is a child that a signal could be meant for.
    let signals = foreground::Signals::take_over()?;
    let restored = runtime(context).restore(options.id, &bundle, &how)?;
    warn(context, restored.warnings());
    context.log.settle();
    drop(how);
    let (status, warnings) = foreground::attend_restored(restored, &signals)?;
    warn(context, &warnings);
    Ok(status)
}
