//! One front-end, some back-ends, a network with faults, a clock, and a client per connection that checks what it gets.

use std::collections::{BTreeMap, VecDeque};

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};
use handoff_proto::arbiter::ResetCause;
use handoff_proto::codec::Reader;
use handoff_proto::message::{Message, Outbox};
use handoff_proto::names::{Boot, Epoch, NodeId};
use handoff_proto::recipient::MESSAGE_LIFE;

use crate::back::Back;
use crate::front::Front;

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(crate) fn permille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }
}

/// What the network does to a message, in thousandths and milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) dup: u64,
    pub(crate) delay_ms: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self { loss: 0, dup: 0, delay_ms: 0 };
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) from_boot: Boot,
    pub(crate) to_boot: Boot,
    pub(crate) sent: Instant,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::decode(&mut Reader::new(&self.bytes)).expect("what was encoded decodes")
    }
}

/// What a machine wants to send.
#[derive(Default, Debug)]
pub(crate) struct Mail(pub(crate) Vec<(NodeId, Vec<u8>)>);

impl Outbox for Mail {
    fn send(&mut self, to: NodeId, message: &Message<'_>) {
        let mut bytes = vec![];
        message.encode(&mut bytes);
        self.0.push((to, bytes));
    }
}

impl Mail {
    pub(crate) fn names(&self) -> Vec<(u16, &'static str)> {
        let name = |bytes: &[u8]| Message::decode(&mut Reader::new(bytes)).unwrap().name();
        self.0.iter().map(|(to, bytes)| (to.0, name(bytes))).collect()
    }
}

/// How a connection ended for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Closed,
    Reset(ResetCause),
}

/// The client's side: it wants each response once, in order, from owners with rising epochs.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) served: u32,
    pub(crate) last_epoch: u32,
    pub(crate) owners: usize,
    pub(crate) end: Option<End>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) dice: Dice,
    pub(crate) faults: Faults,
    packets: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    pub(crate) front: Front,
    pub(crate) backs: Vec<Back>,
    pub(crate) clients: Clients,
}

#[derive(Debug, Default)]
pub(crate) struct Clients(pub(crate) BTreeMap<ConnId, Client>);

impl Clients {
    /// A node sends response `n`.
    pub(crate) fn serve(&mut self, node: NodeId, c: ConnId, e: Epoch, n: u32) {
        let client = self.0.entry(c).or_default();
        assert!(client.end.is_none(), "{node} speaks on {c} after its end: {client:?}");
        assert_eq!(client.served, n, "{node} sends the wrong response on {c} at epoch {e}");
        assert!(e.0 >= client.last_epoch, "{node} speaks on {c} at epoch {e} after {}", client.last_epoch);
        client.owners += usize::from(e.0 > client.last_epoch);
        (client.served, client.last_epoch) = (n + 1, e.0);
    }

    pub(crate) fn end(&mut self, c: ConnId, end: End) {
        let client = self.0.entry(c).or_default();
        assert!(client.end.is_none(), "{c} ends twice: {:?}, {end:?}", client.end);
        client.end = Some(end);
    }
}

impl World {
    pub(crate) fn new(seed: u64, backs: u16, faults: Faults) -> Self {
        let ids = (1..=backs).map(NodeId);
        Self {
            now: Instant::from_micros(1_000_000),
            dice: Dice(seed),
            faults,
            packets: BTreeMap::new(),
            serial: 0,
            front: Front::new(backs),
            backs: ids.map(Back::new).collect(),
            clients: Clients::default(),
        }
    }

    pub(crate) fn back(&mut self, id: u16) -> &mut Back {
        &mut self.backs[usize::from(id) - 1]
    }

    fn boot_of(&self, node: NodeId) -> Boot {
        if node == NodeId::FRONT_END { Boot(1) } else { self.backs[usize::from(node.0) - 1].boot }
    }

    /// Sends what a node said. What it says to itself arrives at once, and may bring more.
    fn post(&mut self, from: NodeId, mail: Mail) {
        let mut local: VecDeque<_> = VecDeque::from(mail.0);
        while let Some((to, bytes)) = local.pop_front() {
            if to == from {
                let mut more = Mail::default();
                let message = Message::decode(&mut Reader::new(&bytes)).unwrap();
                assert_eq!(from, NodeId::FRONT_END, "a back-end says {} to itself", message.name());
                self.front.handle(self.now, from, &message, &mut self.clients, &mut self.dice, &mut more);
                local.extend(more.0);
                continue;
            }
            let copies = 1 + u64::from(self.dice.permille(self.faults.dup));
            for _ in 0..copies {
                if self.dice.permille(self.faults.loss) {
                    continue;
                }
                let delay = 100 + self.dice.below(self.faults.delay_ms * 1_000 + 1);
                let (from_boot, to_boot) = (self.boot_of(from), self.boot_of(to));
                let packet = Packet { from, to, from_boot, to_boot, sent: self.now, bytes: bytes.clone() };
                self.serial += 1;
                self.packets.insert((self.now + Duration::from_micros(delay), self.serial), packet);
            }
        }
    }

    /// One millisecond.
    pub(crate) fn step(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let packet = entry.remove();
            self.deliver(packet);
        }
        let mut mail = Mail::default();
        self.front.tick(self.now, &mut self.clients, &mut self.dice, &mut mail);
        self.post(NodeId::FRONT_END, mail);
        for index in 0..self.backs.len() {
            let mut mail = Mail::default();
            let back = &mut self.backs[index];
            if back.runs(self.now) {
                back.tick(self.now, &mut self.clients, &mut self.dice, &mut mail);
                mail.0.retain(|(_, bytes)| back.may_say(self.now, bytes));
                let id = back.id;
                self.post(id, mail);
            }
        }
        self.check_single_owner();
    }

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn deliver(&mut self, packet: Packet) {
        // What sessions see to: no message from or for another life, and none older than its life.
        if packet.from_boot != self.boot_of(packet.from) || packet.to_boot != self.boot_of(packet.to) {
            return;
        }
        let mut mail = Mail::default();
        if packet.to == NodeId::FRONT_END {
            let message = packet.message();
            self.front.handle(self.now, packet.from, &message, &mut self.clients, &mut self.dice, &mut mail);
            self.post(NodeId::FRONT_END, mail);
            return;
        }
        let index = usize::from(packet.to.0) - 1;
        if let Some(until) = self.backs[index].paused_until(self.now) {
            if self.backs[index].is_alive && until.since(packet.sent) < MESSAGE_LIFE {
                self.serial += 1;
                self.packets.insert((until, self.serial), packet);
            }
            return;
        }
        let back = &mut self.backs[index];
        if back.is_alive {
            back.handle(self.now, packet.from, &packet.message(), &mut mail);
            mail.0.retain(|(_, bytes)| back.may_say(self.now, bytes));
            self.post(packet.to, mail);
        }
    }

    /// I1, at every moment: at most one node could send on a connection.
    fn check_single_owner(&self) {
        for c in self.clients.0.keys() {
            let mut speakers: Vec<_> =
                self.backs.iter().filter(|back| back.may_speak(self.now, *c)).map(|back| back.id).collect();
            speakers.extend(self.front.may_speak(*c).then_some(NodeId::FRONT_END));
            assert!(speakers.len() <= 1, "{speakers:?} may all speak on {c} at {:?}", self.now);
        }
    }
}
