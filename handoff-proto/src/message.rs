//! Every message of the ownership protocol.
//!
//! ```text
//!   0        1        2                 4
//!   +--------+--------+-----------------+--------------------+
//!   |  kind  | flags  | length of body  |  body ...          |
//!   +--------+--------+-----------------+--------------------+
//! ```
//! `flags` bit 0, [`MUST_KNOW`]: a receiver that does not know the kind counts the message as malformed; without the
//! bit it skips it. Several messages share a datagram. Each is idempotent, and each carries what is needed to see
//! that it is of another epoch, generation or boot.
//!
//! A message about a connection names third nodes in the numbers of the connection's front-end ([`NodeId`]).

use baton_stack::addr::{ConnId, IpAddr, MacAddr};

use crate::codec::{List, Reader, Wire, wire_enum, wire_struct};
use crate::names::{Boot, Epoch, Generation, NAME_BYTES_MAX, NodeId};

/// Where the state machines put what they want to say. `to` may be the node itself (a front-end that is the donor of
/// a first handoff asks its own arbiter): such a message is handed to the node's own handler after the call.
pub trait Outbox {
    /// Takes one message for `to`. May lose it: every message is repeated until it is answered.
    fn send(&mut self, to: NodeId, message: &Message<'_>);
}

/// The flag of a message that a receiver must not skip when it does not know its kind.
pub const MUST_KNOW: u8 = 1 << 0;
/// The length of a message's header, in bytes.
pub const MESSAGE_HEADER_BYTES: usize = 4;
/// The most bytes that a [`RequestKey`] takes of a request's method, host and target together; longer targets are cut.
pub const KEY_BYTES_MAX: usize = 768;
/// The most nodes in one LEASE; a longer list comes in several.
pub const LEASE_PEERS_MAX: usize = 11;
/// The most claims in one FENCED; a longer list comes in several.
pub const FENCED_CLAIMS_MAX: usize = 40;
/// The most parts of an image that one PART-ACK acknowledges beyond those without a gap.
pub const PART_ACK_BITS: u16 = 128;

macro_rules! messages {
    ($($(#[$doc:meta])+ $kind:literal $flags:ident $name:ident $(<$life:lifetime>)?,)+) => {
        /// One message.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Message<'a> {
            $($(#[$doc])+ $name($name $(<$life>)?),)+
        }

        impl<'a> Message<'a> {
            /// The kind, as on the wire.
            #[must_use]
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $kind,)+
                }
            }

            /// The message's name in metrics and tests.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }

            const fn flags(&self) -> u8 {
                match self {
                    $(Self::$name(_) => messages!(@flags $flags),)+
                }
            }

            fn put_body(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(body) => body.put(out),)+
                }
            }

            fn take_body(kind: u8, reader: &mut Reader<'a>) -> Result<Self, MessageError> {
                let message = match kind {
                    $($kind => reader.take().map(Self::$name),)+
                    _ => return Err(MessageError::UnknownKind),
                };
                message.ok_or(MessageError::Malformed)
            }
        }

        $(impl<'a> From<$name $(<$life>)?> for Message<'a> {
            fn from(body: $name $(<$life>)?) -> Self {
                Self::$name(body)
            }
        })+
    };
    (@flags must) => { MUST_KNOW };
    (@flags hint) => { 0 };
}

