//! A server, its fake engine and a client.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use muster_engine::{Accepted, EngineError, EventDraft, EventError, Member, Status};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc, watch};

use super::super::frame::Frames;
use super::super::request::Blob;
use super::super::*;
use crate::gossip::handle::{Command, EventCommand};
use crate::gossip::{JoinOutcome, Report};
use crate::hub::testing::{member, updated};
use crate::peers::Me;
use crate::telemetry::log::{self, LogFormat, Target};

/// Longest wait of a test for one thing.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) const PAYLOAD_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct TestHooks {
    pub(super) left: Notify,
}

impl Hooks for TestHooks {
    fn left(&self) {
        self.left.notify_one();
    }

    fn coordinate(&self, member: &str) -> Option<Coordinate> {
        (member == "known").then(|| Coordinate {
            vec: Some(vec![0.5; 8]),
            ..Coordinate::default()
        })
    }

    fn event_handlers(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("user:deploy".to_owned(), "./deploy".to_owned())])
    }
}

/// Two members with one key.
#[derive(Debug, Default)]
struct TestKeys;

impl ClusterKeys for TestKeys {
    fn list(&self, raw: bool) -> BoxFuture<'_, Result<KeysTold, String>> {
        let key = if raw { "c2VjcmV0" } else { "0a1b2c3d" };
        let told = KeysTold {
            keys: [(key.to_owned(), 2)].into(),
            asked: 2,
            answered: 2,
            ..KeysTold::default()
        };
        Box::pin(std::future::ready(Ok(told)))
    }

    fn change(&self, change: KeyChange, key: KeyText) -> BoxFuture<'_, Result<KeysTold, String>> {
        let failed = |why: &str| [("b".to_owned(), why.to_owned())].into();
        let told = match (change, key.as_str()) {
            (KeyChange::Install, "zzz") => Err("illegal base64 data at input byte 0".to_owned()),
            (KeyChange::Remove, _) => Ok(failed("Removing the primary key is not allowed")),
            (KeyChange::Install | KeyChange::Use, _) => Ok(Default::default()),
        };
        let told = told.map(|failures| KeysTold {
            failures,
            asked: 2,
            answered: 2,
            ..KeysTold::default()
        });
        Box::pin(std::future::ready(told))
    }
}

