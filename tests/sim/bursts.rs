//! Events under load and under fire.

use std::time::Duration;

use muster_engine::{EventDraft, EventKind};
use muster_tests::sim::{Action, Address, Setup, Sim};

use crate::support::{MILLI, SECOND, ends_well, hosts, lossy, settled};

/// Sends a burst and waits until everybody has all of it.
fn burst(sim: &mut Sim, slot: usize, count: usize, bytes: usize) -> Duration {
    let members = sim.running();
    sim.apply(Action::Burst(slot, count, bytes));
    let everywhere = |sim: &Sim| {
        let sent = &sim.streams()[0].sent;
        sent.len() == count && sent.iter().all(|event| event.reached as usize == members)
    };
    let took = sim.run_until(60 * SECOND, 5 * MILLI, everywhere);
    took.expect("everybody gets everything")
}

/// The median of a few runs: where packets are lost, a connection that takes a second to
/// come about makes single ones slow.
#[test]
fn bursts_reach_everybody_in_order() {
    for (nodes, loss, count, limit) in [
        (64, 0, 500, SECOND),
        (64, 0, 3_000, 4 * SECOND),
        (16, 5, 500, 2 * SECOND),
        (16, 25, 500, 12 * SECOND),
    ] {
        let seeds = if loss == 0 { 50..51 } else { 50..55 };
        let mut took: Vec<_> = seeds
            .map(|seed| one_burst(nodes, loss, count, seed))
            .collect();
        took.sort_unstable();
        println!("{count} events, {nodes} nodes, {loss} % loss: everywhere after {took:?}");
        assert!(took[took.len() / 2] <= limit, "{took:?}");
    }
}

fn one_burst(nodes: usize, loss: u32, count: usize, seed: u64) -> Duration {
    let mut setup = Setup {
        weather: lossy(loss),
        ..hosts(nodes, seed)
    };
    setup.demands.no_false_failures = loss <= 10;
    let mut sim = settled(setup);
    let took = burst(&mut sim, nodes - 1, count, 200);
    ends_well(&mut sim, 20 * SECOND);
    took
}

/// Nothing but queries, among nodes that lose packets, stop and restart.
#[test]
fn queries_reach_everybody_once() {
    for (seed, loss) in [(52, 0), (53, 10), (54, 25)] {
        let mut setup = Setup {
            weather: lossy(loss),
            ..hosts(16, seed)
        };
        setup.demands.no_false_failures = loss <= 10;
        let mut sim = settled(setup);
        for nth in 0..300_u32 {
            let kind = EventKind::Query;
            let draft = EventDraft::new("ask", nth.to_le_bytes().to_vec());
            sim.send(nth as usize % 2, EventDraft { kind, ..draft });
        }
        sim.run_for(20 * MILLI);
        sim.apply(Action::Kill(9));
        sim.run_for(SECOND);
        sim.apply(Action::Restart(9, Address::Same));
        ends_well(&mut sim, 30 * SECOND);
        for stream in &sim.streams()[..2] {
            let reached = stream.sent.iter().map(|sent| sent.reached).min();
            assert!(reached >= Some(15), "{reached:?}");
        }
    }
}

#[test]
fn large_events_arrive_too() {
    let mut sim = settled(hosts(64, 51));
    let took = burst(&mut sim, 9, 1, 64 << 10);
    println!("64 KiB everywhere after {took:?}");
    assert!(took <= SECOND / 2, "{took:?}");
    ends_well(&mut sim, SECOND);
}

#[test]
fn one_event_is_fast() {
    let mut times = Vec::new();
    for seed in 0..10 {
        let mut sim = settled(hosts(64, 60 + seed));
        times.push(burst(&mut sim, 63, 1, 50));
        ends_well(&mut sim, SECOND);
    }
    times.sort_unstable();
    println!("one event everywhere after {times:?}");
    assert!(times[times.len() / 2] <= 200 * MILLI);
}

