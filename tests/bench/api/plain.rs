//! The peer: the same messages from a server as anybody would write it with tonic,
//! prost and a broadcast channel.

use std::path::Path;
use std::pin::Pin;

use anyhow::Context as _;
use muster_proto::v1 as pb;
use pb::event_service_server::{EventService, EventServiceServer};
use pb::membership_service_server::{MembershipService, MembershipServiceServer};
use pb::watch_events_response::Event as Update;
use pb::watch_members_response::Event as MemberEvent;
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::server::MEMBER;
use super::snapshot;

/// First argument of the process that serves.
pub(crate) const ROLE: &str = "plain-tonic-server";

/// Events that the channel holds; a watcher further behind loses some.
const CHANNEL_EVENTS: usize = 16_384;

/// Members in one message of a snapshot.
const PART_MEMBERS: usize = 400;

/// Serves on the socket in the arguments until it is killed.
pub(crate) fn main(args: &[String]) -> anyhow::Result<()> {
    let socket = args.get(1).context("no socket")?;
    // As many threads as the daemon's API has by default.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(Path::new(socket)))
}

async fn serve(socket: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let plain = Plain {
        events: broadcast::Sender::new(CHANNEL_EVENTS),
    };
    tonic::transport::Server::builder()
        .add_service(EventServiceServer::new(plain.clone()))
        .add_service(MembershipServiceServer::new(plain))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await?;
    Ok(())
}

#[derive(Debug, Clone)]
struct Plain {
    events: broadcast::Sender<pb::WatchEventsResponse>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Plain {
    async fn send_event(
        &self,
        request: Request<Streaming<pb::SendEventRequest>>,
    ) -> Result<Response<Answers<pb::SendEventResponse>>, Status> {
        let events = self.events.clone();
        let mut number = 0;
        let receipts = request.into_inner().map(move |sent| {
            let sent = sent?;
            number += 1;
            let id = pb::EventId {
                origin: MEMBER.to_owned(),
                boot: 1,
                sequence: number,
            };
            let event = pb::Event {
                id: Some(id.clone()),
                name: sent.name,
                payload: sent.payload,
                lamport_time: number,
                received_at: Some(std::time::SystemTime::now().into()),
                ..pb::Event::default()
            };
            let event = Some(Update::Item(event));
            // Nobody watches: nobody is told.
            events.send(pb::WatchEventsResponse { event }).ok();
            let accepted = pb::EventAccepted {
                id: Some(id),
                lamport_time: number,
            };
            Ok(pb::SendEventResponse {
                sequence: sent.sequence,
                receipt: Some(pb::send_event_response::Receipt::Accepted(accepted)),
            })
        });
        Ok(Response::new(Box::pin(receipts)))
    }

    async fn watch_events(
        &self,
        _request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Answers<pb::WatchEventsResponse>>, Status> {
        let begin = pb::WatchEventsResponse {
            event: Some(Update::Begin(pb::EventBegin::default())),
        };
        let events = BroadcastStream::new(self.events.subscribe());
        let lagged = |_| Status::resource_exhausted("fell behind");
        let stream = tokio_stream::once(Ok(begin)).chain(events.map(move |e| e.map_err(lagged)));
        Ok(Response::new(Box::pin(stream)))
    }
}

fn member(name: String) -> pb::Member {
    let now = prost_types::Timestamp::from(std::time::SystemTime::now());
    pb::Member {
        name,
        status: pb::MemberStatus::Alive.into(),
        gossip_ip: "127.0.0.1".to_owned(),
        gossip_port: 7946,
        started_at: Some(now),
        updated_at: Some(now),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..pb::Member::default()
    }
}

#[tonic::async_trait]
impl MembershipService for Plain {
    /// A snapshot and no more.
    async fn watch_members(
        &self,
        _request: Request<pb::WatchMembersRequest>,
    ) -> Result<Response<Answers<pb::WatchMembersResponse>>, Status> {
        let members: Vec<pb::Member> = (0..snapshot::PLAIN_MEMBERS)
            .map(|number| member(format!("node-{number}")))
            .collect();
        let parts = members.chunks(PART_MEMBERS).map(|members| {
            let members = members.to_vec();
            MemberEvent::SnapshotPart(pb::MemberList { members })
        });
        let begin = MemberEvent::SnapshotBegin(pb::SnapshotBegin::default());
        let end = MemberEvent::SnapshotEnd(pb::SnapshotEnd::default());
        let all: Vec<_> = std::iter::once(begin)
            .chain(parts)
            .chain([end])
            .map(|event| {
                Ok(pb::WatchMembersResponse {
                    event: Some(event),
                    ..pb::WatchMembersResponse::default()
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(all))))
    }

    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        let answer = pb::GetMemberResponse {
            member: Some(member(request.into_inner().name)),
            position: Some(pb::Position::default()),
        };
        Ok(Response::new(answer))
    }
}