/// A server that listens. Ends with the test.
pub(super) struct Served {
    pub(super) addr: SocketAddr,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    pub(super) hooks: Arc<TestHooks>,
    pub(super) responders: Responders,
    /// Events in the order in which they came.
    pub(super) drafts: Arc<Mutex<Vec<EventDraft>>>,
    /// Events are answered while true.
    pub(super) answers: watch::Sender<bool>,
    /// Takes the lines of the log.
    pub(super) subscriber: Arc<dyn tracing::Subscriber + Send + Sync>,
    pub(super) serving: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Serves without a token.
pub(super) async fn serve() -> Served {
    serve_with(None, Timing::default()).await
}

/// Serves with this token.
pub(super) async fn serve_closed(token: &[u8]) -> Served {
    serve_with(Some(Token::new(token)), Timing::default()).await
}

pub(super) async fn serve_with(auth: Option<Token>, timing: Timing) -> Served {
    let hub = Arc::new(Hub::new("0123456789abcdef".to_owned()));
    let (handle, ends) = Handle::new();
    let (answers, answering) = watch::channel(true);
    let drafts = Arc::default();
    tokio::spawn(events(ends.events, Arc::clone(&drafts), answering));
    tokio::spawn(commands(ends.commands, Arc::clone(&hub)));
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tail = Tail::default();
    let built = log::build(
        "info",
        LogFormat::Text,
        Target::Plain,
        io::sink,
        tail.clone(),
    );
    let (subscriber, log_filter) = built.unwrap();
    let (metrics, tasks) = (Metrics::default(), Tasks::default());
    let hooks = Arc::new(TestHooks::default());
    let responders = Responders::default();
    let shared = Shared {
        config: Config {
            bind: addr,
            auth,
            show_keys: false,
        },
        version: "0.1.0",
        hub: Arc::clone(&hub),
        handle: handle.clone(),
        hooks: hooks.clone(),
        keys: Some(Arc::new(TestKeys)),
        asker: Asker::new(
            Arc::clone(&hub),
            handle,
            Me::new("me", 7),
            tasks.clone(),
            Default::default(),
        ),
        responders: responders.clone(),
        tail,
        log_filter,
        tasks: tasks.clone(),
        metrics: metrics.clone(),
        timing,
    };
    Served {
        addr,
        hub,
        metrics,
        tasks,
        hooks,
        responders,
        drafts,
        answers,
        subscriber: Arc::new(subscriber),
        serving: tokio::spawn(super::super::serve(listener, Arc::new(shared))),
    }
}

async fn events(
    mut events: mpsc::Receiver<EventCommand>,
    drafts: Arc<Mutex<Vec<EventDraft>>>,
    mut answering: watch::Receiver<bool>,
) {
    let mut sequence = 0;
    while let Some(EventCommand { draft, reply }) = events.recv().await {
        if answering.wait_for(|answers| *answers).await.is_err() {
            return;
        }
        let bytes = draft.payload.len();
        let limit = PAYLOAD_MAX;
        let answer = if bytes > limit {
            Err(EventError::TooLarge { bytes, limit })
        } else {
            sequence += 1;
            drafts.lock().unwrap().push(draft);
            Ok(Accepted {
                boot: 7,
                sequence,
                lamport: sequence,
            })
        };
        _ = reply.send(answer);
    }
}

async fn commands(mut commands: mpsc::Receiver<Command>, hub: Arc<Hub>) {
    let mut me = Member {
        by_tcp: false,
        is_self: true,
        ..member("me", 1, &["web"])
    };
    hub.apply_members(vec![updated(me.clone())]);
    let mut unanswered = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Join { addresses, reply } if addresses == ["silent:1"] => {
                unanswered.push(reply);
            }
            Command::Join { addresses, reply } => {
                let outcome = |address: String| JoinOutcome {
                    result: match address.as_str() {
                        "down:1" => Err("connection refused".to_owned()),
                        _ => Ok("seed".to_owned()),
                    },
                    address,
                };
                _ = reply.send(addresses.into_iter().map(outcome).collect());
            }
            Command::Leave { reply } => _ = reply.send(()),
            Command::ForceLeave { name, reply, .. } => {
                _ = reply.send(match hub.member(&name) {
                    Some(found) if found.value.status == Status::Failed => {
                        let mut left = (*found.value).clone();
                        left.status = Status::Left;
                        hub.apply_members(vec![updated(left)]);
                        Ok(())
                    }
                    Some(found) => Err(EngineError::MemberLive(name, found.value.status)),
                    None => Err(EngineError::UnknownMember(name)),
                });
            }
            Command::UpdateTags { set, remove, reply } => {
                me.tags.extend(set);
                me.tags.retain(|tag, _| !remove.contains(tag));
                hub.apply_members(vec![updated(me.clone())]);
                _ = reply.send(Ok(Arc::new(me.clone())));
            }
            Command::SetKeyring { reply, .. } => _ = reply.send(()),
            Command::Explain { reply, .. } => _ = reply.send(None),
            Command::UpdateOwn { reply, .. } => _ = reply.send(Ok(())),
            Command::Snapshot { reply } => _ = reply.send(muster_engine::Snapshot::default()),
            Command::Report { reply } => {
                _ = reply.send(Report {
                    me: Arc::new(me.clone()),
                    counters: vec![("health_score", 3)],
                    warnings: Vec::new(),
                    encrypted: true,
                });
            }
        }
    }
}

impl Served {
    /// Puts members into the hub.
    pub(super) fn put(&self, members: impl IntoIterator<Item = Member>) {
        let members = members.into_iter().map(updated);
        self.hub.apply_members(members.collect());
    }

    /// How often the daemon ended a connection for this reason.
    pub(super) fn cut(&self, reason: &str) -> u64 {
        self.count(&format!("connections_cut_total{{reason=\"{reason}\"}}"))
    }

