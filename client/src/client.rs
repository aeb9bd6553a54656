//! The calls.

use std::collections::BTreeMap;

use bytes::Bytes;
use tonic::Status;
use tonic::transport::Channel;

use crate::connect;
use crate::error::Error;
use crate::event_watch::{EventWatch, EventWatchOptions};
use crate::pb;
use crate::pb::container_service_client::ContainerServiceClient;
use crate::pb::membership_service_client::MembershipServiceClient;
use crate::pb::node_service_client::NodeServiceClient;
use crate::pb::resolver_service_client::ResolverServiceClient;
use crate::query::{self, Query, QueryAnswers, QueryHandler};
use crate::role_watch::{RoleWatch, RolesWatch};
use crate::send::{self, EventSender, Outcome, Receipts};
use crate::socket::SocketPath;
use crate::watch::{
    self, ContainerWatch, ContainerWatchOptions, Containers, List, MemberWatch, MemberWatchOptions,
    Members,
};

/// Largest answer that is read: the metrics of a busy daemon, a member with full tags.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A daemon on this host. Cheap to clone; clones share one connection, which is made
/// at the first call and again whenever it is gone.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    socket: SocketPath,
}

/// Lines of the daemon's log. Made by [`Client::tail_logs`].
#[derive(Debug)]
pub struct LogTail {
    stream: tonic::Streaming<pb::TailLogsResponse>,
}

impl LogTail {
    const CALL: &'static str = "TailLogs";

    /// The next line, or `None` at the end of what was asked for. Cancel-safe.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn next(&mut self) -> Result<Option<pb::TailLogsResponse>, Error> {
        let message = self.stream.message().await;
        message.map_err(|status| Error::of_call(Self::CALL, status))
    }
}

impl Client {
    /// A client of the daemon on `socket`. Connects at the first call, so a daemon that
    /// is not there shows as an error of that call. Must be called inside a tokio runtime.
    #[must_use]
    pub fn connect(socket: &SocketPath) -> Self {
        Self {
            channel: connect::channel(socket),
            socket: socket.clone(),
        }
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &SocketPath {
        &self.socket
    }

    /// The channel, for the generated clients in [`pb`] and for other services.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Watches members: a snapshot, then every change; reconnects by itself.
    #[must_use]
    pub fn watch_members(&self, options: MemberWatchOptions) -> MemberWatch {
        MemberWatch::new(self.channel(), options)
    }

    /// Lists members.
    ///
    /// # Errors
    /// Bad filter, or the daemon cannot be reached.
    pub async fn members(&self, filter: pb::MemberFilter) -> Result<List<pb::Member>, Error> {
        let options = MemberWatchOptions {
            filter,
            ..MemberWatchOptions::default()
        };
        watch::list::<Members>(self.channel(), &options).await
    }

    /// Watches the containers of all nodes: a snapshot, then every change; reconnects by
    /// itself.
    #[must_use]
    pub fn watch_containers(&self, options: ContainerWatchOptions) -> ContainerWatch {
        ContainerWatch::new(self.channel(), options)
    }

    /// Lists containers.
    ///
    /// # Errors
    /// Bad filter, or the daemon cannot be reached.
    pub async fn containers(
        &self,
        options: &ContainerWatchOptions,
    ) -> Result<List<pb::Container>, Error> {
        watch::list::<Containers>(self.channel(), options).await
    }

    /// All that the engine says of one container, from the node that owns it: `NAME`,
    /// `NAME@NODE`, `NODE/NAME`, an id or at least its first 4 digits.
    ///
    /// # Errors
    /// `NOT_FOUND`, `FAILED_PRECONDITION` (several could be meant), `INVALID_ARGUMENT`,
    /// `UNAVAILABLE` (the owner cannot be reached), or the daemon cannot be reached.
    pub async fn inspect_container(
        &self,
        container: &str,
        node: &str,
    ) -> Result<pb::InspectContainerResponse, Error> {
        let request = pb::InspectContainerRequest {
            container: container.to_owned(),
            node: node.to_owned(),
        };
        let client = ContainerServiceClient::new(self.channel());
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        unary("InspectContainer", client.inspect_container(request).await)
    }

    /// One member by name or alias.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_ARGUMENT`, or the daemon cannot be reached.
    pub async fn get_member(&self, name: &str) -> Result<pb::Member, Error> {
        let request = pb::GetMemberRequest { name: name.into() };
        let mut client = MembershipServiceClient::new(self.channel());
        let answer = client.get_member(request).await;
        let answer = unary("GetMember", answer)?;
        answer
            .member
            .ok_or_else(|| Error::protocol("GetMember", "an answer without a member"))
    }

    /// The endpoints of a role now. An unknown role is an empty set.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, or the daemon cannot be reached.
    pub async fn resolve(&self, request: pb::ResolveRoleRequest) -> Result<pb::EndpointSet, Error> {
        const CALL: &str = "ResolveRole";
        let request = pb::ResolveRoleRequest {
            once: true,
            ..request
        };
        let mut client = ResolverServiceClient::new(self.channel());
        let mut stream = unary(CALL, client.resolve_role(request).await)?;
        let failed = |status| Error::of_call(CALL, status);
        while let Some(message) = stream.message().await.map_err(failed)? {
            if let Some(pb::resolve_role_response::Event::Set(set)) = message.event {
                return Ok(set);
            }
        }
        Err(Error::Ended { call: CALL })
    }

    /// Watches the endpoints of a role; reconnects by itself.
    #[must_use]
    pub fn watch_role(&self, request: pb::ResolveRoleRequest) -> RoleWatch {
        RoleWatch::new(self.channel(), request)
    }

    /// All roles now, by name.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn roles(&self) -> Result<Vec<pb::RoleSummary>, Error> {
        const CALL: &str = "WatchRoles";
        let request = pb::WatchRolesRequest {
            once: true,
            heartbeat_interval: None,
        };
        let mut client = ResolverServiceClient::new(self.channel());
        let mut stream = unary(CALL, client.watch_roles(request).await)?;
        let message = stream.message().await;
        match message.map_err(|status| Error::of_call(CALL, status))? {
            Some(message) => Ok(message.roles),
            None => Err(Error::Ended { call: CALL }),
        }
    }

