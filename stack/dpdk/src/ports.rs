//! The ports of one node, with the pool that they share.

use std::time::Duration;

use baton_stack::addr::MacAddr;
use baton_stack::node::PortId;
use thiserror::Error;

use crate::eal::Eal;
use crate::pool::{Pool, PoolError};
use crate::port::{Port, PortConfig, PortError};
use crate::stats::PortStats;
use crate::transmit::TxBurst;
use crate::wake;

/// The most ports that a node can have.
pub const PORTS_MAX: usize = 16;

/// Why the ports did not open.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// None, or more than possible.
    #[error("a node has 1 to {PORTS_MAX} ports, not {0}")]
    Count(usize),
    /// No pool for their frames.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// One did not.
    #[error("port {id}, {device}: {error}")]
    Port {
        /// Its id.
        id: usize,
        /// Its device, as it was asked for.
        device: String,
        /// Why.
        error: PortError,
    },
}

/// The ports of one node, in the order of their ids. They share one pool, so that a frame received on one can leave by another.
#[derive(Debug)]
pub struct Ports {
    ports: Vec<Port>,
    pool: Pool,
}

impl Ports {
    /// Opens a port for each of `configs`, or none.
    ///
    /// # Errors
    /// Not a possible number of ports, too little memory, or a device that cannot do what is asked of it.
    pub fn open(eal: &Eal, configs: &[PortConfig]) -> Result<Self, OpenError> {
        if configs.is_empty() || configs.len() > PORTS_MAX {
            return Err(OpenError::Count(configs.len()));
        }
        let frames = configs.iter().fold(0u32, |sum, config| sum.saturating_add(config.pool_frames));
        let pool = Pool::new(eal, frames)?;
        let open = |(id, config): (usize, &PortConfig)| {
            let failed = |error| OpenError::Port { id, device: config.device.clone(), error };
            Port::open(eal, config, &pool).map_err(failed)
        };
        let ports = configs.iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(Self { ports, pool })
    }

    /// How many ports there are: one at least.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// The pool of all ports' frames.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A port by its id.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))
    }

    /// The ports with their ids.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PortId, &mut Port)> {
        (0..).map(PortId).zip(&mut self.ports)
    }

    /// Whether every port tells when it has frames, so that they can be waited for.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        self.ports.iter().all(|port| port.socket().is_some())
    }

    /// Waits until a port has frames, or `most` is over. False if that cannot be waited for now.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        wake::wait(self.ports.iter().filter_map(Port::socket), most)
    }

    /// The Ethernet address of each port.
    #[must_use]
    pub fn macs(&self) -> Vec<MacAddr> {
        self.ports.iter().map(Port::mac).collect()
    }

    /// What was asked of each port and what it does: tables for people.
    #[must_use]
    pub fn capabilities(&self) -> String {
        self.ports.iter().map(|port| port.capabilities().to_string()).collect()
    }

    /// What each port counts; `tx` knows what was not sent.
    #[must_use]
    pub fn stats(&self, tx: &TxBurst) -> Vec<PortStats> {
        let stats = |(id, port): (PortId, &Port)| PortStats {
            device: port.device().to_owned(),
            link: port.link(),
            counted: port.counted(),
            rx_too_long: port.rx_too_long(),
            tx_unsent: tx.unsent(id),
        };
        (0..).map(PortId).zip(&self.ports).map(stats).collect()
    }
}
