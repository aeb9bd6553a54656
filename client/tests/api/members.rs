//! Watching members: snapshots, deltas, losses and resumption.

use muster::{ChangeKind, Code, Error, MemberWatch, MemberWatchOptions, Update, pb};
use pb::watch_members_response::Event;
use tonic::Status;

use crate::fake::{Fake, Script};

pub(crate) fn member(name: &str, status: pb::MemberStatus) -> pb::Member {
    pb::Member {
        name: name.into(),
        status: status.into(),
        gossip_ip: "127.0.0.1".into(),
        gossip_port: 7946,
        boot: 1,
        ..pb::Member::default()
    }
}

fn message(revision: u64, token: &str, event: Event) -> pb::WatchMembersResponse {
    pb::WatchMembersResponse {
        position: Some(pb::Position {
            epoch: "e".into(),
            revision,
        }),
        resume_token: token.into(),
        event: Some(event),
    }
}

pub(crate) fn begin(reason: pb::SnapshotReason) -> pb::WatchMembersResponse {
    let reason = reason.into();
    let begin = pb::SnapshotBegin {
        reason,
        estimated_items: 0,
    };
    message(1, "", Event::SnapshotBegin(begin))
}

fn part(names: &[&str]) -> pb::WatchMembersResponse {
    let members = names
        .iter()
        .map(|name| member(name, pb::MemberStatus::Alive));
    let list = pb::MemberList {
        members: members.collect(),
    };
    message(1, "", Event::SnapshotPart(list))
}

pub(crate) fn end(items: u32, token: &str) -> pb::WatchMembersResponse {
    message(1, token, Event::SnapshotEnd(pb::SnapshotEnd { items }))
}

pub(crate) fn snapshot(names: &[&str], token: &str) -> Vec<pb::WatchMembersResponse> {
    let items = u32::try_from(names.len()).unwrap();
    vec![
        begin(pb::SnapshotReason::Initial),
        part(names),
        end(items, token),
    ]
}

fn resumed(token: &str) -> pb::WatchMembersResponse {
    message(2, token, Event::Resumed(pb::Resumed {}))
}

pub(crate) fn delta(
    token: &str,
    changes: &[(pb::MemberChangeKind, pb::Member)],
) -> pb::WatchMembersResponse {
    let changes = changes.iter().map(|(kind, member)| pb::MemberChange {
        kind: (*kind).into(),
        member: Some(member.clone()),
    });
    let delta = pb::MemberDelta {
        changes: changes.collect(),
    };
    message(3, token, Event::Delta(delta))
}

fn names(watch: &MemberWatch) -> Vec<&str> {
    watch.items().map(|member| member.name.as_str()).collect()
}

async fn expect_snapshot(watch: &mut MemberWatch) -> pb::SnapshotReason {
    match watch.next().await.unwrap() {
        Update::Snapshot { reason, .. } => reason,
        other => panic!("expected a snapshot, got {other:?}"),
    }
}

async fn expect_lost(watch: &mut MemberWatch) -> Error {
    match watch.next().await.unwrap() {
        Update::Disconnected(lost) => lost.error,
        other => panic!("expected a loss, got {other:?}"),
    }
}

