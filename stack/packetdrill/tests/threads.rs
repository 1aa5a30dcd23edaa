//! Calls that block, from a second thread, while the first drives the clock.

mod driver;

use std::thread;
use std::time::{Duration, Instant};

use driver::{A, Drive, PA, SA, bytes, mss};
use nix::errno::Errno;
use nix::libc;

/// Starts a call on another thread, and waits until it blocks.
fn blocked<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    call: impl FnOnce() -> T + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, T> {
    let (tell, told) = std::sync::mpsc::channel();
    let handle = scope.spawn(move || {
        // SAFETY: gettid has no conditions.
        let _ = tell.send(unsafe { libc::gettid() });
        call()
    });
    let id = told.recv().expect("it starts");
    // As the tool does: until the thread sleeps.
    let stat = || std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    while !handle.is_finished() && stat().split_whitespace().nth(2) != Some("S") {
        thread::yield_now();
    }
    handle
}

#[test]
fn accept_and_read_return_when_there_is_something() {
    let drive = &Drive::new("");
    let listener = drive.listener();
    drive.sleep_until(100_000);
    thread::scope(|scope| {
        let accept = blocked(scope, move || (drive.accept(listener).unwrap(), drive.clock()));
        drive.sleep_until(200_000);
        drive.shake_hands(mss(1_460));
        drive.sleep_until(900_000);
        let (fd, at) = accept.join().unwrap();
        assert!((210_000..210_100).contains(&at), "{at}");
        let read = blocked(scope, move || (drive.read(fd, 100).unwrap(), drive.clock()));
        drive.sleep_until(1_500_000);
        drive.inject(PA, 1, 1, b"late");
        drive.sleep_until(3_000_000);
        let (bytes, at) = read.join().unwrap();
        assert_eq!(bytes, b"late");
        assert!((1_500_000..1_500_100).contains(&at), "{at}");
    });
}

#[test]
fn connect_returns_when_the_handshake_is_complete() {
    let drive = &Drive::new("");
    let fd = drive.socket(libc::AF_INET).unwrap();
    drive.bind(fd, drive.local.port).unwrap();
    thread::scope(|scope| {
        let connect = blocked(scope, move || (drive.connect(fd), drive.clock()));
        drive.take_syn();
        drive.sleep_until(200_000);
        drive.inject_with(SA, 0, 1, b"", 65_535, mss(1_460));
        drive.sleep_until(900_000);
        let (result, at) = connect.join().unwrap();
        assert_eq!(result, Ok(0));
        assert!((200_000..200_100).contains(&at), "{at}");
    });
}

#[test]
fn a_write_waits_for_room() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    drive.set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, 5_000).unwrap();
    let drive = &drive;
    thread::scope(|scope| {
        let text = bytes(14_000);
        let write = blocked(scope, move || (drive.write(fd, &text).unwrap(), drive.clock()));
        let mut acked = 1;
        while acked < 14_001 {
            let sent = drive.receive().expect("the writer goes on");
            acked = sent.seq + u32::try_from(sent.payload.len()).unwrap();
            drive.sleep_until(drive.clock() + 1_000);
            drive.inject(A, 1, acked, b"");
        }
        assert_eq!(write.join().unwrap().0, 14_000);
    });
}

#[test]
fn a_reply_of_the_second_thread_leaves_before_time_passes() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let drive = &drive;
    thread::scope(|scope| {
        let reply = blocked(scope, move || {
            let text = drive.read(fd, 100).unwrap();
            drive.write(fd, &text).unwrap()
        });
        drive.sleep_until(50_000);
        drive.inject(PA, 1, 1, b"echo");
        // Not the delayed acknowledgment, 40 ms later, but the reply.
        let sent = drive.expect(PA, 1, 5, b"echo");
        assert!(sent.at < 50_100, "{}", sent.at);
        assert_eq!(reply.join().unwrap(), 4);
    });
}

#[test]
fn waits_end_at_their_own_time() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let drive = &drive;
    thread::scope(|scope| {
        let before = drive.clock();
        let poll = blocked(scope, move || (drive.poll(fd, libc::POLLIN, 70), drive.clock()));
        drive.sleep_until(before + 1_000_000);
        let (result, at) = poll.join().unwrap();
        assert_eq!(result, (0, 0));
        assert!((70_000..70_100).contains(&(at - before)), "{}", at - before);
        let timeout = [0_i64.to_ne_bytes(), 30_000_i64.to_ne_bytes()].concat();
        drive.set_option(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout).unwrap();
        let before = drive.clock();
        let read = blocked(scope, move || (drive.read(fd, 1), drive.clock()));
        // The one that waits for a packet drives too.
        assert_eq!(drive.receive(), None);
        drive.sleep_until(before + 1_000_000);
        let (result, at) = read.join().unwrap();
        assert_eq!(result, Err(Errno::EAGAIN));
        assert!((30_000..30_100).contains(&(at - before)), "{}", at - before);
    });
}

#[test]
fn waiting_for_all_takes_it_in_pieces() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let drive = &drive;
    thread::scope(|scope| {
        let read = blocked(scope, move || drive.recv(fd, 9, libc::MSG_WAITALL).unwrap());
        drive.inject(PA, 1, 1, b"abc");
        drive.inject(PA, 4, 1, b"def");
        assert!(!read.is_finished());
        drive.inject(PA, 7, 1, b"ghij");
        assert_eq!(read.join().unwrap(), b"abcdefghi");
        assert_eq!(drive.read(fd, 9).unwrap(), b"j");
    });
}

#[test]
fn a_close_that_lingers_ends_with_the_acknowledgment() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let linger = [1_i32.to_ne_bytes(), 5_i32.to_ne_bytes()].concat();
    drive.set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger).unwrap();
    let drive = &drive;
    thread::scope(|scope| {
        let before = drive.clock();
        let close = blocked(scope, move || (drive.close(fd), drive.clock()));
        drive.sleep_until(before + 300_000);
        drive.inject(A, 1, 2, b"");
        drive.sleep_until(before + 900_000);
        let (result, at) = close.join().unwrap();
        assert_eq!(result, Ok(0));
        assert!((300_000..300_100).contains(&(at - before)), "{}", at - before);
    });
}

#[test]
fn the_main_thread_may_wait_while_the_other_drives() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let drive = &drive;
    let real = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            drive.clock();
            thread::sleep(Duration::from_millis(50));
            drive.inject(PA, 1, 1, b"x");
        });
        while drive.poll(fd, libc::POLLIN, 0).0 == 0 && real.elapsed() < Duration::from_millis(20) {
            thread::yield_now();
        }
        assert_eq!(drive.read(fd, 1).unwrap(), b"x");
    });
}

#[test]
fn giving_everything_back_ends_a_wait() {
    let drive = Drive::new("");
    let (_, fd) = drive.connected();
    let (read, userdata) = (drive.table.read, drive.table.userdata as usize);
    thread::scope(|scope| {
        let waits = blocked(scope, move || {
            let mut byte = 0_u8;
            // SAFETY: the call begins before the userdata is given back, and has room for a byte.
            let n = unsafe { read(userdata as *mut std::ffi::c_void, fd, (&raw mut byte).cast(), 1) };
            (n, Errno::last())
        });
        drop(drive);
        assert_eq!(waits.join().unwrap(), (-1, Errno::ECANCELED));
    });
}
