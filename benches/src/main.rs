//! Times the calls of container runtimes against each other.
//!
//! `orlop-benches --floor FLOOR --dir DIR [--rounds N] NAME=PATH...`
//!
//! Every round makes each call of each runtime once, in random order, so that a busy moment of the
//! machine meets all of them. What is printed are medians: wall time from fork to wait, its ratio
//! to the first runtime's, peak memory of one process, and the number of system calls of a run.
//! DIR has two bundles: `ends` (its command ends at once) and `waits`. See `run` for the rest.

mod stats;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use stats::{Order, Samples, median};

/// A measured call: what comes before it, and the call. `ID` and `BUNDLE` are filled in.
struct Call {
    name: &'static str,
    bundle: &'static str,
    before: &'static [&'static str],
    call: &'static [&'static str],
}

const CALLS: [Call; 6] = [
    Call { name: "run", bundle: "ends", before: &[], call: &["run", "-b", "BUNDLE", "ID"] },
    Call { name: "create", bundle: "ends", before: &[], call: &["create", "-b", "BUNDLE", "ID"] },
    Call { name: "start", bundle: "waits", before: &["create", "-b", "BUNDLE", "ID"], call: &["start", "ID"] },
    Call { name: "state", bundle: "waits", before: &["run", "-d", "-b", "BUNDLE", "ID"], call: &["state", "ID"] },
    Call { name: "kill", bundle: "waits", before: &["run", "-d", "-b", "BUNDLE", "ID"], call: &["kill", "ID", "KILL"] },
    Call {
        name: "delete --force",
        bundle: "waits",
        before: &["run", "-d", "-b", "BUNDLE", "ID"],
        call: &["delete", "--force", "ID"],
    },
];

struct Runtime {
    name: String,
    path: String,
}

struct Bench {
    floor: PathBuf,
    dir: PathBuf,
    rounds: usize,
    runtimes: Vec<Runtime>,
}

fn main() -> ExitCode {
    let mut bench = Bench { floor: PathBuf::new(), dir: PathBuf::new(), rounds: 50, runtimes: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--floor" => bench.floor = value().into(),
            "--dir" => bench.dir = value().into(),
            "--rounds" => {
                bench.rounds = value().parse().unwrap_or_else(|_| usage("--rounds N"));
            }
            _ => match arg.split_once('=') {
                Some((name, path)) => {
                    bench.runtimes.push(Runtime { name: name.into(), path: path.into() });
                }
                None => usage(&format!("{arg} is not NAME=PATH")),
            },
        }
    }
    if bench.runtimes.is_empty() {
        usage("no runtime is named");
    }
    bench.leave_out_the_unable();
    if bench.runtimes.is_empty() {
        eprintln!("orlop-benches: no runtime is able to run the bundle");
        return ExitCode::FAILURE;
    }
    let code = bench.all();
    bench.remove_cgroups();
    code
}

fn usage(problem: &str) -> ! {
    eprintln!("orlop-benches: {problem} (see the head of benches/src/main.rs)");
    std::process::exit(2)
}

