//! Raw bindings to DPDK 22.11.
//!
//! What this crate does: `bindgen` output for the parts of DPDK that Baton uses, and linkable twins of the inline functions among
//! them (a call across C for each: only bursts and rare calls are worth it; per-packet fields are read in Rust). The version is checked
//! when it is built.
//!
//! What it does not do: nothing here is safe, and nothing here has an opinion. `baton-dpdk` is the safe side.
//!
//! It may import nothing.
//!
//! Offload and RSS flags arrive as `u32` where DPDK means `u64`: widen them before use.

mod bindings {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unsafe_op_in_unsafe_fn,
        improper_ctypes,
        clippy::all,
        clippy::undocumented_unsafe_blocks,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::use_self,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated from C headers"
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
