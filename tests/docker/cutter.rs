//! A way to an engine that can be cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes everything on until it is cut; then all connections end, in the middle of
/// whatever they carry.
pub(crate) struct Cutter {
    socket: PathBuf,
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Cutter {
    pub(crate) fn new(directory: &Path, engine: PathBuf) -> Self {
        let socket = directory.join("cut.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (cuts, seen) = watch::channel(0);
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (engine, mut cut) = (engine.clone(), seen.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(far) = UnixStream::connect(engine).await else {
                        return;
                    };
                    tokio::select! {
                        () = pass(near, far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            socket,
            cuts,
            connections,
            accepting,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(near: UnixStream, far: UnixStream) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(
        in_small_pieces(near_read, far_write),
        in_small_pieces(far_read, near_write)
    );
}

/// So that a cut falls into the middle of lines and chunks.
async fn in_small_pieces(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = [0; 700];
    loop {
        match from.read(&mut buffer).await {
            Ok(read) if read > 0 => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
    let _closed = to.shutdown().await;
}
