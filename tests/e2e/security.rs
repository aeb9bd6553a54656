//! Keys, clusters that stay apart, and hostile datagrams: each is a counted drop.

use std::net::SocketAddr;
use std::time::Duration;

use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Api, Cluster, Daemon, Security, Tap, address};
use tokio::net::UdpSocket;

use crate::{cluster_of, daemon};

/// How long clusters that must stay apart are looked at.
const APART: Duration = Duration::from_secs(3);

/// Samples of a metric whose series names a drop for this reason.
async fn dropped(api: &mut Api, reason: &str) -> Result<f64, String> {
    let request = muster_proto::v1::GetMetricsRequest {};
    let answer = api
        .node
        .get_metrics(request)
        .await
        .map_err(|status| status.to_string())?;
    let text = answer.into_inner().text;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let drops = lines.filter(|line| {
        (line.contains("dropped") || line.contains("refused")) && line.contains(reason)
    });
    Ok(drops
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum())
}

/// Waits until the drops for this reason grew above `before`.
async fn grew(api: &mut Api, reason: &str, before: f64) {
    let what = format!("drops for {reason} above {before}");
    wait::until(&what, SOON, async || {
        let now = dropped(api, reason).await?;
        if now > before {
            Ok(())
        } else {
            Err(format!("there are {now}"))
        }
    })
    .await;
}

/// Waits until the drops for this reason exist.
async fn counted(node: &Daemon, reason: &str) {
    grew(&mut node.api().await, reason, 0.0).await;
}

async fn stays_alone(node: &Daemon) {
    let mut api = node.api().await;
    wait::stays("being alone", APART, async || {
        let count = api.list().await?.len();
        if count == 1 {
            Ok(())
        } else {
            Err(format!("{count} members"))
        }
    })
    .await;
}

#[tokio::test]
async fn another_key_stays_apart_and_is_counted() {
    let dir = temp_dir();
    let (a, b) = (
        write_key(dir.path(), "a.key"),
        write_key(dir.path(), "b.key"),
    );
    let first = daemon("first").security(Security::KeyFile(a)).ready().await;
    let second = daemon("second")
        .security(Security::KeyFile(b))
        .join(first.addr())
        .ready()
        .await;
    counted(&first, "unknown_key").await;
    tokio::join!(stays_alone(&first), stays_alone(&second));
    let metrics = first.muster().ok(&["info", "--metrics"]).await;
    assert!(metrics.contains("unknown_key"), "{metrics}");
}

#[tokio::test]
async fn another_cluster_under_the_same_key_stays_apart_and_is_counted() {
    let dir = temp_dir();
    let key = write_key(dir.path(), "a.key");
    let builder = |name| daemon(name).security(Security::KeyFile(key.clone()));
    let first = builder("first").cluster("blue").ready().await;
    let second = builder("second")
        .cluster("green")
        .join(first.addr())
        .ready()
        .await;
    // Streams come first: there the cluster is part of the key.
    counted(&first, "wrong_key").await;
    tokio::join!(stays_alone(&first), stays_alone(&second));
}

#[tokio::test]
async fn a_plaintext_node_and_a_sealed_one_stay_apart() {
    let dir = temp_dir();
    let key = write_key(dir.path(), "a.key");
    let sealed = daemon("sealed")
        .security(Security::KeyFile(key))
        .ready()
        .await;
    let plain = daemon("plain").join(sealed.addr()).ready().await;
    counted(&sealed, "refused_plaintext").await;
    tokio::join!(stays_alone(&sealed), stays_alone(&plain));
}

#[tokio::test]
async fn plaintext_is_loud_and_refused_on_public_addresses() {
    let node = daemon("plain").ready().await;
    let info = node.api().await.info().await;
    assert!(!info.encrypted);
    assert!(
        info.warnings
            .iter()
            .any(|w| w.contains("encrypt") || w.contains("plaintext"))
    );
    assert!(info.self_.unwrap().plaintext);
    assert!(node.log().contains("WITHOUT ENCRYPTION"), "{}", node.log());

    let public: SocketAddr = "8.8.8.8:7946".parse().unwrap();
    let advertise = public.to_string();
    let (code, log) = daemon("public")
        .arg("--advertise")
        .arg(advertise)
        .refused()
        .await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("8.8.8.8"), "{log}");
}

