//! The program around a node: from the command line to the exit code. Both programs are this, with their own [`Program`].
//!
//! ```text
//! command line -> configuration -> log -> secret, files -> signals -> EAL -> ports -> capability table
//!              -> node -> admin listener -> poll loop ... stop -> exit code
//! ```

use crate::admin::AdminSource;
use crate::admin::connections::ConnectionSource;
use crate::cli::{self, Command, Invocation};
use crate::files::{self, FileError, Secret};
use crate::shell::{Control, Shell};
use crate::start;
use axum::Router;
use baton_config::{Common, Config, Key};
use baton_stack::addr::MacAddr;
use baton_stack::node::Node;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Done.
pub const EXIT_OK: u8 = 0;
/// Failed at run time.
pub const EXIT_FAILED: u8 = 1;
/// Wrong usage, or a configuration that cannot be used.
pub const EXIT_INVALID: u8 = 2;

/// What makes a program out of the shared parts: its configuration, its node, and what people may ask of it.
pub trait Program {
    /// The program's name, as in `baton-frontend`.
    const NAME: &'static str;
    /// What it is, in a sentence.
    const ABOUT: &'static str;
    /// Its version.
    const VERSION: &'static str;

    /// Its configuration.
    type Config: Config;
    /// One core of its node.
    type Node: Node<Command: Send + 'static, Reply: Send + 'static> + Send;
    /// What the admin listener asks of it.
    type Source: AdminSource;

    /// The tables that both programs have.
    fn common(config: &Self::Config) -> &Common;

    /// Every key of its configuration.
    fn known_keys() -> Vec<Key>;

    /// The configuration in one line, for `check`.
    fn summary(config: &Self::Config) -> String;

    /// Looks at files that the configuration names, other than the cluster's secret. `config_path` is where relative paths start.
    ///
    /// # Errors
    /// One cannot be used.
    fn check_files(_config: &Self::Config, _config_path: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    /// Builds the node. Called once, when the ports are up.
    ///
    /// # Errors
    /// The node cannot be built; the program ends with code 1.
    fn node(start: &Start<'_, Self::Config>) -> anyhow::Result<Self::Node>;

    /// What the admin listener asks; it may keep `control` to put commands to the node.
    fn source(control: Control<Self::Node>) -> Self::Source;

    /// Has the running node take other secrets over, which were read again.
    ///
    /// # Errors
    /// They cannot be used, or the node did not answer. The node goes on with those that it has.
    fn set_secrets(control: &Control<Self::Node>, secrets: &[Secret]) -> anyhow::Result<()>;

    /// Whose moves are written to the log, if there are any.
    fn moves(_control: Control<Self::Node>) -> Option<Arc<dyn ConnectionSource>> {
        None
    }

    /// More routes on the admin listener, such as `POST /v1/...`.
    fn routes(_control: Control<Self::Node>) -> Router {
        Router::new()
    }
}

/// What a node is built from.
#[derive(Debug)]
pub struct Start<'a, C> {
    /// The configuration.
    pub config: &'a C,
    /// Where the configuration is; relative paths in it start there ([`files::relative_to`]).
    pub config_path: &'a Path,
    /// The cluster's secrets, the one to write under first; at least one.
    pub secrets: &'a [Secret],
    /// The Ethernet address of each port, in the order of `[[port]]`.
    pub macs: &'a [MacAddr],
    /// This start's boot id.
    pub boot: u32,
    /// Where the node's random numbers begin.
    pub seed: [u8; 32],
    /// The time in seconds since 1970 at which the node's clock shows zero.
    pub unix_at_origin_s: u64,
}

/// What ends a program before its time, by exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage, or help or version were asked for.
    Usage(clap::Error),
    /// The configuration or a file it names cannot be used.
    Invalid(anyhow::Error),
    /// Something failed at run time.
    Failed(anyhow::Error),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Invalid(error.into())
    }
}

/// A program's whole `main`, in shell `S`.
#[must_use]
pub fn main_in<P: Program + 'static, S: Shell<P::Node>>() -> ExitCode {
    let code = execute::<P, S>(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr());
    ExitCode::from(code)
}

/// [`main_in`] with its arguments and outputs handed in; returns the exit code.
pub fn execute<P: Program + 'static, S: Shell<P::Node>>(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    let done = cli::parse(P::NAME, P::ABOUT, P::VERSION, arguments).map_err(Failure::Usage).and_then(|invocation| {
        let Invocation { eal, command } = invocation;
        match command {
            Command::Run { config } => start::run::<P, S>(&config, eal),
            Command::Check { config } => {
                let summary = check::<P>(&config)?;
                write_out(out, &format!("ok: {summary}\n"));
                Ok(())
            }
            Command::Keys => {
                write_out(out, &key_list(&P::known_keys()));
                Ok(())
            }
        }
    });
    match done {
        Ok(()) => EXIT_OK,
        Err(failure) => report(P::NAME, failure, out, err),
    }
}

/// Reads everything that a start would read.
fn check<P: Program>(path: &Path) -> Result<String, Failure> {
    let (config, _) = load::<P>(path)?;
    Ok(P::summary(&config))
}

/// The configuration in `path`, and the cluster's secrets that it names.
pub(crate) fn load<P: Program>(path: &Path) -> Result<(P::Config, Vec<Secret>), Failure> {
    let config: P::Config = files::load_config(path)?;
    let secrets = files::load_secrets(path, &P::common(&config).cluster)?;
    P::check_files(&config, path).map_err(Failure::Invalid)?;
    Ok((config, secrets))
}

fn key_list(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("{key}\n")).collect()
}

/// Writes; a reader that went away is no failure of ours.
fn write_out(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

/// Says what went wrong, and gives the exit code.
fn report(name: &str, failure: Failure, out: &mut impl Write, err: &mut impl Write) -> u8 {
    match failure {
        Failure::Usage(error) if error.use_stderr() => {
            write_out(err, &error.render().to_string());
            EXIT_INVALID
        }
        Failure::Usage(help) => {
            write_out(out, &help.render().to_string());
            EXIT_OK
        }
        Failure::Invalid(error) => {
            match error.downcast::<FileError>() {
                Ok(FileError::Config(problems)) => {
                    for problem in problems.into_problems() {
                        write_out(err, &format!("{:?}\n", miette::Report::new(problem)));
                    }
                }
                Ok(file) => write_out(err, &format!("{name}: {file}\n")),
                Err(other) => write_out(err, &format!("{name}: {other:#}\n")),
            }
            EXIT_INVALID
        }
        Failure::Failed(error) => {
            write_out(err, &format!("{name}: {error:#}\n"));
            EXIT_FAILED
        }
    }
}
