//! How the objects and the closed string sets of the spec are declared.
//!
//! Two macros instead of serde's derive, because the derive would accept a
//! struct written as an array, refuse `null` where Go writes it, and compile
//! three times the code. Both keep what does not depend on the type (finding a
//! name in a table, wording an error) out of the expansion.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Unexpected, Visitor};

/// Values that Go's `omitempty` leaves out.
pub(super) trait Absent {
    /// Whether the value says the same as leaving it out.
    fn is_absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Copies what a value borrows, so that it outlives its document.
pub trait IntoOwned {
    /// The same value, borrowing nothing.
    type Owned: 'static;

    /// Copies every borrowed string.
    fn into_owned(self) -> Self::Owned;
}

impl<T: IntoOwned> IntoOwned for Option<T> {
    type Owned = Option<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.map(T::into_owned)
    }
}

impl<T: IntoOwned> IntoOwned for Vec<T> {
    type Owned = Vec<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(T::into_owned).collect()
    }
}

/// Plain values: absent when zero, owned already.
macro_rules! plain {
    ($($type:ty)*) => {$(
        impl Absent for $type {
            fn is_absent(&self) -> bool {
                *self == <$type>::default()
            }
        }

        impl Shaped for $type {
            const SHAPE: Shape = Shape::Plain;

            fn merge(&mut self, later: Self) {
                if !later.is_absent() {
                    *self = later;
                }
            }
        }

        impl IntoOwned for $type {
            type Owned = $type;

            fn into_owned(self) -> $type {
                self
            }
        }
    )*};
}

plain!(bool u16 u32 u64 i32 i64);

