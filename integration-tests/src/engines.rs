//! Real engines on the binary: each test has a network and a `/run` of its own, in which it starts the engine's daemons
//! on folders of its own, and ends exactly those.
//!
//! `RUNTIME` names another runtime for the same scenarios.

pub mod cases;
pub mod containerd;
pub mod crash;
pub mod cri;
pub mod docker;
pub mod image;
pub mod podman;
pub mod user;

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::command::{Orlop, Running};
use crate::context::{Context, Skip};
use crate::terminal::Terminal;
use crate::{host, leaks, processes};

const README: &str = include_str!("../../README.md");

/// How long a daemon may take to answer or to end, and a container to be cleared away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Debian's packages put programs; a client of another origin may come before them in `PATH`.
const PROGRAMS: [&str; 6] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/libexec/podman", "/usr/lib/podman"];

/// The runtime that every engine's package brings, which ours is measured beside.
pub const OTHER: &str = "/usr/sbin/runc";

/// What may run when no container does.
const DAEMONS: [&str; 2] = ["containerd", "dockerd"];

/// The folder that BuildKit puts its steps' cgroups in, below the parent that it was given.
const BUILDKIT: &str = "buildkit";

/// A command that runs the rest of its arguments as this program, with no network but the loopback device, and with
/// mounts and a `/run` that nobody else sees.
///
/// The mounts are shared among those who copy them, as systemd has them on every host: Podman gives the monitor of a
/// container with a user namespace a copy, in which the monitor's cleanup unmounts what has to go from here, too.
pub fn apart() -> Command {
    const SCRIPT: &str =
        "mount --make-rshared / && mount -t tmpfs -o mode=755 tmpfs /run && busybox ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "sh"]);
    command.arg(std::env::current_exe().expect("/proc is mounted"));
    command
}

/// An engine: its daemons, and where it and the runtime keep what they know of containers.
pub struct Engine<'t> {
    pub t: &'t Context,
    daemons: Vec<(&'static str, Running)>,
    /// Folders that hold nothing when there is no container.
    empty: Vec<PathBuf>,
    /// Mounts that there are without a container.
    mounts: HashSet<PathBuf>,
}

impl<'t> Engine<'t> {
    pub fn new(t: &'t Context) -> Result<Engine<'t>, Skip> {
        t.needs_root()?;
        Ok(Engine { t, daemons: Vec::new(), empty: Vec::new(), mounts: HashSet::new() })
    }

    /// A folder of the engine, made when it is missing.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.t.dir().join(name);
        fs::create_dir_all(&path).expect("the test's folder is writable");
        path
    }

    /// A call of one of the engine's programs.
    pub fn call(&self, program: &str, args: &[&str]) -> Result<Orlop, Skip> {
        let path = PROGRAMS.join(":");
        Ok(Orlop::program(self.t, &tool(program)?, args).env("PATH", &path))
    }

    /// Starts a daemon and waits until `ready` says so.
    pub fn start(&mut self, name: &'static str, call: Orlop, ready: impl Fn() -> bool) {
        let daemon = call.start();
        self.daemons.push((name, daemon));
        let end = Instant::now() + PATIENCE;
        while !ready() {
            let (_, daemon) = self.daemons.last_mut().expect("it was just put there");
            assert!(!daemon.has_ended(), "{name} ended: {}", daemon.output().stderr());
            assert!(Instant::now() < end, "{name} is not ready: {}", daemon.output().stderr());
            sleep(Duration::from_millis(10));
        }
        self.mounts.extend(targets());
    }

    /// What is mounted now is not a container's.
    pub fn begin(&mut self) {
        self.mounts.extend(targets());
    }

    /// Ends a daemon by that signal, and nothing else.
    pub fn stop(&mut self, name: &str, signal: Signal) {
        let at = self.daemons.iter().position(|(n, _)| *n == name).expect("it was started");
        let (_, mut daemon) = self.daemons.remove(at);
        processes::kill(daemon.pid(), signal);
        until(&format!("{name} ends"), || daemon.has_ended());
    }

    /// A folder that holds nothing when there is no container.
    pub fn watch(&mut self, folder: impl Into<PathBuf>) {
        self.empty.push(folder.into());
    }

    /// A mount that may be there without a container.
    pub fn expect_mount(&mut self, target: &str) {
        self.mounts.insert(PathBuf::from(target));
    }

