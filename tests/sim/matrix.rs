//! The failure matrix: one fault a row, with a trickle of events under way, and what
//! is promised while it lasts and after it. What a row does not say is demanded of
//! every run by the invariants: events once, in order and without a hole, nobody
//! back from the dead, no calm member called failed by another.

use std::time::Duration;

use bytes::Bytes;
use muster_engine::{Engine, Status};
use muster_tests::sim::{Action, Address, PPM, Setup, Sim, Weather};

use crate::support::{SECOND, ends_well, hosts, lossy, never_failed, settled, times_shown};

/// Lets `seconds` go by; in each of them another node sends an event.
fn busy(sim: &mut Sim, seconds: usize) {
    for second in 0..seconds {
        let slot = second * 5 % sim.hosts();
        sim.send_event(slot, "tick", Bytes::from_static(b"tock"));
        sim.run_for(SECOND);
    }
}

/// How often anybody was shown as failed, and how long the longest such time was.
fn failures(sim: &Sim) -> (usize, Duration) {
    let (mut count, mut longest) = (0, 0);
    for viewer in 0..sim.hosts() {
        for subject in 0..sim.hosts() {
            let back = times_shown(sim, viewer, subject, Status::Alive);
            for failed in times_shown(sim, viewer, subject, Status::Failed) {
                count += 1;
                let until = back.iter().find(|at| **at > failed);
                let until = until.copied().unwrap_or(u64::MAX);
                longest = longest.max(until.saturating_sub(failed));
            }
        }
    }
    (count, Duration::from_micros(longest))
}

fn protocols(sim: &Sim) -> Vec<u32> {
    let engines = (0..sim.hosts()).filter_map(|slot| sim.machine(slot));
    engines.map(Engine::protocol).collect()
}

#[test]
fn loss() {
    for (percent, seconds) in [(1, 120), (5, 300), (10, 600)] {
        let mut sim = settled(Setup {
            weather: lossy(percent),
            ..hosts(16, 200)
        });
        busy(&mut sim, seconds);
        assert_eq!(failures(&sim).0, 0, "{percent} %");
        assert_eq!(sim.false_failures(), 0, "{percent} %");
        ends_well(&mut sim, 5 * SECOND);
    }
}

/// Here only this is promised: who is wrongly called failed comes back soon.
#[test]
fn a_quarter_lost() {
    let mut setup = Setup {
        weather: lossy(25),
        ..hosts(16, 201)
    };
    setup.demands.no_false_failures = false;
    let mut sim = settled(setup);
    busy(&mut sim, 300);
    let (count, longest) = failures(&sim);
    println!("25 % loss, 16 nodes, 300 s: {count} false failures, the longest {longest:?}");
    assert!(longest <= 15 * SECOND, "{longest:?}");
    ends_well(&mut sim, 20 * SECOND);
}

#[test]
fn duplication_and_reordering() {
    for (duplicate, reorder, within_ms) in [(20, 0, 50), (0, 30, 50), (20, 30, 400)] {
        let mut sim = settled(Setup {
            weather: Weather {
                duplicate_ppm: PPM / 100 * duplicate,
                reorder_ppm: PPM / 100 * reorder,
                reorder_us: within_ms * 1_000,
                ..Weather::default()
            },
            ..hosts(16, 202)
        });
        sim.apply(Action::Burst(3, 200, 100));
        busy(&mut sim, 60);
        assert_eq!(
            sim.false_failures(),
            0,
            "{duplicate} % twice, {reorder} % late"
        );
        ends_well(&mut sim, 5 * SECOND);
    }
}

/// Nothing is lost for good, nobody is accused, also while UDP goes and comes.
#[test]
fn no_udp() {
    let mut sim = settled(hosts(16, 212));
    let all: Vec<_> = (0..16).collect();
    for _ in 0..3 {
        let cut = sim.degrade(&all, &all, PPM - 1);
        sim.apply(Action::Burst(3, 50, 200));
        busy(&mut sim, 60);
        sim.heal(cut);
        busy(&mut sim, 20);
    }
    assert_eq!((failures(&sim).0, sim.false_failures()), (0, 0));
    ends_well(&mut sim, 5 * SECOND);
}

/// What one node sends does not reach another: all others still vouch for both.
#[test]
fn one_way_between_two() {
    let mut sim = settled(hosts(12, 203));
    let cut = sim.degrade(&[3], &[4], PPM);
    busy(&mut sim, 120);
    for slot in [3, 4] {
        never_failed(&sim, slot);
    }
    sim.heal(cut);
    ends_well(&mut sim, 10 * SECOND);
}

/// One half hears nothing of the other, which hears everything.
#[test]
fn one_way_between_halves() {
    let mut sim = settled(hosts(12, 204));
    sim.apply(Action::Mute((0..6).collect()));
    busy(&mut sim, 60);
    println!(
        "one way between halves: {} false failures",
        sim.false_failures()
    );
    sim.apply(Action::HealAll);
    ends_well(&mut sim, 15 * SECOND);
}

/// Cut for 2 s of every 5, six times: too short for a verdict.
#[test]
fn a_partition_that_flaps() {
    let mut sim = settled(hosts(12, 205));
    for _ in 0..6 {
        sim.apply(Action::Split((0..4).collect()));
        busy(&mut sim, 2);
        sim.apply(Action::HealAll);
        busy(&mut sim, 3);
    }
    assert_eq!(failures(&sim).0, 0);
    ends_well(&mut sim, 10 * SECOND);
}

