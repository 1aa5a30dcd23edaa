//! The library links, and is the one whose headers were read.

use std::ffi::CStr;

#[test]
fn the_linked_library_is_of_the_series_that_was_bound() {
    // SAFETY: returns a pointer to a static string; needs no initialisation.
    let version = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    let version = version.to_str().unwrap();
    assert!(version.starts_with("DPDK 22.11"), "{version}");
}

#[test]
fn inline_functions_and_macros_have_linkable_twins() {
    // SAFETY: reads a thread-local variable.
    let before_any_error = unsafe { dpdk_sys::dpdk_sys_errno() };
    assert_eq!(before_any_error, 0);
    // SAFETY: a number in, a pointer to a static string out.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(2)) };
    assert_eq!(text.to_str().unwrap(), "No such file or directory");
}

#[test]
fn flags_that_are_macros_over_macros_are_there() {
    // Literals from DPDK 22.11's rte_ethdev.h and rte_mbuf_core.h.
    assert_eq!(u64::from(dpdk_sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM), 1 << 1);
    assert_eq!(u64::from(dpdk_sys::RTE_ETH_RX_OFFLOAD_TCP_CKSUM), 1 << 3);
    assert_eq!(u64::from(dpdk_sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM), 1 << 3);
    assert_eq!(u64::from(dpdk_sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD), 1 << 8);
    assert_eq!(dpdk_sys::RTE_PKTMBUF_HEADROOM, 128);
}
