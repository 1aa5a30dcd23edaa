//! What the fuzzer has found, what it begins with, and some noise: all of it for ever.

use std::path::Path;

use baton_fuzz::{Target, seeds};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Changed seeds of each target.
const CHANGED: usize = 300;
/// Bytes that are changed in one at the most.
const CHANGES_MAX: usize = 8;

#[test]
fn what_was_found_once_is_not_found_again() {
    for target in Target::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes").join(target.name());
        // No folder: nothing was ever found there.
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            target.run(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn seeds_and_what_is_near_them_hold() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for target in Target::ALL {
        let seeds = seeds(target);
        for seed in &seeds {
            target.run(seed);
        }
        for n in 0..CHANGED {
            let mut bytes = seeds[n % seeds.len()].clone();
            for _ in 0..1 + rng.next_u32() as usize % CHANGES_MAX {
                let at = rng.next_u32() as usize % bytes.len();
                bytes[at] = rng.next_u32().to_be_bytes()[0];
            }
            if n % 3 == 0 {
                let other = &seeds[rng.next_u32() as usize % seeds.len()];
                bytes.extend_from_slice(other);
            }
            target.run(&bytes);
        }
    }
}

#[test]
fn a_target_is_found_by_its_name() {
    for target in Target::ALL {
        assert_eq!(Target::named(target.name()), Some(target));
    }
    assert_eq!(Target::named("no such"), None);
}

#[test]
fn a_seed_of_every_target_gets_behind_the_door() {
    // An image that decodes; a message that is one. Else the seeds would be no better than noise.
    let image = &seeds(Target::Image)[0];
    assert!(handoff_proto::image::Image::decode(image).is_ok());
    let message = seeds(Target::Messages).pop().unwrap();
    assert!(handoff_proto::message::Message::decode(&mut handoff_proto::codec::Reader::new(&message)).is_ok());
}