messages! {
    /// A back-end starts, or has lost its lease.
    1 must Join,
    /// The heartbeat.
    2 must LeaseReq,
    /// The front-end's answer to both.
    3 must Lease<'a>,

    /// The owner asks who serves a request.
    8 must Ask<'a>,
    /// Answer: the owner itself.
    9 must Stay,
    /// Answer: another node; the owner may hand the connection to it.
    10 must Grant,
    /// Answer: another node, through the owner.
    11 must Forward,
    /// Answer: nobody; the owner says so to the client.
    12 must Reject,
    /// The recipient of a move may prepare this request.
    13 hint Prefetch<'a>,

    /// A part of an image.
    16 must Handoff<'a>,
    /// Which parts have come.
    17 must PartAck,
    /// The recipient owns the connection.
    18 must Installed,
    /// The front-end knows, and routes accordingly.
    19 must Routed,
    /// The donor knows, and has dropped its image.
    20 must Done,
    /// The recipient will never install this image.
    21 must Refused,

    /// The donor hears nothing from the recipient.
    24 must Abort,
    /// The recipient will never install: the donor owns the connection as before.
    25 must Thaw,
    /// Somebody owns the connection under this attempt's epoch or a later one: the donor drops its image. (The answer
    /// to ABORT. That bytes of a tail are gone is [`TailGone`].)
    26 must AttemptGone,
    /// The front-end asks a recipient to give an attempt up.
    27 must Revoke,
    /// The recipient will never install it.
    28 must Revoked,
    /// The recipient of an attempt is dead: what did the donor do with it?
    29 must Settle,
    /// What the donor did.
    30 must Settled,

    /// A node's life is over: have nothing more to do with it.
    32 must Fence,
    /// Done, and what was had to do with it.
    33 must Fenced<'a>,

    /// The owner needs bytes that an earlier owner keeps.
    40 must Fetch,
    /// The bytes.
    41 must Tail<'a>,
    /// The holder no longer has them. (That an attempt is over is [`AttemptGone`].)
    42 must TailGone,
    /// The client has acknowledged bytes that an earlier owner keeps.
    43 must Release,
    /// The holder has discarded them.
    44 must Released,

    /// The connection has ended at its owner.
    48 must Closed,
    /// The front-end knows.
    49 must ClosedAck,
    /// The front-end has no such connection any more: a node that still owns it drops it, silently.
    50 must Over,
}

wire_struct! {
    /// N -> F. Repeated until LEASE.
    pub struct Join {
        /// Numbers the requests of this holder; shared with [`LeaseReq`].
        number: u32,
        /// The life of the process.
        boot: Boot,
        /// The generation that it last had; [`Generation::NONE`] if none.
        g: Generation,
    }
}

wire_struct! {
    /// N -> F, each heartbeat. Answered by LEASE.
    pub struct LeaseReq {
        /// Numbers the requests of this holder.
        number: u32,
        /// The life of the process.
        boot: Boot,
        /// The generation that it has.
        g: Generation,
        /// Acknowledges the node list: the highest version that the node has whole.
        peers_version: u32,
        /// Acknowledges the route table: the highest version that the node uses.
        route_version: u32,
        /// What it has to do.
        load: LoadReport,
    }
}

wire_struct! {
    /// What a node has to do.
    pub struct LoadReport {
        /// Connections that it owns.
        connections: u32,
        /// Requests that it has answered since it started.
        requests: u64,
        /// Bytes of responses that it has sent since it started.
        bytes: u64,
        /// How busy its core is, in thousandths.
        busy_permille: u16,
    }
}

wire_struct! {
    /// F -> N. Several with one number carry a long node list.
    pub struct Lease<'a> {
        /// The request that it answers.
        number: u32,
        /// The life of the process that it is for.
        boot: Boot,
        /// The generation to use.
        g: Generation,
        /// The number under which the front-end knows the node.
        you: NodeId,
        /// How long it lasts, from the moment the request was sent, in milliseconds.
        lease_ms: u32,
        /// What the node is to do with its connections.
        drain: DrainState,
        /// The newest route table.
        route_version: u32,
        /// The version of the node list.
        peers_version: u32,
        /// How many nodes the list has.
        peers_total: u16,
        /// Where in the list `peers` begins.
        peers_first: u16,
        /// A piece of the list, at most [`LEASE_PEERS_MAX`]; empty if the node has this version.
        peers: List<'a, PeerEntry<'a>>,
    }
}

