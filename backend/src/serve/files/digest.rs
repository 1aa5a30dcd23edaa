//! What names the bytes of a file: the SHA-256 of all of them. It is found out in pieces, when somebody first asks, and remembered for
//! each state that a file was seen in; a file that is written to, replaced or renamed is in another state, and is read anew.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use aws_lc_rs::digest::{Context, SHA256};

use super::super::body::{Validator, to_u64, to_usize};

/// Bytes that one piece of work reads: as long as a burst of packets takes, where they are in the page cache.
pub(super) const PIECE_LEN: usize = 32 << 10;
/// Files that are being read at one time; each is open. Who asks for another is told to ask again.
pub(super) const READING_MAX: usize = 64;
/// States that are remembered. Above it the one that was found out first is forgotten.
pub(super) const KNOWN_MAX: usize = 4_096;
/// The longest file that is read for its name.
pub(super) const NAMED_LEN_MAX: u64 = 4 << 30;

/// A state of a file that no write leaves as it is, as far as the file system's clock tells changes apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known of a file's digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Digest {
    Known(Validator),
    /// It is being found out, or will be when there is room.
    NotYet,
    /// It will not be found out.
    Never,
}

/// The digests of one core's files.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: HashMap<FileState, Validator>,
    /// The states that are known, the first first.
    order: VecDeque<FileState>,
    /// What is being read: a piece of each in turn.
    reading: VecDeque<Reading>,
    piece: Vec<u8>,
}

