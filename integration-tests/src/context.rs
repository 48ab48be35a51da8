//! What a test gets: its folder, ids of its own, bundles, and the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bundle::Bundle;
use crate::command::{Done, Orlop, Running};
use crate::host::{Host, Layout};
use crate::processes;
use crate::runner::Options;

/// How long a container may take to reach a state; generous, for an emulated machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The test does not apply here; the text says why.
pub struct Skip(pub String);

pub struct Context {
    dir: PathBuf,
    tag: String,
    orlop: PathBuf,
    global: Vec<String>,
    pub host: Host,
}

impl Context {
    pub fn new(options: &Options, dir: String, tag: String) -> Context {
        let dir = PathBuf::from(dir);
        for name in ["root", "tmp", "run"] {
            fs::create_dir(dir.join(name)).expect("the test's folder is writable");
        }
        Context {
            dir,
            tag,
            orlop: options.orlop.clone().expect("it was found"),
            global: options.global.clone(),
            host: Host::probe(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A word that no other test has, in every id: what is found with it is this test's.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn binary(&self) -> &Path {
        &self.orlop
    }

    /// A container id of this test.
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// A bundle of the default configuration with a root file system that holds the probe.
    pub fn bundle(&self) -> Bundle {
        Bundle::new(self, "bundle")
    }

    /// A second bundle of the same kind.
    pub fn bundle_again(&self) -> Bundle {
        Bundle::new(self, "bundle-2")
    }

    /// The binary with `--root` and a JSON log of this test's own, and these arguments.
    pub fn orlop(&self, args: &[&str]) -> Orlop {
        Orlop::new(self, args)
    }

    pub fn bare_orlop(&self, args: &[&str]) -> Orlop {
        Orlop::bare(self, args)
    }

    pub fn global(&self) -> &[String] {
        &self.global
    }

    /// Whether systemd makes the cgroups.
    pub fn by_systemd(&self) -> bool {
        self.global.iter().any(|arg| arg == "--systemd-cgroup")
    }

    /// `orlop run` in the foreground.
    pub fn run(&self, bundle: &Bundle) -> Done {
        self.orlop(&["run", "--bundle", bundle.path(), &self.id("c")]).end()
    }

    pub fn create(&self, bundle: &Bundle, id: &str) -> Done {
        self.orlop(&["create", "--bundle", bundle.path(), id]).end()
    }

    /// `run --detach`, which must work.
    pub fn detach(&self, bundle: &Bundle, id: &str) -> Done {
        self.orlop(&["run", "--detach", "--bundle", bundle.path(), id]).end().ok()
    }

    /// A container whose program has ended.
    pub fn stopped(&self) -> String {
        let id = self.id("c");
        self.detach(&self.bundle(), &id);
        self.wait_for(&id, "stopped");
        id
    }

    pub fn state(&self, id: &str) -> Value {
        self.orlop(&["state", id]).end().ok().json()
    }

    pub fn pid(&self, id: &str) -> i32 {
        self.state(id)["pid"].as_i64().expect("state has a pid") as i32
    }

    pub fn wait_for(&self, id: &str, status: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.state(id)["status"].clone();
            if now == status {
                return;
            }
            assert!(Instant::now() < end, "{id} is {now}, and does not become {status}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "not so yet: {what}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the container's output has that text.
    pub fn wait_for_output(&self, done: &Done, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !done.stdout().contains(text) {
            assert!(Instant::now() < end, "{text:?} does not come; there is {:?}", done.stdout());
            sleep(Duration::from_millis(5));
        }
    }

    /// The same of a call in the foreground, which must not end before.
    pub fn wait_for_output_of(&self, running: &mut Running, text: &str) {
        let output = running.output();
        while !output.stdout().contains(text) && !running.has_ended() {
            sleep(Duration::from_millis(5));
        }
        let (out, err) = (output.stdout(), output.stderr());
        assert!(out.contains(text), "{text:?} did not come: stdout {out:?}, stderr {err:?}");
    }

    pub fn delete(&self, id: &str) {
        self.orlop(&["delete", "--force", id]).end().ok();
    }

    /// Ends what `exec --detach` has left, as an engine does, and deletes the container: the first process of a pid
    /// namespace does not end before the parents of all others in it have taken their exit statuses.
    pub fn delete_with_executed(&self, id: &str) {
        let init = self.pid(id);
        for process in processes::living_below(std::process::id() as i32) {
            let inside = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            if process.pid != init && inside(process.pid).is_some() && inside(process.pid) == inside(init) {
                processes::kill(process.pid, rustix::process::Signal::KILL);
                let pid = rustix::process::Pid::from_raw(process.pid);
                // Gone where it was no child of ours, but a child of one.
                let _ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
            }
        }
        self.delete(id);
    }

    /// The folder of that process's cgroup; `controller` is a v1 name, of no interest on v2.
    pub fn cgroup_of(&self, pid: i32, controller: &str) -> PathBuf {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
        let top = Path::new("/sys/fs/cgroup");
        for line in table.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let relative = path.trim_start_matches('/');
            match self.host.layout {
                Layout::V2 if names.is_empty() => return top.join(relative),
                Layout::V1 if names.split(',').any(|name| name == controller) => {
                    return top.join(controller).join(relative);
                }
                _ => {}
            }
        }
        panic!("no {controller} cgroup in {table}");
    }

    pub fn needs_root(&self) -> Result<(), Skip> {
        if self.host.uid == 0 { Ok(()) } else { Err(Skip("needs root".into())) }
    }

    pub fn needs_controller(&self, name: &str) -> Result<(), Skip> {
        if self.host.has_controller(name) {
            return Ok(());
        }
        Err(Skip(format!("no {name} controller in {:?}", self.host.layout)))
    }
}
