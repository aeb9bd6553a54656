//! A digest of what has been quiet for a while.
//!
//! Two views that differ only by news on their way would never agree; an entry
//! therefore counts once it has not changed for [`SETTLE`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Time;

/// How long an entry must be unchanged to count.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Entry {
    value: u64,
    since: Time,
    counted: bool,
}

/// XOR of the settled values of a set of keys.
#[derive(Debug)]
pub(crate) struct Settle<K> {
    sum: u64,
    entries: BTreeMap<K, Entry>,
    young: VecDeque<(Time, K)>,
}

impl<K: Ord + Copy> Default for Settle<K> {
    fn default() -> Self {
        Self {
            sum: 0,
            entries: BTreeMap::new(),
            young: VecDeque::new(),
        }
    }
}

impl<K: Ord + Copy> Settle<K> {
    /// The value of a key is this from now on; `None` takes it out.
    pub(crate) fn set(&mut self, now: Time, key: K, value: Option<u64>) {
        if self.entries.get(&key).map(|entry| entry.value) == value {
            return;
        }
        if let Some(old) = self.entries.remove(&key)
            && old.counted
        {
            self.sum ^= old.value;
        }
        if let Some(value) = value {
            self.entries.insert(
                key,
                Entry {
                    value,
                    since: now,
                    counted: false,
                },
            );
            self.young.push_back((now + SETTLE, key));
        }
    }

    /// The digest.
    pub(crate) fn read(&mut self, now: Time) -> u64 {
        while self.young.front().is_some_and(|&(due, _)| due <= now) {
            let Some((_, key)) = self.young.pop_front() else {
                break;
            };
            if let Some(entry) = self.entries.get_mut(&key)
                && !entry.counted
                && now.since(entry.since) >= SETTLE
            {
                entry.counted = true;
                self.sum ^= entry.value;
            }
        }
        if self.young.is_empty() {
            // A crowd that came at once leaves room for as many behind.
            self.young = VecDeque::new();
        }
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_once_it_is_quiet() {
        let at = |ms: u64| Time::from_micros(ms * 1_000);
        let mut settle = Settle::default();
        settle.set(at(0), 1, Some(5));
        assert_eq!(settle.read(at(999)), 0);
        assert_eq!(settle.read(at(1_000)), 5);
        settle.set(at(1_500), 1, Some(6));
        settle.set(at(2_000), 1, Some(7));
        assert_eq!(settle.read(at(2_600)), 0, "changed 0.6 s ago");
        settle.set(at(2_700), 1, Some(7));
        assert_eq!(settle.read(at(3_000)), 7, "the same value is no change");
        settle.set(at(3_100), 1, None);
        assert_eq!(settle.read(at(9_000)), 0);
    }
}
