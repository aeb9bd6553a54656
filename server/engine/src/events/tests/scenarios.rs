//! Whole clusters in virtual time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Bug;
use super::sim::{Net, Sim};
use crate::api::Limits;

const NOTHING: [String; 0] = [];

fn lossy() -> Net {
    Net {
        loss: 0.3,
        duplication: 0.1,
        delay_us: (100, 20_000),
        ..Net::default()
    }
}

fn burst(nodes: usize, count: usize, size: usize, net: Net, limit: Duration) -> Sim {
    let mut sim = Sim::new(nodes, 7);
    sim.net = net;
    sim.publish(0, count, size);
    let began = sim.now;
    let done = sim.run_until(limit, |sim| sim.all_have(0));
    let took = sim.now - began;
    assert!(
        done,
        "{count} events not everywhere after {took} us: {:?}",
        sim.check(&[])
    );
    sim.run(Duration::from_secs(2));
    assert_eq!(sim.nodes[0].replicated, count as u64);
    assert_eq!(sim.check(&[]), NOTHING);
    sim
}

#[test]
fn one_event_reaches_64_members_at_once() {
    let sim = burst(64, 1, 100, Net::default(), Duration::from_millis(60));
    // serf's cost, 8 packets a node, and as many marks at most.
    assert!(sim.sections < 64 * 16, "{} sections", sim.sections);
}

#[test]
fn a_burst_of_500_reaches_64_members() {
    burst(64, 500, 200, Net::default(), Duration::from_secs(1));
}

#[test]
fn a_burst_of_3000_reaches_64_members() {
    let sim = burst(64, 3_000, 200, Net::default(), Duration::from_secs(1));
    // Nothing is pulled twice: what came twice came in the first datagrams.
    let mut counters = Vec::new();
    for node in &sim.nodes {
        node.events.counters(&mut counters);
    }
    let copies = counters
        .iter()
        .filter(|(name, _)| *name == "events_duplicates");
    let copies: u64 = copies.map(|(_, value)| value).sum();
    assert!(copies < 64 * 64, "{copies} copies");
}

#[test]
fn a_burst_of_10000_reaches_5_members() {
    burst(5, 10_000, 200, Net::default(), Duration::from_secs(4));
}

#[test]
fn loss_duplication_and_reordering_cost_only_time() {
    burst(16, 500, 200, lossy(), Duration::from_secs(6));
    burst(5, 20, 200, lossy(), Duration::from_secs(3));
}

#[test]
fn large_payloads_are_pulled() {
    burst(64, 1, 64 << 10, Net::default(), Duration::from_millis(500));
    burst(5, 200, 64 << 10, Net::default(), Duration::from_secs(20));
}

#[test]
fn alone_is_replicated_at_once() {
    let mut sim = Sim::new(1, 1);
    sim.publish(0, 3, 10);
    sim.run(Duration::from_millis(1));
    assert_eq!(sim.nodes[0].replicated, 3);
    assert_eq!(sim.seen(0, sim.key(0)).events, 3);
}

#[test]
fn two_members_need_one_acknowledgement() {
    let mut sim = Sim::new(2, 1);
    sim.pause(1);
    sim.publish(0, 3, 10);
    sim.run(Duration::from_millis(900));
    assert_eq!(sim.nodes[0].replicated, 0);
    sim.resume(1);
    sim.run(Duration::from_millis(200));
    assert_eq!(sim.nodes[0].replicated, 3);
    // The other one fails: the origin is alone.
    sim.kill(1);
    sim.publish(0, 1, 10);
    sim.run(Duration::from_millis(900));
    assert_eq!(sim.nodes[0].replicated, 3);
    sim.everybody_sees_everybody();
    sim.run(Duration::from_millis(10));
    assert_eq!(sim.nodes[0].replicated, 4);
}

#[test]
fn silent_replicas_are_replaced() {
    // Eight of ten are stopped: two that answer have to be found.
    let mut sim = Sim::new(11, 3);
    for index in 1..9 {
        sim.pause(index);
    }
    sim.publish(0, 1, 10);
    let done = sim.run_until(Duration::from_secs(4), |sim| sim.nodes[0].replicated == 1);
    assert!(done);
}

