//! One port: a device with one receive and one transmit queue.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;

use arrayvec::ArrayVec;
use baton_stack::addr::MacAddr;
use baton_stack::node::{PortId, Verdict};
use thiserror::Error;

use crate::capabilities::{Capabilities, Grant, Lack, Link, Offer, QUEUES, grant};
use crate::eal::{Eal, error_text};
use crate::mbuf::{Mbuf, MbufArray};
use crate::pool::{FRAME_ROOM, Pool};
use crate::wake::{PACKET_DRIVER, packet_socket};

/// The most frames that are received at once from one port.
pub const BURST: usize = 32;

const BURST_FRAMES: u16 = 32;
const _: () = assert!(BURST_FRAMES as usize == BURST);

/// What a frame has around its packet: an Ethernet header, and an FCS or a VLAN tag. DPDK assumes the same of devices that do not say.
const FRAME_OVERHEAD: u32 = 18;

/// Any NUMA node: DPDK's `SOCKET_ID_ANY`, as its queue functions take it.
const ANY_NUMA_NODE: u32 = u32::MAX;

/// `ENOTSUP`: the device has no such function.
const NOT_SUPPORTED: c_int = 95;

/// What a port is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// The device's DPDK name, such as `net_af_packet0`, or its PCI address.
    pub device: String,
    /// The longest IP packet, in bytes. A kernel interface behind a virtual device keeps its own.
    pub mtu: u16,
    /// How many frames the receive queue should hold; the device may round.
    pub rx_frames: u16,
    /// How many frames the transmit queue should hold; the device may round.
    pub tx_frames: u16,
    /// How many buffers the port brings to the pool of all ports. Both queues, the caches and the node's
    /// bursts live on them; some devices take another 2,048.
    pub pool_frames: u32,
    /// Whether frames to Ethernet groups are to be received: neighbours ask for IPv6 addresses in groups.
    pub hears_groups: bool,
}

impl PortConfig {
    /// A port with queues of 1,024 frames that does not hear groups.
    #[must_use]
    pub fn new(device: impl Into<String>, mtu: u16) -> Self {
        Self { device: device.into(), mtu, rx_frames: 1_024, tx_frames: 1_024, pool_frames: 8_191, hears_groups: false }
    }
}

