//! What the beginning of an image says, before the rest is there.

use baton_stack::addr::Flow;
use zerocopy::FromBytes;

use super::{Head, IMAGE_VERSION, Image, flow_of};

impl Image {
    /// The flow of an image that begins like this. `None` if these bytes do not reach so far, or no image begins so.
    #[must_use]
    pub fn flow_in(beginning: &[u8]) -> Option<Flow> {
        let (head, _) = Head::read_from_prefix(beginning).ok()?;
        if head.version == IMAGE_VERSION { flow_of(&head).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("golden_v1.hex");

    #[test]
    fn a_flow_is_known_from_the_first_76_bytes_on() {
        let digits: Vec<u8> = GOLDEN.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        let mut bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let flow = Image::decode(&bytes).unwrap().tcb.flow;
        assert_eq!((Image::flow_in(&bytes[..75]), Image::flow_in(&bytes[..76])), (None, Some(flow)));
        bytes[0] = 2;
        assert_eq!(Image::flow_in(&bytes), None, "of another version");
        (bytes[0], bytes[1]) = (1, 5);
        assert_eq!(Image::flow_in(&bytes), None, "of no family");
    }
}
