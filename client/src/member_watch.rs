//! Watching members: a local copy that stays right across restarts of the daemon.

use std::collections::{BTreeMap, VecDeque};

use tonic::transport::Channel;

use crate::error::{Code, Error};
use crate::link::{HEARTBEAT, Link, LinkEvent, Lost};
use crate::pb;
use crate::pb::membership_service_client::MembershipServiceClient;
use pb::watch_members_response::Event as Message;

const CALL: &str = "WatchMembers";

/// Most members that a snapshot may hold. Above it the stream is dropped as broken and
/// opened again; clusters end far below.
const SNAPSHOT_MEMBERS_MAX: usize = 1 << 20;

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct MemberWatchOptions {
    /// Which members; empty: all.
    pub filter: pb::MemberFilter,
    /// Least time between two updates, changes merge meanwhile; at most 60 s.
    pub min_interval: std::time::Duration,
}

/// Key of a member: the name, and for losers of a name conflict their boot, else 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey {
    /// Name.
    pub name: String,
    /// Boot of a loser of a name conflict, else 0: a restart replaces the entry.
    pub conflict_boot: u64,
}

/// One news of a watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum MemberUpdate {
    /// The whole view, complete and consistent. Replaces everything before.
    Snapshot {
        /// Why it was sent.
        reason: pb::SnapshotReason,
        /// Ordered by name.
        members: Vec<pb::Member>,
    },
    /// What changed, as one step. Never empty.
    Changes(Vec<Change>),
    /// The daemon is gone; the copy stays as it was. The watch goes on by itself.
    Disconnected(Lost),
    /// The daemon is back.
    Reconnected {
        /// True: only what changed meanwhile follows. False: a snapshot follows.
        resumed: bool,
    },
}

/// One changed member.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened to it, seen from the copy that the watch holds.
    pub kind: ChangeKind,
    /// What the copy held before.
    pub before: Option<pb::Member>,
    /// State after the change; for a removal the last known state.
    pub member: pb::Member,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Entered the watched view.
    Added,
    /// Changed.
    Updated,
    /// Left the watched view.
    Removed,
}

/// A watch on members. Made by [`crate::Client::watch_members`].
#[derive(Debug)]
pub struct MemberWatch {
    client: MembershipServiceClient<Channel>,
    options: MemberWatchOptions,
    link: Link<pb::WatchMembersResponse>,
    copy: Copy,
    pending: VecDeque<MemberUpdate>,
    lost: bool,
}

/// The copy and the rules of the stream; no I/O.
#[derive(Debug, Default)]
struct Copy {
    members: BTreeMap<MemberKey, pb::Member>,
    position: Option<pb::Position>,
    /// Position of `members`; kept through a half-received snapshot.
    token: String,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    reason: pb::SnapshotReason,
    members: Vec<pb::Member>,
}

impl MemberKey {
    /// The key of a member.
    #[must_use]
    pub fn of(member: &pb::Member) -> Self {
        Self {
            name: member.name.clone(),
            conflict_boot: if member.alias.is_empty() {
                0
            } else {
                member.boot
            },
        }
    }
}

