//! An ordinary host: smoltcp's interface and sockets behind the same frames in, frames out as every node.

use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::node::{FRAME_LEN_MAX, PortId, Transmit};
use baton_stack::time::{Duration, Instant};
use smoltcp::iface::{Config, Context, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use std::cell::Cell;
use std::collections::VecDeque;

const MTU: usize = 1500;
const ETHERNET_HEADER_LEN: usize = 14;
/// Rounds of sockets and application within one turn; what is left waits a tick.
const ROUNDS_MAX: usize = 256;
/// When the interface says "now" although it has just run: how long it waits.
const TICK: Duration = Duration::from_micros(50);

thread_local! {
    /// smoltcp asks a plain function for TSval. One world runs on one thread, and each host sets it before it runs.
    static TSVAL: Cell<u32> = const { Cell::new(0) };
}

/// The present TSval of the host that is running, for `Socket::set_tsval_generator`: milliseconds.
pub(crate) fn tsval() -> u32 {
    TSVAL.get()
}

/// A network stack with one Ethernet port.
pub(crate) struct Host {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    turn_at: Option<Instant>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("addresses", &self.interface.ip_addrs()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host with one address, at most two. `seed` is for its initial sequence numbers.
    pub(crate) fn new(mac: MacAddr, addresses: &[(IpAddr, u8)], seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut nic = Nic::default();
        let mut interface = Interface::new(config, &mut nic, moment(Instant::ZERO));
        interface.update_ip_addrs(|list| {
            for &(address, prefix_len) in addresses {
                // The list holds two; a host is never given more.
                let _full = list.push(IpCidr::new(address.into(), prefix_len));
            }
        });
        Self { nic, interface, sockets: SocketSet::new(Vec::new()), turn_at: Some(Instant::ZERO) }
    }

    /// Takes a frame for the next turn.
    pub(crate) fn receive(&mut self, frame: &[u8]) {
        self.nic.waiting.push_back(frame.to_vec());
    }

    /// Runs sockets and application in turns until neither has anything left to do now. `app` says whether it did
    /// something that concerns its sockets.
    pub(crate) fn run<T: Transmit>(
        &mut self,
        now: Instant,
        tx: &mut T,
        mut app: impl FnMut(&mut Context, &mut SocketSet<'static>) -> bool,
    ) {
        TSVAL.set(u32::try_from((now.micros() / 1000) & u64::from(u32::MAX)).unwrap_or(0));
        let moment = moment(now);
        for _ in 0..ROUNDS_MAX {
            let more = self.nic.admit();
            let _changed = self.interface.poll(moment, &mut self.nic, &mut self.sockets);
            if !app(self.interface.context(), &mut self.sockets) && !more {
                break;
            }
        }
        while let Some(frame) = self.nic.leaving.front() {
            let written = tx.transmit(PortId(0), frame.len(), |out| {
                out[..frame.len()].copy_from_slice(frame);
                frame.len()
            });
            if !written {
                break;
            }
            self.nic.leaving.pop_front();
        }
        let due = self.interface.poll_at(moment, &self.sockets).map(instant);
        let rest = !self.nic.leaving.is_empty() || !self.nic.waiting.is_empty();
        let due = if rest { Some(now) } else { due };
        self.turn_at = due.map(|due| due.max(now + TICK));
    }

    /// When it must run next.
    pub(crate) const fn turn_at(&self) -> Option<Instant> {
        self.turn_at
    }
}

const fn moment(now: Instant) -> smoltcp::time::Instant {
    // 2^63 microseconds are 292,000 years.
    smoltcp::time::Instant::from_micros_const(now.micros().cast_signed())
}

fn instant(moment: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(moment.total_micros()).unwrap_or(0))
}

/// A network card made of two queues.
#[derive(Debug, Default)]
struct Nic {
    waiting: VecDeque<Vec<u8>>,
    admitted: Option<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
}

impl Nic {
    /// Lets the interface see the next frame. One at a time: a server must get to its sockets between two SYNs.
    fn admit(&mut self) -> bool {
        if self.admitted.is_none() {
            self.admitted = self.waiting.pop_front();
        }
        self.admitted.is_some()
    }
}

struct Arrived(Vec<u8>);

struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Nic {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.admitted.take()?;
        Some((Arrived(frame), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU + ETHERNET_HEADER_LEN;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        debug_assert!(len <= FRAME_LEN_MAX, "the MTU says so");
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}
