//! Bounds of serf's RPC.

use std::time::Duration;

/// Connections at once; one more is closed at once and counted.
pub const CONNECTIONS_MAX: usize = 256;

/// Largest header of a request. A larger one ends its connection.
pub const HEADER_BYTES_MAX: usize = 1 << 10;

/// Largest body of a request from a client that is not authenticated where that is
/// asked for. A larger one ends its connection.
pub const STRANGER_BODY_BYTES_MAX: usize = 4 << 10;

/// Largest body of any other request: the largest payload of an event or answer, and
/// room for the rest. A larger one ends its connection.
pub const BODY_BYTES_MAX: usize = (1 << 20) + (16 << 10);

/// Lists and maps inside each other in one request. A deeper one ends its connection.
pub const DEPTH_MAX: usize = 8;

/// Requests of one connection that are answered beside the others, such as joins. At
/// the bound reading pauses.
pub const CALLS_MAX: usize = 16;

/// Queries of one connection that wait for answers. One more is refused.
pub const QUERIES_MAX: usize = 64;

/// Queries that one connection was told of and has not answered. One more is answered
/// "busy".
pub const PENDING_QUERIES_MAX: usize = 256;

/// Event streams of one connection. One more is refused.
pub const STREAMS_MAX: usize = 8;

/// Filters in the type of one stream. More are refused.
pub const STREAM_FILTERS_MAX: usize = 64;

/// Ring entries that a stream takes at once.
pub const STREAM_PAGE_ITEMS_MAX: usize = 64;

/// Bytes of ring entries that a stream takes at once; one larger entry comes alone.
pub const STREAM_PAGE_BYTES_MAX: usize = 256 << 10;

/// Members in one record of a stream; more come in the next record.
pub const RECORD_MEMBERS_MAX: usize = 1_024;

/// Addresses in one join.
pub const JOIN_ADDRESSES_MAX: usize = 64;

/// Longest address in a join.
pub const JOIN_ADDRESS_BYTES_MAX: usize = 256;

/// Longest text of a key, bytes. A longer one is refused.
pub const KEY_TEXT_BYTES_MAX: usize = 256;

/// Longest token in the auth file, bytes.
pub const TOKEN_BYTES_MAX: usize = 1_024;

/// How long a client may take to shake hands, and to authenticate where that is asked
/// for, before its connection is closed.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a request that has begun may take to arrive before its connection is closed.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);

/// A client that took no byte for this long while something was being sent to it is
/// cut off, logged and counted.
pub const STALL_MAX: Duration = Duration::from_secs(600);
