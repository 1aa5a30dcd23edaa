//! smoltcp's TCP as the client: an implementation that shares nothing with ours.

use core::cell::Cell;
use std::collections::VecDeque;
use std::vec::Vec;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::time::{Duration, Instant};

const IP_HEADER_LEN: usize = 20;

std::thread_local! {
    /// smoltcp asks for the timestamp clock through a plain function.
    static CLOCK_MS: Cell<u32> = const { Cell::new(0) };
}

/// What a client may differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientConfig {
    pub seed: u64,
    pub mtu: usize,
    pub receive_buffer: usize,
    pub send_buffer: usize,
    pub timestamps: bool,
    pub ack_delay: Option<Duration>,
}

/// A client with one socket.
pub(super) struct Client {
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
}

impl Client {
    /// Connects; the SYN comes out of [`Client::poll`].
    pub(super) fn connect(config: &ClientConfig) -> Self {
        Self::new(config, |socket, iface| {
            socket.connect(iface.context(), (IpAddress::v4(10, 0, 0, 2), 80), 40_000).unwrap();
        })
    }

    /// Is connected to: a server, at the client's place.
    pub(super) fn listen(config: &ClientConfig) -> Self {
        Self::new(config, |socket, _| socket.listen(40_000).unwrap())
    }

    fn new(config: &ClientConfig, open: impl FnOnce(&mut Socket<'static>, &mut Interface)) -> Self {
        let mut wire = Wire { mtu: config.mtu, rx: VecDeque::new(), tx: Vec::new() };
        let mut of_interface = Config::new(HardwareAddress::Ip);
        of_interface.random_seed = config.seed;
        let mut iface = Interface::new(of_interface, &mut wire, SmolInstant::ZERO);
        iface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(IpAddress::v4(10, 0, 0, 1), 24)).unwrap());
        let buffer = |len| SocketBuffer::new(std::vec![0; len]);
        let mut socket = Socket::new(buffer(config.receive_buffer), buffer(config.send_buffer));
        if config.timestamps {
            socket.set_tsval_generator(Some(|| CLOCK_MS.get()));
        }
        socket.set_ack_delay(config.ack_delay.map(|delay| smoltcp::time::Duration::from_micros(micros(delay))));
        open(&mut socket, &mut iface);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self { iface, sockets, handle, wire }
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Takes a TCP segment in.
    pub(super) fn receive(&mut self, tcp: &[u8]) {
        let len = u16::try_from(IP_HEADER_LEN + tcp.len()).unwrap().to_be_bytes();
        let mut packet = std::vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
        packet.extend_from_slice(tcp);
        self.wire.rx.push_back(packet);
    }

    /// Lets it work, and gives the TCP segments that it sends.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        CLOCK_MS.set(u32::try_from(now.micros() / 1_000).unwrap());
        self.iface.poll(smol(now), &mut self.wire, &mut self.sockets);
        let packets = core::mem::take(&mut self.wire.tx);
        packets.into_iter().map(|packet| packet[IP_HEADER_LEN..].to_vec()).collect()
    }

    pub(super) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.iface.poll_at(smol(now), &self.sockets)?;
        Some(Instant::from_micros(u64::try_from(at.total_micros()).unwrap()))
    }
}

fn smol(at: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(at.micros()).unwrap())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

/// The network card: what came, and what is to go.
struct Wire {
    mtu: usize,
    rx: VecDeque<Vec<u8>>,
    tx: Vec<Vec<u8>>,
}

struct Received(Vec<u8>);

struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: SmolInstant) -> Option<(Received, Sending<'_>)> {
        Some((Received(self.rx.pop_front()?), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = std::vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}
