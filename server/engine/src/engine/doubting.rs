//! Verdicts of others on members that this node has reason to hold for alive: such a
//! verdict may be late, or come from the other side of a cut that healed. It is
//! believed unless the member answers a connection.

use std::time::Duration;

use super::Engine;
use super::watching::{Aim, understand};
use crate::api::{WatchFailure, WatchId};
use crate::history::Seen;
use crate::ident::Ident;
use crate::member::StatusReason;
use crate::suspicion::{Evidence, SUSPICION_NO_HOST};
use crate::swim::{State, Update};
use crate::table::{Peer, Word};
use crate::time::Now;

/// Members looked for at once; a verdict on one more is an accusation only.
pub(super) const DOUBTS_MAX: usize = 16;

/// How long the member has to answer: a first packet that gets lost is sent again
/// after 1 s.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// A verdict that is not believed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub(super) subject: Ident,
    incarnation: u16,
    by: u64,
}

impl Engine {
    /// Whether a verdict that is passed around contradicts what this node heard
    /// itself: no verdict from silence comes sooner than [`SUSPICION_NO_HOST`] after
    /// the last sign of life. Where watchers saw the process or its host go there is
    /// no doubt.
    pub(super) fn doubts(&self, now: Now, verdict: &Update<Ident>) -> bool {
        let subject = *verdict.id();
        self.doubtful(subject).is_some_and(|peer| {
            let lately = |at| now.at.since(at) < SUSPICION_NO_HOST;
            verdict.state() == State::Down && peer.heard.is_some_and(lately)
        })
    }

    /// The member, if there is no reason here to hold it for dead or leaving.
    pub(super) fn doubtful(&self, subject: Ident) -> Option<&Peer> {
        let held = self.table.get(subject.hash).filter(|peer| {
            peer.ident == subject && peer.is_active() && !peer.record.parsed().leaving
        });
        held.filter(|_| !self.suspicions.has_word(subject))
    }

    /// Looks for a member that `by` holds for dead, and lets it know.
    pub(super) fn doubt(&mut self, now: Now, subject: Ident, by: u64) {
        let Some(peer) = self.doubtful(subject) else {
            return;
        };
        let (addr, incarnation) = (peer.record.parsed().addr, peer.incarnation);
        let doubt = Doubt {
            subject,
            incarnation,
            by,
        };
        let (under_way, same) = self.watching.doubts(subject);
        if same {
            return;
        }
        self.tell_undead(now, subject);
        if under_way >= DOUBTS_MAX {
            self.count("verdicts_not_checked_busy");
            return self.accuse_for(now, doubt);
        }
        self.count("verdicts_doubted");
        self.try_watch(now, addr, Aim::Doubt(doubt), ANSWER_WITHIN);
    }

    /// The other's verdict is its accusation.
    fn accuse_for(&mut self, now: Now, doubt: Doubt) {
        let accused = Update::new(doubt.subject, doubt.incarnation, State::Suspect);
        let word = Word {
            by: doubt.by,
            reason: StatusReason::ProbeFailed,
        };
        if self.learn_update(now, &accused, word) {
            let (subject, evidence) = (doubt.subject, Evidence::Probes);
            self.suspicions
                .accuse(now.at, subject, doubt.incarnation, doubt.by, evidence);
        }
    }

    /// Somebody answers there.
    pub(super) fn doubt_answered(&mut self, now: Now, id: WatchId, doubt: Doubt, answer: &[u8]) {
        self.unwatch(id);
        match understand(answer) {
            Some((ident, hello)) if ident.node() == doubt.subject.node() => {
                self.count("verdicts_refuted");
                self.saw(now, doubt.subject.hash, Seen::VerdictRefuted);
                self.on_sign_of_life(now, ident, hello.incarnation);
            }
            // Another run, or another member at its address.
            Some(_) => self.believe(now, doubt, StatusReason::ConnectionRefused),
            None => self.count("watch_answers_malformed"),
        }
    }

    /// Nobody answers there: the verdict stands, unless the member was heard meanwhile
    /// or this host is at fault.
    pub(super) fn doubt_unanswered(&mut self, now: Now, doubt: Doubt, failure: WatchFailure) {
        self.saw(now, doubt.subject.hash, Seen::Looked(failure));
        let reason = match failure {
            WatchFailure::Refused => StatusReason::ConnectionRefused,
            WatchFailure::Unreachable => StatusReason::HostGone,
            WatchFailure::Silent => StatusReason::HostSilent,
            WatchFailure::Unanswered | WatchFailure::Broken => StatusReason::SuspicionExpired,
            WatchFailure::Rejected | WatchFailure::Local => return self.accuse_for(now, doubt),
        };
        self.believe(now, doubt, reason);
    }

    fn believe(&mut self, now: Now, doubt: Doubt, reason: StatusReason) {
        let held = self.doubtful(doubt.subject);
        if held.is_some_and(|peer| peer.incarnation == doubt.incarnation) {
            let dead = Update::new(doubt.subject, doubt.incarnation, State::Down);
            self.tell_swim(now, true);
            self.learn_update(
                now,
                &dead,
                Word {
                    by: doubt.by,
                    reason,
                },
            );
            self.tell_swim(now, true);
        }
    }
}
