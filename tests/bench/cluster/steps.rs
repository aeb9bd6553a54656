//! What is measured on a cluster, step by step.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout_at};

use super::peer::{Arrival, Peer};
use crate::busy::Busy;
use crate::stats::{Times, ms};
use crate::{machine, progress};

/// Rest before the first event: the last of the joining has been gossiped.
const SETTLE: Duration = Duration::from_secs(10);

/// Rest between a return and the next death.
const REST: Duration = Duration::from_secs(2);

/// Between two paced events.
const PACE: Duration = Duration::from_millis(100);

/// How long a paced event may take.
const PACED_LIMIT: Duration = Duration::from_secs(3);

/// Bytes of a payload.
const PAYLOAD: usize = 100;

/// Silence after which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(8);

/// How long a burst may take in all.
const BURST_LIMIT: Duration = Duration::from_secs(60);

/// Silence after which one large event is not expected any more: serf's gossip has no
/// room for it.
const LARGE_LIMIT: Duration = Duration::from_secs(60);

/// How long a death may take to be noticed.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// How much of each step is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Paced events.
    pub(crate) paced: u64,
    /// Deaths of each kind.
    pub(crate) kills: usize,
    /// Bytes of one large event.
    pub(crate) large: usize,
}

/// What came out; what is missing was not reached.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) up: Option<Duration>,
    pub(crate) together: Option<Duration>,
    pub(crate) rss: Option<machine::Rss>,
    pub(crate) paced: Option<Paced>,
    pub(crate) burst_500: Option<Burst>,
    pub(crate) burst_3000: Option<Burst>,
    pub(crate) large: Option<Result<Burst, String>>,
    pub(crate) kills: Option<Deaths>,
    pub(crate) busy_kills: Option<Deaths>,
}

/// Events one at a time.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    /// To the last node, of those that came to all.
    pub(crate) times: Times,
    /// Deliveries that did not come.
    pub(crate) lost: u64,
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

/// Deaths of one kind.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// Until the last of the others showed it.
    pub(crate) times: Times,
    /// Not shown by all in time.
    pub(crate) missed: usize,
    /// Live nodes that somebody showed failed, over all deaths.
    pub(crate) wrong: usize,
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

impl fmt::Display for Deaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, worst) = (self.times.median(), self.times.longest());
        let count = self.times.len() + self.missed;
        write!(f, "{} / {} of {count}", ms(median), ms(worst))?;
        if self.missed > 0 {
            write!(f, ", {} not in {KILL_LIMIT:?}", self.missed)?;
        }
        match self.wrong {
            0 => Ok(()),
            wrong => write!(f, ", {wrong} live ones shown failed"),
        }
    }
}

/// Takes a cluster through all steps.
pub(crate) async fn measure(
    mut peer: impl Peer,
    plan: Plan,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let (up, together) = peer.together().await?;
    measured.up = Some(up - peer.began());
    measured.together = Some(together.saturating_duration_since(up));
    sleep(SETTLE).await;
    measured.rss = Some(machine::rss_of_all(&peer.pids())?);
    progress("cluster: events")?;
    let mut arrivals = peer.follow().await?;
    let followed = &mut arrivals;
    measured.paced = Some(paced(&mut peer, followed, plan.paced).await?);
    measured.burst_500 = Some(burst(&mut peer, followed, 1_000..1_500, PAYLOAD).await?);
    measured.burst_3000 = Some(burst(&mut peer, followed, 10_000..13_000, PAYLOAD).await?);
    let large = burst_within(&mut peer, followed, 20_000..20_001, plan.large, LARGE_LIMIT).await;
    measured.large = Some(large.map_err(|error| format!("{error:#}")));
    drop(arrivals);
    progress("cluster: deaths")?;
    deaths(
        &mut peer,
        plan.kills,
        measured.kills.insert(Deaths::default()),
    )
    .await?;
    let _busy = Busy::all_cores()?;
    let busy = measured.busy_kills.insert(Deaths::default());
    deaths(&mut peer, plan.kills, busy).await
}

async fn paced(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
    count: u64,
) -> anyhow::Result<Paced> {
    let mut paced = Paced::default();
    for number in 1..=count {
        sleep(PACE).await;
        let one = number..number + 1;
        let burst = burst_within(peer, arrivals, one, PAYLOAD, PACED_LIMIT).await?;
        if burst.came == burst.due {
            paced.times.push(burst.all);
        } else {
            paced.lost += burst.due - burst.came;
        }
    }
    Ok(paced)
}

async fn burst(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
    numbers: Range<u64>,
    bytes: usize,
) -> anyhow::Result<Burst> {
    burst_within(peer, arrivals, numbers, bytes, SILENCE).await
}

async fn burst_within(
    peer: &mut impl Peer,
    arrivals: &mut Receiver<Arrival>,
    numbers: Range<u64>,
    bytes: usize,
    silence: Duration,
) -> anyhow::Result<Burst> {
    let mut burst = Burst {
        due: (numbers.end - numbers.start) * peer.pids().len() as u64,
        ..Burst::default()
    };
    let began = Instant::now();
    peer.send(numbers.clone(), bytes).await?;
    let mut latest = BTreeMap::new();
    while burst.came < burst.due {
        let until = (Instant::now() + silence).min(began + BURST_LIMIT);
        let Ok(Some(arrival)) = timeout_at(until.into(), arrivals.recv()).await else {
            break;
        };
        // Stragglers of an earlier burst.
        if !numbers.contains(&arrival.number) {
            continue;
        }
        burst.came += 1;
        burst.all = burst.all.max(arrival.at.saturating_duration_since(began));
        let latest = latest.entry(arrival.node).or_insert(0);
        burst.inversions += u64::from(arrival.number < *latest);
        *latest = (*latest).max(arrival.number);
    }
    Ok(burst)
}

/// Kills nodes one after the other, never the first; each comes back before the next.
async fn deaths(peer: &mut impl Peer, count: usize, deaths: &mut Deaths) -> anyhow::Result<()> {
    let size = peer.pids().len();
    for number in 0..count {
        let victim = size - 1 - number % (size - 1);
        sleep(REST).await;
        let strike = |peer: &mut _| Peer::kill(peer, victim);
        let death = peer.death(victim, &[], KILL_LIMIT, strike).await?;
        match death.took {
            Some(took) => deaths.times.push(took),
            None => deaths.missed += 1,
        }
        deaths.wrong += death.wrong.len();
        peer.revive(victim).await?;
    }
    Ok(())
}
