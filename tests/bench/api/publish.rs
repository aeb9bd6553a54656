//! The client that sends events.

use std::path::Path;

use muster::pb::ReceiptLevel;
use muster::{Client, EventSender, Receipts, SocketPath};

/// One stream of events.
#[derive(Debug)]
pub(crate) struct Publisher {
    sender: EventSender,
    receipts: Receipts,
}

impl Publisher {
    pub(crate) fn open(socket: &Path) -> anyhow::Result<Self> {
        let (sender, receipts) = client(socket)?.send_events(ReceiptLevel::Accepted);
        Ok(Self { sender, receipts })
    }

    /// Sends `count` events of `bytes` and waits until all are accepted.
    pub(crate) async fn send(&mut self, count: usize, bytes: usize) -> anyhow::Result<()> {
        let payload = bytes::Bytes::from(vec![b'.'; bytes]);
        let (sender, receipts) = (&mut self.sender, &mut self.receipts);
        let sending = async {
            for _ in 0..count {
                sender.send("bench", payload.clone()).await?;
            }
            anyhow::Ok(())
        };
        let receiving = async {
            for _ in 0..count {
                let receipt = receipts.next_final().await?;
                anyhow::ensure!(receipt.is_some(), "the stream of receipts ended");
            }
            Ok(())
        };
        tokio::try_join!(sending, receiving)?;
        Ok(())
    }
}

/// A client of the server at `socket`.
pub(crate) fn client(socket: &Path) -> anyhow::Result<Client> {
    let path = SocketPath::parse(&socket.display().to_string())?;
    Ok(Client::connect(&path))
}
