//! What was asked for on the command line, as the library takes it.

use core::ffi::CStr;

use liballoc::borrow::ToOwned;
use liballoc::format;
use liballoc::sync::Arc;

use orlop::plan::{Orphans, RootChange, SessionKeyring, exec};
use orlop::{Bundle, Bus, Console, CreateOptions, Runtime};
use orlop_sys::{OwnedFd, fd};

use crate::command::{CgroupManager, Create, Exec};
use crate::environment::listen_fds;
use crate::log::Failure;
use crate::run::Context;
use crate::terminal;

pub(crate) fn runtime(context: &Context<'_>) -> Runtime {
    let runtime = Runtime::new(&context.root.path);
    match &context.trace {
        Some(trace) => runtime.traced(trace.clone()),
        None => runtime,
    }
}

pub(crate) fn bundle(path: Option<&CStr>, config: Option<&CStr>) -> Result<Bundle, Failure> {
    Ok(Bundle::with_config(path.unwrap_or(c"."), config)?)
}

/// Who is there when the container's program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attendance {
    /// We are.
    Foreground,
    /// Nobody of us.
    Detached,
}

pub(crate) fn console(attendance: Attendance, socket: Option<&CStr>) -> Result<Console, Failure> {
    match (attendance, socket) {
        (Attendance::Foreground, None) => Ok(Console::Caller(terminal::own_size)),
        (Attendance::Foreground, Some(_)) => {
            Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"))
        }
        (Attendance::Detached, None) => Ok(Console::Nobody),
        (Attendance::Detached, Some(path)) => Ok(Console::Socket(Arc::new(orlop::console::connect(path)?))),
    }
}

/// Whoever stays reaps what the container's processes leave.
pub(crate) fn orphans(attendance: Attendance, no_subreaper: bool) -> Orphans {
    match attendance {
        Attendance::Foreground if !no_subreaper => Orphans::Callers,
        _ => Orphans::Elsewhere,
    }
}

pub(crate) fn pidfd_socket(path: Option<&CStr>) -> Result<Option<Arc<OwnedFd>>, Failure> {
    Ok(path.map(orlop::console::connect).transpose()?.map(Arc::new))
}

pub(crate) fn create_options(
    context: &Context<'_>,
    options: &Create<'_>,
    attendance: Attendance,
) -> Result<CreateOptions, Failure> {
    let preserve_fds = preserve_fds(context, options.preserve_fds)?;
    Ok(CreateOptions {
        pid_file: options.pid_file.map(ToOwned::to_owned),
        root_change: if options.no_pivot { RootChange::Move } else { RootChange::Pivot },
        keyring: if options.no_new_keyring { SessionKeyring::Callers } else { SessionKeyring::New },
        preserve_fds,
        listen_fds: listen_fds(&context.env),
        cgroup_manager: cgroup_manager(context),
        systemd: systemd(context)?,
        console: console(attendance, options.console_socket)?,
        pidfd_socket: pidfd_socket(options.pidfd_socket)?,
        orphans: Orphans::Elsewhere,
        resctrl: context.env.resctrl.map(|path| path.to_string_lossy().into_owned()),
    })
}

/// How many descriptors from 3 on are handed on: those of `LISTEN_FDS`, then as many as were asked for.
pub(crate) fn preserve_fds(context: &Context<'_>, asked: u32) -> Result<u32, Failure> {
    let all = asked + listen_fds(&context.env);
    match (3..3 + all as i32).find(|fd| !fd::is_open(*fd)) {
        Some(fd) => Err(Failure::new(format!("--preserve-fds: file descriptor {fd} is not open"))),
        None => Ok(all),
    }
}

pub(crate) fn cgroup_manager(context: &Context<'_>) -> orlop::CgroupManager {
    match context.global.cgroup_manager {
        CgroupManager::Cgroupfs => orlop::CgroupManager::Cgroupfs,
        CgroupManager::Systemd => orlop::CgroupManager::Systemd,
        CgroupManager::Disabled => orlop::CgroupManager::Disabled,
    }
}

/// Whose systemd makes the cgroup: a user's own, at the address that the environment has, or root's.
pub(crate) fn systemd(context: &Context<'_>) -> Result<Bus, Failure> {
    let caller = context.caller;
    if context.global.cgroup_manager != CgroupManager::Systemd || caller.is_host_root() {
        return Ok(Bus::System);
    }
    let text = |value: &CStr| value.to_str().map(ToOwned::to_owned).ok();
    let address = context.env.dbus_session_bus_address.and_then(text);
    let folder = || context.env.xdg_runtime_dir.and_then(text);
    match address.or_else(|| folder().map(|folder| format!("unix:path={folder}/bus"))) {
        Some(address) => Ok(Bus::User(address)),
        // Root of a user namespace may have a system of its own, as in a container.
        None if caller.euid == 0 => Ok(Bus::System),
        None => Err(Failure::new(
            "the systemd cgroup manager needs the user's bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set",
        )),
    }
}

/// For what plans a container and makes none.
pub(crate) fn options_of_a_plan(context: &Context<'_>) -> Result<CreateOptions, Failure> {
    Ok(CreateOptions {
        cgroup_manager: cgroup_manager(context),
        systemd: systemd(context)?,
        // A terminal is one wherever its master goes.
        console: Console::Caller(Default::default),
        ..CreateOptions::default()
    })
}

pub(crate) fn exec_command<'a>(options: &Exec<'a>) -> Result<exec::Command<'a>, Failure> {
    let text = |text: &&'a CStr| {
        text.to_str().map_err(|_| Failure::new(format!("{:?} is not UTF-8 text", text.to_string_lossy())))
    };
    let bytes = |list: &[&'a CStr]| list.iter().map(|text| text.to_bytes()).collect();
    Ok(exec::Command {
        args: bytes(&options.args),
        cwd: options.cwd.as_ref().map(text).transpose()?,
        env: bytes(&options.env),
        terminal: options.tty,
        user: options.user.map(|user| (user.uid, user.gid)),
        additional_gids: options.additional_gids.clone(),
        selinux_label: options.process_label,
        apparmor_profile: options.apparmor,
        no_new_privileges: options.no_new_privs,
        capabilities: options.caps.clone(),
    })
}
