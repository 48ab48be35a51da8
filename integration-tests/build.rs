//! Builds the probe, the payload of every container here: it becomes part of the test program.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("../fixtures/probe");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=pending");
    let output = PathBuf::from(env::var("OUT_DIR").unwrap()).join("probe");
    let status = Command::new(source.join("build"))
        .arg(&output)
        .env("RUSTC", env::var("RUSTC").unwrap())
        .status()
        .expect("fixtures/probe/build can be run");
    assert!(status.success(), "fixtures/probe/build failed");
}