/// What a document may have where.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A value without parts.
    Plain,
    /// Members of these names.
    Object(&'static [(&'static str, &'static Shape)]),
    /// Any number of the same.
    List(&'static Shape),
    /// The same under any names.
    Map(&'static Shape),
}

/// What is read from a document.
pub(crate) trait Shaped {
    /// Its shape.
    const SHAPE: Shape;

    /// Takes in what stands under another spelling of the same name: as in Go, the later counts where it says
    /// something, member by member.
    fn merge(&mut self, later: Self)
    where
        Self: Sized,
    {
        *self = later;
    }
}

/// Beside the way of documents that name each member once.
#[cold]
#[inline(never)]
pub(super) fn again<T: Shaped>(value: &mut Option<T>, later: Option<T>) {
    value.merge(later);
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn merge(&mut self, later: Self) {
        match (self.as_mut(), later) {
            (Some(value), Some(later)) => value.merge(later),
            (None, later) => *self = later,
            (Some(_), None) => {}
        }
    }
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);

    fn merge(&mut self, later: Self) {
        if !later.is_empty() {
            *self = later;
        }
    }
}

impl Shaped for core::num::NonZeroU32 {
    const SHAPE: Shape = Shape::Plain;
}

/// Reads a key and finds it in a table; a key that is not there gives the
/// table's length.
pub(super) struct Names(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Names {
    /// The place in the table, and whether it is spelled as there.
    type Value = (usize, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(usize, bool), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Names {
    type Value = (usize, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(usize, bool), E> {
        if let Some(at) = find(self.0, text) {
            return Ok((at, true));
        }
        // Go's decoder does not look at case: a limit that runc sets must not be left out.
        let at = self.0.iter().position(|name| name.eq_ignore_ascii_case(text));
        Ok((at.unwrap_or(self.0.len()), false))
    }
}

/// Reads a string that must be one of a table.
pub(super) struct OneOf {
    /// What the string names, for the error.
    pub(super) what: &'static str,
    /// The strings that are known.
    pub(super) names: &'static [&'static str],
}

impl Visitor<'_> for OneOf {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        for (index, name) in self.names.iter().enumerate() {
            f.write_str(if index == 0 { " (" } else { ", " })?;
            f.write_str(name)?;
        }
        f.write_str(")")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        let unknown = || E::invalid_value(Unexpected::Str(text), &self);
        find(self.names, text).ok_or_else(unknown)
    }
}

fn find(names: &[&str], text: &str) -> Option<usize> {
    names.iter().position(|name| *name == text)
}

/// Declares an object of the spec: its fields, their JSON names, and how each
/// one treats absence.
///
/// - `required`: absence and null are errors; always written.
/// - `always`: absence and null mean the default; always written.
/// - `optional`: absence and null mean the default, which is not written.
///
/// The fields are written in the order of the declaration, which is that of the
/// spec's Go types.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident<$lt:lifetime>: $what:literal { $($body:tt)* }
    ) => {
        object!(@emit [$(#[$meta])*] $name [<$lt>] ['de: $lt, $lt] [<'static>] [$lt] $what { $($body)* });
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $what:literal { $($body:tt)* }
    ) => {
        object!(@emit [$(#[$meta])*] $name [] ['de] [] ['static] $what { $($body)* });
    };
    (@emit
        [$($meta:tt)*] $name:ident [$($args:tt)*] [$($bounds:tt)*] [$($owned:tt)*] [$lt:lifetime]
        $what:literal {
            $($(#[$doc:meta])* $field:ident: $type:ty = $mode:ident $json:literal,)*
        }
    ) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $($args)* {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $($args)* $name $($args)* {
            /// The members' names.
            pub(in $crate::config) const MEMBERS: &'static [&'static str] = &[$($json),*];
        }

        impl $($args)* $crate::config::object::Shaped for $name $($args)* {
            const SHAPE: $crate::config::object::Shape = $crate::config::object::Shape::Object(
                &[$(($json, &<$type as $crate::config::object::Shaped>::SHAPE)),*],
            );

            #[cold]
            fn merge(&mut self, later: Self) {
                $($crate::config::object::Shaped::merge(&mut self.$field, later.$field);)*
            }
        }

        impl<$($bounds)*> serde::Deserialize<'de> for $name $($args)* {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
                enum Index { $($field),* }
                struct Members<'a>(core::marker::PhantomData<&'a ()>);

                impl<$($bounds)*> serde::de::Visitor<'de> for Members<$lt> {
                    type Value = $name $($args)*;

                    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        use $crate::config::object::Names;
                        use serde::de::Error;

                        $(let mut $field: Option<$type> = None;)*
                        const { assert!($name::MEMBERS.len() <= u64::BITS as usize, "a bit for each member") };
                        let mut spelled = 0u64;
                        while let Some((index, as_specified)) = map.next_key_seed(Names($name::MEMBERS))? {
                            match index {
                                $(index if index == Index::$field as usize => {
                                    if as_specified && spelled & 1 << index != 0 {
                                        return Err(A::Error::duplicate_field($json));
                                    }
                                    spelled |= u64::from(as_specified) << index;
                                    let value: Option<$type> = object!(@read $mode map $type);
                                    match $field {
                                        None => $field = value,
                                        Some(_) => $crate::config::object::again(&mut $field, value),
                                    }
                                })*
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($name {
                            $($field: object!(@take $mode $field $json A),)*
                        })
                    }
                }

                deserializer.deserialize_map(Members(core::marker::PhantomData))
            }
        }

        impl $($args)* serde::Serialize for $name $($args)* {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;

                let mut map = serializer.serialize_map(None)?;
                $(object!(@write $mode map self.$field, $json);)*
                map.end()
            }
        }

        impl $($args)* $crate::config::object::Absent for $name $($args)* {
            fn is_absent(&self) -> bool {
                true $(&& object!(@absent $mode self.$field))*
            }
        }

        impl $($args)* $crate::config::object::IntoOwned for $name $($args)* {
            type Owned = $name $($owned)*;

            fn into_owned(self) -> Self::Owned {
                $name { $($field: $crate::config::object::IntoOwned::into_owned(self.$field),)* }
            }
        }
    };

    (@read required $map:ident $type:ty) => { Some($map.next_value::<$type>()?) };
    (@read $mode:ident $map:ident $type:ty) => { $map.next_value::<Option<$type>>()? };

    (@take required $field:ident $json:literal $access:ident) => {
        match $field {
            Some(value) => value,
            None => return Err($access::Error::missing_field($json)),
        }
    };
    (@take $mode:ident $field:ident $json:literal $access:ident) => { $field.unwrap_or_default() };

    (@write optional $map:ident $self:ident . $field:ident, $json:literal) => {
        if !$crate::config::object::Absent::is_absent(&$self.$field) {
            $map.serialize_entry($json, &$self.$field)?;
        }
    };
    (@write $mode:ident $map:ident $self:ident . $field:ident, $json:literal) => {
        $map.serialize_entry($json, &$self.$field)?;
    };

    (@absent optional $self:ident . $field:ident) => {
        $crate::config::object::Absent::is_absent(&$self.$field)
    };
    (@absent $mode:ident $self:ident . $field:ident) => { false };
}

/// Declares a closed set of strings as an enum, each with its spelling.
macro_rules! tokens {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $what:literal {
            $($(#[$doc:meta])* $variant:ident = $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// Every value's spelling, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The spelling in a document.
            pub const fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::config::object::Shaped for $name {
            const SHAPE: $crate::config::object::Shape = $crate::config::object::Shape::Plain;
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let set = $crate::config::object::OneOf { what: $what, names: Self::NAMES };
                deserializer.deserialize_str(set).map(|index| Self::ALL[index])
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl $crate::config::object::IntoOwned for $name {
            type Owned = $name;

            fn into_owned(self) -> $name {
                self
            }
        }
    };
}

pub(super) use {object, tokens};
