//! What the dissector must show of a message: name and value of each field, in the order of the wire. A new message or field does not compile
//! until it has its row here.

use baton_stack::addr::{ConnId, Flow, IpAddr};
use handoff_proto::message::*;
use handoff_proto::names::{Boot, Epoch, Generation, NodeId};

type Row = (String, String);

/// The rows of a message.
struct Rows(Vec<Row>);

impl Rows {
    fn is(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push((format!("baton.{name}"), value.to_string()));
        self
    }

    fn hex(self, name: &str, value: u64) -> Self {
        self.is(name, format_args!("{value:#018x}"))
    }

    fn c(self, ConnId(c): ConnId) -> Self {
        self.hex("conn", c)
    }

    fn e(self, Epoch(e): Epoch) -> Self {
        self.is("epoch", e)
    }

    fn base(self, Epoch(e): Epoch) -> Self {
        self.is("base", e)
    }

    fn e2(self, Epoch(e): Epoch) -> Self {
        self.is("e2", e)
    }

    fn tried(self, Epoch(e): Epoch) -> Self {
        self.is("tried", e)
    }

    fn g(self, Generation(g): Generation) -> Self {
        self.hex("generation", g)
    }

    fn to(self, NodeId(to): NodeId) -> Self {
        self.is("to", to)
    }

    fn blob(self, name: &str, bytes: &[u8]) -> Self {
        self.counted(name, bytes.len(), digits(bytes))
    }

    fn text(self, name: &str, bytes: &[u8]) -> Self {
        self.counted(name, bytes.len(), String::from_utf8_lossy(bytes).into_owned())
    }

    fn counted(self, name: &str, len: usize, value: String) -> Self {
        let rows = self.is("bytes_length", len);
        if len == 0 { rows } else { rows.is(name, value) }
    }

    fn key(self, RequestKey { method, host, target, is_cut, may_prepare }: &RequestKey<'_>) -> Self {
        self.is("key.bits", u8::from(*is_cut) | u8::from(*may_prepare) << 1)
            .text("key.method", method)
            .text("key.host", host)
            .text("key.target", target)
    }

    fn addr(self, name: &str, addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => self.is("family", 4).is(name, addr),
            IpAddr::V6(addr) => self.is("family", 6).is(&format!("{name}6"), addr),
        }
    }

    fn option(self, is_there: bool) -> Self {
        self.is("option", u8::from(is_there))
    }
}

