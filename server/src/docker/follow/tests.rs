use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use super::super::testing::{FakeEngine, Reply, SOON, container, id, until};
use super::super::{Docker, EngineStatus, Metrics, State};
use crate::daemon::supervisor::Tasks;

/// A fake engine that is followed.
struct Followed {
    engine: FakeEngine,
    tasks: Tasks,
    docker: Docker,
    metrics: Metrics,
    state: watch::Receiver<Arc<State>>,
}

impl Followed {
    async fn new(engine: FakeEngine) -> Self {
        let tasks = Tasks::default();
        let (docker, metrics) = engine.follow(&tasks).await;
        let state = docker.state();
        Self {
            engine,
            tasks,
            docker,
            metrics,
            state,
        }
    }

    /// One that is live, with containers of these names, numbered from 1.
    async fn live(names: &[&str]) -> Self {
        let engine = FakeEngine::start();
        for (number, name) in (1..).zip(names) {
            engine.set(container(number, name));
        }
        let mut followed = Self::new(engine).await;
        followed.until("the engine", live).await;
        followed
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&State) -> bool) -> Arc<State> {
        until(&mut self.state, what, wanted).await
    }

    /// How often a container was inspected.
    fn inspects(&self, number: u32) -> usize {
        let path = format!("/containers/{}/json", id(number));
        self.engine.requests(&path).len()
    }
}

fn live(state: &State) -> bool {
    matches!(state.engine, EngineStatus::Live { .. })
}

fn away(state: &State) -> bool {
    matches!(state.engine, EngineStatus::Away { .. })
}

fn names(state: &State) -> Vec<&str> {
    let containers = state.containers.values();
    containers.map(|one| one.name.as_str()).collect()
}

#[tokio::test]
async fn what_is_there_is_listed_and_changes_are_followed() {
    let mut node = Followed::live(&["a", "b"]).await;
    let first = node
        .until("both", |state| state.containers.len() == 2)
        .await;
    assert_eq!(names(&first), ["a", "b"]);
    // The version of the API that still has all fields, and the engine's own clock.
    assert_eq!(
        node.engine.requests("/v1.51/containers/json?all=1").len(),
        1
    );
    assert_eq!(
        node.engine
            .requests("/v1.51/events?since=1795284000&")
            .len(),
        1
    );
    // A burst about one container is one inspect.
    node.engine.set(container(1, "renamed"));
    for action in [
        "rename",
        "exec_create: sh",
        "health_status: healthy",
        "update",
    ] {
        node.engine.tell(action, &id(1));
    }
    let renamed = node
        .until("the name", |state| names(state) == ["renamed", "b"])
        .await;
    assert_eq!(node.inspects(1), 2);
    assert_eq!(node.inspects(2), 1);
    // What did not change is the same thing.
    assert!(Arc::ptr_eq(
        &first.containers[&*id(2)],
        &renamed.containers[&*id(2)]
    ));
    node.engine.remove(&id(1));
    node.engine.tell("destroy", &id(1));
    node.until("its end", |state| names(state) == ["b"]).await;
    assert_eq!(node.inspects(1), 2);
    node.engine.set(container(3, "c"));
    let connect = json!({"Type": "network", "Action": "connect",
        "Actor": {"ID": "net", "Attributes": {"container": id(3)}}});
    node.engine.say(&format!("{connect}\n"));
    node.until("a new one", |state| names(state) == ["b", "c"])
        .await;
    assert_eq!(node.metrics.inspects.get(), 4);
    assert_eq!(node.metrics.lists.get(), 1);
    assert_eq!(node.metrics.containers.get(), 2);
    assert!(node.tasks.stop_within(SOON).await.is_empty());
}

