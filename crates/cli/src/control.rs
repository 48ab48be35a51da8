//! Commands on a container that runs: pause, resume, ps, update, events, wait.

use core::ffi::{CStr, c_char};
use core::ptr::null;

use liballoc::ffi::CString;
use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::vec;
use liballoc::vec::Vec;

use orlop::config::{Resources, Status, Str};
use orlop::{Container, Oom, Which};
use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::fd::STDIN;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::process::{self, Ended, Waiting};
use orlop_sys::time::{Clock, Timespec, now};
use orlop_sys::{AsFd, CWD, Errno, OwnedFd};

use crate::command::{Events, Id, Level, Listing, Ps, Update};
use crate::events;
use crate::log::Failure;
use crate::options::runtime;
use crate::output;
use crate::run::{Context, Outcome, print};
use crate::verbs::warn;

pub(crate) fn pause(context: &Context<'_>, options: &Id<'_>) -> Outcome {
    runtime(context).container(options.id)?.pause()?;
    Ok(0)
}

pub(crate) fn resume(context: &Context<'_>, options: &Id<'_>) -> Outcome {
    runtime(context).container(options.id)?.resume()?;
    Ok(0)
}

/// Prints the exit status where the kernel tells it to us; its parent is who called `create`, as a rule.
pub(crate) fn wait(context: &Context<'_>, options: &Id<'_>) -> Outcome {
    match runtime(context).container(options.id)?.wait()? {
        Some(ended) => print(&format!("{}\n", ended.code())),
        None => Ok(0),
    }
}

pub(crate) fn ps(context: &Context<'_>, options: &Ps<'_>) -> Outcome {
    let pids = runtime(context).container(options.id)?.pids()?;
    match options.format {
        Listing::Json => print(&(output::compact(&pids).map_err(|error| Failure::new(error.to_string()))? + "\n")),
        Listing::Table => {
            let arguments: &[&CStr] =
                if options.arguments.is_empty() { &[c"-ef"] } else { options.arguments.as_slice() };
            let text = host_ps(context, arguments)?;
            print(&output::processes(&text, &pids).map_err(Failure::new)?)
        }
    }
}

