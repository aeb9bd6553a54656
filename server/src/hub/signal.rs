//! Wakes the streams of the API when something changed.
//!
//! The engine's thread wakes one task, [`Signal::relay`], which wakes the streams where
//! they run. To wake thousands of tasks of another thread would hold up the gossip by
//! some 2 us for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::watch;

use super::lock;

/// What the streams on one source listen to.
#[derive(Debug, Default)]
pub struct Signal {
    /// How often it was raised.
    raised: AtomicU64,
    /// One place per listener that has waited, bounded by the limit of calls. It stays,
    /// so that a change finds the wakers next to each other and listeners need not come
    /// back.
    waiting: Mutex<Slab<Waker>>,
}

impl Signal {
    /// Wakes all listeners.
    pub fn raise(&self) {
        self.raised.fetch_add(1, Ordering::SeqCst);
        for (_, waker) in &*lock(&self.waiting) {
            waker.wake_by_ref();
        }
    }

    /// Raises the signal at every change, on the task of the caller; ends when the
    /// source is gone.
    pub async fn relay(&self, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            self.raise();
        }
    }

    /// A listener for what is raised from now on.
    #[must_use]
    pub fn listen(self: &Arc<Self>) -> Listener {
        Listener {
            signal: Arc::clone(self),
            heard: self.raised.load(Ordering::SeqCst),
            place: None,
        }
    }
}

/// Hears every signal; several may merge.
#[derive(Debug)]
pub struct Listener {
    signal: Arc<Signal>,
    heard: u64,
    /// Where its waker is, and which that is.
    place: Option<(usize, Waker)>,
}

impl Listener {
    /// Waits for the next signal.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.hears() {
            return Poll::Ready(());
        }
        self.wait(cx.waker());
        // It may have been raised before the waker was in place.
        if self.hears() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn hears(&mut self) -> bool {
        let raised = self.signal.raised.load(Ordering::SeqCst);
        std::mem::replace(&mut self.heard, raised) != raised
    }

    fn wait(&mut self, waker: &Waker) {
        match &mut self.place {
            Some((_, placed)) if placed.will_wake(waker) => {}
            Some((place, placed)) => {
                placed.clone_from(waker);
                lock(&self.signal.waiting)[*place].clone_from(waker);
            }
            None => {
                let place = lock(&self.signal.waiting).insert(waker.clone());
                self.place = Some((place, waker.clone()));
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((place, _)) = self.place.take() {
            lock(&self.signal.waiting).remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::thread;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_listener_hears_what_is_raised_after_it_came() {
        let signal = Arc::new(Signal::default());
        signal.raise();
        let mut listener = signal.listen();
        assert!(poll_fn(|cx| listener.poll(cx)).now_or_never().is_none());
        signal.raise();
        signal.raise();
        poll_fn(|cx| listener.poll(cx)).await;
        assert!(poll_fn(|cx| listener.poll(cx)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn whoever_polled_last_is_woken() {
        let signal = Arc::new(Signal::default());
        let mut listener = signal.listen();
        assert!(poll_fn(|cx| listener.poll(cx)).now_or_never().is_none());
        let moved = tokio::spawn(async move { poll_fn(|cx| listener.poll(cx)).await });
        tokio::task::yield_now().await;
        signal.raise();
        moved.await.unwrap();
    }

    #[test]
    fn listeners_that_are_gone_leave_nothing_behind() {
        let signal = Arc::new(Signal::default());
        for _ in 0..100 {
            let mut listener = signal.listen();
            assert!(poll_fn(|cx| listener.poll(cx)).now_or_never().is_none());
        }
        assert!(lock(&signal.waiting).is_empty());
        assert!(lock(&signal.waiting).capacity() < 100);
    }

    #[tokio::test]
    async fn changes_are_relayed_until_their_source_is_gone() {
        let (source, changes) = watch::channel(0);
        let signal = Arc::new(Signal::default());
        let mut listener = signal.listen();
        let relaying = Arc::clone(&signal);
        let relay = tokio::spawn(async move { relaying.relay(changes).await });
        for revision in 1..10 {
            source.send_replace(revision);
            poll_fn(|cx| listener.poll(cx)).await;
        }
        drop(source);
        relay.await.unwrap();
    }

    /// The signal may be raised while a listener is about to wait.
    #[tokio::test]
    async fn no_signal_is_lost() {
        const ROUNDS: u64 = 20_000;
        let signal = Arc::new(Signal::default());
        let mut listener = signal.listen();
        let done = Arc::new(AtomicU64::new(0));
        let (raising, seen) = (Arc::clone(&signal), Arc::clone(&done));
        let other = thread::spawn(move || {
            for round in 0..ROUNDS {
                while seen.load(Ordering::SeqCst) < round {
                    thread::yield_now();
                }
                raising.raise();
            }
        });
        for _ in 0..ROUNDS {
            poll_fn(|cx| listener.poll(cx)).await;
            done.fetch_add(1, Ordering::SeqCst);
        }
        other.join().unwrap();
    }
}
