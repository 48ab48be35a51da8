use alloc::collections::BTreeSet;
use std::string::{String, ToString};
use std::vec;

use super::*;
use crate::resources::DeviceRule;

/// Runs a program as the kernel would.
fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let context = [access << 16 | kind, major, minor];
    let mut r = [0u32; 16];
    let mut at = 0usize;
    for _ in 0..100_000 {
        let i = program[at];
        let (code, to) = (i as u8, (i >> 8 & 15) as usize);
        let (offset, value) = ((i >> 16) as u16 as i16, (i >> 32) as u32);
        at += 1;
        let mut jump = false;
        match code {
            LOAD32 => r[to] = context[offset as usize / 4],
            MOV32 => r[to] = value,
            AND32 => r[to] &= value,
            SHIFT_RIGHT32 => r[to] >>= value,
            JUMP => jump = true,
            JUMP_NOT_EQUAL32 => jump = r[to] != value,
            JUMP_ANY_BIT32 => jump = r[to] & value != 0,
            EXIT => return r[0] == 1,
            code => panic!("{code:#x}"),
        }
        if jump {
            at += offset as usize;
        }
    }
    panic!("endless");
}

/// The v1 controller, as security/device_cgroup.c does it: a behaviour and a list of exceptions.
struct Kernel {
    allow: bool,
    list: Vec<(DeviceKind, Option<u32>, Option<u32>, u8)>,
}

impl Kernel {
    /// Takes a rule; false where v1 would pass over a part of it without a word.
    fn write(&mut self, rule: &DeviceRule) -> bool {
        let allow = rule.verdict == Verdict::Allow;
        if rule.kind == DeviceKind::All {
            *self = Kernel { allow, list: vec![] };
            return true;
        }
        let bits = rule.access.bits();
        let same =
            |e: &(DeviceKind, Option<u32>, Option<u32>, u8)| (e.0, e.1, e.2) == (rule.kind, rule.major, rule.minor);
        if allow == self.allow {
            let wider = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
            let punched = self.list.iter().any(|e| {
                !same(e) && e.0 == rule.kind && wider(e.1, rule.major) && wider(e.2, rule.minor) && e.3 & bits != 0
            });
            self.list.iter_mut().filter(|e| same(e)).for_each(|e| e.3 &= !bits);
            self.list.retain(|e| e.3 != 0);
            return !punched;
        }
        match self.list.iter_mut().find(|e| same(e)) {
            Some(e) => e.3 |= bits,
            None => self.list.push((rule.kind, rule.major, rule.minor, bits)),
        }
        true
    }

    fn allows(&self, kind: DeviceKind, access: u8, major: u32, minor: u32) -> bool {
        let mut hits = self
            .list
            .iter()
            .filter(|e| e.0 == kind && e.1.is_none_or(|n| n == major) && e.2.is_none_or(|n| n == minor));
        if self.allow { !hits.any(|e| e.3 & access != 0) } else { hits.any(|e| access & !e.3 == 0) }
    }
}

/// xorshift: the same lists on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn rule(&mut self) -> DeviceRule {
        let kind = match self.below(12) {
            0 => DeviceKind::All,
            1..=5 => DeviceKind::Block,
            _ => DeviceKind::Character,
        };
        // The largest number has all bits set, as a sign-extended comparison would get wrong.
        let number = |n| [None, Some(0), Some(1), Some(u32::MAX)][n as usize];
        DeviceRule {
            verdict: if self.below(3) == 0 { Verdict::Deny } else { Verdict::Allow },
            kind,
            major: number(self.below(4)),
            minor: number(self.below(4)),
            access: Access::from_bits(1 + self.below(7) as u8),
        }
    }

    fn rules(&mut self) -> Vec<DeviceRule> {
        (0..self.below(8)).map(|_| self.rule()).collect()
    }
}

