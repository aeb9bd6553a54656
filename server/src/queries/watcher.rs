//! Watches over one query until it is done.

use std::sync::Arc;

use muster_engine::{Member, MemberKey, Status};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::asker::{Answered, Asked, Inner, Key, Told};
use crate::hub::{Hub, lock};

/// The task of one query.
#[derive(Debug)]
pub(super) struct Watcher {
    inner: Arc<Inner>,
    asked: Arc<Asked>,
    key: Key,
    deadline: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    pub(super) fn new(
        inner: Arc<Inner>,
        asked: Arc<Asked>,
        key: Key,
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            inner,
            asked,
            key,
            deadline,
            _place: place,
        }
    }

    /// Waits for the end and tells it.
    pub(super) async fn run(self, stop: CancellationToken) {
        let asked = &self.asked;
        let stopped = tokio::select! {
            () = self.wait() => false,
            () = stop.cancelled() => true,
        };
        self.inner.end(self.key);
        asked.over.cancel();
        if stopped {
            return;
        }
        let (silent, unfinished) = lock(&asked.progress).rest();
        let done = Answered::Done {
            acks: 0,
            answers: 0,
            silent,
            unfinished,
        };
        let told = Told {
            answered: done,
            hold: None,
        };
        tokio::select! {
            _heard = asked.told.send(told) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Until everybody is done, the time is over, or nobody listens.
    async fn wait(&self) {
        let asked = &self.asked;
        let mut members = self.inner.hub.members().subscribe();
        members.mark_changed();
        loop {
            if lock(&asked.progress).is_complete() {
                return;
            }
            tokio::select! {
                () = sleep_until(self.deadline) => return,
                () = asked.told.closed() => return,
                () = asked.changed.notified() => {}
                _ = members.changed() => self.look(),
            }
        }
    }

    /// Gives up on members that failed, left or restarted.
    fn look(&self) {
        let mut progress = lock(&self.asked.progress);
        let gone = |(name, boot): (&Arc<str>, u64)| {
            let member = by_boot(&self.inner.hub, name, boot);
            let live = member
                .is_some_and(|member| !matches!(member.status, Status::Failed | Status::Left));
            (!live).then(|| Arc::clone(name))
        };
        let gone: Vec<Arc<str>> = progress.awaited().filter_map(gone).collect();
        for name in &gone {
            progress.gone(name);
        }
    }
}

/// The run of a member, by its name or the alias that it is shown as.
pub(super) fn by_boot(hub: &Hub, name: &str, boot: u64) -> Option<Arc<Member>> {
    let real = name.split_once('~').map_or(name, |(real, _)| real);
    let from = MemberKey {
        name: Arc::from(real),
        conflict_boot: 0,
    };
    let found = hub.members().find(
        &from,
        |key| &*key.name == real,
        |member| member.boot == boot,
    );
    found.map(|entry| entry.value)
}
