//! The API of one daemon, over its unix socket, through the generated clients:
//! what a test sees here is what is on the wire, not what a library made of it.

use std::path::Path;
use std::time::Duration;

use muster_proto::v1::event_service_client::EventServiceClient;
use muster_proto::v1::membership_service_client::MembershipServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::resolver_service_client::ResolverServiceClient;
use muster_proto::v1::watch_events_response;
use muster_proto::v1::{
    GetInfoRequest, GetInfoResponse, GetMetricsRequest, Member, ResolveRoleRequest,
    ResolveRoleResponse, SendEventRequest, SendEventResponse, WatchEventsRequest,
    WatchEventsResponse, WatchMembersRequest, WatchMembersResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::{MemberView, wait};

/// Longest wait for one message of a stream.
const MESSAGE: Duration = Duration::from_secs(30);

/// Events that a test may have written ahead of the stream.
const SEND_AHEAD: usize = 64;

/// Clients of all services on one connection.
#[derive(Debug, Clone)]
pub struct Api {
    /// Who is in the cluster.
    pub members: MembershipServiceClient<Channel>,
    /// User events.
    pub events: EventServiceClient<Channel>,
    /// Where a role is served.
    pub resolver: ResolverServiceClient<Channel>,
    /// The daemon itself.
    pub node: NodeServiceClient<Channel>,
    /// The connection, for other services.
    pub channel: Channel,
}

impl Api {
    /// Connects to a socket.
    ///
    /// # Panics
    ///
    /// When nobody accepts there in time.
    pub async fn connect(socket: &Path) -> Self {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))
            .unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        let what = format!("a connection to {}", socket.display());
        let channel = wait::until(&what, wait::SOON, async || endpoint.connect().await).await;
        Self {
            members: MembershipServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel.clone()),
            resolver: ResolverServiceClient::new(channel.clone()),
            node: NodeServiceClient::new(channel.clone()),
            channel,
        }
    }

    /// Every member that the daemon knows, from one snapshot, which is checked.
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    pub async fn list(&mut self) -> Result<Vec<Member>, String> {
        let request = WatchMembersRequest {
            snapshot_only: true,
            ..Default::default()
        };
        let mut stream = self
            .members
            .watch_members(request)
            .await
            .map_err(words)?
            .into_inner();
        let mut view = MemberView::default();
        while let Some(message) = stream.message().await.map_err(words)? {
            view.apply(&message)?;
        }
        if !view.is_complete() {
            return Err("the snapshot ended before its end marker".to_owned());
        }
        Ok(view.members().cloned().collect())
    }

    /// Opens a watch on members.
    ///
    /// # Panics
    ///
    /// When the daemon refuses it.
    pub async fn watch_members(
        &mut self,
        request: WatchMembersRequest,
    ) -> Watch<WatchMembersResponse> {
        let stream = self
            .members
            .watch_members(request)
            .await
            .expect("WatchMembers is refused");
        Watch::new("WatchMembers", stream.into_inner())
    }

    /// Opens a watch on events and takes its first message; the token of `begin`.
    ///
    /// # Panics
    ///
    /// When the daemon refuses it, or begins with anything else.
    pub async fn watch_events(
        &mut self,
        request: WatchEventsRequest,
    ) -> (Watch<WatchEventsResponse>, Vec<u8>) {
        let stream = self
            .events
            .watch_events(request)
            .await
            .expect("WatchEvents is refused");
        let mut watch = Watch::new("WatchEvents", stream.into_inner());
        match watch.next().await.event {
            Some(watch_events_response::Event::Begin(begin)) => (watch, begin.token.to_vec()),
            other => panic!("WatchEvents begins with {other:?}"),
        }
    }

    /// Opens a stream of resolutions.
    ///
    /// # Panics
    ///
    /// When the daemon refuses it.
    pub async fn resolve(&mut self, request: ResolveRoleRequest) -> Watch<ResolveRoleResponse> {
        let stream = self
            .resolver
            .resolve_role(request)
            .await
            .expect("ResolveRole is refused");
        Watch::new("ResolveRole", stream.into_inner())
    }

    /// Opens a stream to send events on.
    ///
    /// # Panics
    ///
    /// When the daemon refuses it.
    pub async fn sender(&mut self) -> EventSender {
        let (requests, outgoing) = mpsc::channel(SEND_AHEAD);
        let stream = self
            .events
            .send_event(ReceiverStream::new(outgoing))
            .await
            .expect("SendEvent is refused");
        EventSender {
            requests,
            receipts: Watch::new("SendEvent", stream.into_inner()),
        }
    }

    /// What the daemon says about itself.
    ///
    /// # Panics
    ///
    /// When it says nothing.
    pub async fn info(&mut self) -> GetInfoResponse {
        self.node
            .get_info(GetInfoRequest {})
            .await
            .expect("GetInfo fails")
            .into_inner()
    }

    /// The value of a metric, summed over its labels; 0 if there is none.
    ///
    /// # Panics
    ///
    /// When the daemon gives no metrics.
    pub async fn metric(&mut self, name: &str) -> f64 {
        let answer = self
            .node
            .get_metrics(GetMetricsRequest {})
            .await
            .expect("GetMetrics fails");
        metric_sum(&answer.into_inner().text, name)
    }
}

/// The two halves of a `SendEvent` call.
#[derive(Debug)]
pub struct EventSender {
    /// Events to send; dropping it half-closes the call.
    pub requests: mpsc::Sender<SendEventRequest>,
    /// Receipts.
    pub receipts: Watch<SendEventResponse>,
}

/// A server stream, read with a deadline for each message.
#[derive(Debug)]
pub struct Watch<T> {
    what: &'static str,
    stream: Streaming<T>,
}

impl<T> Watch<T> {
    /// Reads this stream; `what` is for messages.
    #[must_use]
    pub fn new(what: &'static str, stream: Streaming<T>) -> Self {
        Self { what, stream }
    }

    /// The next message.
    ///
    /// # Panics
    ///
    /// When none comes in time, or the stream ends.
    pub async fn next(&mut self) -> T {
        match self.try_next().await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("{} ended", self.what),
            Err(status) => panic!("{} failed: {status:?}", self.what),
        }
    }

    /// The next message, the end, or how the stream failed.
    ///
    /// # Errors
    ///
    /// The status that ended the stream.
    ///
    /// # Panics
    ///
    /// When nothing comes in time.
    pub async fn try_next(&mut self) -> Result<Option<T>, tonic::Status> {
        tokio::time::timeout(MESSAGE, self.stream.message())
            .await
            .unwrap_or_else(|_elapsed| panic!("{} was silent for {MESSAGE:?}", self.what))
    }
}

/// A status in words.
fn words(status: tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Sums the samples of one metric in an OpenMetrics text.
fn metric_sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let bare = series.split('{').next()?;
            if bare == name {
                value.parse::<f64>().ok()
            } else {
                None
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_metric_are_summed_over_labels() {
        let text = "# HELP a_total x\n# TYPE a_total counter\n\
                    a_total{why=\"x\"} 2\na_total{why=\"y z\"} 3\na_total_created 9\nb 1\n# EOF\n";
        assert!((metric_sum(text, "a_total") - 5.0).abs() < f64::EPSILON);
        assert!(metric_sum(text, "c").abs() < f64::EPSILON);
    }
}
