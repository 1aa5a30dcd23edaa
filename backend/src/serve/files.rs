//! A directory of static files.
//!
//! What is sent is the file as it was opened: each read is checked against the size and modification time of the
//! moment of the response, so a file that is changed in place while it is sent ends the connection and never gives
//! mixed bytes. Files are read ahead, up to 32 KiB at a time: what was read before the change may still be sent, and
//! where that was the last of it, the response is whole. Replace files by renaming a new one over them, as careful tools
//! do: a response that has begun goes on with the old file.
//!
//! A path is refused unless it names a regular file below the root. Dot files are hidden. Symbolic links are followed
//! as long as they lead to a place below the root, which is checked on the opened file and not on its name.
//!
//! A file that is expected to be asked for may be opened, and its beginning read, before the request is here. If it is changed in place
//! meanwhile it is opened anew; if another has taken its name, what is sent is the one that had it then.
//!
//! A body is continued by another node whose file of the same path has the same bytes: their digest is its name between nodes. It is found
//! out in pieces when somebody wants such a move, and remembered; `digest.rs` has the limits.
//!
//! Reads go to the page cache by `pread`; with the look at size and time these are two calls of the kernel for each 32 KiB (`PIECE_LEN`),
//! and for each segment that is sent again. A file that is not in it costs a wait for the disk, for every connection of
//! the core.

mod conditional;
mod digest;
mod path;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_http1::{Method, Status};

use self::conditional::{ByteRange, Outcome, evaluate};
use self::digest::{Digest, Digests, FileState};
use self::path::{PathError, file_path, plain_path};
use super::begun::Begun;
use super::body::{Body, BodyError, Content, Continuation, Ready, to_u64, to_usize};
use super::head::http_date;
use super::service::{Expected, NotResumed, Preparation, Prepared, Request, Response, Service, Work};

/// The file that stands for its directory.
pub const INDEX: &str = "index.html";

/// `O_PATH`: the place in the file system, not opened for reading, so that a device or pipe does nothing.
const O_PATH: i32 = 0o10_000_000;
/// `ENFILE` and `EMFILE`: too many open files.
const TOO_MANY_FILES: [i32; 2] = [23, 24];
/// `ELOOP`: symbolic links in a circle, or too many of them.
const LINK_LOOP: i32 = 40;

/// Serves the files below a root directory.
#[derive(Clone, Debug)]
pub struct Files {
    /// Absolute, without symbolic links.
    root: PathBuf,
    /// Bodies ask for them, too, after they were made.
    digests: Arc<Mutex<Digests>>,
}

impl Files {
    /// Serves what is below `root`.
    ///
    /// # Errors
    /// `root` is no directory that can be read, or `/proc` is not there to check paths with.
    pub fn new(root: &Path) -> io::Result<Self> {
        let files = Self { root: fs::canonicalize(root)?, digests: Arc::default() };
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
        let path = match path_below(request.path()) {
            Ok(path) => path,
            Err(PathError::Malformed) => return Response::text(Status::BAD_REQUEST, "the path is malformed"),
            Err(PathError::Hidden) => return not_found(),
        };
        match self.find(&path) {
            Ok(place) if place.metadata.is_file() => {
                let content = |range, stamp| place.open().map(|file| self.body(file, &path, range, stamp));
                respond_with(request, Stamp::of(&place.metadata), &path, content)
                    .unwrap_or_else(|error| Miss::Io(error).response())
            }
            Ok(place) if place.metadata.is_dir() && !is_directory => redirect_to_directory(request),
            Ok(_) => not_found(),
            Err(miss) => miss.response(),
        }
    }

    /// Opens the file that is expected to be asked for and reads its beginning, if there is such a file.
    fn read_ahead(&self, expected: &Expected<'_>) -> Option<FileAhead> {
        let path = path_below(expected.path).ok()?;
        let place = self.find(&path).ok().filter(|place| place.metadata.is_file())?;
        let file = place.open().ok()?;
        let stamp = Stamp::of(&place.metadata);
        let len = if expected.is_head { 0 } else { stamp.size.min(to_u64(expected.bytes_max)) };
        let mut body = self.body(file, &path, ByteRange { start: 0, len: stamp.size }, stamp);
        let mut beginning = vec![0; to_usize(len)];
        body.read(0, &mut beginning).ok()?;
        Some(FileAhead { files: self.clone(), path, stamp, file: body.file, beginning })
    }

    /// A part of an open file, which has this path from the root.
    fn body(&self, file: File, path: &Path, range: ByteRange, stamp: Stamp) -> FileBody {
        FileBody { file, range, stamp, path: path.to_owned(), digests: Arc::clone(&self.digests) }
    }

