//! Hooks: when each list runs, and who runs it. See "POSIX-platform Hooks" of the spec's config.md.

use alloc::format;

use orlop_init::step::{Environment, List, Place, Slot, Step, Text};

use super::{Origin, Phase, Planner, Task, invalid, slot};
use crate::config::{Document, Hook, Hooks, Layout, SPEC_VERSION, State, Status, Str};
use crate::error::Result;

/// A list of hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookEvent {
    /// By the runtime, before the root is entered; deprecated for the next two.
    Prestart,
    /// By the runtime, when namespaces and mounts are there.
    CreateRuntime,
    /// By init, in the container's namespaces, before the root is entered.
    CreateContainer,
    /// By init, in the container, before its program.
    StartContainer,
    /// By the runtime, when the program runs.
    Poststart,
    /// By the runtime, when the container is deleted.
    Poststop,
}

impl HookEvent {
    /// Every list, in the order of a container's life.
    pub const ALL: [HookEvent; 6] = [
        HookEvent::Prestart,
        HookEvent::CreateRuntime,
        HookEvent::CreateContainer,
        HookEvent::StartContainer,
        HookEvent::Poststart,
        HookEvent::Poststop,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            HookEvent::Prestart => "prestart",
            HookEvent::CreateRuntime => "createRuntime",
            HookEvent::CreateContainer => "createContainer",
            HookEvent::StartContainer => "startContainer",
            HookEvent::Poststart => "poststart",
            HookEvent::Poststop => "poststop",
        }
    }

    /// What it reads the container's status as. Of `prestart` crun and the specification's own tests say `created`,
    /// runc `creating`: of the two that the text allows, the one that a test holds a runtime to.
    pub(crate) const fn status(self) -> Status {
        match self {
            HookEvent::CreateRuntime | HookEvent::CreateContainer => Status::Creating,
            HookEvent::Prestart | HookEvent::StartContainer => Status::Created,
            HookEvent::Poststart => Status::Running,
            HookEvent::Poststop => Status::Stopped,
        }
    }

    /// Its place in the configuration.
    pub const fn pointer(self) -> &'static str {
        match self {
            HookEvent::Prestart => "/hooks/prestart",
            HookEvent::CreateRuntime => "/hooks/createRuntime",
            HookEvent::CreateContainer => "/hooks/createContainer",
            HookEvent::StartContainer => "/hooks/startContainer",
            HookEvent::Poststart => "/hooks/poststart",
            HookEvent::Poststop => "/hooks/poststop",
        }
    }

    /// Its hooks.
    pub(crate) fn of<'h, 'c>(self, hooks: &'h Hooks<'c>) -> &'h [Hook<'c>] {
        match self {
            HookEvent::Prestart => &hooks.prestart,
            HookEvent::CreateRuntime => &hooks.create_runtime,
            HookEvent::CreateContainer => &hooks.create_container,
            HookEvent::StartContainer => &hooks.start_container,
            HookEvent::Poststart => &hooks.poststart,
            HookEvent::Poststop => &hooks.poststop,
        }
    }
}

