//! Congestion marks: what a router does that signals congestion instead of losing packets (RFC 3168 section 5).

use super::ETHERNET_HEADER;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// The ECN field of a traffic class: both bits are CE.
const ECN: u8 = 0b11;

/// Makes the ECN field of an ECN-capable packet CE; false, and nothing changes, for any other.
pub(super) fn mark(frame: &mut [u8]) -> bool {
    let is = |ethertype: &[u8; 2]| frame.get(12..ETHERNET_HEADER) == Some(ethertype);
    let (is_ipv4, is_ipv6) = (is(&ETHERTYPE_IPV4), is(&ETHERTYPE_IPV6));
    let Some(header) = frame.get_mut(ETHERNET_HEADER..) else { return false };
    // IPv4 has the class in its second byte, IPv6 in the last four bits of the first and the first four of the second.
    let shift = if is_ipv6 { 4 } else { 0 };
    let Some(&class) = header.get(1).filter(|_| is_ipv4 || is_ipv6) else { return false };
    if matches!(class >> shift & ECN, 0 | ECN) {
        return false;
    }
    header[1] = class | ECN << shift;
    if is_ipv4 && let Some(sum) = header.get_mut(10..12) {
        // RFC 1624, equation 4: the sum loses what the word has gained.
        let old = u32::from(u16::from_be_bytes([sum[0], sum[1]]));
        let gained = u32::from((class | ECN) - class);
        let less = old + 0xffff - gained;
        let folded = (less & 0xffff) + (less >> 16);
        sum.copy_from_slice(&u16::try_from(folded).unwrap_or(0).to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of RFC 1071 over a header, which is zero where its checksum is right.
    fn sum(header: &[u8]) -> u16 {
        let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
    }

    fn ipv4(class: u8, identification: u16) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, class]);
        frame[18..20].copy_from_slice(&identification.to_be_bytes());
        let checksum = sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[test]
    fn what_is_capable_is_marked_and_its_header_stays_right() {
        for identification in 0..=u16::MAX {
            for class in [0xb9, 0xba] {
                let mut frame = ipv4(class, identification);
                assert!(mark(&mut frame));
                assert_eq!((frame[15], sum(&frame[14..34])), (0xbb, 0), "{identification}");
            }
        }
        let mut frame = vec![0; 60];
        frame[12..16].copy_from_slice(&[0x86, 0xdd, 0x6b, 0xa5]);
        assert!(mark(&mut frame));
        assert_eq!(frame[14..16], [0x6b, 0xb5]);
    }

    #[test]
    fn nothing_else_is() {
        let other = [&[0x08, 0x06, 0x45, 0x02][..], &[0x08, 0x00, 0x45], &[]];
        let others = other.map(|bytes| [&[0; 12], bytes].concat());
        for frame in [ipv4(0xb8, 7), ipv4(0xbb, 7)].into_iter().chain(others) {
            let mut same = frame.clone();
            assert!(!mark(&mut same));
            assert_eq!(same, frame);
        }
    }
}
