use std::collections::BTreeMap;

use bytes::Bytes;
use muster_engine::{Member, Published, Status as MemberStatus};
use pb::watch_containers_response::Event;
use tonic::{Code, Status, Streaming};

use super::super::*;
use super::harness::{ROOT, Served, next, reason, serve};
use crate::containers::tests::{away, container};
use crate::hub::MemberUpdate;
use crate::hub::containers::summary::{Health, Summary, key};
use crate::hub::testing::{member, updated, with_status};

type Watching = Streaming<pb::WatchContainersResponse>;

fn summary(nr: u32, name: &str, state: &str) -> Summary {
    Summary {
        id: container(nr, name).id,
        name: name.to_owned(),
        state: state.to_owned(),
        health: Health::Healthy,
        started_unix_ms: 7,
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        roles: vec!["web".to_owned()],
        ..Summary::default()
    }
}

fn put(summary: &Summary) -> (Arc<str>, Option<Bytes>) {
    (Arc::from(key(&summary.id)), Some(summary.encode()))
}

fn publishes(node: &str, changes: Vec<(Arc<str>, Option<Bytes>)>) -> MemberUpdate {
    MemberUpdate::Published {
        member: member(node, 1, &[]).key(),
        published: Published {
            fresh: false,
            changes,
        },
    }
}

/// Nodes a and b with a container each, and b with another that is stopped.
fn two_nodes(served: &Served) {
    served.put([member("a", 1, &[]), member("b", 1, &[])]);
    served.hub.apply_members(vec![
        publishes("a", vec![put(&summary(1, "shop", "running"))]),
        publishes(
            "b",
            vec![
                put(&summary(2, "shop", "running")),
                put(&summary(3, "db", "exited")),
            ],
        ),
    ]);
}

async fn watch(served: &Served, request: pb::WatchContainersRequest) -> Result<Watching, Status> {
    let answer = served.containers_as(ROOT).watch_containers(request).await;
    answer.map(tonic::Response::into_inner)
}

