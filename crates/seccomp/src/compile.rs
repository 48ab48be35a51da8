//! From rules to the graph: names to numbers, numbers to ranges, ranges to a search tree.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::arch::{SUBCALLS, X32_BIT};
use crate::condition::{self, Set};
use crate::graph::{self, Graph, Id, Op, Test};
use crate::table::{self, ARM_PRIVATE, Finder, X32_OWN};
use crate::{Action, Arch, Error, NewerCalls, Options, Profile, Program, Rule, UnknownNames};

const ENOSYS: u32 = 38;
/// So many conditional rules for one call never fit into a program.
const MAX_RULES_PER_CALL: usize = 4096;

/// Compiles a profile.
///
/// # Errors
/// Any [`Error`]; nothing of the profile should be used then.
pub fn compile<S: AsRef<str>>(profile: &Profile<'_, S>, options: &Options<'_>) -> Result<Program, Error> {
    let (calls, unknown) = resolve(profile, options)?;
    let default = profile.default_action.return_value(profile.default_errno_ret)?;
    // A tracer or whoever reads the log wants to see new calls, too.
    let lenient = matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace);
    let enosys = options.newer_calls == NewerCalls::Enosys && !lenient;

    let mut graph = Graph::with_capacity(1024);
    let bad_arch = graph.leaf(options.bad_arch.return_value(None)?);
    let default = graph.leaf(default);
    let newer = if enosys { graph.leaf(Action::Errno.return_value(Some(ENOSYS))?) } else { default };
    let mut compiler = Compiler { graph, rules: profile.rules, calls, default, newer, bad_arch };

    let archs = architectures(profile.architectures, options.native);
    let mut tokens: Vec<u32> = Vec::with_capacity(archs.len());
    for arch in &archs {
        if !tokens.contains(&arch.audit_token()) {
            tokens.push(arch.audit_token());
        }
    }
    let mut root = bad_arch;
    // The last one first: what is made last stands first in the program.
    for token in tokens.iter().rev() {
        let of_token = archs.iter().copied().filter(|arch| arch.audit_token() == *token);
        let ranges = compiler.ranges(of_token.collect())?;
        let tree = compiler.tree(&ranges)?;
        root = compiler.graph.node(Test::new(graph::ARCH, Op::Equal, *token), tree, root)?;
    }

    let notify =
        profile.default_action == Action::Notify || profile.rules.iter().any(|rule| rule.action == Action::Notify);
    Ok(Program {
        instructions: compiler.graph.assemble(root)?,
        flags: profile.flags.for_kernel(notify),
        unknown,
        notify,
    })
}

/// The named architectures, each once, the native one first: its calls are the most.
fn architectures(named: &[Arch], native: Arch) -> Vec<Arch> {
    let mut archs = vec![native];
    for arch in named {
        if !archs.contains(arch) {
            archs.push(*arch);
        }
    }
    archs
}

/// A name of a rule.
#[derive(Clone, Copy)]
struct Call {
    row: u16,
    rule: u32,
    /// The rule's return value; none if it is the default one and so says nothing.
    value: Option<u32>,
}

/// Looks up every name and checks every rule. Returns the names' rows and the unknown ones.
fn resolve<S: AsRef<str>>(
    profile: &Profile<'_, S>,
    options: &Options<'_>,
) -> Result<(Vec<Call>, Vec<alloc::string::String>), Error> {
    let default = profile.default_action.return_value(profile.default_errno_ret)?;
    if profile.default_action == Action::Notify && !options.never_notify.is_empty() {
        return Err(Error::Notify(None));
    }
    let mut calls = Vec::with_capacity(profile.rules.iter().map(|rule| rule.names.len()).sum());
    let mut unknown = Vec::new();
    let mut finder = Finder::default();
    for (index, rule) in profile.rules.iter().enumerate() {
        let value = rule.action.return_value(rule.errno_ret)?;
        let value = (value != default).then_some(value);
        if let Some(arg) = rule.args.iter().find(|arg| arg.index > 5) {
            return Err(Error::ArgumentIndex(arg.index));
        }
        for name in rule.names {
            let name = name.as_ref();
            if rule.action == Action::Notify && options.never_notify.contains(&name) {
                return Err(Error::Notify(Some(name.to_string())));
            }
            match finder.find(name) {
                Some(row) => calls.push(Call { row, rule: index as u32, value }),
                None if options.unknown_names == UnknownNames::Fail => {
                    return Err(Error::UnknownName(name.to_string()));
                }
                None if unknown.iter().any(|known| known == name) => {}
                None => unknown.push(name.to_string()),
            }
        }
    }
    Ok((calls, unknown))
}

struct Compiler<'a, S> {
    graph: Graph,
    rules: &'a [Rule<'a, S>],
    calls: Vec<Call>,
    default: Id,
    /// What calls newer than the profile get.
    newer: Id,
    bad_arch: Id,
}

/// A range of numbers: where it starts, and what is for it. It ends where the next starts.
type Range = (u32, Id);

