//! Podman and Buildah, of root or of an ordinary user, on storage of the test's own. There is no daemon: conmon and a
//! `podman container cleanup` for each container, and the networks' helpers.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::mount::UnmountFlags;

use crate::command::{Done, Orlop};
use crate::context::{Context, Skip};
use crate::engines::cases::{self, heard};
use crate::engines::user::{self, USER};
use crate::engines::{Engine, image, runtime, tool, until};
use crate::{leaks, processes};

/// Limits are named because Podman's default raises them, which takes a capability that not every root has; each twice
/// the same, because Podman 4.3 exchanges the two where no command line names them.
const CONFIG: &str = r#"
[containers]
default_ulimits = ["nofile=2048:2048", "nproc=8192:8192"]
@pids
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "orlop"
runtime_supports_json = ["orlop"]
runtime_supports_nocgroup = ["orlop"]
@folders
[engine.runtimes]
orlop = ["@runtime"]
[network]
network_backend = "netavark"
network_config_dir = "@dir/podman/networks"
"#;

pub struct Podman<'t> {
    pub engine: Engine<'t>,
    /// Whose containers they are.
    user: Option<u32>,
}

impl<'t> Podman<'t> {
    /// With the image, as root.
    pub fn of_root(t: &'t Context) -> Result<Podman<'t>, Skip> {
        Podman::configured(t, None)?.loaded()
    }

    /// With the image, as a user who has subordinate ids, or only the own one.
    pub fn of_user(t: &'t Context, subordinate: bool) -> Result<Podman<'t>, Skip> {
        tool("newuidmap")?;
        let podman = Podman::configured(t, Some(USER))?;
        podman.become_known(subordinate);
        podman.loaded()
    }

    fn configured(t: &'t Context, user: Option<u32>) -> Result<Podman<'t>, Skip> {
        let mut engine = Engine::new(t)?;
        let folder = engine.folder("podman");
        let dir = t.dir().to_str().expect("a plain path");
        // The first where the monitor's own call of Podman looks, which knows the storage alone.
        let folders = [("static_dir", "storage/libpod"), ("tmp_dir", "tmp_dir"), ("volume_path", "volume_path")]
            .map(|(name, folder)| format!("{name} = \"{dir}/podman/{folder}\"\n"));
        let config = CONFIG
            .replace("@folders", if user.is_none() { folders.concat() } else { String::new() }.trim_end())
            .replace("@pids", if t.host.has_controller("pids") { "" } else { "pids_limit = 0" })
            .replace("@runtime", runtime(t).to_str().expect("a plain path"))
            .replace("@dir", dir);
        write(&folder.join("containers.conf"), &config);
        let storage = format!(
            "[storage]\ndriver = \"{}\"\nrunroot = \"{dir}/podman/runroot\"\ngraphroot = \"{dir}/podman/storage\"\n",
            if user.is_none() { "overlay" } else { "vfs" }
        );
        write(&folder.join("storage.conf"), &storage);
        // Podman waits until a monitor's number and cgroup are free.
        std::thread::spawn(|| {
            loop {
                processes::reap_adopted(&["podman", "buildah", "bash", "setpriv", "setsid"]);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        for name in ["orlop", "runc", "crun"] {
            engine.watch(user.map_or(format!("/run/{name}"), |_| format!("/run/user/{name}")));
        }
        Ok(Podman { engine, user })
    }

    fn become_known(&self, subordinate: bool) {
        let t = self.engine.t;
        user::become_known(t, subordinate);
        fs::create_dir_all("/run/user").expect("/run is ours");
        let folders = [t.dir().to_str().expect("a plain path"), "/run/user"];
        let status = Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).args(folders).status();
        assert!(status.expect("chown is there").success());
    }

    fn loaded(mut self) -> Result<Podman<'t>, Skip> {
        for name in ["podman", "conmon", "catatonit"] {
            tool(name)?;
        }
        let archive = image::archive(self.engine.t.dir())?;
        self.podman(&["load", "--quiet", "--input", archive.to_str().expect("a plain path")]).end().ok();
        // What the storage and the networks mount once stays.
        self.engine.mounts.extend(super::targets());
        for stays in ["/run/netns".into(), self.engine.t.dir().join("podman/storage/overlay")] {
            self.engine.mounts.insert(stays);
        }
        Ok(self)
    }

    pub fn podman(&self, args: &[&str]) -> Orlop {
        self.program("podman", args)
    }

    pub fn program(&self, name: &str, args: &[&str]) -> Orlop {
        let call = self.engine.call(name, args).unwrap_or_else(|skip| panic!("{}", skip.0));
        let folder = self.engine.folder("podman");
        let file = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
        let call =
            call.env("CONTAINERS_CONF", &file("containers.conf")).env("CONTAINERS_STORAGE_CONF", &file("storage.conf"));
        let home = self.engine.t.dir().join("home");
        let call = call.env("HOME", home.to_str().expect("a plain path"));
        match self.user {
            None => call,
            Some(user) => call.env("XDG_RUNTIME_DIR", "/run/user").through_bash(&format!(
                "exec setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all \"$@\""
            )),
        }
    }

    /// `podman COMMAND OPTION... IMAGE WORD...`, with the test's tag as the parent of its cgroup, where there is one.
    pub fn container(&self, command: &str, options: &[&str], words: &[&str]) -> Orlop {
        let parent = format!("/{}", self.engine.t.tag());
        let mut args = vec![command];
        if self.user.is_none() && !options.iter().any(|option| ["--cgroups", "--pod"].contains(option)) {
            args.extend(["--cgroup-parent", &parent]);
        }
        if !options.contains(&"--network") && !options.contains(&"--pod") {
            args.extend(["--network", "none"]);
        }
        args.extend(options);
        args.push(image::NAME);
        args.extend(words);
        self.podman(&args)
    }

    /// `podman run --rm OPTION... IMAGE sh -c SCRIPT`
    pub fn run(&self, options: &[&str], script: &str) -> Orlop {
        self.container("run", &[&["--rm"], options].concat(), &["sh", "-c", script])
    }

    /// What [`Podman::run`] prints when it ends with status 0.
    #[track_caller]
    pub fn prints(&self, options: &[&str], script: &str, lines: &[&str]) {
        heard(|| self.outcome(options, &["sh", "-c", script])).ok().prints(lines);
    }

    /// `podman run --rm OPTION... IMAGE WORD...` to its end.
    pub fn outcome(&self, options: &[&str], words: &[&str]) -> Done {
        self.container("run", &[&["--rm"], options].concat(), words).end()
    }

    /// Kills a container and removes it.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        cases::removed(|| self.podman(&["rm", "--force", "--ignore", "--time", "0", name]).end());
    }

    /// A container of that name in the background.
    #[track_caller]
    pub fn detach(&self, options: &[&str], name: &str, words: &[&str]) {
        self.container("run", &[&["--detach", "--name", name], options].concat(), words).end().ok();
    }

    /// `podman inspect --format FORMAT NAME`
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.podman(&["inspect", "--format", format, name]).end().ok().stdout().trim().to_owned()
    }

    /// Nothing of a container is left, but for what Podman leaves with any runtime.
    #[track_caller]
    pub fn is_clean(&self) {
        until("what Podman leaves can be removed", || {
            let cgroups = leaks::cgroups_of(self.engine.t.tag());
            cgroups.iter().rev().filter(|path| is_left_by_podman(path)).all(|path| fs::remove_dir(path).is_ok())
        });
        if self.user.is_some() {
            // Ends the process that keeps the user's namespace.
            self.podman(&["system", "migrate"]).end().ok();
        }
        self.engine.is_clean();
    }

    #[track_caller]
    pub fn end(self) {
        self.is_clean();
        let own = self.engine.t.dir().join("podman/storage/overlay");
        if super::targets().contains(&own) {
            rustix::mount::unmount(&own, UnmountFlags::DETACH).expect("it was mounted");
        }
        if self.user.is_some() {
            user::forget();
        }
        self.engine.end();
    }
}

/// The cgroup of its monitors; and, as Podman removes a pod's from the hierarchies that it set limits in, the pod's in
/// those without controllers, where the runtime makes it for the container inside.
fn is_left_by_podman(cgroup: &Path) -> bool {
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = cgroup.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let bare = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
    name == "conmon" || is_id(name) && bare.iter().any(|top| cgroup.starts_with(top))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the test's folder is writable");
}
