//! A body whose beginning was read ahead.

use super::body::{Body, BodyError, Continuation, Ready, to_u64, to_usize};

/// A body that gives its first bytes from memory, and the others as it would without.
#[derive(Debug)]
pub struct Begun<B> {
    body: B,
    /// The first bytes; none once they are released.
    beginning: Vec<u8>,
}

impl<B: Body> Begun<B> {
    /// `beginning` is how the bytes of `body` begin: no more than it has.
    #[must_use]
    pub const fn new(body: B, beginning: Vec<u8>) -> Self {
        Self { body, beginning }
    }
}

impl<B: Body> Body for Begun<B> {
    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    fn ready(&self) -> Ready {
        self.body.ready()
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let known = self.beginning.get(to_usize(offset)..).unwrap_or_default();
        let (first, rest) = buf.split_at_mut(known.len().min(buf.len()));
        first.copy_from_slice(&known[..first.len()]);
        // A body may look at the whole of what it is asked for, so it is asked for nothing but what is missing.
        if rest.is_empty() { Ok(()) } else { self.body.read(offset + to_u64(first.len()), rest) }
    }

    /// What is in memory is not copied once more.
    fn is_read_ahead(&self, offset: u64) -> bool {
        offset >= to_u64(self.beginning.len()) && self.body.is_read_ahead(offset)
    }

    fn release(&mut self, up_to: u64) {
        if to_usize(up_to) >= self.beginning.len() {
            self.beginning = Vec::new();
        }
        self.body.release(up_to);
    }

    fn chunk_end(&mut self, start: u64) -> u64 {
        self.body.chunk_end(start)
    }

    fn continuation(&self) -> Continuation {
        self.body.continuation()
    }

    fn room(&self) -> usize {
        self.body.room()
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.body.feed(bytes)
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        self.body.finish()
    }

    fn memory(&self) -> usize {
        self.beginning.len() + self.body.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Bytes;

    /// The beginning differs from the body here, so that it shows where a byte comes from.
    #[test]
    fn every_range_is_put_together_from_both() {
        let body: Vec<u8> = (0..20).collect();
        for known in [0, 1, 7, 20] {
            let beginning = vec![99; known];
            let mut begun = Begun::new(Bytes::from(body.clone()), beginning.clone());
            let expected: Vec<u8> = beginning.iter().copied().chain(body[known..].iter().copied()).collect();
            for (start, end) in (0..=20).flat_map(|start| (start..=20).map(move |end| (start, end))) {
                let mut buf = vec![0; end - start];
                begun.read(to_u64(start), &mut buf).unwrap();
                assert_eq!(buf, expected[start..end], "{known} known, {start}..{end}");
            }
            assert_eq!(begun.read(20, &mut [0]), Err(BodyError::OutOfRange));
        }
    }

    #[test]
    fn the_beginning_is_given_back_when_it_is_released() {
        let mut begun = Begun::new(Bytes::default(), vec![1; 8]);
        assert_eq!(begun.memory(), 8);
        begun.release(7);
        assert_eq!(begun.memory(), 8);
        begun.release(8);
        assert_eq!(begun.memory(), 0);
    }
}
