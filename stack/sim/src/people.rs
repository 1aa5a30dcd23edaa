//! People at the admin listeners of a cluster's nodes, who move connections at random moments and for no reason.

use crate::dice::Dice;
use crate::world::{DeviceId, Observer, World};
use baton_backend::BackEnd;
use baton_backend::serve::{Probe, Service};
use baton_frontend::FrontEnd;
use baton_stack::addr::ConnId;
use baton_stack::node::Node;
use baton_stack::time::Instant;
use handoff_proto::admin::{Connections, PAGE_MAX, Page, WishRefused, WishTaken};

const FIRST_PAGE: Page = Page { from: 0, limit: PAGE_MAX };

/// What may be asked of either kind of node.
pub(crate) trait Asked {
    fn connections(&mut self, now: Instant) -> Connections;
    fn move_connection(&mut self, now: Instant, pick: usize, to: &str) -> Option<Result<WishTaken, WishRefused>> {
        let list = self.connections(now).list;
        let c = list.get(pick % list.len().max(1))?.c;
        self.wish(now, c, to)
    }
    fn wish(&mut self, now: Instant, c: ConnId, to: &str) -> Option<Result<WishTaken, WishRefused>>;
}

macro_rules! asked {
    ($node:ty, $of:ident $(, $service:ident)?) => {
        impl $(<$service: Service>)? Asked for $node {
            fn connections(&mut self, now: Instant) -> Connections {
                match self.handle_command(now, $of::stats::Command::Connections(FIRST_PAGE)) {
                    $of::stats::Reply::Connections(connections) => connections,
                    _ => Connections { list: Vec::new(), next: None },
                }
            }

            fn wish(&mut self, now: Instant, c: ConnId, to: &str) -> Option<Result<WishTaken, WishRefused>> {
                match self.handle_command(now, $of::stats::Command::Move { c, to: to.to_owned() }) {
                    $of::stats::Reply::Move(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    };
}

asked!(FrontEnd, baton_frontend);
asked!(BackEnd<S>, baton_backend, S);

/// Somebody has the front-end drain a back-end, counted from one, or serve as before.
pub(crate) fn set_drain<O: Observer>(world: &mut World<O>, front_end: DeviceId, number: usize, is_draining: bool) {
    let (now, node) = (world.node_time(front_end), format!("be{number}"));
    if let Some(front_end) = world.node_mut::<FrontEnd>(front_end) {
        let _ = front_end.handle_command(now, baton_frontend::stats::Command::Drain { node, is_draining });
    }
}

/// Somebody asks one of the cluster's nodes, `members`, the front-end first, to move one of its connections. `None` if it cannot be
/// asked now or has no connection.
pub(crate) fn move_some_connection<O: Observer>(
    world: &mut World<O>,
    members: &[DeviceId],
    dice: &mut Dice,
) -> Option<Result<WishTaken, WishRefused>> {
    let at = dice.size(0, members.len().checked_sub(1)?);
    let pick = dice.size(0, PAGE_MAX);
    let to = format!("be{}", dice.size(1, members.len() - 1));
    let device = members[at];
    let now = world.node_time(device);
    match at {
        0 => world.node_mut::<FrontEnd>(device)?.move_connection(now, pick, &to),
        _ => world.node_mut::<BackEnd<Probe>>(device)?.move_connection(now, pick, &to),
    }
}
