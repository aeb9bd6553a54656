//! What the kinds of items have in common: their messages differ in names only.

use std::fmt::Debug;
use std::time::Duration;

use tonic::transport::Channel;

use crate::link::{HEARTBEAT, Opening};
use crate::pb;

/// A kind of item that can be watched: [`crate::Members`] or [`crate::Containers`].
/// Sealed.
pub trait Watched: Sealed + Debug + Sized + 'static {
    /// The item.
    type Item: Debug + Clone + Send + Sync;
    /// What to watch.
    type Options: Debug + Send + Sync;
    /// Tells items apart, and orders them.
    #[doc(hidden)]
    type Key: Debug + Ord + Send + Sync;
    /// Message of the stream.
    #[doc(hidden)]
    type Response: Debug;

    /// Name of the call.
    #[doc(hidden)]
    const CALL: &'static str;

    /// Opens a stream.
    #[doc(hidden)]
    fn open(channel: Channel, options: &Self::Options, ask: Ask<'_>) -> Opening<Self::Response>;

    /// What a message says.
    #[doc(hidden)]
    fn read(message: Self::Response) -> Message<Self::Item>;

    /// The key of an item.
    #[doc(hidden)]
    fn key(item: &Self::Item) -> Self::Key;
}

/// Keeps others from adding kinds.
pub trait Sealed {}

/// What is asked of a stream.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// One snapshot.
    Once,
    /// All that comes after this position, or a snapshot first where it is empty.
    Follow { token: &'a str },
}

/// A message of a stream.
#[derive(Debug)]
pub struct Message<T> {
    pub position: Option<pb::Position>,
    pub token: String,
    pub event: Option<Event<T>>,
}

/// What a message says.
#[derive(Debug)]
pub enum Event<T> {
    Begin(pb::SnapshotReason),
    Part(Vec<T>),
    End { count: u32 },
    Resumed,
    Delta(Vec<Step<T>>),
    Heartbeat,
}

/// What became of one item.
#[derive(Debug)]
pub enum Step<T> {
    /// It is new, or has changed.
    Put(T),
    /// Its last known state.
    Remove(T),
}

impl Ask<'_> {
    pub(super) const fn is_once(self) -> bool {
        matches!(self, Self::Once)
    }

    pub(super) fn token(self) -> String {
        match self {
            Self::Once => String::new(),
            Self::Follow { token } => token.to_owned(),
        }
    }
}

/// How often every watch wants to hear something.
pub(super) fn heartbeat() -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(HEARTBEAT).ok()
}

/// The least time between updates as the API has it: unset where there is none.
pub(super) fn min_interval(least: Duration) -> Option<prost_types::Duration> {
    (!least.is_zero())
        .then(|| prost_types::Duration::try_from(least).ok())
        .flatten()
}