/// Why a port did not open.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PortError {
    /// EAL knows no such device.
    #[error("there is no such device; EAL has found {}", list(.present))]
    NoSuchDevice {
        /// The devices there are.
        present: Vec<String>,
    },
    /// It is open already.
    #[error("the device is open already")]
    AlreadyOpen,
    /// It lacks what no software can make up for.
    #[error(transparent)]
    Lacks(#[from] Lack),
    /// It refuses a step of its set-up.
    #[error("the device refuses to {step}: {reason}")]
    Refused {
        /// What it was to do.
        step: &'static str,
        /// DPDK's text for the error number.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a device counts since it was opened. A device that does not count something says zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device had no room for.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Receptions that failed for lack of a buffer.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
}

/// A port that is open and started. Stopped and closed when dropped; EAL then forgets the device.
///
/// It receives what is for its own Ethernet address and broadcasts, as devices do from the start, and if wished what is for
/// groups. Those that cannot filter deliver everything, and the node sorts.
#[derive(Debug)]
pub struct Port {
    id: u16,
    device: String,
    mac: MacAddr,
    grant: Grant,
    capabilities: Capabilities,
    rx_too_long: u64,
    /// Tells when there are frames, where the device has something like that.
    socket: Option<OwnedFd>,
    eal: Eal,
    /// Buffers of it are in the receive queue until the port is closed.
    _pool: Pool,
}

impl Port {
    /// Opens and starts the device that `config` names. Received frames are in buffers of `pool`.
    ///
    /// # Errors
    /// There is no such device, it is open, or it cannot do what is asked of it.
    pub fn open(eal: &Eal, config: &PortConfig, pool: &Pool) -> Result<Self, PortError> {
        let mut open_ports = eal.open_ports();
        let id = find(&config.device).ok_or_else(|| PortError::NoSuchDevice { present: present() })?;
        if open_ports.contains(&id) {
            return Err(PortError::AlreadyOpen);
        }
        let offer = offer(id)?;
        let grant = grant(config.mtu, &offer)?;
        let frames = set_up(id, config, grant, pool)?;
        let device = name(id).unwrap_or_else(|| config.device.clone());
        let mac = mac(id)?;
        // SAFETY: the port is configured and has its queues.
        checked("start", unsafe { dpdk_sys::rte_eth_dev_start(id) })?;
        if config.hears_groups {
            hear_groups(id)?;
        }
        let socket = if offer.driver == PACKET_DRIVER { packet_socket(offer.if_index) } else { None };
        open_ports.push(id);
        drop(open_ports);
        let mut capabilities = Capabilities::new(&device, &offer, grant, (config.rx_frames, config.tx_frames), frames);
        capabilities.link = link(id);
        Ok(Self { id, device, mac, grant, capabilities, rx_too_long: 0, socket, eal: eal.clone(), _pool: pool.clone() })
    }

    /// The device's DPDK name.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The device's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// What was asked of the device and what it does.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The state of the link now.
    #[must_use]
    pub fn link(&self) -> Link {
        link(self.id)
    }

    /// What the device counts.
    #[must_use]
    pub fn counted(&self) -> DeviceStats {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: an open port, and a place to write to. Zeros stay if the device does not count.
        let _ = unsafe { dpdk_sys::rte_eth_stats_get(self.id, &raw mut raw) };
        DeviceStats {
            rx_packets: raw.ipackets,
            rx_bytes: raw.ibytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            rx_no_buffer: raw.rx_nombuf,
            tx_packets: raw.opackets,
            tx_bytes: raw.obytes,
            tx_errors: raw.oerrors,
        }
    }

    /// Received frames that were freed at once because they do not fit into one buffer.
    #[must_use]
    pub fn rx_too_long(&self) -> u64 {
        self.rx_too_long
    }

    /// What tells when there are frames; `None` if the device has nothing like that.
    pub(crate) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Receives up to [`BURST`] frames in place of those that `burst` held. Returns how many the device had.
    pub fn receive(&mut self, burst: &mut RxBurst) -> usize {
        let frames = &mut burst.frames;
        frames.free_all();
        // SAFETY: the port is started, and `&mut self` keeps all other threads from its only receive queue. What is
        // written are buffers that the device gives away, each the first of its chain.
        let received =
            unsafe { frames.fill_with(|to, room| dpdk_sys::rte_eth_rx_burst(self.id, 0, to, room.min(BURST_FRAMES))) };
        if frames.iter().any(Mbuf::is_chain) {
            let before = frames.len();
            frames.retain(Mbuf::linearise);
            self.rx_too_long += crate::transmit::count(before - frames.len());
        }
        if !self.grant.verifies_checksums() {
            frames.iter_mut().for_each(Mbuf::distrust_checksums);
        }
        received
    }

    /// Gives the device as many of `frames` as it takes now, from the front. Returns how many.
    pub fn send<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        frames.take_with(N, |from, count| {
            // SAFETY: the port is started, and `&mut self` keeps all other threads from its only transmit queue. It takes ownership of
            // as many of the `count` buffers as it says, and `take_with` forgets them.
            unsafe { dpdk_sys::rte_eth_tx_burst(self.id, 0, from, count) }
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut open_ports = self.eal.open_ports();
        // SAFETY: an open port, which only this value used. Whatever these say, nobody will use it any more.
        unsafe {
            let _ = dpdk_sys::rte_eth_dev_stop(self.id);
            let _ = dpdk_sys::rte_eth_dev_close(self.id);
        }
        open_ports.retain(|id| *id != self.id);
    }
}

/// The frames of one receive burst.
#[derive(Debug)]
pub struct RxBurst {
    frames: ArrayVec<Mbuf, BURST>,
    verdicts: [Verdict; BURST],
    done: ArrayVec<Mbuf, BURST>,
}

impl Default for RxBurst {
    fn default() -> Self {
        Self { frames: ArrayVec::new(), verdicts: [Verdict::Free; BURST], done: ArrayVec::new() }
    }
}

impl RxBurst {
    /// No frames yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frames, in the order of their arrival.
    #[must_use]
    pub fn frames(&self) -> &[Mbuf] {
        &self.frames
    }

    /// The frames, and a place for what becomes of each; [`RxBurst::finish`] does what they say.
    pub fn to_judge(&mut self) -> (&mut [Mbuf], &mut [Verdict]) {
        let verdicts = &mut self.verdicts[..self.frames.len()];
        verdicts.fill(Verdict::Free);
        (&mut self.frames, verdicts)
    }

    /// Gives `forward` the frames that go out again. The rest go back to their pool, all in one call.
    pub fn finish(&mut self, mut forward: impl FnMut(PortId, Mbuf)) {
        for (frame, verdict) in self.frames.drain(..).zip(&self.verdicts) {
            match verdict {
                Verdict::Forward(to) => forward(*to, frame),
                Verdict::Free => self.done.push(frame),
            }
        }
        self.done.free_all();
    }

    /// Hands over each frame. Those that come back go back to their pool, all in one call.
    pub fn drain(&mut self, mut handle: impl FnMut(Mbuf) -> Option<Mbuf>) {
        for frame in self.frames.drain(..) {
            if let Some(done) = handle(frame) {
                self.done.push(done);
            }
        }
        self.done.free_all();
    }
}

/// What the device says it can do.
fn offer(id: u16) -> Result<Offer, PortError> {
    let mut info = MaybeUninit::<dpdk_sys::rte_eth_dev_info>::zeroed();
    // SAFETY: a place to write to; DPDK checks the id.
    checked("say what it can do", unsafe { dpdk_sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) })?;
    // SAFETY: integers and pointers, for which zeros are valid too; filled by the call that has just succeeded.
    let info = unsafe { info.assume_init() };
    let driver = if info.driver_name.is_null() {
        String::new()
    } else {
        // SAFETY: a driver's name is a static C string.
        unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
    };
    Ok(Offer {
        driver,
        rx_offloads: info.rx_offload_capa,
        tx_offloads: info.tx_offload_capa,
        rss: info.flow_type_rss_offloads,
        rx_queues: info.max_rx_queues,
        tx_queues: info.max_tx_queues,
        mtu_min: info.min_mtu,
        mtu_max: mtu_max(info.max_mtu, info.max_rx_pktlen),
        if_index: info.if_index,
    })
}

/// The greatest MTU that the device takes and a buffer holds. Devices limit the packet, the frame or both; DPDK checks both.
fn mtu_max(packet_max: u16, frame_max: u32) -> u16 {
    let overhead = match frame_max.checked_sub(packet_max.into()) {
        Some(overhead) if packet_max != u16::MAX && overhead > 0 => overhead,
        _ => FRAME_OVERHEAD,
    };
    let by_frame = frame_max.saturating_sub(overhead).min(FRAME_ROOM - FRAME_OVERHEAD);
    packet_max.min(u16::try_from(by_frame).unwrap_or(u16::MAX))
}

/// Configures the device and its two queues. Returns how many frames these really hold: (receive, transmit).
fn set_up(id: u16, config: &PortConfig, grant: Grant, pool: &Pool) -> Result<(u16, u16), PortError> {
    let mut conf = dpdk_sys::rte_eth_conf::default();
    conf.rxmode.mtu = grant.mtu.into();
    conf.rxmode.offloads = grant.rx_offloads;
    // SAFETY: a port that is not open, so nobody uses it; the configuration is copied.
    checked("be configured", unsafe { dpdk_sys::rte_eth_dev_configure(id, QUEUES, QUEUES, &raw const conf) })?;
    let (mut rx, mut tx) = (config.rx_frames, config.tx_frames);
    // SAFETY: two places to read and write.
    let status = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx) };
    checked("say how long its queues can be", status)?;
    // SAFETY: the device is configured with one queue each way. The pool outlives the port, which keeps a clone; the device's own defaults stand in for
    // the missing configuration.
    let status = unsafe { dpdk_sys::rte_eth_rx_queue_setup(id, 0, rx, ANY_NUMA_NODE, ptr::null(), pool.as_ptr()) };
    checked("set up its receive queue", status)?;
    // SAFETY: as above.
    let status = unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, 0, tx, ANY_NUMA_NODE, ptr::null()) };
    checked("set up its transmit queue", status)?;
    Ok((rx, tx))
}

