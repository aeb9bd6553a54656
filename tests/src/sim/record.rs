//! What is written down of a run: views, cursors, events, traffic.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use muster_engine::{Member, MemberKey, Status, StatusReason};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Virtual time, microseconds.
    pub at_us: u64,
    /// Node at which it showed.
    pub slot: usize,
    /// Which one.
    pub invariant: &'static str,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at_us / 1_000_000, self.at_us / 1_000 % 1_000);
        let (slot, what) = (self.slot, self.invariant);
        write!(
            f,
            "{seconds}.{millis:03} s, node {slot}: {what}: {}",
            self.text
        )
    }
}

/// One change of a member in one node's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Virtual time, microseconds.
    pub at_us: u64,
    /// Number of the member's name: its slot, unless names are shared.
    pub name: u32,
    /// Its boot.
    pub boot: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// What it became.
    pub status: Status,
    /// Why.
    pub reason: StatusReason,
}

/// Traffic of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes of the datagrams sent, with 28 bytes of IP and UDP header each.
    pub datagram_bytes_out: u64,
    /// Bytes sent on streams, with headers and handshakes, without bare
    /// acknowledgements.
    pub stream_bytes_out: u64,
    /// Exchanges begun.
    pub exchanges: u64,
    /// Connections opened.
    pub connects: u64,
    /// Datagrams sent over TCP.
    pub carried_out: u64,
    /// Those of them that found no peer, or their pipe full.
    pub carried_lost: u64,
    /// Datagrams that found the socket buffer of a paused node full.
    pub overflowed: u64,
}

/// Names by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    pub(crate) fn id(&mut self, name: &Arc<str>) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.ids.insert(Arc::clone(name), id);
        self.names.push(Arc::clone(name));
        id
    }

    pub(crate) fn name(&self, id: u32) -> &str {
        self.names.get(id as usize).map_or("?", |name| name)
    }
}

/// What one node believes of the others, as it told.
#[derive(Debug, Default)]
pub(crate) struct View {
    holders: Vec<Option<Arc<Member>>>,
    losers: BTreeMap<(u32, u64), Arc<Member>>,
    newest_boot: Vec<u64>,
    live: usize,
}

impl View {
    /// Takes in an update; gives back what stood there.
    pub(crate) fn update(&mut self, id: u32, member: Arc<Member>) -> Option<Arc<Member>> {
        if member.alias.is_some() {
            return self.losers.insert((id, member.boot), member);
        }
        let at = id as usize;
        if self.holders.len() <= at {
            self.holders.resize(at + 1, None);
            self.newest_boot.resize(at + 1, 0);
        }
        self.newest_boot[at] = self.newest_boot[at].max(member.boot);
        self.live += usize::from(member.status.is_live());
        let before = self.holders[at].replace(member);
        self.live -= usize::from(before.as_ref().is_some_and(|m| m.status.is_live()));
        before
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, id: u32, key: &MemberKey) {
        if key.conflict_boot != 0 {
            self.losers.remove(&(id, key.conflict_boot));
        } else if let Some(before) = self.holders.get_mut(id as usize).and_then(Option::take) {
            self.live -= usize::from(before.status.is_live());
        }
    }

    pub(crate) fn holder(&self, id: u32) -> Option<&Arc<Member>> {
        self.holders.get(id as usize).and_then(Option::as_ref)
    }

    pub(crate) fn loser(&self, id: u32, boot: u64) -> Option<&Arc<Member>> {
        self.losers.get(&(id, boot))
    }

    /// Highest boot ever shown for a name.
    pub(crate) fn newest_boot(&self, id: u32) -> u64 {
        self.newest_boot.get(id as usize).copied().unwrap_or(0)
    }

    /// Members believed to run that hold their name, this node included.
    pub(crate) const fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.holders.iter().flatten()
    }
}

/// Where one node stands in the stream of one origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Last sequence handed over or covered by a gap or the base.
    pub last: u64,
    /// What came up to here was before the node's time.
    pub base: u64,
    /// Events handed over, and queries passed.
    pub delivered: u64,
    /// Gaps, first and last missing sequence.
    pub gaps: Vec<(u64, u64)>,
}

/// One accepted event.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was accepted, microseconds.
    pub at_us: u64,
    /// Fingerprint of name and payload.
    pub(crate) content: u64,
    /// Nodes that handed it over.
    pub reached: u32,
    /// When the last of them did, microseconds.
    pub last_us: u64,
}

/// Whom an origin owes its events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    /// Which life of the node.
    pub(crate) life: u32,
    /// It was a member when this event was accepted.
    pub(crate) from: u64,
    /// Nothing disturbed it since this event; `u64::MAX` if something did.
    pub(crate) calm_from: u64,
}

/// The stream of one boot of one member.
#[derive(Debug)]
pub struct Stream {
    pub(crate) name: u32,
    pub(crate) boot: u64,
    pub(crate) slot: usize,
    pub(crate) life: u32,
    /// Accepted events; the first has sequence 1.
    pub sent: Vec<Sent>,
    /// Last sequence that the origin called replicated.
    pub replicated: u64,
    /// When it said so last.
    pub replicated_us: u64,
    /// Other live members in the origin's view when it said so.
    pub(crate) copies_among: usize,
    pub(crate) audience: Vec<Option<Listener>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fixtures::member;

    #[test]
    fn views_count_who_is_live() {
        let mut names = Names::default();
        let (a, b) = (names.id(&Arc::from("a")), names.id(&Arc::from("b")));
        assert_eq!((names.id(&Arc::from("a")), names.name(b)), (a, "b"));
        let mut view = View::default();
        assert!(
            view.update(b, Arc::new(member("b", 5, Status::Alive)))
                .is_none()
        );
        assert!(
            view.update(a, Arc::new(member("a", 1, Status::Suspect)))
                .is_none()
        );
        assert_eq!((view.live(), view.newest_boot(b)), (2, 5));
        let failed = member("b", 5, Status::Failed);
        let before = view.update(b, Arc::new(failed.clone())).unwrap();
        assert_eq!((before.status, view.live()), (Status::Alive, 1));
        view.remove(b, &failed.key());
        assert_eq!((view.live(), view.newest_boot(b)), (1, 5));
        assert!(view.holder(b).is_none() && view.holder(a).is_some());
    }

    #[test]
    fn losers_of_a_name_stand_beside_its_holder() {
        let mut view = View::default();
        let mut loser = member("a", 3, Status::Alive);
        loser.alias = Some(Arc::from("a~00000001"));
        view.update(0, Arc::new(member("a", 4, Status::Alive)));
        view.update(0, Arc::new(loser.clone()));
        assert_eq!((view.live(), view.newest_boot(0)), (1, 4));
        assert!(view.loser(0, 3).is_some());
        view.remove(0, &loser.key());
        assert!(view.loser(0, 3).is_none() && view.holder(0).is_some());
    }
}
