//! Which namespaces are new, which are joined, and when.

use alloc::format;
use alloc::vec::Vec;

use orlop_init::step::{Slot, Step, Text};
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::{Join, Origin, Phase, Planner, SessionKeyring, Task, invalid, slot};
use crate::config::NamespaceKind;
use crate::error::{Error, Result};

/// `__NEW_UTS_LEN` of the kernel.
const LONGEST_NAME: usize = 64;

/// The bit of clone(2) for each kind.
pub(crate) const fn flag(kind: NamespaceKind) -> CloneFlags {
    match kind {
        NamespaceKind::Pid => CloneFlags::NEWPID,
        NamespaceKind::Network => CloneFlags::NEWNET,
        NamespaceKind::Mount => CloneFlags::NEWNS,
        NamespaceKind::Ipc => CloneFlags::NEWIPC,
        NamespaceKind::Uts => CloneFlags::NEWUTS,
        NamespaceKind::User => CloneFlags::NEWUSER,
        NamespaceKind::Cgroup => CloneFlags::NEWCGROUP,
        NamespaceKind::Time => CloneFlags::NEWTIME,
    }
}

impl Planner<'_> {
    /// Whether the container has a namespace of that kind that is not the runtime's.
    pub(crate) fn has_namespace(&self, kind: NamespaceKind) -> bool {
        self.config.linux.namespaces.iter().any(|namespace| namespace.kind == kind)
    }

    /// Whether that namespace is new.
    pub(crate) fn has_new_namespace(&self, kind: NamespaceKind) -> bool {
        self.config.linux.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_empty())
    }

    pub(super) fn namespaces(&mut self, cgroup: &orlop_cgroup::Plan) -> Result<()> {
        let phase = Phase::Namespaces;
        let config = self.config;
        let mut new = CloneFlags::NONE;
        let mut seen = CloneFlags::NONE;
        for (index, namespace) in config.linux.namespaces.iter().enumerate() {
            let origin = Origin::member("/linux/namespaces", index);
            let flag = flag(namespace.kind);
            if seen.contains(flag) {
                self.fault(invalid(format!("a second {} namespace", namespace.kind.name()), origin))?;
            }
            seen |= flag;
            if namespace.path.is_empty() {
                new |= flag;
            } else if !namespace.path.starts_with('/') {
                self.fault(invalid("the path of a namespace must be absolute", origin.inside("/path")))?;
            }
        }
        if !seen.contains(CloneFlags::NEWNS) {
            let possible = self.check_without_mount_namespace();
            self.sound(possible)?;
        }
        self.check_id_maps()?;
        let offsets = self.time_offsets(seen, new);
        let offsets = self.sound(offsets)?.flatten();
        // The cgroup namespace's root is the cgroup that its maker is in, so it waits for the cgroup. Nobody may be
        // in a time namespace whose offsets are still to be set. And what a user namespace is to own is made by its
        // root, for the ids of whoever makes it are written to mqueue's root and devpts's nodes.
        let network_ahead = self.makes_network_ahead();
        let ahead = if network_ahead { CloneFlags::NEWNET } else { CloneFlags::NONE };
        let later = CloneFlags::NEWCGROUP | CloneFlags::NEWTIME | ahead;
        let user = seen.contains(CloneFlags::NEWUSER);
        let at_birth = if user { new.and(CloneFlags::NEWUSER | CloneFlags::NEWPID) } else { new.without(later) };
        let rights = if user { Rights::Keep } else { Rights::Exec };
        let born_inside = self.joins_at_birth(new)?;
        let into_cgroup =
            cgroup.scope.is_none() && cgroup.dirs.iter().any(|dir| dir.version == orlop_cgroup::Version::V2);
        let origin = Origin::field("/linux/namespaces");
        self.runtime(phase, origin, Task::Clone { namespaces: at_birth, into_cgroup, rights });
        if user {
            // While init is dumpable: whose file it is changes with that.
            self.oom_score();
            self.id_maps()?;
            let origin = Origin::field("/linux/namespaces");
            self.init(phase, origin, Step::BecomeRoot {});
        }
        if born_inside {
            self.join_time();
        } else {
            self.join_namespaces()?;
        }
        let rest = new.without(at_birth).without(later);
        if !rest.is_empty() {
            self.init(phase, origin, Step::Unshare { namespaces: rest });
        }
        if let Some(offsets) = offsets {
            self.init(phase, Origin::field("/linux/timeOffsets"), Step::TimeNamespace { offsets });
        }
        self.init(phase, Origin::NONE, Step::Session {});
        if self.options.keyring == SessionKeyring::New {
            let name = self.strings.join(&[b"_ses.", self.options.id.as_bytes()]);
            let permissions = self.keyring_permissions();
            let label = self.config.process.as_ref().map_or("", |process| &process.selinux_label);
            let origin = Origin::field("/process/selinuxLabel");
            const KEYCREATE: &str = "thread-self/attr/keycreate";
            let proc = if label.is_empty() { None } else { Some(self.proc(phase, origin)) };
            if let Some(proc) = proc {
                self.write_proc(phase, origin, proc, KEYCREATE, label)?;
            }
            self.init(phase, Origin::NONE, Step::Keyring { name, permissions });
            if let Some(proc) = proc {
                self.write_proc(phase, origin, proc, KEYCREATE, "\n")?;
            }
        }
        if new.contains(CloneFlags::NEWNET) && !network_ahead {
            self.init(phase, Origin::NONE, Step::Loopback {});
        }
        self.names()
    }

    /// Whether the runtime makes the network namespace while everything else goes on, to be joined by init as late
    /// as possible: a quarter of a start is the kernel's work on it. A new user namespace must own it, so then
    /// init makes it itself.
    pub(crate) fn makes_network_ahead(&self) -> bool {
        self.has_new_namespace(NamespaceKind::Network) && !self.has_namespace(NamespaceKind::User)
    }

    /// Joins the network namespace that the runtime has made.
    pub(crate) fn join_network(&mut self) {
        let phase = Phase::Namespaces;
        let origin = Origin::field("/linux/namespaces");
        self.runtime(phase, origin, Task::SendNetworkNamespace);
        self.init(phase, origin, Step::ReceiveNamespace { out: slot::NETWORK });
        self.init(phase, origin, Step::JoinNamespace { from: slot::NETWORK, namespace: CloneFlags::NEWNET });
        self.init(phase, Origin::NONE, Step::Loopback {});
    }

    /// A process is born in a pid namespace, and who has entered a user namespace can neither open what is outside nor
    /// join what it does not own: then all are joined before init is born. The runtime opens them.
    fn joins_at_birth(&mut self, new: CloneFlags) -> Result<bool> {
        let config = self.config;
        let joined = || config.linux.namespaces.iter().enumerate().filter(|(_, namespace)| !namespace.path.is_empty());
        let before = |kind| matches!(kind, NamespaceKind::Pid | NamespaceKind::User);
        let needed = new.contains(CloneFlags::NEWUSER) || joined().any(|(_, namespace)| before(namespace.kind));
        if !needed || joined().next().is_none() {
            return Ok(false);
        }
        for (index, namespace) in joined() {
            let path = self.text(&namespace.path, Origin::member("/linux/namespaces", index).inside("/path"))?;
            self.joined.push(Join { path, index: index as u32, kind: flag(namespace.kind) });
        }
        Ok(true)
    }

    /// setns(2) into a time namespace is refused to whoever shares memory, as init does until it is executed.
    fn join_time(&mut self) {
        if let Some(join) = self.joined.iter().find(|join| join.kind == CloneFlags::NEWTIME) {
            let origin = Origin::member("/linux/namespaces", join.index as usize);
            let step = Step::JoinNamespace { from: slot::TIME, namespace: CloneFlags::NEWTIME };
            self.init(Phase::Namespaces, origin, step);
        }
    }

    /// What /proc/PID/timens_offsets takes, for a new time namespace.
    fn time_offsets(&mut self, seen: CloneFlags, new: CloneFlags) -> Result<Option<Text>> {
        let config = self.config;
        let offsets = &config.linux.time_offsets;
        let origin = Origin::field("/linux/timeOffsets");
        if !offsets.is_empty() && !seen.contains(CloneFlags::NEWTIME) {
            return Err(invalid("time namespace offsets specified, but no time namespace", origin));
        }
        if !new.contains(CloneFlags::NEWTIME) {
            return match offsets.is_empty() {
                true => Ok(None),
                false => Err(invalid("time namespace offsets specified, but the namespace is one to join", origin)),
            };
        }
        let mut text = alloc::string::String::new();
        for (clock, offset) in offsets.iter() {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(invalid(format!("{:?} is no clock with an offset", clock.as_str()), origin));
            }
            if offset.nanosecs > 999_999_999 {
                return Err(invalid(format!("{} nanoseconds are more than a second", offset.nanosecs), origin));
            }
            text += &format!("{} {} {}\n", clock.as_str(), offset.secs, offset.nanosecs);
        }
        Ok(Some(self.strings.text(text.as_bytes())))
    }

    /// All are opened before the first is joined: paths such as /proc/7/ns/ipc mean what they mean to the caller.
    fn join_namespaces(&mut self) -> Result<()> {
        let config = self.config;
        let joined = || {
            let all = config.linux.namespaces.iter().enumerate();
            all.filter(|(_, namespace)| !namespace.path.is_empty()).zip(slot::NAMESPACES..)
        };
        for ((index, namespace), number) in joined() {
            let origin = Origin::member("/linux/namespaces", index).inside("/path");
            let path = self.text(&namespace.path, origin)?;
            let step = Step::OpenNamespace { path, namespace: flag(namespace.kind), out: Slot(number) };
            self.init(Phase::Namespaces, origin, step);
        }
        for ((index, namespace), number) in joined() {
            let origin = Origin::member("/linux/namespaces", index);
            let step = Step::JoinNamespace { from: Slot(number), namespace: flag(namespace.kind) };
            self.init(Phase::Namespaces, origin, step);
        }
        Ok(())
    }

    /// Before the hooks that run when the namespaces are there: whoever configures the network finds the devices.
    pub(super) fn network_devices(&mut self) -> Result<()> {
        let config = self.config;
        let origin = Origin::field("/linux/netDevices");
        let devices = &config.linux.net_devices;
        if devices.is_empty() {
            return Ok(());
        }
        if !self.has_namespace(NamespaceKind::Network) || self.options.joins_own_network {
            return Err(invalid("unable to move network devices without a network namespace", origin));
        }
        if self.host.rootless {
            return Err(Error::not_supported("network devices are not supported for rootless containers")
                .field(format!("{origin}")));
        }
        let mut taken: Vec<&str> = Vec::with_capacity(devices.len());
        for (name, device) in devices.iter() {
            let new_name = if device.name.is_empty() { name } else { &device.name };
            if !is_device_name(name, Name::Exact) || !is_device_name(new_name, Name::MayBeTemplate) {
                let bad = if is_device_name(name, Name::Exact) { new_name } else { name };
                return Err(invalid(format!("invalid network device name {:?}", bad.as_str()), origin));
            }
            let template = new_name.contains('%');
            if !template && taken.contains(&new_name.as_str()) {
                return Err(invalid(format!("two network devices with the name {:?}", new_name.as_str()), origin));
            }
            taken.push(new_name.as_str());
            let (name, new_name) = (self.text(name, origin)?, self.text(new_name, origin)?);
            self.runtime(Phase::Namespaces, origin, Task::NetworkDevice { name, new_name });
        }
        Ok(())
    }

    fn names(&mut self) -> Result<()> {
        let config = self.config;
        let hostname = Origin::field("/hostname");
        let domainname = Origin::field("/domainname");
        for (name, origin, what) in
            [(&config.hostname, hostname, "hostname"), (&config.domainname, domainname, "domainname")]
        {
            if name.is_empty() {
                continue;
            }
            if !self.has_namespace(NamespaceKind::Uts) {
                self.fault(invalid(format!("unable to set {what} without a private UTS namespace"), origin))?;
            }
            if name.len() > LONGEST_NAME {
                self.fault(invalid(format!("a {what} of more than {LONGEST_NAME} bytes"), origin))?;
            }
            let name = self.text(name, origin);
            let Some(name) = self.sound(name)? else { continue };
            let step = if what == "hostname" { Step::Hostname { name } } else { Step::Domainname { name } };
            self.init(Phase::Namespaces, origin, step);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Exact,
    MayBeTemplate,
}

/// `dev_valid_name` of the kernel; a template has one `%d`, for a number.
fn is_device_name(name: &str, kind: Name) -> bool {
    const MOST: usize = 15;
    let odd = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte == 0x0b || byte.is_ascii_whitespace();
    let shaped = match (kind, name.matches('%').count()) {
        (_, 0) => true,
        (Name::MayBeTemplate, 1) => name.contains("%d"),
        _ => false,
    };
    (1..=MOST).contains(&name.len()) && !matches!(name, "." | "..") && !name.bytes().any(odd) && shaped
}

#[cfg(test)]
mod tests {
    use super::{Name, is_device_name};

    #[test]
    fn device_names() {
        for name in ["eth0", "a", "123456789012345", "veth-a.1@b", "..."] {
            assert!(is_device_name(name, Name::Exact), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "1234567890123456", "a\0", "eth%d"] {
            assert!(!is_device_name(name, Name::Exact), "{name}");
        }
        assert!(is_device_name("eth%d", Name::MayBeTemplate));
        for name in ["eth%s", "eth%", "e%d%d"] {
            assert!(!is_device_name(name, Name::MayBeTemplate), "{name}");
        }
    }
}
