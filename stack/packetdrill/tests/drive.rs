//! The built library, driven as the tool drives it, by one thread.

mod driver;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::checksum;
use baton_stack::tcp::{Flags, Options, Timestamps};
use baton_stack::wire::{Envelope, IpSettings};
use driver::{A, Drive, FA, PA, PORT, R, RA, S, Sent, all, bytes, check, mss};
use nix::errno::Errno;
use nix::libc;
use std::os::linux::fs::MetadataExt;

const TCP: i32 = libc::IPPROTO_TCP;
const SOCKET: i32 = libc::SOL_SOCKET;

#[test]
fn bytes_go_both_ways_over_both_families() {
    for is_v6 in [false, true] {
        let drive = Drive::with("", is_v6);
        let (_, fd) = drive.connected();
        drive.inject(PA, 1, 1, b"hello");
        assert_eq!(drive.ioctl(fd, libc::FIONREAD), 5);
        assert_eq!(drive.recv(fd, 3, libc::MSG_PEEK).unwrap(), b"hel");
        assert_eq!(drive.read(fd, 3).unwrap(), b"hel");
        assert_eq!(drive.read(fd, 99).unwrap(), b"lo");
        assert_eq!(drive.write(fd, b"world").unwrap(), 5);
        drive.expect(PA, 1, 6, b"world");
        assert_eq!(drive.ioctl(fd, libc::TIOCOUTQ), 5);
        drive.inject(A, 6, 6, b"");
        assert_eq!(drive.ioctl(fd, libc::TIOCOUTQ), 0);
        assert_eq!(drive.receive(), None);
    }
}

#[test]
fn descriptors_are_real_and_go_away() {
    let drive = Drive::new("");
    let (listener, fd) = drive.connected();
    for fd in [listener, fd] {
        let open = std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(open.st_rdev(), std::fs::metadata("/dev/null").unwrap().st_rdev());
        drive.close(fd).unwrap();
        assert_eq!(drive.close(fd), Err(Errno::EBADF));
        assert_eq!(drive.read(fd, 1), Err(Errno::EBADF));
    }
}

#[test]
fn what_is_lost_is_sent_again_in_virtual_time() {
    let real = Instant::now();
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.write(fd, b"x").unwrap();
    let first = drive.expect(PA, 1, 1, b"x").at;
    let mut again = Vec::new();
    for _ in 0..6 {
        again.push(drive.expect(PA, 1, 1, b"x").at - first);
    }
    // The least RTO is 200 ms, and doubles.
    assert_eq!(again, [200_000, 600_000, 1_400_000, 3_000_000, 6_200_000, 12_600_000]);
    assert!(drive.clock() >= first + 12_600_000);
    assert!(real.elapsed() < Duration::from_secs(5), "no real time");
}

#[test]
fn the_clock_moves_with_its_readers() {
    let drive = Drive::new("");
    let first = drive.clock();
    assert_eq!(drive.clock(), first + 2);
    drive.sleep_until(5_000_000);
    assert_eq!(drive.clock(), 5_000_002);
}

#[test]
fn who_waits_for_a_packet_that_does_not_come_gives_up() {
    let real = Instant::now();
    let drive = Drive::new("give-up=3");
    let (_, fd) = drive.connected();
    drive.write(fd, b"x").unwrap();
    let times: Vec<i64> = all(&drive).iter().map(|sent| sent.at).collect();
    // 200 ms, 400, 800, 1.6 s are waited for; 3.2 s are too long.
    assert_eq!(times.len(), 5);
    assert_eq!(times[4] - times[0], 3_000_000);
    assert!(drive.clock() < times[4] + 3_000, "the clock stays where nothing happens");
    assert!(real.elapsed() < Duration::from_secs(5));
}

