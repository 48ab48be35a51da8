//! The same device lists on both versions, tried by opening devices.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::devices::programs;
use super::tests::{Bed, On};
use super::{Group, Joined};
use crate::device::{DEFAULT_DEVICES, DeviceSet};
use crate::resources::*;

/// A shell that opens each of four devices in each of three ways, whenever it gets a line.
struct Opener {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

const MINORS: [u32; 4] = [3, 5, 7, 9];
const NAMES: &str = "null zero full urandom";

impl Opener {
    fn new() -> Opener {
        let script = std::format!(
            "while read go; do r=; for d in {NAMES}; do
               {{ true < /dev/$d; }} 2>&- && r=${{r}}r || r=$r-
               {{ true > /dev/$d; }} 2>&- && r=${{r}}w || r=$r-
               {{ true <> /dev/$d; }} 2>&- && r=${{r}}b || r=$r-
             done; echo $r; done"
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Opener { child, stdin, stdout }
    }

    fn try_all(&mut self) -> String {
        self.stdin.write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().into()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the shell should find.
fn expected(set: &DeviceSet) -> String {
    let mut out = String::new();
    for minor in MINORS {
        for (access, letter) in [("r", 'r'), ("w", 'w'), ("rw", 'b')] {
            let access = Access::parse(access).unwrap();
            let allowed = set.allows(DeviceKind::Character, 1, minor, access);
            out.push(if allowed { letter } else { '-' });
        }
    }
    out
}

/// A few lists by hand, and then random ones over the four devices.
fn lists() -> Vec<Vec<DeviceRule>> {
    let rule = |verdict, kind, minor, access| DeviceRule {
        verdict,
        kind,
        major: Some(1),
        minor,
        access: Access::parse(access).unwrap(),
    };
    use DeviceKind::{All, Character};
    use Verdict::{Allow, Deny};
    let mut lists = vec![
        DEFAULT_DEVICES.to_vec(),
        vec![],
        vec![rule(Allow, All, None, "rwm")],
        vec![rule(Allow, All, None, "rwm"), rule(Deny, Character, Some(3), "w")],
        vec![rule(Allow, Character, Some(3), "r"), rule(Allow, Character, None, "w")],
        DEFAULT_DEVICES.to_vec(),
    ];
    let mut seed = 99u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    while lists.len() < 60 {
        let mut list = vec![];
        for _ in 0..below(6) {
            let verdict = if below(3) == 0 { Deny } else { Allow };
            let kind = if below(8) == 0 { All } else { Character };
            let minor = [None, Some(3), Some(5), Some(7), Some(9)][below(5) as usize];
            list.push(rule(verdict, kind, minor, ["r", "w", "rw", "rwm"][below(4) as usize]));
        }
        if DeviceSet::from_rules(&list).is_ok() {
            lists.push(list);
        }
    }
    lists
}

#[test]
fn the_same_list_on_both_versions() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        if bed.v1() && !bed.has("devices") {
            std::eprintln!("skipped: no devices on v1");
            continue;
        }
        let mut opener = Opener::new();
        let mut group: Option<Group> = None;
        for rules in lists() {
            let set = DeviceSet::from_rules(&rules).unwrap();
            let plan = bed.plan(&Resources { devices: Some(rules.clone()), ..Resources::default() });
            match &mut group {
                Some(group) => group.update(&plan).unwrap(),
                None => {
                    let mut new = Group::create(&plan).unwrap();
                    if let Err(error) = new.apply(&plan) {
                        assert!(on == On::V2 && error.is_permission(), "{error}");
                        std::eprintln!("skipped: {error}");
                        break;
                    }
                    new.adopt(opener.child.id() as i32, Joined::Nothing).unwrap();
                    group = Some(new);
                }
            }
            assert_eq!(opener.try_all(), expected(&set), "{on:?} {rules:?}");
            if let (On::V2, Some(group)) = (on, &group) {
                let none = set == DeviceSet::all(Verdict::Allow);
                assert_eq!(programs(group), usize::from(!none), "{rules:?}");
            }
        }
        drop(opener);
        bed.children.clear();
    }
}

/// A hundred updates leave one program, also for a group that was opened by its path.
#[test]
fn a_hundred_updates_leave_one_program() {
    let Some(bed) = Bed::new(On::V2) else { return };
    let plan = bed.plan(&Resources { devices: Some(DEFAULT_DEVICES.to_vec()), ..Resources::default() });
    let mut group = Group::create(&plan).unwrap();
    if let Err(error) = group.apply(&plan) {
        assert!(error.is_permission(), "{error}");
        std::eprintln!("skipped: {error}");
        return;
    }
    for _ in 0..50 {
        group.update(&plan).unwrap();
    }
    let mut again = Group::open(&bed.layout, &bed.path).unwrap();
    for _ in 0..50 {
        again.update(&plan).unwrap();
    }
    assert_eq!(programs(&group), 1);
}
