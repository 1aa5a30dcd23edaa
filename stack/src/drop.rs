//! Every reason for which a packet or a message is dropped, and one counter for each.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why something was dropped. Each has one counter, named by [`DropReason::label`] in the metrics.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason's name in metrics: `baton_drops_total{reason="..."}`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// Shorter than its headers say, or than the shortest valid header.
    Truncated = "truncated",
    /// A header field has a value that no valid packet has.
    Malformed = "malformed",
    /// An IP, TCP, UDP or ICMP checksum does not match.
    BadChecksum = "bad_checksum",
    /// An Ethernet type or IP protocol that this node does not serve.
    UnknownProtocol = "unknown_protocol",
    /// An Ethernet or IP destination that is not ours.
    NotOurs = "not_ours",
    /// An IP fragment: not reassembled (docs/architecture.md).
    IpFragment = "ip_fragment",
    /// IPv6 extension headers above the limit, or one that says to discard the packet.
    ExtensionHeader = "extension_header",
    /// The hop limit ran out while forwarding between nodes.
    HopLimit = "hop_limit",
    /// No connection, no route and no listener for this TCP segment.
    UnknownFlow = "unknown_flow",
    /// A TCP segment outside the receive window; answered as RFC 9293 section 3.10.7.4 asks.
    OutOfWindow = "out_of_window",
    /// An acknowledgment for something never sent.
    BadAck = "bad_ack",
    /// Older than a segment already seen, by its timestamp (PAWS, RFC 7323 section 5).
    Paws = "paws",
    /// A RST whose sequence number does not match exactly (RFC 5961 section 3).
    BadReset = "bad_reset",
    /// A segment that the connection's state has no use for.
    UnexpectedSegment = "unexpected_segment",
    /// Out-of-order bytes above the connection's limit.
    OutOfOrderLimit = "out_of_order_limit",
    /// Received bytes above the connection's buffer.
    ReceiveBufferFull = "receive_buffer_full",
    /// A SYN above the limit of half-open connections.
    HalfOpenLimit = "half_open_limit",
    /// An acknowledgment of no SYN cookie of ours, while such are out; answered as a segment of an unknown flow is.
    BadCookie = "bad_cookie",
    /// A SYN above the limit of connections.
    ConnectionLimit = "connection_limit",
    /// Above the number of packets held for a connection that is on its way here.
    HoldLimit = "hold_limit",
    /// Held for longer than the hold time, and nobody left to give it back to.
    HoldExpired = "hold_expired",
    /// A packet for a connection whose owner is not yet known.
    OwnerUnknown = "owner_unknown",
    /// The next hop's Ethernet address is not known yet.
    NeighborPending = "neighbor_pending",
    /// No buffer or no room in the transmit queue.
    TransmitFull = "transmit_full",
    /// Written, but the lease had run out before the burst (rule R2).
    LeaseExpired = "lease_expired",
    /// An ICMP message that we do not answer or cannot match to a connection.
    Icmp = "icmp",
    /// An ARP packet that is not a well-formed request or reply for us.
    Arp = "arp",
    /// A neighbour discovery message that is not valid (RFC 4861 section 7.1), or is one between routers and hosts.
    Ndp = "ndp",
    /// A cluster message from an address that is no configured node.
    MessageUnknownPeer = "message_unknown_peer",
    /// A cluster message whose seal does not open.
    MessageUnsealed = "message_unsealed",
    /// A cluster message seen before, or too old for the replay window.
    MessageReplayed = "message_replayed",
    /// A cluster message that opens but does not decode.
    MessageMalformed = "message_malformed",
    /// A cluster message of another boot, generation or epoch (rules R1 to R4).
    MessageStale = "message_stale",
    /// A cluster message above a limit of the receiver.
    MessageLimit = "message_limit",
}

/// One counter per [`DropReason`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropCounters {
    counts: [u64; DropReason::ALL.len()],
}

impl Default for DropCounters {
    fn default() -> Self {
        Self { counts: [0; DropReason::ALL.len()] }
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn count(&mut self, reason: DropReason) {
        self.counts[reason as usize] += 1;
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.of(reason)))
    }

    /// The sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
