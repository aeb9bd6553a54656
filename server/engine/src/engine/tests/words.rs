//! Who said so and why, on every path; leaves and forced leaves; ages.

use std::time::Duration;

use super::{addr, cluster, config, secs};
use crate::EngineError;
use crate::api::Output;
use crate::ident::Ident;
use crate::member::{Status, StatusReason};
use crate::swim::{State, Update};
use crate::table::Word;
use crate::wire::{Accusation, Forced};

use super::super::datagrams::ident_bytes;

fn change(net: &super::Net, viewer: u16, name: &str) -> (Status, StatusReason, Option<String>) {
    let member = net.member(viewer, name).unwrap();
    let by = member.change.by.as_deref().map(str::to_owned);
    (member.status, member.change.reason, by)
}

fn ident(net: &super::Net, n: u16) -> Ident {
    net.node(n).own.ident
}

fn leaves_done(net: &super::Net, n: u16) -> usize {
    let done = |(at, o): &&(_, Output)| *at == addr(n) && matches!(o, Output::LeaveDone);
    net.outputs.iter().filter(done).count()
}

#[test]
fn who_passes_a_suspicion_on_is_no_accuser() {
    let mut net = cluster(5);
    let subject = ident(&net, 3);
    let (relay, accuser) = (ident(&net, 1).hash, ident(&net, 2).hash);
    let accused = Update::new(subject, 0, State::Suspect);
    net.with(0, |node, now| {
        let word = Word {
            by: relay,
            reason: StatusReason::Learnt,
        };
        assert!(node.learn_update(now, &accused, word));
        node.swim.apply(now.at, vec![accused], false);
        assert_eq!(node.suspicions.first_accuser(subject), None);
        node.finish(now);
    });
    let unnamed = (Status::Suspect, StatusReason::ProbeFailed, None);
    assert_eq!(change(&net, 0, "n3"), unnamed);
    net.with(0, |node, now| {
        let accusation = Accusation {
            subject: ident_bytes(subject),
            incarnation: 0,
            accuser,
            evidence: 0,
        };
        node.on_accusation(now, &accusation);
        assert_eq!(node.suspicions.first_accuser(subject), Some(accuser));
        node.finish(now);
    });
    let named = (
        Status::Suspect,
        StatusReason::ProbeFailed,
        Some("n2".to_owned()),
    );
    assert_eq!(change(&net, 0, "n3"), named);
    // Passed on under the accuser's name; the subject hears of it and refutes.
    net.run(secs(2));
    for viewer in [0, 1, 2, 4] {
        assert_eq!(change(&net, viewer, "n3").0, Status::Alive, "{viewer}");
    }
    assert_eq!(change(&net, 0, "n3").1, StatusReason::Refuted);
}

#[test]
fn an_accusation_is_passed_on_by_who_hears_it_first() {
    let mut net = cluster(4);
    net.run(secs(5));
    let subject = ident(&net, 3);
    let accusation = Accusation {
        subject: ident_bytes(subject),
        incarnation: 0,
        accuser: ident(&net, 2).hash,
        evidence: 0,
    };
    let before = net.node(0).broadcasts.len();
    net.with(0, |node, now| node.on_accusation(now, &accusation));
    assert_eq!(net.node(0).broadcasts.len(), before + 1);
}

#[test]
fn the_failed_name_an_accuser() {
    let mut net = cluster(5);
    net.kill(3);
    net.run(secs(15));
    for viewer in [0, 1, 2, 4] {
        let (status, reason, by) = change(&net, viewer, "n3");
        assert_eq!(
            (status, reason),
            (Status::Failed, StatusReason::ConnectionRefused)
        );
        assert!(by.as_deref().is_none_or(|by| by != "n3"), "{by:?}");
    }
}

