//! `info`: what this host offers to containers, as `key: value` lines.

use core::ffi::CStr;

use liballoc::borrow::ToOwned;
use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use orlop::Host;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::{CWD, Errno};

use crate::control::look_up;
use crate::run::{Context, Outcome, print};

/// Namespaces and what tells that the kernel has them; see namespaces(7).
const NAMESPACES: [(&str, &CStr); 8] = [
    ("cgroup", c"/proc/self/ns/cgroup"),
    ("ipc", c"/proc/self/ns/ipc"),
    ("mount", c"/proc/self/ns/mnt"),
    ("network", c"/proc/self/ns/net"),
    ("pid", c"/proc/self/ns/pid"),
    ("time", c"/proc/self/ns/time"),
    ("user", c"/proc/self/ns/user"),
    ("uts", c"/proc/self/ns/uts"),
];

pub(crate) fn info(context: &Context<'_>) -> Outcome {
    let host = Host::probe()?;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text += &format!("{key}: {value}\n");
    line("version", env!("CARGO_PKG_VERSION"));
    line("root", &context.root.path.to_string_lossy());
    line("kernel", &read(c"/proc/sys/kernel/osrelease"));
    line("architecture", if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" });
    line("system", os_name(&read(c"/etc/os-release")));
    line("processors", &read(c"/sys/devices/system/cpu/online"));
    line("memory", field(&read(c"/proc/meminfo"), "MemTotal:"));
    line("user", &format!("{}{}", host.euid, if host.rootless { " (rootless)" } else { "" }));
    line("cgroups", host.cgroup_mode());
    for (mount, controllers) in host.cgroup_mounts() {
        line("cgroup", &format!("{mount} {controllers}"));
    }
    let there =
        |(name, path): &(&'static str, &CStr)| fs::access_at(CWD, path, 0, AtFlags::NONE).is_ok().then_some(*name);
    let namespaces: Vec<&str> = NAMESPACES.iter().filter_map(there).collect();
    line("namespaces", &namespaces.join(" "));
    line("seccomp", &read(c"/proc/sys/kernel/seccomp/actions_avail"));
    line("security modules", &read(c"/sys/kernel/security/lsm"));
    let criu = match context.global.criu {
        Some(path) => Ok(path.to_owned()),
        None => look_up(context.env.path, "criu"),
    };
    line("checkpoint", criu.as_ref().map_or("no: criu is not in $PATH".into(), |path| path.to_string_lossy()).as_ref());
    print(&text)
}

/// A small file, or why it cannot be read.
fn read(path: &CStr) -> String {
    let text = || -> Result<String, Errno> {
        let file = fs::open_at(CWD, path, OFlags::RDONLY, 0)?;
        let mut text = liballoc::vec![0u8; 4096];
        let n = fs::read(&file, &mut text)?;
        Ok(String::from_utf8_lossy(text.get(..n).unwrap_or_default()).trim().into())
    };
    text().unwrap_or_else(|errno| format!("unknown ({errno})"))
}

/// The name in os-release(5).
fn os_name(text: &str) -> &str {
    field(text, "PRETTY_NAME=").trim_matches('"')
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).map_or("unknown", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Some Linux 1\"\n"), "Some Linux 1");
        assert_eq!(field("MemTotal:     12 kB\n", "MemTotal:"), "12 kB");
        assert_eq!(field("", "x"), "unknown");
    }
}
