//! The command line of orlop, a drop-in for runc: options, log, output, environment. No kernel logic.
//!
//! [`table`] defines every option and command; [`command::parse`] turns `argv` into a typed
//! [`command::Command`]; [`run`] leads from the program's entry to its exit status.
#![cfg_attr(not(test), no_std)]

extern crate alloc as liballoc;

pub mod alloc;
mod checkpoint;
pub mod command;
pub mod completion;
mod control;
mod doctor;
pub mod environment;
pub mod events;
mod foreground;
pub mod help;
mod info;
mod lint;
pub mod log;
pub mod man;
mod options;
pub mod output;
pub mod parse;
pub mod pattern;
pub mod run;
pub mod table;
mod terminal;
pub mod time;
pub mod value;
mod verbs;

#[cfg(test)]
mod tests;
