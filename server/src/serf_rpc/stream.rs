//! One stream of events.
//!
//! A stream reads from the hub at the pace of its client; nothing is queued for it.
//! Changes of a member between two records count as one, the last one. A client so slow
//! that user events left the ring is cut off, logged and counted: the protocol has no
//! word for a gap, and a closed connection is one that every client understands.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_engine::{Event, Member, MemberKey, Status};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::filter::{EventFilter, MemberChange};
use super::limits::{RECORD_MEMBERS_MAX, STREAM_PAGE_BYTES_MAX, STREAM_PAGE_ITEMS_MAX};
use super::metrics::Metrics;
use super::outbox::{Gone, Outbox};
use super::record::{self, MemberEvent, Payload, UserEvent};
use crate::coalesce::{Coalescer, Merged, Windows};
use crate::hub::Hub;
use crate::hub::ring::{Entry, Page};
use crate::hub::store::Change;

/// A stream that has begun.
#[derive(Debug)]
pub(crate) struct EventStream {
    hub: Arc<Hub>,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    seq: u64,
    filter: EventFilter,
    members: Seen,
    index: u64,
    waiting: Coalescer<String, Arc<Event>>,
    revisions: watch::Receiver<u64>,
    heads: watch::Receiver<u64>,
}

impl EventStream {
    /// A stream of what happens from now on.
    pub(crate) fn begin(
        shared: &Shared,
        outbox: Arc<Outbox>,
        seq: u64,
        filter: EventFilter,
    ) -> Self {
        let hub = Arc::clone(&shared.hub);
        let mut revisions = hub.members().subscribe();
        let mut heads = hub.events().subscribe();
        revisions.mark_unchanged();
        heads.mark_unchanged();
        let mut members = Seen::default();
        if filter.wants_members() {
            // What is there already is no news. From 0 there is always an answer.
            if let Ok(changes) = hub.members().changes_since(0) {
                members.note(changes.revision, changes.items);
            }
        }
        Self {
            metrics: shared.metrics.clone(),
            outbox,
            seq,
            filter,
            members,
            index: hub.events().next_index(),
            waiting: Coalescer::new(Windows::default()),
            revisions,
            heads,
            hub,
        }
    }

