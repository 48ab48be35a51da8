//! The filter as a graph of decisions, and how it becomes instructions.
//!
//! A node looks at one 32-bit word of `struct seccomp_data` and goes one of two ways; a
//! leaf is a return value. Nodes are only ever made after those they lead to, so a node's
//! index is greater than its successors': the list is sorted topologically, and writing it
//! out from its beginning writes the program from its end, where every jump's target
//! is already known (classic BPF only jumps forwards).

use alloc::vec::Vec;

use crate::{Error, SockFilter};

/// Index of a node.
pub(crate) type Id = u32;

/// Offsets in `struct seccomp_data`, linux/seccomp.h.
pub(crate) const NR: u8 = 0;
pub(crate) const ARCH: u8 = 4;
pub(crate) const ARGS: u8 = 16;

/// `BPF_MAXINSNS`.
const MAX_LENGTH: usize = 4096;
/// So many nodes never fit into a program; more are not worth computing.
const MAX_NODES: usize = 4 * MAX_LENGTH;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    Greater,
    GreaterEqual,
    /// Any bit of the constant is set.
    AnySet,
    /// A leaf: the constant is the filter's return value.
    Return,
}

/// A question about a word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) word: u8,
    pub(crate) op: Op,
    pub(crate) mask: u32,
    pub(crate) k: u32,
}

impl Test {
    pub(crate) fn new(word: u8, op: Op, k: u32) -> Test {
        Test {
            word,
            op,
            mask: u32::MAX,
            k,
        }
    }

    /// What the accumulator must hold.
    fn operand(&self) -> (u8, u32) {
        (self.word, self.mask)
    }

    /// The answer if it does not depend on the word, or if `known` decides it: tests and
    /// their answers.
    fn answer(&self, known: &[(Test, bool)]) -> Option<bool> {
        match (self.op, self.k) {
            (Op::GreaterEqual, 0) => return Some(true),
            (Op::Greater, u32::MAX) | (Op::AnySet, 0) => return Some(false),
            (Op::Equal, k) if k & !self.mask != 0 => return Some(false),
            _ => {}
        }
        known.iter().find_map(|(test, answer)| {
            if test == self {
                Some(*answer)
            } else if test.operand() == (self.word, u32::MAX) && test.op == Op::Equal && *answer {
                Some(self.holds(test.k))
            } else {
                None
            }
        })
    }

