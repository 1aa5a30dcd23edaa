//! The production nodes, built as the programs build them: from their configuration, by the same constructors.

use crate::config::{self, Tuning};
use crate::plan::{Member, Place, Plan, Role};
use crate::world::Maker;
use baton_backend::BackEnd;
use baton_backend::serve::{Probe, Service};
use baton_frontend::FrontEnd;
use baton_stack::addr::Endpoint;
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

const SECRET: &[u8] = b"the secret of a simulated cluster, 32 bytes and more";
const UNIX_AT_ORIGIN_S: u64 = 1_800_000_000;

pub(crate) fn members(plan: &Plan, tuning: &Tuning) -> Vec<Member> {
    members_that_serve(plan, tuning, || Probe)
}

/// A cluster whose back-ends serve what `service` makes.
pub(crate) fn members_that_serve<S: Service + 'static>(
    plan: &Plan,
    tuning: &Tuning,
    service: impl Fn() -> S + Copy + 'static,
) -> Vec<Member> {
    members_by_place(plan, tuning, move |_| service())
}

/// A cluster each of whose back-ends serves what `service` makes for its place.
pub(crate) fn members_by_place<S: Service + 'static>(
    plan: &Plan,
    tuning: &Tuning,
    service: impl Fn(&Place) -> S + Clone + 'static,
) -> Vec<Member> {
    let mut front_ends = plan.front_ends().map(|(place, vip)| front_end(plan, (place, vip), tuning));
    let back_ends = plan.back_ends.iter().map(|place| back_end(plan, place, tuning, service.clone()));
    front_ends.next().into_iter().chain(back_ends).chain(front_ends).collect()
}

fn seed_of(plan: &Plan, place: &Place, boot: u32) -> [u8; 32] {
    let mut dice = plan.seed.stream(&format!("secrets {} {boot}", place.name));
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&dice.bits().to_be_bytes());
    }
    seed
}

fn front_end(plan: &Plan, (place, vip): (&Place, Endpoint), tuning: &Tuning) -> Member {
    let config = config::front_end(plan, (place, vip), tuning).expect("tested for every size of cluster");
    let (plan, place) = (plan.clone(), place.clone());
    let name = place.name.clone();
    let make: Maker = Box::new(move |boot| {
        let seed = seed_of(&plan, &place, boot);
        let life =
            baton_frontend::settings::Life { boot: Boot(boot), seed, secrets: secret().into(), macs: &[place.mac] };
        Box::new(FrontEnd::new(baton_frontend::Settings::new(&config, life)))
    });
    Member { name, role: Role::FrontEnd, make }
}

fn back_end<S: Service + 'static>(
    plan: &Plan,
    place: &Place,
    tuning: &Tuning,
    service: impl Fn(&Place) -> S + 'static,
) -> Member {
    let config = config::back_end(plan, place, tuning).expect("tested for every size of cluster");
    let (plan, place) = (plan.clone(), place.clone());
    let name = place.name.clone();
    let make: Maker = Box::new(move |boot| {
        let seed = seed_of(&plan, &place, boot);
        let (macs, unix_at_origin_s): (&[_], _) = (&[place.mac], UNIX_AT_ORIGIN_S);
        let life =
            baton_backend::settings::Life { boot: Boot(boot), seed, secrets: secret().into(), macs, unix_at_origin_s };
        Box::new(BackEnd::new(baton_backend::Settings::new(&config, life), service(&place)))
    });
    Member { name, role: Role::BackEnd, make }
}

fn secret() -> ClusterSecret {
    ClusterSecret::parse(SECRET).expect("it is long enough")
}
