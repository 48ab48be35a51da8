//! Tells the linker that the binary has its own entry and no C library, and the binary its commit.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    // rustc asks for a position independent program of the C library's start files, once by default and in
    // other words with `+crt-static`; the last word on the command line wins, and these come last.
    for arg in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=ORLOP_COMMIT");
    println!("cargo:rustc-env=ORLOP_COMMIT={}", commit());
    println!("cargo:rustc-env=ORLOP_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// The commit: what the environment says, what `cargo package` has noted, what git says, in this order.
fn commit() -> String {
    if let Ok(commit) = env::var("ORLOP_COMMIT") {
        return commit;
    }
    let dir = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if let Ok(text) = fs::read_to_string(Path::new(&dir).join(".cargo_vcs_info.json"))
        && let Some((_, rest)) = text.split_once("\"sha1\": \"")
        && let Some((commit, _)) = rest.split_once('"')
    {
        return commit.to_owned();
    }
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(&dir).args(args).output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        (out.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    // The log of HEAD grows with every commit and every checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        let log = Path::new(&dir).join(log);
        // Cargo would build again every time for a file that does not exist.
        if log.exists() {
            println!("cargo:rerun-if-changed={}", log.display());
        }
    }
    git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}
