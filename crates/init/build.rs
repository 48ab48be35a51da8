//! Builds the init program with the compiler alone: two library crates and a main file, without Cargo, so that
//! it works wherever this crate is compiled: in the workspace, as a dependency, from a package, offline.

#![allow(clippy::expect_used, clippy::panic)] // a build that cannot go on ends, and says why

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest init that we accept.
const LIMIT: u64 = 128 * 1024;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    let sys = env::var_os("DEP_ORLOP_SYS_SRC").expect("orlop-sys tells where its sources are");
    let sys = Path::new(&sys);
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=program");

    let sys_lib = out.join("liborlop_sys.rlib");
    let init_lib = out.join("liborlop_init.rlib");
    rustc("orlop_sys", &sys.join("lib.rs"), &sys_lib, &["--crate-type=rlib"]);
    let sys_extern = format!("--extern=orlop_sys={}", sys_lib.display());
    rustc("orlop_init", Path::new("src/lib.rs"), &init_lib, &["--crate-type=rlib", &sys_extern]);
    let init_extern = format!("--extern=orlop_init={}", init_lib.display());
    let program = out.join("orlop-init");
    // Not position-independent: nothing is left to relocate when it starts.
    let link = [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,--gc-sections",
        "-Wl,-z,noexecstack",
    ]
    .map(|arg| format!("-Clink-arg={arg}"));
    let mut args = vec!["--crate-type=bin", &sys_extern, &init_extern, "-Clto=fat", "-Cstrip=none"];
    args.extend(link.iter().map(String::as_str));
    rustc("orlop_init_program", Path::new("program/main.rs"), &program, &args);

    // With its symbols for the test that looks for panics, without them for use.
    std::fs::copy(&program, out.join("orlop-init.symbols")).expect("OUT_DIR is writable");
    args.retain(|arg| *arg != "-Cstrip=none");
    args.push("-Cstrip=symbols");
    rustc("orlop_init_program", Path::new("program/main.rs"), &program, &args);
    let size = std::fs::metadata(&program).expect("rustc has made it").len();
    assert!(size <= LIMIT, "the init program has {size} bytes, more than {LIMIT}");
}

fn rustc(name: &str, source: &Path, output: &Path, args: &[&str]) {
    let rustc = env::var_os("RUSTC").expect("Cargo sets RUSTC");
    let target = env::var("TARGET").expect("Cargo sets TARGET");
    let mut command = Command::new(rustc);
    command
        .arg(source)
        .args(["--crate-name", name, "--edition=2024", "--target", &target, "--cfg=orlop_program"])
        .args(["-Cpanic=abort", "-Copt-level=s", "-Ccodegen-units=1", "-Cembed-bitcode=yes"])
        .args(["-Coverflow-checks=off", "-Cdebug-assertions=off", "--cap-lints=allow"])
        .arg("-L")
        .arg(output.parent().expect("a file in OUT_DIR"))
        .arg("-o")
        .arg(output)
        .args(args);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut arg = std::ffi::OsString::from("-Clinker=");
        arg.push(linker);
        command.arg(arg);
    }
    let status = command.status().unwrap_or_else(|e| panic!("running {command:?}: {e}"));
    assert!(status.success(), "{command:?} failed: {status}");
}
