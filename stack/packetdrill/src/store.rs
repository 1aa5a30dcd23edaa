//! The content store: what the sockets have written and the peer has not acknowledged.

use std::collections::{BTreeMap, VecDeque};

use baton_stack::tcp::{Content, ContentLost, SourceId};

/// A source's bytes, without those that are released.
#[derive(Clone, Debug)]
struct Source {
    /// The offset of the first byte.
    start: u64,
    bytes: VecDeque<u8>,
}

/// Every source in memory. What bounds it is the send buffer of each socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    sources: BTreeMap<u64, Source>,
    next: u64,
}

impl Store {
    /// Adds bytes to a source that is not released yet, or to a new one. Returns it, and where they begin in it.
    pub(crate) fn append(&mut self, source: Option<SourceId>, bytes: &[u8]) -> (SourceId, u64) {
        if let Some(id) = source
            && let Some(source) = self.sources.get_mut(&id.0)
        {
            let offset = source.start + source.bytes.len() as u64;
            source.bytes.extend(bytes);
            return (id, offset);
        }
        (self.add(bytes.to_vec()), 0)
    }

    fn add(&mut self, bytes: Vec<u8>) -> SourceId {
        let id = self.next;
        self.next += 1;
        self.sources.insert(id, Source { start: 0, bytes: bytes.into() });
        SourceId(id)
    }

    /// How many bytes there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sources.values().map(|source| source.bytes.len()).sum()
    }
}

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let source = self.sources.get(&source.0).ok_or(ContentLost)?;
        let from = offset.checked_sub(source.start).ok_or(ContentLost)?;
        let from = usize::try_from(from).map_err(|_| ContentLost)?;
        if source.bytes.len() < from + buf.len() {
            return Err(ContentLost);
        }
        for (to, byte) in buf.iter_mut().zip(source.bytes.range(from..)) {
            *to = *byte;
        }
        Ok(())
    }

    fn release(&mut self, id: SourceId, up_to: u64) {
        let Some(source) = self.sources.get_mut(&id.0) else { return };
        let gone = usize::try_from(up_to.saturating_sub(source.start)).unwrap_or(usize::MAX).min(source.bytes.len());
        source.bytes.drain(..gone);
        source.start += gone as u64;
        if source.bytes.is_empty() {
            self.sources.remove(&id.0);
        }
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        Ok(self.add(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_grows_until_all_of_it_is_released() {
        let mut store = Store::default();
        let (source, offset) = store.append(None, b"abcd");
        assert_eq!((offset, store.append(Some(source), b"ef")), (0, (source, 4)));
        store.release(source, 3);
        let mut buf = [0; 3];
        assert_eq!((store.read(source, 3, &mut buf), &buf), (Ok(()), b"def"));
        assert_eq!(store.read(source, 2, &mut buf), Err(ContentLost), "released");
        assert_eq!(store.read(source, 4, &mut buf), Err(ContentLost), "one past the end");
        store.release(source, 6);
        assert_eq!(store.len(), 0);
        assert_ne!(store.append(Some(source), b"g").0, source, "what was released whole is gone");
    }
}
