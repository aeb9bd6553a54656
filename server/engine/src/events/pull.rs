//! Ranges of events over exchanges: asking, answering, taking in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::store::Way;
use super::wire::{
    Entry, PullAnswer, PullRequest, Range, WANTS_MAX, Want, answer_is_sane, entry_bytes, name_fits,
};
use super::{Events, EventsOutput, Peers};
use crate::api::{EXCHANGE_BYTES_MAX, ExchangeError};
use crate::ident::NodeRef;
use crate::time::Now;

/// Pulls under way at once. Above it searches wait for an answer.
const PULLS_MAX: usize = 4;

/// An answer is cut after the event that makes it longer than this.
const ANSWER_BYTES: usize = 256 << 10;

/// A pull request larger than this is refused: [`WANTS_MAX`] wants take less.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// One pull under way.
#[derive(Debug)]
struct Pull {
    to: NodeRef,
    keys: Vec<NodeRef>,
}

/// Pulls under way, by number.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    last: u64,
    under_way: BTreeMap<u64, Pull>,
}

impl Pulls {
    pub(super) fn full(&self) -> bool {
        self.under_way.len() >= PULLS_MAX
    }
}

impl Events {
    /// Asks `to` for what `key` misses, and for every other log that waits for the
    /// same member.
    pub(super) fn start_pull(&mut self, to: NodeRef, key: NodeRef) {
        let mut keys = vec![key];
        for (other, hunt) in &mut self.hunts.by_log {
            let same = hunt.source.is_some_and(|(source, _)| source == to);
            if *other == key {
                hunt.pulling = true;
            } else if same && !hunt.pulling && keys.len() < WANTS_MAX {
                hunt.pulling = true;
                keys.push(*other);
            }
        }
        let wants = keys.iter().map(|key| self.want(*key)).collect();
        let body = PullRequest { wants }.encode_to_vec();
        let pulls = &mut self.hunts.pulls;
        pulls.last += 1;
        let id = pulls.last;
        pulls.under_way.insert(id, Pull { to, keys });
        self.count.pulls_sent += 1;
        self.out.push_back(EventsOutput::Pull {
            id,
            to,
            body: Bytes::from(body),
        });
    }

    /// All there is from a member that claims more, the hole alone otherwise.
    fn want(&self, key: NodeRef) -> Want {
        let source = self.hunts.by_log.get(&key).and_then(|hunt| hunt.source);
        let log = self.logs.get(&key);
        let beyond = log.and_then(super::log::Log::first_beyond);
        let upto = match (source, beyond) {
            (None, Some(first)) => first - 1,
            (Some(_), _) | (None, None) => 0,
        };
        Want {
            hash: key.hash,
            boot: key.boot,
            after: self.position_of(key),
            upto,
        }
    }

    /// Answers a pull; `None` if it makes no sense.
    pub(crate) fn on_pull_request(
        &mut self,
        _now: Now,
        body: Bytes,
        _peers: &dyn Peers,
    ) -> Option<Bytes> {
        let small = body.len() <= REQUEST_BYTES_MAX;
        let request = small.then(|| PullRequest::decode(body).ok()).flatten();
        let Some(request) = request.filter(|request| request.wants.len() <= WANTS_MAX) else {
            self.count.pull_requests_bad += 1;
            return None;
        };
        self.count.pulls_served += 1;
        let mut room = Some(ANSWER_BYTES);
        let ranges = request
            .wants
            .iter()
            .map(|want| self.range(want, &mut room))
            .collect();
        let answer = PullAnswer { ranges }.encode_to_vec();
        debug_assert!(answer.len() <= EXCHANGE_BYTES_MAX);
        Some(Bytes::from(answer))
    }

    /// `room` is what is left of the answer; `None` once it is cut.
    fn range(&self, want: &Want, room: &mut Option<usize>) -> Range {
        let mut range = Range {
            hash: want.hash,
            boot: want.boot,
            ..Range::default()
        };
        let key = NodeRef {
            hash: want.hash,
            boot: want.boot,
        };
        let next = self.boots(key.hash).find(|boot| {
            let hash = key.hash;
            *boot > key.boot && self.position_of(NodeRef { hash, boot: *boot }) > 0
        });
        range.next_boot = next.unwrap_or(0);
        let Some(log) = self.logs.get(&key) else {
            return range;
        };
        let name = log.origin.as_ref().map(|origin| origin.name.as_ref());
        range.name = name.unwrap_or_default().to_owned();
        range.floor = log.floor();
        range.position = log.position();
        let upto = if want.upto == 0 { u64::MAX } else { want.upto };
        for (sequence, raw) in log.held_after(want.after) {
            if sequence > upto {
                break;
            }
            let Some(left) = *room else {
                range.more = true;
                break;
            };
            // What no longer fits is the last one: so every answer has one.
            *room = left.checked_sub(entry_bytes(raw.len()));
            range.entries.push(Entry {
                sequence,
                envelope: raw.clone(),
            });
        }
        range
    }

    /// The answer to a pull, or why there is none.
    pub(crate) fn on_pull_answer(
        &mut self,
        now: Now,
        id: u64,
        answer: Result<Bytes, ExchangeError>,
        peers: &dyn Peers,
    ) {
        let Some(pull) = self.hunts.pulls.under_way.remove(&id) else {
            self.count.pull_answers_bad += 1;
            return;
        };
        for key in &pull.keys {
            if let Some(hunt) = self.hunts.by_log.get_mut(key) {
                hunt.pulling = false;
            }
        }
        let ranges = self.open_answer(&pull, answer);
        for key in &pull.keys {
            match ranges.get(key) {
                Some(range) => self.on_range(now, pull.to, *key, range, peers),
                None => self.after_failure(now.at, pull.to, *key),
            }
        }
        self.drive(now, peers);
        self.flush(now.at, peers);
        self.send_acks(now.at);
    }

    /// The ranges that were asked for.
    fn open_answer(
        &mut self,
        pull: &Pull,
        answer: Result<Bytes, ExchangeError>,
    ) -> BTreeMap<NodeRef, Range> {
        let Ok(body) = answer else {
            self.count.pulls_failed += 1;
            return BTreeMap::new();
        };
        let answer = answer_is_sane(&body).then(|| PullAnswer::decode(body));
        let Some(Ok(answer)) = answer else {
            self.count.pull_answers_bad += 1;
            return BTreeMap::new();
        };
        let mut ranges = BTreeMap::new();
        for range in answer.ranges {
            let key = NodeRef {
                hash: range.hash,
                boot: range.boot,
            };
            if pull.keys.contains(&key) {
                ranges.insert(key, range);
            } else {
                self.count.pull_answers_bad += 1;
            }
        }
        ranges
    }

    fn on_range(
        &mut self,
        now: Now,
        from: NodeRef,
        key: NodeRef,
        range: &Range,
        peers: &dyn Peers,
    ) {
        // Only the origin can say that something is gone for good.
        if from == key && range.floor > self.position_of(key) {
            let known = name_fits(&range.name, key.hash).then(|| Arc::from(range.name.as_str()));
            if let Some(name) = known.or_else(|| peers.name_of(key.hash)) {
                if let Some(log) = self.log_for(now, key) {
                    log.set_name(&name);
                }
                self.skip_to(now, key, range.floor);
            }
        }
        self.hear_of_boot(now, from, key, range.next_boot);
        for entry in &range.entries {
            self.take_in(now, key, entry.clone(), Way::Pulled);
        }
        self.after_range(now, from, key, range);
    }
}
