use muster_engine::Status::{Alive, Failed, Leaving, Left, Suspect};

use super::MemberChange::{Failed as Fail, Join, Leave, Reap, Update};
use super::*;
use crate::hub::MemberUpdate;
use crate::hub::testing::{member, updated, with_status, with_tag};

#[test]
fn changes_of_status_are_told_as_serf_does() {
    let from_to = [
        (Alive, Suspect, None),
        (Suspect, Alive, None),
        (Suspect, Failed, Some(Fail)),
        (Alive, Leaving, None),
        (Leaving, Alive, None),
        (Leaving, Left, Some(Leave)),
        (Alive, Left, Some(Leave)),
        (Failed, Left, Some(Leave)),
        (Failed, Alive, Some(Join)),
        (Left, Alive, Some(Join)),
        (Left, Failed, Some(Fail)),
        (Left, Left, None),
    ];
    for (from, to, told) in from_to {
        let before = with_status(member("a", 1, &[]), from);
        let after = with_status(member("a", 1, &[]), to);
        assert_eq!(change(Some(&before), &after), told, "{from} -> {to}");
    }
    for (first, told) in [
        (Alive, Some(Join)),
        (Suspect, Some(Join)),
        (Failed, None),
        (Left, None),
    ] {
        let first = with_status(member("a", 1, &[]), first);
        assert_eq!(change(None, &first), told);
    }
}

#[test]
fn a_restart_is_a_join_and_a_new_tag_an_update() {
    let before = member("a", 1, &[]);
    assert_eq!(change(Some(&before), &member("a", 2, &[])), Some(Join));
    let tagged = with_tag(before.clone(), "k", "v");
    assert_eq!(change(Some(&before), &tagged), Some(Update));
    assert_eq!(
        change(Some(&before), &member("a", 1, &["web"])),
        Some(Update)
    );
    let mut moved = before.clone();
    moved.addr.set_port(1);
    assert_eq!(change(Some(&before), &moved), Some(Update));
    let suspect = with_status(tagged, Suspect);
    assert_eq!(change(Some(&before), &suspect), Some(Update));
    // The tags of the dead concern nobody.
    let gone = with_status(with_tag(before.clone(), "k", "v"), Left);
    assert_eq!(change(Some(&with_status(before, Left)), &gone), None);
}

#[test]
fn changes_come_by_kind_and_together() {
    let hub = Hub::new(String::new());
    let mut seen = Seen::default();
    let mut news = |batch: Vec<MemberUpdate>| {
        hub.apply_members(batch);
        let changes = hub.members().changes_since(seen.revision).unwrap();
        let news = seen.note(changes.revision, changes.items);
        let names =
            |members: Vec<Arc<Member>>| members.iter().map(|m| m.name.to_string()).collect();
        news.into_iter()
            .map(|(change, members)| (change, names(members)))
            .collect::<Vec<(MemberChange, Vec<String>)>>()
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let all = ["a", "b", "c"].map(|name| updated(member(name, 1, &[])));
    assert_eq!(news(all.into()), [(Join, names(&["a", "b", "c"]))]);
    let b = with_status(member("b", 1, &[]), Failed);
    let c = with_tag(member("c", 1, &[]), "k", "v");
    let batch = vec![updated(b), updated(c)];
    assert_eq!(
        news(batch),
        [(Fail, names(&["b"])), (Update, names(&["c"]))]
    );
    let key = member("b", 1, &[]).key();
    assert_eq!(
        news(vec![MemberUpdate::Removed(key)]),
        [(Reap, names(&["b"]))]
    );
    // Come and gone between two looks.
    hub.apply_members(vec![updated(member("d", 1, &[]))]);
    let key = member("d", 1, &[]).key();
    assert_eq!(news(vec![MemberUpdate::Removed(key)]), []);
}
