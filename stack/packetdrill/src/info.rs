//! `TCP_INFO`, as Linux lays it out.

use baton_stack::tcp::{Info, Phase, State};
use baton_stack::time::{Duration, Instant};

use crate::net::{Conn, Counts, micros};

/// Linux's numbers of the states.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// Linux's numbers of what is done about losses.
const CA_OPEN: u8 = 0;
const CA_DISORDER: u8 = 1;
const CA_RECOVERY: u8 = 3;
const CA_LOSS: u8 = 4;

const OPTION_TIMESTAMPS: u8 = 1;
const OPTION_SACK: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 4;
const OPTION_ECN: u8 = 8;

/// What Linux calls a threshold that was never set.
const THRESHOLD_NONE: u32 = 0x7fff_ffff;
const PATH_MTU: u32 = 1_500;

/// The fields up to `tcpi_rcv_wnd`, in order. What Baton does not keep is zero.
pub(crate) fn tcp_info(conn: Option<&Conn>, is_listening: bool, now: Instant) -> Vec<u8> {
    let Some(conn) = conn else {
        let mut bytes = Layout::default();
        bytes.u8s(&[if is_listening { LISTEN } else { CLOSE }, 0, 0, 0, 0, 0, 0, 0]);
        bytes.u32s(&[0; 24]);
        bytes.u64s(&[0; 4]);
        bytes.u32s(&[0; 6]);
        bytes.u64s(&[0; 4]);
        bytes.u32s(&[0; 2]);
        bytes.u64s(&[0; 2]);
        bytes.u32s(&[0; 5]);
        return bytes.0;
    };
    let info = conn.tcb.info(now);
    let mut bytes = Layout::default();
    head(&mut bytes, &info);
    middle(&mut bytes, conn, &info);
    tail(&mut bytes, &conn.counts, &info);
    bytes.0
}

/// `tcpi_state` to `tcpi_rcv_mss`.
fn head(bytes: &mut Layout, info: &Info) {
    let option = |is_used: bool, bit: u8| if is_used { bit } else { 0 };
    let options = option(info.timestamps, OPTION_TIMESTAMPS)
        | option(info.sack, OPTION_SACK)
        | option(info.snd_scale.is_some(), OPTION_WINDOW_SCALE)
        | option(info.ecn, OPTION_ECN);
    let scales = info.snd_scale.map_or(0, |snd| snd | info.rcv_scale << 4);
    let probes = if info.in_flight == 0 { info.unanswered } else { 0 };
    bytes.u8s(&[state(info.state), ca_state(info), info.unanswered - probes, probes]);
    bytes.u8s(&[info.backoff, options, scales, 0]);
    bytes.u32s(&[us(info.rto), 0, info.snd_mss, info.rcv_mss]);
}

/// `tcpi_unacked` to `tcpi_total_retrans`.
fn middle(bytes: &mut Layout, conn: &Conn, info: &Info) {
    let segments = |count: u32| count.div_ceil(info.snd_mss.max(1));
    bytes.u32s(&[info.in_flight, info.sacked, info.lost, info.resent].map(segments));
    bytes.u32s(&[0]);
    // When data and an acknowledgment were last sent and received.
    bytes.u32s(&[ms(info.sent_age), 0, ms(info.heard_age), ms(info.heard_age)]);
    let threshold = if info.ssthresh >= THRESHOLD_NONE { THRESHOLD_NONE } else { segments(info.ssthresh) };
    let cwnd = info.cwnd / info.snd_mss.max(1);
    bytes.u32s(&[PATH_MTU, info.rcv_wnd, us(info.srtt), us(info.rttvar), threshold, cwnd, info.rcv_mss]);
    bytes.u32s(&[u32::from(baton_stack::tcp::DUP_THRESH), 0, info.rcv_wnd, conn.counts.retransmissions]);
}

/// `tcpi_pacing_rate` to `tcpi_rcv_wnd`.
fn tail(bytes: &mut Layout, counts: &Counts, info: &Info) {
    let acked = counts.bytes_out.saturating_sub(counts.bytes_again + u64::from(info.in_flight));
    bytes.u64s(&[0, 0, acked, counts.bytes_in]);
    let unsent = u32::try_from(info.unsent).unwrap_or(u32::MAX);
    bytes.u32s(&[counts.segments_out, counts.segments_in, unsent, 0]);
    bytes.u32s(&[counts.data_segments_in, counts.data_segments_out]);
    bytes.u64s(&[0; 4]);
    bytes.u32s(&[0; 2]);
    bytes.u64s(&[counts.bytes_out, counts.bytes_again]);
    bytes.u32s(&[0, 0, 0, info.snd_wnd, info.rcv_wnd]);
}

/// Fields one behind the other, in the machine's byte order.
#[derive(Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn u8s(&mut self, values: &[u8]) {
        self.0.extend_from_slice(values);
    }

    fn u32s(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }

    fn u64s(&mut self, values: &[u64]) {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }
}

const fn state(state: State) -> u8 {
    match state {
        State::SynSent => SYN_SENT,
        State::SynReceived => SYN_RECV,
        State::Established => ESTABLISHED,
        State::FinWait1 => FIN_WAIT1,
        State::FinWait2 => FIN_WAIT2,
        State::CloseWait => CLOSE_WAIT,
        State::Closing => CLOSING,
        State::LastAck => LAST_ACK,
        State::TimeWait => TIME_WAIT,
        State::Closed => CLOSE,
    }
}

const fn ca_state(info: &Info) -> u8 {
    match info.phase {
        Phase::Open if info.sacked > 0 => CA_DISORDER,
        Phase::Open => CA_OPEN,
        Phase::Fast(_) => CA_RECOVERY,
        Phase::Timeout(_) => CA_LOSS,
    }
}

fn us(time: Duration) -> u32 {
    u32::try_from(micros(time)).unwrap_or(u32::MAX)
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
