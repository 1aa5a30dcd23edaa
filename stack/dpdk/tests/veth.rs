//! A real kernel at the other end of the wire, in a network namespace of the test's own. Needs root, as the lab does.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant as SystemTime};

use baton_dpdk::{Clock, Eal, Idle, Outcome, PortConfig, Ports, Stop, control, run};
use baton_stack::addr::{IpAddr, Ipv4Addr};
use baton_stack::neighbor::Interface;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::ports::{Input, Ports as Host};
use baton_stack::time::Instant;

/// Sends each datagram back.
struct Echo {
    host: Host,
    stopped: bool,
}

impl Node for Echo {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Verdict {
        match self.host.handle_frame(now, port, frame, tx) {
            Input::Done(verdict) => verdict,
            Input::Udp { from, port, payload, .. } => {
                let payload = &frame.bytes()[payload];
                // Not at once if the sender has to be asked for its Ethernet address first: it will try again.
                let _ = self.host.send_udp(now, from, port, tx, |to| {
                    to[..payload.len()].copy_from_slice(payload);
                    payload.len()
                });
                Verdict::Free
            }
            Input::Tcp { .. } | Input::IcmpError { .. } => Verdict::Free,
        }
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.host.poll(now, tx);
    }

    fn poll_at(&self) -> Option<Instant> {
        self.host.poll_at()
    }

    fn handle_command(&mut self, _: Instant, (): ()) {}

    fn stop(&mut self, _: Instant) {
        self.stopped = true;
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}

fn sh(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// Sends datagrams of `len` bytes, one after the other; how long each took until it came back. Repeated when lost.
fn round_trips(socket: &UdpSocket, count: usize, len: usize) -> Vec<Duration> {
    let mut buffer = [0; 2_000];
    let mut times: Vec<Duration> = (0..count)
        .map(|n| {
            let sent = vec![u8::try_from(n % 251).unwrap(); len];
            let again = (0..20).find_map(|_| {
                let start = SystemTime::now();
                socket.send(&sent).unwrap();
                let got = socket.recv(&mut buffer).ok()?;
                (buffer[..got] == sent).then(|| start.elapsed())
            });
            again.expect("one of twenty comes back")
        })
        .collect();
    times.sort_unstable();
    times
}

/// Talks to a node on one end of a veth pair from the kernel at the other end.
fn echo(driver: &str, net: u8) {
    let (near, far) = (format!("baton{net}n"), format!("baton{net}f"));
    // Threads that start from here on, EAL's among them, live in it too; it ends with the process.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
    sh(&format!(
        "ip link add {near} type veth peer name {far} && ip link set {near} up && ip link set {far} up && \
         ip addr add 10.97.{net}.1/24 dev {far} && ethtool -K {far} tx off tso off gso off gro off"
    ));
    let line = format!("--no-huge -m 128 --no-pci --no-shconf --no-telemetry --vdev={driver}0,iface={near}");
    let eal = Eal::init(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap();
    let mut ports = Ports::open(&eal, &[PortConfig::new(format!("{driver}0"), 1_500)]).unwrap();
    println!("{}", ports.capabilities());
    assert_eq!(ports.can_wait(), driver == "net_af_packet", "its frames come through a socket that tells of them");
    let addr = IpAddr::V4(Ipv4Addr::new(10, 97, net, 2));
    let mac = ports.macs()[0];
    let interface = Interface { port: PortId(0), mac, addr, prefix_len: 24, gateway: None, vlan: 0, mtu: 1_500 };
    let mut node = Echo { host: Host::new(vec![interface], &[], Instant::ZERO), stopped: false };
    let (handle, inbox) = control::<Echo>();
    let talking = thread::spawn(move || {
        let socket = UdpSocket::bind(format!("10.97.{net}.1:9910")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.connect(format!("10.97.{net}.2:9910")).unwrap();
        // The shortest and those that the MTU just allows.
        let times = [round_trips(&socket, 1_000, 1), round_trips(&socket, 1_000, 1_472)];
        handle.stop(Stop::Clean);
        times
    });
    let report = run(&mut node, &mut ports, &inbox, Idle::Adaptive, &Clock::start());
    for times in talking.join().unwrap() {
        println!("median {:?}, 99 % {:?}", times[500], times[990]);
    }
    println!("{report}");
    assert_eq!(report.outcome, Outcome::Stopped);
}

#[test]
fn datagrams_through_af_packet() {
    echo("net_af_packet", 1);
}

#[test]
fn datagrams_through_af_xdp() {
    echo("net_af_xdp", 2);
}
