//! The reader: walks the spanned TOML document and collects problems instead of stopping at the first.

use crate::form::{Form, Key};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something that a key may hold.
pub trait Value: Sized {
    /// Reads it; `None` after adding to `problems` what is wrong.
    fn read(item: &Item<'_>, form: &Form, problems: &mut Problems) -> Option<Self>;

    /// The value of a key that is not there and has no default; `None`: such a key is required.
    fn absent() -> Option<Self> {
        None
    }

    /// As it would be written in TOML; `None` for a value that is written by leaving the key out.
    fn to_toml(&self) -> Option<String>;

    /// Whether it is a table, or an array of tables.
    const IS_TABLE: bool = false;

    /// Lists the keys inside it below `path`: none in anything but a table.
    fn list_inner_keys(_path: &str, _keys: &mut Vec<Key>) {}
}

/// A table with named keys; [`table!`](crate::table) implements it.
pub trait Table: Sized {
    /// The names of its keys, also those of the tables that are written flat into it.
    fn key_names() -> Vec<&'static str>;

    /// Reads its keys from an open table.
    fn read_keys(table: &mut TableReader<'_, '_>) -> Option<Self>;

    /// Lists its keys below `prefix`.
    fn list_keys(prefix: &str, keys: &mut Vec<Key>);

    /// Reads it from `item`; refuses keys that it does not have.
    fn read_table(item: &Item<'_>, problems: &mut Problems) -> Option<Self> {
        let mut table = TableReader::open(item, &Self::key_names(), problems)?;
        Self::read_keys(&mut table)
    }
}

/// A value in the document, with its path.
#[derive(Debug)]
pub struct Item<'a> {
    path: String,
    span: Range<usize>,
    value: Option<&'a DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(crate) fn root(value: &'a Spanned<DeValue<'a>>) -> Self {
        // The whole document has no place worth pointing at but its start.
        Self { path: String::new(), span: 0..0, value: Some(value.get_ref()) }
    }

    /// The value; `None` for a table that is not in the text but stands for its defaults.
    #[must_use]
    pub fn value(&self) -> Option<&'a DeValue<'a>> {
        self.value
    }

    /// The element `index` of an array.
    #[must_use]
    pub fn element(&self, index: usize, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { path: format!("{}[{index}]", self.path), span: value.span(), value: Some(value.get_ref()) }
    }

    /// Adds a problem at this place.
    pub fn refuse(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(&self.path, self.span.clone(), message.into(), None);
    }

    /// Adds the problem that the value has the wrong type.
    pub fn refuse_type(&self, problems: &mut Problems, expected: &str) {
        let found = self.value.map_or("nothing", type_name);
        self.refuse(problems, format!("is {found}; it must be {expected}"));
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems {
    pub(crate) list: Vec<RawProblem>,
}

#[derive(Debug)]
pub(crate) struct RawProblem {
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problems {
    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn add(&mut self, key: &str, span: Range<usize>, message: String, help: Option<String>) {
        self.list.push(RawProblem { key: key.to_owned(), span, message, help });
    }
}

/// An open table, from which [`Table::read_keys`] takes its keys.
#[derive(Debug)]
pub struct TableReader<'a, 'p> {
    path: String,
    span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    problems: &'p mut Problems,
}

impl<'a, 'p> TableReader<'a, 'p> {
    fn open(item: &Item<'a>, known: &[&'static str], problems: &'p mut Problems) -> Option<Self> {
        let table = match item.value {
            Some(DeValue::Table(table)) => Some(table),
            None => None,
            Some(_) => {
                item.refuse_type(problems, "a table");
                return None;
            }
        };
        for key in table.into_iter().flat_map(DeTable::keys) {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let help = format!("known here: {}", known.join(", "));
                problems.add(&join(&item.path, name), key.span(), "unknown key".to_owned(), Some(help));
            }
        }
        Some(Self { path: item.path.clone(), span: item.span.clone(), table, problems })
    }

    /// Takes the key `name`. Without it: the default, else the type's own idea of absence, else it is required.
    pub fn key<T: Value>(&mut self, name: &str, form: &Form, default: Option<fn() -> T>) -> Option<T> {
        let path = join(&self.path, name);
        if let Some(value) = self.table.and_then(|table| table.get(name)) {
            let item = Item { path, span: value.span(), value: Some(value.get_ref()) };
            return T::read(&item, form, self.problems);
        }
        if let Some(value) = default.map(|default| default()).or_else(T::absent) {
            return Some(value);
        }
        // A table that is not there is read as an empty one: only the keys that it requires are missed.
        if T::IS_TABLE {
            return T::read(&Item { path, span: self.span.clone(), value: None }, form, self.problems);
        }
        let message = format!("missing; it must be given ({form})");
        self.problems.add(&path, self.span.clone(), message, None);
        None
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Finds places by their path, for rules that span several keys.
#[derive(Debug)]
pub struct Checker<'a> {
    root: &'a Spanned<DeValue<'a>>,
    problems: &'a mut Problems,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(root: &'a Spanned<DeValue<'a>>, problems: &'a mut Problems) -> Self {
        Self { root, problems }
    }

    /// Adds a problem at `path`, such as `route[0].backends[1]`. If the key is not in the text, the place is that
    /// of the innermost table around it that is.
    pub fn refuse(&mut self, path: &str, message: impl Into<String>) {
        let span = self.span(path);
        self.problems.add(path, span, message.into(), None);
    }

    /// Adds a problem that lies in two keys, and points at the first of them that is in the text.
    pub fn refuse_pair(&mut self, first: &str, second: &str, message: impl Into<String>) {
        let path = if self.contains(first) || !self.contains(second) { first } else { second };
        self.refuse(path, message);
    }

    /// Whether the key at `path` is written in the text.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.walk(path).1
    }

    fn span(&self, path: &str) -> Range<usize> {
        self.walk(path).0
    }

    /// The span of the innermost value on the way along `path`, and whether the way was complete.
    fn walk(&self, path: &str) -> (Range<usize>, bool) {
        let mut here = self.root;
        let mut span = 0..0;
        for step in path.split(['.', '[']) {
            let next = match (here.get_ref(), step.strip_suffix(']')) {
                (DeValue::Array(array), Some(index)) => index.parse().ok().and_then(|n: usize| array.get(n)),
                (DeValue::Table(table), None) => table.get(step),
                _ => None,
            };
            let Some(next) = next else { return (span, false) };
            span = next.span();
            here = next;
        }
        (span, true)
    }
}

