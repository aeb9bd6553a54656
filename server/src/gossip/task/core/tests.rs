use std::collections::BTreeMap as Map;
use std::sync::Mutex;
use std::time::Duration;

use muster_engine::crypto::{Key, Keyring};
use muster_engine::{EventDraft, ExchangeKind, Gap, Limits, Origin, WatchId};
use tokio::time::Instant;

use super::*;
use crate::gossip::handle::{JoinOutcome, Replicated};

/// What a core did to the world.
#[derive(Debug, Default)]
struct World {
    sent: Vec<(SocketAddr, Bytes)>,
    carried: Vec<(SocketAddr, Bytes)>,
    jobs: Vec<Job>,
    freed: Vec<u64>,
    watches: Vec<(WatchId, SocketAddr)>,
    joins: Vec<(u64, Vec<String>)>,
    keyrings: Vec<Option<Keyring>>,
    seeds: usize,
    busy: bool,
}

impl Net for World {
    fn transmit(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.sent.push((to, Bytes::copy_from_slice(datagram)));
    }

    fn carry(&mut self, to: SocketAddr, datagram: Bytes) {
        self.carried.push((to, datagram));
    }

    fn exchange(&mut self, _: SocketAddr, _: ExchangeKind, job: Job) -> Result<(), ExchangeError> {
        if self.busy {
            return Err(ExchangeError::Busy);
        }
        self.jobs.push(job);
        Ok(())
    }

    fn freed(&mut self, slot: u64) {
        self.freed.push(slot);
    }

    fn closed(&mut self, slot: u64) {
        self.freed.push(slot);
    }

    fn watch(&mut self, id: WatchId, to: SocketAddr, _: Bytes, _: Instant) {
        self.watches.push((id, to));
    }

    fn unwatch(&mut self, id: WatchId) {
        self.watches.retain(|watch| watch.0 != id);
    }

    fn set_keyring(&mut self, keyring: Option<Keyring>) {
        self.keyrings.push(keyring);
    }

    fn resolve_seeds(&mut self) {
        self.seeds += 1;
    }

    fn resolve_join(&mut self, call: u64, addresses: Vec<String>) {
        self.joins.push((call, addresses));
    }
}

/// Sizes of the batches that came.
#[derive(Debug, Default)]
struct Batches(Mutex<(Vec<usize>, Vec<usize>, Vec<usize>)>);

impl Sink for Batches {
    fn apply_members(&self, batch: Vec<MemberUpdate>) {
        self.0.lock().unwrap().0.push(batch.len());
    }

    fn push_events(&self, batch: Vec<EventUpdate>) {
        self.0.lock().unwrap().1.push(batch.len());
    }

    fn queries(&self, batch: Vec<Arc<Event>>) {
        self.0.lock().unwrap().2.push(batch.len());
    }

    fn boot_raised(&self, _boot: u64) {}
}

struct Bench {
    core: Core<World>,
    sink: Arc<Batches>,
    clock: Clock,
    replicated: watch::Receiver<Replicated>,
}

fn bench(limits: Limits) -> Bench {
    let clock = Clock::start();
    let config = muster_engine::Config {
        name: "one".to_owned(),
        cluster: "c".to_owned(),
        advertise: addr(),
        boot: 1,
        tags: Map::new(),
        roles: Vec::new(),
        version: "0".to_owned(),
        keyring: None,
        limits,
        reap_left: Duration::from_secs(600),
        reap_failed: Duration::from_secs(600),
        coordinates: true,
        retry_interval: Duration::from_secs(5),
    };
    let sink = Arc::new(Batches::default());
    let (sender, replicated) = watch::channel(Replicated::default());
    let mut core = Core::new(Parts {
        engine: Engine::new(config, 1, clock.now()),
        net: World::default(),
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        clock,
        counters: Arc::default(),
        replicated: sender,
        coordinates: Arc::default(),
        changes: watch::channel(Changes::default()).0,
        unknown_keys: watch::Sender::new(0),
    });
    core.begin(clock.now());
    Bench {
        core,
        sink,
        clock,
        replicated,
    }
}

fn addr() -> SocketAddr {
    "10.0.0.1:7946".parse().unwrap()
}

fn gap(first: u64) -> Output {
    let name = Arc::from("two");
    let origin = Origin { name, boot: 1 };
    let last = first;
    Output::Gap(Gap {
        origin,
        first,
        last,
    })
}

