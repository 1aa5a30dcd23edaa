//! A datagram after unsealing: what is read is written again as the same message, and nothing is read twice.

use handoff_proto::codec::Reader;
use handoff_proto::message::Message;

pub(crate) fn run(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    // Each message takes its header at least.
    for _ in 0..=bytes.len() {
        if reader.is_empty() {
            return;
        }
        let Ok(message) = Message::decode(&mut reader) else { continue };
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        assert_eq!(message.encoded_len(), encoded.len());
        let mut again = Reader::new(&encoded);
        assert_eq!(Message::decode(&mut again).as_ref(), Ok(&message));
        assert!(again.is_empty());
    }
    panic!("a datagram of {} bytes never ends", bytes.len());
}
