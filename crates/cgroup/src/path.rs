//! Where a container's cgroup lies: the rules for `linux.cgroupsPath`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Error;

/// A cleaned `cgroupsPath`: no `.` or `..`, never the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CgroupPath {
    /// Begins with `/`: counted from each hierarchy's mount point. Stored without the slash.
    Absolute(String),
    /// Does not: counted from the caller's own cgroup on v1, from its parent on v2, where a cgroup with
    /// processes cannot have limited children.
    Relative(String),
    /// The configuration names none: as relative, by the container's id. Only here may a rootless runtime go
    /// on without a cgroup.
    Default(String),
}

impl CgroupPath {
    /// Reads `linux.cgroupsPath`; an absent or empty one becomes the container's id.
    pub fn from_config(path: Option<&str>, id: &str) -> Result<CgroupPath, Error> {
        let given = path.filter(|path| !path.is_empty());
        let text = given.unwrap_or(id);
        let clean = clean(text);
        let bad = |why| Error::Path { path: text.into(), why };
        if clean.is_empty() {
            return Err(bad("names no cgroup below the root"));
        }
        if clean.bytes().any(|b| b == 0 || b == b'\n') {
            return Err(bad("holds a newline or NUL"));
        }
        Ok(match given {
            None => CgroupPath::Default(clean),
            Some(text) if text.starts_with('/') => CgroupPath::Absolute(clean),
            Some(_) => CgroupPath::Relative(clean),
        })
    }

    /// Reads where a cgroup is below another one: its name, or several with slashes between them. Cleaned, it is
    /// never empty.
    pub fn below(name: &str) -> Result<String, Error> {
        let bad = |why| Error::Path { path: name.into(), why };
        if name.split('/').any(|part| part == "..") {
            return Err(bad("is to be below another one, and leads out of it"));
        }
        let clean = clean(name);
        if clean.is_empty() {
            return Err(bad("names no cgroup below another one"));
        }
        if clean.bytes().any(|b| b == 0 || b == b'\n') {
            return Err(bad("holds a newline or NUL"));
        }
        Ok(clean)
    }

    /// The path without a leading slash.
    pub fn as_str(&self) -> &str {
        match self {
            CgroupPath::Absolute(path) | CgroupPath::Relative(path) | CgroupPath::Default(path) => path,
        }
    }

    /// Whether it counts from the mount points.
    pub const fn is_absolute(&self) -> bool {
        matches!(self, CgroupPath::Absolute(_))
    }
}

/// Resolves `.` and `..` by the text alone, with the root as a floor, and drops the outer slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use CgroupPath::{Absolute, Default, Relative};

    #[test]
    fn config_paths() {
        for (given, want) in [
            (None, Ok(Default("id".into()))),
            (Some(""), Ok(Default("id".into()))),
            (Some("/a/b"), Ok(Absolute("a/b".into()))),
            (Some("a/b"), Ok(Relative("a/b".into()))),
            (Some("./a//b/"), Ok(Relative("a/b".into()))),
            (Some("/../../a"), Ok(Absolute("a".into()))),
            (Some("../../etc/a"), Ok(Relative("etc/a".into()))),
            (Some("/a/../../b"), Ok(Absolute("b".into()))),
            (Some("/"), Err(())),
            (Some(".."), Err(())),
            (Some("/a/.."), Err(())),
            (Some("/a\nb"), Err(())),
        ] {
            let got = CgroupPath::from_config(given, "id").map_err(|_| ());
            assert_eq!(got, want, "{given:?}");
        }
    }

    #[test]
    fn names_of_cgroups_below() {
        for (given, want) in [
            ("a", Some("a")),
            ("a/b", Some("a/b")),
            ("/a//./b/", Some("a/b")),
            ("a..", Some("a..")),
            ("", None),
            ("/", None),
            (".", None),
            ("..", None),
            ("a/..", None),
            ("a/../b", None),
            ("a\nb", None),
        ] {
            assert_eq!(CgroupPath::below(given).ok().as_deref(), want, "{given:?}");
        }
    }
}
