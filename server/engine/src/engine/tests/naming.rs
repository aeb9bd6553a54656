//! Boots, lives, and several claimants of one name.

use super::{Net, addr, cluster, config, secs};
use crate::api::{Note, Output};
use crate::ident::{BOOT_MAX, Ident, NodeRef};
use crate::member::{Status, StatusReason};
use crate::record::Record;
use crate::swim::{State, Update};
use crate::table::Word;

fn names(net: &Net, viewer: u16) -> Vec<(String, u16, Status)> {
    let members = net.node(viewer).members();
    let mut names: Vec<_> = members
        .map(|m| {
            (
                m.display_name().to_string(),
                m.addr.port() - 1_000,
                m.status,
            )
        })
        .collect();
    names.sort();
    names
}

fn notes(net: &Net, at: u16, wanted: impl Fn(&Note) -> bool) -> usize {
    let of = |(who, output): &&(_, Output)| {
        *who == addr(at) && matches!(output, Output::Note(note) if wanted(note))
    };
    net.outputs.iter().filter(of).count()
}

/// Alive, and under its own name.
fn keeps(net: &Net, viewer: u16, name: &str, n: u16) -> bool {
    let seen = net.member(viewer, name);
    seen.is_some_and(|m| m.addr == addr(n) && m.status == Status::Alive && m.alias.is_none())
}

#[test]
fn a_later_claim_takes_the_name_once_and_disturbs_nobody_else() {
    let mut net = cluster(3);
    net.outputs.clear();
    net.start(config("n2", 9, 200));
    net.run(secs(120));
    for viewer in [0, 1, 2, 9] {
        assert!(keeps(&net, viewer, "n2", 9), "{:?}", names(&net, viewer));
        assert_eq!(names(&net, viewer).len(), 4, "seen by {viewer}");
    }
    let lost = |note: &Note| matches!(note, Note::ConflictLost { .. });
    let won = |note: &Note| matches!(note, Note::ConflictWon { .. });
    assert_eq!((notes(&net, 2, lost), notes(&net, 9, lost)), (1, 0));
    assert_eq!((notes(&net, 2, won), notes(&net, 9, won)), (0, 1));
    let told = net.node(9).warnings();
    assert!(told.iter().any(|w| w.starts_with("conflict")), "{told:?}");
    assert_eq!(net.story(0, "n2"), [Status::Alive], "one change, a restart");
    assert_eq!(
        net.member(0, "n2").unwrap().change.reason,
        StatusReason::Restarted
    );
}

#[test]
fn a_loser_frees_its_old_key_in_the_step_in_which_it_shows_the_new_one() {
    let mut net = cluster(3);
    net.outputs.clear();
    net.start(config("n2", 9, 200));
    net.run(secs(5));
    let of_two: Vec<_> = net
        .outputs
        .iter()
        .filter(|(at, _)| *at == addr(2))
        .collect();
    let at = of_two
        .iter()
        .position(|(_, o)| matches!(o, Output::MemberRemoved(key) if &*key.name == "n2"))
        .expect("the plain key goes");
    let (_, next) = of_two[at + 1];
    assert!(
        matches!(next, Output::MemberUpdated(m) if m.is_self && m.alias.is_some()),
        "{next:?}"
    );
}

#[test]
fn of_three_claimants_two_go_on_under_aliases() {
    let mut net = cluster(2);
    for (n, boot) in [(5, 300), (6, 200), (7, 400)] {
        net.start(config("x", n, boot));
        net.run(secs(3));
    }
    net.run(secs(60));
    for viewer in [0, 1, 5, 6, 7] {
        let seen = names(&net, viewer);
        assert!(keeps(&net, viewer, "x", 7), "{viewer}: {seen:?}");
        let aliases = seen.iter().filter(|(name, ..)| name.starts_with("x~"));
        assert_eq!(aliases.count(), 2, "{viewer}: {seen:?}");
        assert!(seen.iter().all(|(_, _, s)| *s == Status::Alive), "{seen:?}");
    }
}

