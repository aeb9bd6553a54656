//! A served API with a fake engine behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use muster_engine::{
    Accepted, EngineError, EventDraft, EventError, Explanation, Member, Observation,
};
use pb::container_service_client::ContainerServiceClient;
use pb::event_service_client::EventServiceClient;
use pb::membership_service_client::MembershipServiceClient;
use pb::node_service_client::NodeServiceClient;
use pb::resolver_service_client::ResolverServiceClient;
use tokio::sync::watch;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tower::Service as _;

use super::super::*;
use crate::daemon::supervisor::Tasks;
use crate::gossip::handle::{Command, EventCommand};
use crate::gossip::{Coordinates, JoinOutcome, Replicated, Report};
use crate::hub::testing::{member, updated};
use crate::peers::Me;
use crate::queries::{Asker, Responders};
use crate::telemetry::log::{self, LogFormat, Target};
use crate::telemetry::{LogFilter, Tail};

pub(super) const PAYLOAD_MAX: usize = 64 << 10;

pub(super) struct TestHooks {
    pub(super) left: Mutex<Vec<bool>>,
    /// What a reload says.
    pub(super) reload: Mutex<Result<Reloaded, Vec<String>>>,
    log: (Tail, LogFilter),
    /// Takes the lines of the log.
    pub(super) subscriber: Arc<dyn tracing::Subscriber + Send + Sync>,
}

impl std::fmt::Debug for TestHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestHooks").finish_non_exhaustive()
    }
}

impl Default for TestHooks {
    fn default() -> Self {
        let tail = Tail::default();
        let built = log::build(
            "info",
            LogFormat::Text,
            Target::Plain,
            std::io::sink,
            tail.clone(),
        );
        let (subscriber, filter) = built.unwrap();
        Self {
            left: Mutex::default(),
            reload: Mutex::new(Ok(Reloaded::default())),
            log: (tail, filter),
            subscriber: Arc::new(subscriber),
        }
    }
}

impl Hooks for TestHooks {
    fn metrics_text(&self, report: &Report) -> String {
        format!("# from {}\n", report.me.name)
    }

    fn log_filter(&self) -> String {
        "info".to_owned()
    }

    fn set_log_filter(&self, filter: &str) -> Result<String, String> {
        match filter {
            "bad" => Err("no such level".to_owned()),
            _ => Ok("info".to_owned()),
        }
    }

    fn left(&self, stay: bool) {
        self.left.lock().unwrap().push(stay);
    }

    fn warnings(&self) -> Vec<String> {
        vec!["a hook warns".to_owned()]
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Vec<String>>> {
        let told = self.reload.lock().unwrap().clone();
        Box::pin(std::future::ready(told))
    }

    fn log(&self) -> (Tail, LogFilter) {
        self.log.clone()
    }
}

/// What the fake engine does.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// Own events up to here are replicated.
    pub(super) replicated: watch::Sender<Replicated>,
    /// Where members are.
    pub(super) coordinates: Arc<Coordinates>,
    /// Answers events only while true.
    pub(super) answers: watch::Sender<bool>,
    /// Payloads in the order in which they came.
    pub(super) taken: Arc<Mutex<Vec<Vec<u8>>>>,
    /// All of them.
    pub(super) drafts: Arc<Mutex<Vec<EventDraft>>>,
}

pub(super) struct Served {
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Gate,
    pub(super) health: HealthHandle,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
    pub(super) hooks: Arc<TestHooks>,
    pub(super) engine: Engine,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) queries: Queries,
    /// What the engine of this node shows.
    pub(super) containers: watch::Sender<Arc<crate::docker::State>>,
}

pub(super) const ROOT: Peer = Peer {
    uid: 0,
    gid: 0,
    socket: SocketKind::Api,
};

pub(super) async fn serve() -> Served {
    serve_with(limits::STREAMS_MAX).await
}

pub(super) async fn serve_with(calls_max: usize) -> Served {
    let hub = Arc::new(Hub::new("0123456789abcdef0123456789abcdef".to_owned()));
    let relaying = Arc::clone(&hub);
    tokio::spawn(async move { relaying.relay().await });
    let (handle, ends) = Handle::new();
    let engine = Engine {
        replicated: ends.replicated.clone(),
        coordinates: Arc::clone(&ends.coordinates),
        answers: watch::Sender::new(true),
        taken: Arc::default(),
        drafts: Arc::default(),
    };
    tokio::spawn(events(ends.events, engine.clone()));
    tokio::spawn(commands(ends.commands, Arc::clone(&hub)));
    let identity = Identity {
        name: Arc::from("me"),
        cluster: "test".to_owned(),
        version: "0.1.0".to_owned(),
        bind: "127.0.0.1:7946".to_owned(),
        sockets: vec!["/run/muster/api.sock".to_owned()],
        features: vec!["events".to_owned()],
        started_unix_ms: 1_000,
    };
    let config = Config {
        identity,
        access: Access {
            daemon_uid: 500,
            allow: BTreeMap::new(),
        },
        payload_bytes_max: PAYLOAD_MAX,
        calls_max,
    };
    let (metrics, stop) = (Metrics::default(), CancellationToken::new());
    let hooks = Arc::new(TestHooks::default());
    let keys = crate::keys::testing::alone(&hub, &handle, &Tasks::default(), 7);
    let deliveries = Arc::new(Deliveries::new(Arc::clone(&hub), Default::default()));
    let queries = Queries {
        asker: Asker::new(
            Arc::clone(&hub),
            handle.clone(),
            Me::new("me", 1),
            Tasks::default(),
            Default::default(),
        ),
        responders: Responders::default(),
    };
    let inspected = crate::containers::tests::inspected(&hub, "me", Some(7), true).await;
    let parts = Parts {
        hub: Arc::clone(&hub),
        handle,
        deliveries: Arc::clone(&deliveries),
        queries: queries.clone(),
        keys,
        inspector: inspected.inspector.clone(),
    };
    let made = services(parts, config, hooks.clone(), metrics.clone(), stop.clone());
    let (gate, health) = made.await.unwrap();
    Served {
        hub,
        gate,
        health,
        metrics,
        stop,
        hooks,
        engine,
        deliveries,
        queries,
        containers: inspected.state,
    }
}

