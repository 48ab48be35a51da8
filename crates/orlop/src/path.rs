//! Paths as text: joined and cleaned, never looked up.

use alloc::string::String;
use alloc::vec::Vec;

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
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for part in &parts {
        clean.push('/');
        clean.push_str(part);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
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
        assert_eq!(join("/bundle", "rootfs"), "/bundle/rootfs");
        assert_eq!(join("/bundle", "/rootfs"), "/rootfs");
    }
}
