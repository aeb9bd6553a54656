use std::collections::BTreeMap;
use std::time::Duration;

use muster_engine::{MemberKey, Status as MemberStatus};
use pb::watch_members_response::Event;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::super::*;
use super::harness::{Served, next, reason, serve, silent};
use crate::hub::MemberUpdate;
use crate::hub::testing::{member, with_status, with_tag};

type Watching = Streaming<pb::WatchMembersResponse>;

async fn watch(served: &Served, request: pb::WatchMembersRequest) -> Result<Watching, Status> {
    let answer = served.members().watch_members(request).await;
    answer.map(tonic::Response::into_inner)
}

fn filtered(edit: impl FnOnce(&mut pb::MemberFilter)) -> pb::WatchMembersRequest {
    let mut filter = pb::MemberFilter::default();
    edit(&mut filter);
    pb::WatchMembersRequest {
        filter: Some(filter),
        ..Default::default()
    }
}

fn removed(name: &str) -> MemberUpdate {
    MemberUpdate::Removed(MemberKey {
        name: Arc::from(name),
        conflict_boot: 0,
    })
}

/// A consumer that keeps the contract's promises to the letter.
#[derive(Debug, Default, Clone)]
struct Copy {
    members: BTreeMap<String, pb::Member>,
    building: Option<BTreeMap<String, pb::Member>>,
    revision: u64,
    token: String,
    deltas: u32,
    snapshots: Vec<pb::SnapshotReason>,
    resumed: u32,
}

impl Copy {
    fn apply(&mut self, response: pb::WatchMembersResponse) {
        assert!(response.encoded_len() <= limits::MESSAGE_BYTES_MAX);
        let revision = response.position.unwrap().revision;
        let in_snapshot = matches!(
            response.event,
            Some(Event::SnapshotBegin(_) | Event::SnapshotPart(_))
        );
        assert_eq!(response.resume_token.is_empty(), in_snapshot);
        match response.event.unwrap() {
            Event::SnapshotBegin(begin) => {
                self.snapshots.push(begin.reason());
                self.building = Some(BTreeMap::new());
            }
            Event::SnapshotPart(part) => {
                assert!(part.members.len() <= limits::PART_ITEMS_MAX);
                let building = self.building.as_mut().expect("begin first");
                for member in part.members {
                    let last = building.last_key_value().map(|(name, _)| name.clone());
                    assert!(last.is_none_or(|last| last < member.name), "ordered");
                    building.insert(member.name.clone(), member);
                }
            }
            Event::SnapshotEnd(end) => {
                self.members = self.building.take().expect("begin first");
                assert_eq!(end.items as usize, self.members.len());
            }
            Event::Resumed(_) => self.resumed += 1,
            Event::Heartbeat(_) => assert_eq!(revision, self.revision.max(revision)),
            Event::Delta(delta) => self.delta(revision, delta),
        }
        if !in_snapshot {
            assert!(revision >= self.revision, "never back");
            self.revision = revision;
            self.token = response.resume_token;
        }
    }

    fn delta(&mut self, revision: u64, delta: pb::MemberDelta) {
        assert!(revision > self.revision && !delta.changes.is_empty());
        self.deltas += 1;
        let mut seen = std::collections::BTreeSet::new();
        for change in delta.changes {
            let kind = change.kind();
            let member = change.member.unwrap();
            assert!(seen.insert(member.name.clone()), "one change per member");
            assert!(member.changed_revision > self.revision, "nothing twice");
            match kind {
                pb::MemberChangeKind::Removed => _ = self.members.remove(&member.name),
                // It may have gone and come back while nobody looked.
                pb::MemberChangeKind::Added => {
                    self.members.insert(member.name.clone(), member);
                }
                pb::MemberChangeKind::Updated => {
                    let before = self.members.insert(member.name.clone(), member);
                    assert!(before.is_some(), "updated what is not held");
                }
                pb::MemberChangeKind::Unspecified => panic!("no kind"),
            }
        }
    }

