//! The front-end's configuration: what it listens on, which back-ends it has, and which requests go where.

use baton_config::{
    Checker, Common, Config, ConfigError, Key, Name, host_address_problem, int, known_keys as keys_of, list, table,
    text,
};
use std::net::{IpAddr, Ipv6Addr};

/// The most `[[listener]]` tables.
pub const LISTENERS_MAX: usize = 64;
/// The most `[[backend]]` tables.
pub const BACKENDS_MAX: usize = 1_024;
/// The most `[[route]]` tables.
pub const ROUTES_MAX: usize = 4_096;

table! {
    /// The configuration of a front-end.
    pub struct FrontendConfig {
        flat common: Common;
        /// The addresses and ports that clients connect to.
        "listener" => listeners: Vec<Listener>, list(1, LISTENERS_MAX, "tables");
        /// The back-ends of the cluster.
        "backend" => backends: Vec<Backend>, list(1, BACKENDS_MAX, "tables");
        /// Which requests go to which back-ends; the first that matches decides.
        "route" => routes: Vec<Route>, list(1, ROUTES_MAX, "tables");
    }
}

table! {
    /// `[[listener]]`: an address and port that clients connect to.
    pub struct Listener {
        /// The VIP. The front-end answers ARP or neighbour solicitations for it.
        "address" => address: IpAddr, text("an IP address");
        /// The TCP port.
        "port" => port: u16, int(1, 65_535, "");
    }
}

table! {
    /// `[[backend]]`: a node that serves requests.
    pub struct Backend {
        /// Its name, as in its own configuration.
        "name" => name: Name, text("a name");
        /// Its own address, in the network of one of the front-end's ports.
        "address" => address: IpAddr, text("an IP address");
    }
}

table! {
    /// `[[route]]`: requests that match, and where they go.
    pub struct Route {
        /// The host that a request must name, without port; upper and lower case are one. Without it: any.
        "host" => host: Option<String>, text("a host name or IP address");
        /// What the request's path must begin with.
        "path_prefix" => path_prefix: String = "/".to_owned(), text("a path that begins with /");
        /// Whether the back-end sees the path without the prefix: `/be1/x` as `/x`. The prefix must then end with `/`.
        "strip_prefix" => strip_prefix: bool = false, text("true or false");
        /// One back-end, or several of which the hash of the path picks one.
        "backends" => backends: Vec<Name>, list(1, BACKENDS_MAX, "names of back-ends");
    }
}

/// Reads a front-end's configuration from `text`, which came from the file `name`.
///
/// # Errors
/// Every problem with its place, as [`baton_config::parse`].
pub fn parse(name: &str, text: &str) -> Result<FrontendConfig, ConfigError> {
    baton_config::parse(name, text)
}

/// Keys of the tables that both programs share, which only a back-end has a use for.
const OF_BACK_ENDS: [&str; 6] = [
    "limits.hold_packets_per_connection",
    "limits.hold_packets",
    "limits.hold_ms",
    "limits.body_bytes",
    "limits.records",
    "limits.tail_bytes",
];

/// Every key that a front-end's configuration may have.
#[must_use]
pub fn known_keys() -> Vec<Key> {
    keys_of::<FrontendConfig>().into_iter().filter(|key| !OF_BACK_ENDS.contains(&key.path.as_str())).collect()
}

impl Config for FrontendConfig {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
        self.common.limits.check_half_open(checker);
        if self.common.node.id == 0 {
            checker.refuse("node.id", "missing; a front-end needs one, from 1 to 255, to make connection ids unique");
        }
        for key in OF_BACK_ENDS {
            if checker.contains(key) {
                checker.refuse(key, "only a back-end has a use for it: set it there");
            }
        }
        self.check_listeners(checker);
        self.check_backends(checker);
        for (n, route) in self.routes.iter().enumerate() {
            self.check_route(n, route, checker);
        }
    }
}

