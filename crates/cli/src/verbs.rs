//! What the commands do: each hands its options to the library, and prints what comes back.

use core::ffi::CStr;

use liballoc::borrow::ToOwned;
use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::sync::Arc;
use liballoc::vec::Vec;

use orlop::config::{Config, ContainerState, Document, Hierarchy, Layout};
use orlop::exec::{Paused, Thread};
use orlop::plan::{Gate, Orphans, Phase, RootChange, SessionKeyring, Warning, Weight, exec};
use orlop::{Bundle, Bus, Console, CreateOptions, ExecOptions, Force, Host, Kind, Listed, Runtime, Scope, explain};
use orlop_sys::fs::{self, OFlags};
use orlop_sys::{CWD, Errno, OwnedFd};

use crate::command::{
    self, CgroupManager, Create, Delete, Exec, Explain, Id, Kill, Level, List, Listing, LogFormat, Mounts,
    MountsAction, Program, Run, Spec, Target,
};
use crate::environment::{RootOrigin, listen_fds};
use crate::log::Failure;
use crate::output;
use crate::pattern::Pattern;
use crate::run::{Context, Outcome, Verbs};
use crate::{checkpoint, control, doctor, foreground, info, lint, terminal};

/// The commands that this build has.
pub const VERBS: Verbs = Verbs {
    checkpoint: checkpoint::checkpoint,
    create,
    delete,
    doctor: doctor::doctor,
    events: control::events,
    exec,
    explain,
    features,
    info: info::info,
    kill,
    lint: lint::lint,
    list,
    mounts,
    pause: control::pause,
    ps: control::ps,
    restore: checkpoint::restore,
    resume: control::resume,
    run,
    spec,
    start,
    state,
    update: control::update,
    wait: control::wait,
};

impl From<orlop::Error> for Failure {
    fn from(error: orlop::Error) -> Failure {
        let mut failure = Failure::new(error.to_string());
        if error.kind() == Kind::Program && error.call() == Some("execve") {
            failure.plain = error.reason().rsplit_once("\": ").map(|(_, what)| what.to_owned());
        }
        let text = |value: Option<&str>| value.map(ToOwned::to_owned);
        let fields = [
            ("container", text(error.container())),
            ("phase", error.phase().map(|phase| phase.name().to_owned())),
            ("origin", text(error.origin())),
            ("call", text(error.call())),
            ("errno", error.errno().map(|errno| Errno(errno).name().to_owned())),
            ("hint", text(error.advice())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                failure = failure.field(name, value);
            }
        }
        failure
    }
}

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

fn pidfd_socket(path: Option<&CStr>) -> Result<Option<Arc<OwnedFd>>, Failure> {
    Ok(path.map(orlop::console::connect).transpose()?.map(Arc::new))
}

