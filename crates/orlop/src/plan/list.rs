//! A plan: the list of what is done, what goes with it, and what is asked of it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_init::image::Strings;
use orlop_init::step::{List, Slot, Step, Text};
use orlop_sys::process::{Clone as CloneFlags, Rights};

use super::{Act, Entry, Join, Origin, Task};
use crate::error::Error;

/// A container's making, whole.
#[derive(Clone)]
pub struct Plan {
    /// What is done, in order.
    pub entries: Vec<Entry>,
    /// The strings of the steps.
    pub strings: Strings,
    /// The program's arguments.
    pub args: List<Text>,
    /// The program's environment.
    pub env: List<Text>,
    /// What the caller should be told.
    pub warnings: Vec<Warning>,
    /// The cgroup's own plan.
    pub cgroup: orlop_cgroup::Plan,
    /// The root file system, as an absolute path.
    pub rootfs: String,
    /// The namespaces that init is born in.
    pub(crate) joined: Vec<Join>,
    /// Whether there are hooks for when the program runs.
    pub(crate) has_poststart: bool,
    /// Whether there are hooks for when the container is deleted.
    pub(crate) has_poststop: bool,
    /// Whether whoever asks lacks the rights of the host's root.
    pub(crate) rootless: bool,
}

impl Plan {
    /// Whether the container's orphans are the runtime's to reap.
    pub(crate) fn adopts_orphans(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Runtime(Task::AdoptOrphans)))
    }

    /// A string of a task.
    pub(crate) fn string(&self, text: Text) -> Cow<'_, str> {
        let text = self.strings.blob().text(text).unwrap_or_default();
        String::from_utf8_lossy(text.to_bytes())
    }

    /// Whether the container's mounts are in the namespace of its runtime.
    pub(crate) fn mounts_outside(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Init(Step::BindRootOutside { .. })))
    }

    /// Whether the record names more than cgroups that goes with the container.
    pub(crate) fn has_more_outside(&self) -> bool {
        let is_class = |entry: &Entry| matches!(entry.act, Act::Runtime(Task::ClassOfService { .. }));
        self.mounts_outside() || self.entries.iter().any(is_class)
    }

    /// Whether init has hooks that print to files.
    pub(crate) fn redirects_init_hooks(&self) -> bool {
        let redirected = |step: &Step| matches!(step, Step::Hook { out, err, .. } if [*out, *err] != [Slot::NONE; 2]);
        self.entries.iter().any(|entry| matches!(&entry.act, Act::Init(step) if redirected(step)))
    }

    /// Whether the process gets a terminal.
    pub(crate) fn has_console(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.act, Act::Init(Step::Console { .. })))
    }

    /// How many entries follow the one that waits for `start`.
    pub(crate) fn after_gate(&self) -> usize {
        let is_gate = |entry: &&Entry| matches!(entry.act, Act::Init(Step::AwaitStart { .. }));
        self.entries.iter().rev().take_while(|entry| !is_gate(entry)).count()
    }

    /// Where init is started.
    pub(crate) fn clone_index(&self) -> usize {
        let is_clone = |act: &Act| matches!(act, Act::Runtime(Task::Clone { .. }));
        self.entries.iter().position(|entry| is_clone(&entry.act)).unwrap_or(0)
    }

    /// An error of that moment.
    pub(crate) fn at_birth(&self, error: Error) -> Error {
        match self.entries.get(self.clone_index()) {
            Some(entry) => entry.blame(error),
            None => error,
        }
    }

    /// How many entries of the runtime's are done when init is there: up to the first that works on it.
    pub(crate) fn done_at_birth(&self) -> usize {
        let born = self.clone_index() + 1;
        let later = self.entries.iter().skip(born).position(|entry| matches!(entry.act, Act::Runtime(_)));
        later.map_or(self.entries.len(), |at| born + at)
    }

    pub(crate) fn rights_at_birth(&self) -> Rights {
        match self.entries.get(self.clone_index()).map(|entry| entry.act) {
            Some(Act::Runtime(Task::Clone { rights, .. })) => rights,
            _ => Rights::Exec,
        }
    }

    /// Whether init starts in a user namespace without ids.
    pub(crate) fn maps_ids(&self) -> bool {
        self.namespaces_at_birth().contains(CloneFlags::NEWUSER)
    }

    pub(crate) fn namespaces_at_birth(&self) -> CloneFlags {
        match self.entries.get(self.clone_index()).map(|entry| entry.act) {
            Some(Act::Runtime(Task::Clone { namespaces, .. })) => namespaces,
            _ => CloneFlags::NONE,
        }
    }
}

/// Something that does not stop the container, but that somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it comes from, as a JSON pointer.
    pub origin: String,
    /// What it is.
    pub text: String,
    /// Whom it is for.
    pub weight: Weight,
}

/// Whom a [`Warning`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// Whoever runs the container.
    Warning,
    /// Whoever looks for a fault.
    Debug,
}

impl Warning {
    pub(crate) fn new(origin: Origin, text: String) -> Warning {
        Warning { origin: alloc::format!("{origin}"), text, weight: Weight::Warning }
    }
}