/// What a snapshot holds, and the last token.
async fn snapshot(stream: &mut Watching) -> (Vec<pb::Container>, String) {
    let mut held = Vec::new();
    loop {
        let message = next(stream).await;
        match message.event.unwrap() {
            Event::SnapshotBegin(_) => held.clear(),
            Event::SnapshotPart(part) => held.extend(part.containers),
            Event::SnapshotEnd(end) => {
                assert_eq!(end.items as usize, held.len());
                return (held, message.resume_token);
            }
            other @ (Event::Resumed(_) | Event::Delta(_) | Event::Heartbeat(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

async fn delta(stream: &mut Watching) -> (Vec<(pb::ContainerChangeKind, String)>, String) {
    let message = next(stream).await;
    let Event::Delta(delta) = message.event.unwrap() else {
        panic!("no delta");
    };
    let shown = |change: pb::ContainerChange| {
        let container = change.container.clone().unwrap();
        (
            change.kind(),
            format!("{}/{}", container.node, container.name),
        )
    };
    (
        delta.changes.into_iter().map(shown).collect(),
        message.resume_token,
    )
}

fn named(containers: &[pb::Container]) -> Vec<String> {
    let names = containers.iter();
    names
        .map(|one| format!("{}/{}", one.node, one.name))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn containers_are_watched_as_members_are() {
    let served = serve().await;
    two_nodes(&served);
    let mut stream = watch(&served, Default::default()).await.unwrap();
    let (held, token) = snapshot(&mut stream).await;
    assert_eq!(named(&held), ["a/shop", "b/shop", "b/db"]);
    assert_eq!(
        (held[0].health(), held[0].started_at.is_some()),
        (pb::ContainerHealth::Healthy, true)
    );
    let gone = (Arc::from(key(&summary(2, "", "").id)), None);
    served.hub.apply_members(vec![publishes("b", vec![gone])]);
    served.hub.apply_members(vec![publishes(
        "a",
        vec![put(&summary(1, "shop", "exited"))],
    )]);
    let mut changes = Vec::new();
    while changes.len() < 2 {
        changes.extend(delta(&mut stream).await.0);
    }
    let removed = (pb::ContainerChangeKind::Removed, "b/shop".to_owned());
    let updated = (pb::ContainerChangeKind::Updated, "a/shop".to_owned());
    assert!(
        changes.contains(&removed) && changes.contains(&updated),
        "{changes:?}"
    );
    let again = pb::WatchContainersRequest {
        resume_token: token,
        ..Default::default()
    };
    let mut resumed = watch(&served, again).await.unwrap();
    assert!(matches!(
        next(&mut resumed).await.event,
        Some(Event::Resumed(_))
    ));
    assert_eq!(delta(&mut resumed).await.0.len(), 2, "what was missed");
}

#[tokio::test(start_paused = true)]
async fn filters_narrow_the_view_and_tokens_are_of_one_view() {
    let served = serve().await;
    two_nodes(&served);
    let running = |local_only| pb::WatchContainersRequest {
        filter: Some(pb::ContainerFilter {
            states: vec!["running".to_owned()],
            nodes: vec!["b".to_owned()],
            ..Default::default()
        }),
        local_only,
        snapshot_only: true,
        ..Default::default()
    };
    let mut stream = watch(&served, running(false)).await.unwrap();
    assert_eq!(named(&snapshot(&mut stream).await.0), ["b/shop"]);
    let mut stream = watch(&served, running(true)).await.unwrap();
    assert_eq!(named(&snapshot(&mut stream).await.0), Vec::<String>::new());
    // A token of the members is none of the containers.
    let mut members = served.members();
    let all = pb::WatchMembersRequest {
        snapshot_only: true,
        ..Default::default()
    };
    let mut members = members.watch_members(all).await.unwrap().into_inner();
    let mut token = String::new();
    while let Some(message) = members.message().await.unwrap() {
        token = message.resume_token;
    }
    let foreign = pb::WatchContainersRequest {
        resume_token: token,
        ..Default::default()
    };
    let mut stream = watch(&served, foreign).await.unwrap();
    let Some(Event::SnapshotBegin(begin)) = next(&mut stream).await.event else {
        panic!("it was taken");
    };
    assert_eq!(begin.reason(), pb::SnapshotReason::FilterChanged);
    let bad = pb::WatchContainersRequest {
        filter: Some(pb::ContainerFilter {
            ids: vec!["zz".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = watch(&served, bad).await.unwrap_err();
    assert_eq!(reason(&refused), "BAD_CONTAINER_ID");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_marked_and_the_containers_of_a_reaped_member_go() {
    let served = serve().await;
    two_nodes(&served);
    let mut stream = watch(&served, Default::default()).await.unwrap();
    snapshot(&mut stream).await;
    let mut failed = with_status(member("b", 1, &[]), MemberStatus::Failed);
    failed.change.at_unix_ms = 9_000;
    served.hub.apply_members(vec![updated(failed.clone())]);
    let Some(Event::Delta(marked)) = next(&mut stream).await.event else {
        panic!("no delta");
    };
    assert_eq!(marked.changes.len(), 2);
    for change in marked.changes {
        let container = change.container.unwrap();
        assert_eq!(container.stale_reason(), pb::StaleReason::Node);
        assert_eq!(container.stale_since.unwrap().seconds, 9);
    }
    served
        .hub
        .apply_members(vec![MemberUpdate::Removed(failed.key())]);
    let (gone, _) = delta(&mut stream).await;
    assert!(
        gone.iter()
            .all(|(kind, _)| *kind == pb::ContainerChangeKind::Removed)
    );
    assert_eq!(gone.len(), 2);
}

async fn inspect(
    served: &Served,
    peer: Peer,
    which: &str,
) -> Result<pb::InspectContainerResponse, Status> {
    let request = pb::InspectContainerRequest {
        container: which.to_owned(),
        node: String::new(),
    };
    let answer = served.containers_as(peer).inspect_container(request).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn inspect_hides_secrets_from_whoever_may_not_do_everything() {
    let served = serve().await;
    served
        .containers
        .send_replace(Arc::new(away(vec![container(1, "shop")])));
    let me = Member {
        is_self: true,
        ..member("me", 1, &[])
    };
    served.hub.apply_members(vec![
        updated(me),
        publishes("me", vec![put(&summary(1, "shop", "running"))]),
    ]);
    let whole = inspect(&served, ROOT, "shop").await.unwrap();
    let text = String::from_utf8(whole.inspect_json.to_vec()).unwrap();
    assert_eq!(text, container(1, "shop").inspect.get(), "byte for byte");
    assert!(!whole.redacted && whole.stale_since.is_some() && whole.node == "me");
    let socket = SocketKind::Child;
    for peer in [Peer { uid: 501, ..ROOT }, Peer { socket, ..ROOT }] {
        let shown = inspect(&served, peer, "shop@me").await.unwrap();
        let text = String::from_utf8(shown.inspect_json.to_vec()).unwrap();
        assert!(shown.redacted && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn inspect_says_which_could_be_meant_and_what_is_not_there() {
    let served = serve().await;
    two_nodes(&served);
    let several = inspect(&served, ROOT, "shop").await.unwrap_err();
    assert_eq!(several.code(), Code::FailedPrecondition);
    assert!(
        several.message().contains("a/shop, b/shop"),
        "{}",
        several.message()
    );
    assert_eq!(reason(&several), "CONTAINER_AMBIGUOUS");
    let none = inspect(&served, ROOT, "nobody").await.unwrap_err();
    assert_eq!(
        (none.code(), reason(&none).as_str()),
        (Code::NotFound, "CONTAINER_NOT_FOUND")
    );
    let bad = inspect(&served, ROOT, "").await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}
