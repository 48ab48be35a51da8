//! The runtime killed, or a call of it or of init failing, at every place where that can be.
//!
//! After each: nothing is left that `delete --force` does not remove, nothing hangs, and what fails says so once.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::context::Context;
use crate::host;
use crate::tests::{Outcome, tests};
use crate::tracer::{Act, Entry, Follow, Role, children_left, kill, trace};

tests! { "crash":
    ROOT {
        create_killed, run_killed, create_killed_before_init_begins, create_killed_beside_init,
        start_killed, kill_killed, update_killed, delete_killed, delete_of_an_ended_one_killed, killed_start_leaves_no_waiting_init,
        run_eperm, run_enomem, run_eio, run_eintr,
        create_eperm, create_enomem, create_eio, create_eintr,
        start_fails, start_eintr, kill_fails, delete_fails, state_fails,
    }
}

/// The time that one test may take here, whatever the machine: a slow one tries every n-th place.
const BUDGET: Duration = Duration::from_secs(40);

/// Calls that cannot fail, or end the process.
const NEVER_FAIL: &[&str] = &[
    "runtime exit_group",
    "child exit_group",
    "init exit_group",
    "runtime getpid",
    "runtime geteuid",
    "runtime getegid",
    "runtime clock_gettime",
    "init umask",
];

/// Calls whose failure is no failure of the command, and why. The beginning of a description; the errors.
const TOLERATED: &[(&str, &[i32], &str)] = &[
    ("runtime close", ANY, "close(2) frees the descriptor whatever it returns"),
    ("runtime close_range", ANY, "the same; what stays open is close-on-exec, and ends with the runtime"),
    ("runtime munmap", ANY, "the mapping ends with the runtime"),
    ("init close", ANY, "close(2) frees the descriptor whatever it returns"),
    (
        "runtime mkdirat /sys/fs/cgroup/unified/",
        ANY,
        "a hierarchy without limits is done without: orlop-cgroup's Need::Wanted",
    ),
    ("runtime openat /sys/fs/cgroup/unified/", ANY, "the same"),
    ("runtime openat /sys/fs/cgroup/systemd/", ANY, "the same"),
    ("runtime write /sys/fs/cgroup/systemd/", ANY, "the same"),
    ("runtime clone3", PERMISSION, "where a memfd may not be executed init is started from a detached mount"),
    ("child fcntl", PERMISSION, "the same: it is not told from a refused execveat(2)"),
    ("child execveat", PERMISSION, "the same"),
    ("child dup3", PERMISSION, "the same"),
    ("child close_range", PERMISSION, "the same"),
    ("init read anon_inode", ANY, "there is no signal to read; one that comes is read the next time"),
    ("runtime unlinkat /sys/fs/cgroup/", ANY, "tried again once the processes in it have ended"),
    ("init mkdirat shm", ANY, "made beside the mount point before it; else looked for by its path"),
    ("init openat2 shm", ANY, "the same"),
    ("init mkdirat mqueue", ANY, "the same"),
    ("init openat2 mqueue", ANY, "the same"),
    ("init sched_setaffinity", PERMISSION, "what the caller may not do stays as it is, as in runc"),
    ("init statx /bin/probe", PERMISSION, "a filter may be older than the call: an older one is tried"),
    ("init faccessat2 /bin/probe", PERMISSION, "the same"),
    ("init setsid", PERMISSION, "who leads a process group has a session already"),
    (
        "init chdir /",
        PERMISSION,
        "root may be refused what the container's user may enter: it is tried again as that user",
    ),
];

/// Calls that come before there is a log: the error is on standard error alone.
const BEFORE_THE_LOG: &[&str] = &["runtime ppoll", "crash.log"];

/// Done without at first, and missed by a mount that shows it: the error is of that mount.
/// And an init that ends where nobody waits for it yet: `start` finds nobody.
const SAID_BY_A_LATER_STEP: &[&str] = &[
    "runtime mkdirat /sys/fs/cgroup/systemd/",
    "init accept4",
    "init ppoll",
    "init close_range",
    "init rt_sigprocmask",
    "init signalfd4",
];

const PERMISSION: &[i32] = &[libc::EPERM];
const ANY: &[i32] = &[libc::EPERM, libc::ENOMEM, libc::EIO];

/// One container, made and removed again and again.
struct Field<'a> {
    t: &'a Context,
    bundle: Bundle,
    id: String,
    cgroups: Vec<PathBuf>,
    rootfs: Vec<String>,
    out: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
}

