//! The one way to the engine, ours and bollard's.
//!
//! bollard 0.21 sends paths without the version of the API, so that an engine answers in
//! its newest shapes, which have lost fields that programs rely on. So bollard gets this
//! as its transport: every request, whoever makes it, has a version in its path, a time
//! limit and a bound on what is read.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::config::Host;
use super::connection::{Connection, TooMuch};
use super::error::DockerError;
use super::version::Api;
use crate::daemon::supervisor::Tasks;
use crate::hub::lock;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    host: Host,
    /// What was agreed on last; another engine may have come since.
    api: Mutex<Option<Arc<Api>>>,
    tasks: Tasks,
}

/// The head of an answer, its body to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Ends the connection with its reader: by itself it would wait for an engine that
    /// hangs.
    pub(super) open: DropGuard,
}

/// Bounds of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Until the head of the answer is there.
    pub(super) head: Duration,
    /// Most bytes of the answer, its head included; `None` where the reader has bounds
    /// of its own.
    pub(super) bytes_max: Option<usize>,
}

impl Transport {
    pub(super) fn new(host: Host, tasks: Tasks) -> Self {
        Self {
            host,
            api: Mutex::new(None),
            tasks,
        }
    }

    /// What was agreed on last.
    pub(super) fn api(&self) -> Option<Arc<Api>> {
        lock(&self.api).clone()
    }

    pub(super) fn agree(&self, api: Arc<Api>) {
        *lock(&self.api) = Some(api);
    }

    /// Sends a request whose path is complete. The answer may be a refusal.
    pub(super) async fn send<B>(
        &self,
        mut request: Request<B>,
        bounds: Bounds,
    ) -> Result<Answer, DockerError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let what = named(request.method(), request.uri());
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        let host = match &self.host {
            Host::Unix(_) => "docker",
            Host::Tcp(address) => address,
        };
        let host = HeaderValue::from_str(host)
            .map_err(|_error| DockerError::invalid("the host of the engine is no host"))?;
        request.headers_mut().insert(HOST, host);
        let answer = tokio::time::timeout(bounds.head, self.exchange(request, &what, bounds));
        match answer.await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(DockerError::Timeout {
                request: what,
                after: bounds.head,
            }),
        }
    }

    async fn exchange<B>(
        &self,
        request: Request<B>,
        what: &str,
        bounds: Bounds,
    ) -> Result<Answer, DockerError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream = self.connect(bounds.bytes_max).await?;
        let broken = |error: hyper::Error| broken(what, error, bounds.bytes_max);
        let (mut sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // It ends when the answer is read, or nobody reads on; not when the daemon begins
        // to end, since children are stopped then.
        let end = CancellationToken::new();
        let open = end.clone().drop_guard();
        self.tasks.spawn_guarded("docker connection", async move {
            tokio::select! {
                // Whoever waits for the answer is told.
                _ended = connection.with_upgrades() => {}
                () = end.cancelled() => {}
            }
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(Answer { response, open })
    }

    async fn connect(&self, bytes_max: Option<usize>) -> Result<Connection, DockerError> {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, Connection::open(&self.host, bytes_max));
        let opened = opened.await.unwrap_or_else(|_elapsed| {
            let why = format!("not connected within {} s", CONNECT_TIMEOUT.as_secs());
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
        });
        opened.map_err(|source| DockerError::Unreachable {
            host: self.host.to_string(),
            source,
        })
    }
}

/// Method and path, without a version and without what is asked.
pub(super) fn named(method: &Method, uri: &Uri) -> String {
    format!("{method} {}", unversioned(uri.path()))
}

/// A path without the version of the API.
pub(super) fn unversioned(path: &str) -> &str {
    let version = |part: &str| {
        let digits = part.strip_prefix('v').unwrap_or("");
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((first, rest)) if version(first) => &path[path.len() - rest.len() - 1..],
        Some(_) | None => path,
    }
}

/// What an error of a connection is to us.
pub(super) fn broken(what: &str, error: hyper::Error, bytes_max: Option<usize>) -> DockerError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.get_ref().is_some_and(|inner| inner.is::<TooMuch>())) {
            return DockerError::TooLarge {
                request: what.to_owned(),
                max: bytes_max.unwrap_or_default(),
            };
        }
        cause = inner.source();
    }
    DockerError::broken(what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_their_version() {
        for (path, bare) in [
            ("/v1.41/containers/json", "/containers/json"),
            ("/containers/json", "/containers/json"),
            ("/v1/x", "/x"),
            ("/version", "/version"),
            ("/volumes/create", "/volumes/create"),
            ("/v", "/v"),
        ] {
            assert_eq!(unversioned(path), bare);
        }
        let uri = Uri::from_static("/v1.41/images/create?fromImage=x");
        assert_eq!(named(&Method::POST, &uri), "POST /images/create");
    }
}
