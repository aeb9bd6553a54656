//! A relay in front of a daemon that keeps copies of the datagrams it passes on:
//! the way to real sealed datagrams for tests that damage or repeat them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::{address, wait};

/// Copies kept; later datagrams are passed on without a copy.
const COPIES_MAX: usize = 1_024;

/// Largest datagram.
const DATAGRAM_MAX: usize = 65_536;

/// Relays UDP and TCP from an address of its own to a daemon. Ends on drop.
#[derive(Debug)]
pub struct Tap {
    addr: SocketAddr,
    copies: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl Tap {
    /// A relay to `target`: let the daemon there `--advertise` [`Self::addr`].
    ///
    /// # Panics
    ///
    /// When the sockets cannot be bound.
    pub async fn to(target: SocketAddr) -> Self {
        let addr = address::fresh();
        let udp = UdpSocket::bind(addr)
            .await
            .expect("no UDP socket for the tap");
        let tcp = TcpListener::bind(addr)
            .await
            .expect("no TCP socket for the tap");
        let copies = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(relay_datagrams(udp, target, Arc::clone(&copies)));
        tasks.spawn(relay_connections(tcp, target));
        Self {
            addr,
            copies,
            _tasks: tasks,
        }
    }

    /// Where peers should send.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Copies of the datagrams that went to the daemon so far.
    #[must_use]
    pub fn copies(&self) -> Vec<Vec<u8>> {
        self.copies
            .lock()
            .map(|copies| copies.clone())
            .unwrap_or_default()
    }

    /// Waits for a first datagram; a copy of the last one.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    pub async fn datagram(&self) -> Vec<u8> {
        let look = async || self.copies().pop().ok_or("none was sent");
        wait::until("a datagram at the tap", wait::SOON, look).await
    }
}

async fn relay_datagrams(udp: UdpSocket, target: SocketAddr, copies: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let Ok((length, _from)) = udp.recv_from(&mut buffer).await else {
            continue;
        };
        let datagram = &buffer[..length];
        if let Ok(mut copies) = copies.lock()
            && copies.len() < COPIES_MAX
        {
            copies.push(datagram.to_vec());
        }
        // A daemon that is down answers with ICMP: the next datagram may pass.
        udp.send_to(datagram, target).await.ok();
    }
}

async fn relay_connections(tcp: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _from)) = tcp.accept().await {
        connections.spawn(relay_connection(stream, target));
        while connections.try_join_next().is_some() {}
    }
}

async fn relay_connection(mut from: TcpStream, target: SocketAddr) {
    let relay = async {
        let mut to = TcpStream::connect(target).await?;
        tokio::io::copy_bidirectional(&mut from, &mut to).await
    };
    // Either end may go away at any time: so does the relay.
    let _ended: io::Result<(u64, u64)> = relay.await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn datagrams_and_streams_pass_and_datagrams_are_copied() {
        let target = address::fresh();
        let udp = UdpSocket::bind(target).await.unwrap();
        let tcp = TcpListener::bind(target).await.unwrap();
        let tap = Tap::to(target).await;
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sender.send_to(b"hello", tap.addr()).await.unwrap();
        let mut buffer = [0; 16];
        let length = udp.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"hello");
        assert_eq!(tap.datagram().await, b"hello");

        let mut client = TcpStream::connect(tap.addr()).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let (mut server, _from) = tcp.accept().await.unwrap();
        let mut four = [0; 4];
        server.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"ping");
    }
}
