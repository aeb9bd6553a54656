//! Where members are in the space of round trip times. Kept beside the members, not in
//! them: a place moves every second and is no news to whoever watches members.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_engine::{Coordinate, Member, MemberKey};

/// The places that are known now. The engine's thread writes, everybody reads.
#[derive(Debug, Default)]
pub struct Coordinates(Mutex<Arc<Places>>);

/// The places that were known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Places {
    me: Option<Coordinate>,
    /// Members that answered a probe of this node; no more than there are members.
    peers: BTreeMap<MemberKey, Coordinate>,
}

impl Coordinates {
    /// All places now. Cheap: nothing is copied unless one moves meanwhile.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Places> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This node is here; `None` if coordinates are turned off.
    pub(crate) fn set_own(&self, me: Option<Coordinate>) {
        self.edit(|places| places.me = me);
    }

    /// A member is there, or it is no longer known where.
    pub(crate) fn set(&self, member: MemberKey, place: Option<Coordinate>) {
        self.edit(|places| match place {
            Some(place) => drop(places.peers.insert(member, place)),
            None => drop(places.peers.remove(&member)),
        });
    }

    fn edit(&self, edit: impl FnOnce(&mut Places)) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        edit(Arc::make_mut(&mut places));
    }
}

impl Places {
    /// Whether this node finds its place.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.me.is_some()
    }

    /// Where a member is.
    #[must_use]
    pub fn of(&self, member: &Member) -> Option<Coordinate> {
        if member.is_self {
            return self.me;
        }
        self.peers.get(&member.key()).copied()
    }

    /// Estimated round trip time between two members; none from one to itself.
    #[must_use]
    pub fn between(&self, one: &Member, other: &Member) -> Option<Duration> {
        if one.key() == other.key() {
            return Some(Duration::ZERO);
        }
        Some(self.of(one)?.distance_to(&self.of(other)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::member;

    fn at(seconds: f64) -> Coordinate {
        let mut place = Coordinate::default();
        place.vec[0] = seconds;
        place
    }

    #[test]
    fn places_are_told_apart_and_forgotten() {
        let (one, two) = (member("one", 1, &[]), member("two", 1, &[]));
        let mut me = member("me", 1, &[]);
        me.is_self = true;
        let all = Coordinates::default();
        assert!(!all.snapshot().enabled());
        all.set_own(Some(at(0.0)));
        all.set(one.key(), Some(at(0.010)));
        let places = all.snapshot();
        assert!(places.enabled());
        let estimated = places.between(&me, &one).unwrap();
        assert!(estimated.abs_diff(Duration::from_millis(10)) < Duration::from_micros(50));
        assert_eq!(places.between(&one, &one), Some(Duration::ZERO));
        assert_eq!(places.between(&one, &two), None);
        all.set(one.key(), None);
        assert_eq!(all.snapshot().between(&me, &one), None);
        assert!(places.between(&me, &one).is_some(), "a snapshot stays");
    }
}