#[test]
fn we_close_first() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.write(fd, b"bye").unwrap();
    drive.close(fd).unwrap();
    drive.expect(PA, 1, 1, b"bye");
    drive.expect(FA, 4, 1, b"");
    drive.inject(A, 1, 5, b"");
    drive.inject(FA, 1, 5, b"");
    drive.expect(A, 5, 2, b"");
    // TIME-WAIT: the peer's FIN once more.
    drive.inject(FA, 1, 5, b"");
    drive.expect(A, 5, 2, b"");
    drive.sleep_until(62_000_000);
    drive.inject(A, 2, 5, b"");
    drive.expect(R, 5, 0, b"");
}

#[test]
fn they_close_first() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.inject(FA, 1, 1, b"last");
    drive.expect(A, 1, 6, b"");
    assert_eq!(drive.read(fd, 9).unwrap(), b"last");
    assert_eq!(drive.read(fd, 9).unwrap(), b"");
    drive.write(fd, b"mine").unwrap();
    drive.expect(PA, 1, 6, b"mine");
    drive.close(fd).unwrap();
    drive.expect(FA, 5, 6, b"");
    drive.inject(A, 6, 6, b"");
    assert_eq!(drive.receive(), None);
    drive.inject(A, 6, 6, b"");
    drive.expect(R, 6, 0, b"");
}

#[test]
fn half_closed_we_still_read_and_both_at_once_end() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.shutdown(fd, libc::SHUT_WR).unwrap();
    drive.expect(FA, 1, 1, b"");
    assert_eq!(drive.write(fd, b"x"), Err(Errno::EPIPE));
    drive.inject(PA, 1, 1, b"more");
    assert_eq!(drive.read(fd, 9).unwrap(), b"more");
    drive.inject(FA, 5, 1, b"");
    drive.expect(A, 2, 6, b"");
    drive.inject(A, 6, 2, b"");
    assert_eq!(drive.read(fd, 9).unwrap(), b"");
    assert_eq!(drive.shutdown(fd, 7), Err(Errno::EINVAL));
    drive.close(fd).unwrap();
    assert_eq!(drive.receive(), None);
}

#[test]
fn who_leaves_bytes_unread_or_does_not_linger_resets() {
    let reset = |linger: Option<[i32; 2]>, unread: bool| {
        let drive = Drive::new("");
        let (_, fd) = drive.connected();
        if let Some([on, seconds]) = linger {
            drive.set_option(fd, SOCKET, libc::SO_LINGER, &[on.to_ne_bytes(), seconds.to_ne_bytes()].concat()).unwrap();
        }
        if unread {
            drive.inject(PA, 1, 1, b"unread");
        }
        drive.close(fd).unwrap();
        drive.receive().unwrap()
    };
    assert_eq!((reset(None, true).flags, reset(Some([1, 0]), false).flags), (RA, RA));
    assert_eq!((reset(Some([0, 0]), false).flags, reset(None, false).flags), (FA, FA));
    // What comes after close is not read by anybody either.
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.close(fd).unwrap();
    drive.expect(FA, 1, 1, b"");
    drive.inject(PA, 1, 2, b"late");
    assert_eq!(drive.receive().unwrap().flags, RA);
}

#[test]
fn a_close_that_lingers_takes_as_long_as_the_peer() {
    let linger = [1_i32.to_ne_bytes(), 5_i32.to_ne_bytes()].concat();
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.set_option(fd, SOCKET, libc::SO_LINGER, &linger).unwrap();
    let before = drive.clock();
    drive.close(fd).unwrap();
    assert_eq!(drive.clock() - before, 5_000_002, "nobody answers");
}

