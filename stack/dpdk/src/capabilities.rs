//! What is asked of a port's device, what it offers, what is used, and what is done in software instead.

use std::fmt;

use thiserror::Error;

/// Checksums of received frames that a device must verify all of, or is not asked to: a node trusts them together.
const RX_CHECKSUM: [(u64, &str); 3] = [
    (dpdk_sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM as u64, "ipv4"),
    (dpdk_sys::RTE_ETH_RX_OFFLOAD_TCP_CKSUM as u64, "tcp"),
    (dpdk_sys::RTE_ETH_RX_OFFLOAD_UDP_CKSUM as u64, "udp"),
];

/// Checksums of sent frames. Nodes write them in software.
const TX_CHECKSUM: [(u64, &str); 3] = [
    (dpdk_sys::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM as u64, "ipv4"),
    (dpdk_sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM as u64, "tcp"),
    (dpdk_sys::RTE_ETH_TX_OFFLOAD_UDP_CKSUM as u64, "udp"),
];

/// One node is one core is one queue pair.
pub(crate) const QUEUES: u16 = 1;

/// What a device says it can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    pub(crate) driver: String,
    pub(crate) rx_offloads: u64,
    pub(crate) tx_offloads: u64,
    pub(crate) rss: u64,
    pub(crate) rx_queues: u16,
    pub(crate) tx_queues: u16,
    pub(crate) mtu_min: u16,
    pub(crate) mtu_max: u16,
    /// The number of the kernel interface behind a virtual device; 0: there is none.
    pub(crate) if_index: u32,
}

/// What of the offer is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub(crate) rx_offloads: u64,
    pub(crate) mtu: u16,
}

impl Grant {
    /// Whether the device verifies the checksums of received frames.
    pub(crate) fn verifies_checksums(self) -> bool {
        self.rx_offloads != 0
    }
}

/// What a device lacks that no software can make up for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Lack {
    /// An MTU outside the device's range.
    #[error("an MTU of {asked} is asked for; the device takes {min} to {max}")]
    Mtu {
        /// What was asked for.
        asked: u16,
        /// The device's least.
        min: u16,
        /// The device's greatest.
        max: u16,
    },
    /// Not even one queue each way.
    #[error("the device has {rx} receive and {tx} transmit queues; one of each is needed")]
    Queues {
        /// Receive queues.
        rx: u16,
        /// Transmit queues.
        tx: u16,
    },
}

/// Masks what a node asks for with what the device offers.
pub(crate) fn grant(mtu: u16, offer: &Offer) -> Result<Grant, Lack> {
    if !(offer.mtu_min..=offer.mtu_max).contains(&mtu) {
        return Err(Lack::Mtu { asked: mtu, min: offer.mtu_min, max: offer.mtu_max });
    }
    if offer.rx_queues < QUEUES || offer.tx_queues < QUEUES {
        return Err(Lack::Queues { rx: offer.rx_queues, tx: offer.tx_queues });
    }
    let wanted = RX_CHECKSUM.iter().fold(0, |bits, (bit, _)| bits | bit);
    let rx_offloads = if offer.rx_offloads & wanted == wanted { wanted } else { 0 };
    Ok(Grant { rx_offloads, mtu })
}

/// The state of a port's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// The speed in Mbit/s; `None` if the device has or tells none.
    pub speed_mbps: Option<u32>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.up { "up" } else { "down" })?;
        match self.speed_mbps {
            Some(speed) => write!(f, ", {speed} Mbit/s"),
            None => Ok(()),
        }
    }
}

/// One thing that a port may have its device do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// What it is.
    pub name: &'static str,
    /// What is asked for.
    pub requested: String,
    /// What the device offers.
    pub offered: String,
    /// What is used.
    pub granted: String,
    /// What is done in software instead.
    pub software: String,
}

/// The table of one port. Its `Display` is meant for people, one line per capability.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The device's DPDK name.
    pub device: String,
    /// The device's driver.
    pub driver: String,
    /// The state of the link when the port was opened.
    pub link: Link,
    /// The rows.
    pub rows: Vec<Capability>,
}

