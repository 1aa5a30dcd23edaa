//! Images: what decodes is written again as the same, and what thaws can live, whoever has made it.

use baton_backend::serve::{ContentStore, StoreLimits};
use baton_stack::tcp::{State, Tcb, TcpConfig};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::Image;

/// Old enough for any age.
const BEGIN: Instant = Instant::from_micros(1_000_000_000_000);
/// Turns of a connection's life.
const TURNS: u32 = 24;
const SEGMENTS_MAX: u32 = 2_000;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(image) = Image::decode(bytes) else { return };
    let encoded = image.encode();
    assert_eq!(Image::decode(&encoded).as_ref(), Ok(&image), "an image is another when it is written again");
    if Tcb::thaw(image.tcb.clone(), BEGIN, &TcpConfig::default(), &mut new_store()).is_ok() {
        live(image);
    }
}

/// Its timers run out, one after the other, and it moves on in between.
fn live(mut image: Image) {
    let (config, mut now) = (TcpConfig::default(), BEGIN);
    let mut buf = [0; 1_600];
    for _ in 0..TURNS {
        let mut store = new_store();
        let mut tcb = Tcb::thaw(image.tcb, now, &config, &mut store)
            .unwrap_or_else(|error| panic!("a connection does not thaw again: {error}"));
        tcb.note_move();
        tcb.check_stall(now);
        for n in 0.. {
            assert!(n < SEGMENTS_MAX, "it never stops sending");
            if tcb.poll_transmit(now, &mut store, &mut buf).len == 0 {
                break;
            }
        }
        tcb.check_stall(now);
        let Some(at) = tcb.poll_at() else { return };
        now = at.max(now + Duration::from_micros(1));
        let _ = tcb.handle_timeout(now, &mut store);
        if tcb.state() == State::Closed {
            return;
        }
        let Ok(frozen) = tcb.freeze(now, &mut store) else { return };
        let encoded = Image { tcb: frozen, ..image }.encode();
        image = Image::decode(&encoded).unwrap_or_else(|error| panic!("our image does not decode: {error}"));
    }
}

pub(crate) const fn new_store() -> ContentStore {
    ContentStore::new(StoreLimits { sources_max: 8_192, bytes_max: 16 << 20, pieces_max: 0 })
}
