use std::sync::atomic::AtomicUsize;
use std::thread;

use futures_util::task::noop_waker;
use hyper::rt::Executor as _;
use tokio::sync::{mpsc, oneshot};

use super::*;

/// A connection that counts how often it is polled, and ends when it is told to.
struct Connection {
    polled: Arc<AtomicUsize>,
    end: oneshot::Receiver<()>,
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polled.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.end).poll(cx).map(|_| ())
    }
}

fn connection() -> (Connection, Arc<AtomicUsize>, oneshot::Sender<()>) {
    let (ending, end) = oneshot::channel();
    let polled = Arc::new(AtomicUsize::new(0));
    let connection = Connection {
        polled: Arc::clone(&polled),
        end,
    };
    (connection, polled, ending)
}

/// A connection that writes down what calls give it, and ends with the last of them.
struct Writer {
    given: mpsc::Receiver<u32>,
    written: mpsc::Sender<Vec<u32>>,
}

impl Future for Writer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut found = Vec::new();
        let ended = loop {
            match self.given.poll_recv(cx) {
                Poll::Ready(Some(number)) => found.push(number),
                Poll::Ready(None) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.written.try_send(found).unwrap();
        ended
    }
}

#[tokio::test]
async fn what_woken_calls_give_is_written_in_the_same_turn() {
    let (give, given) = mpsc::channel(8);
    let (written, mut writes) = mpsc::channel(8);
    let start = tokio::sync::watch::Sender::new(false);
    let mut calls = Calls::new();
    let executor = calls.executor();
    for number in 0..3 {
        let (give, mut start) = (give.clone(), start.subscribe());
        executor.execute(async move {
            start.changed().await.unwrap();
            give.try_send(number).unwrap();
        });
    }
    drop(give);
    let driven = tokio::spawn(async move {
        let mut writer = std::pin::pin!(Writer { given, written });
        calls.drive(writer.as_mut()).await;
    });
    assert!(writes.recv().await.unwrap().is_empty());
    start.send_replace(true);
    let mut found = writes.recv().await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
    driven.await.unwrap();
    // Not once more for having been woken while it ran.
    assert_eq!(writes.recv().await, None);
}

#[tokio::test]
async fn a_call_does_not_poll_the_connection_that_it_leaves_alone() {
    let (connection, polled, ending) = connection();
    let (tick, mut ticks) = mpsc::channel::<()>(1);
    let (tock, mut tocks) = mpsc::channel::<()>(1);
    let mut calls = Calls::new();
    calls.executor().execute(async move {
        while ticks.recv().await.is_some() {
            tock.send(()).await.unwrap();
        }
    });
    let driven = tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        calls.drive(connection.as_mut()).await;
        calls.finish().await;
    });
    for _ in 0..10 {
        tick.send(()).await.unwrap();
        tocks.recv().await.unwrap();
    }
    assert_eq!(polled.load(Ordering::SeqCst), 1);
    ending.send(()).unwrap();
    drop(tick);
    driven.await.unwrap();
    assert_eq!(polled.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn calls_that_outlive_their_connection_are_run_to_their_end() {
    let (connection, _polled, ending) = connection();
    let (go, gone) = oneshot::channel::<()>();
    let (done, seen) = oneshot::channel();
    let mut calls = Calls::new();
    calls.executor().execute(async move {
        gone.await.unwrap();
        done.send("done").unwrap();
    });
    ending.send(()).unwrap();
    calls.drive(std::pin::pin!(connection)).await;
    let finished = tokio::spawn(calls.finish());
    go.send(()).unwrap();
    assert_eq!(seen.await, Ok("done"));
    finished.await.unwrap();
}

#[test]
fn a_call_that_wakes_itself_lets_other_tasks_have_their_turn() {
    let (connection, _polled, _ending) = connection();
    let turns = Arc::new(AtomicUsize::new(0));
    let mut calls = Calls::new();
    let counted = Arc::clone(&turns);
    calls.executor().execute(poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    let mut connection = std::pin::pin!(connection);
    let mut driven = std::pin::pin!(calls.drive(connection.as_mut()));
    let polled = driven
        .as_mut()
        .poll(&mut Context::from_waker(&noop_waker()));
    assert!(polled.is_pending());
    let turns = turns.load(Ordering::SeqCst);
    assert!((1..=4 * ROUNDS_MAX).contains(&turns), "{turns}");
}

/// A wake-up from another thread may come while the task is about to rest.
#[tokio::test]
async fn no_wake_up_is_lost() {
    const MESSAGES: u32 = 50_000;
    let (give, mut given) = mpsc::channel(64);
    let (connection, _polled, ending) = connection();
    let mut calls = Calls::new();
    calls.executor().execute(async move {
        for expected in 0..MESSAGES {
            assert_eq!(given.recv().await, Some(expected));
        }
        ending.send(()).unwrap();
    });
    let other = thread::spawn(move || {
        for number in 0..MESSAGES {
            give.blocking_send(number).unwrap();
        }
    });
    let mut connection = std::pin::pin!(connection);
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, calls.drive(connection.as_mut()))
        .await
        .unwrap();
    other.join().unwrap();
}
