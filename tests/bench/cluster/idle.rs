//! What a node costs when nothing happens: all clusters at once, each on the loopback of
//! a network namespace of its own, so that the counters are its own. Takes root.

use std::time::{Duration, Instant};

use muster_tests::harness::{Binaries, Lan};
use tokio::time::sleep;

use super::peer::{Peer, Site, on_loopback_of};
use super::{muster, serf_peer};
use crate::machine::Rss;
use crate::stats::{MISSING, ratio};
use crate::table::Table;
use crate::{machine, progress, sized};

/// Quiet before the window.
const QUIET: Duration = Duration::from_secs(60);

/// The window.
const WINDOW: Duration = Duration::from_secs(180);

/// Either of them in a quick run.
const SHORT: Duration = Duration::from_secs(3);

/// One kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Musterd,
    SerfPlain,
    SerfSealed,
}

const KINDS: [Kind; 3] = [Kind::Musterd, Kind::SerfPlain, Kind::SerfSealed];

#[derive(Debug)]
enum Cluster {
    Musterd(muster::Cluster),
    Serf(serf_peer::Cluster),
}

/// What one node of a cluster costs a second.
#[derive(Debug)]
struct Idle {
    packets: f64,
    bytes: f64,
    cpu_ms: f64,
    rss: Rss,
}

/// Measures clusters of these sizes, three of each.
pub(crate) async fn run(binaries: Binaries, sizes: &[usize]) -> anyhow::Result<String> {
    let lan = Lan::new(u8::try_from(sizes.len() * KINDS.len())?);
    let mut running = Vec::new();
    let places = sizes
        .iter()
        .flat_map(|size| KINDS.map(|kind| (*size, kind)));
    for ((size, kind), host) in places.zip(lan.hosts()) {
        let cluster = Cluster::start(kind, binaries, on_loopback_of(host, size)).await;
        match cluster {
            Ok(cluster) => running.push((size, kind, cluster)),
            Err(error) => progress(&format!("idle: no {size} of {kind:?}: {error:#}"))?,
        }
    }
    let (quiet, window) = sized((QUIET, WINDOW), (SHORT, SHORT));
    progress(&format!("idle: {quiet:?} of quiet, then {window:?}"))?;
    sleep(quiet).await;
    let before: Vec<_> = running.iter().map(|(.., cluster)| cluster.used()).collect();
    let began = Instant::now();
    sleep(window).await;
    let span = began.elapsed().as_secs_f64();
    let mut measured = Vec::new();
    for ((size, kind, cluster), before) in running.iter().zip(before) {
        measured.push((*size, *kind, cluster.idle(before?, span)?));
    }
    let tables = sizes.iter().map(|size| table(*size, window, &measured));
    Ok(tables.collect())
}

/// Counters so far: of loopback, and CPU time of all processes.
type Used = (machine::Loopback, Duration);

impl Cluster {
    async fn start(kind: Kind, binaries: Binaries, sites: Vec<Site>) -> anyhow::Result<Self> {
        if kind == Kind::Musterd {
            let mut cluster = muster::Cluster::start(binaries, sites).await;
            cluster.together().await?;
            return Ok(Self::Musterd(cluster));
        }
        let cluster = serf_peer::Cluster::start(sites, kind == Kind::SerfSealed).await?;
        cluster.together_by_command().await?;
        Ok(Self::Serf(cluster))
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Musterd(cluster) => cluster.pids(),
            Self::Serf(cluster) => cluster.pids(),
        }
    }

    fn used(&self) -> anyhow::Result<Used> {
        let pids = self.pids();
        // All of them share the interface.
        let lo = machine::loopback_of(pids.first().copied().unwrap_or_default())?;
        Ok((lo, machine::cpu_of_all(&pids)?))
    }

    fn idle(&self, (lo, cpu): Used, seconds: f64) -> anyhow::Result<Idle> {
        let pids = self.pids();
        let (lo_after, cpu_after) = self.used()?;
        let node_seconds = seconds * pids.len() as f64;
        Ok(Idle {
            packets: (lo_after.packets - lo.packets) as f64 / node_seconds,
            bytes: (lo_after.bytes - lo.bytes) as f64 / node_seconds,
            cpu_ms: cpu_after.saturating_sub(cpu).as_secs_f64() * 1e3 / node_seconds,
            rss: machine::rss_of_all(&pids)?,
        })
    }
}

/// A figure of a node: its target, and how it is read and shown.
struct Line {
    what: &'static str,
    target: &'static str,
    value: fn(&Idle) -> f64,
    show: fn(f64) -> String,
}

const LINES: [Line; 5] = [
    Line {
        what: "bytes/s, all of loopback",
        target: "268",
        value: |idle| idle.bytes,
        show: |value| format!("{value:.0}"),
    },
    Line {
        what: "packets/s, all of loopback",
        target: MISSING,
        value: |idle| idle.packets,
        show: |value| format!("{value:.2}"),
    },
    Line {
        what: "CPU, ms/s",
        target: "1.0",
        value: |idle| idle.cpu_ms,
        show: |value| format!("{value:.2}"),
    },
    Line {
        what: "RSS, median",
        target: "8 MiB, static build",
        value: |idle| idle.rss.median as f64,
        show: |value| Rss::shown(value as u64),
    },
    Line {
        what: "RSS, largest",
        target: MISSING,
        value: |idle| idle.rss.largest as f64,
        show: |value| Rss::shown(value as u64),
    },
];

fn table(size: usize, window: Duration, measured: &[(usize, Kind, Idle)]) -> String {
    let columns = [
        "per node",
        "musterd, sealed",
        "target",
        "serf, plain",
        "serf -encrypt",
        "musterd / serf, plain",
    ];
    let title = format!("{size} idle daemons, {} s", window.as_secs());
    let mut table = Table::new(title, &columns);
    for line in LINES {
        let value = |kind| {
            let of = measured.iter().find(|(s, k, _)| (*s, *k) == (size, kind));
            of.map(|(.., idle)| (line.value)(idle))
        };
        let show = |value: Option<f64>| value.map_or(MISSING.to_owned(), line.show);
        let [ours, plain, sealed] = KINDS.map(value);
        let compared = ours.zip(plain).map(|(ours, plain)| ratio(ours, plain));
        table.row([
            line.what.to_owned(),
            show(ours),
            line.target.to_owned(),
            show(plain),
            show(sealed),
            compared.unwrap_or(MISSING.to_owned()),
        ]);
    }
    table.to_string()
}
