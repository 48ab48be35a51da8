//! A further process in a container that runs: the same steps, another planner.
//!
//! What belongs to the process (its rights, limits, filters, program) is planned by the code that plans the
//! container's own, from the container's configuration with this process in the place of that one.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::{Controller, Dir, Version};
use orlop_init::step::Step;
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::namespaces::flag;
use super::{Options, Origin, Phase, Plan, Planner, ProcessKind, Task, invalid, slot};
use crate::config::{Capabilities, Config, NamespaceKind, Process, Str};
use crate::error::{Error, Kind, Result};
use crate::host::Host;

/// The process to execute.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// A process object of the spec, as JSON. What it leaves out and can be inherited is the container's.
    Document(&'a [u8]),
    /// The container's own process with changes.
    Command(&'a Command<'a>),
}

/// Changes of the container's own process.
#[derive(Clone, Debug, Default)]
pub struct Command<'a> {
    /// The program and its arguments: any bytes but NUL.
    pub args: Vec<&'a [u8]>,
    /// Another working directory.
    pub cwd: Option<&'a str>,
    /// Further environment variables, as `NAME=value`.
    pub env: Vec<&'a [u8]>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Another user id, and with it another group id or the same.
    pub user: Option<(u32, Option<u32>)>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Another SELinux label.
    pub selinux_label: Option<&'a str>,
    /// Another AppArmor profile.
    pub apparmor_profile: Option<&'a str>,
    /// Another setting of `noNewPrivileges`.
    pub no_new_privileges: Option<bool>,
    /// Further capabilities.
    pub capabilities: Vec<&'a str>,
}

/// What of an exec's process does not come from config.json.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    /// All that is not inherited.
    Document,
    /// The arguments, and what else was asked for.
    Command { cwd: bool, user: bool },
}

impl Asked {
    pub(crate) fn of(program: &Program<'_>) -> Asked {
        match program {
            Program::Document(_) => Asked::Document,
            Program::Command(command) => Asked::Command { cwd: command.cwd.is_some(), user: command.user.is_some() },
        }
    }

    /// The error with the place of what it is about: a field of config.json may have nothing to do with it.
    pub(crate) fn place(self, error: Error) -> Error {
        const NEVER_INHERITED: [&str; 6] = ["args", "env", "cwd", "user", "consoleSize", "noNewPrivileges"];
        let Some(field) = error.origin().and_then(|origin| origin.strip_prefix("/process/")) else {
            return error;
        };
        let name = field.split_once('/').map_or(field, |(name, _)| name);
        let pointer = format!("/{field}");
        match self {
            Asked::Document if NEVER_INHERITED.contains(&name) => error.field(pointer).of("process.json"),
            Asked::Document => error.field(pointer).of("process.json, or config.json's process,"),
            Asked::Command { cwd, user } if name == "args" || cwd && name == "cwd" || user && name == "user" => {
                error.nowhere()
            }
            Asked::Command { .. } => error,
        }
    }
}

/// A cgroup below the container's.
#[derive(Clone, Debug)]
pub struct SubCgroup<'a> {
    /// The v1 controllers that it is for; without any it is for all.
    pub controllers: Vec<&'a str>,
    /// Its path.
    pub path: &'a str,
}

/// What the planner has to know of the running container.
#[derive(Clone, Debug, Default)]
pub struct Target<'a> {
    /// Its cgroup directories.
    pub cgroups: Vec<Dir>,
    /// Where below them the process goes.
    pub sub_cgroups: &'a [SubCgroup<'a>],
    /// Whether systemd is asked to put it there: the caller may not.
    pub is_attached: bool,
    /// Whether its user namespace is the caller's own.
    pub own_user_namespace: bool,
    /// Whether the caller has no rights outside of it.
    pub is_unprivileged: bool,
}

impl Target<'_> {
    /// Whether the process is born in the container's user namespace, for only there its maker may join the others.
    pub(crate) fn is_joined_at_birth(&self, config: &Config<'_>) -> bool {
        let has_own = config.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User);
        has_own && self.is_unprivileged && !self.own_user_namespace
    }
}

