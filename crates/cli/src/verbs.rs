//! What the commands do: each hands its options to the library, and prints what comes back.

use liballoc::borrow::ToOwned;
use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use orlop::config::{Config, ContainerState, Document, Hierarchy, Layout};
use orlop::exec::{Paused, Thread};
use orlop::plan::{Gate, Phase, Warning, Weight, exec};
use orlop::{CreateOptions, ExecOptions, Force, Host, Kind, Listed, Runtime, Scope, explain};
use orlop_sys::fs::{self, OFlags};
use orlop_sys::{CWD, Errno};

use crate::command::{
    self, Command, Create, Delete, Exec, Explain, Id, Kill, Level, List, Listing, LogFormat, Mounts, MountsAction,
    Program, Run, Spec, Target,
};
use crate::environment::RootOrigin;
use crate::log::Failure;
use crate::options::{
    Attendance, bundle, console, create_options, exec_command, options_of_a_plan, orphans, pidfd_socket, preserve_fds,
    runtime,
};
use crate::output;
use crate::pattern::Pattern;
use crate::run::{Context, Outcome, print};
use crate::{checkpoint, completion, control, doctor, foreground, help, info, lint, man};

/// Calls what `command` names. Only what works on containers needs the context, which may be refused.
pub(crate) fn call<'a>(
    program: Program,
    command: &Command<'_>,
    context: impl FnOnce() -> Result<Context<'a>, Failure>,
) -> Outcome {
    match command {
        Command::Checkpoint(options) => checkpoint::checkpoint(&context()?, options),
        Command::Create(options) => create(&context()?, options),
        Command::Delete(options) => delete(&context()?, options),
        Command::Doctor(options) => doctor::doctor(&context()?, options),
        Command::Events(options) => control::events(&context()?, options),
        Command::Exec(options) => {
            // As all failures of an exec.
            let context = context().map_err(|failure| failure.status(255))?;
            exec(&context, options)
        }
        Command::Explain(options) => explain(&context()?, options),
        Command::Features => features(&context()?),
        Command::Info => info::info(&context()?),
        Command::Kill(options) => kill(&context()?, options),
        Command::Lint(options) => lint::lint(&context()?, options),
        Command::List(options) => list(&context()?, options),
        Command::Mounts(options) => mounts(&context()?, options),
        Command::Pause(options) => control::pause(&context()?, options),
        Command::Ps(options) => control::ps(&context()?, options),
        Command::Restore(options) => checkpoint::restore(&context()?, options),
        Command::Resume(options) => control::resume(&context()?, options),
        Command::Run(options) => run(&context()?, options),
        Command::Spec(options) => spec(&context()?, options),
        Command::Start(options) => start(&context()?, options),
        Command::State(options) => state(&context()?, options),
        Command::Update(options) => control::update(&context()?, options),
        Command::Wait(options) => control::wait(&context()?, options),
        Command::Help(topic) => print(&help::help(program, *topic)),
        Command::Version => print(&help::version(program)),
        Command::Completion(shell) => print(&completion::script(*shell, program)),
        Command::Man(topic) => print(&man::page(program, *topic)),
    }
}

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

fn spec(_: &Context<'_>, options: &Spec<'_>) -> Outcome {
    let host = Host::probe()?;
    let hierarchy = if host.is_unified() { Hierarchy::Unified } else { Hierarchy::Legacy };
    let config = if options.rootless {
        Config::example_rootless(hierarchy, host.euid, orlop_sys::credentials::egid())
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
    Ok(0)
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
