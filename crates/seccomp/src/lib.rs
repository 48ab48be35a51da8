//! Compiles an OCI seccomp profile into one BPF program.
#![no_std]