    /// What there is of containers: nothing, when all have been removed.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for process in processes::living_below(std::process::id() as i32) {
            if !DAEMONS.contains(&process.name.as_str()) {
                left.push(format!("process {} ({})", process.pid, process.name));
            }
        }
        left.extend(targets().difference(&self.mounts).map(|target| format!("mount {}", target.display())));
        let tag = self.t.tag();
        let cgroups =
            leaks::cgroups_of(tag).into_iter().filter(|path| !path.ends_with(tag) && !path.ends_with(BUILDKIT));
        left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        for folder in &self.empty {
            left.extend(leaks::names(folder).iter().map(|name| format!("file {}", folder.join(name).display())));
        }
        left
    }

    /// All containers have been removed: nothing of them is left.
    #[track_caller]
    pub fn is_clean(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind by a container: {left:#?}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends the daemons. Nothing of any container is left, and the engine's own cgroup is removed.
    #[track_caller]
    pub fn end(mut self) {
        self.is_clean();
        while let Some((name, _)) = self.daemons.last() {
            self.stop(name, Signal::TERM);
        }
        // On a machine that is busy enough dockerd asks its containerd for its stacks, and starts it anew.
        let temporary = self.t.dir().join("tmp");
        for name in leaks::names(&temporary).iter().filter(|name| name.ends_with(".stacks.log")) {
            println!("# left by a daemon that did not answer: {name}");
            fs::remove_file(temporary.join(name)).expect("it is ours");
        }
        // A daemon that was killed left the mount of its own folder, which the next one covered.
        let ours = |mount: &&host::Mount| mount.target.starts_with(self.t.dir()) || mount.line.contains(self.t.tag());
        for mount in host::mounts().iter().rev().filter(ours) {
            unmount(&mount.target, UnmountFlags::DETACH).expect("it is ours");
        }
        for cgroup in leaks::cgroups_of(self.t.tag()).iter().rev() {
            fs::remove_dir(cgroup).unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
        }
    }
}

impl Drop for Engine<'_> {
    /// A test has failed: what its daemons said of that.
    fn drop(&mut self) {
        for (name, daemon) in &self.daemons {
            let log = daemon.output().stderr();
            let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
            // With any runtime, and after each container.
            let usual = [
                "after shim disconnected",
                "cleanup warnings",
                "copy shim log",
                "closed fifo",
                "devmapper",
                "does not support cgroup",
                "has been deprecated",
            ];
            let serious = |line: &&str| has(line, &["level=error", "level=fatal", "level=warn"]) && !has(line, &usual);
            let lines: Vec<&str> = log.lines().filter(serious).collect();
            for line in &lines[lines.len().saturating_sub(12)..] {
                println!("{name}: {line}");
            }
        }
    }
}

/// The runtime that the engines call.
pub fn runtime(t: &Context) -> PathBuf {
    std::env::var_os("RUNTIME").map_or_else(|| t.binary().to_owned(), PathBuf::from)
}

/// Whether the engines call the binary of this tree, which has commands that no other runtime has.
pub fn is_orlop(t: &Context) -> bool {
    runtime(t) == t.binary()
}

/// README's recipe of that name, word for word.
pub fn recipe(name: &str) -> &'static str {
    let mark = format!("<!-- recipe:{name} -->\n```");
    let (_, text) = README.split_once(&mark).unwrap_or_else(|| panic!("README has no recipe for {name}"));
    let (_, text) = text.split_once('\n').expect("the fence is a line");
    text.split_once("```").expect("the fence ends").0
}

/// Puts the runtime where `make install` does, and gives the test an `/etc` to write into. Nobody else sees either.
pub fn install(t: &Context) {
    for (target, name) in [("/etc", "etc"), ("/usr/local/bin", "bin")] {
        let folder = |kind: &str| {
            let path = t.dir().join(format!("{name}.{kind}"));
            fs::create_dir(&path).expect("the test's folder is writable");
            path
        };
        let (upper, work) = (folder("upper"), folder("work"));
        let options = format!("lowerdir={target},upperdir={},workdir={}", upper.display(), work.display());
        let options = CString::new(options).expect("a plain path");
        mount("overlay", target, "overlay", MountFlags::empty(), Some(&*options)).expect("overlayfs is there");
    }
    fs::copy(runtime(t), "/usr/local/bin/orlop").expect("it can be read");
}

/// Where a program of the distribution is.
pub fn tool(name: &str) -> Result<PathBuf, Skip> {
    let places = PROGRAMS.iter().map(|folder| Path::new(folder).join(name));
    places.into_iter().find(|path| path.exists()).ok_or_else(|| Skip(format!("{name} is not installed")))
}

#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "still waiting until {what}");
        sleep(Duration::from_millis(10));
    }
}

/// A shell's answer. The client listens, and sets the size, at its leisure once the program runs.
#[track_caller]
pub fn terminal_answers(terminal: &mut Terminal, command: &str, answer: &str) {
    until(&format!("{command} shows {answer}"), || {
        terminal.types(&format!("{command}\n"));
        terminal.has_shown(answer)
    });
}

/// A shell has a terminal of the client's size, which changes with that, and its exit status is the client's.
#[track_caller]
pub fn follows_its_terminal(running: Running, mut terminal: Terminal) {
    terminal_answers(&mut terminal, "tty", "/dev/pts/0");
    terminal_answers(&mut terminal, "stty size", "30 90");
    terminal.resize(20, 50);
    terminal_answers(&mut terminal, "stty size", "20 50");
    terminal.types("exit 4\n");
    running.end().exits(4);
}

/// The parent of a container's first process: its shim.
pub fn parent_of(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has one");
    parent.trim().parse().expect("a pid")
}

fn targets() -> HashSet<PathBuf> {
    host::mounts().into_iter().map(|mount| mount.target).collect()
}
