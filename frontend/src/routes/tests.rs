//! Tests of the route table.

use super::*;
use baton_stack::node::RxChecksum;
use baton_stack::time::Duration;
use handoff_proto::message::Grant;
use proptest::prelude::*;
use std::collections::HashMap;

const SEEDS: [u64; 4] = [1, 2, 3, 4];
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn flow(number: u32, v6: bool) -> Flow {
    let [_, a, b, c] = number.to_be_bytes();
    let addr = |last| {
        if v6 {
            IpAddr::from([0xfd00, 0, 0, 0, 0, u16::from(a), u16::from(b), last])
        } else {
            IpAddr::from([10, a, b, c])
        }
    };
    let client = Endpoint { addr: addr(u16::from(c)), port: 1_000 };
    let vip = Endpoint { addr: if v6 { addr(500) } else { IpAddr::from([192, 0, 2, 1]) }, port: 80 };
    Flow { client, vip }
}

/// A route at rest at a back-end.
fn route(number: u32, v6: bool) -> Route {
    let owner = NodeId(7);
    let rest = Rest { owner, owner_g: Generation(1 << 40 | 3), epoch: Epoch(5) };
    Route {
        flow: flow(number, v6),
        last_ack: SeqNum(100),
        seq_end: SeqNum(200),
        place: Place::Away(owner),
        state: RouteState::resting(rest),
        c: ConnId(1 << 56 | u64::from(number)),
        first: Epoch(2),
        since_s: 77,
        moving: None,
        port: PortId(3),
        client_mac: MacAddr([2, 0, 0, 0, 1, 1]),
    }
}

fn text(route: &Route) -> String {
    format!("{route:?}")
}

fn is_packed(routes: &Routes, key: RouteKey) -> bool {
    matches!(routes.get(key), Some(Seen::Packed(_)))
}

/// The client's segment of a flow, as a frame.
fn frame(flow: &Flow) -> Vec<u8> {
    let mut frame = MAC.0.to_vec();
    frame.extend_from_slice(&[2; 6]);
    match (flow.client.addr, flow.vip.addr) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 42, 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend_from_slice(&client.octets());
            frame.extend_from_slice(&vip.octets());
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 22, 6, 64]);
            frame.extend_from_slice(&client.octets());
            frame.extend_from_slice(&vip.octets());
        }
        _ => panic!("one family"),
    }
    frame.extend_from_slice(&flow.client.port.to_be_bytes());
    frame.extend_from_slice(&flow.vip.port.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 1, 0, 0, 0, 0, 150, 0x50, 0x10, 0, 0, 0, 0, 0, 0, 1, 2]);
    frame
}

/// The owner to which a segment of this flow goes, which has been noted.
fn forward(routes: &mut Routes, flow: &Flow) -> Option<NodeId> {
    let frame = frame(flow);
    let plain = Plain::of(&frame, MAC, RxChecksum::Good).expect("a plain segment");
    let mut hints = [routes.hint(&plain)];
    routes.look_ahead(&mut hints);
    let mut away = match plain {
        Plain::V4(headers) => routes.away_v4(glance::flow_v4(headers), hints[0])?,
        Plain::V6(headers) => routes.away(&glance::flow_v6(headers), hints[0])?,
    };
    away.note(plain.progress());
    Some(away.owner())
}

#[test]
fn a_route_says_the_same_packed_and_unpacked() {
    for v6 in [false, true] {
        let mut routes = Routes::new(10, SEEDS);
        let key = routes.insert(route(1, v6)).unwrap();
        let expected = text(&route(1, v6));
        assert_eq!((text(&routes.get(key).unwrap()), is_packed(&routes, key)), (expected.clone(), false));
        routes.pack();
        assert_eq!((text(&routes.get(key).unwrap()), is_packed(&routes, key)), (expected.clone(), true));
        assert_eq!(routes.of_flow(&flow(1, v6)), Some(key));
        assert_eq!(routes.of_conn(route(1, v6).c), Some(key));
        assert_eq!(text(routes.get_mut(key).unwrap()), expected);
        assert!(!is_packed(&routes, key));
        routes.pack();
        assert!(is_packed(&routes, key) && routes.full.is_empty());
        assert_eq!(text(&routes.remove(key).unwrap()), expected);
        assert!(routes.full.is_empty() && routes.addrs_v6.is_empty() && routes.get(key).is_none());
        assert_eq!((routes.hops.get(0), routes.lives.get(0)), (None, None), "nobody uses them any more");
    }
}

#[test]
fn only_what_is_at_rest_is_packed() {
    let grant =
        Grant { c: ConnId(1), base: Epoch(5), e2: Epoch(6), to: NodeId(1), g: Generation(9), n: 0, strip: None };
    let mut ended = route(1, false);
    let (now, linger) = (Instant::ZERO, Duration::from_secs(60));
    ended.place = Place::TimeWait(Box::new(TimeWait::new(ended.flow, SeqNum(1), SeqNum(2), None, now, linger)));
    let (mut leaving, mut moving, mut here) = (route(2, false), route(3, false), route(4, false));
    leaving.place = Place::Leaving;
    moving.moving = Some(Box::new(MoveEvent::begun(&grant, String::new(), now, now, false)));
    here.state = RouteState::new(Generation(1));
    here.place = Place::Leaving;
    for full in [ended, leaving, moving, here] {
        let mut routes = Routes::new(10, SEEDS);
        let expected = text(&full);
        let key = routes.insert(full).unwrap();
        routes.pack();
        assert_eq!((text(&routes.get(key).unwrap()), is_packed(&routes, key)), (expected, false));
    }
}

