//! What is to be spread by riding on datagrams: records, accusations, forced leaves.

use std::collections::{BTreeMap, BTreeSet};

use crate::ident::Ident;
use crate::suspicion::Evidence;

/// Most items that wait; at the bound the one sent most often goes (state
/// exchanges bring what it told).
pub(crate) const QUEUE_MAX: usize = 4_096;

/// What an item is about; a newer item of the same key replaces the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// The record of a member, read when it is sent: always the newest.
    Record(u64),
    /// An accusation: subject, incarnation, accuser, what it saw.
    Accusation(Ident, u16, u64, Evidence),
    /// A forced leave: subject, pruned, teller.
    Forced(Ident, bool, u64),
}

/// Place in the queue: times sent, then age.
type Place = (u32, u64);

/// Items by how often they were sent.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    places: BTreeMap<Topic, Place>,
    /// Of records: the version above which they are to be spread, unless that is 0.
    since: BTreeMap<u64, u64>,
    order: BTreeSet<(Place, Topic)>,
    stamp: u64,
    overflows: u64,
}

impl Broadcasts {
    /// Queues an item as never sent; a record with all that it holds.
    pub(crate) fn push(&mut self, topic: Topic) {
        self.remove(topic);
        if self.places.len() >= QUEUE_MAX
            && let Some(&(_, worn)) = self.order.last()
        {
            self.remove(worn);
            self.overflows += 1;
        }
        self.put(topic, 0);
    }

    /// Queues what changed in a record above a version as never sent.
    pub(crate) fn push_since(&mut self, hash: u64, version: u64) {
        let topic = Topic::Record(hash);
        let since = match self.places.contains_key(&topic) {
            true => self.since(hash).min(version),
            false => version,
        };
        self.push(topic);
        if since > 0 {
            self.since.insert(hash, since);
        }
    }

    /// The version above which a record is to be spread.
    fn since(&self, hash: u64) -> u64 {
        self.since.get(&hash).copied().unwrap_or(0)
    }

    /// Drops an item.
    pub(crate) fn remove(&mut self, topic: Topic) {
        if let Some(place) = self.places.remove(&topic) {
            self.order.remove(&(place, topic));
        }
        if let Topic::Record(hash) = topic {
            self.since.remove(&hash);
        }
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Items that found no room.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Offers items, least sent first and oldest first among those, until `take`
    /// says that the datagram is full; it is told above which version a record is to be
    /// spread. What it took counts as sent once more, and
    /// leaves the queue after `limit` times.
    pub(crate) fn fill(&mut self, limit: u32, mut take: impl FnMut(Topic, u64) -> Take) {
        let mut taken = Vec::new();
        for &(_, topic) in &self.order {
            let since = match topic {
                Topic::Record(hash) => self.since(hash),
                Topic::Accusation(..) | Topic::Forced(..) => 0,
            };
            match take(topic, since) {
                Take::Yes | Take::Drop => taken.push((topic, since)),
                Take::TooLarge => {}
                Take::Full => break,
            }
        }
        for (topic, since) in taken {
            let sent = self.places.get(&topic).map_or(0, |&(sent, _)| sent) + 1;
            self.remove(topic);
            if sent < limit {
                self.put(topic, sent);
                if let Topic::Record(hash) = topic
                    && since > 0
                {
                    self.since.insert(hash, since);
                }
            }
        }
    }

    fn put(&mut self, topic: Topic, sent: u32) {
        self.stamp += 1;
        self.places.insert(topic, (sent, self.stamp));
        self.order.insert(((sent, self.stamp), topic));
    }
}

/// What became of an offered item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is in the datagram.
    Yes,
    /// It has nothing to tell any more.
    Drop,
    /// It does not fit; a smaller one may.
    TooLarge,
    /// Nothing fits any more.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut Broadcasts, limit: u32, room: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        queue.fill(limit, |topic, _since| {
            let Topic::Record(hash) = topic else {
                return Take::Drop;
            };
            if taken.len() == room {
                return Take::Full;
            }
            taken.push(hash);
            Take::Yes
        });
        taken
    }

    #[test]
    fn the_least_sent_goes_first_and_all_leave_at_the_limit() {
        let mut queue = Broadcasts::default();
        for hash in 1..=3 {
            queue.push(Topic::Record(hash));
        }
        assert_eq!(taken(&mut queue, 2, 2), [1, 2]);
        assert_eq!(taken(&mut queue, 2, 2), [3, 1]);
        assert_eq!(taken(&mut queue, 2, 9), [2, 3]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn the_bound_holds() {
        let mut queue = Broadcasts::default();
        for hash in 0..QUEUE_MAX as u64 + 10 {
            queue.push(Topic::Record(hash));
        }
        assert_eq!((queue.len(), queue.overflows()), (QUEUE_MAX, 10));
    }
}