/// Puts the process in the place of the container's.
pub fn substitute<'a>(config: &mut Config<'a>, program: Program<'a>) -> Result<()> {
    let containers = config.process.take().unwrap_or_default();
    let process = match program {
        Program::Document(text) => inherit(Process::parse(text)?, containers),
        Program::Command(command) => change(containers, command),
    };
    if process.args.is_empty() {
        return Err(Error::new(Kind::InvalidConfig, "exec args cannot be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(invalid("Cwd must be an absolute path", Origin::field("/process/cwd")));
    }
    config.process = Some(process);
    Ok(())
}

fn inherit<'a>(mut process: Process<'a>, containers: Process<'a>) -> Process<'a> {
    fn text<'a>(own: &mut Str<'a>, containers: Str<'a>) {
        if own.is_empty() {
            *own = containers;
        }
    }
    process.capabilities = process.capabilities.or(containers.capabilities);
    process.oom_score_adj = process.oom_score_adj.or(containers.oom_score_adj);
    process.scheduler = process.scheduler.or(containers.scheduler);
    process.io_priority = process.io_priority.or(containers.io_priority);
    process.user.umask = process.user.umask.or(containers.user.umask);
    text(&mut process.apparmor_profile, containers.apparmor_profile);
    text(&mut process.selinux_label, containers.selinux_label);
    text(&mut process.exec_cpu_affinity.initial, containers.exec_cpu_affinity.initial);
    text(&mut process.exec_cpu_affinity.last, containers.exec_cpu_affinity.last);
    if process.rlimits.is_empty() {
        process.rlimits = containers.rlimits;
    }
    process
}

fn change<'a>(mut process: Process<'a>, command: &'a Command<'a>) -> Process<'a> {
    // What is not UTF-8 is for messages only: see `Planner::bytes`.
    let text = |bytes: &&'a [u8]| core::str::from_utf8(bytes).map_or_else(|_| lossy(bytes).into(), Str::new);
    let texts = |list: &'a [&'a [u8]]| list.iter().map(text);
    process.args = texts(&command.args).collect();
    process.env.extend(texts(&command.env));
    process.terminal = command.terminal;
    process.console_size = None;
    if let Some(cwd) = command.cwd.filter(|cwd| !cwd.is_empty()) {
        process.cwd = Str::new(cwd);
    }
    if let Some((uid, gid)) = command.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&command.additional_gids);
    if let Some(label) = command.selinux_label.filter(|label| !label.is_empty()) {
        process.selinux_label = Str::new(label);
    }
    if let Some(profile) = command.apparmor_profile.filter(|profile| !profile.is_empty()) {
        process.apparmor_profile = Str::new(profile);
    }
    process.no_new_privileges = command.no_new_privileges.unwrap_or(process.no_new_privileges);
    if !command.capabilities.is_empty() {
        add_capabilities(process.capabilities.get_or_insert_default(), &command.capabilities);
    }
    process
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// CVE-2022-29162: what is added does not become inheritable. So it can be ambient only where it is inheritable
/// already; see capabilities(7).
fn add_capabilities<'a>(sets: &mut Capabilities<'a>, names: &'a [&'a str]) {
    for name in names {
        let name = Str::new(name);
        if sets.inheritable.contains(&name) && !sets.ambient.contains(&name) {
            sets.ambient.push(name.clone());
        }
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.push(name.clone());
        }
    }
}

/// Decides everything about a process, which [`substitute`] has put in the place of the container's.
pub fn plan(
    config: &Config<'_>,
    program: Program<'_>,
    host: &Host,
    options: &Options<'_>,
    target: &Target<'_>,
) -> Result<Plan> {
    let mut cgroup = orlop_cgroup::Plan::default();
    cgroup.dirs = directories(config, target)?;
    let mut planner = Planner::new(config, host, options, (32, 4096));
    planner.kind = ProcessKind::Further;
    if let Program::Command(command) = program {
        planner.command = Some(command);
    }
    planner.enter(&cgroup, target)?;
    if planner.terminal()? {
        planner.init(Phase::Process, Origin::field("/process/terminal"), Step::Close { slot: slot::CONSOLE });
    }
    let (args, env, filter) = planner.program(&cgroup)?;
    if target.is_attached {
        planner.runtime(Phase::Start, Origin::field("/linux/cgroupsPath"), Task::CgroupAdopt);
    }
    planner.cgroup_tasks(Phase::Start, &cgroup);
    planner.oom_score();
    planner.init(Phase::Start, Origin::NONE, Step::Signals {});
    planner.init(Phase::Start, Origin::NONE, Step::Detach {});
    // Without no_new_privs it was loaded before the capabilities went.
    let late = config.process.as_ref().is_some_and(|process| process.no_new_privileges);
    if let Some(filter) = filter.filter(|_| late) {
        planner.load(Phase::Start, &filter);
    }
    planner.init(Phase::Start, Origin::field("/process/args"), Step::Exec {});
    Ok(planner.finish(cgroup, args, env))
}

