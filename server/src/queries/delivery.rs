//! Brings one answer to whoever asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use muster_proto::peer::answer_request::Step;
use muster_proto::peer::query_peer_service_client::QueryPeerServiceClient;
use muster_proto::peer::{AnswerBegin, AnswerReady, AnswerRequest, AnswerResponse};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::asker::Asker;
use super::intake::Refused;
use super::metrics::Metrics;
use super::responders::Responders;
use super::{Outcome, PING, Query, SERF_PING};
use crate::peers::{Channel, MESSAGE_BYTES_MAX, Me};

/// Wait before a call to the asker is repeated; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Steps of one call: all of them fit.
const STEPS: usize = 3;

/// One query on its way to an answer.
#[derive(Debug)]
pub(super) struct Delivery {
    query: Arc<Query>,
    responders: Responders,
    metrics: Metrics,
    /// Runs once, from the moment that the asker said that it still waits.
    outcome: Option<Shared<BoxFuture<'static, Outcome>>>,
}

/// How one call to the asker ended.
enum Ended {
    Taken,
    Unwanted,
    Broken(Status),
}

impl Delivery {
    pub(super) fn new(query: Arc<Query>, responders: &Responders, metrics: &Metrics) -> Self {
        Self {
            query,
            responders: responders.clone(),
            metrics: metrics.clone(),
            outcome: None,
        }
    }

    /// Answers a query of this node.
    pub(super) async fn to_myself(&mut self, asker: &Asker, me: &Me) {
        let key = (self.query.id.boot, self.query.id.sequence);
        let answered = async {
            let place = asker.begin(key, me.name(), me.boot()).await?;
            let outcome = tokio::select! {
                outcome = self.outcome() => outcome,
                () = place.over() => return Err(Refused::Unknown),
            };
            let hold = place.room(outcome.bytes()).await?;
            place.finish(outcome, Some(hold)).await
        };
        match answered.await {
            Ok(()) => self.metrics.answered.inc(),
            Err(_) => self.metrics.unwanted.inc(),
        };
    }

    /// Answers a query of a peer. Tries until it is taken or no longer wanted, or the
    /// asker does not live any more.
    pub(super) async fn to(&mut self, channel: Channel, lives: impl Fn() -> bool) {
        let client = QueryPeerServiceClient::new(channel);
        let client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut pause = RETRY_FIRST;
        loop {
            match self.call(client.clone()).await {
                Ended::Taken => {
                    self.metrics.answered.inc();
                    return;
                }
                Ended::Unwanted => {
                    self.metrics.unwanted.inc();
                    return;
                }
                Ended::Broken(status) => {
                    if !lives() {
                        self.metrics.unreachable.inc();
                        return;
                    }
                    self.metrics.retried.inc();
                    let (id, status) = (&self.query.id, status.to_string());
                    tracing::debug!(%id, status, "an answer did not arrive, trying again");
                }
            }
            // Spread: many members may have been refused at once.
            sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// What the responders come to.
    fn outcome(&mut self) -> Shared<BoxFuture<'static, Outcome>> {
        let (query, responders) = (&self.query, &self.responders);
        let outcome = self.outcome.get_or_insert_with(|| {
            if query.name == PING || query.name == SERF_PING {
                return std::future::ready(Outcome::Nothing).boxed().shared();
            }
            responders.run(query).boxed().shared()
        });
        outcome.clone()
    }

    /// One call to the asker.
    async fn call(&mut self, mut client: QueryPeerServiceClient<Channel>) -> Ended {
        let (steps, messages) = mpsc::channel(STEPS);
        let begin = AnswerBegin {
            boot: self.query.id.boot,
            sequence: self.query.id.sequence,
        };
        let told = async {
            send(&steps, Step::Begin(begin)).await;
            let responses = client.answer(ReceiverStream::new(messages)).await?;
            let mut responses = responses.into_inner();
            if responses.message().await?.is_none() {
                return Err(Status::unknown("the asker said nothing"));
            }
            let outcome = tokio::select! {
                outcome = self.outcome() => outcome,
                ended = end(&mut responses) => return ended,
            };
            let bytes = u32::try_from(outcome.bytes()).unwrap_or(u32::MAX);
            if matches!(&outcome, Outcome::Answer(answer) if answer.truncated) {
                self.metrics.truncated.inc();
            }
            send(&steps, Step::Ready(AnswerReady { bytes })).await;
            send(&steps, Step::Result(outcome.into_result())).await;
            drop(steps);
            end(&mut responses).await
        };
        match told.await {
            Ok(()) => Ended::Taken,
            Err(status) => judge(status),
        }
    }
}

/// Waits for the end of a call.
async fn end(responses: &mut Streaming<AnswerResponse>) -> Result<(), Status> {
    while responses.message().await?.is_some() {}
    Ok(())
}

/// Hands over a step; the channel has room for all of them. If the call is over its
/// status says more than that.
async fn send(steps: &mpsc::Sender<AnswerRequest>, step: Step) {
    let step = Some(step);
    let _over = steps.send(AnswerRequest { step }).await.is_err();
}

/// Whether it is worth to try again.
fn judge(status: Status) -> Ended {
    match status.code() {
        Code::NotFound
        | Code::AlreadyExists
        | Code::Aborted
        | Code::InvalidArgument
        | Code::Unimplemented
        | Code::PermissionDenied => Ended::Unwanted,
        _ => Ended::Broken(status),
    }
}
