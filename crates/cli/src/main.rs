//! orlop: an OCI container runtime, a drop-in for runc.
fn main() {}
