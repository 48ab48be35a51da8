//! The processes below one of ours, and their end.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A process as /proc/PID/stat shows it.
pub struct Process {
    pub pid: i32,
    parent: i32,
    state: char,
    session: i32,
    pub name: String,
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let mut words = tail.split_whitespace();
        Some(Process {
            pid,
            state: words.next()?.chars().next()?,
            parent: words.next()?.parse().ok()?,
            session: words.nth(1)?.parse().ok()?,
            name: head.split_once('(')?.1.to_owned(),
        })
    }

    fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }
}

/// All processes that descend from `root`, without it.
fn below(root: i32) -> Vec<Process> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .expect("/proc is readable")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect();
    let mut found = vec![root];
    loop {
        let before = found.len();
        for process in &all {
            if found.contains(&process.parent) && !found.contains(&process.pid) {
                found.push(process.pid);
            }
        }
        if found.len() == before {
            return all.into_iter().filter(|p| p.pid != root && found.contains(&p.pid)).collect();
        }
    }
}

/// The living processes below `root`. Zombies that are this process's own children are reaped.
pub fn living_below(root: i32) -> Vec<Process> {
    let own = std::process::id() as i32;
    below(root)
        .into_iter()
        .filter(|process| {
            if process.is_zombie() && process.parent == own {
                let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
            }
            !process.is_zombie()
        })
        .collect()
}

/// Whose child a process is.
pub fn parent(pid: i32) -> Option<i32> {
    Process::read(pid).map(|process| process.parent)
}

/// Whether there is such a process that has not ended.
pub fn lives(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| !process.is_zombie())
}

/// Takes the exit statuses of processes that have come to this one from others, as the machine's first process would:
/// until then they count as running to whoever asks for their numbers, and are in their cgroups. What is in our session is
/// left to who made it, and so are calls by these names that lead a session of their own.
pub fn reap_adopted(calls: &[&str]) {
    let own = std::process::id() as i32;
    let all = below(own);
    let ours = Process::read(own).map_or(0, |process| process.session);
    for process in all.iter().filter(|process| process.is_zombie() && process.parent == own) {
        let is_call = calls.contains(&process.name.as_str());
        if process.session != ours && !(is_call && process.session == process.pid) {
            let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
        }
    }
}

/// Kills what is below `root` until nothing is: a killed parent's children come to `root`, which
/// is a subreaper.
pub fn kill_below(root: i32) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let living = living_below(root);
        if living.is_empty() || Instant::now() > end {
            return;
        }
        for process in living {
            kill(process.pid, Signal::KILL);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Sends a signal; a process that is gone is fine.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
