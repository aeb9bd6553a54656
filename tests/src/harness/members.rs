//! A client's copy of a `WatchMembers` stream, which holds the daemon to the
//! contract: snapshot, end marker, deltas in order, tokens where one can resume.

use std::collections::{BTreeMap, BTreeSet};

use muster_proto::v1::watch_members_response::Event;
use muster_proto::v1::{
    Member, MemberChangeKind, MemberDelta, MemberList, Position, SnapshotReason,
    WatchMembersResponse,
};
use prost::Message as _;

/// No message is larger, unless it holds one single member.
const MESSAGE_MAX: usize = 64 * 1024;

/// A member is one claimant of a name.
type Key = (String, String);

/// Where the stream stands.
#[derive(Debug, Clone, Default, PartialEq)]
enum Phase {
    /// Nothing came yet.
    #[default]
    Opening,
    /// Between `snapshot_begin` and `snapshot_end`; the sort key of the last member.
    Snapshot(Option<(String, bool, u64)>),
    /// The copy is complete.
    Live,
}

/// The copy, and what is needed to check the next message.
#[derive(Debug, Clone, Default)]
pub struct MemberView {
    members: BTreeMap<Key, Member>,
    position: Option<Position>,
    token: String,
    phase: Phase,
    reason: Option<SnapshotReason>,
    resumed: bool,
}

impl MemberView {
    /// Takes one message.
    ///
    /// # Errors
    ///
    /// The sentence of the contract that the message breaks.
    pub fn apply(&mut self, message: &WatchMembersResponse) -> Result<(), String> {
        self.check_size(message)?;
        let before = self.check_position(message)?;
        let event = message.event.as_ref().ok_or("a message without content")?;
        match (event, self.phase.clone()) {
            (Event::Resumed(_), Phase::Opening) => {
                self.resumed = true;
                self.phase = Phase::Live;
                self.take_token(message)
            }
            (Event::SnapshotBegin(begin), Phase::Opening | Phase::Live) => {
                self.begin(begin.reason(), message)
            }
            (Event::SnapshotPart(part), Phase::Snapshot(last)) => self.part(part, last, message),
            (Event::SnapshotEnd(end), Phase::Snapshot(_)) => self.end(end.items, message),
            (Event::Delta(delta), Phase::Live) => self.delta(delta, before, message),
            (Event::Heartbeat(_), Phase::Live) => self.take_token(message),
            (event, phase) => Err(format!("{event:?} while {phase:?}")),
        }
    }

    /// Whether the copy is complete: after `snapshot_end` or `resumed`.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether nothing came on the stream yet.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Prepares for a new stream that resumes from [`Self::token`]: the copy stays.
    pub fn reopen(&mut self) {
        self.phase = Phase::Opening;
        self.resumed = false;
        self.reason = None;
    }

    /// Whether the stream began with `resumed`.
    #[must_use]
    pub fn was_resumed(&self) -> bool {
        self.resumed
    }

    /// Why the last snapshot was sent.
    #[must_use]
    pub fn snapshot_reason(&self) -> Option<SnapshotReason> {
        self.reason
    }

