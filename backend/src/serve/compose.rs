//! What the back-end program serves: the probe endpoints, then a directory, else nothing.

use super::body::{Body, Content};
use super::files::Files;
use super::probe::Probe;
use super::service::{Expected, NotResumed, Preparation, Prepared, Request, Response, Service, Work};
use crate::config::Serve;
use baton_http1::Status;
use std::io;
use std::path::Path;

/// The services that a configuration can ask for.
#[derive(Debug, Default)]
pub struct Composed {
    probe: Option<Probe>,
    files: Option<Files>,
}

impl Composed {
    /// A service that answers 404 until it is given something to serve.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What `[serve]` asks for. A relative root starts at `directory`, where the configuration is.
    ///
    /// # Errors
    /// The root cannot be served, as [`Files::new`].
    pub fn configured(serve: &Serve, directory: &Path) -> io::Result<Self> {
        let probe = serve.probe.then_some(Probe);
        let files = serve.root.as_ref().map(|root| Files::new(&directory.join(root))).transpose()?;
        Ok(Self { probe, files })
    }

    /// Serves the probe endpoints. A file of such a path is not seen.
    #[must_use]
    pub fn with_probe(mut self) -> Self {
        self.probe = Some(Probe);
        self
    }

    /// Serves a directory.
    #[must_use]
    pub fn with_files(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    fn for_path(&mut self, path: &str) -> Option<&mut dyn Service> {
        match (&mut self.probe, &mut self.files) {
            (Some(probe), _) if Probe::serves(path) => Some(probe),
            (_, Some(files)) => Some(files),
            (_, None) => None,
        }
    }
}

impl Service for Composed {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        match self.for_path(request.path()) {
            Some(service) => service.prepare(request),
            None => Response::text(Status::NOT_FOUND, "nothing is served here").into(),
        }
    }

    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        self.for_path(expected.path)?.prefetch(expected)
    }

    /// A probe's content and a file of the same name have different validators: whoever knows it has it.
    fn resume(&mut self, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
        let probed = self.probe.as_mut().map_or(Err(NotResumed::Differs), |probe| probe.resume(content, length));
        match (probed, &mut self.files) {
            (Err(NotResumed::Differs), Some(files)) => files.resume(content, length),
            (probed, _) => probed,
        }
    }

    fn work(&mut self) -> Work {
        self.files.as_mut().map_or(Work::Nothing, Service::work)
    }
}
