use std::time::Duration;

use futures_util::StreamExt as _;
use muster_engine::Status;
use muster_proto::v1 as pb;
use prost::Message as _;

use super::*;
use crate::hub::testing::{member, updated, with_status};

fn three() -> Arc<Hub> {
    let hub = Arc::new(Hub::new("e".to_owned()));
    let members = ["a", "b", "c"].map(|name| updated(member(name, 1, &["web"])));
    hub.apply_members(members.to_vec());
    hub
}

fn deliveries(hub: &Arc<Hub>) -> Arc<Deliveries> {
    Arc::new(Deliveries::new(Arc::clone(hub), Metrics::default()))
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn done(expected: usize, delivered: usize, silent: &[&str]) -> Progress {
    let silent = names(silent);
    Progress::Done {
        expected,
        delivered,
        silent,
    }
}

const WAIT: Duration = Duration::from_secs(10);

fn everybody(deliveries: &Arc<Deliveries>, sequence: u64) -> Tracking {
    let slot = deliveries.reserve().unwrap();
    deliveries.track(slot, (7, sequence), &Bytes::new(), WAIT)
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_everybody_has_reported() {
    let hub = three();
    let deliveries = deliveries(&hub);
    let tracking = everybody(&deliveries, 1);
    for member in names(&["b", "a", "a", "x", "c"]) {
        deliveries.report(&member, 7, &[1]);
    }
    let told: Vec<_> = tracking.collect().await;
    let mut expected: Vec<_> = names(&["b", "a", "c"])
        .into_iter()
        .map(Progress::Delivered)
        .collect();
    expected.push(done(3, 3, &[]));
    assert_eq!(told, expected);
    assert!(lock(&deliveries.inner).tracked.is_empty());
    assert_eq!(deliveries.slots.available_permits(), TRACKED_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_silent_at_the_end() {
    let deliveries = deliveries(&three());
    let began = tokio::time::Instant::now();
    let tracking = everybody(&deliveries, 1);
    // Of another event, and of another boot.
    deliveries.report(&Arc::from("a"), 7, &[2]);
    deliveries.report(&Arc::from("a"), 8, &[1]);
    deliveries.report(&Arc::from("b"), 7, &[1]);
    let told: Vec<_> = tracking.collect().await;
    assert_eq!(told[1..], [done(3, 1, &["a", "c"])]);
    assert!(began.elapsed() >= WAIT);
}

#[tokio::test(start_paused = true)]
async fn members_that_fail_or_leave_are_silent_at_once() {
    let hub = three();
    let deliveries = deliveries(&hub);
    let began = tokio::time::Instant::now();
    let mut tracking = everybody(&deliveries, 1);
    deliveries.report(&Arc::from("b"), 7, &[1]);
    assert!(matches!(
        tracking.next().await,
        Some(Progress::Delivered(_))
    ));
    let gone = with_status(member("a", 1, &[]), Status::Failed);
    let leaving = with_status(member("c", 1, &[]), Status::Leaving);
    hub.apply_members(vec![updated(gone), updated(leaving)]);
    assert_eq!(tracking.next().await, Some(done(3, 1, &["a", "c"])));
    assert_eq!(tracking.next().await, None);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_report_may_come_before_the_event_is_tracked() {
    let deliveries = deliveries(&three());
    for member in names(&["a", "b", "c"]) {
        deliveries.report(&member, 7, &[1, 2]);
    }
    assert_eq!(everybody(&deliveries, 1).count().await, 4);
    assert_eq!(everybody(&deliveries, 2).count().await, 4);
    assert!(lock(&deliveries.inner).early.is_empty());
    for sequence in 10..10 + EARLY_REPORTS_MAX as u64 + 5 {
        deliveries.report(&Arc::from("a"), 7, &[sequence]);
    }
    assert_eq!(lock(&deliveries.inner).early.len(), EARLY_REPORTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn only_targets_are_expected_and_nobody_is_done_at_once() {
    let deliveries = deliveries(&three());
    let target = |role: &str| {
        let filter = pb::MemberFilter {
            names: vec!["b".to_owned()],
            roles: vec![role.to_owned()],
            ..pb::MemberFilter::default()
        };
        Bytes::from(filter.encode_to_vec())
    };
    let slot = deliveries.reserve().unwrap();
    let mut some = deliveries.track(slot, (7, 1), &target("web"), WAIT);
    deliveries.report(&Arc::from("a"), 7, &[1]);
    deliveries.report(&Arc::from("b"), 7, &[1]);
    assert_eq!(some.next().await, Some(Progress::Delivered(Arc::from("b"))));
    assert_eq!(some.next().await, Some(done(1, 1, &[])));
    let slot = deliveries.reserve().unwrap();
    let mut none = deliveries.track(slot, (7, 2), &target("db"), WAIT);
    assert_eq!(none.next().await, Some(done(0, 0, &[])));
}

#[tokio::test(start_paused = true)]
async fn so_many_are_tracked_and_no_more() {
    let deliveries = deliveries(&three());
    let all: Vec<_> = (0..TRACKED_MAX as u64)
        .map(|sequence| everybody(&deliveries, sequence))
        .collect();
    assert!(deliveries.reserve().is_none());
    drop(all);
    assert!(lock(&deliveries.inner).tracked.is_empty());
    assert!(deliveries.reserve().is_some());
}
