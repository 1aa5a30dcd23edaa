//! A service whose own work is as small as can be: what is measured is Baton, not it. And files.

use std::sync::Arc;

use baton_backend::serve::{Body, BodyError, Files, Prepared, Ready, Request, Response, Service};
use baton_http1::Status;
use tempfile::TempDir;

/// `/N` has N bytes, copied from memory; `/file` is a file that is longer than what is sent of it.
#[derive(Clone, Debug)]
pub struct Steady {
    bytes: Arc<[u8]>,
    /// Made when it is first asked for.
    files: Option<(Arc<TempDir>, Files)>,
}

/// Bytes in memory; longer bodies begin again with the first.
const BYTES: usize = 1 << 16;

const FILE: &str = "/file";
const FILE_LEN: u64 = 1 << 30;

impl Default for Steady {
    fn default() -> Self {
        Self { bytes: [0x5a; BYTES].into(), files: None }
    }
}

impl Steady {
    /// # Errors
    /// There is no place for it.
    fn file(&mut self, request: &Request<'_>) -> std::io::Result<Prepared> {
        let (_, files) = match &mut self.files {
            Some(files) => files,
            none => {
                let directory = tempfile::tempdir()?;
                std::fs::File::create(directory.path().join(FILE.trim_start_matches('/')))?.set_len(FILE_LEN)?;
                let files = Files::new(directory.path())?;
                none.insert((Arc::new(directory), files))
            }
        };
        Ok(files.prepare(request))
    }
}

impl Service for Steady {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        if request.path() == FILE {
            return self.file(request).unwrap_or_else(|_| Response::empty(Status::INTERNAL_SERVER_ERROR).into());
        }
        match request.path().trim_start_matches('/').parse() {
            Ok(len) => Response::new(Status::OK, Repeated { bytes: Arc::clone(&self.bytes), len }).into(),
            Err(_) => Response::empty(Status::NOT_FOUND).into(),
        }
    }
}

#[derive(Debug)]
struct Repeated {
    bytes: Arc<[u8]>,
    len: u64,
}

impl Body for Repeated {
    fn length(&self) -> Option<u64> {
        Some(self.len)
    }

    fn ready(&self) -> Ready {
        Ready { end: self.len, complete: true }
    }

    fn read(&mut self, offset: u64, mut buf: &mut [u8]) -> Result<(), BodyError> {
        let mut from = usize::try_from(offset).map_err(|_| BodyError::OutOfRange)? % BYTES;
        while !buf.is_empty() {
            let len = buf.len().min(BYTES - from);
            let (head, rest) = buf.split_at_mut(len);
            head.copy_from_slice(&self.bytes[from..from + len]);
            (buf, from) = (rest, 0);
        }
        Ok(())
    }
}
