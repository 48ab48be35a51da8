//! Runs a command with at most 32 tasks and 256 MiB of memory, in a cgroup of its own, and tells what it used:
//! `cargo run -p orlop-cgroup --example limit -- sh -c 'echo hello'`, as root or in a delegated cgroup.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

use std::process::{Command, ExitCode};

use orlop_cgroup::{CgroupPath, Group, Joined, Layout, Limit, Memory, Options, PATIENCE, Resources, Which, plan};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: limit COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(args);
    match run(&mut command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &mut Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let layout = Layout::probe()?;
    let name = format!("/limit-{}", std::process::id());
    let path = CgroupPath::from_config(Some(&name), "")?;
    let resources = Resources {
        pids: Some(Limit::At(32)),
        memory: Memory { limit: Some(Limit::At(256 << 20)), ..Memory::default() },
        ..Resources::default()
    };
    let plan = plan(&layout, &path, &resources, Options::default())?;
    for write in &plan.writes {
        println!("{} = {} ({})", plan.file(write), write.value, write.origin);
    }
    let mut group = Group::create(&plan)?;
    let done = inside(&mut group, &plan, command);
    // Whatever the command has left running must not outlive its limits.
    group.signal_all(9)?;
    group.remove(PATIENCE)?;
    done
}

fn inside(
    group: &mut Group,
    plan: &orlop_cgroup::Plan,
    command: &mut Command,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    group.apply(plan)?;
    // A container runtime clones its child into the cgroup (`Group::fd`). An ordinary child is adopted, and
    // what it did before that is not counted.
    let mut child = command.spawn()?;
    group.adopt(child.id().try_into()?, Joined::Nothing)?;
    let status = child.wait()?;
    let stats = group.stats(Which::ALL)?;
    println!("cpu {} us, at most {} KiB of memory, {status}", stats.cpu.total / 1000, stats.memory.usage.max >> 10);
    Ok(ExitCode::from(status.code().map_or(255, |code| code as u8)))
}
