//! Members as a watch has them.

use tonic::transport::Channel;

use super::kind::{Ask, Event, Message, Sealed, Step, Watched, heartbeat, min_interval};
use crate::link::Opening;
use crate::pb;
use crate::pb::membership_service_client::MembershipServiceClient;
use pb::watch_members_response::Event as Told;

/// Members, as something to watch.
#[derive(Debug, Clone, Copy)]
pub enum Members {}

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

impl Sealed for Members {}

impl Watched for Members {
    type Item = pb::Member;
    type Options = MemberWatchOptions;
    type Key = MemberKey;
    type Response = pb::WatchMembersResponse;

    const CALL: &'static str = "WatchMembers";

    fn open(
        channel: Channel,
        options: &MemberWatchOptions,
        ask: Ask<'_>,
    ) -> Opening<pb::WatchMembersResponse> {
        let request = pb::WatchMembersRequest {
            filter: Some(options.filter.clone()),
            resume_token: ask.token(),
            snapshot_only: ask.is_once(),
            heartbeat_interval: heartbeat(),
            min_interval: min_interval(options.min_interval),
        };
        let mut client = MembershipServiceClient::new(channel);
        Box::pin(async move { client.watch_members(request).await })
    }

    fn read(message: pb::WatchMembersResponse) -> Message<pb::Member> {
        let event = message.event.map(|told| match told {
            Told::SnapshotBegin(begin) => Event::Begin(begin.reason()),
            Told::SnapshotPart(part) => Event::Part(part.members),
            Told::SnapshotEnd(end) => Event::End { count: end.items },
            Told::Resumed(_) => Event::Resumed,
            Told::Delta(delta) => {
                Event::Delta(delta.changes.into_iter().filter_map(step).collect())
            }
            Told::Heartbeat(_) => Event::Heartbeat,
        });
        Message {
            position: message.position,
            token: message.resume_token,
            event,
        }
    }

    fn key(member: &pb::Member) -> MemberKey {
        MemberKey::of(member)
    }
}

fn step(change: pb::MemberChange) -> Option<Step<pb::Member>> {
    let step = match change.kind() {
        pb::MemberChangeKind::Removed => Step::Remove,
        pb::MemberChangeKind::Unspecified
        | pb::MemberChangeKind::Added
        | pb::MemberChangeKind::Updated => Step::Put,
    };
    change.member.map(step)
}
