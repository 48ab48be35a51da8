//! A bundle: a directory with a configuration, as runtime-spec's bundle.md has it.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::fs::{self, OFlags};
use orlop_sys::{CWD, Errno, OwnedFd};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::{path, state};

/// A bundle whose configuration has been read.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: String,
    config: Vec<u8>,
}

impl Bundle {
    /// Opens the bundle in a directory and reads its `config.json`.
    pub fn open(directory: &CStr) -> Result<Bundle> {
        Bundle::with_config(directory, None)
    }

    /// Opens a bundle whose configuration is in another file.
    pub fn with_config(directory: &CStr, config: Option<&CStr>) -> Result<Bundle> {
        let path = absolute(directory)?;
        let text = match config {
            // It may be a pipe: of a shell's process substitution.
            Some(config) => state::read_to_end(&open(CWD, config, &config.to_string_lossy())?),
            None => {
                let shown = format!("{path}/config.json");
                let name = CString::new(shown.as_str()).map_err(|_| not_a_path(&shown))?;
                state::read_all(&open(CWD, &name, &shown)?)
            }
        };
        let config =
            text.map_err(|errno| Error::system("read", format!("the configuration of bundle {path}"), errno))?;
        Ok(Bundle { path, config })
    }

    /// A bundle from memory: its absolute path, which relative paths start from, and the text of its configuration.
    pub fn from_parts(path: impl Into<String>, config: impl Into<Vec<u8>>) -> Result<Bundle> {
        let path = path.into();
        if !path.starts_with('/') {
            return Err(Error::new(Kind::InvalidConfig, format!("the bundle's path {path:?} must be absolute")));
        }
        Ok(Bundle { path, config: config.into() })
    }

    /// Its absolute path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The configuration's text.
    pub fn text(&self) -> &[u8] {
        &self.config
    }

    /// The configuration.
    pub fn config(&self) -> Result<Config<'_>> {
        Ok(Config::parse(&self.config)?)
    }
}

fn not_a_path(path: &str) -> Error {
    Error::new(Kind::InvalidConfig, format!("{path:?} is no path"))
}

fn open(dir: orlop_sys::BorrowedFd<'_>, path: &CStr, shown: &str) -> Result<OwnedFd> {
    fs::open_at(dir, path, OFlags::RDONLY, 0).map_err(|errno| match errno {
        Errno::NOENT => Error::new(
            Kind::InvalidConfig,
            format!("JSON specification file {shown} not found: no such file or directory"),
        )
        .hint("`orlop spec` writes one"),
        errno => Error::system("openat", format!("the configuration {shown}"), errno),
    })
}

/// The path from the root on, without looking anything up but the working directory.
fn absolute(directory: &CStr) -> Result<String> {
    String::from_utf8(path::absolute(directory)?).map_err(|_| not_a_path(&directory.to_string_lossy()))
}