    /// Watches the list of roles; reconnects by itself.
    #[must_use]
    pub fn watch_roles(&self) -> RolesWatch {
        RolesWatch::new(self.channel())
    }

    /// Watches events: each one once or covered by a gap; reconnects and resumes by itself.
    #[must_use]
    pub fn watch_events(&self, options: EventWatchOptions) -> EventWatch {
        EventWatch::new(self.channel(), options)
    }

    /// Opens a stream to send events over. Read [`Receipts`] while sending.
    #[must_use]
    pub fn send_events(&self, level: pb::ReceiptLevel) -> (EventSender, Receipts) {
        send::open(self.channel(), level)
    }

    /// Sends one event and waits for its last receipt.
    ///
    /// # Errors
    /// The stream broke. A refused event is no error but [`Outcome::Rejected`].
    pub async fn send_event(
        &self,
        name: &str,
        payload: impl Into<Bytes>,
        level: pb::ReceiptLevel,
    ) -> Result<Outcome, Error> {
        let (mut sender, mut receipts) = self.send_events(level);
        sender.send(name, payload).await?;
        drop(sender);
        match receipts.next_final().await? {
            Some(receipt) => Ok(receipt.outcome),
            None => Err(Error::Ended { call: "SendEvent" }),
        }
    }

    /// Asks members, and streams what they answer.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, too many queries at once, or the daemon cannot be reached.
    pub async fn query(&self, query: Query) -> Result<QueryAnswers, Error> {
        query::ask(self.channel(), query).await
    }

    /// Answers queries of these names (exact, or prefixes with a final `*`) from now on.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `PERMISSION_DENIED`, or the daemon cannot be reached.
    pub async fn serve_queries(&self, names: Vec<String>) -> Result<QueryHandler, Error> {
        query::serve(self.channel(), names).await
    }

