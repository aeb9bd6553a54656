//! Measures a cluster: how fast it converges, what it costs, how fast it learns.

use std::fs;
use std::time::{Duration, Instant};

use muster_engine::Status;

use crate::sim::cluster::Sim;
use crate::sim::machine::Machine;
use crate::sim::record::{Sent, Traffic};
use crate::sim::report::{Conditions, Coverage, Detection, Rate, Report};
use crate::sim::rng::PPM;
use crate::sim::script::Action;
use crate::sim::setup::Setup;

/// Everybody starts within this.
const START: Duration = Duration::from_secs(1);

/// What a start still has to do is done after this: 4 s with 512 nodes, 15 s with 1,024.
const CALM: Duration = Duration::from_secs(30);

/// Members killed, one after the other.
const KILLS: usize = 3;

/// Events sent one at a time, each from another node.
const SINGLES: usize = 10;

/// Payload of an event, bytes.
const PAYLOAD: usize = 200;

/// How long a cluster stays cut in halves.
const SPLIT: Duration = Duration::from_secs(60);

/// How long an eighth of a cluster stands still, and how often.
const FREEZE: (Duration, usize) = (Duration::from_secs(3), 6);

/// Grain of the times measured.
const GRAIN: Duration = Duration::from_millis(5);

/// What is measured, after a cold start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Traffic at rest, events one at a time and kills.
    All,
    /// Nothing else.
    Start,
    /// Traffic at rest.
    Rest,
    /// Events one at a time.
    Event,
    /// Events back to back from the last node.
    Burst,
    /// Kills.
    Kill,
    /// All are killed and start again.
    Restart,
    /// The cluster is cut in halves and mended.
    Split,
    /// An eighth stands still, again and again.
    Freeze,
}

/// Runs `measure` on a cluster of `setup`: at most `limit` of virtual time for
/// each part, which is also how long traffic is measured; `events` in a burst.
#[must_use]
pub fn measure<M: Machine>(
    setup: Setup,
    measure: Measure,
    limit: Duration,
    events: usize,
) -> Report {
    let began = Instant::now();
    let mut sim = Sim::<M>::new(Setup {
        keep_history: false,
        ..setup
    });
    let all = sim.hosts();
    let converge = start_all(&mut sim, limit);
    let mut report = empty(&sim);
    report.converge_s = converge.map(|time| time.as_secs_f64());
    report.start = rate(&sim, &vec![Traffic::default(); all], sim.now());
    if converge.is_some() {
        go_on(&mut sim, measure, limit, events, &mut report);
        sim.finish();
    }
    report.false_failures = sim.false_failures();
    report.virtual_s = sim.now().as_secs_f64();
    report.wall_s = began.elapsed().as_secs_f64();
    report.memory_mib = memory_mib();
    report.steps = sim.steps();
    report.trace = format!("{:016x}", sim.trace_hash());
    let broken = sim.violations().iter().map(ToString::to_string);
    report.violations.extend(broken);
    report
}

fn go_on<M: Machine>(
    sim: &mut Sim<M>,
    measure: Measure,
    limit: Duration,
    events: usize,
    report: &mut Report,
) {
    let all = measure == Measure::All;
    if all || measure == Measure::Rest {
        sim.run_for(CALM);
        let before: Vec<_> = (0..sim.hosts()).map(|slot| sim.traffic(slot)).collect();
        sim.run_for(limit);
        report.rest = rate(sim, &before, limit);
    }
    if all || measure == Measure::Event {
        report.event = Some(singles(sim, limit));
    }
    if all || measure == Measure::Kill {
        report.kills = kills(sim, limit);
    }
    let recover = match measure {
        Measure::All | Measure::Start | Measure::Rest | Measure::Event | Measure::Kill => return,
        Measure::Burst => {
            sim.run_for(CALM / 3);
            report.burst = Some(burst(sim, events, limit));
            return;
        }
        Measure::Restart => {
            sim.run_for(CALM);
            (0..sim.hosts()).for_each(|slot| sim.apply(Action::Kill(slot)));
            sim.run_for(START);
            start_all(sim, limit)
        }
        Measure::Split => {
            sim.run_for(CALM);
            sim.apply(Action::Split((0..sim.hosts() / 2).collect()));
            sim.run_for(SPLIT);
            sim.apply(Action::HealAll);
            sim.run_until(limit, GRAIN * 10, Sim::converged)
        }
        Measure::Freeze => {
            sim.run_for(CALM);
            freeze(sim);
            sim.run_until(limit, GRAIN * 10, Sim::converged)
        }
    };
    report.recover_s = recover.map(|time| time.as_secs_f64());
    if recover.is_none() {
        let late = "the cluster did not come together again in the time given";
        report.violations.push(late.to_owned());
    }
}

