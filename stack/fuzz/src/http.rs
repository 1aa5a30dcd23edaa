//! Requests: the same is read, or refused, however the bytes are cut, and wherever the parser moves to another node.

use baton_http1::{Advance, Cursor, Limits};

use crate::input::Input;

/// Pieces of a stream at the most; the rest comes as one.
const PIECES_MAX: u8 = 64;

/// What was read of a stream.
#[derive(PartialEq, Eq, Debug, Default)]
struct Read {
    /// Heads, as far as they are told; bodies, each as one; what ended it.
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
    ended: Option<String>,
    consumed: usize,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut cuts = Vec::new();
    let mut at = 0;
    for _ in 0..input.byte() % PIECES_MAX {
        at += usize::from(input.byte());
        cuts.push(at);
    }
    let stream = input.take(usize::MAX);
    let whole = read(stream, &[]);
    assert_eq!(read(stream, &cuts), whole, "cut at {cuts:?}");
}

fn read(stream: &[u8], cuts: &[usize]) -> Read {
    let limits = Limits::default();
    let (mut cursor, mut done) = (Cursor::new(), Read::default());
    for end in cuts.iter().copied().chain([stream.len()]) {
        let end = end.min(stream.len());
        while done.ended.is_none() {
            let mut moved = [0; baton_http1::CURSOR_LEN];
            cursor.encode(&mut moved);
            assert_eq!(Cursor::decode(&moved), Ok(cursor), "a cursor is another after a move");
            let unread = &stream[done.consumed..end];
            let advance = match cursor.advance(unread, &limits) {
                Ok(advance) => advance,
                Err(error) => {
                    done.ended = Some(format!("{error:?} {}", error.status().code()));
                    break;
                }
            };
            let consumed = advance.consumed();
            assert!(consumed <= unread.len(), "more is consumed than there is");
            match advance {
                Advance::Incomplete => break,
                Advance::Closed => done.ended = Some(String::from("closed")),
                Advance::Head(head) => {
                    done.heads.push(format!(
                        "{} {:?} {} {:?} {:?}",
                        head.method.as_str(),
                        head.host,
                        head.path,
                        head.query,
                        head.framing
                    ));
                    done.bodies.push(Vec::new());
                }
                Advance::Body { payload, .. } => {
                    let body = done.bodies.last_mut().unwrap_or_else(|| panic!("a body without a head"));
                    body.extend_from_slice(&unread[payload]);
                }
                Advance::End => {}
            }
            done.consumed += consumed;
        }
    }
    if done.ended.is_some() {
        // How much of what cannot be read was looked at is nobody's affair.
        done.consumed = 0;
    }
    done
}
