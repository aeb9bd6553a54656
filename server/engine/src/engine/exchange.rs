//! State exchanges: two members compare what they hold and fill each other's holes.
//!
//! `Compare` carries one 27-byte summary per member; the answer brings what the
//! requester lacks and names what the responder lacks, which a `Push` then brings.
//! Where views are likely to agree it first carries digests alone, and summaries of
//! what differed next.
//! What a member is told this way it believes like gossip, with one exception: that
//! somebody it holds for alive is dead it doubts (`doubting`).

pub(super) mod answering;
mod asking;
mod hearing;
mod learning;
mod pacing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use crate::api::{ExchangeError, ExchangeId, ExchangeKind, Output};
use crate::ident::NodeRef;
use crate::time::{Now, Time};

use pacing::{Budget, patience};

/// How long one exchange may take, connecting included.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// State exchanges that this node runs at once, joins not counted.
const COMPARES_MAX: usize = 2;

/// Exchanges of all kinds under way at once: joins of many addresses and pushes are
/// not counted above. More fail as busy.
const PENDING_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy)]
pub(super) enum Pending {
    Compare {
        to: SocketAddr,
        attempt: Option<u64>,
        join: bool,
    },
    Glance {
        to: SocketAddr,
    },
    Push,
    Pull {
        id: u64,
    },
}

/// Exchanges that this node asked for, and why it may soon ask for more.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    next: u64,
    pub(super) pending: BTreeMap<ExchangeId, Pending>,
    differences: BTreeMap<NodeRef, (Time, bool)>,
    budget: Budget,
    /// Grow with each exchange that timed out and fall with each that came back.
    late_compares: u32,
    late_pulls: u32,
}

impl Exchanges {
    /// Whether a digest differed lately.
    pub(super) fn differs(&self) -> bool {
        !self.differences.is_empty()
    }

    /// Whether another state exchange may start.
    pub(super) fn has_room(&self) -> bool {
        let compares = self
            .pending
            .values()
            .filter(|p| matches!(p, Pending::Compare { .. } | Pending::Glance { .. }));
        compares.count() < COMPARES_MAX
    }

    /// Whether an address is being joined right now.
    pub(super) fn is_joining(&self, addr: SocketAddr) -> bool {
        let same = |p: &Pending| matches!(p, Pending::Compare { to, .. } if *to == addr);
        self.pending.values().any(same)
    }
}

impl Engine {
    fn request(
        &mut self,
        now: Now,
        to: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
        pending: Pending,
    ) {
        if self.exchanges.pending.len() >= PENDING_MAX {
            return self.settle_pending(now, pending, Err(ExchangeError::Busy));
        }
        self.exchanges.next += 1;
        let id = ExchangeId(self.exchanges.next);
        self.exchanges.pending.insert(id, pending);
        let timeout = match pending {
            Pending::Compare {
                attempt: None,
                join: true,
                ..
            } => self.joining.patience(),
            Pending::Compare { attempt: None, .. } | Pending::Glance { .. } => {
                patience(self.exchanges.late_compares)
            }
            Pending::Pull { .. } => patience(self.exchanges.late_pulls),
            Pending::Compare { .. } | Pending::Push => EXCHANGE_TIMEOUT,
        };
        self.outputs.push_back(Output::Request {
            id,
            to,
            kind,
            body,
            timeout,
        });
    }

    /// Asks a member for a range of events.
    pub(super) fn pull(&mut self, now: Now, id: u64, to: NodeRef, body: Bytes) {
        match self.table.run(to).map(|peer| peer.record.parsed().addr) {
            Some(addr) => self.request(now, addr, ExchangeKind::Pull, body, Pending::Pull { id }),
            None => {
                let gone = Err(ExchangeError::Connect("the member is not known".to_owned()));
                self.events.on_pull_answer(now, id, gone, &self.table);
            }
        }
    }

    /// A peer asks.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        id: ExchangeId,
        _from: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
    ) {
        let body = match kind {
            ExchangeKind::Pull => self.events.on_pull_request(now, body, &self.table),
            ExchangeKind::Sync => self.on_sync_request(now, body),
            ExchangeKind::Watch => self.on_hello(now, &body),
        };
        if body.is_none() {
            self.count("exchanges_refused_malformed");
        }
        self.outputs.push_back(Output::Respond { id, body });
    }

    /// The answer to something that this node asked.
    pub(super) fn on_response(
        &mut self,
        now: Now,
        id: ExchangeId,
        result: Result<Bytes, ExchangeError>,
    ) {
        let Some(pending) = self.exchanges.pending.remove(&id) else {
            return self.count("exchanges_unexpected");
        };
        self.exchanges.note_pace(pending, &result);
        self.settle_pending(now, pending, result);
    }

    /// What an exchange came to.
    fn settle_pending(&mut self, now: Now, pending: Pending, result: Result<Bytes, ExchangeError>) {
        if result.is_err() {
            self.count("exchanges_failed");
        }
        match pending {
            Pending::Pull { id } => self.events.on_pull_answer(now, id, result, &self.table),
            Pending::Push => {}
            Pending::Glance { to } => {
                if let Ok(body) = result {
                    self.on_glance_answer(now, to, body);
                }
            }
            Pending::Compare { to, attempt, join } => {
                let late = matches!(result, Err(ExchangeError::Timeout));
                let outcome = match result {
                    Ok(body) => self.on_compare_answer(now, to, join, body),
                    Err(error) => Err(error.to_string()),
                };
                if let Some(attempt) = attempt {
                    let result = outcome.clone();
                    self.outputs.push_back(Output::JoinResult {
                        attempt,
                        addr: to,
                        result,
                    });
                }
                self.after_join_try(now, to, (join, late), outcome);
            }
        }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
