//! A content store that checks how it is used.

use std::vec::Vec;

use crate::tcp::{Content, ContentLost, Extent, Place, SourceId};

/// Sources, numbered from zero, with how far each is released.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    sources: Vec<(Vec<u8>, u64)>,
    /// Reading fails.
    pub broken: bool,
    /// Nothing more is taken in.
    pub full: bool,
}

impl Store {
    /// Keeps `bytes` behind `before` others and gives an extent of them.
    pub(super) fn extent(&mut self, before: usize, bytes: &[u8]) -> Extent {
        let mut source = std::vec![0xee; before];
        source.extend_from_slice(bytes);
        self.sources.push((source, 0));
        let place = Place::Local { source: SourceId(self.sources.len() as u64 - 1), offset: before as u64 };
        Extent { len: bytes.len() as u64, place }
    }

    /// Releases what lies before `extent` in its source.
    pub(super) fn release_before(&mut self, extent: Extent) {
        let Place::Local { source, offset } = extent.place else { return };
        self.release(source, offset);
    }

    /// Whether nothing is needed any more.
    pub(super) fn is_released(&self) -> bool {
        self.sources.iter().all(|(bytes, released)| *released == bytes.len() as u64)
    }
}

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let (bytes, released) = self.sources.get(usize::try_from(source.0).unwrap()).ok_or(ContentLost)?;
        assert!(offset >= *released, "byte {offset} of {source:?} is read after it was released");
        let from = usize::try_from(offset).unwrap();
        if self.broken {
            return Err(ContentLost);
        }
        buf.copy_from_slice(bytes.get(from..from + buf.len()).ok_or(ContentLost)?);
        Ok(())
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        let (bytes, released) = &mut self.sources[usize::try_from(source.0).unwrap()];
        assert!(*released <= up_to && up_to <= bytes.len() as u64, "{source:?} is released up to {up_to}");
        *released = up_to;
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        if self.full {
            return Err(ContentLost);
        }
        self.sources.push((bytes, 0));
        Ok(SourceId(self.sources.len() as u64 - 1))
    }
}
