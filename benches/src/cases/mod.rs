//! What is measured. Each case does the same work many times and says how often it did.

mod backend;
mod frontend;
mod image;
mod moves;
mod tcp;

use anyhow::{Error, Result, anyhow};
use baton_stack::drop::DropReason;

pub use frontend::Forwarding;
pub use image::idle_image_len;

use crate::meter::Meter;

/// What was done while a meter ran.
#[derive(Debug)]
pub struct Done {
    /// How often.
    pub times: u64,
    /// The meter.
    pub meter: Meter,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, for people and for the baseline.
    pub name: &'static str,
    /// What once means.
    pub what: &'static str,
    /// The budget in nanoseconds, if there is one.
    pub budget_ns: Option<f64>,
    /// Measures it.
    pub run: fn() -> Result<Done>,
}

/// A budget that speaks of what a move adds: the case minus another.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub what: &'static str,
    /// The case that has more to do.
    pub more: &'static str,
    /// The other.
    pub less: &'static str,
    /// The budget in nanoseconds.
    pub budget_ns: f64,
}

/// All cases, from the bottom up.
pub const CASES: &[Case] = &[
    Case {
        name: "tcp/ack",
        what: "a pure ACK of two segments: parsed, and taken by its TCB",
        budget_ns: None,
        run: tcp::ack,
    },
    Case {
        name: "tcp/segment",
        what: "a full segment: 1,448 bytes and timestamps, with its checksum and headers",
        budget_ns: None,
        run: tcp::segment,
    },
    Case {
        name: "backend/ack",
        what: "a frame with a pure ACK of two segments at the node",
        budget_ns: None,
        run: backend::ack,
    },
    Case {
        name: "backend/segment",
        what: "a full segment that the node sends, its polls included",
        budget_ns: None,
        run: backend::segment,
    },
    Case {
        name: "backend/file-segment",
        what: "the same, of a file in the page cache; what the kernel does is time, not instructions",
        budget_ns: None,
        run: backend::file_segment,
    },
    Case {
        name: "backend/request",
        what: "request in, 100-byte response out; 32 connections a turn; ASK and STAY included",
        budget_ns: Some(1_000.0),
        run: backend::request,
    },
    Case {
        name: "backend/request-alone",
        what: "the same, one connection a turn",
        budget_ns: None,
        run: backend::request_alone,
    },
    Case {
        name: "backend/open-close",
        what: "image in, installed, one response, closed by the client; one connection at a time",
        budget_ns: None,
        run: frontend::open_close_at_back_end,
    },
    Case {
        name: "frontend/open-close",
        what: "SYN, first head, handoff, 4 packets forwarded, closed; one connection at a time",
        budget_ns: None,
        run: frontend::open_close,
    },
    Case {
        name: "frontend/syn-cookie",
        what: "a SYN above the limit of half-open connections, answered with a cookie; 32 a turn",
        budget_ns: None,
        run: frontend::syn_cookie,
    },
    Case {
        name: "frontend/forward-1k",
        what: "a client's packet sent on to the owner; 1,000 flows, 32 packets a turn",
        budget_ns: None,
        run: frontend::forward_1k,
    },
    Case {
        name: "frontend/forward-100k",
        what: "the same with 100,000 flows",
        budget_ns: None,
        run: frontend::forward_100k,
    },
    Case {
        name: "image/give",
        what: "an idle connection frozen, encoded, and sealed into a datagram",
        budget_ns: Some(600.0),
        run: image::give,
    },
    Case {
        name: "image/take",
        what: "the datagram opened, the image decoded and thawed",
        budget_ns: Some(600.0),
        run: image::take,
    },
    Case {
        name: "move/stays",
        what: "a request on an idle connection that stays where it is, all nodes",
        budget_ns: None,
        run: moves::stays,
    },
    Case {
        name: "move/moves",
        what: "the same request when its connection moves, all nodes, every message",
        budget_ns: None,
        run: moves::moves,
    },
];

/// What is added.
pub const DIFFERENCES: &[Difference] = &[Difference {
    name: "move/added",
    what: "what a move adds: move/moves less move/stays",
    more: "move/moves",
    less: "move/stays",
    budget_ns: 4_000.0,
}];

/// The case of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// What should not have been dropped was.
fn dropped(reason: DropReason) -> Error {
    anyhow!("dropped: {reason:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_its_work() {
        // The many flows are the few flows' case again.
        for case in CASES.iter().filter(|case| case.name != "frontend/forward-100k") {
            let done = (case.run)().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            assert!(done.times > 0, "{}", case.name);
        }
    }

    #[test]
    fn an_idle_image_is_within_its_limit() {
        let len = idle_image_len().unwrap();
        assert!((200..=384).contains(&len), "{len} bytes");
    }
}