/// What the host's ps prints.
fn host_ps(context: &Context<'_>, arguments: &[&CStr]) -> Result<String, Failure> {
    let failed = |call: &'static str| move |errno: Errno| Failure::new(format!("ps: {call}: {errno}"));
    let program = look_up(context.env.path, "ps")?;
    let argv: Vec<*const c_char> =
        [c"ps"].iter().chain(arguments).map(|argument| argument.as_ptr()).chain([null()]).collect();
    let envp: Vec<*const c_char> = context.args.env().map(CStr::as_ptr).chain([null()]).collect();
    let (out, end) = event::pipe().map_err(failed("pipe2"))?;
    let job = process::Program {
        file: CWD,
        path: &program,
        argv: &argv,
        envp: &envp,
        keep: &[],
        first: 3,
        join: &[],
        rights: process::Rights::Exec,
        stdio: [None, Some(end.borrow()), Some(end.borrow())],
        cwd: None,
        signals: process::Signals::Callers,
    };
    #[allow(unsafe_code)]
    // SAFETY: the strings of both arrays outlive the call.
    let child = unsafe { process::spawn(&job, process::Clone::NONE, None) }.map_err(failed("execve"))?;
    drop(end);
    let text = read_to_end(&out).map_err(failed("read"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match process::wait(&child.pidfd, Waiting::Block).map_err(failed("waitid"))? {
        Some(Ended::Exited(0)) => Ok(text),
        Some(Ended::Exited(status)) => Err(Failure::new(format!("ps: exit status {status}: {text}"))),
        ended => Err(Failure::new(format!("ps: ended by signal {}: {text}", ended.map_or(0, |e| e.code() - 128)))),
    }
}

/// Where a program is, by execvp(3)'s rules.
pub(crate) fn look_up(path: Option<&CStr>, name: &str) -> Result<CString, Failure> {
    const EXECUTE: u32 = 1;
    let path = path.map_or(&b"/usr/local/bin:/usr/bin:/bin"[..], CStr::to_bytes);
    for directory in path.split(|&byte| byte == b':') {
        let directory: &[u8] = if directory.is_empty() { b"." } else { directory };
        if let Ok(file) = CString::new([directory, b"/", name.as_bytes()].concat())
            && fs::access_at(CWD, &file, EXECUTE, AtFlags::NONE).is_ok()
        {
            return Ok(file);
        }
    }
    Err(Failure::new(format!("exec: {name:?}: executable file not found in $PATH")))
}

fn read_to_end(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut piece = vec![0u8; 65_536];
    loop {
        match fs::read(file.as_fd(), &mut piece) {
            Ok(0) => return Ok(text),
            Ok(n) => text.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn update(context: &Context<'_>, options: &Update<'_>) -> Outcome {
    let container = runtime(context).container(options.id)?;
    if options.kernel_memory {
        context.log.note(Level::Warning, "Kernel memory settings are ignored and will be removed".to_string());
    }
    let Some(file) = options.resources else {
        warn(context, &container.update(&limits(options))?);
        if options.l3_cache_schema.is_some() || options.mem_bw_schema.is_some() {
            let stand_in = context.env.resctrl.map(|path| path.to_string_lossy());
            container.update_class(options.l3_cache_schema, options.mem_bw_schema, stand_in.as_deref())?;
        }
        return Ok(0);
    };
    let shown = file.to_string_lossy();
    let failed = |errno: Errno| Failure::new(format!("open {shown}: {errno}"));
    let text = if file == c"-" {
        read_to_end(STDIN)
    } else {
        fs::open_at(CWD, file, OFlags::RDONLY, 0).and_then(|file: OwnedFd| read_to_end(&file))
    };
    let text = text.map_err(failed)?;
    let resources = Resources::parse(&text).map_err(|error| Failure::new(error.to_string()))?;
    warn(context, &container.update(&resources)?);
    Ok(0)
}

/// The document that the options stand for.
fn limits<'a>(options: &Update<'a>) -> Resources<'a> {
    let mut to = Resources::default();
    to.memory.limit = options.memory;
    to.memory.reservation = options.memory_reservation;
    to.memory.swap = options.memory_swap;
    to.cpu.shares = options.cpu_share;
    to.cpu.quota = options.cpu_quota;
    to.cpu.period = options.cpu_period;
    to.cpu.burst = options.cpu_burst;
    to.cpu.realtime_period = options.cpu_rt_period;
    to.cpu.realtime_runtime = options.cpu_rt_runtime;
    to.cpu.idle = options.cpu_idle;
    to.cpu.cpus = Str::new(options.cpuset_cpus.unwrap_or_default());
    to.cpu.mems = Str::new(options.cpuset_mems.unwrap_or_default());
    to.block_io.weight = options.blkio_weight;
    to.pids.limit = options.pids_limit;
    to
}

pub(crate) fn events(context: &Context<'_>, options: &Events<'_>) -> Outcome {
    let container = runtime(context).container(options.id)?;
    if container.state()?.status == Status::Stopped {
        return Err(Failure::new(format!("container with id {} is not running", options.id)));
    }
    if options.once {
        return print(&record(&container, options.id)?);
    }
    stream(context, &container, options)
}

fn record(container: &Container, id: &str) -> orlop::Result<String> {
    Ok(events::stats(id, &container.stats(Which::ALL)?, &container.class_stats()?.unwrap_or_default()))
}

/// Prints statistics at every interval, and when memory runs out, until the container's cgroup is gone.
fn stream(context: &Context<'_>, container: &Container, options: &Events<'_>) -> Outcome {
    let failed = |error: &dyn core::fmt::Display| Failure::new(format!("events: {error}"));
    let Some(pidfd) = container.pidfd()? else { return Ok(0) };
    // Without a memory controller there is nothing to watch, but there are statistics.
    let mut watch = match container.watch_oom() {
        Ok(watch) => Some(watch),
        Err(error) => {
            context.log.note(Level::Warning, format!("no events of memory: {error}"));
            None
        }
    };
    let interval = i64::try_from(options.interval).unwrap_or(i64::MAX);
    let mut due = now(Clock::Monotonic).as_nanos().saturating_add(interval);
    loop {
        match watch.as_mut().map(|watch| watch.check()).transpose().map_err(|error| failed(&error))? {
            Some(Oom::OutOfMemory) => {
                print(&events::oom(options.id))?;
                continue;
            }
            Some(Oom::Gone) => return Ok(0),
            Some(Oom::Nothing) | None => {}
        }
        let left = due - now(Clock::Monotonic).as_nanos();
        if left <= 0 {
            match record(container, options.id) {
                Ok(record) => print(&record)?,
                // Its cgroup goes while we read; the watch will say so.
                Err(error) => {
                    context.log.note(Level::Warning, error.to_string());
                    0
                }
            };
            due = now(Clock::Monotonic).as_nanos().saturating_add(interval);
            continue;
        }
        let mut polled = [PollFd::none(); 3];
        match &watch {
            Some(watch) => polled[..2].copy_from_slice(&watch.polled()),
            None => polled[2] = PollFd::new(pidfd.borrow(), PollFlags::IN),
        }
        let left = Timespec { sec: left / 1_000_000_000, nsec: left % 1_000_000_000 };
        match event::poll(&mut polled, Some(left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(&errno)),
        }
        if !polled[2].happened.is_empty() {
            return Ok(0);
        }
    }
}
