//! Extended regular expressions over container ids, for `--regex`; see regex(7).
//!
//! Our own, as no small crate has them without std, and since an id is some bytes of ASCII: an expression becomes a
//! program that is run for all places at once, so that none takes longer than its length times that of the id.

use liballoc::boxed::Box;
use liballoc::vec;
use liballoc::vec::Vec;

/// More than anybody writes; what a `{m,n}` may grow to.
const MOST: usize = 10_000;
const DEEPEST: usize = 50;

/// An expression, ready to be looked for.
#[derive(Debug)]
pub struct Pattern {
    program: Vec<Op>,
}

/// A set of ASCII characters, a bit each.
type Set = u128;

#[derive(Clone, Debug)]
enum Node {
    One(Set),
    Start,
    End,
    All(Vec<Node>),
    Any(Vec<Node>),
    Repeat(Box<Node>, usize, Option<usize>),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    One(Set),
    Start,
    End,
    Split(usize, usize),
    Jump(usize),
    Match,
}

impl Pattern {
    /// Reads an expression; what is wrong with it otherwise.
    pub fn new(text: &str) -> Result<Pattern, &'static str> {
        let mut parser = Parser { rest: text.as_bytes(), depth: 0 };
        let node = parser.any()?;
        if !parser.rest.is_empty() {
            return Err("unmatched )");
        }
        let mut program = Vec::new();
        compile(&node, &mut program)?;
        program.push(Op::Match);
        Ok(Pattern { program })
    }

    /// Whether it is found anywhere in the text.
    pub fn is_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut now: Vec<usize> = Vec::new();
        for place in 0..=text.len() {
            let mut seen = vec![false; self.program.len()];
            let mut next = Vec::new();
            // Wherever we are, it may begin.
            let mut todo = core::mem::take(&mut now);
            todo.push(0);
            while let Some(at) = todo.pop() {
                match seen.get_mut(at) {
                    Some(seen) if !*seen => *seen = true,
                    _ => continue,
                }
                match self.program.get(at) {
                    Some(Op::Match) => return true,
                    Some(Op::Jump(to)) => todo.push(*to),
                    Some(Op::Split(a, b)) => todo.extend([*a, *b]),
                    Some(Op::Start) if place == 0 => todo.push(at + 1),
                    Some(Op::End) if place == text.len() => todo.push(at + 1),
                    Some(Op::One(set)) if text.get(place).is_some_and(|&byte| set & bit(byte) != 0) => {
                        next.push(at + 1);
                    }
                    _ => {}
                }
            }
            now = next;
        }
        false
    }
}

fn bit(byte: u8) -> Set {
    if byte < 128 { 1 << byte } else { 0 }
}

struct Parser<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn any(&mut self) -> Result<Node, &'static str> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("too many parentheses within each other");
        }
        let mut branches = vec![self.all()?];
        while self.peek() == Some(b'|') {
            self.take();
            branches.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Node::Any(branches))
    }

    fn all(&mut self) -> Result<Node, &'static str> {
        let mut nodes = Vec::new();
        while let Some(byte) = self.peek().filter(|byte| !b"|)".contains(byte)) {
            self.take();
            let mut node = match byte {
                b'(' => {
                    let inner = self.any()?;
                    if self.take() != Some(b')') {
                        return Err("unmatched (");
                    }
                    inner
                }
                b'[' => Node::One(self.set()?),
                b'.' => Node::One(Set::MAX),
                b'^' => Node::Start,
                b'$' => Node::End,
                b'*' | b'+' | b'?' => return Err("nothing to repeat"),
                b'\\' => Node::One(bit(self.take().ok_or("trailing backslash")?)),
                byte => Node::One(bit(byte)),
            };
            while let Some(byte) = self.peek().filter(|byte| b"*+?{".contains(byte)) {
                self.take();
                let (least, most) = match byte {
                    b'*' => (0, None),
                    b'+' => (1, None),
                    b'?' => (0, Some(1)),
                    _ => self.bounds()?,
                };
                node = Node::Repeat(Box::new(node), least, most);
            }
            nodes.push(node);
        }
        Ok(Node::All(nodes))
    }

    /// What follows `{`: `3}`, `3,}` or `3,5}`.
    fn bounds(&mut self) -> Result<(usize, Option<usize>), &'static str> {
        let least = self.number().ok_or("a number must follow {")?;
        let most = match self.take() {
            Some(b'}') => return Ok((least, Some(least))),
            Some(b',') => self.number(),
            _ => return Err("unmatched {"),
        };
        match self.take() {
            Some(b'}') if most.is_none_or(|most| most >= least) => Ok((least, most)),
            Some(b'}') => Err("the bounds are the wrong way round"),
            _ => Err("unmatched {"),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let number = core::str::from_utf8(number).ok()?.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    /// What follows `[`.
    fn set(&mut self) -> Result<Set, &'static str> {
        const OPEN: &str = "unmatched [";
        let mut set = 0;
        let negated = self.peek() == Some(b'^');
        if negated {
            self.take();
        }
        // Right behind the bracket, another one is a character.
        let mut byte = self.take().ok_or(OPEN)?;
        loop {
            if byte == b'[' && self.peek() == Some(b':') {
                set |= self.class()?;
            } else if let [b'-', last, ..] = self.rest
                && *last != b']'
            {
                if *last < byte {
                    return Err("a range is the wrong way round");
                }
                set |= (byte..=*last).fold(0, |set, byte| set | bit(byte));
                self.rest = self.rest.get(2..).unwrap_or_default();
            } else {
                set |= bit(byte);
            }
            byte = self.take().ok_or(OPEN)?;
            if byte == b']' {
                return Ok(if negated { !set } else { set });
            }
        }
    }

    /// What follows the bracket of `[:alpha:]`.
    fn class(&mut self) -> Result<Set, &'static str> {
        type Is = fn(&u8) -> bool;
        const CLASSES: [(&[u8], Is); 7] = [
            (b":alpha:]", u8::is_ascii_alphabetic),
            (b":digit:]", u8::is_ascii_digit),
            (b":alnum:]", u8::is_ascii_alphanumeric),
            (b":lower:]", u8::is_ascii_lowercase),
            (b":upper:]", u8::is_ascii_uppercase),
            (b":punct:]", u8::is_ascii_punctuation),
            (b":xdigit:]", u8::is_ascii_hexdigit),
        ];
        for (name, is) in CLASSES {
            if let Some(rest) = self.rest.strip_prefix(name) {
                self.rest = rest;
                return Ok((0..128).filter(is).fold(0, |set, byte| set | bit(byte)));
            }
        }
        Err("unknown class of characters")
    }
}

