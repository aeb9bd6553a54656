//! Merging what comes in quick succession, as serf does: of one key only the newest
//! comes out, when nothing new came for a while or the first has waited long enough.
//!
//! Pure: time is an argument. Used by consumers who ask for it, never by the log.

pub mod members;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Keys that wait at once. When one more comes, all come out.
pub const COALESCED_KEYS_MAX: usize = 1_024;

/// How long things wait. Serf's agent: 3 s and 1 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Since the first that waits.
    pub window: Duration,
    /// Since the last that came.
    pub quiet: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3),
            quiet: Duration::from_secs(1),
        }
    }
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged<T> {
    /// The newest of its key.
    pub item: T,
    /// How many others it took the place of.
    pub merged: u32,
}

#[derive(Debug)]
struct Held<T> {
    item: T,
    merged: u32,
    /// Arrivals before it.
    nth: u64,
}

/// Things that wait, by key.
#[derive(Debug)]
pub struct Coalescer<K, T> {
    windows: Windows,
    held: BTreeMap<K, Held<T>>,
    arrivals: u64,
    /// When the first of those that wait came, and the last.
    since: Option<(Instant, Instant)>,
}

impl<K: Ord, T> Coalescer<K, T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            held: BTreeMap::new(),
            arrivals: 0,
            since: None,
        }
    }

    /// Takes one in. Of two with one key the one that `is_newer` prefers stays, by
    /// default the later one: `is_newer(new, held)`.
    pub fn put(&mut self, now: Instant, key: K, item: T, is_newer: impl FnOnce(&T, &T) -> bool) {
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
        self.arrivals += 1;
        let nth = self.arrivals;
        match self.held.get_mut(&key) {
            None => {
                let merged = 0;
                self.held.insert(key, Held { item, merged, nth });
            }
            Some(held) => {
                held.merged = held.merged.saturating_add(1);
                if is_newer(&item, &held.item) {
                    held.item = item;
                    held.nth = nth;
                }
            }
        }
    }

    /// When [`Coalescer::take_due`] has something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        if self.held.len() >= COALESCED_KEYS_MAX {
            return Some(last);
        }
        Some((first + self.windows.window).min(last + self.windows.quiet))
    }

    /// Everything, in order of arrival, if the time has come.
    pub fn take_due(&mut self, now: Instant) -> Vec<Merged<T>> {
        match self.deadline() {
            Some(at) if at <= now => self.take(),
            Some(_) | None => Vec::new(),
        }
    }

    /// Everything, in order of arrival.
    pub fn take(&mut self) -> Vec<Merged<T>> {
        self.since = None;
        sorted(std::mem::take(&mut self.held).into_values().collect())
    }

    /// Those that `wanted` picks, in order of arrival; the others wait on.
    pub fn take_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<Merged<T>> {
        let all = std::mem::take(&mut self.held).into_iter();
        let (picked, rest): (BTreeMap<K, Held<T>>, _) =
            all.partition(|(_, held)| wanted(&held.item));
        self.held = rest;
        let picked = sorted(picked.into_values().collect());
        if self.held.is_empty() {
            self.since = None;
        }
        picked
    }

    /// What waits, in no order that counts.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.held.values().map(|held| &held.item)
    }
}

fn sorted<T>(mut held: Vec<Held<T>>) -> Vec<Merged<T>> {
    held.sort_unstable_by_key(|held| held.nth);
    let merged = |Held { item, merged, .. }| Merged { item, merged };
    held.into_iter().map(merged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn put(c: &mut Coalescer<&'static str, u32>, at: Instant, key: &'static str, item: u32) {
        c.put(at, key, item, |new, held| new > held);
    }

    fn out(merged: Vec<Merged<u32>>) -> Vec<(u32, u32)> {
        merged.into_iter().map(|m| (m.item, m.merged)).collect()
    }

    #[test]
    fn the_newest_of_a_key_comes_after_a_quiet_time() {
        let (mut c, start) = (Coalescer::new(Windows::default()), Instant::now());
        assert_eq!(c.deadline(), None);
        put(&mut c, start, "a", 1);
        put(&mut c, start + ms(500), "b", 2);
        put(&mut c, start + ms(900), "a", 3);
        assert_eq!(c.deadline(), Some(start + ms(1_900)));
        assert!(c.take_due(start + ms(1_899)).is_empty());
        assert_eq!(out(c.take_due(start + ms(1_900))), [(2, 0), (3, 1)]);
        assert_eq!(c.deadline(), None);
    }

    #[test]
    fn nothing_waits_longer_than_the_window() {
        let (mut c, start) = (Coalescer::new(Windows::default()), Instant::now());
        for nth in 0..6_u32 {
            put(&mut c, start + ms(500) * nth, "a", nth);
        }
        assert_eq!(c.deadline(), Some(start + ms(3_000)));
        assert_eq!(out(c.take_due(start + ms(3_000))), [(5, 5)]);
    }

    #[test]
    fn an_older_one_that_comes_later_is_merged_away() {
        let (mut c, start) = (Coalescer::new(Windows::default()), Instant::now());
        put(&mut c, start, "a", 9);
        put(&mut c, start, "a", 4);
        assert_eq!(out(c.take()), [(9, 1)]);
    }

    #[test]
    fn a_few_can_be_taken_early() {
        let (mut c, start) = (Coalescer::new(Windows::default()), Instant::now());
        for (key, item) in [("a", 1), ("b", 2), ("c", 3)] {
            put(&mut c, start, key, item);
        }
        assert_eq!(out(c.take_where(|item| *item != 2)), [(1, 0), (3, 0)]);
        assert_eq!(c.waiting().collect::<Vec<_>>(), [&2]);
        assert!(c.deadline().is_some());
        c.take_where(|_| true);
        assert_eq!(c.deadline(), None);
    }

    #[test]
    fn with_as_many_keys_as_may_wait_all_come_out() {
        let (mut c, start) = (Coalescer::new(Windows::default()), Instant::now());
        for key in 0..COALESCED_KEYS_MAX {
            assert!(c.take_due(start).is_empty());
            c.put(start, key, key, |_, _| true);
        }
        assert_eq!(c.take_due(start).len(), COALESCED_KEYS_MAX);
    }
}