/// What is for each number of an architecture.
#[derive(Default)]
struct Numbers {
    /// From the architecture's base on.
    ordinary: Vec<Option<Id>>,
    /// From [`ARM_PRIVATE`] on.
    private: Vec<Option<Id>>,
    /// The newest ordinary call that the profile names, counted from the base.
    newest: Option<u32>,
}

/// A rule for a number that has conditions.
struct Conditional {
    number: u32,
    /// Which of the profile's names it comes from.
    call: usize,
    set: Set,
    value: u32,
}

impl<S: AsRef<str>> Compiler<'_, S> {
    /// What is for each 32-bit number with the audit token these architectures share.
    fn ranges(&mut self, mut archs: Vec<Arch>) -> Result<Vec<Range>, Error> {
        // x86_64 has the numbers below x32's bit.
        archs.sort_by_key(|arch| *arch == Arch::X32);
        let mut ranges = Vec::with_capacity(256);
        ranges.push((0, self.bad_arch));
        for arch in &archs {
            let numbers = self.numbers(*arch)?;
            self.append(&mut ranges, &numbers, *arch);
            if archs == [Arch::X86_64] {
                put(&mut ranges, X32_BIT, self.bad_arch);
                // A tracer that skips a call makes it number -1.
                put(&mut ranges, u32::MAX, self.beyond(&numbers));
            }
        }
        Ok(ranges)
    }

    /// What is for numbers above all that the profile names.
    fn beyond(&self, numbers: &Numbers) -> Id {
        if numbers.newest.is_some() { self.newer } else { self.default }
    }

    /// Adds an architecture's numbers behind those that are there.
    fn append(&self, ranges: &mut Vec<Range>, numbers: &Numbers, arch: Arch) {
        let beyond = self.beyond(numbers);
        put(ranges, if arch == Arch::X32 { X32_BIT } else { 0 }, self.default);
        let mut end = numbers.ordinary.len() as u32;
        if arch == Arch::X32 {
            end = end.max(X32_OWN.end);
        }
        for offset in 0..end {
            let newer = match arch {
                // A number the kernel does not know arrives as 0 if it came by svc 0
                // (arch/s390/kernel/syscall.c); setup(2), which was 0, is long gone.
                Arch::S390 | Arch::S390x if offset == 0 => true,
                Arch::X32 if X32_OWN.contains(&offset) => false,
                _ => numbers.newest.is_some_and(|newest| offset > newest),
            };
            let id = match numbers.ordinary.get(offset as usize) {
                _ if newer => beyond,
                Some(Some(id)) => *id,
                _ => self.default,
            };
            put(ranges, arch.base() + offset, id);
        }
        put(ranges, arch.base() + end, beyond);
        for (number, id) in (ARM_PRIVATE..).zip(&numbers.private) {
            put(ranges, number, id.unwrap_or(self.default));
        }
        if !numbers.private.is_empty() {
            put(ranges, ARM_PRIVATE + numbers.private.len() as u32, beyond);
        }
    }

    /// What the profile says for each of an architecture's numbers. A rule without
    /// conditions beats those with some, and an earlier one a later one.
    fn numbers(&mut self, arch: Arch) -> Result<Numbers, Error> {
        let mut numbers = Numbers::default();
        let mut conditional: Vec<Conditional> = Vec::new();
        let subcalls = arch.multiplexers().map(|numbers| (numbers, Subcalls::new()));
        for call in 0..self.calls.len() {
            let Call { row, rule, value } = self.calls[call];
            let args = self.rules[rule as usize].args;
            if let Some(number) = arch.number(row) {
                numbers.name(number, arch);
                let Some(value) = value else { continue };
                if args.is_empty() {
                    let id = self.graph.leaf(value);
                    numbers.cell(number, arch).get_or_insert(id);
                } else {
                    for set in condition::sets(args, arch) {
                        conditional.push(Conditional { number, call, set, value });
                    }
                }
            }
            let (Some(value), Some(((socketcall, ipc), subcalls))) = (value, &subcalls) else {
                continue;
            };
            let Some(subcall) = subcalls.get(row) else {
                continue;
            };
            let (number, selector) = if subcall < 100 { (socketcall, subcall) } else { (ipc, subcall - 100) };
            for set in condition::sets(args, arch) {
                let set = condition::multiplexed(set, u32::from(selector));
                conditional.push(Conditional { number: *number, call, set, value });
            }
        }
        conditional.sort_by_key(|rule| rule.number);
        for rules in conditional.chunk_by(|one, other| one.number == other.number) {
            let number = rules[0].number;
            if numbers.cell(number, arch).is_none() {
                let id = self.conditional(rules, arch)?;
                *numbers.cell(number, arch) = Some(id);
            }
        }
        // Not newer than the profile is a multiplexer of the calls it names.
        if let (Some(newest), Some((socketcall, ipc))) = (&mut numbers.newest, arch.multiplexers()) {
            for offset in [socketcall - arch.base(), ipc - arch.base()] {
                if numbers.ordinary.get(offset as usize).is_some_and(Option::is_some) {
                    *newest = offset.max(*newest);
                }
            }
        }
        Ok(numbers)
    }

    /// The graph of the conditional rules for one number.
    fn conditional(&mut self, rules: &[Conditional], arch: Arch) -> Result<Id, Error> {
        if rules.len() > MAX_RULES_PER_CALL {
            return Err(Error::TooLong);
        }
        if let Some(rule) = rules.iter().find(|rule| rule.set.is_empty()) {
            return Ok(self.graph.leaf(rule.value));
        }
        let multiplexers = arch.multiplexers().map_or([u32::MAX; 2], |(one, other)| [one, other]);
        for (index, rule) in rules.iter().enumerate() {
            // Behind a multiplexer, too, a rule without conditions of its own beats others and
            // later ones. (libseccomp refuses these.)
            if rule.set.len() == 1 && multiplexers.contains(&rule.number) {
                continue;
            }
            let contradicts = |other: &Conditional| {
                // A rule that asks for more than an earlier one has no effect. The other way
                // round they contradict each other, as do equal ones: libseccomp's EEXIST.
                other.value != rule.value && other.set.starts_with(&rule.set)
            };
            if rules[..index].iter().any(contradicts) {
                let call = self.calls[rule.call];
                let names = self.rules[call.rule as usize].names;
                let name = names.iter().find(|name| table::find(name.as_ref()) == Some(call.row));
                let name = name.map_or("", |name| name.as_ref()).to_string();
                return Err(Error::Conflict { name, arch });
            }
        }
        let mut next = self.default;
        let sets: Vec<&Set> = rules.iter().map(|rule| &rule.set).collect();
        for index in condition::order(&sets, arch).into_iter().rev() {
            let rule = &rules[index];
            let value = self.graph.leaf(rule.value);
            next = condition::build(&mut self.graph, &rule.set, arch, value, next)?;
        }
        Ok(next)
    }

    /// A balanced tree that finds the range a number is in.
    fn tree(&mut self, ranges: &[Range]) -> Result<Id, Error> {
        let (_, first) = ranges[0];
        if ranges.len() <= 5 {
            // Single numbers in a range of their neighbours' kind: one comparison for each,
            // where halving needs two.
            let lone = |pair: &[Range]| pair[0].1 == first && pair[1].0 + 1 == pair[2].0;
            let alike = |at: usize| ranges.get(at).is_none_or(|range| range.1 == first);
            let starts = ranges.len() % 2 == 1 && alike(2) && alike(4);
            if starts && ranges.windows(3).step_by(2).all(lone) {
                let mut next = first;
                for (number, id) in ranges.iter().skip(1).step_by(2).rev() {
                    next = self.graph.node(Test::new(graph::NR, Op::Equal, *number), *id, next)?;
                }
                return Ok(next);
            }
        }
        let middle = ranges.len() / 2;
        let (low, high) = (self.tree(&ranges[..middle])?, self.tree(&ranges[middle..])?);
        let test = Test::new(graph::NR, Op::GreaterEqual, ranges[middle].0);
        self.graph.node(test, high, low)
    }
}