#[test]
fn equal_boots_are_told_apart_by_instance() {
    let mut net = cluster(4);
    // Nobody has heard of the one when the other joins elsewhere.
    net.seeds = vec![addr(0)];
    net.start(config("x", 5, 300));
    net.seeds = vec![addr(1)];
    net.start(config("x", 6, 300));
    net.seeds = vec![addr(2)];
    net.start(config("x", 7, 300));
    net.run(secs(60));
    let best = [5, 6, 7]
        .into_iter()
        .find(|n| net.node(*n).me().alias.is_none())
        .expect("one keeps the name");
    let mut keys = std::collections::BTreeSet::new();
    for viewer in [0, 1, 2, 3, 5, 6, 7] {
        let seen = names(&net, viewer);
        assert!(keeps(&net, viewer, "x", best), "{viewer}: {seen:?}");
        assert_eq!(seen.len(), 7, "{viewer}: {seen:?}");
        assert!(seen.iter().all(|(_, _, s)| *s == Status::Alive), "{seen:?}");
        keys.extend(net.node(viewer).members().map(|m| m.key()));
    }
    assert_eq!(
        keys.len(),
        7,
        "every claimant has a key of its own: {keys:?}"
    );
}

#[test]
fn a_loser_that_restarts_takes_a_free_name_back() {
    let mut net = cluster(3);
    net.start(config("n2", 9, 200));
    net.run(secs(5));
    net.with(9, |node, now| node.leave(now));
    net.run(secs(2));
    net.kill(9);
    net.with(2, |node, now| node.leave(now));
    net.run(secs(2));
    net.kill(2);
    net.start(config("n2", 2, 300));
    net.run(secs(3));
    for viewer in [0, 1, 2] {
        assert!(keeps(&net, viewer, "n2", 2), "{:?}", names(&net, viewer));
    }
}

#[test]
fn two_processes_at_one_address_do_not_outbid_each_other_for_ever() {
    let mut net = cluster(2);
    let twin = |boot| {
        let mut twin = config("x", 5, boot);
        twin.advertise = addr(5);
        twin
    };
    net.start(twin(300));
    net.run(secs(1));
    for boot in (400..5_000).step_by(100) {
        let delta = crate::own::Own::new(twin(boot), boot, net.clock())
            .record
            .since(0);
        net.with(5, |node, now| {
            node.on_own_record(now, &delta, true);
            node.finish(now);
        });
    }
    let raised = |note: &Note| matches!(note, Note::BootRaised { .. });
    let lost = |note: &Note| matches!(note, Note::ConflictLost { .. });
    assert_eq!((notes(&net, 5, raised), notes(&net, 5, lost)), (8, 1));
}

#[test]
fn a_dead_earlier_self_at_another_address_is_no_conflict() {
    let mut net = cluster(3);
    let dead = crate::own::Own::new(config("n2", 8, 500), 77, net.clock());
    let delta = dead.record.since(0);
    net.with(2, |node, now| {
        node.merge_told_record(now, &delta, false);
        node.finish(now);
    });
    net.run(secs(2));
    assert_eq!(net.node(2).me().boot, 501);
    assert!(keeps(&net, 0, "n2", 2), "{:?}", names(&net, 0));
}

#[test]
fn a_known_node_ignores_boot_floors() {
    let mut net = cluster(3);
    let raised = net.with(2, |node, now| {
        [0, 99, 1_000, u64::MAX].map(|floor| node.on_boot_floor(now, floor))
    });
    assert_eq!(raised, [false; 4]);
    assert_eq!(net.node(2).me().boot, 100);
}

#[test]
fn a_boot_is_never_lowered_and_fits_the_wire() {
    let mut net = Net::new();
    net.start(config("a", 0, 100));
    let boot = |net: &mut Net, floor| {
        net.with(0, |node, now| {
            node.on_boot_floor(now, floor);
            node.finish(now);
        });
        net.node(0).me().boot
    };
    assert_eq!(boot(&mut net, 50), 100);
    assert_eq!(boot(&mut net, 150), 151);
    assert_eq!(boot(&mut net, 150), 151, "said twice");
    assert_eq!(boot(&mut net, BOOT_MAX), 151, "48 bits");
    assert_eq!(boot(&mut net, u64::MAX), 151);
    let mut large = config("a", 0, BOOT_MAX + 1);
    assert!(large.check().is_err());
    large.boot = BOOT_MAX;
    assert_eq!(large.check(), Ok(()));
}

