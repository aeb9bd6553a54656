//! One daemon with 1,000 watchers, beside a plain tonic server under the same load.

pub(crate) mod plain;
mod publish;
mod server;
mod unary;
mod watcher;

use std::time::Duration;

use self::publish::Publisher;
use self::server::Server;
use self::watcher::{Crowd, Watched};
use crate::stats::{Times, ms, ratio, us};
use crate::table::Table;
use crate::{machine, progress};

/// Watchers, each on its own connection.
pub(crate) const WATCHERS: usize = 1_000;

/// Paced changes.
const PACED: usize = 100;

/// Between two of them.
const PACE: Duration = Duration::from_millis(100);

/// Bytes of an event's payload, paced and in bursts.
const PAYLOAD: usize = 200;

/// Events of a burst.
const BURST: usize = 2_000;

/// Bursts; the median counts.
const BURSTS: usize = 3;

/// Events while nobody reads, and bytes of each.
const STALLED: (usize, usize) = (8_000, 1_024);

/// What was measured of one server.
#[derive(Debug, Default)]
struct Measured {
    rss_idle: u64,
    rss_watched: u64,
    rss_stalled: u64,
    rss_end: u64,
    paced: Times,
    paced_cpu: f64,
    burst_cpu: Vec<f64>,
    burst_rate: Vec<f64>,
    members: Times,
    one: unary::Figures,
    many: unary::Figures,
}

/// Measures both and compares.
pub(crate) async fn run() -> anyhow::Result<String> {
    let before = machine::load()?;
    progress("api: musterd")?;
    let ours = measure(Server::musterd().await?).await?;
    progress("api: plain tonic")?;
    let plain = measure(Server::plain().await?).await?;
    let title = format!(
        "{WATCHERS} watchers on own connections, one daemon, one API thread each (load {before})"
    );
    let columns = [
        "what",
        "musterd",
        "target",
        "plain tonic",
        "musterd / plain",
    ];
    let mut table = Table::new(title, &columns);
    paced_rows(&mut table, &ours, &plain);
    burst_rows(&mut table, &ours, &plain);
    memory_rows(&mut table, &ours, &plain);
    unary_rows(&mut table, &ours, &plain);
    Ok(table.to_string())
}

async fn measure(server: Server) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        rss_idle: machine::rss_kib(server.pid())?,
        ..Measured::default()
    };
    let crowd = Crowd::gather(server.socket(), Watched::Events, WATCHERS).await?;
    measured.rss_watched = machine::rss_kib(server.pid())?;
    let mut publisher = Publisher::open(server.socket())?;
    paced(&server, &crowd, &mut publisher, &mut measured).await?;
    for _ in 0..BURSTS {
        burst(&server, &crowd, &mut publisher, &mut measured).await?;
    }
    crowd.pause(true);
    let due = crowd.due(STALLED.0);
    publisher.send(STALLED.0, STALLED.1).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    measured.rss_stalled = machine::rss_kib(server.pid())?;
    crowd.pause(false);
    if server.has_members() {
        // A plain broadcast channel has dropped them.
        crowd.delivered(due).await?;
    }
    measured.rss_end = machine::rss_kib(server.pid())?;
    drop(crowd);
    measured.one = unary::measure(&server, 1, 4_000).await?;
    measured.many = unary::measure(&server, 64, 40_000).await?;
    if server.has_members() {
        measured.members = members(&server).await?;
    }
    Ok(measured)
}

/// Changes of a member, from the call to the last watcher.
async fn members(server: &Server) -> anyhow::Result<Times> {
    let crowd = Crowd::gather(server.socket(), Watched::Members, WATCHERS).await?;
    let client = server.client()?;
    let mut times = Times::default();
    for change in 0..PACED {
        tokio::time::sleep(PACE).await;
        let due = crowd.due(1);
        let began = std::time::Instant::now();
        let set = [("change".to_owned(), change.to_string())].into();
        client.update_tags(set, Vec::new()).await?;
        times.push(crowd.delivered(due).await? - began);
    }
    Ok(times)
}

async fn paced(
    server: &Server,
    crowd: &Crowd,
    publisher: &mut Publisher,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let cpu = machine::cpu(server.pid())?;
    for _ in 0..PACED {
        tokio::time::sleep(PACE).await;
        let due = crowd.due(1);
        let began = std::time::Instant::now();
        publisher.send(1, PAYLOAD).await?;
        measured.paced.push(crowd.delivered(due).await? - began);
    }
    let cpu = machine::cpu(server.pid())? - cpu;
    measured.paced_cpu = cpu.as_secs_f64() / (PACED * WATCHERS) as f64;
    Ok(())
}

