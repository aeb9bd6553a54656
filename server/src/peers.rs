//! gRPC between peers: calls of one daemon to another, inside sealed pipes.
//!
//! ```text
//!   Channel -> pool of connections -> dial (gossip::rpc) ~~~ gossip: accept, handshake
//!                                                             -> Server: HTTP/2
//!                                                             -> Routes -> services
//! ```
//! One connection to each address carries all calls to it. Whoever has the cluster's
//! key may call; the caller's name is what it says of itself, as in all of gossip.

pub mod caller;
mod incoming;
mod keys;
mod load;
mod metrics;
mod outgoing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_engine::crypto::KeyId;

pub use self::caller::{Caller, Under};
pub use self::incoming::Server;
use self::keys::Keys;
pub use self::metrics::Metrics;
pub use self::outgoing::Channel;
use self::outgoing::Pool;
use crate::daemon::supervisor::Tasks;
use crate::gossip::rpc::Pipes;

/// Largest answer to a query, and so the largest body of a call.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Largest message between peers: an answer and what stands beside it. A larger one
/// ends its call with OUT_OF_RANGE.
pub const MESSAGE_BYTES_MAX: usize = ANSWER_BYTES_MAX + (16 << 10);

/// Connections to peers. At the bound the longest idle one is closed for the next; if
/// none is idle for [`PLACE_WAIT`], the call fails as UNAVAILABLE.
pub const OUTGOING_MAX: usize = 64;

/// Connections from peers. At the bound the longest idle one is closed for the next;
/// if none is, the next is told that the node is busy, and counted.
pub const INCOMING_MAX: usize = 256;

/// Calls under way on one connection; a caller queues one more itself.
pub const CONNECTION_CALLS_MAX: u32 = 1_024;

/// How long a call waits for a place among the connections.
pub const PLACE_WAIT: Duration = Duration::from_secs(5);

/// A connection without a call for this long is closed by whoever opened it.
pub const IDLE_CLOSE: Duration = Duration::from_secs(60);

/// A connection from a peer without a call for this long is closed. Longer than
/// [`IDLE_CLOSE`]: the side that calls closes first and is never surprised.
pub const IDLE_CLOSE_INCOMING: Duration = Duration::from_secs(90);

/// The first call on a new connection comes by then, or the connection is closed.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// How often the other side of a connection with calls is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// And how long it may take to say so. Also ends connections to a side that reads
/// nothing.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long calls may go on when their connection is to close: the key was removed,
/// or the daemon stops.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Bytes that may wait unread in one call.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// Bytes that may wait unread on one connection.
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;

/// Bytes that may wait unsent in one call.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bytes of all header fields of a call.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;

/// Who calls: this node. Clones share the boot.
#[derive(Debug, Clone)]
pub struct Me {
    name: Arc<str>,
    boot: Arc<AtomicU64>,
}

/// The calls of this node to its peers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Peers {
    pool: Arc<Pool>,
    keys: Keys,
}

impl Me {
    /// A node by name and boot.
    #[must_use]
    pub fn new(name: &str, boot: u64) -> Self {
        Self {
            name: Arc::from(name),
            boot: Arc::new(AtomicU64::new(boot)),
        }
    }

    /// The engine raised the boot.
    pub fn raise_boot(&self, boot: u64) {
        self.boot.fetch_max(boot, Ordering::Relaxed);
    }

    /// Name of the node.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its boot now.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot.load(Ordering::Relaxed)
    }
}

impl Peers {
    /// Both directions of a node; the server serves nothing before it runs.
    #[must_use]
    pub fn new(me: Me, pipes: Pipes, tasks: &Tasks, metrics: Metrics) -> (Self, Server) {
        let keys = Keys::new(tasks.stop_token());
        let pool = Pool::new(
            me,
            pipes.dialer,
            keys.clone(),
            tasks.clone(),
            metrics.clone(),
        );
        let server = Server::new(pipes.arrivals, keys.clone(), tasks.clone(), metrics);
        let peers = Self {
            pool: Arc::new(pool),
            keys,
        };
        (peers, server)
    }

    /// Calls to the peer at an address. Cheap: the connection is made by the first
    /// call and shared by all; calls of a broken one fail as UNAVAILABLE, and the next
    /// call connects again.
    #[must_use]
    pub fn channel(&self, to: SocketAddr) -> Channel {
        Channel::new(Arc::clone(&self.pool), to)
    }

    /// Closes every connection, of both directions, that was opened under that key
    /// (`None`: in clear), once its calls are done, at the latest after some seconds.
    pub fn close_key(&self, key: Option<KeyId>) {
        self.keys.close(key);
    }
}

#[cfg(test)]
mod tests;
