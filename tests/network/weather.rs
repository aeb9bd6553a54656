//! Datagrams that come late, in another order, and twice.

use std::time::Duration;

use muster_tests::harness::cluster::{node, see_alive};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::relay::{Relay, Weather};
use muster_tests::harness::wait;
use muster_tests::harness::{Daemon, Recorder, Security};
use std::sync::Arc;

use crate::BIN;
use crate::scene::{Record, everybody_has, send, subscribed};

/// Daemons.
const SIZE: usize = 5;

/// A bad line: up to 150 ms, and one datagram in three twice.
const BAD: Weather = Weather {
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(130),
    doubled: 0.33,
    lost: 0.02,
};

/// Enough for what is lost to be asked for.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn late_doubled_and_reordered_datagrams_change_no_order_and_no_state() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let dir = Arc::new(temp_dir());
    let key = write_key(dir.path(), "key");
    let (mut daemons, mut relays) = (Vec::<Daemon>::new(), Vec::<Relay>::new());
    for n in 0..SIZE {
        let builder = Daemon::builder(BIN, &node(n)).dir(&dir);
        let builder = builder.security(Security::KeyFile(key.clone()));
        let relay = Relay::to(builder.addr(), BAD, seed.wrapping_add(n as u64)).await;
        let builder = builder.arg("--advertise").arg(relay.addr().to_string());
        let builder = match relays.first() {
            Some(first) => builder.join(first.addr()),
            None => builder,
        };
        daemons.push(builder.ready().await);
        relays.push(relay);
    }
    for daemon in &daemons {
        see_alive(daemon, SIZE).await;
    }
    let recorder = Recorder::of(&daemons);
    subscribed(&recorder).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        for daemon in &daemons {
            sent.extend(send(daemon, 15).await);
        }
    }
    everybody_has(&recorder, &sent, PATIENCE).await;
    let enough = async || {
        let overtaken: u64 = relays.iter().map(Relay::overtaken).sum();
        let doubled: u64 = relays.iter().map(Relay::doubled).sum();
        if overtaken > 50 && doubled > 50 {
            Ok(())
        } else {
            Err(format!("{overtaken} overtaken, {doubled} doubled"))
        }
    };
    wait::until("datagrams in another order", PATIENCE, enough).await;
    let record = Record::of(recorder).await;
    let all = [0, 1, 2, 3, 4];
    record.nobody_failed(&all, &all);
}