#[tokio::test]
async fn an_engine_that_ends_and_comes_back_keeps_its_containers() {
    let mut node = Followed::new(FakeEngine::stopped()).await;
    let unknown = |state: &State| matches!(state.engine, EngineStatus::Unknown { error: Some(_) });
    node.until("no engine", unknown).await;
    node.engine.set(container(1, "a"));
    node.engine.listen();
    node.until("the engine", live).await;
    node.engine.kill();
    let gone = node.until("its end", away).await;
    assert_eq!(names(&gone), ["a"]);
    assert!(gone.engine.age(std::time::SystemTime::now()).is_some());
    assert!(
        node.docker
            .warning()
            .unwrap()
            .contains("the Docker engine is away")
    );
    // Another version, and other containers.
    node.engine.remove(&id(1));
    node.engine.set(container(2, "b"));
    node.engine
        .set_version(json!({"Version": "20.10", "ApiVersion": "1.41"}));
    node.engine.listen();
    let back = node.until("its return", live).await;
    assert_eq!(names(&back), ["b"]);
    assert_eq!(
        back.engine,
        EngineStatus::Live {
            version: "20.10".to_owned()
        }
    );
    assert_eq!(
        node.engine
            .requests(&format!("/v1.41/containers/{}/json", id(2)))
            .len(),
        1
    );
    assert_eq!(node.metrics.losses.get(), 1);
    assert_eq!(node.docker.warning(), None);
}

#[tokio::test]
async fn words_that_cannot_be_read_cost_a_list_and_no_more() {
    let mut node = Followed::live(&["a"]).await;
    node.engine
        .say("{\"Type\":\"wizard\",\"Action\":\"spell\",\"Actor\":{\"ID\":\"x\"}}\n");
    node.engine.set(container(1, "silent"));
    node.engine.say("no json\n");
    node.until("the list", |state| names(state) == ["silent"])
        .await;
    // Longer than any line may be.
    node.engine.set(container(1, "long"));
    let part = "x".repeat(60_000);
    for _ in 0..6 {
        node.engine.say(&part);
    }
    node.engine.say("\n");
    node.until("another list", |state| names(state) == ["long"])
        .await;
    assert_eq!(node.metrics.dropped.get(), 2);
    assert_eq!(node.metrics.lists.get(), 3);
    assert_eq!(node.metrics.losses.get(), 0);
}

#[tokio::test]
async fn a_container_that_cannot_be_inspected_stays_as_it_was() {
    let mut node = Followed::live(&["a", "b"]).await;
    let bad = [
        Reply::Status(500, r#"{"message":"broken"}"#.to_owned()),
        Reply::Status(200, "{\"Id\":".to_owned()),
        Reply::Status(200, "[1]".to_owned()),
        Reply::Status(200, format!("\"{}\"", "x".repeat(3 << 20))),
        Reply::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{".to_vec()),
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_vec()),
        Reply::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
        Reply::Raw(Vec::new()),
    ];
    for (round, reply) in bad.iter().enumerate() {
        node.engine
            .reply(&format!("GET /containers/{}/json", id(1)), reply.clone());
        node.engine.tell("start", &id(1));
        // The other one goes on.
        let name = format!("b{round}");
        node.engine.set(container(2, &name));
        node.engine.tell("start", &id(2));
        node.until(&name, |state| names(state) == ["a", name.as_str()])
            .await;
        let failed = u64::try_from(round).unwrap() + 1;
        tokio::time::timeout(SOON, async {
            while node.metrics.failed.get() < failed {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    node.engine.reply_as_usual();
    node.engine.set(container(1, "well"));
    node.engine.tell("start", &id(1));
    node.until("again", |state| names(state).contains(&"well"))
        .await;
    assert_eq!(node.metrics.losses.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_away_and_comes_back() {
    let mut node = Followed::live(&["a"]).await;
    node.engine.reply("GET /", Reply::Hang);
    let hung = node.until("silence", away).await;
    assert_eq!(names(&hung), ["a"]);
    let EngineStatus::Away { error, .. } = &hung.engine else {
        panic!("{:?}", hung.engine);
    };
    assert_eq!(error, "GET /_ping: no answer within 3 s");
    node.engine.reply_as_usual();
    node.until("its return", live).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_nobody_told_of_is_found_by_the_list() {
    let node = Followed::live(&["a", "b", "c"]).await;
    node.engine.set(container(1, "other"));
    node.engine.remove(&id(2));
    node.engine.set(container(4, "d"));
    let wanted = ["other", "c", "d"];
    let mut found = node.state.clone();
    // Virtual time: longer than a list's period.
    let limit = super::LIST_EVERY * 3;
    let seen = found.wait_for(|state| names(state) == wanted);
    tokio::time::timeout(limit, seen).await.unwrap().unwrap();
    // Only what differed was looked at.
    assert_eq!(node.inspects(3), 1);
    assert_eq!(node.metrics.losses.get(), 0);
}
