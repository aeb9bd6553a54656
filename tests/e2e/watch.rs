//! The contract of `WatchMembers`, over a real socket.

use std::time::Duration;

use muster_proto::v1::WatchMembersResponse;
use muster_proto::v1::watch_members_response::Event;
use muster_proto::v1::{
    MemberFilter, MemberStatus, SnapshotReason, UpdateTagsRequest, WatchMembersRequest,
};
use muster_tests::harness::api::Watch;
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::harness::{Api, MemberView};
use tonic::Code;

use crate::{cluster_of, daemon};

/// Takes messages until the view satisfies `wanted`.
async fn follow(
    watch: &mut Watch<WatchMembersResponse>,
    view: &mut MemberView,
    limit: Duration,
    wanted: impl Fn(&MemberView) -> bool,
) {
    let reading = async {
        while !(view.is_complete() && wanted(view)) {
            view.apply(&watch.next().await)
                .expect("the contract is broken");
        }
    };
    tokio::time::timeout(limit, reading)
        .await
        .expect("the view never came to be as expected");
}

async fn set_tag(api: &mut Api, key: &str, value: &str) {
    let set = [(key.to_owned(), value.to_owned())].into();
    api.node
        .update_tags(UpdateTagsRequest {
            set,
            remove: Vec::new(),
        })
        .await
        .unwrap();
}

fn with_filter(filter: MemberFilter) -> WatchMembersRequest {
    WatchMembersRequest {
        filter: Some(filter),
        ..Default::default()
    }
}

fn tag_is(key: &str, pattern: &str) -> MemberFilter {
    MemberFilter {
        tags: [(key.to_owned(), pattern.to_owned())].into(),
        ..MemberFilter::default()
    }
}

#[tokio::test]
async fn a_watch_starts_with_a_snapshot_and_follows_every_change() {
    let mut cluster = cluster_of(3).start().await;
    let mut api = cluster.node(0).api().await;
    let mut watch = api.watch_members(WatchMembersRequest::default()).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |view| {
        view.members().count() == 3
    })
    .await;
    assert_eq!(view.snapshot_reason(), Some(SnapshotReason::Initial));

    set_tag(&mut cluster.node(1).api().await, "colour", "red").await;
    let red = |view: &MemberView| {
        view.get("node-1")
            .is_some_and(|m| m.tags.get("colour").is_some_and(|c| c == "red"))
    };
    follow(&mut watch, &mut view, SOON, red).await;

    cluster.node_mut(2).kill().await;
    let failed = |view: &MemberView| {
        view.get("node-2")
            .is_some_and(|m| m.status() == MemberStatus::Failed)
    };
    follow(&mut watch, &mut view, DETECTION, failed).await;
    let newcomer = cluster.newcomer("late").ready().await;
    follow(&mut watch, &mut view, SOON, |view| {
        view.get("late").is_some()
    })
    .await;
    drop(newcomer);
}

#[tokio::test]
async fn a_watch_resumes_from_its_token_with_only_what_changed() {
    let cluster = cluster_of(3).start().await;
    let mut api = cluster.node(0).api().await;
    let mut watch = api.watch_members(WatchMembersRequest::default()).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |_| true).await;
    drop(watch);

    set_tag(&mut cluster.node(0).api().await, "while", "away").await;
    let resume_token = view.token().to_owned();
    let mut watch = api
        .watch_members(WatchMembersRequest {
            resume_token,
            ..Default::default()
        })
        .await;
    view.reopen();
    follow(&mut watch, &mut view, SOON, |view| {
        view.get("node-0")
            .is_some_and(|m| m.tags.contains_key("while"))
    })
    .await;
    assert!(
        view.was_resumed(),
        "it started over: {:?}",
        view.snapshot_reason()
    );
}

#[tokio::test]
async fn a_token_that_does_not_fit_starts_over_and_says_why() {
    let cluster = cluster_of(2).start().await;
    let mut first = cluster.node(0).api().await;
    let mut watch = first.watch_members(WatchMembersRequest::default()).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |_| true).await;
    let token = view.token().to_owned();

    let mut second = cluster.node(1).api().await;
    let foreign = WatchMembersRequest {
        resume_token: token.clone(),
        ..Default::default()
    };
    assert_eq!(
        reason(&mut second, foreign).await,
        SnapshotReason::EpochChanged
    );

    let other_filter = WatchMembersRequest {
        resume_token: token,
        ..with_filter(MemberFilter {
            names: vec!["node-0".to_owned()],
            ..Default::default()
        })
    };
    assert_eq!(
        reason(&mut first, other_filter).await,
        SnapshotReason::FilterChanged
    );
}

/// Why a watch starts with a snapshot.
async fn reason(api: &mut Api, request: WatchMembersRequest) -> SnapshotReason {
    let mut watch = api.watch_members(request).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |_| true).await;
    view.snapshot_reason().expect("it resumed")
}

