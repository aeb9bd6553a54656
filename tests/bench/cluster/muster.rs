//! A cluster of ours, watched through the client library.

pub(crate) mod look;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster::pb::ReceiptLevel;
use muster::{Client, MemberWatchOptions, SocketPath};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::{Binaries, Daemon, Security};
use rustix::process::Signal;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::peer::{ARRIVALS_MAX, Arrival, Death, Peer, Site, name, payload};

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a killed process may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// The daemons.
#[derive(Debug)]
pub(crate) struct Cluster {
    daemons: Vec<Daemon>,
    began: Instant,
    watchers: JoinSet<anyhow::Result<()>>,
}

impl Cluster {
    /// Starts all processes.
    pub(crate) async fn start(binaries: Binaries, sites: Vec<Site>) -> Self {
        let dir = Arc::new(temp_dir());
        let key = write_key(dir.path(), "cluster.key");
        let began = Instant::now();
        let mut daemons: Vec<Daemon> = Vec::with_capacity(sites.len());
        for (node, site) in sites.into_iter().enumerate() {
            let mut builder = Daemon::builder(binaries, &name(node))
                .dir(&dir)
                .bind(site.bind)
                .under(&site.under)
                .security(Security::KeyFile(key.clone()));
            if let Some(first) = daemons.first() {
                builder = builder.join(first.addr());
            }
            daemons.push(builder.start());
            tokio::task::yield_now().await;
        }
        Self {
            daemons,
            began,
            watchers: JoinSet::new(),
        }
    }

    /// A client of a node.
    pub(crate) fn client(&self, node: usize) -> anyhow::Result<Client> {
        client(self.daemons[node].socket())
    }

    fn size(&self) -> usize {
        self.daemons.len()
    }
}

impl Peer for Cluster {
    async fn together(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut tasks = JoinSet::new();
        for daemon in &self.daemons {
            let seen = look::all_alive(daemon.socket(), self.size());
            tasks.spawn(timeout(START_LIMIT, seen));
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
        let ready = Arc::new(Barrier::new(self.size() + 1));
        for node in 0..self.size() {
            let (sender, ready) = (sender.clone(), Arc::clone(&ready));
            let watch = look::events(node, self.client(node)?, sender, ready);
            self.watchers.spawn(watch);
        }
        ready.wait().await;
        Ok(receiver)
    }

    async fn send(&mut self, numbers: Range<u64>, bytes: usize) -> anyhow::Result<()> {
        let (mut sender, mut receipts) = self.client(0)?.send_events(ReceiptLevel::Accepted);
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

    fn kill(&mut self, node: usize) {
        self.daemons[node].signal(Signal::KILL);
    }

    async fn revive(&mut self, node: usize) -> anyhow::Result<()> {
        let daemon = &mut self.daemons[node];
        daemon.wait_exit(REAP_LIMIT).await;
        daemon.restart().await;
        self.together().await?;
        Ok(())
    }

    async fn death(
        &mut self,
        victim: usize,
        gone: &[usize],
        limit: Duration,
        strike: impl FnOnce(&mut Self),
    ) -> anyhow::Result<Death> {
        let mut dead: Vec<String> = gone.iter().map(|node| name(*node)).collect();
        dead.push(name(victim));
        let mut tasks = JoinSet::new();
        for node in (0..self.size()).filter(|node| *node != victim && !gone.contains(node)) {
            let mut watch = self
                .client(node)?
                .watch_members(MemberWatchOptions::default());
            // The view as it is.
            watch.next().await?;
            tasks.spawn(look::failed(watch, dead.clone(), Instant::now() + limit));
        }
        let began = Instant::now();
        strike(self);
        let mut death = Death::new();
        while let Some(seen) = tasks.join_next().await {
            death.add(began, seen??);
        }
        Ok(death)
    }
}

/// A client of the daemon with this socket.
pub(crate) fn client(socket: PathBuf) -> anyhow::Result<Client> {
    let text = socket.to_str().context("a path that is no text")?;
    Ok(Client::connect(&SocketPath::parse(text)?))
}