#[tokio::test]
async fn one_turn_is_one_batch() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    *bench.sink.0.lock().unwrap() = Default::default();
    let me = bench.core.engine.me();
    for turn in [1, 3] {
        for first in 0..turn {
            bench.core.act(now, gap(first));
            bench.core.act(now, Output::Query(Arc::default()));
            bench.core.act(now, Output::MemberUpdated(Arc::clone(&me)));
        }
        bench.core.flush();
        bench.core.flush();
    }
    let expected = (vec![1, 3], vec![1, 3], vec![1, 3]);
    assert_eq!(*bench.sink.0.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_refused_exchange_is_told_with_the_next_turn() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    bench.core.net_mut().busy = true;
    let request = Output::Request {
        id: ExchangeId(7),
        to: addr(),
        kind: ExchangeKind::Sync,
        body: Bytes::new(),
        timeout: Duration::from_secs(1),
    };
    bench.core.act(now, request);
    assert_eq!(bench.core.refused, [(ExchangeId(7), ExchangeError::Busy)]);
    assert_eq!(bench.core.next_deadline(), Time::default(), "at once");
    bench.core.net_mut().busy = false;
    bench.core.tick(bench.clock.now());
    assert!(bench.core.refused.is_empty());
}

#[tokio::test]
async fn an_exchange_gets_the_engines_deadline() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    let request = Output::Request {
        id: ExchangeId(7),
        to: addr(),
        kind: ExchangeKind::Pull,
        body: Bytes::from("body"),
        timeout: Duration::from_secs(5),
    };
    bench.core.act(now, request);
    let job = bench.core.net().jobs.last().unwrap();
    assert_eq!((job.id, &job.body[..]), (ExchangeId(7), &b"body"[..]));
    assert_eq!(
        job.deadline,
        bench.clock.timer(now.at, now.at + Duration::from_secs(5))
    );
}

#[tokio::test]
async fn an_answer_finds_the_pipe_that_asked() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    let mut answers = Vec::new();
    for id in 0..3 {
        let (reply, answer) = oneshot::channel();
        bench.core.asked.insert(ExchangeId(id), reply);
        answers.push(answer);
    }
    let id = ExchangeId(1);
    let body = Some(Bytes::from("yes"));
    bench.core.act(
        now,
        Output::Respond {
            id,
            body: body.clone(),
        },
    );
    assert_eq!(answers[1].try_recv(), Ok(body));
    assert!(answers[0].try_recv().is_err());
    assert_eq!(bench.core.asked.len(), 2);
}

#[tokio::test]
async fn a_senseless_request_is_answered_and_forgotten() {
    let mut bench = bench(Limits::default());
    let (reply, mut answer) = oneshot::channel();
    let request = Arrival::Request {
        from: addr(),
        kind: ExchangeKind::Sync,
        body: Bytes::from_static(&[0xff; 40]),
        reply,
    };
    bench.core.arrival(bench.clock.now(), request);
    assert_eq!(answer.try_recv(), Ok(None));
    assert!(bench.core.asked.is_empty());
}

#[tokio::test]
async fn a_response_frees_its_pipe() {
    let mut bench = bench(Limits::default());
    let response = Arrival::Response {
        slot: 4,
        id: ExchangeId(99),
        result: Err(ExchangeError::Timeout),
    };
    bench.core.arrival(bench.clock.now(), response);
    bench
        .core
        .arrival(bench.clock.now(), Arrival::SlotClosed { slot: 5 });
    assert_eq!(bench.core.net().freed, [4, 5]);
}

#[tokio::test]
async fn a_join_is_resolved_dialled_and_answered() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    let (reply, mut answer) = oneshot::channel();
    let addresses = vec!["10.0.0.2".to_owned()];
    bench.core.command(
        now,
        Command::Join {
            addresses: addresses.clone(),
            reply,
        },
    );
    assert_eq!(bench.core.net().joins, [(0, addresses)]);
    let to: SocketAddr = "10.0.0.2:7946".parse().unwrap();
    let resolved = crate::gossip::resolve::Resolved {
        text: "10.0.0.2".to_owned(),
        addrs: Ok(vec![to]),
    };
    bench.core.arrival(
        now,
        Arrival::Join {
            call: 0,
            resolved: vec![resolved],
        },
    );
    let attempt = 0;
    let result = Ok(Arc::from("two"));
    bench.core.act(
        now,
        Output::JoinResult {
            attempt,
            addr: to,
            result,
        },
    );
    let expected = JoinOutcome {
        address: "10.0.0.2 (10.0.0.2:7946)".to_owned(),
        result: Ok("two".to_owned()),
    };
    assert_eq!(answer.try_recv().unwrap(), [expected]);
}

