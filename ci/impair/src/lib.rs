//! What the lab's programs share: packets from and to network interfaces, past the kernel's TCP/IP.
//!
//! It may not import anything of the product: it is the network, not a part of what is tested.

#![forbid(unsafe_code)]

pub mod link;
