use tokio::sync::watch;

use super::super::tests::{Inspected, away, container, inspected, inspected_on, live};
use super::super::{Asked, find};
use super::*;
use crate::daemon::supervisor::Tasks;
use crate::docker::State;
use crate::docker::testing::{self, FakeEngine, Reply};
use crate::hub::MemberUpdate;
use crate::hub::containers::summary::{Summary, key};
use crate::hub::testing::{member, updated, with_status};

/// A hub that knows one container `web` of a node.
fn hub(node: &Inspected, own: bool) -> Arc<Hub> {
    let hub = Arc::new(Hub::new("e".to_owned()));
    let mut owner = member("b", 1, &[]);
    (owner.addr, owner.is_self) = (node.addr, own);
    let key_of_owner = owner.key();
    let summary = Summary {
        id: container(1, "web").id,
        name: "web".to_owned(),
        ..Summary::default()
    };
    let changes = vec![(Arc::from(key(&summary.id)), Some(summary.encode()))];
    let published = muster_engine::Published {
        fresh: true,
        changes,
    };
    hub.apply_members(vec![
        updated(owner),
        MemberUpdate::Published {
            member: key_of_owner,
            published,
        },
    ]);
    hub
}

async fn owner(key: Option<u8>, secrets: bool) -> Inspected {
    let nobody = Arc::new(Hub::new("e".to_owned()));
    inspected(&nobody, "b", key, secrets).await
}

async fn ask(
    owner: &Inspected,
    key: Option<u8>,
    secrets: bool,
) -> Result<Inspection, InspectError> {
    let hub = hub(owner, false);
    let asker = inspected(&hub, "a", key, false).await;
    let found = find(&hub, &Asked::read("web", "").unwrap()).unwrap();
    let answer = asker.inspector.inspect(&found, secrets).await;
    asker.tasks.stop_within(Duration::from_secs(10)).await;
    answer
}

#[tokio::test]
async fn the_owner_says_it_and_decides_what_it_shows() {
    for (owner_shows, asked, shown) in [
        (false, true, false),
        (true, false, false),
        (true, true, true),
    ] {
        let owner = owner(Some(1), owner_shows).await;
        owner
            .state
            .send_replace(Arc::new(away(vec![container(1, "web")])));
        let told = ask(&owner, Some(1), asked).await.unwrap();
        assert_eq!(told.redacted, !shown);
        assert_eq!(told.json.contains("KEY=secret"), shown, "{}", told.json);
        assert!(told.json.contains(r#""Name":"/web""#));
        assert_eq!(told.stale_since_unix_ms, Some(5_000), "its engine is away");
    }
}

#[tokio::test]
async fn secrets_do_not_travel_in_clear() {
    let owner = owner(None, true).await;
    owner
        .state
        .send_replace(Arc::new(away(vec![container(1, "web")])));
    let told = ask(&owner, None, true).await.unwrap();
    assert!(told.redacted && !told.json.contains("KEY=secret"));
}

#[tokio::test]
async fn what_the_owner_does_not_have_or_cannot_say_is_told_so() {
    let owner = owner(Some(1), false).await;
    let gone = ask(&owner, Some(1), false).await;
    assert_eq!(gone, Err(InspectError::Gone("b".to_owned())));
    // An engine that cannot answer, and is not known to be away yet.
    owner
        .state
        .send_replace(Arc::new(live(vec![container(1, "web")])));
    let silent = ask(&owner, Some(1), false).await.unwrap();
    assert!(silent.json.contains(r#""Name":"/web""#), "{}", silent.json);
    assert_eq!(
        silent.stale_since_unix_ms,
        Some(1),
        "since nobody knows when"
    );
    let mut large = container(1, "web");
    let text = format!(r#"{{"Name":"{}"}}"#, "x".repeat(INSPECT_BYTES_MAX));
    large.inspect = serde_json::value::RawValue::from_string(text).unwrap();
    owner.state.send_replace(Arc::new(away(vec![large])));
    let large = ask(&owner, Some(1), false).await;
    assert_eq!(large, Err(InspectError::TooLarge("b".to_owned())));
}

#[tokio::test]
async fn a_failed_owner_is_not_asked_and_the_own_node_asks_itself() {
    let node = owner(Some(1), false).await;
    let known = hub(&node, false);
    let failed = with_status(member("b", 1, &[]), MemberStatus::Failed);
    known.apply_members(vec![updated(failed)]);
    let found = find(&known, &Asked::read("b/web", "").unwrap()).unwrap();
    let asker = inspected(&known, "a", Some(1), false).await;
    let error = asker.inspector.inspect(&found, false).await.unwrap_err();
    assert!(error.to_string().contains("the node has failed"), "{error}");

    let known = hub(&node, true);
    let own = inspected(&known, "b", Some(1), true).await;
    let state: State = away(vec![container(1, "web")]);
    own.state.send_replace(Arc::new(state));
    let found = find(&known, &Asked::read("web", "").unwrap()).unwrap();
    let told = own.inspector.inspect(&found, true).await.unwrap();
    assert!(!told.redacted && told.json.contains("KEY=secret"));
}

#[tokio::test]
async fn an_engine_that_hangs_is_told_of_as_it_was() {
    let engine = FakeEngine::start();
    engine.set(testing::container(1, "web"));
    let tasks = Tasks::default();
    let (docker, _metrics) = engine.follow(&tasks).await;
    let mut state = docker.state();
    let seen = state.wait_for(|state| !state.containers.is_empty());
    let seen = tokio::time::timeout(testing::SOON, seen).await.unwrap();
    let id = seen.unwrap().containers.keys().next().unwrap().to_string();
    engine.reply("GET /", Reply::Hang);
    let hub = Arc::new(Hub::new("e".to_owned()));
    let (unused, _follow) = watch::channel(Arc::new(State::default()));
    let node = inspected_on(&hub, (docker, unused), "a", Some(1), false).await;
    let told = node.inspector.own("a", &id, false).await.unwrap();
    let since = told.stale_since_unix_ms.unwrap();
    assert!(
        since > 1_000 && since <= unix_ms(SystemTime::now()),
        "{since}"
    );
    assert!(told.json.contains("web"), "{}", told.json);
    for tasks in [tasks, node.tasks] {
        assert!(tasks.stop_within(testing::SOON).await.is_empty());
    }
}
