//! Engines that are killed while their containers run, and what they find and clear away afterwards.

use std::path::Path;

use rustix::process::Signal;

use crate::context::Skip;
use crate::engines::{Engine, parent_of, until};
use crate::processes;

/// A container with two processes.
pub const TWO: &[&str] = &["sh", "-c", "sleep 1000 & sleep 1000"];

/// An engine with a daemon, and a shim between it and each container.
pub trait Shims<'t> {
    fn engine(&self) -> &Engine<'t>;
    /// Ends the daemon.
    fn stop(&mut self, signal: Signal);
    /// Starts it anew.
    fn launch(&mut self) -> Result<(), Skip>;
    /// Starts [`TWO`] in the background.
    fn detach(&self, name: &str);
    fn pause(&self, name: &str);
    /// The first process of a container that runs.
    fn pid(&self, name: &str) -> i32;
    /// Whether the engine takes it for running.
    fn runs(&self, name: &str) -> bool;
    /// Removes a container whose shim was killed.
    fn clear(&self, name: &str);
    /// A container of that name works from beginning to end.
    fn works(&self, name: &str);
}

/// The shim alone: the engine learns of it and ends the container.
#[track_caller]
pub fn shim_killed<'t>(shims: &impl Shims<'t>) {
    shims.detach("box");
    let pid = shims.pid("box");
    processes::kill(parent_of(pid), Signal::KILL);
    until("the container is gone", || !processes::lives(pid));
    until("the engine knows", || !shims.runs("box"));
    shims.clear("box");
    shims.engine().is_clean();
    shims.works("box");
}

/// The daemons and the shims at once, while containers run: the next daemon clears away what they had.
#[track_caller]
pub fn all_killed<'t>(shims: &mut impl Shims<'t>) -> Result<(), Skip> {
    let names = ["one", "two", "paused"];
    for name in names {
        shims.detach(name);
    }
    shims.pause("paused");
    let pids = names.map(|name| shims.pid(name));
    kill(shims, &pids.map(parent_of));
    shims.launch()?;
    for (name, pid) in names.iter().zip(pids) {
        until("the container is gone", || !processes::lives(pid));
        shims.clear(name);
    }
    shims.engine().is_clean();
    shims.works("one");
    Ok(())
}

/// Kills the daemon, what it started of its own kind, and those processes. Their exit statuses are taken, as the next
/// daemon believes that the one before runs as long as there is a process of its number.
pub fn kill<'t>(shims: &mut impl Shims<'t>, pids: &[i32]) {
    let below = || processes::living_below(std::process::id() as i32);
    shims.stop(Signal::KILL);
    let daemons = below().into_iter().filter(|process| process.name == "containerd").map(|process| process.pid);
    let killed: Vec<i32> = daemons.chain(pids.iter().copied()).collect();
    for pid in &killed {
        processes::kill(*pid, Signal::KILL);
    }
    until("all of them are gone", || {
        // This takes the statuses.
        below();
        killed.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}
