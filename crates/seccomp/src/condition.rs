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
        let width = if arch.has_64_bit_arguments() {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        let (op, mask, value) = match arg.op {
            Operator::MaskedEqual => (arg.op, arg.value & width, arg.value_two & arg.value),
            op => (op, width, arg.value),
        };
        Condition {
            arg: arg.index as u8,
            op,
            mask,
            value: value & width,
        }
    }

    /// The first argument equals `value`: how a multiplexer tells calls apart.
    pub(crate) fn selects(value: u32) -> Condition {
        Condition {
            arg: 0,
            op: Operator::Equal,
            mask: u64::MAX,
            value: u64::from(value),
        }
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

/// The order in which sets are looked at, as indexes into `sets`.
///
/// It decides what a call gets that meets the conditions of two rules with different
/// actions, and is libseccomp's: rules are not looked at one after the other there, but
/// merged into a tree whose nodes test one 32-bit word (`_db_tree_add` in its db.c). This is
/// that tree with its nodes in that order, of which only the order is used.
pub(crate) fn order(sets: &[&Set], arch: Arch) -> Vec<usize> {
    let mut root = Level::default();
    for (index, set) in sets.iter().enumerate() {
        let mut level = &mut root;
        for word in set.iter().flat_map(|condition| words(condition, arch)) {
            let at = level
                .nodes
                .iter()
                .position(|node| node.0.is(&word) || node.0.yields_to(&word));
            let at = at.unwrap_or(level.nodes.len());
            if level.nodes.get(at).is_none_or(|node| !node.0.is(&word)) {
                level.nodes.insert(at, (word, Level::default()));
            }
            level = &mut level.nodes[at].1;
        }
        level.ends.push(index);
    }
    let mut order = Vec::with_capacity(sets.len());
    root.walk(&mut order);
    order
}

#[derive(Default)]
struct Level {
    /// The sets that ask for no more than led here.
    ends: Vec<usize>,
    nodes: Vec<(Word, Level)>,
}

impl Level {
    fn walk(&self, order: &mut Vec<usize>) {
        order.extend(&self.ends);
        for (_, level) in &self.nodes {
            level.walk(order);
        }
    }
}

/// A node of that tree.
struct Word {
    /// Which word of the arguments; the upper half is the higher one.
    place: u8,
    op: Operator,
    test: Op,
    mask: u32,
    value: u32,
}

impl Word {
    fn is(&self, other: &Word) -> bool {
        (self.place, self.test, self.mask, self.value)
            == (other.place, other.test, other.mask, other.value)
    }

    /// Whether a new node goes before this one: higher words come first, equality before
    /// order, and of two bounds the tighter one.
    fn yields_to(&self, new: &Word) -> bool {
        let rank = |word: &Word| match word.op {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => 2,
            Operator::Less | Operator::LessEqual => 1,
            Operator::Greater | Operator::GreaterEqual => 0,
        };
        match (self.place, rank(self)).cmp(&(new.place, rank(new))) {
            Ordering::Equal if rank(self) == 1 => self.value > new.value,
            Ordering::Equal => self.value < new.value,
            order => order.is_lt(),
        }
    }
}

fn words(condition: &Condition, arch: Arch) -> impl Iterator<Item = Word> {
    let wide = arch.has_64_bit_arguments();
    let op = condition.op;
    let [low_test, high_test] = match op {
        Operator::NotEqual | Operator::Equal => [Op::Equal; 2],
        // A masked comparison is never merged with a plain one.
        Operator::MaskedEqual => [Op::AnySet; 2],
        Operator::Less | Operator::GreaterEqual => [Op::GreaterEqual, Op::Greater],
        Operator::LessEqual | Operator::Greater => [Op::Greater; 2],
    };
    let word = |half: u8, test: Op| {
        let part = |value: u64| {
            if half == 1 {
                upper(value)
            } else {
                lower(value)
            }
        };
        let place = 2 * condition.arg + half;
        Word {
            place,
            op,
            test,
            mask: part(condition.mask),
            value: part(condition.value),
        }
    };
    wide.then(|| word(1, high_test))
        .into_iter()
        .chain([word(0, low_test)])
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
    if arch.is_little_endian() {
        (start + 4, start)
    } else {
        (start, start + 4)
    }
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
        (
            Test {
                word,
                op: Op::Equal,
                mask,
                k: value,
            },
            true,
        )
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

fn one(graph: &mut Graph, condition: &Condition, arch: Arch, yes: Id, no: Id) -> Result<Id, Error> {
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
    if wanted {
        graph.node(test, yes, no)
    } else {
        graph.node(test, no, yes)
    }
}
