//! From the program's entry to its exit status.

use core::ffi::CStr;
use core::fmt::Write as _;
use core::panic::PanicInfo;

use liballoc::format;
use liballoc::sync::Arc;
use liballoc::vec::Vec;

use orlop::Trace;
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::fd::{self, CWD, OnExec, STDERR, STDIN, STDOUT};
use orlop_sys::fs::{self, OFlags};
use orlop_sys::process;
use orlop_sys::start::Args;
use orlop_sys::time::Timespec;

use crate::command::{self, Global, Invocation, Program, Refused};
use crate::environment::{Caller, Environment, Root};
use crate::log::{Failure, Log, complain};
use crate::table::COMMANDS;
use crate::{help, output, verbs};

/// What every command is given.
pub struct Context<'a> {
    /// The name that the program was called by.
    pub program: Program,
    /// The global options.
    pub global: &'a Global<'a>,
    /// The environment.
    pub env: Environment<'a>,
    /// Who calls.
    pub caller: Caller,
    /// The state directory.
    pub root: Root,
    /// The log.
    pub log: &'a Log,
    /// Where times go, if anywhere.
    pub trace: Option<Arc<Trace>>,
    /// The environment as the kernel gave it, for programs that are executed.
    pub args: Args,
}

/// What a command ends with: the program's exit status, or a failure to be logged.
pub type Outcome = Result<i32, Failure>;

/// Prints what a command has to say.
pub(crate) fn print(text: &str) -> Outcome {
    output::print(text).map(|()| 0).map_err(|errno| Failure::new(format!("write standard output: {errno}")))
}

/// The program: reads the command line, opens the log, calls the command, logs its failure.
pub fn main(args: Args) -> i32 {
    let arguments: Vec<&CStr> = args.iter().collect();
    let program = Program::of(arguments.first().copied().unwrap_or_default());
    let parsed = command::parse(&arguments);
    let global = match &parsed {
        Ok(Invocation { global, .. }) | Err(Refused { global, .. }) => global,
    };
    let log = match hold_standard().and_then(|()| Log::open(global, program.name())) {
        Ok(log) => log,
        Err(failure) => {
            Log::stderr(global.log_format).fail(&failure);
            return failure.status;
        }
    };
    let outcome = match (&parsed, trace(global, args)) {
        (_, Err(failure)) => Err(failure),
        (Ok(Invocation { command, .. }), Ok(trace)) => {
            let given = trace.clone();
            let outcome = verbs::call(program, command, || context(program, global, args, &log, given));
            end_trace(trace.as_deref(), program, &arguments, outcome)
        }
        (Err(refused), _) => Err(refuse(program, refused)),
    };
    match outcome {
        Ok(status) => {
            log.settle();
            status
        }
        Err(mut failure) => {
            failure.plain = failure.plain.filter(|_| program == Program::Runc);
            log.fail(&failure);
            failure.status
        }
    }
}

/// Opens /dev/null where standard input, output or error is closed: else the next file opened would be taken
/// for it, and the log would get what is meant for standard error.
fn hold_standard() -> Result<(), Failure> {
    let mut polled = [STDIN, STDOUT, STDERR].map(|fd| PollFd::new(fd, PollFlags::NONE));
    let failed = |errno| Failure::new(format!("open /dev/null: {errno}"));
    let closed = orlop_sys::retry(|| event::poll(&mut polled, Some(Timespec::default())));
    if closed.map_err(|errno| Failure::new(format!("ppoll of standard input, output and error: {errno}")))? == 0 {
        return Ok(());
    }
    for fd in polled {
        if fd.happened.contains(PollFlags::NVAL) {
            // The lowest free number is the closed one's.
            let null = fs::open_at(CWD, c"/dev/null", OFlags::RDWR, 0).map_err(failed)?;
            fd::set_on_exec(&null, OnExec::Keep).map_err(failed)?;
            null.into_raw();
        }
    }
    Ok(())
}

/// Opens the file of `--trace`, to append to it.
fn trace(global: &Global<'_>, args: Args) -> Result<Option<Arc<Trace>>, Failure> {
    let Some(path) = global.trace else { return Ok(None) };
    let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::APPEND;
    let file = fs::open_at(CWD, path, flags, 0o600)
        .map_err(|errno| Failure::new(format!("--trace: open {}: {errno}", path.to_string_lossy())))?;
    let parent = Environment::new(args.env()).traceparent.and_then(|text| text.to_str().ok());
    Ok(Some(Arc::new(Trace::begin(file, parent)?)))
}

/// Writes the last line. What cannot be written is a failure, unless there is another one.
fn end_trace(trace: Option<&Trace>, program: Program, arguments: &[&CStr], outcome: Outcome) -> Outcome {
    let Some(trace) = trace else { return outcome };
    let status = outcome.as_ref().map_or_else(|failure| failure.status, |status| *status);
    // Its options may be nobody else's business.
    let named = |word: &&CStr| COMMANDS.iter().find(|command| command.name.as_bytes() == word.to_bytes());
    let command = arguments.iter().skip(1).find_map(named).map_or("", |command| command.name);
    match (trace.end(&format!("{} {command}", program.name()), status), outcome) {
        (Err(error), Ok(_)) => Err(error.into()),
        (_, outcome) => outcome,
    }
}

fn context<'a>(
    program: Program,
    global: &'a Global<'a>,
    args: Args,
    log: &'a Log,
    trace: Option<Arc<Trace>>,
) -> Result<Context<'a>, Failure> {
    let env = Environment::new(args.env());
    let caller = Caller::this(args);
    let root = Root::find(global, &env, caller)?;
    root.prepare()?;
    Ok(Context { program, global, env, caller, root, log, trace, args })
}

/// Shows the help that would have helped, as runc does, and hands the reason on.
fn refuse(program: Program, refused: &Refused<'_>) -> Failure {
    if let Some(topic) = refused.help {
        let text = format!("Incorrect Usage.\n\n{}\n", help::help(program, topic));
        if let Err(errno) = output::print(&text) {
            complain(&format!("write standard output: {errno}"));
        }
    }
    Failure::new(refused.message.clone()).status(refused.status)
}

/// What a panic ends in: its place on standard error, and 134 as after abort(3).
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    struct Stderr;
    impl core::fmt::Write for Stderr {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            // Straight from the formatter: a panic of the allocator must get through.
            fs::write_all(STDERR, text.as_bytes()).map_err(|_| core::fmt::Error)
        }
    }
    // Nobody is left to be told that this failed.
    let _ = writeln!(Stderr, "orlop: {info}");
    process::exit(134)
}
