//! The DPDK shell: everything between a [`Node`](baton_stack::node::Node) and its devices.
//!
//! What this crate does: starts EAL, opens ports, owns buffers, and drives one node on one core ([`run`]): commands, receive bursts,
//! the node's poll, transmit bursts, rest. All `unsafe` of Baton is here and in `dpdk-sys`.
//!
//! What it does not do: it knows nothing of TCP, HTTP or handoffs; it reads no configuration file and logs nothing.
//!
//! It may import `baton-stack` and `dpdk-sys`.
//!
//! ```no_run
//! # fn drive<N: baton_stack::node::Node>(mut node: N) -> Result<(), Box<dyn std::error::Error>> {
//! use baton_dpdk::{Clock, Eal, Idle, PortConfig, Ports, control, run};
//! let eal = Eal::init(&["--no-huge".into(), "-m".into(), "256".into(), "--vdev=net_null0".into()])?;
//! let mut ports = Ports::open(&eal, &[PortConfig::new("net_null0", 1500)])?;
//! println!("{}", ports.capabilities());
//! let (handle, inbox) = control::<N>();
//! // `handle` goes to the threads that ask for numbers, put commands and ask for a stop.
//! let report = run(&mut node, &mut ports, &inbox, Idle::Adaptive, &Clock::start());
//! # drop(handle); drop(report); Ok(())
//! # }
//! ```

mod capabilities;
mod clock;
mod control;
mod eal;
mod idle;
mod mbuf;
mod pool;
mod port;
mod ports;
mod ring;
mod run;
mod stats;
mod transmit;
mod wake;

pub use capabilities::{Capabilities, Capability, Lack, Link};
pub use clock::{CLOCK_BASE, Clock};
pub use control::{COMMANDS_PER_TURN_MAX, CONTROL_QUEUE_MAX, ControlError, ControlHandle, ControlInbox, Stop, control};
pub use eal::{Eal, EalError, RegisteredThread, pin_to_core};
pub use idle::Idle;
pub use mbuf::Mbuf;
pub use pool::{POOL_FRAMES_MAX, POOL_FRAMES_MIN, Pool, PoolError};
pub use port::{BURST, DeviceStats, Port, PortConfig, PortError, RxBurst};
pub use ports::{OpenError, PORTS_MAX, Ports};
pub use ring::{RING_FRAMES_MAX, RING_FRAMES_MIN, RingError, RingPair};
pub use run::{Outcome, RunReport, run};
pub use stats::{LoopStats, PortStats};
pub use transmit::{FLUSH_TRIES_MAX, TRANSMIT_FRAMES_MAX, TxBurst};
