//! Hands dependents the sources: the init program is compiled from them.
//!
//! It is a copy below `OUT_DIR`. Cargo keeps what this script prints, and where a checkout or its target directory has
//! moved since, it puts the new place of `OUT_DIR` in; any other path would still be the old one.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src");
    let copy = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR")).join("src");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    copy_all(Path::new("src"), &copy)?;
    println!("cargo:src={}", copy.display());
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?
        } else {
            fs::copy(entry.path(), to).map(drop)?
        }
    }
    Ok(())
}
