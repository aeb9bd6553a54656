use muster_engine::MemberKey;

use super::super::Hub;
use super::super::testing::{member, updated, with_status};
use super::*;

fn id(nr: u8) -> String {
    format!("{nr:02x}").repeat(32)
}

fn named(nr: u8, name: &str) -> (Arc<str>, Option<Bytes>) {
    let summary = Summary {
        id: Arc::from(id(nr)),
        name: name.to_owned(),
        ..Summary::default()
    };
    (Arc::from(summary::key(&id(nr))), Some(summary.encode()))
}

fn engine(state: EngineState, since: u64) -> (Arc<str>, Option<Bytes>) {
    let engine = EngineSummary {
        state,
        away_since_unix_ms: since,
        ..EngineSummary::default()
    };
    (Arc::from(ENGINE_KEY), Some(engine.encode()))
}

fn of(name: &str) -> MemberKey {
    member(name, 1, &[]).key()
}

fn publishes(name: &str, fresh: bool, changes: Vec<(Arc<str>, Option<Bytes>)>) -> MemberUpdate {
    MemberUpdate::Published {
        member: of(name),
        published: Published { fresh, changes },
    }
}

fn hub() -> Hub {
    let hub = Hub::new("e".to_owned());
    hub.apply_members(vec![
        updated(member("a", 1, &[])),
        updated(member("b", 1, &[])),
    ]);
    hub
}

/// Node, name and mark of every container.
fn shown(hub: &Hub) -> Vec<(String, String, Option<Stale>)> {
    let all = hub.containers().store().changes_since(0).unwrap();
    let held = all.items.into_iter().filter(|change| !change.removed);
    let mut shown: Vec<_> = held
        .map(|change| change.entry.value)
        .map(|held| (held.node.to_string(), held.summary.name.clone(), held.stale))
        .collect();
    shown.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    shown
}

fn plain(hub: &Hub) -> Vec<(String, String)> {
    let shown = shown(hub).into_iter();
    shown.map(|(node, name, _)| (node, name)).collect()
}

fn pair(node: &str, name: &str) -> (String, String) {
    (node.to_owned(), name.to_owned())
}

#[test]
fn containers_come_and_go_and_members_do_not_change_by_it() {
    let hub = hub();
    let members = hub.members().revision();
    hub.apply_members(vec![
        publishes("a", true, vec![named(1, "web"), named(2, "db")]),
        publishes("b", true, vec![named(1, "web")]),
    ]);
    assert_eq!(
        plain(&hub),
        [pair("a", "db"), pair("a", "web"), pair("b", "web")]
    );
    assert_eq!(
        hub.containers().store().revision(),
        1,
        "one batch is one revision"
    );
    let gone = (Arc::from(summary::key(&id(2))), None);
    hub.apply_members(vec![publishes("a", false, vec![gone])]);
    assert_eq!(plain(&hub), [pair("a", "web"), pair("b", "web")]);
    assert_eq!(hub.members().revision(), members);
}

#[test]
fn a_new_run_takes_the_place_of_all_that_was_before() {
    let hub = hub();
    hub.apply_members(vec![publishes(
        "a",
        true,
        vec![named(1, "web"), named(2, "db")],
    )]);
    hub.apply_members(vec![publishes("a", true, vec![named(2, "db2")])]);
    assert_eq!(plain(&hub), [pair("a", "db2")]);
    hub.apply_members(vec![MemberUpdate::Removed(of("a"))]);
    assert_eq!(plain(&hub), []);
    // A last word of somebody who is gone stays without effect.
    hub.apply_members(vec![publishes("a", false, vec![named(1, "web")])]);
    assert_eq!(plain(&hub), []);
}

#[test]
fn what_nobody_can_vouch_for_is_marked_until_somebody_can() {
    let hub = hub();
    hub.apply_members(vec![publishes(
        "a",
        true,
        vec![engine(EngineState::Live, 0), named(1, "web")],
    )]);
    let mark = |hub: &Hub| {
        shown(hub)[0]
            .2
            .map(|stale| (stale.since_unix_ms, stale.reason))
    };
    assert_eq!(mark(&hub), None);
    hub.apply_members(vec![publishes(
        "a",
        false,
        vec![engine(EngineState::Away, 77)],
    )]);
    assert_eq!(mark(&hub), Some((77, StaleReason::Engine)));
    let mut failed = with_status(member("a", 1, &[]), Status::Failed);
    failed.change.at_unix_ms = 99;
    hub.apply_members(vec![updated(failed)]);
    assert_eq!(mark(&hub), Some((99, StaleReason::Node)));
    let suspect = with_status(member("a", 1, &[]), Status::Suspect);
    hub.apply_members(vec![
        updated(suspect),
        publishes("a", false, vec![engine(EngineState::Live, 0)]),
    ]);
    assert_eq!(mark(&hub), None);
}

#[test]
fn what_makes_no_sense_is_counted_and_not_shown() {
    let hub = hub();
    let garbage = (
        Arc::from(summary::key(&id(1))),
        Some(Bytes::from_static(b"\xff")),
    );
    let (_, other) = named(2, "db");
    let foreign = (Arc::from(summary::key(&id(3))), other);
    hub.apply_members(vec![publishes("a", true, vec![garbage, foreign])]);
    assert_eq!(plain(&hub), []);
    assert_eq!(hub.containers().refused.get(), 2);
}
