//! The calls of a connection, run in the task of the connection.
//!
//! hyper hands every call to an executor, and commonly that spawns it. Then a message
//! to a watcher takes two tasks: the call's gives it to HTTP/2, and when all other
//! watchers have had their turn and its memory has left the caches, the connection's
//! writes it. Here both follow each other in one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::hub::lock;

/// Turns that calls and connection take in one poll of the task, before other tasks
/// have theirs.
const ROUNDS_MAX: usize = 32;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes calls from hyper. They run once [`Calls::drive`] comes to them.
#[derive(Clone, Default)]
pub(super) struct Executor {
    started: Arc<Mutex<Vec<Call>>>,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, call: F) {
        lock(&self.started).push(Box::pin(call.map(drop)));
    }
}

/// The calls of one connection; HTTP/2's limit of streams bounds them.
pub(super) struct Calls {
    executor: Executor,
    running: FuturesUnordered<Call>,
    /// Rings for a call that was woken.
    called: Arc<Bell>,
    /// Rings for the connection.
    connection: Arc<Bell>,
    task: Arc<Task>,
}

impl Calls {
    pub(super) fn new() -> Self {
        let task = Arc::new(Task::default());
        let bell = || {
            Arc::new(Bell {
                rung: AtomicBool::new(true),
                task: Arc::clone(&task),
            })
        };
        Self {
            executor: Executor::default(),
            running: FuturesUnordered::new(),
            called: bell(),
            connection: bell(),
            task,
        }
    }

    /// What the connection starts its calls with.
    pub(super) fn executor(&self) -> Executor {
        self.executor.clone()
    }

    /// Runs the connection to its end, and its calls beside it.
    pub(super) async fn drive<C: Future>(&mut self, mut connection: Pin<&mut C>) -> C::Output {
        // Something may have been done to it since it was polled last.
        self.connection.ring();
        poll_fn(|cx| self.poll(cx, connection.as_mut())).await
    }

    /// Runs the calls that outlive their connection: they learn of its end themselves.
    pub(super) async fn finish(mut self) {
        self.admit();
        while self.running.next().await.is_some() {}
    }

    fn poll<C: Future>(&mut self, cx: &Context<'_>, connection: Pin<&mut C>) -> Poll<C::Output> {
        self.task.begin(cx.waker());
        let ended = self.rounds(connection);
        self.task.end();
        if ended.is_pending() && (self.called.has_rung() || self.connection.has_rung()) {
            cx.waker().wake_by_ref();
        }
        ended
    }

    /// First the calls, then the connection, which writes what they gave it.
    fn rounds<C: Future>(&mut self, mut connection: Pin<&mut C>) -> Poll<C::Output> {
        let (called, written) = (self.called.waker(), self.connection.waker());
        let mut calls = Context::from_waker(&called);
        let mut written = Context::from_waker(&written);
        for _ in 0..ROUNDS_MAX {
            let call = self.called.take();
            if call {
                while let Poll::Ready(Some(())) = self.running.poll_next_unpin(&mut calls) {}
            }
            let connected = self.connection.take();
            if connected {
                if let Poll::Ready(ended) = connection.as_mut().poll(&mut written) {
                    return Poll::Ready(ended);
                }
                self.admit();
            }
            if !call && !connected {
                break;
            }
        }
        Poll::Pending
    }

    fn admit(&mut self) {
        let started = std::mem::take(&mut *lock(&self.executor.started));
        if !started.is_empty() {
            self.running.extend(started);
            self.called.ring();
        }
    }
}

/// The task that runs connection and calls.
#[derive(Debug, Default)]
struct Task {
    waker: AtomicWaker,
    /// It runs at present, and looks at its bells before it rests.
    runs: AtomicBool,
}

impl Task {
    fn begin(&self, waker: &Waker) {
        self.waker.register(waker);
        self.runs.store(true, Ordering::SeqCst);
    }

    fn end(&self) {
        self.runs.store(false, Ordering::SeqCst);
    }
}

/// Tells which part of the task was woken. One that rings while the task runs does not
/// make it run once more.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Arc<Task>,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: the task ends running before it looks for the last time.
        self.ring();
        if !self.task.runs.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
