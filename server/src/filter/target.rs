//! Targets of events and queries: whether one is meant for a member.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use muster_engine::Member;

use super::Filter;

/// Targets kept compiled, least recently used out first.
pub const TARGETS_CACHED_MAX: usize = 64;

/// Compiled targets: a burst to one target compiles it once.
#[derive(Debug, Default)]
pub struct Targets {
    /// Most recently used first.
    cached: Mutex<VecDeque<(Bytes, Compiled)>>,
}

/// `None` for what is no filter here.
type Compiled = Option<Arc<Filter>>;

impl Targets {
    /// Whether a target means this member. One that cannot be read (it may be of a
    /// later version) means nobody.
    #[must_use]
    pub fn means(&self, target: &Bytes, member: &Member) -> bool {
        target.is_empty()
            || self
                .filter(target)
                .is_some_and(|filter| filter.matches(member))
    }

    /// The filter of a target, if it can be read.
    #[must_use]
    pub fn filter(&self, target: &Bytes) -> Compiled {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = cached.iter().position(|(known, _)| known == target) {
            let found = cached.remove(at)?;
            let filter = found.1.clone();
            cached.push_front(found);
            return filter;
        }
        let filter = Filter::decode(target).map(Arc::new);
        if let Err(error) = &filter {
            tracing::debug!(%error, "a target cannot be read and means nobody");
        }
        let filter = filter.ok();
        cached.truncate(TARGETS_CACHED_MAX - 1);
        cached.push_front((target.clone(), filter.clone()));
        filter
    }
}

#[cfg(test)]
mod tests {
    use muster_proto::v1 as pb;
    use prost::Message as _;

    use super::*;
    use crate::hub::testing::member;

    fn to(name: &str) -> Bytes {
        let filter = pb::MemberFilter {
            names: vec![name.to_owned()],
            ..pb::MemberFilter::default()
        };
        filter.encode_to_vec().into()
    }

    #[test]
    fn a_target_means_who_matches() {
        let targets = Targets::default();
        let (a, b) = (member("a", 1, &[]), member("b", 1, &[]));
        for _ in 0..2 {
            assert!(targets.means(&to("a"), &a) && !targets.means(&to("a"), &b));
            assert!(targets.means(&Bytes::new(), &b));
        }
    }

    #[test]
    fn what_cannot_be_read_means_nobody() {
        let targets = Targets::default();
        let a = member("a", 1, &[]);
        let mut later = to("a").to_vec();
        // A part of a later version: field 15.
        later.extend_from_slice(&[0x7a, 1, b'x']);
        for target in [&b"\xff"[..], &later] {
            let target = Bytes::copy_from_slice(target);
            assert!(!targets.means(&target, &a), "{target:?}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let targets = Targets::default();
        let a = member("a", 1, &[]);
        for nth in 0..TARGETS_CACHED_MAX * 2 {
            assert!(targets.means(&to("a"), &a));
            assert!(!targets.means(&to(&format!("n{nth}")), &a));
        }
        let cached = targets.cached.lock().unwrap();
        assert_eq!(cached.len(), TARGETS_CACHED_MAX);
        assert!(cached.iter().any(|(target, _)| *target == to("a")));
    }
}
