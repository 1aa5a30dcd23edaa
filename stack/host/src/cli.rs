//! The command line, the same for both programs.
//!
//! ```text
//! baton-frontend run --config FILE
//! baton-frontend check --config FILE
//! baton-frontend keys
//! baton-frontend [EAL args] -- run --config FILE      the form of every DPDK program
//! ```

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the user asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// Arguments for DPDK's EAL from in front of `--`; they follow those of the configuration's `eal` key.
    pub eal: Vec<String>,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum Command {
    /// Run the node until SIGINT or SIGTERM; a second signal stops at once.
    Run {
        /// The configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read the configuration and the files it names, say what is wrong, start nothing.
    Check {
        /// The configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// List every key of the configuration: path, form, default, meaning; separated by tabs.
    Keys,
}

#[derive(Parser, Debug)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Reads the command line of the program `name`; `arguments` begins with the program itself.
///
/// # Errors
/// Wrong usage, and also a request for help or the version: [`clap::Error::exit_code`] tells them apart.
pub fn parse(
    name: &'static str,
    about: &'static str,
    version: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, clap::Error> {
    let mut own: Vec<OsString> = arguments.into_iter().collect();
    let more = format!(
        "DPDK arguments may stand in front:  {name} [EAL args] -- run --config FILE\n\
         Exit codes: 0 done, 1 failed at run time, 2 wrong usage or invalid configuration"
    );
    let mut command = Arguments::command().name(name).bin_name(name).about(about).version(version).after_help(more);
    let mut eal = Vec::new();
    if let Some(split) = own.iter().position(|argument| argument == "--").filter(|_| !starts_with_own(&own)) {
        for argument in own.drain(1..=split).take(split - 1) {
            let refused = |argument: OsString| {
                let text = format!("the EAL argument {argument:?} is not UTF-8");
                command.error(clap::error::ErrorKind::InvalidUtf8, text)
            };
            eal.push(argument.into_string().map_err(refused)?);
        }
    }
    let matches = command.try_get_matches_from(own)?;
    Ok(Invocation { eal, command: Arguments::from_arg_matches(&matches)?.command })
}

/// Whether the first argument is already one of ours, so that a later `--` is not the end of EAL's.
fn starts_with_own(arguments: &[OsString]) -> bool {
    let own = ["run", "check", "keys", "-h", "--help", "-V", "--version"];
    arguments.get(1).and_then(|first| first.to_str()).is_some_and(|first| own.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Invocation, clap::Error> {
        let words = line.split_whitespace().map(OsString::from);
        parse("baton-test", "A test.", "1.2.3", std::iter::once("baton-test".into()).chain(words))
    }

    #[test]
    fn the_forms_that_work() {
        let run = || Command::Run { config: "f.toml".into() };
        let check = || Command::Check { config: "f.toml".into() };
        for (line, eal, command) in [
            ("run --config f.toml", vec![], run()),
            ("run --config=f.toml", vec![], run()),
            ("check --config f.toml", vec![], check()),
            ("keys", vec![], Command::Keys),
            ("-- run --config f.toml", vec![], run()),
            ("-l 0 --no-huge -m 256 -- run --config f.toml", vec!["-l", "0", "--no-huge", "-m", "256"], run()),
            ("--vdev=net_null0 -- check --config f.toml", vec!["--vdev=net_null0"], check()),
        ] {
            let eal = eal.into_iter().map(str::to_owned).collect();
            assert_eq!(parse_line(line).unwrap(), Invocation { eal, command }, "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_2_and_help_is_0() {
        for (line, code, words) in [
            ("", 2, "Usage: baton-test"),
            ("run", 2, "--config <FILE>"),
            ("run --config", 2, "--config <FILE>"),
            ("walk --config f.toml", 2, "unrecognized subcommand 'walk'"),
            ("--no-huge run --config f.toml", 2, "unexpected argument '--no-huge'"),
            ("run --config f.toml -- extra", 2, "unexpected argument 'extra'"),
            ("run --config f.toml extra", 2, "unexpected argument 'extra'"),
            ("--no-huge --", 2, "Usage: baton-test"),
            ("--no-huge -- -- run --config f.toml", 2, "unexpected argument 'run'"),
            ("--help", 0, "baton-test [EAL args]"),
            ("--version", 0, "baton-test 1.2.3"),
            ("run --help", 0, "a second signal stops at once"),
        ] {
            let error = parse_line(line).unwrap_err();
            let shown = error.to_string();
            assert_eq!(error.exit_code(), code, "{line}: {shown}");
            assert!(shown.contains(words), "{line}: {words:?} is not in\n{shown}");
        }
    }

    #[test]
    fn an_eal_argument_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(vec![b'-', 0xff]);
        let words = ["p".into(), bad, "--".into(), "keys".into()];
        let error = parse("baton-test", "A test.", "1.2.3", words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
    }
}
