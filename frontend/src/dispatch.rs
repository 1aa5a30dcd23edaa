//! The dispatcher: which back-end serves a request.
//!
//! Routes are tried in the order of the configuration, and the first whose host and path prefix match decides. A
//! route with several back-ends spreads paths over those that are up by rendezvous hashing: when one goes, only its
//! own paths move.

use core::hash::Hasher;
use std::collections::BTreeSet;

use siphasher::sip::SipHasher13;

/// A back-end, by its position in the configuration's `[[backend]]` array.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendIndex(pub usize);

/// One `[[route]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The host it is for; `None` for every host. Compared without case and port.
    pub host: Option<String>,
    /// The beginning of the paths it is for.
    pub path_prefix: String,
    /// Whether the back-end sees the path without the prefix (its slash stays).
    pub strip_prefix: bool,
    /// Who may serve it; never empty.
    pub backends: Vec<BackendIndex>,
}

/// What the dispatcher looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestKey<'a> {
    /// The Host field or the authority of the target; empty if there is none.
    pub host: &'a [u8],
    /// The path, starting with a slash (or `*`), with its query.
    pub target: &'a [u8],
}

/// What the dispatcher says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// This back-end serves it.
    Serve {
        /// The back-end.
        backend: BackendIndex,
        /// Bytes of the target that the back-end does not see.
        strip: u16,
    },
    /// A route matches, and none of its back-ends is up.
    Unavailable,
    /// No route matches.
    NoRoute,
}

/// The routing table of a front-end.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    routes: Vec<Route>,
    /// One number per back-end, from its name: hashes do not change when the configuration's order does.
    identities: Vec<u64>,
}

/// Keys of the stable hash. Changing them moves every path to another back-end.
const HASH_KEYS: (u64, u64) = (0x6261_746f_6e2d_7061, 0x7468_2d68_6173_6831);

impl Dispatcher {
    /// A dispatcher over `routes`, whose back-ends are positions in `names`.
    #[must_use]
    pub fn new(routes: Vec<Route>, names: &[String]) -> Self {
        let identities = names.iter().map(|name| hash(0, name.as_bytes())).collect();
        Self { routes, identities }
    }

    /// The back-ends that are on a route with this one, itself included.
    #[must_use]
    pub fn beside(&self, backend: BackendIndex) -> BTreeSet<BackendIndex> {
        let shared = self.routes.iter().filter(|route| route.backends.contains(&backend));
        shared.flat_map(|route| route.backends.iter().copied()).collect()
    }

    /// Decides; `is_up` says which back-ends may be given requests now.
    pub fn decide(&self, key: RequestKey<'_>, is_up: impl Fn(BackendIndex) -> bool) -> Decision {
        let Some(route) = self.routes.iter().find(|route| route.matches(key)) else { return Decision::NoRoute };
        let path = key.target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let up = route.backends.iter().copied().filter(|&backend| is_up(backend));
        let best = up.max_by_key(|backend| {
            let identity = self.identities.get(backend.0).copied().unwrap_or_default();
            (hash(identity, path), *backend)
        });
        match best {
            Some(backend) => Decision::Serve { backend, strip: route.strip() },
            None => Decision::Unavailable,
        }
    }
}

impl Route {
    fn matches(&self, key: RequestKey<'_>) -> bool {
        let host = match &self.host {
            None => true,
            Some(host) => without_port(key.host).eq_ignore_ascii_case(host.as_bytes()),
        };
        host && key.target.starts_with(self.path_prefix.as_bytes())
    }

    /// The prefix's bytes except for a slash at its end, with which the stripped path then starts.
    fn strip(&self) -> u16 {
        if !self.strip_prefix {
            return 0;
        }
        let prefix = self.path_prefix.strip_suffix('/').unwrap_or(&self.path_prefix);
        u16::try_from(prefix.len()).unwrap_or(0)
    }
}

/// A Host value without its port; an IPv6 literal keeps its brackets.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(at) if host[at] == b':' => &host[..at],
        _ => host,
    }
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(HASH_KEYS.0, HASH_KEYS.1 ^ seed);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, prefix: &str, strip: bool, backends: &[usize]) -> Route {
        Route {
            host: host.map(String::from),
            path_prefix: prefix.into(),
            strip_prefix: strip,
            backends: backends.iter().copied().map(BackendIndex).collect(),
        }
    }

    fn dispatcher() -> Dispatcher {
        let names: Vec<String> = (1..=4).map(|i| format!("be{i}")).collect();
        let routes = vec![
            route(None, "/be1/", true, &[0]),
            route(Some("img.example"), "/", false, &[1]),
            route(None, "/any/", true, &[0, 1, 2, 3]),
        ];
        Dispatcher::new(routes, &names)
    }

    fn decide(host: &str, target: &str) -> Decision {
        dispatcher().decide(RequestKey { host: host.as_bytes(), target: target.as_bytes() }, |_| true)
    }

    #[test]
    fn the_first_matching_route_decides() {
        let serve = |backend, strip| Decision::Serve { backend: BackendIndex(backend), strip };
        let table = [
            ("img.example", "/be1/x", serve(0, 4)),
            ("img.example", "/x", serve(1, 0)),
            ("IMG.Example:8080", "/x", serve(1, 0)),
            ("other", "/x", Decision::NoRoute),
            ("", "*", Decision::NoRoute),
            ("other", "/be1", Decision::NoRoute),
        ];
        for (host, target, expected) in table {
            assert_eq!(decide(host, target), expected, "{host} {target}");
        }
    }

    #[test]
    fn ports_are_cut_from_hosts_only_where_they_are() {
        let table = [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")];
        for (host, expected) in table {
            assert_eq!(without_port(host.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn a_back_end_that_goes_moves_only_its_own_paths() {
        let dispatcher = dispatcher();
        let served_by = |path: &str, down: Option<usize>| {
            let key = RequestKey { host: b"", target: path.as_bytes() };
            match dispatcher.decide(key, |backend| Some(backend.0) != down) {
                Decision::Serve { backend, .. } => backend.0,
                other => panic!("{other:?}"),
            }
        };
        let mut shares = [0; 4];
        for i in 0..4000 {
            let path = format!("/any/{i}");
            let before = served_by(&path, None);
            shares[before] += 1;
            let after = served_by(&path, Some(2));
            assert!(before == 2 || after == before, "{path} moved without need");
            assert_ne!(after, 2);
            assert_eq!(served_by(&format!("{path}?q={i}"), None), before, "the query does not count");
        }
        assert!(shares.iter().all(|share| (800..1200).contains(share)), "{shares:?}");
    }

    #[test]
    fn who_is_on_a_route_with_whom() {
        let beside = |backend| dispatcher().beside(BackendIndex(backend)).iter().map(|b| b.0).collect::<Vec<_>>();
        assert_eq!(beside(0), [0, 1, 2, 3]);
        let alone = Dispatcher::new(vec![route(None, "/a/", false, &[0]), route(None, "/", false, &[1])], &[]);
        assert_eq!(alone.beside(BackendIndex(1)).len(), 1);
        assert!(alone.beside(BackendIndex(2)).is_empty());
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash(0, b"be1"), 9_602_576_376_455_474_522);
    }

    #[test]
    fn nobody_up_is_not_no_route() {
        let key = RequestKey { host: b"", target: b"/any/x" };
        assert_eq!(dispatcher().decide(key, |_| false), Decision::Unavailable);
    }
}
