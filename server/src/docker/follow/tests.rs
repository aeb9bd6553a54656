use serde_json::json;

use super::super::testing::{FakeEngine, Reply, container, id, until};
use super::super::{EngineStatus, State};
use crate::daemon::supervisor::Tasks;

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

fn inspects(engine: &FakeEngine, number: u32) -> usize {
    engine
        .requests(&format!("/containers/{}/json", id(number)))
        .len()
}

#[tokio::test]
async fn what_is_there_is_listed_and_changes_are_followed() {
    let engine = FakeEngine::start();
    engine.set(container(1, "a"));
    engine.set(container(2, "b"));
    let tasks = Tasks::default();
    let (docker, metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    let first = until(&mut state, "both", |state| {
        live(state) && state.containers.len() == 2
    })
    .await;
    assert_eq!(names(&first), ["a", "b"]);
    // The version of the API that still has all fields, and the engine's own clock.
    assert_eq!(engine.requests("/v1.51/containers/json?all=1").len(), 1);
    assert_eq!(engine.requests("/v1.51/events?since=1795284000&").len(), 1);
    // A burst about one container is one inspect.
    engine.set(container(1, "renamed"));
    for action in [
        "rename",
        "exec_create: sh",
        "health_status: healthy",
        "update",
    ] {
        engine.tell(action, &id(1));
    }
    let renamed = until(&mut state, "the name", |state| {
        names(state) == ["renamed", "b"]
    })
    .await;
    assert_eq!(inspects(&engine, 1), 2);
    assert_eq!(inspects(&engine, 2), 1);
    // What did not change is the same thing.
    assert!(std::sync::Arc::ptr_eq(
        &first.containers[&*id(2)],
        &renamed.containers[&*id(2)]
    ));
    engine.remove(&id(1));
    engine.tell("destroy", &id(1));
    until(&mut state, "its end", |state| names(state) == ["b"]).await;
    assert_eq!(inspects(&engine, 1), 2);
    engine.set(container(3, "c"));
    let connect = json!({"Type": "network", "Action": "connect",
        "Actor": {"ID": "net", "Attributes": {"container": id(3)}}});
    engine.say(&format!("{connect}\n"));
    until(&mut state, "a new one", |state| names(state) == ["b", "c"]).await;
    assert_eq!(metrics.inspects.get(), 4);
    assert_eq!(metrics.lists.get(), 1);
    assert_eq!(metrics.containers.get(), 2);
    assert!(
        tasks
            .stop_within(super::super::testing::SOON)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn an_engine_that_ends_and_comes_back_keeps_its_containers() {
    let mut engine = FakeEngine::stopped();
    let tasks = Tasks::default();
    let (docker, metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    let unknown = |state: &State| matches!(state.engine, EngineStatus::Unknown { error: Some(_) });
    until(&mut state, "no engine", unknown).await;
    engine.set(container(1, "a"));
    engine.listen();
    until(&mut state, "the engine", live).await;
    engine.kill();
    let gone = until(&mut state, "its end", away).await;
    assert_eq!(names(&gone), ["a"]);
    assert!(gone.engine.age(std::time::SystemTime::now()).is_some());
    assert!(
        docker
            .warning()
            .unwrap()
            .contains("the Docker engine is away")
    );
    // Another version, and other containers.
    engine.remove(&id(1));
    engine.set(container(2, "b"));
    engine.set_version(json!({"Version": "20.10", "ApiVersion": "1.41"}));
    engine.listen();
    let back = until(&mut state, "its return", live).await;
    assert_eq!(names(&back), ["b"]);
    assert_eq!(
        back.engine,
        EngineStatus::Live {
            version: "20.10".to_owned()
        }
    );
    assert_eq!(
        engine
            .requests(&format!("/v1.41/containers/{}/json", id(2)))
            .len(),
        1
    );
    assert_eq!(metrics.losses.get(), 1);
    assert_eq!(docker.warning(), None);
}

#[tokio::test]
async fn words_that_cannot_be_read_cost_a_list_and_no_more() {
    let engine = FakeEngine::start();
    engine.set(container(1, "a"));
    let tasks = Tasks::default();
    let (docker, metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    until(&mut state, "the engine", live).await;
    engine.say("{\"Type\":\"wizard\",\"Action\":\"spell\",\"Actor\":{\"ID\":\"x\"}}\n");
    engine.set(container(1, "silent"));
    engine.say("no json\n");
    until(&mut state, "the list", |state| names(state) == ["silent"]).await;
    // Longer than any line may be.
    engine.set(container(1, "long"));
    let part = "x".repeat(60_000);
    for _ in 0..6 {
        engine.say(&part);
    }
    engine.say("\n");
    until(&mut state, "another list", |state| names(state) == ["long"]).await;
    assert_eq!(metrics.dropped.get(), 2);
    assert_eq!(metrics.lists.get(), 3);
    assert_eq!(metrics.losses.get(), 0);
}

#[tokio::test]
async fn a_container_that_cannot_be_inspected_stays_as_it_was() {
    let engine = FakeEngine::start();
    engine.set(container(1, "a"));
    engine.set(container(2, "b"));
    let tasks = Tasks::default();
    let (docker, metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    until(&mut state, "the engine", live).await;
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
        engine.reply(&format!("GET /containers/{}/json", id(1)), reply.clone());
        engine.tell("start", &id(1));
        // The other one goes on.
        let name = format!("b{round}");
        engine.set(container(2, &name));
        engine.tell("start", &id(2));
        until(&mut state, &name, |state| {
            names(state) == ["a", name.as_str()]
        })
        .await;
        let failed = u64::try_from(round).unwrap() + 1;
        tokio::time::timeout(super::super::testing::SOON, async {
            while metrics.failed.get() < failed {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    engine.reply_as_usual();
    engine.set(container(1, "well"));
    engine.tell("start", &id(1));
    until(&mut state, "again", |state| names(state).contains(&"well")).await;
    assert_eq!(metrics.losses.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_away_and_comes_back() {
    let engine = FakeEngine::start();
    engine.set(container(1, "a"));
    let tasks = Tasks::default();
    let (docker, _metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    until(&mut state, "the engine", live).await;
    engine.reply("GET /", Reply::Hang);
    let hung = until(&mut state, "silence", away).await;
    assert_eq!(names(&hung), ["a"]);
    let EngineStatus::Away { error, .. } = &hung.engine else {
        panic!("{:?}", hung.engine);
    };
    assert_eq!(error, "GET /_ping: no answer within 3 s");
    engine.reply_as_usual();
    until(&mut state, "its return", live).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_nobody_told_of_is_found_by_the_list() {
    let engine = FakeEngine::start();
    engine.set(container(1, "a"));
    engine.set(container(2, "b"));
    engine.set(container(3, "c"));
    let tasks = Tasks::default();
    let (docker, metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    until(&mut state, "the engine", live).await;
    engine.set(container(1, "other"));
    engine.remove(&id(2));
    engine.set(container(4, "d"));
    let wanted = ["other", "c", "d"];
    let mut found = state.clone();
    // Virtual time: longer than a list's period.
    let limit = super::LIST_EVERY * 3;
    let seen = found.wait_for(|state| names(state) == wanted);
    tokio::time::timeout(limit, seen).await.unwrap().unwrap();
    // Only what differed was looked at.
    assert_eq!(inspects(&engine, 3), 1);
    assert_eq!(metrics.losses.get(), 0);
}
