//! Peers for the tests of pipes.

use std::net::SocketAddr;
use std::sync::Arc;

use muster_engine::crypto::{Key, Keyring};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::handshake::{HandshakeError, Identity, Prefer, accept, initiate};
use super::incoming::Server;
use super::stream::SealedStream;
use crate::daemon::supervisor::Tasks;
use crate::gossip::metrics::Counters;
use crate::gossip::task::Arrival;

/// A node that takes pipes, on a real port.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) tasks: Tasks,
    pub(crate) counters: Arc<Counters>,
}

impl Peer {
    /// Serves a listener; what comes goes to `arrivals`.
    pub(crate) fn serve(
        listener: TcpListener,
        identity: Arc<Identity>,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let (tasks, counters) = (Tasks::default(), Arc::<Counters>::default());
        let server = Server::new(
            identity,
            arrivals,
            mpsc::channel(1).0,
            Arc::clone(&counters),
            tasks.stop_token(),
        );
        tasks.spawn("accept", server.run(listener, tasks.clone()));
        Self {
            addr,
            tasks,
            counters,
        }
    }

    /// Serves a port of its own.
    pub(crate) async fn start(identity: Arc<Identity>, arrivals: mpsc::Sender<Arrival>) -> Self {
        Self::serve(listener().await, identity, arrivals)
    }
}

/// A free port of this host.
pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A node of `cluster` with the key of that byte, or without one.
pub(crate) fn identity(cluster: &str, key: Option<u8>) -> Arc<Identity> {
    let keyring = key.map(|byte| Keyring::new(Key::new(&[byte; 32]).unwrap()));
    Arc::new(Identity::new(cluster.to_owned(), keyring))
}

/// Opens a pipe by the first offer.
pub(crate) async fn initiate_first<T>(
    io: T,
    me: &Identity,
) -> Result<SealedStream<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    initiate(io, me, &me.offers(Prefer::Stage)[0]).await
}

/// Two ends of a pipe over a small in-memory connection.
pub(crate) async fn pair(
    key: Option<u8>,
) -> (SealedStream<DuplexStream>, SealedStream<DuplexStream>) {
    let (near, far) = duplex(1_000);
    let (one, two) = (identity("c", key), identity("c", key));
    let (near, far) = tokio::join!(initiate_first(near, &one), accept(far, &two));
    (near.unwrap(), far.unwrap())
}