impl FrontendConfig {
    /// The configuration in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let node = &self.common.node;
        format!(
            "front-end {} (id {}): {}, {}, {}, {}",
            node.name,
            node.id,
            count(self.common.ports.len(), "port"),
            count(self.listeners.len(), "listener"),
            count(self.backends.len(), "back-end"),
            count(self.routes.len(), "route"),
        )
    }

    /// The back-end of this name, by its position in `[[backend]]`.
    #[must_use]
    pub fn backend(&self, name: &Name) -> Option<usize> {
        self.backends.iter().position(|backend| backend.name == *name)
    }

    fn check_listeners(&self, checker: &mut Checker<'_>) {
        for (n, listener) in self.listeners.iter().enumerate() {
            let path = format!("listener[{n}].address");
            let Listener { address, port } = *listener;
            if let Some(problem) = host_address_problem(address) {
                checker.refuse(&path, format!("{address} {problem}"));
            }
            if let Some(key) = self.common.own_address_key(address) {
                checker.refuse(&path, format!("{address} is this node's own address, {key}; a VIP is another"));
            }
            self.common.check_vip_family(&path, address, checker);
            if let Some(m) = self.listeners[..n].iter().position(|earlier| earlier == listener) {
                checker.refuse(&path, format!("{address} port {port} is already listener[{m}]"));
            }
        }
    }

    fn check_backends(&self, checker: &mut Checker<'_>) {
        for (n, backend) in self.backends.iter().enumerate() {
            let (name_path, path) = (format!("backend[{n}].name"), format!("backend[{n}].address"));
            let Backend { name, address } = backend;
            if *name == self.common.node.name {
                checker.refuse(&name_path, format!("\"{name}\" is this node's own name (node.name)"));
            }
            self.common.check_peer_address(&path, *address, checker);
            if let Some(m) = self.listeners.iter().position(|listener| listener.address == *address) {
                checker
                    .refuse(&path, format!("{address} is also a VIP, listener[{m}].address; a back-end has its own"));
            }
            if let Some(first) = self.backends.first().filter(|first| first.address.is_ipv4() != address.is_ipv4()) {
                let sentence = format!(
                    "{path} ({address}) and backend[0].address ({}) must be of one family: connections go from back-end to back-end",
                    first.address
                );
                checker.refuse_pair(&path, "backend[0].address", sentence);
            }
            for (m, earlier) in self.backends[..n].iter().enumerate() {
                if earlier.name == *name {
                    checker.refuse(&name_path, format!("\"{name}\" is already the name of backend[{m}]"));
                }
                if earlier.address == *address {
                    checker.refuse(&path, format!("{address} is already the address of backend[{m}]"));
                }
            }
        }
    }

    fn check_route(&self, n: usize, route: &Route, checker: &mut Checker<'_>) {
        let prefix_path = format!("route[{n}].path_prefix");
        let prefix = &route.path_prefix;
        if !prefix.starts_with('/') || prefix.contains([' ', '?', '#']) || !prefix.is_ascii() {
            let sentence =
                format!("\"{prefix}\" is no path: it must begin with / and have no space, ?, # or non-ASCII character");
            checker.refuse(&prefix_path, sentence);
        }
        if route.strip_prefix && !prefix.ends_with('/') {
            let (first, second) = (format!("route[{n}].strip_prefix"), &prefix_path);
            let sentence = format!("{first} needs a {second} that ends with /, and \"{prefix}\" does not");
            checker.refuse_pair(&first, second, sentence);
        }
        if let Some(host) = route.host.as_ref().filter(|host| !is_host(host)) {
            let sentence = format!("\"{host}\" is no host name or address; a port is not part of it");
            checker.refuse(&format!("route[{n}].host"), sentence);
        }
        for (k, name) in route.backends.iter().enumerate() {
            let path = format!("route[{n}].backends[{k}]");
            if self.backend(name).is_none() {
                checker.refuse(&path, format!("no [[backend]] has the name \"{name}\""));
            } else if route.backends[..k].contains(name) {
                checker.refuse(&path, format!("\"{name}\" is named twice"));
            }
        }
        let same = |earlier: &Route| earlier.matches_all_of(route);
        if let Some(m) = self.routes[..n].iter().position(same) {
            let sentence = format!("no request reaches this route: route[{m}] before it takes all that it would match");
            checker.refuse(&format!("route[{n}]"), sentence);
        }
    }
}

