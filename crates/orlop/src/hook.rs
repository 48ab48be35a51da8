//! Running hooks in the runtime's namespaces, and the words for those that fail, wherever they ran.

#![allow(unsafe_code)] // starting a program

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr::null;

use orlop_init::Report;
use orlop_init::hook::{self, Detail, Ending, Excerpt};
use orlop_init::plan::EXCERPT_AREA;
use orlop_init::step::Call;
use orlop_sys::fd::duplicate;
use orlop_sys::fs::{self, OFlags};
use orlop_sys::process::{self, Clone as CloneFlags, Ended, Program, Signals};
use orlop_sys::{CWD, Errno, OwnedFd, event};

use crate::config::{Config, Document, Hook, Layout, State, Status};
use crate::error::{Error, Kind, Result};
use crate::path;
use crate::plan::{HOOKS_OUTPUT, HookEvent, Origin, Warning, state_for_hooks};
use crate::state::c_string;

/// The container that hooks are told of.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a str,
    pub(crate) config: &'a Config<'a>,
}

impl Subject<'_> {
    /// Runs the hooks of a list in order, up to the first that fails.
    pub(crate) fn run_all(&self, event: HookEvent, pid: i32) -> Result<()> {
        (0..event.of(&self.config.hooks).len()).try_for_each(|index| self.run(event, index, pid))
    }

    /// Runs all hooks after the container's end: one that fails is a warning, and the next ones run all the same.
    pub(crate) fn run_poststop(&self) -> Vec<Warning> {
        let event = HookEvent::Poststop;
        let failed = |index| self.run(event, index, 0).err().map(|error| (index, error));
        let all = (0..event.of(&self.config.hooks).len()).filter_map(failed);
        let warning = |(index, error): (usize, Error)| {
            Warning::new(Origin::member(event.pointer(), index), String::from(error.reason()))
        };
        all.map(warning).collect()
    }

    /// The container's state, with that status and init.
    pub(crate) fn state(&self, status: Status, pid: i32) -> State<'_> {
        state_for_hooks(self.id, self.bundle, &self.config.annotations, status, pid)
    }

    /// The files that annotations name for what hooks print.
    pub(crate) fn outputs(&self) -> Result<[Option<OwnedFd>; 2]> {
        let open = |name: &str| -> Result<Option<OwnedFd>> {
            let Some(path) = self.config.annotations.get(name) else { return Ok(None) };
            let path = path::join(self.bundle, path);
            let flags = OFlags::WRONLY | OFlags::CREAT | OFlags::APPEND | OFlags::NOCTTY;
            let file = fs::open_at(CWD, &c_string(&path)?, flags, 0o600).and_then(above);
            file.map(Some).map_err(|errno| Error::system("open", format!("{name}: {path}"), errno))
        };
        let [out, err] = HOOKS_OUTPUT;
        Ok([open(out)?, open(err)?])
    }

    /// Runs one hook.
    pub(crate) fn run(&self, event: HookEvent, index: usize, pid: i32) -> Result<()> {
        let Some(hook) = event.of(&self.config.hooks).get(index) else {
            return Err(Error::new(Kind::System, format!("there is no {} hook #{index}", event.name())));
        };
        let state = self.state(event.status(), pid).to_json(Layout::Compact);
        let ran = self.outputs().and_then(|outputs| execute(hook, &state, self.bundle, outputs));
        let why = match ran {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(error) => format!("{error}"),
        };
        Err(failure(event, index, &why))
    }
}

fn failure(event: HookEvent, index: usize, why: &str) -> Error {
    let error = Error::new(Kind::Hook, format!("error running {} hook #{index}: {why}", event.name()));
    error.field(format!("{}", Origin::member(event.pointer(), index)))
}

/// A hook of init, for messages.
pub(crate) struct InitHook<'a> {
    pub(crate) event: HookEvent,
    pub(crate) path: &'a str,
    /// Its timeout in seconds.
    pub(crate) seconds: u32,
}

/// The place in its list of the hook that init's report is about; `None` where it is about something else.
pub(crate) fn reported(report: &Report) -> Option<usize> {
    use Call::{HookEnded, HookExec, HookFork, HookPipe, HookState, HookTimeout, HookWait};
    let of_hook = [HookEnded, HookExec, HookFork, HookPipe, HookState, HookTimeout, HookWait];
    let call = Call::from_number(report.call)?;
    of_hook.contains(&call).then(|| Detail::from_word(report.detail).index as usize)
}

/// The error of a hook that init ran.
pub(crate) fn init_failure(hook: &InitHook<'_>, report: &Report, excerpt: &[u8]) -> Error {
    let detail = Detail::from_word(report.detail);
    let errno = Errno(report.errno as i32);
    let why = match Call::from_number(report.call) {
        Some(Call::HookEnded) => {
            let (out, err) = Excerpt::split(excerpt, report.said as usize, report.complained as usize);
            ended_badly(detail.ended, out, err)
        }
        Some(Call::HookTimeout) => timed_out(hook.seconds),
        Some(Call::HookExec) => format!("fork/exec {}: {errno}", hook.path),
        call => format!("{}: {errno}", call.map_or("", Call::name)),
    };
    failure(hook.event, detail.index as usize, &why)
}

