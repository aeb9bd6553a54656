//! Who is in the cluster: joining, dying, restarting, leaving.

use std::time::Duration;

use muster_proto::v1::{
    ForceLeaveRequest, JoinRequest, LeaveRequest, MemberStatus, UpdateTagsRequest,
};
use muster_tests::harness::cluster::{see, see_alive, summary};
use muster_tests::harness::wait::{self, DETECTION, SOON};
use rustix::process::Signal;
use tonic::Code;

use crate::{cluster_of, daemon};

#[tokio::test]
async fn three_daemons_started_at_once_see_each_other() {
    let cluster = cluster_of(3).start().await;
    for node in cluster.nodes() {
        let members = node.api().await.list().await.unwrap();
        let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["node-0", "node-1", "node-2"]);
        for member in &members {
            assert_eq!(member.self_, member.name == node.name());
            assert!(!member.plaintext && member.protocol > 0 && !member.version.is_empty());
            let peer = cluster
                .nodes()
                .iter()
                .find(|n| n.name() == member.name)
                .unwrap();
            assert_eq!(member.gossip_ip, peer.addr().ip().to_string());
            assert_eq!(member.gossip_port, u32::from(peer.addr().port()));
        }
    }
}

#[tokio::test]
async fn a_killed_daemon_is_failed_everywhere_and_its_status_says_why() {
    let mut cluster = cluster_of(3).start().await;
    cluster.node_mut(2).kill().await;
    for at in [0, 1] {
        let member = cluster
            .sees(at, "node-2", MemberStatus::Failed, DETECTION)
            .await;
        let change = member.status_change.expect("no status change");
        assert!(
            change.at.is_some() && !change.reason.is_empty(),
            "{change:?}"
        );
    }
}

#[tokio::test]
async fn a_restart_is_a_restart_and_no_new_member() {
    let mut cluster = cluster_of(3).start().await;
    let before = cluster.sees(0, "node-2", MemberStatus::Alive, SOON).await;
    // Faster than any detection of its death.
    cluster.node_mut(2).kill().await;
    cluster.node_mut(2).restart().await;
    for at in [0, 1] {
        let mut api = cluster.node(at).api().await;
        wait::until("the newer boot", DETECTION, async || {
            let members = api.list().await?;
            let now = members
                .iter()
                .find(|m| m.name == "node-2" && m.boot > before.boot);
            match now {
                Some(now) if now.status() == MemberStatus::Alive && members.len() == 3 => Ok(()),
                Some(_) | None => Err(summary(&members)),
            }
        })
        .await;
    }
    see_alive(cluster.node(2), 3).await;
}

#[tokio::test]
async fn a_restart_without_a_data_directory_and_after_detection_comes_back_alive() {
    let mut cluster = cluster_of(3).start().await;
    let before = cluster.sees(0, "node-1", MemberStatus::Alive, SOON).await;
    cluster.node_mut(1).kill().await;
    cluster
        .sees(0, "node-1", MemberStatus::Failed, DETECTION)
        .await;
    cluster.node_mut(1).restart().await;
    let after = cluster
        .sees(0, "node-1", MemberStatus::Alive, DETECTION)
        .await;
    assert!(
        after.boot > before.boot,
        "boot {} after {}",
        after.boot,
        before.boot
    );
    assert!(after.started_at.unwrap().seconds >= before.started_at.unwrap().seconds);
}

#[tokio::test]
async fn sigterm_and_sigint_leave_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut cluster = cluster_of(3).start().await;
        cluster.node_mut(2).signal(signal);
        let status = cluster.node_mut(2).wait_exit(SOON).await;
        assert_eq!(status.code(), Some(0), "after {signal:?}");
        for at in [0, 1] {
            cluster.sees(at, "node-2", MemberStatus::Left, SOON).await;
        }
    }
}

