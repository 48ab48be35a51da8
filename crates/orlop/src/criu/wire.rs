//! The few of protobuf's encodings that criu's messages use; see protobuf.dev/programming-guides/encoding.

use alloc::vec::Vec;

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// An integer or an enum; a negative one has the 64 bits of its sign's extension.
    pub(crate) fn number(&mut self, field: u32, value: i64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value as u64);
    }

    pub(crate) fn flag(&mut self, field: u32, value: bool) {
        self.number(field, i64::from(value));
    }

    pub(crate) fn text(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn message(&mut self, field: u32, value: &Message) {
        self.text(field, &value.0);
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Option<i64> {
        match self {
            Value::Number(value) => Some(value as i64),
            Value::Bytes(_) => None,
        }
    }

    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            Value::Number(_) => None,
        }
    }
}

/// The fields of a message, in order; `None` where it is none.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).ok()?;
        match key & 7 {
            VARINT => fields.push((field, Value::Number(take_varint(&mut bytes)?))),
            BYTES => {
                let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
                fields.push((field, Value::Bytes(take(&mut bytes, len)?)));
            }
            // Fixed sizes, of 64 and of 32 bits: no field that is known here has them.
            1 => drop(take(&mut bytes, 8)?),
            5 => drop(take(&mut bytes, 4)?),
            _ => return None,
        }
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Message::default();
        inner.text(1, b"key");
        inner.number(2, 300);
        let mut message = Message::default();
        message.number(1, -1);
        message.flag(3, true);
        message.message(23, &inner);
        let bytes: [u8; 25] = [
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x18, 0x01, 0xba, 0x01, 0x08, 0x0a, 0x03,
            b'k', b'e', b'y', 0x10, 0xac, 0x02, 0,
        ];
        assert_eq!(message.bytes(), &bytes[..24]);
        let read = fields(message.bytes()).unwrap();
        assert_eq!(read[0].1.number(), Some(-1));
        assert_eq!(read[1], (3, Value::Number(1)));
        assert_eq!(fields(read[2].1.bytes().unwrap()).unwrap()[1], (2, Value::Number(300)));
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = [0x80u8; 11];
        for bytes in [&[0x08][..], &[0x0a, 5, 1], &[0x0b], &long, &[0x08, 0x80], &[0x09, 1, 2]] {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
        // A fixed field is passed over.
        assert_eq!(fields(&[0x0d, 1, 2, 3, 4, 0x10, 7]).unwrap(), [(2, Value::Number(7))]);
    }
}
