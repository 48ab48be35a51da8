//! OCI container runtime as a library.
#![no_std]
