//! A container whose program is a child of this process.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::systemd::Client;
use orlop_cgroup::{Group, PATIENCE, Which};
use orlop_sys::process::{Ended, Pid};
use orlop_sys::signal::SIGKILL;
use orlop_sys::time::Timespec;
use orlop_sys::{BorrowedFd, OwnedFd};

use crate::cgroup::from_cgroup;
use crate::container::{Container, remove_outside};
use crate::error::{Error, Kind, Result};
use crate::launch::{Launch, MEMORY_LIMIT, Size, limit_of_memory};
use crate::plan::{Gate, Plan, Warning, Weight};

/// A container whose program was started by this process.
pub struct Running {
    pub(crate) container: Container,
    pub(crate) launch: Launch,
    pub(crate) plan: Plan,
    pub(crate) group: Option<Group>,
    pub(crate) console: Option<OwnedFd>,
    pub(crate) ended: Option<Ended>,
}

impl Running {
    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Init's pid, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.launch.pid()
    }

    /// Init's pidfd: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.launch.pidfd().borrow()
    }

    /// What the caller should be told.
    pub fn warnings(&self) -> &[Warning] {
        &self.plan.warnings
    }

    /// Whether this process has become a subreaper, and has to reap the container's orphans.
    pub fn adopts_orphans(&self) -> bool {
        self.plan.adopts_orphans()
    }

    /// The master of the program's terminal, if that was to come to the caller: waits for it. `None` the second time,
    /// without a terminal, and where init has failed before there was one.
    pub fn console(&mut self) -> Result<Option<OwnedFd>> {
        self.console.take().map_or(Ok(None), crate::console::receive)
    }

    /// Waits until the program is executed, and leaves the container to itself.
    pub fn detach(self) -> Result<Container> {
        let tracing = self.container.tracing();
        let executed = tracing.time("await-program", || self.launch.await_program(&self.plan));
        tracing.steps(&self.plan.entries, self.launch.times());
        match executed {
            Ok(()) => Ok(self.container),
            Err(error) => {
                let id = String::from(self.container.id());
                Err(self.fail(error).during("run", &id))
            }
        }
    }

    /// Sends a signal to init, by number; see signal(7). One that has ended gets none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.launch.signal(signal).map_err(|error| error.during("run", self.container.id()))
    }

    /// Waits for the program's end: how it ended, or why it never began. The container stays, stopped.
    pub fn wait(&mut self) -> Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let tracing = self.container.tracing();
        let ended = tracing.time("wait", || self.launch.reap());
        let ended = ended.map_err(|error| error.during("run", self.container.id()))?;
        tracing.steps(&self.plan.entries, self.launch.times());
        if let Some(error) = self.launch.verdict(&self.plan, ended) {
            return Err(error.during("run", self.container.id()));
        }
        self.ended = ended;
        ended.ok_or_else(|| {
            Error::new(Kind::System, "another part of this program has taken the container's exit status")
                .during("run", self.container.id())
        })
    }

    /// Runs the hooks that wait for the program to run.
    pub(crate) fn poststart(self) -> Result<Running> {
        let pid = self.launch.pid();
        let done = self.launch.await_program(&self.plan).and_then(|()| self.container.poststart(pid));
        match done {
            Ok(()) => Ok(self),
            Err(error) => {
                self.launch.kill();
                let id = String::from(self.container.id());
                Err(self.fail(error).during("run", &id))
            }
        }
    }

    /// Why the program was killed, where the kernel did it for want of memory in the container's cgroup; see
    /// `memory.events` of cgroups(7). To be asked between its end and [`Running::delete`].
    pub fn shortage(&self) -> Option<Warning> {
        if self.ended != Some(Ended::Killed(SIGKILL)) {
            return None;
        }
        let stats = self.group.as_ref()?.stats(Which::MEMORY.with(Which::LIMITS)).ok()?;
        let kills = stats.memory.events.get("oom_kill").copied().filter(|kills| *kills > 0)?;
        let times = if kills == 1 { String::new() } else { format!(", {kills} processes in all") };
        let limit = limit_of_memory(&self.plan).map_or_else(
            || String::from("a cgroup above has no more"),
            |limit| format!("the limit is {}", Size(limit)),
        );
        let text = format!("the kernel killed the program for want of memory{times}: {limit}");
        Some(Warning { origin: String::from(MEMORY_LIMIT), text, weight: Weight::Warning })
    }

    /// Removes the container, which has ended. Hooks that fail afterwards are warnings.
    pub fn delete(&mut self) -> Result<Vec<Warning>> {
        let Running { container, group, plan, .. } = self;
        let tracing = container.tracing();
        let deleted = container.dir().lock().and_then(|()| {
            if let Some(mut group) = group.take()
                // Most often nothing is left in it.
                && tracing.time("cgroup-remove", || group.remove(Timespec::default())).is_err()
            {
                group.signal_all(SIGKILL).map_err(from_cgroup)?;
                group.remove(PATIENCE).map_err(from_cgroup)?;
            }
            if let Some(scope) = plan.cgroup.scope.take() {
                Client::connect(&scope.bus).and_then(|mut client| client.stop(&scope.unit)).map_err(from_cgroup)?;
            }
            if plan.has_more_outside()
                && let Some(record) = container.dir().read_head()?
            {
                remove_outside(&record)?;
            }
            container.remove(plan.has_poststop, Gate::Open)
        });
        deleted.map_err(|error| error.during("delete", container.id()))
    }

    /// Removes the container after `error`, such as one of [`Running::wait`]: a failed run leaves nothing. The error is
    /// handed back, with what could not be removed.
    #[must_use]
    pub fn fail(mut self, error: Error) -> Error {
        match self.delete() {
            Ok(_) => error,
            Err(second) => error.hint(format!("and it could not be removed: {second}")),
        }
    }
}

/// The same for the standard library: to wait for it in an event loop.
#[cfg(feature = "std")]
impl std::os::fd::AsFd for Running {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.launch.pidfd())
    }
}
