//! A device set as a program for cgroup v2: see "Device controller" in the kernel's
//! `admin-guide/cgroup-v2.rst`, and `struct bpf_cgroup_dev_ctx`.
//!
//! Registers: r1 the context, r0 the verdict, r2 the kind, r3 the access, r4 the major, r5 the minor number.
//! r0 starts as the verdict of an exception, so that a match is one instruction, `exit`.

use alloc::vec::Vec;

use orlop_sys::bpf::Instruction;

use crate::device::{DeviceSet, Devices};
use crate::resources::{Access, DeviceKind, Verdict};

const LOAD32: u8 = 0x61;
const MOV32: u8 = 0xb4;
const AND32: u8 = 0x54;
const SHIFT_RIGHT32: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_NOT_EQUAL32: u8 = 0x56;
const JUMP_ANY_BIT32: u8 = 0x46;
const EXIT: u8 = 0x95;

/// One instruction; `offset` counts instructions from the next one.
const fn op(code: u8, to: u8, from: u8, offset: i16, value: u32) -> Instruction {
    code as u64 | (to as u64) << 8 | (from as u64) << 12 | (offset as u16 as u64) << 16 | (value as u64) << 32
}

/// More exceptions than a jump can span: some eight thousand of one kind.
#[derive(Debug)]
pub(crate) struct TooLong;

/// The program, or `None` for a set that allows everything and so needs none.
pub(crate) fn program(set: &DeviceSet) -> Result<Option<Vec<Instruction>>, TooLong> {
    if set.default == Verdict::Allow && set.exceptions.is_empty() {
        return Ok(None);
    }
    let verdict = |v| u32::from(v == Verdict::Allow);
    let mut out = Vec::new();
    if !set.exceptions.is_empty() {
        out.extend([
            op(LOAD32, 2, 1, 0, 0),
            op(LOAD32, 3, 1, 0, 0),
            op(LOAD32, 4, 1, 4, 0),
            op(LOAD32, 5, 1, 8, 0),
            op(AND32, 2, 0, 0, 0xffff),
            op(SHIFT_RIGHT32, 3, 0, 0, 16),
            op(MOV32, 0, 0, 0, verdict(set.default.not())),
        ]);
    }
    for (kind, number) in [(DeviceKind::Block, 1), (DeviceKind::Character, 2)] {
        let mut block = Vec::new();
        for (devices, access) in needed(set, kind) {
            block.extend(rule(set.default, devices, access));
        }
        if !block.is_empty() {
            // One test of the kind for all of its rules.
            let over = i16::try_from(block.len()).map_err(|_| TooLong)?;
            out.push(op(JUMP_NOT_EQUAL32, 2, 0, over, number));
            out.append(&mut block);
        }
    }
    out.push(op(MOV32, 0, 0, 0, verdict(set.default)));
    out.push(op(EXIT, 0, 0, 0, 0));
    Ok(Some(out))
}

/// The exceptions of one kind, without those that a wider one makes needless.
fn needed(set: &DeviceSet, kind: DeviceKind) -> Vec<(Devices, Access)> {
    let of_kind = || set.exceptions.iter().filter(move |(d, _)| d.kind == kind);
    let covers = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    let needless = |(devices, access): &(&Devices, &Access)| {
        of_kind().any(|(wider, more)| {
            wider != *devices
                && covers(wider.major, devices.major)
                && covers(wider.minor, devices.minor)
                && access.without(*more).is_empty()
        })
    };
    of_kind().filter(|rule| !needless(rule)).map(|(devices, access)| (*devices, *access)).collect()
}

/// The tests of one exception, each of which jumps over the rest of it, and `exit`.
fn rule(default: Verdict, devices: Devices, access: Access) -> Vec<Instruction> {
    let mut tests: Vec<(u8, u8, u32)> = Vec::new();
    if let Some(major) = devices.major {
        tests.push((JUMP_NOT_EQUAL32, 4, major));
    }
    if let Some(minor) = devices.minor {
        tests.push((JUMP_NOT_EQUAL32, 5, minor));
    }
    // An exception that grants must cover the whole access; one that refuses need only touch it.
    let some = access != Access::ALL;
    let refuses_some = default == Verdict::Allow && some;
    if default == Verdict::Deny && some {
        let others = Access::ALL.without(access);
        tests.push((JUMP_ANY_BIT32, 3, u32::from(others.bits())));
    }
    let len = tests.len() + if refuses_some { 3 } else { 1 };
    let mut out = Vec::with_capacity(len);
    for (code, register, value) in tests {
        let over = len - out.len() - 1;
        out.push(op(code, register, 0, over as i16, value));
    }
    if refuses_some {
        out.push(op(JUMP_ANY_BIT32, 3, 0, 1, u32::from(access.bits())));
        out.push(op(JUMP, 0, 0, 1, 0));
    }
    out.push(op(EXIT, 0, 0, 0, 0));
    out
}

#[cfg(test)]
mod tests;
