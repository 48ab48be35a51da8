//! OCI container runtime as a library.
#![no_std]

extern crate alloc;

pub mod config;
