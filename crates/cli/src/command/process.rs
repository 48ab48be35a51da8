//! `create`, `run` and `exec`.

use core::ffi::CStr;

use liballoc::format;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use orlop::plan::exec::SubCgroup;

use crate::parse::Given;
use crate::value::{self, User};

/// `create`, and what `run` shares with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// The container's id as given.
    pub id: &'a str,
    /// The bundle; the working directory by default.
    pub bundle: Option<&'a CStr>,
    /// Another file than the bundle's config.json.
    pub config: Option<&'a CStr>,
    /// Where the terminal's master is sent.
    pub console_socket: Option<&'a CStr>,
    /// Where a pidfd of the process is sent.
    pub pidfd_socket: Option<&'a CStr>,
    /// Where the process id is written.
    pub pid_file: Option<&'a CStr>,
    /// Whether the root is moved over / instead of pivoted.
    pub no_pivot: bool,
    /// Whether the caller's session keyring is kept.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on are handed on, besides those of `LISTEN_FDS`.
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run<'a> {
    /// How the container is created.
    pub create: Create<'a>,
    /// Whether it is left alone once it runs.
    pub detach: bool,
    /// Whether it is kept when its process has ended.
    pub keep: bool,
    /// Whether its orphans are not adopted.
    pub no_subreaper: bool,
}

/// `exec`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exec<'a> {
    /// The container's id as given.
    pub id: &'a str,
    /// The program and its arguments; empty only with `process`.
    pub args: Vec<&'a CStr>,
    /// A file with the process, which the options below up to `caps` then do not change.
    pub process: Option<&'a CStr>,
    /// The working directory.
    pub cwd: Option<&'a CStr>,
    /// More environment variables.
    pub env: Vec<&'a CStr>,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// The user.
    pub user: Option<User>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// The SELinux label.
    pub process_label: Option<&'a str>,
    /// The AppArmor profile.
    pub apparmor: Option<&'a str>,
    /// Whether no new privileges can be gained, if that is not to be the container's setting.
    pub no_new_privs: Option<bool>,
    /// More capabilities.
    pub caps: Vec<&'a str>,
    /// Whether the process is left alone once it runs.
    pub detach: bool,
    /// Where the terminal's master is sent.
    pub console_socket: Option<&'a CStr>,
    /// Where a pidfd of the process is sent.
    pub pidfd_socket: Option<&'a CStr>,
    /// Where the process id is written.
    pub pid_file: Option<&'a CStr>,
    /// How many descriptors from 3 on are handed on, besides those of `LISTEN_FDS`.
    pub preserve_fds: u32,
    /// Where below the container's cgroup the process goes.
    pub cgroups: Vec<SubCgroup<'a>>,
    /// Whether a paused container will do.
    pub ignore_paused: bool,
}

fn preserve_fds(given: &Given<'_>) -> Result<u32, String> {
    // The table's bounds fit.
    Ok(given.number("preserve-fds")?.map_or(0, |n| n as u32))
}

pub(super) fn create<'a>(given: &Given<'a>) -> Result<Create<'a>, String> {
    Ok(Create {
        id: super::id(given)?,
        bundle: given.raw("bundle"),
        config: given.raw("config"),
        console_socket: given.raw("console-socket"),
        pidfd_socket: given.raw("pidfd-socket"),
        pid_file: given.raw("pid-file"),
        no_pivot: given.flag("no-pivot")?,
        no_new_keyring: given.flag("no-new-keyring")?,
        preserve_fds: preserve_fds(given)?,
    })
}

pub(super) fn run<'a>(given: &Given<'a>) -> Result<Run<'a>, String> {
    Ok(Run {
        create: create(given)?,
        detach: given.flag("detach")?,
        keep: given.flag("keep")?,
        no_subreaper: given.flag("no-subreaper")?,
    })
}

pub(super) fn exec<'a>(given: &Given<'a>) -> Result<Exec<'a>, String> {
    let process = given.raw("process");
    let args: Vec<&CStr> = given.arguments.iter().skip(1).copied().collect();
    if process.is_none() && args.is_empty() {
        return Err("exec args cannot be empty".to_string());
    }
    Ok(Exec {
        id: super::id(given)?,
        args,
        process,
        cwd: given.raw("cwd"),
        env: given.all("env"),
        tty: given.flag("tty")?,
        user: given.convert("user", value::user)?,
        additional_gids: given
            .each("additional-gids", |text| value::number(text, 0, i64::from(u32::MAX) - 1).map(|gid| gid as u32))?,
        process_label: given.text("process-label")?,
        apparmor: given.text("apparmor")?,
        no_new_privs: given.set("no-new-privs")?,
        caps: given.each("cap", Ok)?,
        detach: given.flag("detach")?,
        console_socket: given.raw("console-socket"),
        pidfd_socket: given.raw("pidfd-socket"),
        pid_file: given.raw("pid-file"),
        preserve_fds: preserve_fds(given)?,
        cgroups: cgroups(&given.each("cgroup", Ok)?)?,
        ignore_paused: given.flag("ignore-paused")?,
    })
}

/// One path, or paths that each name the controllers they are for.
fn cgroups<'a>(given: &[&'a str]) -> Result<Vec<SubCgroup<'a>>, String> {
    let mut cgroups: Vec<SubCgroup<'a>> = Vec::new();
    for text in given {
        let Some((controllers, path)) = text.split_once(':') else {
            if given.len() != 1 {
                return Err(format!("invalid --cgroup argument: {text} (missing <controller>: prefix)"));
            }
            cgroups.push(SubCgroup { controllers: Vec::new(), path: text });
            continue;
        };
        let mut known: Vec<&str> = cgroups.iter().flat_map(|cgroup| &cgroup.controllers).copied().collect();
        let before = known.len();
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(format!("invalid --cgroup argument: {text} (empty <controller> prefix)"));
            }
            if known.contains(&controller) {
                return Err(format!("invalid --cgroup argument(s): controller {controller} specified multiple times"));
            }
            known.push(controller);
        }
        cgroups.push(SubCgroup { controllers: known.split_off(before), path });
    }
    Ok(cgroups)
}
