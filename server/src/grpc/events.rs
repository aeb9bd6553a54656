//! EventService.

mod coalesced;
mod draft;
pub(crate) mod patterns;
pub(crate) mod segments;
pub(crate) mod send;
pub(crate) mod token;
pub(crate) mod watch;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::future::Either;
use muster_proto::v1 as pb;
use muster_proto::v1::event_service_server::EventService;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

use self::coalesced::CoalescedWatch;
use self::patterns::Patterns;
use self::segments::Feeds;
use self::send::{Sender, Sending};
use self::watch::{Ask, EventWatch, Start};
use super::frames::{Opened, Streams};
use super::limits::{DECODE_SLACK_BYTES, EVENT_TOKEN_BYTES_MAX};
use super::metrics::Metrics;
use super::watch::pulse::heartbeat_interval;
use crate::hub::Hub;

/// The service.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) hub: Arc<Hub>,
    pub(crate) sender: Sender,
    pub(crate) feeds: Feeds,
    pub(crate) metrics: Metrics,
}

impl Events {
    fn watch(
        &self,
        request: &pb::WatchEventsRequest,
    ) -> Result<Either<EventWatch, CoalescedWatch>, Status> {
        let start = match (request.resume_token.is_empty(), request.replay_buffered) {
            (false, _) => Start::After(token::decode(&request.resume_token)?),
            (true, true) => Start::Oldest,
            (true, false) => Start::Now,
        };
        let ask = Ask {
            start,
            heartbeat: heartbeat_interval(request.heartbeat_interval)?,
        };
        let patterns = Patterns::compile(&request.names)?;
        let count = self.metrics.deliveries("WatchEvents");
        let counts = (self.metrics.clone(), count);
        let hub = Arc::clone(&self.hub);
        if let Some(coalesce) = &request.coalesce {
            let windows = coalesced::windows(coalesce)?;
            let watch = CoalescedWatch::open(hub, patterns, windows, ask, counts);
            return Ok(Either::Right(watch));
        }
        let feed = self.feeds.of(patterns);
        Ok(Either::Left(EventWatch::open(hub, feed, ask, counts)))
    }
}

impl Streams for Events {
    fn open(self: &Arc<Self>, method: &str, body: Body) -> Opened {
        let limit = EVENT_TOKEN_BYTES_MAX + DECODE_SLACK_BYTES;
        let watch = |events: &Self, request| events.watch(&request);
        match method {
            "WatchEvents" => Opened::stream(self, body, limit, watch),
            _ => Opened::Other(body),
        }
    }
}

type Receipts = Pin<Box<dyn Stream<Item = Result<pb::SendEventResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Events {
    async fn send_event(
        &self,
        request: Request<Streaming<pb::SendEventRequest>>,
    ) -> Result<Response<Receipts>, Status> {
        let sending = Sending::new(request.into_inner(), self.sender.clone());
        Ok(Response::new(Box::pin(sending)))
    }
}
