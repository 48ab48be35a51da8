//! The home directory of a user, from the container's /etc/passwd; see passwd(5).

use core::mem::ManuallyDrop;

use orlop_sys::{Errno, fs};

use crate::context::{At, BROKEN, Failure, Result};
use crate::exec::open_in_container;
use crate::step::Call;

/// Writes the home directory of `uid` to `out`, NUL-terminated. `false` where there is none.
///
/// The third field is compared as a number: CVE-2016-3697 looked a numeric user up by name.
pub(crate) fn home(uid: u32, out: &mut [u8]) -> Result<bool> {
    let file = match open_in_container(c"/etc/passwd") {
        // It closes at execve(2), and before that where init waits.
        Ok(file) => ManuallyDrop::new(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCES | Errno::LOOP | Errno::NXIO) => {
            return Ok(false);
        }
        Err(errno) => {
            return Err(Failure { call: Call::Open, errno });
        }
    };
    let mut buf = [0u8; 8192];
    let mut filled = 0;
    loop {
        let room = buf.get_mut(filled..).ok_or(BROKEN)?;
        let n = match fs::read(&*file, room) {
            Err(Errno::ISDIR) => return Ok(false),
            done => done.at(Call::Read)?,
        };
        filled += n;
        let whole = buf.get(..filled).ok_or(BROKEN)?;
        let at_end = n == 0;
        let lines_end = if at_end { filled } else { whole.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1) };
        for line in whole.get(..lines_end).ok_or(BROKEN)?.split(|&b| b == b'\n') {
            if let Some(home) = home_of(line, uid) {
                let (to, rest) = out.split_at_mut_checked(home.len()).ok_or(BROKEN)?;
                to.copy_from_slice(home);
                *rest.first_mut().ok_or(BROKEN)? = 0;
                return Ok(true);
            }
        }
        // A line longer than the buffer is no user's.
        let keep = if lines_end == 0 && filled == buf.len() { filled } else { lines_end };
        if at_end {
            return Ok(false);
        }
        filled = move_down(&mut buf, keep, filled);
    }
}

/// Moves `from..to` to the start: how many bytes that are. (`copy_within` can panic.)
fn move_down(buf: &mut [u8], from: usize, to: usize) -> usize {
    let len = to.saturating_sub(from);
    for i in 0..len {
        let byte = buf.get(from + i).copied().unwrap_or_default();
        if let Some(slot) = buf.get_mut(i) {
            *slot = byte;
        }
    }
    len
}

/// The sixth field, where the third is `uid`.
fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b':');
    let number = fields.nth(2)?;
    (parse(number)? == uid).then_some(())?;
    fields.nth(2).filter(|home| !home.is_empty())
}

fn parse(digits: &[u8]) -> Option<u32> {
    core::str::from_utf8(digits).ok()?.parse().ok()
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
