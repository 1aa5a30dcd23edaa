//! The files a node reads at start: its configuration and the cluster's secret.

use baton_config::{Cluster, Config, ConfigError, TEXT_BYTES_MAX};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// The shortest secret, in bytes: as long as the keys that are made from it.
pub const SECRET_BYTES_MIN: usize = 32;
/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 4_096;

/// Why a file could not be used. Each names the file.
#[derive(Debug, Error)]
pub enum FileError {
    /// Opening or reading failed.
    #[error("cannot read {what} {}: {error}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Not a configuration.
    #[error("{0}")]
    Config(ConfigError),
    /// Others than the owner may read or write the secret.
    #[error(
        "the secret file {} has mode {mode:04o}: others than its owner can use it; run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    SecretExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe or a device.
    #[error("the secret file {} is not a regular file", .0.display())]
    SecretNotAFile(PathBuf),
    /// Too short to be secret, or so long that it is another file.
    #[error(
        "the secret file {} has {bytes} bytes; it must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}; make one with: \
         head -c {SECRET_BYTES_MIN} /dev/urandom > {}",
        path.display(),
        path.display()
    )]
    SecretLength {
        /// The file.
        path: PathBuf,
        /// Its length; of a longer file at least one above the limit.
        bytes: usize,
    },
}

/// Reads and checks the configuration in `path`.
///
/// # Errors
/// It cannot be read, or is not right.
pub fn load_config<C: Config>(path: &Path) -> Result<C, FileError> {
    let fail = |error| FileError::Read { what: "the configuration", path: path.to_owned(), error };
    let file = File::open(path).map_err(fail)?;
    let mut text = String::new();
    // One byte more than allowed is enough for the parser to see that it is too long.
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(fail)?;
    baton_config::parse(&path.display().to_string(), &text).map_err(FileError::Config)
}

/// The secret that all nodes of a cluster share. Wiped from memory when dropped; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Its bytes, at least [`SECRET_BYTES_MIN`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Reads the cluster's secret. The permissions are those of the opened file, so that nobody can exchange it in between.
///
/// # Errors
/// It cannot be read, others than its owner can, or it has a wrong length.
pub fn load_secret(path: &Path) -> Result<Secret, FileError> {
    let fail = |error| FileError::Read { what: "the secret file", path: path.to_owned(), error };
    let file = File::open(path).map_err(fail)?;
    let about = file.metadata().map_err(fail)?;
    if !about.is_file() {
        return Err(FileError::SecretNotAFile(path.to_owned()));
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::SecretExposed { path: path.to_owned(), mode });
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Err(FileError::SecretLength { path: path.to_owned(), bytes: bytes.len() });
    }
    Ok(Secret(bytes))
}

/// The secret files that a configuration in `config` names, the one to write under first.
#[must_use]
pub fn secret_files(config: &Path, cluster: &Cluster) -> Vec<PathBuf> {
    let all = [&cluster.secret_file].into_iter().chain(&cluster.other_secret_files);
    all.map(|path| relative_to(config, path)).collect()
}

/// Reads all of them.
///
/// # Errors
/// As [`load_secret`], for the first that cannot be used.
pub fn load_secrets(config: &Path, cluster: &Cluster) -> Result<Vec<Secret>, FileError> {
    secret_files(config, cluster).iter().map(|path| load_secret(path)).collect()
}

/// `path` as the configuration file `config` means it: relative to the directory that file is in.
#[must_use]
pub fn relative_to(config: &Path, path: &Path) -> PathBuf {
    config.parent().map_or_else(|| path.to_owned(), |directory| directory.join(path))
}

/// Random bytes from the operating system, for the node's own random numbers.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn random_seed() -> Result<[u8; 32], FileError> {
    let path = Path::new("/dev/urandom");
    let mut seed = [0; 32];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut seed));
    read.map_err(|error| FileError::Read { what: "random bytes from", path: path.to_owned(), error })?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn secret_file(directory: &Path, bytes: usize, mode: u32) -> PathBuf {
        let path = directory.join(format!("{bytes}-{mode:o}"));
        fs::write(&path, vec![7; bytes]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_the_owner_may_have_access_to_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o400] {
            let secret = load_secret(&secret_file(directory.path(), 32, mode)).unwrap();
            assert_eq!(secret.bytes(), [7; 32]);
        }
        for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o620, 0o610] {
            let path = secret_file(directory.path(), 32, mode);
            let error = load_secret(&path).unwrap_err().to_string();
            let expected =
                format!("has mode {mode:04o}: others than its owner can use it; run: chmod 600 {}", path.display());
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn the_secret_s_length_at_its_limits_and_past_them() {
        let directory = tempfile::tempdir().unwrap();
        for (bytes, right) in [(0, false), (31, false), (32, true), (4_096, true), (4_097, false)] {
            let loaded = load_secret(&secret_file(directory.path(), bytes, 0o600));
            assert_eq!(loaded.is_ok(), right, "{bytes}");
            if let Err(error) = loaded {
                let expected = format!("has {bytes} bytes; it must have 32 to 4096");
                assert!(error.to_string().contains(&expected), "{error}");
            }
        }
    }

    #[test]
    fn a_secret_that_is_no_file_or_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none.key");
        let expected = format!("cannot read the secret file {}: No such file", missing.display());
        assert!(load_secret(&missing).unwrap_err().to_string().starts_with(&expected));
        assert!(matches!(load_secret(directory.path()), Err(FileError::SecretNotAFile(_))));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let secret = load_secret(&secret_file(directory.path(), 40, 0o600)).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(40 bytes)");
    }

    #[test]
    fn paths_in_a_configuration_are_relative_to_it() {
        for (config, path, expected) in [
            ("/etc/baton/fe1.toml", "cluster.key", "/etc/baton/cluster.key"),
            ("/etc/baton/fe1.toml", "/run/key", "/run/key"),
            ("fe1.toml", "cluster.key", "cluster.key"),
            ("dir/fe1.toml", "../key", "dir/../key"),
        ] {
            assert_eq!(relative_to(Path::new(config), Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(random_seed().unwrap(), random_seed().unwrap());
    }
}
