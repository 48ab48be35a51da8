//! containerd with its `runc.v2` shim, driven by `ctr`.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::command::{Done, Orlop};
use crate::context::{Context, Skip};
use crate::engines::crash::{Shims, TWO};
use crate::engines::{Engine, image, runtime};

/// What the image needs none of, and what would look for devices and networks of the host.
const DISABLED: [&str; 6] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
];

static EXECS: AtomicUsize = AtomicUsize::new(0);

pub struct Containerd<'t> {
    pub engine: Engine<'t>,
    config: PathBuf,
    pub runtime: String,
}

impl<'t> Containerd<'t> {
    /// A daemon with the image. Its sockets and states are where they are by default, in this test's own `/run`.
    pub fn start(t: &'t Context) -> Result<Containerd<'t>, Skip> {
        let config = t.dir().join("config.toml");
        let text = format!("version = 2\ndisabled_plugins = {DISABLED:?}\n");
        fs::write(&config, text).expect("the test's folder is writable");
        Containerd::configured(t, config)
    }

    /// A daemon of that configuration.
    pub fn configured(t: &'t Context, config: PathBuf) -> Result<Containerd<'t>, Skip> {
        let engine = Engine::new(t)?;
        let runtime = runtime(t).to_str().expect("a plain path").to_owned();
        let mut containerd = Containerd { engine, config, runtime };
        // The namespace is the folder of its containers' cgroups.
        for folder in ["runc", "io.containerd.runtime.v2.task"] {
            containerd.engine.watch(format!("/run/containerd/{folder}/{}", t.tag()));
        }
        containerd.launch()?;
        let archive = image::archive(t.dir())?;
        containerd.ctr(&["image", "import", archive.to_str().expect("a plain path")]).end().ok();
        Ok(containerd)
    }

    /// Starts the daemon, anew after `stop`.
    pub fn launch(&mut self) -> Result<(), Skip> {
        let root = self.engine.folder("containerd");
        let (root, config) = (root.to_str().expect("a plain path"), self.config.to_str().expect("a plain path"));
        let call = self.engine.call("containerd", &["--root", root, "--config", config])?;
        let t = self.engine.t;
        let ctr = super::tool("ctr")?;
        self.engine.start("containerd", call, || Orlop::program(t, &ctr, &["version"]).end().code() == 0);
        Ok(())
    }

    pub fn stop(&mut self, signal: Signal) {
        self.engine.stop("containerd", signal);
    }

    pub fn ctr(&self, args: &[&str]) -> Orlop {
        let ctr = self.engine.call("ctr", args).unwrap_or_else(|skip| panic!("{}", skip.0));
        ctr.env("CONTAINERD_NAMESPACE", self.engine.t.tag())
    }

    /// `ctr run OPTION... IMAGE ID WORD...` with the runtime under test.
    pub fn run(&self, options: &[&str], id: &str, words: &[&str]) -> Orlop {
        let start: &[&str] = &["run", "--runc-binary", &self.runtime];
        self.ctr(&[start, options, &[image::NAME, id], words].concat())
    }

    /// A container of that name in the background.
    #[track_caller]
    pub fn detach(&self, options: &[&str], id: &str, words: &[&str]) {
        self.run(&[&["--detach"], options].concat(), id, words).end().ok();
    }

    /// `ctr task exec OPTION... ID WORD...`
    pub fn exec(&self, options: &[&str], container: &str, words: &[&str]) -> Orlop {
        // Never the same: a name stays taken where a client was not answered in time.
        let id = format!("e{}", EXECS.fetch_add(1, Ordering::Relaxed));
        let name: &[&str] = if options.contains(&"--exec-id") { &[] } else { &["--exec-id", &id] };
        self.ctr(&[&["task", "exec"], name, options, &[container], words].concat())
    }

    /// What `ctr task list` says of a container.
    pub fn status(&self, id: &str) -> Option<(i32, String)> {
        let list: Done = self.ctr(&["task", "list"]).end().ok();
        list.stdout().lines().skip(1).find_map(|line| {
            let mut words = line.split_whitespace();
            let (name, pid, status) = (words.next()?, words.next()?, words.next()?);
            (name == id).then(|| (pid.parse().expect("a pid"), status.to_owned()))
        })
    }

    /// Kills a container and removes it.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        self.ctr(&["task", "delete", "--force", id]).end().ok();
        self.ctr(&["container", "delete", id]).end().ok();
    }
}

impl<'t> Shims<'t> for Containerd<'t> {
    fn engine(&self) -> &Engine<'t> {
        &self.engine
    }

    fn stop(&mut self, signal: Signal) {
        Containerd::stop(self, signal);
    }

    fn launch(&mut self) -> Result<(), Skip> {
        Containerd::launch(self)
    }

    fn detach(&self, name: &str) {
        Containerd::detach(self, &[], name, TWO);
    }

    fn pause(&self, name: &str) {
        self.ctr(&["task", "pause", name]).end().ok();
    }

    fn pid(&self, name: &str) -> i32 {
        self.status(name).expect("it is listed").0
    }

    fn runs(&self, name: &str) -> bool {
        self.status(name).is_some_and(|(_, status)| status == "RUNNING")
    }

    fn clear(&self, name: &str) {
        // The daemon may have deleted the task already.
        self.ctr(&["task", "delete", "--force", name]).end();
        self.ctr(&["container", "delete", name]).end().ok();
    }

    fn works(&self, name: &str) {
        self.run(&["--rm"], name, &["true"]).end().ok();
    }
}
