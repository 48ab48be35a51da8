//! Runs a command with at most 32 tasks and 64 MiB of memory in a scope of systemd, and later with 48 tasks:
//! `cargo run -p orlop-cgroup --example scope -- sleep 1`, as root, or as a user with a systemd of their own.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use orlop_cgroup::systemd::{self, Bus, Client, Place};
use orlop_cgroup::{Group, Joined, Layout, Limit, Memory, Options, PATIENCE, Plan, Resources};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: scope COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(args);
    match run(&mut command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scope: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &mut Command) -> Result<ExitCode, Box<dyn Error>> {
    let root = orlop_sys::credentials::euid() == 0;
    let bus = if root { Bus::System } else { Bus::User(std::env::var("DBUS_SESSION_BUS_ADDRESS")?) };
    let mut client = Client::connect(&bus)?;
    let above = if root { String::new() } else { client.cgroup()? };
    let id = std::process::id().to_string();
    let place = Place::from_config(Some(&format!(":example:{id}")), &id, &bus, &above)?;
    let layout = Layout::probe()?;
    let planned = |tasks: u64| -> Result<Plan, orlop_cgroup::Error> {
        let resources = Resources {
            memory: Memory { limit: Some(Limit::At(64 << 20)), ..Memory::default() },
            pids: Some(Limit::At(tasks)),
            ..Resources::default()
        };
        let options = Options { rootless: !root, ..Options::default() };
        systemd::plan(&layout, &place, &resources, options, core::iter::empty())
    };
    let plan = planned(32)?;
    let mut child = command.process_group(0).spawn()?;
    let pid = child.id() as i32;
    let scope = plan.scope.as_ref().ok_or("no scope was planned")?;
    client.start(scope, pid, None)?;
    let mut group = Group::create(&plan)?;
    group.adopt(pid, if group.fd().is_some() { Joined::Unified } else { Joined::Nothing })?;
    group.apply(&plan)?;
    println!("{pid} is in {} with 32 tasks", place.path);
    client.update(&mut group, &planned(48)?)?;
    let status = child.wait()?;
    println!("it ended with {status}");
    group.remove(PATIENCE)?;
    client.stop(&scope.unit)?;
    Ok(ExitCode::SUCCESS)
}