fn compile(node: &Node, program: &mut Vec<Op>) -> Result<(), &'static str> {
    if program.len() > MOST {
        return Err("the expression is too long");
    }
    match node {
        Node::One(set) => program.push(Op::One(*set)),
        Node::Start => program.push(Op::Start),
        Node::End => program.push(Op::End),
        Node::All(nodes) => nodes.iter().try_for_each(|node| compile(node, program))?,
        Node::Any(branches) => {
            let mut ends = Vec::new();
            for (i, branch) in branches.iter().enumerate() {
                if i + 1 == branches.len() {
                    compile(branch, program)?;
                    break;
                }
                let split = program.len();
                program.push(Op::Match);
                compile(branch, program)?;
                ends.push(program.len());
                program.push(Op::Match);
                let end = program.len();
                set(program, split, Op::Split(split + 1, end));
            }
            for end in ends {
                let after = program.len();
                set(program, end, Op::Jump(after));
            }
        }
        Node::Repeat(node, least, most) => {
            for _ in 0..*least {
                compile(node, program)?;
            }
            match most {
                None => {
                    let split = program.len();
                    program.push(Op::Match);
                    compile(node, program)?;
                    program.push(Op::Jump(split));
                    let end = program.len();
                    set(program, split, Op::Split(split + 1, end));
                }
                Some(most) => {
                    let mut splits = Vec::new();
                    for _ in *least..*most {
                        splits.push(program.len());
                        program.push(Op::Match);
                        compile(node, program)?;
                    }
                    for split in splits {
                        let end = program.len();
                        set(program, split, Op::Split(split + 1, end));
                    }
                }
            }
        }
    }
    Ok(())
}

fn set(program: &mut [Op], at: usize, op: Op) {
    if let Some(place) = program.get_mut(at) {
        *place = op;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_or_not() {
        for (pattern, text, want) in [
            ("", "web", true),
            ("eb", "web", true),
            ("^eb", "web", false),
            ("^web$", "web", true),
            ("^we$", "web", false),
            ("w.b", "web", true),
            ("^(web|db)-[0-9]+$", "db-12", true),
            ("^(web|db)-[0-9]+$", "db-", false),
            ("^a{2,3}$", "aaa", true),
            ("^a{2,3}$", "aaaa", false),
            ("^a{2}$", "aaa", false),
            ("^a{2,}$", "aaaaa", true),
            ("^[^a-c]+$", "xyz", true),
            ("^[^a-c]+$", "xbz", false),
            ("^[]x-]+$", "x-", true),
            ("[[:digit:]_]$", "a_", true),
            ("a\\.b", "a.b", true),
            ("a\\.b", "axb", false),
            ("^(a*)*$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
            ("x?y", "y", true),
            ("a|", "b", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_in(text), want, "{pattern} in {text}");
        }
    }

    #[test]
    fn refused() {
        let deep = "(".repeat(100);
        for pattern in
            ["(", "a)", "[a", "*", "a{", "a{3,2}", "a{x}", "\\", "[z-a]", "[[:x:]]", "(((a{99}){99}){99})", &deep]
        {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