struct Reading {
    state: FileState,
    file: File,
    context: Context,
    at: u64,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("state", &self.state).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Digests {
    /// The digest of `file`, which is in this state. If it is not known, reading begins.
    pub(super) fn of(&mut self, file: &File, state: FileState) -> Digest {
        if let Some(validator) = self.known.get(&state) {
            return Digest::Known(*validator);
        }
        if state.size > NAMED_LEN_MAX {
            return Digest::Never;
        }
        let is_read = self.reading.iter().any(|reading| reading.state == state);
        if !is_read && self.reading.len() < READING_MAX {
            // A handle of its own: the response may be over before.
            let Ok(file) = file.try_clone() else { return Digest::Never };
            self.reading.push_back(Reading { state, file, context: Context::new(&SHA256), at: 0 });
        }
        Digest::NotYet
    }

    /// Whether there is anything to read.
    pub(super) fn is_idle(&self) -> bool {
        self.reading.is_empty()
    }

    /// Reads a piece. Whether a file has come to its end with that: its digest is known, or will not be because it was changed meanwhile.
    pub(super) fn read_on(&mut self) -> bool {
        let Some(mut reading) = self.reading.pop_front() else { return false };
        self.piece.resize(PIECE_LEN, 0);
        let len = to_usize(reading.state.size - reading.at).min(PIECE_LEN);
        match reading.take(&mut self.piece[..len]) {
            Ok(false) => {
                self.reading.push_back(reading);
                false
            }
            Ok(true) => {
                let Reading { state, context, .. } = reading;
                let mut validator = [0; 32];
                validator.copy_from_slice(context.finish().as_ref());
                self.remember(state, Validator(validator));
                true
            }
            Err(_) => true,
        }
    }

    fn remember(&mut self, state: FileState, validator: Validator) {
        if self.known.insert(state, validator).is_none() {
            self.order.push_back(state);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }
}

impl Reading {
    /// Takes the next piece in, which is as long as `piece`. Whether it was the last.
    fn take(&mut self, piece: &mut [u8]) -> io::Result<bool> {
        self.file.read_exact_at(piece, self.at)?;
        self.context.update(piece);
        self.at += to_u64(piece.len());
        if self.at < self.state.size {
            return Ok(false);
        }
        // Looked at after the last read: a change before it shows.
        let is_same = FileState::of(&self.file.metadata()?) == self.state;
        if is_same { Ok(true) } else { Err(io::ErrorKind::Other.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> (File, FileState) {
        let file = File::open(path).unwrap();
        let state = FileState::of(&file.metadata().unwrap());
        (file, state)
    }

    /// Reads to the end of one file, and says after how many pieces that was.
    fn read_one(digests: &mut Digests) -> usize {
        (1..).find(|_| digests.read_on()).unwrap()
    }

    #[test]
    fn a_digest_is_of_all_bytes_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut digests = Digests::default();
        for (len, pieces) in [(0, 1), (1, 1), (PIECE_LEN, 1), (PIECE_LEN + 1, 2), (3 * PIECE_LEN, 3)] {
            let path = folder.path().join(len.to_string());
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251).try_into().unwrap()).collect();
            fs::write(&path, &bytes).unwrap();
            let (file, state) = open(&path);
            assert_eq!((digests.of(&file, state), digests.of(&file, state)), (Digest::NotYet, Digest::NotYet));
            assert_eq!((read_one(&mut digests), digests.is_idle()), (pieces, true), "{len}");
            let Digest::Known(Validator(found)) = digests.of(&file, state) else { panic!("{len}") };
            assert_eq!(found, aws_lc_rs::digest::digest(&SHA256, &bytes).as_ref());
        }
        // FIPS 180-4: the digest of no bytes.
        let (file, state) = open(&folder.path().join("0"));
        let Digest::Known(Validator(empty)) = digests.of(&file, state) else { panic!("not known") };
        assert_eq!(empty[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    }

    #[test]
    fn a_file_that_is_changed_while_it_is_read_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut digests = Digests::default();
        for change in [b"shorter".to_vec(), vec![7; 2 * PIECE_LEN]] {
            fs::write(&path, vec![1; 2 * PIECE_LEN]).unwrap();
            let (file, state) = open(&path);
            assert_eq!((digests.of(&file, state), digests.read_on()), (Digest::NotYet, false));
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(&path, change).unwrap();
            assert!(digests.read_on() && digests.is_idle() && digests.known.is_empty());
        }
    }

    #[test]
    fn files_that_are_read_at_their_limit_and_one_past() {
        let folder = tempfile::tempdir().unwrap();
        let mut digests = Digests::default();
        let files: Vec<_> = (0..=64)
            .map(|n| {
                let path = folder.path().join(n.to_string());
                fs::write(&path, vec![n; 2 * PIECE_LEN]).unwrap();
                open(&path)
            })
            .collect();
        for (file, state) in &files {
            assert_eq!(digests.of(file, *state), Digest::NotYet);
        }
        assert_eq!(digests.reading.len(), 64);
        assert_eq!(read_one(&mut digests), 65, "a piece of each in turn");
        let (file, state) = &files[64];
        assert_eq!((digests.of(file, *state), digests.reading.len()), (Digest::NotYet, 64), "there is room for it now");
    }

    #[test]
    fn states_that_are_remembered_at_their_limit_and_one_past() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "x").unwrap();
        let (file, state) = open(&path);
        let mut digests = Digests::default();
        for inode in 0..=4_096 {
            digests.remember(FileState { inode, ..state }, Validator([1; 32]));
            digests.remember(FileState { inode, ..state }, Validator([2; 32]));
        }
        assert_eq!((digests.known.len(), digests.order.len()), (4_096, 4_096));
        let known = |digests: &mut Digests, inode| digests.of(&file, FileState { inode, ..state });
        assert_eq!(known(&mut digests, 0), Digest::NotYet);
        assert_eq!(known(&mut digests, 1), Digest::Known(Validator([2; 32])));
    }

    #[test]
    fn a_file_at_its_longest_and_one_byte_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "").unwrap();
        let (file, state) = open(&path);
        let mut digests = Digests::default();
        assert_eq!(digests.of(&file, FileState { size: 4 << 30, ..state }), Digest::NotYet);
        assert_eq!(digests.of(&file, FileState { size: (4 << 30) + 1, ..state }), Digest::Never);
    }
}
