//! What goes in: a profile in its own words, and how it can be wrong.

use alloc::string::String;
use core::fmt;

use crate::Arch;

/// A seccomp profile, as `linux.seccomp` of config.json gives it.
///
/// `S` is whatever holds the names: `&str`, `String`, `Cow<str>`.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a, S = &'a str> {
    /// What becomes of a call no rule names.
    pub default_action: Action,
    /// The errno of the default action; EPERM when not given. Only for [`Action::Errno`] and
    /// [`Action::Trace`].
    pub default_errno_ret: Option<u32>,
    /// The architectures to filter. The native one always belongs to them, named or not.
    /// Calls of any other architecture get [`Options::bad_arch`].
    pub architectures: &'a [Arch],
    /// Flags for seccomp(2); [`Flags::DEFAULT`] when config.json has none.
    pub flags: Flags,
    /// The rules, in the order of config.json.
    pub rules: &'a [Rule<'a, S>],
}

/// One entry of `linux.seccomp.syscalls`.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a, S = &'a str> {
    /// The system calls it is for.
    pub names: &'a [S],
    /// What becomes of them.
    pub action: Action,
    /// The action's errno; EPERM when not given. Only for [`Action::Errno`] and
    /// [`Action::Trace`].
    pub errno_ret: Option<u32>,
    /// The conditions, all of which must hold. When two of them are for the same argument,
    /// each becomes a rule of its own, as in runc: then any of them is enough.
    pub args: &'a [Arg],
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How it is compared with the values.
    pub op: Operator,
    /// The value, or the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument must be for [`Operator::MaskedEqual`]; else unused.
    pub value_two: u64,
}

/// What the kernel does with a call, seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it through.
    Allow,
    /// Let it through, and log it.
    Log,
    /// Fail with an errno.
    Errno,
    /// Send SIGSYS.
    Trap,
    /// Ask the tracer.
    Trace,
    /// Ask the listener.
    Notify,
    /// Kill the thread.
    KillThread,
    /// Kill the process.
    KillProcess,
}

impl Action {
    /// Every name config.json may use, sorted.
    pub const NAMES: [(&'static str, Action); 9] = [
        ("SCMP_ACT_ALLOW", Action::Allow),
        ("SCMP_ACT_ERRNO", Action::Errno),
        ("SCMP_ACT_KILL", Action::KillThread),
        ("SCMP_ACT_KILL_PROCESS", Action::KillProcess),
        ("SCMP_ACT_KILL_THREAD", Action::KillThread),
        ("SCMP_ACT_LOG", Action::Log),
        ("SCMP_ACT_NOTIFY", Action::Notify),
        ("SCMP_ACT_TRACE", Action::Trace),
        ("SCMP_ACT_TRAP", Action::Trap),
    ];

    /// Finds an action by its name in config.json.
    pub fn from_name(name: &str) -> Option<Action> {
        find(&Self::NAMES, name)
    }

    /// The filter's return value, `SECCOMP_RET_*` with its data.
    pub(crate) fn return_value(self, errno: Option<u32>) -> Result<u32, Error> {
        const EPERM: u32 = 1;
        let carries_errno = matches!(self, Action::Errno | Action::Trace);
        match errno {
            Some(_) if !carries_errno => return Err(Error::ErrnoWithoutUse(self)),
            // 16 bits carry it (SECCOMP_RET_DATA).
            Some(errno) if errno > 0xffff => return Err(Error::ErrnoRange(errno)),
            _ => {}
        }
        let errno = errno.unwrap_or(EPERM);
        Ok(match self {
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno => 0x0005_0000 | errno,
            Action::Notify => 0x7fc0_0000,
            Action::Trace => 0x7ff0_0000 | errno,
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
            Action::KillProcess => 0x8000_0000,
        })
    }
}

/// How an argument is compared. Values are unsigned; on 32-bit architectures only the
/// lower halves count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `==`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>`
    Greater,
    /// `argument & value == value_two & value`
    MaskedEqual,
}

impl Operator {
    /// Every name config.json may use, sorted.
    pub const NAMES: [(&'static str, Operator); 7] = [
        ("SCMP_CMP_EQ", Operator::Equal),
        ("SCMP_CMP_GE", Operator::GreaterEqual),
        ("SCMP_CMP_GT", Operator::Greater),
        ("SCMP_CMP_LE", Operator::LessEqual),
        ("SCMP_CMP_LT", Operator::Less),
        ("SCMP_CMP_MASKED_EQ", Operator::MaskedEqual),
        ("SCMP_CMP_NE", Operator::NotEqual),
    ];

    /// Finds an operator by its name in config.json.
    pub fn from_name(name: &str) -> Option<Operator> {
        find(&Self::NAMES, name)
    }
}

/// Flags for seccomp(2), `SECCOMP_FILTER_FLAG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// Put the filter on every thread of the process.
    pub const TSYNC: Flags = Flags(1 << 0);
    /// Log every action but allow, as the sysctl `actions_logged` permits.
    pub const LOG: Flags = Flags(1 << 1);
    /// Leave Speculative Store Bypass mitigation alone.
    pub const SPEC_ALLOW: Flags = Flags(1 << 2);
    /// Return the listener's descriptor. Comes by itself with [`Action::Notify`].
    pub const NEW_LISTENER: Flags = Flags(1 << 3);
    /// Report a failing TSYNC as ESRCH, since the return value is a descriptor. Comes by
    /// itself where TSYNC and NEW_LISTENER meet: the kernel refuses them without it.
    pub const TSYNC_ESRCH: Flags = Flags(1 << 4);
    /// Once the listener has received a notification, only fatal signals interrupt the call.
    pub const WAIT_KILLABLE_RECV: Flags = Flags(1 << 5);

