//! Protocols that are broken in one place. The machines stay as they are: a mutant bends what reaches them, what leaves
//! them, what they remember, or what is done with what they say.

use handoff_proto::arbiter::Nodes;
use handoff_proto::message::{Join, Lease, Message, Refused, SettleClaim, Settled, Thaw};
use handoff_proto::names::{Boot, NodeId};

use crate::world::State;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Mutant {
    /// A donor takes REFUSED and THAW of any epoch for those of its attempt.
    NoEpochCheck,
    /// A former owner answers a straggler, as a node does that does not know a flow.
    AnswersStraggler,
    /// A former owner does not pass stragglers on.
    DropsStraggler,
    /// A segment that comes before its connection is not held.
    HoldsNothing,
    /// What is held goes with the refusal.
    RefusalDropsHeld,
    /// What is held goes with the revocation.
    RevokeDropsHeld,
    /// A recipient installs an attempt that it has said it never will.
    ReinstallsAfterRevoke,
    /// A recipient forgets at once what it decided.
    ForgetsRecords,
    /// The front-end does not confirm INSTALLED.
    NoRouted,
    /// A former owner does not confirm INSTALLED.
    NoDone,
    /// A node whose lease has lapsed goes on.
    SpeaksWithoutLease,
    /// The front-end does not remember what it granted.
    ForgetsGrants,
    /// Two connections have one name.
    NameUsedTwice,
    /// A donor that hears nothing takes its image for its own again.
    ThawsWithoutProof,
    /// The front-end takes an attempt back without asking the recipient.
    NoRevoke,
    /// A donor that is frozen when its recipient dies says that it kept the connection, and thaws.
    KeepsWhatWasSent,
    /// The same word, but the donor gives its image up.
    SaysKeptButLost,
    /// The front-end believes INSTALLED of a life that is over.
    BelievesTheDead,
    /// A LEASE for an earlier life counts for the one that is running.
    LeaseOfAnotherLife,
    /// A restart is taken for the same life.
    RestartUnnoticed,
    /// A donor that said, while it was frozen, that it will not use a grant does so when it is thawed.
    ThawedForgetsItsWord,
    /// A donor uses a grant again that was refused.
    GrantUsedTwice,
    /// The front-end resets a connection as soon as its owner is dead.
    ResetsAtOnce,
    /// CLOSED is said once.
    ClosedOnce,
    /// A holder forgets its tail when the next owner has confirmed.
    ForgetsTailAtDone,
    /// A holder takes a RELEASE of an earlier time for one of now.
    ReleaseOfAnyEpoch,
    /// An owner takes every TAIL-GONE for one that matters.
    TakesEveryGone,
    /// Owners do not say what they need no more.
    NoRelease,
    /// Owners do not ask for what is lost.
    NoFetch,
    /// Holders do not ask whether a connection has ended.
    NoTailKept,
    /// The front-end answers that it has, when it has not.
    SaysOverOfTheLiving,
}

impl Mutant {
    /// Every one, in order.
    pub(crate) const ALL: &'static [Self] = &[
        Self::NoEpochCheck,
        Self::AnswersStraggler,
        Self::DropsStraggler,
        Self::HoldsNothing,
        Self::RefusalDropsHeld,
        Self::RevokeDropsHeld,
        Self::ReinstallsAfterRevoke,
        Self::ForgetsRecords,
        Self::NoRouted,
        Self::NoDone,
        Self::SpeaksWithoutLease,
        Self::ForgetsGrants,
        Self::NameUsedTwice,
        Self::ThawsWithoutProof,
        Self::NoRevoke,
        Self::KeepsWhatWasSent,
        Self::SaysKeptButLost,
        Self::BelievesTheDead,
        Self::LeaseOfAnotherLife,
        Self::RestartUnnoticed,
        Self::ThawedForgetsItsWord,
        Self::GrantUsedTwice,
        Self::ResetsAtOnce,
        Self::ClosedOnce,
        Self::ForgetsTailAtDone,
        Self::ReleaseOfAnyEpoch,
        Self::TakesEveryGone,
        Self::NoRelease,
        Self::NoFetch,
        Self::NoTailKept,
        Self::SaysOverOfTheLiving,
    ];

    /// Whether a message leaves its sender.
    pub(crate) fn lets_pass(self, from: NodeId, message: &Message<'_>) -> bool {
        match self {
            Self::NoRouted => !matches!(message, Message::Routed(_)),
            Self::NoDone => !matches!(message, Message::Done(_)) || from == NodeId::FRONT_END,
            Self::NoRelease => !matches!(message, Message::Release(_)),
            Self::NoFetch => !matches!(message, Message::Fetch(_)),
            Self::NoTailKept => !matches!(message, Message::TailKept(_)),
            _ => true,
        }
    }

    /// What a node is made to hear instead of `message`.
    pub(crate) fn bend<'a>(self, state: &State, to: NodeId, message: Message<'a>) -> Message<'a> {
        let frozen = |c| state.donor_of(to, c).and_then(|donor| donor.frozen_towards());
        match (self, message) {
            (Self::NoEpochCheck, Message::Thaw(Thaw { c, e2 })) => {
                Thaw { c, e2: frozen(c).map_or(e2, |(frozen, ..)| frozen) }.into()
            }
            (Self::NoEpochCheck, Message::Refused(Refused { c, e2, g, reason })) => {
                let (e2, g) = frozen(c).map_or((e2, g), |(e2, _, g)| (e2, g));
                Refused { c, e2, g, reason }.into()
            }
            (Self::KeepsWhatWasSent, Message::Settle(settle)) if frozen(settle.c).is_some() => {
                Thaw { c: settle.c, e2: settle.e2 }.into()
            }
            (Self::SaysKeptButLost, Message::Settled(Settled { c, e2, .. })) => {
                Settled { c, e2, claim: SettleClaim::Kept }.into()
            }
            (Self::LeaseOfAnotherLife, Message::Lease(lease)) => {
                Lease { boot: state.back(to).boot, number: 1, ..lease }.into()
            }
            (Self::RestartUnnoticed, Message::Lease(lease)) => Lease { boot: state.back(to).boot, ..lease }.into(),
            (Self::RestartUnnoticed, Message::Join(Join { number, g, .. })) => Join { number, boot: Boot(1), g }.into(),
            (_, message) => message,
        }
    }
}

/// Whether the front-end's list of nodes is what a back-end has.
pub(crate) fn knows_all(state: &State, node: NodeId) -> bool {
    let board = &state.front.board;
    let holder = &state.back(node).holder;
    board.nodes().all(|(id, _)| holder.peer(id).is_some_and(|peer| peer.g == board.generation(id)))
}
