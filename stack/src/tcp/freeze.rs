//! Freeze and thaw: a connection leaves one node and goes on at another.
//!
//! ```text
//!   Tcb --freeze(now, content)--> Frozen ~~~ image, wire ~~~ Frozen --thaw(now, config, content)--> Tcb
//!       consumes it: it cannot speak any more
//! ```
//! [`Frozen`] holds durations, never instants, and integers only. Both directions name every field of the TCB, so a new
//! field does not compile until somebody has decided what becomes of it: it *travels*, is *recomputed*, or is *reset*.
//!
//! A frozen connection may come off a wire: [`Tcb::thaw`] refuses what no TCB could have frozen to.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::cc::{Congestion, Cubic, Growth};
use super::config::TcpConfig;
use super::content::{Content, ContentLost, Extent, Place};
use super::frozen::{
    Frozen, FrozenBytes, FrozenCubic, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers, FrozenTuning,
};
use super::prr::Undo;
use super::queue::Queue;
use super::rack::Rack;
use super::recovery::Recovery;
use super::remote::Kept;
use super::scoreboard::{Run, Scoreboard};
use super::seq::SeqNum;
use super::tcb::{CloseReason, EXTENTS_MAX, Rcv, Snd, State, Tcb, TsClock, ts_clock};
use super::timers::Timers;
use super::tuning::Tuning;
use crate::time::{Duration, Instant};

/// Why a connection cannot be frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FreezeError {
    /// SYN-RECEIVED and CLOSED do not move: the one is the front-end's, the other nobody's.
    #[error("a connection in state {0:?} does not move")]
    NotSynchronized(State),
    /// The bytes to send cannot be read.
    #[error(transparent)]
    ContentLost(ContentLost),
}

/// Why what came is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ThawError {
    /// A field, named here, has a value that no connection has.
    #[error("no connection has such a {0}")]
    Impossible(&'static str),
    /// The content store has no room for its bytes.
    #[error(transparent)]
    NoRoom(ContentLost),
}

impl Tcb {
    /// Ends this node's part in the connection. The bytes to send are read from `content` and released there.
    ///
    /// # Errors
    /// The connection comes back as it was, with the reason.
    pub fn freeze(self, now: Instant, content: &mut impl Content) -> Result<Frozen, (Box<Self>, FreezeError)> {
        let this = self.ensure_synchronized()?;
        let queue = match read_all(&this.snd.queue, content) {
            Ok(queue) => queue,
            Err(lost) => return Err((Box::new(this), FreezeError::ContentLost(lost))),
        };
        for extent in this.snd.queue.extents() {
            if let Place::Local { source, offset } = extent.place {
                content.release(source, offset + extent.len);
            }
        }
        Ok(this.frozen(now, queue))
    }

    /// As [`Tcb::freeze`], but the bytes to send stay where they are, in the store of this node, `holder`: it has to keep them
    /// for later owners.
    ///
    /// # Errors
    /// As [`Tcb::freeze`].
    pub fn freeze_leaving(self, now: Instant, holder: u16) -> Result<(Frozen, Vec<Kept>), (Box<Self>, FreezeError)> {
        let this = self.ensure_synchronized()?;
        let (mut kept, mut queue) = (Vec::new(), Vec::new());
        let mut start = this.snd.queue.start();
        for &extent in this.snd.queue.extents() {
            let holder = match extent.place {
                Place::Remote { holder, .. } => holder,
                Place::Local { .. } => {
                    kept.push(Kept { start, extent });
                    holder
                }
            };
            match queue.last_mut() {
                Some(FrozenBytes::Remote { holder: last, len, .. }) if *last == holder => *len += extent.len,
                _ => queue.push(FrozenBytes::Remote { holder, offset: start, len: extent.len }),
            }
            start += extent.len;
        }
        Ok((this.frozen(now, queue), kept))
    }

    fn ensure_synchronized(self) -> Result<Self, (Box<Self>, FreezeError)> {
        if self.is_synchronized() {
            return Ok(self);
        }
        let state = self.state;
        Err((Box::new(self), FreezeError::NotSynchronized(state)))
    }

