//! A tonic channel over a unix socket.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::socket::{SocketError, SocketPath};

/// Bytes that one connection may have in flight to us. Above the sum of what a few
/// stalled watches hold, so that one of them never blocks a call beside it.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes that one stream may have in flight to us: four of the largest messages.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// A channel that connects when first used and again whenever the connection is gone.
/// Needs a tokio runtime around it.
pub(crate) fn channel(socket: &SocketPath) -> Channel {
    let path: Arc<SocketPath> = Arc::new(socket.clone());
    Endpoint::from_static("http://localhost")
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .connect_with_connector_lazy(service_fn(move |_: Uri| {
            let path = Arc::clone(&path);
            async move {
                UnixStream::connect(path.as_path())
                    .await
                    .map(TokioIo::new)
                    .map_err(|error| SocketError::connect(path.as_path(), error))
            }
        }))
}
