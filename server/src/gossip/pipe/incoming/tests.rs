use muster_engine::api::EXCHANGE_BYTES_MAX;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::message::Goodbye;
use super::*;
use crate::gossip::pipe::testing::identity;
use crate::gossip::pipe::testing::initiate_first;

/// A server whose engine is the test.
struct Bench {
    server: Server,
    arrivals: mpsc::Receiver<Arrival>,
}

fn bench() -> Bench {
    let (sender, arrivals) = mpsc::channel(4);
    let server = Server::new(
        identity("c", Some(1)),
        sender,
        mpsc::channel(1).0,
        Arc::default(),
        CancellationToken::new(),
    );
    Bench { server, arrivals }
}

impl Bench {
    fn from() -> SocketAddr {
        "10.0.0.1:4000".parse().unwrap()
    }

    async fn serve(
        &self,
        io: DuplexStream,
    ) -> Result<Option<Frames<SealedStream<DuplexStream>>>, ServeError> {
        let half_open = Arc::clone(&self.server.half_open);
        let half_open = half_open.try_acquire_owned().unwrap();
        self.server.serve(io, Self::from(), half_open).await
    }
}

async fn client(io: DuplexStream) -> Frames<SealedStream<DuplexStream>> {
    Frames::new(initiate_first(io, &identity("c", Some(1))).await.unwrap())
}

async fn goodbye(frames: &mut Frames<SealedStream<DuplexStream>>) -> Reason {
    let head = frames.head().await.unwrap();
    assert_eq!(head.kind, FrameKind::Goodbye);
    Goodbye::decode(frames.body(head).await.unwrap())
        .unwrap()
        .reason()
}

fn open() -> Vec<u8> {
    Open::of(ExchangeKind::Pull).encode_to_vec()
}

#[tokio::test]
async fn a_request_reaches_the_engine_with_its_peer_and_kind() {
    let mut bench = bench();
    let (near, far) = duplex(1_000);
    let server = bench.server.clone();
    let half_open = Arc::clone(&server.half_open).try_acquire_owned().unwrap();
    let engine = async {
        let Some(Arrival::Request {
            from,
            kind,
            body,
            reply,
        }) = bench.arrivals.recv().await
        else {
            panic!("no request");
        };
        assert_eq!((from, kind), (Bench::from(), ExchangeKind::Pull));
        assert_eq!(body, "hello");
        assert_eq!(
            server.half_open.available_permits(),
            HALF_OPEN_MAX,
            "open by now"
        );
        reply.send(Some(Bytes::from("world"))).unwrap();
    };
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Open, &open()).await.unwrap();
        frames.write(FrameKind::Body, b"hello").await.unwrap();
        let head = frames.head().await.unwrap();
        assert_eq!(frames.body(head).await.unwrap(), "world");
        frames.close(Reason::Done, "").await;
    };
    let serving = server.serve(far, Bench::from(), half_open);
    let (served, (), ()) = tokio::join!(serving, engine, asking);
    served.unwrap();
}

#[tokio::test]
async fn unknown_kinds_get_a_goodbye_with_the_reason() {
    let cases = [
        (
            Open {
                kind: 9,
                version: 1,
            },
            Reason::UnknownKind,
        ),
        (
            Open {
                kind: 2,
                version: 2,
            },
            Reason::UnknownVersion,
        ),
    ];
    for (open, reason) in cases {
        let bench = bench();
        let (near, far) = duplex(1_000);
        let asking = async {
            let mut frames = client(near).await;
            frames
                .write(FrameKind::Open, &open.encode_to_vec())
                .await
                .unwrap();
            goodbye(&mut frames).await
        };
        let (served, said) = tokio::join!(bench.serve(far), asking);
        assert_eq!(said, reason);
        let error = served.unwrap_err();
        assert!(matches!(error, ServeError::Refused(_)), "{error}");
        bench.server.count(&error);
        assert_eq!(bench.server.counters.pipes_refused_kind.get(), 1);
    }
}

#[tokio::test]
async fn a_pipe_must_begin_with_open_and_only_once() {
    let bench_one = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Body, b"hello").await.unwrap();
        goodbye(&mut frames).await
    };
    let (served, said) = tokio::join!(bench_one.serve(far), asking);
    assert_eq!(said, Reason::BadFrame);
    assert!(matches!(served, Err(ServeError::Refused(_))));

    let bench_two = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Open, &open()).await.unwrap();
        frames.write(FrameKind::Open, &open()).await.unwrap();
        goodbye(&mut frames).await
    };
    let (served, said) = tokio::join!(bench_two.serve(far), asking);
    assert_eq!(said, Reason::BadFrame);
    assert!(matches!(
        served,
        Err(ServeError::Frame(FrameError::Kind(0)))
    ));
}

