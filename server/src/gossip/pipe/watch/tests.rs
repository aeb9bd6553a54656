use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::gossip::pipe::testing::{Peer, identity, listener};

const PATIENCE: Duration = Duration::from_secs(30);

/// One node's watch streams, and what they tell.
struct Watcher {
    watches: Watches,
    arrivals: mpsc::Receiver<Arrival>,
}

fn watcher(key: Option<u8>) -> Watcher {
    let (sender, arrivals) = mpsc::channel(64);
    let context = Context {
        identity: identity("c", key),
        arrivals: sender,
        counters: Arc::default(),
    };
    let watches = Watches::new(context, Tasks::default());
    Watcher { watches, arrivals }
}

/// A node that is watched: its engine answers every hello with `hi`.
async fn peer(key: Option<u8>) -> Peer {
    let (sender, mut arrivals) = mpsc::channel(64);
    let peer = Peer::start(identity("c", key), sender).await;
    peer.tasks.spawn_guarded("engine", async move {
        while let Some(arrival) = arrivals.recv().await {
            if let Arrival::Request { body, reply, .. } = arrival {
                assert_eq!(body, "hello");
                reply.send(Some(Bytes::from_static(b"hi"))).unwrap();
            }
        }
    });
    peer
}

impl Watcher {
    fn open(&mut self, id: u64, to: SocketAddr, within: Duration) {
        let hello = Bytes::from_static(b"hello");
        self.watches
            .open(WatchId(id), to, hello, Instant::now() + within);
    }

    async fn told(&mut self) -> (u64, WatchEvent) {
        match timeout(PATIENCE, self.arrivals.recv()).await.unwrap() {
            Some(Arrival::Watch { id, event }) => (id.0, event),
            other => panic!("{other:?}"),
        }
    }

    async fn opened(&mut self, id: u64, to: SocketAddr) {
        self.open(id, to, PATIENCE);
        let answer = Bytes::from_static(b"hi");
        assert_eq!(self.told().await, (id, WatchEvent::Opened(answer)));
    }

    async fn fails(&mut self, to: SocketAddr, within: Duration) -> WatchFailure {
        self.open(99, to, within);
        match self.told().await {
            (99, WatchEvent::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_stops_says_goodbye() {
    for key in [None, Some(7)] {
        let (mut watcher, peer) = (watcher(key), peer(key).await);
        watcher.opened(1, peer.addr).await;
        peer.tasks.stop_token().cancel();
        assert_eq!(watcher.told().await, (1, WatchEvent::Closed));
    }
}

/// What a proxy between the two cannot fake: the end of the connection itself.
#[tokio::test]
async fn a_connection_that_ends_without_a_goodbye_is_lost() {
    let (mut watcher, peer) = (watcher(Some(7)), peer(Some(7)).await);
    let proxy = listener().await;
    let front = proxy.local_addr().unwrap();
    let (cut, ends) = tokio::sync::oneshot::channel::<()>();
    let relay = async {
        let (mut near, _) = proxy.accept().await.unwrap();
        let mut far = TcpStream::connect(peer.addr).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = ends => {}
        }
    };
    let watch = async {
        watcher.opened(1, front).await;
        cut.send(()).unwrap();
        assert_eq!(watcher.told().await, (1, WatchEvent::Lost));
    };
    tokio::join!(relay, watch);
    assert_eq!(peer.counters.watch_streams_given_up.get(), 0);
}

#[tokio::test]
async fn closing_says_goodbye_and_nothing_more_comes() {
    let (mut watcher, peer) = (watcher(Some(7)), peer(Some(7)).await);
    watcher.opened(1, peer.addr).await;
    watcher.opened(2, peer.addr).await;
    watcher.watches.close(WatchId(1));
    peer.tasks.stop_token().cancel();
    assert_eq!(
        watcher.told().await,
        (2, WatchEvent::Closed),
        "only the other"
    );
    // Nobody holds the channel any more once the tasks have ended.
    drop(watcher.watches);
    assert!(
        timeout(PATIENCE, watcher.arrivals.recv())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(peer.counters.pipes_closed_abruptly.get(), 0);
}

#[tokio::test]
async fn failures_say_whose_fault_they_are() {
    let mut watcher = watcher(Some(7));
    let closed = listener().await;
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(watcher.fails(nobody, PATIENCE).await, WatchFailure::Refused);
    let stranger = peer(Some(8)).await;
    let refused = watcher.fails(stranger.addr, PATIENCE).await;
    assert_eq!(refused, WatchFailure::Rejected);
    // The kernel accepts, nobody shakes hands: so it is with a stopped process.
    let stopped = listener().await;
    let there = stopped.local_addr().unwrap();
    let waited = watcher.fails(there, Duration::from_millis(150)).await;
    assert_eq!(waited, WatchFailure::Unanswered);
    let nowhere = "255.255.255.255:9".parse().unwrap();
    assert_eq!(watcher.fails(nowhere, PATIENCE).await, WatchFailure::Local);
}

#[tokio::test]
async fn a_connection_that_ends_in_the_handshake_is_broken() {
    let mut watcher = watcher(Some(7));
    let dying = listener().await;
    let there = dying.local_addr().unwrap();
    let accept = async {
        let (mut io, _) = dying.accept().await.unwrap();
        let mut preamble = [0; 10];
        io.read_exact(&mut preamble).await.unwrap();
    };
    let (failure, ()) = tokio::join!(watcher.fails(there, PATIENCE), accept);
    assert_eq!(failure, WatchFailure::Broken);
}

#[test]
fn errors_of_this_host_accuse_nobody() {
    use io::ErrorKind as Kind;
    let cases = [
        (Kind::ConnectionRefused, WatchFailure::Refused),
        (Kind::HostUnreachable, WatchFailure::Unreachable),
        (Kind::TimedOut, WatchFailure::Silent),
        (Kind::ConnectionReset, WatchFailure::Broken),
        (Kind::NetworkUnreachable, WatchFailure::Local),
        (Kind::NetworkDown, WatchFailure::Local),
        (Kind::AddrNotAvailable, WatchFailure::Local),
        (Kind::PermissionDenied, WatchFailure::Local),
        (Kind::Other, WatchFailure::Local),
    ];
    for (kind, failure) in cases {
        assert_eq!(connect_failure(kind), failure, "{kind:?}");
    }
}
