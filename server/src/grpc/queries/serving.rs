//! One ServeQueries call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1 as pb;
use pb::serve_queries_request::Message as Sent;
use pb::serve_queries_response::Message;
use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::event_id;
use crate::grpc::convert::timestamp;
use crate::grpc::limits::{JOBS_OUTSTANDING_MAX, REPLY_MESSAGE_BYTES_MAX};
use crate::grpc::status::{self, invalid};
use crate::queries::responders::RespondError;
use crate::queries::{Answer, Job, Patterns, QueryId, Responder, Responders};

/// How often a call whose client owes replies looks for those that nobody wants any
/// more.
const TIDY: Duration = Duration::from_secs(1);

/// What the client said: a message, the end, or something that cannot be read.
type Heard = Result<Option<pb::ServeQueriesRequest>, Status>;

/// A client that answers queries.
#[derive(Debug)]
pub(super) struct Serving {
    replies: Streaming<pb::ServeQueriesRequest>,
    responder: Responder,
    /// Handed out, not answered.
    jobs: BTreeMap<QueryId, Job>,
    /// A registration is to be confirmed.
    registered: bool,
}

enum Wake {
    Heard(Heard),
    Job(Job),
    Tidy,
}

impl Serving {
    /// Waits for the registration.
    pub(super) async fn open(
        mut replies: Streaming<pb::ServeQueriesRequest>,
        responders: &Responders,
    ) -> Result<Self, Status> {
        let first = replies.message().await.map_err(told)?;
        let Some(Sent::Registration(names)) = first.and_then(|first| first.message) else {
            let message = "the first message must be a registration";
            return Err(invalid("NOT_REGISTERED", "registration", message));
        };
        let patterns = Patterns::new(names.names)?;
        let responder = responders.serve(patterns, "a client of ServeQueries")?;
        Ok(Self {
            replies,
            responder,
            jobs: BTreeMap::new(),
            registered: true,
        })
    }

    /// The next message for the client; none once it is done.
    pub(super) async fn next(&mut self) -> Option<Result<pb::ServeQueriesResponse, Status>> {
        loop {
            if std::mem::take(&mut self.registered) {
                return Some(Ok(response(Message::Registered(pb::QueryRegistered {}))));
            }
            match self.wake().await {
                Wake::Heard(Ok(Some(message))) => {
                    if let Err(status) = self.take(message) {
                        return Some(Err(status));
                    }
                }
                Wake::Heard(Ok(None)) => return None,
                Wake::Heard(Err(status)) => return Some(Err(told(status))),
                Wake::Job(job) if job.is_unwanted() => {}
                Wake::Job(job) => return Some(Ok(self.hand_out(job))),
                Wake::Tidy => self.jobs.retain(|_, job| !job.is_unwanted()),
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let room = self.jobs.len() < JOBS_OUTSTANDING_MAX;
        tokio::select! {
            heard = self.replies.message() => Wake::Heard(heard),
            job = self.responder.next(), if room => Wake::Job(job),
            () = sleep(TIDY), if !self.jobs.is_empty() => Wake::Tidy,
        }
    }

    fn take(&mut self, message: pb::ServeQueriesRequest) -> Result<(), Status> {
        match message.message {
            Some(Sent::Registration(names)) => {
                self.responder.rename(Patterns::new(names.names)?);
                self.registered = true;
            }
            Some(Sent::Reply(reply)) => self.reply(reply),
            // A kind of message of a later version.
            None => {}
        }
        Ok(())
    }

    fn reply(&mut self, reply: pb::QueryReply) {
        let id = reply.id.unwrap_or_default();
        let id = QueryId {
            origin: Arc::from(id.origin),
            boot: id.boot,
            sequence: id.sequence,
        };
        // One about a query that is over is dropped.
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let truncated = reply.truncated;
        let _heard = match reply.result {
            Some(pb::query_reply::Result::Payload(payload)) => {
                job.answer(Ok(Answer { payload, truncated }))
            }
            Some(pb::query_reply::Result::Error(error)) => job.answer(Err(error)),
            None => {
                job.pass();
                true
            }
        };
    }

    fn hand_out(&mut self, job: Job) -> pb::ServeQueriesResponse {
        let query = &job.query;
        let message = Message::Query(pb::IncomingQuery {
            id: Some(event_id(&query.id)),
            name: query.name.clone(),
            payload: query.payload.clone(),
            lamport_time: query.lamport,
            deadline: Some(timestamp(query.deadline_unix_ms)),
        });
        self.jobs.insert(query.id.clone(), job);
        response(message)
    }
}

fn response(message: Message) -> pb::ServeQueriesResponse {
    pb::ServeQueriesResponse {
        message: Some(message),
    }
}

fn told(error: Status) -> Status {
    status::undecodable(error, REPLY_MESSAGE_BYTES_MAX)
}

impl From<RespondError> for Status {
    fn from(error: RespondError) -> Self {
        match error {
            RespondError::TooMany => status::exhausted("TOO_MANY_HANDLERS", error),
            RespondError::NoNames | RespondError::TooManyNames(_) => {
                invalid("BAD_NAMES", "names", error)
            }
            RespondError::BadName { .. } => invalid("BAD_NAME", "names", error),
        }
    }
}
