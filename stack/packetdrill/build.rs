//! Compiles the two calls of the interface that take a variable number of arguments.

fn main() {
    println!("cargo::rerun-if-changed=src/variadic.c");
    // The runtime has put destructors into the threads that called: the code must outlive a dlclose.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    cc::Build::new().file("src/variadic.c").warnings_into_errors(true).compile("baton_packetdrill_variadic");
}
