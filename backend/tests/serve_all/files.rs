use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use baton_backend::serve::{
    Body, BodyError, Content, ContentStore, Continuation, Expected, Files, NotResumed, PIECE_LEN, ReadError, Response,
    Service, SourceId, Work,
};
use baton_http1::Status;
use proptest::prelude::*;

use crate::common::{NOW_S, TERMS, fetch, get, read, read_all, response, server, with_get, with_request};

/// A file system with a root and something beside it.
struct Place {
    dir: tempfile::TempDir,
    files: Files,
}

/// Mon, 01 Jun 2026 00:00:00 GMT
const MODIFIED_S: u64 = 1_780_272_000;
const MODIFIED: &str = "Mon, 01 Jun 2026 00:00:00 GMT";
const LATER: &str = "Tue, 02 Jun 2026 00:00:00 GMT";
const EARLIER: &str = "Sun, 31 May 2026 23:59:59 GMT";

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("www");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    write(&root.join("ten.txt"), b"0123456789");
    write(&root.join("index.html"), b"<p>index");
    write(&root.join("sub/index.html"), b"<p>sub");
    write(&root.join("a b.svg"), b"<svg/>");
    write(&root.join("empty"), b"");
    write(&root.join(".hidden"), b"hidden");
    write(&dir.path().join("secret.txt"), b"secret");
    fs::create_dir(dir.path().join("www2")).unwrap();
    write(&dir.path().join("www2/secret.txt"), b"secret");
    symlink("../secret.txt", root.join("out.txt")).unwrap();
    symlink(dir.path().join("www2"), root.join("out")).unwrap();
    symlink("ten.txt", root.join("in.txt")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    let files = Files::new(&root).unwrap();
    Place { dir, files }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(MODIFIED_S)).unwrap();
}

#[test]
fn a_file() {
    let mut place = place();
    let mut response = get(&mut place.files, "/ten.txt", &[]);
    assert_eq!(response.status(), Status::OK);
    assert_eq!(read_all(&mut response), b"0123456789");
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.header("last-modified"), Some(MODIFIED));
    assert_eq!(response.header("accept-ranges"), Some("bytes"));
    assert_eq!(response.header("etag"), Some("\"a-18b4cbf3a3930000\""));
    let fetched = fetch(&mut server(place.files), &["HEAD /ten.txt HTTP/1.1", "host: t"], b"");
    assert!(fetched.head().contains("\r\ncontent-length: 10\r\n") && fetched.rest().is_empty());
}

