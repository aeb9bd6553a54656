//! Several nodes' keys over a network of function calls.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::{Member, Status};
use muster_proto::peer as pb;
use muster_proto::token::KeyBytes;

use super::*;
use crate::gossip::handle::{Command, HandleEnds};
use crate::hub::MemberUpdate;
use crate::hub::testing::member;

/// Who answers.
#[derive(Default)]
struct Network {
    nodes: Mutex<BTreeMap<String, Keys>>,
    down: Mutex<Vec<String>>,
    closed: Mutex<Vec<Option<KeyId>>>,
}

/// One node's way into it.
struct Way(Weak<Network>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl KeyNet for Way {
    fn exchange(
        &self,
        member: Arc<Member>,
        request: pb::ExchangeRequest,
    ) -> BoxFuture<'static, Result<pb::ExchangeResponse, String>> {
        let network = self.0.upgrade();
        async move {
            let network = network.ok_or("the test is over")?;
            let name = member.name.to_string();
            let down = lock(&network.down).contains(&name);
            let found = lock(&network.nodes).get(&name).cloned();
            match found.filter(|_| !down) {
                Some(keys) => Ok(keys
                    .answer(request)
                    .await
                    .map_err(|error| error.to_string())?),
                None => Err("nobody is there".to_owned()),
            }
        }
        .boxed()
    }

    fn close_key(&self, key: Option<KeyId>) {
        if let Some(network) = self.0.upgrade() {
            lock(&network.closed).push(key);
        }
    }
}

struct Cluster {
    network: Arc<Network>,
    names: Vec<String>,
    hubs: Vec<Arc<Hub>>,
    /// The rings that the engines were given.
    engines: Vec<Arc<Mutex<Vec<Option<Keyring>>>>>,
    unknown: Vec<tokio::sync::watch::Sender<u64>>,
    tasks: Tasks,
}

fn key(byte: u8) -> KeyBytes {
    KeyBytes::new(vec![byte; 32].into()).unwrap()
}

fn id(byte: u8) -> KeyId {
    Ring::id_of(&key(byte)).unwrap()
}

impl Cluster {
    /// Nodes that know each other, with these keys at their start.
    fn start(rings: &[Ring]) -> Self {
        let names: Vec<_> = (1..=rings.len()).map(|at| format!("n{at}")).collect();
        let mut cluster = Self {
            network: Arc::default(),
            names,
            hubs: Vec::new(),
            engines: Vec::new(),
            unknown: Vec::new(),
            tasks: Tasks::default(),
        };
        for (at, ring) in rings.iter().enumerate() {
            cluster.add(at, ring.clone(), None);
        }
        cluster
    }

    fn add(&mut self, at: usize, ring: Ring, public: Option<String>) {
        let hub = Arc::new(Hub::new("0".to_owned()));
        let all = self.names.iter().map(|name| {
            MemberUpdate::Updated(Arc::new(Member {
                by_tcp: false,
                is_self: *name == self.names[at],
                status: Status::Alive,
                ..member(name, 1, &[])
            }))
        });
        hub.apply_members(all.collect());
        let (handle, ends) = Handle::new();
        let given = Arc::new(Mutex::new(vec![keyring(&ring, public.is_some())]));
        let HandleEnds {
            mut commands,
            unknown_keys,
            ..
        } = ends;
        let seen = Arc::clone(&given);
        self.tasks.spawn_guarded("engine", async move {
            while let Some(command) = commands.recv().await {
                if let Command::SetKeyring { keyring, reply } = command {
                    lock(&seen).push(keyring);
                    reply.send(()).unwrap();
                }
            }
        });
        let store = Store::begin(&Settings::default(), None).unwrap().store;
        let keys = Keys::start(Parts {
            name: Arc::from(self.names[at].as_str()),
            hub: Arc::clone(&hub),
            handle,
            net: Arc::new(Way(Arc::downgrade(&self.network))),
            begun: Begun {
                ring,
                store,
                notes: Vec::new(),
            },
            public,
            tasks: self.tasks.clone(),
            metrics: Metrics::default(),
        });
        lock(&self.network.nodes).insert(self.names[at].clone(), keys);
        self.hubs.push(hub);
        self.engines.push(given);
        self.unknown.push(unknown_keys);
    }

    fn keys(&self, at: usize) -> Keys {
        lock(&self.network.nodes)[&self.names[at]].clone()
    }

    fn take_down(&self, at: usize) {
        lock(&self.network.down).push(self.names[at].clone());
    }

    fn bring_back(&self) {
        lock(&self.network.down).clear();
    }

