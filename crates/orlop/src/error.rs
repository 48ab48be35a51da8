//! What went wrong, for the person who has to mend it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use orlop_sys::Errno;

use crate::config::ParseError;
use crate::plan::Phase;

/// What kind of failure it is: what a caller may want to tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// No container of that id.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// The id is not one.
    InvalidId,
    /// The configuration cannot be read, or contradicts itself.
    InvalidConfig,
    /// The container is in another state than the call needs.
    WrongState,
    /// The container has no process any more.
    NotRunning,
    /// orlop, or this kernel, does not do that.
    NotSupported,
    /// The program to execute is missing, or is none.
    Program,
    /// A hook failed.
    Hook,
    /// A call of the kernel failed.
    System,
}

/// An error: what was being done, to which container, why, where in the configuration, which call, which errno.
///
/// `Display` gives one line of all that is known; the accessors give the parts.
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    doing: Cow<'static, str>,
    container: Option<String>,
    reason: Cow<'static, str>,
    phase: Option<Phase>,
    origin: Option<String>,
    /// What the origin is in.
    document: &'static str,
    call: Option<&'static str>,
    errno: Option<Errno>,
    /// Whether the reason names both.
    told: bool,
    hint: Option<Cow<'static, str>>,
}

impl Error {
    /// An error of that kind, for that reason.
    pub(crate) fn new(kind: Kind, reason: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner {
            kind,
            doing: Cow::Borrowed(""),
            container: None,
            reason: reason.into(),
            phase: None,
            origin: None,
            document: "config.json",
            call: None,
            errno: None,
            told: false,
            hint: None,
        }))
    }

    /// A failed call on something.
    pub(crate) fn system(call: &'static str, what: impl Into<Cow<'static, str>>, errno: Errno) -> Error {
        let mut error = Error::new(Kind::System, what);
        error.0.call = Some(call);
        error.0.errno = Some(errno);
        error
    }

    /// A failed call whose name and error number are in the words already.
    pub(crate) fn told(reason: String, call: &'static str, errno: Errno) -> Error {
        let mut error = Error::system(call, reason, errno);
        error.0.told = true;
        error
    }

    /// The same of another kind.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// What this version does not do.
    pub(crate) fn not_supported(what: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::NotSupported, what)
    }

    /// Says what was being done, such as `create`, to which container.
    #[must_use]
    pub(crate) fn during(mut self, doing: impl Into<Cow<'static, str>>, container: &str) -> Error {
        if self.0.doing.is_empty() {
            self.0.doing = doing.into();
            self.0.container = Some(container.into());
        }
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, phase: Phase, origin: Option<String>) -> Error {
        self.0.phase = Some(phase);
        self.0.origin = origin;
        self
    }

    #[must_use]
    pub(crate) fn field(mut self, pointer: impl Into<String>) -> Error {
        self.0.origin = Some(pointer.into());
        self
    }

    /// Says that no field asked for it.
    #[must_use]
    pub(crate) fn nowhere(mut self) -> Error {
        self.0.origin = None;
        self
    }

    /// Says that the field is of another document than `config.json`.
    #[must_use]
    pub(crate) fn of(mut self, document: &'static str) -> Error {
        self.0.document = document;
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds to the reason.
    #[must_use]
    pub(crate) fn more(mut self, text: &str) -> Error {
        self.0.reason = alloc::format!("{}: {text}", self.0.reason).into();
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The container, where there was one.
    pub fn container(&self) -> Option<&str> {
        self.0.container.as_deref()
    }

    /// Why it failed, in words; without container, call and error number.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The phase of the plan in which it failed.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The place in `config.json`, or in the file that a command was given, that asked for what failed, as a JSON
    /// pointer (RFC 6901).
    pub fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    /// The system call that failed.
    pub fn call(&self) -> Option<&'static str> {
        self.0.call
    }

    /// The error number it failed with; see errno(3).
    pub fn errno(&self) -> Option<i32> {
        self.0.errno.map(|errno| errno.0)
    }

    /// Whether the call failed with one of these.
    pub(crate) fn is_any(&self, of: &[Errno]) -> bool {
        self.0.errno.is_some_and(|errno| of.contains(&errno))
    }

    /// What may help, where we know something.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.0;
        if !e.doing.is_empty() {
            write!(f, "{}", e.doing)?;
            if let Some(id) = &e.container {
                write!(f, " {id:?}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&e.reason)?;
        if let Some(call) = e.call.filter(|_| !e.told) {
            if !e.reason.is_empty() {
                f.write_str(": ")?;
            }
            f.write_str(call)?;
        }
        if let Some(errno) = e.errno.filter(|_| !e.told) {
            write!(f, ": {errno}")?;
            if errno.text() != "unknown error" {
                write!(f, " ({})", errno.name())?;
            }
        }
        if let Some(origin) = &e.origin {
            write!(f, " [{} {origin}]", e.document)?;
        }
        if let Some(hint) = &e.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl core::error::Error for Error {}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Error {
        Error::new(Kind::InvalidConfig, alloc::format!("{error}"))
    }
}

/// The outcome of what the library does.
pub type Result<T> = core::result::Result<T, Error>;