#[test]
fn without_waiting_the_answer_is_to_try_again() {
    let drive = Drive::new("");
    let listener = drive.listener();
    drive.set_nonblocking(listener);
    assert_eq!(drive.accept(listener), Err(Errno::EAGAIN));
    drive.shake_hands(mss(1_000));
    let fd = drive.accept(listener).unwrap();
    assert_eq!(drive.recv(fd, 1, libc::MSG_DONTWAIT), Err(Errno::EAGAIN));
    drive.set_nonblocking(fd);
    assert_eq!(drive.read(fd, 1), Err(Errno::EAGAIN));
    drive.set_int(fd, SOCKET, libc::SO_SNDBUF, 20_000).unwrap();
    assert_eq!(drive.int(fd, SOCKET, libc::SO_SNDBUF), 40_000);
    let text = bytes(30_000);
    assert_eq!(drive.write(fd, &text).unwrap(), 20_000);
    assert_eq!(drive.write(fd, &text[20_000..]), Err(Errno::EAGAIN));
    assert_eq!(drive.poll(fd, libc::POLLOUT, 0), (0, 0));
    // Ten segments of the initial window.
    for n in 0..10 {
        let sent = drive.receive().unwrap();
        assert_eq!((sent.seq, &sent.payload[..]), (1 + 1_000 * n, &text[1_000 * n as usize..][..1_000]));
    }
    drive.inject(A, 1, 10_001, b"");
    assert_eq!(drive.poll(fd, libc::POLLOUT, 0), (1, libc::POLLOUT));
    assert_eq!(drive.write(fd, &text[20_000..]).unwrap(), 10_000);
}

#[test]
fn poll_says_what_is_so() {
    let (input, out) = (libc::POLLIN, libc::POLLOUT);
    let drive = Drive::new("");
    let listener = drive.listener();
    assert_eq!(drive.poll(listener, input, 0), (0, 0));
    drive.shake_hands(mss(1_460));
    assert_eq!(drive.poll(listener, input, 0), (1, input));
    let fd = drive.accept(listener).unwrap();
    assert_eq!(drive.poll(fd, input | out, 0), (1, out));
    drive.inject(PA, 1, 1, b"x");
    assert_eq!(drive.poll(fd, input | out, 0), (1, input | out));
    drive.read(fd, 1).unwrap();
    drive.inject(FA, 2, 1, b"");
    assert_eq!(drive.poll(fd, input | libc::POLLRDHUP, 0), (1, input | libc::POLLRDHUP));
    drive.inject(R, 3, 0, b"");
    let reset = drive.poll(fd, input, 0);
    assert_eq!(reset, (1, input | libc::POLLERR | libc::POLLHUP));
    assert_eq!(drive.poll(9_999, input, 0), (1, libc::POLLNVAL));
    assert_eq!(drive.poll(-1, input, 0), (0, 0));
    // A time to wait passes without anybody's help.
    let before = drive.clock();
    assert_eq!(drive.poll(listener, input, 250), (0, 0));
    assert_eq!(drive.clock() - before, 250_002);
}

#[test]
fn failures_are_told_once() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.inject(PA, 1, 1, b"x");
    drive.inject(R, 2, 0, b"");
    assert_eq!(drive.read(fd, 9).unwrap(), b"x", "what came before can be read");
    assert_eq!(drive.read(fd, 9), Err(Errno::ECONNRESET));
    assert_eq!(drive.read(fd, 9).unwrap(), b"");
    assert_eq!(drive.write(fd, b"y"), Err(Errno::EPIPE));
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.inject(R, 1, 0, b"");
    assert_eq!(drive.int(fd, SOCKET, libc::SO_ERROR), Errno::ECONNRESET as i32);
    assert_eq!(drive.int(fd, SOCKET, libc::SO_ERROR), 0);
}