fn empty<M: Machine>(sim: &Sim<M>) -> Report {
    let weather = &sim.setup.weather;
    let percent = |ppm: u32| f64::from(ppm) / f64::from(PPM / 100);
    let millis = |micros: u64| micros as f64 / 1e3;
    let (from, to) = weather.latency_us;
    Report {
        nodes: sim.hosts(),
        weather: Conditions {
            loss_percent: percent(weather.loss_ppm),
            duplicate_percent: percent(weather.duplicate_ppm),
            reorder_percent: percent(weather.reorder_ppm),
            delay_ms: (millis(from), millis(to)),
        },
        seed: sim.setup.seed,
        sealed: sim.setup.sealed,
        converge_s: None,
        start: None,
        rest: None,
        event: None,
        burst: None,
        kills: Vec::new(),
        recover_s: None,
        false_failures: 0,
        virtual_s: 0.0,
        wall_s: 0.0,
        memory_mib: None,
        steps: 0,
        trace: String::new(),
        violations: Vec::new(),
    }
}

/// Starts everybody; gives the time until all count all.
fn start_all<M: Machine>(sim: &mut Sim<M>, limit: Duration) -> Option<Duration> {
    sim.start_all(START);
    let all = sim.hosts();
    let up = |sim: &Sim<M>| sim.running() == all && sim.everybody_counted();
    sim.run_until(limit, GRAIN, up)
}

fn rate<M: Machine>(sim: &Sim<M>, before: &[Traffic], over: Duration) -> Option<Rate> {
    let seconds = over.as_secs_f64();
    if seconds == 0.0 {
        return None;
    }
    let per_node = |count: fn(&Traffic) -> u64| {
        let after: u64 = (0..sim.hosts()).map(|slot| count(&sim.traffic(slot))).sum();
        let grown = after - before.iter().map(count).sum::<u64>();
        grown as f64 / seconds / sim.hosts() as f64
    };
    Some(Rate {
        over_s: seconds,
        datagrams_per_s: per_node(|traffic| traffic.datagrams_out),
        datagram_bytes_per_s: per_node(|traffic| traffic.datagram_bytes_out),
        stream_bytes_per_s: per_node(|traffic| traffic.stream_bytes_out),
        exchanges_per_s: per_node(|traffic| traffic.exchanges),
        connects_per_s: per_node(|traffic| traffic.connects),
    })
}

fn kills<M: Machine>(sim: &mut Sim<M>, limit: Duration) -> Vec<Detection> {
    let others = sim.hosts() - 1;
    let kills = KILLS.min(others);
    let victims = (0..kills).map(|kill| 1 + kill * others / kills);
    let mut killed = Vec::new();
    for slot in victims {
        sim.run_for(CALM / 3);
        killed.push(detect(sim, slot, limit));
    }
    killed
}

fn detect<M: Machine>(sim: &mut Sim<M>, slot: usize, limit: Duration) -> Detection {
    let killed = sim.now();
    sim.apply(Action::Kill(slot));
    let others = sim.running();
    let mut since = |least: usize| {
        let shown = |sim: &Sim<M>| sim.shown_as(slot, Status::Failed) >= least;
        let took = sim.run_until(limit, GRAIN, shown);
        took.map(|_| (sim.now() - killed).as_secs_f64())
    };
    Detection {
        first_s: since(1),
        last_s: since(others),
    }
}

/// Pauses the last eighth, again and again.
fn freeze<M: Machine>(sim: &mut Sim<M>) {
    let (long, times) = FREEZE;
    let first = sim.hosts() - sim.hosts().div_ceil(8);
    for _ in 0..times {
        (first..sim.hosts()).for_each(|slot| sim.apply(Action::Pause(slot)));
        sim.run_for(long);
        (first..sim.hosts()).for_each(|slot| sim.apply(Action::Resume(slot)));
        sim.run_for(long * 2);
    }
}

/// One event after the other, each from another node.
fn singles<M: Machine>(sim: &mut Sim<M>, limit: Duration) -> Coverage {
    sim.run_for(CALM / 3);
    let members = sim.running();
    let (mut sent, mut replicated, mut all) = (Vec::new(), 0, 0);
    for nth in 0..SINGLES {
        let slot = nth * sim.hosts() / SINGLES;
        sim.apply(Action::Burst(slot, 1, PAYLOAD));
        let Some(stream) = sim.newest_stream(slot) else {
            continue;
        };
        let last = |sim: &Sim<M>| sim.streams()[stream].sent.last().cloned();
        let everywhere =
            |sim: &Sim<M>| last(sim).is_some_and(|event| event.reached as usize >= members);
        sim.run_until(limit, GRAIN, everywhere);
        sim.run_for(START);
        if let Some(event) = last(sim) {
            let copied = sim.streams()[stream].replicated_us;
            replicated = replicated.max(copied.saturating_sub(event.at_us));
            all = all.max(event.last_us.saturating_sub(event.at_us));
            sent.push(event);
        }
    }
    Coverage {
        all_s: all as f64 / 1e6,
        replicated_s: replicated as f64 / 1e6,
        ..coverage(&sent, members)
    }
}