async fn burst(
    server: &Server,
    crowd: &Crowd,
    publisher: &mut Publisher,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let due = crowd.due(BURST);
    let cpu = machine::cpu(server.pid())?;
    let began = std::time::Instant::now();
    publisher.send(BURST, PAYLOAD).await?;
    let took = crowd.delivered(due).await? - began;
    let cpu = machine::cpu(server.pid())? - cpu;
    let deliveries = (BURST * WATCHERS) as f64;
    measured.burst_cpu.push(cpu.as_secs_f64() / deliveries);
    measured.burst_rate.push(deliveries / took.as_secs_f64());
    Ok(())
}

fn paced_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    let both = |times: &Times| format!("{} / {}", ms(times.median()), ms(times.percentile(99)));
    table.row([
        "paced event at the last watcher, p50 / p99".to_owned(),
        both(&ours.paced),
        "p99 50 ms".to_owned(),
        both(&plain.paced),
        ratio(
            ours.paced.percentile(99).as_secs_f64(),
            plain.paced.percentile(99).as_secs_f64(),
        ),
    ]);
    table.row([
        "paced tag change at the last watcher, p50 / p99".to_owned(),
        both(&ours.members),
        "p99 50 ms".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ]);
    table.row([
        "server CPU per paced delivery".to_owned(),
        us(ours.paced_cpu),
        "-".to_owned(),
        us(plain.paced_cpu),
        ratio(ours.paced_cpu, plain.paced_cpu),
    ]);
}

fn burst_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    let (cpu, plain_cpu) = (median(&ours.burst_cpu), median(&plain.burst_cpu));
    table.row([
        format!("server CPU per delivery, {BURSTS} bursts of {BURST} events"),
        us(cpu),
        "0.40 us".to_owned(),
        us(plain_cpu),
        ratio(cpu, plain_cpu),
    ]);
    let (rate, plain_rate) = (median(&ours.burst_rate), median(&plain.burst_rate));
    table.row([
        "deliveries per second".to_owned(),
        format!("{:.2} M", rate / 1e6),
        "-".to_owned(),
        format!("{:.2} M", plain_rate / 1e6),
        ratio(rate, plain_rate),
    ]);
}

fn memory_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    let per_watcher = |m: &Measured| (m.rss_watched - m.rss_idle) as f64 / WATCHERS as f64;
    table.row([
        "RSS per idle watcher".to_owned(),
        format!("{:.1} KiB", per_watcher(ours)),
        "32 KiB".to_owned(),
        format!("{:.1} KiB", per_watcher(plain)),
        ratio(per_watcher(ours), per_watcher(plain)),
    ]);
    let (events, bytes) = STALLED;
    let mb = |kib: u64| format!("{:.0} MB", kib as f64 * 1024.0 / 1e6);
    for (what, target, value) in [
        (
            "RSS without a watcher".to_owned(),
            "-",
            (|m| m.rss_idle) as fn(&Measured) -> u64,
        ),
        (
            format!("RSS when nobody reads, {events} events of {bytes} bytes"),
            "200 MB",
            |m| m.rss_stalled,
        ),
        ("RSS when all have read on".to_owned(), "-", |m| m.rss_end),
    ] {
        let (a, b) = (value(ours), value(plain));
        let ratio = ratio(a as f64, b as f64);
        table.row([what, mb(a), target.to_owned(), mb(b), ratio]);
    }
}

fn unary_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    for (what, a, b) in [
        ("GetMember, 1 at a time", &ours.one, &plain.one),
        ("GetMember, 64 at a time", &ours.many, &plain.many),
    ] {
        let show = |f: &unary::Figures| {
            let (p50, p99) = (f.times.median(), f.times.percentile(99));
            let (p50, p99) = (us(p50.as_secs_f64()), us(p99.as_secs_f64()));
            format!(
                "{:.0}/s, {p50} / {p99}, CPU {}",
                f.per_second,
                us(f.cpu_per_call)
            )
        };
        table.row([
            format!("{what}: rate, p50 / p99, server CPU"),
            show(a),
            "-".to_owned(),
            show(b),
            ratio(a.cpu_per_call, b.cpu_per_call),
        ]);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
