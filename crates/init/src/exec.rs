//! The end of a plan: the working directory, the program, waiting for `start`, execve(2).

use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering;

use orlop_sys::event::{self, PollFd, PollFlags};
use orlop_sys::fs::{AtFlags, FileType, OFlags};
use orlop_sys::mount::Attr;
use orlop_sys::{CWD, Errno, OwnedFd, fd, fs, net, process, signal, thread};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::passwd;
use crate::plan::{ARRAYS_AT, EXCERPT_AREA, EXCERPT_AT, HOME_AREA, PATH_AREA, Status};
use crate::step::{Attempt, Call, List, Slot, Text};

/// CVE-2024-21626: a path such as /proc/self/fd/7 leads to a directory of the host. The kernel then gives no
/// path below the root for it.
pub(crate) fn chdir(ctx: &mut Context<'_>, path: Text, attempt: Attempt) -> Result<()> {
    if ctx.cwd_set {
        return Ok(());
    }
    match fs::chdir(ctx.text(path)?) {
        Ok(()) => {}
        // Root may be refused what the container's user may enter (an NFS export), so that tries again.
        Err(Errno::ACCES | Errno::PERM) if attempt == Attempt::First => return Ok(()),
        Err(errno) => {
            return Err(Failure { call: Call::Chdir, errno });
        }
    }
    let mut buf = [0u8; 4096];
    let len = match fs::getcwd(&mut buf) {
        Ok(len) => len,
        Err(Errno::NOENT) => {
            return Err(Failure { call: Call::CwdCheck, errno: Errno::NOENT });
        }
        Err(errno) => {
            return Err(Failure { call: Call::Getcwd, errno });
        }
    };
    if len == 0 || buf.first() != Some(&b'/') {
        return Err(Failure { call: Call::CwdCheck, errno: Errno::NOENT });
    }
    ctx.cwd_set = true;
    Ok(())
}

/// The value of a variable that the program will see.
fn variable<'a>(ctx: &Context<'a>, name: &[u8]) -> Option<&'a [u8]> {
    ctx.blob.texts(ctx.header.env).iter().find_map(|&entry| {
        let entry = ctx.blob.text(entry)?.to_bytes();
        entry.strip_prefix(name)?.strip_prefix(b"=")
    })
}

pub(crate) fn home(ctx: &mut Context<'_>, uid: u32) -> Result<()> {
    if variable(ctx, b"HOME").is_some_and(|home| !home.is_empty()) {
        return Ok(());
    }
    let area = ctx.scratch.get_mut(PATH_AREA..PATH_AREA + HOME_AREA).ok_or(BROKEN)?;
    let (prefix, room) = area.split_at_mut_checked(5).ok_or(BROKEN)?;
    prefix.copy_from_slice(b"HOME=");
    if !passwd::home(uid, room)? {
        room.get_mut(..2).ok_or(BROKEN)?.copy_from_slice(b"/\0");
    }
    ctx.home = Some(PATH_AREA);
    Ok(())
}

/// Finds what execve(2) will be given, so that a missing program is an error of `create`, as engines expect.
pub(crate) fn find_program(ctx: &mut Context<'_>) -> Result<()> {
    let name = program_name(ctx)?.to_bytes();
    if name.contains(&b'/') {
        let path = candidate(ctx.scratch, b"", name)?;
        if let Err(failure) = check_program(path) {
            if failure.call == Call::Access {
                examine(ctx)?;
            }
            return Err(failure);
        }
    } else {
        // As Go's exec.LookPath: the first entry with an executable file wins; without one, what stood in the way
        // of the last that was there is not told, as the shell's 127 is what callers map it to.
        let path = variable(ctx, b"PATH").unwrap_or_default();
        let found = path.split(|&b| b == b':').any(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            candidate(ctx.scratch, directory, name).is_ok_and(|path| check_program(path).is_ok())
        });
        if !found {
            return Err(Failure { call: Call::Lookup, errno: Errno::NOENT });
        }
    }
    ctx.program_found = true;
    Ok(())
}

fn program_name<'a>(ctx: &Context<'a>) -> Result<&'a CStr> {
    let first = ctx.blob.texts(ctx.header.args).first().ok_or(BROKEN)?;
    ctx.text(*first)
}

/// Writes `directory/name` to the start of the scratch.
fn candidate<'s>(scratch: &'s mut [u8], directory: &[u8], name: &[u8]) -> Result<&'s CStr> {
    let too_long = Failure { call: Call::Lookup, errno: Errno::NAMETOOLONG };
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    let mut room = scratch.get_mut(..PATH_AREA).ok_or(BROKEN)?;
    for part in [directory, slash, name, b"\0"] {
        let (to, rest) = room.split_at_mut_checked(part.len()).ok_or(too_long)?;
        to.copy_from_slice(part);
        room = rest;
    }
    let path = scratch.get(..PATH_AREA).ok_or(BROKEN)?;
    CStr::from_bytes_until_nul(path).map_err(|_| BROKEN)
}

