//! The first process of an orlop container: its steps, and the sealed program that runs them.
//!
//! The runtime plans ([`step::Step`], [`image`]), writes the plan into memory that both sides map
//! ([`plan`]), and executes [`PROGRAM`] from a sealed memfd. The program does one step after the other
//! ([`run`]) and ends in execve(2) of the container's program.
//!
//! Nothing here allocates, formats text, or panics; a step decides nothing that depends on the config. What a
//! step has to say is its index, the call, and the error number: the runtime knows the rest.
#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod attributes;
mod console;
mod context;
mod copy;
mod credentials;
mod exec;
pub mod hook;
#[cfg(not(orlop_program))]
pub mod image;
mod lines;
mod mount;
mod namespace;
mod old;
mod passwd;
pub mod plan;
mod root;
mod run;
#[cfg(not(orlop_program))]
pub mod show;
pub mod step;
#[cfg(test)]
mod tests;

#[cfg(test)]
extern crate std;

pub use context::{Context, Failure, Report};
pub use exec::GO;
pub use run::run;

/// The third argument of the program where it starts in a user namespace whose ids nobody has mapped yet.
pub const UNMAPPED: &core::ffi::CStr = c"unmapped";

/// The init program: a static executable, to be run from a sealed memfd with the number of the plan's descriptor
/// as its first argument. Without any it holds its user namespace until its standard input ends.
#[cfg(not(orlop_program))]
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/orlop-init"));