impl<'a> Field<'a> {
    fn new(t: &'a Context) -> Field<'a> {
        let bundle = t.bundle().args(&["true"]).with("/process/oomScoreAdj", json!(500));
        let id = t.id("c");
        let (out, log) = (t.dir().join("crash.out"), t.dir().join("crash.log"));
        let pid_file = t.dir().join("run/pid");
        let mut field = Field { t, bundle, id, cgroups: Vec::new(), rootfs: Vec::new(), out, log, pid_file };
        // What a whole container has shows what must be gone, and makes the mount points of the image.
        field.make();
        let table = fs::read_to_string(format!("/proc/{}/cgroup", t.pid(&field.id))).expect("it waits");
        let relative: HashSet<&str> = table.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
        for top in host::hierarchies() {
            let below = relative.iter().map(|path| top.join(path.trim_start_matches('/')));
            field.cgroups.extend(below.filter(|path| path.to_string_lossy().contains(t.tag()) && path.is_dir()));
        }
        assert!(!field.cgroups.is_empty(), "no cgroup in {table}");
        field.clean().expect("a container that nothing happened to");
        field.rootfs = field.tree();
        field
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.t.binary());
        command.arg("--root").arg(self.t.dir().join("root")).arg("--log").arg(&self.log);
        command.args(["--log-format", "json"]).args(self.t.global()).args(args);
        let out = fs::File::create(&self.out).expect("writable");
        fs::write(&self.log, "").expect("writable");
        command.current_dir(self.t.dir()).stdin(Stdio::null()).stderr(out.try_clone().expect("a descriptor is left"));
        command.stdout(out).env_clear().env("TMPDIR", self.t.dir().join("tmp"));
        command
    }

    /// `VERB OPTION... ID` with what the verb takes.
    fn verb(&self, verb: &str) -> Command {
        let pid_file = self.pid_file.to_string_lossy().into_owned();
        let bundle = ["--bundle", self.bundle.path(), "--pid-file", &pid_file];
        match verb {
            "create" | "run" => self.command(&[&[verb], bundle.as_slice(), &[&self.id]].concat()),
            "kill" => self.command(&["kill", &self.id, "KILL"]),
            "update" => {
                let limits = ["--memory", "64M", "--pids-limit", "30", "--cpu-quota", "20000", "--cpu-period", "50000"];
                self.command(&[&["update"], limits.as_slice(), &[&self.id]].concat())
            }
            _ => self.command(&[verb, &self.id]),
        }
    }

    fn does(&self, verb: &str) -> bool {
        self.verb(verb).status().expect("the binary can be executed").success()
    }

    fn make(&self) {
        assert!(self.does("create"), "{}", self.output());
    }