impl Bench {
    /// A runtime that cannot run the bundle here (an old crun wants CAP_SYS_RESOURCE, say) is named
    /// with its reason, and not measured.
    fn leave_out_the_unable(&mut self) {
        let mut able = Vec::new();
        for runtime in std::mem::take(&mut self.runtimes) {
            let id = format!("bench-{}-trial", std::process::id());
            let words = self.words(&runtime, CALLS[0].call, "ends", &id);
            let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
            let problem = match output {
                Ok(output) if output.status.success() => {
                    able.push(runtime);
                    continue;
                }
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            println!("{} is left out, it cannot run the bundle: {problem}", runtime.name);
            self.remove_cgroups();
        }
        self.runtimes = able;
    }

    /// What a runtime that failed has left.
    fn remove_cgroups(&self) {
        let ours = format!("bench-{}-", std::process::id());
        for entry in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&ours)
                && let Err(error) = std::fs::remove_dir(entry.path())
            {
                eprintln!("{} is left behind: {error}", entry.path().display());
            }
        }
    }

    fn all(&self) -> ExitCode {
        let columns = self.runtimes.len() + 1; // the last is the floor
        let mut samples: Vec<Vec<Samples>> =
            (0..CALLS.len()).map(|_| (0..columns).map(|_| Samples::default()).collect()).collect();
        let mut order = Order::new();
        let mut cells: Vec<(usize, usize)> = Vec::new();
        for call in 0..CALLS.len() {
            cells.extend((0..self.runtimes.len()).map(|runtime| (call, runtime)));
        }
        cells.push((0, self.runtimes.len()));
        // Round 0 warms caches and is not counted.
        for round in 0..=self.rounds {
            order.shuffle(&mut cells);
            for &(call, column) in &cells {
                let result = match self.runtimes.get(column) {
                    Some(runtime) => self.measure(&CALLS[call], runtime, round),
                    None => self.measure_floor(),
                };
                if round > 0 {
                    samples[call][column].add(result);
                }
            }
        }
        self.print(&samples)
    }

    /// The arguments of a call of that runtime.
    fn words(&self, runtime: &Runtime, words: &[&str], bundle: &str, id: &str) -> Vec<String> {
        let root = self.dir.join(format!("state-{}", runtime.name));
        let bundle = self.dir.join(bundle);
        let mut all = vec![runtime.path.clone(), "--root".into(), root.display().to_string()];
        all.extend(words.iter().map(|word| match *word {
            "ID" => id.to_owned(),
            "BUNDLE" => bundle.display().to_string(),
            word => word.to_owned(),
        }));
        all
    }

    fn measure(&self, call: &Call, runtime: &Runtime, round: usize) -> Option<(f64, f64)> {
        let id = format!("bench-{}-{}-{round}", std::process::id(), runtime.name);
        let ready = call.before.is_empty() || quiet(&self.words(runtime, call.before, call.bundle, &id));
        let result = if ready { self.time(&self.words(runtime, call.call, call.bundle, &id)) } else { None };
        if call.name != "run" {
            quiet(&self.words(runtime, &["delete", "--force", "ID"], call.bundle, &id));
        }
        result
    }

    fn measure_floor(&self) -> Option<(f64, f64)> {
        self.time(&self.floor_words())
    }

    fn floor_words(&self) -> Vec<String> {
        let root = self.dir.join("ends/rootfs");
        vec![self.floor.display().to_string(), root.display().to_string(), "/bin/true".into()]
    }

    /// Milliseconds and KiB of one execution, by the small program that adds nothing of its own.
    fn time(&self, words: &[String]) -> Option<(f64, f64)> {
        let output = Command::new(&self.floor)
            .arg("--measure")
            .args(words)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .expect("the floor program can be executed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().map(|n| n.parse::<f64>().unwrap_or(f64::NAN));
        let (status, time, peak) = (numbers.next()?, numbers.next()?, numbers.next()?);
        (status == 0.0).then_some((time / 1e6, peak))
    }

    fn print(&self, samples: &[Vec<Samples>]) -> ExitCode {
        let mut failed = false;
        let first = &self.runtimes[0].name;
        println!("{} rounds; medians\n", self.rounds);
        println!(
            "{:16} {:10} {:>9} {:>9} {:>9} {:>9} {:>9}  failed",
            "call",
            "runtime",
            "ms",
            "p25",
            "p75",
            format!("{first}/it"),
            "peak KiB"
        );
        for (call, columns) in CALLS.iter().zip(samples) {
            let base = median(&columns[0].times);
            for (column, sample) in columns.iter().enumerate() {
                let name = self.runtimes.get(column).map_or("floor", |r| r.name.as_str());
                // The floor program only runs.
                if sample.times.is_empty() && sample.failed == 0 {
                    continue;
                }
                failed |= sample.failed > 0;
                let (low, middle, high) = sample.quartiles();
                println!(
                    "{:16} {name:10} {middle:9.3} {low:9.3} {high:9.3} {:9.2} {:9.0}  {}",
                    call.name,
                    base / middle,
                    median(&sample.peaks),
                    sample.failed
                );
            }
        }
        println!("\nsystem calls of one run, all its processes:");
        for runtime in &self.runtimes {
            let id = format!("bench-{}-trace", std::process::id());
            let words = self.words(runtime, CALLS[0].call, "ends", &id);
            println!("{:10} {}", runtime.name, self.system_calls(&words));
        }
        println!("{:10} {}", "floor", self.system_calls(&self.floor_words()));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// The total that strace(1) counts.
    fn system_calls(&self, words: &[String]) -> String {
        let file = self.dir.join("strace");
        let status = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&file)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Err(error) => format!("not counted: strace: {error}"),
            Ok(status) if !status.success() => format!("not counted: {status} under strace"),
            Ok(_) => {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let total = text.lines().find(|line| line.ends_with("total"));
                let count = total.and_then(|line| line.split_whitespace().nth(3));
                count.unwrap_or("not counted: strace printed no total").to_owned()
            }
        }
    }
}

fn quiet(words: &[String]) -> bool {
    Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
