//! One entry of a plan: when it is done, which field asks for it, by whom, and what.

use alloc::string::String;
use core::fmt;

use orlop_init::step::Step;

use super::Task;
use crate::error::Error;

/// A part of a container's making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// What is made before there is a process: the state directory, the cgroup.
    Prepare,
    /// The process and its namespaces.
    Namespaces,
    /// The root file system and what is mounted in it.
    Mounts,
    /// Device nodes and links.
    Devices,
    /// What the configuration has run on the way.
    Hooks,
    /// Entering the root, and covering parts of it.
    Root,
    /// The process's own attributes.
    Process,
    /// Waiting for `start`, and executing the program.
    Start,
}

impl Phase {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Namespaces => "namespaces",
            Phase::Mounts => "mounts",
            Phase::Devices => "devices",
            Phase::Hooks => "hooks",
            Phase::Root => "root",
            Phase::Process => "process",
            Phase::Start => "start",
        }
    }
}

/// The place in `config.json` that an entry comes from; the default ones come from none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    pointer: &'static str,
    index: Option<u32>,
    tail: &'static str,
}

impl Origin {
    /// What no field asks for.
    pub const NONE: Origin = Origin::field("");

    /// A field, as a JSON pointer.
    pub const fn field(pointer: &'static str) -> Origin {
        Origin { pointer, index: None, tail: "" }
    }

    /// A member of a list.
    pub const fn member(pointer: &'static str, index: usize) -> Origin {
        Origin { pointer, index: Some(index as u32), tail: "" }
    }

    /// A field of a member of a list.
    #[must_use]
    pub const fn inside(self, tail: &'static str) -> Origin {
        Origin { tail, ..self }
    }

    /// Whether a field asks for it.
    pub const fn is_none(self) -> bool {
        self.pointer.is_empty() && self.index.is_none()
    }

    pub(crate) fn to_pointer(self) -> Option<String> {
        (!self.is_none()).then(|| alloc::format!("{self}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pointer)?;
        if let Some(index) = self.index {
            write!(f, "/{index}")?;
        }
        f.write_str(self.tail)
    }
}

/// A member of an object by its key, as a JSON pointer.
pub(crate) fn member(pointer: &str, key: &str) -> String {
    alloc::format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Who does an entry, and what.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The runtime.
    Runtime(Task),
    /// Init.
    Init(Step),
}

impl Act {
    /// What init makes of it: what is the runtime's is a place that it waits at.
    pub(crate) fn step(&self) -> Step {
        match *self {
            Act::Runtime(_) => Step::Runtime {},
            Act::Init(step) => step,
        }
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When.
    pub phase: Phase,
    /// Why.
    pub origin: Origin,
    /// What, and by whom.
    pub act: Act,
}

impl Entry {
    /// What `orlop explain` and messages call it.
    pub fn name(&self) -> &'static str {
        match &self.act {
            Act::Runtime(task) => task.name(),
            Act::Init(step) => step.name(),
        }
    }

    /// The error of this entry.
    pub(crate) fn blame(&self, error: Error) -> Error {
        error.at(self.phase, self.origin.to_pointer())
    }
}
