//! What a configuration says of itself.

use super::{Origin, Planner, invalid};
use crate::error::{Error, Result};

impl Planner<'_> {
    /// What the document says of itself.
    pub(super) fn check_document(&mut self) -> Result<()> {
        let version = Origin::field("/ociVersion");
        match major(&self.config.oci_version) {
            Some(1) => {}
            Some(_) => {
                let what = alloc::format!("version {} of the specification", &*self.config.oci_version);
                self.fault(Error::not_supported(what).field("/ociVersion"))?;
            }
            None => {
                let what = alloc::format!("{:?} is no version as semver.org has them", &*self.config.oci_version);
                self.fault(invalid(what, version))?;
            }
        }
        if self.config.annotations.get("").is_some() {
            self.fault(invalid("the key of an annotation is empty", Origin::field("/annotations")))?;
        }
        Ok(())
    }
}

/// The major version of a semantic version (semver.org, 2.0.0); nothing where it is none.
fn major(version: &str) -> Option<u64> {
    let (version, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (version, pre) = version.split_once('-').map_or((version, None), |(rest, pre)| (rest, Some(pre)));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let number = |part: &str| {
        let plain = part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
        part.parse::<u64>().ok().filter(|_| plain)
    };
    // A number of a pre-release has no leading zero; a build's may have.
    let of_pre = |part: &str| word(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || number(part).is_some());
    let named =
        build.is_none_or(|build| build.split('.').all(word)) && pre.is_none_or(|pre| pre.split('.').all(of_pre));
    let mut parts = version.split('.').map(number);
    let (major, _minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && named).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn semantic_versions() {
        let cases = [
            ("1.3.0", Some(1)),
            ("1.0.2-dev", Some(1)),
            ("1.0.0-rc.1+build.007", Some(1)),
            ("1.2.0+dev", Some(1)),
            ("2.0.0", Some(2)),
            ("1.0.0--", Some(1)),
            ("", None),
            ("1", None),
            ("1.0", None),
            ("1.0.0.0", None),
            ("01.0.0", None),
            ("1.0.0-", None),
            ("1.0.0-01", None),
            ("1.0.0+", None),
            ("v1.0.0", None),
            ("1.0.0-a_b", None),
            ("+1.0.0", None),
        ];
        for (version, wanted) in cases {
            assert_eq!(major(version), wanted, "{version}");
        }
    }
}
