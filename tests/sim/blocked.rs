//! Networks that pass no UDP, or pass it one way only: what datagrams bring goes over
//! TCP there, and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use muster_engine::{EventDraft, EventKind};
use muster_tests::sim::{Action, CutId, PPM, Setup, Sim, Weather};

use crate::support::{
    MILLI, SECOND, counter, ends_well, hosts, lossy, never_failed, settled, until_failed,
};

/// So many of a million datagrams are lost that none gets through, while streams do.
const NO_DATAGRAM: u32 = PPM - 1;

fn blocked(sim: &mut Sim, from: &[usize], to: &[usize]) -> CutId {
    sim.degrade(from, to, NO_DATAGRAM)
}

/// Time until `slot` knows that its newest event is held by two others.
fn until_replicated(sim: &mut Sim, slot: usize) -> Duration {
    sim.send_event(slot, "deploy", Bytes::from_static(b"v2"));
    let replicated = |sim: &Sim| {
        let stream = sim.newest_stream(slot).map(|at| &sim.streams()[at]);
        stream.is_some_and(|stream| stream.replicated == stream.sent.len() as u64)
    };
    let took = sim.run_until(10 * SECOND, MILLI, replicated);
    took.expect("two others have it")
}

/// Time until everybody has a query of `slot`.
fn until_asked(sim: &mut Sim, slot: usize) -> Duration {
    let kind = EventKind::Query;
    let draft = EventDraft::new("who", Bytes::new());
    sim.send(slot, EventDraft { kind, ..draft });
    let members = sim.running();
    let asked = |sim: &Sim| {
        let stream = sim.newest_stream(slot).map(|at| &sim.streams()[at]);
        let sent = stream.and_then(|stream| stream.sent.last());
        sent.is_some_and(|sent| sent.reached as usize == members)
    };
    let took = sim.run_until(10 * SECOND, MILLI, asked);
    took.expect("everybody is asked")
}

fn carried(sim: &Sim) -> u64 {
    (0..sim.hosts())
        .map(|slot| sim.traffic(slot).carried_out)
        .sum()
}

fn lost(sim: &Sim) -> u64 {
    (0..sim.hosts())
        .map(|slot| sim.traffic(slot).carried_lost)
        .sum()
}

fn by_tcp(sim: &Sim) -> Vec<u64> {
    let slots = (0..sim.hosts()).filter(|slot| sim.machine(*slot).is_some());
    slots
        .map(|slot| counter(sim, slot, "members_by_tcp"))
        .collect()
}

#[test]
fn a_cluster_works_where_no_datagram_gets_through() {
    for nodes in [2, 6, 64] {
        let mut sim: Sim = Sim::new(Setup {
            weather: Weather {
                streams_only: true,
                ..Weather::default()
            },
            ..hosts(nodes, 75)
        });
        sim.start_all(SECOND);
        sim.run_for(SECOND);
        let took = sim.settle(60 * SECOND);
        println!("{nodes} nodes over TCP alone: all know all after {took:?}");
        sim.run_for(SECOND * u32::try_from(2 * nodes + 30).expect("few"));
        (0..nodes).for_each(|slot| never_failed(&sim, slot));
        assert_eq!(by_tcp(&sim), vec![nodes as u64 - 1; nodes]);
        assert!(sim.shown(0, 1).is_some_and(|member| member.by_tcp));
        sim.apply(Action::Tag(0, "zone".to_owned(), "a".to_owned()));
        let took = sim.settle(2 * SECOND);
        println!("a tag is everywhere after {took:?}");
        assert!(took.is_some());
        let (replicated, asked) = (until_replicated(&mut sim, 0), until_asked(&mut sim, 1));
        println!(
            "an event is held by two after {replicated:?}, a query everywhere after {asked:?}"
        );
        assert!(replicated <= SECOND && asked <= SECOND);
        sim.apply(Action::Kill(1));
        let took = until_failed(&mut sim, 1).expect("everybody learns of it");
        println!("a death is known after {took:?}");
        assert!(took <= 500 * MILLI);
        ends_well(&mut sim, SECOND);
    }
}

/// Larger ones, whose UDP is cut off after a while, in weather that delays streams; and
/// what it costs.
#[test]
fn a_cluster_whose_udp_is_cut_off_goes_on() {
    for (nodes, loss, limit) in [(16, 0, 500 * MILLI), (64, 0, 500 * MILLI), (64, 5, SECOND)] {
        let mut sim = settled(Setup {
            weather: lossy(loss),
            ..hosts(nodes, 76)
        });
        let all: Vec<_> = (0..nodes).collect();
        let cut = blocked(&mut sim, &all, &all);
        sim.run_for(10 * SECOND);
        let mut receipts: Vec<_> = (0..5)
            .map(|at| until_replicated(&mut sim, at * 3))
            .collect();
        receipts.sort_unstable();
        let asked = until_asked(&mut sim, 7);
        let mut deaths = Vec::new();
        for slot in [1, 4, 8, 11, 13] {
            sim.apply(Action::Kill(slot));
            deaths.push(until_failed(&mut sim, slot).expect("everybody learns of it"));
            sim.run_for(2 * SECOND);
        }
        deaths.sort_unstable();
        println!(
            "{nodes} nodes, {loss} % loss, no UDP: receipts after {receipts:?}, a query \
             everywhere after {asked:?}, deaths known after {deaths:?}, {} datagrams over TCP \
             lost",
            lost(&sim)
        );
        assert!(receipts[2] <= limit && asked <= 2 * limit, "{nodes} {loss}");
        assert!(deaths[4] <= limit, "{deaths:?}");
        let (before, began) = (sim.traffic(0), carried(&sim));
        sim.run_for(60 * SECOND);
        let (after, quiet) = (sim.traffic(0), carried(&sim) - began);
        println!(
            "{nodes} nodes, {loss} % loss, no UDP, a quiet minute: {} bytes of streams and {} \
             connections of a node, {quiet} datagrams over TCP of all",
            after.stream_bytes_out - before.stream_bytes_out,
            after.connects - before.connects
        );
        sim.heal(cut);
        // Each member probes each other one within two rounds.
        sim.run_for(SECOND * u32::try_from(2 * nodes + 10).expect("few"));
        let marked: u64 = by_tcp(&sim).iter().sum();
        assert!(loss > 0 || marked == 0, "{marked} still are by TCP");
        ends_well(&mut sim, 5 * SECOND);
    }
}

