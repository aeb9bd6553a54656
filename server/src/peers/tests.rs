use futures_util::StreamExt as _;
use muster_proto::peer::query_peer_service_client::QueryPeerServiceClient;
use muster_proto::peer::query_peer_service_server::{QueryPeerService, QueryPeerServiceServer};
use muster_proto::peer::{AnswerBegin, AnswerRequest, AnswerResponse, answer_request};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::*;
use crate::gossip::rpc::testing::node;
use crate::routes::Routes;

const SOON: Duration = Duration::from_secs(20);

/// Does what the boot in the first message says.
const ECHO: u64 = 0;
const PANIC: u64 = 1;
const HANG: u64 = 2;

struct Service;

type Answers = tonic::codegen::BoxStream<AnswerResponse>;

#[tonic::async_trait]
impl QueryPeerService for Service {
    async fn answer(
        &self,
        request: Request<Streaming<AnswerRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = Caller::of(&request)?;
        assert_eq!((&*caller.name, caller.boot), ("asker", 5));
        let mut steps = request.into_inner();
        let first = steps.message().await?.and_then(|message| message.step);
        let Some(answer_request::Step::Begin(begin)) = first else {
            return Err(Status::invalid_argument("no begin"));
        };
        match begin.boot {
            PANIC => panic!("a bug"),
            HANG => std::future::pending().await,
            _ => {}
        }
        let answers = steps.map(|step| step.map(|_| AnswerResponse {}));
        Ok(Response::new(Box::pin(answers)))
    }
}

struct Node {
    peers: Peers,
    metrics: Metrics,
    addr: SocketAddr,
    tasks: Tasks,
}

async fn start(key: Option<u8>) -> Node {
    let tasks = Tasks::default();
    let metrics = Metrics::default();
    let (pipes, addr) = node(key, &tasks).await;
    let (peers, server) = Peers::new(Me::new("asker", 5), pipes, &tasks, metrics.clone());
    let routes = Routes::default().add(QueryPeerServiceServer::new(Service));
    tasks.spawn("peers", server.run(routes));
    Node {
        peers,
        metrics,
        addr,
        tasks,
    }
}

fn step(boot: u64) -> AnswerRequest {
    let begin = AnswerBegin { boot, sequence: 1 };
    AnswerRequest {
        step: Some(answer_request::Step::Begin(begin)),
    }
}

/// Calls and counts the echoes.
async fn call(from: &Node, to: SocketAddr, boot: u64, steps: usize) -> Result<usize, Status> {
    let mut client = QueryPeerServiceClient::new(from.peers.channel(to));
    let messages = std::iter::once(step(boot)).chain((0..steps).map(|_| step(0)));
    let answers = client.answer(futures_util::stream::iter(messages.collect::<Vec<_>>()));
    let mut answers = answers.await?.into_inner();
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "never: {what}");
}

async fn stop(nodes: impl IntoIterator<Item = Node>) {
    for node in nodes {
        let overran = node.tasks.stop_within(SOON).await;
        assert!(overran.is_empty(), "{overran:?}");
    }
}

#[tokio::test]
async fn calls_share_one_sealed_connection() {
    for key in [Some(1), None] {
        let (one, two) = (start(key).await, start(key).await);
        for _ in 0..3 {
            assert_eq!(call(&one, two.addr, ECHO, 4).await.unwrap(), 4);
        }
        let calls = (0..50).map(|_| call(&one, two.addr, ECHO, 10));
        for answered in futures_util::future::join_all(calls).await {
            assert_eq!(answered.unwrap(), 10);
        }
        assert_eq!(one.metrics.opened.get(), 1);
        assert_eq!(two.metrics.accepted.get(), 1);
        assert_eq!(two.metrics.calls_received.get(), 53);
        stop([one, two]).await;
    }
}

#[tokio::test]
async fn a_stop_ends_connections_and_says_so() {
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    call(&one, two.addr, ECHO, 1).await.unwrap();
    stop([two]).await;
    until("the other side knows", || one.metrics.outgoing.get() == 0).await;
    assert_eq!(one.metrics.broken.get(), 0, "it said goodbye");
    stop([one]).await;
}

