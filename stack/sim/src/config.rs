//! The configuration files of a simulated cluster's nodes: the same format, read by the same parsers, as the programs'.

use crate::plan::{CLUSTER_PORT, Place, Plan, prefix_len};
use baton_backend::config::BackendConfig;
use baton_config::ConfigError;
use baton_frontend::config::FrontendConfig;
use baton_stack::addr::{Endpoint, IpAddr};
use baton_stack::time::Duration;
use std::fmt::Write;

/// Settings that a scenario may vary. Small, so that what they bound happens within a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// How long a node may speak after the front-end's last answer.
    pub lease: Duration,
    /// How often a lease is renewed.
    pub heartbeat: Duration,
    /// How much longer the front-end waits.
    pub lease_margin: Duration,
    /// How long a closed connection is remembered.
    pub time_wait: Duration,
    /// How many half-open connections are remembered.
    pub half_open: u32,
    /// When SYNs are answered with cookies: a word of the configuration.
    pub syn_cookies: &'static str,
    /// Whether back-ends are told ahead which requests are about to come, and prepare.
    pub prefetch: bool,
    /// Whether back-ends give a connection away only when all is acknowledged.
    pub drain_before_moves: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            lease: Duration::from_millis(1_500),
            heartbeat: Duration::from_millis(300),
            lease_margin: Duration::from_millis(300),
            time_wait: Duration::from_secs(5),
            half_open: 4_096,
            syn_cookies: "auto",
            prefetch: true,
            drain_before_moves: false,
        }
    }
}

/// The configuration of a front-end at this place, whose clients connect to `vip`.
///
/// # Errors
/// When the front-end would refuse it.
pub fn front_end(
    plan: &Plan,
    (place, vip): (&Place, Endpoint),
    tuning: &Tuning,
) -> Result<FrontendConfig, ConfigError> {
    baton_frontend::config::parse(&format!("{}.toml", place.name), &front_end_text(plan, (place, vip), tuning))
}

/// A back-end's configuration.
///
/// # Errors
/// When the back-end would refuse it.
pub fn back_end(plan: &Plan, place: &Place, tuning: &Tuning) -> Result<BackendConfig, ConfigError> {
    let mut text = common(place, ("", ""), tuning);
    for (Place { name, address, .. }, _) in plan.front_ends() {
        // Writing to a String does not fail.
        let _ = write!(text, "[[frontend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    let drains = tuning.drain_before_moves;
    let _ = write!(text, "[serve]\nprobe = true\nidentify = true\ndrain_before_moves = {drains}\n");
    baton_backend::config::parse(&format!("{}.toml", place.name), &text)
}

fn front_end_text(plan: &Plan, (place, vip): (&Place, Endpoint), tuning: &Tuning) -> String {
    let id = if *place == plan.front_end { 1 } else { 2 };
    let half_open = format!("half_open = {}\n", tuning.half_open);
    let mut text = common(place, (&format!("id = {id}\n"), &half_open), tuning);
    // Writing to a String does not fail.
    let _ = write!(text, "[[listener]]\naddress = \"{}\"\nport = {}\n", vip.addr, vip.port);
    for Place { name, address, .. } in &plan.back_ends {
        let _ = write!(text, "[[backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        let _ = write!(text, "[[route]]\npath_prefix = \"/{name}/\"\nstrip_prefix = true\nbackends = [\"{name}\"]\n");
    }
    let names: Vec<_> = plan.back_ends.iter().map(|place| format!("\"{}\"", place.name)).collect();
    let _ = write!(text, "[[route]]\nbackends = [{}]\n", names.join(", "));
    text
}

/// The front-end's id and its limit, if it is one.
fn common(place: &Place, (id, half_open): (&str, &str), tuning: &Tuning) -> String {
    let Place { name, address, second_address, .. } = place;
    let with_prefix = |address: IpAddr| format!("\"{address}/{}\"", prefix_len(address));
    let second = second_address.map(|second| format!("second_address = {}\n", with_prefix(second)));
    format!(
        "[node]\nname = \"{name}\"\n{id}\
         [cluster]\nsecret_file = \"cluster.key\"\nudp_port = {CLUSTER_PORT}\n\
         lease_ms = {}\nheartbeat_ms = {}\nlease_margin_ms = {}\nprefetch = {}\n\
         [tcp]\ntime_wait_ms = {}\nsyn_cookies = \"{}\"\nin_flight_bytes_max = 1048576\n\
         [limits]\n{half_open}image_bytes = 2097152\n\
         [[port]]\ndevice = \"sim\"\naddress = {}\n{}",
        tuning.lease.as_millis(),
        tuning.heartbeat.as_millis(),
        tuning.lease_margin.as_millis(),
        tuning.prefetch,
        tuning.time_wait.as_millis(),
        tuning.syn_cookies,
        with_prefix(*address),
        second.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Seed;
    use crate::plan::{BACK_ENDS_MAX, Family};

    #[test]
    fn every_node_accepts_its_configuration() {
        let families = [Family::V4, Family::V6, Family::Mixed];
        for (count, family) in [1, 2, BACK_ENDS_MAX].into_iter().flat_map(|count| families.map(|of| (count, of))) {
            let plan = Plan::new(Seed(1), count, family).with_other_front_end(family);
            let tuning = Tuning { lease: Duration::from_millis(700), prefetch: count == 2, ..Tuning::default() };
            for at in plan.front_ends() {
                let front_end = front_end(&plan, at, &tuning).unwrap();
                assert_eq!(front_end.backends.len(), count);
                assert_eq!(front_end.routes.len(), count + 1);
                assert_eq!(front_end.common.cluster.lease, tuning.lease);
            }
            for place in &plan.back_ends {
                let back_end = back_end(&plan, place, &tuning).unwrap();
                assert_eq!(back_end.common.node.name.as_str(), place.name);
                assert_eq!(back_end.frontends.len(), 2);
                assert_eq!(back_end.common.tcp.time_wait, tuning.time_wait);
                assert_eq!(back_end.common.cluster.prefetch, tuning.prefetch);
                assert!(back_end.serve.probe && back_end.serve.identify);
            }
        }
    }
}
