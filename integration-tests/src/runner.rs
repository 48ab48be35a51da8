//! Runs tests, each as a process of its own, and reports them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::set_child_subreaper;

use crate::context::{Context, Skip};
use crate::pending::is_pending;
use crate::tests::{self, Test};
use crate::{engines, leaks, processes};

/// The process of a test ends with this status when it was skipped; the reason is its last line.
const SKIPPED: u8 = 77;

pub struct Options {
    pub filters: Vec<String>,
    pub exact: bool,
    /// The tests with real engines, rather than all others.
    pub engines: bool,
    pub jobs: usize,
    /// seconds
    pub limit: u64,
    /// So many failed tests are run once more, alone.
    pub again: usize,
    pub require: Option<String>,
    pub orlop: Option<PathBuf>,
    pub global: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            filters: Vec::new(),
            exact: false,
            engines: false,
            jobs: 1,
            limit: 180,
            again: 0,
            require: None,
            orlop: None,
            global: Vec::new(),
        }
    }
}

impl Options {
    /// The binary under test: the option, `ORLOP`, or the release build of this checkout.
    pub fn find_orlop(&mut self) {
        let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/orlop");
        let named = || std::env::var_os("ORLOP").map(PathBuf::from);
        let path = self.orlop.take().or_else(named).unwrap_or_else(built);
        match fs::canonicalize(&path) {
            Ok(path) => self.orlop = Some(path),
            Err(error) => {
                eprintln!("orlop-tests: {}: {error}; build it first", path.display());
                std::process::exit(2);
            }
        }
    }

    fn selects(&self, test: &Test) -> bool {
        let name = test.name;
        let matches = |f: &String| {
            if self.exact { name == f } else { name.contains(f.as_str()) }
        };
        test.is_with_engine() == self.engines && (self.filters.is_empty() || self.filters.iter().any(matches))
    }

    fn requires(&self, test: &Test) -> bool {
        self.require.as_deref().is_some_and(|environment| test.must.contains(&environment))
    }
}

enum Outcome {
    /// With what it measured.
    Passed(String),
    Failed(String),
    Skipped(String),
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: Vec<(usize, Test)>,
    again: Vec<&'static str>,
    skipped: usize,
}

/// Runs the selected tests and prints a line for each.
pub fn run(options: &Options) -> ExitCode {
    set_child_subreaper(rustix::process::Pid::from_raw(1)).expect("prctl(2) knows subreapers");
    let queue: VecDeque<Test> = tests::all().filter(|test| options.selects(test)).collect::<Vec<_>>().into();
    if queue.is_empty() {
        eprintln!("orlop-tests: no test has such a name");
        return ExitCode::from(2);
    }
    let queue = Mutex::new(queue.into_iter().enumerate().collect::<VecDeque<_>>());
    let counts = Mutex::new(Counts::default());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop_front();
                    let Some((number, test)) = next else { return };
                    let start = Instant::now();
                    let outcome = judge(options, &test, run_one(options, &test, number));
                    report(&mut counts.lock().expect("no panic"), number, test, outcome, start.elapsed());
                }
            });
        }
    });
    let mut counts = counts.into_inner().expect("no panic");
    run_again(options, &mut counts);
    for name in &counts.again {
        println!("passed the second time only: {name}");
    }
    for (_, test) in &counts.failed {
        println!("failed: {}", test.name);
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed.len(), counts.skipped);
    if counts.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs what failed once more, where that may be a race that is not ours: when there are few of them, and beside nothing.
/// A test that passes now is named in the end all the same.
fn run_again(options: &Options, counts: &mut Counts) {
    if counts.failed.len() > options.again {
        return;
    }
    for (number, test) in std::mem::take(&mut counts.failed) {
        println!("once more: {}", test.name);
        let start = Instant::now();
        let name = test.name;
        let outcome = judge(options, &test, run_one(options, &test, number));
        if matches!(outcome, Outcome::Passed(_)) {
            counts.again.push(name);
        }
        report(counts, number, test, outcome, start.elapsed());
    }
}

