//! From the path of a request to a path below the root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// Why a path names no file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathError {
    /// No path that a client would write: broken percent-encoding, an encoded slash or NUL, no slash in front.
    Malformed,
    /// A dot file, `.`, `..` or an empty segment.
    Hidden,
}

/// The decoded path, relative to the root. Every segment of it is a plain name.
pub(super) fn file_path(path: &str) -> Result<PathBuf, PathError> {
    let mut segments = path.strip_prefix('/').ok_or(PathError::Malformed)?.split('/').peekable();
    let mut out = PathBuf::new();
    while let Some(segment) = segments.next() {
        let name = decode(segment)?;
        if name.is_empty() && segments.peek().is_none() {
            break; // The slash at the end of a directory's path.
        }
        if name.is_empty() || name.first() == Some(&b'.') {
            return Err(PathError::Hidden);
        }
        out.push(OsStr::from_bytes(&name));
    }
    Ok(out)
}

/// The path that a name between nodes stands for, by the same rules: it is not encoded.
pub(super) fn plain_path(name: &[u8]) -> Option<PathBuf> {
    let is_plain = |segment: &[u8]| segment.first().is_some_and(|&byte| byte != b'.') && !segment.contains(&0);
    name.split(|&byte| byte == b'/').all(is_plain).then(|| PathBuf::from(OsStr::from_bytes(name)))
}

fn decode(segment: &str) -> Result<Vec<u8>, PathError> {
    let escapes_ok = segment.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let name: Vec<u8> = percent_decode_str(segment).collect();
    if escapes_ok && !name.iter().any(|&byte| byte == b'/' || byte == 0) { Ok(name) } else { Err(PathError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "a/b.txt", "a b", "a%25", "a..b/c..."] {
            assert_eq!(plain_path(name.as_bytes()), Some(PathBuf::from(name)));
        }
        for name in ["", "/a", "a/", "a//b", "..", "a/../b", ".git/config", "a/.b", "a\0"] {
            assert_eq!(plain_path(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn paths() {
        let cases: [(&str, Result<&str, PathError>); 24] = [
            ("/", Ok("")),
            ("/a", Ok("a")),
            ("/a/", Ok("a")),
            ("/a/b.txt", Ok("a/b.txt")),
            ("/a%20b", Ok("a b")),
            ("/%61", Ok("a")),
            ("/a%25", Ok("a%")),
            ("/a..b/c...", Ok("a..b/c...")),
            ("/..", Err(PathError::Hidden)),
            ("/a/../b", Err(PathError::Hidden)),
            ("/%2e%2e/b", Err(PathError::Hidden)),
            ("/.%2E/b", Err(PathError::Hidden)),
            ("/./a", Err(PathError::Hidden)),
            ("/.git/config", Err(PathError::Hidden)),
            ("/a//b", Err(PathError::Hidden)),
            ("//etc/passwd", Err(PathError::Hidden)),
            ("/a%2fb", Err(PathError::Malformed)),
            ("/..%2Fetc", Err(PathError::Malformed)),
            ("/a%00", Err(PathError::Malformed)),
            ("/a%", Err(PathError::Malformed)),
            ("/a%2", Err(PathError::Malformed)),
            ("/a%zz", Err(PathError::Malformed)),
            ("", Err(PathError::Malformed)),
            ("*", Err(PathError::Malformed)),
        ];
        for (path, expected) in cases {
            assert_eq!(file_path(path), expected.map(PathBuf::from), "{path}");
        }
    }
}
