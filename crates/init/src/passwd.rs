//! The home directory of a user, from the container's /etc/passwd; see passwd(5).

use orlop_sys::Errno;

use crate::context::{BROKEN, Failure, Result};
use crate::exec::open_in_container;
use crate::lines;
use crate::step::Call;

/// Writes the home directory of `uid` to `out`, NUL-terminated. `false` where there is none.
///
/// The third field is compared as a number: CVE-2016-3697 looked a numeric user up by name.
#[inline(never)] // its buffer is on nobody else's stack
pub(crate) fn home(uid: u32, out: &mut [u8]) -> Result<bool> {
    let file = match open_in_container(c"/etc/passwd") {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCES | Errno::LOOP | Errno::NXIO) => {
            return Ok(false);
        }
        Err(errno) => {
            return Err(Failure { call: Call::Open, errno });
        }
    };
    let found = lines::find(&file, &mut [0; 8192], |line| {
        let Some(home) = home_of(line, uid) else { return Ok(None) };
        let (to, rest) = out.split_at_mut_checked(home.len()).ok_or(BROKEN)?;
        to.copy_from_slice(home);
        *rest.first_mut().ok_or(BROKEN)? = 0;
        Ok(Some(()))
    });
    match found {
        Err(Failure { call: Call::Read, errno: Errno::ISDIR }) => Ok(false),
        found => Ok(found?.is_some()),
    }
}

/// The sixth field, where the third is `uid`.
fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b':');
    let number = fields.nth(2)?;
    (lines::number(number)? == uid).then_some(())?;
    fields.nth(2).filter(|home| !home.is_empty())
}

#[cfg(test)]
mod tests {
    use super::home_of;

    #[test]
    fn home_is_found_by_number_only() {
        let cases: &[(&str, u32, Option<&str>)] = &[
            ("root:x:0:0:root:/root:/bin/sh", 0, Some("/root")),
            ("1000:x:0:0:trap:/trap:/bin/sh", 1000, None),
            ("user:x:1000:100::/home/user", 1000, Some("/home/user")),
            ("user:x:1000:100:::/bin/sh", 1000, None),
            ("user:x:-1:100::/home:/bin/sh", u32::MAX, None),
            ("user:x:4294967296:100::/home:/bin/sh", 0, None),
            ("# comment", 0, None),
            ("", 0, None),
        ];
        for &(line, uid, home) in cases {
            assert_eq!(home_of(line.as_bytes(), uid), home.map(str::as_bytes), "{line}");
        }
    }
}