/// What an outcome means here: the environment's demands, and the list of pending tests.
fn judge(options: &Options, test: &Test, outcome: Outcome) -> Outcome {
    let pending = is_pending(options.require.as_deref(), test.name);
    match outcome {
        Outcome::Failed(why) if pending => {
            let mut said = why.lines().map(str::trim).filter(|line| !line.is_empty());
            let first = said.find(|line| !line.starts_with("thread 'main'")).unwrap_or("");
            Outcome::Skipped(format!("pending ({first})"))
        }
        Outcome::Skipped(why) if options.requires(test) && !pending => {
            Outcome::Failed(format!("must run in this environment, but was skipped: {why}\n"))
        }
        other => other,
    }
}

fn report(counts: &mut Counts, number: usize, test: Test, outcome: Outcome, time: Duration) {
    let name = test.name;
    match outcome {
        Outcome::Passed(figures) => {
            counts.passed += 1;
            println!("ok   {name} ({} ms)", time.as_millis());
            for line in figures.lines().filter_map(|line| line.strip_prefix("# ")) {
                println!("     {line}");
            }
        }
        Outcome::Skipped(why) => {
            counts.skipped += 1;
            println!("skip {name}: {why}");
        }
        Outcome::Failed(why) => {
            counts.failed.push((number, test));
            println!("FAIL {name} ({} ms)", time.as_millis());
            for line in why.lines() {
                println!("     {line}");
            }
        }
    }
}

fn run_one(options: &Options, test: &Test, number: usize) -> Outcome {
    // No tag is the beginning of another one.
    let tag = format!("ot{}x{number:03}", std::process::id());
    let dir = std::env::temp_dir().join(format!("orlop-test.{tag}"));
    // Open to all: a user namespace's root and rootless users must reach the bundle.
    fs::DirBuilder::new().mode(0o755).create(&dir).expect("the temporary folder is writable");
    let outcome = supervise(options, test, &dir, &tag);
    leaks::clean(&dir, &tag);
    outcome
}

fn supervise(options: &Options, test: &Test, dir: &Path, tag: &str) -> Outcome {
    let log = dir.join("test.log");
    let output = File::create(&log).expect("the test's folder is writable");
    let mut command = if test.is_with_engine() { engines::apart() } else { Command::new("/proc/self/exe") };
    command.arg("--inner").arg(test.name).arg(dir).arg(tag).arg("--orlop");
    command.arg(options.orlop.as_deref().expect("it was found"));
    for arg in &options.global {
        command.arg("--global").arg(arg);
    }
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stderr(output.try_clone().expect("a descriptor is left"));
    let mut child = command.stdout(output).spawn().expect("this program can run itself");
    let end = Instant::now() + Duration::from_secs(options.limit);
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break Some(status);
        }
        if Instant::now() > end {
            processes::kill_below(child.id() as i32);
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    match status {
        None => Outcome::Failed(format!("not done after {} s\n{text}", options.limit)),
        Some(status) if status.success() => Outcome::Passed(text),
        Some(status) if status.code() == Some(SKIPPED.into()) => {
            Outcome::Skipped(text.lines().last().unwrap_or("no reason given").to_owned())
        }
        Some(_) => Outcome::Failed(text),
    }
}

/// The process of one test.
pub fn inner(name: &str, context: Context) -> ExitCode {
    // Containers' processes come to this one when the runtime exits, as they come to an engine's.
    set_child_subreaper(rustix::process::Pid::from_raw(1)).expect("prctl(2) knows subreapers");
    let Some(test) = tests::all().find(|test| test.name == name) else {
        eprintln!("orlop-tests: no test {name}");
        return ExitCode::FAILURE;
    };
    let result = catch_unwind(AssertUnwindSafe(|| (test.run)(&context)));
    let code = match result {
        Err(_) => 1, // the panic has been printed
        Ok(Err(Skip(why))) => {
            println!("{why}");
            SKIPPED
        }
        Ok(Ok(())) => {
            let left = leaks::wait_for_none(context.dir(), context.tag());
            for line in &left {
                println!("left behind: {line}");
            }
            u8::from(!left.is_empty())
        }
    };
    processes::kill_below(std::process::id() as i32);
    ExitCode::from(code)
}
