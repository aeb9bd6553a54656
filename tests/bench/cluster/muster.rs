//! A cluster of ours, watched through the client library.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster::pb::{MemberStatus, ReceiptLevel};
use muster::{Client, EventUpdate, EventWatchOptions, MemberWatch, MemberWatchOptions, SocketPath};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::{Daemon, Security};
use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::SIZE;
use super::peer::{ARRIVALS_MAX, Arrival, Peer, number, payload};
use crate::BIN;

/// Between two looks whether a daemon answers.
const LOOK: Duration = Duration::from_millis(5);

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The daemons.
#[derive(Debug)]
pub(crate) struct Cluster {
    daemons: Vec<Daemon>,
    began: Instant,
    watchers: JoinSet<anyhow::Result<()>>,
}

impl Cluster {
    /// Starts all processes.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let dir = Arc::new(temp_dir());
        let key = write_key(dir.path(), "cluster.key");
        let began = Instant::now();
        let mut daemons: Vec<Daemon> = Vec::with_capacity(SIZE);
        for node in 0..SIZE {
            let mut builder = Daemon::builder(BIN, &format!("node-{node}"))
                .dir(&dir)
                .security(Security::KeyFile(key.clone()));
            if let Some(first) = daemons.first() {
                builder = builder.join(first.addr());
            }
            daemons.push(builder.start());
            tokio::task::yield_now().await;
        }
        Ok(Self {
            daemons,
            began,
            watchers: JoinSet::new(),
        })
    }

    fn clients(&self) -> anyhow::Result<Vec<Client>> {
        let client = |daemon: &Daemon| anyhow::Ok(Client::connect(&socket_path(daemon.socket())?));
        self.daemons.iter().map(client).collect()
    }
}

impl Peer for Cluster {
    async fn together(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut tasks = JoinSet::new();
        for daemon in &self.daemons {
            tasks.spawn(timeout(START_LIMIT, see_all(daemon.socket())));
        }
        let (mut up, mut together) = (self.began, self.began);
        while let Some(seen) = tasks.join_next().await {
            let (answered, saw_all) = seen?.context("a daemon does not see all")??;
            up = up.max(answered);
            together = together.max(saw_all);
        }
        Ok((up, together))
    }

    fn began(&self) -> Instant {
        self.began
    }

    async fn follow(&mut self) -> anyhow::Result<mpsc::Receiver<Arrival>> {
        let (sender, receiver) = mpsc::channel(ARRIVALS_MAX);
        let ready = Arc::new(Barrier::new(SIZE + 1));
        for (node, client) in self.clients()?.into_iter().enumerate() {
            let (sender, ready) = (sender.clone(), Arc::clone(&ready));
            self.watchers.spawn(watch(node, client, sender, ready));
        }
        ready.wait().await;
        Ok(receiver)
    }

    async fn send(&mut self, numbers: Range<u64>, bytes: usize) -> anyhow::Result<()> {
        let client = Client::connect(&socket_path(self.daemons[0].socket())?);
        let (mut sender, mut receipts) = client.send_events(ReceiptLevel::Accepted);
        let sending = async {
            for number in numbers {
                sender.send("bench", payload(number, bytes)).await?;
            }
            drop(sender);
            anyhow::Ok(())
        };
        let receiving = async {
            while let Some(receipt) = receipts.next_final().await? {
                if let muster::Outcome::Rejected(rejected) = receipt.outcome {
                    anyhow::bail!("{}", rejected.message);
                }
            }
            Ok(())
        };
        tokio::try_join!(sending, receiving)?;
        Ok(())
    }

    fn pids(&self) -> Vec<u32> {
        self.daemons.iter().map(Daemon::pid).collect()
    }

    async fn kill_last(&mut self, limit: Duration) -> anyhow::Result<Option<Duration>> {
        let victim = format!("node-{}", SIZE - 1);
        let mut tasks = JoinSet::new();
        for client in self.clients()?.into_iter().take(SIZE - 1) {
            let mut watch = client.watch_members(MemberWatchOptions::default());
            watch.next().await?;
            let victim = victim.clone();
            tasks.spawn(async move {
                while watch.get(&victim).map(|m| m.status()) != Some(MemberStatus::Failed) {
                    watch.next().await?;
                }
                anyhow::Ok(Instant::now())
            });
        }
        let began = Instant::now();
        let last = self.daemons.last_mut().context("no daemon")?;
        last.signal(Signal::KILL);
        let mut latest = began;
        let all = timeout(limit, async {
            while let Some(seen) = tasks.join_next().await {
                latest = latest.max(seen??);
            }
            anyhow::Ok(())
        });
        match all.await {
            Ok(seen) => seen.map(|()| Some(latest - began)),
            Err(_elapsed) => Ok(None),
        }
    }
}

fn socket_path(path: PathBuf) -> anyhow::Result<SocketPath> {
    let text = path.to_str().context("a path that is no text")?;
    Ok(SocketPath::parse(text)?)
}

/// When a daemon first answered, and when it saw all alive.
async fn see_all(socket: PathBuf) -> anyhow::Result<(Instant, Instant)> {
    while UnixStream::connect(&socket).await.is_err() {
        sleep(LOOK).await;
    }
    let up = Instant::now();
    let client = Client::connect(&socket_path(socket)?);
    let mut watch = client.watch_members(MemberWatchOptions::default());
    while alive(&watch) < SIZE {
        watch.next().await?;
    }
    Ok((up, Instant::now()))
}

fn alive(watch: &MemberWatch) -> usize {
    let is_alive = |member: &&muster::pb::Member| member.status() == MemberStatus::Alive;
    watch.items().filter(is_alive).count()
}

async fn watch(
    node: usize,
    client: Client,
    sender: mpsc::Sender<Arrival>,
    ready: Arc<Barrier>,
) -> anyhow::Result<()> {
    let mut watch = client.watch_events(EventWatchOptions::default());
    loop {
        match watch.next().await? {
            EventUpdate::Subscribed => {
                ready.wait().await;
            }
            EventUpdate::Event(event) => {
                let at = Instant::now();
                if let Some(number) = number(&event.payload) {
                    // The bench has ended when nobody takes it.
                    sender.try_send(Arrival { node, number, at }).ok();
                }
            }
            // A gap shows as events that did not come.
            EventUpdate::Gap(_) | EventUpdate::Disconnected(_) | EventUpdate::Reconnected | _ => {}
        }
    }
}
