//! What this node saw and heard of members that were not well, kept for whoever asks
//! why a member is shown as it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::api::WatchFailure;
use crate::member::{Member, StatusReason};
use crate::suspicion::Evidence;
use crate::time::Now;

/// Observations kept of one member; then the oldest goes.
pub(crate) const PER_MEMBER_MAX: usize = 32;

/// Members of which any are kept; then the one that was quiet longest is forgotten.
pub(crate) const MEMBERS_MAX: usize = 1_024;

/// Why a member is shown as it is: what was seen by whom, in order.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The member.
    pub member: Arc<Member>,
    /// The oldest first.
    pub observations: Vec<Observation>,
    /// Older ones that found no room.
    pub omitted: u64,
    /// What an operator could look at or set, one sentence or two.
    pub advice: String,
}

/// One thing that was seen of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Wall clock of this node, milliseconds.
    pub at_unix_ms: u64,
    /// Who saw it; `None` for this node.
    pub by: Option<Arc<str>>,
    /// What, as a short sentence.
    pub text: &'static str,
}

/// What can be seen of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    ProbeUnanswered,
    NothingHeard,
    TcpAnswered,
    TcpFailed(WatchFailure),
    StreamBroke,
    StreamNotReopened(WatchFailure),
    StreamReopened,
    RestartAnswered,
    Accused(Evidence),
    WitnessesAsked,
    Looked(WatchFailure),
    VerdictRefuted,
    Judged,
    JudgedQuietly,
    Dead(StatusReason),
    Back(StatusReason),
}

impl Seen {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::ProbeUnanswered => "did not answer a direct probe within its time",
            Self::NothingHeard => {
                "a probe brought no sign of it, nor of those asked for help: nobody was told"
            }
            Self::TcpAnswered => "answered over TCP what it did not answer by datagram",
            Self::TcpFailed(failure) | Self::StreamNotReopened(failure) | Self::Looked(failure) => {
                connect_text(failure)
            }
            Self::StreamBroke => "the stream that watches it broke without a goodbye",
            Self::StreamReopened => "answered on a new stream: the same process",
            Self::RestartAnswered => "answered on a new stream: another process, a restart",
            Self::Accused(evidence) => accused_text(evidence),
            Self::WitnessesAsked => "no other watcher spoke: two members are asked to look",
            Self::VerdictRefuted => "answered a connection: a verdict of others is not believed",
            Self::Judged => "did not refute: declared failed by this node",
            Self::JudgedQuietly => {
                "did not refute: failed in the eyes of this node, which hears nobody and tells \
                 nobody"
            }
            Self::Dead(reason) | Self::Back(reason) => reason.as_str(),
        }
    }
}

const fn connect_text(failure: WatchFailure) -> &'static str {
    match failure {
        WatchFailure::Refused => "refused a connection: no process listens there",
        WatchFailure::Unreachable => "there is no way to its host",
        WatchFailure::Silent => "its host did not answer a connection in time",
        WatchFailure::Unanswered => {
            "its host accepted a connection, the process did not answer in time"
        }
        WatchFailure::Broken => "a connection was accepted and broke before it was of use",
        WatchFailure::Rejected => "whoever listens there wants no connection of this cluster",
        WatchFailure::Local => "this host could not connect: look at its routes and interfaces",
    }
}

const fn accused_text(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Probes => "accused: probes went unanswered",
        Evidence::Unanswered => "accused: its stream broke, a new one was accepted, not answered",
        Evidence::NoHost => "accused: probes went unanswered, no connection was accepted",
        Evidence::StreamSilent => "accused: its stream broke, its host does not answer",
        Evidence::StreamUnreachable => "accused: its stream broke, there is no way to its host",
        Evidence::StreamRefused => "accused: connections are refused",
    }
}

