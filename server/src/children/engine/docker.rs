//! The launcher's engine is the daemon's.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Engine, EngineError};
use crate::docker::{self, Container, DockerError};

impl Engine for docker::Engine {
    fn inspect<'a>(
        &'a self,
        which: &'a str,
    ) -> BoxFuture<'a, Result<Option<Container>, EngineError>> {
        async move {
            let inspected = match Self::inspect(self, which).await {
                Ok(inspected) => inspected,
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let container = Container::try_from(inspected).map_err(EngineError::Away)?;
            // The engine also takes the beginning of an id.
            let exact = container.name == which || *container.id == *which;
            Ok(exact.then_some(container))
        }
        .boxed()
    }

    fn create<'a>(
        &'a self,
        name: &'a str,
        body: &'a Value,
    ) -> BoxFuture<'a, Result<String, EngineError>> {
        async move {
            match Self::create(self, name, body).await {
                Ok(id) => Ok(id),
                // A container or volume that it names may be missing as well.
                Err(error) if error.is_missing() => {
                    let image = body["Image"].as_str().unwrap_or_default();
                    match Self::image_exists(self, image).await {
                        Ok(false) => Err(EngineError::NoImage),
                        Ok(true) | Err(_) => Err(EngineError::Refused(error.chain())),
                    }
                }
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { Ok(Self::start(self, id).await?) }.boxed()
    }

    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { gone(Self::stop(self, id, grace).await) }.boxed()
    }

    fn kill<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { gone(Self::kill(self, id, "KILL").await) }.boxed()
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { gone(Self::remove(self, id, true, false).await) }.boxed()
    }

    fn put_archive<'a>(
        &'a self,
        id: &'a str,
        tar: Bytes,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { Ok(Self::put_archive(self, id, "/", tar).await?) }.boxed()
    }

    fn pull<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        async move { Ok(Self::pull(self, image).await?) }.boxed()
    }
}

/// What is not there any more is stopped and removed.
fn gone(done: Result<(), DockerError>) -> Result<(), EngineError> {
    match done {
        Err(error) if error.is_missing() => Ok(()),
        other => Ok(other?),
    }
}

impl From<DockerError> for EngineError {
    fn from(error: DockerError) -> Self {
        let text = error.chain();
        if error.is_conflict() {
            Self::Conflict(text)
        } else if error.is_away() {
            Self::Away(text)
        } else {
            Self::Refused(text)
        }
    }
}