    fn make_ended(&self) {
        self.make();
        kill(self.t.pid(&self.id), libc::SIGKILL);
        self.t.wait_for(&self.id, "stopped");
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", "rootfs", "rootfs/dev", "rootfs/tmp", "rootfs/etc"] {
            let entries = fs::read_dir(Path::new(self.bundle.path()).join(folder)).expect("the bundle");
            found.extend(entries.flatten().map(|e| e.path().to_string_lossy().into_owned()));
        }
        found.sort();
        found
    }

    /// `delete --force`, and then nothing is left.
    fn clean(&self) -> Result<(), String> {
        let status = self.command(&["delete", "--force", &self.id]).status().expect("the binary can be executed");
        if !status.success() {
            return Err(format!("delete --force: {status}: {}", self.output()));
        }
        let _none = fs::remove_file(&self.pid_file);
        self.is_gone()
    }

    /// What is there of the container, after a moment for what is ending.
    fn is_gone(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(3);
        while children_left() {
            if Instant::now() > end {
                return Err("a process is left".to_owned());
            }
            sleep(Duration::from_micros(200));
        }
        let root = self.t.dir().join("root");
        let state = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
        let files = [self.t.dir().join("tmp"), self.t.dir().join("run")];
        let files = files.iter().flat_map(|dir| fs::read_dir(dir).expect("the test's")).flatten().map(|e| e.path());
        let cgroups = self.cgroups.iter().filter(|path| path.exists()).cloned();
        let left: Vec<PathBuf> = state.chain(files).chain(cgroups).collect();
        let mounts: Vec<String> =
            host::mounts().into_iter().map(|m| m.line).filter(|line| line.contains(self.t.tag())).collect();
        let scopes = if self.t.by_systemd() { super::systemd::scopes(self.t.tag()) } else { Vec::new() };
        if !scopes.is_empty() {
            return Err(format!("left: {scopes:?}"));
        }
        let tree = self.tree();
        if !left.is_empty() || !mounts.is_empty() {
            return Err(format!("left: {left:?} {mounts:?}"));
        }
        if !self.rootfs.is_empty() && tree != self.rootfs {
            return Err(format!("the bundle has changed: {tree:?}"));
        }
        Ok(())
    }

    /// The failed call said so once, in the log and on stderr, and where.
    fn said_why(&self, place: &str, errno: i32) -> Result<(), String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let records: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let errors: Vec<&Value> = records.iter().filter(|r| r["level"] == "error").collect();
        let [error] = errors.as_slice() else {
            return Err(format!("{} errors in the log {log:?}, and {:?}", errors.len(), self.output()));
        };
        let message = error["msg"].as_str().unwrap_or_default();
        if message.is_empty() || !self.output().contains(message) {
            return Err(format!("stderr says {:?}, the log {log:?}", self.output()));
        }
        let why = std::io::Error::from_raw_os_error(errno).to_string().to_lowercase();
        let why = why.split(" (os error").next().unwrap_or_default();
        let call = place.split(' ').nth(1).unwrap_or_default();
        let named = !error["phase"].is_null()
            || !error["call"].is_null()
            || message.contains(call)
            || message.contains("exec: ")
            || place.starts_with("init accept4")
            // Init waits already, and can only end: `start` finds nobody.
            || ["init ppoll", "init close_range", "init rt_sigprocmask", "init signalfd4"]
                .iter()
                .any(|wait| place.starts_with(wait));
        let elsewhere = SAID_BY_A_LATER_STEP.iter().any(|beginning| place.starts_with(beginning));
        if !named || !elsewhere && !message.to_lowercase().contains(why) {
            return Err(format!("neither {why:?} nor where: {error}"));
        }
        Ok(())
    }
}

/// Every n-th place, so that what was measured of one fits the budget `share` times.
fn stride(one: Duration, places: usize, share: u32) -> usize {
    let whole = one * places as u32 * share;
    (whole.as_millis() / BUDGET.as_millis()) as usize + 1
}

/// Kills the runtime at its n-th call, for every n until it gets to its end.
fn killed_at_every_call(t: &Context, verb: &str, prepare: &dyn Fn(&Field), hold_init: bool) -> Outcome {
    t.needs_root()?;
    let field = Field::new(t);
    let mut failures = Vec::new();
    let follow = if hold_init { Follow::Child } else { Follow::Runtime };
    let mut at = 0;
    let mut step = 1;
    let mut kills = 0;
    loop {
        prepare(&field);
        let began = Instant::now();
        let mut seen = 0;
        let mut place = String::new();
        let end = trace(&mut field.verb(verb), follow, &mut |entry: &Entry| {
            if entry.role == Role::Init {
                return Act::Hold;
            }
            if entry.role != Role::Runtime {
                return Act::Go;
            }
            seen += 1;
            // Where it would wait for the init that is held it is killed, too.
            let blocks = hold_init && entry.number == libc::SYS_ppoll && seen > 5;
            if seen > at || blocks {
                place = format!("{seen}: {}", entry.describe());
                return Act::KillRuntime;
            }
            Act::Go
        });
        if let Err(error) = &end {
            failures.push(format!("{place}: {error}"));
        }
        if let Err(error) = field.clean() {
            failures.push(format!("{place}: {error}"));
        }
        if end == Ok(0) || seen <= at && end.is_ok() {
            break;
        }
        kills += 1;
        if at == 0 {
            step = stride(began.elapsed() * 2, 150, 1);
        }
        at += step;
    }
    println!("# {kills} kills of {verb}, every {step}");
    assert!(kills > 10 / step, "it was killed {kills} times only");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn create_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "create", &|_| {}, false)
}

fn run_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "run", &|_| {}, false)
}

/// Init asks for its parent's end as a signal only when that has come already: the socket tells it.
fn create_killed_before_init_begins(t: &Context) -> Outcome {
    killed_at_every_call(t, "create", &|_| {}, true)
}

fn start_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "start", &|field| field.make(), false)
}

fn kill_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "kill", &|field| field.make(), false)
}

fn update_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "update", &|field| field.make(), false)
}

fn delete_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "delete", &|field| field.make(), false)
}

fn delete_of_an_ended_one_killed(t: &Context) -> Outcome {
    killed_at_every_call(t, "delete", &|field| field.make_ended(), false)
}

