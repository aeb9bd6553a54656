//! Merging of member changes, as serf does, but a join is not swallowed by an update
//! that follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{COALESCED_KEYS_MAX, Windows};

/// What happened to a member, in serf's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberEvent {
    /// It is there.
    Join,
    /// It left.
    Leave,
    /// It failed.
    Failed,
    /// Its tags or its address changed.
    Update,
    /// It was forgotten.
    Reap,
}

/// Changes that wait, the last ones of each member.
#[derive(Debug)]
pub struct MemberCoalescer<T> {
    windows: Windows,
    held: BTreeMap<Arc<str>, (Vec<MemberEvent>, T)>,
    /// What came out last of each member that was not forgotten.
    last: BTreeMap<Arc<str>, MemberEvent>,
    since: Option<(Instant, Instant)>,
}

impl<T: Clone> MemberCoalescer<T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            held: BTreeMap::new(),
            last: BTreeMap::new(),
            since: None,
        }
    }

    /// Takes a change in; `item` is the member after it.
    pub fn put(&mut self, now: Instant, name: Arc<str>, event: MemberEvent, item: T) {
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
        let (events, newest) = self
            .held
            .entry(name)
            .or_insert_with(|| (Vec::new(), item.clone()));
        *newest = item;
        let joined = events.first() == Some(&MemberEvent::Join);
        events.clear();
        if joined && event == MemberEvent::Update {
            events.push(MemberEvent::Join);
        }
        events.push(event);
    }

    /// When [`MemberCoalescer::take_due`] has something. With as many members as may
    /// wait it is at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        if self.held.len() >= COALESCED_KEYS_MAX {
            return Some(last);
        }
        Some((first + self.windows.window).min(last + self.windows.quiet))
    }

    /// If the time has come: the members of each kind of event, by name. What a
    /// member's last one was already is left out, except updates.
    pub fn take_due(&mut self, now: Instant) -> Vec<(MemberEvent, Vec<T>)> {
        if self.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.since = None;
        let mut out: BTreeMap<MemberEvent, Vec<T>> = BTreeMap::new();
        for (name, (events, item)) in std::mem::take(&mut self.held) {
            for event in events {
                let before = self.last.get(&name).copied();
                // An update does not hide that the member is there.
                let told = match (before, event) {
                    (Some(MemberEvent::Update), MemberEvent::Join) => true,
                    (before, event) => before == Some(event) && event != MemberEvent::Update,
                };
                if told {
                    continue;
                }
                if event == MemberEvent::Reap {
                    self.last.remove(&name);
                } else {
                    self.last.insert(Arc::clone(&name), event);
                }
                out.entry(event).or_default().push(item.clone());
            }
        }
        out.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::MemberEvent::{Failed, Join, Leave, Reap, Update};
    use super::*;

    /// What comes out of changes that come at once, round by round.
    fn rounds(rounds: &[&[(&str, MemberEvent)]]) -> Vec<Vec<(MemberEvent, Vec<u32>)>> {
        let (mut c, mut now) = (MemberCoalescer::new(Windows::default()), Instant::now());
        let mut nth = 0;
        let mut all = Vec::new();
        for round in rounds {
            for (name, event) in *round {
                nth += 1;
                c.put(now, Arc::from(*name), *event, nth);
            }
            assert!(c.take_due(now).is_empty());
            now += Duration::from_secs(1);
            all.push(c.take_due(now));
        }
        all
    }

    #[test]
    fn the_last_of_a_member_counts() {
        let out = rounds(&[
            &[("a", Join), ("b", Join), ("a", Failed)],
            &[("a", Failed), ("b", Leave)],
            &[("a", Reap)],
            &[("a", Failed)],
        ]);
        assert_eq!(out[0], [(Join, vec![2]), (Failed, vec![3])]);
        assert_eq!(out[1], [(Leave, vec![5])], "a has failed before");
        assert_eq!(out[2], [(Reap, vec![6])]);
        assert_eq!(out[3], [(Failed, vec![7])], "another member of that name");
    }

    #[test]
    fn a_join_is_not_swallowed_by_an_update() {
        let out = rounds(&[
            &[("a", Join), ("a", Update), ("a", Update)],
            &[("a", Update)],
            &[("a", Failed), ("a", Join)],
        ]);
        assert_eq!(out[0], [(Join, vec![3]), (Update, vec![3])]);
        assert_eq!(out[1], [(Update, vec![4])]);
        assert!(out[2].is_empty(), "a flap within the window: {:?}", out[2]);
    }

    #[test]
    fn the_window_ends_the_wait() {
        let (mut c, start) = (MemberCoalescer::new(Windows::default()), Instant::now());
        for nth in 0..7 {
            let at = start + Duration::from_millis(500) * nth;
            c.put(at, Arc::from("a"), Update, nth);
        }
        assert_eq!(c.deadline(), Some(start + Duration::from_secs(3)));
    }
}