/// What an operator could do about a member in this state.
pub(crate) fn advice(member: &Member) -> String {
    let text = match member.change.reason {
        StatusReason::ConnectionRefused => {
            "The process is gone while its host lives: look at its log and its supervisor there. \
             No setting delays this; a process that stops by itself says goodbye."
        }
        StatusReason::HostGone => {
            "Host or network of the member went away at once: look whether it runs. No setting \
             delays this."
        }
        StatusReason::HostSilent => {
            "Neither the member nor its host's kernel answered: host down, cable, or a firewall \
             that drops UDP and TCP. --profile wan gives three times the time."
        }
        StatusReason::SuspicionExpired => {
            "Its host's kernel accepted connections or was not asked, the process did not answer: \
             stopped, starved of CPU, or cut off. --profile wan gives three times the time."
        }
        StatusReason::ProbeFailed | StatusReason::StreamLost => {
            "It has 5 s to refute with two accusers, 10 s with one; --profile wan gives three \
             times the time."
        }
        StatusReason::NotMet => {
            "It belonged to the cluster before this node restarted: it is dialled for ever, \
             `muster force-leave --prune` forgets it."
        }
        StatusReason::ForcedOut | StatusReason::Left | StatusReason::LeaveIntent => {
            "It went of its own or an operator's will; it is shown for --reap-left."
        }
        StatusReason::Joined
        | StatusReason::Restarted
        | StatusReason::Refuted
        | StatusReason::Learnt => "",
    };
    if member.by_tcp {
        return format!(
            "Only TCP gets there: let UDP through on {}. What datagrams bring is carried over \
             TCP meanwhile. {text}",
            member.addr
        )
        .trim_end()
        .to_owned();
    }
    text.to_owned()
}

/// Observations by name hash of the member.
#[derive(Debug, Default)]
pub(crate) struct History {
    members: BTreeMap<u64, Kept>,
    stamp: u64,
}

#[derive(Debug, Default)]
struct Kept {
    seen: VecDeque<(u64, u64, Seen)>,
    omitted: u64,
    touched: u64,
}

impl History {
    /// Notes what was seen of a member, by name hash of the observer; 0 for this node.
    pub(crate) fn note(&mut self, now: Now, hash: u64, by: u64, seen: Seen) {
        self.stamp += 1;
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&hash) {
            let quiet = self.members.iter().min_by_key(|(_, kept)| kept.touched);
            let quiet = quiet.map(|(hash, _)| *hash);
            quiet.and_then(|hash| self.members.remove(&hash));
        }
        let kept = self.members.entry(hash).or_default();
        kept.touched = self.stamp;
        if kept.seen.len() >= PER_MEMBER_MAX {
            kept.seen.pop_front();
            kept.omitted += 1;
        }
        kept.seen.push_back((now.unix_ms, by, seen));
    }

    /// Whether anything is kept of a member.
    pub(crate) fn knows(&self, hash: u64) -> bool {
        self.members.contains_key(&hash)
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, hash: u64) {
        self.members.remove(&hash);
    }

    /// What is kept of a member, the oldest first: when, by whom, what; and how much
    /// found no room.
    pub(crate) fn of(&self, hash: u64) -> (impl Iterator<Item = (u64, u64, Seen)>, u64) {
        let kept = self.members.get(&hash);
        let omitted = kept.map_or(0, |kept| kept.omitted);
        (
            kept.into_iter().flat_map(|kept| kept.seen.iter().copied()),
            omitted,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn at(unix_ms: u64) -> Now {
        let at = Time::from_micros(unix_ms);
        Now { at, unix_ms }
    }

    #[test]
    fn the_oldest_goes_and_is_counted() {
        let mut history = History::default();
        for ms in 0..PER_MEMBER_MAX as u64 + 3 {
            history.note(at(ms), 7, 0, Seen::ProbeUnanswered);
        }
        let (seen, omitted) = history.of(7);
        let seen: Vec<_> = seen.collect();
        assert_eq!((seen.len(), omitted), (PER_MEMBER_MAX, 3));
        assert_eq!(seen[0], (3, 0, Seen::ProbeUnanswered));
        assert_eq!(history.of(8).0.count(), 0);
    }

    #[test]
    fn the_member_that_was_quiet_longest_goes() {
        let mut history = History::default();
        for hash in 0..MEMBERS_MAX as u64 {
            history.note(at(hash), hash, 0, Seen::StreamBroke);
        }
        history.note(at(9_000), 0, 0, Seen::StreamReopened);
        history.note(at(9_001), 5_000, 0, Seen::StreamBroke);
        assert!(history.knows(0) && history.knows(5_000) && !history.knows(1));
        history.forget(0);
        assert!(!history.knows(0));
    }
}
