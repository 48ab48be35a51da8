//! Real engines on the binary: each test has a network and a `/run` of its own, in which it starts the engine's daemons
//! on folders of its own, and ends exactly those.
//!
//! `RUNTIME` names another runtime for the same scenarios.

pub mod containerd;
pub mod image;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::command::{Orlop, Running};
use crate::context::{Context, Skip};
use crate::{host, leaks, processes};

/// How long a daemon may take to answer or to end, and a container to be cleared away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Debian's packages put programs; a client of another origin may come before them in `PATH`.
const PROGRAMS: [&str; 5] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/libexec/podman"];

/// What may run when no container does.
const DAEMONS: [&str; 2] = ["containerd", "dockerd"];

/// A command that runs the rest of its arguments as this program, with no network but the loopback device, and with
/// mounts and a `/run` that nobody else sees.
pub fn apart() -> Command {
    const SCRIPT: &str = "mount -t tmpfs -o mode=755 tmpfs /run && busybox ip link set lo up && exec \"$@\"";
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
        let cgroups = leaks::cgroups_of(tag).into_iter().filter(|path| !path.ends_with(tag));
        left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        for folder in &self.empty {
            left.extend(leaks::names(folder).iter().map(|name| format!("file {}", folder.join(name).display())));
        }
        left
    }

    /// All containers have been removed: nothing of them is left.
    #[track_caller]
    pub fn is_clean(&self) {
        let end = Instant::now() + PATIENCE / 3;
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
        for cgroup in leaks::cgroups_of(self.t.tag()) {
            fs::remove_dir(&cgroup).unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
        }
    }
}

impl Drop for Engine<'_> {
    /// A test has failed: what its daemons said of that.
    fn drop(&mut self) {
        for (name, daemon) in &self.daemons {
            let log = daemon.output().stderr();
            let serious = |line: &&str| ["level=error", "level=fatal", "level=warn"].iter().any(|w| line.contains(w));
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

fn targets() -> HashSet<PathBuf> {
    host::mounts().into_iter().map(|mount| mount.target).collect()
}