fn create_options(
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
fn preserve_fds(context: &Context<'_>, asked: u32) -> Result<u32, Failure> {
    let all = asked + listen_fds(&context.env);
    match (3..3 + all as i32).find(|fd| !fs::is_open(*fd)) {
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

pub(crate) fn warn(context: &Context<'_>, warnings: &[Warning]) {
    for warning in warnings {
        match warning.weight {
            Weight::Warning => context.log.note(Level::Warning, format!("{}: {}", warning.origin, warning.text)),
            Weight::Debug => context.log.note(Level::Debug, warning.text.as_str()),
        }
    }
}

/// What is not done although somebody has asked for it; and each entry of the plan, before any of it is.
fn say_plan(context: &Context<'_>, id: &str, bundle: &Bundle, how: &CreateOptions, gate: Gate) -> Result<(), Failure> {
    if context.env.notify_socket.is_some() {
        let what = "NOTIFY_SOCKET is not supported: nobody hears from the container that it is ready";
        context.log.note(Level::Warning, what);
    }
    if context.log.wants(Level::Debug) {
        let plan = runtime(context).plan(id, bundle, how, gate)?;
        // The warnings are told in any case.
        for line in explain::text(&plan).lines().filter(|line| !line.starts_with("warning: ")) {
            context.log.note(Level::Debug, line);
        }
    }
    Ok(())
}

/// What runc says of a process on its way; its users' tests look for that.
fn say_as_runc(context: &Context<'_>, last: &str) {
    if context.program == Program::Runc {
        for text in ["nsexec container setup", "child process in init()", last] {
            context.log.note(Level::Debug, text);
        }
    }
}

/// Called as runc, a mount that failed is told with its words before ours.
fn in_words_of_runc(context: &Context<'_>, mut failure: Failure) -> Failure {
    let of_mounts = failure.fields.iter().any(|(name, value)| *name == "phase" && value == Phase::Mounts.name());
    if context.program == Program::Runc
        && of_mounts
        && let Some((doing, what)) = failure.message.split_once(": ").filter(|(_, what)| what.starts_with("mounting "))
    {
        let verb = doing.split_once(' ').map_or(doing, |(verb, _)| verb);
        let theirs = "failed: unable to start container process: error during container init: error";
        failure.message = format!("runc {verb} {theirs} {what}");
    }
    failure
}

const INIT_IS_DONE: &str = "init: closing the pipe to signal completion";

fn create(context: &Context<'_>, options: &Create<'_>) -> Outcome {
    created(context, options).map_err(|failure| in_words_of_runc(context, failure))
}

fn created(context: &Context<'_>, options: &Create<'_>) -> Outcome {
    let how = create_options(context, options, Attendance::Detached)?;
    let bundle = bundle(options.bundle, options.config)?;
    say_plan(context, options.id, &bundle, &how, Gate::Start)?;
    let (_, warnings) = runtime(context).create(options.id, &bundle, &how)?;
    say_as_runc(context, INIT_IS_DONE);
    warn(context, &warnings);
    Ok(0)
}

fn run(context: &Context<'_>, options: &Run<'_>) -> Outcome {
    ran(context, options).map_err(|failure| in_words_of_runc(context, failure))
}

fn ran(context: &Context<'_>, options: &Run<'_>) -> Outcome {
    let attendance = if options.detach { Attendance::Detached } else { Attendance::Foreground };
    let how = create_options(context, &options.create, attendance)?;
    let how = CreateOptions { orphans: orphans(attendance, options.no_subreaper), ..how };
    let bundle = bundle(options.create.bundle, options.create.config)?;
    say_plan(context, options.create.id, &bundle, &how, Gate::Open)?;
    if options.detach {
        let running = runtime(context).run(options.create.id, &bundle, &how)?;
        say_as_runc(context, INIT_IS_DONE);
        warn(context, running.warnings());
        running.detach()?;
        return Ok(0);
    }
    // Before there is a child that a signal could be meant for.
    let signals = foreground::Signals::take_over()?;
    let running = runtime(context).run(options.create.id, &bundle, &how)?;
    say_as_runc(context, INIT_IS_DONE);
    warn(context, running.warnings());
    context.log.settle();
    drop(how);
    let (status, warnings) = foreground::attend(running, &signals, options.keep)?;
    warn(context, &warnings);
    context.log.settle();
    // The program ends here.
    core::mem::forget(signals);
    Ok(status)
}

/// What an exec fails with must differ from what its program ends with.
fn exec(context: &Context<'_>, options: &Exec<'_>) -> Outcome {
    executed(context, options).map_err(|failure| failure.status(255))
}

fn executed(context: &Context<'_>, options: &Exec<'_>) -> Outcome {
    let container = runtime(context).container(options.id)?;
    let attendance = if options.detach { Attendance::Detached } else { Attendance::Foreground };
    let cgroups = options.cgroups.iter();
    let cgroups: Vec<exec::SubCgroup<'_>> =
        cgroups.map(|sub| exec::SubCgroup { controllers: sub.controllers.clone(), path: sub.path }).collect();
    let how = ExecOptions {
        pid_file: options.pid_file.map(ToOwned::to_owned),
        preserve_fds: preserve_fds(context, options.preserve_fds)?,
        cgroups: &cgroups,
        paused: if options.ignore_paused { Paused::Ignored } else { Paused::Refused },
        console: console(attendance, options.console_socket)?,
        pidfd_socket: pidfd_socket(options.pidfd_socket)?,
        thread: Thread::Stays,
    };
    hide()?;
    let signals = match attendance {
        Attendance::Foreground => Some(foreground::Signals::take_over()?),
        Attendance::Detached => None,
    };
    let executed = match options.process {
        Some(path) => container.exec(exec::Program::Document(&orlop::exec::read_process(path)?), &how)?,
        None => container.exec(exec::Program::Command(&exec_command(options)?), &how)?,
    };
    say_as_runc(context, "setns_init: about to exec");
    warn(context, executed.warnings());
    drop(how);
    match signals {
        Some(signals) => {
            context.log.settle();
            let status = foreground::attend_executed(executed, &signals)?;
            core::mem::forget((signals, container));
            Ok(status)
        }
        None => Ok(executed.detach().map(|()| 0)?),
    }
}

/// A container's processes see this one's child before it has become its own program: CVE-2016-9962.
fn hide() -> Result<(), Failure> {
    orlop_sys::thread::set_dumpable(false).map_err(|errno| Failure::new(format!("prctl(PR_SET_DUMPABLE): {errno}")))
}

fn exec_command<'a>(options: &Exec<'a>) -> Result<exec::Command<'a>, Failure> {
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

fn start(context: &Context<'_>, options: &Id<'_>) -> Outcome {
    runtime(context).container(options.id)?.start()?;
    Ok(0)
}

fn state(context: &Context<'_>, options: &Id<'_>) -> Outcome {
    let state = runtime(context).container(options.id)?.state()?;
    print(&(state.to_json(Layout::Spaces) + "\n"))
}

fn kill(context: &Context<'_>, options: &Kill<'_>) -> Outcome {
    let scope = match options.scope {
        command::Scope::Init => Scope::Init,
        command::Scope::All => Scope::All,
    };
    let kill = |runtime: &Runtime, id: &str| runtime.container(id)?.kill(options.signal, scope);
    // What has stopped, or goes while we look, is not what was meant.
    each(context, options.target, kill, |error| matches!(error.kind(), Kind::NotRunning | Kind::NotFound))
}

/// Does something to one container, or to all whose id matches: to each whatever becomes of the others, of which the
/// last failure is told and the rest logged. `passed_over` are failures that are none for one of many.
fn each(
    context: &Context<'_>,
    target: Target<'_>,
    act: impl Fn(&Runtime, &str) -> orlop::Result<()>,
    passed_over: impl Fn(&orlop::Error) -> bool,
) -> Outcome {
    let runtime = runtime(context);
    let expression = match target {
        Target::Id(id) => return Ok(act(&runtime, id).map(|()| 0)?),
        Target::Regex(expression) => expression,
    };
    let pattern = Pattern::new(expression)
        .map_err(|why| Failure::new(format!("--regex: {expression:?} is no regular expression: {why}")))?;
    let mut last: Option<orlop::Error> = None;
    for id in runtime.ids()?.iter().filter(|id| pattern.is_in(id)) {
        if let Err(error) = act(&runtime, id)
            && !passed_over(&error)
            && let Some(before) = last.replace(error)
        {
            context.log.note(Level::Warning, before.to_string());
        }
    }
    last.map_or(Ok(0), |error| Err(error.into()))
}

fn delete(context: &Context<'_>, options: &Delete<'_>) -> Outcome {
    let force = if options.force { Force::Yes } else { Force::No };
    let delete = |runtime: &Runtime, id: &str| {
        warn(context, &runtime.delete(id, force)?);
        Ok(())
    };
    each(context, options.target, delete, |error| error.kind() == Kind::NotFound)
}

fn mounts(context: &Context<'_>, options: &Mounts<'_>) -> Outcome {
    let text = orlop::read_mounts(options.file)?;
    let mounts = orlop::config::parse_mounts(&text).map_err(|error| Failure::new(error.to_string()))?;
    let container = runtime(context).container(options.id)?;
    hide()?;
    match options.action {
        MountsAction::Add => container.add_mounts(&mounts)?,
        MountsAction::Remove => container.remove_mounts(&mounts)?,
    }
    Ok(0)
}

fn list(context: &Context<'_>, options: &List) -> Outcome {
    let root_is_missing = || fs::access_at(CWD, &context.root.path, 0, fs::AtFlags::NONE) == Err(Errno::NOENT);
    if context.root.origin == RootOrigin::Given && root_is_missing() {
        let path = context.root.path.to_string_lossy();
        return Err(Failure::new(format!("--root {path}: no such file or directory")));
    }
    let mut states: Vec<ContainerState<'static>> = Vec::new();
    for (_, state) in runtime(context).list()? {
        match state {
            Ok(Listed { mut state, owner }) => {
                state.owner = owner_name(owner).into();
                states.push(state);
            }
            // One that cannot be read must not hide the others.
            Err(error) => context.log.note(Level::Warning, error.to_string()),
        }
    }
    if options.quiet {
        let ids: String = states.iter().flat_map(|state| [state.id.as_str(), "\n"]).collect();
        return print(&ids);
    }
    match options.format {
        Listing::Json if states.is_empty() => print("null"),
        Listing::Json => print(&states.as_slice().to_json(Layout::Compact)),
        Listing::Table => {
            let pids: Vec<String> = states.iter().map(|state| state.pid.to_string()).collect();
            let mut rows = Vec::with_capacity(1 + states.len());
            rows.push(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
            rows.extend(states.iter().zip(&pids).map(|(state, pid)| {
                [&*state.id, pid, state.status.name(), &state.bundle, &state.created, &state.owner]
            }));
            print(&output::table(&rows))
        }
    }
}

/// The owner's name, else `#uid`, as runc prints it.
fn owner_name(uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { format!("#{uid}") }
}

fn spec(context: &Context<'_>, options: &Spec<'_>) -> Outcome {
    let host = Host::probe()?;
    let hierarchy = if host.is_unified() { Hierarchy::Unified } else { Hierarchy::Legacy };
    let config = if options.rootless {
        Config::example_rootless(hierarchy, host.euid, orlop_sys::thread::egid())
    } else {
        Config::example(hierarchy)
    };
    let path = match (options.config, options.bundle) {
        (Some(config), _) => config.to_owned(),
        (None, Some(bundle)) => {
            let path = [bundle.to_bytes(), b"/config.json"].concat();
            liballoc::ffi::CString::new(path).map_err(|_| Failure::new("--bundle holds a NUL character"))?
        }
        (None, None) => c"config.json".to_owned(),
    };
    let shown = path.to_string_lossy();
    let file =
        fs::open_at(CWD, &path, OFlags::WRONLY | OFlags::CREAT | OFlags::EXCL, 0o666).map_err(|errno| match errno {
            Errno::EXIST => Failure::new(format!("File {shown} exists. Remove it first")),
            errno => Failure::new(format!("spec: open {shown}: {errno}")),
        })?;
    fs::write_all(&file, config.to_json(Layout::Tabs).as_bytes())
        .map_err(|errno| Failure::new(format!("spec: write {shown}: {errno}")))?;
    let _ = context;
    Ok(0)
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

fn explain(context: &Context<'_>, options: &Explain<'_>) -> Outcome {
    let how = options_of_a_plan(context)?;
    let bundle = bundle(options.bundle, options.config)?;
    let plan = runtime(context).plan("explained", &bundle, &how, Gate::Start)?;
    match options.format {
        LogFormat::Text => print(&explain::text(&plan)),
        LogFormat::Json => print(&explain::json(&plan)),
    }
}

fn features(_: &Context<'_>) -> Outcome {
    print(&(orlop::features::features().to_json(Layout::Spaces) + "\n"))
}

pub(crate) fn print(text: &str) -> Outcome {
    output::print(text).map(|()| 0).map_err(|errno| Failure::new(format!("write standard output: {errno}")))
}
