//! Which namespaces are new, which are joined, and when.

use alloc::format;

use orlop_init::step::{Slot, Step};
use orlop_sys::process::Clone as CloneFlags;

use super::{Origin, Phase, Planner, SessionKeyring, Task, invalid, slot};
use crate::config::NamespaceKind;
use crate::error::{Error, Result};

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

/// Whether a container can have one of its own; what `features` says.
pub(crate) const fn is_supported(kind: NamespaceKind) -> bool {
    !matches!(kind, NamespaceKind::User | NamespaceKind::Time)
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
                return Err(invalid(format!("a second {} namespace", namespace.kind.name()), origin));
            }
            seen |= flag;
            let supported = match namespace.kind {
                kind if !is_supported(kind) => false,
                NamespaceKind::Pid | NamespaceKind::Mount => namespace.path.is_empty(),
                _ => true,
            };
            if !supported {
                let how = if namespace.path.is_empty() { "a new" } else { "joining a" };
                let what = format!("{how} {} namespace is not supported yet", namespace.kind.name());
                return Err(Error::not_supported(what).field(format!("{origin}")));
            }
            if namespace.path.is_empty() {
                new |= flag;
            } else if !namespace.path.starts_with('/') {
                return Err(invalid("the path of a namespace must be absolute", origin.inside("/path")));
            }
        }
        if !seen.contains(CloneFlags::NEWNS) {
            let what = "a container in the mount namespace of its runtime is not supported yet";
            return Err(Error::not_supported(what).field("/linux/namespaces"));
        }
        // The cgroup namespace's root is the cgroup that its maker is in, so it waits for the cgroup.
        let mut at_birth = new.without(CloneFlags::NEWCGROUP);
        let network_ahead = self.makes_network_ahead();
        if network_ahead {
            at_birth = at_birth.without(CloneFlags::NEWNET);
        }
        let into_cgroup =
            cgroup.scope.is_none() && cgroup.dirs.iter().any(|dir| dir.version == orlop_cgroup::Version::V2);
        let origin = Origin::field("/linux/namespaces");
        self.runtime(phase, origin, Task::Clone { namespaces: at_birth, into_cgroup });
        self.join_namespaces()?;
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
                return Err(invalid(format!("unable to set {what} without a private UTS namespace"), origin));
            }
            let name = self.text(name, origin)?;
            let step = if what == "hostname" { Step::Hostname { name } } else { Step::Domainname { name } };
            self.init(Phase::Namespaces, origin, step);
        }
        Ok(())
    }
}
