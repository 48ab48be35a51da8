//! A connection to systemd, straight or through a message bus. See "Authentication Protocol" in the D-Bus
//! Specification.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::net::{self, SocketType};
use orlop_sys::time::{Clock, Timespec, now};
use orlop_sys::{BorrowedFd, Errno, OwnedFd, event, fs};

use super::wire::{self, Call, Kind, Message, Reply, Writer};
use crate::error::Error;

/// Which systemd is meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Bus {
    /// The system's.
    #[default]
    System,
    /// A user's own, at an address as `$DBUS_SESSION_BUS_ADDRESS` has it.
    User(String),
}

/// Where systemd itself listens, for root alone. It spares a daemon between us and it.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// Where D-Bus has always been, on hosts whose /var/run is no link.
const SYSTEM_BUS_OF_OLD: &str = "/var/run/dbus/system_bus_socket";

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const OBJECT: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Everything the client says before it may speak, at once: whoever we are, the kernel tells the server, so the
/// identity stays empty, as sd-bus has it. That holds in user namespaces too, where our own number is not the
/// server's.
const HANDSHAKE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

/// The number of the first call through a bus.
const HELLO: u32 = 1;

/// systemd as the answering machine: a job that ended, with its unit and how.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) job: String,
    pub(super) result: String,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// Where it goes to, for messages.
    path: String,
    through: Through,
    /// Whether descriptors can be sent; `None` before the server has answered.
    fds: Option<bool>,
    serial: u32,
    received: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Through {
    Nothing,
    Bus,
}

impl Connection {
    /// Connects and begins the handshake, without waiting for an answer.
    pub(super) fn open(bus: &Bus, privileged: bool) -> Result<Connection, Error> {
        let user;
        let places: &[(&str, Through)] = match bus {
            Bus::System if privileged => {
                &[(PRIVATE, Through::Nothing), (SYSTEM_BUS, Through::Bus), (SYSTEM_BUS_OF_OLD, Through::Bus)]
            }
            Bus::System => &[(SYSTEM_BUS, Through::Bus), (SYSTEM_BUS_OF_OLD, Through::Bus)],
            Bus::User(address) => {
                user = socket_path(address)?;
                &[(user.as_str(), Through::Bus)]
            }
        };
        let mut first = None;
        for &(path, through) in places {
            match connect(path) {
                Ok(socket) => {
                    let path = path.into();
                    let mut connection =
                        Connection { socket, path, through, fds: None, serial: 0, received: Vec::new() };
                    connection.begin()?;
                    return Ok(connection);
                }
                Err(errno) => {
                    first.get_or_insert((path, errno));
                }
            }
        }
        match first {
            Some((path, errno)) if *bus != Bus::System => {
                Err(Error::Call { call: "connect", path: path.into(), value: None, errno, origin: None })
            }
            Some((path, errno)) if !matches!(errno, Errno::NOENT | Errno::CONNREFUSED) => {
                Err(Error::Call { call: "connect", path: path.into(), value: None, errno, origin: None })
            }
            _ => Err(Error::NoSystemd),
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        let mut bytes = HANDSHAKE.to_vec();
        if self.through == Through::Bus {
            // Its reply is the name that the bus gives us, which we need not know.
            self.serial += 1;
            let hello = Call {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                signature: "",
                fds: 0,
                reply: Reply::Wanted,
            };
            bytes.extend_from_slice(&hello.encode(self.serial, &[]));
        }
        self.send(&bytes, &[])
    }

    /// Has the bus pass on to us when jobs of a unit end. Straight from systemd that comes unasked.
    pub(super) fn watch(&mut self, unit: &str) -> Result<(), Error> {
        if self.through == Through::Nothing {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&format!(
            "type='signal',sender='{SYSTEMD}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved',arg2='{unit}'"
        ));
        self.serial += 1;
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "AddMatch",
            signature: "s",
            fds: 0,
            reply: Reply::Unwanted,
        };
        let bytes = call.encode(self.serial, &body.into_bytes());
        self.send(&bytes, &[])
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut sent = net::send(&self.socket, bytes, fds).map_err(|errno| self.error("sendmsg", errno))?;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += net::send(&self.socket, rest, &[]).map_err(|errno| self.error("sendmsg", errno))?;
        }
        Ok(())
    }

    pub(super) fn error(&self, call: &'static str, errno: Errno) -> Error {
        Error::Call { call, path: self.path.clone(), value: None, errno, origin: None }
    }

    /// Reads what there is; waits for it until `deadline`.
    fn receive(&mut self, deadline: i64, waited_for: &'static str) -> Result<(), Error> {
        let left = (deadline - now(Clock::Monotonic).as_nanos()).max(0);
        let left = Timespec { sec: left / 1_000_000_000, nsec: left % 1_000_000_000 };
        match event::wait_readable(&self.socket, Some(left)) {
            Ok(true) => {}
            Ok(false) => return Err(Error::TimedOut { path: self.path.clone(), waited_for }),
            Err(errno) => return Err(self.error("ppoll", errno)),
        }
        let mut piece = [0u8; 4096];
        match fs::read(&self.socket, &mut piece) {
            Ok(0) => Err(self.error("read", Errno::CONNRESET)),
            Ok(n) => {
                self.received.extend_from_slice(piece.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(errno) => Err(self.error("read", errno)),
        }
    }

    /// Waits for the end of the handshake; whether descriptors can be sent.
    pub(super) fn takes_fds(&mut self, deadline: i64) -> Result<bool, Error> {
        if let Some(fds) = self.fds {
            return Ok(fds);
        }
        // An empty challenge, whether we are welcome, and whether descriptors are.
        for step in 0..3 {
            let end = loop {
                if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                    break end;
                }
                self.receive(deadline, "to greet us")?;
            };
            let line: Vec<u8> = self.received.drain(..end + 2).collect();
            match step {
                0 if line.starts_with(b"DATA") => {}
                1 if line.starts_with(b"OK ") => {}
                2 => self.fds = Some(line.starts_with(b"AGREE_UNIX_FD")),
                _ => return Err(self.error("connect", Errno::ACCES)),
            }
        }
        Ok(self.fds.unwrap_or(false))
    }

    /// Calls a method, without waiting for its end.
    pub(super) fn post(&mut self, call: Call<'_>, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<u32, Error> {
        self.serial += 1;
        let bytes = Call { fds: fds.len() as u32, ..call }.encode(self.serial, body);
        self.send(&bytes, fds)?;
        Ok(self.serial)
    }

    /// The next message.
    pub(super) fn next(&mut self, deadline: i64, waited_for: &'static str) -> Result<Message, Error> {
        self.takes_fds(deadline)?;
        let broken = |connection: &Connection| Error::Parse {
            path: connection.path.clone(),
            text: String::from("a D-Bus message that is none"),
        };
        loop {
            if let Some(head) = self.received.get(..wire::FIXED) {
                let whole = wire::length(head).ok_or_else(|| broken(self))?;
                if self.received.len() >= whole {
                    let bytes: Vec<u8> = self.received.drain(..whole).collect();
                    return Message::decode(&bytes).ok_or_else(|| broken(self));
                }
            }
            self.receive(deadline, waited_for)?;
        }
    }

    /// The answer to a call; jobs of `unit` that end meanwhile are noted in `ended`.
    pub(super) fn answer(
        &mut self,
        serial: u32,
        unit: &str,
        ended: &mut Vec<Ended>,
        deadline: i64,
    ) -> Result<Message, Error> {
        loop {
            let message = self.next(deadline, "to answer")?;
            match message.kind {
                Kind::Return | Kind::Error if message.reply_to == serial => return Ok(message),
                Kind::Signal => ended.extend(job_end(&message, unit)),
                // The bus refuses to have us. Other errors are of calls that we have given up.
                Kind::Error if self.through == Through::Bus && message.reply_to == HELLO => return Ok(message),
                _ => {}
            }
        }
    }
}