#[test]
fn paths() {
    let mut place = place();
    let cases = [
        ("/", Status::OK, "<p>index"),
        ("/index.html", Status::OK, "<p>index"),
        ("/sub/", Status::OK, "<p>sub"),
        ("/a%20b.svg", Status::OK, "<svg/>"),
        ("/%74en.txt?x=/../y", Status::OK, "0123456789"),
        ("/in.txt", Status::OK, "0123456789"),
        ("/empty", Status::OK, ""),
        ("/none", Status::NOT_FOUND, "no such file\n"),
        ("/ten.txt/", Status::NOT_FOUND, "no such file\n"),
        ("/ten.txt/x", Status::NOT_FOUND, "no such file\n"),
        ("/sub/deep/", Status::NOT_FOUND, "no such file\n"),
        ("/.hidden", Status::NOT_FOUND, "no such file\n"),
        ("/%2ehidden", Status::NOT_FOUND, "no such file\n"),
        ("/../secret.txt", Status::NOT_FOUND, "no such file\n"),
        ("/%2e%2e/secret.txt", Status::NOT_FOUND, "no such file\n"),
        ("/sub/../../secret.txt", Status::NOT_FOUND, "no such file\n"),
        ("/out.txt", Status::NOT_FOUND, "no such file\n"),
        ("/out/secret.txt", Status::NOT_FOUND, "no such file\n"),
        ("/zero", Status::NOT_FOUND, "no such file\n"),
        ("/loop", Status::NOT_FOUND, "no such file\n"),
        ("//ten.txt", Status::NOT_FOUND, "no such file\n"),
        ("/..%2fsecret.txt", Status::BAD_REQUEST, "the path is malformed\n"),
        ("/ten.txt%00", Status::BAD_REQUEST, "the path is malformed\n"),
        ("/%", Status::BAD_REQUEST, "the path is malformed\n"),
    ];
    for (path, status, text) in cases {
        let mut response = get(&mut place.files, path, &[]);
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(String::from_utf8(read_all(&mut response)).unwrap(), text, "{path}");
    }
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(get(&mut place.files, &long, &[]).status(), Status::NOT_FOUND, "longer than names can be");
    drop(place.dir);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let mut place = place();
    let pipe = place.dir.path().join("www/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert_eq!(get(&mut place.files, "/pipe", &[]).status(), Status::NOT_FOUND);
}

#[test]
fn directories_get_their_slash() {
    let mut place = place();
    for (path, location) in [("/sub", "./sub/"), ("/sub/deep?a=b", "./deep/?a=b"), ("/%73ub", "./%73ub/")] {
        let response = get(&mut place.files, path, &[]);
        assert_eq!((response.status(), response.header("location")), (Status::MOVED_PERMANENTLY, Some(location)));
    }
}

#[test]
fn methods() {
    let mut place = place();
    for line in ["POST /ten.txt", "PUT /none", "DELETE /", "OPTIONS *", "PATCH /ten.txt"] {
        let response =
            with_request(&[&format!("{line} HTTP/1.1"), "host: t"], |request| response(place.files.prepare(request)));
        assert_eq!(response.status(), Status::METHOD_NOT_ALLOWED, "{line}");
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
}

fn etag(files: &mut Files) -> String {
    get(files, "/ten.txt", &[]).header("etag").unwrap().to_owned()
}

fn conditional(files: &mut Files, lines: &[&str]) -> Response {
    get(files, "/ten.txt", lines)
}

#[test]
fn preconditions() {
    let mut place = place();
    let tag = etag(&mut place.files);
    let line = |name: &str, value: &str| format!("{name}: {value}");
    let cases = [
        (vec![line("if-none-match", &tag)], Status::NOT_MODIFIED),
        (vec![line("if-none-match", &format!("W/{tag}"))], Status::NOT_MODIFIED),
        (vec![line("if-none-match", &format!("\"x\", {tag}"))], Status::NOT_MODIFIED),
        (vec![line("if-none-match", "\"x\""), line("If-None-Match", &tag)], Status::NOT_MODIFIED),
        (vec![line("if-none-match", "*")], Status::NOT_MODIFIED),
        (vec![line("if-none-match", "\"x\"")], Status::OK),
        (vec![line("if-none-match", "\"x\""), line("if-modified-since", LATER)], Status::OK),
        (vec![line("if-modified-since", MODIFIED)], Status::NOT_MODIFIED),
        (vec![line("if-modified-since", LATER)], Status::NOT_MODIFIED),
        (vec![line("if-modified-since", EARLIER)], Status::OK),
        (vec![line("if-modified-since", "yesterday")], Status::OK),
        (vec![line("if-match", &tag)], Status::OK),
        (vec![line("if-match", "*")], Status::OK),
        (vec![line("if-match", &format!("W/{tag}"))], Status::PRECONDITION_FAILED),
        (vec![line("if-match", "\"x\"")], Status::PRECONDITION_FAILED),
        (vec![line("if-unmodified-since", MODIFIED)], Status::OK),
        (vec![line("if-unmodified-since", EARLIER)], Status::PRECONDITION_FAILED),
        (vec![line("if-match", &tag), line("if-unmodified-since", EARLIER)], Status::OK),
    ];
    for (lines, status) in cases {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let response = conditional(&mut place.files, &lines);
        assert_eq!(response.status(), status, "{lines:?}");
        if status == Status::NOT_MODIFIED {
            assert_eq!(
                (response.header("etag"), response.header("last-modified")),
                (Some(tag.as_str()), Some(MODIFIED))
            );
        }
    }
}

#[test]
fn ranges() {
    let mut place = place();
    let tag = etag(&mut place.files);
    let if_tag = format!("if-range: {tag}");
    let if_date = format!("if-range: {MODIFIED}");
    let if_later = format!("if-range: {LATER}");
    let cases: [(&[&str], Status, &str, Option<&str>); 9] = [
        (&["range: bytes=2-4"], Status::PARTIAL_CONTENT, "234", Some("bytes 2-4/10")),
        (&["range: bytes=0-"], Status::PARTIAL_CONTENT, "0123456789", Some("bytes 0-9/10")),
        (&["range: bytes=-2"], Status::PARTIAL_CONTENT, "89", Some("bytes 8-9/10")),
        (&["range: bytes=10-"], Status::RANGE_NOT_SATISFIABLE, "the file ends before the range\n", Some("bytes */10")),
        (&["range: bytes=0-1,4-5"], Status::OK, "0123456789", None),
        (&["range: bytes=1-1", &if_tag], Status::PARTIAL_CONTENT, "1", Some("bytes 1-1/10")),
        (&["range: bytes=1-1", &if_date], Status::PARTIAL_CONTENT, "1", Some("bytes 1-1/10")),
        (&["range: bytes=1-1", &if_later], Status::OK, "0123456789", None),
        (&["range: bytes=1-1", "if-range: \"x\""], Status::OK, "0123456789", None),
    ];
    for (lines, status, text, content_range) in cases {
        let mut response = conditional(&mut place.files, lines);
        assert_eq!((response.status(), response.header("content-range")), (status, content_range), "{lines:?}");
        assert_eq!(String::from_utf8(read_all(&mut response)).unwrap(), text, "{lines:?}");
    }
    let fetched = fetch(&mut server(place.files), &["HEAD /ten.txt HTTP/1.1", "host: t", "range: bytes=0-1"], b"");
    assert!(fetched.wire.starts_with(b"HTTP/1.1 200 "), "a range means nothing to HEAD");
}

#[test]
fn a_time_to_come_is_not_told() {
    let mut place = place();
    let path = place.dir.path().join("www/ten.txt");
    let future = UNIX_EPOCH + Duration::from_secs(NOW_S + 1_000_000);
    File::options().write(true).open(path).unwrap().set_modified(future).unwrap();
    let response = get(&mut place.files, "/ten.txt", &[]);
    assert_eq!(response.header("last-modified"), Some("Mon, 23 Nov 2026 08:16:40 GMT"));
    let date = format!("if-range: {}", httpdate::fmt_http_date(future));
    assert_eq!(conditional(&mut place.files, &["range: bytes=1-1", &date]).status(), Status::OK, "a weak date");
}

#[test]
fn a_file_that_changes_while_it_is_sent() {
    let changes: [fn(&Path); 4] = [
        |path| File::options().write(true).open(path).unwrap().set_len(4).unwrap(),
        |path| fs::write(path, "ABCDEFGHIJ").unwrap(),
        |path| fs::write(path, "0123456789ten").unwrap(),
        |path| drop(File::create(path).unwrap()),
    ];
    for change in changes {
        let mut place = place();
        let path = place.dir.path().join("www/ten.txt");
        let mut response = get(&mut place.files, "/ten.txt", &[]);
        assert_eq!(read(response.body_mut(), 0, 4), b"0123");
        change(&path);
        assert_eq!(response.body_mut().read(4, &mut [0; 6]), Err(BodyError::Changed));
        assert_eq!(response.body_mut().read(0, &mut [0; 4]), Err(BodyError::Changed));
    }
}

/// The store from which TCP reads the file of `path`, and the source in it.
fn begin(files: &Files, path: &str) -> (ContentStore, SourceId) {
    let mut server = server(files.clone());
    let mut exchange = with_get(path, &[], |request| server.begin(request, TERMS)).unwrap();
    let extents: Vec<_> = std::iter::from_fn(|| exchange.next_extent(&mut server.store, u64::MAX)).collect();
    let [_, body] = extents[..] else { panic!("{extents:?}") };
    (server.store, body.source)
}

/// What is sent until the file is found to be another: always the beginning of what it was.
#[test]
fn a_file_that_changes_between_two_segments() {
    const MSS: usize = 1_448;
    let old: Vec<u8> = (0..5 * PIECE_LEN).map(|n| (n % 251).try_into().unwrap()).collect();
    let changes: [fn(&Path); 4] = [
        |path| File::options().write(true).open(path).unwrap().set_len(u64::try_from(3 * PIECE_LEN).unwrap()).unwrap(),
        |path| fs::write(path, vec![0xff; 5 * PIECE_LEN]).unwrap(),
        |path| File::options().append(true).open(path).unwrap().write_all(b"more").unwrap(),
        // A byte behind everything that was read.
        |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .write_all_at(b"x", u64::try_from(5 * PIECE_LEN - 1).unwrap())
                .unwrap()
        },
    ];
    // Within a piece, at its end, and beside that.
    for before in [MSS, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 2 * PIECE_LEN + MSS] {
        for change in changes {
            let place = place();
            let path = place.dir.path().join("www/ten.txt");
            write(&path, &old);
            let (mut store, id) = begin(&place.files, "/ten.txt");
            let mut sent = Vec::new();
            let mut send = |sent: &mut Vec<u8>, len: usize| {
                let mut segment = vec![0; len];
                store.read_source(id, u64::try_from(sent.len()).unwrap(), &mut segment).map(|()| sent.extend(segment))
            };
            while sent.len() < before {
                let len = MSS.min(before - sent.len());
                send(&mut sent, len).unwrap();
            }
            change(&path);
            let error = loop {
                if let Err(error) = send(&mut sent, MSS) {
                    break error;
                }
            };
            assert_eq!(error, ReadError::Body(BodyError::Changed));
            assert!(old.starts_with(&sent), "{before}: other bytes among {}", sent.len());
            assert!(
                sent.len() <= before.next_multiple_of(PIECE_LEN).max(PIECE_LEN),
                "{before}: found at {}",
                sent.len()
            );
            // What is sent again is looked at again.
            let again = store.read_source(id, 0, &mut [0; MSS]);
            assert_eq!(again, Err(ReadError::Body(BodyError::Changed)));
        }
    }
}

/// A response of which all was read before the change is whole.
#[test]
fn a_file_that_changes_when_its_last_bytes_were_read() {
    let mut place = place();
    let path = place.dir.path().join("www/ten.txt");
    let (mut store, id) = begin(&place.files, "/ten.txt");
    let mut bytes = [0; 10];
    store.read_source(id, 0, &mut bytes[..4]).unwrap();
    fs::write(&path, "ABCDEFGHIJ").unwrap();
    store.read_source(id, 4, &mut bytes[4..]).unwrap();
    assert_eq!(&bytes, b"0123456789");
    assert_eq!(read_all(&mut get(&mut place.files, "/ten.txt", &[])), b"ABCDEFGHIJ");
}

#[test]
fn a_file_that_is_replaced_or_removed_is_sent_to_its_end() {
    let replace: fn(&Path) = |path| {
        fs::write(path.with_extension("new"), "new").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    for change in [replace, |path| fs::remove_file(path).unwrap()] {
        let mut place = place();
        let path = place.dir.path().join("www/ten.txt");
        let mut response = get(&mut place.files, "/ten.txt", &[]);
        change(&path);
        assert_eq!(read_all(&mut response), b"0123456789");
    }
}

#[test]
fn reads_stay_within_the_range() {
    let mut place = place();
    let mut response = get(&mut place.files, "/ten.txt", &["range: bytes=2-4"]);
    for (offset, len) in [(0, 4), (3, 1), (u64::MAX, 1)] {
        assert_eq!(response.body_mut().read(offset, &mut vec![0; len]), Err(BodyError::OutOfRange));
    }
}

/// How another node would go on with a file's body, once it is found out.
fn continuation(files: &mut Files, path: &str, lines: &[&str]) -> Continuation {
    let mut response = get(files, path, lines);
    while response.body_mut().continuation() == Continuation::NotYet {
        assert_ne!(files.work(), Work::Nothing);
    }
    response.body_mut().continuation()
}

fn content(files: &mut Files, path: &str, lines: &[&str]) -> Content {
    let Continuation::Of(content) = continuation(files, path, lines) else { panic!("no name for {path}") };
    content
}

/// What becomes of it elsewhere, once that is found out there.
fn resume(files: &mut Files, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
    loop {
        match files.resume(content, length) {
            Err(NotResumed::Unknown) => assert_ne!(files.work(), Work::Nothing),
            decided => return decided,
        }
    }
}

#[test]
fn equal_files_are_continued_anywhere() {
    let (mut one, mut other) = (place(), place());
    let name = content(&mut one.files, "/ten.txt", &[]);
    assert_eq!((name.name.as_slice(), name.first), (&b"/ten.txt"[..], 0));
    // Other times say nothing about the bytes.
    let path = other.dir.path().join("www/ten.txt");
    let touch = |at| {
        File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(at)).unwrap()
    };
    touch(5);
    assert_eq!(content(&mut other.files, "/ten.txt", &[]), name);
    assert_eq!(read(resume(&mut other.files, &name, Some(10)).unwrap().as_mut(), 0, 10), b"0123456789");
    // A range of it, and the file of a directory.
    let part = content(&mut one.files, "/ten.txt", &["range: bytes=3-6"]);
    assert_eq!((part.first, part.validator), (3, name.validator));
    assert_eq!(read(resume(&mut other.files, &part, Some(4)).unwrap().as_mut(), 1, 3), b"456");
    assert_eq!(content(&mut one.files, "/sub/", &[]).name, b"/sub/index.html");
    // Other bytes of the same size and time.
    write(&path, b"9876543210");
    assert_eq!(resume(&mut other.files, &name, Some(10)).unwrap_err(), NotResumed::Differs);
    write(&path, b"0123456789");
    assert!(resume(&mut other.files, &name, Some(10)).is_ok());
}

#[test]
fn what_is_not_the_same_file_is_not_continued() {
    let mut place = place();
    let ten = content(&mut place.files, "/ten.txt", &[]);
    let named = |name: &[u8]| Content { name: name.to_vec(), ..ten.clone() };
    for (content, length) in [
        (ten.clone(), None),
        (ten.clone(), Some(11)),
        (Content { first: 1, ..ten.clone() }, Some(10)),
        (Content { first: u64::MAX, ..ten.clone() }, Some(10)),
        (named(b"/index.html"), Some(8)),
        (named(b"/none"), Some(10)),
        (named(b"/sub"), Some(10)),
        (named(b"ten.txt"), Some(10)),
        (named(b"/"), Some(10)),
        (named(b"/../secret.txt"), Some(6)),
        (named(b"/out.txt"), Some(6)),
        (named(b"/.hidden"), Some(6)),
    ] {
        assert_eq!(resume(&mut place.files, &content, length).unwrap_err(), NotResumed::Differs, "{content:?}");
    }
    assert!(resume(&mut place.files, &named(b"/in.txt"), Some(10)).is_ok(), "another name, the same bytes");
}

#[test]
fn a_body_whose_file_was_changed_goes_on_nowhere() {
    let mut place = place();
    let path = place.dir.path().join("www/ten.txt");
    let mut response = get(&mut place.files, "/ten.txt", &[]);
    fs::write(&path, "changed").unwrap();
    assert_eq!(response.body_mut().continuation(), Continuation::Nowhere);
    // One that was replaced by renaming goes on with the old bytes; their name is found out from the file that is still open.
    write(&path, b"0123456789");
    let mut response = get(&mut place.files, "/ten.txt", &[]);
    write(&place.dir.path().join("www/new"), b"other");
    fs::rename(place.dir.path().join("www/new"), &path).unwrap();
    assert_eq!(response.body_mut().continuation(), Continuation::NotYet);
    assert_eq!(place.files.work(), Work::Found);
    let Continuation::Of(old) = response.body_mut().continuation() else { panic!("no name") };
    assert_eq!(read_all(&mut response), b"0123456789");
    assert_eq!(resume(&mut place.files, &old, Some(10)).unwrap_err(), NotResumed::Differs);
    assert_eq!(place.files.work(), Work::Nothing);
}

#[test]
fn roots() {
    let place = place();
    assert!(Files::new(&place.dir.path().join("none")).is_err());
    assert!(Files::new(&place.dir.path().join("secret.txt")).is_err());
    symlink("www", place.dir.path().join("link")).unwrap();
    let mut linked = Files::new(&place.dir.path().join("link")).unwrap();
    assert_eq!(read_all(&mut get(&mut linked, "/ten.txt", &[])), b"0123456789");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the path: never a panic, never a byte of what lies outside.
    #[test]
    fn nothing_escapes(path in "/(\\.|%2e|/|%2f|\\.\\./|out|secret\\.txt|sub/|www|%00|%|[a-z%0-9]){0,8}") {
        let mut place = place();
        let mut response = get(&mut place.files, &path, &[]);
        prop_assert!(read_all(&mut response) != b"secret");
    }

    #[test]
    fn any_slice_equals_the_whole(start in 0..70_000_usize, len in 0..70_000_usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 70_000];
        baton_backend::serve::probe::fill(1, 0, &mut bytes);
        fs::write(dir.path().join("f"), &bytes).unwrap();
        let mut response = get(&mut Files::new(dir.path()).unwrap(), "/f", &[]);
        let end = (start + len).min(bytes.len());
        prop_assert_eq!(read(response.body_mut(), u64::try_from(start).unwrap(), end - start), &bytes[start..end]);
    }
}

