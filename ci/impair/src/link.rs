//! A packet socket on one interface, in batches.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, bind, recvmmsg, sendmmsg,
    setsockopt, socket, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// So many frames are read or sent with one call.
pub const BATCH: usize = 64;
/// The longest frame: jumbo frames and a VLAN tag.
const FRAME_MAX: usize = 9_216;
/// What the kernel may keep for us while we are not running, in bytes.
const SOCKET_BUFFER: usize = 16 << 20;
/// How long a full interface is waited for, in ms, before frames are given up.
const SEND_PATIENCE_MS: u16 = 10;
/// `sll_pkttype` of a frame that leaves through the interface (packet(7)).
const PACKET_OUTGOING: u8 = 4;

/// An interface, opened for all its frames.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    index: usize,
    /// Where frames are read to; they are copied out at their real lengths.
    buffers: Vec<Box<[u8]>>,
    incoming: MultiHeaders<LinkAddr>,
    outgoing: MultiHeaders<LinkAddr>,
}

impl Port {
    /// Opens the interface called `name`.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        Self::open_for(name, Some(SockProtocol::EthAll))
    }

    /// Opens the interface called `name` to send on. Without a protocol the kernel keeps no frame for the socket.
    pub fn open_to_send(name: &str) -> anyhow::Result<Self> {
        Self::open_for(name, None)
    }

    fn open_for(name: &str, protocol: Option<SockProtocol>) -> anyhow::Result<Self> {
        let address = link_address(name)?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, protocol)
            .context("cannot make a packet socket (root is needed)")?;
        bind(socket.as_raw_fd(), &address).with_context(|| format!("cannot bind to the interface {name}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).context("cannot enlarge the receive buffer")?;
        setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).context("cannot enlarge the send buffer")?;
        let [incoming, outgoing] = [(); 2].map(|()| MultiHeaders::preallocate(BATCH, None));
        let buffers = vec![vec![0; FRAME_MAX].into_boxed_slice(); BATCH];
        Ok(Self { socket, index: address.ifindex(), buffers, incoming, outgoing })
    }

    /// Appends up to [`BATCH`] frames that came in through the interface; none if there are none now.
    pub fn receive(&mut self, frames: &mut Vec<Vec<u8>>) -> nix::Result<()> {
        let Self { socket, index, buffers, incoming, .. } = self;
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let fd = socket.as_raw_fd();
        let received = match recvmmsg(fd, incoming, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => received,
            // An interface that goes down says so once.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Not ours: what leaves through the interface, and what was caught before the socket was bound.
        let ours = |from: LinkAddr| from.ifindex() == *index && from.pkttype() != PACKET_OUTGOING;
        let lengths: Vec<Option<usize>> =
            received.map(|frame| frame.address.is_some_and(ours).then_some(frame.bytes)).collect();
        let filled = self.buffers.iter().zip(lengths);
        frames.extend(filled.filter_map(|(buffer, length)| Some(buffer.get(..length?)?.to_vec())));
        Ok(())
    }

    /// Sends frames; returns how many the interface did not take.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> u64 {
        let mut unsent = 0;
        for batch in frames.chunks(BATCH) {
            unsent += self.send_batch(batch);
        }
        unsent
    }

    fn send_batch(&mut self, mut frames: &[Vec<u8>]) -> u64 {
        let mut unsent = 0;
        let mut patience = true;
        while !frames.is_empty() {
            let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let to = [const { None::<LinkAddr> }; BATCH];
            let sent = sendmmsg(self.socket.as_raw_fd(), &mut self.outgoing, slices.iter(), to, [], MsgFlags::empty());
            match sent.map(Iterator::count) {
                Ok(count) => frames = frames.get(count.max(1)..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) if patience => {
                    patience = false;
                    let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    // Whatever it says, sending again says it better.
                    let _ready = poll(&mut ready, PollTimeout::from(SEND_PATIENCE_MS));
                }
                Err(_) => {
                    // The first one cannot be sent: too long, or the interface is gone.
                    unsent += 1;
                    frames = &frames[1..];
                }
            }
        }
        unsent
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The link-layer address of the interface called `name`, by which a packet socket is bound to it.
fn link_address(name: &str) -> anyhow::Result<LinkAddr> {
    let interfaces = getifaddrs().context("cannot list the interfaces")?;
    for interface in interfaces.filter(|interface| interface.interface_name == name) {
        if let Some(address) = interface.address.as_ref().and_then(|address| address.as_link_addr()) {
            return Ok(*address);
        }
    }
    bail!("there is no interface called {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_name() {
        assert_eq!(link_address("lo").unwrap().ifindex(), 1);
        let refused = link_address("no-such-if").unwrap_err();
        assert_eq!(refused.to_string(), "there is no interface called no-such-if");
    }
}
