//! Restarts with what a disk kept.

use bytes::Bytes;
use muster_engine::{Status, StatusReason};
use muster_tests::sim::{Action, Address, Setup, Sim};

use crate::support::{SECOND, ends_well, hosts, settled};

/// Hosts that keep snapshots.
fn keeping(nodes: usize, seed: u64) -> Setup {
    Setup {
        snapshot_secs: 5,
        ..hosts(nodes, seed)
    }
}

/// A cluster whose snapshots hold everybody, and that has no seeds any more.
fn kept(nodes: usize, seed: u64) -> Sim {
    let mut sim = settled(keeping(nodes, seed));
    sim.run_for(6 * SECOND);
    sim.forget_seeds();
    let full = |slot| {
        sim.kept(slot)
            .is_some_and(|kept| kept.members() == nodes - 1)
    };
    assert!((0..nodes).all(full), "every snapshot holds everybody");
    sim
}

fn kill_all(sim: &mut Sim) {
    for slot in 0..sim.hosts() {
        sim.apply(Action::Kill(slot));
    }
}

/// Members that a host shows as failed because it did not meet them.
fn not_met(sim: &Sim, viewer: usize) -> Vec<usize> {
    let missing = |subject: &usize| {
        sim.shown(viewer, *subject).is_some_and(|member| {
            member.status == Status::Failed && member.change.reason == StatusReason::NotMet
        })
    };
    (0..sim.hosts()).filter(missing).collect()
}

fn sent(sim: &Sim, from: usize) -> usize {
    sim.newest_stream(from).expect("it sent events")
}

#[test]
fn a_cluster_that_was_killed_at_once_reforms_without_seeds() {
    for (nodes, seed, limit) in [(3, 40, 5), (64, 41, 8), (200, 42, 12)] {
        let mut sim = kept(nodes, seed);
        kill_all(&mut sim);
        sim.run_for(20 * SECOND);
        sim.start_all(SECOND);
        sim.run_for(SECOND);
        let took = sim.settle(limit * SECOND);
        println!("{nodes} nodes without seeds: all know all after {took:?}");
        assert!(took.is_some(), "{nodes} nodes: {sim:?}");
        ends_well(&mut sim, SECOND);
        assert!((0..nodes).all(|slot| not_met(&sim, slot).is_empty()));
    }
}

#[test]
fn some_of_the_addresses_changed() {
    let mut sim = kept(16, 43);
    kill_all(&mut sim);
    sim.run_for(20 * SECOND);
    for slot in 0..16 {
        let at = if slot % 4 == 0 {
            Address::New
        } else {
            Address::Same
        };
        sim.apply(Action::Restart(slot, at));
    }
    ends_well(&mut sim, 15 * SECOND);
}

#[test]
fn those_that_stay_away_are_shown_as_failed_until_they_come() {
    let mut sim = kept(24, 44);
    kill_all(&mut sim);
    sim.run_for(60 * SECOND);
    for slot in 0..21 {
        sim.apply(Action::Start(slot));
    }
    sim.run_for(20 * SECOND);
    assert!(
        (0..21).all(|slot| not_met(&sim, slot).is_empty()),
        "not yet"
    );
    sim.run_for(20 * SECOND);
    for slot in 0..21 {
        assert_eq!(not_met(&sim, slot), [21, 22, 23], "at {slot}");
        let member = sim.shown(slot, 22).unwrap();
        assert!(member.change.at_unix_ms < sim.shown(slot, slot).unwrap().started_unix_ms);
    }
    sim.apply(Action::Start(22));
    sim.run_for(20 * SECOND);
    assert_eq!(sim.shown_as(22, Status::Alive), 21);
    // An operator gives one up: everybody forgets it.
    sim.force_leave(4, 21, true).unwrap();
    sim.run_for(20 * SECOND);
    let shown = (0..21).filter(|slot| sim.shown(*slot, 21).is_some());
    assert_eq!(shown.count(), 0);
    assert!((0..21).all(|slot| not_met(&sim, slot) == [23]));
    sim.finish();
    assert!(sim.violations().is_empty(), "{sim:#?}");
}

#[test]
fn the_missing_are_forgotten_when_the_reap_time_is_over() {
    let mut setup = keeping(5, 45);
    setup.reap_failed = 120 * SECOND;
    let mut sim = settled(setup);
    sim.run_for(6 * SECOND);
    sim.forget_seeds();
    kill_all(&mut sim);
    sim.run_for(60 * SECOND);
    sim.apply(Action::Start(1));
    sim.run_for(35 * SECOND);
    assert_eq!(not_met(&sim, 1), [0, 2, 3, 4]);
    // A second crash forgets nobody.
    sim.apply(Action::Restart(1, Address::Same));
    sim.run_for(6 * SECOND);
    assert!(not_met(&sim, 1).is_empty());
    sim.run_for(40 * SECOND);
    assert!(sim.shown(1, 0).is_none(), "reaped {:?}", sim.shown(1, 0));
    // Nor is their address: whoever comes back is met.
    sim.apply(Action::Start(3));
    ends_well(&mut sim, 20 * SECOND);
    assert!(sim.shown(1, 3).is_some());
}