#[test]
fn tcp_info_is_linux_s() {
    let drive = Drive::new("");
    let listener = drive.listener();
    let info = drive.option(listener, TCP, libc::TCP_INFO, 300).unwrap();
    assert_eq!((info[0], info.len()), (10, 236), "LISTEN");
    let stamps = Some(Timestamps { val: 5, ecr: 0 });
    let options = Options { window_scale: Some(7), sack_permitted: true, timestamps: stamps, ..mss(1_460) };
    drive.shake_hands(options);
    let fd = drive.accept(listener).unwrap();
    drive.write(fd, &bytes(3_000)).unwrap();
    let info = drive.option(fd, TCP, libc::TCP_INFO, 300).unwrap();
    let u32_at = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    // state, ca_state, retransmits, probes, backoff, options, scales
    assert_eq!(info[..7], [1, 0, 0, 0, 0, 7, 0x17]);
    assert_eq!((u32_at(16), u32_at(24), u32_at(80)), (1_448, 3, 10), "snd_mss, unacked, snd_cwnd");
    assert_eq!((u32_at(68), u32_at(76)), (10_000, 0x7fff_ffff), "rtt, snd_ssthresh");
    assert_eq!(u32_at(100), 0, "total_retrans");
    // Three segments, the tail loss probe, and the timer's retransmission.
    for _ in 0..5 {
        drive.receive().unwrap();
    }
    let info = drive.option(fd, TCP, libc::TCP_INFO, 104).unwrap();
    assert_eq!((info[1], info[2], info[4], info.len()), (4, 1, 1, 104), "loss, one retransmission, backoff");
    assert_eq!(info[100..104], 2_u32.to_ne_bytes(), "total_retrans: the probe is one");
}

#[test]
fn options_change_what_is_sent() {
    let drive = Drive::new("");
    let listener = drive.listener();
    drive.set_int(listener, TCP, libc::TCP_MAXSEG, 1_000).unwrap();
    drive.set_int(listener, SOCKET, libc::SO_RCVBUF, 20_000).unwrap();
    let syn_ack = drive.shake_hands(mss(1_460));
    assert_eq!((syn_ack.options.mss, syn_ack.window), (Some(1_000), 20_000));
    let fd = drive.accept(listener).unwrap();
    assert_eq!((drive.int(fd, TCP, libc::TCP_MAXSEG), drive.int(fd, SOCKET, libc::SO_RCVBUF)), (1_000, 40_000));
    drive.set_int(fd, SOCKET, libc::SO_KEEPALIVE, 1).unwrap();
    drive.set_int(fd, TCP, libc::TCP_KEEPIDLE, 30).unwrap();
    drive.set_int(fd, TCP, libc::TCP_KEEPINTVL, 3).unwrap();
    drive.set_int(fd, TCP, libc::TCP_KEEPCNT, 2).unwrap();
    let before = drive.clock();
    let times: Vec<(i64, u32)> = all(&drive).iter().map(|sent| ((sent.at - before + 500) / 1_000, sent.seq)).collect();
    assert_eq!(times, [(30_000, 0), (33_000, 0), (36_000, 1)], "two probes and a reset");
    assert_eq!(drive.read(fd, 1), Err(Errno::ETIMEDOUT));
    assert_eq!(drive.set_int(fd, SOCKET, libc::SO_BROADCAST, 1), Err(Errno::ENOPROTOOPT));
    drive.set_int(listener, SOCKET, libc::SO_REUSEADDR, 1).unwrap();
    assert_eq!(drive.int(listener, SOCKET, libc::SO_REUSEADDR), 1);
}

