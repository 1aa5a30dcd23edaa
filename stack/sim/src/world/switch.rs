//! A learning bridge (IEEE 802.1D without the spanning tree: the topology has no loops).

use baton_stack::addr::MacAddr;
use std::collections::BTreeMap;

/// An L2 switch: learns which address lives behind which port, floods what it does not know.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    learnt: BTreeMap<MacAddr, u16>,
    ports: u16,
}

impl Switch {
    /// Takes one more port into use and tells its number.
    pub(crate) const fn add_port(&mut self) -> u16 {
        self.ports += 1;
        self.ports - 1
    }

    /// Tells `send` each port on which the frame goes out.
    pub(crate) fn forward(&mut self, from: u16, frame: &[u8], mut send: impl FnMut(u16)) {
        let (Some(to), Some(source)) = (mac(frame, 0), mac(frame, 6)) else {
            return;
        };
        if !source.is_multicast() {
            self.learnt.insert(source, from);
        }
        match self.learnt.get(&to) {
            Some(&port) if !to.is_multicast() => {
                if port != from {
                    send(port);
                }
            }
            _ => (0..self.ports).filter(|&port| port != from).for_each(send),
        }
    }
}

fn mac(frame: &[u8], at: usize) -> Option<MacAddr> {
    frame.get(at..at + 6)?.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(switch: &mut Switch, from: u16, to: u8, source: u8) -> Vec<u16> {
        let mut frame = vec![to; 6];
        frame.extend([source; 6]);
        let mut out = Vec::new();
        switch.forward(from, &frame, |port| out.push(port));
        out
    }

    #[test]
    fn floods_the_unknown_and_remembers_the_known() {
        let mut switch = Switch::default();
        for port in 0..3 {
            assert_eq!(switch.add_port(), port);
        }
        assert_eq!(forwarded(&mut switch, 0, 4, 2), [1, 2], "nobody knows 4 yet");
        assert_eq!(forwarded(&mut switch, 1, 2, 4), [0]);
        assert_eq!(forwarded(&mut switch, 0, 4, 2), [1]);
        assert_eq!(forwarded(&mut switch, 1, 4, 6), [0u16; 0], "never back where it came from");
        assert_eq!(forwarded(&mut switch, 1, 0xff, 4), [0, 2], "broadcast");
        assert_eq!(forwarded(&mut switch, 2, 2, 4), [0], "4 has moved");
        assert_eq!(forwarded(&mut switch, 0, 4, 2), [2]);
        switch.forward(0, &[0; 11], |_| unreachable!("too short to have addresses"));
    }
}