#[test]
fn a_cluster_that_lived_on_knows_better_who_belongs_to_it() {
    let mut setup = keeping(8, 46);
    setup.reap_left = 20 * SECOND;
    let mut sim = settled(setup);
    sim.run_for(6 * SECOND);
    sim.forget_seeds();
    sim.apply(Action::Kill(7));
    sim.apply(Action::Leave(6));
    sim.run_for(60 * SECOND);
    sim.apply(Action::Start(7));
    sim.run_for(60 * SECOND);
    assert!(sim.shown(0, 6).is_none(), "reaped");
    assert!(sim.shown(7, 6).is_none(), "{:?}", sim.shown(7, 6));
    ends_well(&mut sim, SECOND);
}

#[test]
fn a_node_that_left_stays_left_unless_told_to_rejoin() {
    let mut sim = kept(6, 47);
    sim.apply(Action::Leave(5));
    sim.run_for(5 * SECOND);
    assert!(sim.kept(5).is_some_and(|kept| kept.left));
    sim.apply(Action::Start(5));
    sim.run_for(120 * SECOND);
    assert!(
        (0..5).all(|slot| sim.shown(5, slot).is_none()),
        "it dials nobody"
    );
    assert!((0..5).all(|slot| sim.shown(slot, 5).is_none_or(|m| !m.status.is_live())));
    assert!(
        sim.kept(5).is_some_and(|kept| kept.left),
        "nor does it forget"
    );
    sim.apply(Action::Kill(5));
    sim.rejoin();
    sim.apply(Action::Start(5));
    ends_well(&mut sim, 10 * SECOND);
    assert_eq!(sim.shown_as(5, Status::Alive), 5);
}

#[test]
fn a_node_that_left_joins_when_an_operator_says_so() {
    let mut sim = kept(4, 48);
    sim.apply(Action::Leave(3));
    sim.run_for(5 * SECOND);
    sim.apply(Action::Start(3));
    sim.run_for(5 * SECOND);
    sim.join(3, 1, &[0]);
    ends_well(&mut sim, 10 * SECOND);
    sim.run_for(6 * SECOND);
    assert!(sim.kept(3).is_some_and(|kept| !kept.left));
}

#[test]
fn a_node_gets_what_it_missed_and_nothing_twice() {
    let mut sim = kept(6, 49);
    sim.apply(Action::Burst(1, 40, 100));
    sim.run_for(12 * SECOND);
    sim.apply(Action::Kill(5));
    sim.run_for(2 * SECOND);
    sim.apply(Action::Burst(1, 25, 100));
    // This one never sent anything before.
    sim.apply(Action::Burst(2, 7, 100));
    sim.run_for(20 * SECOND);
    // This one sends in two boots, the first one ends while nobody tells node 5.
    sim.apply(Action::Burst(3, 5, 100));
    sim.run_for(3 * SECOND);
    let first_boot = sent(&sim, 3);
    sim.apply(Action::Restart(3, Address::Same));
    sim.run_for(5 * SECOND);
    sim.apply(Action::Burst(3, 6, 100));
    sim.run_for(3 * SECOND);
    sim.apply(Action::Start(5));
    sim.run_for(20 * SECOND);
    let seen = |stream: usize| {
        let cursor = sim.cursor(5, stream).expect("it heard of the stream");
        (cursor.base, cursor.delivered, cursor.gaps.len())
    };
    assert_eq!(seen(sent(&sim, 1)), (40, 25, 0), "not the 40 again");
    assert_eq!(seen(sent(&sim, 2)), (0, 7, 0));
    assert_eq!(seen(first_boot), (0, 5, 0));
    assert_eq!(seen(sent(&sim, 3)), (0, 6, 0));
    ends_well(&mut sim, SECOND);
}

#[test]
fn a_node_that_never_met_anybody_begins_at_its_join() {
    let mut setup = keeping(3, 50);
    setup.seeds = vec![0];
    let mut sim: Sim = Sim::new(setup);
    sim.apply(Action::Start(0));
    sim.apply(Action::Start(1));
    sim.run_for(5 * SECOND);
    sim.apply(Action::Burst(0, 10, 50));
    sim.run_for(5 * SECOND);
    sim.apply(Action::Start(2));
    sim.run_for(5 * SECOND);
    assert_eq!(sim.cursor(2, sent(&sim, 0)).map(|c| c.base), Some(10));
    ends_well(&mut sim, SECOND);
}

#[test]
fn what_nobody_holds_any_more_is_covered_by_a_gap() {
    let mut sim = kept(4, 51);
    sim.apply(Action::Burst(1, 10, 100));
    sim.run_for(12 * SECOND);
    sim.apply(Action::Kill(3));
    sim.apply(Action::Burst(1, 5, 100));
    sim.run_for(12 * SECOND);
    // All others restart: they know of the five, but hold none of them.
    for slot in 0..3 {
        sim.apply(Action::Restart(slot, Address::Same));
    }
    sim.run_for(5 * SECOND);
    let stream = sent(&sim, 1);
    sim.apply(Action::Start(3));
    sim.run_for(40 * SECOND);
    let cursor = sim.cursor(3, stream).unwrap();
    assert_eq!((cursor.base, cursor.delivered), (10, 0));
    assert_eq!(cursor.gaps, [(11, 15)]);
    sim.send_event(1, "after", Bytes::new());
    sim.run_for(5 * SECOND);
    assert_eq!(sim.cursor(3, sent(&sim, 1)).map(|c| c.delivered), Some(1));
    ends_well(&mut sim, SECOND);
}
