//! A criu that does nothing but write down what it is asked: for what our side of the conversation says. Started as
//! `orlop-tests --criu DIR swrk FD`. Restoring fails; a checkpoint is said to have been made.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, recvmsg, send};

/// A script at that place which is such a criu, and writes below `dir`.
pub fn script(dir: &Path) -> PathBuf {
    let this = std::env::current_exe().expect("it has a name");
    let path = dir.join("criu");
    let text = format!("#!/bin/sh\nexec '{}' --criu '{}' \"$@\"\n", this.display(), dir.display());
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// Answers until nobody asks any more.
pub fn serve(dir: &str, args: &[String]) {
    let number = args.last().and_then(|text| text.parse().ok()).expect("`swrk FD`");
    #[allow(unsafe_code)]
    // SAFETY: whoever starts a criu gives it this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    loop {
        let mut request = [0u8; 65536];
        let mut none: [MaybeUninit<u8>; 0] = [];
        let mut parts = [rustix::io::IoSliceMut::new(&mut request)];
        let message = recvmsg(&socket, &mut parts, &mut RecvAncillaryBuffer::new(&mut none), RecvFlags::empty());
        let Ok(n) = message.map(|message| message.bytes) else { return };
        let Some(kind) = fields(&request[..n]).iter().find(|(field, _)| *field == 1).map(|(_, v)| v.number()) else {
            return;
        };
        let answer: &[u8] = match kind {
            // VERSION: 4.1.1; FEATURE_CHECK: both.
            10 => b"\x08\x0a\x10\x01\x52\x06\x08\x04\x10\x01\x20\x01",
            9 => b"\x08\x09\x10\x01\x42\x04\x08\x01\x10\x01",
            // RESTORE: EBUSY.
            2 => b"\x08\x02\x10\x00\x38\x10",
            1 => b"\x08\x01\x10\x01",
            _ => b"\x08\x04\x10\x01",
        };
        if kind < 9 {
            fs::write(Path::new(dir).join("request"), &request[..n]).expect("writable");
            fs::write(Path::new(dir).join("environ"), fs::read("/proc/self/environ").expect("readable"))
                .expect("writable");
            fs::write(Path::new(dir).join("cgroup"), fs::read("/proc/self/cgroup").expect("readable"))
                .expect("writable");
            let table = fs::read("/proc/self/mountinfo").expect("readable");
            fs::write(Path::new(dir).join("mountinfo"), table).expect("writable");
        }
        send(borrow(&socket), answer, SendFlags::empty()).expect("somebody asks");
    }
}

fn borrow(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// A field's value in a message of protobuf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Value {
    pub fn number(&self) -> u64 {
        match self {
            Value::Number(value) => *value,
            Value::Bytes(_) => panic!("no number: {self:?}"),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => panic!("no text: {self:?}"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// The fields of a message, in order.
pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Value)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if *byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (text, rest) = bytes.split_at(len);
                bytes = rest;
                Value::Bytes(text.to_vec())
            }
            other => panic!("field of type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}