    #[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
    fn frozen(self, now: Instant, queue: Vec<FrozenBytes>) -> Frozen {
        let tsval = self.tsval(now);
        let Self {
            flow,
            state,
            config,
            opts,
            snd,
            rcv,
            ts,
            rtt,
            cc,
            rec,
            signals,
            path,
            timers,
            timed,
            sent_at,
            heard_at,
            waiting_since,
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
            dsack: _,
            challenges: _,
            is_active: _,
            control_now: _,
            closed: _,
        } = self;
        let Snd { iss, una, nxt, wnd, wl1, wl2, max_wnd, queue: extents, fin, small, urgent } = snd;
        let Rcv {
            irs,
            nxt: rcv_nxt,
            edge,
            mut buffer,
            consumed,
            out_of_order,
            latest,
            fin: rcv_fin,
            tuning,
            urgent: rcv_urgent,
        } = rcv;
        let TsClock { offset: _, last: _, recent, recent_at, last_ack_sent } = ts;
        let Congestion { cwnd, ssthresh, growth, start } = cc;
        buffer.drain(..consumed);
        Frozen {
            flow,
            state,
            opts,
            iss,
            snd_una: una,
            snd_nxt: nxt,
            snd_wnd: wnd,
            snd_wl1: wl1,
            snd_wl2: wl2,
            max_wnd,
            snd_place: extents.start(),
            queue,
            fin,
            small,
            snd_urgent: urgent,
            irs,
            rcv_nxt,
            rcv_edge: edge,
            unread: buffer,
            out_of_order,
            rcv_latest: latest,
            rcv_fin,
            rcv_urgent,
            tuning: freeze_tuning(tuning, config.recv_buffer_bytes, now),
            tsval,
            ts_recent: recent,
            ts_recent_age: now.since(recent_at),
            last_ack_sent,
            rtt,
            cwnd,
            ssthresh,
            growth: freeze_growth(growth, now),
            start,
            recovery: freeze_recovery(rec, now),
            signals,
            path: path.map(|at| at.since(now)),
            timers: freeze_timers(timers, now),
            timed: timed.map(|(seq, at)| (seq, now.since(at))),
            sent_age: now.since(sent_at),
            heard_age: now.since(heard_at),
            waiting_age: now.since(waiting_since),
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
        }
    }

    /// Goes on with a connection at this node, under its own `config`. The bytes to send go into `content`.
    ///
    /// # Errors
    /// It is no connection, or its bytes have no room.
    #[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
    pub fn thaw(
        frozen: Frozen,
        now: Instant,
        config: &TcpConfig,
        content: &mut impl Content,
    ) -> Result<Self, ThawError> {
        frozen.check()?;
        let Frozen {
            flow,
            state,
            opts,
            iss,
            snd_una,
            snd_nxt,
            snd_wnd,
            snd_wl1,
            snd_wl2,
            max_wnd,
            snd_place,
            queue,
            fin,
            small,
            snd_urgent,
            irs,
            rcv_nxt,
            rcv_edge,
            unread,
            out_of_order,
            rcv_latest,
            rcv_fin,
            rcv_urgent,
            tuning,
            tsval,
            ts_recent,
            ts_recent_age,
            last_ack_sent,
            rtt,
            cwnd,
            ssthresh,
            growth,
            start,
            recovery,
            signals,
            path,
            timers,
            timed,
            sent_age,
            heard_age,
            waiting_age,
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
        } = frozen;
        let queue = store_all(snd_place, queue, content).map_err(ThawError::NoRoom)?;
        let (una, nxt, wnd) = (snd_una, snd_nxt, snd_wnd);
        let snd =
            Snd { iss, una, nxt, wnd, wl1: snd_wl1, wl2: snd_wl2, max_wnd, queue, fin, small, urgent: snd_urgent };
        let (latest, fin, urgent) = (rcv_latest, rcv_fin, rcv_urgent);
        let tuning = thaw_tuning(tuning, config, now);
        let rcv = Rcv {
            irs,
            nxt: rcv_nxt,
            edge: rcv_edge,
            buffer: unread,
            consumed: 0,
            out_of_order,
            latest,
            fin,
            tuning,
            urgent,
        };
        let mut tcb = Self {
            flow,
            state,
            config: config.into(),
            opts,
            snd,
            rcv,
            ts: TsClock {
                offset: tsval.wrapping_sub(ts_clock(now)),
                last: tsval,
                recent: ts_recent,
                recent_at: before(now, ts_recent_age),
                last_ack_sent,
            },
            rtt,
            cc: Congestion { cwnd, ssthresh, growth: thaw_growth(growth, now), start },
            rec: thaw_recovery(recovery, una, now),
            signals,
            path: path.map(|time| now + time),
            timers: thaw_timers(timers, now),
            // Short by the time of the move. Without it a client without timestamps that is moved with each response
            // would never be measured.
            timed: timed.map(|(seq, age)| (seq, before(now, age))),
            sent_at: before(now, sent_age),
            heard_at: before(now, heard_age),
            waiting_since: before(now, waiting_age),
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
            dsack: None,
            challenges: (now, 0),
            is_active: false,
            control_now: false,
            closed: if state == State::TimeWait { Some(CloseReason::Finished) } else { None },
        };
        if tcb.unacknowledged() > 0 && tcb.timers.retransmit.is_none() {
            // Never frozen like this here; without the timer it would wait for ever.
            tcb.arm_retransmit(now);
        }
        if tcb.state == State::FinWait2 && tcb.timers.fin_wait_2.is_none() {
            // Its last owner had none; this one may.
            tcb.arm_fin_wait_2(now);
        }
        Ok(tcb)
    }
}

