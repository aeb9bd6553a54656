//! QueryService.

mod serving;

use futures_util::{StreamExt as _, stream};
use muster_proto::v1 as pb;
use pb::query_response::Event;
use pb::query_service_server::QueryService;
use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use self::serving::Serving;
use super::convert::timestamp;
use super::status::{self, invalid};
use crate::queries::{Answered, Ask, AskError, Asker, QueryId, Responders};

/// Asks and answers: what the daemon gives to the API.
#[derive(Debug, Clone)]
pub struct Queries {
    /// Asks.
    pub asker: Asker,
    /// Those who answer.
    pub responders: Responders,
}

#[tonic::async_trait]
impl QueryService for Queries {
    async fn query(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> Result<Response<BoxStream<pb::QueryResponse>>, Status> {
        let asking = self.asker.ask(ask(request.into_inner())?).await?;
        let told = asking.map(|answered| Ok(response(answered)));
        Ok(Response::new(Box::pin(told)))
    }

    async fn serve_queries(
        &self,
        request: Request<Streaming<pb::ServeQueriesRequest>>,
    ) -> Result<Response<BoxStream<pb::ServeQueriesResponse>>, Status> {
        let serving = Serving::open(request.into_inner(), &self.responders).await?;
        let queries = stream::unfold(Some(serving), |serving| async move {
            let mut serving = serving?;
            match serving.next().await? {
                Ok(query) => Some((Ok(query), Some(serving))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(queries)))
    }
}

fn ask(request: pb::QueryRequest) -> Result<Ask, Status> {
    let timeout = match request.timeout {
        None => None,
        Some(given) => Some(
            std::time::Duration::try_from(given)
                .map_err(|error| invalid("BAD_TIMEOUT", "timeout", error))?,
        ),
    };
    Ok(Ask {
        name: request.name,
        payload: request.payload,
        target: request.target.unwrap_or_default(),
        timeout,
        want_ack: request.request_acks,
    })
}

impl From<AskError> for Status {
    fn from(error: AskError) -> Self {
        match error {
            AskError::BadName(error) => invalid("BAD_NAME", "name", error),
            AskError::Reserved(_) => {
                let message = "only `_muster_ping` of the reserved names may be asked";
                invalid("BAD_NAME", "name", message)
            }
            AskError::BadTarget(error) => error.into(),
            AskError::BadTimeout => {
                let message = "must be from 1ms to 10m";
                invalid("BAD_TIMEOUT", "timeout", message)
            }
            error @ (AskError::TooMany | AskError::NotSent) => {
                status::exhausted("TOO_MANY_QUERIES", error)
            }
            AskError::Engine(error) => error.into(),
        }
    }
}

fn response(answered: Answered) -> pb::QueryResponse {
    let event = match answered {
        Answered::Started {
            id,
            expected,
            deadline,
        } => Event::Started(pb::QueryStarted {
            id: Some(event_id(&id)),
            expected: names(&expected),
            deadline: Some(on_the_wall(deadline)),
        }),
        Answered::Ack { member } => Event::Ack(pb::QueryAck {
            member: member.to_string(),
        }),
        Answered::Answer {
            member,
            result,
            truncated,
        } => Event::Answer(pb::QueryAnswer {
            member: member.to_string(),
            result: Some(match result {
                Ok(payload) => pb::query_answer::Result::Payload(payload),
                Err(error) => pb::query_answer::Result::Error(error),
            }),
            truncated,
        }),
        Answered::Done {
            acks,
            answers,
            silent,
            unfinished,
        } => Event::Done(pb::QueryDone {
            acks: u32::try_from(acks).unwrap_or(u32::MAX),
            answers: u32::try_from(answers).unwrap_or(u32::MAX),
            silent: names(&silent),
            unfinished: names(&unfinished),
        }),
    };
    pb::QueryResponse { event: Some(event) }
}

fn names(names: &[std::sync::Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn event_id(id: &QueryId) -> pb::EventId {
    pb::EventId {
        origin: id.origin.to_string(),
        boot: id.boot,
        sequence: id.sequence,
    }
}

fn on_the_wall(at: Instant) -> Timestamp {
    let left = at.saturating_duration_since(Instant::now());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let at = now.unwrap_or_default() + left;
    timestamp(u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
}
