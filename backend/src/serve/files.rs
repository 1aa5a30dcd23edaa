//! A directory of static files.
//!
//! What is sent is the file as it was opened: each read is checked against the size and modification time of the
//! moment of the response, so a file that is changed in place while it is sent ends the connection and never gives
//! mixed bytes. Replace files by renaming a new one over them, as careful tools do: a response that has begun goes on
//! with the old file.
//!
//! A path is refused unless it names a regular file below the root. Dot files are hidden. Symbolic links are followed
//! as long as they lead to a place below the root, which is checked on the opened file and not on its name.
//!
//! Reads go to the page cache by `pread`. A file that is not in it costs a wait for the disk, for every connection of
//! the core.

mod conditional;
mod path;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use baton_http1::{Method, Status};

use self::conditional::{ByteRange, Outcome, evaluate};
use self::path::{PathError, file_path};
use super::body::{Body, BodyError, Ready, Validator, to_u64};
use super::head::http_date;
use super::service::{Prepared, Request, Response, Service};

/// The file that stands for its directory.
pub const INDEX: &str = "index.html";

/// `O_PATH`: the place in the file system, not opened for reading, so that a device or pipe does nothing.
const O_PATH: i32 = 0o10_000_000;
/// `ENFILE` and `EMFILE`: too many open files.
const TOO_MANY_FILES: [i32; 2] = [23, 24];
/// `ELOOP`: symbolic links in a circle, or too many of them.
const LINK_LOOP: i32 = 40;

/// Serves the files below a root directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// Absolute, without symbolic links.
    root: PathBuf,
}

impl Files {
    /// Serves what is below `root`.
    ///
    /// # Errors
    /// `root` is no directory that can be read, or `/proc` is not there to check paths with.
    pub fn new(root: &Path) -> io::Result<Self> {
        let files = Self { root: fs::canonicalize(root)? };
        let place = files.find(Path::new("")).map_err(|miss| match miss {
            Miss::Io(error) => error,
            Miss::Outside => io::Error::new(ErrorKind::Unsupported, "/proc does not tell the paths of open files"),
        })?;
        if !place.metadata.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(files)
    }

    fn respond(&self, request: &Request<'_>) -> Response {
        if !matches!(request.method(), Method::Get | Method::Head) {
            return Response::method_not_allowed("GET, HEAD");
        }
        let is_directory = request.path().ends_with('/');
        let mut path = match file_path(request.path()) {
            Ok(path) => path,
            Err(PathError::Malformed) => return Response::text(Status::BAD_REQUEST, "the path is malformed"),
            Err(PathError::Hidden) => return not_found(),
        };
        if is_directory {
            path.push(INDEX);
        }
        match self.find(&path) {
            Ok(place) if place.metadata.is_file() => {
                Self::respond_with(request, &place, &path).unwrap_or_else(|error| Miss::Io(error).response())
            }
            Ok(place) if place.metadata.is_dir() && !is_directory => redirect_to_directory(request),
            Ok(_) => not_found(),
            Err(miss) => miss.response(),
        }
    }

    /// The place of a path below the root.
    fn find(&self, path: &Path) -> Result<Place, Miss> {
        let file = OpenOptions::new().read(true).custom_flags(O_PATH).open(self.root.join(path)).map_err(Miss::Io)?;
        let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        if !fs::read_link(&link).map_err(Miss::Io)?.starts_with(&self.root) {
            return Err(Miss::Outside);
        }
        let metadata = file.metadata().map_err(Miss::Io)?;
        Ok(Place { _file: file, link, metadata })
    }

    fn respond_with(request: &Request<'_>, place: &Place, path: &Path) -> io::Result<Response> {
        let stamp = Stamp::of(&place.metadata);
        let etag = stamp.etag();
        let whole = ByteRange { start: 0, len: stamp.size };
        let (response, range) = match evaluate(request, &etag, stamp.modified_s, stamp.size) {
            Outcome::NotModified => (Response::empty(Status::NOT_MODIFIED), None),
            Outcome::Failed => (Response::text(Status::PRECONDITION_FAILED, "the precondition is false"), None),
            Outcome::Unsatisfiable => {
                let response = Response::text(Status::RANGE_NOT_SATISFIABLE, "the file ends before the range");
                return Ok(response.with_header("content-range", format!("bytes */{}", stamp.size)));
            }
            Outcome::Whole => (place.response(Status::OK, whole, stamp)?, Some(whole)),
            Outcome::Part(range) => (place.response(Status::PARTIAL_CONTENT, range, stamp)?, Some(range)),
        };
        let mut response = response.with_header("etag", etag);
        if let Some(date) = stamp.last_modified(request.unix_now_s()) {
            response = response.with_header("last-modified", date);
        }
        let Some(range) = range else { return Ok(response) };
        if range != whole || response.status() == Status::PARTIAL_CONTENT {
            let last = range.start + range.len - 1;
            let value = format!("bytes {}-{last}/{}", range.start, stamp.size);
            response = response.with_header("content-range", value);
        }
        let media_type = mime_guess::from_path(path).first_or_octet_stream();
        Ok(response.with_header("content-type", media_type.as_ref()).with_header("accept-ranges", "bytes"))
    }
}

