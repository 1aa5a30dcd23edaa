//! A program around DPDK's shell, from its start to a clean stop. EAL starts once per process: one test here.

mod support;

use signal_hook::consts::SIGTERM;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::{directory, run};

fn metrics(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn from_start_to_a_clean_stop() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (_guard, config) = directory("core = 0\nstop_grace_ms = 300", "net_null0", &admin);
    let asker = thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(30);
        let first = loop {
            if let Some(answer) = metrics(&admin) {
                break answer;
            }
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(20));
        };
        thread::sleep(Duration::from_millis(200));
        let second = metrics(&admin).unwrap();
        let asked_at = Instant::now();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        // Still there while it stops.
        let third = metrics(&admin).unwrap();
        (first, second, third, asked_at)
    });
    assert_eq!(run(&config), (0, String::new()));
    let (first, second, third, asked_at) = asker.join().unwrap();
    let stop = asked_at.elapsed();
    assert!(stop >= Duration::from_millis(300), "its grace time: {stop:?}");
    for (before, after) in [(&first, &second), (&second, &third)] {
        for name in ["baton_port_rx_packets_total{port=\"0\"}", "baton_loop_turns_total", "baton_sink_frames_total"] {
            assert!(value(before, name) < value(after, name), "{name}");
        }
    }
    assert!(value(&second, "baton_port_tx_packets_total{port=\"0\"}") > 1.0, "it wakes up for its own deadlines");
    assert!(value(&second, "baton_busy_ratio") > 0.5);
    assert!(value(&second, "baton_port_tx_unsent_total{port=\"0\"}") < 0.5);
}