fn digits(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// A value of one byte, by its place among all values of its kind: the first has this number.
fn place<T: PartialEq + Copy>(all: &[T], value: T, first: usize) -> usize {
    all.iter().position(|other| *other == value).unwrap() + first
}

/// What the dissector must show of `message`, behind its header.
#[expect(clippy::too_many_lines, reason = "one message a row: nothing to split")]
pub(crate) fn of(message: &Message<'_>) -> Vec<Row> {
    let rows = Rows(vec![]);
    let rows = match message {
        Message::Join(Join { number, boot: Boot(boot), g }) => rows.is("number", number).is("boot", boot).g(*g),
        Message::LeaseReq(LeaseReq { number, boot: Boot(boot), g, peers_version, route_version, load }) => {
            let LoadReport { connections, requests, bytes, busy_permille } = load;
            let rows = rows.is("number", number).is("boot", boot).g(*g);
            let rows = rows.is("peers_version", peers_version).is("route_version", route_version);
            let rows = rows.is("load_connections", connections).is("load_requests", requests);
            rows.is("load_bytes", bytes).is("busy_permille", busy_permille)
        }
        Message::Lease(lease) => of_lease(rows, lease),
        Message::Ask(Ask { c, e, tried, n, key }) => rows.c(*c).e(*e).tried(*tried).is("n", n).key(key),
        Message::Stay(Stay { c, e, n, strip }) => rows.c(*c).e(*e).is("n", n).is("strip", strip),
        Message::Grant(Grant { c, base, e2, to, g, n, strip }) => {
            let rows = rows.c(*c).base(*base).e2(*e2).to(*to).g(*g).is("n", n).option(strip.is_some());
            strip.iter().fold(rows, |rows, strip| rows.is("strip", strip))
        }
        Message::Forward(Forward { c, e, n, node: NodeId(node), strip }) => {
            rows.c(*c).e(*e).is("n", n).is("node", node).is("strip", strip)
        }
        Message::Reject(Reject { c, e, n, status, retry_after_s, strip }) => {
            let rows = rows.c(*c).e(*e).is("n", n).is("status", status);
            rows.is("retry_after_s", retry_after_s).is("strip", strip)
        }
        Message::Prefetch(Prefetch { c, e2, g, n, strip, key }) => {
            rows.c(*c).e2(*e2).g(*g).is("n", n).is("strip", strip).key(key)
        }
        Message::MoveAsk(MoveAsk { c, e, tried, n, to }) => rows.c(*c).e(*e).tried(*tried).is("n", n).to(*to),
        Message::MoveReject(MoveReject { c, e, n, to }) => rows.c(*c).e(*e).is("n", n).to(*to),
        Message::MoveWish(MoveWish { c, e, to }) => rows.c(*c).e(*e).to(*to),
        Message::Handoff(Handoff { c, base, e2, g, total, part_bytes, part, bytes }) => {
            let rows = rows.c(*c).base(*base).e2(*e2).g(*g).is("total", total);
            rows.is("part_bytes", part_bytes).is("part", part).blob("part_data", bytes)
        }
        Message::PartAck(PartAck { c, e2, g, missing, beyond }) => {
            rows.c(*c).e2(*e2).g(*g).is("missing", missing).is("beyond", digits(&beyond.to_be_bytes()))
        }
        Message::Installed(Installed { c, e2, g }) | Message::Revoked(Revoked { c, e2, g }) => rows.c(*c).e2(*e2).g(*g),
        Message::Revoke(Revoke { c, e2, g, flow: Flow { client, vip } }) => {
            let rows = rows.c(*c).e2(*e2).g(*g).addr("client.addr", client.addr).is("client.port", client.port);
            rows.addr("vip.addr", vip.addr).is("vip.port", vip.port)
        }
        Message::Routed(Routed { c, e2 })
        | Message::Done(Done { c, e2 })
        | Message::Thaw(Thaw { c, e2 })
        | Message::AttemptGone(AttemptGone { c, e2 }) => rows.c(*c).e2(*e2),
        Message::Refused(Refused { c, e2, g, reason }) => {
            rows.c(*c).e2(*e2).g(*g).is("reason", place(RefuseReason::ALL, *reason, 1))
        }
        Message::Abort(Abort { c, base, e2, to, g }) | Message::Settle(Settle { c, base, e2, to, g }) => {
            rows.c(*c).base(*base).e2(*e2).to(*to).g(*g)
        }
        Message::Settled(Settled { c, e2, claim }) => {
            rows.c(*c).e2(*e2).is("claim", place(SettleClaim::ALL, *claim, 1))
        }
        Message::Fetch(Fetch { c, e, start, len }) | Message::TailGone(TailGone { c, e, start, len }) => {
            rows.c(*c).e(*e).is("start", start).is("len", len)
        }
        Message::Tail(Tail { c, e, start, bytes }) => rows.c(*c).e(*e).is("start", start).blob("tail_data", bytes),
        Message::Release(Release { c, e, up_to }) | Message::Released(Released { c, e, up_to }) => {
            rows.c(*c).e(*e).is("up_to", up_to)
        }
        Message::Closed(Closed { c, e, snd_nxt, rcv_nxt, timestamps, ended, served }) => {
            let Served { requests, bytes } = served;
            let rows = rows.c(*c).e(*e).is("snd_nxt", snd_nxt).is("rcv_nxt", rcv_nxt).option(timestamps.is_some());
            let rows = timestamps.iter().fold(rows, |rows, ClosedTimestamps { ts_val, ts_recent }| {
                rows.is("ts_val", ts_val).is("ts_recent", ts_recent)
            });
            let rows = rows.is("ended", place(Ended::ALL, *ended, 1));
            rows.is("served_requests", requests).is("served_bytes", bytes)
        }
        Message::TailKept(TailKept { c }) | Message::ClosedAck(ClosedAck { c }) | Message::Over(Over { c }) => {
            rows.c(*c)
        }
    };
    rows.0
}

fn of_lease(rows: Rows, lease: &Lease<'_>) -> Rows {
    let Lease { number, boot: Boot(boot), g, you: NodeId(you), lease_ms, drain, .. } = lease;
    let Lease { route_version, peers_version, peers_total, peers_first, peers, .. } = lease;
    let rows = rows.is("number", number).is("boot", boot).g(*g).is("you", you).is("lease_ms", lease_ms);
    let rows = rows.is("drain", place(DrainState::ALL, *drain, 0)).is("route_version", route_version);
    let rows = rows.is("peers_version", peers_version).is("peers_total", peers_total).is("peers_first", peers_first);
    peers.iter().fold(rows.is("count", peers.len()), |rows, peer| {
        let PeerEntry { id: NodeId(id), g: Generation(g), core, addr, mac, name } = peer;
        let rows = rows.is("peer.id", id).hex("peer.generation", g).is("peer.core", core);
        rows.addr("peer.addr", addr).is("peer.mac", mac).text("peer.name", name.as_str().as_bytes())
    })
}
