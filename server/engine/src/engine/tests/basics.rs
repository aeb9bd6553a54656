//! What any cluster does.

use super::*;

#[test]
fn five_nodes_find_each_other() {
    let net = cluster(5);
    for n in 0..5 {
        net.assert_shown(0..5, &format!("n{n}"), Some(Status::Alive));
    }
}

#[test]
fn a_killed_node_fails_everywhere_with_who_and_why() {
    let mut net = cluster(5);
    net.kill(3);
    net.run(Duration::from_secs(15));
    net.assert_shown([0, 1, 2, 4], "n3", Some(Status::Failed));
}

#[test]
fn a_restart_replaces_its_predecessor_at_once() {
    let mut net = cluster(3);
    net.kill(2);
    net.start(config("n2", 7, 101));
    net.run(Duration::from_secs(1));
    let seen = net.member(0, "n2").unwrap();
    assert_eq!(
        (seen.boot, seen.status, seen.addr),
        (101, Status::Alive, addr(7))
    );
}

#[test]
fn a_clock_set_back_still_gives_a_higher_boot() {
    let mut net = cluster(3);
    net.kill(2);
    net.start(config("n2", 2, 50));
    net.run(Duration::from_secs(2));
    let seen = net.member(0, "n2").unwrap();
    assert_eq!((seen.boot, seen.status), (101, Status::Alive));
    assert_eq!(net.node(2).me().boot, 101);
}

#[test]
fn a_leaver_is_shown_as_left_soon() {
    let mut net = cluster(5);
    net.with(4, |node, now| node.leave(now));
    net.run(Duration::from_millis(1_500));
    assert!(
        net.outputs
            .iter()
            .any(|(at, o)| *at == addr(4) && matches!(o, Output::LeaveDone))
    );
    net.kill(4);
    net.run(Duration::from_millis(500));
    net.assert_shown(0..4, "n4", Some(Status::Left));
    net.run(Duration::from_secs(700));
    assert_eq!(net.status(0, "n4"), None, "reaped after ten minutes");
}

#[test]
fn two_live_nodes_with_one_name_go_on_under_two() {
    let mut net = cluster(3);
    net.start(config("n2", 9, 200));
    net.run(Duration::from_secs(5));
    let names: Vec<_> = net
        .node(0)
        .members()
        .map(|m| (m.display_name().to_string(), m.addr))
        .collect();
    assert!(
        names.contains(&("n2".to_owned(), addr(9))),
        "the newer boot keeps it: {names:?}"
    );
    assert!(
        names
            .iter()
            .any(|(name, at)| name.starts_with("n2~") && *at == addr(2)),
        "the older one is shown under an alias: {names:?}"
    );
    assert!(net.node(2).warnings()[0].starts_with("conflict"));
}

#[test]
fn tags_reach_everybody() {
    let mut net = cluster(4);
    let set = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
    net.with(1, |node, now| node.update_tags(now, set, &[]))
        .unwrap();
    net.run(Duration::from_secs(1));
    for viewer in 0..4 {
        let seen = net.member(viewer, "n1").unwrap();
        assert_eq!(
            seen.tags.get("zone").map(String::as_str),
            Some("a"),
            "seen by {viewer}"
        );
    }
    let large = BTreeMap::from([("big".to_owned(), "x".repeat(20_000))]);
    net.with(1, |node, now| node.update_tags(now, large, &[]))
        .unwrap();
    net.run(Duration::from_secs(8));
    for viewer in 0..4 {
        let seen = net.member(viewer, "n1").unwrap();
        assert_eq!(
            seen.tags["big"].len(),
            20_000,
            "seen by {viewer}, by exchange"
        );
    }
}

#[test]
fn force_leave_takes_only_failed_members() {
    let mut net = cluster(4);
    let refused = net.with(0, |node, now| node.force_leave(now, "n3", false));
    assert!(matches!(refused, Err(EngineError::MemberLive(..))));
    let unknown = net.with(0, |node, now| node.force_leave(now, "nosuch", false));
    assert!(matches!(unknown, Err(EngineError::UnknownMember(_))));
    net.kill(3);
    net.run(Duration::from_secs(15));
    net.with(0, |node, now| node.force_leave(now, "n3", false))
        .unwrap();
    net.run(Duration::from_secs(1));
    net.assert_shown(0..3, "n3", Some(Status::Left));
    net.with(1, |node, now| node.force_leave(now, "n3", true))
        .unwrap();
    net.run(Duration::from_secs(60));
    net.assert_shown(0..3, "n3", None);
}

#[test]
fn who_left_and_stayed_up_can_join_again() {
    let mut net = cluster(3);
    net.with(2, |node, now| node.leave(now));
    net.run(Duration::from_secs(2));
    assert_eq!(net.status(0, "n2"), Some(Status::Left));
    net.with(2, |node, now| node.join(now, 1, &[addr(0)]));
    net.run(Duration::from_secs(2));
    net.assert_shown(0..3, "n2", Some(Status::Alive));
}

#[test]
fn a_node_never_joins_itself() {
    let mut net = Net::new();
    net.start(config("n0", 0, 100));
    net.with(0, |node, now| node.join(now, 5, &[addr(0), addr(8)]));
    net.run(Duration::from_secs(1));
    let results: Vec<_> = net
        .outputs
        .iter()
        .filter_map(|(_, output)| match output {
            Output::JoinResult {
                attempt: 5, result, ..
            } => Some(result.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(Result::is_err), "{results:?}");
}