    /// What runc sets when config.json has no `flags` at all.
    pub const DEFAULT: Flags = Flags::SPEC_ALLOW;

    /// Every name config.json may use, sorted.
    pub const NAMES: [(&'static str, Flags); 4] = [
        ("SECCOMP_FILTER_FLAG_LOG", Flags::LOG),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", Flags::SPEC_ALLOW),
        ("SECCOMP_FILTER_FLAG_TSYNC", Flags::TSYNC),
        (
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
            Flags::WAIT_KILLABLE_RECV,
        ),
    ];

    /// Finds a flag by its name in config.json.
    pub fn from_name(name: &str) -> Option<Flags> {
        find(&Self::NAMES, name)
    }

    /// The number for seccomp(2).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These flags and those.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These flags without those.
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of those are set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// What to hand to the kernel, which refuses some combinations (kernel/seccomp.c,
    /// `seccomp_set_mode_filter`).
    pub(crate) fn for_kernel(self, notify: bool) -> Flags {
        if !notify {
            // With no listener there is nobody to wait for.
            self.without(Flags::WAIT_KILLABLE_RECV)
        } else if self.contains(Flags::TSYNC) {
            self.with(Flags::NEW_LISTENER).with(Flags::TSYNC_ESRCH)
        } else {
            self.with(Flags::NEW_LISTENER)
        }
    }
}

/// What becomes of names this crate's tables do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnknownNames {
    /// They are listed in [`crate::Program::unknown`]; their rules have no effect.
    #[default]
    Report,
    /// The first one is an error.
    Fail,
}

/// What becomes of calls newer than the newest one that the profile names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NewerCalls {
    /// They fail with ENOSYS, unless the default action is [`Action::Allow`],
    /// [`Action::Log`] or [`Action::Trace`]: a program that sees ENOSYS falls back to an
    /// older call, one that sees EPERM gives up.
    #[default]
    Enosys,
    /// The default action is for them too.
    DefaultAction,
}

/// What is not in the profile.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The architecture that comes first in the program.
    pub native: Arch,
    /// The action for calls of other architectures.
    pub bad_arch: Action,
    /// See there.
    pub unknown_names: UnknownNames,
    /// See there.
    pub newer_calls: NewerCalls,
    /// Calls which [`Action::Notify`] must not meet, because the process that loads the
    /// filter makes them before anybody can listen. When not empty, `Notify` as the default
    /// action is refused as well.
    pub never_notify: &'a [&'a str],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            native: Arch::NATIVE,
            bad_arch: Action::KillThread,
            unknown_names: UnknownNames::default(),
            newer_calls: NewerCalls::default(),
            never_notify: &[],
        }
    }
}

/// What can be wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An errno was given for an action that returns none.
    ErrnoWithoutUse(Action),
    /// An errno does not fit into the 16 bits there are for it.
    ErrnoRange(u32),
    /// An argument's index is not 0 to 5.
    ArgumentIndex(u32),
    /// Two rules give one call different actions under the same conditions.
    Conflict {
        /// The call.
        name: String,
        /// Where: 32-bit architectures see only half of a value.
        arch: Arch,
    },
    /// A name no architecture knows ([`UnknownNames::Fail`]).
    UnknownName(String),
    /// `Notify` is the default action, or a rule's for this call ([`Options::never_notify`]).
    Notify(Option<String>),
    /// The program has more instructions than the kernel takes (`BPF_MAXINSNS`, 4096).
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ErrnoWithoutUse(action) => write!(f, "action {action:?} takes no errno"),
            Error::ErrnoRange(errno) => write!(f, "errno {errno} is out of range"),
            Error::ArgumentIndex(index) => {
                write!(
                    f,
                    "argument index {index}: a system call has arguments 0 to 5"
                )
            }
            Error::Conflict { name, arch } => {
                write!(
                    f,
                    "rules for {name} contradict each other on {}",
                    arch.name()
                )
            }
            Error::UnknownName(name) => write!(f, "unknown system call {name:?}"),
            Error::Notify(None) => f.write_str("SCMP_ACT_NOTIFY cannot be used as default action"),
            Error::Notify(Some(name)) => {
                write!(f, "SCMP_ACT_NOTIFY cannot be used for the {name} syscall")
            }
            Error::TooLong => {
                f.write_str("the filter is longer than the kernel's 4096 instructions")
            }
        }
    }
}

impl core::error::Error for Error {}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table
        .iter()
        .find(|entry| entry.0 == name)
        .map(|entry| entry.1)
}
