//! The types of values: how each is read from TOML and written back.

use crate::form::{Form, Key};
use crate::read::{Item, Problems, Value};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// The name of a node: 1 to 63 letters, digits, `-`, `_` or `.`, the first a letter or digit. It appears in metrics, logs and headers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 63;

    /// `text` as a name; `None` if it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric();
        let right = (1..=Self::LEN_MAX).contains(&text.len())
            && text.starts_with(plain)
            && text.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.'));
        right.then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of a string value, or a problem.
fn string<'a>(item: &Item<'a>, problems: &mut Problems) -> Option<&'a str> {
    let Some(DeValue::String(text)) = item.value() else {
        item.refuse_type(problems, "a string");
        return None;
    };
    Some(text)
}

/// Reads a string that `parse` understands.
pub(crate) fn parsed<T>(
    item: &Item<'_>,
    problems: &mut Problems,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = string(item, problems)?;
    let value = parse(text);
    if value.is_none() {
        item.refuse(problems, format!("\"{}\" is not {expected}", text.escape_debug()));
    }
    value
}

fn quoted(value: impl fmt::Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

/// A whole number within the form's range.
fn integer(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<u64> {
    let (min, max) = form.integer_bounds();
    let Some(DeValue::Integer(digits)) = item.value() else {
        item.refuse_type(problems, &format!("a whole number, {form}"));
        return None;
    };
    let value = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
    let in_range = value.and_then(|value| u64::try_from(value).ok()).filter(|value| (min..=max).contains(value));
    if in_range.is_none() {
        item.refuse(problems, format!("{digits} is out of range: {form}"));
    }
    in_range
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Value for $ty {
            fn read(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<Self> {
                let value = integer(item, form, problems)?;
                let narrow = Self::try_from(value).ok();
                if narrow.is_none() {
                    item.refuse(problems, format!("{value} is out of range: at most {}", Self::MAX));
                }
                narrow
            }

            fn to_toml(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

integers! { u8 u16 u32 u64 usize }

impl Value for Duration {
    /// Durations are written in whole milliseconds; the key's name ends in `_ms`.
    fn read(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<Self> {
        integer(item, form, problems).map(Self::from_millis)
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

impl Value for bool {
    fn read(item: &Item<'_>, _: &Form, problems: &mut Problems) -> Option<Self> {
        let Some(DeValue::Boolean(value)) = item.value() else {
            item.refuse_type(problems, "true or false");
            return None;
        };
        Some(*value)
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn read(item: &Item<'_>, _: &Form, problems: &mut Problems) -> Option<Self> {
        let fits = |text: &str| (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned());
        parsed(item, problems, "a text without control characters, of at least one character", fits)
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for PathBuf {
    fn read(item: &Item<'_>, _: &Form, problems: &mut Problems) -> Option<Self> {
        parsed(item, problems, "a path", |text| (!text.is_empty() && !text.contains('\0')).then(|| Self::from(text)))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self.display()))
    }
}

impl Value for Name {
    fn read(item: &Item<'_>, _: &Form, problems: &mut Problems) -> Option<Self> {
        let expected = "a name: 1 to 63 letters, digits, '-', '_' or '.', the first a letter or digit";
        parsed(item, problems, expected, Self::new)
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

macro_rules! parsed_values {
    ($($ty:ty, $expected:literal;)*) => {$(
        impl Value for $ty {
            fn read(item: &Item<'_>, _: &Form, problems: &mut Problems) -> Option<Self> {
                parsed(item, problems, $expected, |text| text.parse().ok())
            }

            fn to_toml(&self) -> Option<String> {
                Some(quoted(self))
            }
        }
    )*};
}

parsed_values! {
    IpAddr, "an IP address";
    IpNet, "an IP address with its prefix length, such as \"10.77.0.10/24\"";
    SocketAddr, "an IP address with a port, such as \"127.0.0.1:9901\"";
}

impl<T: Value> Value for Option<T> {
    fn read(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<Self> {
        T::read(item, form, problems).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(Value::to_toml)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<Self> {
        let (min, max, of) = form.list_bounds();
        let elements = match item.value() {
            Some(DeValue::Array(array)) => array.iter().collect(),
            None => Vec::new(),
            Some(_) => {
                item.refuse_type(problems, &format!("an array of {of}"));
                return None;
            }
        };
        if !(min..=max).contains(&elements.len()) {
            item.refuse(problems, format!("has {} {of}; it must have {form}", elements.len()));
            return None;
        }
        let read: Vec<Option<T>> = elements
            .into_iter()
            .enumerate()
            .map(|(index, value)| T::read(&item.element(index, value), &Form::Text(of), problems))
            .collect();
        read.into_iter().collect()
    }

    fn to_toml(&self) -> Option<String> {
        let written: Option<Vec<String>> = self.iter().map(Value::to_toml).collect();
        written.map(|elements| format!("[{}]", elements.join(", ")))
    }

    const IS_TABLE: bool = T::IS_TABLE;

    fn list_inner_keys(path: &str, keys: &mut Vec<Key>) {
        T::list_inner_keys(&format!("{path}[]"), keys);
    }
}

/// Defines an enum whose values are written as one of a few words.
macro_rules! choice {
    ($(#[doc = $enum_doc:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// The word that stands for it in the configuration.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::read::Value for $name {
            fn read(
                item: &$crate::read::Item<'_>,
                _: &$crate::form::Form,
                problems: &mut $crate::read::Problems,
            ) -> Option<Self> {
                let choices = [$($word),+].map(|word| format!("\"{word}\"")).join(" or ");
                $crate::values::parsed(item, problems, &choices, |text| match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                })
            }

            fn to_toml(&self) -> Option<String> {
                Some(format!("\"{}\"", self.word()))
            }
        }
    };
}
pub(crate) use choice;
