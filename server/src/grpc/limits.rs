//! Bounds of the API. What is sent and kept per caller is bounded here; bounds of
//! connections are the transport's.

use std::time::Duration;

/// Calls under way in all, whatever their kind. One more is refused with
/// RESOURCE_EXHAUSTED, reason TOO_MANY_STREAMS.
pub const STREAMS_MAX: usize = 20_000;

/// Room for everything beside the payload in a request. A request above the payload
/// limit plus this is refused with RESOURCE_EXHAUSTED, reason MESSAGE_TOO_LARGE.
pub const DECODE_SLACK_BYTES: usize = 16 << 10;

/// Largest resume token of WatchEvents: a position for each of some 20,000 origins.
/// A larger one is refused as a too large message.
pub const EVENT_TOKEN_BYTES_MAX: usize = 1 << 20;

/// Largest message of a watch, unless one single item is larger. Snapshots come in
/// parts; changes that do not fit into one delta come as a new snapshot.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Kept free in a message for what stands beside the items.
pub const MESSAGE_SLACK_BYTES: usize = 1 << 10;

/// Items in one part of a snapshot; more come in the next part.
pub const PART_ITEMS_MAX: usize = 256;

/// Distinct filters that have a view of their own. Watches with one more filter
/// work without: their changes are looked up and encoded for each of them.
pub const GROUPS_MAX: usize = 256;

/// Encoded deltas kept per view: one for each revision that a watcher of it may
/// stand at. Others are encoded again.
pub const DELTAS_CACHED_MAX: usize = 64;

/// Largest resume token of the watches of state.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Longest window and quiet time of a WatchEvents request that coalesces.
pub const COALESCE_MAX: Duration = Duration::from_secs(60);

/// Patterns in a WatchEvents request.
pub const EVENT_PATTERNS_MAX: usize = 64;

/// Distinct sets of event patterns that share encoded segments. As [`GROUPS_MAX`].
pub const EVENT_GROUPS_MAX: usize = 32;

/// Ring entries that are read at once.
pub const PAGE_ENTRIES: usize = 64;

/// Entries that are read at once cost no more than this in the ring, or are one.
pub const PAGE_BYTES: usize = 24 << 10;

/// Ring entries that one segment covers at most.
pub const SEGMENT_ENTRIES: u64 = 256;

/// Bytes of a segment, if it has more than one message: one DATA frame (RFC 9113,
/// 6.5.2: 16,384 bytes), and four of them fit into the initial window of a stream
/// (6.9.2: 65,535 bytes).
pub const SEGMENT_BYTES: usize = 16_383;

/// Segments kept per set of patterns, newest first, until silence: some 8,000 events,
/// so that readers of a burst share them though they are not in step. Others are
/// encoded again.
pub const SEGMENTS_CACHED_MAX: usize = 128;

/// Bytes of segments kept per set of patterns. One larger segment is kept alone.
pub const SEGMENTS_CACHED_BYTES: usize = 2 << 20;

/// Events of one SendEvent stream that wait for their last receipt. At the bound
/// reading pauses.
pub const RECEIPTS_OUTSTANDING_MAX: usize = 1_024;

/// Events of one SendEvent stream that wait for DELIVERED. At the bound reading pauses.
pub const DELIVERIES_OUTSTANDING_MAX: usize = 64;

/// Events of one SendEvent stream on their way to the engine.
pub const EVENTS_IN_FLIGHT_MAX: usize = 64;

/// Longest `client_key` of ResolveRole.
pub const CLIENT_KEY_BYTES_MAX: usize = 256;

/// Addresses in one Join.
pub const JOIN_ADDRESSES_MAX: usize = 64;

/// Longest address in a Join.
pub const JOIN_ADDRESS_BYTES_MAX: usize = 256;

/// Longest log filter.
pub const LOG_FILTER_BYTES_MAX: usize = 1 << 10;

/// Queries that one client of ServeQueries may owe replies to. More wait in its queue;
/// what is beyond that is answered "busy".
pub const JOBS_OUTSTANDING_MAX: usize = 256;

/// Largest message of a client of ServeQueries: an answer and what stands beside it. A
/// larger one ends its call with RESOURCE_EXHAUSTED, reason MESSAGE_TOO_LARGE.
pub const REPLY_MESSAGE_BYTES_MAX: usize = (1 << 20) + DECODE_SLACK_BYTES;

/// Silence after which a stream sends a heartbeat, unless the caller asks otherwise.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(30);

/// Shortest heartbeat interval that a caller may ask for.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Longest heartbeat interval that a caller may ask for.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

/// Longest `min_interval`.
pub const MIN_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// `min_interval` of ResolveRole unless the caller asks otherwise.
pub const RESOLVE_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);

/// When a caller that was refused for load should try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A reader that took nothing for this long while something was handed to it is
/// told so and its stream ended: RESOURCE_EXHAUSTED, reason CONSUMER_STALLED.
pub const STALLED_AFTER: Duration = Duration::from_secs(600);

/// Bytes of one stream that a caller may send ahead of what is read: all that can
/// wait unread while SendEvent pauses.
///
/// h2 closes a connection whose unread DATA frames carry too little: each costs 256
/// bytes less its length, out of half the connection's window. With these two windows
/// a paused stream of the smallest events costs at most 0.75 MB of 2 MiB.
pub const STREAM_WINDOW_BYTES: u32 = 32 << 10;

/// Bytes of one connection that a caller may send ahead; see [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
