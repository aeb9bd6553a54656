//! Deaths seen on idle streams.

use std::time::Duration;

use super::{Net, addr, cluster, config};
use crate::api::{Output, WatchEvent, WatchFailure, WatchId};
use crate::member::{Status, StatusReason};
use crate::{Engine, Input};

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn counter(engine: &Engine, name: &str) -> u64 {
    let counters = engine.counters();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| *value)
}

/// The stream that a node holds to another.
fn stream(net: &Net, from: u16, to: u16) -> Option<WatchId> {
    let (from, to) = (addr(from), addr(to));
    let mut held = net.watches.iter();
    held.find(|watch| (watch.0, watch.2) == (from, to))
        .map(|watch| watch.1)
}

fn hand(net: &mut Net, node: u16, id: WatchId, event: WatchEvent) {
    net.with(node, |engine, now| {
        engine.handle(now, Input::Watch { id, event })
    });
}

#[test]
fn everybody_watches_three_successors_and_is_watched_by_three() {
    let mut net = cluster(9);
    net.run(Duration::from_secs(3));
    for n in 0..9 {
        let held = net
            .watches
            .iter()
            .filter(|watch| watch.0 == addr(n))
            .count();
        let holders = net
            .watches
            .iter()
            .filter(|watch| watch.2 == addr(n))
            .count();
        assert_eq!((held, holders), (3, 3), "{n}");
        assert_eq!(net.node(n).watching.open(), 3);
    }
}

#[test]
fn a_killed_process_has_failed_everywhere_at_once() {
    for nodes in [2, 3, 5, 12] {
        let mut net = cluster(nodes);
        net.run(Duration::from_secs(3));
        net.kill(1);
        net.run(millis(200));
        for viewer in (0..nodes).filter(|viewer| *viewer != 1) {
            let member = net.member(viewer, "n1").unwrap();
            assert_eq!(member.status, Status::Failed, "{nodes} nodes, {viewer}");
            assert_eq!(member.change.reason, StatusReason::ConnectionRefused);
            assert!(member.change.by.as_deref().is_none_or(|by| by != "n1"));
        }
    }
}

/// Two of the three watchers die in the same moment: the third asks others to look.
#[test]
fn a_lone_watcher_asks_for_a_second_word() {
    let mut net = cluster(9);
    net.run(Duration::from_secs(3));
    let watchers: Vec<u16> = (0..9).filter(|n| stream(&net, *n, 4).is_some()).collect();
    assert_eq!(watchers.len(), 3);
    for n in [watchers[0], watchers[1], 4] {
        net.kill(n);
    }
    net.run(millis(600));
    let asked = counter(net.node(watchers[2]), "witnesses_asked");
    assert!(asked > 0, "it was alone with some word");
    assert_eq!(net.status(watchers[2], "n4"), Some(Status::Failed));
}

/// One node's word alone, however strong, declares nobody failed.
#[test]
fn one_word_is_no_verdict() {
    let mut net = cluster(5);
    net.run(Duration::from_secs(3));
    let (watcher, id) = (0..5)
        .filter(|n| *n != 2)
        .find_map(|n| Some((n, stream(&net, n, 2)?)))
        .unwrap();
    net.outputs.clear();
    // Its own way to the member is what broke: the connection is refused to it alone.
    net.with(watcher, |engine, now| {
        engine.handle(
            now,
            Input::Watch {
                id,
                event: WatchEvent::Lost,
            },
        );
        for _ in 0..2 {
            let mut again = None;
            while let Some(output) = engine.poll_output() {
                if let Output::Watch { id, .. } = output {
                    again = Some(id);
                }
            }
            let event = WatchEvent::Failed(WatchFailure::Refused);
            engine.handle(
                now,
                Input::Watch {
                    id: again.unwrap(),
                    event,
                },
            );
            let later = crate::Now {
                at: now.at + millis(5),
                ..now
            };
            engine.handle(later, Input::Tick);
        }
    });
    net.run(Duration::from_secs(5));
    for viewer in (0..5).filter(|n| *n != 2) {
        let story = net.story(viewer, "n2");
        assert!(!story.contains(&Status::Failed), "{viewer}: {story:?}");
    }
    assert!(net.story(watcher, "n2").contains(&Status::Suspect));
    assert_eq!(net.status(watcher, "n2"), Some(Status::Alive), "it refuted");
}

