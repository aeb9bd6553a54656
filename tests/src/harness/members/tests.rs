use muster_proto::v1::{Heartbeat, MemberChange, Resumed, SnapshotBegin, SnapshotEnd};

use super::*;

fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        boot: 1,
        ..Member::default()
    }
}

fn message(revision: u64, token: &str, event: Event) -> WatchMembersResponse {
    WatchMembersResponse {
        position: Some(Position {
            epoch: "e".to_owned(),
            revision,
        }),
        resume_token: token.to_owned(),
        event: Some(event),
    }
}

fn begin(reason: SnapshotReason) -> Event {
    Event::SnapshotBegin(SnapshotBegin {
        reason: reason.into(),
        estimated_items: 0,
    })
}

fn part(names: &[&str]) -> Event {
    Event::SnapshotPart(MemberList {
        members: names.iter().map(|name| member(name)).collect(),
    })
}

fn delta(changes: &[(MemberChangeKind, &str)]) -> Event {
    let changes = changes
        .iter()
        .map(|(kind, name)| MemberChange {
            kind: (*kind).into(),
            member: Some(member(name)),
        })
        .collect();
    Event::Delta(MemberDelta { changes })
}

/// A view with members a and b at revision 5.
fn live() -> MemberView {
    let mut view = MemberView::default();
    for message in [
        message(5, "", begin(SnapshotReason::Initial)),
        message(5, "", part(&["a", "b"])),
        message(5, "t5", Event::SnapshotEnd(SnapshotEnd { items: 2 })),
    ] {
        view.apply(&message).unwrap();
    }
    view
}

#[test]
fn a_lawful_history_makes_a_copy() {
    let mut view = live();
    let changes = [
        (MemberChangeKind::Removed, "a"),
        (MemberChangeKind::Added, "c"),
    ];
    view.apply(&message(6, "t6", delta(&changes))).unwrap();
    view.apply(&message(7, "t7", Event::Heartbeat(Heartbeat {})))
        .unwrap();
    let names: Vec<&str> = view.members().map(|m| m.name.as_str()).collect();
    assert_eq!(
        (names, view.token(), view.revision()),
        (vec!["b", "c"], "t7", 7)
    );
}

#[test]
fn a_resumed_stream_goes_on_from_the_copy() {
    let mut view = live();
    view.reopen();
    assert!(!view.is_complete());
    view.apply(&message(5, "t5", Event::Resumed(Resumed {})))
        .unwrap();
    view.apply(&message(
        6,
        "t6",
        delta(&[(MemberChangeKind::Updated, "b")]),
    ))
    .unwrap();
    assert!(view.was_resumed() && view.get("a").is_some());
}

#[test]
fn a_snapshot_replaces_the_copy() {
    let mut view = live();
    view.apply(&message(9, "", begin(SnapshotReason::FellBehind)))
        .unwrap();
    view.apply(&message(9, "", part(&["z"]))).unwrap();
    view.apply(&message(
        9,
        "t9",
        Event::SnapshotEnd(SnapshotEnd { items: 1 }),
    ))
    .unwrap();
    assert!(view.get("a").is_none() && view.get("z").is_some());
}

#[test]
fn every_breach_of_the_contract_is_found() {
    let updated = delta(&[(MemberChangeKind::Updated, "a")]);
    let twice = delta(&[
        (MemberChangeKind::Updated, "a"),
        (MemberChangeKind::Removed, "a"),
    ]);
    let breaches = [
        ("the revision went", message(4, "t", updated.clone())),
        ("was reached before", message(5, "t", updated.clone())),
        ("no token", message(6, "", updated)),
        ("two changes", message(6, "t", twice)),
        (
            "not held",
            message(6, "t", delta(&[(MemberChangeKind::Updated, "x")])),
        ),
        ("an empty delta", message(6, "t", delta(&[]))),
        (
            "without a kind",
            message(6, "t", delta(&[(MemberChangeKind::Unspecified, "a")])),
        ),
        ("while Live", message(6, "", part(&["c"]))),
        ("while Live", message(6, "t", Event::Resumed(Resumed {}))),
        (
            "in mid-stream",
            message(6, "", begin(SnapshotReason::Initial)),
        ),
    ];
    for (words, breach) in breaches {
        let error = live().apply(&breach).unwrap_err();
        assert!(error.contains(words), "{error} does not tell of {words}");
    }
}

#[test]
fn every_breach_inside_a_snapshot_is_found() {
    let mut start = MemberView::default();
    start
        .apply(&message(5, "", begin(SnapshotReason::Initial)))
        .unwrap();
    let breaches = [
        ("an empty snapshot part", message(5, "", part(&[]))),
        ("after Some", message(5, "", part(&["b", "a"]))),
        ("a token inside", message(5, "t", part(&["a"]))),
        (
            "snapshot_end says 1",
            message(5, "t", Event::SnapshotEnd(SnapshotEnd { items: 1 })),
        ),
        (
            "while Snapshot",
            message(5, "t", Event::Heartbeat(Heartbeat {})),
        ),
    ];
    for (words, breach) in breaches {
        let error = start.clone().apply(&breach).unwrap_err();
        assert!(error.contains(words), "{error} does not tell of {words}");
    }
}

#[test]
fn another_epoch_is_legal_only_with_a_snapshot_that_says_so() {
    let mut other = message(1, "", begin(SnapshotReason::EpochChanged));
    other.position = Some(Position {
        epoch: "f".to_owned(),
        revision: 1,
    });
    let mut view = live();
    view.reopen();
    view.apply(&other).unwrap();

    let mut wrong = message(6, "t", Event::Heartbeat(Heartbeat {}));
    wrong.position = Some(Position {
        epoch: "f".to_owned(),
        revision: 6,
    });
    assert!(live().apply(&wrong).unwrap_err().contains("the epoch went"));
}

#[test]
fn a_large_message_is_legal_for_one_member_only() {
    let mut big = member("c");
    big.tags.insert("k".to_owned(), "x".repeat(MESSAGE_MAX));
    let one = MemberChange {
        kind: MemberChangeKind::Added.into(),
        member: Some(big.clone()),
    };
    let mut two = member("d");
    two.tags = big.tags.clone();
    let other = MemberChange {
        kind: MemberChangeKind::Added.into(),
        member: Some(two),
    };
    let lawful = Event::Delta(MemberDelta {
        changes: vec![one.clone()],
    });
    live().apply(&message(6, "t", lawful)).unwrap();
    let breach = Event::Delta(MemberDelta {
        changes: vec![one, other],
    });
    assert!(
        live()
            .apply(&message(6, "t", breach))
            .unwrap_err()
            .contains("with 2 members")
    );
}