/// Has a started port receive frames to all groups. A device without that switch has no such filter, or its kernel interface has.
fn hear_groups(id: u16) -> Result<(), PortError> {
    // SAFETY: an open port; DPDK checks the id.
    let status = unsafe { dpdk_sys::rte_eth_allmulticast_enable(id) };
    if status == -NOT_SUPPORTED { Ok(()) } else { checked("receive frames to groups", status) }
}

fn mac(id: u16) -> Result<MacAddr, PortError> {
    let mut raw = dpdk_sys::rte_ether_addr::default();
    // SAFETY: a place to write to; DPDK checks the id.
    checked("tell its Ethernet address", unsafe { dpdk_sys::rte_eth_macaddr_get(id, &raw mut raw) })?;
    Ok(MacAddr(raw.addr_bytes))
}

fn link(id: u16) -> Link {
    let mut raw = dpdk_sys::rte_eth_link::default();
    // SAFETY: a place to write to; DPDK checks the id. "Down" stays if the device does not know.
    let _ = unsafe { dpdk_sys::rte_eth_link_get_nowait(id, &raw mut raw) };
    let known = ![dpdk_sys::RTE_ETH_SPEED_NUM_NONE, dpdk_sys::RTE_ETH_SPEED_NUM_UNKNOWN].contains(&raw.link_speed);
    Link { up: u32::from(raw.link_status()) == dpdk_sys::RTE_ETH_LINK_UP, speed_mbps: known.then_some(raw.link_speed) }
}

