use std::collections::BTreeMap;
use std::net::UdpSocket as StdUdp;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::crypto::{Key, Keyring};
use muster_engine::{Event, EventDraft, Limits, Status};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a sink was told.
#[derive(Debug, Default)]
struct Seen {
    members: BTreeMap<String, Status>,
    events: Vec<(String, u64, Bytes)>,
    queries: Vec<String>,
}

#[derive(Debug, Default)]
struct Recorder(watch::Sender<Seen>);

impl Sink for Recorder {
    fn apply_members(&self, batch: Vec<MemberUpdate>) {
        assert!(!batch.is_empty());
        self.0.send_modify(|seen| {
            for update in batch {
                match update {
                    MemberUpdate::Updated(member) => {
                        seen.members
                            .insert(member.display_name().to_string(), member.status);
                    }
                    MemberUpdate::Removed(key) => {
                        seen.members.remove(&*key.name);
                    }
                    MemberUpdate::Published { .. } => {}
                }
            }
        });
    }

    fn push_events(&self, batch: Vec<EventUpdate>) {
        assert!(!batch.is_empty());
        self.0.send_modify(|seen| {
            for update in batch {
                if let EventUpdate::Event(event) = update {
                    let origin = event.origin.name.to_string();
                    seen.events
                        .push((origin, event.sequence, event.payload.clone()));
                }
            }
        });
    }

    fn queries(&self, batch: Vec<Arc<Event>>) {
        assert!(!batch.is_empty());
        self.0.send_modify(|seen| {
            let queries = batch.iter().map(|query| query.name.clone());
            seen.queries.extend(queries);
        });
    }

    fn boot_raised(&self, _boot: u64) {}
}

/// A driver that stops with the test.
struct Node {
    handle: Handle,
    driver: Option<Driver>,
    seen: watch::Receiver<Seen>,
    tasks: Tasks,
    heart: Heartbeat,
}

impl Node {
    fn start(name: &str, key: Option<u8>, seeds: &[String]) -> Self {
        Self::try_start(config(name, key, seeds)).unwrap()
    }

    fn try_start(config: Config) -> anyhow::Result<Self> {
        let recorder = Arc::new(Recorder::default());
        let seen = recorder.0.subscribe();
        let tasks = Tasks::default();
        let heart = Heartbeat::default();
        let (handle, driver) = start(config, recorder, &tasks, heart.clone())?;
        Ok(Self {
            handle,
            driver: Some(driver),
            seen,
            tasks,
            heart,
        })
    }

    fn addr(&self) -> SocketAddr {
        self.driver.as_ref().unwrap().local_addr()
    }

    async fn until(&mut self, condition: impl FnMut(&Seen) -> bool) {
        let met = timeout(PATIENCE, self.seen.wait_for(condition)).await;
        assert!(met.is_ok(), "the condition was not met");
    }

    async fn sees(&mut self, name: &str, status: Status) {
        self.until(|seen| seen.members.get(name) == Some(&status))
            .await;
    }

