//! Configuration: TOML text in, checked types out, or a list of problems that each point at file, line, column and key.
//!
//! What this crate does: reads a TOML document into the tables both node types share ([`Common`]), lets each node type
//! add its own tables with [`table!`], refuses unknown keys, wrong types, values out of range and wrong combinations, and
//! lists every known key with its form, default and meaning ([`known_keys`]).
//!
//! What it does not do: it opens no file and knows neither DPDK nor a clock. Nothing is applied half: a text with one
//! problem gives no configuration.
//!
//! Why not `#[derive(Deserialize)]`: a derived reader stops at the first mistake, does not know a value's path, and says nothing
//! of defaults and ranges. Here each key is written once, and parser, range check, diagnostics and the list of keys all come from that line.
//!
//! ```
//! use baton_config::{int, table, Config, Checker};
//!
//! table! {
//!     /// A kettle.
//!     pub struct Kettle {
//!         /// How hot to make it.
//!         "heat_celsius" => heat: u32 = 95, int(40, 100, "degrees");
//!     }
//! }
//!
//! impl Config for Kettle {
//!     fn check(&self, _: &mut Checker<'_>) {}
//! }
//!
//! let error = baton_config::parse::<Kettle>("kettle.toml", "heat_celsius = 120\n").unwrap_err();
//! assert_eq!(error.to_string(), "kettle.toml:1:16: heat_celsius: 120 is out of range: from 40 to 100 degrees");
//! ```
//!
//! It may import `baton-stack`: what both node types build of the shared tables is built here, once.
#![forbid(unsafe_code)]

mod common;
mod error;
mod form;
mod read;
mod rules;
mod stack;
mod values;

pub use common::{
    Admin, Cluster, Common, Congestion, Idle, Limits, Log, LogFormat, LogLevel, Node, OTHER_SECRETS_MAX, PORTS_MAX,
    Port, PortAddress, SynCookies, Tcp,
};
pub use error::{ConfigError, Problem};
pub use form::{Form, Key, int, list, ms, text};
pub use read::{Checker, Item, Problems, Table, TableReader, Value};
pub use rules::host_address_problem;
pub use values::Name;

use miette::NamedSource;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest configuration text that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A whole configuration: a table with rules that span several keys.
pub trait Config: Table {
    /// Refuses wrong combinations of values that are each right by themselves.
    fn check(&self, checker: &mut Checker<'_>);
}

/// Reads `text`, which came from the file `name`, and checks it.
///
/// # Errors
/// Every problem found, in the order of the text. Combinations are judged only when each value by itself is right.
pub fn parse<C: Config>(name: &str, text: &str) -> Result<C, ConfigError> {
    let source = Arc::new(NamedSource::new(name, text.to_owned()));
    let fail = |problems: Problems| ConfigError::new(&source, text, problems);
    let mut problems = Problems::default();
    if text.len() > TEXT_BYTES_MAX {
        problems.add("", 0..0, format!("the file has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len()), None);
        return Err(fail(problems));
    }
    let root = match DeTable::parse(text) {
        Ok(root) => Spanned::new(root.span(), DeValue::Table(root.into_inner())),
        Err(error) => {
            problems.add("", error.span().unwrap_or(0..0), error.message().to_owned(), None);
            return Err(fail(problems));
        }
    };
    let config = C::read_table(&Item::root(&root), &mut problems);
    match config {
        Some(config) if problems.is_empty() => {
            config.check(&mut Checker::new(&root, &mut problems));
            if problems.is_empty() { Ok(config) } else { Err(fail(problems)) }
        }
        _ => Err(fail(problems)),
    }
}

/// Every key that a configuration of type `C` may have, in the order in which it is documented.
#[must_use]
pub fn known_keys<C: Table>() -> Vec<Key> {
    let mut keys = Vec::new();
    C::list_keys("", &mut keys);
    keys
}
