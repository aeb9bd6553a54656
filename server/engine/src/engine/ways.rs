//! How datagrams get to members: as such, or over TCP where UDP does not get through.
//!
//! Each direction has its own fate, and each side sees one of them: who hears no
//! datagram of a member (only TCP answers its probes) says so in all that it sends
//! there. So both carry over TCP what they have for each other. Direct probes and
//! their answers always go by UDP: when they arrive, UDP works, and nothing else
//! counts as a sign of that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use super::datagrams::Came;
use crate::ident::NodeRef;
use crate::table::Peer;
use crate::time::{Now, Time};

/// Probes in a row that only TCP answered before a member is taken for reached that
/// way: single datagrams get lost.
const BY_TCP_FROM: u32 = 2;

/// Where nobody's datagrams came for this long, though members answer over TCP, UDP
/// is taken for blocked altogether: probes in turn would find that out too slowly.
const DARK_AFTER: Duration = Duration::from_secs(3);

/// The ways to members, as far as they are unusual.
#[derive(Debug)]
pub(super) struct Ways {
    /// By name hash; members of the table only.
    members: BTreeMap<u64, Way>,
    /// When a datagram of any member last came by UDP.
    heard: Time,
    /// Probes since then that only TCP answered.
    by_tcp: u32,
}

/// The way to one member.
#[derive(Debug, Default, Clone, Copy)]
struct Way {
    /// Probes that only TCP answered, no datagram of the member in between.
    by_tcp: u32,
    /// It says that it gets no datagrams of this node.
    unheard: bool,
}

impl Way {
    /// No datagram of the member comes.
    const fn is_silent(self) -> bool {
        self.by_tcp >= BY_TCP_FROM
    }

    const fn is_by_tcp(self) -> bool {
        self.is_silent() || self.unheard
    }
}

impl Ways {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            members: BTreeMap::new(),
            heard: now,
            by_tcp: 0,
        }
    }

    fn by_tcp(&self) -> impl Iterator<Item = u64> {
        let by_tcp = self.members.iter().filter(|(_, way)| way.is_by_tcp());
        by_tcp.map(|(hash, _)| *hash)
    }

    /// Whether what is sent to a member goes over TCP.
    pub(super) fn is_by_tcp(&self, now: Time, hash: u64) -> bool {
        let way = self.members.get(&hash);
        way.is_some_and(|way| way.is_by_tcp()) || self.is_dark(now)
    }

    /// Whether nothing of what a member sends by UDP comes.
    pub(super) fn is_silent(&self, now: Time, hash: u64) -> bool {
        let way = self.members.get(&hash);
        way.is_some_and(|way| way.is_silent()) || self.is_dark(now)
    }

    fn is_dark(&self, now: Time) -> bool {
        self.by_tcp >= BY_TCP_FROM && now.since(self.heard) >= DARK_AFTER
    }

    /// Only TCP answered a probe of a member.
    fn answered_by_tcp(&mut self, now: Time, hash: u64) {
        self.by_tcp = self.by_tcp.saturating_add(1);
        let at_once = self.is_dark(now);
        let way = self.members.entry(hash).or_default();
        way.by_tcp = way.by_tcp.saturating_add(1);
        if at_once {
            way.by_tcp = way.by_tcp.max(BY_TCP_FROM);
        }
    }

    /// A datagram of a member came by UDP; `reached` if it shows that one of this node
    /// got there. True if that may change what is shown.
    fn heard(&mut self, now: Time, hash: u64, reached: bool) -> bool {
        (self.heard, self.by_tcp) = (now, 0);
        let Some(way) = self.members.get_mut(&hash) else {
            return false;
        };
        way.by_tcp = 0;
        way.unheard &= !reached;
        if !way.unheard {
            self.members.remove(&hash);
        }
        true
    }

    /// A member gets no datagrams of this node. True if that is news.
    fn unheard(&mut self, hash: u64) -> bool {
        let way = self.members.entry(hash).or_default();
        !std::mem::replace(&mut way.unheard, true)
    }
}