impl Numbers {
    /// Notes that the profile names a number.
    fn name(&mut self, number: u32, arch: Arch) {
        let offset = number - arch.base();
        // The private calls, and those that x32 has for itself, are not new.
        if offset < ARM_PRIVATE && !(arch == Arch::X32 && X32_OWN.contains(&offset)) {
            self.newest = Some(self.newest.map_or(offset, |newest| newest.max(offset)));
        }
        self.cell(number, arch);
    }

    fn cell(&mut self, number: u32, arch: Arch) -> &mut Option<Id> {
        let offset = (number - arch.base()) as usize;
        let (cells, index) = match offset.checked_sub(ARM_PRIVATE as usize) {
            Some(private) => (&mut self.private, private),
            None => (&mut self.ordinary, offset),
        };
        if cells.len() <= index {
            cells.resize(index + 1, None);
        }
        &mut cells[index]
    }
}

/// Starts a range, unless it only continues the last one.
fn put(ranges: &mut Vec<Range>, start: u32, id: Id) {
    match ranges.last_mut() {
        Some(last) if last.0 == start => last.1 = id,
        Some(last) if last.1 == id => return,
        _ => return ranges.push((start, id)),
    }
    // What stood there may have been all that parted the new range from the one before.
    if let [.., before, last] = &ranges[..]
        && before.1 == last.1
    {
        ranges.pop();
    }
}

/// The multiplexed calls by row, as [`SUBCALLS`] numbers them.
struct Subcalls([u8; table::COUNT]);

impl Subcalls {
    fn new() -> Subcalls {
        let mut rows = [0; table::COUNT];
        for (subcall, name) in &SUBCALLS {
            if let Some(row) = table::find(name) {
                rows[usize::from(row)] = *subcall;
            }
        }
        Subcalls(rows)
    }

    fn get(&self, row: u16) -> Option<u8> {
        Some(self.0[usize::from(row)]).filter(|subcall| *subcall != 0)
    }
}
