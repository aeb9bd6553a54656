mod keys;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::ExchangeId;
use tokio::time::{Instant, timeout};

use super::*;
use crate::gossip::metrics::Counters;
use crate::gossip::pipe::handshake::Identity;
use crate::gossip::pipe::testing::{Peer, identity, listener};
use crate::gossip::task::Arrival;

type Read = fn(&Counters) -> u64;

/// A pool and the arrivals that it brings.
struct Near {
    pool: Pool,
    arrivals: mpsc::Receiver<Arrival>,
    counters: Arc<Counters>,
}

fn near(identity: Arc<Identity>) -> Near {
    let (sender, arrivals) = mpsc::channel(256);
    let counters = Arc::new(Counters::default());
    let context = Context {
        identity,
        arrivals: sender,
        counters: Arc::clone(&counters),
    };
    Near {
        pool: Pool::new(context, Tasks::default()),
        arrivals,
        counters,
    }
}

/// Its engine answers with what it was asked, with a `!`.
async fn far(identity: Arc<Identity>) -> Peer {
    let (sender, mut arrivals) = mpsc::channel(256);
    let peer = Peer::start(identity, sender).await;
    peer.tasks.spawn_guarded("engine", async move {
        while let Some(arrival) = arrivals.recv().await {
            if let Arrival::Request { body, reply, .. } = arrival {
                answer(&body, reply);
            }
        }
    });
    peer
}

fn answer(body: &Bytes, reply: tokio::sync::oneshot::Sender<Option<Bytes>>) {
    let text = match &body[..] {
        // Silence: the reply goes, nothing is said.
        b"silence" => return std::mem::forget(reply),
        b"senseless" => None,
        body => Some(Bytes::from([body, b"!"].concat())),
    };
    reply.send(text).unwrap();
}