impl Engine {
    /// Only TCP answered a probe.
    pub(super) fn way_by_tcp(&mut self, now: Now, hash: u64) {
        if self.table.get(hash).is_none() {
            return;
        }
        self.ways.answered_by_tcp(now.at, hash);
        self.show_way(now, hash);
    }

    /// A datagram of a live member came: its probe was answered by it if `answers`, and
    /// it gets none of this node's if `unheard`.
    pub(super) fn heard_datagram(
        &mut self,
        now: Now,
        from: NodeRef,
        came: Came,
        (answers, unheard): (bool, bool),
    ) {
        self.probing.heard(now.at);
        self.table.hear(now.at, from);
        let mut news = match came {
            Came::ByUdp(_) => self.ways.heard(now.at, from.hash, answers && !unheard),
            Came::ByTcp => false,
        };
        if unheard {
            news |= self.ways.unheard(from.hash);
        }
        if news {
            self.show_way(now, from.hash);
        }
    }

    /// Live members that only TCP reaches.
    pub(super) fn members_by_tcp(&self) -> usize {
        let live = |hash: &u64| self.table.get(*hash).is_some_and(Peer::is_active);
        self.ways.by_tcp().filter(live).count()
    }

    /// Forgets what is known of the way to a member.
    pub(super) fn forget_way(&mut self, hash: u64) {
        self.ways.members.remove(&hash);
    }

    fn show_way(&mut self, now: Now, hash: u64) {
        let by_tcp = self.ways.members.get(&hash).is_some_and(|w| w.is_by_tcp());
        if self.table.set_by_tcp(hash, by_tcp) {
            self.touch(now, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn one_lost_datagram_changes_no_way_and_two_in_a_row_do() {
        let mut ways = Ways::new(at(0));
        ways.heard(at(9), 2, false);
        ways.answered_by_tcp(at(10), 1);
        assert!(!ways.is_by_tcp(at(10), 1));
        assert!(ways.heard(at(10), 1, false), "it was about to change");
        ways.answered_by_tcp(at(11), 1);
        assert!(!ways.is_by_tcp(at(11), 1), "not in a row");
        ways.heard(at(11), 2, false);
        ways.answered_by_tcp(at(12), 1);
        assert!(ways.is_by_tcp(at(12), 1) && ways.is_silent(at(12), 1));
        assert!(!ways.is_by_tcp(at(12), 2), "the others are well");
        assert_eq!(ways.by_tcp().count(), 1);
        ways.heard(at(13), 1, false);
        assert!(!ways.is_by_tcp(at(13), 1));
        assert!(ways.members.is_empty());
    }

    #[test]
    fn where_nobody_is_heard_everybody_is_reached_over_tcp() {
        let mut ways = Ways::new(at(0));
        ways.heard(at(10), 1, false);
        ways.answered_by_tcp(at(11), 1);
        assert!(!ways.is_by_tcp(at(20), 2), "one answer may be chance");
        ways.answered_by_tcp(at(12), 2);
        assert!(!ways.is_by_tcp(at(12), 3), "too soon");
        assert!(ways.is_by_tcp(at(13), 3));
        ways.answered_by_tcp(at(14), 3);
        assert_eq!(ways.by_tcp().count(), 1, "marked by one answer then");
        ways.heard(at(15), 1, false);
        assert!(!ways.is_by_tcp(at(15), 2) && ways.is_by_tcp(at(15), 3));
    }

    /// It is heard, but gets nothing: only the answer to a probe shows that it does.
    #[test]
    fn who_says_that_it_hears_nothing_is_believed_until_it_answers() {
        let mut ways = Ways::new(at(0));
        assert!(ways.unheard(1) && !ways.unheard(1));
        ways.heard(at(1), 1, false);
        assert!(ways.is_by_tcp(at(1), 1) && !ways.is_silent(at(1), 1));
        ways.heard(at(2), 1, true);
        assert!(!ways.is_by_tcp(at(2), 1));
        assert_eq!(ways.by_tcp().count(), 0);
    }
}
