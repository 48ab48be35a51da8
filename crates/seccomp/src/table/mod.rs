//! Names and numbers of system calls.
//!
//! One sorted list of names serves all architectures; a name's *row* is its index into
//! an architecture's column of numbers. Calls since Linux 5.2 have one number on every
//! architecture: their rows lie behind the columns' ends, in one shared list. Columns
//! that hardly differ from another one are kept as their differences. That makes 18 KB
//! for 23 architectures.

use core::cmp::Ordering;

#[rustfmt::skip]
mod data;

pub(crate) use data::{
    AARCH64, ARM, LOONGARCH64, M68K, MIPS, MIPS64, MIPS64N32, PARISC, PARISC64, PPC, PPC64, RISCV64, S390, S390X, SH,
    X32, X86, X86_64,
};
use data::{ENDS, NAMES, ROWS, UNIFORM};

/// Stands for "no such call here" in a column.
const NONE: u16 = 0xffff;
/// ARM's private calls (`__ARM_NR_BASE`, 0xf0000) are kept in 16 bits as 0xf000 + n.
const ARM_SHORT: u16 = 0xf000;

/// Where ARM's private calls begin.
pub(crate) const ARM_PRIVATE: u32 = 0xf_0000;
/// The calls between these numbers belong to x32 alone; all others it shares with x86_64.
pub(crate) const X32_OWN: core::ops::Range<u32> = 512..548;
/// How many rows there are.
pub(crate) const COUNT: usize = ROWS.len();

/// One architecture's numbers.
pub(crate) struct Column {
    /// What to add to each number.
    pub(crate) base: u32,
    numbers: &'static [u16],
    /// Pairs of row and number, by row, which replace those of `numbers`.
    patch: &'static [u16],
}

impl Column {
    /// The number in `row`, the base added.
    pub(crate) fn number(&self, row: u16) -> Option<u32> {
        let index = usize::from(row);
        let number = match self.numbers.get(index) {
            None => *UNIFORM.get(index - self.numbers.len())?,
            Some(&number) => self.patched(row).unwrap_or(number),
        };
        match number {
            NONE => None,
            ARM_SHORT.. => Some(ARM_PRIVATE + u32::from(number - ARM_SHORT)),
            _ => Some(self.base + u32::from(number)),
        }
    }

    fn patched(&self, row: u16) -> Option<u16> {
        let (pairs, _) = self.patch.as_chunks::<2>();
        let at = pairs.binary_search_by_key(&row, |pair| pair[0]).ok()?;
        Some(pairs[at][1])
    }
}

/// A name's row, if any architecture knows it.
pub(crate) fn find(name: &str) -> Option<u16> {
    Finder::default().find(name)
}

/// Finds names one after the other; faster where they are sorted, as in most profiles.
#[derive(Default)]
pub(crate) struct Finder {
    /// Behind the place of the last one.
    next: usize,
}

impl Finder {
    pub(crate) fn find(&mut self, name: &str) -> Option<u16> {
        let (mut low, mut high) = (0, COUNT);
        let mut middle = self.next.min(COUNT - 1);
        while low < high {
            match at(middle).cmp(name.as_bytes()) {
                Ordering::Equal => {
                    self.next = middle + 1;
                    return Some(ROWS[middle]);
                }
                // Nothing is known about what comes before, but it is likely close.
                Ordering::Less if middle == self.next && high - middle > 8 => {
                    low = middle + 1;
                    middle += 2;
                    continue;
                }
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
            middle = (low + high) / 2;
        }
        None
    }
}

/// The name at a place of the sorted list.
fn at(place: usize) -> &'static [u8] {
    let start = if place == 0 { 0 } else { usize::from(ENDS[place - 1]) };
    &NAMES.as_bytes()[start..usize::from(ENDS[place])]
}

/// Every name, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    (0..COUNT).map(|place| {
        let start = if place == 0 { 0 } else { usize::from(ENDS[place - 1]) };
        &NAMES[start..usize::from(ENDS[place])]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        let mut last = "";
        let mut seen = [false; COUNT];
        for name in names() {
            assert!(last < name, "{last} {name}");
            last = name;
            let row = find(name).expect(name);
            assert!(!core::mem::replace(&mut seen[usize::from(row)], true), "{name}");
        }
    }
}