impl Planner<'_> {
    /// What comes later than this plan is checked as well: a container that could never be deleted cleanly is not made.
    pub(super) fn check_hooks(&mut self) -> Result<()> {
        let config = self.config;
        for event in HookEvent::ALL {
            for (index, hook) in event.of(&config.hooks).iter().enumerate() {
                let origin = Origin::member(event.pointer(), index);
                if !hook.path.starts_with('/') {
                    self.fault(invalid("the path of a hook must be absolute", origin.inside("/path")))?;
                }
                let paths = super::no_nul(&hook.path, origin.inside("/path"));
                self.sound(paths)?;
                for text in hook.args.iter().chain(&hook.env) {
                    let text = super::no_nul(text, origin);
                    self.sound(text)?;
                }
            }
        }
        Ok(())
    }

    /// Those that run when all is mounted, and the root not yet entered.
    pub(super) fn create_hooks(&mut self) -> Result<()> {
        let config = self.config;
        for event in [HookEvent::Prestart, HookEvent::CreateRuntime] {
            for (index, hook) in event.of(&config.hooks).iter().enumerate() {
                let origin = Origin::member(event.pointer(), index);
                let path = self.text(&hook.path, origin);
                let Some(path) = self.sound(path)? else { continue };
                self.runtime(Phase::Hooks, origin, Task::Hook { event, index: index as u32, path });
            }
        }
        self.init_hooks(HookEvent::CreateContainer, Place::BeforePivot)
    }

    /// Where what init's hooks print goes to: the files that annotations name.
    fn hooks_output(&self) -> [Slot; 2] {
        let [out, err] = super::HOOKS_OUTPUT.map(|name| self.config.annotations.get(name).is_some());
        let [to_out, to_err] = slot::HOOKS_OUTPUT;
        [if out { to_out } else { Slot::NONE }, if err { to_err } else { Slot::NONE }]
    }

    /// Of those that run last, what has to outlive the wait for `start`.
    pub(super) fn keep_hooks_output(&mut self) {
        if self.config.hooks.start_container.is_empty() {
            return;
        }
        for slot in self.hooks_output().into_iter().filter(|slot| *slot != Slot::NONE) {
            self.init(Phase::Start, Origin::field("/annotations"), Step::KeepOpen { slot });
        }
    }

    /// Those that run last before the program.
    pub(super) fn start_hooks(&mut self) -> Result<()> {
        self.init_hooks(HookEvent::StartContainer, Place::Container)
    }

    fn init_hooks(&mut self, event: HookEvent, place: Place) -> Result<()> {
        let config = self.config;
        let hooks = event.of(&config.hooks);
        if hooks.is_empty() {
            return Ok(());
        }
        let state = self.state_around_pid(event.status());
        let [out, err] = self.hooks_output();
        for (index, hook) in hooks.iter().enumerate() {
            let origin = Origin::member(event.pointer(), index);
            let path = self.text(&hook.path, origin)?;
            let args = if hook.args.is_empty() { self.strings.texts(&[path]) } else { self.list(&hook.args, origin)? };
            let env = self.list(&hook.env, origin)?;
            // As in runc: what runs in the container as its user has always had its environment. A hook that runs
            // with the runtime's rights has the configured one only: CVE-2025-23266.
            let environment =
                if place == Place::Container && hook.env.is_empty() { Environment::Program } else { Environment::Hook };
            let timeout = hook.timeout.map_or(0, |seconds| seconds.get());
            let index = index as u32;
            let root = slot::ROOT;
            let step = Step::Hook { index, path, args, env, environment, place, root, out, err, timeout, state };
            self.init(Phase::Hooks, origin, step);
        }
        Ok(())
    }

    fn list(&mut self, texts: &[Str<'_>], origin: Origin) -> Result<List<Text>> {
        let mut list = alloc::vec::Vec::with_capacity(texts.len());
        for text in texts {
            list.push(self.text(text, origin)?);
        }
        Ok(self.strings.texts(&list))
    }

    /// The state document in two parts: between them stands the pid, which init alone knows.
    fn state_around_pid(&mut self, status: Status) -> List<Text> {
        const PID: &str = "\"pid\":";
        let state = state_for_hooks(self.options.id, self.options.bundle, &self.config.annotations, status, 1);
        let text = state.to_json(Layout::Compact);
        // Its first occurrence is the member itself: what stands before it holds no quotation marks.
        let (before, after) = text.split_once(&format!("{PID}1")).unwrap_or((&text, ""));
        let before = self.strings.join(&[before.as_bytes(), PID.as_bytes()]);
        let after = self.strings.text(after.as_bytes());
        self.strings.texts(&[before, after])
    }
}

/// The state that a hook reads, and who listens for a filter's notifications.
pub(crate) fn state_for_hooks<'a>(
    id: &'a str,
    bundle: &'a str,
    annotations: &crate::config::Map<'a, Str<'a>>,
    status: Status,
    pid: i32,
) -> State<'a> {
    State {
        oci_version: Str::new(SPEC_VERSION),
        id: id.into(),
        status,
        pid,
        bundle: bundle.into(),
        annotations: annotations.clone(),
    }
}
