//! Bytes to values and back: a bounded reader that never indexes and never panics, and one trait for everything that
//! travels. Integers are big-endian.

use core::fmt;
use core::marker::PhantomData;

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};

use crate::names::{Boot, Epoch, Generation, NodeId};

/// A value with a wire form.
pub trait Wire<'a>: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads a value; `None` if the bytes are none.
    fn take(reader: &mut Reader<'a>) -> Option<Self>;
}

/// Reads values from the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(front)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*front)
    }

    /// The next value.
    pub fn take<T: Wire<'a>>(&mut self) -> Option<T> {
        T::take(self)
    }

    /// Everything that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

macro_rules! integers {
    ($($int:ty),+) => {
        $(impl Wire<'_> for $int {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(reader: &mut Reader<'_>) -> Option<Self> {
                reader.array().map(Self::from_be_bytes)
            }
        })+
    };
}

integers!(u8, u16, u32, u64, u128);

macro_rules! newtypes {
    ($($name:ident),+) => {
        $(impl Wire<'_> for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(reader: &mut Reader<'_>) -> Option<Self> {
                reader.take().map(Self)
            }
        })+
    };
}

newtypes!(ConnId, NodeId, Epoch, Boot, Generation);

impl Wire<'_> for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.take::<u8>()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        if reader.take()? { T::take(reader).map(Some) } else { Some(None) }
    }
}

/// A `u16` length, then the bytes. The writer cuts at [`u16::MAX`]: no message comes near it.
impl<'a> Wire<'a> for &'a [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        let len = u16::try_from(self.len()).unwrap_or(u16::MAX);
        len.put(out);
        out.extend(self.iter().take(usize::from(len)));
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        let len: u16 = reader.take()?;
        reader.bytes(usize::from(len))
    }
}

impl<'a> Wire<'a> for &'a str {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        core::str::from_utf8(reader.take()?).ok()
    }
}

impl Wire<'_> for MacAddr {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        reader.array().map(Self)
    }
}

/// A family (4 or 6), then the address.
impl Wire<'_> for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(addr) => {
                out.push(4);
                out.extend_from_slice(&addr.octets());
            }
            Self::V6(addr) => {
                out.push(6);
                out.extend_from_slice(&addr.octets());
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.take::<u8>()? {
            4 => reader.array::<4>().map(|octets| Self::V4(Ipv4Addr::from(octets))),
            6 => reader.array::<16>().map(|octets| Self::V6(Ipv6Addr::from(octets))),
            _ => None,
        }
    }
}

impl Wire<'_> for Endpoint {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { addr, port } = self;
        addr.put(out);
        port.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { addr: reader.take()?, port: reader.take()? })
    }
}

/// The client, then the VIP.
impl Wire<'_> for Flow {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { client, vip } = self;
        client.put(out);
        vip.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { client: reader.take()?, vip: reader.take()? })
    }
}

/// Many values in their wire form: read one by one, without allocating. A `u16` count, then the values.
pub struct List<'a, T> {
    count: u16,
    bytes: &'a [u8],
    values: PhantomData<fn() -> T>,
}

impl<'a, T: Wire<'a>> List<'a, T> {
    /// None at all.
    pub const EMPTY: Self = Self { count: 0, bytes: &[], values: PhantomData };

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| reader.take())
    }

    /// The first `count` values of `bytes`, which were written by [`Wire::put`]; `None` if they are not there.
    #[must_use]
    pub fn from_encoded(count: u16, bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        for _ in 0..count {
            reader.take::<T>()?;
        }
        let bytes = bytes.get(..bytes.len() - reader.len())?;
        Some(Self { count, bytes, values: PhantomData })
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for List<'a, T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.count.put(out);
        out.extend_from_slice(self.bytes);
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        let count = reader.take()?;
        let list = Self::from_encoded(count, reader.rest)?;
        reader.bytes(list.bytes.len())?;
        Some(list)
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> PartialEq for List<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.bytes == other.bytes
    }
}

impl<T> Eq for List<'_, T> {}

impl<T> core::hash::Hash for List<'_, T> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.count.hash(state);
        self.bytes.hash(state);
    }
}

impl<T> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({} values, {} bytes)", self.count, self.bytes.len())
    }
}

/// A plain enum whose variants travel as one byte each.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])+ $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        $vis enum $name {
            $($(#[$doc])+ $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
        }

        impl $crate::codec::Wire<'_> for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $value,)+ });
            }

            fn take(reader: &mut $crate::codec::Reader<'_>) -> Option<Self> {
                match reader.take::<u8>()? {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

/// A struct whose fields travel in the order in which they stand.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? { $($(#[$doc:meta])+ $field:ident: $ty:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        $vis struct $name $(<$life>)? {
            $($(#[$doc])+ $vis $field: $ty,)+
        }

        wire_struct!(@wire $name [$($life)?] $($field),+);
    };
    (@wire $name:ident [] $($field:ident),+) => {
        impl $crate::codec::Wire<'_> for $name {
            wire_struct!(@body '_, $($field),+);
        }
    };
    (@wire $name:ident [$life:lifetime] $($field:ident),+) => {
        impl<$life> $crate::codec::Wire<$life> for $name<$life> {
            wire_struct!(@body $life, $($field),+);
        }
    };
    (@body $life:lifetime, $($field:ident),+) => {
        fn put(&self, out: &mut Vec<u8>) {
            let Self { $($field),+ } = self;
            $($crate::codec::Wire::put($field, out);)+
        }

        fn take(reader: &mut $crate::codec::Reader<$life>) -> Option<Self> {
            $(let $field = reader.take()?;)+
            Some(Self { $($field),+ })
        }
    };
}

pub(crate) use {wire_enum, wire_struct};