fn check_program(path: &CStr) -> Result<()> {
    // A filter may be in force by now, and older than what we would rather call.
    let denied = |errno| matches!(errno, Errno::PERM | Errno::NOSYS);
    let mode = match fs::stat_at(CWD, path, AtFlags::NONE) {
        Err(errno) if denied(errno) => fs::mode_at(CWD, path),
        stat => stat.map(|stat| stat.mode),
    };
    let mode = mode.at(Call::Statx)?;
    if FileType::from_mode(mode) == FileType::Directory {
        return Err(Failure { call: Call::Lookup, errno: Errno::ISDIR });
    }
    const EXECUTE: u32 = 1;
    match fs::access_at(CWD, path, EXECUTE, AtFlags::EACCESS) {
        // The real ids are the effective ones.
        Err(errno) if denied(errno) => fs::access_by_real_ids_at(CWD, path, EXECUTE),
        done => done,
    }
    .at(Call::Access)?;
    // Root may "execute" what has no x bit at all as far as access(2) is concerned on some file systems.
    if mode & 0o111 == 0 {
        return Err(Failure { call: Call::Access, errno: Errno::ACCES });
    }
    Ok(())
}

/// Leaves word of what a program is that cannot be executed: how its file begins, and whether its mount is noexec.
fn examine(ctx: &mut Context<'_>) -> Result<()> {
    let (path, rest) = ctx.scratch.split_at_mut_checked(EXCERPT_AT).ok_or(BROKEN)?;
    let path = CStr::from_bytes_until_nul(path).map_err(|_| BROKEN)?;
    let room = rest.get_mut(..EXCERPT_AREA).ok_or(BROKEN)?;
    // What cannot be read is left open: the failure is another one.
    let file = open_in_container(path);
    let read = file.as_ref().ok().and_then(|file| fs::read(file, room).ok()).unwrap_or(0);
    let flags = file.as_ref().ok().and_then(|file| fs::mount_flags(file).ok());
    ctx.header.said.store(read as u32, Ordering::Relaxed);
    ctx.header.complained.store(0, Ordering::Relaxed);
    ctx.note(u32::from(flags.is_some_and(|flags| flags.contains(Attr::NOEXEC))));
    Ok(())
}

/// What init was born with has the lowest numbers, without a gap; the rest is left over from the mounts.
pub(crate) fn close_left(ctx: &mut Context<'_>, first: u32) -> Result<()> {
    ctx.forget_left();
    let born = ctx.header.born;
    fd::close_from(first.saturating_add(born)).at(Call::CloseRange)
}

pub(crate) fn close_on_exec(ctx: &mut Context<'_>, first: u32) -> Result<()> {
    fd::close_on_exec_from(first).at(Call::CloseRange)?;
    ctx.first_closed = first;
    Ok(())
}

pub(crate) fn detach() -> Result<()> {
    thread::set_parent_death_signal(0).at(Call::Pdeathsig)
}

/// `start` connects, takes the socket's file away, and then sends a byte: where it is killed in between, the
/// container ends, rather than run without anybody's knowledge.
pub(crate) fn await_start(ctx: &mut Context<'_>, listener: Slot, first: u32) -> Result<()> {
    let listener = ctx.take(listener)?;
    ctx.close_all_but(&listener, first)?;
    signal::set_mask(ENDING).at(Call::Sigprocmask)?;
    let signals = event::signalfd(ENDING).at(Call::Signalfd)?;
    await_connection(ctx, &listener, &signals)?;
    signal::set_mask(0).at(Call::Sigprocmask).map(drop)
}

/// SIGHUP, SIGINT, SIGQUIT and SIGTERM end a container before it is started, too. The kernel drops what the first
/// process of a pid namespace has no handler for, unless it is blocked; see pid_namespaces(7).
const ENDING: signal::Set = (1 << 1 | 1 << 2 | 1 << 3 | 1 << 15) >> 1;