#[test]
fn a_paused_member_is_waited_for_and_then_let_go() {
    let mut sim = Sim::new(5, 11);
    sim.run(Duration::from_millis(100));
    sim.pause(4);
    let began = sim.now;
    sim.publish(0, 20_000, 100);
    let done = sim.run_until(Duration::from_secs(10), |sim| sim.all_have(0));
    assert!(done, "{:?}", sim.nodes[0].events);
    let paused = sim.key(4);
    let origin = &sim.nodes[0];
    assert_eq!(origin.let_go.len(), 1, "{:?}", origin.let_go);
    let (at, member, behind) = origin.let_go[0];
    assert_eq!(member, paused);
    assert!((7_680..=8_192).contains(&behind), "{behind}");
    assert!(
        (2_000_000..2_600_000).contains(&(at - began)),
        "{}",
        at - began
    );
    assert!(
        (1_900_000..2_300_000).contains(&origin.blocked_us),
        "{}",
        origin.blocked_us
    );
    sim.resume(4);
    let key = sim.key(0);
    let back = sim.run_until(Duration::from_secs(5), |sim| sim.seen(4, key).next > 20_000);
    assert!(back, "{:?}", sim.seen(4, key));
    let seen = sim.seen(4, key);
    assert_eq!(seen.gaps.len(), 1, "{:?}", seen.gaps);
    let (first, last) = seen.gaps[0];
    assert_eq!(seen.events + (last - first + 1), 20_000);
    assert_eq!(sim.check(&[4]), NOTHING);
    // It counts again: the window waits for it once more.
    sim.pause(4);
    sim.publish(0, 12_000, 100);
    sim.run_until(Duration::from_secs(10), |sim| sim.all_have(0));
    assert_eq!(sim.nodes[0].let_go.len(), 2);
}

#[test]
fn a_short_pause_costs_nobody_an_event() {
    let mut sim = Sim::new(5, 12);
    sim.pause(4);
    sim.publish(0, 10_000, 100);
    sim.run(Duration::from_millis(1_200));
    sim.resume(4);
    let done = sim.run_until(Duration::from_secs(5), |sim| sim.all_have(0));
    assert!(done);
    assert!(sim.nodes[0].let_go.is_empty());
    assert_eq!(sim.check(&[]), NOTHING);
}

#[test]
fn the_death_of_the_origin_right_after_the_receipt_loses_nothing() {
    for seed in 0..20 {
        for count in [1, 40, 700] {
            let mut sim = Sim::new(9, seed);
            sim.net = if seed % 2 == 0 {
                lossy()
            } else {
                Net::default()
            };
            sim.publish(0, count, 150);
            let all = sim.run_until(Duration::from_secs(10), |sim| {
                sim.nodes[0].replicated == count as u64
            });
            assert!(all, "seed {seed}");
            sim.kill(0);
            sim.run(Duration::from_secs(3));
            sim.everybody_sees_everybody();
            sim.run(Duration::from_secs(5));
            assert_eq!(sim.check(&[]), NOTHING, "seed {seed} count {count}");
        }
    }
}

#[test]
fn boots_of_one_origin_stay_in_order() {
    for seed in 0..100 {
        let mut sim = Sim::new(6, seed);
        sim.net = lossy();
        sim.publish(0, 150, 100);
        sim.run_until(Duration::from_secs(10), |sim| {
            sim.nodes[0].replicated == 150
        });
        sim.kill(0);
        sim.restart(0, 1 + usize::try_from(seed % 5).unwrap());
        sim.publish(0, 30, 100);
        sim.run(Duration::from_secs(8));
        assert_eq!(sim.check(&[]), NOTHING, "seed {seed}");
        assert_eq!(sim.promised.len(), 2);
        for index in 1..6 {
            assert_eq!(sim.seen(index, sim.key(0)).events, 30, "seed {seed}");
        }
    }
}

