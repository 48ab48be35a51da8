//! The standard library's types, for programs that embed orlop: the feature `std`.
//!
//! Each item here does what its counterpart without `std` does. Descriptors and exit statuses convert by `AsFd` and
//! `From`, beside their types.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::bundle::Bundle;
use crate::create::CreateOptions;
use crate::error::{Error, Kind, Result};
use crate::runtime::Runtime;

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::InvalidConfig, alloc::format!("the path {path:?} holds a NUL character")))
}

impl Runtime {
    /// A runtime that keeps its state in `root`, as [`Runtime::new`] has it.
    ///
    /// # Errors
    /// [`Kind::InvalidConfig`] where the path holds a NUL character.
    pub fn at(root: impl AsRef<Path>) -> Result<Runtime> {
        Ok(Runtime::new(&c_path(root.as_ref())?))
    }
}

impl Bundle {
    /// Opens the bundle in a directory and reads its `config.json`, as [`Bundle::open`] does.
    ///
    /// # Errors
    /// Those of [`Bundle::open`], and [`Kind::InvalidConfig`] where the path holds a NUL character.
    pub fn load(directory: impl AsRef<Path>) -> Result<Bundle> {
        Bundle::open(&c_path(directory.as_ref())?)
    }
}

impl CreateOptions {
    /// Has init's pid written to a file, as [`CreateOptions::pid_file`] says.
    ///
    /// # Errors
    /// [`Kind::InvalidConfig`] where the path holds a NUL character.
    pub fn with_pid_file(mut self, path: impl AsRef<Path>) -> Result<CreateOptions> {
        self.pid_file = Some(c_path(path.as_ref())?);
        Ok(self)
    }
}
