//! Where a scope lies: `slice:prefix:name`, and the folders that a slice's name stands for. See
//! systemd.slice(5).

use alloc::format;
use alloc::string::String;

use super::Bus;
use crate::error::Error;

/// A scope's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose systemd it is.
    pub bus: Bus,
    /// The container's id.
    pub id: String,
    /// The scope's name, such as `orlop-web.scope`.
    pub unit: String,
    /// Its slice, such as `system.slice`.
    pub slice: String,
    /// Its cgroup, from the root of the hierarchy, without a slash before it.
    pub path: String,
    /// Where its processes are below that; empty where they are in it.
    pub below: String,
}

/// What a name of a unit may hold; see systemd.unit(5).
fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(good)
}

impl Place {
    /// Reads `linux.cgroupsPath` as `slice:prefix:name`; one that is not there stands for `:orlop:ID`. Without a
    /// slice it is `system.slice`, or `user.slice` of a user's systemd. `above` is the cgroup of that systemd:
    /// empty for the system's.
    pub fn from_config(path: Option<&str>, id: &str, bus: &Bus, above: &str) -> Result<Place, Error> {
        let given = path.filter(|path| !path.is_empty());
        let bad = |why| Error::Path { path: given.unwrap_or(id).into(), why };
        let (slice, prefix, name) = match given {
            None => ("", "orlop", id),
            Some(path) => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                    _ => {
                        return Err(Error::Invalid {
                            origin: crate::plan::Origin::new("/linux/cgroupsPath"),
                            why: format!(
                                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                                 got {path:?} instead"
                            ),
                        });
                    }
                }
            }
        };
        if name.ends_with(".slice") {
            return Err(bad("names a slice: only scopes are made"));
        }
        let slice = match slice {
            "" if *bus != Bus::System => "user.slice",
            "" => "system.slice",
            "-" => "-.slice",
            slice => slice,
        };
        let unit = format!("{prefix}-{name}.scope");
        if !is_name(&unit) {
            return Err(bad("does not make a unit name of systemd"));
        }
        let folders = expand(slice).ok_or_else(|| bad("does not begin with the name of a slice"))?;
        let mut path = String::new();
        for part in [above, folders.as_str(), unit.as_str()] {
            let part = part.trim_matches('/');
            if !part.is_empty() {
                path.push_str(if path.is_empty() { "" } else { "/" });
                path.push_str(part);
            }
        }
        Ok(Place { bus: bus.clone(), id: id.into(), unit, slice: slice.into(), path, below: String::new() })
    }

    /// The same with its processes, and all limits besides those that are properties, in a cgroup below the scope's.
    pub fn with_below(self, name: &str) -> Result<Place, Error> {
        Ok(Place { below: crate::path::CgroupPath::below(name)?, ..self })
    }
}

/// The folders of a slice: each dash is a level, `a-b.slice` lies in `a.slice`. `None` for what is no slice.
fn expand(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(".slice").filter(|_| is_name(slice))?;
    if stem == "-" {
        return Some(String::new());
    }
    let mut path = String::new();
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        let level = stem.get(..end)?;
        if level.is_empty() || level.ends_with('-') {
            return None;
        }
        path.push_str(if path.is_empty() { "" } else { "/" });
        path.push_str(level);
        path.push_str(".slice");
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (given, user, above, want) in [
            (None, false, "", Some(("orlop-id.scope", "system.slice", "system.slice/orlop-id.scope"))),
            (Some(""), false, "/", Some(("orlop-id.scope", "system.slice", "system.slice/orlop-id.scope"))),
            (
                None,
                true,
                "/user.slice/u@1.service",
                Some(("orlop-id.scope", "user.slice", "user.slice/u@1.service/user.slice/orlop-id.scope")),
            ),
            (Some(":p:n"), false, "", Some(("p-n.scope", "system.slice", "system.slice/p-n.scope"))),
            (Some("::n"), false, "", Some(("-n.scope", "system.slice", "system.slice/-n.scope"))),
            (Some("-:p:n"), false, "", Some(("p-n.scope", "-.slice", "p-n.scope"))),
            (Some("-.slice:p:n"), false, "", Some(("p-n.scope", "-.slice", "p-n.scope"))),
            (
                Some("a-b-c.slice:p:n"),
                false,
                "",
                Some(("p-n.scope", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-n.scope")),
            ),
            (Some("/a"), false, "", None),
            (Some("a:b"), false, "", None),
            (Some("a:b:c:d"), false, "", None),
            (Some("a:b:c"), false, "", None),
            (Some("a--b.slice:p:n"), false, "", None),
            (Some("-a.slice:p:n"), false, "", None),
            (Some("a-.slice:p:n"), false, "", None),
            (Some(".slice:p:n"), false, "", None),
            (Some("../x.slice:p:n"), false, "", None),
            (Some("a.slice:p:../n"), false, "", None),
            (Some("a.slice:p:n.slice"), false, "", None),
            (Some("a.slice:p:n+m"), false, "", None),
        ] {
            let bus = if user { Bus::User("unix:path=/x".into()) } else { Bus::System };
            let got = Place::from_config(given, "id", &bus, above).ok();
            let got = got.as_ref().map(|p| (p.unit.as_str(), p.slice.as_str(), p.path.as_str()));
            assert_eq!(got, want, "{given:?}");
        }
    }
}
