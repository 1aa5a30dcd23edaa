//! What the IP header says of congestion (RFC 3168 section 5): two bits, the same in both families.

/// The ECN field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Ecn {
    /// Not-ECT: congestion drops the packet.
    #[default]
    NotEct = 0,
    /// ECT(1).
    Ect1 = 1,
    /// ECT(0): congestion may mark the packet.
    Ect0 = 2,
    /// CE: it was marked.
    Ce = 3,
}

impl Ecn {
    /// The field of a traffic class or type of service: its two lowest bits.
    #[must_use]
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}