fn timed_out(seconds: u32) -> String {
    format!("hook ran past specified timeout of {seconds}.0s")
}

/// Runs a hook to its end: `None` where it succeeded, else why it did not.
fn execute(hook: &Hook<'_>, state: &str, bundle: &str, outputs: [Option<OwnedFd>; 2]) -> Result<Option<String>> {
    let failed = |call| move |errno| Error::system(call, "", errno);
    let path = c_string(&hook.path)?;
    let cwd = c_string(bundle)?;
    let strings =
        |texts: &[crate::config::Str<'_>]| texts.iter().map(|text| c_string(text)).collect::<Result<Vec<_>>>();
    let args = if hook.args.is_empty() { alloc::vec![path.clone()] } else { strings(&hook.args)? };
    let env = strings(&hook.env)?;
    let (argv, envp) = (pointers(&args), pointers(&env));
    let above = |fd| above(fd).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"));
    let stdin = above(hook::input(&[state.as_bytes()]).map_err(failed("memfd_create"))?)?;
    let (out, out_end) = event::pipe().map_err(failed("pipe2"))?;
    let (err, err_end) = event::pipe().map_err(failed("pipe2"))?;
    // A pipe that nobody writes to has ended.
    let [to_out, to_err] = outputs;
    let out_end = to_out.map_or_else(|| above(out_end), Ok)?;
    let err_end = to_err.map_or_else(|| above(err_end), Ok)?;
    let program = Program {
        file: CWD,
        path: &path,
        argv: &argv,
        envp: &envp,
        keep: &[],
        join: &[],
        rights: process::Rights::Exec,
        first: 3,
        stdio: [Some(stdin.borrow()), Some(out_end.borrow()), Some(err_end.borrow())],
        cwd: Some(&cwd),
        signals: Signals::Reset,
    };
    // SAFETY: the strings of both arrays outlive the call.
    let child = match unsafe { process::spawn(&program, CloneFlags::NONE, None) } {
        Ok(child) => child,
        Err(errno) => return Ok(Some(format!("fork/exec {}: {errno}", &*hook.path))),
    };
    drop((stdin, out_end, err_end));
    let mut room = alloc::vec![0u8; EXCERPT_AREA];
    let mut excerpt = Excerpt::new(&mut room);
    let seconds = hook.timeout.map(core::num::NonZeroU32::get);
    let ending = hook::attend(child.pidfd.borrow(), &out, &err, seconds, &mut excerpt).map_err(failed("waitid"))?;
    let (said, complained) = excerpt.lengths();
    Ok(match ending {
        Ending::Ended(Ended::Exited(0)) => None,
        Ending::Ended(ended) => {
            let (out, err) = Excerpt::split(&room, said, complained);
            Some(ended_badly(ended, out, err))
        }
        Ending::TimedOut => Some(timed_out(seconds.unwrap_or_default())),
    })
}

/// A caller without standard descriptors may get a pipe in their place, where the hook's own would cover it.
fn above(fd: OwnedFd) -> orlop_sys::Result<OwnedFd> {
    if fd.as_raw() > 2 { Ok(fd) } else { duplicate(&fd, 3) }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| CStr::as_ptr(text)).chain([null()]).collect()
}

/// In the words of Go's exec.ExitError, which runc prints.
fn ended_badly(ended: Ended, out: &[u8], err: &[u8]) -> String {
    let how = match ended {
        Ended::Exited(status) => format!("exit status {status}"),
        Ended::Killed(signal) => match signal_text(signal) {
            Some(text) => format!("signal: {text}"),
            None => format!("signal: signal {signal}"),
        },
    };
    format!("{how}, stdout: {}, stderr: {}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// What strsignal(3) says, beginning in lower case as Go prints it.
fn signal_text(signal: i32) -> Option<&'static str> {
    const TEXTS: &[(i32, &str)] = &[
        (1, "hangup"),
        (2, "interrupt"),
        (3, "quit"),
        (4, "illegal instruction"),
        (5, "trace/breakpoint trap"),
        (6, "aborted"),
        (7, "bus error"),
        (8, "floating point exception"),
        (9, "killed"),
        (11, "segmentation fault"),
        (13, "broken pipe"),
        (14, "alarm clock"),
        (15, "terminated"),
        (24, "CPU time limit exceeded"),
        (25, "file size limit exceeded"),
        (31, "bad system call"),
    ];
    TEXTS.iter().find(|(number, _)| *number == signal).map(|(_, text)| *text)
}
