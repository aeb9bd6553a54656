//! Peers for the tests of pipes.

use std::sync::Arc;

use muster_engine::crypto::{Key, Keyring};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

use super::handshake::{HandshakeError, Identity, Prefer, accept, initiate};
use super::stream::SealedStream;

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
