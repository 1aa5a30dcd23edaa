//! A program around DPDK's shell whose node takes too long to stop. EAL starts once per process: one test here.

mod support;

use signal_hook::consts::{SIGINT, SIGTERM};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::{directory, run};

#[test]
fn a_second_signal_stops_at_once() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (_guard, config) = directory("idle = \"spin\"\nstop_grace_ms = 600000", "net_null0", &admin);
    let asker = thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&admin).is_err() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(20));
        }
        signal_hook::low_level::raise(SIGINT).unwrap();
        thread::sleep(Duration::from_millis(200));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        Instant::now()
    });
    assert_eq!(run(&config), (0, String::new()));
    let stop = asker.join().unwrap().elapsed();
    assert!(stop < Duration::from_secs(20), "{stop:?}");
}
