//! What nodes say of themselves, and what an owner and its front-end say about who serves a request.

use baton_stack::addr::{ConnId, IpAddr, MacAddr};

use crate::codec::{List, Reader, Wire, wire_enum, wire_struct};
use crate::names::{Boot, Epoch, Generation, NAME_BYTES_MAX, NodeId};

/// The most bytes that a [`RequestKey`] takes of a request's method, host and target together; longer targets are cut.
pub const KEY_BYTES_MAX: usize = 768;
/// The most nodes in one LEASE; a longer list comes in several.
pub const LEASE_PEERS_MAX: usize = 11;

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
    /// Whether a recipient may prepare the response before the connection comes: nothing that it gives depends on a body, or on
    /// requests that are still being answered.
    pub may_prepare: bool,
}

/// Bits of a key's first byte on the wire.
const KEY_IS_CUT: u8 = 1;
const KEY_MAY_PREPARE: u8 = 2;

impl<'a> RequestKey<'a> {
    /// Takes as much as fits, the target's end giving way first. Nothing may be prepared for it.
    #[must_use]
    pub fn new(method: &'a [u8], host: &'a [u8], target: &'a [u8]) -> Self {
        let mut room = KEY_BYTES_MAX;
        let mut fit = |bytes: &'a [u8]| {
            let bytes = bytes.get(..room).unwrap_or(bytes);
            room -= bytes.len();
            bytes
        };
        let key = Self { method: fit(method), host: fit(host), target: fit(target), is_cut: false, may_prepare: false };
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
        let Self { method, host, target, is_cut, may_prepare } = *self;
        let (cut, prepare) = (if is_cut { KEY_IS_CUT } else { 0 }, if may_prepare { KEY_MAY_PREPARE } else { 0 });
        (cut | prepare).put(out);
        method.put(out);
        host.put(out);
        target.put(out);
    }

    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        let bits: u8 = reader.take()?;
        let (is_cut, may_prepare) = (bits & KEY_IS_CUT != 0, bits & KEY_MAY_PREPARE != 0);
        let (method, host, target) = (reader.take()?, reader.take()?, reader.take()?);
        let key = Self { method, host, target, is_cut, may_prepare };
        (key.len() <= KEY_BYTES_MAX && bits & !(KEY_IS_CUT | KEY_MAY_PREPARE) == 0).then_some(key)
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
        /// The ordinal of the request that comes next.
        n: u32,
        /// The recipient serves that request; bytes of its path that the service does not see. `None`: who serves it is
        /// not decided, the recipient asks. So it is in the answer to MOVE-ASK.
        strip: Option<u16>,
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
    /// F -> recipient, with each GRANT for a request that may be prepared. A hint: nothing is owed for it.
    pub struct Prefetch<'a> {
        /// The connection.
        c: ConnId,
        /// The epoch under which it may come.
        e2: Epoch,
        /// The recipient's generation (R4).
        g: Generation,
        /// The request's ordinal.
        n: u32,
        /// Bytes of the path that the service does not see.
        strip: u16,
        /// The request.
        key: RequestKey<'a>,
    }
}
