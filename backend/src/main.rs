//! `baton-backend`: the back-end on DPDK.
#![forbid(unsafe_code)]

use baton_backend::program::BackendProgram;
use std::process::ExitCode;

fn main() -> ExitCode {
    baton_host::main::<BackendProgram>()
}
