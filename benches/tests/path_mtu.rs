//! "Packet too big", on its way through a front-end to the back-end that owns the connection.

use baton_backend::stats::{Command, Reply};
use baton_benches::client::{CLIENT_MAC, Client};
use baton_benches::cluster::{Cluster, FRONT_END_MAC, VIP};
use baton_stack::addr::IpAddr;
use baton_stack::checksum;
use baton_stack::drop::DropReason;
use baton_stack::node::{Frame, Node};
use baton_stack::tcp::Segment;
use baton_stack::wire::{Envelope, IpSettings, Layers, Packet, parse, protocol};

const PACKET_LEN: usize = 1_500;
const MTU: u16 = 1_400;
const ETHERNET_LEN: usize = 14;
/// An IP header and eight bytes of TCP: the least that a router quotes (RFC 792).
const QUOTED_LEN: usize = 28;

/// What a router on the way to the client says of a packet.
fn too_big(packet: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend_from_slice(&MTU.to_be_bytes());
    message.extend_from_slice(&packet[..QUOTED_LEN]);
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let src = IpAddr::from([10, 99, 0, 1]);
    let envelope =
        Envelope { src_mac: CLIENT_MAC, dst_mac: FRONT_END_MAC, vlan: 0, src, dst: VIP.addr, ip: IpSettings::DEFAULT };
    let mut frame = vec![0; envelope.len()];
    frame.extend_from_slice(&message);
    envelope.write_headers(&mut frame, protocol::ICMP, message.len());
    frame
}

/// The client's next response: what its packets are, from their IP headers on.
fn packets(cluster: &mut Cluster) -> Vec<Vec<u8>> {
    cluster.settle();
    cluster.take_received().iter().map(|frame| frame.bytes()[ETHERNET_LEN..].to_vec()).collect()
}

fn first_number(packet: &[u8]) -> u32 {
    let frame = [&[0; 12][..], &[0x08, 0x00], packet].concat();
    let Ok(Layers { packet: Packet::Ip(ip), .. }) = parse(&frame, 0) else { panic!("no IP packet") };
    Segment::parse(&frame[ip.l4]).expect("a segment").seq.0
}

#[test]
fn a_packet_that_was_too_big_is_sent_again_by_its_owner() {
    let mut cluster = Cluster::start(1, 16).expect("a cluster");
    let mut client: Client = cluster.connect(0, "").expect("a connection");
    let request = client.request(&mut cluster.wire, "/12000");
    cluster.send(request);
    let sent = packets(&mut cluster);
    let full: Vec<_> = sent.iter().filter(|packet| packet.len() == PACKET_LEN).collect();
    assert!(full.len() >= 8, "{} full packets", full.len());

    let error = cluster.wire.frame(&too_big(full[0]));
    cluster.send(error);
    let again = packets(&mut cluster);
    assert_eq!(first_number(&again[0]), first_number(full[0]));
    let bytes = |packets: &[Vec<u8>]| packets.iter().map(|packet| packet.len() - 52).sum::<usize>();
    assert_eq!(bytes(&again), bytes(&sent));
    assert!(again.iter().all(|packet| packet.len() <= MTU.into()), "a packet is too big still");

    // Nobody believes what others of the same burst meet: they are known to be too big.
    let error = cluster.wire.frame(&too_big(full[1]));
    cluster.send(error);
    assert!(packets(&mut cluster).is_empty());
    let Reply::Stats(snapshot) = cluster.back_ends[0].handle_command(cluster.now, Command::Stats) else {
        panic!("its numbers");
    };
    assert_eq!(snapshot.drops.of(DropReason::Icmp), 1);
}
