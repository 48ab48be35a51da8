//! Linux system calls for the orlop container runtime, without a C library.
//!
//! Every call is one function that takes and returns typed values: descriptors are [`fd::OwnedFd`] or
//! [`fd::BorrowedFd`], paths are `&CStr`, flags are sets that print the kernel's names, and a failure is an
//! [`Errno`]. Nothing here allocates, panics, or keeps state; a call that opens sets close-on-exec.
//!
//! The crate has no dependencies, so that the init program can be built from it by the compiler alone. It is
//! the one place of the project where `unsafe` is at home.
#![no_std]
#![allow(unsafe_code)] // this is where it lives: see each SAFETY comment

#[cfg(any(test, feature = "std"))]
extern crate std;

#[macro_use]
mod flags;
mod arch;
mod numbers;

pub mod bpf;
pub mod credentials;
pub mod errno;
pub mod event;
pub mod fd;
pub mod fs;
pub mod mem;
pub mod mount;
pub mod net;
pub mod process;
pub mod signal;
pub mod start;
pub mod thread;
pub mod time;
pub mod tty;

pub use errno::{Errno, Result, retry};
pub use fd::{AsFd, BorrowedFd, CWD, OwnedFd, STDERR, STDIN, STDOUT};
