//! Places in the engine: measured, told, forgotten, never shown as a change.

use std::time::Duration;

use super::{LATENCY, Net, addr, cluster, config};
use crate::api::Output;
use crate::coordinate::{Coordinate, encode};

fn counter(net: &Net, n: u16, name: &str) -> u64 {
    let counters = net.node(n).counters();
    let found = counters.into_iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| value)
}

#[test]
fn round_trips_are_measured_and_estimated() {
    let mut net = cluster(4);
    net.run(Duration::from_secs(120));
    let truth = Duration::from_micros(2 * LATENCY);
    for n in 0..4 {
        let me = net.node(n).coordinate().unwrap();
        let peers: Vec<_> = net.node(n).peer_coordinates().collect();
        assert_eq!(peers.len(), 3);
        for (member, place) in peers {
            let estimated = me.distance_to(&place);
            let off = estimated.abs_diff(truth);
            assert!(off < truth / 10, "{n} {member:?}: {estimated:?}");
        }
        assert!(counter(&net, n, "round_trips_measured") > 90);
        assert_eq!(counter(&net, n, "coordinates_rejected"), 0);
        assert_eq!(counter(&net, n, "coordinates_known"), 3);
    }
}

#[test]
fn no_watcher_sees_a_place_change() {
    let mut net = cluster(3);
    net.run(Duration::from_secs(5));
    net.outputs.clear();
    net.run(Duration::from_secs(60));
    let mut placed = 0;
    for (_, output) in &net.outputs {
        match output {
            Output::MemberUpdated(member) => panic!("{member:?}"),
            Output::Coordinate { .. } => placed += 1,
            _ => {}
        }
    }
    assert!(placed > 100, "{placed}");
}

#[test]
fn who_turned_them_off_neither_tells_nor_learns() {
    let mut net = Net::new();
    for n in 0..3 {
        let mut config = config(&format!("n{n}"), n, 100);
        config.coordinates = n != 2;
        net.start(config);
    }
    net.run(Duration::from_secs(60));
    assert!(net.node(2).coordinate().is_none());
    assert_eq!(net.node(2).peer_coordinates().count(), 0);
    for n in 0..2 {
        let known: Vec<_> = net.node(n).peer_coordinates().collect();
        assert_eq!(known.len(), 1, "{known:?}");
        assert_eq!(&*known[0].0.name, format!("n{}", 1 - n));
        assert_eq!(counter(&net, n, "coordinates_rejected"), 0);
    }
}

#[test]
fn a_restart_begins_anew_and_the_reaped_are_forgotten() {
    let mut net = Net::new();
    for n in 0..3 {
        let mut config = config(&format!("n{n}"), n, 100);
        config.reap_failed = Duration::from_secs(60);
        net.start(config);
    }
    net.run(Duration::from_secs(30));
    net.outputs.clear();
    net.kill(2);
    net.start(config("n2", 2, 200));
    assert_eq!(net.node(2).coordinate(), Some(Coordinate::default()));
    net.run(Duration::from_secs(1));
    let forgotten = net.outputs.iter().any(|(at, output)| {
        let none = matches!(output, Output::Coordinate { member, place: None, .. } if &*member.name == "n2");
        *at == addr(0) && none
    });
    assert!(forgotten);
    net.run(Duration::from_secs(20));
    assert_eq!(net.node(0).peer_coordinates().count(), 2);
    net.kill(2);
    net.run(Duration::from_secs(90));
    assert_eq!(net.node(0).peer_coordinates().count(), 1);
    assert_eq!(counter(&net, 0, "coordinates_known"), 1);
}

#[test]
fn rogue_places_are_rejected_and_counted() {
    let mut net = cluster(2);
    let sender = net.node(1).own.ident;
    let before = net.node(0).coordinate();
    let mut long = encode(&Coordinate::default()).to_vec();
    long.push(0);
    let mut huge = vec![1];
    huge.extend([0xff, 0xff, 0xff, 0xff, 0x0f].repeat(11));
    let rogues: [&[u8]; 5] = [&[2, 0, 0], &[1], &long, &huge, &[0xff; 40]];
    net.with(0, |node, now| {
        for rogue in rogues {
            node.coordinates.probe = Some((sender.node(), 7, now.at));
            node.on_probe_answer(now, sender, 7, rogue);
        }
        // Nobody asked, or somebody else did.
        let good = encode(&Coordinate::default());
        node.on_probe_answer(now, sender, 7, &good);
        node.coordinates.probe = Some((sender.node(), 8, now.at));
        node.on_probe_answer(now, sender, 7, &good);
    });
    assert_eq!(counter(&net, 0, "coordinates_rejected"), 5);
    assert_eq!(net.node(0).coordinate(), before);
}
