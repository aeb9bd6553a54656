//! The table and foca hold the same, whatever a message says. Each case was found by
//! harmed traffic.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::{Net, addr, cluster, config};
use crate::engine::datagrams::Came;
use crate::ident::{Ident, conflict_hash};
use crate::member::{Status, StatusReason};
use crate::swim::{State, Update};
use crate::table::Word;
use crate::wire::Packet;

/// foca's gossip on the wire.
const GOSSIP: u8 = 8;

fn ident(net: &Net, n: u16) -> Ident {
    net.node(n).own.ident
}

/// A message from `source` to node 0, with updates.
fn message(net: &Net, source: Ident, updates: &[(Ident, State)]) -> Packet {
    let mut wire = BytesMut::new();
    source.put(&mut wire);
    wire.put_u16(0);
    wire.put_u32(ident(net, 0).check());
    wire.put_u8(GOSSIP);
    wire.put_u16(u16::try_from(updates.len()).unwrap());
    for (ident, state) in updates {
        ident.put(&mut wire);
        wire.put_u16(0);
        wire.put_u8(match state {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
    }
    Packet {
        swim: Bytes::from(wire.to_vec()),
        ..Packet::default()
    }
}

fn receive(net: &mut Net, packet: Packet) {
    net.with(0, |node, now| {
        node.on_packet(now, Came::ByUdp(addr(1)), packet);
        node.finish(now);
        node.check().unwrap();
    });
}

#[test]
fn what_an_outdated_life_says_is_not_believed() {
    let mut net = cluster(3);
    let (old, subject) = (ident(&net, 1), ident(&net, 2));
    let new = Ident { life: 1, ..old };
    let packet = message(&net, new, &[]);
    receive(&mut net, packet);
    let packet = message(&net, old, &[(subject, State::Suspect)]);
    receive(&mut net, packet);
    let node = net.node(0);
    assert_eq!(node.table.get(old.hash).unwrap().ident, new);
    let held = node.table.get(subject.hash).unwrap().state;
    assert_eq!(held, State::Alive, "foca believes nothing of it either");
    let packet = message(&net, new, &[(subject, State::Suspect)]);
    receive(&mut net, packet);
    let held = net.node(0).table.get(subject.hash).unwrap().state;
    assert_eq!(held, State::Suspect, "the living is believed");
}

#[test]
fn its_own_death_twice_in_one_message_is_one_new_life() {
    let mut net = cluster(3);
    let (me, sender) = (ident(&net, 0), ident(&net, 1));
    let packet = message(&net, sender, &[(me, State::Down), (me, State::Down)]);
    receive(&mut net, packet);
    assert_eq!(ident(&net, 0), Ident { life: 1, ..me });
}

#[test]
fn who_says_that_it_leaves_is_heard_to_the_end() {
    let mut net = cluster(3);
    let (sender, subject) = (ident(&net, 1), ident(&net, 2));
    let told = [(sender, State::Down), (subject, State::Suspect)];
    let packet = message(&net, sender, &told);
    receive(&mut net, packet);
    let state = |net: &Net, of: Ident| net.node(0).table.get(of.hash).unwrap().state;
    assert_eq!(state(&net, sender), State::Down);
    assert_eq!(state(&net, subject), State::Suspect);
}

#[test]
fn a_member_that_finds_no_room_is_in_neither() {
    let mut net = cluster(2);
    let stranger = crate::own::Own::new(config("stranger", 9, 1), 9, net.clock());
    let source = stranger.ident;
    net.with(0, |node, now| {
        node.merge_record(now, &stranger.record.since(0));
        node.table.fill_up();
    });
    let packet = message(&net, source, &[]);
    receive(&mut net, packet);
    assert!(net.node(0).table.get(source.hash).is_none());
    let counters = net.node(0).counters();
    assert!(counters.contains(&("datagrams_dropped_no_room", 1)));
}

#[test]
fn who_was_known_under_the_hash_of_its_lost_name_is_forgotten() {
    let mut net = cluster(2);
    let me = ident(&net, 0);
    let instance = net.node(0).own.instance;
    // Somebody told of this node as the loser before it lost.
    let ghost = Ident {
        hash: conflict_hash("n0", instance),
        boot: 5_000,
        life: 2_048,
    };
    let mut loser = crate::own::Own::new(config("n0", 0, 100), instance, net.clock());
    loser.restart_as(net.clock(), ghost.boot, true);
    net.with(0, |node, now| {
        node.merge_record(now, &loser.record.since(0));
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        assert!(node.learn_update(now, &Update::new(ghost, 0, State::Alive), word));
        node.finish(now);
        node.check().unwrap();
    });
    let winner = crate::own::Own::new(config("n0", 7, me.boot + 50), 7, net.clock());
    net.with(0, |node, now| {
        node.merge_record(now, &winner.record.since(0));
        node.finish(now);
        node.check().unwrap();
        assert_eq!(node.own.ident.hash, ghost.hash);
        assert!(node.own.ident.beats(ghost), "above what was told of it");
        assert!(node.table.get(ghost.hash).is_none());
    });
    net.run(std::time::Duration::from_secs(5));
    assert_eq!(net.node(0).me().status, Status::Alive);
    assert_eq!(
        net.node(1).table.get(ghost.hash).unwrap().state,
        State::Alive
    );
}

#[test]
fn a_pruned_member_stays_forgotten_whatever_still_travels() {
    let mut net = cluster(3);
    let (sender, subject) = (ident(&net, 1), ident(&net, 2));
    let record = net.node(1).table.get(subject.hash).unwrap().record.since(0);
    let mut late = message(&net, sender, &[(subject, State::Down)]);
    late.records = vec![Bytes::from(record.encode_to_vec())];
    net.with(0, |node, now| {
        let dead = Update::new(subject, 0, State::Down);
        let word = Word {
            by: 0,
            reason: StatusReason::SuspicionExpired,
        };
        assert!(node.learn_update(now, &dead, word));
        node.force_out(now, subject, true, 0);
        node.finish(now);
    });
    assert!(net.node(0).table.get(subject.hash).is_none());
    receive(&mut net, late);
    assert!(net.node(0).table.get(subject.hash).is_none());
}