/// The end of a job of `unit`.
pub(super) fn job_end(message: &Message, unit: &str) -> Option<Ended> {
    if message.member != "JobRemoved" || message.signature != "uoss" {
        return None;
    }
    let mut body = message.body();
    let _number = body.u32()?;
    let job = body.text()?.into();
    (body.text()? == unit).then_some(())?;
    Some(Ended { job, result: body.text()?.into() })
}

fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let address = CString::new(path).map_err(|_| Errno::INVAL)?;
    let socket = net::unix_socket(SocketType::Stream)?;
    net::connect(&socket, &address)?;
    Ok(socket)
}

/// The socket of an address: the first of `unix:path=…[,key=value…][;…]`, with `%41` for unusual characters.
fn socket_path(address: &str) -> Result<String, Error> {
    let bad = |why| Error::Path { path: address.into(), why };
    let paths = address.split(';').filter_map(|one| one.strip_prefix("unix:"));
    let path = paths.flat_map(|one| one.split(',')).find_map(|pair| pair.strip_prefix("path="));
    let path = path.ok_or_else(|| bad("is no bus address that is supported: unix:path=… is"))?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err(bad("is a bus address with a broken escape")),
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad("is a bus address of no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, want) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/a%2db%20c,guid=0011", Some("/a-b c")),
            ("tcp:host=x;unix:guid=1,path=/b", Some("/b")),
            ("unix:abstract=/tmp/dbus-x", None),
            ("unix:path=/a%2", None),
            ("", None),
        ] {
            assert_eq!(socket_path(address).ok().as_deref(), want, "{address}");
        }
    }
}
