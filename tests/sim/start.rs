//! Cold starts.

use muster_engine::Status;
use muster_tests::sim::{Action, Setup, Sim, Weather};

use crate::support::{MILLI, SECOND, ends_well, hosts, lossy, settled};

/// Starts everybody within a second; gives the time from then until all know all,
/// milliseconds.
fn cold_start(setup: Setup) -> u128 {
    let (nodes, loss) = (setup.nodes, setup.weather.loss_ppm / 10_000);
    let mut sim: Sim = Sim::new(setup);
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    let took = sim.settle(30 * SECOND);
    let took = took.map_or(u128::MAX, |time| time.as_millis());
    println!("{nodes} nodes, {loss} % loss: all know all {took} ms after the last start");
    ends_well(&mut sim, SECOND);
    took
}

#[test]
fn sixty_four_at_once() {
    assert!(cold_start(hosts(64, 1)) <= 3_000);
}

#[test]
fn two_hundred_at_once() {
    assert!(cold_start(hosts(200, 2)) <= 5_000);
}

/// The size that the start of a cluster is designed for, see docs/performance.md.
#[test]
fn a_thousand_and_twenty_four_at_once() {
    let nodes = 1_024;
    let mut sim: Sim = Sim::new(Setup {
        keep_history: false,
        ..hosts(nodes, 3)
    });
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    let took = sim.settle(4 * SECOND).map(|time| time.as_millis());
    println!("{nodes} nodes: all know all {took:?} ms after the last start");
    assert!(took.is_some_and(|took| took <= 4_000), "{took:?} ms");
    for subject in 0..nodes {
        let seen = sim.shown_as(subject, Status::Alive);
        assert_eq!(seen, nodes - 1, "node {subject}");
    }
    assert!(sim.violations().is_empty(), "{sim:#?}");
}

/// What a start brought is not gossiped for long after everybody has it, nor compared.
#[test]
fn a_cluster_is_at_rest_soon_after_its_start() {
    let nodes = 300;
    let mut sim: Sim = Sim::new(Setup {
        keep_history: false,
        ..hosts(nodes, 9)
    });
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    assert!(sim.settle(4 * SECOND).is_some(), "{sim:#?}");
    sim.run_for(6 * SECOND);
    let exchanges = |sim: &Sim| -> u64 {
        let each = (0..nodes).map(|slot| sim.traffic(slot).exchanges);
        each.sum()
    };
    let before = exchanges(&sim);
    sim.run_for(5 * SECOND);
    let each = (exchanges(&sim) - before) as f64 / nodes as f64;
    println!("{nodes} nodes: {each:.2} exchanges each in 5 s, 6 s after the start");
    assert!(
        each < 0.5,
        "the first of those that nobody asked for are due, one in 20 s"
    );
}

#[test]
fn with_loss() {
    for (percent, limit) in [(1, 2_000), (5, 3_000), (10, 4_500)] {
        let took = cold_start(Setup {
            weather: lossy(percent),
            ..hosts(64, 3)
        });
        assert!(took <= limit, "{percent} %");
    }
}

/// At 25 % only this is promised: all find each other, and who is wrongly called
/// failed comes back.
#[test]
fn with_a_quarter_lost() {
    let mut setup = Setup {
        weather: lossy(25),
        ..hosts(32, 4)
    };
    setup.demands.no_false_failures = false;
    let mut sim: Sim = Sim::new(setup);
    sim.start_all(SECOND);
    sim.run_for(60 * SECOND);
    ends_well(&mut sim, 20 * SECOND);
}

#[test]
fn with_duplicates_and_reordering() {
    let took = cold_start(Setup {
        weather: Weather {
            duplicate_ppm: 100_000,
            reorder_ppm: 200_000,
            ..Weather::default()
        },
        ..hosts(32, 5)
    });
    assert!(took <= 3_000);
}

#[test]
fn names_that_do_not_resolve_are_asked_again() {
    let mut sim: Sim = Sim::new(Setup {
        dns_loss_ppm: 700_000,
        ..hosts(8, 6)
    });
    sim.start_all(SECOND);
    ends_well(&mut sim, 60 * SECOND);
}

#[test]
fn a_seed_that_comes_last_is_waited_for() {
    let mut sim: Sim = Sim::new(hosts(6, 7));
    for slot in 1..6 {
        sim.apply(Action::Start(slot));
    }
    sim.run_for(40 * SECOND);
    assert!((1..6).all(|slot| sim.shown(slot, 0).is_none()));
    sim.apply(Action::Start(0));
    ends_well(&mut sim, 10 * SECOND);
}

#[test]
fn other_clusters_stay_strangers() {
    for sealed in [false, true] {
        let mut sim: Sim = Sim::new(Setup {
            sealed,
            ..hosts(6, 8)
        });
        for slot in [3, 5] {
            sim.set_realm(slot, 1);
        }
        sim.start_all(SECOND);
        sim.run_for(20 * SECOND);
        assert!(sim.shown(0, 1).is_some() && sim.shown(0, 3).is_none());
        assert!(sim.shown(3, 0).is_none());
    }
}

#[test]
fn a_sealed_cluster_meets_too() {
    let took = cold_start(Setup {
        sealed: true,
        ..hosts(16, 9)
    });
    assert!(took <= 3_000);
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut sim = settled(Setup {
            weather: lossy(5),
            ..hosts(12, seed)
        });
        sim.apply(Action::Burst(3, 100, 100));
        sim.apply(Action::Kill(5));
        sim.run_for(20 * SECOND + 7 * MILLI);
        (sim.trace_hash(), sim.steps())
    };
    assert_eq!(run(10), run(10));
    assert_ne!(run(10), run(11));
}
