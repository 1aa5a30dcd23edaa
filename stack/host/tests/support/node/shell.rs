//! A shell without DPDK: it drives the node in real time, delivers one broken frame, and throws away what the node sends.

use baton_config::Common;
use baton_host::signals::StopRequest;
use baton_host::{PortNumbers, Remote, Shell, ShellNumbers, Unavailable};
use baton_stack::addr::MacAddr;
use baton_stack::node::{FRAME_LEN_MAX, Frame, Node, PortId, Transmit};
use baton_stack::time::Instant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A turn lasts as long, unless somebody asks for something.
const TURN: Duration = Duration::from_millis(1);
/// A run ends after as many turns, whatever happens.
const TURNS_MAX: u32 = 20_000;

enum ToLoop<N: Node> {
    Command(N::Command, SyncSender<N::Reply>),
    Stop,
}

struct FakeRemote<N: Node> {
    to_loop: Mutex<mpsc::Sender<ToLoop<N>>>,
    sent: Arc<AtomicU64>,
}

impl<N: Node> FakeRemote<N> {
    fn send(&self, message: ToLoop<N>) -> Result<(), Unavailable> {
        let to_loop = self.to_loop.lock().unwrap_or_else(PoisonError::into_inner);
        to_loop.send(message).map_err(|_| Unavailable("the loop has ended".to_owned()))
    }
}

impl<N: Node<Command: Send, Reply: Send>> Remote<N> for FakeRemote<N> {
    fn command(&self, command: N::Command) -> Result<N::Reply, Unavailable> {
        let (reply, replied) = mpsc::sync_channel(1);
        self.send(ToLoop::Command(command, reply))?;
        replied.recv_timeout(Duration::from_secs(5)).map_err(|_| Unavailable("no reply".to_owned()))
    }

    fn numbers(&self) -> Result<ShellNumbers, Unavailable> {
        let port = PortNumbers { tx_packets: self.sent.load(Ordering::Relaxed), ..PortNumbers::default() };
        Ok(ShellNumbers { ports: vec![port], ..ShellNumbers::default() })
    }

    fn stop(&self, _: StopRequest) {
        let _ = self.send(ToLoop::Stop);
    }
}

/// The shell.
pub(crate) struct FakeShell<N: Node> {
    remote: Arc<FakeRemote<N>>,
    inbox: Receiver<ToLoop<N>>,
    ports: u8,
}

impl<N: Node<Command: Send + 'static, Reply: Send + 'static> + 'static> Shell<N> for FakeShell<N> {
    fn open(_: &[String], common: &Common) -> anyhow::Result<Self> {
        let (to_loop, inbox) = mpsc::channel();
        let remote = Arc::new(FakeRemote { to_loop: Mutex::new(to_loop), sent: Arc::default() });
        Ok(Self { remote, inbox, ports: u8::try_from(common.ports.len())? })
    }

    fn macs(&self) -> Vec<MacAddr> {
        (0..self.ports).map(|port| MacAddr([2, 0, 0, 0, 0, port])).collect()
    }

    fn capabilities(&self) -> String {
        "nothing\n".to_owned()
    }

    fn remote(&self) -> Arc<dyn Remote<N>> {
        Arc::clone(&self.remote) as Arc<dyn Remote<N>>
    }

    fn run(self, mut node: N) -> anyhow::Result<()> {
        let origin = std::time::Instant::now();
        let mut tx = Sink(Arc::clone(&self.remote.sent));
        let _ = node.handle_frame(Instant::ZERO, PortId(0), &mut Stub, &mut tx);
        for _ in 0..TURNS_MAX {
            let now = Instant::from_micros(u64::try_from(origin.elapsed().as_micros())?);
            match self.inbox.recv_timeout(TURN) {
                Ok(ToLoop::Command(command, reply)) => {
                    let _ = reply.send(node.handle_command(now, command));
                }
                Ok(ToLoop::Stop) => node.stop(now),
                Err(_) => {}
            }
            node.poll(now, &mut tx);
            if node.is_stopped() {
                return Ok(());
            }
        }
        anyhow::bail!("nobody stops the node")
    }
}

/// A frame that is shorter than an Ethernet header.
struct Stub;

impl Frame for Stub {
    fn bytes(&self) -> &[u8] {
        &[0xff; 10]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut []
    }

    fn prepend(&mut self, _: usize) -> bool {
        false
    }

    fn trim_front(&mut self, _: usize) -> bool {
        false
    }
}

/// Counts frames and forgets them.
struct Sink(Arc<AtomicU64>);

impl Transmit for Sink {
    fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut buffer = [0; FRAME_LEN_MAX];
        if write(&mut buffer[..len_max.min(FRAME_LEN_MAX)]) > 0 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
}
