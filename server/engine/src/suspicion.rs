//! Who accuses whom, and when an accusation becomes a verdict (Lifeguard's
//! suspicion, arXiv 1707.00788 section IV-B, on accusations that name the accuser).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ident::Ident;
use crate::member::StatusReason;
use crate::time::Time;
use crate::tuning;

/// Suspicion ends in failure this long after the first accusation, with
/// [`ACCUSERS_ENOUGH`] accusers, in a cluster of up to 128 members.
pub(crate) const SUSPICION_MIN: Duration = Duration::from_secs(5);

/// And this long after it with a single accuser.
pub(crate) const SUSPICION_MAX: Duration = Duration::from_secs(10);

/// And this long after it where the accusers found no kernel either, with
/// [`ACCUSERS_ENOUGH`] of them: the kernel of a process that stands still answers.
pub(crate) const SUSPICION_NO_HOST: Duration = Duration::from_millis(3_500);

/// Independent accusers that make the short time hold, and watchers whose streams
/// broke that make it none at all.
pub(crate) const ACCUSERS_ENOUGH: usize = 2;

/// In a cluster as small as this nobody else could accuse: one is enough.
pub(crate) const TINY_CLUSTER: usize = 3;

/// From half time on the subject is asked itself, this often: whoever missed its
/// refutation shall hear of it before the verdict.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Subjects asked at once; the others wait for [`ASK_PAUSE`].
const ASKED_MAX: usize = 16;

/// Pause before those that found no room are asked.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Accusers kept per subject; more change nothing.
const ACCUSERS_MAX: usize = 8;

/// What an accuser saw, from the weakest to the strongest. The numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Evidence {
    /// Its probes went unanswered.
    #[default]
    Probes = 0,
    /// Its stream broke; a new connection was accepted, but nobody shook hands.
    Unanswered = 1,
    /// Its probes went unanswered, and no kernel accepted a connection.
    NoHost = 2,
    /// Its stream broke; to a new connection no kernel answered.
    StreamSilent = 3,
    /// Its stream broke; there is no way to the host any more.
    StreamUnreachable = 4,
    /// Its stream broke, or that of a watcher who asked it to look; the connection
    /// was refused.
    StreamRefused = 5,
}

impl Evidence {
    /// From the wire. What a later build sees is at least that nobody answers.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Unanswered,
            2 => Self::NoHost,
            3 => Self::StreamSilent,
            4 => Self::StreamUnreachable,
            5 => Self::StreamRefused,
            _ => Self::Probes,
        }
    }

    /// Whether enough of these need no time for a refutation: the process or its host
    /// is gone.
    pub(crate) const fn is_word(self) -> bool {
        matches!(
            self,
            Self::StreamSilent | Self::StreamUnreachable | Self::StreamRefused
        )
    }

    /// Why somebody is suspected that this was seen of.
    pub(crate) const fn suspected(self) -> StatusReason {
        match self {
            Self::Probes | Self::NoHost => StatusReason::ProbeFailed,
            Self::Unanswered
            | Self::StreamSilent
            | Self::StreamUnreachable
            | Self::StreamRefused => StatusReason::StreamLost,
        }
    }
}

#[derive(Debug)]
struct Case {
    ident: Ident,
    incarnation: u16,
    /// Name hashes, and what each saw.
    accusers: Vec<(u64, Evidence)>,
    since: Time,
    /// When the subject was last asked.
    asked: Option<Time>,
    /// Times that the usual patience is had in addition.
    extra: u32,
}

/// A verdict: the subject did not refute in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) subject: Ident,
    pub(crate) incarnation: u16,
    /// Name hash of the first accuser, 0 if nobody was named.
    pub(crate) accuser: u64,
    /// Why, in the words of the evidence.
    pub(crate) reason: StatusReason,
}

/// Open cases by name hash of the subject.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    cases: BTreeMap<u64, Case>,
    gate: Time,
    extra: u32,
    /// Times that this node's own state makes it take in addition.
    strain: u32,
}

impl Suspicions {
    /// With so many times the usual patience, once at least.
    pub(crate) fn with_patience(times: u32) -> Self {
        Self {
            extra: times.saturating_sub(1),
            ..Self::default()
        }
    }

    /// Everything takes this many times as long in addition: this node hears badly, and
    /// may miss refutations.
    pub(crate) fn set_strain(&mut self, strain: u32) {
        self.strain = strain;
    }

    /// Notes an accusation; `accuser` 0 is hearsay without a name. Says whether it
    /// is new, or stronger than before, and worth passing on.
    pub(crate) fn accuse(
        &mut self,
        now: Time,
        subject: Ident,
        incarnation: u16,
        accuser: u64,
        evidence: Evidence,
    ) -> bool {
        let extra = self.extra;
        let fresh = || Case {
            ident: subject,
            incarnation,
            accusers: Vec::new(),
            since: now,
            asked: None,
            extra,
        };
        let case = self.cases.entry(subject.hash).or_insert_with(fresh);
        if subject.beats(case.ident) || (subject == case.ident && incarnation > case.incarnation) {
            *case = fresh();
        }
        let same = case.ident == subject && case.incarnation == incarnation;
        if !same || accuser == 0 {
            return false;
        }
        if let Some((_, seen)) = case.accusers.iter_mut().find(|(by, _)| *by == accuser) {
            let stronger = evidence > *seen;
            *seen = evidence.max(*seen);
            return stronger;
        }
        if case.accusers.len() >= ACCUSERS_MAX {
            return false;
        }
        case.accusers.push((accuser, evidence));
        true
    }

