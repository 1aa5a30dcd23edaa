//! Preconditions and ranges (RFC 9110 sections 13 and 14).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_http1::Method;

use super::super::service::Request;

/// What a request's conditions come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Send all of it: 200.
    Whole,
    /// Send this part: 206.
    Part(ByteRange),
    /// The client has it: 304.
    NotModified,
    /// 412.
    Failed,
    /// The range begins behind the end: 416.
    Unsatisfiable,
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ByteRange {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// Evaluates the conditions of a GET or HEAD in the order of RFC 9110 section 13.2.2.
pub(super) fn evaluate(request: &Request<'_>, etag: &str, modified_s: i64, size: u64) -> Outcome {
    let date = |name| request.header(name).and_then(http_date);
    if request.header("if-match").is_some() {
        if !any_tag(request, "if-match", |tag| tag == etag) {
            return Outcome::Failed;
        }
    } else if date("if-unmodified-since").is_some_and(|date_s| modified_s > date_s) {
        return Outcome::Failed;
    }
    if request.header("if-none-match").is_some() {
        // Weak comparison (section 13.1.2).
        if any_tag(request, "if-none-match", |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag) {
            return Outcome::NotModified;
        }
    } else if date("if-modified-since").is_some_and(|date_s| modified_s <= date_s) {
        return Outcome::NotModified;
    }
    match request.header("range") {
        Some(range) if request.method() == Method::Get && range_applies(request, etag, modified_s) => {
            byte_range(range, size)
        }
        _ => Outcome::Whole,
    }
}

/// Whether any entity tag of the lists in the fields of this name is wanted, or one of them is `*`. A comma within a
/// tag cuts it in two; neither half can be one of our tags.
fn any_tag(request: &Request<'_>, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
    let fields = request.head().headers().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    fields
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim_matches([' ', '\t']))
        .any(|tag| tag == "*" || wanted(tag))
}

/// If-Range (section 13.1.5): with a stale validator the range is ignored, so that parts of two versions never mix.
fn range_applies(request: &Request<'_>, etag: &str, modified_s: i64) -> bool {
    let Some(validator) = request.header("if-range") else { return true };
    // A date is strong only when the second that it names is over (section 8.8.2.2).
    let second_is_over = i64::try_from(request.unix_now_s()).is_ok_and(|now_s| modified_s < now_s.saturating_sub(1));
    validator == etag.as_bytes() || (http_date(validator) == Some(modified_s) && second_is_over)
}

/// One range of bytes (section 14.1.2). Other units, several ranges and nonsense are ignored, as section 14.2 allows.
fn byte_range(value: &[u8], size: u64) -> Outcome {
    let spec = std::str::from_utf8(value).ok().and_then(|text| text.split_once('='));
    let Some((unit, range)) = spec else { return Outcome::Whole };
    let Some((first, last)) = range.trim_matches([' ', '\t']).split_once('-') else { return Outcome::Whole };
    let (Some(first), Some(last)) = (position(first), position(last)) else { return Outcome::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Outcome::Whole;
    }
    match (first, last) {
        (None, None) => Outcome::Whole,
        (None, Some(0)) => Outcome::Unsatisfiable,
        // An empty file has no part to name in Content-Range.
        (None, Some(_)) if size == 0 => Outcome::Whole,
        (None, Some(suffix)) => {
            let len = suffix.min(size);
            Outcome::Part(ByteRange { start: size - len, len })
        }
        (Some(first), Some(last)) if last < first => Outcome::Whole,
        (Some(first), _) if first >= size => Outcome::Unsatisfiable,
        (Some(first), last) => {
            let last = last.unwrap_or(u64::MAX).min(size - 1);
            Outcome::Part(ByteRange { start: first, len: last - first + 1 })
        }
    }
}

/// A position, or none where nothing is written. The outer `None` is nonsense. One too large for 64 bits is behind
/// every end.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

/// A date in any of HTTP's three forms, in seconds since 1970.
fn http_date(value: &[u8]) -> Option<i64> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |start, len| Outcome::Part(ByteRange { start, len });
        let cases = [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=0-9", 10, part(0, 10)),
            ("Bytes= 2-4", 10, part(2, 3)),
            ("bytes=9-", 10, part(9, 1)),
            ("bytes=5-99999999999999999999999", 10, part(5, 5)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-11", 10, part(0, 10)),
            ("bytes=10-", 10, Outcome::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Outcome::Unsatisfiable),
            ("bytes=-0", 10, Outcome::Unsatisfiable),
            ("bytes=0-", 0, Outcome::Unsatisfiable),
            ("bytes=-1", 0, Outcome::Whole),
            ("bytes=4-2", 10, Outcome::Whole),
            ("bytes=0-1,3-4", 10, Outcome::Whole),
            ("bytes=-", 10, Outcome::Whole),
            ("bytes=+1-2", 10, Outcome::Whole),
            ("bytes=a-b", 10, Outcome::Whole),
            ("bytes", 10, Outcome::Whole),
            ("lines=0-1", 10, Outcome::Whole),
        ];
        for (value, size, expected) in cases {
            assert_eq!(byte_range(value.as_bytes(), size), expected, "{value} of {size}");
        }
    }
}
