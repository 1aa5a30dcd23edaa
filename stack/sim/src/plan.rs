//! The addresses of a simulated cluster, and what can be put at them.

use crate::config::Tuning;
use crate::dice::Seed;
use crate::reference::Reference;
use crate::world::Maker;
use baton_stack::addr::{Endpoint, IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};

/// The port that the VIP serves.
pub const VIP_PORT: u16 = 80;

const VIP_HOST: u8 = 100;
const FRONT_END_HOST: u8 = 10;
const OTHER_VIP_HOST: u8 = 101;
const OTHER_FRONT_END_HOST: u8 = 11;
const BACK_END_HOST: u8 = 20;
const CLIENT_HOST: u8 = 200;
const NOISE_HOST: u8 = 9;

/// The UDP port on which nodes talk to each other.
pub const CLUSTER_PORT: u16 = 9910;

/// Most back-ends of one cluster; host numbers end there.
pub const BACK_ENDS_MAX: usize = 64;
/// Most client hosts.
pub const CLIENTS_MAX: usize = 50;

/// Which addresses there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Clients and VIP have IPv6, the nodes IPv4; the front-end has both.
    Mixed,
}

impl Family {
    const fn of_nodes(self) -> fn(u8) -> IpAddr {
        match self {
            Self::V4 | Self::Mixed => ipv4,
            Self::V6 => ipv6,
        }
    }

    const fn of_clients(self) -> fn(u8) -> IpAddr {
        match self {
            Self::V4 => ipv4,
            Self::V6 | Self::Mixed => ipv6,
        }
    }
}

/// A node's place in the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its name: `fe1`, `be1`, `be2`, ...
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// An address of the other family.
    pub second_address: Option<IpAddr>,
    /// Its port's Ethernet address.
    pub mac: MacAddr,
}

impl Place {
    fn new(name: String, host: u8, address: fn(u8) -> IpAddr) -> Self {
        Self { name, address: address(host), second_address: None, mac: MacAddr([2, 0, 0, 0, 0, host]) }
    }

    /// The place of the host that talks nonsense.
    #[must_use]
    pub fn noise(family: Family) -> Self {
        Self::new("noise".to_owned(), NOISE_HOST, family.of_clients())
    }

    /// The place of client `index`, counted from zero.
    #[must_use]
    pub fn client(index: usize, family: Family) -> Self {
        Self::new(format!("client{}", index + 1), CLIENT_HOST.saturating_add(small(index)), family.of_clients())
    }

    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.address].into_iter().chain(self.second_address)
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
    /// Another front-end of the same back-ends, with a VIP of its own.
    pub other: Option<(Place, Endpoint)>,
}

impl Plan {
    /// A cluster with `back_ends` back-ends, at most [`BACK_ENDS_MAX`].
    #[must_use]
    pub fn new(seed: Seed, back_ends: usize, family: Family) -> Self {
        let (nodes, clients) = (family.of_nodes(), family.of_clients());
        let place = |k: usize| Place::new(format!("be{k}"), BACK_END_HOST.saturating_add(small(k)), nodes);
        let second_address = (family == Family::Mixed).then(|| clients(FRONT_END_HOST));
        Self {
            seed,
            vip: Endpoint { addr: clients(VIP_HOST), port: VIP_PORT },
            front_end: Place { second_address, ..Place::new("fe1".to_owned(), FRONT_END_HOST, nodes) },
            back_ends: (1..=back_ends.min(BACK_ENDS_MAX)).map(place).collect(),
            other: None,
        }
    }

    /// The same with a second front-end. Every second client host connects there.
    #[must_use]
    pub fn with_other_front_end(self, family: Family) -> Self {
        let (nodes, clients) = (family.of_nodes(), family.of_clients());
        let second_address = (family == Family::Mixed).then(|| clients(OTHER_FRONT_END_HOST));
        let place = Place { second_address, ..Place::new("fe2".to_owned(), OTHER_FRONT_END_HOST, nodes) };
        Self { other: Some((place, Endpoint { addr: clients(OTHER_VIP_HOST), port: VIP_PORT })), ..self }
    }

    /// All front-ends and where their clients connect to.
    pub fn front_ends(&self) -> impl Iterator<Item = (&Place, Endpoint)> {
        let other = self.other.as_ref().map(|(place, vip)| (place, *vip));
        [(&self.front_end, self.vip)].into_iter().chain(other)
    }

    /// Where the client host of this index, counted from zero, connects to.
    #[must_use]
    pub fn server_of(&self, client: usize) -> Endpoint {
        self.other.as_ref().filter(|_| client % 2 == 1).map_or(self.vip, |(_, vip)| *vip)
    }
}

fn small(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

const fn ipv4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, host))
}

fn ipv6(host: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)))
}

/// Bits of the one network that everybody of an address's family is on.
#[must_use]
pub const fn prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
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
    /// The production nodes: a front-end and its back-ends, and last the other front-end, if there is one.
    Cluster,
    /// One ordinary server at the VIP ([`Reference`]): says whether a scenario can be got through at all.
    Reference,
}

impl Subject {
    /// The nodes, front-end first; a scenario's troubles count them in this order.
    #[must_use]
    pub fn members(self, plan: &Plan, tuning: &Tuning) -> Vec<Member> {
        match self {
            Self::Cluster => crate::cluster::members(plan, tuning),
            Self::Reference => vec![reference(plan)],
        }
    }
}

fn reference(plan: &Plan) -> Member {
    let (mac, vip) = (plan.front_end.mac, plan.vip);
    let mut secrets = plan.seed.stream("secrets reference");
    let make: Maker = Box::new(move |_| Box::new(Reference::new(mac, vip, prefix_len(vip.addr), secrets.bits())));
    Member { name: "reference".to_owned(), role: Role::BackEnd, make }
}