/// Kills the runtime while init is at its n-th call.
fn create_killed_beside_init(t: &Context) -> Outcome {
    t.needs_root()?;
    let field = Field::new(t);
    let mut failures = Vec::new();
    let mut done: HashMap<String, usize> = HashMap::new();
    let mut kills = 0;
    let began = Instant::now();
    loop {
        let mut place = String::new();
        let end = trace(&mut field.verb("create"), Follow::Child, &mut |entry: &Entry| {
            if entry.role == Role::Runtime || !place.is_empty() {
                return Act::Go;
            }
            match first_of_its_kind(entry, &mut done, &mut HashMap::new(), 1) {
                Some(what) => {
                    place = what;
                    Act::KillRuntime
                }
                None => Act::Go,
            }
        });
        let cleaned = field.clean();
        for error in [end.clone().err(), cleaned.err()].into_iter().flatten() {
            failures.push(format!("{place}: {error}"));
        }
        if place.is_empty() || began.elapsed() > BUDGET {
            break;
        }
        kills += 1;
    }
    println!("# {kills} kills beside init");
    assert!(kills > 10, "it was killed {kills} times only");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// How many calls of a kind are tried: those that loop over signals, capabilities or descriptors are all alike.
fn repetitions(entry: &Entry) -> usize {
    match entry.number {
        libc::SYS_close | libc::SYS_rt_sigaction | libc::SYS_prctl => 2,
        _ => 100,
    }
}

/// What the call does, unless that has been tried: `done` remembers over all runs, `now` counts in this one.
/// The same thing is tried up to `times` times.
fn first_of_its_kind(
    entry: &Entry,
    done: &mut HashMap<String, usize>,
    now: &mut HashMap<String, usize>,
    times: usize,
) -> Option<String> {
    let what = entry.describe();
    if NEVER_FAIL.contains(&what.as_str()) {
        return None;
    }
    let nth = now.entry(what.clone()).or_default();
    *nth += 1;
    let tried = done.entry(what.clone()).or_default();
    // Tried once for each of the first `times` places where it is done.
    if *nth <= *tried || *tried >= times {
        return None;
    }
    *tried += 1;
    Some(what)
}

/// `start` killed after it has taken the socket's file away: the container must not wait for ever, called running.
fn killed_start_leaves_no_waiting_init(t: &Context) -> Outcome {
    t.needs_root()?;
    let field = Field::new(t);
    field.make();
    let mut connected = false;
    let end = trace(&mut field.verb("start"), Follow::Runtime, &mut |entry: &Entry| {
        connected |= entry.number == libc::SYS_unlinkat;
        if connected && entry.number == libc::SYS_sendmsg { Act::KillRuntime } else { Act::Go }
    });
    assert_eq!(end, Ok(-libc::SIGKILL));
    t.wait_for(&field.id, "stopped");
    field.clean().expect("all of it is removed");
    Ok(())
}

/// Lets each call fail with each of these errors, one at a time.
fn each_fails(t: &Context, verb: &str, errnos: &[i32], follow_child: bool, prepare: &dyn Fn(&Field)) -> Outcome {
    t.needs_root()?;
    let field = Field::new(t);
    let mut failures = Vec::new();
    let (mut injected, mut succeeded) = (0, 0);
    let began = Instant::now();
    for (number, &errno) in errnos.iter().enumerate() {
        let mut done = HashMap::new();
        let share = BUDGET * (number as u32 + 1) / errnos.len() as u32;
        loop {
            prepare(&field);
            let mut now = HashMap::new();
            let mut place = String::new();
            let follow = match (follow_child, verb) {
                (true, "start") => Follow::Also(t.pid(&field.id)),
                (true, _) => Follow::Child,
                (false, _) => Follow::Runtime,
            };
            let end = trace(&mut field.verb(verb), follow, &mut |entry: &Entry| {
                if !place.is_empty() || errno == libc::EINTR && !is_interruptible(entry) {
                    return Act::Go;
                }
                match first_of_its_kind(entry, &mut done, &mut now, repetitions(entry)) {
                    Some(what) => {
                        place = what;
                        Act::Fail(errno)
                    }
                    None => Act::Go,
                }
            });
            if place.is_empty() || began.elapsed() > share {
                field.clean().expect("nothing was injected");
                break;
            }
            injected += 1;
            succeeded += usize::from(end == Ok(0));
            let name = std::io::Error::from_raw_os_error(errno).to_string();
            if let Err(error) = judge(&field, verb, errno, &place, end) {
                failures.push(format!("{place} ({name}): {error}"));
            }
            if let Err(error) = field.clean() {
                failures.push(format!("{place} ({name}): afterwards {error}"));
            }
        }
    }
    println!("# {injected} failures of {verb}, {succeeded} tolerated");
    assert!(injected > 5, "{injected} failures only");
    assert!(failures.is_empty(), "{} of {injected}:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Calls that a signal's handler interrupts: a program that embeds the runtime has some.
fn is_interruptible(entry: &Entry) -> bool {
    matches!(
        entry.number,
        libc::SYS_read
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_openat
            | libc::SYS_openat2
            | libc::SYS_connect
            | libc::SYS_accept4
            | libc::SYS_flock
            | libc::SYS_waitid
            | libc::SYS_ppoll
            | libc::SYS_sendmsg
            | libc::SYS_clock_nanosleep
    )
}

fn judge(field: &Field, verb: &str, errno: i32, place: &str, end: Result<i32, String>) -> Result<(), String> {
    let code = end?;
    if code == 0 {
        let named =
            |(beginning, errnos, _): &&(&str, &[i32], &str)| place.starts_with(beginning) && errnos.contains(&errno);
        // The signal is sent; only where the container is frozen it would have to be thawed as well.
        let asked = verb == "kill" && place.ends_with("freezer.self_freezing");
        // Init has told create that it waits.
        let made = verb == "create"
            && ["init accept4", "init close_range", "init rt_sigprocmask", "init signalfd4", "init ppoll"]
                .contains(&place);
        if errno != libc::EINTR && !made && !asked && !TOLERATED.iter().any(|entry| named(&entry)) {
            return Err("it succeeded all the same".to_owned());
        }
        return match verb {
            // It had been made, and ended then: whoever starts it is told so.
            "create" if made && errno != libc::EINTR => match field.does("start") {
                true => Err("it was started without accept4(2)".to_owned()),
                false => Ok(()),
            },
            "create" if !field.does("start") => Err(format!("start does not work then: {}", field.output())),
            _ => Ok(()),
        };
    }
    if place == "runtime mmap" && code == 134 && field.output().contains("memory allocation") {
        // The heap: nothing can be logged without memory, so it is said on standard error.
        return Ok(());
    }
    if errno == libc::EINTR {
        return Err(format!("ended with {code}: {}", field.output()));
    }
    if code < 0 {
        return Err(format!("killed by signal {}", -code));
    }
    if BEFORE_THE_LOG.iter().any(|end| place.ends_with(end)) {
        assert!(!field.output().is_empty(), "no error on standard error");
    } else {
        field.said_why(place, errno)?;
    }
    match verb {
        // Nothing was made, so nothing is left.
        "create" => field.is_gone(),
        _ => Ok(()),
    }
}

fn run_eperm(t: &Context) -> Outcome {
    each_fails(t, "run", &[libc::EPERM], true, &|_| {})
}

fn run_enomem(t: &Context) -> Outcome {
    each_fails(t, "run", &[libc::ENOMEM], true, &|_| {})
}

fn run_eio(t: &Context) -> Outcome {
    each_fails(t, "run", &[libc::EIO], true, &|_| {})
}

fn run_eintr(t: &Context) -> Outcome {
    each_fails(t, "run", &[libc::EINTR], true, &|_| {})
}

fn create_eperm(t: &Context) -> Outcome {
    each_fails(t, "create", &[libc::EPERM], true, &|_| {})
}

fn create_enomem(t: &Context) -> Outcome {
    each_fails(t, "create", &[libc::ENOMEM], true, &|_| {})
}

fn create_eio(t: &Context) -> Outcome {
    each_fails(t, "create", &[libc::EIO], true, &|_| {})
}

fn create_eintr(t: &Context) -> Outcome {
    each_fails(t, "create", &[libc::EINTR], true, &|_| {})
}

fn start_fails(t: &Context) -> Outcome {
    each_fails(t, "start", ANY, true, &|field| field.make())
}

fn start_eintr(t: &Context) -> Outcome {
    each_fails(t, "start", &[libc::EINTR], true, &|field| field.make())
}

fn kill_fails(t: &Context) -> Outcome {
    each_fails(t, "kill", ANY, false, &|field| field.make())
}

/// Of a container that has ended, and of one that runs.
fn delete_fails(t: &Context) -> Outcome {
    each_fails(t, "delete", ANY, false, &|field| field.make_ended())
}

fn state_fails(t: &Context) -> Outcome {
    each_fails(t, "state", ANY, false, &|field| field.make())
}