/// Defines a table of the configuration: a struct, its reader, and its list of keys, all from one line per key.
///
/// Each line is `"key" => field: Type = default, form;`. Without a default the key is required, except for
/// types that can be absent (`Option`, `Vec`, other tables). A line `flat field: Table;` writes that table's keys into this one.
/// See the [crate documentation](crate) for an example.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])+
        $vis:vis struct $name:ident {
            $(flat $flat:ident: $flat_ty:ty;)*
            $($(#[doc = $doc:literal])+ $key:literal => $field:ident: $ty:ty $(= $default:expr)?, $form:expr;)*
        }
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Clone, PartialEq, Debug)]
        $vis struct $name {
            $(#[doc = concat!("The keys of [`", stringify!($flat_ty), "`], written flat into this table.")] pub $flat: $flat_ty,)*
            $($(#[doc = $doc])+ pub $field: $ty,)*
        }

        impl $crate::Table for $name {
            fn key_names() -> Vec<&'static str> {
                #[allow(unused_mut, reason = "a table without a flat line only lists its own keys")]
                let mut names = vec![$($key),*];
                $(names.extend(<$flat_ty as $crate::Table>::key_names());)*
                names
            }

            fn read_keys(table: &mut $crate::TableReader<'_, '_>) -> Option<Self> {
                $(let $flat = <$flat_ty as $crate::Table>::read_keys(table);)*
                $(let $field: Option<$ty> = table.key($key, &$form, $crate::table!(@default $ty $(, $default)?));)*
                Some(Self { $($flat: $flat?,)* $($field: $field?,)* })
            }

            fn list_keys(prefix: &str, keys: &mut Vec<$crate::Key>) {
                $(<$flat_ty as $crate::Table>::list_keys(prefix, keys);)*
                $({
                    let path = format!("{prefix}{}", $key);
                    if <$ty as $crate::Value>::IS_TABLE {
                        <$ty as $crate::Value>::list_inner_keys(&path, keys);
                    } else {
                        let default: Option<fn() -> $ty> = $crate::table!(@default $ty $(, $default)?);
                        let absent = default.map(|default| default()).or_else(<$ty as $crate::Value>::absent);
                        keys.push($crate::Key {
                            path,
                            form: $form,
                            required: absent.is_none(),
                            default: absent.and_then(|value| $crate::Value::to_toml(&value)),
                            doc: concat!($($doc),+),
                        });
                    }
                })*
            }
        }

        impl $crate::Value for $name {
            fn read(item: &$crate::Item<'_>, _: &$crate::Form, problems: &mut $crate::Problems) -> Option<Self> {
                <Self as $crate::Table>::read_table(item, problems)
            }

            fn to_toml(&self) -> Option<String> {
                None
            }

            const IS_TABLE: bool = true;

            fn list_inner_keys(path: &str, keys: &mut Vec<$crate::Key>) {
                <Self as $crate::Table>::list_keys(&format!("{path}."), keys);
            }
        }
    };
    (@default $ty:ty) => { None };
    (@default $ty:ty, $default:expr) => { Some((|| $default) as fn() -> $ty) };
}