/// Two daemons, the first behind a tap, and a socket to send from.
struct Range {
    cluster: Cluster,
    tap: Tap,
    socket: UdpSocket,
}

impl Range {
    async fn open() -> Self {
        let bind = address::fresh();
        let tap = Tap::to(bind).await;
        let advertise = tap.addr().to_string();
        let cluster = cluster_of(2)
            .staggered()
            .each(move |n, builder| match n {
                0 => builder.bind(bind).arg("--advertise").arg(&advertise),
                _ => builder.join(bind),
            })
            .start()
            .await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self {
            cluster,
            tap,
            socket,
        }
    }

    /// Sends one datagram to daemon n and waits until its drop was counted.
    async fn fire(&self, n: usize, datagram: &[u8], reason: &str) {
        let mut api = self.cluster.node(n).api().await;
        let before = dropped(&mut api, reason).await.unwrap();
        self.socket
            .send_to(datagram, self.cluster.node(n).addr())
            .await
            .unwrap();
        grew(&mut api, reason, before).await;
    }

    /// Nothing that was fired changed anything.
    async fn unharmed(&mut self) {
        for n in 0..2 {
            assert!(self.cluster.node_mut(n).is_running());
            see_alive(self.cluster.node(n), 2).await;
        }
    }
}

#[tokio::test]
async fn damaged_datagrams_are_dropped_each_under_its_own_counter() {
    let mut range = Range::open().await;
    let good = range.tap.datagram().await;
    let damaged = |index: usize| {
        let mut copy = good.clone();
        copy[index] ^= 1;
        copy
    };
    // Version 1 byte, suite 1, key id 4, nonce 24 (cluster tag last), body, tag.
    range.fire(0, &good[..20], "truncated").await;
    range.fire(0, b"", "truncated").await;
    range.fire(0, &damaged(0), "version").await;
    range
        .fire(0, &[&good[..1], &[99], &good[2..]].concat(), "suite")
        .await;
    range
        .fire(
            0,
            &[&good[..1], &[0], &good[2..]].concat(),
            "plaintext_refused",
        )
        .await;
    range.fire(0, &damaged(2), "unknown_key").await;
    range.fire(0, &damaged(29), "other_cluster").await;
    range.fire(0, &damaged(35), "forged").await;
    range.fire(0, &damaged(good.len() - 1), "forged").await;
    range.fire(0, &good[..good.len() - 1], "forged").await;
    // As long as UDP carries: longer ones exist only for the unit tests of the sealer.
    range.fire(0, &vec![1; 65_000], "unknown_key").await;
    range.unharmed().await;
}

#[tokio::test]
async fn replayed_and_reflected_datagrams_are_dropped() {
    let mut range = Range::open().await;
    let seen = range.tap.datagram().await;
    // The tap has passed it on already, or is about to: the copy is the second one.
    range.fire(0, &seen, "replayed").await;
    // It came from daemon 1: back to where it came from.
    range.fire(1, &seen, "reflected").await;
    range.unharmed().await;
}

#[tokio::test]
async fn noise_does_no_harm() {
    let mut range = Range::open().await;
    let mut seed = 0x9e37_79b9_u64;
    for length in 0..512_usize {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_be_bytes()[0]
            })
            .collect();
        range
            .socket
            .send_to(&noise, range.cluster.node(0).addr())
            .await
            .unwrap();
    }
    range.unharmed().await;
}

#[tokio::test]
async fn garbage_on_the_tcp_port_does_no_harm() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut range = Range::open().await;
    let target = range.cluster.node(0).addr();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4_096],
        &[1, 1, 0, 0, 0, 0],
        b"",
    ] {
        let mut stream = tokio::net::TcpStream::connect(target).await.unwrap();
        stream.write_all(garbage).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        // It closes on us in bounded time, whatever it says before.
        let closing = stream.read_to_end(&mut answer);
        tokio::time::timeout(SOON, closing)
            .await
            .expect("the connection stays open")
            .ok();
    }
    range.unharmed().await;
}
