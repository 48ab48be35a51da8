//! Strings and maps that borrow from the document they were read from.
//!
//! Most of a `config.json` is text that is used once, so a string without
//! escapes stays a slice of the document; only an escaped one is copied.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::object::{Absent, IntoOwned, Shape, Shaped};

/// A string of a document: a slice of its text, or a copy when it had escapes.
///
/// It may hold a NUL (`\u0000` is valid JSON); whoever hands it to the kernel
/// checks for that.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str<'a>(Cow<'a, str>);

impl<'a> Str<'a> {
    /// A string that borrows `text`.
    pub const fn new(text: &'a str) -> Self {
        Str(Cow::Borrowed(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is a slice of the document rather than a copy.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Str<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Str::new(text)
    }
}

impl From<String> for Str<'_> {
    fn from(text: String) -> Self {
        Str(Cow::Owned(text))
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Absent for Str<'_> {
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl Shaped for Str<'_> {
    const SHAPE: Shape = Shape::Plain;

    fn merge(&mut self, later: Self) {
        if !later.is_absent() {
            *self = later;
        }
    }
}

impl IntoOwned for Str<'_> {
    type Owned = Str<'static>;

    fn into_owned(self) -> Str<'static> {
        Str(Cow::Owned(self.0.into_owned()))
    }
}

impl Serialize for Str<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Text<'a> {
            type Value = Str<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Owned(String::from(text))))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// A JSON object with free keys, in the order of its keys.
///
/// Of a key that is given twice the last value counts, as in runc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<'a, V> {
    entries: Vec<(Str<'a>, V)>,
}

impl<'a, V> Map<'a, V> {
    /// A map without entries.
    pub const fn new() -> Self {
        Map { entries: Vec::new() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        let index = self.position(key).ok()?;
        self.entries.get(index).map(|(_, value)| value)
    }

    /// Sets the value of `key`, replacing an earlier one.
    pub fn insert(&mut self, key: Str<'a>, value: V) {
        match self.position(&key) {
            Ok(index) => self.entries[index].1 = value,
            Err(index) => self.entries.insert(index, (key, value)),
        }
    }

    /// Removes the value of `key`.
    pub fn remove(&mut self, key: &str) {
        if let Ok(index) = self.position(key) {
            self.entries.remove(index);
        }
    }

    /// Entries in the order of their keys.
    pub fn iter(&self) -> core::slice::Iter<'_, (Str<'a>, V)> {
        self.entries.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where `key` is, or where it would have to go. Go writes maps sorted, so
    /// the usual answer while reading is "at the end" after one comparison.
    fn position(&self, key: &str) -> Result<usize, usize> {
        match self.entries.last() {
            Some((last, _)) if last.as_str() >= key => {
                self.entries.binary_search_by(|(have, _)| have.as_str().cmp(key))
            }
            _ => Err(self.entries.len()),
        }
    }
}

impl<V> Default for Map<'_, V> {
    fn default() -> Self {
        Map::new()
    }
}

impl<'m, 'a, V> IntoIterator for &'m Map<'a, V> {
    type Item = &'m (Str<'a>, V);
    type IntoIter = core::slice::Iter<'m, (Str<'a>, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, V> FromIterator<(Str<'a>, V)> for Map<'a, V> {
    fn from_iter<I: IntoIterator<Item = (Str<'a>, V)>>(entries: I) -> Self {
        let mut map = Map::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<V> Absent for Map<'_, V> {
    fn is_absent(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<V: Shaped> Shaped for Map<'_, V> {
    const SHAPE: Shape = Shape::Map(&V::SHAPE);

    fn merge(&mut self, later: Self) {
        if !later.is_absent() {
            *self = later;
        }
    }
}

impl<V: IntoOwned> IntoOwned for Map<'_, V> {
    type Owned = Map<'static, V::Owned>;

    fn into_owned(self) -> Self::Owned {
        let owned = |(key, value): (Str<'_>, V)| (key.into_owned(), value.into_owned());
        Map { entries: self.entries.into_iter().map(owned).collect() }
    }
}

impl<V: Serialize> Serialize for Map<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Map<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<'a, V>(PhantomData<(&'a (), V)>);

        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for Entries<'a, V> {
            type Value = Map<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = Map::new();
                while let Some(key) = access.next_key()? {
                    map.insert(key, access.next_value()?);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
