//! What a node has said to others, in numbers.

use crate::message::Message;

/// Kinds of messages that are told apart: every known one is below it.
const KINDS_MAX: usize = 64;

/// Datagrams and messages that were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Datagrams with messages in them.
    pub datagrams: u64,
    messages: [u64; KINDS_MAX],
}

impl Default for Traffic {
    fn default() -> Self {
        Self { datagrams: 0, messages: [0; KINDS_MAX] }
    }
}

impl Traffic {
    /// Every kind of message by its name, and how many were written.
    pub fn messages(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Message::KINDS.iter().map(|(kind, name)| (*name, self.of(*kind)))
    }

    /// Counts a message of this kind.
    pub fn count(&mut self, kind: u8) {
        if let Some(count) = self.messages.get_mut(usize::from(kind)) {
            *count += 1;
        }
    }

    fn of(&self, kind: u8) -> u64 {
        self.messages.get(usize::from(kind)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        for (kind, name) in Message::KINDS {
            let mut said = Traffic::default();
            said.count(*kind);
            let counted: Vec<_> = said.messages().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(*name, 1)]);
        }
    }
}
