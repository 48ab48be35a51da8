//! What the environment says: the state directory, sockets that were handed down, whether we are rootless.

use core::ffi::CStr;

use liballoc::ffi::CString;
use liballoc::format;
use liballoc::string::{String, ToString};

use orlop::Runtime;
use orlop::path::absolute;
use orlop_sys::fd::CWD;
use orlop_sys::fs::{self, OFlags};
use orlop_sys::start::Args;
use orlop_sys::{Errno, credentials, process};

use crate::command::{CgroupManager, Global};

/// The variables that matter here; see environ(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the variables' names
pub struct Environment<'a> {
    pub xdg_runtime_dir: Option<&'a CStr>,
    pub user: Option<&'a CStr>,
    pub path: Option<&'a CStr>,
    pub listen_fds: Option<&'a CStr>,
    pub listen_pid: Option<&'a CStr>,
    pub notify_socket: Option<&'a CStr>,
    pub dbus_session_bus_address: Option<&'a CStr>,
    pub traceparent: Option<&'a CStr>,
    /// `ORLOP_RESCTRL`: what stands in for the resctrl file system in tests.
    pub resctrl: Option<&'a CStr>,
}

impl<'a> Environment<'a> {
    /// Picks them from `NAME=value` strings. An empty value counts as none, except of `USER`.
    pub fn new(entries: impl Iterator<Item = &'a CStr>) -> Environment<'a> {
        let mut env = Environment::default();
        for entry in entries {
            let bytes = entry.to_bytes_with_nul();
            let Some(equals) = bytes.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = bytes.split_at(equals);
            let slot = match name {
                b"XDG_RUNTIME_DIR" => &mut env.xdg_runtime_dir,
                b"USER" => &mut env.user,
                b"PATH" => &mut env.path,
                b"LISTEN_FDS" => &mut env.listen_fds,
                b"LISTEN_PID" => &mut env.listen_pid,
                b"NOTIFY_SOCKET" => &mut env.notify_socket,
                b"DBUS_SESSION_BUS_ADDRESS" => &mut env.dbus_session_bus_address,
                b"TRACEPARENT" => &mut env.traceparent,
                b"ORLOP_RESCTRL" => &mut env.resctrl,
                _ => continue,
            };
            let value = value.get(1..).and_then(|value| CStr::from_bytes_with_nul(value).ok());
            *slot = value.filter(|value| !value.is_empty() || name == b"USER");
        }
        env
    }

    /// How many descriptors from 3 on a service manager has handed down; see sd_listen_fds(3). None if they
    /// were meant for another process. Without `LISTEN_PID` they count, as for crun.
    pub fn listen_fds(&self, pid: i32) -> u32 {
        let number = |text: &CStr| text.to_str().ok().and_then(|text| text.parse::<i32>().ok());
        let ours = self.listen_pid.is_none_or(|text| number(text) == Some(pid));
        match self.listen_fds.and_then(number) {
            Some(n) if ours && n > 0 => n as u32,
            _ => 0,
        }
    }
}

/// What matters of who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The effective user id.
    pub euid: u32,
    /// Whether the user namespace is not the first one. Only looked up for root: nobody else is asked.
    pub in_user_namespace: fn() -> bool,
}

impl Caller {
    /// This process, as it was started.
    pub fn this(args: Args) -> Caller {
        Caller { euid: args.euid().unwrap_or_else(credentials::euid), in_user_namespace }
    }

    /// Whether it is root of the first user namespace.
    pub fn is_host_root(&self) -> bool {
        self.euid == 0 && !(self.in_user_namespace)()
    }
}

/// Whether the ids of this process are mapped: the first user namespace has all of them as they are.
fn in_user_namespace() -> bool {
    let mut text = [0; 64];
    let read = fs::open_at(CWD, c"/proc/self/uid_map", OFlags::RDONLY, 0).and_then(|file| fs::read(&file, &mut text));
    // Without the file the kernel has no user namespaces.
    read.is_ok_and(|len| is_mapped(text.get(..len).unwrap_or_default()))
}

fn is_mapped(uid_map: &[u8]) -> bool {
    let words = uid_map.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let whole: [&[u8]; 3] = [b"0", b"0", b"4294967295"];
    !words.eq(whole)
}

/// Where the state directory's path comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootOrigin {
    /// `--root`.
    Given,
    /// `/run/orlop`.
    System,
    /// `$XDG_RUNTIME_DIR/orlop`.
    Session,
}

/// The state directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// Its path: absolute, without `.` and `..`.
    pub path: CString,
    /// Where that comes from.
    pub origin: RootOrigin,
}

impl Root {
    /// The state directory of this call. `XDG_RUNTIME_DIR` is heard unless the caller is the host's root, or
    /// root of a user namespace who calls itself root: so does runc, and so `create` and `start` find the
    /// same directory from different environments.
    pub fn find(global: &Global<'_>, env: &Environment<'_>, caller: Caller) -> Result<Root, String> {
        let (path, origin) = match (global.root, env.xdg_runtime_dir) {
            (Some(root), _) => (absolute(root).map_err(|error| error.to_string())?, RootOrigin::Given),
            (None, Some(dir)) if honours_session(env, caller) => {
                let mut path = dir.to_bytes().to_vec();
                path.extend(b"/orlop");
                (path, RootOrigin::Session)
            }
            _ => (b"/run/orlop".to_vec(), RootOrigin::System),
        };
        if path == b"/" {
            return Err("Option --root argument should not be set to /".into());
        }
        let path = CString::new(path).map_err(|_| String::from("--root: the path holds a NUL"))?;
        Ok(Root { path, origin })
    }

