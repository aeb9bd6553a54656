//! A cluster of serf agents, watched through their RPC.

use std::net::{SocketAddr, TcpStream};
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

use super::SIZE;
use super::peer::{ARRIVALS_MAX, Arrival, Peer, number, payload};

/// Between two looks at an agent.
const LOOK: Duration = Duration::from_millis(50);

/// Between two looks whether an agent answers.
const CONNECT_LOOK: Duration = Duration::from_millis(5);

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The agents.
#[derive(Debug)]
pub(crate) struct Cluster {
    agents: Vec<Agent>,
    began: Instant,
    sender: Option<Rpc>,
    _dir: TempDir,
}

impl Cluster {
    /// Starts all processes.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let version = std::process::Command::new("serf").arg("version").output();
        version.context("serf is not installed")?;
        let dir = temp_dir();
        let key: [u8; 32] = rand::random();
        let key = STANDARD.encode(key);
        let began = Instant::now();
        let mut agents: Vec<Agent> = Vec::with_capacity(SIZE);
        for node in 0..SIZE {
            let mut args = vec![format!("-encrypt={key}"), "-log-level=err".to_owned()];
            args.extend(agents.first().map(|first| format!("-join={}", first.bind)));
            let agent = Agent::start(&format!("node-{node}"), &args, dir.path());
            // An agent whose seed does not answer yet gives up.
            while node == 0 && TcpStream::connect(agent.rpc).is_err() {
                anyhow::ensure!(began.elapsed() < START_LIMIT, "serf does not answer");
                sleep(CONNECT_LOOK).await;
            }
            agents.push(agent);
        }
        Ok(Self {
            agents,
            began,
            sender: None,
            _dir: dir,
        })
    }

    fn on_each<T: Send + 'static>(
        &self,
        count: usize,
        look: impl Fn(SocketAddr) -> anyhow::Result<T> + Clone + Send + 'static,
    ) -> Vec<JoinHandle<anyhow::Result<T>>> {
        let agents = self.agents.iter().take(count);
        let start = |agent: &Agent| {
            let (look, rpc) = (look.clone(), agent.rpc);
            thread::spawn(move || look(rpc))
        };
        agents.map(start).collect()
    }
}

impl Peer for Cluster {
    async fn together(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut latest = (self.began, self.began);
        let all = self.on_each(SIZE, see_all);
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
        self.agents
            .iter()
            .map(|agent| agent.process.pid())
            .collect()
    }

    async fn kill_last(&mut self, limit: Duration) -> anyhow::Result<Option<Duration>> {
        let last = self.agents.last_mut().context("no agent")?;
        let victim = last.name.clone();
        let began = Instant::now();
        last.process.signal(Signal::KILL);
        let all = self.on_each(SIZE - 1, move |rpc| see_failed(rpc, &victim, began + limit));
        let seen: Option<Vec<Instant>> = joined(all).await?.into_iter().collect();
        Ok(seen.and_then(|seen| Some(seen.into_iter().max()? - began)))
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

/// When an agent first answered, and when it saw all alive.
fn see_all(rpc: SocketAddr) -> anyhow::Result<(Instant, Instant)> {
    let limit = Instant::now() + START_LIMIT;
    while TcpStream::connect(rpc).is_err() {
        anyhow::ensure!(Instant::now() < limit, "an agent does not answer");
        thread::park_timeout(CONNECT_LOOK);
    }
    let up = Instant::now();
    let mut rpc = Rpc::connect(rpc)?;
    while Instant::now() < limit {
        let members = rpc.members()?;
        if members.iter().filter(|(_, s)| s == "alive").count() == SIZE {
            return Ok((up, Instant::now()));
        }
        thread::park_timeout(LOOK);
    }
    anyhow::bail!("an agent does not see all")
}

fn see_failed(rpc: SocketAddr, victim: &str, limit: Instant) -> anyhow::Result<Option<Instant>> {
    let mut rpc = Rpc::connect(rpc)?;
    while Instant::now() < limit {
        let members = rpc.members()?;
        if members
            .iter()
            .any(|(name, status)| name == victim && status == "failed")
        {
            return Ok(Some(Instant::now()));
        }
        thread::park_timeout(LOOK);
    }
    Ok(None)
}