impl Capabilities {
    /// The table for a device that was granted `grant` of `offer`, with queues of `frames` (receive, transmit) frames instead of `frames_asked`.
    pub(crate) fn new(device: &str, offer: &Offer, grant: Grant, frames_asked: (u16, u16), frames: (u16, u16)) -> Self {
        let row = |name, requested: &str, offered: &str, granted: &str, software: &str| Capability {
            name,
            requested: requested.to_owned(),
            offered: offered.to_owned(),
            granted: granted.to_owned(),
            software: software.to_owned(),
        };
        let pair = |(rx, tx): (u16, u16)| format!("{rx} rx, {tx} tx");
        let rx_wanted = names(u64::MAX, &RX_CHECKSUM);
        let rx_software = names(!grant.rx_offloads, &RX_CHECKSUM);
        let queues = pair((QUEUES, QUEUES));
        let mtu = grant.mtu.to_string();
        let rows = vec![
            row("mtu", &mtu, &format!("{} to {}", offer.mtu_min, offer.mtu_max), &mtu, "-"),
            row("queues", &queues, &pair((offer.rx_queues, offer.tx_queues)), &queues, "-"),
            row("queue frames", &pair(frames_asked), "-", &pair(frames), "-"),
            row(
                "rx checksum",
                &rx_wanted,
                &names(offer.rx_offloads, &RX_CHECKSUM),
                &names(grant.rx_offloads, &RX_CHECKSUM),
                &rx_software,
            ),
            row("tx checksum", "-", &names(offer.tx_offloads, &TX_CHECKSUM), "-", &names(u64::MAX, &TX_CHECKSUM)),
            // One queue needs no spreading.
            row("rss", "-", if offer.rss == 0 { "-" } else { "yes" }, "-", "-"),
        ];
        Self { device: device.to_owned(), driver: offer.driver.clone(), link: Link::default(), rows }
    }
}

/// The names of those of `offloads` whose bits are set.
fn names(bits: u64, offloads: &[(u64, &str)]) -> String {
    let set: Vec<&str> = offloads.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "-".to_owned() } else { set.join(" ") }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (driver {}): link {}", self.device, self.driver, self.link)?;
        let mut line = |name: &str, columns: [&str; 4]| {
            let [requested, offered, granted, software] = columns;
            writeln!(f, "  {name:<13} {requested:<16} {offered:<20} {granted:<16} {software}")
        };
        line("", ["requested", "offered", "granted", "in software"])?;
        for Capability { name, requested, offered, granted, software } in &self.rows {
            line(name, [requested, offered, granted, software])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            driver: "net_null".to_owned(),
            rx_offloads: 0,
            tx_offloads: 0,
            rss: 0,
            rx_queues: 1,
            tx_queues: 1,
            mtu_min: 68,
            if_index: 0,
            mtu_max: 1_500,
        }
    }

    #[test]
    fn checksums_are_verified_by_the_device_only_if_it_can_do_all_three() {
        // Bits 1 to 3 of rte_ethdev.h's RTE_ETH_RX_OFFLOAD_*: ipv4, udp, tcp.
        for (offered, granted) in [(0, 0), (0b1110, 0b1110), (0b1100, 0), (0b0110, 0), (0b1010, 0), (0b1_1111, 0b1110)]
        {
            let got = grant(1_500, &Offer { rx_offloads: offered, ..offer() }).unwrap();
            assert_eq!(got.rx_offloads, granted, "{offered:b}");
            assert_eq!(got.verifies_checksums(), granted != 0);
        }
    }

    #[test]
    fn an_mtu_at_the_device_s_limits_and_past_them() {
        for (mtu, right) in [(67, false), (68, true), (1_500, true), (1_501, false)] {
            assert_eq!(grant(mtu, &offer()).is_ok(), right, "{mtu}");
        }
        let words = grant(1_501, &offer()).unwrap_err().to_string();
        assert_eq!(words, "an MTU of 1501 is asked for; the device takes 68 to 1500");
    }

    #[test]
    fn a_device_without_queues_is_refused() {
        let lack = grant(1_500, &Offer { tx_queues: 0, ..offer() }).unwrap_err();
        assert_eq!(lack, Lack::Queues { rx: 1, tx: 0 });
    }

    #[test]
    fn the_table_reads_well() {
        let offer = Offer { rx_offloads: 0b1110, tx_offloads: 0b10, rss: 1, rx_queues: 16, ..offer() };
        let mut table = Capabilities::new("net_tap0", &offer, grant(1_400, &offer).unwrap(), (512, 512), (256, 512));
        table.link = Link { up: true, speed_mbps: Some(10_000) };
        let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(
            lines,
            [
                "net_tap0 (driver net_null): link up, 10000 Mbit/s",
                "                requested        offered              granted          in software",
                "  mtu           1400             68 to 1500           1400             -",
                "  queues        1 rx, 1 tx       16 rx, 1 tx          1 rx, 1 tx       -",
                "  queue frames  512 rx, 512 tx   -                    256 rx, 512 tx   -",
                "  rx checksum   ipv4 tcp udp     ipv4 tcp udp         ipv4 tcp udp     -",
                "  tx checksum   -                ipv4                 -                ipv4 tcp udp",
                "  rss           -                yes                  -                -",
            ]
        );
    }
}