#[tokio::test]
async fn a_call_after_the_peer_came_back_connects_again() {
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    call(&one, two.addr, ECHO, 1).await.unwrap();
    two.peers.close_key(the_key());
    until("closed", || one.metrics.outgoing.get() == 0).await;
    assert_eq!(call(&one, two.addr, ECHO, 1).await.unwrap(), 1);
    assert_eq!(one.metrics.opened.get(), 2);
    assert_eq!(one.metrics.broken.get(), 0);
    stop([one, two]).await;
}

/// The key that every node of these tests has.
fn the_key() -> Option<KeyId> {
    Some(muster_engine::crypto::Key::new(&[1; 32]).unwrap().id())
}

#[tokio::test]
async fn a_removed_key_cuts_what_does_not_end() {
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    let hanging = call(&one, two.addr, HANG, 0);
    let removed = async {
        until("the call is there", || {
            two.metrics.calls_received.get() == 1
        })
        .await;
        one.peers.close_key(the_key());
    };
    let (ended, ()) = timeout(SOON, async { tokio::join!(hanging, removed) })
        .await
        .unwrap();
    assert!(ended.is_err());
    assert_eq!(one.metrics.cut.get(), 1);
    stop([one, two]).await;
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_lives_on() {
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    let status = call(&one, two.addr, PANIC, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert_eq!(two.metrics.call_panics.get(), 1);
    call(&one, two.addr, ECHO, 1).await.unwrap();
    assert_eq!(one.metrics.opened.get(), 1);
    stop([one, two]).await;
}

#[tokio::test]
async fn who_is_not_there_or_has_another_key_is_told_apart() {
    let (one, other) = (start(Some(1)).await, start(Some(2)).await);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let refused = call(&one, gone, ECHO, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("cannot connect"), "{refused:?}");
    let stranger = call(&one, other.addr, ECHO, 0).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unavailable);
    assert!(stranger.message().contains("wrong key"), "{stranger:?}");
    assert_eq!(one.metrics.open_errors.get(), 2);
    assert!(
        one.peers.pool.peers().is_empty(),
        "nothing is kept of either"
    );
    stop([one, other]).await;
}

#[tokio::test]
async fn services_that_are_not_there_are_unimplemented() {
    let tasks = Tasks::default();
    let (pipes, addr) = node(Some(1), &tasks).await;
    let (_peers, server) = Peers::new(Me::new("b", 1), pipes, &tasks, Metrics::default());
    tasks.spawn("peers", server.run(Routes::default()));
    let one = start(Some(1)).await;
    let status = call(&one, addr, ECHO, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    stop([one]).await;
    assert!(tasks.stop_within(SOON).await.is_empty());
}

#[tokio::test]
async fn a_caller_without_a_good_name_is_refused() {
    let two = start(Some(1)).await;
    let tasks = Tasks::default();
    let (pipes, _) = node(Some(1), &tasks).await;
    let (nameless, _server) =
        Peers::new(Me::new("not a name", 1), pipes, &tasks, Metrics::default());
    let mut client = QueryPeerServiceClient::new(nameless.channel(two.addr));
    let refused = client
        .answer(futures_util::stream::empty())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(two.metrics.callers_unknown.get(), 1);
    stop([two]).await;
    assert!(tasks.stop_within(SOON).await.is_empty());
}

/// Opens a pipe of gRPC and writes bytes that are no HTTP/2 into it.
#[tokio::test]
async fn garbage_after_the_open_frame_ends_that_connection_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    let tasks = Tasks::default();
    let (pipes, _) = node(Some(1), &tasks).await;
    let mut noise: u32 = 7;
    for round in 0..20_u32 {
        let mut pipe = pipes.dialer.dial(two.addr).await.unwrap();
        let mut bytes = match round % 3 {
            0 => Vec::new(),
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        };
        bytes.extend((0..200 * (round + 1)).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        }));
        let _gone = pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err();
        let mut rest = Vec::new();
        let _cut = timeout(SOON, pipe.read_to_end(&mut rest))
            .await
            .expect("garbage is not waited for")
            .is_err();
    }
    until("all ended", || two.metrics.incoming.get() == 0).await;
    assert_eq!(two.metrics.broken.get(), 20);
    call(&one, two.addr, ECHO, 1).await.unwrap();
    stop([one, two]).await;
    assert!(tasks.stop_within(SOON).await.is_empty());
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_its_place_free() {
    let two = start(Some(1)).await;
    let tasks = Tasks::default();
    let (pipes, _) = node(Some(1), &tasks).await;
    let silent = pipes.dialer.dial(two.addr).await.unwrap();
    until("it is in", || two.metrics.incoming.get() == 1).await;
    until("it is out", || two.metrics.incoming.get() == 0).await;
    drop(silent);
    stop([two]).await;
    assert!(tasks.stop_within(SOON).await.is_empty());
}

