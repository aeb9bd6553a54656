//! Events without a pause: eight daemons that all send and all listen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster::pb::ReceiptLevel;
use muster::{Client, EventUpdate, EventWatchOptions};
use muster_tests::harness::Binaries;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::cluster::muster::Cluster;
use crate::cluster::peer::{Peer, on_loopback};
use crate::machine::{self, Rss};
use crate::stats::{MISSING, ratio};
use crate::table::Table;
use crate::{progress, sized};

/// Daemons.
const SIZE: usize = 8;

/// Events a second of all of them together.
const RATE: u64 = 10_000;

/// How long they send.
const SPAN: Duration = Duration::from_secs(60);

/// The same in a quick run.
const SHORT: Duration = Duration::from_secs(3);

/// Bytes of a payload.
const PAYLOAD: usize = 100;

/// Between two looks of a sender at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Rest before the first event.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the last events may take.
const DRAIN: Duration = Duration::from_secs(30);

/// Between two looks at what came.
const LOOK: Duration = Duration::from_millis(20);

/// What all listeners count.
#[derive(Debug, Default)]
struct Came {
    events: AtomicU64,
    gaps: AtomicU64,
}

/// Sends, listens and looks at the memory.
pub(crate) async fn run(binaries: Binaries) -> anyhow::Result<String> {
    progress("sustained: 8 musterd")?;
    let mut cluster = Cluster::start(binaries, on_loopback(SIZE)).await;
    cluster.together().await?;
    let came = Arc::new(Came::default());
    let ready = Arc::new(Barrier::new(SIZE + 1));
    let mut listeners = JoinSet::new();
    for node in 0..SIZE {
        let (came, ready) = (Arc::clone(&came), Arc::clone(&ready));
        listeners.spawn(listen(cluster.client(node)?, came, ready));
    }
    ready.wait().await;
    sleep(SETTLE).await;
    let span = sized(SPAN, SHORT);
    let pids = cluster.pids();
    let before = machine::rss_of_all(&pids)?;
    let cpu = machine::cpu_of_all(&pids)?;
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for node in 0..SIZE {
        senders.spawn(send(cluster.client(node)?, span));
    }
    sleep(span / 2).await;
    let half = machine::rss_of_all(&pids)?;
    let mut sent = 0;
    while let Some(count) = senders.join_next().await {
        sent += count??;
    }
    let sending = began.elapsed();
    let due = sent * SIZE as u64;
    while came.events.load(Ordering::SeqCst) < due && began.elapsed() < span + DRAIN {
        sleep(LOOK).await;
    }
    let last = began.elapsed() - sending;
    let cpu = machine::cpu_of_all(&pids)?.saturating_sub(cpu);
    let after = machine::rss_of_all(&pids)?;
    let got = came.events.load(Ordering::SeqCst);
    let mut table = Table::new(
        format!(
            "Sustained events: {SIZE} daemons, all send and all listen, {} s",
            span.as_secs()
        ),
        &["what", "musterd", "target", "of the target"],
    );
    let rate = sent as f64 / sending.as_secs_f64();
    rate_rows(&mut table, rate, due, got, came.gaps.load(Ordering::SeqCst));
    table.row([
        "last one sent -> all have all".to_owned(),
        format!("{:.0} ms", last.as_secs_f64() * 1e3),
        MISSING.to_owned(),
        MISSING.to_owned(),
    ]);
    table.row([
        "CPU of a daemon".to_owned(),
        format!(
            "{:.0} % of a core",
            cpu.as_secs_f64() * 100.0 / (SIZE as f64 * began.elapsed().as_secs_f64())
        ),
        MISSING.to_owned(),
        MISSING.to_owned(),
    ]);
    rss_rows(&mut table, before, half, after);
    Ok(table.to_string())
}

fn rate_rows(table: &mut Table, rate: f64, due: u64, got: u64, gaps: u64) {
    table.row([
        "events sent a second".to_owned(),
        format!("{rate:.0}"),
        RATE.to_string(),
        ratio(rate, RATE as f64),
    ]);
    table.row([
        "deliveries that did not come".to_owned(),
        format!("{} of {due}, {gaps} gaps", due.saturating_sub(got)),
        "0".to_owned(),
        MISSING.to_owned(),
    ]);
}

fn rss_rows(table: &mut Table, before: Rss, half: Rss, after: Rss) {
    let flat = ratio(after.median as f64, half.median as f64);
    for (what, rss, target, ratio) in [
        ("before", before, MISSING, MISSING),
        ("after half the time", half, MISSING, MISSING),
        ("at the end", after, "as after half the time", flat.as_str()),
    ] {
        table.row([
            format!("RSS {what}, median / largest"),
            format!("{} / {}", Rss::shown(rss.median), Rss::shown(rss.largest)),
            target.to_owned(),
            ratio.to_owned(),
        ]);
    }
}

/// Sends a share of the rate by the clock; how many were accepted.
async fn send(client: Client, span: Duration) -> anyhow::Result<u64> {
    let (mut sender, mut receipts) = client.send_events(ReceiptLevel::Accepted);
    let payload = bytes::Bytes::from(vec![b'.'; PAYLOAD]);
    let began = Instant::now();
    let sending = async {
        let mut ticks = interval(TICK);
        let mut sent = 0;
        while began.elapsed() < span {
            ticks.tick().await;
            let due = began.elapsed().min(span).as_secs_f64() * RATE as f64 / SIZE as f64;
            while sent < due as u64 {
                sender.send("bench", payload.clone()).await?;
                sent += 1;
            }
        }
        drop(sender);
        anyhow::Ok(())
    };
    let receiving = async {
        let mut accepted = 0;
        while let Some(receipt) = receipts.next_final().await? {
            if let muster::Outcome::Rejected(rejected) = receipt.outcome {
                anyhow::bail!("{}", rejected.message);
            }
            accepted += 1;
        }
        Ok(accepted)
    };
    let ((), accepted) = tokio::try_join!(sending, receiving)?;
    Ok(accepted)
}

async fn listen(client: Client, came: Arc<Came>, ready: Arc<Barrier>) -> anyhow::Result<()> {
    let mut watch = client.watch_events(EventWatchOptions::default());
    loop {
        match watch.next().await? {
            EventUpdate::Subscribed => {
                ready.wait().await;
            }
            EventUpdate::Event(_) => {
                came.events.fetch_add(1, Ordering::SeqCst);
            }
            EventUpdate::Gap(_) => {
                came.gaps.fetch_add(1, Ordering::SeqCst);
            }
            EventUpdate::Disconnected(_) | EventUpdate::Reconnected | _ => {}
        }
    }
}
