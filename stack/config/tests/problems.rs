//! Wrong configurations, and what is said of each: line, column, key and sentence.

use baton_config::{Checker, Common, Config, ConfigError, list, parse, table};

table! {
    /// The common tables by themselves.
    struct Plain {
        flat common: Common;
        /// A key of a program's own.
        "extra" => extra: Vec<u16> = Vec::new(), list(0, 2, "numbers");
    }
}

impl Config for Plain {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
    }
}

const GOOD: &str = r#"[node]
name = "n1"
[cluster]
secret_file = "cluster.key"
[[port]]
device = "net_null0"
address = "10.77.0.10/24"
"#;

fn refused(text: &str) -> ConfigError {
    parse::<Plain>("t.toml", text).expect_err(text)
}

/// `GOOD` with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the text");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_good_text_is_good() {
    let config = parse::<Plain>("t.toml", GOOD).unwrap();
    assert_eq!(config.common.node.name.as_str(), "n1");
    assert_eq!(config.common.tcp.rto_initial.as_millis(), 1_000);
    assert_eq!(config.common.admin.listen.to_string(), "127.0.0.1:9901");
}

#[test]
fn single_values() {
    let device = "device = \"net_null0\"\n";
    let add = |line: &str| with(device, &format!("{device}{line}\n"));
    let cases = [
        (String::from("[node\n"), "t.toml:1:6: unclosed table, expected `]`"),
        (
            with("name", "nmae"),
            "t.toml:1:1: node.name: missing; it must be given (a name)\nt.toml:2:1: node.nmae: unknown key",
        ),
        (
            with("[node]", "[nodes]"),
            "t.toml:1:1: node.name: missing; it must be given (a name)\nt.toml:1:2: nodes: unknown key",
        ),
        (with("\"n1\"", "7"), "t.toml:2:8: node.name: is an integer; it must be a string"),
        (
            with("n1", "-n1"),
            "t.toml:2:8: node.name: \"-n1\" is not a name: 1 to 63 letters, digits, '-', '_' or '.', the first a letter or digit",
        ),
        (with("\"cluster.key\"", "\"\""), "t.toml:4:15: cluster.secret_file: \"\" is not a path"),
        (add("mtu = 1279"), "t.toml:7:7: port[0].mtu: 1279 is out of range: from 1280 to 1500 bytes"),
        (add("mtu = 1501"), "t.toml:7:7: port[0].mtu: 1501 is out of range: from 1280 to 1500 bytes"),
        (add("mtu = -1"), "t.toml:7:7: port[0].mtu: -1 is out of range: from 1280 to 1500 bytes"),
        (
            add("mtu = 999999999999999999999999999999999999999999"),
            "t.toml:7:7: port[0].mtu: 999999999999999999999999999999999999999999 is out of range: from 1280 to 1500 bytes",
        ),
        (
            add("mtu = 1500.0"),
            "t.toml:7:7: port[0].mtu: is a floating-point number; it must be a whole number, from 1280 to 1500 bytes",
        ),
        (add("vlan = 4095"), "t.toml:7:8: port[0].vlan: 4095 is out of range: from 0 to 4094"),
        (add("gateway = \"10.77.0\""), "t.toml:7:11: port[0].gateway: \"10.77.0\" is not an IP address"),
        (
            with("10.77.0.10/24", "10.77.0.10"),
            "t.toml:7:11: port[0].address: \"10.77.0.10\" is not an IP address with its prefix length, such as \"10.77.0.10/24\"",
        ),
        (with("[[port]]", "[port]"), "t.toml:5:1: port: is a table; it must be an array of tables"),
        (with("[node]", "eal = \"-m 256\"\n[node]"), "t.toml:1:7: eal: is a string; it must be an array of arguments"),
        (with("[node]", "eal = [\"-m\", 256]\n[node]"), "t.toml:1:14: eal[1]: is an integer; it must be a string"),
        (
            with("[node]", "extra = [1, 2, 3]\n[node]"),
            "t.toml:1:9: extra: has 3 numbers; it must have from 0 to 2 numbers",
        ),
        (
            with("[node]", "extra = [65535, 65536]\n[node]"),
            "t.toml:1:17: extra[1]: 65536 is out of range: at most 65535",
        ),
        (with("[node]", "[node]\nidle = \"lazy\""), "t.toml:2:8: node.idle: \"lazy\" is not \"spin\" or \"adaptive\""),
        (
            with("[node]", "[node]\ncore = \"0\""),
            "t.toml:2:8: node.core: is a string; it must be a whole number, from 0 to 1023",
        ),
        (format!("{GOOD}[tcp]\ncongestion = true"), "t.toml:9:14: tcp.congestion: is a boolean; it must be a string"),
        (
            format!("{GOOD}[log]\nlevel = \"loud\""),
            "t.toml:9:9: log.level: \"loud\" is not \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
        ),
        (
            format!("{GOOD}[admin]\nlisten = \"9901\""),
            "t.toml:9:10: admin.listen: \"9901\" is not an IP address with a port, such as \"127.0.0.1:9901\"",
        ),
        (format!("{GOOD}tcp = 1"), "t.toml:8:1: port[0].tcp: unknown key"),
        (format!("tcp = 1\n{GOOD}"), "t.toml:1:7: tcp: is an integer; it must be a table"),
        (format!("{GOOD}mtu = 1500\nmtu = 1500"), "t.toml:9:1: duplicate key"),
    ];
    assert_refused(&cases);
}