wire_struct! {
    /// A node, as a front-end tells another.
    pub struct PeerEntry<'a> {
        /// The number under which messages name it.
        id: NodeId,
        /// Its generation; [`Generation::NONE`] if it is down.
        g: Generation,
        /// Which of the machine's cores it is.
        core: u8,
        /// Its own address.
        addr: IpAddr,
        /// The Ethernet address it was last seen with; zero if none.
        mac: MacAddr,
        /// Its name.
        name: NodeName<'a>,
    }
}

/// A node's name: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeName<'a>(&'a str);

impl<'a> NodeName<'a> {
    /// `None` if it is empty or too long.
    #[must_use]
    pub const fn new(name: &'a str) -> Option<Self> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX { None } else { Some(Self(name)) }
    }

    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> Wire<'a> for NodeName<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        Self::new(reader.take()?)
    }
}

wire_enum! {
    /// What a node is to do with its connections.
    pub enum DrainState {
        /// Serve them and take more.
        Serving = 0,
        /// Serve them, take no more, give them away as requests allow.
        Draining = 1,
        /// Give them away now.
        Stopping = 2,
    }
}

wire_struct! {
    /// Owner -> F. Answered by STAY, GRANT, FORWARD or REJECT with the same `n`; repeated until then.
    pub struct Ask<'a> {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The highest epoch under which the owner has tried to give the connection away, or has let a grant go (R1).
        tried: Epoch,
        /// The request's ordinal on the connection.
        n: u32,
        /// What the dispatcher looks at.
        key: RequestKey<'a>,
    }
}

/// What a dispatcher looks at: at most [`KEY_BYTES_MAX`] bytes in all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestKey<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Host field or the target's authority; empty if there is none.
    pub host: &'a [u8],
    /// Path and query, perhaps cut.
    pub target: &'a [u8],
    /// Whether something was cut.
    pub is_cut: bool,
}

impl<'a> RequestKey<'a> {
    /// Takes as much as fits, the target's end giving way first.
    #[must_use]
    pub fn new(method: &'a [u8], host: &'a [u8], target: &'a [u8]) -> Self {
        let mut room = KEY_BYTES_MAX;
        let mut fit = |bytes: &'a [u8]| {
            let bytes = bytes.get(..room).unwrap_or(bytes);
            room -= bytes.len();
            bytes
        };
        let key = Self { method: fit(method), host: fit(host), target: fit(target), is_cut: false };
        Self { is_cut: key.len() < method.len() + host.len() + target.len(), ..key }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.method.len() + self.host.len() + self.target.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Wire<'a> for RequestKey<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { method, host, target, is_cut } = self;
        is_cut.put(out);
        method.put(out);
        host.put(out);
        target.put(out);
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        let is_cut = reader.take()?;
        let key = Self { is_cut, method: reader.take()?, host: reader.take()?, target: reader.take()? };
        (key.len() <= KEY_BYTES_MAX).then_some(key)
    }
}

wire_struct! {
    /// F -> owner.
    pub struct Stay {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The request's ordinal.
        n: u32,
        /// Bytes of its path that the service does not see.
        strip: u16,
    }
}

wire_struct! {
    /// F -> owner. The same for a repeated ASK until `tried` passes it (R7).
    pub struct Grant {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient.
        to: NodeId,
        /// The recipient's generation.
        g: Generation,
        /// The ordinal of the request that the recipient is to serve first.
        n: u32,
        /// Bytes of its path that the service does not see.
        strip: u16,
    }
}

wire_struct! {
    /// F -> owner.
    pub struct Forward {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The request's ordinal.
        n: u32,
        /// Who produces the response.
        node: NodeId,
        /// Bytes of the path that the service does not see.
        strip: u16,
    }
}

wire_struct! {
    /// F -> owner.
    pub struct Reject {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The request's ordinal.
        n: u32,
        /// The status to answer with.
        status: u16,
        /// Seconds for Retry-After; zero for none.
        retry_after_s: u16,
        /// As in the other answers; a refusal strips nothing.
        strip: u16,
    }
}

