//! Conditions on arguments, as one architecture sees them.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::graph::{ARGS, Graph, Id, Op, Test};
use crate::{Arch, Arg, Error, Operator};

/// A condition whose values have the architecture's width.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    arg: u8,
    op: Operator,
    mask: u64,
    value: u64,
}

/// Conditions that must hold together; sorted by argument, one for each.
pub(crate) type Set = Vec<Condition>;

impl Condition {
    fn new(arg: &Arg, arch: Arch) -> Condition {
        let width = if arch.has_64_bit_arguments() { u64::MAX } else { u64::from(u32::MAX) };
        let (op, mask, value) = match arg.op {
            Operator::MaskedEqual if arg.value & width == width => {
                (Operator::Equal, width, arg.value_two)
            }
            Operator::MaskedEqual => (arg.op, arg.value & width, arg.value_two & arg.value),
            op => (op, width, arg.value),
        };
        Condition { arg: arg.index as u8, op, mask, value: value & width }
    }

    /// The first argument equals `value`: how a multiplexer tells calls apart.
    pub(crate) fn selects(value: u32) -> Condition {
        Condition { arg: 0, op: Operator::Equal, mask: u64::MAX, value: u64::from(value) }
    }

    fn always_holds(&self) -> bool {
        self.op == Operator::MaskedEqual && self.mask == 0
    }
}

/// The sets of conditions a rule's arguments stand for: any of them makes it apply.
///
/// Several conditions on one argument become a set each, whatever else the rule asks for:
/// so did runc from its beginnings, when libseccomp took one condition per argument.
pub(crate) fn sets(args: &[Arg], arch: Arch) -> Vec<Set> {
    let mut seen = 0u8;
    let mut repeated = false;
    for arg in args {
        repeated |= seen & (1 << arg.index) != 0;
        seen |= 1 << arg.index;
    }
    let conditions = args.iter().map(|arg| Condition::new(arg, arch));
    let mut sets: Vec<Set> = if repeated {
        conditions.map(|condition| alloc::vec![condition]).collect()
    } else {
        alloc::vec![conditions.collect()]
    };
    for set in &mut sets {
        set.retain(|condition| !condition.always_holds());
        set.sort_by_key(|condition| condition.arg);
    }
    sets
}

/// The set of a direct call, as its multiplexer's filter can check it: the multiplexer's
/// own first argument says which call is meant, in place of the call's (whose arguments are
/// behind a pointer).
pub(crate) fn multiplexed(mut set: Set, selector: u32) -> Set {
    set.retain(|condition| condition.arg != 0);
    set.insert(0, Condition::selects(selector));
    set
}

/// Which of two sets is looked at first. libseccomp's order (`_db_chain_lt` in its db.c):
/// higher arguments first, equality before order, and of two bounds the tighter one.
pub(crate) fn order(one: &[Condition], other: &[Condition]) -> Ordering {
    let class = |condition: &Condition| match condition.op {
        Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => 0,
        Operator::Less | Operator::LessEqual => 1,
        Operator::Greater | Operator::GreaterEqual => 2,
    };
    for (a, b) in one.iter().zip(other) {
        let by_value = match class(a) {
            1 => a.value.cmp(&b.value),
            _ => b.value.cmp(&a.value),
        };
        let order = b.arg.cmp(&a.arg).then(class(a).cmp(&class(b))).then(by_value);
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

/// The graph that ends in `yes` when all conditions hold and goes on with `no` otherwise.
pub(crate) fn build(
    graph: &mut Graph,
    set: &[Condition],
    arch: Arch,
    yes: Id,
    no: Id,
) -> Result<Id, Error> {
    let mut next = yes;
    for (index, condition) in set.iter().enumerate().rev() {
        // Whoever comes here has met the conditions before.
        let mut known = Vec::with_capacity(2 * index);
        for before in &set[..index] {
            equal_words(before, arch, &mut known);
        }
        let otherwise = graph.skip_known(no, &known);
        next = one(graph, condition, arch, next, otherwise)?;
    }
    Ok(next)
}

/// Offsets of an argument's upper and lower half in `struct seccomp_data`.
fn halves(arg: u8, arch: Arch) -> (u8, u8) {
    let start = ARGS + 8 * arg;
    if arch.is_little_endian() { (start + 4, start) } else { (start, start + 4) }
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

fn lower(value: u64) -> u32 {
    value as u32
}

/// A test whether a word's masked bits have a value. "No bit is set" becomes a negated
/// [`Op::AnySet`], which needs no instruction for the mask.
fn masked(word: u8, mask: u32, value: u32) -> (Test, bool) {
    if value == 0 && mask != u32::MAX {
        (Test::new(word, Op::AnySet, mask), false)
    } else {
        (Test { word, op: Op::Equal, mask, k: value }, true)
    }
}

fn equal_words(condition: &Condition, arch: Arch, known: &mut Vec<(Test, bool)>) {
    if !matches!(condition.op, Operator::Equal | Operator::MaskedEqual) {
        return;
    }
    let (high, low) = halves(condition.arg, arch);
    known.push(masked(low, lower(condition.mask), lower(condition.value)));
    if arch.has_64_bit_arguments() {
        known.push(masked(high, upper(condition.mask), upper(condition.value)));
    }
}

fn one(
    graph: &mut Graph,
    condition: &Condition,
    arch: Arch,
    yes: Id,
    no: Id,
) -> Result<Id, Error> {
    // Three of the operators are the others' opposites.
    let (op, yes, no) = match condition.op {
        Operator::NotEqual => (Op::Equal, no, yes),
        Operator::Less => (Op::GreaterEqual, no, yes),
        Operator::LessEqual => (Op::Greater, no, yes),
        Operator::GreaterEqual => (Op::GreaterEqual, yes, no),
        Operator::Greater => (Op::Greater, yes, no),
        Operator::Equal | Operator::MaskedEqual => (Op::Equal, yes, no),
    };
    let (high, low) = halves(condition.arg, arch);
    let wide = arch.has_64_bit_arguments();
    if op == Op::Equal {
        let (high_test, high_yes) = masked(high, upper(condition.mask), upper(condition.value));
        let (low_test, low_yes) = masked(low, lower(condition.mask), lower(condition.value));
        if !wide {
            return either(graph, low_test, low_yes, yes, no);
        }
        // Behind the upper half's test its answer is known.
        let known = [(high_test, high_yes)];
        let (low_in, low_out) = (graph.skip_known(yes, &known), graph.skip_known(no, &known));
        let low = either(graph, low_test, low_yes, low_in, low_out)?;
        let no = graph.skip_known(no, &[(high_test, !high_yes)]);
        either(graph, high_test, high_yes, low, no)
    } else {
        let low = graph.node(Test::new(low, op, lower(condition.value)), yes, no)?;
        if !wide {
            return Ok(low);
        }
        let bound = upper(condition.value);
        let equal = match bound {
            // Not above 0 is 0.
            0 => low,
            _ => graph.node(Test::new(high, Op::Equal, bound), low, no)?,
        };
        graph.node(Test::new(high, Op::Greater, bound), yes, equal)
    }
}

fn either(graph: &mut Graph, test: Test, wanted: bool, yes: Id, no: Id) -> Result<Id, Error> {
    if wanted { graph.node(test, yes, no) } else { graph.node(test, no, yes) }
}
