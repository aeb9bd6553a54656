//! One consumer's history, played again.

use std::collections::BTreeMap;

use muster_proto::v1::watch_members_response::Event;
use muster_proto::v1::{Member, MemberChangeKind, SnapshotReason, WatchMembersResponse};

use super::super::{Breach, Promise, Step};
use super::{MemberHistory, Seen, lets};
use crate::harness::MemberView;

/// A member is one claimant of a name.
pub(super) type Key = (String, String);

/// A complete copy that a consumer had.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// Number of its history.
    pub(super) history: usize,
    pub(super) daemon: String,
    pub(super) epoch: String,
    pub(super) revision: u64,
    pub(super) members: BTreeMap<Key, Member>,
}

/// What came of a history.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) breaches: Vec<Breach>,
    pub(super) moments: Vec<Moment>,
    pub(super) seen: Seen,
}

/// Plays a history again.
pub(super) fn replay(history: &MemberHistory, number: usize) -> Replayed {
    let mut player = Player {
        history,
        number,
        view: MemberView::default(),
        daemon: "",
        epoch: String::new(),
        asked: None,
        out: Replayed::default(),
    };
    for step in &history.steps {
        match step {
            Step::Opened { daemon, token } => player.open(daemon, token),
            Step::Message(message) => player.message(message),
            Step::Ended => {}
        }
    }
    player.out
}

struct Player<'a> {
    history: &'a MemberHistory,
    number: usize,
    view: MemberView,
    daemon: &'a str,
    /// Of the last message.
    epoch: String,
    /// Whether the stream that was just opened had a token, until its first message.
    asked: Option<bool>,
    out: Replayed,
}

impl<'a> Player<'a> {
    fn open(&mut self, daemon: &'a str, token: &[u8]) {
        self.daemon = daemon;
        let nothing_came = self.view.is_opening();
        self.out.seen.cut += usize::from(!nothing_came && !self.view.is_complete());
        self.asked = Some(!token.is_empty());
        if token.is_empty() {
            // It began anew, or a snapshot that was cut left it with nothing.
            self.view = MemberView::default();
            return;
        }
        if token != self.view.token().as_bytes() {
            self.breach(
                Promise::Resumable,
                "the token is not the last one".to_owned(),
            );
        }
        self.view.reopen();
    }

    fn message(&mut self, message: &WatchMembersResponse) {
        self.out.seen.messages += 1;
        let before = self.view.revision();
        if let Some(had_token) = self.asked.take() {
            self.first(message, had_token);
        }
        if let Err(what) = self.view.apply(message) {
            self.breach(promise_of(&what), what);
            return;
        }
        let position = message.position.clone().unwrap_or_default();
        match &message.event {
            Some(Event::Delta(delta)) => {
                self.out.seen.deltas += 1;
                for change in &delta.changes {
                    let member = change.member.clone().unwrap_or_default();
                    self.change(change.kind(), &member, before);
                }
            }
            Some(Event::SnapshotEnd(_)) => self.out.seen.snapshots += 1,
            Some(Event::Resumed(_)) => self.out.seen.resumed += 1,
            Some(Event::SnapshotPart(part)) => {
                for member in &part.members {
                    self.through(member);
                }
            }
            Some(Event::SnapshotBegin(_) | Event::Heartbeat(_)) | None => {}
        }
        self.epoch.clone_from(&position.epoch);
        if self.view.is_complete() {
            let members = self.view.members();
            let key = |member: &Member| (member.name.clone(), member.alias.clone());
            self.out.moments.push(Moment {
                history: self.number,
                daemon: self.daemon.to_owned(),
                epoch: position.epoch,
                revision: position.revision,
                members: members
                    .map(|member| (key(member), member.clone()))
                    .collect(),
            });
        }
    }

    /// The first message says what became of the token.
    fn first(&mut self, message: &WatchMembersResponse, had_token: bool) {
        let position = message.position.clone().unwrap_or_default();
        let same = position.epoch == self.epoch;
        let said = match &message.event {
            Some(Event::Resumed(_)) => None,
            Some(Event::SnapshotBegin(begin)) => Some(begin.reason()),
            other => {
                let what = format!("a stream begins with {other:?}");
                return self.breach(Promise::Resumable, what);
            }
        };
        let fits = match said {
            None => had_token && same,
            Some(SnapshotReason::Initial) => !had_token,
            Some(SnapshotReason::EpochChanged) => had_token && !same,
            Some(SnapshotReason::TokenExpired) => had_token && same,
            // A consumer asks the same thing always, and has read nothing yet.
            Some(SnapshotReason::FilterChanged | SnapshotReason::FellBehind)
            | Some(SnapshotReason::Unspecified) => false,
        };
        if !fits {
            let what = format!(
                "a stream begins with {said:?}, a token was given: {had_token}, it is of this epoch: {same}"
            );
            self.breach(Promise::Resumable, what);
        }
    }

    fn change(&mut self, kind: MemberChangeKind, member: &Member, before: u64) {
        if kind == MemberChangeKind::Removed {
            return;
        }
        if member.changed_revision <= before {
            self.breach(
                Promise::Unique,
                format!(
                    "{} of revision {} comes after {before} was reached",
                    member.name, member.changed_revision
                ),
            );
        }
        self.through(member);
    }

    fn through(&mut self, member: &Member) {
        if !lets(&self.history.filter, member) {
            let what = format!("{} was not asked for: {member:?}", member.name);
            self.breach(Promise::Filtered, what);
        }
    }

    fn breach(&mut self, promise: Promise, what: String) {
        self.out.breaches.push(Breach {
            promise,
            consumer: self.history.consumer.clone(),
            what,
        });
    }
}

/// Which promise the sentence of a view is about.
fn promise_of(what: &str) -> Promise {
    if what.contains("reached before") || what.contains("two changes") {
        Promise::Unique
    } else if what.contains("snapshot_end says") {
        Promise::Atomic
    } else if what.contains("token") || what.contains("epoch") {
        Promise::Resumable
    } else if what.contains("which is not held") {
        Promise::GapFree
    } else {
        Promise::Ordered
    }
}