wire_struct! {
    /// Owner or F -> recipient. Never repeated: a hint.
    pub struct Prefetch<'a> {
        /// The connection.
        c: ConnId,
        /// The epoch under which it may come.
        e2: Epoch,
        /// The request's ordinal.
        n: u32,
        /// Bytes of the path that the service does not see.
        strip: u16,
        /// The request.
        key: RequestKey<'a>,
    }
}

wire_struct! {
    /// D -> R. Answered part by part with PART-ACK (an image of one part is not), as a whole with INSTALLED or REFUSED.
    pub struct Handoff<'a> {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation (R4).
        g: Generation,
        /// The image's length.
        total: u32,
        /// The length of each part but the last.
        part_bytes: u16,
        /// Which part this is, from 0.
        part: u16,
        /// Its bytes.
        bytes: &'a [u8],
    }
}

/// What [`Handoff`] adds to the bytes of a part.
pub const HANDOFF_OVERHEAD: usize = MESSAGE_HEADER_BYTES + 8 + 4 + 4 + 8 + 4 + 2 + 2 + 2;

wire_struct! {
    /// R -> D. Selective.
    pub struct PartAck {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
        /// Every part before this one has come, and this one has not.
        missing: u16,
        /// Bit i: part `missing + 1 + i` has come.
        beyond: u128,
    }
}

