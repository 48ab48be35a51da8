//! Linux system calls for the orlop container runtime, without a C library.
#![no_std]