#[test]
fn a_joiner_begins_where_the_others_are() {
    let mut sim = Sim::new(4, 5);
    sim.publish(0, 300, 100);
    sim.run(Duration::from_secs(2));
    let joiner = sim.add(1);
    sim.join(joiner, 2);
    sim.everybody_sees_everybody();
    sim.publish(0, 100, 100);
    sim.publish(2, 10, 100);
    sim.run(Duration::from_secs(2));
    let seen = sim.seen(joiner, sim.key(0));
    assert_eq!((seen.base, seen.events, seen.next), (300, 100, 401));
    assert_eq!(sim.seen(joiner, sim.key(2)).events, 10);
    assert_eq!(sim.check(&[]), NOTHING);
}

#[test]
fn many_origins_at_once() {
    let mut sim = Sim::new(16, 5);
    sim.net = lossy();
    for index in 0..16 {
        sim.publish(index, 200, 100);
    }
    sim.run(Duration::from_secs(15));
    assert_eq!(sim.check(&[]), NOTHING);
    for index in 0..16 {
        assert_eq!(sim.nodes[index].replicated, 200);
        assert!(sim.all_have(index));
    }
}

#[test]
fn digests_agree_when_quiet_and_stand_still_while_events_flow() {
    let mut sim = Sim::new(6, 5);
    let digests = |sim: &mut Sim| -> Vec<u64> {
        let mut all = Vec::new();
        for index in 0..6 {
            sim.call(index, |events, now, _| all.push(events.digest(now)));
        }
        all
    };
    assert_eq!(digests(&mut sim), [0; 6]);
    sim.publish(0, 10, 10);
    sim.run(Duration::from_millis(500));
    assert_eq!(digests(&mut sim), [0; 6]);
    sim.run(Duration::from_secs(2));
    let quiet = digests(&mut sim);
    assert!(quiet.iter().all(|d| *d == quiet[0] && *d != 0), "{quiet:?}");
    sim.publish(1, 1, 10);
    sim.run(Duration::from_secs(2));
    let later = digests(&mut sim);
    assert!(
        later.iter().all(|d| *d == later[0] && *d != quiet[0]),
        "{later:?}"
    );
}

#[test]
fn a_member_cut_off_catches_up_by_the_state_exchange() {
    let mut sim = Sim::new(5, 5);
    sim.kill(4);
    sim.publish(0, 50, 100);
    sim.run(Duration::from_secs(6));
    // The process lived on behind a broken network.
    sim.nodes[4].up = true;
    assert_eq!(sim.seen(4, sim.key(0)).events, 0);
    sim.sync(4, 2);
    sim.run(Duration::from_secs(1));
    assert_eq!(sim.check(&[]), NOTHING);
    assert_eq!(sim.seen(4, sim.key(0)).events, 50);
}

#[test]
fn memory_stays_within_its_bounds() {
    let limits = Limits {
        events_per_origin: 64,
        event_bytes_per_origin: 64 << 10,
        event_bytes_total: 128 << 10,
        ..Limits::default()
    };
    let mut sim = Sim::new(6, 5).with_limits(limits);
    for index in 0..6 {
        sim.publish(index, 200, 900);
    }
    let all = sim.run_until(Duration::from_secs(60), |sim| {
        (0..6).all(|n| sim.all_have(n))
    });
    assert!(all, "{:?}", sim.check(&[]));
    for node in &sim.nodes {
        assert!(node.events.bytes <= 128 << 10, "{}", node.events.bytes);
    }
    assert_eq!(sim.check(&[]), NOTHING);
}

#[test]
fn the_oracle_sees_planted_bugs() {
    // A gap that is not told.
    let mut sim = Sim::new(5, 11).with_bug(Bug::SilentGap);
    sim.pause(4);
    sim.publish(0, 20_000, 100);
    sim.run_until(Duration::from_secs(10), |sim| sim.all_have(0));
    sim.resume(4);
    sim.run(Duration::from_secs(3));
    assert_ne!(sim.check(&[4]), NOTHING);
    // A receipt before anybody holds the event.
    let mut sim = Sim::new(5, 11).with_bug(Bug::EarlyReceipt);
    sim.net.loss = 1.0;
    sim.publish(0, 40, 100);
    sim.run_until(Duration::from_secs(1), |sim| sim.nodes[0].replicated == 40);
    sim.kill(0);
    sim.everybody_sees_everybody();
    sim.net.loss = 0.0;
    sim.run(Duration::from_secs(5));
    assert_ne!(sim.check(&[]), NOTHING);
    // Holes that nobody looks after.
    let mut sim = Sim::new(9, 11).with_bug(Bug::NoHunt);
    sim.net.loss = 0.5;
    sim.publish(0, 40, 100);
    sim.run(Duration::from_secs(5));
    assert_ne!(sim.check(&[]), NOTHING);
}

