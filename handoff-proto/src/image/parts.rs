//! The parts of any length behind the fixed ones: kind, length, value.

use arrayvec::ArrayVec;
use baton_stack::tcp::{EXTENTS_MAX, Frozen, FrozenBytes, OUT_OF_ORDER_RANGES_MAX, PathMtu, Run, SeqNum};
use baton_stack::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

use super::flight::{self, Flight, UndoNumbers};
use super::path::PathNumbers;
use super::resume::Resume;
use super::signals::{SignalNumbers, WindowNumbers};
use super::start::StartNumbers;
use super::{Image, ImageError, PLAN_MAX, Planned};
use crate::codec::{Reader, Wire};

const KIND_MUST_UNDERSTAND: u16 = 1 << 15;
const KIND_UNREAD: u16 = KIND_MUST_UNDERSTAND | 1;
const KIND_OUT_OF_ORDER: u16 = KIND_MUST_UNDERSTAND | 2;
const KIND_BYTES: u16 = KIND_MUST_UNDERSTAND | 3;
const KIND_REMOTE: u16 = KIND_MUST_UNDERSTAND | 4;
const KIND_SENT: u16 = KIND_MUST_UNDERSTAND | 5;
const KIND_PLAN: u16 = KIND_MUST_UNDERSTAND | 6;
const KIND_FLIGHT: u16 = KIND_MUST_UNDERSTAND | 7;
const KIND_UNDO: u16 = KIND_MUST_UNDERSTAND | 8;
const KIND_RESUME: u16 = KIND_MUST_UNDERSTAND | 9;
const KIND_SIGNALS: u16 = KIND_MUST_UNDERSTAND | 0x10;
const KIND_WINDOW: u16 = KIND_MUST_UNDERSTAND | 0x11;
const KIND_PATH: u16 = KIND_MUST_UNDERSTAND | 0x12;
const KIND_START: u16 = KIND_MUST_UNDERSTAND | 0x13;

/// Kind and length in front of a part.
pub(super) const PART_HEADER_LEN: usize = 6;
/// The longest part whose length is fixed, the flight's and the undo's aside.
pub(super) const PART_FIXED_LEN_MAX: usize = 24;
/// Kinds of parts of which there is one at the most.
pub(super) const PARTS_MAX_ONCE: usize = 9;

/// The parts of any length.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) plan: ArrayVec<Planned, PLAN_MAX>,
    pub(super) resume: Option<Resume>,
    pub(super) tcb: TcbParts,
}

/// Those of a TCB.
#[derive(Default)]
pub(super) struct TcbParts {
    pub(super) queue: Vec<FrozenBytes>,
    pub(super) unread: Option<Vec<u8>>,
    pub(super) out_of_order: Vec<(SeqNum, Vec<u8>)>,
    pub(super) sent: Vec<Run<Duration>>,
    pub(super) flight: Option<Flight>,
    pub(super) undo: Option<UndoNumbers>,
    pub(super) signals: Option<SignalNumbers>,
    pub(super) window: Option<WindowNumbers>,
    pub(super) path: Option<PathNumbers>,
    pub(super) start: Option<StartNumbers>,
}

impl Parts {
    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, ImageError> {
        let mut parts = Self::default();
        while !reader.is_empty() {
            let kind: u16 = reader.take().ok_or(ImageError::Truncated)?;
            let len: u32 = reader.take().ok_or(ImageError::Truncated)?;
            let len = usize::try_from(len).map_err(|_| ImageError::Truncated)?;
            let value = reader.bytes(len).ok_or(ImageError::Truncated)?;
            parts.add(kind, value)?;
        }
        Ok(parts)
    }

