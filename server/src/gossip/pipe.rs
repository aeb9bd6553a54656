//! Sealed pipes between peers, over TCP.
//!
//! ```text
//!   initiator                                    responder
//!   magic "mstr", version 1, suite 1, key id 4
//!   suite 1: Noise message 1 (48 bytes)      ->
//!   suite 0: SHA-256 of the cluster (32)     ->
//!                                            <-  magic, status 1, version 1
//!                                            <-  suite 1: Noise message 2 (48 bytes)
//!   then both ways: messages of u16 length + bytes, sealed by Noise in suite 1;
//!   an empty one ends the direction. Inside this byte stream:
//!   frames of u32 length, u8 kind, body: Open, then Body and Body in turn, Goodbye
//! ```
//! A pipe of kind watch carries one Body each way, then stands idle ([`watch`]).
//! A pipe of kind rpc is answered by an open frame, or a goodbye; what follows is no
//! frames but HTTP/2, with gRPC in it ([`rpc`]).
//!
//! A pipe of kind datagrams carries one Body a datagram, one way, without answers ([`carry`]).
//!
//! A pipe is closed with a goodbye once its key is removed.
//! Noise is NNpsk0 with a key derived from the cluster's; the preamble and the
//! cluster name are its prologue, so that none of them can be changed on the way.
//! The byte stream ([`stream::SealedStream`]) is usable without the frames.

pub(crate) mod carry;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod incoming;
pub(crate) mod message;
pub(crate) mod outgoing;
pub(crate) mod pool;
pub mod rpc;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod watch;
pub(crate) mod watched;

use std::time::Duration;

/// A connection must stand by then.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// A handshake, the `Open` frame included, must be over by then.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);

/// A frame that has begun must be whole by then, an answer written by then.
pub(crate) const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// The engine answers a peer's request by then, or the pipe is closed.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A pipe to a peer without an exchange for this long is closed.
pub(crate) const IDLE_CLOSE: Duration = Duration::from_secs(60);

/// A pipe from a peer without an exchange for this long is closed. Longer than
/// [`IDLE_CLOSE`]: the side that asks closes first and is never surprised.
pub(crate) const IDLE_CLOSE_INCOMING: Duration = Duration::from_secs(90);

/// A goodbye that does not go out by then is not sent.
pub(crate) const GOODBYE_DEADLINE: Duration = Duration::from_millis(100);

/// What a peer is told whose pipe is closed for its key.
pub(crate) const KEY_REMOVED: &str = "the key of this pipe was removed";

/// Incoming pipes whose handshake is not over. Further ones are refused and counted.
pub(crate) const HALF_OPEN_MAX: usize = 64;

/// Incoming pipes in all. Further ones are refused and counted.
pub(crate) const INCOMING_MAX: usize = 256;

/// Outgoing pipes. At the bound the least recently used idle one is closed; if
/// none is idle the exchange is refused as busy and counted.
pub(crate) const OUTGOING_MAX: usize = 16;

/// Pipes for datagrams that go over TCP, to as many peers. At the bound the one that was
/// used least recently is closed once what waits for it is sent.
pub(crate) const CARRIERS_MAX: usize = 64;

/// Datagrams that wait for such a pipe, each. More are dropped and counted.
pub(crate) const CARRIER_QUEUE_MAX: usize = 128;

/// Watch pipes that peers hold to this node. Three are usual; at the bound the oldest
/// is closed with a goodbye, and counted: watchers whose hosts vanished leave some.
pub(crate) const WATCHED_MAX: usize = 64;

/// Bytes of requests that are read or wait for the engine, all pipes together.
/// At the bound further requests are left in the kernel's buffers.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;