/// The datagrams of one half do not reach the other, which is heard.
#[test]
fn one_way_between_halves() {
    let mut sim = settled(hosts(12, 77));
    let (left, right): (Vec<_>, Vec<_>) = (0..12).partition(|slot| *slot < 6);
    let cut = blocked(&mut sim, &left, &right);
    sim.run_for(60 * SECOND);
    (0..12).for_each(|slot| never_failed(&sim, slot));
    // A member of the same half may be marked as well, when by chance none of its half was
    // heard for 3 s: its next datagram ends that.
    let others = |sim: &Sim| by_tcp(sim) == [6; 12];
    let seen = sim.run_until(60 * SECOND, 10 * MILLI, others);
    assert!(
        seen.is_some(),
        "each sees the other half so: {:?}",
        by_tcp(&sim)
    );
    for slot in [2, 9] {
        let (replicated, asked) = (
            until_replicated(&mut sim, slot),
            until_asked(&mut sim, slot),
        );
        println!("one way, from {slot}: held by two after {replicated:?}, asked after {asked:?}");
        assert!(replicated <= SECOND && asked <= SECOND);
    }
    for slot in [4, 8] {
        sim.apply(Action::Kill(slot));
        let took = until_failed(&mut sim, slot).expect("everybody learns of it");
        println!("one way: the death of {slot} is known after {took:?}");
        assert!(took <= 500 * MILLI);
        sim.run_for(SECOND);
    }
    sim.heal(cut);
    sim.run_for(40 * SECOND);
    assert_eq!(by_tcp(&sim), [0; 10]);
    ends_well(&mut sim, SECOND);
}

/// One host lets no UDP in: what it sends is heard, and it is asked over TCP.
#[test]
fn a_host_that_lets_no_udp_in() {
    let mut sim = settled(hosts(16, 78));
    let others: Vec<_> = (0..16).filter(|slot| *slot != 5).collect();
    let cut = blocked(&mut sim, &others, &[5]);
    sim.run_for(30 * SECOND);
    (0..16).for_each(|slot| never_failed(&sim, slot));
    for (slot, marked) in by_tcp(&sim).into_iter().enumerate() {
        assert_eq!(marked, if slot == 5 { 15 } else { 1 }, "at {slot}");
        assert_eq!(counter(&sim, slot, "health_score"), 0, "at {slot}");
    }
    for slot in [5, 6] {
        let (replicated, asked) = (
            until_replicated(&mut sim, slot),
            until_asked(&mut sim, slot),
        );
        println!("none in at 5, from {slot}: held by two after {replicated:?}, asked {asked:?}");
        assert!(replicated <= SECOND && asked <= SECOND);
    }
    sim.apply(Action::Kill(5));
    let took = until_failed(&mut sim, 5).expect("everybody learns of it");
    println!("its death is known after {took:?}");
    assert!(took <= 500 * MILLI);
    sim.heal(cut);
    ends_well(&mut sim, 5 * SECOND);
}

/// A stopped process answers nobody, a dead host neither: UDP is not to blame.
#[test]
fn nothing_goes_over_tcp_where_udp_works() {
    let mut sim = settled(hosts(16, 79));
    sim.apply(Action::Burst(3, 200, 200));
    sim.apply(Action::Pause(4));
    sim.run_for(20 * SECOND);
    sim.apply(Action::Resume(4));
    sim.apply(Action::Kill(5));
    sim.apply(Action::Vanish(6));
    sim.run_for(20 * SECOND);
    sim.apply(Action::Split((0..5).collect()));
    sim.run_for(20 * SECOND);
    sim.apply(Action::HealAll);
    ends_well(&mut sim, 20 * SECOND);
    assert_eq!(carried(&sim), 0);
}

/// Where single datagrams are lost, hardly any takes that way.
#[test]
fn little_goes_over_tcp_where_packets_are_lost() {
    let mut sim = settled(Setup {
        weather: lossy(10),
        ..hosts(16, 80)
    });
    for second in 0..120 {
        sim.send_event(second % 16, "tick", Bytes::from_static(b"tock"));
        sim.run_for(SECOND);
    }
    let sent: u64 = (0..16).map(|slot| sim.traffic(slot).datagrams_out).sum();
    println!("10 % loss: {} of {sent} datagrams over TCP", carried(&sim));
    assert!(carried(&sim) * 20 <= sent);
    ends_well(&mut sim, 5 * SECOND);
}
