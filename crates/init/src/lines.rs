//! Reading a file by lines, in memory of fixed size.

use orlop_sys::fd::OwnedFd;
use orlop_sys::fs;

use crate::context::{At, BROKEN, Result};
use crate::step::Call;

/// The first answer that `look` gives to a line. A line longer than `buf` is passed over.
pub(crate) fn find<T>(
    file: &OwnedFd,
    buf: &mut [u8],
    mut look: impl FnMut(&[u8]) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut filled = 0;
    loop {
        let n = fs::read(file, buf.get_mut(filled..).ok_or(BROKEN)?).at(Call::Read)?;
        filled += n;
        let whole = buf.get(..filled).ok_or(BROKEN)?;
        let at_end = n == 0;
        let lines_end = if at_end { filled } else { whole.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1) };
        for line in whole.get(..lines_end).ok_or(BROKEN)?.split(|&b| b == b'\n') {
            if let Some(found) = look(line)? {
                return Ok(Some(found));
            }
        }
        if at_end {
            return Ok(None);
        }
        let keep = if lines_end == 0 && filled == buf.len() { filled } else { lines_end };
        filled = move_down(buf, keep, filled);
    }
}

/// A decimal number.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    core::str::from_utf8(digits).ok()?.parse().ok()
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
