//! Probes that datagrams do not answer, and what they say of who sent them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Net, addr, cluster, secs};
use crate::Engine;
use crate::api::Output;
use crate::event::EventDraft;
use crate::member::Status;
use crate::time::Now;

fn counter(net: &Net, n: u16, name: &str) -> u64 {
    let counters = net.node(n).counters();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no counter {name}")).1
}

#[test]
fn a_member_that_only_tcp_reaches_stays_alive_and_is_marked() {
    let mut net = cluster(3);
    net.datagrams_blocked = true;
    net.outputs.clear();
    net.run(secs(30));
    for (viewer, name) in [(0, "n1"), (1, "n2"), (2, "n0")] {
        assert!(!net.story(viewer, name).contains(&Status::Failed));
        let member = net.member(viewer, name).unwrap();
        assert_eq!(
            (member.status, member.by_tcp),
            (Status::Alive, true),
            "{name}"
        );
    }
    assert_eq!(counter(&net, 0, "members_by_tcp"), 2);
    assert_eq!(counter(&net, 0, "health_score"), 0);
    assert!(
        net.node(0)
            .explain("n1")
            .unwrap()
            .advice
            .contains("let UDP through")
    );
    net.datagrams_blocked = false;
    net.run(secs(10));
    assert!(!net.member(0, "n1").unwrap().by_tcp, "datagrams come again");
    let carried = net.carried;
    net.with(0, |node, now| set_tag(node, now, "b"));
    net.run(secs(10));
    assert_eq!(net.carried, carried, "nothing goes over TCP any more");
}

fn set_tag(node: &mut Engine, now: Now, value: &str) {
    let set = BTreeMap::from([("zone".to_owned(), value.to_owned())]);
    node.update_tags(now, set, &[]).unwrap();
}

fn zones(net: &Net, name: &str) -> Vec<Option<String>> {
    let viewers = (0..net.nodes.len()).map(|n| u16::try_from(n).unwrap());
    let shown = viewers.map(|viewer| net.member(viewer, name).unwrap());
    shown.map(|m| m.tags.get("zone").cloned()).collect()
}

#[test]
fn what_datagrams_bring_comes_over_tcp_where_they_do_not() {
    let mut net = cluster(8);
    net.run(secs(20));
    assert_eq!(net.carried, 0, "nothing goes over TCP where UDP works");
    net.datagrams_blocked = true;
    net.run(secs(8));
    net.with(3, |node, now| set_tag(node, now, "a"));
    net.run(Duration::from_millis(500));
    assert_eq!(zones(&net, "n3"), vec![Some("a".to_owned()); 8]);
    let accepted = net.with(5, |node, now| {
        node.send_event(now, EventDraft::new("deploy", "v2"))
    });
    let sequence = accepted.unwrap().sequence;
    net.run(Duration::from_millis(500));
    let replicated = net.outputs.iter().any(|(at, output)| {
        *at == addr(5)
            && matches!(output, Output::Replicated { sequence: upto } if *upto >= sequence)
    });
    assert!(replicated, "it is not known to be held");
    net.outputs.clear();
    net.kill(6);
    net.run(secs(1));
    for viewer in (0..8).filter(|viewer| *viewer != 6) {
        assert_eq!(net.status(viewer, "n6"), Some(Status::Failed), "{viewer}");
    }
}

/// Its datagrams arrive, those of the others do not.
#[test]
fn who_gets_no_datagrams_says_so_and_gets_all_over_tcp() {
    let mut net = cluster(6);
    net.run(secs(5));
    net.hears_none.insert(addr(2));
    net.run(secs(20));
    for viewer in [0, 1, 3, 4, 5] {
        assert!(net.member(viewer, "n2").unwrap().by_tcp, "{viewer}");
        assert_eq!(counter(&net, viewer, "members_by_tcp"), 1, "{viewer}");
        assert_eq!(counter(&net, viewer, "health_score"), 0, "{viewer}");
    }
    assert_eq!(counter(&net, 2, "members_by_tcp"), 5);
    net.with(4, |node, now| set_tag(node, now, "a"));
    net.run(Duration::from_millis(500));
    assert_eq!(zones(&net, "n4"), vec![Some("a".to_owned()); 6]);
    net.hears_none.clear();
    net.run(secs(15));
    for viewer in 0..6 {
        assert_eq!(counter(&net, viewer, "members_by_tcp"), 0, "{viewer}");
    }
}

/// Where nobody is heard, nobody is accused before others.
#[test]
fn who_hears_nobody_suspects_in_its_own_eyes_and_says_so() {
    let mut net = cluster(6);
    net.run(secs(3));
    net.cut_off.insert(addr(0));
    net.outputs.clear();
    net.run(secs(4));
    assert!(counter(&net, 0, "probes_blind") > 0);
    let suspects = (1..6).filter(|n| net.status(0, &format!("n{n}")) == Some(Status::Suspect));
    assert!(suspects.count() > 0);
    net.run(secs(60));
    let said = net.node(0).warnings();
    assert!(
        said.iter().any(|text| text.starts_with("degraded")),
        "{said:?}"
    );
    net.cut_off.clear();
    // Its first probes are nine seconds apart, each answer makes it faster.
    net.run(secs(90));
    for viewer in 1..6 {
        for name in (1..6).filter(|n| *n != viewer).map(|n| format!("n{n}")) {
            let story = net.story(viewer, &name);
            assert!(
                !story.contains(&Status::Failed),
                "{viewer} {name}: {story:?}"
            );
        }
        assert_eq!(net.status(viewer, "n0"), Some(Status::Alive), "{viewer}");
        assert_eq!(net.status(0, &format!("n{viewer}")), Some(Status::Alive));
    }
    assert_eq!(counter(&net, 0, "health_score"), 0, "it is well again");
}

/// Who is asked to probe for another says at once that it heard so.
#[test]
fn helpers_say_that_they_were_asked() {
    let mut net = cluster(6);
    net.run(secs(3));
    // One member hears and says nothing, the others are well.
    net.cut_off.insert(addr(3));
    net.run(secs(8));
    for n in [0, 1, 2, 4, 5] {
        assert!(counter(&net, n, "health_score") <= 1, "{n} blames itself");
    }
    let shown = net.outputs.iter().filter(|(at, output)| {
        let Output::MemberUpdated(member) = output else {
            return false;
        };
        *at != addr(3) && &*member.name == "n3" && member.status == Status::Suspect
    });
    assert!(shown.count() > 0, "it is suspected all the same");
}

/// Those whom it asks for help are gone as well: that they say nothing is not its fault.
#[test]
fn the_smaller_side_of_a_cut_is_not_to_blame() {
    let mut net = cluster(5);
    net.run(secs(3));
    net.cut_off.extend([addr(0), addr(1)]);
    net.run(secs(25));
    for viewer in [0, 1] {
        for name in ["n2", "n3", "n4"] {
            assert_eq!(net.status(viewer, name), Some(Status::Failed), "{viewer}");
        }
        assert_eq!(counter(&net, viewer, "health_score"), 0, "{viewer}");
    }
    for viewer in [2, 3, 4] {
        net.assert_shown([viewer], "n0", Some(Status::Failed));
        net.assert_shown([viewer], "n1", Some(Status::Failed));
    }
    assert_eq!(net.status(0, "n1"), Some(Status::Alive));
    assert_eq!(net.status(1, "n0"), Some(Status::Alive));
}