impl MemberWatch {
    pub(crate) fn new(channel: Channel, options: MemberWatchOptions) -> Self {
        Self {
            client: MembershipServiceClient::new(channel),
            options,
            link: Link::new(CALL),
            copy: Copy::default(),
            pending: VecDeque::new(),
            lost: false,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself (bad regex, no permission): no
    /// later try can change that.
    pub async fn next(&mut self) -> Result<MemberUpdate, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            let (client, options, token) = (&self.client, &self.options, &self.copy.token);
            let open = || {
                let mut client = client.clone();
                let request = options.request(token);
                Box::pin(async move { client.watch_members(request).await }) as _
            };
            match self.link.next(open).await {
                Ok(LinkEvent::Message { first, message }) => self.take(first, message),
                Ok(LinkEvent::Lost(lost)) => self.push_lost(lost),
                // A daemon of another version may not read its predecessor's tokens.
                Err(error)
                    if error.code() == Some(Code::InvalidArgument)
                        && !self.copy.token.is_empty() =>
                {
                    self.copy.token.clear();
                    let event = self.link.retry(error);
                    self.push_event_lost(event);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The local copy: as of the last [`MemberUpdate`] that was handed out.
    pub fn members(&self) -> impl Iterator<Item = &pb::Member> {
        self.copy.members.values()
    }

    /// One member of the local copy, by name or alias.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&pb::Member> {
        self.members()
            .find(|member| crate::display_name(member) == name)
    }

    /// Position of the local copy in the daemon's view; `None` before the first snapshot.
    #[must_use]
    pub const fn position(&self) -> Option<&pb::Position> {
        self.copy.position.as_ref()
    }

    fn take(&mut self, first: bool, message: pb::WatchMembersResponse) {
        if first && self.lost {
            self.lost = false;
            let resumed = matches!(message.event, Some(Message::Resumed(_)));
            self.pending
                .push_back(MemberUpdate::Reconnected { resumed });
        }
        match self.copy.take(first, message) {
            Ok(update) => self.pending.extend(update),
            Err(what) => {
                self.copy.forget_token();
                let event = self.link.violated(what);
                self.push_event_lost(event);
            }
        }
    }

    fn push_event_lost(&mut self, event: LinkEvent<pb::WatchMembersResponse>) {
        if let LinkEvent::Lost(lost) = event {
            self.push_lost(lost);
        }
    }

    fn push_lost(&mut self, lost: Lost) {
        self.lost = true;
        self.copy.partial = None;
        self.pending.push_back(MemberUpdate::Disconnected(lost));
    }
}

impl MemberWatchOptions {
    fn request(&self, token: &str) -> pb::WatchMembersRequest {
        pb::WatchMembersRequest {
            filter: Some(self.filter.clone()),
            resume_token: token.to_owned(),
            snapshot_only: false,
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
            min_interval: prost_types::Duration::try_from(self.min_interval)
                .ok()
                .filter(|_| !self.min_interval.is_zero()),
        }
    }
}

impl Copy {
    /// Applies a message. `Err` names the rule that the daemon broke.
    fn take(
        &mut self,
        first: bool,
        message: pb::WatchMembersResponse,
    ) -> Result<Option<MemberUpdate>, &'static str> {
        let (position, token) = (message.position, message.resume_token);
        let event = message.event.ok_or("a message without content")?;
        if first && !matches!(event, Message::SnapshotBegin(_) | Message::Resumed(_)) {
            return Err("the first message was neither `resumed` nor `snapshot_begin`");
        }
        let update = match event {
            Message::SnapshotBegin(begin) => {
                self.partial = Some(Partial {
                    reason: begin.reason(),
                    members: Vec::new(),
                });
                return Ok(None);
            }
            Message::SnapshotPart(part) => {
                let partial = self.partial.as_mut();
                let partial = partial.ok_or("a snapshot part outside a snapshot")?;
                partial.members.extend(part.members);
                if partial.members.len() > SNAPSHOT_MEMBERS_MAX {
                    return Err("a snapshot without end");
                }
                return Ok(None);
            }
            Message::SnapshotEnd(end) => Some(self.finish_snapshot(end.items)?),
            Message::Resumed(_) if !first || self.token.is_empty() => {
                return Err("`resumed` where nothing was to be resumed");
            }
            Message::Resumed(_) => None,
            Message::Delta(_) | Message::Heartbeat(_) if self.partial.is_some() => {
                return Err("a change inside a snapshot");
            }
            Message::Delta(delta) => self.apply(delta),
            Message::Heartbeat(_) => None,
        };
        if !token.is_empty() {
            self.token = token;
        }
        if position.is_some() {
            self.position = position;
        }
        Ok(update)
    }

    fn finish_snapshot(&mut self, items: u32) -> Result<MemberUpdate, &'static str> {
        let partial = self.partial.take();
        let partial = partial.ok_or("a snapshot end outside a snapshot")?;
        if u32::try_from(partial.members.len()) != Ok(items) {
            return Err("a snapshot whose count is wrong");
        }
        let members = partial.members.iter();
        self.members = members
            .map(|member| (MemberKey::of(member), member.clone()))
            .collect();
        Ok(MemberUpdate::Snapshot {
            reason: partial.reason,
            members: partial.members,
        })
    }

    fn apply(&mut self, delta: pb::MemberDelta) -> Option<MemberUpdate> {
        let changes: Vec<Change> = delta
            .changes
            .into_iter()
            .filter_map(|change| self.apply_one(change))
            .collect();
        (!changes.is_empty()).then_some(MemberUpdate::Changes(changes))
    }

    fn apply_one(&mut self, change: pb::MemberChange) -> Option<Change> {
        let removed = change.kind() == pb::MemberChangeKind::Removed;
        let member = change.member?;
        let key = MemberKey::of(&member);
        if removed {
            // Not held: it came and went while this watch looked elsewhere.
            let before = self.members.remove(&key)?;
            return Some(Change {
                kind: ChangeKind::Removed,
                before: Some(before),
                member,
            });
        }
        let before = self.members.insert(key, member.clone());
        let kind = if before.is_some() {
            ChangeKind::Updated
        } else {
            ChangeKind::Added
        };
        Some(Change {
            kind,
            before,
            member,
        })
    }

    /// The next stream starts with a snapshot.
    fn forget_token(&mut self) {
        self.token.clear();
        self.partial = None;
    }
}

#[cfg(test)]
mod tests;