    /// Sends what happens until `stopped`, or until the connection ends.
    pub(crate) async fn run(mut self, stopped: CancellationToken) {
        // Never between the parts of a record: a stop waits for the end of one.
        while self.send_news(&stopped).await.is_ok() && !stopped.is_cancelled() {
            let due = async {
                match self.waiting.deadline() {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let closed = tokio::select! {
                () = due => false,
                changed = self.revisions.changed() => changed.is_err(),
                changed = self.heads.changed() => changed.is_err(),
                () = stopped.cancelled() => true,
                () = self.outbox.cut_token().cancelled() => true,
            };
            if closed {
                return;
            }
        }
    }

    async fn send_news(&mut self, stopped: &CancellationToken) -> Result<(), Gone> {
        if self.filter.wants_members() {
            self.send_members(stopped).await?;
        }
        if self.filter.wants_events() {
            self.send_events(stopped).await?;
        }
        self.send_waiting(Instant::now()).await
    }

    async fn send_members(&mut self, stopped: &CancellationToken) -> Result<(), Gone> {
        let Ok(changes) = self.hub.members().changes_since(self.members.revision) else {
            return self.behind("members");
        };
        let news = self.members.note(changes.revision, changes.items);
        for (change, members) in news {
            if !self.filter.wants_change(change) {
                continue;
            }
            for part in members.chunks(RECORD_MEMBERS_MAX) {
                if stopped.is_cancelled() {
                    return Ok(());
                }
                let record = MemberEvent {
                    event: change.as_str(),
                    members: part.iter().map(|member| (&**member).into()).collect(),
                };
                self.send(&record).await?;
            }
        }
        Ok(())
    }

    async fn send_events(&mut self, stopped: &CancellationToken) -> Result<(), Gone> {
        loop {
            let ring = self.hub.events();
            let page = ring.read(self.index, STREAM_PAGE_ITEMS_MAX, STREAM_PAGE_BYTES_MAX);
            let entries = match page {
                Page::Entries(entries) if entries.is_empty() => return Ok(()),
                Page::Entries(entries) => entries,
                Page::Behind => return self.behind("events"),
            };
            for entry in entries {
                self.index += 1;
                if stopped.is_cancelled() {
                    return Ok(());
                }
                self.send_entry(&entry).await?;
            }
        }
    }

    async fn send_entry(&mut self, entry: &Entry) -> Result<(), Gone> {
        match entry {
            Entry::Event(event) if self.filter.wants_event(&event.name) => {
                if !event.coalesce {
                    return self.send_event(event).await;
                }
                let now = Instant::now();
                let newer = |new: &Arc<Event>, held: &Arc<Event>| new.lamport >= held.lamport;
                let name = event.name.clone();
                self.waiting.put(now, name, Arc::clone(event), newer);
                self.send_waiting(now).await
            }
            Entry::Gap(gap) => {
                self.metrics.gaps.inc();
                tracing::warn!(
                    origin = %gap.origin,
                    first = gap.first,
                    last = gap.last,
                    "events are lost, which a stream of serf's RPC cannot say"
                );
                Ok(())
            }
            Entry::Event(_) | Entry::Base(..) | Entry::Passed(..) => Ok(()),
        }
    }

    async fn send_event(&self, event: &Event) -> Result<(), Gone> {
        let record = UserEvent {
            coalesce: event.coalesce,
            event: "user",
            lamport: event.lamport,
            name: &event.name,
            payload: Payload(event.payload.clone()),
        };
        self.send(&record).await
    }

    /// Sends merged events whose wait is over.
    async fn send_waiting(&mut self, now: Instant) -> Result<(), Gone> {
        for Merged { item, merged } in self.waiting.take_due(now) {
            self.metrics.coalesced.inc_by(merged.into());
            self.send_event(&item).await?;
        }
        Ok(())
    }

    async fn send(&self, body: &(impl serde::Serialize + Sync)) -> Result<(), Gone> {
        self.metrics.records.inc();
        let record = record::with_body(self.seq, "", body);
        self.outbox.send(&record).await
    }

    fn behind(&self, what: &'static str) -> Result<(), Gone> {
        tracing::warn!(
            stream = self.seq,
            what,
            "a stream of serf's RPC is too far behind, cutting its connection off"
        );
        self.outbox.cut("behind");
        Err(Gone)
    }
}

/// The members as a stream has told of them.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    revision: u64,
    members: BTreeMap<MemberKey, Arc<Member>>,
}

impl Seen {
    /// Takes changes in; returns them by kind, in serf's words.
    pub(crate) fn note(
        &mut self,
        revision: u64,
        changes: Vec<Change<MemberKey, Member>>,
    ) -> BTreeMap<MemberChange, Vec<Arc<Member>>> {
        self.revision = revision;
        let mut news: BTreeMap<MemberChange, Vec<Arc<Member>>> = BTreeMap::new();
        for Change {
            key,
            entry,
            removed,
        } in changes
        {
            let member = entry.value;
            let before = if removed {
                self.members.remove(&key)
            } else {
                self.members.insert(key, Arc::clone(&member))
            };
            let change = match removed {
                true => before.is_some().then_some(MemberChange::Reap),
                false => change(before.as_deref(), &member),
            };
            if let Some(change) = change {
                news.entry(change).or_default().push(member);
            }
        }
        news
    }
}

/// What happened to a member, in serf's words. A restart is a join, however fast it was:
/// serf tells of none that takes less time than it needs to see a failure.
fn change(before: Option<&Member>, after: &Member) -> Option<MemberChange> {
    let is_up = |member: &Member| matches!(member.status, Status::Alive | Status::Suspect);
    let Some(before) = before else {
        // Who is heard of only when it is gone has not come and not gone.
        return is_up(after).then_some(MemberChange::Join);
    };
    let restarted = (before.boot, before.instance) != (after.boot, after.instance);
    match after.status {
        Status::Alive | Status::Suspect => {
            let was_there = is_up(before) || before.status == Status::Leaving;
            if restarted || !was_there {
                return Some(MemberChange::Join);
            }
            let same = before.tags == after.tags
                && before.roles == after.roles
                && before.addr == after.addr;
            (!same).then_some(MemberChange::Update)
        }
        Status::Left => (before.status != Status::Left).then_some(MemberChange::Leave),
        Status::Failed => (before.status != Status::Failed).then_some(MemberChange::Failed),
        Status::Leaving => None,
    }
}

#[cfg(test)]
mod tests;
