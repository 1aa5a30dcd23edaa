//! `wireshark/baton.lua` shows what the nodes' codec writes: every message, every field, every part of an image. A message, field or part that
//! the codec has and the dissector has not fails here. Needs tshark.

#[path = "support/rows.rs"]
mod rows;
#[path = "support/tshark.rs"]
mod tshark;

use std::path::Path;

use handoff_proto::header::{HEADER_BYTES, KIND_UNSEALED};
use handoff_proto::image::Image;
use handoff_proto::message::samples::with_samples;
use handoff_proto::message::{HANDOFF_OVERHEAD, Handoff, Lease, MUST_KNOW, Message};
use handoff_proto::names::{Boot, Epoch, Generation, NodeId};
use handoff_proto::seal::ClusterSecret;
use handoff_proto::session::{Identity, Role, Sessions};

use baton_stack::addr::{IpAddr, Ipv4Addr};
use baton_stack::time::Instant;
use tshark::{Capture, Datagram, Leaf};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../handoff-proto/src/image/golden_v1.hex");
const FRONT_END: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const BACK_END: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// The header of an unsealed datagram, as `tcb unseal` leaves it.
fn header() -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[..4].copy_from_slice(&[0xba, 0x70, 1, KIND_UNSEALED]);
    header
}

fn unsealed(messages: &[Message<'_>]) -> Vec<u8> {
    let mut datagram = header();
    messages.iter().for_each(|message| message.encode(&mut datagram));
    datagram
}

fn raw(bytes: &[u8]) -> Vec<u8> {
    [&header(), bytes].concat()
}

/// The frames of datagrams from the front-end, as tshark reads them.
fn read(datagrams: impl IntoIterator<Item = Vec<u8>>) -> Vec<Datagram> {
    Capture::new(datagrams.into_iter().map(|datagram| (FRONT_END, BACK_END, datagram))).read()
}

#[test]
fn every_field_of_every_message_is_shown() {
    with_samples(|samples| {
        let frames = read(samples.iter().map(|message| unsealed(&[*message])));
        assert_eq!(frames.len(), samples.len());
        for (message, frame) in samples.iter().zip(frames) {
            let shown: Vec<(&str, &str)> = frame
                .leaves
                .iter()
                .skip_while(|leaf| leaf.name != "baton.length")
                .skip(1)
                .map(|leaf| (leaf.name.as_str(), leaf.show.as_str()))
                .collect();
            let expected = rows::of(message);
            let expected: Vec<(&str, &str)> =
                expected.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(shown, expected, "{}", message.name());
            assert_eq!(frame.experts, Vec::<String>::new(), "{}", message.name());
            let name = frame.info.split(' ').next().unwrap().replace('-', "");
            assert!(name.eq_ignore_ascii_case(message.name()), "{}: {}", message.name(), frame.info);
            assert!(!frame.info.contains('?'), "{}", frame.info);
            assert_covered(&frame, &unsealed(&[*message]));
        }
    });
}

/// Every byte belongs to one field, in order.
fn assert_covered(frame: &Datagram, datagram: &[u8]) {
    let shown: Vec<u8> = frame.leaves.iter().flat_map(|leaf| leaf.value.clone()).collect();
    // The magic is no field.
    assert_eq!(shown, datagram[2..], "{}", frame.info);
}

#[test]
fn messages_share_a_datagram_and_nodes_have_the_names_that_a_lease_told() {
    with_samples(|samples| {
        let find = |name: &str| *samples.iter().find(|message| message.name() == name).unwrap();
        let (lease, grant, over) = (find("Lease"), find("Grant"), find("Over"));
        let Message::Lease(Lease { peers, .. }) = lease else { panic!("{lease:?}") };
        let name = peers.iter().next().unwrap();
        let frames = read([unsealed(&[grant, over]), unsealed(&[lease]), unsealed(&[grant])]);
        let unnamed = "GRANT c=0102030405060708 286397204->555885348 node 16706";
        assert_eq!(frames[0].info, format!("{unnamed}, OVER c=0102030405060708"));
        assert_eq!(frames[2].info, unnamed.replace("node 16706", name.name.as_str()));
    });
}

fn golden() -> (Image, Vec<u8>) {
    let bytes = baton_tools::file::read(Path::new(GOLDEN)).unwrap();
    (Image::decode(&bytes).unwrap(), bytes)
}

/// The image in parts of `part_bytes`.
fn handoffs(image: &Image, bytes: &[u8], part_bytes: u16) -> Vec<Vec<u8>> {
    let total = u32::try_from(bytes.len()).unwrap();
    let of = |(part, bytes)| {
        let part = u16::try_from(part).unwrap();
        let Image { c, base, epoch: e2, .. } = *image;
        unsealed(&[Handoff { c, base, e2, g: Generation(1), total, part_bytes, part, bytes }.into()])
    };
    bytes.chunks(usize::from(part_bytes)).enumerate().map(of).collect()
}

/// The fields of the image in a frame.
fn image_leaves(frame: &Datagram) -> Vec<&Leaf> {
    frame.leaves.iter().skip_while(|leaf| leaf.name != "baton.image.image_version").collect()
}

#[test]
fn every_field_of_an_image_is_shown_in_one_part_and_in_many() {
    let (image, bytes) = golden();
    let whole = handoffs(&image, &bytes, 4_000);
    assert_eq!(whole.len(), 1);
    // Parts that come out of order, and one twice.
    let mut parts = handoffs(&image, &bytes, 300);
    assert!(parts.len() > 2);
    parts.swap(0, 1);
    parts.push(parts[0].clone());
    let last = parts.len() - 2;
    let frames = read(whole.into_iter().chain(parts));
    for at in [0, 1 + last] {
        let frame = &frames[at];
        assert_eq!(frame.experts, Vec::<String>::new());
        let leaves = image_leaves(frame);
        let shown: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.value.clone()).collect();
        assert_eq!(shown, bytes, "every byte is a field's");
        assert_named(&leaves, &image);
    }
    for (at, frame) in frames.iter().enumerate().skip(1) {
        let is_last = at == 1 + last;
        assert_eq!(!image_leaves(frame).is_empty(), is_last, "frame {at}");
        let known = frame.leaves.iter().find(|leaf| leaf.name == "baton.image.whole_in");
        // The first pass does not know what comes later.
        assert_eq!(known.map(|leaf| leaf.show.clone()), (at > 1 + last).then(|| (2 + last).to_string()), "frame {at}");
    }
    assert!(HANDOFF_OVERHEAD + bytes.len() + HEADER_BYTES < 4_000);
}

