//! A cluster, a daemon on each host, and watchers of everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1::send_event_response::Receipt;
use muster_proto::v1::{EventId, MemberStatus, ReceiptLevel, SendEventRequest};
use muster_tests::check::events::EventHistory;
use muster_tests::check::members::{MemberHistory, ever};
use muster_tests::check::{self, told};
use muster_tests::harness::api::EventSender;
use muster_tests::harness::cluster::{node, see_alive};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Daemon, DaemonBuilder, Lan, Recorder, Security};
use tempfile::TempDir;

use crate::BIN;

/// Hosts with a daemon each, called `node-0` and on.
pub(crate) struct Scene {
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) lan: Lan,
    key: PathBuf,
    dir: Arc<TempDir>,
}

impl Scene {
    /// So many hosts, whose daemons all see each other.
    pub(crate) async fn of(size: u8) -> Self {
        let scene = Self::started(size, |_, builder| builder);
        scene.together().await;
        scene
    }

    /// The same, with each daemon changed before its start; nothing is waited for.
    pub(crate) fn started(size: u8, each: impl Fn(usize, DaemonBuilder) -> DaemonBuilder) -> Self {
        Self::started_by(size, |_| true, each)
    }

    /// The same; only these are told of the first host.
    pub(crate) fn started_by(
        size: u8,
        told: impl Fn(usize) -> bool,
        each: impl Fn(usize, DaemonBuilder) -> DaemonBuilder,
    ) -> Self {
        let dir = Arc::new(temp_dir());
        let mut scene = Self {
            daemons: Vec::new(),
            lan: Lan::new(size),
            key: write_key(dir.path(), "cluster.key"),
            dir,
        };
        for n in 0..usize::from(size) {
            let daemon = each(n, scene.builder(n, told(n))).start();
            scene.daemons.push(daemon);
        }
        scene
    }

    fn builder(&self, n: usize, told: bool) -> DaemonBuilder {
        let host = self.lan.host(n);
        let builder = Daemon::builder(BIN, &node(n))
            .dir(&self.dir)
            .security(Security::KeyFile(self.key.clone()))
            .bind(host.addr())
            .under(&host.enter());
        if n > 0 && told {
            builder.join(self.lan.host(0).addr())
        } else {
            builder
        }
    }

    /// Waits until everybody sees everybody alive, and nobody else.
    pub(crate) async fn together(&self) {
        for daemon in &self.daemons {
            wait::holds("the socket", SOON, async || daemon.socket().exists()).await;
        }
        for daemon in &self.daemons {
            see_alive(daemon, self.daemons.len()).await;
        }
    }

    /// A consumer of members and one of events at every daemon.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::of(&self.daemons)
    }

    /// [`send`] from daemon number n.
    pub(crate) async fn send(&self, n: usize, count: u64) -> Vec<EventId> {
        send(&self.daemons[n], count).await
    }
}

/// Sends so many events from a daemon and waits until two others have each; their ids.
pub(crate) async fn send(daemon: &Daemon, count: u64) -> Vec<EventId> {
    let mut sender = daemon.api().await.sender().await;
    let mut ids = Vec::new();
    for sequence in 1..=count {
        let event = SendEventRequest {
            sequence,
            name: "tick".to_owned(),
            payload: sequence.to_string().into_bytes().into(),
            receipt: ReceiptLevel::Replicated.into(),
            ..Default::default()
        };
        sender.requests.send(event).await.unwrap();
        loop {
            match sender.receipts.next().await.receipt {
                Some(Receipt::Replicated(done)) => {
                    ids.push(done.id.unwrap());
                    break;
                }
                Some(Receipt::Accepted(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    ids
}

/// Sends events without waiting for any of them: the daemon may be in trouble.
pub(crate) async fn faulty_send(daemon: &Daemon, count: u64) {
    let EventSender {
        requests,
        mut receipts,
    } = daemon.api().await.sender().await;
    for sequence in 1..=count {
        let name = if sequence % 3 == 0 { "tock" } else { "tick" };
        let event = SendEventRequest {
            sequence,
            name: name.to_owned(),
            payload: sequence.to_string().into_bytes().into(),
            receipt: ReceiptLevel::Accepted.into(),
            ..Default::default()
        };
        requests.send(event).await.unwrap();
        let receipt = receipts.next().await.receipt;
        assert!(matches!(receipt, Some(Receipt::Accepted(_))), "{receipt:?}");
    }
}

/// What the watchers recorded.
pub(crate) struct Record {
    pub(crate) members: Vec<MemberHistory>,
    pub(crate) events: Vec<EventHistory>,
}

impl Record {
    /// Ends the recorder, and checks the contract of the watches.
    pub(crate) async fn of(recorder: Recorder) -> Self {
        let (members, events) = recorder.finish().await;
        let (breaches, seen) = check::members::check(&members);
        assert!(breaches.is_empty(), "{}", told(&breaches));
        assert!(seen.snapshots >= members.len(), "{seen:?}");
        let (breaches, _seen) = check::events::check(&events);
        assert!(breaches.is_empty(), "{}", told(&breaches));
        Self { members, events }
    }

    /// Asserts that these watchers never saw one of these members declared dead.
    pub(crate) fn nobody_failed(&self, watchers: &[usize], members: &[usize]) {
        for &watcher in watchers {
            let failed = ever(&self.members[watcher], MemberStatus::Failed);
            for &member in members {
                if let Some(why) = failed.get(&node(member)) {
                    panic!("{} saw {} fail: {why}", node(watcher), node(member));
                }
            }
        }
    }
}

/// Waits until every consumer of events has all of these, or is told of a gap; no gaps.
pub(crate) async fn everybody_has(recorder: &Recorder, sent: &[EventId], limit: Duration) {
    wait::until("all events everywhere", limit, async || {
        let (_members, events) = recorder.so_far();
        for history in &events {
            let gaps = check::events::gaps(history);
            assert!(gaps.is_empty(), "{}: {gaps:?}", history.consumer);
            let missing = check::events::missing(history, sent);
            if let Some(first) = missing.first() {
                let count = missing.len();
                return Err(format!("{} lacks {count}, {first:?}", history.consumer));
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until every consumer of events got its first message: what is sent from now on
/// is for it.
pub(crate) async fn subscribed(recorder: &Recorder) {
    wait::until("the watches", SOON, async || {
        let (members, events) = recorder.so_far();
        let late_members = members.iter().filter(|one| one.messages().count() < 3);
        let late_events = events.iter().filter(|one| one.messages().count() < 1);
        match late_members.count() + late_events.count() {
            0 => Ok(()),
            late => Err(format!("{late} wait for a first message")),
        }
    })
    .await;
}

/// Debian's place for the library of its package faketime.
pub(crate) fn faketime() -> String {
    let places = std::fs::read_dir("/usr/lib").unwrap();
    let mut files = places.filter_map(|place| {
        let file = place.ok()?.path().join("faketime/libfaketime.so.1");
        file.exists().then_some(file)
    });
    let file = files.next();
    let file = file.expect("faketime is missing (Debian: faketime); tests/run.sh installs it");
    file.display().to_string()
}