#[test]
fn a_dead_origin_takes_nothing_replicated_along() {
    for (seed, loss) in [(70, 0), (71, 0), (72, 5), (73, 10)] {
        let mut sim = settled(Setup {
            weather: lossy(loss),
            ..hosts(10, seed)
        });
        let count = 40;
        sim.apply(Action::Burst(7, count, 300));
        let replicated = |sim: &Sim| sim.streams()[0].replicated == count as u64;
        sim.run_until(10 * SECOND, MILLI / 10, replicated)
            .expect("they are replicated");
        sim.apply(Action::Kill(7));
        sim.run_for(20 * SECOND);
        for slot in (0..10).filter(|slot| *slot != 7) {
            let cursor = sim.cursor(slot, 0).expect("it has the stream");
            assert_eq!(cursor.delivered, count as u64, "node {slot}");
        }
        ends_well(&mut sim, SECOND);
    }
}

/// The window is 8,192 events: the sender waits for the stopped node, lets it go,
/// and it finds one gap when it goes on.
#[test]
fn one_of_five_is_paused_during_a_burst_of_ten_thousand() {
    let mut sim = settled(hosts(5, 74));
    sim.apply(Action::Pause(3));
    let count = 10_000;
    sim.apply(Action::Burst(1, count, 100));
    let all_sent = |sim: &Sim| sim.waiting(1) == 0;
    sim.run_until(60 * SECOND, 10 * MILLI, all_sent)
        .expect("the sender is not held up for ever");
    println!("the sender waited {:?}", sim.waited(1));
    assert!(sim.waited(1) <= 10 * SECOND);
    sim.run_for(2 * SECOND);
    sim.apply(Action::Resume(3));
    sim.run_for(20 * SECOND);
    for slot in 0..5 {
        let cursor = sim.cursor(slot, 0).expect("it has the stream");
        let missing: u64 = cursor
            .gaps
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum();
        println!(
            "node {slot}: {} delivered, gaps {:?}",
            cursor.delivered, cursor.gaps
        );
        assert_eq!(cursor.delivered + missing, count as u64);
        assert!(cursor.gaps.is_empty() || slot == 3);
    }
    assert_eq!(sim.streams()[0].replicated, count as u64);
    ends_well(&mut sim, 10 * SECOND);
}

#[test]
fn who_joins_late_begins_at_now() {
    let mut sim: Sim = Sim::new(hosts(5, 75));
    for slot in 0..4 {
        sim.apply(Action::Start(slot));
    }
    sim.run_for(10 * SECOND);
    sim.apply(Action::Burst(2, 100, 50));
    sim.run_for(5 * SECOND);
    sim.apply(Action::Start(4));
    sim.settle(10 * SECOND);
    sim.apply(Action::Burst(2, 10, 50));
    sim.run_for(5 * SECOND);
    let cursor = sim.cursor(4, 0).expect("it has the stream");
    assert_eq!(cursor.last, 110);
    assert!(
        cursor.delivered >= 10 && cursor.gaps.is_empty(),
        "{cursor:?}"
    );
    ends_well(&mut sim, SECOND);
}

#[test]
fn events_survive_the_restart_of_their_origin() {
    let mut sim = settled(hosts(8, 76));
    for _ in 0..3 {
        burst_of(&mut sim, 2, 30);
        sim.apply(Action::Restart(2, Address::New));
        sim.settle(10 * SECOND);
        sim.run_for(3 * SECOND);
    }
    burst_of(&mut sim, 2, 30);
    ends_well(&mut sim, SECOND);
    assert_eq!(sim.streams().len(), 4, "one for each boot");
}

/// Sends and waits until it is replicated.
fn burst_of(sim: &mut Sim, slot: usize, count: usize) {
    let before: usize = sim.streams().len();
    sim.apply(Action::Burst(slot, count, 100));
    let replicated = |sim: &Sim| {
        let stream = &sim.streams()[before];
        stream.replicated == count as u64
    };
    sim.run_until(10 * SECOND, MILLI, replicated)
        .expect("they are replicated");
}

#[test]
fn everybody_sends_at_once() {
    let mut sim = settled(Setup {
        weather: lossy(1),
        ..hosts(20, 77)
    });
    for slot in 0..20 {
        sim.apply(Action::Burst(slot, 50, 200));
    }
    sim.run_for(10 * SECOND);
    for slot in 0..20 {
        for stream in 0..20 {
            let cursor = sim.cursor(slot, stream).expect("it has the stream");
            assert_eq!(cursor.delivered, 50, "node {slot}, stream {stream}");
        }
    }
    ends_well(&mut sim, SECOND);
}
