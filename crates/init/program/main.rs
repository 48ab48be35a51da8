//! The sealed init program: maps the plan whose descriptor and size its arguments name, and runs it.
#![no_std]
#![no_main]

use orlop_init::plan::View;
use orlop_init::step::Call;
use orlop_init::{Context, Failure, run};
use orlop_sys::fd::OwnedFd;
use orlop_sys::mem::Shared;
use orlop_sys::signal::SIGKILL;
use orlop_sys::start::Args;
use orlop_sys::{fs, process, thread};

orlop_sys::program!(main);

/// Keeps a user namespace there until its maps are written and somebody else holds it: until standard input ends.
fn hold() -> i32 {
    let _ended = fs::read(orlop_sys::fd::STDIN, &mut [0]);
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    process::exit(134)
}


fn main(args: Args) -> i32 {
    // First of all: nobody in the container may trace this process or read its descriptors (CVE-2016-9962).
    // Only where the ids of a new user namespace are still to be mapped does that wait for `Step::BecomeRoot`: the
    // files in /proc of a process that is not dumpable belong to its namespace's root, whom nobody is yet, so that an
    // unprivileged runtime, or newuidmap(1), could not write the maps. Nobody else is in there so far.
    let unmapped = args.iter().nth(3) == Some(orlop_init::UNMAPPED);
    let hidden = if unmapped { Ok(()) } else { thread::set_dumpable(false) };
    let guarded = hidden.map_err(|errno| Failure { call: Call::Dumpable, errno }).and_then(|()| {
        thread::set_parent_death_signal(SIGKILL).map_err(|errno| Failure { call: Call::Pdeathsig, errno })
    });
    if args.count() == 1 {
        return if guarded.is_ok() { hold() } else { 1 };
    }
    let number = |n| args.iter().nth(n).and_then(|text| text.to_str().ok()?.parse::<u32>().ok());
    let (Some(plan), Some(size)) = (number(1), number(2)) else { return 1 };
    // SAFETY: the runtime gave us this descriptor, and nobody else here knows of it.
    let plan = unsafe { OwnedFd::from_raw(plan as i32) };
    // The exit status is all that can be said before the mapping is there.
    let mapping = match Shared::map(&plan, size as usize) {
        Ok(mapping) => mapping,
        Err(errno) => return errno.0,
    };
    // SAFETY: the runtime of the same build wrote it; it is unmapped only by execve(2) or exit(2).
    let Some((view, scratch)) = (unsafe { View::new(mapping.start(), mapping.size()) }) else { return 1 };
    // Left open: its number is one of those that init is born with, and no other file may get it.
    core::mem::forget(plan);
    // SAFETY: the runtime passed these descriptors for init to own.
    let mut context = unsafe { Context::new(&view, scratch) };
    context.is_all_root = args.is_all_root();
    if let Err(failure) = guarded {
        context.fail(failure);
    }
    run(&mut context, view.steps);
    1
}
