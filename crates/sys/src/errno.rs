//! The kernel's error numbers, by name.

use core::fmt;

/// What a system call failed with; see errno(3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

/// The outcome of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// Turns a system call's return value into its result.
    #[inline(always)]
    pub(crate) fn check(ret: isize) -> Result<usize> {
        if (-4095..0).contains(&ret) { Err(Errno(-ret as i32)) } else { Ok(ret as usize) }
    }
}

macro_rules! errnos {
    ($($name:ident $number:literal $text:literal)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($number);)*

            /// The symbol, such as `ENOENT`, or `E?` for a number without one.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => concat!("E", stringify!($name)),)* _ => "E?" }
            }

            /// The text that strerror(3) gives in the C locale, beginning in lower case as Go prints it.
            pub const fn text(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "unknown error" }
            }
        }
    };
}

errnos! {
    PERM 1 "operation not permitted"
    NOENT 2 "no such file or directory"
    SRCH 3 "no such process"
    INTR 4 "interrupted system call"
    IO 5 "input/output error"
    NXIO 6 "no such device or address"
    TOOBIG 7 "argument list too long"
    NOEXEC 8 "exec format error"
    BADF 9 "bad file descriptor"
    CHILD 10 "no child processes"
    AGAIN 11 "resource temporarily unavailable"
    NOMEM 12 "cannot allocate memory"
    ACCES 13 "permission denied"
    FAULT 14 "bad address"
    NOTBLK 15 "block device required"
    BUSY 16 "device or resource busy"
    EXIST 17 "file exists"
    XDEV 18 "invalid cross-device link"
    NODEV 19 "no such device"
    NOTDIR 20 "not a directory"
    ISDIR 21 "is a directory"
    INVAL 22 "invalid argument"
    NFILE 23 "too many open files in system"
    MFILE 24 "too many open files"
    NOTTY 25 "inappropriate ioctl for device"
    TXTBSY 26 "text file busy"
    FBIG 27 "file too large"
    NOSPC 28 "no space left on device"
    SPIPE 29 "illegal seek"
    ROFS 30 "read-only file system"
    MLINK 31 "too many links"
    PIPE 32 "broken pipe"
    DOM 33 "numerical argument out of domain"
    RANGE 34 "numerical result out of range"
    DEADLK 35 "resource deadlock avoided"
    NAMETOOLONG 36 "file name too long"
    NOLCK 37 "no locks available"
    NOSYS 38 "function not implemented"
    NOTEMPTY 39 "directory not empty"
    LOOP 40 "too many levels of symbolic links"
    NODATA 61 "no data available"
    TIME 62 "timer expired"
    PROTO 71 "protocol error"
    BADMSG 74 "bad message"
    OVERFLOW 75 "value too large for defined data type"
    USERS 87 "too many users"
    NOTSOCK 88 "socket operation on non-socket"
    DESTADDRREQ 89 "destination address required"
    MSGSIZE 90 "message too long"
    PROTOTYPE 91 "protocol wrong type for socket"
    NOPROTOOPT 92 "protocol not available"
    OPNOTSUPP 95 "operation not supported"
    ADDRINUSE 98 "address already in use"
    ADDRNOTAVAIL 99 "cannot assign requested address"
    NETDOWN 100 "network is down"
    CONNABORTED 103 "software caused connection abort"
    CONNRESET 104 "connection reset by peer"
    NOBUFS 105 "no buffer space available"
    ISCONN 106 "transport endpoint is already connected"
    NOTCONN 107 "transport endpoint is not connected"
    TIMEDOUT 110 "connection timed out"
    CONNREFUSED 111 "connection refused"
    ALREADY 114 "operation already in progress"
    INPROGRESS 115 "operation now in progress"
    STALE 116 "stale file handle"
    DQUOT 122 "disk quota exceeded"
    NOMEDIUM 123 "no medium found"
    NOKEY 126 "required key not available"
    KEYEXPIRED 127 "key has expired"
    KEYREVOKED 128 "key has been revoked"
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            "unknown error" => write!(f, "errno {}", self.0),
            text => f.write_str(text),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl core::error::Error for Errno {}

/// Repeats a call for as long as a signal interrupts it.
#[inline]
pub fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}
