//! Devices that wake up whoever waits for their frames: the packet sockets behind `net_af_packet`.
//!
//! DPDK knows interrupts of receive queues, and the driver has none. But its frames come through a socket of the kernel's (packet(7)), and the kernel
//! says when one is there to anybody who waits for that socket. Frames stay in the driver's ring; nothing is read here.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use arrayvec::ArrayVec;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::ports::PORTS_MAX;

/// The driver's name.
pub(crate) const PACKET_DRIVER: &str = "net_af_packet";

/// The packet socket that this process has open on a kernel interface, by the interface's number. `None` if there is not exactly one.
pub(crate) fn packet_socket(if_index: u32) -> Option<OwnedFd> {
    let if_index = usize::try_from(if_index).ok()?;
    // The kernel says the name of a packet socket in fewer bytes than `LinkAddr` insists on.
    let is_its = |fd: RawFd| {
        let name = getsockname::<SockaddrStorage>(fd).ok();
        name.and_then(|name| Some(name.as_link_addr()?.ifindex())) == Some(if_index)
    };
    let open = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let found: ArrayVec<RawFd, 2> = numbers.filter(|fd| is_its(*fd)).take(2).collect();
    let [fd] = found[..] else { return None };
    // SAFETY: borrowed for this call alone, and open: nobody closes the driver's socket but a port that is being opened or closed, and both are one
    // thread's at a time (the list of open ports is locked).
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // A descriptor of our own, which stays what it is whatever the driver does.
    socket.try_clone_to_owned().ok()
}

/// Waits until a frame is there for one of the sockets, or `most` is over. False if one of them cannot be waited for, as when its interface
/// has gone down.
pub(crate) fn wait<'a>(sockets: impl Iterator<Item = &'a OwnedFd> + Clone, most: Duration) -> bool {
    let mut polled: ArrayVec<PollFd<'_>, PORTS_MAX> =
        sockets.clone().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    // Interrupted or not: the loop looks for itself.
    let _ = ppoll(&mut polled, Some(TimeSpec::from(most)), None);
    let mut is_well = true;
    for (polled, socket) in polled.iter().zip(sockets) {
        if polled.revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)) {
            is_well = false;
            // It is told once.
            let _ = getsockopt(socket, sockopt::SocketError);
        }
    }
    is_well
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::process::Command;
    use std::thread;
    use std::time::Instant;

    use nix::ifaddrs::getifaddrs;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, socket};

    use super::*;

    fn set_loopback(state: &str) {
        assert!(Command::new("ip").args(["link", "set", "lo", state]).status().unwrap().success());
    }

    fn open_loopback() -> OwnedFd {
        let address = getifaddrs().unwrap().find_map(|interface| interface.address?.as_link_addr().copied()).unwrap();
        assert_eq!(address.ifindex(), 1);
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        socket
    }

    /// Needs root, as all tests with devices do.
    #[test]
    fn the_packet_socket_of_an_interface_is_found_and_tells_of_frames() {
        const LONG: Duration = Duration::from_secs(20);
        const SHORT: Duration = Duration::from_millis(30);
        // This thread's and its children's: nobody else sends here.
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
        set_loopback("up");
        assert!(packet_socket(1).is_none());
        let _drivers = open_loopback();
        assert!(packet_socket(2).is_none());
        let found = packet_socket(1).unwrap();
        let start = Instant::now();
        assert!(wait([&found].into_iter(), SHORT));
        assert!(start.elapsed() >= SHORT, "nothing was there");
        let sending = thread::spawn(|| {
            thread::sleep(SHORT);
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", "127.0.0.1:9").unwrap();
        });
        assert!(wait([&found].into_iter(), LONG));
        sending.join().unwrap();
        assert!(start.elapsed() < LONG, "a frame ends the wait");
        // Which of two is the driver's cannot be told; `found` itself is a second one.
        assert!(packet_socket(1).is_none());
    }

    #[test]
    fn an_interface_that_goes_down_is_said_once() {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
        set_loopback("up");
        let socket = open_loopback();
        set_loopback("down");
        assert!(!wait([&socket].into_iter(), Duration::from_secs(20)));
        let start = Instant::now();
        assert!(wait([&socket].into_iter(), Duration::from_millis(30)));
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}
