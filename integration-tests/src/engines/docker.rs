//! Docker's daemon with the binary as its default runtime, driven by the client of the same package.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::command::{Done, Orlop};
use crate::context::{Context, Skip};
use crate::engines::cases::removed;
use crate::engines::crash::{Shims, TWO};
use crate::engines::{Engine, image, runtime, tool};

pub struct Docker<'t> {
    pub engine: Engine<'t>,
    options: Vec<String>,
}

impl<'t> Docker<'t> {
    pub fn start(t: &'t Context) -> Result<Docker<'t>, Skip> {
        Docker::with(t, &json!({}))
    }

    /// A daemon with the image, and these settings besides. It starts a containerd of its own.
    pub fn with(t: &'t Context, settings: &Value) -> Result<Docker<'t>, Skip> {
        let mut config = json!({ "runtimes": { "orlop": { "path": runtime(t) } }, "default-runtime": "orlop" });
        for (key, value) in settings.as_object().expect("settings are an object") {
            config[key] = value.clone();
        }
        let file = t.dir().join("daemon.json");
        fs::write(&file, config.to_string()).expect("the test's folder is writable");
        Docker::configured(t, &file)
    }

    /// A daemon of that configuration, and what keeps it to itself.
    pub fn configured(t: &'t Context, config: &Path) -> Result<Docker<'t>, Skip> {
        let engine = Engine::new(t)?;
        let data = engine.folder("docker");
        let options = [
            ("--config-file", config.display().to_string()),
            ("--data-root", data.display().to_string()),
            ("--cgroup-parent", format!("/{}", t.tag())),
            ("--storage-driver", "overlay2".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let mut docker = Docker { engine, options };
        for folder in ["runtime-orlop/moby", "containerd/daemon/io.containerd.runtime.v2.task/moby"] {
            docker.engine.watch(format!("/run/docker/{folder}"));
        }
        docker.launch()?;
        // It stays from the first container in the host's network on.
        docker.engine.expect_mount("/run/docker/netns/default");
        let archive = image::archive(t.dir())?;
        docker.call(&["load", "--input", archive.to_str().expect("a plain path")]).end().ok();
        Ok(docker)
    }

    /// Starts the daemon, anew after `stop`.
    pub fn launch(&mut self) -> Result<(), Skip> {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let call = self.engine.call("dockerd", &options)?;
        let (t, docker) = (self.engine.t, tool("docker")?);
        self.engine.start("dockerd", call, || {
            Orlop::program(t, &docker, &["version"]).env("HOME", "/nonexistent").end().code() == 0
        });
        Ok(())
    }

    pub fn stop(&mut self, signal: Signal) {
        self.engine.stop("dockerd", signal);
    }

    /// `docker WORD...`
    pub fn call(&self, words: &[&str]) -> Orlop {
        let call = self.engine.call("docker", words).unwrap_or_else(|skip| panic!("{}", skip.0));
        call.env("HOME", "/nonexistent")
    }

    /// `docker run OPTION... IMAGE WORD...`
    pub fn run(&self, options: &[&str], words: &[&str]) -> Orlop {
        self.call(&[&["run"], options, &[image::NAME], words].concat())
    }

    /// A container of that name in the background.
    #[track_caller]
    pub fn detach(&self, options: &[&str], name: &str, words: &[&str]) {
        self.run(&[&["--detach", "--name", name], options].concat(), words).end().ok();
    }

    pub fn exec(&self, options: &[&str], name: &str, words: &[&str]) -> Done {
        self.call(&[&["exec"], options, &[name], words].concat()).end()
    }

    /// A field of `docker inspect`, by Go's template.
    #[track_caller]
    pub fn inspect(&self, name: &str, field: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{{field}}}}}"), name]).end().ok().stdout().trim().to_owned()
    }

    #[track_caller]
    pub fn remove(&self, name: &str) {
        removed(|| self.call(&["rm", "--force", "--volumes", name]).end());
    }
}

impl<'t> Shims<'t> for Docker<'t> {
    fn engine(&self) -> &Engine<'t> {
        &self.engine
    }

    fn stop(&mut self, signal: Signal) {
        Docker::stop(self, signal);
    }

    fn launch(&mut self) -> Result<(), Skip> {
        Docker::launch(self)
    }

    fn detach(&self, name: &str) {
        Docker::detach(self, &[], name, TWO);
    }

    fn pause(&self, name: &str) {
        self.call(&["pause", name]).end().ok();
    }

    fn pid(&self, name: &str) -> i32 {
        self.inspect(name, ".State.Pid").parse().expect("a pid")
    }

    fn runs(&self, name: &str) -> bool {
        self.inspect(name, ".State.Running") == "true"
    }

    fn clear(&self, name: &str) {
        self.remove(name);
    }

    fn works(&self, name: &str) {
        self.run(&["--rm", "--name", name], &["true"]).end().ok();
    }
}
