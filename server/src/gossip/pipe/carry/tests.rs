use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::gossip::metrics::Counters;
use crate::gossip::pipe::testing::{Peer, identity, listener};
use crate::gossip::task::Arrival;

const PATIENCE: Duration = Duration::from_secs(30);

/// A node that gets datagrams.
struct Taker {
    peer: Peer,
    arrivals: mpsc::Receiver<Arrival>,
}

fn carriers(key: Option<u8>) -> (Carriers, Arc<Counters>) {
    let counters = Arc::<Counters>::default();
    let context = Context {
        identity: identity("c", key),
        arrivals: mpsc::channel(1).0,
        counters: Arc::clone(&counters),
    };
    (Carriers::new(context, Tasks::default()), counters)
}

fn serve(listener: TcpListener, key: Option<u8>, room: usize) -> Taker {
    let (sender, arrivals) = mpsc::channel(room);
    let peer = Peer::serve(listener, identity("c", key), sender);
    Taker { peer, arrivals }
}

async fn taker(key: Option<u8>, room: usize) -> Taker {
    serve(listener().await, key, room)
}

impl Taker {
    async fn got(&mut self) -> Bytes {
        match timeout(PATIENCE, self.arrivals.recv()).await.unwrap() {
            Some(Arrival::Carried(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

fn numbered(number: usize) -> Bytes {
    Bytes::from(format!("datagram {number}"))
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !done() {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn datagrams_go_through_one_pipe_in_order() {
    for key in [Some(1), None] {
        let (mut carriers, counters) = carriers(key);
        let mut taker = taker(key, 64).await;
        for number in 0..20 {
            carriers.send(taker.peer.addr, numbered(number));
        }
        for number in 0..20 {
            assert_eq!(taker.got().await, numbered(number));
        }
        until("all are counted", || {
            counters.datagrams_carried_sent.get() == 20
        })
        .await;
        assert_eq!(counters.pipes_opened.get(), 1);
        assert_eq!(taker.peer.counters.datagrams_carried_received.get(), 20);
    }
}

#[tokio::test]
async fn what_the_queue_does_not_hold_is_dropped_and_counted() {
    let (mut carriers, counters) = carriers(Some(1));
    let taker = taker(Some(1), 1).await;
    // The task has had no turn yet: it is this queue that fills.
    for number in 0..CARRIER_QUEUE_MAX + 5 {
        carriers.send(taker.peer.addr, numbered(number));
    }
    assert_eq!(counters.datagrams_dropped_carry_full.get(), 5);
}

#[tokio::test]
async fn where_nobody_takes_them_they_are_dropped_until_somebody_does() {
    let (mut carriers, counters) = carriers(Some(1));
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    drop(listener);
    carriers.send(addr, numbered(1));
    until("it is dropped", || {
        counters.datagrams_dropped_carry_broken.get() == 1
    })
    .await;
    let mut taker = serve(TcpListener::bind(addr).await.unwrap(), Some(1), 64);
    carriers.send(addr, numbered(2));
    assert_eq!(taker.got().await, numbered(2));
}

#[tokio::test]
async fn a_peer_with_other_keys_gets_nothing() {
    let (mut carriers, counters) = carriers(Some(1));
    let mut taker = taker(Some(2), 64).await;
    carriers.send(taker.peer.addr, numbered(1));
    until("it is dropped", || {
        counters.datagrams_dropped_carry_broken.get() == 1
    })
    .await;
    assert!(taker.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_that_stops_is_reached_again_when_it_is_back() {
    let (mut carriers, counters) = carriers(Some(1));
    let mut first = taker(Some(1), 64).await;
    let addr = first.peer.addr;
    carriers.send(addr, numbered(1));
    assert_eq!(first.got().await, numbered(1));
    first.peer.tasks.stop_token().cancel();
    let ended = timeout(PATIENCE, async {
        while first.arrivals.recv().await.is_some() {}
    });
    ended.await.unwrap();
    let again = timeout(PATIENCE, async {
        loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let mut second = serve(again.await.unwrap(), Some(1), 64);
    carriers.send(addr, numbered(2));
    assert_eq!(second.got().await, numbered(2));
    assert_eq!(counters.pipes_opened.get(), 2);
}

#[tokio::test]
async fn the_pipe_used_least_recently_makes_room() {
    let (mut carriers, counters) = carriers(Some(1));
    let mut takers = Vec::new();
    for number in 0..=CARRIERS_MAX {
        let mut taker = taker(Some(1), 1).await;
        carriers.send(taker.peer.addr, numbered(number));
        assert_eq!(taker.got().await, numbered(number));
        takers.push(taker);
    }
    assert_eq!(carriers.carriers.len(), CARRIERS_MAX);
    assert!(!carriers.carriers.contains_key(&takers[0].peer.addr));
    until("its pipe is closed", || {
        counters.pipes_outgoing.get() == CARRIERS_MAX as u64
    })
    .await;
}

/// Longer than any datagram: nobody's engine would take it.
#[tokio::test]
async fn a_frame_that_is_no_datagram_ends_the_pipe() {
    let (mut carriers, _) = carriers(Some(1));
    let taker = taker(Some(1), 1).await;
    let long = muster_engine::crypto::seal::DATAGRAM_BYTES_MAX + 1;
    carriers.send(taker.peer.addr, Bytes::from(vec![0; long]));
    until("it is refused", || {
        taker.peer.counters.pipes_refused_frame.get() == 1
    })
    .await;
    assert_eq!(taker.peer.counters.datagrams_carried_received.get(), 0);
}
