//! Join calls under way: names are resolved, addresses dialled a few at a time,
//! and the caller gets one outcome per address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use muster_engine::Time;

use crate::gossip::handle::{JoinOutcome, Reply};
use crate::gossip::resolve::{Resolved, SEEDS_MAX};

/// Join calls at once; further ones are answered "too many" and counted.
pub(super) const CALLS_MAX: usize = 16;

/// Addresses dialled at once, all calls together: half of the outgoing pipes.
const DIALS_MAX: usize = 8;

/// Addresses dialled for one call; further ones are told so.
const ADDRESSES_MAX: usize = 256;

/// A call is answered by then, with what is known.
const DEADLINE: Duration = Duration::from_secs(20);

/// All join calls.
#[derive(Debug, Default)]
pub(super) struct Joins {
    calls: BTreeMap<u64, Call>,
    /// Call and place of each address that is dialled, by the engine's attempt.
    dials: BTreeMap<u64, (u64, usize)>,
    call_next: u64,
    attempt_next: u64,
}

#[derive(Debug)]
struct Call {
    reply: Reply<Vec<JoinOutcome>>,
    deadline: Time,
    /// `None` until the names are resolved.
    entries: Option<Vec<Entry>>,
    /// Entries before this one are dialled or need no dialling.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    address: String,
    addr: Option<SocketAddr>,
    result: Option<Result<String, String>>,
}

impl Joins {
    /// Takes a call; its number and the texts to resolve, or nothing if it was
    /// refused and answered.
    pub(super) fn begin(
        &mut self,
        now: Time,
        mut addresses: Vec<String>,
        reply: Reply<Vec<JoinOutcome>>,
    ) -> Option<(u64, Vec<String>)> {
        if self.calls.len() >= CALLS_MAX {
            let refused = |address| Entry::failed(address, "too many joins are under way");
            answer(reply, addresses.into_iter().map(refused));
            return None;
        }
        let call = self.call_next;
        self.call_next += 1;
        let over = addresses.split_off(addresses.len().min(SEEDS_MAX));
        let refused = |address| Entry::failed(address, "too many addresses in one call");
        let call_state = Call {
            reply,
            deadline: now + DEADLINE,
            entries: (!over.is_empty()).then(|| over.into_iter().map(refused).collect()),
            next: 0,
        };
        self.calls.insert(call, call_state);
        Some((call, addresses))
    }

    /// The names of a call are resolved.
    pub(super) fn resolved(&mut self, call: u64, resolved: Vec<Resolved>) {
        let Some(state) = self.calls.get_mut(&call) else {
            return;
        };
        let entries = state.entries.get_or_insert_default();
        for Resolved { text, addrs } in resolved {
            match addrs {
                Ok(addrs) => entries.extend(addrs.into_iter().map(|a| Entry::waiting(&text, a))),
                Err(error) => entries.push(Entry::failed(text, &error)),
            }
        }
        for entry in entries.iter_mut().skip(ADDRESSES_MAX) {
            let too_many = || Err("too many addresses in one call".to_owned());
            entry.result.get_or_insert_with(too_many);
        }
        self.settle(call);
    }

    /// Addresses to be dialled now, with an attempt number each.
    pub(super) fn launch(&mut self) -> Vec<(u64, SocketAddr)> {
        let mut launched = Vec::new();
        for (number, call) in &mut self.calls {
            let entries = call.entries.as_deref().unwrap_or_default();
            while call.next < entries.len() && self.dials.len() < DIALS_MAX {
                let entry = &entries[call.next];
                if let (Some(addr), None) = (entry.addr, &entry.result) {
                    self.dials.insert(self.attempt_next, (*number, call.next));
                    launched.push((self.attempt_next, addr));
                    self.attempt_next += 1;
                }
                call.next += 1;
            }
        }
        launched
    }

    /// How a dialled address went.
    pub(super) fn result(&mut self, attempt: u64, result: Result<String, String>) {
        let Some((call, place)) = self.dials.remove(&attempt) else {
            return;
        };
        if let Some(state) = self.calls.get_mut(&call)
            && let Some(entry) = state.entries.as_mut().and_then(|all| all.get_mut(place))
        {
            entry.result = Some(result);
        }
        self.settle(call);
    }

    /// When [`Joins::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.calls.values().map(|call| call.deadline).min()
    }

    /// Answers the calls whose time is up.
    pub(super) fn expire(&mut self, now: Time) {
        let up = |call: &Call| call.deadline <= now;
        let late: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| up(call))
            .map(|(n, _)| *n)
            .collect();
        for call in late {
            self.finish(call);
        }
    }

    /// Answers a call whose every address has a result.
    fn settle(&mut self, call: u64) {
        let done = |state: &Call| {
            let entries = state.entries.as_deref().unwrap_or_default();
            state.entries.is_some() && entries.iter().all(|entry| entry.result.is_some())
        };
        if self.calls.get(&call).is_some_and(done) {
            self.finish(call);
        }
    }

    fn finish(&mut self, call: u64) {
        if let Some(state) = self.calls.remove(&call) {
            self.dials.retain(|_, (of, _)| *of != call);
            answer(state.reply, state.entries.unwrap_or_default());
        }
    }
}

impl Entry {
    fn failed(address: String, error: &str) -> Self {
        Self {
            address,
            addr: None,
            result: Some(Err(error.to_owned())),
        }
    }

    fn waiting(text: &str, addr: SocketAddr) -> Self {
        let shown = addr.to_string();
        let address = if shown == text {
            shown
        } else {
            format!("{text} ({shown})")
        };
        Self {
            address,
            addr: Some(addr),
            result: None,
        }
    }
}

fn answer(reply: Reply<Vec<JoinOutcome>>, entries: impl IntoIterator<Item = Entry>) {
    let outcome = |entry: Entry| JoinOutcome {
        address: entry.address,
        result: entry
            .result
            .unwrap_or_else(|| Err("no answer in time".to_owned())),
    };
    if reply
        .send(entries.into_iter().map(outcome).collect())
        .is_err()
    {
        tracing::debug!("whoever asked to join is gone");
    }
}

#[cfg(test)]
mod tests;