#[tokio::test]
async fn everybody_who_waits_for_the_leave_is_told() {
    let mut bench = bench(Limits::default());
    let now = bench.clock.now();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (reply, answer) = oneshot::channel();
        bench.core.command(now, Command::Leave { reply });
        answers.push(answer);
    }
    bench.core.act(now, Output::LeaveDone);
    for mut answer in answers {
        assert_eq!(answer.try_recv(), Ok(()));
    }
    // The node may have joined again meanwhile: another leave is a leave of its own.
    let (reply, mut answer) = oneshot::channel();
    bench.core.command(now, Command::Leave { reply });
    assert!(answer.try_recv().is_err(), "nothing was spread yet");
    bench.core.act(now, Output::LeaveDone);
    assert_eq!(answer.try_recv(), Ok(()));
}

#[tokio::test]
async fn replication_is_published() {
    let mut bench = bench(Limits::default());
    bench
        .core
        .act(bench.clock.now(), Output::Replicated { sequence: 9 });
    let at = |boot, sequence| Replicated { boot, sequence };
    assert_eq!(*bench.replicated.borrow(), at(1, 9));
    let raised = Output::Note(Note::BootRaised { boot: 4 });
    bench.core.act(bench.clock.now(), raised);
    assert_eq!(*bench.replicated.borrow(), at(4, 0));
    bench
        .core
        .act(bench.clock.now(), Output::Replicated { sequence: 2 });
    assert_eq!(*bench.replicated.borrow(), at(4, 2));
}

/// An event that found the window full, and its answer.
fn park(bench: &mut Bench) -> oneshot::Receiver<Result<muster_engine::Accepted, EventError>> {
    let (reply, answer) = oneshot::channel();
    let draft = EventDraft::new("deploy", Bytes::new());
    bench.core.parked = Some(EventCommand { draft, reply });
    answer
}

#[tokio::test]
async fn a_waiting_event_goes_out_when_there_is_room() {
    let mut bench = bench(Limits::default());
    let mut answer = park(&mut bench);
    assert!(!bench.core.takes_events());
    bench.core.act(bench.clock.now(), Output::EventRoom);
    assert!(bench.core.takes_events());
    assert_eq!(answer.try_recv().unwrap().unwrap().sequence, 1);
}

#[tokio::test]
async fn a_lost_wake_up_is_made_good_by_the_next_tick() {
    let mut bench = bench(Limits::default());
    let mut answer = park(&mut bench);
    bench.core.tick(bench.clock.now());
    assert!(answer.try_recv().unwrap().is_ok());
}

#[tokio::test]
async fn an_event_that_nobody_waits_for_is_not_sent() {
    let mut bench = bench(Limits::default());
    drop(park(&mut bench));
    bench.core.act(bench.clock.now(), Output::EventRoom);
    assert!(bench.core.takes_events());
    let mut answer = park(&mut bench);
    bench.core.act(bench.clock.now(), Output::EventRoom);
    assert_eq!(
        answer.try_recv().unwrap().unwrap().sequence,
        1,
        "the first one"
    );
}

#[tokio::test]
async fn new_keys_reach_the_engine_and_the_pipes() {
    let mut bench = bench(Limits::default());
    assert!(!bench.core.report().encrypted);
    let (reply, mut answer) = oneshot::channel();
    let keyring = Some(Keyring::new(Key::new(&[1; 32]).unwrap()));
    let command = Command::SetKeyring { keyring, reply };
    bench.core.command(bench.clock.now(), command);
    answer.try_recv().unwrap();
    assert!(bench.core.report().encrypted);
    assert_eq!(bench.core.net().keyrings.len(), 1);
}

#[tokio::test]
async fn unknown_keys_are_told_of() {
    let mut bench = bench(Limits::default());
    let told = bench.core.unknown_keys.subscribe();
    let key = Key::new(&[1; 32]).unwrap().id();
    let note = Output::Note(Note::UnknownKey { key });
    bench.core.act(bench.clock.now(), note);
    assert_eq!(*told.borrow(), 1);
}
