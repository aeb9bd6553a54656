//! Members that are forced out, lost, or never found.

use std::fs;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::harness::{address, wait};
use muster_tests::serf::Agent;
use rustix::process::Signal;

use crate::scene::{Scene, daemon};

#[tokio::test]
async fn a_live_member_that_is_forced_out_stays_leaving_and_nobody_is_told_of_a_wrong_name() {
    let scene = Scene::new();
    let one = scene.agent("one", &[]).await;
    let two = scene.joined("two", &one, &[]).await;
    assert!(one.serf("force-leave", &["nosuch"]).status.success());
    assert!(one.serf("force-leave", &["two"]).status.success());
    one.sees("two", "leaving").await;
    drop(two);

    let one = daemon("one").ready().await;
    let _two = daemon("two").join(one.addr()).ready().await;
    see_alive(&one, 2).await;
    let muster = one.muster();
    muster.run(&["force-leave", "nosuch"]).await.expect_code(3);
    let refused = muster.run(&["force-leave", "two"]).await.expect_code(1);
    assert!(refused.stderr.contains("alive"), "{refused:?}");
    see_alive(&one, 2).await;
}

#[tokio::test]
async fn joining_oneself_is_a_success_that_ends_all_tries() {
    let scene = Scene::new();
    let (at_one, at_two) = (address::fresh(), address::fresh());
    let seeds = [
        format!("-retry-join={at_one}"),
        format!("-retry-join={at_two}"),
        "-retry-interval=1s".to_owned(),
    ];
    let one = Agent::start_at(at_one, "one", &seeds, &scene.path(""));
    one.ready().await;
    wait::until("serf joining itself", SOON, async || {
        let log = one.process.stdout_text();
        match log.contains("Join completed") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    let two = Agent::start_at(at_two, "two", &[], &scene.path(""));
    two.ready().await;
    let apart = async || match one.status_of("two") {
        None => Ok(()),
        Some(status) => Err(format!("serf's one sees two as {status}")),
    };
    wait::stays("serf's one being alone", SOON, apart).await;
    drop((one, two));

    let (at_one, at_two) = (address::fresh(), address::fresh());
    let one = daemon("one").bind(at_one).join(at_one).join(at_two);
    let one = one.ready().await;
    let _two = daemon("two").bind(at_two).ready().await;
    see_alive(&one, 2).await;
}

#[tokio::test]
async fn a_member_that_returns_at_another_address_ends_itself() {
    let scene = Scene::new();
    let one = scene.agent("one", &[]).await;
    let three = scene.joined("three", &one, &[]).await;
    let mut two = scene.joined("two", &one, &[]).await;
    three.sees("two", "alive").await;
    two.process.signal(Signal::KILL);
    let mut back = scene.agent("two", &[format!("-join={}", one.bind)]).await;
    assert_ne!(back.bind, two.bind);
    let status = back.process.wait_exit(DETECTION).await;
    assert_eq!(status.code(), Some(0), "as if all were well");
    drop((one, two, three));

    let one = daemon("one").ready().await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    let _three = daemon("three").join(one.addr()).ready().await;
    see_alive(&one, 3).await;
    two.kill().await;
    let mut back = daemon("two").join(one.addr()).ready().await;
    let address = back.addr().ip().to_string();
    wait::until("two at its new address", DETECTION, async || {
        let member = see(&one, "two", MemberStatus::Alive, DETECTION).await;
        match member.gossip_ip == address {
            true => Ok(()),
            false => Err(format!("{member:?}")),
        }
    })
    .await;
    assert!(back.is_running());
    see_alive(&back, 3).await;
}

#[tokio::test]
async fn a_reload_erases_the_tags() {
    let scene = Scene::new();
    fs::write(scene.path("serf.tags"), "{\"rack\": \"7\"}").unwrap();
    let tags = format!("-tags-file={}", scene.text("serf.tags"));
    let mut one = scene.agent("one", &[tags]).await;
    let before = one.serf("members", &[]).stdout;
    assert!(String::from_utf8_lossy(&before).contains("rack=7"));
    one.process.signal(Signal::HUP);
    wait::until("serf's tags to go", SOON, async || {
        let shown = String::from_utf8_lossy(&one.serf("members", &[]).stdout).into_owned();
        match shown.contains("rack=7") {
            true => Err(shown),
            false => Ok(()),
        }
    })
    .await;
    drop(one);

    fs::write(scene.path("muster.tags"), "{\"rack\": \"7\"}").unwrap();
    let one = daemon("one")
        .arg("--tags-file")
        .arg(scene.path("muster.tags"));
    let mut one = one.ready().await;
    let muster = one.muster();
    muster.ok(&["tags", "--set", "row=9"]).await;
    one.signal(Signal::HUP);
    wait::until("the end of the reload", SOON, async || {
        let log = one.log();
        match log.contains("reload") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    let members = muster.ok(&["members"]).await;
    assert!(
        members.contains("rack=7") && members.contains("row=9"),
        "{members}"
    );
    let kept = fs::read_to_string(scene.path("muster.tags")).unwrap();
    assert!(kept.contains("rack") && kept.contains("row"), "{kept}");
}