    /// The file that another node has sent the beginning of, if it is the same here.
    fn take_up(&self, content: &Content, len: u64) -> Result<FileBody, NotResumed> {
        let path = content.name.strip_prefix(b"/").and_then(plain_path).ok_or(NotResumed::Differs)?;
        let place = self.find(&path).map_err(|miss| miss.not_resumed())?;
        if !place.metadata.is_file() {
            return Err(NotResumed::Differs);
        }
        let file = place.open().map_err(|error| Miss::Io(error).not_resumed())?;
        // Of the very file that will be read.
        let metadata = file.metadata().map_err(|error| Miss::Io(error).not_resumed())?;
        let (stamp, range) = (Stamp::of(&metadata), ByteRange { start: content.first, len });
        if range.start.checked_add(len).is_none_or(|end| end > stamp.size) {
            return Err(NotResumed::Differs);
        }
        let body = self.body(file, &path, range, stamp);
        match body.digest(&metadata) {
            Digest::Known(validator) if validator == content.validator => Ok(body),
            Digest::Known(_) | Digest::Never => Err(NotResumed::Differs),
            Digest::NotYet => Err(NotResumed::Unknown),
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
}

/// What is answered about a file with this stamp. `content` opens it, if any of it is to be sent.
fn respond_with<B: Body + 'static>(
    request: &Request<'_>,
    stamp: Stamp,
    path: &Path,
    content: impl FnOnce(ByteRange, Stamp) -> io::Result<B>,
) -> io::Result<Response> {
    let etag = stamp.etag();
    let whole = ByteRange { start: 0, len: stamp.size };
    let (response, range) = match evaluate(request, &etag, stamp.modified_s, stamp.size) {
        Outcome::NotModified => (Response::empty(Status::NOT_MODIFIED), None),
        Outcome::Failed => (Response::text(Status::PRECONDITION_FAILED, "the precondition is false"), None),
        Outcome::Unsatisfiable => {
            let response = Response::text(Status::RANGE_NOT_SATISFIABLE, "the file ends before the range");
            return Ok(response.with_header("content-range", format!("bytes */{}", stamp.size)));
        }
        Outcome::Whole => (Response::new(Status::OK, content(whole, stamp)?), Some(whole)),
        Outcome::Part(range) => (Response::new(Status::PARTIAL_CONTENT, content(range, stamp)?), Some(range)),
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

/// The file that a request's path stands for, below the root.
fn path_below(path: &str) -> Result<PathBuf, PathError> {
    let mut file = file_path(path)?;
    if path.ends_with('/') {
        file.push(INDEX);
    }
    Ok(file)
}

/// A file that is open, with its beginning in memory.
#[derive(Debug)]
struct FileAhead {
    files: Files,
    path: PathBuf,
    stamp: Stamp,
    file: File,
    beginning: Vec<u8>,
}

impl Preparation for FileAhead {
    fn respond(self: Box<Self>, request: &Request<'_>) -> Prepared {
        let Self { files, path, stamp, file, mut beginning } = *self;
        // One that was changed in place since is looked for anew, as if it had not been opened.
        if file.metadata().is_ok_and(|metadata| Stamp::of(&metadata) == stamp) {
            let content = |range: ByteRange, stamp| {
                beginning.drain(..to_usize(range.start).min(beginning.len()));
                beginning.truncate(to_usize(range.len));
                Ok(Begun::new(files.body(file, &path, range, stamp), beginning))
            };
            if let Ok(response) = respond_with(request, stamp, &path, content) {
                return response.into();
            }
        }
        files.respond(request).into()
    }

    fn memory(&self) -> usize {
        self.beginning.len()
    }
}

impl Service for Files {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        self.respond(request).into()
    }

    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        self.read_ahead(expected).map(|ahead| Box::new(ahead) as Box<dyn Preparation>)
    }

    fn resume(&mut self, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
        let length = length.ok_or(NotResumed::Differs)?;
        Ok(Box::new(self.take_up(content, length)?))
    }

    fn work(&mut self) -> Work {
        let mut digests = lock(&self.digests);
        if digests.is_idle() {
            Work::Nothing
        } else if digests.read_on() {
            Work::Found
        } else {
            Work::Going
        }
    }
}

/// A core's digests are used by that core alone; no lock is ever waited for.
fn lock(digests: &Mutex<Digests>) -> MutexGuard<'_, Digests> {
    digests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a path leads to no file.
enum Miss {
    Io(io::Error),
    /// It leads out of the root.
    Outside,
}

impl Miss {
    /// Why a body is not continued from there.
    fn not_resumed(&self) -> NotResumed {
        match self {
            Self::Io(error) if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => {
                NotResumed::Unknown
            }
            Self::Io(_) | Self::Outside => NotResumed::Differs,
        }
    }

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
    fn open(&self) -> io::Result<File> {
        File::open(&self.link)
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
    /// From the root.
    path: PathBuf,
    digests: Arc<Mutex<Digests>>,
}

impl FileBody {
    /// The digest of the open file, which has this metadata now.
    fn digest(&self, metadata: &Metadata) -> Digest {
        if Stamp::of(metadata) == self.stamp {
            lock(&self.digests).of(&self.file, FileState::of(metadata))
        } else {
            Digest::Never
        }
    }
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

    fn is_read_ahead(&self, _offset: u64) -> bool {
        true
    }

    fn continuation(&self) -> Continuation {
        match self.file.metadata().map_or(Digest::Never, |metadata| self.digest(&metadata)) {
            Digest::Known(validator) => {
                let name = [b"/", self.path.as_os_str().as_bytes()].concat();
                Continuation::Of(Content { name, first: self.range.start, validator })
            }
            Digest::NotYet => Continuation::NotYet,
            Digest::Never => Continuation::Nowhere,
        }
    }
}
