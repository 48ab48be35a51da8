//! Kernel parameters: only those that belong to a namespace of the container's own.

use alloc::format;
use alloc::string::String;

use super::{Origin, Phase, Planner, invalid, member};
use crate::config::NamespaceKind;
use crate::error::Result;

/// Those of the IPC namespace besides `fs.mqueue.*`.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

impl Planner<'_> {
    pub(super) fn sysctls(&mut self) -> Result<()> {
        let config = self.config;
        let origin = Origin::field("/linux/sysctl");
        if config.linux.sysctl.is_empty() {
            return Ok(());
        }
        for (name, _) in config.linux.sysctl.iter() {
            let checked = self.check_sysctl(&dotted(name)).map_err(|error| error.field(member("/linux/sysctl", name)));
            self.sound(checked)?;
        }
        let proc = self.proc(Phase::Process, origin);
        for (name, value) in config.linux.sysctl.iter() {
            let path = format!("sys/{}", swapped(&dotted(name)));
            let written = self.write_proc(Phase::Process, origin, proc, &path, value);
            self.sound(written)?;
        }
        Ok(())
    }

    fn check_sysctl(&self, name: &str) -> Result<()> {
        let refused = |why: String| Err(invalid(why, Origin::NONE));
        if name.split('.').any(|part| matches!(part, "" | "/" | "//")) || name.contains("//") {
            return refused(format!("{name:?} is no name of a sysctl"));
        }
        if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
            if self.has_namespace(NamespaceKind::Ipc) {
                return Ok(());
            }
            return refused(format!("sysctl {name:?} is not allowed in the hosts ipc namespace"));
        }
        if name.starts_with("net.") {
            if self.has_namespace(NamespaceKind::Network) && !self.options.joins_own_network {
                return Ok(());
            }
            return refused(format!("sysctl {name:?} not allowed in host network namespace"));
        }
        if self.has_namespace(NamespaceKind::Uts) {
            match name {
                "kernel.domainname" => return Ok(()),
                "kernel.hostname" => {
                    let what = "is not allowed as it conflicts with the OCI \"hostname\" field";
                    return refused(format!("sysctl {name:?} {what}"));
                }
                _ => {}
            }
        }
        if name.starts_with("user.") {
            if self.has_namespace(NamespaceKind::User) {
                return Ok(());
            }
            return refused(format!("setting ucounts without a user namespace not allowed: {name}"));
        }
        refused(format!("sysctl {name:?} is not in a separate kernel namespace"))
    }
}

/// With dots between its parts, as sysctl(8) and sysctl.d(5) read a name: the first separator says which of the two
/// it uses, and the other one is then part of a name (`net/ipv4/conf/eth0.100/forwarding`).
fn dotted(name: &str) -> String {
    match name.chars().find(|c| matches!(c, '.' | '/')) {
        Some('/') => swapped(name),
        _ => String::from(name),
    }
}

fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::{dotted, swapped};

    #[test]
    fn both_forms_name_the_same_file() {
        for (name, dots, file) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            (
                "net/ipv4/conf/eno2.100/rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
            (
                "net.ipv4.conf.eno2/100.rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
        ] {
            assert_eq!(dotted(name), dots);
            assert_eq!(swapped(&dotted(name)), file);
        }
    }
}