/// Connections without calls make room; connections with calls do not.
#[tokio::test]
async fn over_the_bound_idle_connections_make_room() {
    let two = start(Some(1)).await;
    let tasks = Tasks::default();
    let (pipes, _) = node(Some(1), &tasks).await;
    let mut idle = Vec::new();
    for _ in 0..INCOMING_MAX {
        idle.push(pipes.dialer.dial(two.addr).await.unwrap());
    }
    let one = start(Some(1)).await;
    call(&one, two.addr, ECHO, 1).await.unwrap();
    assert_eq!(two.metrics.refused.get(), 0);
    stop([one, two]).await;
    assert!(tasks.stop_within(SOON).await.is_empty());
}

#[tokio::test]
async fn one_node_calls_more_peers_than_it_may_have_connections() {
    let one = start(Some(1)).await;
    let mut others = Vec::new();
    for _ in 0..OUTGOING_MAX + 8 {
        others.push(start(Some(1)).await);
    }
    let calls = others.iter().map(|other| call(&one, other.addr, ECHO, 2));
    for answered in futures_util::future::join_all(calls).await {
        assert_eq!(answered.unwrap(), 2);
    }
    assert!(one.metrics.outgoing.get() <= i64::try_from(OUTGOING_MAX).unwrap());
    stop(others).await;
    stop([one]).await;
}

#[tokio::test]
async fn a_call_without_a_place_fails_in_time() {
    let one = start(Some(1)).await;
    let mut others = Vec::new();
    for _ in 0..=OUTGOING_MAX {
        others.push(start(Some(1)).await);
    }
    let (last, busy) = others.split_last().unwrap();
    let hanging = busy.iter().map(|other| call(&one, other.addr, HANG, 0));
    let hanging = futures_util::future::join_all(hanging);
    let refused = async {
        until("all busy", || {
            busy.iter()
                .all(|other| other.metrics.calls_received.get() == 1)
        })
        .await;
        call(&one, last.addr, ECHO, 1).await
    };
    let refused = tokio::select! {
        refused = refused => refused.unwrap_err(),
        _ = hanging => panic!("a hanging call ended"),
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(one.metrics.crowded.get(), 1);
    stop([one]).await;
    stop(others).await;
}

/// A caller that reads nothing holds back no other call, and a stop ends it.
#[tokio::test]
async fn a_peer_that_stops_reading_is_let_go() {
    let (one, two) = (start(Some(1)).await, start(Some(1)).await);
    let mut client = QueryPeerServiceClient::new(one.peers.channel(two.addr));
    let (steps, messages) = tokio::sync::mpsc::channel(1);
    steps.send(step(ECHO)).await.unwrap();
    let unread = client.answer(ReceiverStream::new(messages)).await.unwrap();
    let flood = async {
        // Answers wait in the window of the call until nothing goes any more, or until
        // h2 finds that they are too many for their size.
        let sent = || timeout(Duration::from_millis(300), steps.send(step(0)));
        while matches!(sent().await, Ok(Ok(()))) {}
    };
    timeout(SOON, flood).await.expect("a bound is met");
    let other = timeout(SOON, call(&one, two.addr, ECHO, 3)).await;
    assert_eq!(other.expect("other calls go on").unwrap(), 3);
    drop((unread, steps));
    stop([one, two]).await;
}

#[tokio::test]
async fn what_others_must_not_read_is_not_sent_in_clear() {
    for (key, fits) in [(Some(1), true), (None, false)] {
        let (one, two) = (start(key).await, start(key).await);
        let channel = one.peers.channel(two.addr).sealed();
        let mut client = QueryPeerServiceClient::new(channel);
        let steps = futures_util::stream::iter([step(ECHO)]);
        let called = timeout(SOON, client.answer(steps)).await.unwrap();
        match called {
            Ok(_) => assert!(fits),
            Err(status) => {
                assert!(!fits, "{status:?}");
                assert_eq!(status.code(), Code::FailedPrecondition);
                assert!(status.message().contains("in clear"), "{status:?}");
            }
        }
        assert_eq!(two.metrics.calls_received.get(), u64::from(fits));
        stop([one, two]).await;
    }
}
