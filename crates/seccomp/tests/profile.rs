//! What a profile may say: actions, errnos, flags, names, and what is an error.

mod common;

use common::{Owned, by_name, equal, plain, value};
use orlop_seccomp::{Action, Arch, Arg, Error, Flags, Options, UnknownNames};

#[test]
fn every_action_and_its_errno() {
    for (name, action) in Action::NAMES {
        let carries = matches!(action, Action::Errno | Action::Trace);
        for errno in [None, Some(0), Some(95), Some(0xffff), Some(0x1_0000)] {
            let mut profile = Owned::new(Action::Log, &[]).rule("read", action, &[]);
            profile.rules[0].errno_ret = errno;
            let mut default = Owned::new(action, &[]);
            default.default_errno_ret = errno;
            let wanted = match errno {
                Some(_) if !carries => Some(Error::ErrnoWithoutUse(action)),
                Some(0x1_0000) => Some(Error::ErrnoRange(0x1_0000)),
                _ => None,
            };
            assert_eq!(profile.compile(&plain()).err(), wanted, "{name} {errno:?}");
            assert_eq!(default.compile(&plain()).err(), wanted, "{name} {errno:?}");
            if wanted.is_none() {
                let value = value(action, errno);
                assert_eq!(by_name(&profile, Arch::NATIVE, "read", [0; 6]), value, "{name}");
                assert_eq!(by_name(&default, Arch::NATIVE, "read", [0; 6]), value, "{name}");
            }
        }
    }
}

#[test]
fn flags() {
    let [log, spec, tsync, wait] = Flags::NAMES.map(|entry| entry.1);
    let table = [
        (Flags::NONE, false, 0),
        (log.with(spec), false, 0b110),
        (tsync, false, 0b1),
        (wait, false, 0),
        (Flags::NONE, true, 0b1000),
        (wait.with(log), true, 0b10_1010),
        (tsync, true, 0b1_1001),
    ];
    for (flags, notify, bits) in table {
        let action = if notify { Action::Notify } else { Action::Errno };
        let mut profile = Owned::new(Action::Allow, &[]).rule("read", action, &[]);
        profile.flags = flags;
        let program = profile.compile(&plain()).unwrap();
        assert_eq!((program.flags.bits(), program.notify), (bits, notify), "{flags:?}");
    }
}

#[test]
fn unknown_names() {
    let profile = Owned::new(Action::Errno, &[])
        .rule("read", Action::Allow, &[])
        .rule("frobnicate", Action::Allow, &[])
        .rule("", Action::Allow, &[])
        .rule("frobnicate", Action::Trap, &[]);
    assert_eq!(profile.compile(&plain()).unwrap().unknown, ["frobnicate", ""]);
    let strict = Options { unknown_names: UnknownNames::Fail, ..plain() };
    assert_eq!(profile.compile(&strict).err(), Some(Error::UnknownName("frobnicate".into())));
    // One architecture's name is not unknown to the others.
    let profile = Owned::new(Action::Errno, &[]).rule("s390_pci_mmio_read", Action::Allow, &[]);
    assert_eq!(profile.compile(&plain()).unwrap().unknown, [""; 0]);
}

#[test]
fn errors() {
    let allow = |args: &[Arg]| Owned::new(Action::Errno, &[]).rule("read", Action::Allow, args);
    let on_x86 = |mut profile: Owned| {
        profile.architectures.push(Arch::X86);
        profile
    };
    let conflict = |arch| Some(Error::Conflict { name: "read".into(), arch });
    let options = Options { native: Arch::X86_64, never_notify: &["read"], ..plain() };
    let table = [
        (allow(&[equal(6, 0)]), Some(Error::ArgumentIndex(6))),
        (allow(&[equal(u32::MAX, 0)]), Some(Error::ArgumentIndex(u32::MAX))),
        (allow(&[equal(0, 1)]).rule("read", Action::Log, &[equal(0, 1)]), conflict(Arch::X86_64)),
        (allow(&[equal(0, 1)]).rule("read", Action::Log, &[equal(0, 1 + (1 << 32))]), None),
        (on_x86(allow(&[equal(0, 1)]).rule("read", Action::Log, &[equal(0, 1 + (1 << 32))])), conflict(Arch::X86)),
        (allow(&[equal(0, 1), equal(1, 1)]).rule("read", Action::Log, &[equal(0, 1)]), conflict(Arch::X86_64)),
        (allow(&[]).rule("read", Action::Notify, &[]), Some(Error::Notify(Some("read".into())))),
        (allow(&[]).rule("write", Action::Notify, &[]), None),
        (Owned::new(Action::Notify, &[]), Some(Error::Notify(None))),
    ];
    for (profile, wanted) in table {
        assert_eq!(profile.compile(&options).err(), wanted, "{profile:#?}");
    }
}
