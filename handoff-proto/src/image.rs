//! A frozen connection as bytes.

/// The longest image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 2 << 20;
