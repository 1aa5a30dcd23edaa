//! A service whose own work is as small as can be: what is measured is Baton, not it.

use std::sync::Arc;

use baton_backend::serve::{Body, BodyError, Prepared, Ready, Request, Response, Service};
use baton_http1::Status;

/// `/N` has N bytes, copied from memory.
#[derive(Clone, Debug)]
pub struct Steady {
    bytes: Arc<[u8]>,
}

/// Bytes in memory; longer bodies begin again with the first.
const BYTES: usize = 1 << 16;

impl Default for Steady {
    fn default() -> Self {
        Self { bytes: [0x5a; BYTES].into() }
    }
}

impl Service for Steady {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
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