#[tokio::test]
async fn an_oversized_frame_is_refused_and_counted() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut stream = initiate_first(near, &identity("c", Some(1))).await.unwrap();
        let open = open();
        stream.write_u32(open.len() as u32).await.unwrap();
        stream.write_u8(0).await.unwrap();
        stream.write_all(&open).await.unwrap();
        stream
            .write_u32(EXCHANGE_BYTES_MAX as u32 + 1)
            .await
            .unwrap();
        stream.write_u8(1).await.unwrap();
        stream.flush().await.unwrap();
        goodbye(&mut Frames::new(stream)).await
    };
    let (served, said) = tokio::join!(bench.serve(far), asking);
    assert_eq!(said, Reason::BadFrame);
    let error = served.unwrap_err();
    assert!(
        matches!(error, ServeError::Frame(FrameError::TooLong { .. })),
        "{error}"
    );
    bench.server.count(&error);
    assert_eq!(bench.server.counters.pipes_refused_frame.get(), 1);
}

#[tokio::test]
async fn garbage_inside_a_pipe_is_a_cut_connection() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let (mut tap, tapped) = duplex(1_000);
    // Carries the handshake faithfully, then garbage.
    let relay = async {
        let (mut near_read, mut near_write) = tokio::io::split(near);
        let mut hello = [0; 58];
        near_read.read_exact(&mut hello).await.unwrap();
        tap.write_all(&hello).await.unwrap();
        let mut reply = [0; 54];
        tap.read_exact(&mut reply).await.unwrap();
        near_write.write_all(&reply).await.unwrap();
        tap.write_all(&[0, 40]).await.unwrap();
        tap.write_all(&[0x99; 40]).await.unwrap();
    };
    let (served, client, ()) = tokio::join!(bench.serve(tapped), client(far), relay);
    drop(client);
    let error = served.unwrap_err();
    assert!(
        matches!(error, ServeError::Frame(FrameError::Io(_))),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_is_given_up_at_any_point() {
    let hello = [b"mstr\x01\x01".to_vec(), vec![0; 40]].concat();
    for sent in 0..hello.len() {
        let bench = bench();
        let (mut near, far) = duplex(1_000);
        near.write_all(&hello[..sent]).await.unwrap();
        let began = tokio::time::Instant::now();
        let error = bench.serve(far).await.unwrap_err();
        if sent < 10 {
            assert!(
                matches!(error, ServeError::Handshake(HandshakeError::Slow)),
                "{error}"
            );
        }
        assert!(
            began.elapsed() <= HANDSHAKE_DEADLINE + Duration::from_secs(1),
            "{sent}"
        );
        assert_eq!(bench.server.half_open.available_permits(), HALF_OPEN_MAX);
        near.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_open_after_the_handshake_is_given_up() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let (served, kept) = tokio::join!(bench.serve(far), client(near));
    assert!(matches!(
        served,
        Err(ServeError::Handshake(HandshakeError::Slow))
    ));
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pipe_is_closed_with_a_goodbye() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Open, &open()).await.unwrap();
        goodbye(&mut frames).await
    };
    let (served, said) = tokio::join!(bench.serve(far), asking);
    served.unwrap();
    assert_eq!(said, Reason::Done);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_costs_the_pipe() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Open, &open()).await.unwrap();
        frames.write(FrameKind::Body, b"hello").await.unwrap();
        goodbye(&mut frames).await
    };
    let (served, said) = tokio::join!(bench.serve(far), asking);
    assert!(matches!(served, Err(ServeError::Unanswered)));
    assert_eq!(said, Reason::BadFrame);
}

#[tokio::test]
async fn the_stop_of_the_node_is_told() {
    let bench = bench();
    let (near, far) = duplex(1_000);
    let asking = async {
        let mut frames = client(near).await;
        frames.write(FrameKind::Open, &open()).await.unwrap();
        bench.server.stop.cancel();
        goodbye(&mut frames).await
    };
    let (served, said) = tokio::join!(bench.serve(far), asking);
    served.unwrap();
    assert_eq!(said, Reason::Stopping);
}

#[tokio::test]
async fn half_open_pipes_are_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let Bench { server, arrivals } = bench();
    let counters = Arc::clone(&server.counters);
    let tasks = Tasks::default();
    tasks.spawn("accept", server.run(listener, tasks.clone()));
    let mut kept = Vec::new();
    for _ in 0..HALF_OPEN_MAX {
        kept.push(TcpStream::connect(addr).await.unwrap());
    }
    let mut refused = TcpStream::connect(addr).await.unwrap();
    let mut reply = Vec::new();
    refused.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, handshake::busy_reply());
    assert_eq!(counters.pipes_refused_half_open.get(), 1);
    assert_eq!(counters.pipes_incoming.get(), HALF_OPEN_MAX as u64);
    drop((kept, arrivals));
}
