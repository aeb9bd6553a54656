//! How many calls a connection carries.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Calls under way on one connection. Clones share the number.
#[derive(Debug, Clone)]
pub(super) struct Load(Arc<watch::Sender<usize>>);

/// One call, while it lives.
#[derive(Debug)]
pub(super) struct InFlight(Load);

/// A body whose end is the end of its call.
#[derive(Debug)]
pub(super) struct Counted<B> {
    inner: B,
    _call: InFlight,
}

impl Load {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Whether both count the calls of one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn enter(&self) -> InFlight {
        self.0.send_modify(|calls| *calls += 1);
        InFlight(self.clone())
    }

    /// Waits until there was no call for `limit`, `first` before the first one, or none
    /// now and `crowd` asks for a place.
    pub(super) async fn unused(&self, first: Duration, limit: Duration, crowd: &Notify) {
        let mut calls = self.0.subscribe();
        let mut patience = first;
        loop {
            // The sender lives in `self`: waiting cannot fail.
            if calls.wait_for(|calls| *calls == 0).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep(patience) => return,
                () = crowd.notified() => return,
                _ = calls.wait_for(|calls| *calls > 0) => patience = limit,
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.send_modify(|calls| *calls -= 1);
    }
}

impl<B> Counted<B> {
    pub(super) fn new(inner: B, call: InFlight) -> Self {
        Self { inner, _call: call }
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_unused_only_without_calls() {
        let (load, crowd) = (Load::new(), Notify::new());
        let start = Instant::now();
        load.unused(FIRST, LIMIT, &crowd).await;
        assert_eq!(start.elapsed().as_secs(), FIRST.as_secs());

        let call = load.enter();
        let start = Instant::now();
        let ended = async {
            sleep(100 * LIMIT).await;
            drop(call);
        };
        tokio::join!(load.unused(FIRST, LIMIT, &crowd), ended);
        assert_eq!(start.elapsed().as_secs(), (100 * LIMIT + FIRST).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_first_call_it_may_idle_for_longer() {
        let (load, crowd) = (Load::new(), Notify::new());
        let start = Instant::now();
        let called = async {
            sleep(FIRST / 2).await;
            let call = load.enter();
            sleep(FIRST).await;
            drop(call);
        };
        tokio::join!(load.unused(FIRST, LIMIT, &crowd), called);
        assert_eq!(start.elapsed(), FIRST / 2 + FIRST + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_wants_a_place_gets_that_of_an_idle_one_at_once() {
        let (load, crowd) = (Load::new(), Notify::new());
        crowd.notify_one();
        let start = Instant::now();
        load.unused(FIRST, LIMIT, &crowd).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        let _call = load.enter();
        crowd.notify_one();
        let busy = tokio::time::timeout(LIMIT, load.unused(FIRST, LIMIT, &crowd)).await;
        assert!(busy.is_err());
    }
}