    /// Whether a subject is under suspicion on fewer words of watchers than a verdict
    /// at once takes.
    pub(crate) fn lacks_words(&self, subject: Ident, incarnation: u16, members: usize) -> bool {
        let case = self.cases.get(&subject.hash);
        let case = case.filter(|case| case.ident == subject && case.incarnation == incarnation);
        case.is_some_and(|case| case.words() < self.words_enough(members))
    }

    /// Watchers whose word is enough: nobody's alone, unless there is nobody else to
    /// see it. Members under suspicion are no witnesses.
    fn words_enough(&self, members: usize) -> usize {
        let others_alive = members.saturating_sub(self.cases.len().max(1));
        if others_alive < ACCUSERS_ENOUGH {
            1
        } else {
            ACCUSERS_ENOUGH
        }
    }

    /// Why a subject that was declared failed elsewhere has failed, as far as the
    /// accusations that came here tell.
    pub(crate) fn reason(&self, subject: Ident) -> StatusReason {
        let case = self.cases.get(&subject.hash);
        let case = case.filter(|case| case.ident == subject);
        case.map_or(StatusReason::SuspicionExpired, Case::reason)
    }

    /// Name hash of who accused first, if anybody was named.
    pub(crate) fn first_accuser(&self, subject: Ident) -> Option<u64> {
        let case = self.cases.get(&subject.hash)?;
        let first = case.accusers.first().map(|(by, _)| *by);
        first.filter(|_| case.ident == subject)
    }

    /// Whether a watcher saw that the process of a subject or its host is gone.
    pub(crate) fn has_word(&self, subject: Ident) -> bool {
        let case = self.cases.get(&subject.hash);
        case.is_some_and(|case| case.ident == subject && case.words() > 0)
    }

    /// Closes the case of a subject that refuted, died or was forgotten.
    pub(crate) fn close(&mut self, hash: u64) {
        self.cases.remove(&hash);
    }

    /// Open cases.
    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    /// When the next verdict or question is due in a cluster of `members`.
    pub(crate) fn next_deadline(&self, members: usize) -> Option<Time> {
        let words = self.words_enough(members);
        let slow = self.strain;
        let next = |case: &Case| {
            let deadline = case.deadline(members, words, slow);
            deadline.min(case.ask_at(members))
        };
        let next = self.cases.values().map(next).min();
        next.map(|at| at.max(self.gate))
    }

    /// Takes the subjects that are to be asked now, each with its incarnation.
    pub(crate) fn questions(&mut self, now: Time, members: usize) -> Vec<(Ident, u16)> {
        let words = self.words_enough(members);
        let slow = self.strain;
        let due = |case: &&mut Case| {
            case.ask_at(members) <= now && case.deadline(members, words, slow) > now
        };
        let due = self.cases.values_mut().filter(due).take(ASKED_MAX);
        let ask = due.map(|case| {
            case.asked = Some(now);
            (case.ident, case.incarnation)
        });
        let ask: Vec<_> = ask.collect();
        if ask.len() == ASKED_MAX {
            self.gate = now + ASK_PAUSE;
        }
        ask
    }

    /// This node stood still: what it missed meanwhile may well be refutations, so
    /// that all open cases begin anew, and what watchers saw long ago is no word now.
    pub(crate) fn begin_anew(&mut self, now: Time) {
        for case in self.cases.values_mut() {
            (case.since, case.asked) = (now, None);
            for (_, evidence) in &mut case.accusers {
                *evidence = Evidence::Probes;
            }
        }
    }

    /// Takes the verdicts that are due.
    pub(crate) fn due(&mut self, now: Time, members: usize) -> Vec<Verdict> {
        let words = self.words_enough(members);
        let slow = self.strain;
        let due = |case: &Case| case.deadline(members, words, slow) <= now;
        let verdicts = self
            .cases
            .values()
            .filter(|case| due(case))
            .map(|case| Verdict {
                subject: case.ident,
                incarnation: case.incarnation,
                accuser: case.accusers.first().map_or(0, |(by, _)| *by),
                reason: case.reason(),
            });
        let verdicts: Vec<_> = verdicts.collect();
        self.cases.retain(|_hash, case| !due(case));
        verdicts
    }
}

impl Case {
    fn deadline(&self, members: usize, words_enough: usize, strain: u32) -> Time {
        if self.words() >= words_enough {
            return self.since;
        }
        self.since + self.patience(members) * (1 + strain)
    }

    /// Watchers who saw that the process or its host is gone.
    fn words(&self) -> usize {
        let words = self.accusers.iter().filter(|(_, seen)| seen.is_word());
        words.count()
    }

    fn reason(&self) -> StatusReason {
        let strongest = self.accusers.iter().map(|(_, seen)| *seen).max();
        match strongest.unwrap_or_default() {
            Evidence::StreamRefused => StatusReason::ConnectionRefused,
            Evidence::StreamSilent | Evidence::StreamUnreachable => StatusReason::HostGone,
            Evidence::NoHost => StatusReason::HostSilent,
            Evidence::Probes | Evidence::Unanswered => StatusReason::SuspicionExpired,
        }
    }

    fn ask_at(&self, members: usize) -> Time {
        match self.asked {
            None => self.since + self.patience(members) / 2,
            Some(asked) => asked + ASK_EVERY,
        }
    }

    fn patience(&self, members: usize) -> Duration {
        let enough = tuning::accusers(members);
        let no_host = |(_, seen): &&(u64, Evidence)| *seen >= Evidence::NoHost;
        let time = if self.accusers.iter().filter(no_host).count() >= enough {
            SUSPICION_NO_HOST
        } else if self.accusers.len() >= enough {
            SUSPICION_MIN
        } else {
            SUSPICION_MAX
        };
        tuning::suspicion(time, members) * (1 + self.extra)
    }
}

#[cfg(test)]
mod tests;
