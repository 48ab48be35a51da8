//! Paths as text: joined and cleaned, with nothing looked up but the working directory.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_sys::fs;

use crate::error::{Error, Result};

/// `path` if it is absolute, else `path` below `base`; cleaned.
pub(crate) fn join(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return clean_absolute(path);
    }
    let mut joined = String::with_capacity(base.len() + 1 + path.len());
    joined.push_str(base);
    joined.push('/');
    joined.push_str(path);
    clean_absolute(&joined)
}

/// The path from the root on, without `.`, `..` and empty components, as Go's filepath.Clean makes it.
pub(crate) fn clean_absolute(path: &str) -> String {
    // What is cut at slashes stays UTF-8.
    String::from_utf8(clean(path.as_bytes())).unwrap_or_default()
}

fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean: Vec<u8> = Vec::with_capacity(path.len() + 1);
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => clean.truncate(clean.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            part => {
                clean.push(b'/');
                clean.extend(part);
            }
        }
    }
    if clean.is_empty() {
        clean.push(b'/');
    }
    clean
}

/// The same of any path: a relative one stands on the working directory.
pub fn absolute(path: &CStr) -> Result<Vec<u8>> {
    let path = path.to_bytes();
    if path.starts_with(b"/") {
        return Ok(clean(path));
    }
    let mut buf = [0u8; 4096];
    let n = fs::getcwd(&mut buf).map_err(|errno| Error::system("getcwd", "the working directory", errno))?;
    let cwd = CStr::from_bytes_until_nul(buf.get(..n).unwrap_or_default()).unwrap_or_default();
    Ok(clean(&[cwd.to_bytes(), b"/", path].concat()))
}

/// The last component.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_from_the_root() {
        let cases = [
            ("/a/b", "/a/b"),
            ("/a//b/", "/a/b"),
            ("/a/./b/..", "/a"),
            ("/../../etc", "/etc"),
            ("", "/"),
            ("a/b", "/a/b"),
        ];
        for (path, clean) in cases {
            assert_eq!(clean_absolute(path), clean, "{path}");
        }
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(String::from_utf8(absolute(c"x/../y").unwrap()).unwrap(), cwd.join("y").to_str().unwrap());
        assert_eq!(absolute(c"/a/\xff/..").unwrap(), b"/a");
        assert_eq!(join("/bundle", "rootfs"), "/bundle/rootfs");
        assert_eq!(join("/bundle", "/rootfs"), "/rootfs");
    }
}
