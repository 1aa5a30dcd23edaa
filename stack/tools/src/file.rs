//! An image in a file: as it travels, or as hexadecimal digits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use handoff_proto::image::IMAGE_BYTES_MAX;

/// The longest file: an image in digits, with as much white space.
const FILE_BYTES_MAX: u64 = 4 * IMAGE_BYTES_MAX as u64;

/// Why a file holds no image's bytes.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is longer than any image.
    #[error("longer than any image")]
    TooLong,
    /// It has an odd number of digits.
    #[error("an odd number of hexadecimal digits")]
    OddDigits,
}

/// The bytes in the file `path`; `-` is standard input. A file of hexadecimal digits and white space alone is taken for its digits:
/// an image begins with a byte that is neither.
///
/// # Errors
/// It cannot be read, or holds no image's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut contents = Vec::new();
    let from: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLong);
    }
    parse(contents)
}

fn parse(contents: Vec<u8>) -> Result<Vec<u8>, FileError> {
    let is_text = |byte: &u8| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace();
    if contents.is_empty() || !contents.iter().all(is_text) {
        return Ok(contents);
    }
    let digits: Vec<u8> = contents.iter().filter_map(|&byte| digit(byte)).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    } else {
        Err(FileError::OddDigits)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_digits_and_anything_else_as_it_is() {
        assert_eq!(parse(b"01 0a\nFF\n".to_vec()).unwrap(), [1, 10, 255]);
        assert_eq!(parse(vec![1, 4, b'a']).unwrap(), [1, 4, b'a']);
        assert!(parse(vec![]).unwrap().is_empty());
        assert!(matches!(parse(b"010".to_vec()), Err(FileError::OddDigits)));
    }
}
