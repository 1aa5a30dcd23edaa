//! Finds the end of a request head without reading any byte of it twice.
//!
//! The scan is a function of the bytes in their order: each refusal depends only on the bytes before it. That is why a
//! stream that arrives in pieces is refused at the same byte, for the same reason, as one that arrives whole.

use crate::head::{HeadError, LEADING_EMPTY_LINES_MAX, Limits};

/// The length of the head at the start of `bytes`, its empty line included; `None` while it is incomplete.
///
/// `from` is how many of these bytes an earlier call has seen without finding the end, 0 at first: so the work on a
/// head that arrives byte by byte is linear.
///
/// # Errors
/// A line end other than CRLF, a control byte, too many leading empty lines, or a size above `limits`; each as soon as
/// it is certain, not only when the head is complete.
pub fn head_end(bytes: &[u8], from: usize, limits: &Limits) -> Result<Option<usize>, HeadError> {
    let head_bytes_max = limits.head_bytes_cap();
    let window = &bytes[..bytes.len().min(head_bytes_max)];
    let incomplete = || if bytes.len() >= head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(None) };

    let start = request_line_start(window)?;
    // The last byte seen may be a CR that waits for its LF. A `from` that cannot be is no reason to skip bytes.
    let seen = if from > window.len() { 0 } else { from.saturating_sub(1) };
    let mut at = seen.max(start);
    loop {
        let control = next_control(window, at);
        let stop = control.unwrap_or(window.len());
        if request_line_too_long(window, start, at, stop, limits.request_line_bytes_max) {
            return Err(HeadError::RequestLineTooLong);
        }
        if control.is_none() {
            return incomplete();
        }
        match window[stop] {
            b'\r' => match window.get(stop + 1) {
                None => return incomplete(),
                Some(b'\n') if stop > start && window[stop - 1] == b'\n' => return Ok(Some(stop + 2)),
                Some(b'\n') => at = stop + 2,
                Some(_) => return Err(HeadError::BareCr),
            },
            // Seen together with its CR by an earlier call.
            b'\n' if stop > start && window[stop - 1] == b'\r' => at = stop + 1,
            b'\n' => return Err(HeadError::BareLf),
            b'\t' => at = stop + 1,
            _ => return Err(HeadError::ControlByte),
        }
    }
}

/// Where the request line starts: after the empty lines that some clients send behind a body (RFC 9112 section 2.2).
pub(crate) fn request_line_start(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
        if start > 2 * LEADING_EMPTY_LINES_MAX {
            return Err(HeadError::TooManyEmptyLines);
        }
    }
    Ok(start)
}

/// Whether the scan from `at` to `stop`, which met no line end, crosses the limit while still in the request line. The
/// limit is crossed once in the life of a head, so looking back for the line's end here does not make it quadratic.
fn request_line_too_long(window: &[u8], start: usize, at: usize, stop: usize, bytes_max: usize) -> bool {
    let limit = start.saturating_add(bytes_max);
    at <= limit && limit < stop && !window[start..at].contains(&b'\n')
}

/// The position of the first byte at or after `from` that is below 0x20 or is 0x7f.
fn next_control(bytes: &[u8], from: usize) -> Option<usize> {
    const LANES: usize = size_of::<u64>();
    let mut at = from;
    while let Some(lanes) = bytes.get(at..).and_then(<[u8]>::first_chunk::<LANES>) {
        if any_control(u64::from_le_bytes(*lanes)) {
            break;
        }
        at += LANES;
    }
    bytes.get(at..)?.iter().position(u8::is_ascii_control).map(|offset| at + offset)
}

/// Whether any of the eight bytes of `lanes` is below 0x20 or is 0x7f.
const fn any_control(lanes: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below_space = lanes.wrapping_sub(ONES * 0x20) & !lanes & HIGH;
    let not_delete = lanes ^ (ONES * 0x7f);
    let delete = not_delete.wrapping_sub(ONES) & !not_delete & HIGH;
    below_space | delete != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_value_is_classed_in_every_lane() {
        for lane in 0..8 {
            for value in 0..=u8::MAX {
                let mut bytes = [b'a'; 8];
                bytes[lane] = value;
                assert_eq!(
                    any_control(u64::from_le_bytes(bytes)),
                    value < 0x20 || value == 0x7f,
                    "{value:#x} in {lane}"
                );
                assert_eq!(next_control(&bytes, 0), (value < 0x20 || value == 0x7f).then_some(lane));
            }
        }
    }

    #[test]
    fn a_scan_from_any_earlier_end_finds_the_same() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\nx:\ty\r\n\r\nrest";
        let limits = Limits::default();
        let end = head.len() - 4;
        for from in 0..end {
            assert_eq!(head_end(&head[..from], 0, &limits), Ok(None), "{from}");
            assert_eq!(head_end(head, from, &limits), Ok(Some(end)), "{from}");
        }
        assert_eq!(head_end(head, head.len() + 1, &limits), Ok(Some(end)), "a position that cannot be is not believed");
    }
}