#[test]
fn nodelay_and_cork_say_when_short_segments_leave() {
    for flags in ["", "move-every-event"] {
        let drive = Drive::new(flags);
        let (_, fd) = drive.connected();
        assert_eq!((drive.int(fd, TCP, libc::TCP_NODELAY), drive.int(fd, TCP, libc::TCP_CORK)), (0, 0));
        // Nagle's algorithm holds the second, and the option lets it go.
        drive.write(fd, b"one").unwrap();
        drive.write(fd, b"two").unwrap();
        drive.expect(PA, 1, 1, b"one");
        drive.set_int(fd, TCP, libc::TCP_NODELAY, 1).unwrap();
        drive.expect(PA, 4, 1, b"two");
        drive.write(fd, b"three").unwrap();
        drive.expect(PA, 7, 1, b"three");
        drive.inject(A, 1, 12, b"");
        // A cork holds what it would have let go; taken out, all of it leaves in one.
        drive.set_int(fd, TCP, libc::TCP_CORK, 1).unwrap();
        assert_eq!((drive.int(fd, TCP, libc::TCP_NODELAY), drive.int(fd, TCP, libc::TCP_CORK)), (1, 1));
        drive.write(fd, b"a").unwrap();
        drive.write(fd, b"b").unwrap();
        drive.set_int(fd, TCP, libc::TCP_CORK, 0).unwrap();
        drive.expect(PA, 12, 1, b"ab");
        drive.inject(A, 1, 14, b"");
        // The other option lets go what is corked, once.
        drive.set_int(fd, TCP, libc::TCP_CORK, 1).unwrap();
        drive.write(fd, b"c").unwrap();
        drive.set_int(fd, TCP, libc::TCP_NODELAY, 1).unwrap();
        drive.expect(PA, 14, 1, b"c");
        drive.inject(A, 1, 15, b"");
        let before = drive.clock();
        drive.write(fd, b"d").unwrap();
        let late = drive.expect(PA, 15, 1, b"d").at - before;
        assert!((200_000..201_000).contains(&late), "{flags}: {late}");
    }
}

#[test]
fn a_user_timeout_ends_a_silence() {
    for flags in ["", "move-every-event"] {
        let drive = Drive::new(flags);
        let (_, fd) = drive.connected();
        assert_eq!(drive.int(fd, TCP, libc::TCP_USER_TIMEOUT), 0);
        assert_eq!(drive.set_int(fd, TCP, libc::TCP_USER_TIMEOUT, -1), Err(Errno::EINVAL));
        drive.set_int(fd, TCP, libc::TCP_USER_TIMEOUT, 1_000).unwrap();
        assert_eq!(drive.int(fd, TCP, libc::TCP_USER_TIMEOUT), 1_000);
        drive.write(fd, b"x").unwrap();
        let first = drive.expect(PA, 1, 1, b"x").at;
        let times: Vec<(i64, Flags)> = all(&drive).iter().map(|sent| (sent.at - first, sent.flags)).collect();
        assert_eq!(times, [(200_000, PA), (600_000, PA), (1_000_000, RA)], "{flags}");
        assert_eq!(drive.read(fd, 1), Err(Errno::ETIMEDOUT));
    }
}

