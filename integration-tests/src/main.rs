//! End-to-end tests of orlop: they drive the built binary as a caller does, and nothing else.
//!
//! `orlop-tests [OPTION...] [FILTER...]`; a filter is a part of a test's name.
//!
//! | option | |
//! |---|---|
//! | `--list` | prints the names |
//! | `--exact` | filters are whole names |
//! | `--jobs N` | that many at a time (1) |
//! | `--require ENV` | in this environment, a test that must run and is skipped has failed |
//! | `--limit S` | seconds that one test may take (60) |
//! | `--again N` | when at most N tests failed, each is run once more, alone (0) |
//! | `--engines` | the tests with real engines, rather than all others |
//! | `--orlop PATH` | the binary, also by `ORLOP` |
//! | `--global ARG` | passed to the binary before the command (repeatable) |
//!
//! Every test is a process of its own, so that it can be ended whole, and gets a folder that is
//! gone after it. The last line is `N passed, N failed, N skipped`.

mod bundle;
mod command;
mod context;
mod criu;
mod engines;
mod host;
mod leaks;
mod pending;
mod processes;
mod runner;
mod terminal;
mod tests;
mod tracer;

use std::path::PathBuf;
use std::process::ExitCode;

use context::Context;
use runner::Options;

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut inner = None;
    let mut list = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--list" => list = true,
            "--exact" => options.exact = true,
            "--engines" => options.engines = true,
            "--jobs" => options.jobs = number(&value()),
            "--limit" => options.limit = number(&value()) as u64,
            "--again" => options.again = number(&value()),
            "--require" => options.require = Some(value()),
            "--orlop" => options.orlop = Some(PathBuf::from(value())),
            "--global" => options.global.push(value()),
            // How the runner starts the process of one test: its name, its folder and its tag.
            "--inner" => inner = Some((value(), value(), value())),
            // How a test's criu is started: its folder, and criu's arguments.
            "--criu" => {
                criu::serve(&value(), &args.collect::<Vec<String>>());
                return ExitCode::SUCCESS;
            }
            _ if arg.starts_with('-') => usage(&format!("unknown option {arg}")),
            _ => options.filters.push(arg),
        }
    }
    if list {
        for test in tests::all() {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    options.find_orlop();
    match inner {
        Some((name, dir, tag)) => runner::inner(&name, Context::new(&options, dir, tag)),
        None => runner::run(&options),
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("orlop-tests: {problem} (see the head of integration-tests/src/main.rs)");
    std::process::exit(2)
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| usage(&format!("{text} is not a number")))
}
