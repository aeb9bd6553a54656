//! What watchers say to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::IndexedRandom as _;

use super::{Aim, LOOKS_MAX, REOPEN_WITHIN};
use crate::api::WatchFailure;
use crate::engine::Engine;
use crate::engine::datagrams::Extra;
use crate::history::Seen;
use crate::ident::{IDENT_BYTES, Ident, NodeRef};
use crate::suspicion::Evidence;
use crate::swim::State;
use crate::time::{Now, Time};

/// A watcher that heard no second word after this long is alone with its own: other
/// watchers may have died with the member.
const SECOND_WORD: Duration = Duration::from_millis(100);

/// Members that it then asks to connect.
const WITNESSES: usize = 2;

/// Own words that wait for a second one.
#[derive(Debug, Default)]
pub(super) struct Lone(BTreeMap<u64, (Time, Ident, u16)>);

impl Lone {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.0.values().map(|(at, ..)| *at).min()
    }
}

impl Engine {
    /// This node's stream to a member broke and could not be opened again.
    pub(in crate::engine) fn witness(&mut self, now: Now, to: NodeRef, evidence: Evidence) {
        let Some(peer) = self.table.run(to).filter(|peer| peer.is_active()) else {
            return;
        };
        let (subject, incarnation) = (peer.ident, peer.incarnation);
        self.count("members_lost_on_streams");
        self.accuse(now, subject, incarnation, evidence);
        for watcher in self.fellow_watchers(subject.hash) {
            self.transmit(now, watcher, Extra::default());
        }
        if evidence.is_word() {
            let due = now.at + SECOND_WORD;
            let lone = &mut self.watching.lone.0;
            // As many as streams: a newer word about a member replaces the older one.
            lone.insert(subject.hash, (due, subject, incarnation));
        }
    }

    /// Asks others to look where no second word came.
    pub(super) fn ask_for_words(&mut self, now: Now) {
        let lone = &mut self.watching.lone.0;
        let mut due = Vec::new();
        lone.retain(|_, (at, subject, incarnation)| {
            let waits = *at > now.at;
            if !waits {
                due.push((*subject, *incarnation));
            }
            waits
        });
        let members = self.table.active().len() + 1;
        for (subject, incarnation) in due {
            if !self.suspicions.lacks_words(subject, incarnation, members) {
                continue;
            }
            self.count("witnesses_asked");
            self.saw(now, subject.hash, Seen::WitnessesAsked);
            let others: Vec<_> = self.witnesses(subject);
            for node in others
                .sample(&mut self.rng, WITNESSES)
                .copied()
                .collect::<Vec<_>>()
            {
                let extra = Extra {
                    witness: Some(subject),
                    ..Extra::default()
                };
                self.transmit(now, node, extra);
            }
        }
    }

    /// Members that are not under suspicion themselves.
    fn witnesses(&self, subject: Ident) -> Vec<NodeRef> {
        let alive = |node: &&NodeRef| {
            let peer = self.table.run(**node);
            node.hash != subject.hash && peer.is_some_and(|peer| peer.state == State::Alive)
        };
        self.table.active().iter().filter(alive).copied().collect()
    }

    /// A watcher asks this node to look.
    pub(in crate::engine) fn on_witness_wanted(&mut self, now: Now, mut wanted: &[u8]) {
        if wanted.len() != IDENT_BYTES {
            return;
        }
        let Some(subject) = Ident::get(&mut wanted) else {
            return;
        };
        let held = self.table.get(subject.hash);
        let Some(peer) = held.filter(|peer| peer.ident == subject && peer.is_active()) else {
            return;
        };
        let addr = peer.record.parsed().addr;
        if self.watching.looks() >= LOOKS_MAX {
            return self.count("looks_refused_busy");
        }
        self.try_watch(now, addr, Aim::Look(subject), REOPEN_WITHIN);
    }

    /// This node looked for another watcher and found nobody there: a second word, if
    /// the host itself says so.
    pub(super) fn looked(&mut self, now: Now, subject: Ident, failure: WatchFailure) {
        self.saw(now, subject.hash, Seen::Looked(failure));
        let evidence = match failure {
            WatchFailure::Refused => Evidence::StreamRefused,
            WatchFailure::Unreachable => Evidence::StreamUnreachable,
            WatchFailure::Silent
            | WatchFailure::Unanswered
            | WatchFailure::Broken
            | WatchFailure::Rejected
            | WatchFailure::Local => return,
        };
        let held = self.table.get(subject.hash);
        let held = held.filter(|peer| peer.ident == subject && peer.is_active());
        if let Some(incarnation) = held.map(|peer| peer.incarnation) {
            self.accuse(now, subject, incarnation, evidence);
            for watcher in self.fellow_watchers(subject.hash) {
                self.transmit(now, watcher, Extra::default());
            }
        }
    }
}