/// A router cannot pass on a packet of 1,500 bytes that carries our first segment.
fn too_big(drive: &Drive, mtu: u16) {
    let (local, peer) = (drive.local.addr, drive.peer.addr);
    let mut quoted = Vec::new();
    match (local, peer) {
        (IpAddr::V4(local), IpAddr::V4(peer)) => {
            quoted.extend([0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            quoted.extend([local.octets(), peer.octets()].concat());
        }
        (IpAddr::V6(local), IpAddr::V6(peer)) => {
            quoted.extend([0x60, 0, 0, 0, 0x05, 0xb4, 6, 64]);
            quoted.extend([local.octets(), peer.octets()].concat());
        }
        _ => panic!("two families"),
    }
    quoted.extend([drive.local.port.to_be_bytes(), drive.peer.port.to_be_bytes()].concat());
    quoted.extend((drive.iss() + 1).0.to_be_bytes());
    let [high, low] = mtu.to_be_bytes();
    let (kind, code, protocol) = if local.is_ipv4() { (3, 4, 1) } else { (2, 0, 58) };
    let mut message = [&[kind, code, 0, 0, 0, 0, high, low][..], &quoted].concat();
    let sum = if local.is_ipv4() { checksum::of(&message) } else { checksum::of_transport(peer, local, 58, &message) };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mac = MacAddr::default();
    let envelope = Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src: peer, dst: local, ip: IpSettings::DEFAULT };
    let mut frame = vec![0; envelope.len()];
    frame.extend_from_slice(&message);
    envelope.write_headers(&mut frame, protocol, message.len());
    drive.inject_bytes(&frame[14..]);
}

#[test]
fn what_was_too_big_is_sent_again_in_shorter_segments() {
    for is_v6 in [false, true] {
        for flags in ["", "move-every-event"] {
            let drive = Drive::with(flags, is_v6);
            let (_, fd) = drive.connected();
            drive.write(fd, &bytes(3_000)).unwrap();
            let full = if is_v6 { 1_440 } else { 1_460 };
            for len in [full, full, 3_000 - 2 * full] {
                assert_eq!(drive.receive().unwrap().payload.len(), len);
            }
            too_big(&drive, 1_300);
            let again: Vec<(u32, usize)> =
                (0..3).map(|_| drive.receive().unwrap()).map(|sent| (sent.seq, sent.payload.len())).collect();
            let less = full - 200;
            let next = |n: usize| u32::try_from(1 + n * less).unwrap();
            assert_eq!(again, [(1, less), (next(1), less), (next(2), 3_000 - 2 * less)], "{flags}");
        }
    }
}

#[test]
fn urgent_bytes_are_marked_and_stay_in_line() {
    for flags in ["", "move-every-event"] {
        let drive = Drive::new(flags);
        let (_, fd) = drive.connected();
        assert_eq!(drive.send(fd, b"hurry", libc::MSG_OOB), Ok(5));
        let sent = drive.expect(PA.with(Flags::URG), 1, 1, b"hurry");
        assert_eq!(sent.urgent, 5);
        assert_eq!(drive.send(fd, b"on", 0), Ok(2));
        drive.inject(A, 1, 6, b"");
        let sent = drive.expect(PA, 6, 1, b"on");
        assert_eq!(sent.urgent, 0);
    }
}

#[test]
fn who_would_wait_for_ever_alone_is_told() {
    let real = Instant::now();
    let drive = Drive::new("");
    let (listener, fd) = drive.connected();
    assert_eq!(drive.accept(listener), Err(Errno::EDEADLK));
    assert_eq!(drive.read(fd, 1), Err(Errno::EDEADLK));
    let timeout = [1_i64.to_ne_bytes(), 500_000_i64.to_ne_bytes()].concat();
    drive.set_option(fd, SOCKET, libc::SO_RCVTIMEO, &timeout).unwrap();
    let before = drive.clock();
    assert_eq!(drive.read(fd, 1), Err(Errno::EAGAIN));
    assert_eq!(drive.clock() - before, 1_500_002);
    assert!(real.elapsed() < Duration::from_secs(5));
}

#[test]
fn addresses_in_use_strays_and_bad_packets() {
    let mut drive = Drive::new("");
    let listener = drive.listener();
    let other = drive.socket(libc::AF_INET).unwrap();
    assert_eq!(drive.bind(other, PORT), Err(Errno::EADDRINUSE));
    assert_eq!(drive.socket(libc::AF_UNIX), Err(Errno::EAFNOSUPPORT));
    // A stray is reset, from the very number that it acknowledges; what is damaged is not answered.
    drive.inject(A, 1, 77, b"");
    drive.expect(R, 77, 0, b"");
    drive.inject_bytes(&[0x45; 40]);
    drive.inject_bytes(&[]);
    drive.local.port = PORT + 1;
    drive.inject(S, 0, 0, b"");
    assert_eq!(drive.receive().unwrap().flags, RA);
    drive.local.port = PORT;
    drive.close(listener).unwrap();
    drive.inject(S, 0, 0, b"");
    assert_eq!(drive.receive().unwrap().flags, RA);
}

#[test]
fn listeners_stand_side_by_side_and_disturb_no_connection() {
    // RFC 9293 section 3.9.1.1, MUST-41 and MUST-42.
    let mut drive = Drive::new("");
    let (first_listener, first) = drive.connected();
    let (port, iss) = (drive.peer.port, drive.iss());
    drive.local.port = PORT + 1;
    let second_listener = drive.listener();
    for _ in 0..2 {
        drive.peer.port += 1;
        drive.shake_hands(mss(1_460));
    }
    drive.peer.port -= 1;
    let second = drive.accept(second_listener).unwrap();
    drive.peer.port += 1;
    let third = drive.accept(second_listener).unwrap();
    drive.inject(PA, 1, 1, b"to the third");
    assert_eq!(drive.read(third, 99).unwrap(), b"to the third");
    drive.expect(A, 1, 13, b"");
    assert_eq!(drive.poll(second, libc::POLLIN, 0), (0, 0));
    (drive.local.port, drive.peer.port) = (PORT, port);
    drive.iss.store(iss.0, Ordering::Relaxed);
    drive.inject(PA, 1, 1, b"to the first");
    assert_eq!(drive.read(first, 99).unwrap(), b"to the first");
    drive.write(first, b"from the first").unwrap();
    drive.expect(PA, 1, 13, b"from the first");
    // One that does not listen any more takes nobody with it but who was not accepted.
    drive.close(second_listener).unwrap();
    drive.inject(A, 13, 15, b"");
    assert_eq!(drive.poll(first_listener, libc::POLLIN, 0), (0, 0));
    assert_eq!(drive.poll(first, libc::POLLOUT, 0), (1, libc::POLLOUT));
    assert_eq!(drive.receive(), None);
}

#[test]
fn a_full_backlog_does_not_answer() {
    let mut drive = Drive::new("");
    drive.listener();
    // A backlog of five holds six, as on Linux.
    for port in 0..6 {
        drive.peer.port = 50_000 + port;
        drive.shake_hands(mss(1_460));
    }
    drive.peer.port = 60_000;
    drive.inject_with(S, 0, 0, b"", 65_535, mss(1_460));
    assert_eq!(drive.receive(), None);
}

#[test]
fn buffers_in_pieces_and_calls_that_there_are_not() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let (table, userdata) = (drive.table, drive.table.userdata);
    let (mut one, mut two) = (*b"abc", *b"defgh");
    let iov = [
        libc::iovec { iov_base: one.as_mut_ptr().cast(), iov_len: 3 },
        libc::iovec { iov_base: two.as_mut_ptr().cast(), iov_len: 5 },
    ];
    // SAFETY: the table's own userdata, and buffers that are as long as is said.
    unsafe {
        assert_eq!((table.writev)(userdata, fd, iov.as_ptr(), 2), 8);
        assert_eq!((table.writev)(userdata, fd, iov.as_ptr(), 1_025), -1);
        assert_eq!(Errno::last(), Errno::EINVAL);
        drive.expect(PA, 1, 1, b"abcdefgh");
        drive.inject(PA, 1, 9, b"012345678");
        assert_eq!((table.readv)(userdata, fd, iov.as_ptr(), 2), 8);
        assert_eq!((one, two), (*b"012", *b"34567"));
        let mut msg: libc::msghdr = std::mem::zeroed();
        (msg.msg_iov, msg.msg_iovlen, msg.msg_namelen) = (iov.as_ptr().cast_mut(), 2, 99);
        assert_eq!((table.recvmsg)(userdata, fd, &raw mut msg, 0), 1);
        assert_eq!((one[0], msg.msg_namelen), (b'8', 0));
        assert_eq!((table.sendmsg)(userdata, fd, &raw const msg, libc::MSG_NOSIGNAL), 8);
        assert_eq!((table.recv)(userdata, fd, std::ptr::null_mut(), 4, 0), -1);
        assert_eq!(Errno::last(), Errno::EFAULT);
        assert_eq!(check((table.epoll_create)(userdata, 1) as isize), Err(Errno::ENOSYS));
        assert_eq!(check((table.pipe)(userdata, std::ptr::null_mut()) as isize), Err(Errno::ENOSYS));
    }
}

