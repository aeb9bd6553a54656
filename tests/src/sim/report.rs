//! Measures a cluster: how fast it converges, what it costs, how fast it learns.

use std::fmt;
use std::time::{Duration, Instant};

use muster_engine::Status;
use serde::Serialize;

use crate::sim::cluster::Sim;
use crate::sim::machine::Machine;
use crate::sim::record::Traffic;
use crate::sim::script::Action;
use crate::sim::setup::Setup;

/// Everybody starts within this.
const START: Duration = Duration::from_secs(1);

/// Members killed, one after the other.
const KILLS: usize = 3;

/// Grain of the times measured.
const GRAIN: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A cold start.
    Start,
    /// A cold start, then traffic at rest.
    Steady,
    /// A cold start, then three kills.
    Kill,
    /// A cold start, then events back to back from the last node.
    Burst,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nodes.
    pub nodes: usize,
    /// Datagrams lost, percent.
    pub loss_percent: f64,
    /// Seed.
    pub seed: u64,
    /// When the last node knew everybody, seconds after the first start; absent
    /// if it took longer than the time given.
    pub converge_s: Option<f64>,
    /// Traffic until then.
    pub start: Option<Rate>,
    /// Traffic at rest.
    pub steady: Option<Rate>,
    /// Kills.
    pub kills: Vec<Detection>,
    /// Events.
    pub events: Option<Coverage>,
    /// Virtual time, seconds.
    pub virtual_s: f64,
    /// Real time, seconds.
    pub wall_s: f64,
    /// Things that happened.
    pub steps: u64,
    /// Equal for equal seeds.
    pub trace: String,
    /// Broken invariants.
    pub violations: Vec<String>,
}

/// Mean traffic of one node.
#[derive(Debug, Clone, Serialize)]
pub struct Rate {
    /// Over how long, seconds.
    pub over_s: f64,
    /// Datagrams sent, per second.
    pub datagrams_per_s: f64,
    /// Bytes sent in datagrams with their headers, per second.
    pub datagram_bytes_per_s: f64,
    /// Bytes sent on streams, per second.
    pub stream_bytes_per_s: f64,
    /// Exchanges begun, per second.
    pub exchanges_per_s: f64,
}

/// How a death was learnt.
#[derive(Debug, Clone, Serialize)]
pub struct Detection {
    /// The first one shows it failed, seconds after the kill.
    pub first_s: Option<f64>,
    /// The last one does.
    pub last_s: Option<f64>,
}

/// How events spread.
#[derive(Debug, Clone, Serialize)]
pub struct Coverage {
    /// Events sent.
    pub sent: usize,
    /// Deliveries per member due, 1.0 when everybody got everything.
    pub delivered: f64,
    /// Median of the time to the last member, milliseconds.
    pub median_ms: f64,
    /// The slowest, milliseconds.
    pub slowest_ms: f64,
    /// From the first one sent to the last delivery, seconds.
    pub all_s: f64,
    /// The last one was replicated, seconds after the first was sent.
    pub replicated_s: f64,
    /// How long the sender was kept waiting, seconds.
    pub waited_s: f64,
}

/// Runs `measure` on a cluster of `setup`, at most `limit` of virtual time for
/// each part, with `events` events.
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
    sim.start_all(START);
    let all = sim.hosts();
    let up = |sim: &Sim<M>| sim.running() == all && sim.everybody_counted();
    let converge = sim.run_until(limit, GRAIN, up);
    let start = rate(&sim, &vec![Traffic::default(); all], sim.now());
    let (mut steady, mut kills, mut coverage) = (None, Vec::new(), None);
    match measure {
        Measure::Start => {}
        Measure::Steady => {
            sim.run_for(Duration::from_secs(15));
            let before: Vec<_> = (0..all).map(|slot| sim.traffic(slot)).collect();
            sim.run_for(limit);
            steady = Some(rate(&sim, &before, limit));
        }
        Measure::Kill => {
            for kill in 0..KILLS {
                sim.run_for(Duration::from_secs(5));
                kills.push(detect(&mut sim, 1 + kill * 7 % (all - 1), limit));
            }
        }
        Measure::Burst => {
            sim.run_for(Duration::from_secs(5));
            coverage = Some(burst(&mut sim, events, limit));
        }
    }
    sim.finish();
    Report {
        nodes: all,
        loss_percent: f64::from(sim.setup.weather.loss_ppm) / 10_000.0,
        seed: sim.setup.seed,
        converge_s: converge.map(|time| time.as_secs_f64()),
        start,
        steady: steady.flatten(),
        kills,
        events: coverage,
        virtual_s: sim.now().as_secs_f64(),
        wall_s: began.elapsed().as_secs_f64(),
        steps: sim.steps(),
        trace: format!("{:016x}", sim.trace_hash()),
        violations: sim.violations().iter().map(ToString::to_string).collect(),
    }
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
    })
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

