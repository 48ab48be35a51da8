//! Ten containers from eight threads of a program that allocates all the while, and that is the same afterwards.
//!
//! ```text
//! cargo run -p orlop --features std --example embed -- BUNDLE
//! ```
//! Needs root. The bundle's program must end by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{env, fs, thread};

use orlop::{Bundle, CreateOptions, Ended, Runtime};

const CONTAINERS: usize = 10;
const THREADS: usize = 8;

/// What a library could change of the process that uses it, and must not.
pub fn surroundings() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| format!("{path}: {error}"));
    add("working directory", format!("{:?}", env::current_dir()));
    add("environment", format!("{:?}", env::vars_os().collect::<Vec<_>>()));
    add("oom score", read("/proc/self/oom_score_adj"));
    add("cgroup", read("/proc/self/cgroup"));
    // /proc/self belongs to root where a process is not dumpable: prctl(2), PR_SET_DUMPABLE.
    add("dumpable", format!("{:?}", fs::File::open("/proc/self/mem").is_ok()));
    for line in read("/proc/thread-self/status").lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let kept = ["Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp"];
        if kept.contains(&name) || name.starts_with("Sig") && name != "SigQ" || name.starts_with("Cap") {
            add(name, value.trim().to_owned());
        }
    }
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts"] {
        add(kind, format!("{:?}", fs::read_link(format!("/proc/thread-self/ns/{kind}"))));
    }
    let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count());
    add("descriptors", format!("{descriptors:?}"));
    all
}

/// What differs: `name: was VALUE, is VALUE`, a line each.
pub fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let value = |all: &BTreeMap<String, String>, name: &String| all.get(name).cloned().unwrap_or_default();
    let names = before.keys().filter(|&name| before.get(name) != after.get(name));
    names.map(|name| format!("{name}: was {}, is {}\n", value(before, name), value(after, name))).collect()
}

/// Allocates, checks and frees until told to stop: whoever copied this process in the middle of it, or used its
/// memory between clone(2) and execve(2), would be found out. Gives back how often.
fn churn(stop: &AtomicBool) -> usize {
    let mut rounds = 0;
    let mut kept: Vec<Vec<u8>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let byte = rounds as u8;
        kept.push(vec![byte; 1 + rounds * 7919 % 65536]);
        if kept.len() > 64 {
            let old = kept.swap_remove(rounds % 64);
            assert!(old.iter().all(|&other| other == old[0]), "somebody wrote to our memory");
        }
        rounds += 1;
    }
    rounds
}

/// Runs the containers and gives back how each ended.
///
/// # Errors
/// The first error of any of them.
pub fn run(root: &Path, bundle: &Path) -> Result<Vec<ExitStatus>, orlop::Error> {
    let runtime = Runtime::at(root)?;
    let bundle = Bundle::load(bundle)?;
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ended: Mutex<Vec<ExitStatus>> = Mutex::new(Vec::new());
    let one_after_another = || -> Result<(), orlop::Error> {
        let before = of_this_thread();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= CONTAINERS {
                assert_eq!(differences(&before, &of_this_thread()), "");
                return Ok(());
            }
            let id = format!("embed-{}-{number}", std::process::id());
            let mut running = runtime.run(&id, &bundle, &CreateOptions::default())?;
            let how: Ended = match running.wait() {
                Ok(how) => how,
                Err(error) => return Err(running.fail(error)),
            };
            running.delete()?;
            ended.lock().expect("no thread has panicked").push(how.into());
        }
    };
    thread::scope(|scope| {
        let churning: Vec<_> = (0..2).map(|_| scope.spawn(|| churn(&stop))).collect();
        let working: Vec<_> = (0..THREADS).map(|_| scope.spawn(one_after_another)).collect();
        let results: Vec<_> = working.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        for thread in churning {
            assert!(thread.join().expect("the memory is intact") > 0);
        }
        results.into_iter().try_for_each(|result| result.expect("no thread has panicked"))
    })?;
    Ok(ended.into_inner().expect("no thread has panicked"))
}

/// The part that each thread has of its own: mask, capabilities, namespaces.
fn of_this_thread() -> BTreeMap<String, String> {
    let mut all = surroundings();
    // Other threads open and close theirs.
    all.remove("descriptors");
    all
}

#[allow(dead_code)] // the test that includes this file has its own
#[allow(clippy::print_stdout)] // a program
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bundle = env::args_os().nth(1).ok_or("usage: embed BUNDLE")?;
    let root = env::temp_dir().join(format!("orlop-embed-{}", std::process::id()));
    // With its first thread a C library handles a signal of its own: nptl(7).
    thread::spawn(|| {}).join().expect("it does nothing");
    let before = surroundings();
    let ended = run(&root, Path::new(&bundle))?;
    let after = surroundings();
    fs::remove_dir_all(&root)?;
    for status in &ended {
        println!("{status}");
    }
    let differences = differences(&before, &after);
    if differences.is_empty() { Ok(()) } else { Err(differences.into()) }
}
