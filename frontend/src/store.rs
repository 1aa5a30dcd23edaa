//! The front-end's content store: its own error responses, and what is thawed when a handoff was refused.

use baton_stack::tcp::{Content, ContentLost, SourceId};
use slab::Slab;

/// Bytes in all at the most. A front-end sends a line of text now and then.
const STORE_BYTES_MAX: usize = 64 << 20;

/// Bytes in memory, until they are acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Store {
    sources: Slab<Vec<u8>>,
    bytes: usize,
}

impl Store {
    /// Forgets a source; one that is gone already does no harm.
    pub(crate) fn remove(&mut self, source: SourceId) {
        let bytes = usize::try_from(source.0).ok().and_then(|at| self.sources.try_remove(at));
        self.bytes -= bytes.map_or(0, |bytes| bytes.len());
    }
}

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let at = usize::try_from(source.0).map_err(|_| ContentLost)?;
        let start = usize::try_from(offset).map_err(|_| ContentLost)?;
        let bytes = self.sources.get(at).and_then(|bytes| bytes.get(start..)?.get(..buf.len())).ok_or(ContentLost)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        let len = usize::try_from(source.0).ok().and_then(|at| self.sources.get(at)).map_or(0, Vec::len);
        if usize::try_from(up_to).is_ok_and(|up_to| up_to >= len) {
            self.remove(source);
        }
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        if self.bytes + bytes.len() > STORE_BYTES_MAX {
            return Err(ContentLost);
        }
        self.bytes += bytes.len();
        Ok(SourceId(u64::try_from(self.sources.insert(bytes)).map_err(|_| ContentLost)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_until_all_are_acknowledged() {
        let mut store = Store::default();
        let source = store.insert(b"hello".to_vec()).expect("room");
        let mut buf = [0; 3];
        store.release(source, 4);
        assert_eq!(store.read(source, 2, &mut buf), Ok(()));
        assert_eq!(&buf, b"llo");
        assert_eq!(store.read(source, 3, &mut buf), Err(ContentLost));
        store.release(source, 5);
        assert_eq!(store.read(source, 0, &mut buf), Err(ContentLost));
        assert_eq!(store.bytes, 0);
        store.remove(source);
    }

    #[test]
    fn the_limit_holds_and_not_one_more() {
        let mut store = Store::default();
        let source = store.insert(vec![0; STORE_BYTES_MAX]).expect("room");
        assert_eq!(store.insert(vec![0]), Err(ContentLost));
        store.remove(source);
        assert!(store.insert(vec![0]).is_ok());
    }
}