#[test]
fn a_segment_is_noted_packed_or_not() {
    for v6 in [false, true] {
        let mut routes = Routes::new(10, SEEDS);
        let key = routes.insert(route(1, v6)).unwrap();
        for packs in [false, true] {
            if packs {
                routes.pack();
            }
            assert_eq!(forward(&mut routes, &flow(1, v6)), Some(NodeId(7)));
            assert_eq!(forward(&mut routes, &flow(2, v6)), None);
            let seen = routes.get(key).unwrap();
            // 256 and two bytes; an ACK of 150.
            assert_eq!((seen.last_ack, seen.seq_end), (SeqNum(150), SeqNum(258)));
            assert_eq!(is_packed(&routes, key), packs);
            let tcp = &frame(&flow(1, v6))[if v6 { 54 } else { 34 }..];
            routes.get_mut(key).unwrap().seq_end = SeqNum(0);
            if packs {
                routes.pack();
            }
            routes.note(key, tcp);
            assert_eq!(routes.get(key).unwrap().seq_end, SeqNum(258));
        }
    }
}

#[test]
fn a_segment_of_a_flow_over_ipv6_is_not_taken_for_one_over_ipv4() {
    // A row has the number of the addresses and four zeros where another has addresses.
    let mut routes = Routes::new(10, SEEDS);
    let key = routes.insert(route(1, true)).unwrap();
    routes.pack();
    let row = routes.hot[key.0].flow;
    assert_eq!(forward(&mut routes, &row.flow()), None);
    let frame = frame(&row.flow());
    let plain = Plain::of(&frame, MAC, RxChecksum::Good).unwrap();
    let hint = Hint { place: 0, ..routes.hint(&plain) };
    assert!(routes.away_v4(row, hint).is_none(), "whatever the hint");
}

#[test]
fn a_client_too_many_to_be_shared_stays_unpacked() {
    let mut routes = Routes::new(70_000, SEEDS);
    let mut last = None;
    for number in 0..=u32::try_from(crate::shared::SHARED_MAX).unwrap() {
        let [_, a, b, c] = number.to_be_bytes();
        last = routes.insert(Route { client_mac: MacAddr([2, 0, 0, a, b, c]), ..route(number, false) });
        routes.pack();
    }
    let last = last.unwrap();
    assert!(!is_packed(&routes, last) && routes.full.len() == 1);
    assert_eq!(forward(&mut routes, &flow(1 << 16, false)), Some(NodeId(7)));
    // There is room when another one is gone.
    assert!(routes.remove(RouteKey(0)).is_some() && routes.get_mut(last).is_some());
    routes.pack();
    assert!(is_packed(&routes, last));
}

#[test]
fn the_death_of_a_node_touches_its_own_and_what_is_not_at_rest() {
    let mut routes = Routes::new(10, SEEDS);
    let key = routes.insert(route(1, false)).unwrap();
    let own = Death { node: NodeId(7), g: Generation(1 << 40 | 3) };
    let others = [Death { node: NodeId(6), ..own }, Death { g: Generation(1 << 40 | 2), ..own }];
    assert_eq!(others.map(|death| routes.is_touched_by(key, death)), [true, true]);
    routes.pack();
    assert_eq!(others.map(|death| routes.is_touched_by(key, death)), [false, false]);
    assert!(routes.is_touched_by(key, own) && !routes.is_touched_by(RouteKey(1), own));
    routes.remove(key);
    assert!(!routes.is_touched_by(key, own));
}

proptest! {
    /// Whatever comes and goes, and whenever routes are packed: the table has what a map has, its rows never move, and at its limit
    /// it takes nothing.
    #[test]
    fn it_has_what_a_map_has(steps in proptest::collection::vec((0u32..24, 0u8..4), 0..200)) {
        const LIMIT: usize = 12;
        let mut routes = Routes::new(LIMIT, SEEDS);
        let rows = (routes.hot.as_ptr(), routes.cold.as_ptr());
        let mut map = HashMap::new();
        for (number, what) in steps {
            let v6 = number.is_multiple_of(3);
            let key = routes.of_flow(&flow(number, v6));
            prop_assert_eq!(key, map.get(&number).copied());
            match (what, key) {
                (0 | 1, None) => {
                    let key = routes.insert(route(number, v6));
                    prop_assert_eq!(key.is_some(), map.len() < LIMIT);
                    map.extend(key.map(|key| (number, key)));
                }
                (0, Some(key)) => {
                    prop_assert!(routes.insert(route(number, v6)).is_none(), "its flow has a route");
                    prop_assert_eq!(text(&routes.remove(key).unwrap()), text(&route(number, v6)));
                    map.remove(&number);
                }
                (1, Some(key)) => prop_assert!(routes.get_mut(key).is_some()),
                _ => routes.pack(),
            }
            prop_assert_eq!(routes.len(), map.len());
        }
        for (number, key) in &map {
            let expected = route(*number, number.is_multiple_of(3));
            prop_assert_eq!(text(&routes.get(*key).unwrap()), text(&expected));
            prop_assert_eq!(routes.of_conn(expected.c), Some(*key));
            prop_assert_eq!(forward(&mut routes, &expected.flow), Some(NodeId(7)));
        }
        prop_assert_eq!(rows, (routes.hot.as_ptr(), routes.cold.as_ptr()));
    }
}
