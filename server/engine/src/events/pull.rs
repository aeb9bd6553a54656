//! Ranges of events over exchanges: asking, answering, taking in.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::store::Way;
use super::wire::{Entry, PullAnswer, PullRequest, Range, WANTS_MAX, Want, entry_bytes, name_fits};
use super::{Events, EventsOutput, Peers};
use crate::api::{EXCHANGE_BYTES_MAX, ExchangeError};
use crate::ident::NodeRef;
use crate::time::{Now, Time};

/// Pulls under way at once. Above it searches wait for an answer.
const PULLS_MAX: usize = 4;

/// An answer is cut when it is this long; one event is always in it.
const ANSWER_BYTES: usize = 256 << 10;

/// What one range takes without its entries: numbers and the name.
const RANGE_OVERHEAD: usize = 192;

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
    pub(super) fn start_pull(&mut self, now: Time, to: NodeRef, key: NodeRef) {
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
        debug_assert!(now >= Time::default());
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
        let request = PullRequest::decode(body).ok();
        let Some(request) = request.filter(|request| request.wants.len() <= WANTS_MAX) else {
            self.count.pull_requests_bad += 1;
            return None;
        };
        self.count.pulls_served += 1;
        let mut room = ANSWER_BYTES;
        let ranges = request
            .wants
            .iter()
            .map(|want| self.range(want, &mut room))
            .collect();
        let answer = PullAnswer { ranges }.encode_to_vec();
        debug_assert!(answer.len() <= EXCHANGE_BYTES_MAX);
        Some(Bytes::from(answer))
    }

    fn range(&self, want: &Want, room: &mut usize) -> Range {
        let mut range = Range {
            hash: want.hash,
            boot: want.boot,
            ..Range::default()
        };
        let key = NodeRef {
            hash: want.hash,
            boot: want.boot,
        };
        let Some(log) = self.logs.get(&key) else {
            return range;
        };
        let name = log.origin.as_ref().map(|origin| origin.name.as_ref());
        range.name = name.unwrap_or_default().to_owned();
        range.floor = log.floor();
        range.position = log.position();
        let upto = if want.upto == 0 { u64::MAX } else { want.upto };
        *room = room.saturating_sub(RANGE_OVERHEAD);
        for (sequence, raw) in log.held_after(want.after) {
            if sequence > upto {
                break;
            }
            let need = entry_bytes(raw.len());
            // The first one always fits into a whole answer.
            if need > *room && *room < ANSWER_BYTES - RANGE_OVERHEAD {
                range.more = true;
                break;
            }
            *room = room.saturating_sub(need);
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
                Some(range) => self.on_range(now, &pull, *key, range),
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
        let Ok(answer) = PullAnswer::decode(body) else {
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

    fn on_range(&mut self, now: Now, pull: &Pull, key: NodeRef, range: &Range) {
        // Only the origin can say that something is gone for good.
        let gone = pull.to == key && range.floor > self.position_of(key);
        if gone && name_fits(&range.name, key.hash) {
            if let Some(log) = self.log_for(now, key) {
                log.set_name(&range.name);
            }
            self.skip_to(now, key, range.floor);
        }
        for entry in &range.entries {
            self.take_in(now, key, entry.clone(), Way::Pulled);
        }
        self.after_range(now, pull.to, key, range);
    }
}
