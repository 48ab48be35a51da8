//! OCI container runtime as a library.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
