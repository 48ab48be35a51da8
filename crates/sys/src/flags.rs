//! Sets of flag bits that print the kernel's names.

/// Declares a set of bits: `flags! { /// doc  pub struct Name: u32 { A = 1, B = 2 } }`.
macro_rules! flags {
    ($(#[$meta:meta])* pub struct $name:ident: $int:ty { $($(#[$bit_meta:meta])* $bit:ident = $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
        #[repr(transparent)]
        pub struct $name($int);

        #[allow(missing_docs)] // the kernel's names, documented by the man page that the type names
        impl $name {
            $($(#[$bit_meta])* pub const $bit: $name = $name($value);)*
        }

        impl $name {
            /// No bit.
            pub const NONE: $name = $name(0);

            /// The set with exactly these bits.
            pub const fn from_bits(bits: $int) -> $name {
                $name(bits)
            }

            /// The bits.
            pub const fn bits(self) -> $int {
                self.0
            }

            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits of either set.
            pub const fn with(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }

            /// The bits of both sets.
            pub const fn and(self, other: $name) -> $name {
                $name(self.0 & other.0)
            }

            /// The bits of `self` that are not in `other`.
            pub const fn without(self, other: $name) -> $name {
                $name(self.0 & !other.0)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = $name;
            fn bitor(self, other: $name) -> $name {
                self.with(other)
            }
        }

        impl core::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: $name) {
                self.0 |= other.0;
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut left = self.0;
                let mut first = true;
                $(
                    let bits: $int = $value;
                    if bits != 0 && left & bits == bits {
                        if !first { f.write_str("|")?; }
                        f.write_str(stringify!($bit))?;
                        first = false;
                        left &= !bits;
                    }
                )*
                if left != 0 || first {
                    if !first { f.write_str("|")?; }
                    write!(f, "{left:#x}")?;
                }
                Ok(())
            }
        }
    };
}