    fn add(&mut self, kind: u16, value: &[u8]) -> Result<(), ImageError> {
        let mut reader = Reader::new(value);
        let Self { plan, resume, tcb } = self;
        match kind {
            KIND_UNREAD if tcb.unread.is_none() => tcb.unread = Some(value.to_vec()),
            KIND_UNREAD => return Err(ImageError::Malformed("second part of unread bytes")),
            KIND_OUT_OF_ORDER if tcb.out_of_order.len() < OUT_OF_ORDER_RANGES_MAX => {
                let seq = reader.take().ok_or(ImageError::Truncated)?;
                tcb.out_of_order.push((SeqNum(seq), reader.rest().to_vec()));
            }
            KIND_BYTES if tcb.queue.len() < EXTENTS_MAX => tcb.queue.push(FrozenBytes::Here(value.to_vec())),
            KIND_REMOTE if tcb.queue.len() < EXTENTS_MAX => tcb.queue.push(take_remote(&mut reader)?),
            KIND_SENT if tcb.sent.is_empty() => {
                tcb.sent = flight::take_runs(&mut reader)?;
                ensure_end(&reader, "scoreboard")?;
            }
            KIND_FLIGHT if tcb.flight.is_none() => {
                tcb.flight = Some(Flight::read_from_bytes(value).map_err(|_| ImageError::Malformed("flight"))?);
            }
            KIND_UNDO if tcb.undo.is_none() => {
                tcb.undo = Some(UndoNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("undo"))?);
            }
            KIND_SIGNALS if tcb.signals.is_none() => {
                let signals = SignalNumbers::read_from_bytes(value);
                tcb.signals = Some(signals.map_err(|_| ImageError::Malformed("signals"))?);
            }
            KIND_WINDOW if tcb.window.is_none() => {
                let window = WindowNumbers::read_from_bytes(value);
                tcb.window = Some(window.map_err(|_| ImageError::Malformed("receive window"))?);
            }
            KIND_PATH if tcb.path.is_none() => {
                tcb.path = Some(PathNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("path"))?);
            }
            KIND_START if tcb.start.is_none() => {
                tcb.start =
                    Some(StartNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("slow start"))?);
            }
            KIND_RESUME if resume.is_none() => *resume = Some(Resume::take(value)?),
            KIND_PLAN if plan.is_empty() => {
                while !plan.is_full() && !reader.is_empty() {
                    let n = reader.take().ok_or(ImageError::Truncated)?;
                    let strip = reader.take().ok_or(ImageError::Truncated)?;
                    plan.push(Planned { n, strip });
                }
                ensure_end(&reader, "plan")?;
            }
            KIND_OUT_OF_ORDER | KIND_BYTES | KIND_REMOTE | KIND_SENT | KIND_FLIGHT | KIND_UNDO | KIND_SIGNALS
            | KIND_WINDOW | KIND_PATH | KIND_START | KIND_PLAN | KIND_RESUME => {
                return Err(ImageError::Malformed("number of parts"));
            }
            kind if kind & KIND_MUST_UNDERSTAND != 0 => return Err(ImageError::UnknownPart(kind)),
            _ => {}
        }
        Ok(())
    }
}

fn take_remote(reader: &mut Reader<'_>) -> Result<FrozenBytes, ImageError> {
    let holder = reader.take().ok_or(ImageError::Truncated)?;
    let offset = reader.take().ok_or(ImageError::Truncated)?;
    let len = reader.take().ok_or(ImageError::Truncated)?;
    ensure_end(reader, "remote extent")?;
    Ok(FrozenBytes::Remote { holder, offset, len })
}

pub(super) fn ensure_end(reader: &Reader<'_>, name: &'static str) -> Result<(), ImageError> {
    if reader.is_empty() { Ok(()) } else { Err(ImageError::Malformed(name)) }
}

/// Writes a part; its length is filled in afterwards.
pub(super) fn put_part(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    kind.put(out);
    let at = out.len();
    0_u32.put(out);
    value(out);
    // An image is never longer than a few megabytes.
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Writes all parts of an image.
pub(super) fn put(out: &mut Vec<u8>, image: &Image) {
    if !image.plan.0.is_empty() {
        put_part(out, KIND_PLAN, |out| {
            for Planned { n, strip } in image.plan.iter() {
                n.put(out);
                strip.put(out);
            }
        });
    }
    if let Some(resume) = &image.resume {
        resume.put(KIND_RESUME, out);
    }
    put_of_tcb(out, &image.tcb);
}

fn put_of_tcb(out: &mut Vec<u8>, tcb: &Frozen) {
    if !tcb.unread.is_empty() {
        put_part(out, KIND_UNREAD, |out| out.extend_from_slice(&tcb.unread));
    }
    for (seq, bytes) in &tcb.out_of_order {
        put_part(out, KIND_OUT_OF_ORDER, |out| {
            seq.0.put(out);
            out.extend_from_slice(bytes);
        });
    }
    for bytes in &tcb.queue {
        match bytes {
            FrozenBytes::Here(bytes) => put_part(out, KIND_BYTES, |out| out.extend_from_slice(bytes)),
            FrozenBytes::Remote { holder, offset, len } => put_part(out, KIND_REMOTE, |out| {
                holder.put(out);
                offset.put(out);
                len.put(out);
            }),
        }
    }
    if !tcb.recovery.sent.is_empty() {
        put_part(out, KIND_SENT, |out| flight::put_runs(&tcb.recovery.sent, out));
    }
    let flight = Flight::of(tcb);
    if flight != Flight::default() {
        put_part(out, KIND_FLIGHT, |out| out.extend_from_slice(flight.as_bytes()));
    }
    if let Some(undo) = &tcb.recovery.undo {
        put_part(out, KIND_UNDO, |out| out.extend_from_slice(UndoNumbers::of(undo).as_bytes()));
    }
    let signals = SignalNumbers::of(tcb);
    if signals != SignalNumbers::default() {
        put_part(out, KIND_SIGNALS, |out| out.extend_from_slice(signals.as_bytes()));
    }
    let window = WindowNumbers::of(tcb.tuning);
    if window != WindowNumbers::default() {
        put_part(out, KIND_WINDOW, |out| out.extend_from_slice(window.as_bytes()));
    }
    if tcb.path != (PathMtu { confirmed: tcb.path.confirmed, ..PathMtu::default() }) {
        put_part(out, KIND_PATH, |out| out.extend_from_slice(PathNumbers::of(&tcb.path).as_bytes()));
    }
    if let Some(start) = &tcb.start {
        put_part(out, KIND_START, |out| out.extend_from_slice(StartNumbers::of(start).as_bytes()));
    }
}
