//! Puts archives into containers: the slow way, for those that see none of our
//! directories. A task of its own, so that an engine that hangs delays nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, OutcomeLabel};
use super::parcel::Parcel;
use crate::docker::Engine;

/// Archives on their way at once.
const POSTS_MAX: usize = 4;

/// Between two archives for one container: the newest content waits that long.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait after a failure; it doubles from [`PAUSE`] on.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What containers are to hold, by full id.
pub(super) type Parcels = BTreeMap<Arc<str>, Parcel>;

/// What became of the last try for each container: why it failed.
pub(super) type Posted = BTreeMap<Arc<str>, Result<(), String>>;

/// The task.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) engine: Engine,
    pub(super) wanted: watch::Receiver<Arc<Parcels>>,
    pub(super) posted: watch::Sender<Posted>,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
}

/// What is known of one container.
#[derive(Debug, Clone, Default)]
struct Account {
    /// What it holds.
    holds: Option<Parcel>,
    busy: bool,
    turn: bool,
    /// Not before.
    due: Option<Instant>,
    failures: u32,
}

impl Post {
    pub(super) async fn run(mut self) {
        let mut accounts: BTreeMap<Arc<str>, Account> = BTreeMap::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            let wanted = Arc::clone(&self.wanted.borrow_and_update());
            accounts.retain(|id, account| account.busy || wanted.contains_key(id));
            let posted = &self.posted;
            posted.send_if_modified(|posted| {
                let before = posted.len();
                posted.retain(|id, _| wanted.contains_key(id));
                posted.len() != before
            });
            while under_way.len() < POSTS_MAX
                && let Some(id) = next(&accounts, &wanted)
            {
                let account = accounts.entry(Arc::clone(&id)).or_default();
                (account.busy, account.turn) = (true, !account.turn);
                let parcel = wanted.get(&id).cloned();
                under_way.push(send(self.engine.clone(), id, parcel, account.turn));
            }
            let due = accounts.values().filter_map(|account| account.due).min();
            let due = due.unwrap_or_else(|| Instant::now() + RETRY_MAX);
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some((id, parcel, outcome)) = under_way.next() => {
                    let account = accounts.entry(Arc::clone(&id)).or_default();
                    self.note(account, id, parcel, outcome);
                }
                () = tokio::time::sleep_until(due) => {
                    // Those that are due are looked at, the others keep their time.
                    let now = Instant::now();
                    for account in accounts.values_mut() {
                        account.due = account.due.filter(|due| *due > now);
                    }
                }
            }
        }
    }

    fn note(
        &self,
        account: &mut Account,
        id: Arc<str>,
        parcel: Option<Parcel>,
        outcome: Result<(), String>,
    ) {
        account.busy = false;
        account.failures = if outcome.is_ok() {
            0
        } else {
            account.failures + 1
        };
        let pause = PAUSE.saturating_mul(1 << account.failures.min(6));
        account.due = Some(Instant::now() + pause.min(RETRY_MAX));
        account.holds = parcel.filter(|_| outcome.is_ok());
        let word = if outcome.is_ok() { "ok" } else { "failed" };
        let label = OutcomeLabel { outcome: word };
        self.metrics.posts.get_or_create(&label).inc();
        self.posted.send_if_modified(|posted| {
            let before = posted.insert(id, outcome.clone());
            before != Some(outcome)
        });
    }
}

/// A container that does not hold what it should, and whose time has come.
fn next(accounts: &BTreeMap<Arc<str>, Account>, wanted: &Parcels) -> Option<Arc<str>> {
    let lacks = |(id, parcel): &(&Arc<str>, &Parcel)| {
        accounts.get(*id).is_none_or(|account| {
            !account.busy && account.due.is_none() && account.holds.as_ref() != Some(*parcel)
        })
    };
    wanted.iter().find(lacks).map(|(id, _)| Arc::clone(id))
}

async fn send(
    engine: Engine,
    id: Arc<str>,
    parcel: Option<Parcel>,
    turn: bool,
) -> (Arc<str>, Option<Parcel>, Result<(), String>) {
    let archive = parcel.as_ref().map(|parcel| parcel.archive(turn));
    let outcome = match archive {
        Some(Ok(archive)) => {
            let put = engine.put_archive(&id, "/", archive.into()).await;
            put.map_err(|error| error.to_string())
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(()),
    };
    (id, parcel, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_what_it_lacks_once_its_time_has_come() {
        let link = |target: &str| Parcel::Link(target.to_owned());
        let wanted = Parcels::from([("a".into(), link("/new")), ("b".into(), link("/b"))]);
        let holds_b = Account {
            holds: Some(link("/b")),
            ..Account::default()
        };
        let next_of = |a: Option<Account>| {
            let mut accounts = BTreeMap::from([("b".into(), holds_b.clone())]);
            accounts.extend(a.map(|a| ("a".into(), a)));
            next(&accounts, &wanted).map(|id| id.to_string())
        };
        let a = || Some("a".to_owned());
        assert_eq!(next_of(None), a());
        assert_eq!(next_of(Some(Account::default())), a());
        let old = Account {
            holds: Some(link("/old")),
            ..Account::default()
        };
        assert_eq!(next_of(Some(old.clone())), a());
        let busy = Account {
            busy: true,
            ..old.clone()
        };
        assert_eq!(next_of(Some(busy)), None);
        let early = Account {
            due: Some(Instant::now()),
            ..old.clone()
        };
        assert_eq!(next_of(Some(early)), None);
        let right = Account {
            holds: Some(link("/new")),
            ..old
        };
        assert_eq!(next_of(Some(right)), None);
    }
}
