//! Keys and stages of encryption that change while the cluster lives.

use muster_engine::Status;
use muster_engine::crypto::{Key, Keyring, Stage};
use muster_tests::sim::{Action, Address, Setup, Sim};

use crate::support::{SECOND, ends_well, hosts, lossy, never_failed, settled, times_shown};

/// A ring of these keys, the first one seals.
fn ring(bytes: &[u8], stage: Stage) -> Option<Keyring> {
    let mut keys = bytes
        .iter()
        .map(|byte| Key::new(&[*byte; 32]).expect("32 bytes are a key"));
    let mut ring = Keyring::new(keys.next()?).at(stage);
    keys.for_each(|key| ring.install(key));
    Some(ring)
}

/// A settled cluster in plaintext, with some loss.
fn plain(nodes: usize, seed: u64, loss: u32) -> Sim {
    settled(Setup {
        weather: lossy(loss),
        ..hosts(nodes, seed)
    })
}

/// Gives everybody a ring, one after the other, with events in between.
fn rekey(sim: &mut Sim, order: &[usize], ring: &Option<Keyring>) {
    for slot in order {
        sim.apply(Action::Rekey(*slot, ring.clone()));
        sim.apply(Action::Burst(*slot, 3, 100));
        sim.run_for(SECOND);
    }
}

/// Times that a node was shown as suspect, by anybody.
fn suspicions(sim: &Sim, slot: usize) -> usize {
    let shown = |viewer| times_shown(sim, viewer, slot, Status::Suspect).len();
    (0..sim.hosts()).map(shown).sum()
}

/// Nobody was ever shown as failed; where nothing is lost not even as suspect.
fn nobody_failed(sim: &Sim, loss: u32) {
    for slot in 0..sim.hosts() {
        never_failed(sim, slot);
        assert!(
            loss > 0 || suspicions(sim, slot) == 0,
            "{slot} was suspected"
        );
    }
}

#[test]
fn encryption_is_turned_on_under_loss() {
    for (seed, loss) in [(1, 0), (2, 5), (3, 10)] {
        let mut sim = plain(8, seed, loss);
        for (step, stage) in Stage::ALL.into_iter().enumerate() {
            let mut order: Vec<usize> = (0..8).collect();
            order.rotate_left(3 * step + 1);
            rekey(&mut sim, &order, &ring(&[1], stage));
        }
        nobody_failed(&sim, loss);
        ends_well(&mut sim, 5 * SECOND);
    }
}

#[test]
fn a_cluster_that_stays_between_two_stages_stays_whole() {
    let pairs = [
        (None, ring(&[1], Stage::Receive)),
        (ring(&[1], Stage::Receive), ring(&[1], Stage::Send)),
        (ring(&[1], Stage::Send), ring(&[1], Stage::On)),
    ];
    for (seed, (one, two)) in pairs.into_iter().enumerate() {
        let mut sim = Sim::new(Setup {
            weather: lossy(5),
            ..hosts(10, 40 + seed as u64)
        });
        for slot in 0..10 {
            let ring = if slot % 2 == 0 { &one } else { &two };
            sim.apply(Action::Rekey(slot, ring.clone()));
        }
        sim.start_all(SECOND);
        sim.run_for(SECOND);
        assert!(sim.settle(20 * SECOND).is_some(), "{sim:?}");
        for slot in 0..10 {
            sim.apply(Action::Burst(slot, 20, 200));
        }
        // Somebody comes back, too.
        sim.apply(Action::Kill(4));
        sim.run_for(20 * SECOND);
        sim.apply(Action::Restart(4, Address::Same));
        sim.run_for(20 * SECOND);
        for slot in (0..10).filter(|slot| *slot != 4) {
            never_failed(&sim, slot);
        }
        ends_well(&mut sim, 10 * SECOND);
    }
}

#[test]
fn keys_are_rotated_under_loss() {
    for (seed, loss) in [(11, 0), (12, 5), (13, 10)] {
        let mut sim = Sim::new(Setup {
            weather: lossy(loss),
            ..hosts(12, seed)
        });
        for slot in 0..12 {
            sim.apply(Action::Rekey(slot, ring(&[1], Stage::On)));
        }
        sim.start_all(SECOND);
        sim.run_for(SECOND);
        assert!(sim.settle(20 * SECOND).is_some(), "{sim:?}");
        for (step, keys) in [&[1, 2][..], &[2, 1], &[2]].into_iter().enumerate() {
            let mut order: Vec<usize> = (0..12).collect();
            order.rotate_left(5 * step + 2);
            rekey(&mut sim, &order, &ring(keys, Stage::On));
        }
        nobody_failed(&sim, loss);
        ends_well(&mut sim, 5 * SECOND);
    }
}

#[test]
fn who_was_away_during_a_rotation_is_back_once_it_has_the_new_key() {
    let mut sim = Sim::new(hosts(6, 21));
    for slot in 0..6 {
        sim.apply(Action::Rekey(slot, ring(&[1], Stage::On)));
    }
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    assert!(sim.settle(20 * SECOND).is_some(), "{sim:?}");
    sim.apply(Action::Kill(3));
    sim.run_for(20 * SECOND);
    for slot in [0, 1, 2, 4, 5] {
        sim.apply(Action::Rekey(slot, ring(&[2, 1], Stage::On)));
    }
    sim.apply(Action::Restart(3, Address::Same));
    // The daemon asks the first member that it sees; that takes some milliseconds.
    sim.run_for(SECOND);
    sim.apply(Action::Rekey(3, ring(&[2, 1], Stage::On)));
    let took = sim.settle(15 * SECOND);
    println!("all know all {took:?} after it has the key");
    ends_well(&mut sim, SECOND);
    for slot in [0, 1, 2, 4, 5] {
        never_failed(&sim, slot);
    }
}

#[test]
fn a_key_that_is_used_before_it_is_installed_would_be_noticed() {
    let mut sim: Sim = Sim::new(hosts(6, 22));
    for slot in 0..6 {
        sim.apply(Action::Rekey(slot, ring(&[1], Stage::On)));
    }
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    assert!(sim.settle(20 * SECOND).is_some(), "{sim:?}");
    sim.apply(Action::Rekey(2, ring(&[2], Stage::On)));
    sim.run_for(30 * SECOND);
    assert!(suspicions(&sim, 2) > 0, "these scenarios would see nothing");
}
