//! What is measured on a cluster, step by step.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::SIZE;
use super::peer::{Arrival, Peer};
use crate::stats::{Times, ms};
use crate::{machine, progress};

/// Rest before the idle window: the last of the joining has been gossiped.
const SETTLE: Duration = Duration::from_secs(15);

/// The idle window.
const IDLE: Duration = Duration::from_secs(15);

/// Paced events.
const PACED: u64 = 20;

/// Between two of them.
const PACE: Duration = Duration::from_millis(250);

/// Bytes of a payload.
const PAYLOAD: usize = 100;

/// Bytes of the large one.
const LARGE: usize = 64 << 10;

/// Silence after which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(8);

/// How long a death may take to be noticed.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// What came out.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) up: Duration,
    pub(crate) together: Duration,
    pub(crate) rss_median: u64,
    pub(crate) rss_largest: u64,
    pub(crate) idle: Idle,
    pub(crate) paced: Times,
    pub(crate) paced_lost: u64,
    pub(crate) burst_500: Burst,
    pub(crate) burst_3000: Burst,
    pub(crate) large: Result<Burst, String>,
    pub(crate) killed: Option<Duration>,
}

/// What a node costs when nothing happens, per second.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) packets: f64,
    pub(crate) bytes: f64,
    pub(crate) cpu: f64,
}

/// How a burst arrived.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    due: u64,
    came: u64,
    inversions: u64,
    /// From the first one sent to the last arrival.
    pub(crate) all: Duration,
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.came as f64 * 100.0 / self.due as f64;
        write!(f, "{}, {share:.1} % came", ms(self.all))?;
        match self.inversions {
            0 => write!(f, " in order"),
            count => write!(f, ", {count} out of order"),
        }
    }
}

/// Takes a cluster through all steps.
pub(crate) async fn measure(mut peer: impl Peer) -> anyhow::Result<Measured> {
    let (up, together) = peer.together().await?;
    progress("cluster: together; settling, then idle")?;
    sleep(SETTLE).await;
    let idle = idle(&peer).await?;
    let (rss_median, rss_largest) = rss(&peer)?;
    progress("cluster: events")?;
    let mut arrivals = peer.follow().await?;
    let (paced, paced_lost) = paced(&mut peer, &mut arrivals).await?;
    let burst_500 = burst(&mut peer, &mut arrivals, 1_000..1_500, PAYLOAD).await?;
    let burst_3000 = burst(&mut peer, &mut arrivals, 10_000..13_000, PAYLOAD).await?;
    let large = burst(&mut peer, &mut arrivals, 20_000..20_001, LARGE).await;
    let large = large.map_err(|error| format!("{error:#}"));
    progress("cluster: killing one")?;
    let killed = peer.kill_last(KILL_LIMIT).await?;
    Ok(Measured {
        up: up - peer.began(),
        together: together.saturating_duration_since(up),
        rss_median,
        rss_largest,
        idle,
        paced,
        paced_lost,
        burst_500,
        burst_3000,
        large,
        killed,
    })
}

async fn idle(peer: &impl Peer) -> anyhow::Result<Idle> {
    let pids = peer.pids();
    let (lo, cpu) = (machine::loopback()?, machine::cpu_of_all(&pids)?);
    let began = Instant::now();
    sleep(IDLE).await;
    let node_seconds = began.elapsed().as_secs_f64() * SIZE as f64;
    let (lo_after, cpu_after) = (machine::loopback()?, machine::cpu_of_all(&pids)?);
    Ok(Idle {
        packets: (lo_after.packets - lo.packets) as f64 / node_seconds,
        bytes: (lo_after.bytes - lo.bytes) as f64 / node_seconds,
        cpu: cpu_after.saturating_sub(cpu).as_secs_f64() / node_seconds,
    })
}

fn rss(peer: &impl Peer) -> anyhow::Result<(u64, u64)> {
    let all: anyhow::Result<Vec<u64>> = peer.pids().into_iter().map(machine::rss_kib).collect();
    let mut all = all?;
    all.sort_unstable();
    Ok((all[all.len() / 2], all[all.len() - 1]))
}

async fn paced(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
) -> anyhow::Result<(Times, u64)> {
    let mut times = Times::default();
    let mut lost = 0;
    for number in 1..=PACED {
        sleep(PACE).await;
        let burst = burst_within(peer, arrivals, number..number + 1, PAYLOAD, 2 * PACE * 4).await?;
        if burst.came == burst.due {
            times.push(burst.all);
        } else {
            lost += burst.due - burst.came;
        }
    }
    Ok((times, lost))
}

async fn burst(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
    numbers: std::ops::Range<u64>,
    bytes: usize,
) -> anyhow::Result<Burst> {
    burst_within(peer, arrivals, numbers, bytes, SILENCE).await
}

async fn burst_within(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
    numbers: std::ops::Range<u64>,
    bytes: usize,
    silence: Duration,
) -> anyhow::Result<Burst> {
    let mut burst = Burst {
        due: (numbers.end - numbers.start) * SIZE as u64,
        ..Burst::default()
    };
    let began = Instant::now();
    peer.send(numbers.clone(), bytes).await?;
    let mut latest = [0; SIZE];
    while burst.came < burst.due {
        let Ok(Some(arrival)) = timeout(silence, arrivals.recv()).await else {
            break;
        };
        // Stragglers of an earlier burst.
        if !numbers.contains(&arrival.number) {
            continue;
        }
        burst.came += 1;
        burst.all = burst.all.max(arrival.at.saturating_duration_since(began));
        let latest = &mut latest[arrival.node];
        burst.inversions += u64::from(arrival.number < *latest);
        *latest = (*latest).max(arrival.number);
    }
    Ok(burst)
}
