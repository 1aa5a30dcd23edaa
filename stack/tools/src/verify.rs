//! Whether an image is one: it decodes, it is written in the one way, and a connection comes to life from it that freezes to the same again.

use baton_stack::tcp::{Content, ContentLost, SourceId, Tcb, TcpConfig, ThawError};
use baton_stack::time::Instant;
use handoff_proto::image::{Image, ImageError};

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It does not decode.
    #[error("does not decode: {0}")]
    Decode(#[from] ImageError),
    /// It decodes and is not written as any node writes it.
    #[error("encoded again it differs from byte {0} on")]
    Encoding(usize),
    /// No connection can have been frozen to it.
    #[error("does not thaw: {0}")]
    Thaw(#[from] ThawError),
    /// The thawed connection cannot be frozen.
    #[error("does not freeze again")]
    Freeze,
    /// The thawed connection freezes to something else.
    #[error("thawed and frozen again it differs from byte {0} on")]
    Thawed(usize),
}

/// Checks an image's bytes.
///
/// # Errors
/// What is wrong.
pub fn verify(bytes: &[u8]) -> Result<Image, Wrong> {
    let image = Image::decode(bytes)?;
    if let Some(at) = difference(bytes, &image.encode()) {
        return Err(Wrong::Encoding(at));
    }
    let (mut store, now) = (Store::default(), Instant::from_micros(1 << 40));
    let tcb = Tcb::thaw(image.tcb.clone(), now, &TcpConfig::default(), &mut store)?;
    let tcb = tcb.freeze(now, &mut store).map_err(|_| Wrong::Freeze)?;
    let again = Image { tcb, ..image.clone() };
    match difference(bytes, &again.encode()) {
        None => Ok(image),
        Some(at) => Err(Wrong::Thawed(at)),
    }
}

/// The first place where two byte strings differ.
fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (at < a.len().max(b.len())).then_some(at)
}

/// Keeps what came with the image.
#[derive(Default)]
struct Store(Vec<Vec<u8>>);

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let at = usize::try_from(source.0).map_err(|_| ContentLost)?;
        let start = usize::try_from(offset).map_err(|_| ContentLost)?;
        let bytes = self.0.get(at).and_then(|bytes| bytes.get(start..)?.get(..buf.len())).ok_or(ContentLost)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn release(&mut self, _source: SourceId, _up_to: u64) {}

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        self.0.push(bytes);
        u64::try_from(self.0.len() - 1).map(SourceId).map_err(|_| ContentLost)
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_difference_is_found_also_behind_the_shorter_end() {
        for (a, b, at) in [("abc", "abc", None), ("abc", "abd", Some(2)), ("ab", "abc", Some(2)), ("", "", None)] {
            assert_eq!(difference(a.as_bytes(), b.as_bytes()), at);
        }
    }
}
