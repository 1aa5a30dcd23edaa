//! The back-end's configuration: which front-ends it follows, and what it serves.

use baton_config::{Checker, Common, Config, ConfigError, Key, Name, known_keys as keys_of, list, table, text};
use std::net::IpAddr;
use std::path::PathBuf;

/// The most `[[frontend]]` tables.
pub const FRONTENDS_MAX: usize = 64;

table! {
    /// The configuration of a back-end.
    pub struct BackendConfig {
        flat common: Common;
        /// The front-ends that hand connections to this node.
        "frontend" => frontends: Vec<Frontend>, list(1, FRONTENDS_MAX, "tables");
        /// What it answers requests with.
        "serve" => serve: Serve, text("a table");
    }
}

table! {
    /// `[[frontend]]`: a front-end that hands connections to this node.
    pub struct Frontend {
        /// Its name, as in its own configuration.
        "name" => name: Name, text("a name");
        /// Its own address, in the network of one of this node's ports.
        "address" => address: IpAddr, text("an IP address");
    }
}

table! {
    /// `[serve]`: what requests are answered with.
    pub struct Serve {
        /// A directory of static files, relative to the configuration file. Without it every file is missing.
        "root" => root: Option<PathBuf>, text("a path");
        /// Whether `/bytes/N`, `/echo` and `/chunked/N` are answered, for tests.
        "probe" => probe: bool = false, text("true or false");
        /// Whether responses say which back-end sent them, in `x-baton-backend` and `x-baton-epoch`.
        "identify" => identify: bool = false, text("true or false");
        /// Whether a connection moves on only when the client has acknowledged all that it was sent: what moves cost then, for comparison.
        "drain_before_moves" => drain_before_moves: bool = false, text("true or false");
    }
}

/// Reads a back-end's configuration from `text`, which came from the file `name`.
///
/// # Errors
/// Every problem with its place, as [`baton_config::parse`].
pub fn parse(name: &str, text: &str) -> Result<BackendConfig, ConfigError> {
    baton_config::parse(name, text)
}

/// Keys of the tables that both programs share, which only a front-end has a use for, and why.
const OF_FRONT_ENDS: [(&str, &str); 2] = [
    ("node.id", "only a front-end has an id; a back-end is known by its node.name"),
    ("limits.half_open", "only a front-end has half-open connections: set it there"),
];

/// Every key that a back-end's configuration may have.
#[must_use]
pub fn known_keys() -> Vec<Key> {
    let is_ours = |key: &Key| OF_FRONT_ENDS.iter().all(|(path, _)| key.path != *path);
    keys_of::<BackendConfig>().into_iter().filter(is_ours).collect()
}

impl BackendConfig {
    /// The configuration in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let files = self.serve.root.as_ref().map(|root| format!("files below {}", root.display()));
        let probe = self.serve.probe.then(|| "probe endpoints".to_owned());
        let served: Vec<String> = files.into_iter().chain(probe).collect();
        let front_ends: Vec<&str> = self.frontends.iter().map(|frontend| frontend.name.as_str()).collect();
        format!("back-end {} of {}: {}", self.common.node.name, front_ends.join(", "), served.join(" and "))
    }
}

