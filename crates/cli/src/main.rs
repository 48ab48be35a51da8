//! orlop: an OCI container runtime, a drop-in for runc.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // the entry, as `program!` writes it

use core::panic::PanicInfo;

use orlop_cli::alloc::Arena;
use orlop_sys::start::Args;

#[global_allocator]
static ARENA: Arena = Arena::new();

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    orlop_cli::run::panicked(info)
}

orlop_sys::program!(main);

fn main(args: Args) -> i32 {
    orlop_cli::run::main(args)
}
