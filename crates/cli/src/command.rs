//! What the user asked for, typed: one struct for each command.

mod checkpoint;
mod global;
mod limits;
mod process;

use core::ffi::CStr;

use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use orlop_sys::signal::SIGTERM;

use crate::parse::{self, Given, Rules, Wrong};
use crate::table::{self, CommandSpec, GLOBAL, Options};
use crate::value;

pub use checkpoint::{Checkpoint, CriuOptions, PageServer, Restore};
pub use global::{CgroupManager, Global, Level, LogFormat, Program};
pub use limits::Update;
pub use process::{Create, Exec, Run, SubCgroup};
pub use value::User;

/// One container, or all whose id matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// By id.
    Id(&'a str),
    /// By regular expression.
    Regex(&'a str),
}

/// Which processes of a container a signal goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The first one.
    Init,
    /// All.
    All,
}

/// `kill`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kill<'a> {
    /// Whose processes.
    pub target: Target<'a>,
    /// The signal's number.
    pub signal: i32,
    /// Which processes.
    pub scope: Scope,
}

/// `delete`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete<'a> {
    /// What to delete.
    pub target: Target<'a>,
    /// Whether a running container is killed, and an unknown one is no error.
    pub force: bool,
}

/// `list`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// The format; of no meaning with `quiet`.
    pub format: Listing,
    /// Whether only ids are printed.
    pub quiet: bool,
}

/// How `list` and `ps` print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Listing {
    /// Columns.
    #[default]
    Table,
    /// JSON.
    Json,
}

/// `ps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ps<'a> {
    /// The container.
    pub id: &'a str,
    /// The format.
    pub format: Listing,
    /// What the host's ps gets.
    pub arguments: Vec<&'a CStr>,
}

/// `events`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Events<'a> {
    /// The container.
    pub id: &'a str,
    /// Nanoseconds between two statistics.
    pub interval: u64,
    /// Whether statistics are printed once.
    pub once: bool,
}

/// `spec`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec<'a> {
    /// Where to write; the working directory by default.
    pub bundle: Option<&'a CStr>,
    /// The file's name; `config.json` by default.
    pub config: Option<&'a CStr>,
    /// Whether an unprivileged user is to run it.
    pub rootless: bool,
}

/// `explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explain<'a> {
    /// The bundle.
    pub bundle: Option<&'a CStr>,
    /// Another file than the bundle's config.json.
    pub config: Option<&'a CStr>,
    /// The format.
    pub format: LogFormat,
}

/// `lint`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lint<'a> {
    /// The bundle.
    pub bundle: Option<&'a CStr>,
    /// Another file than the bundle's config.json.
    pub config: Option<&'a CStr>,
    /// The format.
    pub format: LogFormat,
}

/// `mounts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mounts<'a> {
    /// What to do.
    pub action: MountsAction,
    /// The container.
    pub id: &'a str,
    /// The file with the mounts.
    pub file: &'a CStr,
}

/// What `mounts` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum MountsAction {
    Add,
    Remove,
}

/// A container by id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id<'a> {
    /// The id as given.
    pub id: &'a str,
}

/// `doctor`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doctor {
    /// Whether what is found is removed.
    pub fix: bool,
}

