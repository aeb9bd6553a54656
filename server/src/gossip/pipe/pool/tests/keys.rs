//! Keys that change while pipes are open.

use muster_engine::crypto::{Key, Keyring, Stage};

use super::*;

fn ring(bytes: &[u8]) -> Keyring {
    let mut keys = bytes.iter().map(|byte| Key::new(&[*byte; 32]).unwrap());
    let mut ring = Keyring::new(keys.next().unwrap());
    keys.for_each(|key| ring.install(key));
    ring
}

fn node(keyring: Option<Keyring>) -> Arc<Identity> {
    Arc::new(Identity::new("c".to_owned(), keyring))
}

async fn until(counters: &Counters, read: Read, wanted: u64) {
    let reached = timeout(Duration::from_secs(20), async {
        while read(counters) != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(reached.await.is_ok(), "{} is not {wanted}", read(counters));
}

#[tokio::test]
async fn the_pipes_of_a_removed_key_are_closed_by_whoever_removed_it() {
    let keys = [node(Some(ring(&[1, 2]))), node(Some(ring(&[1, 2])))];
    let far = far(Arc::clone(&keys[1])).await;
    let mut near = near(Arc::clone(&keys[0]));
    near.send(far.addr, job(1, "one"));
    assert_eq!(near.response().await.1.unwrap(), "one!");
    // The far side removes it: a goodbye, and the next exchange finds another key.
    keys[1].set_keyring(Some(ring(&[2])));
    until(&far.counters, |c| c.pipes_closed_key_removed.get(), 1).await;
    near.send(far.addr, job(2, "two"));
    assert_eq!(near.response().await.1.unwrap(), "two!");
    assert_eq!(near.counters.pipes_closed_abruptly.get(), 0);
    assert_eq!(near.counters.pipes_failed_handshake.get(), 0);
    // The near side takes the other one as well: nothing happens to the pipe of key 2.
    keys[0].set_keyring(Some(ring(&[2])));
    near.send(far.addr, job(3, "three"));
    assert_eq!(near.response().await.1.unwrap(), "three!");
    assert_eq!(near.counters.pipes_opened.get(), 2);
    // Now the near side removes it.
    keys[0].set_keyring(Some(ring(&[3])));
    until(&near.counters, |c| c.pipes_closed_key_removed.get(), 1).await;
    assert_eq!(far.counters.pipes_closed_abruptly.get(), 0);
    near.send(far.addr, job(4, "four"));
    let error = near.response().await.1.unwrap_err().to_string();
    assert!(error.contains("wrong key or other cluster"), "{error}");
    assert_eq!(near.counters.pipes_failed_handshake.get(), 1);
}

#[tokio::test]
async fn a_peer_that_is_a_stage_behind_or_ahead_is_reached_by_another_offer() {
    let at = |stage| node(Some(ring(&[1]).at(stage)));
    let cases = [
        (at(Stage::Receive), at(Stage::On)),
        (at(Stage::Send), node(None)),
        (at(Stage::Send), at(Stage::Receive)),
    ];
    for (one, two) in cases {
        let far = far(two).await;
        let mut near = near(one);
        near.send(far.addr, job(1, "one"));
        assert_eq!(near.response().await.1.unwrap(), "one!");
    }
}

#[tokio::test]
async fn pipes_in_clear_are_closed_once_plaintext_is_refused() {
    let (one, two) = (node(Some(ring(&[1]).at(Stage::Receive))), node(None));
    let far = far(Arc::clone(&two)).await;
    let mut near = near(Arc::clone(&one));
    near.send(far.addr, job(1, "one"));
    assert_eq!(near.response().await.1.unwrap(), "one!");
    two.set_keyring(Some(ring(&[1]).at(Stage::On)));
    until(&far.counters, |c| c.pipes_closed_key_removed.get(), 1).await;
    near.send(far.addr, job(2, "two"));
    assert_eq!(near.response().await.1.unwrap(), "two!");
}
