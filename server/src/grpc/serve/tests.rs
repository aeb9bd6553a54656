use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use super::*;
use crate::grpc::socket::SocketConfig;

/// How long anything here may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// tonic's health service, and a panic where the test asks for one.
#[derive(Clone)]
struct Service {
    health: BoxCloneService<Request<Body>, Response<Body>, Infallible>,
    peers: tokio::sync::mpsc::Sender<Peer>,
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = *request.extensions().get::<Peer>().unwrap();
        self.peers.try_send(peer).unwrap_or_default();
        assert!(!request.headers().contains_key("panic-early"), "asked for");
        let late = request.headers().contains_key("panic-late");
        let midway = request.headers().contains_key("panic-midway");
        let health = self.health.clone();
        Box::pin(async move {
            assert!(!late, "asked for");
            let response = health.oneshot(request).await?;
            if !midway {
                return Ok(response);
            }
            Ok(response.map(|body| {
                Body::new(body.map_frame(|frame| -> http_body::Frame<bytes::Bytes> {
                    assert!(frame.is_trailers(), "asked for");
                    frame
                }))
            }))
        })
    }
}

/// A served socket.
struct Fixture {
    directory: tempfile::TempDir,
    tasks: Tasks,
    metrics: TransportMetrics,
    health: HealthReporter,
    peers: tokio::sync::mpsc::Receiver<Peer>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Fixture {
    fn start(limits: Limits, drain: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = SocketConfig::new(directory.path().join("api.sock"), SocketKind::Api);
        let listener = Listener::bind(config).unwrap();
        let (sender, peers) = tokio::sync::mpsc::channel(64);
        let (health, service) = tonic_health::server::health_reporter();
        let service = Service {
            health: BoxCloneService::new(service),
            peers: sender,
        };
        let (tasks, metrics) = (Tasks::default(), TransportMetrics::default());
        let serving = serve(
            listener,
            service,
            limits,
            tasks.clone(),
            metrics.clone(),
            drain,
        );
        Self {
            directory,
            tasks,
            metrics,
            health,
            peers,
            server: tokio::spawn(serving),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    async fn stop(self) {
        // Watches live as long as it does.
        let _health = self.health;
        self.tasks.stop_token().cancel();
        timeout(PATIENCE, self.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let left = std::fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(left, 0, "files are left behind");
    }
}

async fn client(path: &Path) -> HealthClient<Channel> {
    let path = path.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    HealthClient::new(endpoint.connect_with_connector(connect).await.unwrap())
}

fn request(header: &'static str) -> tonic::Request<HealthCheckRequest> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if !header.is_empty() {
        request.metadata_mut().insert(header, "1".parse().unwrap());
    }
    request
}

async fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn serves_and_knows_the_peer() {
    let mut fixture = Fixture::start(Limits::default(), PATIENCE);
    let mut client = client(&fixture.path()).await;
    let answer = client.check(request("")).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let peer = fixture.peers.recv().await.unwrap();
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    assert_eq!(peer.socket, SocketKind::Api);
    assert_eq!(fixture.metrics.connections.get(), 1);
    drop(client);
    until(|| fixture.metrics.connections.get() == 0).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_lives() {
    let fixture = Fixture::start(Limits::default(), PATIENCE);
    let mut client = client(&fixture.path()).await;
    for (count, header) in [(1, "panic-early"), (2, "panic-late"), (3, "panic-midway")] {
        let status = client.check(request(header)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{header}: {status}");
        assert!(status.message().contains("bug"), "{header}: {status}");
        assert_eq!(fixture.metrics.call_panics.get(), count, "{header}");
        client.check(request("")).await.unwrap();
    }
    assert_eq!(fixture.metrics.connections_accepted.get(), 1);
    assert_eq!(fixture.tasks.panics(), 0);
    drop(client);
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_socket_comes_back() {
    let fixture = Fixture::start(Limits::default(), PATIENCE);
    let mut old = client(&fixture.path()).await;
    old.check(request("")).await.unwrap();
    for round in 1..=2 {
        std::fs::remove_file(fixture.path()).unwrap();
        if round == 2 {
            // With its directory and all.
            std::fs::remove_dir_all(fixture.directory.path()).unwrap();
        }
        until(|| fixture.path().exists()).await;
        assert_eq!(fixture.metrics.sockets_recreated.get(), round);
        client(&fixture.path())
            .await
            .check(request(""))
            .await
            .unwrap();
        old.check(request("")).await.unwrap();
    }
    assert_eq!(fixture.metrics.socket_recreation_errors.get(), 0);
    drop(old);
    fixture.stop().await;
}

#[tokio::test]
async fn a_foreign_file_in_its_place_is_left_alone() {
    let fixture = Fixture::start(Limits::default(), PATIENCE);
    std::fs::remove_file(fixture.path()).unwrap();
    std::fs::write(fixture.path(), "precious").unwrap();
    until(|| fixture.metrics.socket_recreation_errors.get() > 0).await;
    assert_eq!(std::fs::read_to_string(fixture.path()).unwrap(), "precious");
    std::fs::remove_file(fixture.path()).unwrap();
    until(|| fixture.metrics.sockets_recreated.get() == 1).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_drain_lets_calls_end_and_cuts_off_the_rest() {
    let fixture = Fixture::start(Limits::default(), Duration::from_millis(100));
    let mut client = client(&fixture.path()).await;
    let mut watch = client.watch(request("")).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();
    let metrics = fixture.metrics.clone();
    let started = Instant::now();
    fixture.stop().await;
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(metrics.connections_cut.get(), 1);
    assert_eq!(metrics.connections.get(), 0);
    let ended = timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(ended.is_none_or(|item| item.is_err()));
}

#[tokio::test]
async fn a_drain_does_not_wait_for_idle_connections() {
    let fixture = Fixture::start(Limits::default(), PATIENCE * 2);
    let mut client = client(&fixture.path()).await;
    client.check(request("")).await.unwrap();
    let metrics = fixture.metrics.clone();
    fixture.stop().await;
    assert_eq!(metrics.connections_cut.get(), 0);
}

#[tokio::test]
async fn a_connection_too_many_is_closed() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let fixture = Fixture::start(limits, PATIENCE);
    let mut first = client(&fixture.path()).await;
    first.check(request("")).await.unwrap();
    let mut second = UnixStream::connect(fixture.path()).await.unwrap();
    let read = timeout(PATIENCE, second.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    assert_eq!(fixture.metrics.connections_refused.get(), 1);
    first.check(request("")).await.unwrap();
    drop(first);
    until(|| fixture.metrics.connections.get() == 0).await;
    client(&fixture.path())
        .await
        .check(request(""))
        .await
        .unwrap();
    fixture.stop().await;
}

/// Pings for ever and reads no answer; ends when the server closes.
async fn flood(stream: &UnixStream) {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let pings = ping.repeat(1000);
    let mut rest = bytes.as_slice();
    loop {
        stream.writable().await.unwrap();
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if rest.is_empty() {
            rest = &pings;
        }
    }
}

#[tokio::test]
async fn a_reader_that_stalls_is_closed() {
    let limits = Limits {
        stall: Duration::from_millis(200),
        ..Limits::default()
    };
    let fixture = Fixture::start(limits, PATIENCE);
    let stream = UnixStream::connect(fixture.path()).await.unwrap();
    timeout(PATIENCE, flood(&stream)).await.unwrap();
    until(|| fixture.metrics.consumers_stalled.get() == 1).await;
    until(|| fixture.metrics.connections.get() == 0).await;
    fixture.stop().await;
}

#[tokio::test]
async fn thousands_of_cancelled_watches_cost_nobody_a_connection() {
    let fixture = Fixture::start(Limits::default(), PATIENCE);
    let mut client = client(&fixture.path()).await;
    let mut lasting = client.watch(request("")).await.unwrap().into_inner();
    lasting.next().await.unwrap().unwrap();
    for _ in 0..3_000 {
        // Opened, and dropped before an answer came or right after it.
        let mut other = client.clone();
        let open = other.watch(request(""));
        _ = timeout(Duration::from_micros(200), open).await;
    }
    client.check(request("")).await.unwrap();
    fixture
        .health
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let told = timeout(PATIENCE, lasting.next()).await.unwrap();
    assert_eq!(
        told.unwrap().unwrap().status,
        2,
        "the stream beside them lives"
    );
    assert_eq!(fixture.metrics.connections_accepted.get(), 1);
    drop((client, lasting));
    fixture.stop().await;
}
