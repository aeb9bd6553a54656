//! Reports on their way: calls to the origin, and what it does with them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::Origin;
use muster_proto::peer as pb;
use pb::event_peer_service_client::EventPeerServiceClient;
use pb::event_peer_service_server::{EventPeerService, EventPeerServiceServer};
use tonic::{Request, Response, Status};

use super::Deliveries;
use super::report::{Courier, REPORT_SEQUENCES_MAX};
use crate::hub::Hub;
use crate::peers::{Caller, Peers};

/// How long a report may take, connecting included.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports by calls between peers.
#[derive(Debug)]
pub struct Post {
    hub: Arc<Hub>,
    peers: Peers,
}

impl Post {
    /// `hub` tells where the origins are.
    #[must_use]
    pub fn new(hub: Arc<Hub>, peers: Peers) -> Self {
        Self { hub, peers }
    }
}

impl Courier for Post {
    fn report(
        &self,
        origin: Origin,
        sequences: Vec<u64>,
    ) -> BoxFuture<'static, Result<(), String>> {
        let member = self.hub.member(&origin.name);
        let Some(member) = member.filter(|member| member.value.boot == origin.boot) else {
            let gone = Err(format!("{origin} runs no more"));
            return std::future::ready(gone).boxed();
        };
        let channel = self.peers.channel(member.value.addr);
        async move {
            let mut client = EventPeerServiceClient::new(channel);
            let boot = origin.boot;
            let report = client.report_delivered(pb::ReportDeliveredRequest { boot, sequences });
            match tokio::time::timeout(REPORT_TIMEOUT, report).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(status)) => Err(status.message().to_owned()),
                Err(_) => Err(format!("no answer in {} s", REPORT_TIMEOUT.as_secs())),
            }
        }
        .boxed()
    }
}

/// Takes reports in.
#[derive(Debug)]
pub struct Counter(Arc<Deliveries>);

/// The service that an origin serves to its peers.
#[must_use]
pub fn service(deliveries: Arc<Deliveries>) -> EventPeerServiceServer<Counter> {
    EventPeerServiceServer::new(Counter(deliveries))
}

#[tonic::async_trait]
impl EventPeerService for Counter {
    async fn report_delivered(
        &self,
        request: Request<pb::ReportDeliveredRequest>,
    ) -> Result<Response<pb::ReportDeliveredResponse>, Status> {
        let caller = Caller::of(&request)?;
        let report = request.into_inner();
        if report.sequences.len() > REPORT_SEQUENCES_MAX {
            let message = format!("at most {REPORT_SEQUENCES_MAX} sequences are allowed");
            return Err(Status::invalid_argument(message));
        }
        // Of two live nodes of one name, the one that holds the name counts.
        let known = self.0.hub().member(&caller.name);
        if known.is_some_and(|member| member.value.boot == caller.boot) {
            self.0.report(&caller.name, report.boot, &report.sequences);
        }
        Ok(Response::new(pb::ReportDeliveredResponse {}))
    }
}