impl Service for Files {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        self.respond(request).into()
    }
}

/// Why a path leads to no file.
enum Miss {
    Io(io::Error),
    /// It leads out of the root.
    Outside,
}

impl Miss {
    fn response(&self) -> Response {
        let Self::Io(error) = self else { return not_found() };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => not_found(),
            _ if error.raw_os_error() == Some(LINK_LOOP) => not_found(),
            ErrorKind::PermissionDenied => Response::text(Status::FORBIDDEN, "the file may not be read"),
            _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => {
                Response::text(Status::SERVICE_UNAVAILABLE, "too many open files").with_header("retry-after", "1")
            }
            _ => Response::text(Status::INTERNAL_SERVER_ERROR, "the file cannot be read"),
        }
    }
}

fn not_found() -> Response {
    Response::text(Status::NOT_FOUND, "no such file")
}

/// To the same path with a slash. The reference is relative, because a route may have taken a prefix off the path that
/// the client knows.
fn redirect_to_directory(request: &Request<'_>) -> Response {
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    Response::text(Status::MOVED_PERMANENTLY, "a directory ends with a slash")
        .with_header("location", format!("./{name}/{query}"))
}

/// A place in the file system, known to be below the root.
struct Place {
    /// Keeps `link` alive.
    _file: File,
    /// A path to exactly this place, whatever happens to its name.
    link: PathBuf,
    metadata: Metadata,
}

impl Place {
    fn response(&self, status: Status, range: ByteRange, stamp: Stamp) -> io::Result<Response> {
        Ok(Response::new(status, FileBody { file: File::open(&self.link)?, range, stamp }))
    }
}

/// What tells one content of a file from another: its size and the time of its last modification, in nanoseconds.
///
/// It is strong as far as the file system's clock tells changes apart, and equal on nodes to which the files were
/// copied with their times (`rsync -t`, `cp -p`, one image).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.size(), modified_s: metadata.mtime(), modified_ns: metadata.mtime_nsec() }
    }

    /// Nanoseconds since 1970, modulo 2^64.
    fn modified(&self) -> u64 {
        self.modified_s.wrapping_mul(1_000_000_000).wrapping_add(self.modified_ns).cast_unsigned()
    }

    fn etag(&self) -> String {
        format!("\"{:x}-{:x}\"", self.size, self.modified())
    }

    fn validator(&self) -> Validator {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.size.to_be_bytes());
        bytes[8..].copy_from_slice(&self.modified().to_be_bytes());
        Validator(bytes)
    }

    /// Never later than now (RFC 9110 section 8.8.2.1).
    fn last_modified(&self, unix_now_s: u64) -> Option<String> {
        u64::try_from(self.modified_s).ok().map(|modified_s| http_date(modified_s.min(unix_now_s)))
    }
}

/// A range of an open file.
#[derive(Debug)]
struct FileBody {
    file: File,
    range: ByteRange,
    stamp: Stamp,
}

impl Body for FileBody {
    fn length(&self) -> Option<u64> {
        Some(self.range.len)
    }

    fn ready(&self) -> Ready {
        Ready { end: self.range.len, complete: true }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let end = offset.checked_add(to_u64(buf.len())).ok_or(BodyError::OutOfRange)?;
        if end > self.range.len {
            return Err(BodyError::OutOfRange);
        }
        match self.file.read_exact_at(buf, self.range.start + offset) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(BodyError::Changed),
            Err(error) => return Err(BodyError::Io(error.kind())),
        }
        // Looked at after the read: a change before it shows, and one after it did no harm to these bytes.
        let metadata = self.file.metadata().map_err(|error| BodyError::Io(error.kind()))?;
        if Stamp::of(&metadata) == self.stamp { Ok(()) } else { Err(BodyError::Changed) }
    }

    fn validator(&self) -> Option<Validator> {
        Some(self.stamp.validator())
    }
}