#[test]
fn names_that_are_not_text() {
    let mut place = place();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    write(&place.dir.path().join("www").join(name), b"latin");
    assert_eq!(read_all(&mut get(&mut place.files, "/caf%E9", &[])), b"latin");
}

/// What is expected, with room for so many bytes of it.
fn expected(path: &str, bytes_max: usize) -> Expected<'_> {
    Expected { is_head: false, path, query: None, bytes_max }
}

#[test]
fn a_file_that_was_opened_ahead_answers_as_any_other() {
    let mut place = place();
    for (path, lines) in [
        ("/ten.txt", vec![]),
        ("/ten.txt", vec!["range: bytes=2-6"]),
        ("/ten.txt", vec!["range: bytes=7-"]),
        ("/ten.txt", vec!["range: bytes=20-"]),
        ("/ten.txt", vec!["if-none-match: *"]),
        ("/ten.txt", vec!["if-match: \"x\""]),
        ("/", vec![]),
        ("/empty", vec![]),
        ("/a%20b.svg", vec![]),
    ] {
        for room in [0, 1, 4, 10, 99] {
            let ahead = place.files.prefetch(&expected(path, room)).expect(path);
            assert!(ahead.memory() <= room);
            let mut with = with_get(path, &lines, |request| response(ahead.respond(request)));
            let mut without = get(&mut place.files, path, &lines);
            assert_eq!(with.status(), without.status(), "{path} {lines:?}");
            assert_eq!(read_all(&mut with), read_all(&mut without), "{path} {lines:?} {room}");
            for field in ["etag", "last-modified", "content-range", "content-type", "accept-ranges"] {
                assert_eq!(with.header(field), without.header(field), "{path} {field}");
            }
        }
    }
}