impl Config for BackendConfig {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
        for (key, why) in OF_FRONT_ENDS {
            if checker.contains(key) {
                checker.refuse(key, why);
            }
        }
        for (n, frontend) in self.frontends.iter().enumerate() {
            let (name_path, path) = (format!("frontend[{n}].name"), format!("frontend[{n}].address"));
            let Frontend { name, address } = frontend;
            if *name == self.common.node.name {
                checker.refuse(&name_path, format!("\"{name}\" is this node's own name (node.name)"));
            }
            self.common.check_peer_address(&path, *address, checker);
            for (m, earlier) in self.frontends[..n].iter().enumerate() {
                if earlier.name == *name {
                    checker.refuse(&name_path, format!("\"{name}\" is already the name of frontend[{m}]"));
                }
                if earlier.address == *address {
                    checker.refuse(&path, format!("{address} is already the address of frontend[{m}]"));
                }
            }
        }
        let (connections, records) = (self.common.limits.connections, self.common.limits.records);
        if records < connections {
            let sentence = format!(
                "a connection that came is remembered as long as it is there: limits.records ({records}) may not be below limits.connections ({connections})"
            );
            checker.refuse_pair("limits.records", "limits.connections", sentence);
        }
        if self.serve.root.is_none() && !self.serve.probe {
            let sentence = "nothing to serve: give serve.root a directory or set serve.probe to true";
            checker.refuse_pair("serve.root", "serve.probe", sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../docs/examples/backend.toml");

    const GOOD: &str = r#"[node]
name = "be1"
[cluster]
secret_file = "cluster.key"
[[port]]
device = "d0"
address = "10.77.0.21/24"
[[frontend]]
name = "fe1"
address = "10.77.0.10"
[serve]
probe = true
"#;

    #[test]
    fn the_example_is_read_as_it_is_written() {
        let config = parse("backend.toml", EXAMPLE).unwrap();
        assert_eq!(config.common.node.name.as_str(), "be1");
        assert_eq!(config.frontends[0].address, IpAddr::from([10, 77, 0, 10]));
        assert_eq!(config.summary(), "back-end be1 of fe1: files below /srv/www and probe endpoints");
        assert_eq!(
            config.serve,
            Serve { root: Some("/srv/www".into()), probe: true, identify: true, drain_before_moves: false }
        );
    }

    #[test]
    fn what_is_refused_and_why() {
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from:?} is not in the text");
            GOOD.replacen(from, to, 1)
        };
        let nothing = "nothing to serve: give serve.root a directory or set serve.probe to true";
        let cases = [
            (
                with("[node]", "[node]\nid = 1"),
                2,
                "node.id: only a front-end has an id; a back-end is known by its node.name".to_owned(),
            ),
            (
                with("[serve]", "[limits]\nconnections = 100\nhalf_open = 50\n[serve]"),
                13,
                "limits.half_open: only a front-end has half-open connections: set it there".to_owned(),
            ),
            (
                with("[serve]", "[limits]\nconnections = 262145\n[serve]"),
                12,
                "limits.connections: a connection that came is remembered as long as it is there: limits.records (262144) may not be below \
                 limits.connections (262145)"
                    .to_owned(),
            ),
            (with("fe1", "be1"), 9, "frontend[0].name: \"be1\" is this node's own name (node.name)".to_owned()),
            (
                with("10.77.0.10", "10.77.0.21"),
                10,
                "frontend[0].address: 10.77.0.21 is this node's own address, port[0].address".to_owned(),
            ),
            (
                with("[serve]", "[[frontend]]\nname = \"fe1\"\naddress = \"10.77.0.11\"\n[serve]"),
                12,
                "frontend[1].name: \"fe1\" is already the name of frontend[0]".to_owned(),
            ),
            (
                with("[serve]", "[[frontend]]\nname = \"fe2\"\naddress = \"10.77.0.10\"\n[serve]"),
                13,
                "frontend[1].address: 10.77.0.10 is already the address of frontend[0]".to_owned(),
            ),
            (with("probe = true", "probe = false"), 12, format!("serve.probe: {nothing}")),
            (with("[serve]\nprobe = true\n", ""), 1, format!("serve.root: {nothing}")),
            (with("probe = true", "root = \"\""), 12, "serve.root: \"\" is not a path".to_owned()),
            (with("probe = true", "routes = 1"), 12, "serve.routes: unknown key".to_owned()),
        ];
        for (text, line, expected) in cases {
            let error = parse("t.toml", &text).expect_err(&text);
            let problem = &error.problems()[0];
            assert_eq!((problem.line(), problem.to_string()), (line, expected), "\n{text}");
        }
    }

    /// The front-end's limit of half-open connections, as it is by default, is none for a back-end's connections.
    #[test]
    fn a_back_end_may_have_few_connections() {
        let config = parse("t.toml", &format!("{GOOD}[limits]\nconnections = 1\n")).unwrap();
        assert_eq!(config.common.limits.connections, 1);
    }

    #[test]
    fn front_ends_at_their_limit_and_one_past_it() {
        let text = |count: usize| {
            let table = |n: usize| format!("[[frontend]]\nname = \"f{n}\"\naddress = \"10.77.0.{}\"\n", n + 100);
            format!("{GOOD}{}", (1..count).map(table).collect::<String>())
        };
        assert!(parse("t.toml", &text(FRONTENDS_MAX)).is_ok());
        let error = parse("t.toml", &text(FRONTENDS_MAX + 1)).unwrap_err();
        assert_eq!(error.problems()[0].to_string(), "frontend: has 65 tables; it must have from 1 to 64 tables");
    }

    #[test]
    fn known_keys_lack_the_front_end_s_and_have_the_back_end_s_own_tables() {
        let paths: Vec<_> = known_keys().into_iter().map(|key| key.path).collect();
        assert!(!paths.iter().any(|path| path == "node.id" || path == "limits.half_open"));
        for path in ["frontend[].address", "serve.probe", "serve.root", "tcp.rto_min_ms"] {
            assert!(paths.iter().any(|known| known == path), "{path}");
        }
    }
}
