//! The form of a value: what a key's line in a table says besides its type, and how it is shown to people.

use std::fmt;

/// What values a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
        /// What it counts: `ms`, `bytes`; empty for a plain number.
        unit: &'static str,
    },
    /// Something whose type says what is right; the words describe it.
    Text(&'static str),
    /// From `min` to `max` of something.
    List {
        /// The least number of elements.
        min: usize,
        /// The greatest number of elements.
        max: usize,
        /// What the elements are.
        of: &'static str,
    },
}

/// A whole number from `min` to `max` that counts `unit`.
#[must_use]
pub const fn int(min: u64, max: u64, unit: &'static str) -> Form {
    Form::Integer { min, max, unit }
}

/// A duration from `min` to `max` milliseconds.
#[must_use]
pub const fn ms(min: u64, max: u64) -> Form {
    Form::Integer { min, max, unit: "ms" }
}

/// A value that the words describe.
#[must_use]
pub const fn text(words: &'static str) -> Form {
    Form::Text(words)
}

/// From `min` to `max` elements, which the words describe.
#[must_use]
pub const fn list(min: usize, max: usize, of: &'static str) -> Form {
    Form::List { min, max, of }
}

impl Form {
    /// Least and greatest whole number; a form that is not one of numbers sets no bounds.
    pub(crate) const fn integer_bounds(self) -> (u64, u64) {
        match self {
            Self::Integer { min, max, .. } => (min, max),
            Self::Text(_) | Self::List { .. } => (0, u64::MAX),
        }
    }

    /// Least and greatest length, and what the elements are; a form that is not a list sets no bounds.
    pub(crate) const fn list_bounds(self) -> (usize, usize, &'static str) {
        match self {
            Self::List { min, max, of } => (min, max, of),
            Self::Text(_) | Self::Integer { .. } => (0, usize::MAX, "values"),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Integer { min, max, unit: "" } => write!(f, "from {min} to {max}"),
            Self::Integer { min, max, unit } => write!(f, "from {min} to {max} {unit}"),
            Self::Text(words) => f.write_str(words),
            Self::List { min, max, of } => write!(f, "from {min} to {max} {of}"),
        }
    }
}

/// One key of the configuration, for documentation and tools.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// The dotted path; `[]` stands for each element of an array of tables: `port[].mtu`.
    pub path: String,
    /// What values it takes.
    pub form: Form,
    /// The default as it would be written; `None` if there is none.
    pub default: Option<String>,
    /// Whether a configuration without it is refused.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

impl fmt::Display for Key {
    /// Path, form, default and meaning, separated by tabs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = match (&self.default, self.required) {
            (Some(default), _) => default.as_str(),
            (None, true) => "required",
            (None, false) => "none",
        };
        write!(f, "{}\t{}\t{default}\t{}", self.path, self.form, self.doc.trim())
    }
}
