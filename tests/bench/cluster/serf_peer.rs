//! A cluster of serf agents, watched through their RPC.

mod look;

use std::net::SocketAddr;
use std::ops::Range;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::serf::Agent;
use muster_tests::serf::rpc::Rpc;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::peer::{ARRIVALS_MAX, Arrival, Death, Peer, Site, name, number, payload};

/// Between two looks whether an agent answers.
const CONNECT_LOOK: Duration = Duration::from_millis(5);

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Its settings that are no flags: the largest user events that it can be told to take.
const CONFIG: &str = r#"{"user_event_size_limit": 9216}"#;

/// How long a killed process may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// The agents.
#[derive(Debug)]
pub(crate) struct Cluster {
    agents: Vec<Agent>,
    sites: Vec<Site>,
    args: Vec<String>,
    began: Instant,
    sender: Option<Rpc>,
    dir: TempDir,
}

impl Cluster {
    /// Starts all processes, in plaintext or under a key.
    pub(crate) async fn start(sites: Vec<Site>, encrypt: bool) -> anyhow::Result<Self> {
        let version = std::process::Command::new("serf").arg("version").output();
        version.context("serf is not installed")?;
        let key: [u8; 32] = rand::random();
        let key = encrypt.then(|| format!("-encrypt={}", STANDARD.encode(key)));
        let dir = temp_dir();
        let config = dir.path().join("serf.json");
        std::fs::write(&config, CONFIG)?;
        let own = [
            "-log-level=err".to_owned(),
            format!("-config-file={}", config.display()),
        ];
        let mut cluster = Self {
            agents: Vec::with_capacity(sites.len()),
            args: own.into_iter().chain(key).collect(),
            sites,
            began: Instant::now(),
            sender: None,
            dir,
        };
        for node in 0..cluster.sites.len() {
            let agent = cluster.launch(node);
            cluster.agents.push(agent);
            // An agent whose seed does not answer yet gives up.
            while node == 0 && !cluster.agents[0].answers() {
                let waited = cluster.began.elapsed();
                anyhow::ensure!(waited < START_LIMIT, "serf does not answer");
                sleep(CONNECT_LOOK).await;
            }
        }
        Ok(cluster)
    }

    fn launch(&self, node: usize) -> Agent {
        let mut args = self.args.clone();
        args.extend(
            self.agents
                .first()
                .map(|first| format!("-join={}", first.bind)),
        );
        let site = &self.sites[node];
        let path = self.dir.path();
        Agent::start_under(&site.under, site.bind, &name(node), &args, path)
    }

    /// Waits until the commands of every agent show all alive: slow, but it works where
    /// their RPC is out of reach.
    pub(crate) async fn together_by_command(&self) -> anyhow::Result<()> {
        for agent in &self.agents {
            let limit = Instant::now() + START_LIMIT;
            while agent.alive() < self.agents.len() {
                anyhow::ensure!(Instant::now() < limit, "{} does not see all", agent.name);
                sleep(CONNECT_LOOK).await;
            }
        }
        Ok(())
    }

    fn on_each<T: Send + 'static>(
        &self,
        nodes: impl Iterator<Item = usize>,
        look: impl Fn(SocketAddr) -> anyhow::Result<T> + Clone + Send + 'static,
    ) -> Vec<JoinHandle<anyhow::Result<T>>> {
        let start = |node: usize| {
            let (look, rpc) = (look.clone(), self.agents[node].rpc);
            thread::spawn(move || look(rpc))
        };
        nodes.map(start).collect()
    }
}

impl Peer for Cluster {
    async fn together(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut latest = (self.began, self.began);
        let size = self.agents.len();
        let limit = Instant::now() + START_LIMIT;
        let all = self.on_each(0..size, move |rpc| look::all_alive(rpc, size, limit));
        for seen in joined(all).await? {
            latest = (latest.0.max(seen.0), latest.1.max(seen.1));
        }
        Ok(latest)
    }

    fn began(&self) -> Instant {
        self.began
    }

    async fn follow(&mut self) -> anyhow::Result<mpsc::Receiver<Arrival>> {
        let (sender, receiver) = mpsc::channel(ARRIVALS_MAX);
        for (node, agent) in self.agents.iter().enumerate() {
            let mut followed = Rpc::connect(agent.rpc)?.follow()?;
            let sender = sender.clone();
            // Ends when its agent does.
            thread::spawn(move || {
                while let Ok(payload) = followed.next() {
                    let at = Instant::now();
                    if let Some(number) = number(&payload) {
                        sender.try_send(Arrival { node, number, at }).ok();
                    }
                }
            });
        }
        Ok(receiver)
    }

    async fn send(&mut self, numbers: Range<u64>, bytes: usize) -> anyhow::Result<()> {
        let mut rpc = match self.sender.take() {
            Some(rpc) => rpc,
            None => Rpc::connect(self.agents[0].rpc)?,
        };
        let sent = spawn_blocking(move || {
            let mut numbers = numbers;
            let sent = numbers.try_for_each(|number| rpc.event("bench", &payload(number, bytes)));
            (rpc, sent)
        });
        let (rpc, sent) = sent.await?;
        self.sender = Some(rpc);
        sent
    }

    fn pids(&self) -> Vec<u32> {
        let pid = |agent: &Agent| agent.process.pid();
        self.agents.iter().map(pid).collect()
    }

    fn kill(&mut self, node: usize) {
        self.agents[node].process.signal(Signal::KILL);
    }

    async fn revive(&mut self, node: usize) -> anyhow::Result<()> {
        self.agents[node].process.wait_exit(REAP_LIMIT).await;
        self.agents[node] = self.launch(node);
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
        let began = Instant::now();
        strike(self);
        let others = (0..self.agents.len()).filter(|n| *n != victim && !gone.contains(n));
        let all = self.on_each(others, move |rpc| look::failed(rpc, &dead, began + limit));
        let mut death = Death::new();
        for seen in joined(all).await? {
            death.add(began, seen);
        }
        Ok(death)
    }
}

/// Waits for threads without holding up the runtime.
async fn joined<T: Send + 'static>(
    threads: Vec<JoinHandle<anyhow::Result<T>>>,
) -> anyhow::Result<Vec<T>> {
    let all = spawn_blocking(move || {
        let join = |thread: JoinHandle<anyhow::Result<T>>| {
            thread
                .join()
                .map_err(|_panic| anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    });
    all.await?
}
