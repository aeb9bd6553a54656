//! Verdicts of others that contradict what this node itself heard.

use std::time::Duration;

use super::{Net, addr, cluster};
use crate::Engine;
use crate::ident::Ident;
use crate::member::{Status, StatusReason};
use crate::swim::{State, Update};
use crate::wire::MemberState;

use super::super::doubting::DOUBTS_MAX;

fn ident(net: &Net, n: u16) -> Ident {
    net.node(n).own.ident
}

fn counter(engine: &Engine, name: &str) -> u64 {
    let counters = engine.counters();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| *value)
}

/// Node 1 tells node 0 in an exchange that `subject` is dead.
fn tell_by_exchange(net: &mut Net, subject: Ident) {
    let from = ident(net, 1);
    let state = MemberState {
        ident: super::super::datagrams::ident_bytes(subject),
        state: 2,
        ..MemberState::default()
    };
    net.with(0, |node, now| {
        node.learn_states(now, from, std::iter::once(&state));
        node.finish(now);
        node.check().unwrap();
    });
}

fn alive_to_all(net: &Net, n: u16) -> bool {
    let name = format!("n{n}");
    let status = |viewer: &u16| net.status(*viewer, &name) == Some(Status::Alive);
    [0, 1, 2].iter().all(status)
}

#[test]
fn a_verdict_on_a_member_that_answers_is_not_shown() {
    let mut net = cluster(5);
    let subject = ident(&net, 3);
    net.outputs.clear();
    tell_by_exchange(&mut net, subject);
    net.run(Duration::from_millis(500));
    assert_eq!(counter(net.node(0), "verdicts_doubted"), 1);
    assert_eq!(counter(net.node(0), "verdicts_refuted"), 1);
    net.run(Duration::from_secs(15));
    assert!(alive_to_all(&net, 3));
    for viewer in 0..5 {
        let story = net.story(viewer, "n3");
        assert!(!story.contains(&Status::Failed), "{viewer}: {story:?}");
        assert!(!story.contains(&Status::Suspect), "{viewer}: {story:?}");
    }
}

#[test]
fn a_verdict_on_a_member_that_refuses_is_believed_at_once() {
    let mut net = cluster(5);
    let subject = ident(&net, 3);
    // Nobody's stream told: as if its watchers had died with it.
    net.watches.clear();
    net.nodes.remove(&addr(3));
    tell_by_exchange(&mut net, subject);
    assert_eq!(net.status(0, "n3"), Some(Status::Alive), "not unseen");
    net.run(Duration::from_millis(100));
    let member = net.member(0, "n3").unwrap();
    assert_eq!(member.status, Status::Failed);
    assert_eq!(member.change.reason, StatusReason::ConnectionRefused);
    assert_eq!(member.change.by.as_deref(), Some("n1"));
}

#[test]
fn gossip_of_a_death_is_doubted_by_who_heard_the_member_lately() {
    let mut net = cluster(4);
    net.run(Duration::from_secs(4));
    let (subject, dead) = (ident(&net, 3), State::Down);
    let verdict = Update::new(subject, 0, dead);
    net.with(0, |node, now| {
        node.table.hear(now.at, subject.node());
        assert!(node.doubts(now, &verdict));
        let suspect = Update::new(subject, 0, State::Suspect);
        assert!(!node.doubts(now, &suspect), "a suspicion is no verdict");
        let later = crate::Now {
            at: now.at + Duration::from_secs(4),
            ..now
        };
        assert!(!node.doubts(later, &verdict), "it was silent since");
    });
}

#[test]
fn the_word_of_a_watcher_leaves_no_doubt() {
    let mut net = cluster(5);
    net.run(Duration::from_secs(3));
    let subject = ident(&net, 3);
    let verdict = Update::new(subject, 0, State::Down);
    net.with(0, |node, now| {
        node.table.hear(now.at, subject.node());
        let evidence = crate::suspicion::Evidence::StreamRefused;
        node.witness(now, subject.node(), evidence);
        assert!(!node.doubts(now, &verdict));
        node.finish(now);
    });
}

#[test]
fn more_verdicts_than_can_be_checked_are_accusations() {
    let others = u16::try_from(DOUBTS_MAX).unwrap() + 2;
    let mut net = cluster(others + 2);
    net.outputs.clear();
    for n in 2..others + 2 {
        let subject = ident(&net, n);
        tell_by_exchange(&mut net, subject);
    }
    let node = net.node(0);
    assert_eq!(counter(node, "verdicts_doubted"), DOUBTS_MAX as u64);
    assert_eq!(counter(node, "verdicts_not_checked_busy"), 2);
    net.run(Duration::from_secs(15));
    for n in 2..others + 2 {
        let story = net.story(0, &format!("n{n}"));
        assert!(!story.contains(&Status::Failed), "{n}: {story:?}");
    }
}