    /// What the daemon says about itself.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn info(&self) -> Result<pb::GetInfoResponse, Error> {
        let answer = self.node().get_info(pb::GetInfoRequest {}).await;
        unary("GetInfo", answer)
    }

    /// The daemon's metrics as OpenMetrics text.
    ///
    /// # Errors
    /// The daemon cannot be reached.
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.node().get_metrics(pb::GetMetricsRequest {}).await;
        unary("GetMetrics", answer).map(|answer| answer.text)
    }

    /// Contacts addresses (1 to 64) and merges with who answers.
    ///
    /// # Errors
    /// `UNAVAILABLE` when nobody answered: the text names each address and why.
    pub async fn join(&self, addresses: Vec<String>) -> Result<pb::JoinResponse, Error> {
        let answer = self.node().join(pb::JoinRequest { addresses }).await;
        unary("Join", answer)
    }

    /// Leaves the cluster gracefully; the daemon then exits unless `stay` is set.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` when it has left before.
    pub async fn leave(&self, stay: bool) -> Result<(), Error> {
        let answer = self.node().leave(pb::LeaveRequest { stay }).await;
        unary("Leave", answer).map(|_| ())
    }

    /// Turns a failed member into a left one everywhere, or with `prune` forgets it.
    /// Returns its state after the call, if there is one.
    ///
    /// # Errors
    /// `NOT_FOUND`, or `FAILED_PRECONDITION` when it is alive.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<Option<pb::Member>, Error> {
        let request = pb::ForceLeaveRequest {
            name: name.into(),
            prune,
        };
        let answer = self.node().force_leave(request).await;
        unary("ForceLeave", answer).map(|answer| answer.member)
    }

    /// Changes the tags of this node: its own entry after the change.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: key, value or total size.
    pub async fn update_tags(
        &self,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<pb::Member, Error> {
        let request = pb::UpdateTagsRequest { set, remove };
        let answer = unary("UpdateTags", self.node().update_tags(request).await)?;
        answer
            .self_
            .ok_or_else(|| Error::protocol("UpdateTags", "an answer without a member"))
    }

    /// Estimated round trip time from a member to another one, or to this node.
    ///
    /// # Errors
    /// `NOT_FOUND`, or `FAILED_PRECONDITION` when a coordinate is not known.
    pub async fn round_trip(
        &self,
        member: &str,
        other: Option<&str>,
    ) -> Result<pb::GetRoundTripResponse, Error> {
        let request = pb::GetRoundTripRequest {
            member: member.into(),
            other: other.unwrap_or_default().into(),
        };
        unary("GetRoundTrip", self.node().get_round_trip(request).await)
    }

    /// Why a member is shown as it is.
    ///
    /// # Errors
    /// `NOT_FOUND`: no such member.
    pub async fn explain(&self, name: &str) -> Result<pb::ExplainMemberResponse, Error> {
        let request = pb::ExplainMemberRequest { name: name.into() };
        unary("ExplainMember", self.node().explain_member(request).await)
    }

    /// Changes what the daemon logs until it restarts: the filter before.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: no filter.
    pub async fn set_log_filter(&self, filter: &str) -> Result<String, Error> {
        let request = pb::SetLogFilterRequest {
            filter: filter.into(),
        };
        let answer = self.node().set_log_filter(request).await;
        unary("SetLogFilter", answer).map(|answer| answer.previous)
    }

    /// Makes the daemon read its configuration again, as SIGHUP does: what changed.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`: mistakes, one a line; nothing changed.
    pub async fn reload(&self) -> Result<pb::ReloadResponse, Error> {
        unary("Reload", self.node().reload(pb::ReloadRequest {}).await)
    }

    /// Follows the log of the daemon: one stream, which ends with the daemon.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, or the daemon cannot be reached.
    pub async fn tail_logs(&self, request: pb::TailLogsRequest) -> Result<LogTail, Error> {
        let stream = unary(LogTail::CALL, self.node().tail_logs(request).await)?;
        Ok(LogTail { stream })
    }

    fn node(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

fn unary<T>(call: &'static str, answer: Result<tonic::Response<T>, Status>) -> Result<T, Error> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(Error::of_call(call, status)),
    }
}
