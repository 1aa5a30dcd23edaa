//! The lab's fault injector: a bridge of two network interfaces that loses, doubles, reorders, corrupts and delays packets.
//!
//! ```text
//!   clients ---- left |  lane: faults of packets from left to right  | right ---- cluster
//!                     |  lane: faults of packets from right to left  |
//!                            control socket: faults, off, status
//! ```
//!
//! It starts switched off: both interfaces are left alone, so that a kernel bridge may join them. `faults` opens them and forwards in
//! user space; `off` lets go of them again. What happens to the n-th packet of a direction depends on the seed and on n alone.
//!
//! It may not import anything of the product: it is the network, not a part of what is tested.

#![forbid(unsafe_code)]

mod control;
mod fault;

use crate::control::{Control, Request};
use crate::fault::{Faults, Lane};
use anyhow::Context;
use baton_impair::link::{self, Port};
use clap::Parser;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Forwards packets between two interfaces and does them harm, from a seed.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Datagrams on the control socket: `faults --seed S ...`, `off`, `status`. Exit codes: 0 done, 1 failed, 2 wrong usage"
)]
struct Arguments {
    /// The interface on the clients' side.
    #[arg(long)]
    left: String,
    /// The interface on the cluster's side.
    #[arg(long)]
    right: String,
    /// Where to make the Unix datagram socket for commands.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton-impair: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the control socket and, while switched on, the two interfaces.
fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.control;
    let control = Control::bind(path).with_context(|| format!("cannot make the socket {}", path.display()))?;
    let mut bridge = Bridge::new(arguments);
    loop {
        bridge.wait(&control)?;
        while let Some((request, sender)) = control.receive()? {
            let answer = match request {
                Ok(request) => bridge.obey(request).unwrap_or_else(|error| format!("error {error:#}")),
                Err(words) => format!("error {words}"),
            };
            control.answer(&sender, &answer);
        }
        bridge.forward()?;
    }
}

/// The two directions, each with its lane, and the interfaces while they are in use.
struct Bridge<'a> {
    names: [&'a str; 2],
    /// Left and right.
    ports: Option<[Port; 2]>,
    /// From left to right, from right to left.
    lanes: [Lane; 2],
}

impl<'a> Bridge<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let lanes = [0, 1].map(|direction| Lane::new(Faults::default(), direction));
        Self { names: [&arguments.left, &arguments.right], ports: None, lanes }
    }

    /// Sleeps until there is something to do.
    fn wait(&self, control: &Control) -> anyhow::Result<()> {
        let mut descriptors = vec![PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        let ports = self.ports.iter().flatten();
        descriptors.extend(ports.map(|port| PollFd::new(port.as_fd(), PollFlags::POLLIN)));
        let due = self.lanes.iter().filter_map(Lane::next_due).min();
        let patience = due.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
        match ppoll(&mut descriptors, patience, None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for packets"),
        }
    }

    /// Does what the control socket asks; returns the answer.
    fn obey(&mut self, request: Request) -> anyhow::Result<String> {
        match request {
            Request::Faults(faults) => {
                if self.ports.is_none() {
                    let [left, right] = self.names;
                    self.ports = Some([Port::open(left)?, Port::open(right)?]);
                }
                self.lanes.iter_mut().for_each(|lane| lane.set(faults));
                Ok("ok".to_owned())
            }
            Request::Off => {
                if self.ports.is_some() {
                    self.each_lane(|lane, _, out| lane.flush(out));
                    self.ports = None;
                }
                Ok("ok".to_owned())
            }
            Request::Status => Ok(self.status()),
        }
    }

    /// One line: whether it is on, then each direction's counters.
    fn status(&self) -> String {
        let mut line = format!("on={}", u8::from(self.ports.is_some()));
        for (name, lane) in ["left", "right"].into_iter().zip(&self.lanes) {
            for (counter, value) in lane.counters().rows() {
                line.push_str(&format!(" {name}_{counter}={value}"));
            }
        }
        line
    }

    /// Takes in what has come, and sends what is due.
    fn forward(&mut self) -> anyhow::Result<()> {
        self.each_lane(Lane::due);
        let mut arrived = Vec::with_capacity(link::BATCH);
        for from in 0..2 {
            // A busy direction may not starve the other, nor the control socket.
            let Some(ports) = &mut self.ports else { return Ok(()) };
            ports[from].receive(&mut arrived).with_context(|| format!("cannot read from {}", self.names[from]))?;
            if arrived.is_empty() {
                continue;
            }
            let now = Instant::now();
            let mut out = Vec::with_capacity(arrived.len());
            for frame in arrived.drain(..) {
                self.lanes[from].offer(frame, now, &mut out);
            }
            let unsent = ports[1 - from].send(&out);
            self.lanes[from].note_unsent(unsent);
        }
        Ok(())
    }

    /// Sends what `take` gets out of each lane.
    fn each_lane(&mut self, take: impl Fn(&mut Lane, Instant, &mut Vec<Vec<u8>>)) {
        let Some(ports) = &mut self.ports else { return };
        let now = Instant::now();
        for (from, lane) in self.lanes.iter_mut().enumerate() {
            let mut out = Vec::new();
            take(lane, now, &mut out);
            lane.note_unsent(ports[1 - from].send(&out));
        }
    }
}
