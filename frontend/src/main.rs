//! `baton-frontend`: the front-end on DPDK.
#![forbid(unsafe_code)]

use baton_frontend::program::FrontendProgram;
use std::process::ExitCode;

fn main() -> ExitCode {
    baton_host::main::<FrontendProgram>()
}