/// Random lists: the set, the program and the controller of v1 agree on every access, and the lists that v1
/// would follow in part only are refused.
#[test]
fn random_lists() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..4000 {
        let rules = random.rules();
        let mut kernel = Kernel { allow: false, list: vec![] };
        let whole = rules.iter().all(|rule| kernel.write(rule));
        let set = match DeviceSet::from_rules(&rules) {
            Ok(set) => set,
            Err((index, why)) => {
                assert!(!whole, "{why}");
                assert!(why.contains("punch"), "{index}");
                refused += 1;
                continue;
            }
        };
        assert!(whole, "{rules:?}");
        taken += 1;
        let program = program(&set).unwrap();
        for (kind, number) in [(DeviceKind::Block, 1), (DeviceKind::Character, 2)] {
            for access in 1..8u8 {
                for major in [0, 1, 2, u32::MAX] {
                    for minor in [0, 1, 2, u32::MAX] {
                        let want = kernel.allows(kind, access, major, minor);
                        let run = |p: &Vec<_>| run(p, number, access.into(), major, minor);
                        let ran = program.as_ref().is_none_or(run);
                        let told = set.allows(kind, major, minor, Access::from_bits(access));
                        let what = (&rules, kind, access, major, minor);
                        assert_eq!((ran, told), (want, want), "{what:?}");
                    }
                }
            }
        }
    }
    assert!(taken > 1000 && refused > 100, "{taken} {refused}");
}

/// From any set to any other by the transition's rules, on a cgroup whose exceptions are known.
#[test]
fn transitions() {
    let mut random = Random(7);
    let mut set = || {
        loop {
            if let Ok(set) = DeviceSet::from_rules(&random.rules()) {
                return set;
            }
        }
    };
    for _ in 0..2000 {
        let (from, to) = (set(), set());
        let list = |set: &DeviceSet| -> Vec<_> {
            let exceptions = set.exceptions.iter();
            exceptions.map(|(d, a)| (d.kind, d.major, d.minor, a.bits())).collect()
        };
        let mut kernel = Kernel { allow: from.default == Verdict::Allow, list: list(&from) };
        for rule in from.transition(&to) {
            kernel.write(&rule);
        }
        assert_eq!(kernel.allow, to.default == Verdict::Allow);
        let sorted = |list: Vec<_>| list.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(sorted(kernel.list), sorted(list(&to)));
    }
}

/// `devices.list` shows the exceptions as they were written.
#[test]
fn rules_come_in_the_listed_order() {
    let rules = |texts: &[&str]| -> Vec<DeviceRule> {
        let rule = |text: &&str| {
            let words: Vec<&str> = text.split([' ', ':']).collect();
            let number = |word: &str| word.parse().ok();
            DeviceRule {
                verdict: if words[0] == "allow" { Verdict::Allow } else { Verdict::Deny },
                kind: if words[1] == "c" { DeviceKind::Character } else { DeviceKind::Block },
                major: number(words[2]),
                minor: number(words[3]),
                access: Access::parse(words[4]).unwrap(),
            }
        };
        texts.iter().map(rule).collect()
    };
    for (listed, written) in [
        (
            &["allow c 10:229 rwm", "allow b 8:20 rw", "allow b 1:2 r"][..],
            &["c 10:229 rwm", "b 8:20 rw", "b 1:2 r"][..],
        ),
        // Of the same devices it is one line, where the first was; taken away and added again, the last.
        (&["allow c 9:9 r", "allow c 1:1 r", "allow c 9:9 w"], &["c 9:9 rw", "c 1:1 r"]),
        (&["allow c 9:9 r", "allow c 1:1 r", "deny c 9:9 r", "allow c 9:9 w"], &["c 1:1 r", "c 9:9 w"]),
    ] {
        let set = DeviceSet::from_rules(&rules(listed)).unwrap();
        let lines: Vec<String> = set.rules().iter().skip(1).map(ToString::to_string).collect();
        assert_eq!(lines, written, "{listed:?}");
    }
}

/// The default list needs few instructions: seven to begin, one test of each kind, a rule for each device.
#[test]
fn sizes() {
    let len = |rules: &[DeviceRule]| {
        let set = DeviceSet::from_rules(rules).unwrap();
        program(&set).unwrap().map(|p| p.len())
    };
    let all =
        DeviceRule { verdict: Verdict::Allow, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };
    assert_eq!(len(&[]), Some(2));
    assert_eq!(len(&[all]), None);
    assert_eq!(len(&crate::device::DEFAULT_DEVICES), Some(7 + 1 + 2 + 1 + 2 + 8 * 3 + 2 + 2));
    // A wildcard swallows what it covers.
    let wide = DeviceRule { kind: DeviceKind::Character, ..all };
    let narrow = DeviceRule { major: Some(1), access: Access::READ, ..wide };
    assert_eq!(len(&[narrow, wide]), Some(7 + 1 + 1 + 2));
}