impl Route {
    /// Whether every request that `later` matches is one that this route matches.
    fn matches_all_of(&self, later: &Self) -> bool {
        let host = match (&self.host, &later.host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => mine.eq_ignore_ascii_case(theirs),
        };
        host && later.path_prefix.starts_with(&self.path_prefix)
    }
}

fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// Whether `host` can stand in a Host field without a port: a registered name, an IPv4 address, or an IPv6 address in brackets
/// (RFC 9110 section 7.2).
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../docs/examples/frontend.toml");

    const GOOD: &str = r#"[node]
name = "fe1"
id = 1
[cluster]
secret_file = "cluster.key"
[[port]]
device = "d0"
address = "10.77.0.10/24"
[[listener]]
address = "10.77.0.100"
port = 80
[[backend]]
name = "be1"
address = "10.77.0.21"
[[backend]]
name = "be2"
address = "10.77.0.22"
[[route]]
host = "example.org"
path_prefix = "/be1/"
strip_prefix = true
backends = ["be1"]
[[route]]
backends = ["be1", "be2"]
"#;

    #[test]
    fn the_example_is_read_as_it_is_written() {
        let config = parse("frontend.toml", EXAMPLE).unwrap();
        assert_eq!(config.common.node.id, 1);
        assert_eq!(config.listeners, [Listener { address: [10, 77, 0, 100].into(), port: 80 }]);
        let names: Vec<_> = config.backends.iter().map(|backend| backend.name.as_str()).collect();
        assert_eq!(names, ["be1", "be2"]);
        assert_eq!((config.routes[0].path_prefix.as_str(), config.routes[0].strip_prefix), ("/be1/", true));
        assert_eq!(config.routes[1].host.as_deref(), Some("static.example.org"));
        assert_eq!(config.backend(&config.routes[1].backends[0]), Some(1));
        assert_eq!(config.routes[2].backends.len(), 2);
        assert_eq!(config.summary(), "front-end fe1 (id 1): 1 port, 1 listener, 2 back-ends, 3 routes");
    }

    /// `GOOD` with the first `from` replaced by `to`.
    fn with(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from:?} is not in the text");
        GOOD.replacen(from, to, 1)
    }

    /// Each text is refused, first for the problem on this line.
    fn assert_refused(cases: &[(String, usize, &str)]) {
        for (text, line, expected) in cases {
            let error = parse("t.toml", text).expect_err(text);
            let problem = &error.problems()[0];
            assert_eq!((problem.line(), problem.to_string().as_str()), (*line, *expected), "\n{text}");
        }
    }

    #[test]
    fn which_nodes_and_listeners_are_refused_and_why() {
        let missing_id = "node.id: missing; a front-end needs one, from 1 to 255, to make connection ids unique";
        let cases = [
            (with("id = 1\n", ""), 1, missing_id),
            (with("id = 1\n", "id = 0\n"), 3, missing_id),
            (with("id = 1\n", "id = 256\n"), 3, "node.id: 256 is out of range: from 0 to 255"),
            (with("port = 80", ""), 9, "listener[0].port: missing; it must be given (from 1 to 65535)"),
            (with("port = 80", "port = 0"), 11, "listener[0].port: 0 is out of range: from 1 to 65535"),
            (
                with("10.77.0.100", "10.77.0.10"),
                10,
                "listener[0].address: 10.77.0.10 is this node's own address, port[0].address; a VIP is another",
            ),
            (with("10.77.0.100", "::1"), 10, "listener[0].address: ::1 is a loopback address"),
            (
                with("10.77.0.100", "fd77::100"),
                10,
                "listener[0].address: fd77::100 is an IPv6 address, and no port has one: port[].second_address gives a port an \
                 address of the other family",
            ),
            (
                with("address = \"10.77.0.10/24\"", "address = \"10.77.0.10/24\"\nsecond_address = \"fd77::10/64\"")
                    .replace("10.77.0.22", "fd77::22"),
                18,
                "backend[1].address: backend[1].address (fd77::22) and backend[0].address (10.77.0.21) must be of one family: \
                 connections go from back-end to back-end",
            ),
            (
                with("address = \"10.77.0.10/24\"", "address = \"10.77.0.10/24\"\nsecond_address = \"fd77::10/64\"")
                    .replace("10.77.0.100", "fd77::10"),
                11,
                "listener[0].address: fd77::10 is this node's own address, port[0].second_address; a VIP is another",
            ),
            (
                with("port = 80", "port = 80\n[[listener]]\naddress = \"10.77.0.100\"\nport = 80"),
                13,
                "listener[1].address: 10.77.0.100 port 80 is already listener[0]",
            ),
            (with("\"be2\"", "\"be1\""), 16, "backend[1].name: \"be1\" is already the name of backend[0]"),
            (with("\"be1\"", "\"fe1\""), 13, "backend[0].name: \"fe1\" is this node's own name (node.name)"),
            (
                with("10.77.0.22", "10.77.0.21"),
                17,
                "backend[1].address: 10.77.0.21 is already the address of backend[0]",
            ),
            (
                with("10.77.0.22", "10.77.0.100"),
                17,
                "backend[1].address: 10.77.0.100 is also a VIP, listener[0].address; a back-end has its own",
            ),
            (
                with("10.77.0.22", "10.77.0.10"),
                17,
                "backend[1].address: 10.77.0.10 is this node's own address, port[0].address",
            ),
            (
                with("10.77.0.22", "10.78.0.22"),
                17,
                "backend[1].address: 10.78.0.22 is in the network of no port (port[].address); nodes must share a network",
            ),
            (
                with("10.77.0.22", "10.77.0.255"),
                17,
                "backend[1].address: 10.77.0.255 is the broadcast address of its network",
            ),
        ];
        assert_refused(&cases);
    }

    #[test]
    fn a_front_end_of_one_family_or_of_both_is_accepted() {
        let v6 = GOOD.replace("/24", "/64").replace("10.77.0.", "fd77::").replace("example.org", "[fd77::100]");
        assert_eq!(parse("t.toml", &v6).unwrap().routes[0].host.as_deref(), Some("[fd77::100]"));
        let both = with("port = 80", "port = 80\n[[listener]]\naddress = \"fd77::100\"\nport = 80").replacen(
            "[[listener]]",
            "second_address = \"fd77::10/64\"\n[[listener]]",
            1,
        );
        assert_eq!(parse("t.toml", &both).unwrap().listeners.len(), 2);
        // The back-ends may be of either, whatever the VIPs are.
        let crossed = both.replace("10.77.0.2", "fd77::2");
        assert_eq!(parse("t.toml", &crossed).unwrap().backends.len(), 2);
    }

    #[test]
    fn which_routes_are_refused_and_why() {
        let route = |lines: &str| format!("{GOOD}[[route]]\n{lines}\n");
        let first = |lines: &str| with("[[route]]", &format!("[[route]]\n{lines}\n[[route]]"));
        let cases = [
            (
                first("backends = [\"be1\", \"be3\"]\nhost = \"a\""),
                19,
                "route[0].backends[1]: no [[backend]] has the name \"be3\"",
            ),
            (first("backends = [\"be1\", \"be1\"]\nhost = \"a\""), 19, "route[0].backends[1]: \"be1\" is named twice"),
            (
                first("backends = []\nhost = \"a\""),
                19,
                "route[0].backends: has 0 names of back-ends; it must have from 1 to 1024 names of back-ends",
            ),
            (
                first("host = \"a\""),
                18,
                "route[0].backends: missing; it must be given (from 1 to 1024 names of back-ends)",
            ),
            (
                first("backends = [\"be1\"]\nhost = \"a:80\""),
                20,
                "route[0].host: \"a:80\" is no host name or address; a port is not part of it",
            ),
            (
                with("/be1/", "be1/"),
                20,
                "route[0].path_prefix: \"be1/\" is no path: it must begin with / and have no space, ?, # or non-ASCII character",
            ),
            (
                with("/be1/", "/be1"),
                21,
                "route[0].strip_prefix: route[0].strip_prefix needs a route[0].path_prefix that ends with /, and \"/be1\" does not",
            ),
            (
                route("path_prefix = \"/x\"\nbackends = [\"be1\"]"),
                25,
                "route[2]: no request reaches this route: route[1] before it takes all that it would match",
            ),
            (format!("{GOOD}[serve]\nprobe = true\n"), 25, "serve: unknown key"),
        ];
        assert_refused(&cases);
    }

    #[test]
    fn what_only_a_back_end_has_a_use_for_is_refused() {
        for key in OF_BACK_ENDS {
            let name = key.strip_prefix("limits.").unwrap();
            let text = format!("{GOOD}[limits]\n{name} = 4096\n");
            let error = parse("t.toml", &text).unwrap_err();
            let [problem] = error.problems() else { panic!("{key}: {:?}", error.problems()) };
            assert_eq!(problem.key(), key);
            assert!(problem.to_string().contains("only a back-end has a use for it"), "{problem}");
        }
    }

    #[test]
    fn there_are_no_more_half_open_connections_than_connections() {
        let error = parse("t.toml", &format!("{GOOD}[limits]\nconnections = 4095\n")).unwrap_err();
        let [problem] = error.problems() else { panic!("{:?}", error.problems()) };
        assert_eq!(problem.key(), "limits.connections");
        let expected = "limits.connections: limits.half_open (4096) is above limits.connections (4095)";
        assert_eq!(problem.to_string(), expected);
        assert!(parse("t.toml", &format!("{GOOD}[limits]\nconnections = 4096\n")).is_ok());
    }

    #[test]
    fn a_narrower_route_may_stand_before_a_wider_one_and_hosts_part_ways() {
        for routes in [
            "path_prefix = \"/a/b\"\nbackends = [\"be1\"]\n[[route]]\npath_prefix = \"/a\"\nbackends = [\"be2\"]",
            "host = \"a\"\nbackends = [\"be1\"]\n[[route]]\nhost = \"b\"\nbackends = [\"be2\"]",
        ] {
            let text = with("[[route]]", &format!("[[route]]\n{routes}\n[[route]]"));
            assert!(parse("t.toml", &text).is_ok(), "{text}");
        }
        let same_host = "host = \"a\"\nbackends = [\"be1\"]\n[[route]]\nhost = \"A\"\nbackends = [\"be2\"]";
        let text = with("[[route]]", &format!("[[route]]\n{same_host}\n[[route]]"));
        assert_eq!(parse("t.toml", &text).unwrap_err().problems()[0].key(), "route[1]");
    }

    #[test]
    fn arrays_at_their_limit_and_one_past_it() {
        let listeners = |count: usize| {
            let tables = (0..count).map(|n| format!("[[listener]]\naddress = \"10.77.0.100\"\nport = {}\n", n + 1000));
            with("[[backend]]", &format!("{}[[backend]]", tables.collect::<String>()))
        };
        assert!(parse("t.toml", &listeners(LISTENERS_MAX - 1)).is_ok());
        let error = parse("t.toml", &listeners(LISTENERS_MAX)).unwrap_err();
        assert_eq!(error.problems()[0].to_string(), "listener: has 65 tables; it must have from 1 to 64 tables");
    }

    #[test]
    fn known_keys_have_the_front_end_s_own_tables() {
        let paths: Vec<_> = known_keys().into_iter().map(|key| key.path).collect();
        for path in ["node.id", "listener[].port", "backend[].name", "route[].path_prefix", "tcp.rto_min_ms"] {
            assert!(paths.iter().any(|known| known == path), "{path}");
        }
        for path in OF_BACK_ENDS {
            assert!(!paths.iter().any(|known| known == path), "{path}");
        }
    }
}