fn assert_refused(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        assert_eq!(refused(text).to_string(), *expected, "\n{text}");
    }
}

#[test]
fn combinations_in_ports() {
    let second = |lines: &str| format!("{GOOD}[[port]]\n{lines}");
    let cases = [
        (
            format!("eal = [\"-m\", \"--\"]\n{GOOD}"),
            "t.toml:1:14: eal[1]: \"--\" ends EAL's arguments and is not one of them",
        ),
        (
            with("10.77.0.10/24", "10.77.0.0/24"),
            "t.toml:7:11: port[0].address: 10.77.0.0/24 is the address of the network itself, not of a host in it",
        ),
        (
            with("10.77.0.10/24", "10.77.0.255/24"),
            "t.toml:7:11: port[0].address: 10.77.0.255/24 is the broadcast address of its network",
        ),
        (with("10.77.0.10/24", "127.0.0.1/8"), "t.toml:7:11: port[0].address: 127.0.0.1/8 is a loopback address"),
        (
            format!("{GOOD}gateway = \"10.78.0.1\""),
            "t.toml:8:11: port[0].gateway: 10.78.0.1 is not in the network of port[0].address, 10.77.0.10/24",
        ),
        (
            format!("{GOOD}gateway = \"10.77.0.10\""),
            "t.toml:8:11: port[0].gateway: 10.77.0.10 is the node itself (port[0].address)",
        ),
        (
            second("device = \"net_null0\"\naddress = \"10.78.0.10/24\""),
            "t.toml:9:10: port[1].device: device \"net_null0\" is already that of port[0]",
        ),
        (
            second("device = \"net_null1\"\naddress = \"10.77.0.10/24\""),
            "t.toml:10:11: port[1].address: 10.77.0.10 is already the address of port[0]",
        ),
        (
            second("device = \"net_null1\"\naddress = \"10.77.0.129/25\""),
            "t.toml:10:11: port[1].address: 10.77.0.129/25 overlaps with port[0].address, 10.77.0.10/24",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn ipv6_addresses_that_are_no_host_s() {
    let address = |address: &str| with("10.77.0.10/24", address);
    let gateway = |gateway: &str| format!("{}gateway = \"{gateway}\"", address("fd77::10/64"));
    let cases = [
        (address("::/64"), "t.toml:7:11: port[0].address: ::/64 is the unspecified address"),
        (address("::1/128"), "t.toml:7:11: port[0].address: ::1/128 is a loopback address"),
        (address("ff02::1/64"), "t.toml:7:11: port[0].address: ff02::1/64 is a multicast address"),
        (
            address("fe80::1/64"),
            "t.toml:7:11: port[0].address: fe80::1/64 is a link-local address, which means another host on each link",
        ),
        (
            address("::ffff:10.0.0.1/96"),
            "t.toml:7:11: port[0].address: ::ffff:10.0.0.1/96 is an IPv4 address in IPv6 clothes; write it as IPv4",
        ),
        (
            address("fd77::/64"),
            "t.toml:7:11: port[0].address: fd77::/64 is the anycast address of its network's routers, not of a host in it",
        ),
        (
            gateway("fd78::1"),
            "t.toml:8:11: port[0].gateway: fd78::1 is not in the network of port[0].address, fd77::10/64",
        ),
        (gateway("fd77::10"), "t.toml:8:11: port[0].gateway: fd77::10 is the node itself (port[0].address)"),
        (
            gateway("10.77.0.1"),
            "t.toml:8:11: port[0].gateway: 10.77.0.1 is not in the network of port[0].address, fd77::10/64",
        ),
        (
            format!("{GOOD}gateway = \"fe80::1\""),
            "t.toml:8:11: port[0].gateway: fe80::1 is a link-local address, which means another host on each link",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn combinations_of_two_families() {
    let second = |lines: &str| format!("{GOOD}{lines}");
    let cases = [
        (
            second("second_address = \"10.78.0.10/24\""),
            "t.toml:8:18: port[0].second_address: port[0].second_address (10.78.0.10/24) and port[0].address (10.77.0.10/24) \
             are both IPv4 addresses; a port has one of each family at most",
        ),
        (
            second("second_gateway = \"fd77::1\""),
            "t.toml:8:18: port[0].second_gateway: port[0].second_gateway (fd77::1) needs a port[0].second_address of its family",
        ),
        (
            second("second_address = \"fd77::10/64\"\nsecond_gateway = \"10.77.0.1\""),
            "t.toml:9:18: port[0].second_gateway: 10.77.0.1 is not in the network of port[0].second_address, fd77::10/64",
        ),
        (
            second("second_address = \"fd77::10/64\"\n[[port]]\ndevice = \"net_null1\"\naddress = \"fd77::11/64\""),
            "t.toml:11:11: port[1].address: fd77::11/64 overlaps with port[0].second_address, fd77::10/64",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn combinations_in_other_tables() {
    let cases = [
        (
            format!("{GOOD}[admin]\nlisten = \"0.0.0.0:9901\""),
            "t.toml:9:10: admin.listen: 0.0.0.0:9901 is not a loopback address; whoever reaches it controls the node",
        ),
        (
            with("[cluster]", "[cluster]\nheartbeat_ms = 751"),
            "t.toml:4:16: cluster.heartbeat_ms: cluster.heartbeat_ms (751) must be at most half of cluster.lease_ms (1500), \
             or one lost message ends the lease",
        ),
        (
            with("[cluster]", "[cluster]\nlease_ms = 599"),
            "t.toml:4:12: cluster.lease_ms: cluster.heartbeat_ms (300) must be at most half of cluster.lease_ms (599), \
             or one lost message ends the lease",
        ),
        (
            format!("{GOOD}[tcp]\nrto_min_ms = 1001"),
            "t.toml:9:14: tcp.rto_min_ms: tcp.rto_min_ms (1001) is above tcp.rto_initial_ms (1000)",
        ),
        (
            format!("{GOOD}[tcp]\nrto_initial_ms = 1001\nrto_max_ms = 1000"),
            "t.toml:9:18: tcp.rto_initial_ms: tcp.rto_initial_ms (1001) is above tcp.rto_max_ms (1000)",
        ),
        (
            format!("{GOOD}[limits]\nhold_packets = 63"),
            "t.toml:9:16: limits.hold_packets: limits.hold_packets_per_connection (64) is above limits.hold_packets (63)",
        ),
        (
            format!("{GOOD}[tcp]\nrecv_buffer_bytes = 16383"),
            "t.toml:9:21: tcp.recv_buffer_bytes: limits.head_bytes (16384) is above tcp.recv_buffer_bytes (16383)",
        ),
        (
            format!("{GOOD}[tcp]\nrecv_buffer_bytes = 393217"),
            "t.toml:9:21: tcp.recv_buffer_bytes: tcp.recv_buffer_bytes (393217) is above tcp.recv_buffer_max_bytes (393216)",
        ),
        (
            format!("{GOOD}[tcp]\nrecv_buffer_max_bytes = 1032193"),
            "t.toml:9:25: tcp.recv_buffer_max_bytes: limits.image_bytes (5242880) is too small for an image with \
             tcp.recv_buffer_max_bytes (1032193) and tcp.in_flight_bytes_max (4194304): it needs 5242881",
        ),
        (
            format!("{GOOD}[tcp]\nin_flight_bytes_max = 4833281"),
            "t.toml:9:23: tcp.in_flight_bytes_max: limits.image_bytes (5242880) is too small for an image with \
             tcp.recv_buffer_max_bytes (393216) and tcp.in_flight_bytes_max (4833281): it needs 5242881",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn the_last_value_before_each_combination_is_refused_is_accepted() {
    for (text, what) in [
        (with("[cluster]", "[cluster]\nheartbeat_ms = 750"), "half of the lease"),
        (with("[cluster]", "[cluster]\nlease_ms = 600"), "twice the heartbeat"),
        (format!("{GOOD}[tcp]\nrto_min_ms = 1000"), "equal timeouts"),
        (format!("{GOOD}[limits]\nconnections = 4096"), "as many half-open as connections"),
        (format!("{GOOD}[limits]\nhold_packets = 64"), "one connection may hold all"),
        (format!("{GOOD}[tcp]\nrecv_buffer_bytes = 16384"), "a head fills the buffer"),
        (format!("{GOOD}[tcp]\nin_flight_bytes_max = 4833280"), "a full image"),
        (format!("{GOOD}[tcp]\nrecv_buffer_max_bytes = 1032192"), "a full image of a grown window"),
        (format!("{GOOD}[tcp]\nrecv_buffer_bytes = 393216"), "a window that does not grow"),
        (with("10.77.0.10/24", "10.77.0.0/31"), "a network of two"),
        (with("10.77.0.10/24", "10.77.0.10/32"), "a network of one"),
        (format!("{GOOD}mtu = 1280"), "least mtu"),
        (with("10.77.0.10/24", "2001:db8::10/64"), "IPv6"),
        (with("10.77.0.10/24", "fd77::ffff:ffff:ffff:ffff/64"), "IPv6 has no broadcast"),
        (with("10.77.0.10/24", "fd77::/127"), "two routers of a link (RFC 6164)"),
        (format!("{}gateway = \"fe80::1\"", with("10.77.0.10/24", "fd77::10/64")), "a link-local gateway"),
        (
            format!("{GOOD}gateway = \"10.77.0.1\"\nsecond_address = \"fd77::10/64\"\nsecond_gateway = \"fe80::1\""),
            "both families",
        ),
        (format!("{GOOD}vlan = 4094"), "last vlan"),
    ] {
        assert!(parse::<Plain>("t.toml", &text).is_ok(), "{what}: {}", refused(&text));
    }
}

#[test]
fn ports_at_the_limit_and_one_past_it() {
    let ports = |count: usize| {
        let port = |n: usize| format!("[[port]]\ndevice = \"d{n}\"\naddress = \"10.{n}.0.1/24\"\n");
        GOOD.split("[[port]]").next().unwrap().to_owned() + &(0..count).map(port).collect::<String>()
    };
    let most = baton_config::PORTS_MAX;
    assert_eq!(parse::<Plain>("t.toml", &ports(most)).unwrap().common.ports.len(), most);
    for count in [0, most + 1] {
        let error = refused(&ports(count));
        assert_eq!(error.problems()[0].key(), "port");
        assert_eq!(error.problems()[0].message(), format!("has {count} tables; it must have from 1 to 16 tables"));
    }
}

#[test]
fn the_text_at_its_limit_and_one_past_it() {
    let filled = |len: usize| format!("{GOOD}#{}", "x".repeat(len - GOOD.len() - 1));
    let most = baton_config::TEXT_BYTES_MAX;
    assert!(parse::<Plain>("t.toml", &filled(most)).is_ok());
    let expected = format!("t.toml:1:1: the file has {} bytes; at most {most} are read", most + 1);
    assert_eq!(refused(&filled(most + 1)).to_string(), expected);
}

#[test]
fn all_problems_are_reported_at_once_and_in_order() {
    let text =
        "[cluster]\nlease_ms = 1\n[node]\nname = \"\"\nfoo = 1\n[[port]]\ndevice = 3\naddress = \"10.0.0.1/24\"\n";
    let keys: Vec<_> =
        refused(text).problems().iter().map(|problem| (problem.line(), problem.key().to_owned())).collect();
    let expected =
        [(1, "cluster.secret_file"), (2, "cluster.lease_ms"), (4, "node.name"), (5, "node.foo"), (7, "port[0].device")];
    assert_eq!(keys, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn a_rendered_problem_shows_its_line_and_what_is_known() {
    use miette::{GraphicalReportHandler, GraphicalTheme};
    let problem = refused(&with("[node]", "[node]\ncores = 1")).into_problems().remove(0);
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::none()).render_report(&mut shown, &problem).unwrap();
    for part in
        ["node.cores: unknown key", "t.toml:2:1", "2 | cores = 1", "known here: name, id, core, idle, stop_grace_ms"]
    {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}
