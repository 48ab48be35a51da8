//! What is left of the host's tree where the container's root was moved over it and nothing was pivoted out of.
//!
//! It is out of sight, but still in the mount namespace. Where that has a procfs or sysfs which nothing covers, the
//! kernel lets whoever makes a user namespace mount another one: `mount_too_revealing` in fs/namespace.c.

use core::ffi::CStr;

use orlop_sys::fd::OwnedFd;
use orlop_sys::fs::{AtFlags, OFlags, Resolve};
use orlop_sys::mount::{self, MountAttr, Propagation, Reach};
use orlop_sys::{CWD, Errno, fs};

use crate::context::{At, Context, Failure, Result};
use crate::lines;
use crate::mount::empty_directory;
use crate::root::PathBuf;
use crate::step::{Call, Slot};

/// A line of proc_pid_mountinfo(5).
struct Line<'a> {
    id: u32,
    parent: u32,
    /// What of the file system is mounted.
    root: &'a [u8],
    /// As it is written, with its escapes.
    path: &'a [u8],
    fstype: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut words = line.split(|&b| b == b' ');
        let (id, parent) = (lines::number(words.next()?)?, lines::number(words.next()?)?);
        let (root, path) = (words.nth(1)?, words.next()?);
        words.find(|&word| word == b"-")?;
        Some(Line { id, parent, root, path, fstype: words.next()? })
    }

    /// What would let others be mounted.
    fn is_revealing(&self) -> bool {
        self.root == b"/" && matches!(self.fstype, b"proc" | b"sysfs")
    }
}

/// Takes every mount away that is not the root's, or below it. The process still has the old root.
///
/// In a user namespace that did not make them they are all locked, and stay; a procfs or sysfs is covered then, and the
/// cover is locked with it for every namespace that comes after.
#[inline(never)] // its buffers are on nobody else's stack
pub(crate) fn detach_all_but(ctx: &Context<'_>, root: Slot) -> Result<()> {
    let kept = fs::stat(ctx.fd(root)?).at(Call::Statx)?.mount as u32;
    // Nothing that is mounted on it is followed.
    let old = fs::stat_at(CWD, c"/", AtFlags::NONE).at(Call::Statx)?.mount as u32;
    // Open, it stays readable without the procfs that it is in.
    let me = fs::open_at(CWD, c"/proc/self", OFlags::PATH | OFlags::DIRECTORY, 0).at(Call::Open)?;
    if fs::fs_magic(&me).at(Call::Fstatfs)? != fs::magic::PROC {
        return Err(Failure { call: Call::ProcfsCheck, errno: Errno::INVAL });
    }
    // What covers another goes first, and the other is found the next time.
    let mut gone = true;
    while gone {
        gone = false;
        each(&me, |line| {
            if line.parent == old && line.id != old && line.id != kept {
                gone |= detach(line)?;
            }
            Ok(())
        })?;
    }
    each(&me, |line| if line.is_revealing() { cover(ctx, line) } else { Ok(()) })
}

fn each(me: &OwnedFd, mut look: impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
    let table = fs::open_at(me, c"mountinfo", OFlags::RDONLY, 0).at(Call::Open)?;
    let mut look = |line: &[u8]| Line::parse(line).map_or(Ok(()), |line| look(&line));
    // Two paths with their escapes, and the options.
    lines::find(&table, &mut [0; 65536], |line| look(line).map(|()| None::<()>)).map(drop)
}

/// Opens a mount where nothing covers it. What is in the container's root, which lies over the old one, is not found by
/// its path: that leads to something else here.
fn open(line: &Line<'_>, path: &CStr) -> Result<Option<OwnedFd>> {
    let Ok(fd) = fs::open_at2(CWD, path, OFlags::PATH, 0, Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS) else {
        return Ok(None);
    };
    Ok((fs::stat(&fd).at(Call::Statx)?.mount as u32 == line.id).then_some(fd))
}

/// Whether it is gone.
fn detach(line: &Line<'_>) -> Result<bool> {
    let mut buf = PathBuf::new();
    let path = unescape(line.path, &mut buf)?;
    let Some(fd) = open(line, path)? else { return Ok(false) };
    // Its end must not reach the host.
    let attr = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
    mount::set_attr(&fd, c"", Reach::Tree, &attr).at(Call::MountSetattr)?;
    match mount::detach_here(path) {
        Err(Errno::INVAL | Errno::PERM) => Ok(false),
        done => done.at(Call::Umount2).map(|()| true),
    }
}

fn cover(ctx: &Context<'_>, line: &Line<'_>) -> Result<()> {
    let mut path = PathBuf::new();
    let Some(fd) = open(line, unescape(line.path, &mut path)?)? else { return Ok(()) };
    mount::attach(&empty_directory(ctx)?, &fd).at(Call::MoveMount)
}

/// The kernel writes blanks, line ends and backslashes as `\` and three octal digits.
fn unescape<'a>(text: &[u8], out: &'a mut PathBuf) -> Result<&'a CStr> {
    let mut rest = text.iter();
    let plain = core::iter::from_fn(|| {
        let &byte = rest.next()?;
        let digits = rest.as_slice().first_chunk::<3>().filter(|_| byte == b'\\');
        let Some(digits) = digits.filter(|digits| digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))) else {
            return Some(byte);
        };
        rest.nth(2);
        Some(digits.iter().fold(0u8, |value, digit| value << 3 | (digit & 7)))
    });
    out.fill(plain)
}

#[cfg(test)]
mod tests {
    use super::{Line, unescape};
    use crate::root::PathBuf;

    #[test]
    fn lines_of_the_mount_table() {
        type Row = (&'static str, Option<(u32, u32, &'static str, bool)>);
        let table: &[Row] = &[
            ("22 1 0:20 / /proc rw,nosuid - proc proc rw", Some((22, 1, "/proc", true))),
            ("22 1 0:20 / /a\\040b\\134 rw master:1 propagate_from:2 - sysfs none rw", Some((22, 1, "/a b\\", true))),
            ("22 1 0:20 /sys /x rw shared:1 - proc proc rw", Some((22, 1, "/x", false))),
            ("22 1 8:1 / /x rw shared:1 - ext4 /dev/proc rw", Some((22, 1, "/x", false))),
            ("22 1 8:1 / /x\\9 rw - ext4 proc rw", Some((22, 1, "/x\\9", false))),
            ("22 1 8:1 / /x rw", None),
            ("", None),
        ];
        for &(line, expected) in table {
            let mut path = PathBuf::new();
            let parsed = Line::parse(line.as_bytes());
            let found = parsed.as_ref().map(|line| {
                let path = unescape(line.path, &mut path).ok().and_then(|path| path.to_str().ok()).unwrap_or_default();
                (line.id, line.parent, path, line.is_revealing())
            });
            assert_eq!(found, expected, "{line}");
        }
    }
}