/// The queue with its local bytes; neighbours become one range.
fn read_all(queue: &Queue, content: &mut impl Content) -> Result<Vec<FrozenBytes>, ContentLost> {
    let mut frozen: Vec<FrozenBytes> = Vec::new();
    for extent in queue.extents() {
        match extent.place {
            Place::Remote { holder, offset } => frozen.push(FrozenBytes::Remote { holder, offset, len: extent.len }),
            Place::Local { source, offset } => {
                let len = usize::try_from(extent.len).map_err(|_| ContentLost)?;
                if let Some(FrozenBytes::Here(bytes)) = frozen.last_mut() {
                    let start = bytes.len();
                    bytes.resize(start + len, 0);
                    content.read(source, offset, &mut bytes[start..])?;
                } else {
                    let mut bytes = vec![0; len];
                    content.read(source, offset, &mut bytes)?;
                    frozen.push(FrozenBytes::Here(bytes));
                }
            }
        }
    }
    Ok(frozen)
}

/// The queue, with the bytes that came along in the store. All or nothing is stored.
fn store_all(start: u64, queue: Vec<FrozenBytes>, content: &mut impl Content) -> Result<Queue, ContentLost> {
    let mut extents = Queue::starting_at(start);
    for bytes in queue {
        let len = bytes.len();
        let place = match bytes {
            FrozenBytes::Remote { holder, offset, .. } => Ok(Place::Remote { holder, offset }),
            FrozenBytes::Here(bytes) => content.insert(bytes).map(|source| Place::Local { source, offset: 0 }),
        };
        match place {
            Ok(place) => {
                // As many at the most as were checked.
                let _ = extents.push(Extent { len, place }, EXTENTS_MAX);
            }
            Err(lost) => {
                for extent in extents.extents() {
                    if let Extent { len, place: Place::Local { source, .. } } = extent {
                        content.release(*source, *len);
                    }
                }
                return Err(lost);
            }
        }
    }
    Ok(extents)
}

fn freeze_tuning(tuning: Tuning, recv_buffer_bytes: u32, now: Instant) -> FrozenTuning {
    let Tuning { window, wanted: _, rtt_us, measure } = tuning;
    let grown = Some(window).filter(|window| *window > recv_buffer_bytes);
    FrozenTuning { grown, rtt_us, measure: measure.map(|(began, from)| (now.since(began), from)) }
}

/// The new node has limits of its own.
fn thaw_tuning(tuning: FrozenTuning, config: &TcpConfig, now: Instant) -> Tuning {
    let FrozenTuning { grown, rtt_us, measure } = tuning;
    let window = grown.unwrap_or(0).min(config.recv_buffer_max_bytes).max(config.recv_buffer_bytes);
    Tuning { window, wanted: 0, rtt_us, measure: measure.map(|(age, from)| (before(now, age), from)) }
}

fn freeze_growth(growth: Growth, now: Instant) -> FrozenGrowth {
    match growth {
        Growth::NewReno(reno) => FrozenGrowth::NewReno(reno),
        Growth::Cubic(Cubic { w_max, epoch, k_ms, w_epoch, w_est, fraction }) => {
            let epoch_age = epoch.map(|epoch| now.since(epoch));
            FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction })
        }
    }
}

