//! MembershipService.

use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{Member, MemberKey};
use muster_proto::v1 as pb;
use muster_proto::v1::membership_service_server::MembershipService;
use pb::watch_members_response::Event;
use std::time::Duration;
use tonic::body::Body;
use tonic::{Request, Response, Status};

use super::convert;
use super::frames::{self, Opened, Streams};
use super::metrics::Metrics;
use super::status::{invalid, member_not_found};
use super::watch::group::{Source, Views};
use super::watch::pulse::{heartbeat_interval, min_interval};
use super::watch::stream::{Ask, Watch};
use super::watch::{ChangeKind, Part, Watched};
use crate::filter::Filter;
use crate::hub::Hub;
use crate::hub::store::Entry;

/// Members as watches see them.
#[derive(Debug)]
pub(crate) struct Members;

impl Watched for Members {
    const KIND: &'static [u8] = b"";
    type Key = MemberKey;
    type Value = Member;
    type Filter = Filter;
    type Item = pb::Member;

    fn key(filter: &Filter) -> &[u8] {
        filter.key()
    }

    fn matches(filter: &Filter, member: &Member) -> bool {
        filter.matches(member)
    }

    fn item(entry: &Entry<Member>) -> pb::Member {
        convert::member(entry)
    }

    fn message(position: pb::Position, resume_token: String, part: Part<pb::Member>) -> Bytes {
        let event = match part {
            Part::Begin(begin) => Event::SnapshotBegin(begin),
            Part::Items(members) => Event::SnapshotPart(pb::MemberList { members }),
            Part::End(end) => Event::SnapshotEnd(end),
            Part::Resumed => Event::Resumed(pb::Resumed {}),
            Part::Heartbeat => Event::Heartbeat(pb::Heartbeat {}),
            Part::Delta(items) => {
                let change = |(kind, member)| pb::MemberChange {
                    kind: change_kind(kind).into(),
                    member: Some(member),
                };
                let changes = items.into_iter().map(change).collect();
                Event::Delta(pb::MemberDelta { changes })
            }
        };
        frames::framed(&pb::WatchMembersResponse {
            position: Some(position),
            resume_token,
            event: Some(event),
        })
    }
}

const fn change_kind(kind: ChangeKind) -> pb::MemberChangeKind {
    match kind {
        ChangeKind::Added => pb::MemberChangeKind::Added,
        ChangeKind::Updated => pb::MemberChangeKind::Updated,
        ChangeKind::Removed => pb::MemberChangeKind::Removed,
    }
}

/// The members of a hub.
pub(crate) fn source(hub: &Hub) -> Source<'_, Members> {
    Source {
        epoch: hub.epoch(),
        store: hub.members(),
    }
}

/// The service.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) hub: Arc<Hub>,
    pub(crate) views: Arc<Views<Members>>,
    pub(crate) metrics: Metrics,
    pub(crate) decode_max: usize,
}

impl Membership {
    fn watch(&self, request: pb::WatchMembersRequest) -> Result<Watch<Members>, Status> {
        let ask = Ask {
            token: request.resume_token,
            once: request.snapshot_only,
            heartbeat: heartbeat_interval(request.heartbeat_interval)?,
            pause: min_interval(request.min_interval, Duration::ZERO)?,
        };
        let filter = Filter::compile(request.filter.unwrap_or_default())?;
        let view = self.views.of(filter);
        let count = self.metrics.deliveries("WatchMembers");
        let counts = (self.metrics.clone(), count);
        Watch::open(Arc::clone(&self.hub), source, view, ask, counts)
    }
}

impl Streams for Membership {
    fn open(self: &Arc<Self>, method: &str, body: Body) -> Opened {
        match method {
            "WatchMembers" => Opened::stream(self, body, self.decode_max, Self::watch),
            _ => Opened::Other(body),
        }
    }
}

#[tonic::async_trait]
impl MembershipService for Membership {
    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        let name = request.into_inner().name;
        check_member_name("name", &name)?;
        let revision = self.hub.members().revision();
        let member = self.hub.member(&name);
        let member = member.ok_or_else(|| member_not_found(&name))?;
        Ok(Response::new(pb::GetMemberResponse {
            member: Some(convert::member(&member)),
            position: Some(position(&self.hub, revision)),
        }))
    }
}

/// A position in this daemon's view.
pub(crate) fn position(hub: &Hub, revision: u64) -> pb::Position {
    pb::Position {
        epoch: hub.epoch().to_owned(),
        revision,
    }
}

/// Checks what is given as a member's name: a name, or an alias `NAME~<8 hex>`.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn check_member_name(field: &str, given: &str) -> Result<(), Status> {
    let (name, mark) = given.split_once('~').unwrap_or((given, "00000000"));
    let formed = mark.len() == 8 && mark.bytes().all(|b| b.is_ascii_hexdigit());
    if !formed {
        let message = format!("{given:?} is neither a name nor an alias NAME~<8 hex digits>");
        return Err(invalid("BAD_NAME", field, message));
    }
    muster_engine::name::check_name(name).map_err(|error| invalid("BAD_NAME", field, error))
}