fn burst<M: Machine>(sim: &mut Sim<M>, events: usize, limit: Duration) -> Coverage {
    let (sender, members) = (sim.hosts() - 1, sim.running());
    let began = sim.now();
    sim.apply(Action::Burst(sender, events, PAYLOAD));
    let everywhere = |sim: &Sim<M>| {
        let sent = sim.streams().first().map_or(&[][..], |stream| &stream.sent);
        sent.len() == events && sent.iter().all(|sent| sent.reached as usize >= members)
    };
    sim.run_until(limit, GRAIN, everywhere);
    sim.run_for(START);
    let stream = sim.streams().first();
    let sent = stream.map_or(&[][..], |stream| &stream.sent);
    let began_us = began.as_micros() as f64;
    let last = sent.iter().map(|sent| sent.last_us).max().unwrap_or(0);
    let replicated = stream.map_or(0, |stream| stream.replicated_us);
    Coverage {
        all_s: (last as f64 - began_us) / 1e6,
        replicated_s: (replicated as f64 - began_us) / 1e6,
        waited_s: sim.waited(sender).as_secs_f64(),
        ..coverage(sent, members)
    }
}

/// How far events came and how long they took, one by one.
fn coverage(sent: &[Sent], members: usize) -> Coverage {
    let reached: u64 = sent.iter().map(|sent| u64::from(sent.reached)).sum();
    let took = |sent: &Sent| sent.last_us.saturating_sub(sent.at_us);
    let mut times: Vec<u64> = sent.iter().map(took).collect();
    times.sort_unstable();
    let millis = |us: Option<&u64>| us.map_or(0.0, |us| *us as f64 / 1e3);
    Coverage {
        sent: sent.len(),
        delivered: reached as f64 / (sent.len().max(1) * members) as f64,
        median_ms: millis(times.get(times.len() / 2)),
        slowest_ms: millis(times.last()),
        all_s: 0.0,
        replicated_s: 0.0,
        waited_s: 0.0,
    }
}

/// The most memory that this process has held.
fn memory_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::toy::Toy;

    fn report(what: Measure) -> Report {
        let setup = Setup {
            nodes: 6,
            ..Setup::default()
        };
        measure::<Toy>(setup, what, Duration::from_secs(10), 30)
    }

    #[test]
    fn every_measure_gives_numbers() {
        let start = report(Measure::Start);
        assert!(start.converge_s.is_some_and(|s| s < 5.0) && start.is_good());
        assert!(start.rest.is_none() && start.kills.is_empty() && start.event.is_none());
        let rest = report(Measure::Rest).rest.unwrap();
        assert!((4.5..5.5).contains(&rest.datagrams_per_s), "{rest:?}");
        assert!(rest.stream_bytes_per_s > 0.0);
        let kills = report(Measure::Kill).kills;
        assert!(kills.len() == 3 && kills.iter().all(|kill| kill.first_s <= kill.last_s));
        assert!(
            kills.iter().all(|kill| kill.last_s > Some(0.0)),
            "{kills:?}"
        );
        let text = report(Measure::Burst).to_string();
        assert!(text.contains("30 sent, 1.0000 delivered"), "{text}");
        let all = report(Measure::All);
        assert!(all.rest.is_some() && all.kills.len() == 3, "{all:?}");
        let event = all.event.expect("it was measured");
        assert_eq!(event.sent, SINGLES);
        assert!(event.median_ms <= event.slowest_ms && event.delivered >= 1.0);
    }

    #[test]
    fn a_cluster_that_takes_too_long_is_no_success() {
        let setup = Setup {
            nodes: 6,
            seeds: Vec::new(),
            ..Setup::default()
        };
        let report = measure::<Toy>(setup, Measure::All, START, 1);
        assert!(report.converge_s.is_none() && !report.is_good());
        assert!(report.to_string().contains("never"), "{report}");
        assert!(report.rest.is_none() && report.kills.is_empty());
    }

    #[test]
    fn whole_clusters_come_back() {
        for what in [Measure::Restart, Measure::Freeze] {
            let report = report(what);
            assert!(report.recover_s.is_some(), "{what:?}: {report}");
        }
    }
}