    /// Makes a session's directory, with the sticky bit: without it the session may clean it away, says the
    /// XDG base directory specification.
    pub fn prepare(&self) -> Result<(), String> {
        if self.origin != RootOrigin::Session {
            return Ok(());
        }
        let advice = "(the path in $XDG_RUNTIME_DIR must be writable by the user)";
        Runtime::new(&self.path).make_root().map_err(|error| format!("{error} {advice}"))?;
        let failed = |errno: Errno| format!("fchmodat {}: {errno} {advice}", self.path.to_string_lossy());
        fs::chmod_at(CWD, &self.path, 0o1700).map_err(failed)
    }
}

fn honours_session(env: &Environment<'_>, caller: Caller) -> bool {
    caller.euid != 0 || (!caller.is_host_root() && env.user != Some(c"root"))
}

/// Whether a lack of permission for cgroups is put up with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rootless {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Root of a user namespace with systemd's driver: yes unless the systemd asked belongs to root.
    UnlessSystemdIsRoots,
}

impl Rootless {
    /// As `--rootless` says, or by who calls.
    pub fn find(global: &Global<'_>, caller: Caller) -> Rootless {
        match global.rootless {
            Some(true) => Rootless::Yes,
            Some(false) => Rootless::No,
            None if caller.euid != 0 => Rootless::Yes,
            None if caller.is_host_root() => Rootless::No,
            None if global.cgroup_manager == CgroupManager::Systemd => Rootless::UnlessSystemdIsRoots,
            None => Rootless::Yes,
        }
    }
}

/// The descriptors handed down to this process.
pub fn listen_fds(env: &Environment<'_>) -> u32 {
    if env.listen_fds.is_none() { 0 } else { env.listen_fds(process::pid()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn env<'a>(entries: &[&'a CStr]) -> Environment<'a> {
        Environment::new(entries.iter().copied())
    }

    const HOST_ROOT: Caller = Caller { euid: 0, in_user_namespace: || false };
    const MAPPED_ROOT: Caller = Caller { euid: 0, in_user_namespace: || true };
    const USER: Caller = Caller { euid: 1000, in_user_namespace: || false };

    #[test]
    fn the_state_directory() {
        let session = c"XDG_RUNTIME_DIR=/run/user/1000";
        for (root, entries, caller, expected) in [
            (None, &[][..], HOST_ROOT, Ok("/run/orlop")),
            (None, &[session][..], HOST_ROOT, Ok("/run/orlop")),
            (None, &[c"XDG_RUNTIME_DIR="], MAPPED_ROOT, Ok("/run/orlop")),
            (None, &[session], MAPPED_ROOT, Ok("/run/user/1000/orlop")),
            (None, &[session, c"USER=user"], MAPPED_ROOT, Ok("/run/user/1000/orlop")),
            (None, &[session, c"USER=root"], MAPPED_ROOT, Ok("/run/orlop")),
            (None, &[session, c"USER=root"], USER, Ok("/run/user/1000/orlop")),
            (None, &[], USER, Ok("/run/orlop")),
            (Some(c"/a//b/./c/../d/"), &[session], USER, Ok("/a/b/d")),
            (Some(c"/.."), &[], HOST_ROOT, Err(())),
            (Some(c"/"), &[], HOST_ROOT, Err(())),
        ] {
            let global = Global { root, ..Global::default() };
            let found = Root::find(&global, &env(entries), caller);
            let found = found.map(|root| root.path.into_string().unwrap()).map_err(drop);
            assert_eq!(found, expected.map(str::to_string), "{root:?} {entries:?} {caller:?}");
        }
    }

    #[test]
    fn a_session_directory_is_made_sticky() {
        use std::os::unix::fs::PermissionsExt;
        let base = std::env::temp_dir().join(format!("orlop-env-{}", std::process::id()));
        let root =
            Root { path: CString::new(base.join("a/orlop").to_str().unwrap()).unwrap(), origin: RootOrigin::Session };
        root.prepare().unwrap();
        root.prepare().unwrap();
        let mode = std::fs::metadata(base.join("a/orlop")).unwrap().permissions().mode();
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!(mode & 0o7777, 0o1700);
    }

    #[test]
    fn rootless() {
        let with = |rootless, cgroup_manager| Global { rootless, cgroup_manager, ..Global::default() };
        use CgroupManager::{Cgroupfs, Systemd};
        for (rootless, manager, caller, expected) in [
            (None, Cgroupfs, HOST_ROOT, Rootless::No),
            (None, Cgroupfs, MAPPED_ROOT, Rootless::Yes),
            (None, Systemd, MAPPED_ROOT, Rootless::UnlessSystemdIsRoots),
            (None, Systemd, USER, Rootless::Yes),
            (Some(true), Cgroupfs, HOST_ROOT, Rootless::Yes),
            (Some(false), Cgroupfs, USER, Rootless::No),
        ] {
            assert_eq!(Rootless::find(&with(rootless, manager), caller), expected);
        }
    }

    #[test]
    fn descriptors_handed_down() {
        for (entries, count) in [
            (&[][..], 0),
            (&[c"LISTEN_FDS=2"][..], 2),
            (&[c"LISTEN_FDS=2", c"LISTEN_PID=7"], 2),
            (&[c"LISTEN_FDS=2", c"LISTEN_PID=8"], 0),
            (&[c"LISTEN_FDS=-2"], 0),
            (&[c"LISTEN_FDS=x"], 0),
        ] {
            assert_eq!(env(entries).listen_fds(7), count, "{entries:?}");
        }
    }

    #[test]
    fn mapped_ids() {
        for (map, mapped) in [
            (&b"         0          0 4294967295\n"[..], false),
            (b"         0       1000          1\n", true),
            (b"0 0 4294967295\n1 1 1\n", true),
            (b"", true),
        ] {
            assert_eq!(is_mapped(map), mapped);
        }
    }
}