async fn events(mut events: tokio::sync::mpsc::Receiver<EventCommand>, engine: Engine) {
    let (mut sequence, mut answers) = (0, engine.answers.subscribe());
    while let Some(EventCommand { draft, reply }) = events.recv().await {
        if answers.wait_for(|answers| *answers).await.is_err() {
            return;
        }
        let answer = if draft.name == "bad name" {
            Err(EventError::InvalidName(
                muster_engine::name::NameError::BadCharacter,
            ))
        } else if draft.payload.len() > PAYLOAD_MAX {
            Err(EventError::TooLarge {
                bytes: draft.payload.len(),
                limit: PAYLOAD_MAX,
            })
        } else {
            sequence += 1;
            engine.taken.lock().unwrap().push(draft.payload.to_vec());
            engine.drafts.lock().unwrap().push(draft);
            Ok(Accepted {
                boot: 7,
                sequence,
                lamport: 100 + sequence,
            })
        };
        _ = reply.send(answer);
    }
}

fn explanation(member: Arc<Member>) -> Explanation {
    Explanation {
        member,
        observations: vec![Observation {
            at_unix_ms: 5_000,
            by: Some(Arc::from("web-2")),
            text: "accused",
        }],
        omitted: 2,
        advice: "look".to_owned(),
    }
}

async fn commands(mut commands: tokio::sync::mpsc::Receiver<Command>, hub: Arc<Hub>) {
    let me = Arc::new(Member {
        by_tcp: false,
        is_self: true,
        ..member("me", 1, &[])
    });
    hub.apply_members(vec![crate::hub::MemberUpdate::Updated(Arc::clone(&me))]);
    let mut unanswered = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Join { addresses, reply } => {
                if addresses == ["silent:1"] {
                    unanswered.push(reply);
                    continue;
                }
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
                let found = hub.member(&name);
                let status = found.as_ref().map(|member| member.value.status);
                _ = reply.send(match (found, status) {
                    (Some(member), Some(muster_engine::Status::Failed)) => {
                        let mut left = (*member.value).clone();
                        left.status = muster_engine::Status::Left;
                        hub.apply_members(vec![updated(left)]);
                        Ok(())
                    }
                    (Some(_), Some(status)) => Err(EngineError::MemberLive(name, status)),
                    _ => Err(EngineError::UnknownMember(name)),
                });
            }
            Command::UpdateTags { set, reply, .. } => {
                let mut tagged = (*me).clone();
                tagged.tags = set;
                hub.apply_members(vec![updated(tagged.clone())]);
                _ = reply.send(Ok(Arc::new(tagged)));
            }
            Command::Snapshot { reply } => _ = reply.send(muster_engine::Snapshot::default()),
            Command::SetKeyring { reply, .. } => _ = reply.send(()),
            Command::Explain { name, reply } => {
                _ = reply.send((name == *me.name).then(|| explanation(Arc::clone(&me))));
            }
            Command::UpdateOwn { reply, .. } => _ = reply.send(Ok(())),
            Command::Report { reply } => {
                _ = reply.send(Report {
                    me: Arc::clone(&me),
                    counters: vec![("datagrams_sent", 3)],
                    warnings: vec!["the clock is off".to_owned()],
                    encrypted: true,
                });
            }
        }
    }
}

impl Served {
    /// A new connection as `peer`.
    pub(super) fn channel(&self, peer: Peer) -> Channel {
        let gate = self.gate.clone();
        let connect = tower::service_fn(move |_uri| {
            let (near, far) = tokio::io::duplex(64 << 10);
            let gate = gate.clone();
            let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
                request.extensions_mut().insert(peer);
                let mut gate = gate.clone();
                async move { gate.call(request).await }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server
                .max_concurrent_streams(1_024)
                .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
                .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES);
            tokio::spawn(async move {
                _ = server.serve_connection(TokioIo::new(far), service).await;
            });
            async move { Ok::<_, std::io::Error>(TokioIo::new(near)) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
    }

    pub(super) fn members(&self) -> MembershipServiceClient<Channel> {
        MembershipServiceClient::new(self.channel(ROOT))
    }

    pub(super) fn containers_as(&self, peer: Peer) -> ContainerServiceClient<Channel> {
        ContainerServiceClient::new(self.channel(peer))
    }

    pub(super) fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel(ROOT))
    }

    pub(super) fn resolver(&self) -> ResolverServiceClient<Channel> {
        ResolverServiceClient::new(self.channel(ROOT))
    }

    pub(super) fn node(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel(ROOT))
    }

    /// Puts members into the hub.
    pub(super) fn put(&self, members: impl IntoIterator<Item = Member>) {
        self.hub
            .apply_members(members.into_iter().map(updated).collect());
    }
}

/// The next message, soon.
pub(super) async fn next<M>(stream: &mut Streaming<M>) -> M {
    let message = tokio::time::timeout(Duration::from_secs(600), stream.message());
    message
        .await
        .expect("a message in time")
        .unwrap()
        .expect("not the end")
}

/// Asserts that nothing comes while everything that runs comes to rest.
pub(super) async fn silent<M: std::fmt::Debug>(stream: &mut Streaming<M>) {
    let message = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(message.is_err(), "{message:?}");
}

pub(super) fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().unwrap().reason
}
