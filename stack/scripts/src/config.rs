//! `config` lines.

use std::str::FromStr;

use baton_stack::tcp::{Algorithm, TcpConfig};
use baton_stack::time::Duration;

/// Sets one key; true if the key is known.
///
/// # Errors
/// The value is not one of this key.
pub(crate) fn set(config: &mut TcpConfig, key: &str, value: &str) -> Result<bool, String> {
    match key {
        "mtu" => config.mtu = number(value)?,
        // A window that does not grow, unless the script says so.
        "recv_buffer_bytes" => {
            (config.recv_buffer_bytes, config.recv_buffer_max_bytes) = (number(value)?, number(value)?)
        }
        "recv_buffer_max_bytes" => config.recv_buffer_max_bytes = number(value)?,
        "in_flight_bytes_max" => config.in_flight_bytes_max = number(value)?,
        "rto_initial" => config.rto_initial = ms(value)?,
        "rto_min" => config.rto_min = ms(value)?,
        "rto_max" => config.rto_max = ms(value)?,
        "delayed_ack" => config.delayed_ack = ms(value)?,
        "time_wait" => config.time_wait = ms(value)?,
        "path_mtu_age" => config.path_mtu_age = ms(value)?,
        "syn_retries" => config.syn_retries = number(value)?,
        "syn_ack_retries" => config.syn_ack_retries = number(value)?,
        "data_retries" => config.data_retries = number(value)?,
        "keepalive" => config.keepalive = Some(ms(value)?),
        "keepalive_interval" => config.keepalive_interval = Some(ms(value)?),
        "keepalive_probes" => config.keepalive_probes = number(value)?,
        "user_timeout" => config.user_timeout = Some(ms(value)?),
        "fin_wait_2" => config.fin_wait_2 = Some(ms(value)?),
        "initial_window_segments" => config.initial_window_segments = number(value)?,
        "nagle" => config.nagle = is_so(value)?,
        "cork" => config.cork = is_so(value)?,
        "ecn" => config.ecn = is_so(value)?,
        "congestion" => {
            config.congestion = match value {
                "cubic" => Algorithm::Cubic,
                "newreno" => Algorithm::NewReno,
                other => return Err(format!("{other} is no congestion control")),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number, or a sentence.
pub(crate) fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is no number here"))
}

fn is_so(word: &str) -> Result<bool, String> {
    word.parse().map_err(|_| format!("{word} is neither true nor false"))
}

fn ms(word: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(number(word)?))
}