#[tokio::test]
async fn a_restarted_daemon_starts_watches_over() {
    let mut node = daemon("one").ready().await;
    let mut view = MemberView::default();
    let mut api = node.api().await;
    let mut watch = api.watch_members(WatchMembersRequest::default()).await;
    follow(&mut watch, &mut view, SOON, |_| true).await;
    node.kill().await;
    node.restart().await;
    let resume_token = view.token().to_owned();
    let request = WatchMembersRequest {
        resume_token,
        ..Default::default()
    };
    let mut watch = node.api().await.watch_members(request).await;
    view.reopen();
    follow(&mut watch, &mut view, SOON, |_| true).await;
    assert_eq!(view.snapshot_reason(), Some(SnapshotReason::EpochChanged));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let requests = [
        WatchMembersRequest {
            resume_token: "garbage".to_owned(),
            ..Default::default()
        },
        WatchMembersRequest {
            resume_token: "x".repeat(10_000),
            ..Default::default()
        },
        with_filter(tag_is("k", "(")),
        with_filter(MemberFilter {
            name_regex: "[".to_owned(),
            ..Default::default()
        }),
        with_filter(MemberFilter {
            name_regex: "a".repeat(300),
            ..Default::default()
        }),
        with_filter(MemberFilter {
            roles: (0..65).map(|n| format!("r{n}")).collect(),
            ..Default::default()
        }),
        WatchMembersRequest {
            heartbeat_interval: Some(seconds(3_600)),
            ..Default::default()
        },
        WatchMembersRequest {
            heartbeat_interval: Some(seconds(-1)),
            ..Default::default()
        },
        WatchMembersRequest {
            min_interval: Some(seconds(61)),
            ..Default::default()
        },
    ];
    for request in requests {
        let status = match api.members.watch_members(request.clone()).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{request:?}: {status:?}"
        );
        assert!(!status.message().is_empty());
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn filters_select_by_name_role_status_and_tag() {
    let cluster = cluster_of(3)
        .each(|n, builder| match n {
            0 => builder.role("web").tag("zone", "eu-1"),
            1 => builder.role("db").tag("zone", "eu-2"),
            _ => builder.tag("zone", "us-1"),
        })
        .start()
        .await;
    let text = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let cases = [
        (
            MemberFilter {
                names: text(&["node-2"]),
                ..Default::default()
            },
            vec!["node-2"],
        ),
        (
            MemberFilter {
                roles: text(&["web", "db"]),
                ..Default::default()
            },
            vec!["node-0", "node-1"],
        ),
        (
            MemberFilter {
                name_regex: "node-[12]".to_owned(),
                ..Default::default()
            },
            vec!["node-1", "node-2"],
        ),
        (tag_is("zone", "eu-.*"), vec!["node-0", "node-1"]),
        (tag_is("zone", "eu"), vec![]),
        (tag_is("missing", ""), vec!["node-0", "node-1", "node-2"]),
        (
            MemberFilter {
                statuses: vec![MemberStatus::Failed.into()],
                ..Default::default()
            },
            vec![],
        ),
        (
            MemberFilter {
                roles: text(&["web"]),
                ..tag_is("zone", "us-1")
            },
            vec![],
        ),
    ];
    let mut api = cluster.node(0).api().await;
    for (filter, expected) in cases {
        let mut watch = api.watch_members(with_filter(filter.clone())).await;
        let mut view = MemberView::default();
        follow(&mut watch, &mut view, SOON, |_| true).await;
        let names: Vec<&str> = view.members().map(|m| m.name.as_str()).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_member_enters_and_leaves_a_filtered_view() {
    let cluster = cluster_of(2).start().await;
    let mut api = cluster.node(0).api().await;
    let mut watch = api.watch_members(with_filter(tag_is("on", "yes"))).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |view| {
        view.members().count() == 0
    })
    .await;
    let mut other = cluster.node(1).api().await;
    set_tag(&mut other, "on", "yes").await;
    follow(&mut watch, &mut view, SOON, |view| {
        view.get("node-1").is_some()
    })
    .await;
    set_tag(&mut other, "on", "no").await;
    follow(&mut watch, &mut view, SOON, |view| {
        view.get("node-1").is_none()
    })
    .await;
}

#[tokio::test]
async fn three_hundred_different_filters_all_get_their_own_answer() {
    let node = daemon("one").tag("n", "7").ready().await;
    let mut api = node.api().await;
    let mut watches = Vec::new();
    for n in 0..300 {
        let request = with_filter(tag_is("n", &n.to_string()));
        watches.push(api.watch_members(request).await);
    }
    for (n, watch) in watches.iter_mut().enumerate() {
        let mut view = MemberView::default();
        follow(watch, &mut view, SOON, |_| true).await;
        assert_eq!(view.members().count(), usize::from(n == 7), "filter {n}");
    }
    set_tag(&mut node.api().await, "n", "200").await;
    let delta = watches[200].next().await;
    assert!(matches!(delta.event, Some(Event::Delta(_))), "{delta:?}");
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_with_tokens() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let request = WatchMembersRequest {
        heartbeat_interval: Some(seconds(1)),
        ..Default::default()
    };
    let mut watch = api.watch_members(request).await;
    let mut view = MemberView::default();
    follow(&mut watch, &mut view, SOON, |_| true).await;
    let token = loop {
        let message = watch.next().await;
        view.apply(&message).unwrap();
        if matches!(message.event, Some(Event::Heartbeat(_))) {
            break message.resume_token;
        }
    };
    let resumed = WatchMembersRequest {
        resume_token: token,
        ..Default::default()
    };
    let first = api.watch_members(resumed).await.next().await;
    assert!(matches!(first.event, Some(Event::Resumed(_))), "{first:?}");
}

#[tokio::test]
async fn a_snapshot_only_watch_ends_by_itself() {
    let node = daemon("one").ready().await;
    let request = WatchMembersRequest {
        snapshot_only: true,
        ..Default::default()
    };
    let mut watch = node.api().await.watch_members(request).await;
    let mut view = MemberView::default();
    while let Some(message) = watch.try_next().await.unwrap() {
        view.apply(&message).unwrap();
    }
    assert!(view.is_complete() && view.get("one").is_some());
}