impl Planner<'_> {
    fn enter(&mut self, cgroup: &orlop_cgroup::Plan, target: &Target<'_>) -> Result<()> {
        let phase = Phase::Namespaces;
        let origin = Origin::field("/linux/namespaces");
        let into_cgroup = cgroup.dirs.iter().any(|dir| dir.version == Version::V2);
        // Whose user the namespace does not know keeps its capabilities across execve(2) as ambient ones alone.
        let at_birth = target.is_joined_at_birth(self.config);
        let rights = if at_birth { Rights::Keep } else { Rights::Exec };
        self.runtime(phase, origin, Task::Clone { namespaces: CloneFlags::NONE, into_cgroup, rights });
        self.first_affinity()?;
        let namespaces = self.joined(target);
        let user = at_birth || namespaces.contains(CloneFlags::NEWUSER);
        let namespaces = if at_birth { namespaces.without(CloneFlags::NEWUSER) } else { namespaces };
        if !namespaces.is_empty() {
            // All at once, by the pidfd: the kernel takes the user namespace first.
            self.init(phase, origin, Step::JoinNamespace { from: slot::INIT, namespace: namespaces });
        }
        if !namespaces.contains(CloneFlags::NEWNS) {
            self.init(phase, Origin::field("/root/path"), Step::Chroot { root: slot::ROOT });
        }
        if user {
            self.init(phase, origin, Step::BecomeRoot {});
        }
        self.init(phase, Origin::NONE, Step::Session {});
        if self.options.keyring == super::SessionKeyring::New {
            let name = self.strings.join(&[b"_ses.", self.options.id.as_bytes()]);
            // It is that of the container's init, unless somebody else has given it up.
            self.init(phase, Origin::NONE, Step::Keyring { name, permissions: 0 });
        }
        Ok(())
    }

    /// The namespaces that the container does not share with its runtime. A pid namespace is joined by being born
    /// there.
    pub(super) fn joined(&self, target: &Target<'_>) -> CloneFlags {
        let mut all = CloneFlags::NONE;
        for namespace in &self.config.linux.namespaces {
            match namespace.kind {
                NamespaceKind::Pid => {}
                NamespaceKind::User if target.own_user_namespace => {}
                kind => all |= flag(kind),
            }
        }
        all
    }
}

/// The container's directories, or those below them that were asked for. Where it manages a cgroup of its own, that one:
/// with controllers for it switched on, the one above takes no process.
fn directories(config: &Config<'_>, target: &Target<'_>) -> Result<Vec<Dir>> {
    let mut dirs = target.cgroups.clone();
    if let Some(name) = super::delegated(config).filter(|_| target.sub_cgroups.is_empty()) {
        let v2 = dirs.iter_mut().filter(|dir| dir.version == Version::V2);
        v2.for_each(|dir| dir.path = crate::path::clean_absolute(&format!("{}/{name}", dir.path)));
    }
    for sub in target.sub_cgroups {
        for name in &sub.controllers {
            if !dirs.iter().any(|dir| dir.controllers.contains(&Controller::named(name))) {
                let what = format!("unknown controller {name} in SubCgroupPaths");
                return Err(Error::new(Kind::InvalidConfig, what));
            }
        }
        let is_meant = |dir: &&mut Dir| {
            sub.controllers.is_empty() || dir.controllers.iter().any(|c| sub.controllers.contains(&c.as_str()))
        };
        for dir in dirs.iter_mut().filter(is_meant) {
            let path = crate::path::clean_absolute(&format!("{}/{}", dir.path, sub.path));
            let below =
                path.strip_prefix(dir.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if !below {
                return Err(Error::new(Kind::InvalidConfig, format!("bad sub cgroup path: {}", sub.path)));
            }
            dir.path = path.to_owned();
        }
    }
    Ok(dirs)
}
