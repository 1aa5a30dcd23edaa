//! The production nodes, built as the programs build them: from their configuration, by the same constructors.

use crate::config::{self, Tuning};
use crate::plan::{Member, Place, Plan, Role};
use crate::world::Maker;
use baton_backend::BackEnd;
use baton_backend::config::BackendConfig;
use baton_backend::serve::Probe;
use baton_config::Common;
use baton_frontend::FrontEnd;
use baton_frontend::config::FrontendConfig;
use baton_frontend::dispatch::{BackendIndex, Route};
use baton_stack::addr::{Endpoint, MacAddr};
use baton_stack::neighbor::Interface;
use baton_stack::node::PortId;
use baton_stack::tcp::{Algorithm, TcpConfig};
use handoff_proto::hold::HoldLimits;
use handoff_proto::lease::LeaseSettings;
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

const SECRET: &[u8] = b"the secret of a simulated cluster, 32 bytes and more";
const UNIX_AT_ORIGIN_S: u64 = 1_800_000_000;

pub(crate) fn members(plan: &Plan) -> Vec<Member> {
    let tuning = Tuning::default();
    let mut members = vec![front_end(plan, &tuning)];
    members.extend(plan.back_ends.iter().map(|place| back_end(plan, place, &tuning)));
    members
}

fn seed_of(plan: &Plan, place: &Place, boot: u32) -> [u8; 32] {
    let mut dice = plan.seed.stream(&format!("secrets {} {boot}", place.name));
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&dice.bits().to_be_bytes());
    }
    seed
}

fn front_end(plan: &Plan, tuning: &Tuning) -> Member {
    let config = config::front_end(plan, tuning).expect("tested for every size of cluster");
    let (plan, place) = (plan.clone(), plan.front_end.clone());
    let name = place.name.clone();
    let make: Maker = Box::new(move |boot| {
        let seed = seed_of(&plan, &place, boot);
        Box::new(FrontEnd::new(front_settings(&config, boot, seed, &[place.mac])))
    });
    Member { name, role: Role::FrontEnd, make }
}

fn back_end(plan: &Plan, place: &Place, tuning: &Tuning) -> Member {
    let config = config::back_end(plan, place, tuning).expect("tested for every size of cluster");
    let (plan, place) = (plan.clone(), place.clone());
    let name = place.name.clone();
    let make: Maker = Box::new(move |boot| {
        let seed = seed_of(&plan, &place, boot);
        Box::new(BackEnd::new(back_settings(&config, boot, seed, &[place.mac]), Probe))
    });
    Member { name, role: Role::BackEnd, make }
}

fn interfaces(common: &Common, macs: &[MacAddr]) -> Vec<Interface> {
    common
        .ports
        .iter()
        .zip(macs)
        .enumerate()
        .map(|(n, (port, mac))| Interface {
            port: PortId(u16::try_from(n).unwrap_or(u16::MAX)),
            mac: *mac,
            addr: port.address.addr(),
            prefix_len: port.address.prefix_len(),
            gateway: port.gateway,
            vlan: port.vlan,
            mtu: port.mtu,
        })
        .collect()
}

fn tcp(common: &Common) -> TcpConfig {
    let t = &common.tcp;
    TcpConfig {
        mtu: common.ports.iter().map(|p| p.mtu).min().unwrap_or(1_500),
        recv_buffer_bytes: t.recv_buffer_bytes,
        in_flight_bytes_max: t.in_flight_bytes_max,
        rto_initial: t.rto_initial,
        rto_min: t.rto_min,
        rto_max: t.rto_max,
        delayed_ack: t.delayed_ack,
        time_wait: t.time_wait,
        syn_ack_retries: t.syn_ack_retries,
        data_retries: t.data_retries,
        keepalive: (!t.keepalive.is_zero()).then_some(t.keepalive),
        initial_window_segments: t.initial_window_segments,
        congestion: Algorithm::Cubic,
    }
}

fn lease(common: &Common) -> LeaseSettings {
    let c = &common.cluster;
    LeaseSettings { lease: c.lease, heartbeat: c.heartbeat, margin: c.lease_margin }
}

fn front_settings(config: &FrontendConfig, boot: u32, seed: [u8; 32], macs: &[MacAddr]) -> baton_frontend::Settings {
    let common = &config.common;
    baton_frontend::Settings {
        name: common.node.name.as_str().to_owned(),
        id: common.node.id,
        boot: Boot(boot),
        seed,
        secret: ClusterSecret::parse(SECRET).expect("long enough"),
        interfaces: interfaces(common, macs),
        udp_port: common.cluster.udp_port,
        listeners: config.listeners.iter().map(|l| Endpoint { addr: l.address, port: l.port }).collect(),
        backends: config.backends.iter().map(|b| (b.name.as_str().to_owned(), b.address)).collect(),
        routes: config
            .routes
            .iter()
            .map(|r| Route {
                host: r.host.clone(),
                path_prefix: r.path_prefix.clone(),
                strip_prefix: r.strip_prefix,
                backends: r.backends.iter().filter_map(|n| config.backend(n)).map(BackendIndex).collect(),
            })
            .collect(),
        lease: lease(common),
        tcp: tcp(common),
        head: baton_http1::Limits::default(),
        connections_max: common.limits.connections as usize,
        half_open_max: common.limits.half_open as usize,
        stop_grace: common.node.stop_grace,
    }
}

fn back_settings(config: &BackendConfig, boot: u32, seed: [u8; 32], macs: &[MacAddr]) -> baton_backend::Settings {
    let common = &config.common;
    baton_backend::Settings {
        name: common.node.name.as_str().to_owned(),
        boot: Boot(boot),
        seed,
        secret: ClusterSecret::parse(SECRET).expect("long enough"),
        interfaces: interfaces(common, macs),
        udp_port: common.cluster.udp_port,
        front_ends: config.frontends.iter().map(|f| (f.name.as_str().to_owned(), f.address)).collect(),
        lease: lease(common),
        tcp: tcp(common),
        head: baton_http1::Limits::default(),
        body_bytes_max: common.limits.body_bytes,
        connections_max: common.limits.connections as usize,
        hold: HoldLimits {
            packets_per_flow: common.limits.hold_packets_per_connection as usize,
            packets: common.limits.hold_packets as usize,
            time: common.limits.hold,
        },
        records_max: common.limits.records as usize,
        image_bytes_max: common.limits.image_bytes as usize,
        stop_grace: common.node.stop_grace,
        identify: config.serve.identify,
        unix_at_origin_s: UNIX_AT_ORIGIN_S,
    }
}
