//! Asking queries, and answering them.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::error::Error;
use crate::pb;
use crate::pb::query_service_client::QueryServiceClient;
use pb::query_response::Event;
use pb::serve_queries_request::Message as Sent;
use pb::serve_queries_response::Message as Received;

const ASK: &str = "Query";
const SERVE: &str = "ServeQueries";

/// Replies handed over and not yet taken by the connection. When full, answering waits.
const QUEUE_REPLIES: usize = 16;

/// Largest message: an answer of 1 MiB and what stands beside it.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// A question to members. Defaults: all live members, the daemon's usual timeout, no
/// acknowledgements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Its name.
    pub name: String,
    /// Opaque.
    pub payload: Bytes,
    /// Whom to ask; an empty filter asks every live member.
    pub target: pb::MemberFilter,
    /// How long to wait for answers: 1 ms to 10 min.
    pub timeout: Option<Duration>,
    /// Also tell who got it.
    pub acks: bool,
}

/// What comes back for one question. Dropping it gives the question up.
#[derive(Debug)]
pub struct QueryAnswers {
    stream: Streaming<pb::QueryResponse>,
    done: bool,
}

/// A handler of queries. Dropping it, and every [`Replier`], ends it: queries without a
/// reply are then answered with an error.
#[derive(Debug)]
pub struct QueryHandler {
    stream: Streaming<pb::ServeQueriesResponse>,
    replier: Replier,
}

/// Answers queries of a [`QueryHandler`], from any task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replier {
    sent: mpsc::Sender<pb::ServeQueriesRequest>,
}

pub(crate) async fn ask(channel: Channel, query: Query) -> Result<QueryAnswers, Error> {
    let timeout = query.timeout.map(prost_types::Duration::try_from);
    let timeout = timeout
        .transpose()
        .map_err(|_range| Error::protocol(ASK, "the timeout is too long"))?;
    let request = pb::QueryRequest {
        name: query.name,
        payload: query.payload,
        target: Some(query.target),
        timeout,
        request_acks: query.acks,
    };
    let mut client = QueryServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.query(request).await;
    let stream = answer.map_err(|status| Error::of_call(ASK, status))?;
    Ok(QueryAnswers {
        stream: stream.into_inner(),
        done: false,
    })
}

pub(crate) async fn serve(channel: Channel, names: Vec<String>) -> Result<QueryHandler, Error> {
    let (sent, messages) = mpsc::channel(QUEUE_REPLIES);
    let replier = Replier { sent };
    replier
        .send(Sent::Registration(pb::QueryRegistration { names }))
        .await?;
    let mut client = QueryServiceClient::new(channel);
    let answer = client.serve_queries(ReceiverStream::new(messages)).await;
    let stream = answer.map_err(|status| Error::of_call(SERVE, status))?;
    let mut handler = QueryHandler {
        stream: stream.into_inner(),
        replier,
    };
    match handler.message().await? {
        Received::Registered(_) => Ok(handler),
        Received::Query(_) => Err(Error::protocol(SERVE, "a query before the registration")),
    }
}

impl QueryAnswers {
    /// What comes next: `started`, then acknowledgements and answers, last `done`; then
    /// `None`. Cancel-safe.
    ///
    /// # Errors
    /// The daemon cannot be reached any more, or shuts down.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if self.done {
            return Ok(None);
        }
        let message = self.stream.message().await;
        let message = message.map_err(|status| Error::of_call(ASK, status))?;
        let Some(message) = message else {
            return Err(Error::Ended { call: ASK });
        };
        let event = message
            .event
            .ok_or_else(|| Error::protocol(ASK, "a message without content"))?;
        self.done = matches!(event, Event::Done(_));
        Ok(Some(event))
    }
}

impl QueryHandler {
    /// The next query. Cancel-safe.
    ///
    /// # Errors
    /// The daemon cannot be reached any more, or shuts down.
    pub async fn next(&mut self) -> Result<pb::IncomingQuery, Error> {
        loop {
            if let Received::Query(query) = self.message().await? {
                return Ok(query);
            }
        }
    }

    /// Who answers.
    #[must_use]
    pub fn replier(&self) -> Replier {
        self.replier.clone()
    }

    /// Answers queries of other names from now on.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn rename(&self, names: Vec<String>) -> Result<(), Error> {
        let registration = Sent::Registration(pb::QueryRegistration { names });
        self.replier.send(registration).await
    }

    async fn message(&mut self) -> Result<Received, Error> {
        loop {
            let message = self.stream.message().await;
            let message = message.map_err(|status| Error::of_call(SERVE, status))?;
            let Some(message) = message else {
                return Err(Error::Ended { call: SERVE });
            };
            // One without content is of a later version.
            if let Some(message) = message.message {
                return Ok(message);
            }
        }
    }
}

impl Replier {
    /// Answers a query, or says why not. One that nobody waits for any more is dropped
    /// by the daemon.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn answer(
        &self,
        query: &pb::IncomingQuery,
        result: Result<Bytes, String>,
    ) -> Result<(), Error> {
        let result = match result {
            Ok(payload) => pb::query_reply::Result::Payload(payload),
            Err(error) => pb::query_reply::Result::Error(error),
        };
        self.reply(query, Some(result), false).await
    }

    /// Answers with the beginning of something longer.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn answer_truncated(
        &self,
        query: &pb::IncomingQuery,
        beginning: Bytes,
    ) -> Result<(), Error> {
        let result = pb::query_reply::Result::Payload(beginning);
        self.reply(query, Some(result), true).await
    }

    /// Leaves a query to other handlers.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn pass(&self, query: &pb::IncomingQuery) -> Result<(), Error> {
        self.reply(query, None, false).await
    }

    async fn reply(
        &self,
        query: &pb::IncomingQuery,
        result: Option<pb::query_reply::Result>,
        truncated: bool,
    ) -> Result<(), Error> {
        let reply = pb::QueryReply {
            id: query.id.clone(),
            result,
            truncated,
        };
        self.send(Sent::Reply(reply)).await
    }

    async fn send(&self, message: Sent) -> Result<(), Error> {
        let message = pb::ServeQueriesRequest {
            message: Some(message),
        };
        let sent = self.sent.send(message).await;
        sent.map_err(|_gone| Error::Ended { call: SERVE })
    }
}
