//! What the launcher asks of an engine.

mod docker;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::time::Duration;

use crate::docker::Container;

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It has no such image.
    #[error("the engine has no such image")]
    NoImage,
    /// The name is taken, or the container is in a state that forbids it.
    #[error("{0}")]
    Conflict(String),
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// It did not answer.
    #[error("{0}")]
    Away(String),
}

/// What the launcher does with containers; the real one is [`crate::docker::Engine`].
/// Every operation ends within a bound.
pub trait Engine: Send + Sync {
    /// A container by name or id, if there is one.
    fn inspect<'a>(
        &'a self,
        which: &'a str,
    ) -> BoxFuture<'a, Result<Option<Container>, EngineError>>;

    /// Creates a container; its id.
    fn create<'a>(
        &'a self,
        name: &'a str,
        body: &'a Value,
    ) -> BoxFuture<'a, Result<String, EngineError>>;

    /// Starts it. One that runs is left alone.
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Stops it, and kills it after `grace`. One that does not run is left alone.
    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Kills it.
    fn kill<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Removes it, even one that runs. Its anonymous volumes stay.
    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Unpacks an archive at its root.
    fn put_archive<'a>(&'a self, id: &'a str, tar: Bytes)
    -> BoxFuture<'a, Result<(), EngineError>>;

    /// Pulls an image.
    fn pull<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<(), EngineError>>;
}
