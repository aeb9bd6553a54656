use muster_proto::v1 as pb;
use prost::Message as _;

use super::ring::{Entry, Page};
use super::testing::{member, origin, updated, with_status};
use super::*;

#[test]
fn a_batch_is_one_revision_and_an_empty_one_none() {
    let hub = Hub::new("e".to_owned());
    hub.apply_members(vec![
        updated(member("a", 1, &[])),
        updated(member("b", 2, &[])),
    ]);
    assert_eq!(hub.members().revision(), 1);
    hub.apply_members(vec![updated(member("a", 1, &[]))]);
    hub.apply_members(Vec::new());
    assert_eq!(hub.members().revision(), 1, "nothing changed");
}

#[test]
fn members_are_found_by_name_and_by_alias() {
    let hub = Hub::new("e".to_owned());
    let mut loser = member("web-1", 7, &[]);
    loser.alias = Some(Arc::from("web-1~00c0ffee"));
    hub.apply_members(vec![updated(member("web-1", 9, &[])), updated(loser)]);
    assert_eq!(hub.member("web-1").map(|found| found.value.boot), Some(9));
    let aliased = hub.member("web-1~00c0ffee");
    assert_eq!(aliased.map(|found| found.value.boot), Some(7));
    assert!(hub.member("web-1~deadbeef").is_none());
    assert!(hub.member("web").is_none());
}

#[test]
fn of_events_for_others_only_the_position_is_kept() {
    let hub = Hub::new("e".to_owned());
    let me = Member {
        by_tcp: false,
        is_self: true,
        ..member("me", 1, &[])
    };
    hub.apply_members(vec![updated(me), updated(member("b", 1, &[]))]);
    let from = origin("b", 1);
    let to = |sequence: u64, name: &str| {
        let filter = pb::MemberFilter {
            names: vec![name.to_owned()],
            ..pb::MemberFilter::default()
        };
        EventUpdate::Event(Arc::new(Event {
            origin: from.clone(),
            sequence,
            target: filter.encode_to_vec().into(),
            ..Event::default()
        }))
    };
    hub.push_events(vec![to(1, "me"), to(2, "b"), to(3, "me")]);
    let Page::Entries(entries) = hub.events().read(0, 9, 1 << 20) else {
        panic!("behind");
    };
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| (matches!(entry, Entry::Event(_)), entry.position().1))
        .collect();
    assert_eq!(shown, [(true, 1), (false, 2), (true, 3)]);
    assert_eq!(hub.elsewhere.get(), 1);
}

#[test]
fn a_target_means_live_members_only() {
    let hub = Hub::new("e".to_owned());
    let failed = with_status(member("c", 1, &[]), Status::Failed);
    let suspect = with_status(member("b", 1, &[]), Status::Suspect);
    hub.apply_members(vec![
        updated(member("a", 1, &[])),
        updated(suspect),
        updated(failed),
    ]);
    let names = |target: &Bytes| -> Vec<String> {
        let meant = hub.meant(target);
        meant.iter().map(|member| member.name.to_string()).collect()
    };
    assert_eq!(names(&Bytes::new()), ["a", "b"]);
    let filter = pb::MemberFilter {
        names: vec!["b".to_owned(), "c".to_owned()],
        ..pb::MemberFilter::default()
    };
    assert_eq!(names(&filter.encode_to_vec().into()), ["b"]);
    assert!(names(&Bytes::from_static(b"\xff")).is_empty());
}