fn await_connection(ctx: &mut Context<'_>, listener: &OwnedFd, signals: &OwnedFd) -> Result<()> {
    loop {
        let mut polled = [PollFd::new(listener.borrow(), PollFlags::IN), PollFd::new(signals.borrow(), PollFlags::IN)];
        match event::poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Failure { call: Call::Poll, errno }),
        }
        if let Ok(signal) = event::next_signal(signals) {
            process::exit(128 + signal);
        }
        if polled.first().is_some_and(|listener| !listener.happened.is_empty()) {
            break;
        }
    }
    let starter = net::accept(listener).at(Call::Accept)?;
    let mut byte = [0u8; 1];
    match fs::read(&starter, &mut byte) {
        Ok(1) if byte == [GO[0]] => {}
        // The socket's file may be gone, so nobody will ever come again.
        Ok(_) | Err(Errno::CONNRESET) => process::exit(1),
        done => {
            ctx.starter = Some(starter);
            return done.at(Call::Read).map(drop);
        }
    }
    ctx.starter = Some(starter);
    Ok(())
}

/// What `start` sends: the second byte stays unread until the filter is loaded or execve(2) comes. A socket that is closed before gives its peer
/// ECONNRESET (unix(7)), so that an init that is killed on the way is not taken for a program that runs.
pub const GO: [u8; 2] = *b"go";

/// The arrays that execve(2) takes: they stand in the scratch until the next ones are made.
pub(crate) struct Arrays {
    pub(crate) argv: *const *const c_char,
    pub(crate) envp: *const *const c_char,
}

/// What of `HOME` goes into an environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HomeToo {
    Yes,
    No,
}

#[allow(unsafe_code)] // pointers for execve(2)
pub(crate) fn arrays(ctx: &mut Context<'_>, args: List<Text>, env: List<Text>, home: HomeToo) -> Result<Arrays> {
    let (args, env) = (ctx.blob.texts(args), ctx.blob.texts(env));
    let (strings, arrays) = ctx.scratch.split_at_mut_checked(ARRAYS_AT).ok_or(BROKEN)?;
    let home = match ctx.home.filter(|_| home == HomeToo::Yes) {
        Some(at) => Some(CStr::from_bytes_until_nul(strings.get(at..).ok_or(BROKEN)?).map_err(|_| BROKEN)?),
        None => None,
    };
    // SAFETY: any bytes are a pointer-sized integer.
    let (_, pointers, _) = unsafe { arrays.align_to_mut::<usize>() };
    let (argv, rest) = pointers.split_at_mut_checked(args.len() + 1).ok_or(BROKEN)?;
    let envp = rest.get_mut(..env.len() + 2).ok_or(BROKEN)?;
    let mut to = argv.iter_mut();
    for &text in args {
        *to.next().ok_or(BROKEN)? = ctx.blob.text(text).ok_or(BROKEN)?.as_ptr() as usize;
    }
    *to.next().ok_or(BROKEN)? = 0;
    let mut to = envp.iter_mut();
    for &text in env {
        let entry = ctx.blob.text(text).ok_or(BROKEN)?;
        // An empty HOME makes way for the one that was found.
        if home.is_some() && entry.to_bytes() == b"HOME=" {
            continue;
        }
        *to.next().ok_or(BROKEN)? = entry.as_ptr() as usize;
    }
    if let Some(home) = home {
        *to.next().ok_or(BROKEN)? = home.as_ptr() as usize;
    }
    *to.next().ok_or(BROKEN)? = 0;
    Ok(Arrays { argv: argv.as_ptr().cast(), envp: envp.as_ptr().cast() })
}

#[allow(unsafe_code)] // pointers for execve(2)
pub(crate) fn exec(ctx: &mut Context<'_>) -> Result<()> {
    let arrays = arrays(ctx, ctx.header.args, ctx.header.env, HomeToo::Yes)?;
    ctx.hear_all_of_go()?;
    let program = match ctx.program_found {
        true => CStr::from_bytes_until_nul(ctx.scratch.get(..PATH_AREA).ok_or(BROKEN)?).map_err(|_| BROKEN)?,
        false => program_name(ctx)?,
    };
    ctx.header.status.store(Status::Executing as u32, Ordering::SeqCst);
    // SAFETY: each array ends in a null; every pointer is to a string of the mapping.
    let errno = unsafe { process::exec(program, arrays.argv, arrays.envp) };
    ctx.header.status.store(Status::Working as u32, Ordering::SeqCst);
    // Where nobody has looked at the program before, what is wrong with it is told as if somebody had.
    if !ctx.filtered {
        if !ctx.program_found {
            find_program(ctx)?;
        }
        examine(ctx)?;
    }
    Err(Failure { call: Call::Execve, errno })
}

/// There is nothing to execute: the work was all that was wanted.
pub(crate) fn end(ctx: &Context<'_>) -> Result<()> {
    ctx.header.status.store(Status::Executing as u32, Ordering::SeqCst);
    process::exit(0)
}

/// Reads a file of the container in pieces; for [`passwd`].
pub(crate) fn open_in_container(path: &CStr) -> orlop_sys::Result<orlop_sys::OwnedFd> {
    fs::open_at(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)
}
