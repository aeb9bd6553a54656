//! The receiver's side: events of this node's ring that ask for a report are told to
//! their origins, in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use muster_engine::{Event, Origin};

use super::{Deliveries, Metrics};
use crate::hub::Hub;
use crate::hub::ring::{Entry, Page};

/// Sequences in one report; more go in the next one.
pub const REPORT_SEQUENCES_MAX: usize = 1_024;

/// Sequences that wait for one origin, and origins that are waited for. Above either
/// an event is not reported, which its origin shows as silence.
pub const REPORTS_WAITING_MAX: usize = 8_192;

/// Reports under way at once.
pub const REPORTS_UNDER_WAY_MAX: usize = 16;

/// Reports gather for this long, so that a burst is few of them.
const GATHER: Duration = Duration::from_millis(5);

/// A report that failed is tried once more after this.
const RETRY: Duration = Duration::from_secs(1);

/// Ring entries and bytes looked at in one go.
const PAGE: (usize, usize) = (1_024, 4 << 20);

/// Takes reports to their origins.
pub trait Courier: std::fmt::Debug + Send + Sync + 'static {
    /// Tells `origin` that this node has these events of it.
    fn report(&self, origin: Origin, sequences: Vec<u64>)
    -> BoxFuture<'static, Result<(), String>>;
}

/// A report and how it went.
type Outcome = (Origin, Vec<u64>, bool);

/// Reports as long as the daemon runs.
#[derive(Debug)]
pub struct Reporter {
    hub: Arc<Hub>,
    deliveries: Arc<Deliveries>,
    courier: Arc<dyn Courier>,
    metrics: Metrics,
    waiting: BTreeMap<Origin, Vec<u64>>,
    index: u64,
}

impl Reporter {
    /// Begins with what comes from now on.
    #[must_use]
    pub fn new(hub: Arc<Hub>, deliveries: Arc<Deliveries>, courier: Arc<dyn Courier>) -> Self {
        Self {
            index: hub.events().next_index(),
            hub,
            metrics: deliveries.metrics.clone(),
            deliveries,
            courier,
            waiting: BTreeMap::new(),
        }
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let mut heads = self.hub.events().subscribe();
        let mut under_way: FuturesUnordered<BoxFuture<'static, Outcome>> = FuturesUnordered::new();
        loop {
            self.look();
            while under_way.len() < REPORTS_UNDER_WAY_MAX
                && let Some((origin, sequences)) = self.next_report()
            {
                under_way.push(self.send(origin, sequences));
            }
            tokio::select! {
                changed = heads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                Some((_, sequences, told)) = under_way.next() => {
                    let count = sequences.len() as u64;
                    let counter = if told { &self.metrics.reported } else { &self.metrics.unreported };
                    counter.inc_by(count);
                }
            }
        }
    }

    /// Takes in what is new in the ring.
    fn look(&mut self) {
        loop {
            let (items, bytes) = PAGE;
            match self.hub.events().read(self.index, items, bytes) {
                Page::Entries(entries) if entries.is_empty() => return,
                Page::Entries(entries) => {
                    self.index += entries.len() as u64;
                    for entry in entries {
                        if let Entry::Event(event) = entry
                            && event.want_ack
                        {
                            self.take(&event);
                        }
                    }
                }
                // So slow that the ring went round: what was missed is silent.
                Page::Behind => self.index = self.hub.events().next_index(),
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let me = self.hub.me();
        if let Some(me) = me.filter(|me| me.name == event.origin.name) {
            let name = me.display_name();
            return self
                .deliveries
                .report(name, event.origin.boot, &[event.sequence]);
        }
        let known = self.waiting.contains_key(&event.origin);
        if !known && self.waiting.len() >= REPORTS_WAITING_MAX {
            self.metrics.unreported.inc();
            return;
        }
        let waiting = self.waiting.entry(event.origin.clone()).or_default();
        if waiting.len() >= REPORTS_WAITING_MAX {
            self.metrics.unreported.inc();
            return;
        }
        waiting.push(event.sequence);
    }

    fn next_report(&mut self) -> Option<(Origin, Vec<u64>)> {
        let (origin, mut sequences) = self.waiting.pop_first()?;
        if sequences.len() > REPORT_SEQUENCES_MAX {
            let rest = sequences.split_off(REPORT_SEQUENCES_MAX);
            self.waiting.insert(origin.clone(), rest);
        }
        Some((origin, sequences))
    }

    fn send(&self, origin: Origin, sequences: Vec<u64>) -> BoxFuture<'static, Outcome> {
        let courier = Arc::clone(&self.courier);
        async move {
            let first = courier.report(origin.clone(), sequences.clone()).await;
            let told = match first {
                Ok(()) => true,
                Err(_) => {
                    tokio::time::sleep(RETRY).await;
                    let second = courier.report(origin.clone(), sequences.clone()).await;
                    if let Err(error) = &second {
                        tracing::debug!(%origin, %error, "events could not be reported");
                    }
                    second.is_ok()
                }
            };
            (origin, sequences, told)
        }
        .boxed()
    }
}