    /// A metric; 0 if it is not there.
    pub(super) fn count(&self, name: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let name = format!("muster_serf_rpc_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// Waits until a metric is as wanted.
    pub(super) async fn until(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let looks = async {
            while !wanted(self.count(name)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = timeout(LIMIT, looks).await;
        assert!(waited.is_ok(), "{name} is {}", self.count(name));
    }

    /// A client that has shaken hands.
    pub(super) async fn client(&self) -> Client {
        let mut client = self.stranger().await;
        client
            .send("handshake", 0, Some(&serde_json::json!({"Version": 1})))
            .await;
        assert_eq!(client.head().await, (0, String::new()));
        client
    }

    /// A client that has said nothing.
    pub(super) async fn stranger(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.addr).await.unwrap(),
            frames: Frames::default(),
        }
    }
}

/// A client of the protocol.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    frames: Frames,
}

/// Of every answer and record as much as tests look at.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Body {
    pub(super) event: String,
    pub(super) name: String,
    pub(super) coalesce: bool,
    pub(super) payload: Option<Blob>,
    #[serde(rename = "LTime")]
    pub(super) lamport: u64,
    pub(super) members: Vec<Shown>,
    pub(super) num: Option<u64>,
    pub(super) ok: bool,
    pub(super) from: String,
    #[serde(rename = "Type")]
    pub(super) kind: String,
    #[serde(rename = "ID")]
    pub(super) id: u64,
    pub(super) keys: Option<BTreeMap<String, u64>>,
    pub(super) messages: BTreeMap<String, String>,
    pub(super) num_err: u64,
    pub(super) num_resp: u64,
    pub(super) log: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) tags: BTreeMap<String, String>,
}

impl Body {
    /// Names of the members.
    pub(super) fn names(&self) -> Vec<&str> {
        self.members.iter().map(|m| m.name.as_str()).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Head {
    error: String,
    seq: u64,
}

/// A request as bytes.
pub(super) fn request(command: &str, seq: u64, body: Option<&Value>) -> Vec<u8> {
    let header = serde_json::json!({"Command": command, "Seq": seq});
    let mut bytes = rmp_serde::to_vec_named(&header).unwrap();
    if let Some(body) = body {
        bytes.extend(rmp_serde::to_vec_named(body).unwrap());
    }
    bytes
}

impl Client {
    pub(super) async fn send(&mut self, command: &str, seq: u64, body: Option<&Value>) {
        self.write(&request(command, seq, body)).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; nothing at the end of the connection.
    pub(super) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.frames.next(16 << 20).unwrap() {
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.frames.bytes);
            match timeout(LIMIT, read).await.expect("an answer in time") {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// Number and error of the next answer or record.
    pub(super) async fn head(&mut self) -> (u64, String) {
        let frame = self.frame().await.expect("not the end");
        let head: Head = rmp_serde::from_slice(&frame).unwrap();
        (head.seq, head.error)
    }

    /// What follows a head.
    pub(super) async fn body(&mut self) -> Body {
        let frame = self.frame().await.expect("not the end");
        rmp_serde::from_slice(&frame).unwrap()
    }

    /// Asks, and returns the error of the answer that comes next.
    pub(super) async fn ask(&mut self, command: &str, seq: u64, body: Option<Value>) -> String {
        self.send(command, seq, body.as_ref()).await;
        let (answered, error) = self.head().await;
        assert_eq!(answered, seq);
        error
    }

    /// Asks for what is answered with a body.
    pub(super) async fn look(&mut self, command: &str, seq: u64, body: Option<Value>) -> Body {
        assert_eq!(self.ask(command, seq, body).await, "");
        self.body().await
    }

    /// The next record of a stream.
    pub(super) async fn record(&mut self, seq: u64) -> Body {
        assert_eq!(self.head().await, (seq, String::new()));
        self.body().await
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&mut self) {
        let frame = self.frame().await;
        assert_eq!(frame, None, "the connection goes on");
    }
}
