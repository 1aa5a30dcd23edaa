//! Where the bytes to send are.

use baton_stack::tcp::{Content, ContentLost, Extent, Place, SourceId};

/// Sources, numbered from zero, with how far each is released.
#[derive(Debug, Default)]
pub(crate) struct Store {
    sources: Vec<(Vec<u8>, u64)>,
    /// Reading fails.
    pub(crate) broken: bool,
}

impl Store {
    /// Keeps `bytes` and gives an extent of them.
    pub(crate) fn extent(&mut self, bytes: &[u8]) -> Extent {
        self.sources.push((bytes.to_vec(), 0));
        let place = Place::Local { source: SourceId(self.sources.len() as u64 - 1), offset: 0 };
        Extent { len: bytes.len() as u64, place }
    }

    /// Whether nothing is needed any more.
    pub(crate) fn is_released(&self) -> bool {
        self.sources.iter().all(|(bytes, released)| *released == bytes.len() as u64)
    }

    fn source(&mut self, source: SourceId) -> Option<&mut (Vec<u8>, u64)> {
        self.sources.get_mut(usize::try_from(source.0).ok()?)
    }
}

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        if self.broken {
            return Err(ContentLost);
        }
        let (bytes, released) = self.source(source).ok_or(ContentLost)?;
        let from = usize::try_from(offset.max(*released)).map_err(|_| ContentLost)?;
        // What was released is gone.
        let bytes = bytes.get(from..from + buf.len()).filter(|_| offset >= *released).ok_or(ContentLost)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        if let Some((_, released)) = self.source(source) {
            *released = up_to;
        }
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        self.sources.push((bytes, 0));
        Ok(SourceId(self.sources.len() as u64 - 1))
    }
}