wire_struct! {
    /// R -> F until ROUTED, R -> D until DONE. Kept by R, also after moving on or closing, until both (R9).
    pub struct Installed {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e2: Epoch,
        /// The owner's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> R.
    pub struct Routed {
        /// The connection.
        c: ConnId,
        /// The epoch that was announced; the route has it or a later one.
        e2: Epoch,
    }
}

wire_struct! {
    /// D -> R.
    pub struct Done {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// R -> D. Remembered by R (R9, R10).
    pub struct Refused {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation: a life speaks for itself only (R6).
        g: Generation,
        /// Why.
        reason: RefuseReason,
    }
}

wire_enum! {
    /// Why a recipient takes no image.
    pub enum RefuseReason {
        /// It has too much to do.
        Overload = 1,
        /// It has as many connections, or images on the way, as it may have.
        Limit = 2,
        /// The image is longer than any may be.
        TooLarge = 3,
        /// The image is of a version, or has a part, that it cannot read.
        Version = 4,
        /// The image is no image.
        Malformed = 5,
        /// It is giving its own connections away.
        Draining = 6,
        /// The front-end took the attempt back first.
        Revoked = 7,
        /// The rest of the image did not come in time.
        Incomplete = 8,
    }
}

wire_struct! {
    /// D -> F. Answered by THAW, ATTEMPT-GONE or SETTLE, when F knows.
    pub struct Abort {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient.
        to: NodeId,
        /// The recipient's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> D.
    pub struct Thaw {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// F -> D.
    pub struct AttemptGone {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// F -> R. Repeated until answered by REVOKED or INSTALLED, or R is dead.
    pub struct Revoke {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
    }
}

wire_struct! {
    /// R -> F. Remembered by R (R9, R10).
    pub struct Revoked {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> D: the life `g` of `to` is over. Repeated until answered by SETTLED or D is dead too. A donor that was
    /// frozen towards it discards its image; one that was not never uses `e2`.
    pub struct Settle {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The dead recipient.
        to: NodeId,
        /// The generation that is dead.
        g: Generation,
    }
}

wire_struct! {
    /// D -> F.
    pub struct Settled {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// What became of it.
        claim: SettleClaim,
    }
}

wire_enum! {
    /// What a donor says of an attempt whose recipient is dead.
    pub enum SettleClaim {
        /// The donor owns the connection; the attempt was never made, or was refused.
        Kept = 1,
        /// The image went out: the dead node may have sent. The donor has nothing any more.
        Lost = 2,
    }
}

wire_struct! {
    /// F -> all live nodes. Repeated until FENCED, or that node is dead too.
    pub struct Fence {
        /// Whose life is over.
        node: NodeId,
        /// Which, and all before it.
        g: Generation,
    }
}

wire_struct! {
    /// N -> F, in as many parts as the list needs.
    pub struct Fenced<'a> {
        /// Whose life is over.
        node: NodeId,
        /// Which.
        g: Generation,
        /// Which part of the list this is, from 0.
        part: u16,
        /// How many parts it has.
        parts: u16,
        /// At most [`FENCED_CLAIMS_MAX`].
        claims: List<'a, FenceClaim>,
    }
}

wire_struct! {
    /// What a node knows of a connection that a dead node touched.
    pub struct FenceClaim {
        /// The connection.
        c: ConnId,
        /// What the node is, or was.
        role: FenceRole,
        /// Its epoch.
        e: Epoch,
        /// The epoch that it gave away; zero if none.
        e2: Epoch,
        /// To whom.
        to: NodeId,
    }
}

wire_enum! {
    /// What a node is, or was, to a connection.
    pub enum FenceRole {
        /// The owner.
        Owner = 1,
        /// A donor, frozen.
        Frozen = 2,
        /// A former owner.
        Former = 3,
    }
}

wire_struct! {
    /// Owner -> holder.
    pub struct Fetch {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The first byte, counted from the connection's first sent byte.
        start: u64,
        /// How many.
        len: u32,
    }
}

wire_struct! {
    /// Holder -> owner, also unasked.
    pub struct Tail<'a> {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The first byte.
        start: u64,
        /// The bytes.
        bytes: &'a [u8],
    }
}

wire_struct! {
    /// Holder -> owner.
    pub struct TailGone {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The first byte.
        start: u64,
        /// How many.
        len: u32,
    }
}

wire_struct! {
    /// Owner -> holder. Cumulative.
    pub struct Release {
        /// The connection.
        c: ConnId,
        /// Every byte before this one is acknowledged.
        up_to: u64,
    }
}

wire_struct! {
    /// Holder -> owner. Cumulative.
    pub struct Released {
        /// The connection.
        c: ConnId,
        /// Every byte before this one is discarded.
        up_to: u64,
    }
}

wire_struct! {
    /// Owner -> F. Repeated until CLOSED-ACK. Implies INSTALLED(c, e); beats every INSTALLED of that `c`.
    pub struct Closed {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// SND.NXT (RFC 9293 section 3.3.1).
        snd_nxt: u32,
        /// RCV.NXT.
        rcv_nxt: u32,
        /// Last TSval sent and TS.Recent (RFC 7323 section 4.3); `None` without the option.
        timestamps: Option<ClosedTimestamps>,
        /// How it ended.
        ended: Ended,
        /// What was served by all of the connection's owners.
        served: Served,
    }
}

wire_struct! {
    /// What the next connection of the flow must be above.
    pub struct ClosedTimestamps {
        /// The last TSval sent.
        ts_val: u32,
        /// TS.Recent.
        ts_recent: u32,
    }
}

wire_enum! {
    /// How a connection ended.
    pub enum Ended {
        /// Both sides have closed, ours first: TIME_WAIT is due.
        Active = 1,
        /// Both sides have closed, the client's first.
        Passive = 2,
        /// The client reset it.
        ResetByClient = 3,
        /// The owner reset it.
        ResetByUs = 4,
        /// The client was silent for too long.
        TimedOut = 5,
    }
}

wire_struct! {
    /// What a connection was used for.
    pub struct Served {
        /// Responses that were completed.
        requests: u32,
        /// Bytes of responses that were sent, heads included.
        bytes: u64,
    }
}

impl Served {
    /// Nothing yet.
    pub const NOTHING: Self = Self { requests: 0, bytes: 0 };
}

wire_struct! {
    /// F -> owner.
    pub struct ClosedAck {
        /// The connection.
        c: ConnId,
    }
}

wire_struct! {
    /// F -> a node that takes itself for the owner.
    pub struct Over {
        /// The connection.
        c: ConnId,
    }
}

impl<'a> Message<'a> {
    /// The connection that the message is about; `None` for one between nodes.
    #[must_use]
    pub const fn connection(&self) -> Option<ConnId> {
        match self {
            Self::Join(_) | Self::LeaseReq(_) | Self::Lease(_) | Self::Fence(_) | Self::Fenced(_) => None,
            Self::Ask(Ask { c, .. })
            | Self::Stay(Stay { c, .. })
            | Self::Grant(Grant { c, .. })
            | Self::Forward(Forward { c, .. })
            | Self::Reject(Reject { c, .. })
            | Self::Prefetch(Prefetch { c, .. })
            | Self::Handoff(Handoff { c, .. })
            | Self::PartAck(PartAck { c, .. })
            | Self::Installed(Installed { c, .. })
            | Self::Routed(Routed { c, .. })
            | Self::Done(Done { c, .. })
            | Self::Refused(Refused { c, .. })
            | Self::Abort(Abort { c, .. })
            | Self::Thaw(Thaw { c, .. })
            | Self::AttemptGone(AttemptGone { c, .. })
            | Self::Revoke(Revoke { c, .. })
            | Self::Revoked(Revoked { c, .. })
            | Self::Settle(Settle { c, .. })
            | Self::Settled(Settled { c, .. })
            | Self::Fetch(Fetch { c, .. })
            | Self::Tail(Tail { c, .. })
            | Self::TailGone(TailGone { c, .. })
            | Self::Release(Release { c, .. })
            | Self::Released(Released { c, .. })
            | Self::Closed(Closed { c, .. })
            | Self::ClosedAck(ClosedAck { c })
            | Self::Over(Over { c }) => Some(*c),
        }
    }

    /// Appends the message with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), self.flags(), 0, 0]);
        self.put_body(out);
        let body = out.len() - start - MESSAGE_HEADER_BYTES;
        let len = u16::try_from(body).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(field) = out.get_mut(start + 2..start + MESSAGE_HEADER_BYTES) {
            field.copy_from_slice(&len);
        }
    }

    /// The length of the message with its header.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.len()
    }

    /// Reads the next message of a datagram. An error concerns this message only: the reader stands behind it, or, if
    /// its header is cut, at the end.
    ///
    /// # Errors
    /// The sender's fault, each.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, MessageError> {
        let header = (reader.take::<u8>(), reader.take::<u8>(), reader.take::<&[u8]>());
        let (Some(kind), Some(flags), Some(body)) = header else {
            reader.rest();
            return Err(MessageError::Truncated);
        };
        let mut body = Reader::new(body);
        match Self::take_body(kind, &mut body) {
            Ok(message) if body.is_empty() => Ok(message),
            Ok(_) | Err(MessageError::Malformed | MessageError::Truncated) => Err(MessageError::Malformed),
            Err(MessageError::UnknownKind | MessageError::Skipped) if flags & MUST_KNOW == 0 => {
                Err(MessageError::Skipped)
            }
            Err(MessageError::UnknownKind | MessageError::Skipped) => Err(MessageError::UnknownKind),
        }
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The datagram ends within a message.
    #[error("a message is cut short")]
    Truncated,
    /// A field has a value that it cannot have, or the body is too short or too long.
    #[error("a message has a field of impossible value")]
    Malformed,
    /// A kind that this version does not know and must not skip.
    #[error("a message of unknown kind that must not be skipped")]
    UnknownKind,
    /// A kind that this version does not know and may skip: not an error of the sender.
    #[error("a message of unknown kind, skipped")]
    Skipped,
}

#[cfg(test)]
mod tests;