/// A shell that completions are made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What the user asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the commands' names
pub enum Command<'a> {
    Checkpoint(Checkpoint<'a>),
    Create(Create<'a>),
    Delete(Delete<'a>),
    Events(Events<'a>),
    Exec(Exec<'a>),
    Explain(Explain<'a>),
    Features,
    Info,
    Kill(Kill<'a>),
    Lint(Lint<'a>),
    List(List),
    Mounts(Mounts<'a>),
    Pause(Id<'a>),
    Ps(Ps<'a>),
    Restore(Restore<'a>),
    Resume(Id<'a>),
    Run(Run<'a>),
    Spec(Spec<'a>),
    Start(Id<'a>),
    State(Id<'a>),
    Update(Update<'a>),
    Wait(Id<'a>),
    Doctor(Doctor),
    /// The help of a command, or of the program.
    Help(Option<&'static CommandSpec>),
    Version,
    Completion(Shell),
    /// The manual page of a command, or of the program.
    Man(Option<&'static CommandSpec>),
}

/// A command line that was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation<'a> {
    /// The global options.
    pub global: Global<'a>,
    /// The command.
    pub command: Command<'a>,
}

/// A command line that was not.
#[derive(Debug)]
pub struct Refused<'a> {
    /// As many of the global options as were understood: the log may be among them.
    pub global: Global<'a>,
    /// The reason.
    pub message: String,
    /// The exit status.
    pub status: i32,
    /// Whose help is worth a look.
    pub help: Option<Option<&'static CommandSpec>>,
}

/// Reads a command line; `arguments` begins with the program's name.
pub fn parse<'a>(arguments: &[&'a CStr]) -> Result<Invocation<'a>, Refused<'a>> {
    let (argv0, arguments) = match arguments.split_first() {
        Some((argv0, arguments)) => (*argv0, arguments),
        None => (c"orlop", arguments),
    };
    let as_runc = Program::of(argv0) == Program::Runc;
    let mut global = Given::default();
    let rules = Rules { own: GLOBAL, global: false, as_runc, order: Options::BeforeArguments };
    let read = parse::read(arguments, rules, &mut global, None);
    let refuse = |global: &Given<'a>, message: String, status, help| Refused {
        global: global::lenient(global),
        message,
        status,
        help,
    };
    let plain = |command| Invocation { global: Global::default(), command };
    match read {
        Err(Wrong { help: true, .. }) => return Ok(plain(Command::Help(None))),
        Err(Wrong { message, .. }) => return Err(refuse(&global, message, 1, Some(None))),
        Ok(()) => {}
    }
    let mut words = core::mem::take(&mut global.arguments);
    let help = global.help().unwrap_or(true);
    let Some((name, rest)) = words.split_first_mut() else {
        let version = !help && global.flag("version").unwrap_or(true);
        return Ok(plain(if version { Command::Version } else { Command::Help(None) }));
    };
    let Some(spec) = table::command(name.to_bytes()) else {
        let message = format!("No help topic for '{}'", name.to_string_lossy());
        return Err(refuse(&global, message, 3, None));
    };
    if help {
        return Ok(plain(Command::Help(Some(spec))));
    }
    if global.flag("version").unwrap_or(true) {
        return Ok(plain(Command::Version));
    }

    let mut given = Given::default();
    let rules = Rules { own: spec.options, global: true, as_runc, order: spec.order };
    let read = parse::read(rest, rules, &mut given, Some(&mut global));
    match read {
        Err(Wrong { help: true, .. }) => return Ok(plain(Command::Help(Some(spec)))),
        Err(Wrong { message, .. }) => return Err(refuse(&global, message, 1, Some(Some(spec)))),
        Ok(()) if given.help().unwrap_or(true) => return Ok(plain(Command::Help(Some(spec)))),
        Ok(()) => {}
    }
    if let Some(message) = count(argv0, spec, given.arguments.len()) {
        return Err(refuse(&global, message, 1, Some(Some(spec))));
    }
    // What an exec fails with must differ from what its program ends with; see runc's exec.
    let status = if spec.name == "exec" { 255 } else { 1 };
    let parsed = global::strict(&global).and_then(|global| Ok((global, command(spec, &given)?)));
    match parsed {
        Ok((global, command)) => Ok(Invocation { global, command }),
        Err(message) => Err(refuse(&global, message, status, None)),
    }
}

/// Says what is wrong with a number of arguments, in runc's words.
fn count(argv0: &CStr, spec: &CommandSpec, given: usize) -> Option<String> {
    let (least, most) = spec.count;
    let wrong = match most {
        Some(most) if most == least && given != most => format!("exactly {most}"),
        _ if given < least => format!("a minimum of {least}"),
        Some(most) if given > most => format!("a maximum of {most}"),
        _ => return None,
    };
    Some(format!("{}: {:?} requires {wrong} argument(s)", argv0.to_string_lossy(), spec.name))
}

const TEXT_JSON: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const TABLE_JSON: &[(&str, Listing)] = &[("table", Listing::Table), ("json", Listing::Json)];

/// The container id, which is the first argument.
fn id<'a>(given: &Given<'a>) -> Result<&'a str, String> {
    let id = given.arguments.first().copied().unwrap_or_default();
    match parse::argument(id, "container id")? {
        "" => Err("container id cannot be empty".to_string()),
        id => Ok(id),
    }
}

fn target<'a>(given: &Given<'a>) -> Result<Target<'a>, String> {
    let id = id(given)?;
    Ok(match given.flag("regex")? {
        true => Target::Regex(id),
        false => Target::Id(id),
    })
}

fn command<'a>(spec: &'static CommandSpec, given: &Given<'a>) -> Result<Command<'a>, String> {
    let one = || id(given).map(|id| Id { id });
    Ok(match spec.name {
        "checkpoint" => Command::Checkpoint(checkpoint::checkpoint(given)?),
        "create" => Command::Create(process::create(given)?),
        "delete" => Command::Delete(Delete { target: target(given)?, force: given.flag("force")? }),
        "events" => Command::Events(events(given)?),
        "exec" => Command::Exec(process::exec(given)?),
        "explain" => Command::Explain(Explain {
            bundle: given.raw("bundle"),
            config: given.raw("config"),
            format: given.choice("format", TEXT_JSON)?.unwrap_or_default(),
        }),
        "features" => Command::Features,
        "info" => Command::Info,
        "kill" => Command::Kill(kill(given)?),
        "lint" => Command::Lint(Lint {
            bundle: given.raw("bundle"),
            config: given.raw("config"),
            format: given.choice("format", TEXT_JSON)?.unwrap_or_default(),
        }),
        "list" => Command::List(List {
            format: given.choice("format", TABLE_JSON)?.unwrap_or_default(),
            quiet: given.flag("quiet")?,
        }),
        "mounts" => Command::Mounts(mounts(given)?),
        "pause" => Command::Pause(one()?),
        "ps" => Command::Ps(Ps {
            id: id(given)?,
            format: given.choice("format", TABLE_JSON)?.unwrap_or_default(),
            arguments: given.arguments.iter().skip(1).copied().collect(),
        }),
        "restore" => Command::Restore(checkpoint::restore(given)?),
        "resume" => Command::Resume(one()?),
        "run" => Command::Run(process::run(given)?),
        "spec" => Command::Spec(Spec {
            bundle: given.raw("bundle"),
            config: given.raw("config"),
            rootless: given.flag("rootless")?,
        }),
        "start" => Command::Start(one()?),
        "state" => Command::State(one()?),
        "update" => Command::Update(limits::update(given)?),
        "wait" => Command::Wait(one()?),
        "doctor" => Command::Doctor(Doctor { fix: given.flag("fix")? }),
        "help" => Command::Help(topic(given)?),
        "version" => Command::Version,
        "completion" => Command::Completion(shell(given)?),
        "man" => Command::Man(topic(given)?),
        other => return Err(format!("{other}: not supported yet")),
    })
}

fn events<'a>(given: &Given<'a>) -> Result<Events<'a>, String> {
    const FIVE_SECONDS: u64 = 5_000_000_000;
    let interval = given.convert("interval", value::duration)?.unwrap_or(FIVE_SECONDS);
    if interval == 0 {
        return Err("duration interval must be greater than 0".to_string());
    }
    Ok(Events { id: id(given)?, interval, once: given.flag("stats")? })
}

fn kill<'a>(given: &Given<'a>) -> Result<Kill<'a>, String> {
    let signal = match given.arguments.get(1) {
        None => SIGTERM,
        Some(text) if text.is_empty() => SIGTERM,
        Some(text) => text
            .to_str()
            .ok()
            .and_then(value::signal)
            .ok_or_else(|| format!("unknown signal {:?}", text.to_string_lossy()))?,
    };
    Ok(Kill {
        target: target(given)?,
        signal,
        scope: match given.flag("all")? {
            true => Scope::All,
            false => Scope::Init,
        },
    })
}

fn mounts<'a>(given: &Given<'a>) -> Result<Mounts<'a>, String> {
    let [action, id, file] = given.arguments.as_slice() else {
        return Err("mounts: three arguments are needed".to_string());
    };
    Ok(Mounts {
        action: match action.to_bytes() {
            b"add" => MountsAction::Add,
            b"remove" => MountsAction::Remove,
            _ => return Err(format!("unknown command {:?}", action.to_string_lossy())),
        },
        id: parse::argument(id, "container id")?,
        file,
    })
}

fn topic(given: &Given<'_>) -> Result<Option<&'static CommandSpec>, String> {
    match given.arguments.first() {
        None => Ok(None),
        Some(name) => match table::command(name.to_bytes()) {
            Some(spec) => Ok(Some(spec)),
            None => Err(format!("No help topic for '{}'", name.to_string_lossy())),
        },
    }
}

fn shell(given: &Given<'_>) -> Result<Shell, String> {
    let name = given.arguments.first().copied().unwrap_or_default();
    match name.to_bytes() {
        b"bash" => Ok(Shell::Bash),
        b"zsh" => Ok(Shell::Zsh),
        b"fish" => Ok(Shell::Fish),
        _ => Err(format!("completion: no such shell: {}", name.to_string_lossy())),
    }
}