#[test]
fn a_leave_is_the_leavers_own_word_and_a_return_is_a_join() {
    let mut net = cluster(4);
    net.with(2, |node, now| node.leave(now));
    net.with(2, |node, now| node.leave(now));
    net.with(2, |node, now| node.join(now, 7, &[addr(0)]));
    assert!(
        net.outputs.iter().any(|(_, o)| matches!(
            o,
            Output::JoinResult { attempt: 7, result: Err(why), .. } if why.contains("leaving")
        )),
        "joining waits for the leave"
    );
    net.run(secs(2));
    assert_eq!(leaves_done(&net, 2), 1, "one leave, asked for twice");
    for viewer in [0, 1, 3] {
        let left = (Status::Left, StatusReason::Left, None);
        assert_eq!(change(&net, viewer, "n2"), left, "seen by {viewer}");
    }
    net.with(2, |node, now| node.leave(now));
    assert_eq!(leaves_done(&net, 2), 2, "at once");
    net.with(2, |node, now| node.join(now, 8, &[addr(0)]));
    net.run(secs(2));
    for viewer in [0, 1, 3] {
        let back = (Status::Alive, StatusReason::Joined, None);
        assert_eq!(change(&net, viewer, "n2"), back, "seen by {viewer}");
    }
    assert_eq!(net.member(0, "n2").unwrap().boot, 100, "no restart");
}

#[test]
fn who_refuted_a_suspicion_can_still_leave() {
    let mut net = cluster(5);
    let me = ident(&net, 4);
    net.with(4, |node, now| {
        let accused = Update::new(me, 6, State::Suspect);
        node.swim.apply(now.at, vec![accused], true);
        node.finish(now);
    });
    net.run(secs(3));
    assert_eq!(net.member(0, "n4").unwrap().incarnation, 7);
    net.with(4, |node, now| node.leave(now));
    net.run(secs(1));
    net.kill(4);
    for viewer in 0..4 {
        assert_eq!(net.status(viewer, "n4"), Some(Status::Left), "{viewer}");
    }
}

#[test]
fn who_is_alone_leaves_at_once() {
    let mut net = cluster(1);
    net.with(0, |node, now| node.leave(now));
    net.run(Duration::from_millis(1));
    assert_eq!(leaves_done(&net, 0), 1);
}

#[test]
fn a_forced_leave_names_the_operators_node() {
    let mut net = cluster(4);
    net.kill(3);
    net.run(secs(15));
    let own = net.with(0, |node, now| node.force_leave(now, "n0", false));
    assert!(matches!(own, Err(EngineError::MemberLive(..))), "{own:?}");
    net.with(0, |node, now| node.force_leave(now, "n3", false))
        .unwrap();
    net.run(secs(1));
    let forced = |by: Option<&str>| {
        let by = by.map(str::to_owned);
        (Status::Left, StatusReason::ForcedOut, by)
    };
    assert_eq!(change(&net, 0, "n3"), forced(None), "its own doing");
    assert_eq!(change(&net, 1, "n3"), forced(Some("n0")));
    assert_eq!(change(&net, 2, "n3"), forced(Some("n0")));
}

#[test]
fn a_forced_leave_reaches_who_is_last_to_see_the_failure() {
    for prune in [false, true] {
        let mut net = cluster(4);
        let subject = ident(&net, 3);
        let forced = Forced {
            subject: ident_bytes(subject),
            prune,
            by: ident(&net, 0).hash,
        };
        net.with(1, |node, now| node.on_forced(now, &forced));
        assert_eq!(
            net.status(1, "n3"),
            Some(Status::Alive),
            "not of a live one"
        );
        net.kill(3);
        net.run(secs(20));
        let expected = (!prune).then_some(Status::Left);
        for viewer in 0..3 {
            assert_eq!(net.status(viewer, "n3"), expected, "seen by {viewer}");
        }
        assert_eq!(net.node(1).forcing.len(), 0);
    }
}