/// Skips the tries that fail while the daemon is away.
async fn expect_back(watch: &mut MemberWatch) -> bool {
    loop {
        match watch.next().await.unwrap() {
            Update::Disconnected(_) => {}
            Update::Reconnected { resumed } => return resumed,
            other => panic!("expected to be back, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_snapshot_then_changes_seen_from_the_copy() {
    use pb::MemberChangeKind::{Added, Removed, Updated};
    let fake = Fake::start();
    let mut messages = snapshot(&["a", "b"], "t1");
    messages.push(delta(
        "t2",
        &[
            (Added, member("c", pb::MemberStatus::Alive)),
            (Updated, member("b", pb::MemberStatus::Failed)),
            (Removed, member("never-held", pb::MemberStatus::Failed)),
        ],
    ));
    messages.push(delta(
        "t3",
        &[(Removed, member("never-held", pb::MemberStatus::Left))],
    ));
    messages.push(delta(
        "t4",
        &[(Removed, member("b", pb::MemberStatus::Failed))],
    ));
    fake.plan(|plan| plan.members.push_back(Script::then_hang(messages)));

    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    assert_eq!(
        expect_snapshot(&mut watch).await,
        pb::SnapshotReason::Initial
    );
    assert_eq!(names(&watch), ["a", "b"]);
    let Update::Changes(changes) = watch.next().await.unwrap() else {
        panic!("expected changes");
    };
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Updated]);
    let before = changes[1].before.as_ref().unwrap();
    assert_eq!(before.status(), pb::MemberStatus::Alive);
    assert_eq!(watch.position().unwrap().revision, 3);
    // The delta that changes nothing here is not handed out.
    let Update::Changes(changes) = watch.next().await.unwrap() else {
        panic!("expected changes");
    };
    assert_eq!(changes[0].kind, ChangeKind::Removed);
    assert_eq!(names(&watch), ["a", "c"]);
    assert!(watch.get("c").is_some() && watch.get("b").is_none());
}

#[tokio::test]
async fn a_restarted_member_replaces_its_entry_and_a_conflict_stands_beside_it() {
    use pb::MemberChangeKind::{Added, Updated};
    let fake = Fake::start();
    let mut messages = snapshot(&["a"], "t1");
    let restarted = pb::Member {
        boot: 2,
        ..member("a", pb::MemberStatus::Alive)
    };
    let loser = pb::Member {
        boot: 1,
        alias: "a~00112233".into(),
        ..member("a", pb::MemberStatus::Alive)
    };
    messages.push(delta("t2", &[(Updated, restarted), (Added, loser)]));
    fake.plan(|plan| plan.members.push_back(Script::then_hang(messages)));
    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    expect_snapshot(&mut watch).await;
    watch.next().await.unwrap();
    assert_eq!(names(&watch), ["a", "a"]);
    assert_eq!(watch.get("a").unwrap().boot, 2);
    assert_eq!(watch.get("a~00112233").unwrap().boot, 1);
}

#[tokio::test]
async fn a_daemon_killed_in_the_middle_of_a_snapshot_leaves_no_half_copy() {
    let mut fake = Fake::start();
    fake.plan(|plan| {
        let half = [begin(pb::SnapshotReason::Initial), part(&["a", "ghost"])];
        plan.members.push_back(Script::then_hang(half));
    });
    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    // Wait until the stream is open, then kill; the half snapshot must not be seen.
    tokio::select! {
        update = watch.next() => panic!("half a snapshot gave {update:?}"),
        () = wait_for(|| fake.plan(|plan| !plan.member_requests.is_empty())) => {}
    }
    fake.kill();
    let error = expect_lost(&mut watch).await;
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    assert_eq!(names(&watch), Vec::<&str>::new());
    let fake = fake.restart();
    fake.plan(|plan| {
        plan.members
            .push_back(Script::then_hang(snapshot(&["a"], "t1")))
    });
    assert!(!expect_back(&mut watch).await);
    expect_snapshot(&mut watch).await;
    assert_eq!(names(&watch), ["a"]);
    assert_eq!(
        fake.plan(|plan| plan.member_requests[0].resume_token.clone()),
        ""
    );
}

#[tokio::test]
async fn a_broken_stream_resumes_by_its_last_token() {
    use pb::MemberChangeKind::Added;
    let fake = Fake::start();
    fake.plan(|plan| {
        let mut first = snapshot(&["a"], "t1");
        let heartbeat = Event::Heartbeat(pb::Heartbeat {});
        first.push(message(9, "t9", heartbeat));
        plan.members.push_back(Script::then_end(first));
        let added = delta("t10", &[(Added, member("b", pb::MemberStatus::Alive))]);
        plan.members
            .push_back(Script::then_hang([resumed("t9"), added]));
    });
    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    expect_snapshot(&mut watch).await;
    assert!(matches!(expect_lost(&mut watch).await, Error::Ended { .. }));
    assert_eq!(
        names(&watch),
        ["a"],
        "the copy stands while the daemon is away"
    );
    assert!(expect_back(&mut watch).await);
    assert!(matches!(watch.next().await.unwrap(), Update::Changes(_)));
    assert_eq!(names(&watch), ["a", "b"]);
    assert_eq!(
        fake.plan(|plan| plan.member_requests[1].resume_token.clone()),
        "t9"
    );
}

#[tokio::test]
async fn falling_behind_replaces_the_copy_and_a_break_inside_keeps_the_old_one() {
    let fake = Fake::start();
    fake.plan(|plan| {
        let mut first = snapshot(&["a", "b"], "t1");
        first.push(begin(pb::SnapshotReason::FellBehind));
        first.push(part(&["x"]));
        plan.members
            .push_back(Script::then_fail(first, Status::unavailable("bye")));
        let mut second = vec![begin(pb::SnapshotReason::TokenExpired), part(&["b", "c"])];
        second.push(end(2, "t2"));
        second.push(begin(pb::SnapshotReason::FellBehind));
        second.push(end(0, "t3"));
        plan.members.push_back(Script::then_hang(second));
    });
    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    expect_snapshot(&mut watch).await;
    assert_eq!(
        expect_lost(&mut watch).await.code(),
        Some(Code::Unavailable)
    );
    assert_eq!(names(&watch), ["a", "b"]);
    assert!(!expect_back(&mut watch).await);
    assert_eq!(
        expect_snapshot(&mut watch).await,
        pb::SnapshotReason::TokenExpired
    );
    assert_eq!(names(&watch), ["b", "c"]);
    assert_eq!(
        fake.plan(|plan| plan.member_requests[1].resume_token.clone()),
        "t1"
    );
    assert_eq!(
        expect_snapshot(&mut watch).await,
        pb::SnapshotReason::FellBehind
    );
    assert_eq!(names(&watch), Vec::<&str>::new());
}

#[tokio::test]
async fn broken_rules_drop_the_stream_and_the_token() {
    use pb::MemberChangeKind::Added;
    let added = || delta("bad", &[(Added, member("b", pb::MemberStatus::Alive))]);
    let empty = pb::WatchMembersResponse::default;
    let begun = || begin(pb::SnapshotReason::Initial);
    for broken in [
        vec![added()],
        vec![resumed("t0")],
        vec![begun(), added()],
        vec![begun(), part(&["a"]), end(2, "bad")],
        vec![begun(), end(0, "t"), part(&["a"])],
        vec![begun(), end(0, "t"), end(0, "t")],
        vec![begun(), end(0, "t"), resumed("t")],
        vec![begun(), empty()],
    ] {
        let fake = Fake::start();
        fake.plan(|plan| {
            plan.members.push_back(Script::then_hang(broken.clone()));
            plan.members
                .push_back(Script::then_hang(snapshot(&["a"], "t1")));
        });
        let mut watch = fake.client().watch_members(MemberWatchOptions::default());
        let error = loop {
            match watch.next().await.unwrap() {
                Update::Snapshot { .. } => {}
                Update::Disconnected(lost) => break lost.error,
                other => panic!("{broken:?}: {other:?}"),
            }
        };
        assert!(
            matches!(error, Error::Protocol { .. }),
            "{broken:?}: {error:?}"
        );
        assert!(!expect_back(&mut watch).await);
        expect_snapshot(&mut watch).await;
        assert_eq!(names(&watch), ["a"]);
        assert_eq!(
            fake.plan(|plan| plan.member_requests[1].resume_token.clone()),
            ""
        );
    }
}

#[tokio::test]
async fn a_refused_request_is_final_but_a_refused_token_is_not() {
    let fake = Fake::start();
    let refused = || Script::then_fail([], Status::invalid_argument("no token"));
    fake.plan(|plan| {
        plan.members
            .push_back(Script::then_end(snapshot(&["a"], "t1")));
        plan.members.push_back(refused());
        plan.members
            .push_back(Script::then_end(snapshot(&["b"], "")));
        plan.members.push_back(refused());
    });
    let mut watch = fake.client().watch_members(MemberWatchOptions::default());
    expect_snapshot(&mut watch).await;
    expect_lost(&mut watch).await;
    assert_eq!(
        expect_lost(&mut watch).await.code(),
        Some(Code::InvalidArgument)
    );
    assert!(!expect_back(&mut watch).await);
    expect_snapshot(&mut watch).await;
    assert_eq!(names(&watch), ["b"]);
    expect_lost(&mut watch).await;
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument));
}

#[tokio::test]
async fn a_list_is_one_snapshot_and_a_cut_one_is_an_error() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.members
            .push_back(Script::then_end(snapshot(&["a", "b"], "t")));
        let half = [begin(pb::SnapshotReason::Initial), part(&["a"])];
        plan.members.push_back(Script::then_end(half.clone()));
        let [first, second] = half;
        plan.members
            .push_back(Script::then_end([first, second, end(2, "t")]));
    });
    let client = fake.client();
    let filter = pb::MemberFilter::default();
    let listed = client.members(filter.clone()).await.unwrap();
    assert_eq!(listed.items.len(), 2);
    assert!(fake.plan(|plan| plan.member_requests[0].snapshot_only));
    let error = client.members(filter.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Ended { .. }), "{error:?}");
    let error = client.members(filter).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

/// Polls until the condition holds.
pub(crate) async fn wait_for(condition: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
    while !condition() {
        tick.tick().await;
    }
}