#[test]
fn a_restart_that_answers_in_time_is_no_failure() {
    let mut net = cluster(5);
    net.run(Duration::from_secs(3));
    net.outputs.clear();
    net.kill(2);
    net.start(config("n2", 2, 101));
    net.run(Duration::from_secs(3));
    for viewer in (0..5).filter(|n| *n != 2) {
        let story = net.story(viewer, "n2");
        assert!(
            story.iter().all(|status| *status == Status::Alive),
            "{viewer}: {story:?}"
        );
        assert_eq!(net.member(viewer, "n2").unwrap().boot, 101);
    }
    net.run(Duration::from_secs(3));
    let holders = net
        .watches
        .iter()
        .filter(|watch| watch.2 == addr(2))
        .count();
    assert!(
        holders >= 3,
        "the new process is watched as well: {holders}"
    );
}

#[test]
fn a_goodbye_accuses_nobody_and_the_stream_comes_back() {
    let mut net = cluster(4);
    net.run(Duration::from_secs(3));
    let id = stream(&net, 0, 2).unwrap();
    net.watches
        .retain(|watch| watch.1 != id || watch.0 != addr(0));
    net.outputs.clear();
    hand(&mut net, 0, id, WatchEvent::Closed);
    net.run(Duration::from_secs(3));
    assert_eq!(net.story(0, "n2"), [], "nothing happened");
    assert!(stream(&net, 0, 2).is_some_and(|new| new != id));
}

#[test]
fn a_stream_that_a_live_process_breaks_is_counted_and_held_anew() {
    let mut net = cluster(4);
    net.run(Duration::from_secs(3));
    let id = stream(&net, 0, 2).unwrap();
    net.outputs.clear();
    hand(&mut net, 0, id, WatchEvent::Lost);
    net.run(millis(100));
    assert_eq!(net.story(0, "n2"), []);
    assert_eq!(counter(net.node(0), "watch_streams_lost_unexplained"), 1);
    assert_eq!(net.node(0).watching.open(), 3);
}

/// What a stopped process's kernel accepts is no word, however many see it.
#[test]
fn accepted_connections_without_a_handshake_only_raise_suspicion() {
    let mut net = cluster(4);
    net.run(Duration::from_secs(3));
    let now = net.clock();
    let subject = net.node(2).own.ident.node();
    for watcher in [0, 1, 3] {
        net.with(watcher, |engine, _| {
            let evidence = crate::suspicion::Evidence::Unanswered;
            engine.witness(now, subject, evidence);
            engine.finish(now);
        });
    }
    assert_eq!(net.status(0, "n2"), Some(Status::Suspect));
    assert_eq!(
        net.member(0, "n2").unwrap().change.reason,
        StatusReason::StreamLost
    );
    net.run(Duration::from_secs(2));
    assert_eq!(net.status(0, "n2"), Some(Status::Alive));
}

#[test]
fn a_leaver_is_left_though_its_streams_end() {
    let mut net = cluster(5);
    net.run(Duration::from_secs(3));
    net.with(3, |engine, now| engine.leave(now));
    net.run(millis(900));
    net.kill(3);
    net.run(Duration::from_secs(3));
    for viewer in [0, 1, 2, 4] {
        assert_eq!(net.status(viewer, "n3"), Some(Status::Left), "{viewer}");
        assert_eq!(counter(net.node(viewer), "members_lost_on_streams"), 0);
    }
}