    /// What the engine of a node seals with, and how many keys it opens with.
    fn engine(&self, at: usize) -> (KeyId, usize) {
        let given = lock(&self.engines[at]);
        let keyring = given.last().unwrap().as_ref().unwrap();
        (keyring.primary().id(), keyring.keys().count())
    }
}

fn ring(bytes: &[u8], stage: Stage) -> Ring {
    let keys: Vec<_> = bytes.iter().map(|byte| key(*byte)).collect();
    Ring::of_settings(&keys, stage).unwrap()
}

fn three(stage: Stage) -> Cluster {
    Cluster::start(&vec![ring(&[1], stage); 3])
}

fn refused(error: &KeysError, member: &str, word: &str) {
    match error {
        KeysError::NotReady { member: who, why } => {
            assert!(who == member && why.contains(word), "{who}: {why}");
        }
        KeysError::Ring(_) | KeysError::Refused(_) | KeysError::Engine(_) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_installed_used_and_removed_everywhere() {
    let cluster = three(Stage::On);
    let keys = cluster.keys(0);
    let (new, report) = keys.install(key(2)).await.unwrap();
    assert!(report.is_complete() && new == id(2));
    let held = |id| report.keys.iter().find(|key| key.id == id).unwrap();
    assert_eq!((held(id(1)).members, held(id(1)).primary_members), (3, 3));
    assert_eq!((held(id(2)).members, held(id(2)).primary_members), (3, 0));
    assert!(keys.use_key(new, false).await.unwrap().is_complete());
    for at in 0..3 {
        assert_eq!(cluster.engine(at), (id(2), 2));
    }
    // Any member can do any step.
    assert!(
        cluster
            .keys(2)
            .remove(id(1), false)
            .await
            .unwrap()
            .is_complete()
    );
    for at in 0..3 {
        assert_eq!(cluster.engine(at), (id(2), 1));
    }
    assert!(lock(&cluster.network.closed).contains(&Some(id(1))));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_used_unless_every_member_holds_it() {
    let cluster = three(Stage::On);
    let keys = cluster.keys(0);
    cluster.take_down(2);
    let (_, report) = keys.install(key(2)).await.unwrap();
    assert!(!report.is_complete());
    let error = &report.members[2].error.clone().unwrap();
    assert!(error.contains("nobody is there"), "{error}");
    refused(
        &keys.use_key(id(2), false).await.unwrap_err(),
        "n3",
        "nobody is there",
    );
    assert_eq!(cluster.engine(0).0, id(1));
    // By force: the one that is away hears of it under the old key.
    keys.use_key(id(2), true).await.unwrap();
    assert_eq!((cluster.engine(1).0, cluster.engine(2).0), (id(2), id(1)));
    cluster.bring_back();
    cluster.unknown[2].send_modify(|times| *times += 1);
    let told = async {
        while cluster.engine(2).0 != id(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_primary_of_any_member_and_the_last_key_are_not_removed() {
    let cluster = Cluster::start(&[ring(&[1, 2], Stage::On), ring(&[2, 1], Stage::On)]);
    let keys = cluster.keys(0);
    refused(
        &keys.remove(id(2), false).await.unwrap_err(),
        "n2",
        "seals with",
    );
    let error = keys.remove(id(9), false).await.unwrap_err();
    assert!(
        matches!(error, KeysError::Ring(RingError::Unknown(_))),
        "{error}"
    );
    let alone = Cluster::start(&[ring(&[1], Stage::On)]);
    let error = alone.keys(0).remove(id(1), true).await.unwrap_err();
    assert!(
        matches!(error, KeysError::Ring(RingError::Last(_))),
        "{error}"
    );
}

#[tokio::test]
async fn a_rotation_retires_the_old_key_everywhere_at_its_time() {
    let cluster = three(Stage::On);
    let overlap = Duration::from_millis(200);
    let rotated = cluster.keys(1).rotate(key(2), overlap).await.unwrap();
    assert_eq!((rotated.id, rotated.retired), (id(2), id(1)));
    assert!(rotated.report.is_complete());
    let report = cluster.keys(0).list().await.unwrap();
    let old = report.keys.iter().find(|key| key.id == id(1));
    assert!(old.is_none_or(|old| old.retire_at_unix_ms.is_some()));
    // Times of removal are of the wall clock.
    let gone = async {
        while (0..3).any(|at| cluster.engine(at) != (id(2), 1)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
    let error = cluster.keys(0).rotate(key(2), overlap).await.unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_a_member_cannot_follow_changes_nothing() {
    let cluster = three(Stage::On);
    cluster.take_down(1);
    let rotated = cluster.keys(0).rotate(key(2), Duration::ZERO).await;
    refused(&rotated.unwrap_err(), "n2", "nobody is there");
    assert_eq!(cluster.engine(0), (id(1), 1));
    cluster.bring_back();
    let rotated = cluster
        .keys(0)
        .rotate(key(2), Duration::ZERO)
        .await
        .unwrap();
    assert!(rotated.report.is_complete() && rotated.retire_at_unix_ms == 0);
    for at in 0..3 {
        assert_eq!(cluster.engine(at), (id(2), 1), "no overlap");
    }
}

#[tokio::test(start_paused = true)]
async fn encryption_goes_on_stage_by_stage() {
    let cluster = three(Stage::Receive);
    let keys = cluster.keys(0);
    refused(
        &keys.set_stage(Stage::On, false).await.unwrap_err(),
        "n1",
        "go to stage send",
    );
    assert!(
        keys.set_stage(Stage::Send, false)
            .await
            .unwrap()
            .is_complete()
    );
    assert!(
        keys.set_stage(Stage::On, false)
            .await
            .unwrap()
            .is_complete()
    );
    for at in 0..3 {
        let given = lock(&cluster.engines[at]);
        let stages: Vec<_> = given.iter().flatten().map(Keyring::stage).collect();
        assert_eq!(stages, Stage::ALL);
    }
}

#[tokio::test(start_paused = true)]
async fn encryption_waits_for_a_member_without_the_key() {
    let mut rings = vec![ring(&[1], Stage::Receive); 3];
    rings[2] = ring(&[2], Stage::Receive);
    let cluster = Cluster::start(&rings);
    let staged = cluster.keys(0).set_stage(Stage::Send, false).await;
    refused(&staged.unwrap_err(), "n3", "does not hold key");
}

#[tokio::test(start_paused = true)]
async fn a_public_address_never_accepts_plaintext() {
    let mut cluster = Cluster::start(&[]);
    cluster.names = vec!["n1".to_owned(), "n2".to_owned()];
    let why = Some("bind is public".to_owned());
    cluster.add(0, ring(&[1], Stage::On), why);
    cluster.add(1, ring(&[1], Stage::On), None);
    let error = cluster
        .keys(0)
        .set_stage(Stage::Send, false)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("bind is public"), "{error}");
    // Told by another member: it stays at on, and says so.
    let report = cluster.keys(1).set_stage(Stage::Send, false).await.unwrap();
    let error = report.members[0].error.clone().unwrap();
    assert!(error.contains("it is at on"), "{error}");
    let given = lock(&cluster.engines[0]);
    assert!(given.iter().flatten().all(|ring| ring.stage() == Stage::On));
}

#[tokio::test(start_paused = true)]
async fn a_first_key_is_local_and_what_is_not_kept_is_told() {
    let cluster = Cluster::start(&[Ring::default(), Ring::default()]);
    let keys = cluster.keys(0);
    let error = keys.install(key(1)).await.unwrap_err();
    assert!(
        matches!(error, KeysError::Ring(RingError::Empty)),
        "{error}"
    );
    let (_, report) = keys.install_locally(key(1)).await.unwrap();
    assert_eq!(report.members[0].stage, Some(Stage::Receive));
    let warnings = keys.warnings().join(" ");
    assert!(warnings.contains("a restart forgets"), "{warnings}");
    assert!(report.is_complete(), "it did what was asked");
}

#[tokio::test(start_paused = true)]
async fn rings_that_make_no_sense_are_refused() {
    let cluster = three(Stage::On);
    let mut state = ring(&[2], Stage::On).to_message();
    state.keys[0].id ^= 1;
    let request = pb::ExchangeRequest { state: Some(state) };
    let error = cluster.keys(0).answer(request).await.unwrap_err();
    assert!(matches!(error, KeysError::Refused(_)), "{error}");
    assert_eq!(cluster.engine(0), (id(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_ring_is_not_taken_nor_given_in_clear() {
    use pb::key_peer_service_server::KeyPeerService as _;

    let cluster = three(Stage::Receive);
    let service = KeyPeer::of(&cluster.keys(0));
    for (under, taken) in [(None, false), (Some(id(1)), true)] {
        let mut request = tonic::Request::new(pb::ExchangeRequest::default());
        request.extensions_mut().insert(crate::peers::Under(under));
        let answer = service.exchange(request).await;
        assert_eq!(answer.is_ok(), taken, "{answer:?}");
    }
    let request = tonic::Request::new(pb::ExchangeRequest::default());
    assert!(service.exchange(request).await.is_err(), "from nowhere");
}