    fn holds(&self, word: u32) -> bool {
        let word = word & self.mask;
        match self.op {
            Op::Equal => word == self.k,
            Op::Greater => word > self.k,
            Op::GreaterEqual => word >= self.k,
            Op::AnySet => word & self.k != 0,
            Op::Return => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Node {
    test: Test,
    yes: Id,
    no: Id,
}

#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    leaves: Vec<Id>,
}

impl Graph {
    pub(crate) fn with_capacity(nodes: usize) -> Graph {
        Graph {
            nodes: Vec::with_capacity(nodes),
            leaves: Vec::with_capacity(8),
        }
    }

    /// The leaf with this return value.
    pub(crate) fn leaf(&mut self, value: u32) -> Id {
        let known = self
            .leaves
            .iter()
            .find(|id| self.nodes[**id as usize].test.k == value);
        if let Some(id) = known {
            return *id;
        }
        let id = self.nodes.len() as Id;
        self.nodes.push(Node {
            test: Test::new(0, Op::Return, value),
            yes: id,
            no: id,
        });
        self.leaves.push(id);
        id
    }

    /// A node that asks `test`, or what it comes down to.
    pub(crate) fn node(&mut self, test: Test, yes: Id, no: Id) -> Result<Id, Error> {
        if yes == no {
            return Ok(yes);
        }
        if let Some(answer) = test.answer(&[]) {
            return Ok(if answer { yes } else { no });
        }
        let node = Node { test, yes, no };
        // Equal conditions of neighbouring calls meet here, and of architectures that see the
        // same words. Missing one costs a few instructions, so a short look back is enough.
        if test.word >= ARGS {
            let from = self.nodes.len().saturating_sub(64);
            if let Some(place) = self.nodes[from..].iter().position(|known| *known == node) {
                return Ok((from + place) as Id);
            }
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Error::TooLong);
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    /// Where a walk from `id` gets without asking what is known already.
    pub(crate) fn skip_known(&self, mut id: Id, known: &[(Test, bool)]) -> Id {
        loop {
            let node = &self.nodes[id as usize];
            if node.test.op == Op::Return {
                return id;
            }
            match node.test.answer(known) {
                Some(true) => id = node.yes,
                Some(false) => id = node.no,
                None => return id,
            }
        }
    }

    /// The program that begins with the question of `root`.
    pub(crate) fn assemble(&self, root: Id) -> Result<Vec<SockFilter>, Error> {
        let mut places = self.ways_in(root);
        let mut writer = Writer {
            reversed: Vec::with_capacity(1024),
        };
        for id in 0..=root as usize {
            let node = &self.nodes[id];
            let place = places[id];
            if node.test.op == Op::Return || !(place.loaded || place.fresh) {
                continue;
            }
            let no = self.reach(&mut writer, &mut places, node, node.no);
            let yes = self.reach(&mut writer, &mut places, node, node.yes);
            writer.branch(node.test, yes, no);
            places[id].at_loaded = writer.last();
            places[id].near_loaded = writer.last();
            if place.fresh {
                writer.load(node.test);
                places[id].at_fresh = writer.last();
                places[id].near_fresh = writer.last();
            }
            if writer.reversed.len() > MAX_LENGTH {
                return Err(Error::TooLong);
            }
        }
        if self.nodes[root as usize].test.op == Op::Return {
            writer.push(RET, self.nodes[root as usize].test.k);
        }
        if writer.reversed.len() > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        writer.reversed.reverse();
        Ok(writer.reversed)
    }

    /// For every node: is it reached with its word in the accumulator, or must it load it?
    fn ways_in(&self, root: Id) -> Vec<Place> {
        let mut places = Vec::new();
        places.resize(root as usize + 1, Place::default());
        places[root as usize].fresh = true;
        for id in (0..=root as usize).rev() {
            let node = &self.nodes[id];
            if node.test.op == Op::Return || !(places[id].loaded || places[id].fresh) {
                continue;
            }
            for next in [node.yes, node.no] {
                let same = self.nodes[next as usize].test.operand() == node.test.operand();
                let place = &mut places[next as usize];
                if same {
                    place.loaded = true
                } else {
                    place.fresh = true
                }
            }
        }
        places
    }

    /// A place that leads to `next` and that a branch about to be written can reach.
    fn reach(&self, writer: &mut Writer, places: &mut [Place], node: &Node, next: Id) -> usize {
        let target = &self.nodes[next as usize];
        let place = &mut places[next as usize];
        if target.test.op == Op::Return {
            // A return is as short as a jump to one.
            if place.near_loaded == NOWHERE || !writer.in_reach(place.near_loaded) {
                writer.push(RET, target.test.k);
                place.near_loaded = writer.last();
            }
            return place.near_loaded;
        }
        let (at, near) = if target.test.operand() == node.test.operand() {
            (place.at_loaded, &mut place.near_loaded)
        } else {
            (place.at_fresh, &mut place.near_fresh)
        };
        if !writer.in_reach(*near) {
            writer.push(JA, (writer.reversed.len() - at - 1) as u32);
            *near = writer.last();
        }
        *near
    }
}

const NOWHERE: usize = usize::MAX;

/// Where a node is in the program, counted from its end.
#[derive(Clone, Copy)]
struct Place {
    /// Somebody comes with the node's word in the accumulator.
    loaded: bool,
    /// Somebody comes with another word.
    fresh: bool,
    /// The instruction for who comes with the word, and the latest jump to it.
    at_loaded: usize,
    near_loaded: usize,
    /// The same for who comes without.
    at_fresh: usize,
    near_fresh: usize,
}

impl Default for Place {
    fn default() -> Self {
        Place {
            loaded: false,
            fresh: false,
            at_loaded: NOWHERE,
            near_loaded: NOWHERE,
            at_fresh: NOWHERE,
            near_fresh: NOWHERE,
        }
    }
}

// linux/bpf_common.h
const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JA: u16 = 0x05; // BPF_JMP | BPF_JA
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06; // BPF_RET | BPF_K

/// Writes a program backwards.
struct Writer {
    reversed: Vec<SockFilter>,
}

impl Writer {
    fn push(&mut self, code: u16, k: u32) {
        self.reversed.push(SockFilter {
            code,
            jt: 0,
            jf: 0,
            k,
        });
    }

    fn last(&self) -> usize {
        self.reversed.len() - 1
    }

    /// Whether a branch can jump there (its offsets are 8 bits), even if one instruction for
    /// its other way is written before it.
    fn in_reach(&self, place: usize) -> bool {
        self.reversed.len() - place <= 254
    }

    fn branch(&mut self, test: Test, yes: usize, no: usize) {
        let code = match test.op {
            Op::Equal => JEQ,
            Op::Greater => JGT,
            Op::GreaterEqual => JGE,
            Op::AnySet => JSET,
            Op::Return => RET,
        };
        let here = self.reversed.len();
        let offset = |place: usize| (here - place - 1) as u8;
        self.reversed.push(SockFilter {
            code,
            jt: offset(yes),
            jf: offset(no),
            k: test.k,
        });
    }

    fn load(&mut self, test: Test) {
        if test.mask != u32::MAX {
            self.push(AND, test.mask);
        }
        self.push(LD, u32::from(test.word));
    }
}