#[test]
fn worn_lives_and_incarnations_are_renewed() {
    let mut net = cluster(3);
    let me = net.node(2).own.ident;
    // The incarnation is used up: a new life.
    net.with(2, |node, now| {
        let accused = Update::new(me, u16::MAX, State::Suspect);
        node.swim.apply(now.at, vec![accused], true);
        node.finish(now);
        node.check().unwrap();
    });
    assert_eq!(net.node(2).own.ident, Ident { life: 1, ..me });
    // The last life is claimed, and declared dead: a new boot.
    let last = Ident {
        life: u16::MAX,
        ..me
    };
    net.with(2, |node, now| {
        let before_last = Ident {
            life: u16::MAX - 1,
            ..me
        };
        node.on_own_name(now, before_last);
        assert_eq!(node.own.ident, last);
        let dead = Update::new(last, 0, State::Down);
        node.swim.apply(now.at, vec![dead], true);
        node.finish(now);
        node.check().unwrap();
    });
    assert_eq!(net.node(2).me().boot, 101);
    net.run(secs(3));
    for viewer in 0..3 {
        let seen = net.member(viewer, "n2").unwrap();
        assert_eq!((seen.boot, seen.status), (101, Status::Alive));
    }
}

#[test]
fn a_healed_partition_is_one_failure_and_one_return() {
    let mut net = cluster(6);
    net.outputs.clear();
    net.cut_off = [addr(3), addr(4), addr(5)].into();
    net.run(secs(40));
    assert_eq!(net.status(0, "n4"), Some(Status::Failed));
    assert_eq!(net.status(4, "n0"), Some(Status::Failed));
    net.cut_off.clear();
    net.run(secs(60));
    for viewer in 0..6 {
        for n in 0..6 {
            let name = format!("n{n}");
            let seen = net.member(viewer, &name).unwrap();
            assert_eq!((seen.status, seen.boot), (Status::Alive, 100));
            if (viewer < 3) == (n < 3) {
                let story = net.story(viewer, &name);
                assert!(
                    !story.contains(&Status::Failed),
                    "{viewer} {name}: {story:?}"
                );
                continue;
            }
            let story = net.story(viewer, &name);
            let fails = story.iter().filter(|s| **s == Status::Failed).count();
            assert_eq!(
                (fails, story.last()),
                (1, Some(&Status::Alive)),
                "{story:?}"
            );
            assert_eq!(seen.change.reason, StatusReason::Refuted, "no restart");
        }
    }
}

#[test]
fn who_left_is_not_revived_by_those_who_hold_it_dead() {
    let mut net = cluster(3);
    net.with(0, |node, now| node.leave(now));
    // Node 0 is the seed: the others go on dialling it.
    net.run(secs(120));
    net.assert_shown(0..3, "n0", Some(Status::Left));
    assert_eq!(net.node(0).own.ident.life, 0);
}

#[test]
fn what_is_parked_is_bounded_and_expires() {
    let mut net = cluster(2);
    net.with(0, |node, now| {
        for n in 0..3_000_u64 {
            let own = crate::own::Own::new(config(&format!("s{n}"), 50, 1), n, now);
            node.merge_record(now, &own.record.since(0));
        }
        assert!(node.parked.len() <= 2_048, "{}", node.parked.len());
    });
    net.run(secs(4));
    assert_eq!(net.node(0).parked.len(), 0);
    net.with(0, |node, now| {
        let nobody = NodeRef { hash: 1, boot: 1 };
        let ident = Ident {
            hash: nobody.hash,
            boot: nobody.boot,
            life: 0,
        };
        let word = Word {
            by: 0,
            reason: StatusReason::Learnt,
        };
        let update = Update::new(ident, 0, State::Alive);
        assert!(
            !node.learn_update(now, &update, word),
            "no record, no member"
        );
        node.check().unwrap();
    });
}

#[test]
fn a_record_is_refused_beyond_the_year_9999() {
    let now = Net::new().clock();
    let mut own = crate::own::Own::new(config("a", 0, 1), 1, now);
    own.set_started(now, crate::record::TIME_MAX);
    assert!(Record::new(now.at, &own.record.since(0)).is_ok());
    let far = crate::wire::NodeInfo {
        name: "a".to_owned(),
        ip: crate::record::encode_ip([1, 2, 3, 4].into()),
        started_unix_ms: u64::MAX,
        ..crate::wire::NodeInfo::default()
    };
    let mut delta = own.record.since(0);
    let value = prost::Message::encode_to_vec(&far);
    delta.entries = vec![crate::record::encode_entry("node", 1, value.into())];
    assert!(Record::new(now.at, &delta).is_err());
}
