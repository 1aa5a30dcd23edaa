//! Logging: events of the control threads, on standard error. The poll loop never logs per packet.

use baton_config::{Log, LogFormat};
use std::io::IsTerminal;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// The environment variable that overrides `log.level`: a level, or directives such as `info,baton_host=debug`.
pub const LEVEL_VARIABLE: &str = "BATON_LOG";

/// Why logging could not start.
#[derive(Debug, Error)]
pub enum LogError {
    /// The environment variable holds no level.
    #[error("{LEVEL_VARIABLE}={0:?} is neither a level (error, warn, info, debug, trace) nor a list of directives")]
    BadLevel(String),
}

/// Sends the process's events to standard error as `log` says. A process that logs already, in its own way, goes on with that.
///
/// # Errors
/// An unreadable [`LEVEL_VARIABLE`].
pub fn start(log: &Log) -> Result<(), LogError> {
    let filter = filter(log, std::env::var(LEVEL_VARIABLE).ok())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // The only error is that a subscriber is there already.
    let _ = match log.format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn filter(log: &Log, variable: Option<String>) -> Result<EnvFilter, LogError> {
    let directives = variable.filter(|text| !text.is_empty()).unwrap_or_else(|| log.level.word().to_owned());
    EnvFilter::try_new(&directives).map_err(|_| LogError::BadLevel(directives))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_config::LogLevel;

    #[test]
    fn the_variable_overrides_the_configuration() {
        let log = Log { level: LogLevel::Warn, format: LogFormat::Human };
        for (variable, expected) in [
            (None, "warn"),
            (Some(""), "warn"),
            (Some("debug"), "debug"),
            (Some("info,baton_host=trace"), "baton_host=trace,info"),
        ] {
            assert_eq!(filter(&log, variable.map(str::to_owned)).unwrap().to_string(), expected, "{variable:?}");
        }
        let refused = filter(&log, Some("info,=,=".to_owned())).unwrap_err();
        assert!(refused.to_string().starts_with("BATON_LOG=\"info,=,=\" is neither a level"), "{refused}");
    }
}