#[test]
fn only_files_are_opened_ahead() {
    let mut place = place();
    for path in ["/missing", "/.hidden", "/out.txt", "/out/secret.txt", "/sub", "/%zz", "/zero", "/loop", "*"] {
        assert!(place.files.prefetch(&expected(path, 10)).is_none(), "{path}");
    }
    let head = place.files.prefetch(&Expected { is_head: true, ..expected("/ten.txt", 10) }).unwrap();
    assert_eq!(head.memory(), 0);
}

/// Neither the name nor the file is looked at again for what was read: the beginning comes out of memory.
#[test]
fn what_was_read_ahead_needs_no_file() {
    let mut place = place();
    let ahead = place.files.prefetch(&expected("/ten.txt", 4)).unwrap();
    let path = place.dir.path().join("www/ten.txt");
    fs::remove_file(&path).unwrap();
    write(&path, b"another file");
    let mut response = with_get("/ten.txt", &[], |request| response(ahead.respond(request)));
    assert_eq!(read_all(&mut response), b"0123456789", "as it was when it was opened");
}

/// One that was changed in place is another by now, as it would be without the word ahead.
#[test]
fn a_file_that_changed_since_it_was_opened_is_opened_anew() {
    let mut place = place();
    let ahead = place.files.prefetch(&expected("/ten.txt", 4)).unwrap();
    fs::write(place.dir.path().join("www/ten.txt"), b"changed").unwrap();
    let mut response = with_get("/ten.txt", &[], |request| response(ahead.respond(request)));
    assert_eq!(read_all(&mut response), b"changed");
}
