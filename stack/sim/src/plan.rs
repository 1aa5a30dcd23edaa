//! The addresses of a simulated cluster, and what can be put at them.

use crate::dice::Seed;
use crate::reference::Reference;
use crate::world::Maker;
use baton_stack::addr::{Endpoint, IpAddr, Ipv4Addr, MacAddr};

/// Bits of the one network that everybody is on.
pub const PREFIX_LEN: u8 = 24;
/// The port that the VIP serves.
pub const VIP_PORT: u16 = 80;

const VIP_HOST: u8 = 100;
const FRONT_END_HOST: u8 = 10;
const BACK_END_HOST: u8 = 20;
const CLIENT_HOST: u8 = 200;
const NOISE_HOST: u8 = 9;

/// The UDP port on which nodes talk to each other.
pub const CLUSTER_PORT: u16 = 9910;

/// Most back-ends of one cluster; host numbers end there.
pub const BACK_ENDS_MAX: usize = 64;
/// Most client hosts.
pub const CLIENTS_MAX: usize = 50;

/// A node's place in the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its name: `fe1`, `be1`, `be2`, ...
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its port's Ethernet address.
    pub mac: MacAddr,
}

impl Place {
    fn new(name: String, host: u8) -> Self {
        Self { name, address: address(host), mac: MacAddr([2, 0, 0, 0, 0, host]) }
    }

    /// The place of the host that talks nonsense.
    #[must_use]
    pub fn noise() -> Self {
        Self::new("noise".to_owned(), NOISE_HOST)
    }

    /// The place of client `index`, counted from zero.
    #[must_use]
    pub fn client(index: usize) -> Self {
        Self::new(format!("client{}", index + 1), CLIENT_HOST.saturating_add(small(index)))
    }
}

/// Everything that a cluster's nodes are built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// For the nodes' own randomness: `seed.stream("secrets NAME BOOT")`.
    pub seed: Seed,
    /// Where clients connect to.
    pub vip: Endpoint,
    /// The front-end.
    pub front_end: Place,
    /// The back-ends, first to last.
    pub back_ends: Vec<Place>,
}

impl Plan {
    /// A cluster with `back_ends` back-ends, at most [`BACK_ENDS_MAX`].
    #[must_use]
    pub fn new(seed: Seed, back_ends: usize) -> Self {
        let place = |k: usize| Place::new(format!("be{k}"), BACK_END_HOST.saturating_add(small(k)));
        Self {
            seed,
            vip: Endpoint { addr: address(VIP_HOST), port: VIP_PORT },
            front_end: Place::new("fe1".to_owned(), FRONT_END_HOST),
            back_ends: (1..=back_ends.min(BACK_ENDS_MAX)).map(place).collect(),
        }
    }
}

fn small(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

const fn address(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, host))
}

/// What a member of the cluster does for clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Accepts connections; may send no response but errors of its own.
    FrontEnd,
    /// Answers.
    BackEnd,
}

/// A node of the cluster, not yet born.
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Builds each of its lives.
    pub make: Maker,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What is put to the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The production nodes: a front-end and its back-ends.
    Cluster,
    /// One ordinary server at the VIP ([`Reference`]): says whether a scenario can be got through at all.
    Reference,
}

impl Subject {
    /// The nodes, front-end first; a scenario's troubles count them in this order.
    #[must_use]
    pub fn members(self, plan: &Plan) -> Vec<Member> {
        match self {
            Self::Cluster => crate::cluster::members(plan),
            Self::Reference => vec![reference(plan)],
        }
    }
}

fn reference(plan: &Plan) -> Member {
    let (mac, vip) = (plan.front_end.mac, plan.vip);
    let mut secrets = plan.seed.stream("secrets reference");
    let make: Maker = Box::new(move |_| Box::new(Reference::new(mac, vip, PREFIX_LEN, secrets.bits())));
    Member { name: "reference".to_owned(), role: Role::BackEnd, make }
}
