//! Round trips between real daemons, estimated and told.

use std::time::Duration;

use muster_tests::harness::wait;

use crate::cluster_of;

/// The estimate of an answer of `muster rtt`, milliseconds.
fn milliseconds(line: &str, between: &str) -> f64 {
    let rest = line.strip_prefix(&format!("Estimated {between} rtt: "));
    let number = rest.and_then(|rest| rest.trim_end().strip_suffix(" ms"));
    number
        .unwrap_or_else(|| panic!("{line:?}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_round_trip_between_any_two_is_told_in_serfs_words() {
    let cluster = cluster_of(3)
        .each(|n, daemon| daemon.arg("--role").arg(format!("web=10.0.0.{}:80", n + 1)))
        .start()
        .await;
    let muster = cluster.node(0).muster();
    wait::until("all coordinates", Duration::from_secs(20), async || {
        let ran = muster.run(&["rtt", "node-1", "node-2"]).await;
        if ran.code == Some(0) {
            Ok(())
        } else {
            Err(ran.stderr)
        }
    })
    .await;
    let line = muster.ok(&["rtt", "node-1", "node-2"]).await;
    let estimated = milliseconds(&line, "node-1 <-> node-2");
    assert!(estimated > 0.0 && estimated < 5_000.0, "{line}");
    let line = muster.ok(&["rtt", "node-2"]).await;
    milliseconds(&line, "node-2 <-> node-0");
    let told = muster.json(&["rtt", "node-2"]).await;
    assert_eq!(
        told["member_coordinate"]["vector"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    assert_eq!(told["other"], "node-0");
    muster.run(&["rtt", "nobody"]).await.expect_code(3);
    // It is nearest to itself.
    let near = muster
        .json(&["resolve", "web", "--nearest", "--near", "node-2"])
        .await;
    assert_eq!(near["endpoints"][0]["member"], "node-2");
    let near = muster
        .json(&["resolve", "web", "--policy", "nearest"])
        .await;
    assert_eq!(near["endpoints"][0]["member"], "node-0");
}

#[tokio::test]
async fn who_turned_them_off_says_so() {
    let cluster = cluster_of(2)
        .each(|_n, daemon| daemon.arg("--disable-coordinates"))
        .start()
        .await;
    let ran = cluster.node(0).muster().run(&["rtt", "node-1"]).await;
    let ran = ran.expect_code(1);
    assert!(ran.stderr.contains("turned off"), "{}", ran.stderr);
}