/// A conversation with loss, reordering, duplicates, a closed window and both closes. What leaves, and when.
fn conversation(flags: &str, options: Options) -> Vec<Sent> {
    let drive = Drive::new(flags);
    let listener = drive.listener();
    let mut sent = vec![drive.shake_hands(options.clone())];
    let fd = drive.accept(listener).unwrap();
    let stamp = |val| options.timestamps.map(|_| Timestamps { val, ecr: 0 });
    let say = |drive: &Drive, flags, seq, ack, payload: &[u8], window, sack: &[(u32, u32)]| {
        let sack = sack.iter().map(|&(l, r)| (drive.iss() + l, drive.iss() + r)).collect();
        let options = Options { timestamps: stamp(5 + seq), sack, ..Options::default() };
        drive.inject_with(flags, seq, ack, payload, window, options);
    };
    // Out of order, twice, and then the hole.
    say(&drive, A, 101, 1, &bytes(100), 65_535, &[]);
    say(&drive, A, 101, 1, &bytes(100), 65_535, &[]);
    say(&drive, PA, 1, 1, &bytes(100), 65_535, &[]);
    assert_eq!(drive.read(fd, 150).unwrap().len(), 150);
    drive.write(fd, &bytes(40_000)).unwrap();
    sent.extend(std::iter::from_fn(|| drive.receive()).take(13));
    drive.sleep_until(40_000);
    // The second segment is lost.
    let mss = if options.timestamps.is_some() { 1_448 } else { 1_460 };
    for n in 2..8 {
        say(&drive, A, 201, 1 + mss, b"", 65_535, &[(1 + 2 * mss, 1 + (n + 1) * mss)]);
    }
    sent.extend(std::iter::from_fn(|| drive.receive()).take(3));
    drive.sleep_until(drive.clock() + 50_000);
    say(&drive, A, 201, 1 + 10 * mss, b"", 65_535, &[]);
    sent.extend(std::iter::from_fn(|| drive.receive()).take(6));
    // The window closes, and opens after some probes.
    say(&drive, A, 201, 1 + 16 * mss, b"", 0, &[]);
    sent.extend(std::iter::from_fn(|| drive.receive()).take(12));
    say(&drive, A, 201, 1 + 16 * mss, b"", 65_535, &[]);
    drive.shutdown(fd, libc::SHUT_WR).unwrap();
    say(&drive, FA, 201, 1 + 16 * mss, &bytes(70), 65_535, &[]);
    sent.extend(std::iter::from_fn(|| drive.receive()).take(30));
    say(&drive, A, 272, 40_002, b"", 65_535, &[]);
    sent.extend(all(&drive));
    assert_eq!(drive.read(fd, 999).unwrap().len(), 120);
    drive.close(fd).unwrap();
    say(&drive, FA, 201, 40_002, &bytes(70), 65_535, &[]);
    sent.extend(all(&drive));
    sent
}

#[test]
fn a_connection_that_moves_at_every_event_says_the_same_at_the_same_times() {
    let stamps = Some(Timestamps { val: 5, ecr: 0 });
    for options in [
        mss(1_460),
        Options { sack_permitted: true, ..mss(1_460) },
        Options { window_scale: Some(3), sack_permitted: true, timestamps: stamps, ..mss(1_460) },
    ] {
        let (stays, moves) = (conversation("", options.clone()), conversation("move-every-event", options.clone()));
        assert!(stays.len() > 40, "{}", stays.len());
        for (n, (stay, moved)) in stays.iter().zip(&moves).enumerate() {
            assert_eq!(stay, moved, "packet {n} with {options:?}");
        }
        assert_eq!(stays.len(), moves.len());
    }
}

#[test]
fn two_hosts_are_two() {
    let (one, two) = (Drive::new(""), Drive::new("move-every-event"));
    let ((_, a), (_, b)) = (one.connected(), two.connected());
    assert_ne!(a, b);
    one.write(a, b"x").unwrap();
    one.expect(PA, 1, 1, b"x");
    assert_eq!(two.receive(), None);
    assert_eq!(two.write(a, b"x"), Err(Errno::EBADF));
}