#[tokio::test]
async fn a_leave_with_nobody_to_hear_it_is_bounded() {
    let mut cluster = cluster_of(3).start().await;
    cluster.node_mut(0).pause();
    cluster.node_mut(1).pause();
    cluster.node_mut(2).signal(Signal::TERM);
    let status = cluster.node_mut(2).wait_exit(SOON).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_leave_at_once() {
    let mut cluster = cluster_of(3).start().await;
    cluster.node_mut(0).pause();
    cluster.node_mut(1).pause();
    let node = cluster.node_mut(2);
    node.signal(Signal::TERM);
    node.signal(Signal::INT);
    node.wait_exit(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_leave_call_answers_and_the_daemon_exits_with_0() {
    let mut cluster = cluster_of(3).start().await;
    let mut api = cluster.node(1).api().await;
    api.node.leave(LeaveRequest { stay: false }).await.unwrap();
    assert_eq!(cluster.node_mut(1).wait_exit(SOON).await.code(), Some(0));
    cluster.sees(0, "node-1", MemberStatus::Left, SOON).await;
}

#[tokio::test]
async fn a_daemon_that_stays_after_a_leave_is_up_and_unjoined() {
    let mut cluster = cluster_of(3).start().await;
    let mut api = cluster.node(1).api().await;
    api.node.leave(LeaveRequest { stay: true }).await.unwrap();
    cluster.sees(0, "node-1", MemberStatus::Left, SOON).await;
    assert!(cluster.node_mut(1).is_running());
    let again = api
        .node
        .leave(LeaveRequest { stay: true })
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    // It must not drift back in by itself.
    let mut other = cluster.node(0).api().await;
    wait::stays("node-1 being left", Duration::from_secs(2), async || {
        let members = other.list().await?;
        let left = members
            .iter()
            .any(|m| m.name == "node-1" && m.status() == MemberStatus::Left);
        if left { Ok(()) } else { Err(summary(&members)) }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_left_and_stayed_comes_back_by_a_join() {
    let cluster = cluster_of(3).start().await;
    let before = cluster.sees(0, "node-1", MemberStatus::Alive, SOON).await;
    let muster = cluster.node(1).muster();
    muster.ok(&["leave", "--stay"]).await;
    cluster.sees(0, "node-1", MemberStatus::Left, SOON).await;
    let health = muster.ok(&["health"]).await;
    assert!(health.contains("left its cluster"), "{health}");
    let refused = muster.run(&["event", "gone"]).await.expect_code(1);
    assert!(refused.stderr.contains("has left"), "{refused:?}");
    let seed = cluster.node(0).addr().to_string();
    muster.ok(&["join", &seed]).await;
    let after = cluster
        .sees(0, "node-1", MemberStatus::Alive, DETECTION)
        .await;
    assert!(
        after.boot >= before.boot,
        "{} < {}",
        after.boot,
        before.boot
    );
    see_alive(cluster.node(1), 3).await;
    let health = muster.ok(&["health"]).await;
    assert!(!health.contains("left its cluster"), "{health}");
    muster.ok(&["event", "back"]).await;
}

#[tokio::test]
async fn force_leave_checks_its_argument_and_reaches_everybody() {
    let mut cluster = cluster_of(3).start().await;
    let mut api = cluster.node(0).api().await;
    let mut force = async |name: &str, prune: bool| {
        let request = ForceLeaveRequest {
            name: name.to_owned(),
            prune,
        };
        api.node
            .force_leave(request)
            .await
            .map_err(|status| status.code())
    };
    assert_eq!(
        force("node-2", false).await.unwrap_err(),
        Code::FailedPrecondition
    );
    assert_eq!(force("nobody", false).await.unwrap_err(), Code::NotFound);

    cluster.node_mut(2).kill().await;
    see(cluster.node(0), "node-2", MemberStatus::Failed, DETECTION).await;
    force("node-2", false).await.unwrap();
    for at in [0, 1] {
        cluster.sees(at, "node-2", MemberStatus::Left, SOON).await;
    }
    force("node-2", true).await.unwrap();
    for at in [0, 1] {
        see_alive(cluster.node(at), 2).await;
    }
}

#[tokio::test]
async fn tags_change_while_everything_runs() {
    let cluster = cluster_of(3)
        .each(|n, builder| {
            if n == 1 {
                builder.tag("zone", "a").tag("old", "x")
            } else {
                builder
            }
        })
        .start()
        .await;
    let member = cluster.sees(0, "node-1", MemberStatus::Alive, SOON).await;
    assert_eq!(member.tags["zone"], "a");
    let request = UpdateTagsRequest {
        set: [
            ("zone".to_owned(), "b".to_owned()),
            ("new".to_owned(), "é = 1".to_owned()),
        ]
        .into(),
        remove: vec!["old".to_owned()],
    };
    let mut api = cluster.node(1).api().await;
    let answer = api
        .node
        .update_tags(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.self_.unwrap().tags, request.set);
    for at in [0, 2] {
        let mut api = cluster.node(at).api().await;
        wait::until("the new tags", SOON, async || {
            let members = api.list().await?;
            let tags = members
                .into_iter()
                .find(|m| m.name == "node-1")
                .map(|m| m.tags);
            if tags.as_ref() == Some(&request.set) {
                Ok(())
            } else {
                Err(format!("{tags:?}"))
            }
        })
        .await;
    }
}

#[tokio::test]
async fn tags_that_cannot_be_are_refused_and_change_nothing() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let nul = [("k".to_owned(), "a\0b".to_owned())].into();
    let huge = [("k".to_owned(), "x".repeat(70 * 1024))].into();
    for set in [nul, huge] {
        let request = UpdateTagsRequest {
            set,
            remove: Vec::new(),
        };
        let status = api.node.update_tags(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert!(api.info().await.self_.unwrap().tags.is_empty());
}

#[tokio::test]
async fn a_paused_daemon_comes_back_without_a_restart() {
    let mut cluster = cluster_of(3).start().await;
    let before = cluster.sees(0, "node-2", MemberStatus::Alive, SOON).await;
    cluster.node_mut(2).pause();
    cluster
        .sees(0, "node-2", MemberStatus::Suspect, DETECTION)
        .await;
    cluster.node_mut(2).resume();
    for at in [0, 1] {
        let after = cluster
            .sees(at, "node-2", MemberStatus::Alive, DETECTION)
            .await;
        assert_eq!(after.boot, before.boot);
        assert_eq!(after.started_at, before.started_at);
    }
}

#[tokio::test]
async fn a_daemon_that_was_dead_for_the_others_finds_back_by_itself() {
    let mut cluster = cluster_of(3).start().await;
    let before = cluster.sees(0, "node-2", MemberStatus::Alive, SOON).await;
    cluster.node_mut(2).pause();
    for at in [0, 1] {
        cluster
            .sees(at, "node-2", MemberStatus::Failed, DETECTION)
            .await;
    }
    cluster.node_mut(2).resume();
    for at in [0, 1] {
        let after = cluster
            .sees(at, "node-2", MemberStatus::Alive, DETECTION)
            .await;
        assert_eq!(
            after.boot, before.boot,
            "a healed member looks like a restart"
        );
    }
    see_alive(cluster.node(2), 3).await;
}

#[tokio::test]
async fn a_seed_that_comes_late_is_found() {
    let seed = daemon("seed");
    let early = daemon("early").join(seed.addr()).ready().await;
    see_alive(&early, 1).await;
    let seed = seed.ready().await;
    see_alive(&early, 2).await;
    see_alive(&seed, 2).await;
}

#[tokio::test]
async fn daemons_join_by_host_name_and_on_ports_of_their_own_choice() {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let first = daemon("first").bind(loopback).ready().await;
    let info = first.api().await.info().await;
    let port = info.bind.rsplit(':').next().unwrap().to_owned();
    assert_ne!(port, "0", "{}", info.bind);
    let second = daemon("second")
        .bind(loopback)
        .join(format!("localhost:{port}"))
        .ready()
        .await;
    see_alive(&first, 2).await;
    see_alive(&second, 2).await;
}

#[tokio::test]
async fn two_clusters_of_one_name_and_key_merge_by_a_join_call() {
    let (left, right) = (daemon("left").ready().await, daemon("right").ready().await);
    let mut api = left.api().await;
    let request = JoinRequest {
        addresses: vec![right.addr().to_string()],
    };
    let answer = api.node.join(request).await.unwrap().into_inner();
    assert_eq!(answer.joined, 1);
    assert_eq!(answer.results[0].member, "right");
    see_alive(&left, 2).await;
    see_alive(&right, 2).await;
}

#[tokio::test]
async fn joining_nobody_or_oneself_fails_and_names_each_address() {
    let node = daemon("one").ready().await;
    let nobody = daemon("nobody").addr().to_string();
    let addresses = vec![node.addr().to_string(), nobody.clone()];
    let mut api = node.api().await;
    let status = api.node.join(JoinRequest { addresses }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for address in [node.addr().to_string(), nobody] {
        assert!(
            status.message().contains(&address),
            "{} misses {address}",
            status.message()
        );
    }
    let none = api
        .node
        .join(JoinRequest {
            addresses: Vec::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
}