/// Long enough for verdicts: each side loses the other once, and none of its own.
#[test]
fn a_partition_that_comes_back() {
    let mut sim = settled(hosts(12, 206));
    for _ in 0..3 {
        sim.apply(Action::Split((0..4).collect()));
        busy(&mut sim, 30);
        sim.apply(Action::HealAll);
        let took = sim.settle(15 * SECOND);
        println!("all know all {took:?} after the heal");
    }
    for (viewer, subject) in [(0, 1), (3, 2), (4, 5), (11, 6)] {
        let failed = times_shown(&sim, viewer, subject, Status::Failed);
        assert!(failed.is_empty(), "{viewer} lost {subject} at {failed:?}");
    }
    ends_well(&mut sim, SECOND);
}

#[test]
fn every_clock_jumps() {
    let mut sim = settled(hosts(10, 207));
    let oldest = |sim: &Sim| {
        let members = (0..10).filter_map(|slot| sim.shown(0, slot));
        let oldest = members.min_by(|a, b| a.seniority().cmp(&b.seniority()));
        oldest.map(|member| member.name.clone())
    };
    let before = oldest(&sim);
    for hours in [1, -2, 1] {
        for slot in 0..10 {
            let by_ms = hours * 3_600_000 * if slot % 2 == 0 { 1 } else { -1 };
            sim.apply(Action::ClockJump(slot, by_ms));
        }
        busy(&mut sim, 20);
    }
    assert_eq!((failures(&sim).0, oldest(&sim)), (0, before));
    ends_well(&mut sim, SECOND);
}

#[test]
fn all_restart_in_bad_weather() {
    for percent in [1, 5, 10] {
        let mut sim = settled(Setup {
            weather: lossy(percent),
            seeds: vec![0, 1, 2],
            ..hosts(24, 208)
        });
        (0..24).for_each(|slot| sim.apply(Action::Kill(slot)));
        sim.run_for(2 * SECOND);
        sim.start_all(SECOND);
        sim.run_for(SECOND);
        let took = sim.settle(15 * SECOND);
        println!("{percent} % loss: all know all {took:?} after the last restart");
        ends_well(&mut sim, SECOND);
    }
}

/// To a build that speaks one protocol more, and one of them back: at any time all
/// speak what the oldest live member understands, and nobody is missed.
#[test]
fn a_rolling_restart_to_another_protocol() {
    let mut sim: Sim = Sim::new(Setup {
        seeds: vec![0, 1, 2],
        ..hosts(8, 209)
    });
    (0..8).for_each(|slot| sim.set_protocol(slot, (1, 1)));
    sim.start_all(SECOND);
    sim.run_for(5 * SECOND);
    for slot in 0..8 {
        assert_eq!(protocols(&sim), [1; 8]);
        sim.apply(Action::Leave(slot));
        sim.run_for(2 * SECOND);
        let live = if slot < 7 { 1 } else { 2 };
        assert_eq!(protocols(&sim), [live; 7]);
        sim.set_protocol(slot, (1, 2));
        sim.apply(Action::Start(slot));
        busy(&mut sim, 3);
    }
    sim.settle(5 * SECOND);
    assert_eq!(protocols(&sim), [2; 8]);
    sim.set_protocol(5, (1, 1));
    sim.apply(Action::Restart(5, Address::Same));
    sim.settle(5 * SECOND);
    assert_eq!(protocols(&sim), [1; 8]);
    (0..8).for_each(|slot| never_failed(&sim, slot));
    ends_well(&mut sim, 5 * SECOND);
}

/// A new name at an address of a dead one, which then comes back elsewhere.
#[test]
fn an_address_that_goes_to_another_name() {
    for kill in [true, false] {
        let mut sim: Sim = Sim::new(hosts(9, 210));
        (0..8).for_each(|slot| sim.apply(Action::Start(slot)));
        sim.run_for(5 * SECOND);
        let addr = sim.shown(0, 7).expect("it is known").addr;
        sim.apply(if kill {
            Action::Kill(7)
        } else {
            Action::Leave(7)
        });
        sim.run_for(3 * SECOND);
        sim.take_address(8, 7);
        sim.apply(Action::Start(8));
        busy(&mut sim, 40);
        let shown = sim.shown(0, 8).expect("it is known");
        assert_eq!((shown.addr, shown.status), (addr, Status::Alive));
        assert!(sim.shown(0, 7).is_none_or(|old| !old.status.is_live()));
        never_failed(&sim, 8);
        sim.apply(Action::Start(7));
        ends_well(&mut sim, 10 * SECOND);
        assert!(sim.shown(0, 7).is_some_and(|member| member.addr != addr));
    }
}

/// Two names that swap their addresses over a restart.
#[test]
fn addresses_that_are_swapped() {
    let mut sim = settled(hosts(8, 211));
    let addr = |sim: &Sim, slot| sim.shown(0, slot).expect("it is known").addr;
    let before = (addr(&sim, 3), addr(&sim, 4));
    sim.apply(Action::Kill(3));
    sim.apply(Action::Kill(4));
    sim.swap_addresses(3, 4);
    sim.apply(Action::Start(4));
    sim.apply(Action::Start(3));
    ends_well(&mut sim, 10 * SECOND);
    assert_eq!((addr(&sim, 4), addr(&sim, 3)), before);
}
