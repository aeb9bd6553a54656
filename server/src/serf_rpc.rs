//! serf's RPC protocol: msgpack over TCP, for the `serf` command and the client
//! libraries of serf.
//!
//! ```text
//!   socket -> frames (bounds) -> requests (serde) -> session (rights, order)
//!               -> calls (answered once), streams (pull from the hub)
//!               -> records -> outbox (one message at a time) -> socket
//! ```
//! The protocol is serf's to the byte; what is not are its weak spots: requests of one
//! connection do not wait for a slow one, a bad request is answered, a refused one
//! leaves the connection in step, and nothing is dropped without a word.

mod auth;
mod calls;
mod command;
mod filter;
mod frame;
mod keys;
pub mod limits;
mod metrics;
mod monitor;
mod outbox;
mod queries;
mod record;
mod request;
mod session;
mod stats;
mod stream;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::auth::Token;
pub use self::keys::{ClusterKeys, KeyChange, KeyText, KeysTold};
pub use self::metrics::Metrics;
pub use self::record::Coordinate;
use self::session::Session;
use crate::daemon::supervisor::Tasks;
use crate::gossip::Handle;
use crate::hub::Hub;
use crate::queries::{Asker, Responders};
use crate::telemetry::{LogFilter, Tail};

/// Wait after a failed `accept`: the cause, mostly too many open files, does not go
/// away by asking again at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How long connections that are cut off may take to notice.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub bind: SocketAddr,
    /// The token that clients must give; without one they may look and send events.
    pub auth: Option<Token>,
    /// Keys are listed by their text and not by their id.
    pub show_keys: bool,
}

/// What this surface needs from the daemon around it.
pub trait Hooks: Debug + Send + Sync + 'static {
    /// The node has left by a command that was answered: the daemon is to exit.
    fn left(&self);

    /// Where a member is in the network, if that is known.
    fn coordinate(&self, member: &str) -> Option<Coordinate>;

    /// Scripts by `EVENT:NAME`, as serf's statistics list them.
    fn event_handlers(&self) -> BTreeMap<String, String>;
}

/// How patient the daemon is with clients.
#[derive(Debug, Clone)]
pub struct Timing {
    /// [`limits::HANDSHAKE_MAX`].
    pub handshake: Duration,
    /// [`limits::REQUEST_MAX`].
    pub request: Duration,
    /// [`limits::STALL_MAX`].
    pub stall: Duration,
    /// How long calls may take to end once the daemon stops.
    pub drain: Duration,
}

/// What every connection needs.
#[derive(Debug)]
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// Version of the daemon.
    pub version: &'static str,
    /// Members and events.
    pub hub: Arc<Hub>,
    /// Commands.
    pub handle: Handle,
    /// The keys of the cluster, if there is a way to them.
    pub keys: Option<Arc<dyn ClusterKeys>>,
    /// Asks queries.
    pub asker: Asker,
    /// Those who answer queries.
    pub responders: Responders,
    /// The last lines of the log.
    pub tail: Tail,
    /// What is logged.
    pub log_filter: LogFilter,
    /// The daemon around.
    pub hooks: Arc<dyn Hooks>,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// What is counted.
    pub metrics: Metrics,
    /// Patience.
    pub timing: Timing,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: limits::HANDSHAKE_MAX,
            request: limits::REQUEST_MAX,
            stall: limits::STALL_MAX,
            drain: Duration::from_secs(5),
        }
    }
}

/// Binds the socket.
///
/// # Errors
/// The address is in use or not of this machine.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Serves the protocol until the tasks are told to stop. Then calls have
/// [`Timing::drain`] to be answered; what is still open is cut off.
///
/// # Errors
/// None at present: whatever goes wrong ends one connection at most.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) -> anyhow::Result<()> {
    let stop = shared.tasks.stop_token();
    let cut = CancellationToken::new();
    let open = TaskTracker::new();
    let mut accepting = true;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accepting = true;
                    admit(&shared, stream, peer, &open, &cut);
                }
                Err(error) => {
                    shared.metrics.accept_errors.inc();
                    if accepting {
                        tracing::warn!(%error, "cannot accept clients of serf's RPC, trying on");
                    }
                    accepting = false;
                    tokio::select! {
                        () = sleep(ACCEPT_BACKOFF) => {}
                        () = stop.cancelled() => break,
                    }
                }
            },
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    open.close();
    if timeout(shared.timing.drain, open.wait()).await.is_err() {
        let connections = open.len();
        tracing::warn!(
            connections,
            "clients of serf's RPC outlive the drain, cutting them off"
        );
        cut.cancel();
        if timeout(CUT_LIMIT, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "clients of serf's RPC do not end");
        }
    }
    Ok(())
}

fn admit(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    open: &TaskTracker,
    cut: &CancellationToken,
) {
    if open.len() >= limits::CONNECTIONS_MAX {
        shared.metrics.refused.inc();
        tracing::debug!(%peer, "too many clients of serf's RPC, closed one");
        return;
    }
    shared.metrics.accepted.inc();
    // Answers are small and whole: never worth waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "a client of serf's RPC is gone already");
        return;
    }
    let session = Session::new(Arc::clone(shared), stream, cut.child_token());
    let counted = Counted::new(shared.metrics.clone());
    let connection = async move {
        let _counted = counted;
        session.run().await;
    };
    shared
        .tasks
        .spawn_guarded("serf rpc connection", open.track_future(connection));
}

/// Counts a connection as open while it lives, also if it ends by a panic.
struct Counted(Metrics);

impl Counted {
    fn new(metrics: Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

#[cfg(test)]
mod tests;
