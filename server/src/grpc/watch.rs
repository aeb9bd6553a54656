//! Snapshot-then-changes streams over a versioned store, written once for every
//! kind of item.
//!
//! A watch keeps the revision that it was last brought to and pulls what changed
//! since whenever its reader takes more: a slow reader merges changes and costs the
//! others nothing. Watches with equal filters share one view and its encoded bytes.

pub(crate) mod group;
pub(crate) mod pulse;
pub(crate) mod stream;
pub(crate) mod token;

use std::fmt::Debug;

use bytes::Bytes;
use muster_proto::v1 as pb;
use prost::Message;

use crate::hub::store::Entry;

/// A kind of item that can be watched.
pub(crate) trait Watched: Sized + Send + Sync + 'static {
    /// Tells tokens of one kind from those of others.
    const KIND: &'static [u8];
    /// Key in the store.
    type Key: Ord + Clone + Debug + Send + Sync + 'static;
    /// Value in the store.
    type Value: PartialEq + Debug + Send + Sync + 'static;
    /// Checked filter.
    type Filter: Debug + Send + Sync + 'static;
    /// Message of one item.
    type Item: Message;

    /// Equal for filters that mean the same; empty for the one that lets everything
    /// through.
    fn key(filter: &Self::Filter) -> &[u8];

    /// Whether a value is in the view of a filter.
    fn matches(filter: &Self::Filter, value: &Self::Value) -> bool;

    /// The message of an entry.
    fn item(entry: &Entry<Self::Value>) -> Self::Item;

    /// One framed message of the stream.
    fn message(position: pb::Position, token: String, part: Part<Self::Item>) -> Bytes;
}

/// What a message of a watch says.
#[derive(Debug)]
pub(crate) enum Part<I> {
    Begin(pb::SnapshotBegin),
    Items(Vec<I>),
    End(pb::SnapshotEnd),
    Resumed,
    Delta(Vec<(ChangeKind, I)>),
    Heartbeat,
}

/// What happened to an item, seen from its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Updated,
    Removed,
}
