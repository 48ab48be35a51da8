//! The init program as a file: small, alone, and without a way to panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test: a file that is no ELF file fails it

use std::collections::BTreeSet;

/// As it is embedded, and the same with its symbols.
const SYMBOLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/orlop-init.symbols"));

fn number(file: &[u8], at: usize, len: usize) -> usize {
    file[at..at + len].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// The rows of one of an ELF file's tables: where it starts, and how long and how many its rows are; see elf(5).
fn rows(file: &[u8], start: usize, size: usize, count: usize) -> impl Iterator<Item = &[u8]> {
    (0..count).map(move |n| &file[start + n * size..start + (n + 1) * size])
}

fn program_headers(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    rows(file, number(file, 32, 8), number(file, 54, 2), number(file, 56, 2))
}

/// Every name of the symbol table.
fn symbols(file: &[u8]) -> BTreeSet<String> {
    const SYMTAB: usize = 2;
    let sections: Vec<_> = rows(file, number(file, 40, 8), number(file, 58, 2), number(file, 60, 2)).collect();
    let mut names = BTreeSet::new();
    for table in sections.iter().filter(|section| number(section, 4, 4) == SYMTAB) {
        let strings = number(sections[number(table, 40, 4)], 24, 8);
        let (start, size, row) = (number(table, 24, 8), number(table, 32, 8), number(table, 56, 8));
        for symbol in rows(file, start, row, size / row) {
            let name = &file[strings + number(symbol, 0, 4)..];
            let end = name.iter().position(|&byte| byte == 0).unwrap();
            names.insert(String::from_utf8_lossy(&name[..end]).into_owned());
        }
    }
    names
}

/// Invariant 2. The compiler leaves the panic handler out of a program that never calls it.
#[test]
fn nothing_can_panic_allocate_or_format() {
    let symbols = symbols(SYMBOLS);
    assert!(symbols.contains("_start"), "{symbols:?}");
    for word in ["panic", "unwrap_failed", "expect_failed", "slice_index", "bounds_check", "alloc", "3fmt"] {
        let found: Vec<_> = symbols.iter().filter(|name| name.contains(word)).collect();
        assert!(found.is_empty(), "{word}: {found:?}");
    }
}

#[test]
fn the_program_is_small() {
    assert!(orlop_init::PROGRAM.len() <= 128 * 1024, "{} bytes", orlop_init::PROGRAM.len());
}

/// No interpreter, nothing to relocate, no thread-local storage, and no memory that is both written and executed.
#[test]
fn the_program_stands_alone() {
    const DYNAMIC: usize = 2;
    const INTERP: usize = 3;
    const TLS: usize = 7;
    const GNU_STACK: usize = 0x6474_e551;
    const EXECUTE: usize = 1;
    const WRITE: usize = 2;
    let file = orlop_init::PROGRAM;
    let mut stack_is_named = false;
    for header in program_headers(file) {
        let (kind, flags) = (number(header, 0, 4), number(header, 4, 4));
        assert!(![DYNAMIC, INTERP, TLS].contains(&kind), "{kind:#x}");
        assert_ne!(flags & (WRITE | EXECUTE), WRITE | EXECUTE, "{kind:#x}");
        stack_is_named |= kind == GNU_STACK;
    }
    assert!(stack_is_named, "without its header the kernel makes the stack executable");
}
