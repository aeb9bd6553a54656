use muster_proto::v1::watch_members_response::Event;
use muster_proto::v1::{
    Heartbeat, MemberChange, MemberChangeKind, MemberDelta, MemberList, Position, Resumed,
    SnapshotBegin, SnapshotEnd, SnapshotReason,
};

use super::super::{Promise, Step, told};
use super::*;

type Steps = Vec<Step<WatchMembersResponse>>;

fn member(name: &str, changed_revision: u64, status: MemberStatus) -> Member {
    Member {
        name: name.to_owned(),
        boot: 1,
        changed_revision,
        status: status.into(),
        ..Member::default()
    }
}

fn alive(name: &str, revision: u64) -> Member {
    member(name, revision, MemberStatus::Alive)
}

fn say_in(epoch: &str, revision: u64, event: Event) -> Step<WatchMembersResponse> {
    let inside = matches!(event, Event::SnapshotBegin(_) | Event::SnapshotPart(_));
    let resume_token = if inside {
        String::new()
    } else {
        format!("{epoch}-{revision}")
    };
    Step::Message(WatchMembersResponse {
        position: Some(Position {
            epoch: epoch.to_owned(),
            revision,
        }),
        resume_token,
        event: Some(event),
    })
}

fn say(revision: u64, event: Event) -> Step<WatchMembersResponse> {
    say_in("e", revision, event)
}

fn opened(daemon: &str, token: &str) -> Step<WatchMembersResponse> {
    Step::Opened {
        daemon: daemon.to_owned(),
        token: token.as_bytes().to_vec(),
    }
}

fn snapshot(epoch: &str, revision: u64, reason: SnapshotReason, members: Vec<Member>) -> Steps {
    let items = u32::try_from(members.len()).unwrap();
    let begin = SnapshotBegin {
        reason: reason.into(),
        estimated_items: 0,
    };
    let part = Event::SnapshotPart(MemberList { members });
    let end = Event::SnapshotEnd(SnapshotEnd { items });
    vec![
        say_in(epoch, revision, Event::SnapshotBegin(begin)),
        say_in(epoch, revision, part),
        say_in(epoch, revision, end),
    ]
}

fn delta(revision: u64, changes: &[(MemberChangeKind, Member)]) -> Step<WatchMembersResponse> {
    let changes = changes.iter().map(|(kind, member)| MemberChange {
        kind: (*kind).into(),
        member: Some(member.clone()),
    });
    let changes = changes.collect();
    say(revision, Event::Delta(MemberDelta { changes }))
}

fn updated(name: &str, revision: u64) -> (MemberChangeKind, Member) {
    (MemberChangeKind::Updated, alive(name, revision))
}

fn history(consumer: &str, steps: Steps) -> MemberHistory {
    MemberHistory {
        steps,
        ..History::new(consumer, MemberFilter::default())
    }
}

/// a and b at revision 5 of daemon d.
fn start() -> Steps {
    let members = vec![alive("a", 4), alive("b", 5)];
    let mut steps = vec![opened("d", "")];
    steps.extend(snapshot("e", 5, SnapshotReason::Initial, members));
    steps
}

/// As [`start`], then changes of a at 6, of both at 8.
fn lawful() -> Steps {
    let mut steps = start();
    steps.push(delta(6, &[updated("a", 6)]));
    steps.push(delta(8, &[updated("a", 8), updated("b", 7)]));
    steps
}

fn found(histories: &[MemberHistory]) -> Vec<Promise> {
    let (breaches, _seen) = check(histories);
    breaches.iter().map(|breach| breach.promise).collect()
}

#[test]
fn lawful_histories_have_no_breach_and_are_counted() {
    // One sees all, one merges, one comes back with its token, one at another daemon.
    let mut merges = start();
    merges.push(delta(8, &[updated("a", 8), updated("b", 7)]));
    let mut returns = start();
    returns.extend([
        Step::Ended,
        opened("d", "e-5"),
        say(5, Event::Resumed(Resumed {})),
    ]);
    returns.push(delta(8, &[updated("a", 8), updated("b", 7)]));
    returns.push(say(9, Event::Heartbeat(Heartbeat {})));
    let mut moves = start();
    moves.extend([Step::Ended, opened("f", "e-5")]);
    let there = vec![alive("a", 1), alive("b", 2)];
    moves.extend(snapshot("g", 2, SnapshotReason::EpochChanged, there));
    let histories = [
        history("all", lawful()),
        history("merges", merges),
        history("returns", returns),
        history("moves", moves),
    ];
    let (breaches, seen) = check(&histories);
    assert_eq!(told(&breaches), "");
    assert_eq!((seen.snapshots, seen.resumed, seen.deltas), (5, 1, 4));
}

