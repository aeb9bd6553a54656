//! Name servers that are dead.

use std::fs;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::see;
use muster_tests::harness::wait::{self, SOON};

use crate::scene::Scene;

/// The name of a seed means nothing, then it does: nobody is restarted.
#[tokio::test]
async fn a_seed_whose_name_resolves_late_is_joined() {
    let files = tempfile::tempdir().unwrap();
    let (hosts, servers) = (files.path().join("hosts"), files.path().join("resolv.conf"));
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    // Nobody answers there.
    fs::write(
        &servers,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && exec \"$@\"",
        hosts.display(),
        servers.display()
    );
    let alone = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let scene = Scene::started_by(
        2,
        |n| n == 0,
        |n, builder| match n {
            1 => builder.join("seed.example.test").under(&alone),
            _ => builder,
        },
    );
    let waiting = &scene.daemons[1];
    wait::until("a seed that does not resolve", SOON, async || {
        let log = waiting.log();
        if log.contains("seed.example.test") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let mut api = waiting.api().await;
    assert_eq!(api.list().await.unwrap().len(), 1);
    // In place: the file is mounted.
    let line = format!("{} seed.example.test\n", scene.lan.host(0).ip());
    fs::write(&hosts, format!("127.0.0.1 localhost\n{line}")).unwrap();
    for (at, name) in [(0, "node-1"), (1, "node-0")] {
        see(&scene.daemons[at], name, MemberStatus::Alive, SOON * 2).await;
    }
    // The names are gone again: who is known stays known.
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    scene.together().await;
}