    /// Members held, in order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The member of that name that won it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(&(name.to_owned(), String::new()))
    }

    /// The last token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The last revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.position
            .as_ref()
            .map_or(0, |position| position.revision)
    }

    fn check_size(&self, message: &WatchMembersResponse) -> Result<(), String> {
        let members = match &message.event {
            Some(Event::SnapshotPart(part)) => part.members.len(),
            Some(Event::Delta(delta)) => delta.changes.len(),
            _ => 0,
        };
        let size = message.encoded_len();
        if size > MESSAGE_MAX && members != 1 {
            return Err(format!("a message of {size} bytes with {members} members"));
        }
        Ok(())
    }

    /// Position present, in one epoch, never backwards. The revision before.
    fn check_position(&mut self, message: &WatchMembersResponse) -> Result<u64, String> {
        let new = message
            .position
            .as_ref()
            .ok_or("a message without position")?;
        let fresh = Position::default();
        // A new epoch is legal only where the stream says so: with a snapshot.
        let starts_over = matches!(&message.event, Some(Event::SnapshotBegin(begin))
            if begin.reason() == SnapshotReason::EpochChanged && self.phase == Phase::Opening);
        let old = match &self.position {
            Some(old) if !starts_over => old,
            Some(_) | None => &fresh,
        };
        if !old.epoch.is_empty() && old.epoch != new.epoch {
            return Err(format!(
                "the epoch went from {} to {}",
                old.epoch, new.epoch
            ));
        }
        if new.revision < old.revision {
            return Err(format!(
                "the revision went from {} to {}",
                old.revision, new.revision
            ));
        }
        let before = old.revision;
        self.position = Some(new.clone());
        Ok(before)
    }

    fn begin(
        &mut self,
        reason: SnapshotReason,
        message: &WatchMembersResponse,
    ) -> Result<(), String> {
        if reason == SnapshotReason::Unspecified {
            return Err("a snapshot without a reason".to_owned());
        }
        if self.phase == Phase::Live && reason != SnapshotReason::FellBehind {
            return Err(format!(
                "a snapshot in mid-stream because of {}",
                reason.as_str_name()
            ));
        }
        self.members.clear();
        self.reason = Some(reason);
        self.phase = Phase::Snapshot(None);
        no_token(message)
    }

    fn part(
        &mut self,
        part: &MemberList,
        mut last: Option<(String, bool, u64)>,
        message: &WatchMembersResponse,
    ) -> Result<(), String> {
        if part.members.is_empty() {
            return Err("an empty snapshot part".to_owned());
        }
        for member in &part.members {
            // Whoever holds a name comes before those that lost it.
            let lost = !member.alias.is_empty();
            let place = (member.name.clone(), lost, member.boot);
            if last.as_ref().is_some_and(|last| *last >= place) {
                return Err(format!("{place:?} after {last:?} in a snapshot"));
            }
            last = Some(place);
            self.check_member(member)?;
            self.members.insert(key(member), member.clone());
        }
        self.phase = Phase::Snapshot(last);
        no_token(message)
    }

    fn end(&mut self, items: u32, message: &WatchMembersResponse) -> Result<(), String> {
        if usize::try_from(items) != Ok(self.members.len()) {
            return Err(format!(
                "snapshot_end says {items}, {} came",
                self.members.len()
            ));
        }
        self.phase = Phase::Live;
        self.take_token(message)
    }

    fn delta(
        &mut self,
        delta: &MemberDelta,
        before: u64,
        message: &WatchMembersResponse,
    ) -> Result<(), String> {
        if self.revision() <= before {
            return Err(format!(
                "a delta at revision {before} that was reached before"
            ));
        }
        if delta.changes.is_empty() {
            return Err("an empty delta".to_owned());
        }
        let mut seen = BTreeSet::new();
        for change in &delta.changes {
            let member = change.member.as_ref().ok_or("a change without a member")?;
            self.check_member(member)?;
            if !seen.insert(key(member)) {
                return Err(format!("two changes of {} in one delta", member.name));
            }
            match change.kind() {
                MemberChangeKind::Unspecified => return Err("a change without a kind".to_owned()),
                MemberChangeKind::Updated if !self.members.contains_key(&key(member)) => {
                    return Err(format!("UPDATED for {}, which is not held", member.name));
                }
                MemberChangeKind::Added | MemberChangeKind::Updated => {
                    self.members.insert(key(member), member.clone());
                }
                MemberChangeKind::Removed => {
                    self.members.remove(&key(member));
                }
            }
        }
        self.take_token(message)
    }

    fn check_member(&self, member: &Member) -> Result<(), String> {
        if member.name.is_empty() || member.boot == 0 {
            return Err(format!("a member without a name or boot: {member:?}"));
        }
        if member.changed_revision > self.revision() {
            return Err(format!(
                "{} changed in the future of the message",
                member.name
            ));
        }
        Ok(())
    }

    fn take_token(&mut self, message: &WatchMembersResponse) -> Result<(), String> {
        if message.resume_token.is_empty() {
            return Err("no token on a message from which a watch can resume".to_owned());
        }
        message.resume_token.clone_into(&mut self.token);
        Ok(())
    }
}

fn no_token(message: &WatchMembersResponse) -> Result<(), String> {
    if message.resume_token.is_empty() {
        Ok(())
    } else {
        Err("a token inside a snapshot".to_owned())
    }
}

fn key(member: &Member) -> Key {
    (member.name.clone(), member.alias.clone())
}

#[cfg(test)]
mod tests;