fn job(id: u64, body: impl Into<Bytes>) -> Job {
    Job {
        id: ExchangeId(id),
        body: body.into(),
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

impl Near {
    fn send(&mut self, to: SocketAddr, job: Job) {
        self.pool.send(to, ExchangeKind::Sync, job).unwrap();
    }

    /// The next response; keeps the pool's books as the core does.
    async fn response(&mut self) -> (u64, Result<Bytes, ExchangeError>) {
        loop {
            match self.next().await {
                Arrival::Response { slot, id, result } => {
                    self.pool.freed(slot);
                    return (id.0, result);
                }
                Arrival::SlotClosed { slot } => self.pool.closed(slot),
                other @ (Arrival::Request { .. }
                | Arrival::Watch { .. }
                | Arrival::Carried(_)
                | Arrival::Seeds(_)
                | Arrival::Join { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    async fn next(&mut self) -> Arrival {
        let next = timeout(Duration::from_secs(20), self.arrivals.recv());
        next.await.unwrap().unwrap()
    }

    async fn ask(&mut self, to: SocketAddr, body: &'static str) -> Result<Bytes, ExchangeError> {
        self.send(to, job(1, body));
        self.response().await.1
    }
}

#[tokio::test]
async fn many_exchanges_travel_on_one_pipe() {
    for key in [None, Some(1)] {
        let far = far(identity("c", key)).await;
        let mut near = near(identity("c", key));
        for id in 0..20 {
            near.send(far.addr, job(id, "hello"));
            assert_eq!(near.response().await, (id, Ok(Bytes::from("hello!"))));
        }
        assert_eq!(near.counters.pipes_opened.get(), 1);
        assert_eq!(far.counters.pipes_accepted.get(), 1);
        assert_eq!(far.counters.exchanges_received.get(), 20);
    }
}

#[tokio::test]
async fn the_largest_bodies_pass() {
    let far = far(identity("c", Some(1))).await;
    let mut near = near(identity("c", Some(1)));
    let body = vec![b'x'; muster_engine::api::EXCHANGE_BYTES_MAX - 1];
    near.send(far.addr, job(1, body.clone()));
    let answer = near.response().await.1.unwrap();
    assert_eq!(answer.len(), body.len() + 1);
    assert!(answer.starts_with(&body));
}

#[tokio::test]
async fn exchanges_at_once_take_a_pipe_each_up_to_the_bound() {
    let far = far(identity("c", Some(1))).await;
    let mut near = near(identity("c", Some(1)));
    for id in 0..OUTGOING_MAX as u64 {
        near.send(far.addr, job(id, "hello"));
    }
    let refused = near
        .pool
        .send(far.addr, ExchangeKind::Sync, job(99, "hello"));
    assert_eq!(refused, Err(ExchangeError::Busy));
    assert_eq!(near.counters.exchanges_refused_busy.get(), 1);
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..OUTGOING_MAX {
        let (id, result) = near.response().await;
        assert_eq!(result, Ok(Bytes::from("hello!")));
        answered.insert(id);
    }
    assert_eq!(answered.len(), OUTGOING_MAX);
    assert_eq!(near.ask(far.addr, "again").await, Ok(Bytes::from("again!")));
}

#[tokio::test]
async fn the_least_recently_used_idle_pipe_makes_room() {
    let mut fars = Vec::new();
    let mut near = near(identity("c", Some(1)));
    for _ in 0..=OUTGOING_MAX {
        let far = far(identity("c", Some(1))).await;
        near.ask(far.addr, "hello").await.unwrap();
        fars.push(far);
    }
    near.ask(fars[1].addr, "hello").await.unwrap();
    assert_eq!(fars[1].counters.pipes_accepted.get(), 1, "kept");
    near.ask(fars[0].addr, "hello").await.unwrap();
    assert_eq!(
        fars[0].counters.pipes_accepted.get(),
        2,
        "closed for the last one"
    );
    near.ask(fars[1].addr, "hello").await.unwrap();
    assert_eq!(
        fars[1].counters.pipes_accepted.get(),
        1,
        "used again, so kept"
    );
    assert_eq!(near.counters.pipes_closed_idle.get(), 2);
    assert_eq!(near.counters.exchanges_failed.get(), 0);
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let mut near = near(identity("c", Some(1)));
    let error = near.ask(addr, "hello").await.unwrap_err();
    assert!(
        matches!(&error, ExchangeError::Connect(text) if text.contains("refused")),
        "{error}"
    );
    assert_eq!(near.counters.pipes_failed_connect.get(), 1);
}

#[tokio::test]
async fn handshake_failures_are_told_and_counted_on_both_sides() {
    let far = far(identity("c", Some(1))).await;
    let cases: [(_, _, Read); 3] = [
        (identity("c", Some(2)), "wrong key or other cluster", |c| {
            c.pipes_refused_unknown_key.get()
        }),
        (identity("d", Some(1)), "wrong key or other cluster", |c| {
            c.pipes_refused_wrong_key.get()
        }),
        (identity("c", None), "the peer has a key", |c| {
            c.pipes_refused_plaintext.get()
        }),
    ];
    for (identity, text, counter) in cases {
        let mut near = near(identity);
        let error = near.ask(far.addr, "hello").await.unwrap_err();
        assert!(
            error.to_string().starts_with("handshake failed: "),
            "{error}"
        );
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(near.counters.pipes_failed_handshake.get(), 1);
        until(|| counter(&far.counters) == 1).await;
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_ends_its_pipe_only() {
    let far = far(identity("c", Some(1))).await;
    let mut near = near(identity("c", Some(1)));
    let error = near.ask(far.addr, "senseless").await.unwrap_err();
    assert!(matches!(error, ExchangeError::Broken(_)), "{error}");
    assert_eq!(near.ask(far.addr, "hello").await, Ok(Bytes::from("hello!")));
    until(|| far.counters.pipes_refused_frame.get() == 1).await;
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let far = far(identity("c", Some(1))).await;
    let mut near = near(identity("c", Some(1)));
    let mut job = job(1, "silence");
    job.deadline = Instant::now() + Duration::from_millis(100);
    near.send(far.addr, job);
    assert_eq!(near.response().await.1, Err(ExchangeError::Timeout));
    assert_eq!(near.ask(far.addr, "hello").await, Ok(Bytes::from("hello!")));
    assert_eq!(near.counters.pipes_opened.get(), 2);
}

#[tokio::test]
async fn a_peer_that_restarted_is_asked_again_on_a_new_pipe() {
    let first = far(identity("c", Some(1))).await;
    let mut near = near(identity("c", Some(1)));
    near.ask(first.addr, "hello").await.unwrap();
    first.tasks.stop_token().cancel();
    // The kept pipe ends with a goodbye, and the slot with it.
    let Arrival::SlotClosed { slot } = near.next().await else {
        panic!("no end of the pipe");
    };
    near.pool.closed(slot);
    assert_eq!(
        near.counters.pipes_closed_abruptly.get(),
        0,
        "it said goodbye"
    );
    let second = far(identity("c", Some(1))).await;
    assert_eq!(
        near.ask(second.addr, "hello").await,
        Ok(Bytes::from("hello!"))
    );
}

/// Waits for a condition, up to 10 s.
async fn until(condition: impl Fn() -> bool) {
    let met = timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    met.await.expect("the condition was not met in 10 s");
}