/// The id of a device by its DPDK name, or by a PCI address with or without its domain.
pub(crate) fn find(device: &str) -> Option<u16> {
    let by_name = |name: &str| {
        let name = CString::new(name).ok()?;
        let mut id = 0;
        // SAFETY: a C string, and a place to write to.
        let status = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
        (status == 0).then_some(id)
    };
    by_name(device).or_else(|| by_name(&format!("0000:{}", device.to_ascii_lowercase())))
}

/// The names of all devices.
fn present() -> Vec<String> {
    // SAFETY: any number may be asked; the answer is the next device's id, or `RTE_MAX_ETHPORTS`.
    let next = |from: u16| Some(unsafe { dpdk_sys::rte_eth_find_next(from) });
    let ids = std::iter::successors(next(0), |id| next(id + 1));
    ids.take_while(|id| u32::from(*id) < dpdk_sys::RTE_MAX_ETHPORTS).filter_map(name).collect()
}

fn name(id: u16) -> Option<String> {
    let mut text: [c_char; dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize] = [0; _];
    // SAFETY: the place is as long as names are at most, with their NUL.
    let status = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(id, text.as_mut_ptr()) };
    // SAFETY: NUL-terminated: written by the call that succeeded.
    (status == 0).then(|| unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

fn checked(step: &'static str, status: c_int) -> Result<(), PortError> {
    if status < 0 { Err(PortError::Refused { step, reason: error_text(status) }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_mtu_by_packet_by_frame_and_by_buffer() {
        for (packet_max, frame_max, expected) in [
            // Neither is limited: a buffer of 2,048 bytes less 18.
            (u16::MAX, u32::MAX, 2_030),
            (1_500, u32::MAX, 1_500),
            (u16::MAX, 1_518, 1_500),
            (u16::MAX, 1_514, 1_496),
            (1_500, 1_514, 1_500),
            (9_000, 9_018, 2_030),
            (u16::MAX, 0, 0),
        ] {
            assert_eq!(mtu_max(packet_max, frame_max), expected, "{packet_max} {frame_max}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_answered_with_those_that_are() {
        let error = |present: &[&str]| {
            PortError::NoSuchDevice { present: present.iter().map(|&name| name.to_owned()).collect() }.to_string()
        };
        assert_eq!(error(&[]), "there is no such device; EAL has found none");
        assert_eq!(
            error(&["net_tap0", "0000:01:00.0"]),
            "there is no such device; EAL has found net_tap0, 0000:01:00.0"
        );
    }
}