    async fn follow(&mut self, stream: &mut Watching, revision: u64) {
        while self.revision < revision || self.building.is_some() {
            self.apply(next(stream).await);
        }
    }
}

fn truth(hub: &Hub) -> BTreeMap<String, pb::Member> {
    let changes = hub.members().changes_since(0).unwrap();
    let held = changes.items.into_iter().filter(|change| !change.removed);
    held.map(|change| (change.key.name.to_string(), convert::member(&change.entry)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_starts_with_a_snapshot_and_follows() {
    let served = serve().await;
    served.put([member("a", 1, &[]), member("b", 2, &[])]);
    let mut stream = watch(&served, pb::WatchMembersRequest::default())
        .await
        .unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, 1).await;
    assert_eq!(copy.snapshots, [pb::SnapshotReason::Initial]);
    served.put([with_status(member("a", 1, &[]), MemberStatus::Suspect)]);
    served.hub.apply_members(vec![removed("b")]);
    served.put([member("c", 3, &[])]);
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert_eq!(copy.members, truth(&served.hub));
    assert_eq!(copy.members["a"].status(), pb::MemberStatus::Suspect);
    silent(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_cluster_is_told_apart_from_none() {
    let served = serve().await;
    let ask = filtered(|filter| filter.names = vec!["nobody".to_owned()]);
    let mut stream = watch(&served, ask).await.unwrap();
    assert!(matches!(
        next(&mut stream).await.event,
        Some(Event::SnapshotBegin(_))
    ));
    let end = next(&mut stream).await;
    assert_eq!(
        end.event,
        Some(Event::SnapshotEnd(pb::SnapshotEnd { items: 0 }))
    );
    assert!(!end.resume_token.is_empty());
}

#[tokio::test(start_paused = true)]
async fn snapshot_only_lists_in_bounded_parts_and_ends() {
    let served = serve().await;
    let long = "x".repeat(900);
    let many = (0..600).map(|n| with_tag(member(&format!("n{n:04}"), 1, &[]), "t", &long));
    served.put(many);
    let ask = pb::WatchMembersRequest {
        snapshot_only: true,
        ..Default::default()
    };
    let mut stream = watch(&served, ask).await.unwrap();
    let mut copy = Copy::default();
    let mut messages = 0;
    while let Some(message) = stream.message().await.unwrap() {
        copy.apply(message);
        messages += 1;
    }
    assert!(
        messages > 600 / 256 + 2,
        "{messages}: bytes bound the parts too"
    );
    assert_eq!(copy.members, truth(&served.hub));
}

#[tokio::test(start_paused = true)]
async fn filters_add_and_remove_what_passes_their_edge() {
    let served = serve().await;
    served.put([member("a", 1, &["web"]), member("b", 1, &["db"])]);
    let ask = filtered(|filter| {
        filter.statuses = vec![pb::MemberStatus::Alive.into()];
        filter.roles = vec!["web".to_owned()];
    });
    let mut stream = watch(&served, ask).await.unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert_eq!(copy.members.len(), 1);
    // Not in the view: not a word.
    served.put([with_status(member("b", 1, &["db"]), MemberStatus::Failed)]);
    silent(&mut stream).await;
    served.put([with_status(member("a", 1, &["web"]), MemberStatus::Failed)]);
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert!(copy.members.is_empty());
    served.put([member("a", 1, &["web"])]);
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert_eq!(copy.members.len(), 1, "added again");
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_from_every_token() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let mut stream = watch(&served, pb::WatchMembersRequest::default())
        .await
        .unwrap();
    let mut copy = Copy::default();
    let mut stations = Vec::new();
    for n in 0..40 {
        let name = format!("n{}", n % 7);
        if n % 5 == 4 {
            served.hub.apply_members(vec![removed(&name)]);
        } else {
            served.put([with_tag(member(&name, 1, &[]), "n", &n.to_string())]);
        }
        copy.follow(&mut stream, served.hub.members().revision())
            .await;
        stations.push(copy.clone());
    }
    assert_eq!(copy.members, truth(&served.hub));
    let present = served.hub.members().revision();
    for mut copy in stations {
        let ask = pb::WatchMembersRequest {
            resume_token: copy.token.clone(),
            ..Default::default()
        };
        let mut stream = watch(&served, ask).await.unwrap();
        copy.apply(next(&mut stream).await);
        assert_eq!(copy.resumed, 1);
        copy.follow(&mut stream, present).await;
        assert_eq!(copy.members, truth(&served.hub));
        assert_eq!(copy.snapshots.len(), 1, "no second snapshot");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_others_get_a_snapshot_and_garbage_is_refused() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let mut stream = watch(&served, pb::WatchMembersRequest::default())
        .await
        .unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    let token = copy.token;
    let epoch = served.hub.epoch();
    let foreign = token.replace(epoch, "ffffffffffffffffffffffffffffffff");
    let (head, tail) = token.rsplit_once('.').unwrap();
    let future = format!("{}.ffff.{tail}", head.rsplit_once('.').unwrap().0);
    let mut other = filtered(|filter| filter.roles = vec!["web".to_owned()]);
    other.resume_token = token.clone();
    let with = |token: String| pb::WatchMembersRequest {
        resume_token: token,
        ..Default::default()
    };
    for (ask, reason) in [
        (with(foreign), pb::SnapshotReason::EpochChanged),
        (with(future), pb::SnapshotReason::TokenExpired),
        (other, pb::SnapshotReason::FilterChanged),
    ] {
        let mut stream = watch(&served, ask).await.unwrap();
        let Some(Event::SnapshotBegin(begin)) = next(&mut stream).await.event else {
            panic!("no snapshot");
        };
        assert_eq!(begin.reason(), reason);
    }
    for garbage in ["x", "m1.zz.1.0", &"m1.".repeat(100)] {
        let refused = watch(&served, with(garbage.to_owned())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused), "BAD_RESUME_TOKEN");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_requests_name_the_field() {
    let served = serve().await;
    let bad_regex = filtered(|filter| filter.name_regex = "(".to_owned());
    let refused = watch(&served, bad_regex).await.unwrap_err();
    assert_eq!(reason(&refused), "BAD_REGEX");
    let bad_interval = pb::WatchMembersRequest {
        heartbeat_interval: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let refused = watch(&served, bad_interval).await.unwrap_err();
    assert!(
        refused.message().starts_with("heartbeat_interval: "),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_merge_while_a_watch_pauses() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let ask = pb::WatchMembersRequest {
        min_interval: Some(prost_types::Duration {
            seconds: 10,
            nanos: 0,
        }),
        ..Default::default()
    };
    let mut stream = watch(&served, ask).await.unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    let start = Instant::now();
    served.put([with_tag(member("a", 1, &[]), "n", "first")]);
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "the first one at once"
    );
    for n in 0..100 {
        served.put([with_tag(member("a", 1, &[]), "n", &n.to_string())]);
    }
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    assert_eq!(copy.deltas, 2, "a hundred changes are one");
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(copy.members, truth(&served.hub));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_carry_a_token_that_is_fresh() {
    let served = serve().await;
    let mut ask = filtered(|filter| filter.roles = vec!["web".to_owned()]);
    ask.heartbeat_interval = Some(prost_types::Duration {
        seconds: 10,
        nanos: 0,
    });
    served.put([member("a", 1, &["web"])]);
    let mut stream = watch(&served, ask.clone()).await.unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, 1).await;
    for n in 0..50 {
        served.put([member(&format!("other{n}"), 1, &[])]);
    }
    let beat = next(&mut stream).await;
    assert!(matches!(beat.event, Some(Event::Heartbeat(_))), "{beat:?}");
    copy.apply(beat);
    assert_eq!(copy.revision, served.hub.members().revision());
    ask.resume_token = copy.token;
    let mut again = watch(&served, ask).await.unwrap();
    assert!(matches!(
        next(&mut again).await.event,
        Some(Event::Resumed(_))
    ));
    silent(&mut again).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_too_large_for_one_message_is_a_new_snapshot() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let mut stream = watch(&served, pb::WatchMembersRequest::default())
        .await
        .unwrap();
    let mut copy = Copy::default();
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    let long = "x".repeat(1_000);
    served.put((0..200).map(|n| with_tag(member(&format!("n{n}"), 1, &[]), "t", &long)));
    copy.follow(&mut stream, served.hub.members().revision())
        .await;
    let reasons = [pb::SnapshotReason::Initial, pb::SnapshotReason::FellBehind];
    assert_eq!(copy.snapshots, reasons);
    assert_eq!(copy.members, truth(&served.hub));
    assert_eq!(served.metrics.resyncs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn three_hundred_filters_work() {
    let served = serve().await;
    served.put((0..300).map(|n| with_tag(member(&format!("n{n:03}"), 1, &[]), "even", "no")));
    let mut client = served.members();
    let mut watches = Vec::new();
    for n in 0..300 {
        let ask = filtered(|filter| filter.names = vec![format!("n{n:03}")]);
        let mut stream = client.watch_members(ask).await.unwrap().into_inner();
        let mut copy = Copy::default();
        copy.follow(&mut stream, served.hub.members().revision())
            .await;
        watches.push((stream, copy));
    }
    assert_eq!(
        served.metrics.unshared.get(),
        300 - limits::GROUPS_MAX as u64
    );
    served.put((0..300).map(|n| with_tag(member(&format!("n{n:03}"), 1, &[]), "even", "yes")));
    let present = served.hub.members().revision();
    for (n, (stream, copy)) in watches.iter_mut().enumerate() {
        copy.follow(stream, present).await;
        assert_eq!(copy.members[&format!("n{n:03}")].tags["even"], "yes");
        assert_eq!(copy.members.len(), 1);
    }
    // Places of filters that nobody watches any more are given away.
    drop(watches);
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = served.metrics.unshared.get();
    let ask = filtered(|filter| filter.names = vec!["new".to_owned()]);
    let mut stream = watch(&served, ask).await.unwrap();
    next(&mut stream).await;
    assert_eq!(served.metrics.unshared.get(), before);
}

#[tokio::test(start_paused = true)]
async fn slow_and_fast_watches_end_with_the_same_state() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let mut client = served.members();
    let mut watches = Vec::new();
    for _ in 0..8 {
        let ask = pb::WatchMembersRequest::default();
        let stream = client.watch_members(ask).await.unwrap().into_inner();
        watches.push((stream, Copy::default()));
    }
    for n in 0_u32..400 {
        let name = format!("n{}", n * 7 % 23);
        match n % 6 {
            5 => served.hub.apply_members(vec![removed(&name)]),
            _ => served.put([with_tag(member(&name, 1, &[]), "n", &n.to_string())]),
        }
        for (every, (stream, copy)) in watches.iter_mut().enumerate() {
            if n.is_multiple_of(1 + 17 * u32::try_from(every).unwrap()) {
                copy.follow(stream, served.hub.members().revision()).await;
                assert_eq!(copy.members, truth(&served.hub));
            }
        }
    }
    for (stream, copy) in &mut watches {
        copy.follow(stream, served.hub.members().revision()).await;
        assert_eq!(copy.members, truth(&served.hub));
    }
}

#[tokio::test(start_paused = true)]
async fn one_member_by_name_or_alias() {
    let served = serve().await;
    let mut loser = member("web", 7, &[]);
    loser.alias = Some(Arc::from("web~00c0ffee"));
    served.put([member("web", 9, &[]), loser]);
    let mut client = served.members();
    let mut get = async |name: &str| {
        let name = name.to_owned();
        let got = client.get_member(pb::GetMemberRequest { name }).await;
        got.map(|got| got.into_inner().member.unwrap().boot)
    };
    assert_eq!(get("web").await.unwrap(), 9);
    assert_eq!(get("web~00c0ffee").await.unwrap(), 7);
    assert_eq!(get("nobody").await.unwrap_err().code(), Code::NotFound);
    for bad in ["", "a b", "web~1", "web~00c0ffee~"] {
        assert_eq!(
            get(bad).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{bad:?}"
        );
    }
}