fn thaw_growth(growth: FrozenGrowth, now: Instant) -> Growth {
    match growth {
        FrozenGrowth::NewReno(reno) => Growth::NewReno(reno),
        FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction }) => {
            let epoch = epoch_age.map(|age| before(now, age));
            Growth::Cubic(Cubic { w_max, epoch, k_ms, w_epoch, w_est, fraction })
        }
    }
}

fn freeze_recovery(recovery: Recovery, now: Instant) -> FrozenRecovery {
    let Recovery { phase, dup_acks, sent, rack, probe, force, prr, undo } = recovery;
    let Rack { newest, rtt_us, min_rtt, is_reordering_seen, wider, persist, dsack_round, boundary } = rack;
    let runs = sent.runs().map(|run| {
        let Run { end, sent, sacked, lost, again } = *run;
        Run { end, sent: now.since(sent), sacked, lost, again }
    });
    FrozenRecovery {
        phase,
        dup_acks,
        sent: runs.collect(),
        rack: FrozenRack {
            newest: newest.map(|(sent, end)| (now.since(sent), end)),
            rtt_us,
            min_rtt: (min_rtt.0, now.since(min_rtt.1)),
            is_reordering_seen,
            wider,
            persist,
            dsack_round,
            boundary,
        },
        probe,
        force,
        prr,
        undo: undo.map(|undo| with_growth(*undo, |growth| freeze_growth(growth, now))),
    }
}

fn thaw_recovery(recovery: FrozenRecovery, una: SeqNum, now: Instant) -> Recovery {
    let FrozenRecovery { phase, dup_acks, sent, rack, probe, force, prr, undo } = recovery;
    let FrozenRack { newest, rtt_us, min_rtt, is_reordering_seen, wider, persist, dsack_round, boundary } = rack;
    let runs = sent.into_iter().map(|run| {
        let Run { end, sent, sacked, lost, again } = run;
        Run { end, sent: before(now, sent), sacked, lost, again }
    });
    Recovery {
        phase,
        dup_acks,
        sent: Scoreboard::of(una, runs),
        rack: Rack {
            newest: newest.map(|(age, end)| (before(now, age), end)),
            rtt_us,
            min_rtt: (min_rtt.0, before(now, min_rtt.1)),
            is_reordering_seen,
            wider,
            persist,
            dsack_round,
            boundary,
        },
        probe,
        force,
        prr,
        undo: undo.map(|undo| Box::new(with_growth(undo, |growth| thaw_growth(growth, now)))),
    }
}

fn with_growth<G, H>(undo: Undo<G>, change: impl FnOnce(G) -> H) -> Undo<H> {
    let Undo { pipe_prev, growth, from, until, stamp, again, needless } = undo;
    Undo { pipe_prev, growth: change(growth), from, until, stamp, again, needless }
}

fn freeze_timers(timers: Timers, now: Instant) -> FrozenTimers {
    let Timers { retransmit, persist, delayed_ack, keepalive, fin_wait_2, reorder, probe } = timers;
    let left = |at: Option<Instant>| at.map(|at| at.since(now));
    FrozenTimers {
        retransmit: left(retransmit),
        persist: left(persist),
        delayed_ack: left(delayed_ack),
        keepalive: left(keepalive),
        fin_wait_2: left(fin_wait_2),
        reorder: left(reorder),
        probe: left(probe),
    }
}

fn thaw_timers(timers: FrozenTimers, now: Instant) -> Timers {
    let FrozenTimers { retransmit, persist, delayed_ack, keepalive, fin_wait_2, reorder, probe } = timers;
    let at = |left: Option<Duration>| left.map(|left| now + left);
    Timers {
        retransmit: at(retransmit),
        persist: at(persist),
        delayed_ack: at(delayed_ack),
        keepalive: at(keepalive),
        fin_wait_2: at(fin_wait_2),
        reorder: at(reorder),
        probe: at(probe),
    }
}

/// The point `age` before `now`; a node that started later than that takes its own beginning.
fn before(now: Instant, age: Duration) -> Instant {
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(now.micros().saturating_sub(age))
}
