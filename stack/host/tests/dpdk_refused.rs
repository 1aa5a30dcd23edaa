//! A program around DPDK's shell that cannot start. EAL starts once per process: one test here.

mod support;

use support::{directory, run};

#[test]
fn a_device_that_is_not_there() {
    let (_guard, config) = directory("", "net_null7", "127.0.0.1:0");
    let expected =
        "baton-sink: cannot open the ports: port 0, net_null7: there is no such device; EAL has found net_null0\n";
    assert_eq!(run(&config), (1, expected.to_owned()));

    let again = "baton-sink: EAL has been started before in this process\n";
    assert_eq!(run(&config), (1, again.to_owned()));
}
