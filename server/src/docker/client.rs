//! What is asked by ourselves and not by bollard: answers that are kept word by word
//! (its types lose fields and nulls of `inspect`), and streams that must not end at the
//! first word that it does not know.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use jiff::fmt::rfc2822;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Inspected;
use super::error::DockerError;
use super::lines::Lines;
use super::names::encoded;
use super::summary::Summary;
use super::transport::{Answer, Bounds, Transport, broken, named};
use super::version::{self, Api};

/// How long the engine may take for what it knows by heart.
const QUICK: Duration = Duration::from_secs(5);

/// How long it may take to list, inspect, and begin a stream.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to answer a ping; a healthy one takes less than a millisecond.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest `inspect`, bytes. A container with a larger one is shown as it was before, or
/// not at all.
const INSPECT_BYTES_MAX: usize = 2 << 20;

/// Largest list of containers, bytes; some 20,000 containers. With a larger one the
/// engine counts as away.
const LIST_BYTES_MAX: usize = 32 << 20;

/// Largest of the small answers, errors too, bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Asks the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    transport: Arc<Transport>,
}

impl Client {
    pub(super) fn new(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Asks for versions, and speaks the right one from now on.
    pub(super) async fn negotiate(&self) -> Result<Arc<Api>, DockerError> {
        let bounds = small(QUICK);
        let request = request(Method::GET, "/version", Bytes::new())?;
        let what = named(request.method(), request.uri());
        let answer = self.answer(request, bounds).await?;
        let clock = clock(&answer.response).unwrap_or_else(own_clock);
        let versions: version::Answer = json(&what, answer, bounds).await?;
        let api = Api::agree(versions, clock).map_err(|why| DockerError::malformed(&what, why))?;
        let api = Arc::new(api);
        self.transport.agree(Arc::clone(&api));
        Ok(api)
    }

    /// Whether it answers.
    pub(super) async fn ping(&self) -> Result<(), DockerError> {
        let bounds = small(PING_TIMEOUT);
        let request = request(Method::GET, "/_ping", Bytes::new())?;
        let what = named(request.method(), request.uri());
        let answer = self.answer(request, bounds).await?;
        bytes(&what, answer, bounds).await.map(drop)
    }

    /// All containers, stopped ones too, in few words.
    pub(super) async fn list(&self) -> Result<Vec<Summary>, DockerError> {
        let bounds = Bounds {
            head: PATIENCE,
            bytes_max: Some(LIST_BYTES_MAX),
        };
        self.get("/containers/json?all=1", bounds).await
    }

    /// One container by id or name, word by word.
    pub(super) async fn inspect(&self, which: &str) -> Result<Inspected, DockerError> {
        let bounds = Bounds {
            head: PATIENCE,
            bytes_max: Some(INSPECT_BYTES_MAX),
        };
        let path = format!("/containers/{}/json", encoded(which)?);
        let json: Box<RawValue> = self.get(&path, bounds).await?;
        Inspected::new(json).map_err(|why| DockerError::malformed(&format!("GET {path}"), why))
    }

    /// Events of containers and networks since a moment of the engine's clock. It may
    /// answer before it has subscribed us, hence the moment.
    pub(super) async fn events(&self, since: u64) -> Result<Lines, DockerError> {
        let filters = encoded_filter(r#"{"type":["container","network"]}"#);
        let path = format!("/events?since={since}&filters={filters}");
        let request = self.versioned(Method::GET, &path, Bytes::new()).await?;
        let bounds = Bounds {
            head: PATIENCE,
            bytes_max: None,
        };
        let what = named(request.method(), request.uri());
        let answer = self.answer(request, bounds).await?;
        Ok(Lines::new(what, answer))
    }

    /// Posts JSON; the answer is a stream whose reader bounds it.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<Answer, DockerError> {
        let request = self.versioned(Method::POST, path, body).await?;
        let bounds = Bounds {
            head: PATIENCE,
            bytes_max: None,
        };
        self.answer(request, bounds).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, bounds: Bounds) -> Result<T, DockerError> {
        let request = self.versioned(Method::GET, path, Bytes::new()).await?;
        let what = named(request.method(), request.uri());
        let answer = self.answer(request, bounds).await?;
        json(&what, answer, bounds).await
    }

    async fn versioned(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, DockerError> {
        let api = match self.transport.api() {
            Some(api) => api,
            None => self.negotiate().await?,
        };
        request(method, &format!("/v{}{path}", api.version), body)
    }

    /// Sends, and turns a refusal into an error.
    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Answer, DockerError> {
        let what = named(request.method(), request.uri());
        let answer = self.transport.send(request, bounds).await?;
        let status = answer.response.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = bytes(&what, answer, small(QUICK)).await?;
        Err(DockerError::refused(
            &what,
            status.as_u16(),
            &message(&body),
        ))
    }
}

/// The engine's words in a refusal.
fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let refusal: Result<Refusal, _> = serde_json::from_slice(body);
    refusal.map_or_else(
        |_other| String::from_utf8_lossy(body).into_owned(),
        |refusal| refusal.message,
    )
}

fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, DockerError> {
    let built = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body));
    built.map_err(|error| DockerError::invalid(format!("cannot ask the engine: {error}")))
}

async fn json<T: DeserializeOwned>(
    what: &str,
    answer: Answer,
    bounds: Bounds,
) -> Result<T, DockerError> {
    let bytes = bytes(what, answer, bounds).await?;
    serde_json::from_slice(&bytes).map_err(|error| DockerError::malformed(what, error))
}

/// The whole body, within bounds of size and time.
async fn bytes(what: &str, answer: Answer, bounds: Bounds) -> Result<Bytes, DockerError> {
    let max = bounds.bytes_max.unwrap_or(ANSWER_BYTES_MAX);
    let Answer { response, open } = answer;
    let mut body = response.into_body();
    let collect = async {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(what, error, bounds.bytes_max))?;
            let data = frame.into_data().unwrap_or_default();
            if whole.len() + data.len() > max {
                return Err(DockerError::TooLarge {
                    request: what.to_owned(),
                    max,
                });
            }
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole))
    };
    let timeout = DockerError::Timeout {
        request: what.to_owned(),
        after: bounds.head,
    };
    let collected = tokio::time::timeout(bounds.head, collect).await;
    drop(open);
    collected.unwrap_or(Err(timeout))
}

fn small(head: Duration) -> Bounds {
    Bounds {
        head,
        bytes_max: Some(ANSWER_BYTES_MAX),
    }
}

/// The engine's clock, from the head of an answer.
fn clock(response: &Response<Incoming>) -> Option<u64> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    let date = rfc2822::parse(date).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

fn own_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// A filter as part of a query.
fn encoded_filter(json: &str) -> String {
    let mut text = String::new();
    for byte in json.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