#[test]
fn the_loser_of_a_conflict_is_forced_out_by_its_alias() {
    let mut net = cluster(3);
    net.start(config("n2", 9, 200));
    net.run(secs(3));
    let alias = net.node(2).me().display_name().to_string();
    net.kill(2);
    net.run(secs(15));
    net.with(0, |node, now| node.force_leave(now, &alias, true))
        .unwrap();
    net.run(secs(2));
    assert_eq!(net.status(1, &alias), None);
    assert_eq!(net.status(1, "n2"), Some(Status::Alive));
}

#[test]
fn the_dead_do_not_grow_younger_when_told_of_by_a_young_node() {
    let mut net = cluster(4);
    net.kill(3);
    net.run(secs(15));
    assert_eq!(net.status(0, "n3"), Some(Status::Failed));
    let hash = crate::ident::name_hash("n3");
    let age = secs(86_400 - 30);
    // This clock started seconds ago; the member died nearly a day ago.
    assert!(net.clock().at.as_micros() < 60_000_000);
    for viewer in 0..3 {
        net.with(viewer, |node, now| {
            node.table.backdate(now, hash, Duration::ZERO, age);
            let told = node.table.get(hash).unwrap().state_since.age(now.at);
            assert_eq!(told, age, "passed on undiminished");
        });
    }
    net.run(secs(60));
    for viewer in 0..3 {
        assert_eq!(net.status(viewer, "n3"), None, "24 h after it died");
    }
}

#[test]
fn a_wrong_clock_claims_no_seniority() {
    let mut net = cluster(3);
    let hour: i64 = 3_600_000;
    net.run(secs(60));
    // The seed itself restarts, with a clock that is an hour behind.
    net.kill(0);
    net.skews.insert(addr(0), -hour);
    net.start(config("n0", 0, 200));
    net.run(secs(60));
    let started = |net: &super::Net, n: u16| net.node(n).me().started_unix_ms;
    assert!(started(&net, 0) > started(&net, 1).max(started(&net, 2)));
    let warned = net.node(0).warnings();
    assert!(warned.iter().any(|w| w.starts_with("clock")), "{warned:?}");
    // One that is ahead stays ahead, and later ones come after it, in order.
    net.skews.insert(addr(5), hour);
    net.start(config("n5", 5, 100));
    net.run(secs(5));
    net.start(config("n6", 6, 100));
    net.run(secs(5));
    net.start(config("n7", 7, 100));
    net.run(secs(5));
    assert!(started(&net, 5) < started(&net, 6));
    assert!(started(&net, 6) < started(&net, 7));
    assert!(net.node(1).warnings().is_empty());
}

#[test]
fn the_protocol_is_what_every_live_member_speaks() {
    let mut net = cluster(2);
    assert_eq!(net.node(0).protocol(), 1);
    let stranger = crate::wire::NodeInfo {
        name: "later".to_owned(),
        ip: crate::record::encode_ip([1, 2, 3, 4].into()),
        protocol_min: 2,
        protocol_max: 3,
        ..crate::wire::NodeInfo::default()
    };
    let value = prost::Message::encode_to_vec(&stranger);
    let hash = crate::ident::name_hash("later");
    let delta = crate::wire::RecordDelta {
        hash,
        boot: 1,
        entries: vec![crate::record::encode_entry("node", 1, value.into())],
        upto: 1,
        ..crate::wire::RecordDelta::default()
    };
    net.with(0, |node, now| {
        node.merge_record(now, &delta);
        let ident = Ident {
            hash,
            boot: 1,
            life: 0,
        };
        let update = Update::new(ident, 0, State::Alive);
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        assert!(node.learn_update(now, &update, word));
        node.swim.apply(now.at, vec![update], false);
        node.finish(now);
    });
    assert_eq!(net.node(0).protocol(), 1, "what this node can");
    let warnings = net.node(0).warnings();
    assert!(warnings[0].starts_with("protocol: later"), "{warnings:?}");
}
