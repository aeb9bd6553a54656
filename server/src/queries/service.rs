//! What peers call to answer this node's queries.

use futures_util::{StreamExt as _, stream};
use muster_proto::peer::answer_request::Step;
use muster_proto::peer::query_peer_service_server::QueryPeerService;
use muster_proto::peer::{AnswerRequest, AnswerResponse, AnswerResult, answer_result};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::asker::Asker;
use super::intake::{Place, Refused};
use super::{ANSWER_BYTES_MAX, Answer, ERROR_BYTES_MAX, Outcome};
use crate::peers::Caller;

/// The service.
#[derive(Debug)]
pub(crate) struct Service {
    asker: Asker,
}

impl Service {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::Unknown | Refused::Stranger => Self::not_found(text),
            Refused::Twice => Self::already_exists(text),
            Refused::Replaced => Self::aborted(text),
            Refused::NotYet => Self::unavailable(text),
            Refused::NoRoom => Self::resource_exhausted(text),
        }
    }
}

#[tonic::async_trait]
impl QueryPeerService for Service {
    async fn answer(
        &self,
        request: Request<Streaming<AnswerRequest>>,
    ) -> Result<Response<BoxStream<AnswerResponse>>, Status> {
        let caller = Caller::of(&request)?;
        let mut steps = request.into_inner();
        let malformed = self.asker.inner.metrics.malformed.clone();
        let Some(Step::Begin(begin)) = step(&mut steps).await? else {
            malformed.inc();
            return Err(Status::invalid_argument("the first step must be begin"));
        };
        let key = (begin.boot, begin.sequence);
        let place = self.asker.begin(key, &caller.name, caller.boot).await?;
        let wanted = stream::iter([Ok(AnswerResponse {})]);
        let taking = stream::once(async move {
            let taken = take(place, steps).await;
            if let Err(status) = &taken
                && status.code() == tonic::Code::InvalidArgument
            {
                malformed.inc();
            }
            taken
        });
        let end = taking.filter_map(|taken| async move { taken.err().map(Err) });
        Ok(Response::new(Box::pin(wanted.chain(end))))
    }
}

/// Takes the answer that comes after the begin.
async fn take(place: Place, mut steps: Streaming<AnswerRequest>) -> Result<(), Status> {
    let first = tokio::select! {
        first = step(&mut steps) => first?,
        () = place.over() => return Err(Refused::Unknown.into()),
    };
    let Some(Step::Ready(ready)) = first else {
        return Err(Status::invalid_argument("after begin comes ready"));
    };
    let announced = ready.bytes as usize;
    if announced > ANSWER_BYTES_MAX {
        return Err(Status::invalid_argument("the answer is too long"));
    }
    let hold = place.room(announced).await?;
    let Some(Step::Result(result)) = step(&mut steps).await? else {
        return Err(Status::invalid_argument("after ready comes result"));
    };
    let outcome = outcome(result, announced)?;
    Ok(place.finish(outcome, Some(hold)).await?)
}

fn outcome(result: AnswerResult, announced: usize) -> Result<Outcome, Status> {
    let outcome = match result.result {
        Some(answer_result::Result::Payload(payload)) => Outcome::Answer(Answer {
            payload,
            truncated: result.truncated,
        }),
        Some(answer_result::Result::Error(error)) if error.len() > ERROR_BYTES_MAX => {
            return Err(Status::invalid_argument("the error is too long"));
        }
        Some(answer_result::Result::Error(error)) => Outcome::Failed(error),
        None => Outcome::Nothing,
    };
    if outcome.bytes() != announced {
        return Err(Status::invalid_argument(
            "the result has another size than was announced",
        ));
    }
    Ok(outcome)
}

impl Outcome {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.payload.len(),
            Self::Failed(error) => error.len(),
            Self::Nothing => 0,
        }
    }

    pub(super) fn into_result(self) -> AnswerResult {
        let truncated = matches!(&self, Self::Answer(answer) if answer.truncated);
        let result = match self {
            Self::Answer(answer) => Some(answer_result::Result::Payload(answer.payload)),
            Self::Failed(error) => Some(answer_result::Result::Error(error)),
            Self::Nothing => None,
        };
        AnswerResult { result, truncated }
    }
}

async fn step(steps: &mut Streaming<AnswerRequest>) -> Result<Option<Step>, Status> {
    let message = steps.message().await?;
    Ok(message.and_then(|message| message.step))
}