/// A query takes over positions in order, but nobody waits for that.
#[test]
fn queries_come_once_to_everybody() {
    let mut sim = Sim::new(16, 21);
    sim.net = lossy();
    sim.queries = true;
    sim.publish(0, 500, 200);
    sim.publish(3, 20, 4_000);
    let done = sim.run_until(Duration::from_secs(8), |sim| {
        sim.all_have(0) && sim.all_have(3)
    });
    assert!(done, "{:?}", sim.check(&[]));
    let asked = sim.nodes[0].queries.len();
    assert!((100..240).contains(&asked), "{asked}");
    assert!(sim.nodes.iter().all(|n| n.queries == sim.nodes[0].queries));
    assert_eq!(sim.check(&[]), NOTHING);
}

#[test]
fn the_oracle_sees_planted_query_bugs() {
    for bug in [Bug::QueryTwice, Bug::QueryLost] {
        let mut sim = Sim::new(3, 21).with_bug(bug);
        sim.queries = true;
        sim.publish(0, 20, 200);
        sim.run(Duration::from_secs(2));
        assert_ne!(sim.check(&[]), NOTHING, "{bug:?}");
    }
}

/// Random publishing, pausing, killing and restarting on a random network.
fn storm(seed: u64) -> (Vec<String>, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = rng.random_range(3..10);
    let mut sim = Sim::new(count, seed);
    sim.net = Net {
        loss: rng.random_range(0.0..0.4),
        duplication: rng.random_range(0.0..0.2),
        delay_us: (50, rng.random_range(100..30_000)),
        ..Net::default()
    };
    sim.queries = true;
    for _ in 0..12 {
        let index = rng.random_range(0..count);
        let up = sim.nodes[index].up && !sim.nodes[index].paused;
        match rng.random_range(0..10) {
            0..5 if up => {
                let (events, size) = match rng.random_range(0..4) {
                    0 => (1, rng.random_range(0..65_536)),
                    1 => (rng.random_range(1..10), 100),
                    2 => (rng.random_range(100..2_000), 150),
                    _ => (rng.random_range(1..60), rng.random_range(0..3_000)),
                };
                sim.publish(index, events, size);
            }
            5 if up => sim.pause(index),
            6 | 7 if sim.nodes[index].paused => sim.resume(index),
            8 if up && sim.nodes.iter().filter(|n| n.up).count() > 3 => {
                sim.kill(index);
                sim.run(Duration::from_millis(rng.random_range(0..2_500)));
                let helper = (0..count).find(|n| sim.nodes[*n].up && !sim.nodes[*n].paused);
                match helper {
                    Some(helper) if rng.random_bool(0.6) => sim.restart(index, helper),
                    Some(_) | None => sim.everybody_sees_everybody(),
                }
            }
            _ => {}
        }
        sim.run(Duration::from_millis(rng.random_range(0..600)));
    }
    for index in 0..count {
        if sim.nodes[index].paused {
            sim.resume(index);
        }
    }
    sim.everybody_sees_everybody();
    sim.run(Duration::from_secs(25));
    (sim.check(&[]), sim.trace)
}

#[test]
fn storms() {
    for seed in 0..40 {
        let (found, _) = storm(seed);
        assert_eq!(found, NOTHING, "seed {seed}");
    }
}

#[test]
fn equal_seeds_run_equally() {
    let (first, second, third) = (storm(3), storm(3), storm(4));
    assert_eq!(first, second);
    assert_ne!(first.1, third.1);
}
