use super::testing::{member, updated};
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