    async fn counter(&self, name: &str) -> u64 {
        let report = self.handle.report().await.unwrap();
        let found = report.counters.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    fn stop(&mut self) {
        self.tasks.stop_token().cancel();
        if let Some(driver) = self.driver.take() {
            driver.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(name: &str, key: Option<u8>, seeds: &[String]) -> Config {
    let local = "127.0.0.1:0".parse().unwrap();
    Config {
        bind: local,
        seeds: seeds.to_vec(),
        engine: muster_engine::Config {
            name: name.to_owned(),
            cluster: "test".to_owned(),
            advertise: local,
            boot: 1,
            tags: BTreeMap::new(),
            roles: Vec::new(),
            version: "0".to_owned(),
            keyring: key.map(|byte| Keyring::new(Key::new(&[byte; 32]).unwrap())),
            limits: Limits::default(),
            reap_left: Duration::from_secs(600),
            reap_failed: Duration::from_secs(86_400),
            coordinates: true,
            retry_interval: Duration::from_secs(5),
        },
        restore: None,
        found: None,
    }
}

fn draft(payload: impl Into<Bytes>) -> EventDraft {
    EventDraft::new("deploy", payload)
}

async fn pair(key: Option<u8>) -> (Node, Node) {
    let mut one = Node::start("one", key, &[]);
    let mut two = Node::start("two", key, &[one.addr().to_string()]);
    one.sees("two", Status::Alive).await;
    two.sees("one", Status::Alive).await;
    (one, two)
}

#[tokio::test]
async fn two_nodes_find_each_other_and_pass_events_in_order() {
    for key in [None, Some(1)] {
        let (one, mut two) = pair(key).await;
        for number in 0..300_u32 {
            one.handle
                .send_event(draft(number.to_string()))
                .await
                .unwrap();
        }
        two.until(|seen| seen.events.len() == 300).await;
        for (at, (origin, sequence, payload)) in two.seen.borrow().events.iter().enumerate() {
            assert_eq!((&origin[..], *sequence), ("one", at as u64 + 1));
            assert_eq!(payload, &at.to_string());
        }
        let mut replicated = one.handle.replicated();
        let reached = timeout(PATIENCE, replicated.wait_for(|last| last.sequence == 300));
        assert!(reached.await.is_ok(), "not replicated");
        assert_eq!(one.handle.report().await.unwrap().encrypted, key.is_some());
    }
}

#[tokio::test]
async fn the_largest_event_crosses_on_a_pipe() {
    let (one, mut two) = pair(Some(1)).await;
    let payload = Bytes::from(vec![7; 64 << 10]);
    one.handle.send_event(draft(payload.clone())).await.unwrap();
    two.until(|seen| seen.events.len() == 1).await;
    assert!(two.seen.borrow().events[0].2 == payload);
    assert!(two.counter("pipes_opened").await + two.counter("pipes_accepted").await > 0);
}

#[tokio::test]
async fn a_join_call_tells_how_each_address_went() {
    let mut one = Node::start("one", Some(1), &[]);
    let mut two = Node::start("two", Some(1), &[]);
    let closed = StdUdp::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name = format!("localhost:{}", one.addr().port());
    let addresses = vec![
        name.clone(),
        closed.to_string(),
        "a b".to_owned(),
        two.addr().to_string(),
    ];
    let outcomes = two.handle.join(addresses).await.unwrap();
    let of = |text: &str| {
        let mut all = outcomes
            .iter()
            .filter(|outcome| outcome.address.starts_with(text));
        all.find(|outcome| outcome.result.is_ok() || !outcome.address.contains('['))
            .unwrap()
    };
    assert_eq!(of(&name).result, Ok("one".to_owned()));
    let error = of(&closed.to_string()).result.clone().unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
    let error = of("a b").result.clone().unwrap_err();
    assert!(
        error.contains("neither an IP address nor a host name"),
        "{error}"
    );
    assert!(
        of(&two.addr().to_string()).result.is_err(),
        "oneself never counts"
    );
    one.sees("two", Status::Alive).await;
    two.sees("one", Status::Alive).await;
}

#[tokio::test]
async fn a_join_with_the_wrong_key_or_cluster_says_so() {
    let one = Node::start("one", Some(1), &[]);
    let mut other = config("two", Some(1), &[]);
    other.engine.cluster = "other".to_owned();
    let cases = [
        (
            Node::start("two", Some(2), &[]),
            "handshake failed: wrong key or other cluster",
        ),
        (
            Node::try_start(other).unwrap(),
            "handshake failed: wrong key or other cluster",
        ),
        (
            Node::start("two", None, &[]),
            "handshake failed: this node talks without encryption",
        ),
    ];
    for (two, text) in cases {
        let outcomes = two.handle.join(vec![one.addr().to_string()]).await.unwrap();
        let error = outcomes[0].result.clone().unwrap_err();
        assert!(error.starts_with(text), "{error}");
        assert!(two.counter("pipes_failed_handshake").await > 0);
    }
    assert_eq!(one.seen.borrow().members.len(), 1, "nobody came in");
    assert!(one.counter("pipes_refused_unknown_key").await > 0);
    assert!(one.counter("pipes_refused_wrong_key").await > 0);
    assert!(one.counter("pipes_refused_plaintext").await > 0);
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let one = Node::start("one", Some(1), &[]);
    let mut taken = config("two", Some(1), &[]);
    taken.bind = one.addr();
    let error = Node::try_start(taken).map(drop).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains(&one.addr().to_string()) && text.contains("in use"),
        "{text}"
    );
}

#[tokio::test]
async fn bad_seeds_are_named_before_anything_starts() {
    let seeds = ["tcp://10.0.0.1:80".to_owned()];
    let error = Node::try_start(config("one", None, &seeds))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("tcp://10.0.0.1:80"), "{error}");
}

#[tokio::test]
async fn leaving_is_seen_and_a_stopped_node_says_so() {
    let (mut one, mut two) = pair(Some(1)).await;
    one.handle.leave().await.unwrap();
    two.sees("one", Status::Left).await;
    one.handle.leave().await.unwrap();
    one.stop();
    let after = one.handle.report().await;
    assert!(matches!(after, Err(CommandError::Stopped)), "{after:?}");
    let after = one.handle.send_event(draft("x")).await;
    assert!(matches!(after, Err(CommandError::Stopped)), "{after:?}");
}

#[tokio::test]
async fn tags_and_force_leave_reach_the_engine() {
    let one = Node::start("one", Some(1), &[]);
    let set = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
    let me = one
        .handle
        .update_tags(set.clone(), Vec::new())
        .await
        .unwrap();
    assert_eq!(me.tags, set);
    let refused = one.handle.force_leave("nobody".to_owned(), false).await;
    assert!(
        matches!(refused, Err(CommandError::Engine(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn garbage_is_counted_and_survived() {
    let (one, mut two) = pair(Some(1)).await;
    let before = one.counter("datagrams_received").await;
    let attacker = StdUdp::bind("127.0.0.1:0").unwrap();
    for length in 0..200 {
        attacker.send_to(&vec![1; length], one.addr()).unwrap();
    }
    let mut seen = before;
    let all = timeout(PATIENCE, async {
        while seen < before + 200 {
            seen = one.counter("datagrams_received").await;
        }
    });
    assert!(all.await.is_ok(), "{seen} datagrams");
    assert!(one.counter("datagrams_dropped_truncated").await > 0);
    one.handle.send_event(draft("still here")).await.unwrap();
    two.until(|seen| seen.events.len() == 1).await;
}

#[tokio::test]
async fn the_heart_beats_while_nothing_happens() {
    let one = Node::start("one", Some(1), &[]);
    let before = one.heart.count();
    let beat = timeout(PATIENCE, async {
        while one.heart.count() < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(beat.await.is_ok());
}
