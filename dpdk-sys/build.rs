//! Finds DPDK through pkg-config, checks its version, makes the bindings and compiles the wrappers of inline functions.

#[path = "build/version.rs"]
mod version;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const HEADER: &str = "wrapper.h";

/// The parts of DPDK that are bound, by prefix. Without a list bindgen meets types that it cannot express (AMX tiles).
const FUNCTIONS: &[&str] = &[
    "dpdk_sys_errno",
    "rte_eal_.*",
    "rte_eth_(dev|from|link|macaddr|promiscuous|allmulticast|rx|tx|stats|xstats|find|iterator)_.*",
    "rte_eth_from_rings",
    "rte_eth_.*_burst",
    "rte_flow_(create|destroy|flush|validate)",
    "rte_gso_segment",
    "rte_lcore_.*",
    "rte_mempool_(avail_count|in_use_count|free|lookup)",
    "rte_pdump_(init|uninit)",
    "rte_pktmbuf_(alloc|alloc_bulk|free|free_bulk|linearize|pool_create)",
    "rte_ring_(create|free|count|mc_dequeue_bulk|dequeue_burst|get_capacity)",
    "rte_socket_id",
    "rte_strerror",
    "rte_telemetry_.*",
    "rte_thash_.*",
    "rte_thread_(register|unregister)",
    "rte_version",
    "rte_version_(year|month|minor)",
];

/// Types that are named in casts and constants but that no bound function mentions.
const TYPES: &[&str] = &["rte_eth_.*", "rte_mbuf.*", "rte_flow_.*", "rte_gso_ctx"];

const CONSTANTS: &[&str] =
    &["RTE_ETH_.*", "RTE_ETHER_.*", "RTE_MBUF_.*", "RTE_PKTMBUF_.*", "RTE_MAX_.*", "RTE_MEMPOOL_.*"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/version.rs");
    println!("cargo::rerun-if-changed={HEADER}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let flags = find_dpdk();
    let wrappers = generate(&flags, &out);
    compile(&flags, &wrappers);
}

/// Checks and links DPDK; returns *all* of its compiler flags, also those that the `pkg-config` crate leaves out
/// (`-include rte_config.h`, `-march`).
fn find_dpdk() -> Vec<String> {
    let probe = pkg_config::Config::new().cargo_metadata(false).probe("libdpdk");
    if let Some(reason) = version::refusal(probe.as_ref().ok().map(|found| found.version.as_str())) {
        eprintln!("error: {reason}");
        if let Err(error) = probe {
            eprintln!("{error}");
        }
        exit(1);
    }
    // Again, now printing what to link. Shared: EAL then loads the system's drivers by itself.
    let linked = pkg_config::Config::new().probe("libdpdk");
    linked.expect("found a moment ago");
    // `rte_eth_from_rings` lives in a driver, which `libdpdk.pc` does not name.
    println!("cargo::rustc-link-lib=rte_net_ring");

    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(program).args(["--cflags", "libdpdk"]).output().expect("pkg-config ran a moment ago");
    assert!(output.status.success(), "pkg-config --cflags libdpdk: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Writes `bindings.rs`, and the C file with a linkable twin of each inline function, whose path it returns.
fn generate(flags: &[String], out: &Path) -> PathBuf {
    let wrappers = out.join("wrappers.c");
    let mut builder = bindgen::Builder::default()
        .header(HEADER)
        .clang_args(flags)
        // Without it most offload and RSS flags are missing: they are macros over macros.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(out)
        .wrap_static_fns(true)
        .wrap_static_fns_path(&wrappers)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        // A packed bit field, of which Debug would take a reference.
        .no_debug("rte_gtp_psc_generic_hdr")
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    let bindings = builder.generate().expect("bindgen reads DPDK's headers");
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR can be written");
    wrappers
}

fn compile(flags: &[String], wrappers: &Path) {
    let here = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let mut build = cc::Build::new();
    for flag in flags {
        build.flag(flag);
    }
    // DPDK's headers are not ours to warn about.
    build.include(here).file(wrappers).warnings(false).opt_level(3).compile("dpdk_sys_wrappers");
}
