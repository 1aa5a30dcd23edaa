//! `connect`: waiting, and not waiting.

mod driver;

use baton_stack::tcp::Flags;
use driver::{A, Drive, PA, S, SA, mss};
use nix::errno::Errno;
use nix::libc;

const RA: Flags = Flags::RST.with(Flags::ACK);

#[test]
fn what_does_not_wait_asks_again() {
    for (flags, is_v6) in [("", false), ("move-every-event", false), ("", true)] {
        let drive = Drive::with(flags, is_v6);
        let fd = drive.connecting();
        assert_eq!(drive.connect(fd), Err(Errno::EALREADY));
        assert_eq!(drive.poll(fd, libc::POLLOUT, 0), (0, 0));
        assert_eq!((drive.write(fd, b"x"), drive.read(fd, 1)), (Err(Errno::EAGAIN), Err(Errno::EAGAIN)));
        drive.inject_with(SA, 0, 1, b"", 65_535, mss(1_400));
        drive.expect(A, 1, 1, b"");
        assert_eq!(drive.poll(fd, libc::POLLOUT, 0), (1, libc::POLLOUT));
        assert_eq!(drive.int(fd, libc::SOL_SOCKET, libc::SO_ERROR), 0);
        assert_eq!(drive.connect(fd), Ok(0));
        assert_eq!(drive.connect(fd), Err(Errno::EISCONN));
        drive.write(fd, b"request").unwrap();
        drive.expect(PA, 1, 1, b"request");
        drive.inject(PA, 1, 8, b"response");
        assert_eq!(drive.read(fd, 99).unwrap(), b"response");
    }
}

#[test]
fn a_reset_refuses() {
    let drive = Drive::new("");
    let fd = drive.connecting();
    drive.inject(RA, 0, 1, b"");
    assert_eq!(drive.poll(fd, libc::POLLOUT, 0).0, 1);
    assert_eq!(drive.connect(fd), Err(Errno::ECONNREFUSED));
    assert_eq!(drive.int(fd, libc::SOL_SOCKET, libc::SO_ERROR), 0);
}

#[test]
fn what_acknowledges_another_syn_is_reset() {
    let drive = Drive::new("");
    let fd = drive.connecting();
    drive.inject(SA, 0, 5, b"");
    drive.expect(Flags::RST, 5, 0, b"");
    assert_eq!(drive.connect(fd), Err(Errno::EALREADY));
}

#[test]
fn both_may_open_at_once() {
    let drive = Drive::new("");
    let fd = drive.connecting();
    drive.inject_with(S, 0, 0, b"", 65_535, mss(1_400));
    let answer = drive.receive().unwrap();
    assert_eq!((answer.flags, answer.ack), (SA, 1));
    assert_eq!(drive.poll(fd, libc::POLLOUT, 0), (0, 0));
    drive.inject_with(SA, 0, 1, b"", 65_535, mss(1_400));
    drive.expect(A, 1, 1, b"");
    assert_eq!(drive.connect(fd), Ok(0));
}

#[test]
fn who_waits_gives_up_with_the_syn() {
    let drive = Drive::new("");
    let fd = drive.socket(libc::AF_INET).unwrap();
    assert_eq!(drive.connect(fd), Err(Errno::ETIMEDOUT));
    assert!((183_000_000..183_100_000).contains(&drive.clock()), "{}", drive.clock());
}

#[test]
fn a_limit_of_time_ends_the_wait_and_not_the_opening() {
    let drive = Drive::new("");
    let fd = drive.socket(libc::AF_INET).unwrap();
    drive.bind(fd, drive.local.port).unwrap();
    let time = libc::timeval { tv_sec: 2, tv_usec: 0 };
    let bytes = [time.tv_sec.to_ne_bytes(), time.tv_usec.to_ne_bytes()].concat();
    drive.set_option(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &bytes).unwrap();
    assert_eq!(drive.connect(fd), Err(Errno::EINPROGRESS));
    assert!((2_000_000..2_100_000).contains(&drive.clock()), "{}", drive.clock());
    drive.take_syn();
    drive.take_syn();
    drive.inject_with(SA, 0, 1, b"", 65_535, mss(1_400));
    drive.expect(A, 1, 1, b"");
    assert_eq!(drive.connect(fd), Ok(0));
}

#[test]
fn who_listens_or_is_connected_connects_to_nobody() {
    let drive = Drive::new("");
    let (listener, fd) = drive.connected();
    assert_eq!((drive.connect(listener), drive.connect(fd)), (Err(Errno::EISCONN), Err(Errno::EISCONN)));
}