/// The numbers of an image under their names, as the decoder has them and as they are shown.
fn assert_named(leaves: &[&Leaf], image: &Image) {
    let described = baton_tools::dump::describe(image);
    let tcb = described["tcb"].as_object().unwrap();
    let mut compared = 0;
    for leaf in leaves {
        let name = leaf.name.trim_start_matches("baton.image.");
        let Some(value) = tcb.get(name).and_then(|value| value.as_str()).filter(|value| value.parse::<u64>().is_ok())
        else {
            continue;
        };
        assert_eq!(value, leaf.show, "{name}");
        compared += 1;
    }
    assert!(compared >= 16, "only {compared} fields have the names that `tcb dump` has: {tcb:?}");
}

#[test]
fn what_is_malformed_or_unknown_is_said() {
    let (image, bytes) = golden();
    let mut other = image.clone();
    other.epoch = Epoch(77);
    let mut version = bytes.clone();
    version[0] = 2;
    let part = |kind: u16| [&bytes[..], &kind.to_be_bytes(), &[0, 0, 0, 1, 9]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (raw(&[19, MUST_KNOW, 0, 12, 1]), "a message ends behind its datagram"),
        (raw(&[19, MUST_KNOW, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), "it ends too early"),
        (raw(&[49, MUST_KNOW, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]), "1 bytes too many"),
        (raw(&[200, MUST_KNOW, 0, 0]), "Unknown message that must be known"),
        (raw(&[200, 0, 0, 0]), "Unknown message"),
        (raw(&[30, MUST_KNOW, 0, 13, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 3]), "no claim has the value 3"),
        (raw(&[19]), "it ends too early"),
        (handoffs(&other, &bytes, 4_000).remove(0), "of another attempt"),
        (handoffs(&image, &version, 4_000).remove(0), "an image of version 2"),
        (handoffs(&image, &bytes[..200], 4_000).remove(0), "it ends too early"),
        (handoffs(&image, &part(0xffff), 4_000).remove(0), "Unknown part that must be understood"),
        (handoffs(&image, &part(0x7fff), 4_000).remove(0), "Unknown part"),
    ];
    let frames = read(cases.iter().map(|(datagram, _)| datagram.clone()));
    for ((_, sentence), frame) in cases.iter().zip(frames) {
        assert_eq!(frame.experts.len(), 1, "{sentence}: {:?}", frame.experts);
        assert!(frame.experts[0].contains(sentence), "{sentence}: {:?}", frame.experts);
    }
}

/// Two nodes with one secret, their HELLO and a message: everything that they put on the link.
fn conversation() -> Vec<(bool, Vec<u8>)> {
    let node = |name: &str, boot, role| {
        let me = Identity { name: name.to_owned(), boot: Boot(boot), core: 0, cores: 1, role, datagram_bytes: 1_472 };
        Sessions::new(me, ClusterSecret::parse(&[b'k'; 32]).unwrap(), [7; 32])
    };
    let now = Instant::from_micros(1_000_000);
    let (mut fe, mut be) = (node("fe1", 10, Role::FrontEnd), node("be1", 20, Role::BackEnd));
    let be_index = fe.add_peer(now, "be1", 0, BACK_END).unwrap();
    be.add_peer(now, "fe1", 0, FRONT_END).unwrap();
    with_samples(|samples| {
        let thaw = samples.iter().find(|message| message.name() == "Thaw").unwrap();
        fe.send(be_index, thaw).unwrap();
    });
    let (mut all, mut buf) = (vec![], [0; 1_472]);
    for _ in 0..4 {
        for from_fe in [true, false] {
            let (from, to, addr) = if from_fe { (&mut fe, &mut be, FRONT_END) } else { (&mut be, &mut fe, BACK_END) };
            while let Some((_, len)) = from.poll_transmit(now, &mut buf) {
                all.push((from_fe, buf[..len].to_vec()));
                let _ = to.handle_datagram(now, addr, &mut buf[..len]);
            }
        }
    }
    all
}

#[test]
fn a_capture_is_unsealed_with_the_secret_and_read() {
    let capture = Capture::new(conversation().into_iter().map(|(from_fe, datagram)| {
        let (from, to) = if from_fe { (FRONT_END, BACK_END) } else { (BACK_END, FRONT_END) };
        (from, to, datagram)
    }));
    let sealed = capture.read();
    let infos: Vec<&str> = sealed.iter().map(|frame| frame.info.as_str()).collect();
    assert_eq!(infos[0], "HELLO fe1 -> be1");
    assert!(infos.contains(&"HELLO-ACK be1 -> fe1") && infos.contains(&"sealed, 16 bytes"), "{infos:?}");
    for (frame, (_, datagram)) in sealed.iter().zip(conversation()) {
        assert!(frame.experts.iter().all(|word| word.contains("tcb unseal")), "{:?}", frame.experts);
        assert_covered(frame, &datagram);
    }
    let roles = |frame: &Datagram| frame.leaves.iter().find(|leaf| leaf.name == "baton.role").unwrap().show.clone();
    assert_eq!(roles(&sealed[0]), "1");

    let (code, said, opened) = capture.unseal(&[b'k'; 32]);
    assert_eq!(code, Some(0), "{said}");
    let hellos = infos.iter().filter(|info| info.starts_with("HELLO")).count();
    let summary = format!(
        "tcb: {} frames: {hellos} HELLO, {} datagrams unsealed, 0 left sealed\n",
        infos.len(),
        infos.len() - hellos
    );
    assert_eq!(said, summary);
    let opened = opened.read();
    assert_eq!(opened.len(), sealed.len());
    assert!(opened.iter().any(|frame| frame.info == "THAW c=0102030405060708 e2=555885348"));
    assert!(opened.iter().all(|frame| frame.experts.is_empty() && frame.is_checksum_good));

    let (code, said, closed) = capture.unseal(&[b'x'; 32]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{hellos} HELLO are under another secret")), "{said}");
    assert_eq!(closed.bytes(), capture.bytes());
    assert_eq!(NodeId::FRONT_END, NodeId(0), "the tables say that 0 is the front-end");
}
