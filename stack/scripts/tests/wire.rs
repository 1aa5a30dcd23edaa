//! What RFC 9293 asks of TCP beside the segment: checksums, and IP options.

use baton_stack::addr::{IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::ecn::Ecn;
use baton_stack::node::RxChecksum;
use baton_stack::tcp::{Flags, Options, Segment, SeqNum};
use baton_stack::wire::{Envelope, HOP_LIMIT, IpSettings, Packet, parse};

const PAYLOAD: &[u8] = b"some text of odd length";

fn envelope(is_ipv6: bool) -> Envelope {
    let addr = |last: u8| match is_ipv6 {
        false => IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        true => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last))),
    };
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    Envelope { src_mac: mac(1), dst_mac: mac(2), vlan: 0, src: addr(1), dst: addr(2), ip: IpSettings::DEFAULT }
}

fn frame(is_ipv6: bool) -> Vec<u8> {
    let envelope = envelope(is_ipv6);
    let options = Options { mss: Some(1_000), ..Options::default() };
    let (seq, ack, flags, ecn) = (SeqNum(7), SeqNum(9), Flags::ACK, Ecn::NotEct);
    let segment = Segment {
        src_port: 80,
        dst_port: 40_000,
        seq,
        ack,
        flags,
        window: 1,
        urgent: 0,
        options,
        payload: PAYLOAD,
        ecn,
    };
    let mut frame = vec![0; 200];
    let len = segment.emit(&mut frame[envelope.len()..]);
    let len = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
    frame.truncate(len);
    frame
}

/// The checksum of RFC 1071 over pseudo-header and segment, counted by hand.
fn sum(pseudo_header: &[u8], tcp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let mut sum = words(pseudo_header) + words(tcp);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[test]
fn each_segment_has_the_right_checksum() {
    let v4 = frame(false);
    let (ip, tcp) = (&v4[14..34], &v4[34..]);
    let len = u8::try_from(tcp.len()).unwrap();
    assert_eq!(sum(&[&ip[12..20], &[0, 6, 0, len]].concat(), tcp), 0);
    let v6 = frame(true);
    let (ip, tcp) = (&v6[14..54], &v6[54..]);
    let len = u8::try_from(tcp.len()).unwrap();
    assert_eq!(sum(&[&ip[8..40], &[0, 0, 0, len, 0, 0, 0, 6]].concat(), tcp), 0);
}

#[test]
fn a_wrong_checksum_is_found_whichever_bit_is_wrong() {
    for is_ipv6 in [false, true] {
        let good = frame(is_ipv6);
        let begin = envelope(is_ipv6).len();
        for bit in begin * 8..good.len() * 8 {
            let mut frame = good.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            let Packet::Ip(ip) = parse(&frame, 0).unwrap().packet else { panic!("no IP packet") };
            let verified = ip.verify_transport(&frame, RxChecksum::Unknown);
            assert_eq!(verified, Err(DropReason::BadChecksum), "bit {bit}");
        }
        let Packet::Ip(ip) = parse(&good, 0).unwrap().packet else { panic!("no IP packet") };
        assert_eq!(ip.verify_transport(&good, RxChecksum::Unknown), Ok(()));
        assert_eq!(ip.hop_limit, HOP_LIMIT);
    }
}

#[test]
fn ip_options_are_passed_over() {
    let mut frame = frame(false);
    // A record route that nobody has filled, and the end of the list.
    frame.splice(34..34, [7, 7, 4, 0, 0, 0, 0, 0]);
    frame[14] = 0x47;
    let total = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[24..26].fill(0);
    let checksum = sum(&[], &frame[14..42]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    let Packet::Ip(ip) = parse(&frame, 0).unwrap().packet else { panic!("no IP packet") };
    assert_eq!(ip.verify_transport(&frame, RxChecksum::Unknown), Ok(()));
    let segment = Segment::parse(&frame[ip.l4]).unwrap();
    assert_eq!((segment.seq, segment.options.mss, segment.payload), (SeqNum(7), Some(1_000), PAYLOAD));
}