fn burst<M: Machine>(sim: &mut Sim<M>, events: usize, limit: Duration) -> Coverage {
    let (sender, members) = (sim.hosts() - 1, sim.running());
    let began = sim.now();
    sim.apply(Action::Burst(sender, events, 200));
    let everywhere = |sim: &Sim<M>| {
        let sent = sim.streams().first().map_or(&[][..], |stream| &stream.sent);
        sent.len() == events && sent.iter().all(|sent| sent.reached as usize >= members)
    };
    sim.run_until(limit, GRAIN, everywhere);
    sim.run_for(Duration::from_secs(1));
    let stream = sim.streams().first();
    let sent = stream.map_or(&[][..], |stream| &stream.sent);
    let reached: u64 = sent.iter().map(|sent| u64::from(sent.reached)).sum();
    let mut times: Vec<u64> = sent
        .iter()
        .map(|s| s.last_us.saturating_sub(s.at_us))
        .collect();
    times.sort_unstable();
    let began_us = began.as_micros() as f64;
    let last = sent.iter().map(|sent| sent.last_us).max().unwrap_or(0);
    let replicated = stream.map_or(0, |stream| stream.replicated_us);
    Coverage {
        sent: sent.len(),
        delivered: reached as f64 / (events.max(1) * members) as f64,
        median_ms: times
            .get(times.len() / 2)
            .map_or(0.0, |us| *us as f64 / 1e3),
        slowest_ms: times.last().map_or(0.0, |us| *us as f64 / 1e3),
        all_s: (last as f64 - began_us) / 1e6,
        replicated_s: (replicated as f64 - began_us) / 1e6,
        waited_s: sim.waited(sender).as_secs_f64(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<f64>| time.map_or("never".to_owned(), |s| format!("{s:.3} s"));
        writeln!(
            f,
            "{} nodes, {} % loss, seed {}",
            self.nodes, self.loss_percent, self.seed
        )?;
        writeln!(f, "all know all after   {}", seconds(self.converge_s))?;
        for (what, rate) in [("start", &self.start), ("rest", &self.steady)] {
            if let Some(rate) = rate {
                writeln!(
                    f,
                    "node and second, {what:5}: {:.2} datagrams, {:.0} B datagrams, \
                     {:.0} B streams, {:.2} exchanges (over {:.1} s)",
                    rate.datagrams_per_s,
                    rate.datagram_bytes_per_s,
                    rate.stream_bytes_per_s,
                    rate.exchanges_per_s,
                    rate.over_s
                )?;
            }
        }
        for kill in &self.kills {
            let (first, last) = (seconds(kill.first_s), seconds(kill.last_s));
            writeln!(f, "kill shown failed    first {first}, last {last}")?;
        }
        if let Some(events) = &self.events {
            writeln!(
                f,
                "{} events: {:.4} delivered, median {:.1} ms, slowest {:.1} ms, all in {:.3} s, \
                 replicated in {:.3} s, sender waited {:.3} s",
                events.sent,
                events.delivered,
                events.median_ms,
                events.slowest_ms,
                events.all_s,
                events.replicated_s,
                events.waited_s
            )?;
        }
        for violation in &self.violations {
            writeln!(f, "BROKEN {violation}")?;
        }
        write!(
            f,
            "{:.1} virtual s in {:.1} s, {} steps, trace {}",
            self.virtual_s, self.wall_s, self.steps, self.trace
        )
    }
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
        assert!(start.converge_s.is_some_and(|s| s < 5.0) && start.violations.is_empty());
        let steady = report(Measure::Steady).steady.unwrap();
        assert!((4.5..5.5).contains(&steady.datagrams_per_s), "{steady:?}");
        assert!(steady.stream_bytes_per_s > 0.0);
        let kills = report(Measure::Kill).kills;
        assert!(kills.len() == 3 && kills.iter().all(|kill| kill.first_s <= kill.last_s));
        assert!(kills.iter().all(|kill| kill.last_s.is_some()), "{kills:?}");
        let text = report(Measure::Burst).to_string();
        assert!(text.contains("30 events: 1.0000 delivered"), "{text}");
    }
}
