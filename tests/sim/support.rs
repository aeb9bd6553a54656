//! Clusters to begin with, and how they must end.

use std::time::Duration;

use muster_engine::{Engine, Status};
use muster_tests::sim::{PPM, Setup, Sim, Weather};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

/// Hosts without processes.
pub(crate) fn hosts(nodes: usize, seed: u64) -> Setup {
    Setup {
        nodes,
        seed,
        ..Setup::default()
    }
}

/// Weather with so much loss, percent.
pub(crate) fn lossy(percent: u32) -> Weather {
    Weather {
        loss_ppm: PPM / 100 * percent,
        ..Weather::default()
    }
}

/// A cluster whose nodes all know each other, left alone for a while.
pub(crate) fn settled(setup: Setup) -> Sim {
    let mut sim = Sim::new(setup);
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    assert!(sim.settle(20 * SECOND).is_some(), "{sim:?}");
    sim.run_for(3 * SECOND);
    sim
}

/// The views agree within `limit`, nothing is owed, nothing was broken.
pub(crate) fn ends_well(sim: &mut Sim, limit: Duration) {
    sim.settle(limit);
    sim.run_for(5 * SECOND);
    sim.finish();
    assert!(sim.violations().is_empty(), "{sim:#?}");
}

/// Times at which `viewer` showed `subject` with `status`.
pub(crate) fn times_shown(sim: &Sim, viewer: usize, subject: usize, status: Status) -> Vec<u64> {
    let name = sim.name_id(subject);
    let history = sim.history(viewer).iter();
    let wanted = history.filter(|change| change.name == name && change.status == status);
    wanted.map(|change| change.at_us).collect()
}

/// Nobody has ever shown `subject` as failed.
pub(crate) fn never_failed(sim: &Sim, subject: usize) {
    for viewer in 0..sim.hosts() {
        let times = times_shown(sim, viewer, subject, Status::Failed);
        assert!(times.is_empty(), "node {viewer} did at {times:?}");
    }
}

/// Time until every other running node shows `slot` failed.
pub(crate) fn until_failed(sim: &mut Sim, slot: usize) -> Option<Duration> {
    sim.run_until(60 * SECOND, MILLI, |sim| {
        sim.shown_as(slot, Status::Failed) == sim.running()
    })
}

/// A counter; those that never counted anything are not listed.
pub(crate) fn counter(sim: &Sim, slot: usize, name: &str) -> u64 {
    let counters = sim.machine(slot).map(Engine::counters).unwrap_or_default();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| *value)
}