#[test]
fn every_planted_breach_in_one_history_is_found() {
    let removed = (MemberChangeKind::Removed, alive("b", 5));
    let cases: Vec<(Promise, Steps)> = vec![
        (Promise::Ordered, vec![delta(4, &[updated("a", 4)])]),
        (Promise::Unique, vec![delta(5, &[updated("a", 5)])]),
        (Promise::Unique, vec![delta(6, &[updated("a", 4)])]),
        (
            Promise::Unique,
            vec![delta(6, &[updated("a", 6), updated("a", 6)])],
        ),
        (
            Promise::GapFree,
            vec![delta(6, &[removed]), delta(7, &[updated("b", 7)])],
        ),
        (
            Promise::Resumable,
            vec![say_in("x", 9, Event::Heartbeat(Heartbeat {}))],
        ),
        (
            Promise::Resumable,
            vec![opened("d", "e-4"), say(5, Event::Resumed(Resumed {}))],
        ),
        (
            Promise::Resumable,
            vec![
                opened("d", "e-5"),
                say_in("x", 1, Event::Resumed(Resumed {})),
            ],
        ),
        (
            Promise::Resumable,
            [
                vec![opened("d", "e-5")],
                snapshot("e", 5, SnapshotReason::EpochChanged, vec![]),
            ]
            .concat(),
        ),
        (
            Promise::Resumable,
            [
                vec![opened("d", "")],
                snapshot("e", 5, SnapshotReason::TokenExpired, vec![]),
            ]
            .concat(),
        ),
        (
            Promise::Resumable,
            vec![opened("d", ""), say(5, Event::Resumed(Resumed {}))],
        ),
    ];
    for (promise, planted) in cases {
        let steps = [start(), planted.clone()].concat();
        assert!(
            found(&[history("one", steps)]).contains(&promise),
            "{promise:?} is not found in {planted:?}"
        );
    }
}

#[test]
fn a_snapshot_that_lacks_what_it_counts_is_found() {
    let mut steps = start();
    steps.remove(2);
    assert!(found(&[history("one", steps)]).contains(&Promise::Atomic));
}

#[test]
fn a_snapshot_that_was_cut_is_no_breach_if_it_comes_again() {
    let mut steps = start();
    steps.truncate(3);
    steps.push(Step::Ended);
    steps.extend(start());
    let (breaches, seen) = check(&[history("one", steps)]);
    assert_eq!(told(&breaches), "");
    assert_eq!((seen.cut, seen.snapshots), (1, 1));
    // But its token, or that of a copy before it, does not stand for what it brought.
    let mut steps = start();
    steps.truncate(3);
    steps.extend([opened("d", "e-5"), say(5, Event::Resumed(Resumed {}))]);
    assert!(!found(&[history("one", steps)]).is_empty());
}

#[test]
fn a_change_that_was_left_out_is_found() {
    let mut holed = start();
    holed.push(delta(8, &[updated("b", 7)]));
    let found = found(&[history("all", lawful()), history("holed", holed)]);
    assert!(found.contains(&Promise::GapFree), "{found:?}");
}

#[test]
fn a_removal_that_was_left_out_is_found() {
    let mut removes = start();
    removes.push(delta(6, &[(MemberChangeKind::Removed, alive("b", 5))]));
    let mut keeps = start();
    keeps.push(delta(6, &[updated("a", 6)]));
    let found = found(&[history("removes", removes), history("keeps", keeps)]);
    assert!(!found.is_empty());
}

#[test]
fn half_of_what_changed_at_once_is_found() {
    let mut both = start();
    both.push(delta(6, &[updated("a", 6), updated("b", 6)]));
    let mut half = start();
    half.push(delta(6, &[updated("a", 6)]));
    half.push(delta(7, &[updated("b", 6)]));
    let found = found(&[history("both", both), history("half", half)]);
    assert!(found.contains(&Promise::GapFree), "{found:?}");
}

#[test]
fn two_contents_of_one_revision_and_one_epoch_of_two_daemons_are_found() {
    let mut other = lawful();
    let Some(Step::Message(message)) = other.last_mut() else {
        panic!("no message");
    };
    let Some(Event::Delta(delta)) = &mut message.event else {
        panic!("no delta");
    };
    let member = delta.changes[0].member.as_mut().unwrap();
    member.set_status(MemberStatus::Failed);
    let histories = [history("one", lawful()), history("other", other)];
    assert!(found(&histories).contains(&Promise::Atomic));
    let mut elsewhere = lawful();
    elsewhere[0] = opened("f", "");
    let histories = [history("one", lawful()), history("elsewhere", elsewhere)];
    assert!(found(&histories).contains(&Promise::Resumable));
}

#[test]
fn a_filter_that_lets_too_much_or_too_little_through_is_found() {
    let only_a = MemberFilter {
        names: vec!["a".to_owned()],
        ..MemberFilter::default()
    };
    let filtered = |steps| MemberHistory {
        steps,
        ..History::new("filtered", only_a.clone())
    };
    assert!(found(&[filtered(start())]).contains(&Promise::Filtered));
    let mut steps = vec![opened("d", "")];
    steps.extend(snapshot(
        "e",
        5,
        SnapshotReason::Initial,
        vec![alive("a", 4)],
    ));
    let good = [history("all", lawful()), filtered(steps.clone())];
    assert_eq!(found(&good), []);
    // It never hears of the change at 6.
    steps.push(say(8, Event::Heartbeat(Heartbeat {})));
    let holed = [history("all", lawful()), filtered(steps)];
    assert!(found(&holed).contains(&Promise::GapFree));
}

#[test]
fn what_a_watcher_saw_of_a_member_is_told() {
    let mut steps = start();
    let failed = (
        MemberChangeKind::Updated,
        member("b", 6, MemberStatus::Failed),
    );
    steps.push(delta(6, &[failed]));
    steps.push(delta(7, &[updated("b", 7)]));
    let history = history("one", steps);
    let expected = [
        MemberStatus::Alive,
        MemberStatus::Failed,
        MemberStatus::Alive,
    ];
    assert_eq!(statuses(&history, "b"), expected);
    let ever = ever(&history, MemberStatus::Failed);
    assert_eq!(ever.keys().collect::<Vec<_>>(), ["b"]);
}
