//! Network devices by rtnetlink(7): moved into another network namespace, with their addresses, and back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use orlop_sys::{BorrowedFd, Errno, OwnedFd, fs, net};

use crate::ahead;
use crate::error::{Error, Result};

/// linux/netlink.h
mod nlm {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const ACK: u16 = 4;
    pub(super) const DUMP: u16 = 0x300;
    pub(super) const CREATE_EXCL: u16 = 0x600;
    /// A dump during which the list has changed.
    pub(super) const DUMP_INTR: u16 = 0x10;
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
}

/// linux/rtnetlink.h
mod rtm {
    pub(super) const NEWLINK: u16 = 16;
    pub(super) const GETLINK: u16 = 18;
    pub(super) const NEWADDR: u16 = 20;
    pub(super) const GETADDR: u16 = 22;
}

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_LABEL: u16 = 3;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// Messages of the kernel begin so: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// struct ifinfomsg: family, padding, type, index, flags, change.
const LINK: usize = 16;
/// struct ifaddrmsg: family, prefix length, flags, scope, index.
const ADDRESS: usize = 8;

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0u8; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((nlm::REQUEST | flags).to_ne_bytes());
        bytes.extend([0u8; 8]);
        bytes.extend(body);
        Message(bytes)
    }

    fn link(kind: u16, flags: u16, index: u32, state: u32, change: u32) -> Message {
        let mut body = [0u8; LINK];
        for (at, word) in body.chunks_exact_mut(4).zip([0, index, state, change]) {
            at.copy_from_slice(&word.to_ne_bytes());
        }
        Message::new(kind, flags, &body)
    }

    /// An attribute: its length without padding, its type, its value.
    fn with(mut self, kind: u16, value: &[u8]) -> Message {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = (self.0.len() as u32).to_ne_bytes();
        for (to, from) in self.0.iter_mut().zip(len) {
            *to = from;
        }
        for (to, from) in self.0.iter_mut().skip(8).zip(sequence.to_ne_bytes()) {
            *to = from;
        }
        self.0
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The messages of one answer: type, flags, what follows the header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    core::iter::from_fn(move || {
        let len = word(bytes, 0)? as usize;
        let message = bytes.get(..len)?;
        let found = (half(message, 4)?, half(message, 6)?, message.get(HEADER..)?);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// Attributes: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// Marks of nested attributes and of byte order.
    const MARKS: u16 = 0xc000;
    core::iter::from_fn(move || {
        let len = usize::from(half(bytes, 0)?);
        let attribute = bytes.get(..len)?;
        let found = (half(attribute, 2)? & !MARKS, attribute.get(4..)?);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// An address to give a device again: the first bytes of its ifaddrmsg, and the attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// The address in an answer, if it is of that device, permanent, and of use elsewhere; as the spec has it.
    fn from_answer(body: &[u8], index: u32) -> Option<Address> {
        let &[family, prefix, flags, scope] = body.first_chunk()?;
        let all: Vec<(u16, &[u8])> = attributes(body.get(ADDRESS..)?).collect();
        let long = all.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, value)| word(value, 0));
        let permanent = long.unwrap_or(u32::from(flags)) & IFA_F_PERMANENT != 0;
        if word(body, 4)? != index || !permanent || scope != RT_SCOPE_UNIVERSE {
            return None;
        }
        // The lifetime of what is permanent has no end, and a label begins with the device's name.
        let kept = all.into_iter().filter(|(kind, _)| ![IFA_CACHEINFO, IFA_LABEL].contains(kind));
        Some(Address { family, prefix, attributes: kept.map(|(kind, value)| (kind, value.into())).collect() })
    }

    fn message(&self, index: u32) -> Message {
        let mut body = [self.family, self.prefix, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        body[4..].copy_from_slice(&index.to_ne_bytes());
        let message = Message::new(rtm::NEWADDR, nlm::ACK | nlm::CREATE_EXCL, &body);
        self.attributes.iter().fold(message, |message, (kind, value)| message.with(*kind, value))
    }
}

/// The devices of one network namespace.
struct Devices {
    socket: OwnedFd,
    sequence: u32,
}

/// A device as it was found.
struct Link {
    index: u32,
    up: bool,
}

impl Devices {
    fn here() -> orlop_sys::Result<Devices> {
        Ok(Devices { socket: net::route_socket()?, sequence: 0 })
    }

    fn of(namespace: BorrowedFd<'_>) -> orlop_sys::Result<Devices> {
        Ok(Devices { socket: ahead::route_socket_in(namespace)?, sequence: 0 })
    }

    /// Asks, and passes every part of the answer to `each`.
    fn ask(&mut self, message: Message, mut each: impl FnMut(&[u8])) -> orlop_sys::Result<()> {
        self.sequence += 1;
        let message = message.finish(self.sequence);
        let several = half(&message, 6).unwrap_or_default() & nlm::DUMP == nlm::DUMP;
        net::send(&self.socket, &message, &[])?;
        // A part of a dump is never longer than that; see netlink(7).
        let mut buffer = alloc::vec![0u8; 32768];
        let mut interrupted = false;
        loop {
            let len = fs::read(&self.socket, &mut buffer)?;
            for (kind, flags, body) in messages(buffer.get(..len).unwrap_or_default()) {
                interrupted |= flags & nlm::DUMP_INTR != 0;
                match kind {
                    nlm::DONE if interrupted => return Err(Errno::INTR),
                    nlm::DONE => return Ok(()),
                    nlm::ERROR => {
                        return match word(body, 0).map_or(Errno::BADMSG.0, |errno| (errno as i32).wrapping_neg()) {
                            0 => Ok(()),
                            errno => Err(Errno(errno)),
                        };
                    }
                    _ => each(body),
                }
                if !several {
                    return Ok(());
                }
            }
        }
    }

    fn find(&mut self, name: &str) -> orlop_sys::Result<Link> {
        let mut link = None;
        let message = Message::link(rtm::GETLINK, 0, 0, 0, 0).with(IFLA_IFNAME, &zero_terminated(name));
        self.ask(message, |body| {
            let up = |flags| Link { index: word(body, 4).unwrap_or(0), up: flags & IFF_UP != 0 };
            link = word(body, 8).map(up);
        })?;
        link.ok_or(Errno::NODEV)
    }

    fn set_up(&mut self, index: u32, up: bool) -> orlop_sys::Result<()> {
        let state = if up { IFF_UP } else { 0 };
        self.ask(Message::link(rtm::NEWLINK, nlm::ACK, index, state, IFF_UP), |_| {})
    }

    /// Those that go with a device. The list may change while it is read.
    fn addresses(&mut self, index: u32) -> orlop_sys::Result<Vec<Address>> {
        const ATTEMPTS: usize = 8;
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            let message = Message::new(rtm::GETADDR, nlm::DUMP, &[0; ADDRESS]);
            match self.ask(message, |body| found.extend(Address::from_answer(body, index))) {
                Err(Errno::INTR) => {}
                done => return done.map(|()| found),
            }
        }
        Err(Errno::INTR)
    }

    fn add(&mut self, index: u32, address: &Address) -> orlop_sys::Result<()> {
        self.ask(address.message(index), |_| {})
    }

    /// Out of this namespace, under a new name: one request, so that no name is in the way of the other.
    fn send_away(&mut self, index: u32, name: &str, to: BorrowedFd<'_>) -> orlop_sys::Result<()> {
        let message = Message::link(rtm::NEWLINK, nlm::ACK, index, 0, 0)
            .with(IFLA_IFNAME, &zero_terminated(name))
            .with(IFLA_NET_NS_FD, &to.as_raw().to_ne_bytes());
        self.ask(message, |_| {})
    }

    /// The first free name of a template such as `eth%d`; any other name as it is, if it is free.
    fn free_name(&mut self, wanted: &str) -> orlop_sys::Result<String> {
        const MOST: u32 = 32768;
        let template = wanted.split_once("%d");
        for number in 0..MOST {
            let name = match template {
                Some((before, after)) => format!("{before}{number}{after}"),
                None => String::from(wanted),
            };
            match self.find(&name) {
                Err(Errno::NODEV) => return Ok(name),
                Err(errno) => return Err(errno),
                Ok(_) if template.is_some() => {}
                Ok(_) => break,
            }
        }
        Err(Errno::EXIST)
    }
}

fn zero_terminated(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

/// A device that was moved, and what it was before.
pub(crate) struct Moved {
    name: String,
    new_name: String,
    up: bool,
    addresses: Vec<Address>,
}

/// Moves the device `name` into the namespace, where it is called `new_name` and up. What fails half way is undone.
pub(crate) fn give(name: &str, new_name: &str, home: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<Moved> {
    let failed = |call: &'static str, what: &str| {
        let what = format!("network device {name:?}: {what}");
        move |errno| Error::system(call, what, errno)
    };
    let mut here = Devices::here().map_err(failed("socket", "asking for it"))?;
    let mut there = Devices::of(namespace).map_err(failed("socket", "entering the container's namespace"))?;
    let link = here.find(name).map_err(|errno| {
        let error = failed("RTM_GETLINK", "link not found in the runtime's network namespace")(errno);
        if errno == Errno::NODEV {
            error.hint("netDevices names devices of the runtime's own namespace")
        } else {
            error
        }
    })?;
    let new_name = there.free_name(new_name).map_err(|errno| {
        let what = format!("the container's network namespace has a device {new_name:?} already");
        failed("RTM_GETLINK", if errno == Errno::EXIST { &what } else { "its new name" })(errno)
    })?;
    let addresses = here.addresses(link.index).map_err(failed("RTM_GETADDR", "its addresses"))?;
    // The name of a device that is up was fixed before Linux 6.2, and nothing is to be sent from half a device.
    if link.up {
        here.set_up(link.index, false).map_err(failed("RTM_NEWLINK", "setting it down"))?;
    }
    let moved = Moved { name: name.into(), new_name, up: link.up, addresses };
    if let Err(errno) = here.send_away(link.index, &moved.new_name, namespace) {
        let error = failed("RTM_NEWLINK", "moving it into the container")(errno);
        // It is here still, or has gone without its name.
        let up = |here: &mut Devices| here.find(name).and_then(|link| here.set_up(link.index, moved.up));
        return Err(match up(&mut here) {
            Ok(()) => error,
            Err(errno) => error.hint(format!("and it could not be set up again: {errno}")),
        });
    }
    match moved.settle(&mut there, &moved.new_name, true) {
        Ok(()) => Ok(moved),
        Err((call, errno)) => {
            let error = failed(call, "setting it up in the container")(errno);
            Err(match moved.take_back(home, namespace) {
                Ok(()) => error,
                Err(undone) => error.hint(format!("and this could not be undone: {undone}")),
            })
        }
    }
}

impl Moved {
    /// Gives the device its addresses, and lets it work.
    fn settle(&self, devices: &mut Devices, name: &str, up: bool) -> core::result::Result<(), (&'static str, Errno)> {
        let link = devices.find(name).map_err(|errno| ("RTM_GETLINK", errno))?;
        for address in &self.addresses {
            devices.add(link.index, address).map_err(|errno| ("RTM_NEWADDR", errno))?;
        }
        if up { devices.set_up(link.index, true).map_err(|errno| ("RTM_NEWLINK", errno)) } else { Ok(()) }
    }

    /// Moves the device back to where it was, for a container that was not made after all.
    pub(crate) fn take_back(&self, home: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
        let failed = |call: &'static str| {
            let what = format!("moving the network device {:?} back", self.name);
            move |errno| Error::system(call, what, errno)
        };
        let mut there = Devices::of(namespace).map_err(failed("socket"))?;
        let mut here = Devices::here().map_err(failed("socket"))?;
        let link = there.find(&self.new_name).map_err(failed("RTM_GETLINK"))?;
        there.set_up(link.index, false).map_err(failed("RTM_NEWLINK"))?;
        there.send_away(link.index, &self.name, home).map_err(failed("RTM_NEWLINK"))?;
        self.settle(&mut here, &self.name, self.up).map_err(|(call, errno)| failed(call)(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let message = Message::link(rtm::NEWLINK, nlm::ACK, 7, 0, IFF_UP)
            .with(IFLA_IFNAME, b"eth0\0")
            .with(IFLA_NET_NS_FD, &9i32.to_ne_bytes())
            .finish(3);
        assert_eq!(message.len() % 4, 0);
        assert_eq!(word(&message, 8), Some(3));
        let twice = [message.clone(), message].concat();
        let all: Vec<_> = messages(&twice).collect();
        assert_eq!(all.len(), 2);
        for (kind, flags, body) in all {
            assert_eq!((kind, flags), (rtm::NEWLINK, nlm::ACK | nlm::REQUEST));
            assert_eq!((word(body, 4), word(body, 12)), (Some(7), Some(IFF_UP)));
            let list: Vec<_> = attributes(&body[LINK..]).collect();
            assert_eq!(list, [(IFLA_IFNAME, b"eth0\0".as_slice()), (IFLA_NET_NS_FD, &9i32.to_ne_bytes())]);
        }
    }

    #[test]
    fn addresses_go_along_that_are_permanent_and_global() {
        let body = |flags: u8, scope: u8, index: u32, long: Option<u32>| {
            let start = [2, 24, flags, scope];
            let mut message = Message::new(rtm::NEWADDR, 0, &[&start[..], &index.to_ne_bytes()].concat());
            message = message.with(1, &[10, 0, 0, 1]).with(IFA_LABEL, b"eth0\0").with(IFA_CACHEINFO, &[0; 16]);
            if let Some(long) = long {
                message = message.with(IFA_FLAGS, &long.to_ne_bytes());
            }
            message.finish(1)[HEADER..].to_vec()
        };
        let found = Address::from_answer(&body(0x80, 0, 4, None), 4).unwrap();
        assert_eq!(found, Address { family: 2, prefix: 24, attributes: [(1, [10, 0, 0, 1].into())].into() });
        let cases = [
            (body(0x80, 0, 4, Some(0x280)), true),
            (body(0x80, 0, 4, Some(0x200)), false),
            (body(0, 0, 4, None), false),
            (body(0x80, 253, 4, None), false),
            (body(0x80, 0, 5, None), false),
            ([2, 24, 0x80].into(), false),
        ];
        for (body, goes) in cases {
            assert_eq!(Address::from_answer(&body, 4).is_some(), goes, "{body:?}");
        }
    }

    #[test]
    fn nonsense_is_no_message() {
        for bytes in [&[][..], &[255; 20], &[0; 16], &[16, 0, 0, 0]] {
            assert!(messages(bytes).take(4).count() <= 4);
            assert!(attributes(bytes).take(9).count() <= 9);
        }
    }
}
