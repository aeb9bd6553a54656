//! One watcher, a thousand, ten thousand.

use std::time::{Duration, Instant};

use muster_tests::harness::Binaries;

use super::publish::Publisher;
use super::server::Server;
use super::watcher::{Crowd, Shape, Watched};
use crate::stats::{MISSING, Times, median, ms, ratio, us};
use crate::table::Table;
use crate::{machine, progress, sized};

/// Watchers on one connection, where there are more than connections.
const SHARE: usize = 100;

/// Watchers that have connections of their own, at most.
const OWN_MAX: usize = 1_000;

/// Paced changes, in a quick run and otherwise.
const PACED: (usize, usize) = (5, 200);

/// Bytes of an event's payload, paced and in bursts.
const PAYLOAD: usize = 200;

/// Deliveries of a burst.
const BURST_DELIVERIES: usize = 2_000_000;

/// Events of a burst, at most.
const BURST_MAX: usize = 2_000;

/// Bursts; the median counts.
const BURSTS: usize = 3;

/// How long watchers have to stop.
const STOPPING: Duration = Duration::from_millis(300);

/// Events while nobody reads, and bytes of each.
const STALLED: (usize, usize) = (8_000, 1_024);

/// What was measured of one server.
#[derive(Debug, Default)]
struct Measured {
    rss_idle: u64,
    rss_watched: u64,
    rss_some_stopped: u64,
    rss_stalled: u64,
    paced: Times,
    paced_cpu: f64,
    /// Of those who read while a tenth does not.
    paced_others: Times,
    burst_cpu: Vec<f64>,
    burst_rate: Vec<f64>,
    members: Times,
}

/// Measures both with so many watchers and compares.
pub(crate) async fn run(binaries: Binaries, watchers: usize) -> anyhow::Result<String> {
    let shape = Shape {
        connections: if watchers > OWN_MAX {
            watchers / SHARE
        } else {
            watchers
        },
        each: if watchers > OWN_MAX { SHARE } else { 1 },
    };
    progress(&format!("api: musterd, {shape:?}"))?;
    let ours = measure(Server::musterd(binaries).await?, shape).await?;
    progress("api: plain tonic")?;
    let plain = measure(Server::plain().await?, shape).await?;
    let title = match shape.each {
        1 => format!("Watchers: {watchers} on own connections"),
        _ => format!(
            "Watchers: {watchers} over {} connections",
            shape.connections
        ),
    };
    let columns = [
        "what",
        "musterd",
        "target",
        "plain tonic",
        "musterd / plain",
    ];
    let mut table = Table::new(format!("{title}, one API thread each"), &columns);
    paced_rows(&mut table, shape, &ours, &plain);
    burst_rows(&mut table, shape, &ours, &plain);
    memory_rows(&mut table, shape, &ours, &plain);
    Ok(table.to_string())
}

/// Events of one burst.
fn burst_events(shape: Shape) -> usize {
    let events = (BURST_DELIVERIES / shape.watchers()).min(BURST_MAX);
    sized(events, events / 20)
}

async fn measure(server: Server, shape: Shape) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        rss_idle: machine::rss_kib(server.pid())?,
        ..Measured::default()
    };
    let crowd = Crowd::gather(server.socket(), Watched::Events, shape).await?;
    measured.rss_watched = machine::rss_kib(server.pid())?;
    let mut publisher = Publisher::open(server.socket())?;
    let cpu = machine::cpu(server.pid())?;
    measured.paced = paced(&crowd, &mut publisher, shape).await?;
    let cpu = machine::cpu(server.pid())? - cpu;
    let deliveries = measured.paced.len() * shape.watchers();
    measured.paced_cpu = cpu.as_secs_f64() / deliveries as f64;
    for _ in 0..BURSTS {
        burst(&server, &crowd, &mut publisher, &mut measured, shape).await?;
    }
    if shape.connections > 1 {
        some_stopped(&server, &crowd, &mut publisher, &mut measured, shape).await?;
    }
    if can_stall(shape) {
        measured.rss_stalled = stalled(&server, &crowd, &mut publisher).await?;
    }
    drop(crowd);
    if server.has_members() {
        measured.members = members(&server, shape).await?;
    }
    Ok(measured)
}

/// Time between two paced changes: several times what the largest crowd takes.
fn pace(shape: Shape) -> Duration {
    match shape.watchers() {
        0..=10 => Duration::from_millis(10),
        11..=1_000 => Duration::from_millis(100),
        _ => Duration::from_millis(300),
    }
}

fn paced_count() -> usize {
    sized(PACED.1, PACED.0)
}

async fn paced(crowd: &Crowd, publisher: &mut Publisher, shape: Shape) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for _ in 0..paced_count() {
        tokio::time::sleep(pace(shape)).await;
        let due = crowd.due(1);
        let began = Instant::now();
        publisher.send(1, PAYLOAD).await?;
        times.push(crowd.delivered(due).await? - began);
    }
    Ok(times)
}

/// Changes of a member, from the call to the last watcher.
async fn members(server: &Server, shape: Shape) -> anyhow::Result<Times> {
    let crowd = Crowd::gather(server.socket(), Watched::Members, shape).await?;
    let client = server.client()?;
    let mut times = Times::default();
    for change in 0..paced_count() / 2 {
        tokio::time::sleep(pace(shape)).await;
        let due = crowd.due(1);
        let began = Instant::now();
        let set = [("change".to_owned(), change.to_string())].into();
        client.update_tags(set, Vec::new()).await?;
        times.push(crowd.delivered(due).await? - began);
    }
    Ok(times)
}

async fn burst(
    server: &Server,
    crowd: &Crowd,
    publisher: &mut Publisher,
    measured: &mut Measured,
    shape: Shape,
) -> anyhow::Result<()> {
    let events = burst_events(shape);
    let due = crowd.due(events);
    let cpu = machine::cpu(server.pid())?;
    let began = Instant::now();
    publisher.send(events, PAYLOAD).await?;
    let took = crowd.delivered(due).await? - began;
    let cpu = machine::cpu(server.pid())? - cpu;
    let deliveries = (events * shape.watchers()) as f64;
    measured.burst_cpu.push(cpu.as_secs_f64() / deliveries);
    measured.burst_rate.push(deliveries / took.as_secs_f64());
    Ok(())
}

/// A tenth stops reading; a burst fills what lies between them and the server.
async fn some_stopped(
    server: &Server,
    crowd: &Crowd,
    publisher: &mut Publisher,
    measured: &mut Measured,
    shape: Shape,
) -> anyhow::Result<()> {
    crowd.stop(shape.connections / 10);
    // Nobody is on the way to read once more.
    tokio::time::sleep(STOPPING).await;
    let events = burst_events(shape);
    let due = crowd.due(events);
    publisher.send(events, PAYLOAD).await?;
    crowd.delivered(due).await?;
    measured.paced_others = paced(crowd, publisher, shape).await?;
    measured.rss_some_stopped = machine::rss_kib(server.pid())?;
    let behind = events + paced_count();
    let due = crowd.due(0) + (behind * shape.connections / 10 * shape.each) as u64;
    crowd.expect(due);
    crowd.stop(0);
    crowd.delivered(due).await?;
    Ok(())
}

/// Plain tonic takes gigabytes when ten thousand watchers do not read.
const fn can_stall(shape: Shape) -> bool {
    shape.connections > 1 && shape.each == 1
}

/// Nobody reads: what the server holds then.
async fn stalled(server: &Server, crowd: &Crowd, publisher: &mut Publisher) -> anyhow::Result<u64> {
    let events = sized(STALLED.0, STALLED.0 / 20);
    let due = crowd.due(events);
    crowd.stop(usize::MAX);
    tokio::time::sleep(STOPPING).await;
    publisher.send(events, STALLED.1).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rss = machine::rss_kib(server.pid())?;
    if server.has_members() {
        // A plain broadcast channel has dropped them.
        crowd.stop(0);
        crowd.delivered(due).await?;
    }
    Ok(rss)
}

fn both(times: &Times) -> String {
    format!("{} / {}", ms(times.median()), ms(times.percentile(99)))
}

fn paced_rows(table: &mut Table, shape: Shape, ours: &Measured, plain: &Measured) {
    let p99 = |times: &Times| times.percentile(99).as_secs_f64();
    let target = match shape.watchers() {
        1_000 => "p99 25 ms",
        10_000 => "p99 300 ms",
        _ => MISSING,
    };
    let mut rows = vec![(
        "paced event at the last watcher, p50 / p99",
        &ours.paced,
        &plain.paced,
        target,
    )];
    if shape.connections > 1 {
        rows.push((
            "the same at the others when 10 % have stopped reading",
            &ours.paced_others,
            &plain.paced_others,
            "unchanged",
        ));
    }
    for (what, ours, plain, target) in rows {
        table.row([
            what.to_owned(),
            both(ours),
            target.to_owned(),
            both(plain),
            ratio(p99(ours), p99(plain)),
        ]);
    }
    table.row([
        "paced tag change at the last watcher, p50 / p99".to_owned(),
        both(&ours.members),
        target.to_owned(),
        MISSING.to_owned(),
        MISSING.to_owned(),
    ]);
    table.row([
        "server CPU per paced delivery".to_owned(),
        us(ours.paced_cpu),
        MISSING.to_owned(),
        us(plain.paced_cpu),
        ratio(ours.paced_cpu, plain.paced_cpu),
    ]);
}

fn burst_rows(table: &mut Table, shape: Shape, ours: &Measured, plain: &Measured) {
    let (cpu, plain_cpu) = (median(&ours.burst_cpu), median(&plain.burst_cpu));
    let events = burst_events(shape);
    let target = if shape.watchers() == 1_000 {
        "0.10 us"
    } else {
        MISSING
    };
    table.row([
        format!("server CPU per delivery, {BURSTS} bursts of {events} events"),
        us(cpu),
        target.to_owned(),
        us(plain_cpu),
        ratio(cpu, plain_cpu),
    ]);
    let (rate, plain_rate) = (median(&ours.burst_rate), median(&plain.burst_rate));
    table.row([
        "deliveries per second".to_owned(),
        format!("{:.2} M", rate / 1e6),
        MISSING.to_owned(),
        format!("{:.2} M", plain_rate / 1e6),
        ratio(rate, plain_rate),
    ]);
}

fn memory_rows(table: &mut Table, shape: Shape, ours: &Measured, plain: &Measured) {
    let mb = |kib: u64| format!("{:.0} MB", kib as f64 * 1024.0 / 1e6);
    let mut row = |what: &str, target: &str, ours: u64, plain: u64| {
        let ratio = ratio(ours as f64, plain as f64);
        table.row([
            what.to_owned(),
            mb(ours),
            target.to_owned(),
            mb(plain),
            ratio,
        ]);
    };
    row(
        "RSS without a watcher",
        MISSING,
        ours.rss_idle,
        plain.rss_idle,
    );
    let target = if shape.watchers() == 10_000 {
        "160 MB"
    } else {
        MISSING
    };
    row(
        "RSS with all of them idle",
        target,
        ours.rss_watched,
        plain.rss_watched,
    );
    if shape.connections > 1 {
        let (a, b) = (ours.rss_some_stopped, plain.rss_some_stopped);
        row("RSS with 10 % stopped", MISSING, a, b);
    }
    if can_stall(shape) {
        let (events, bytes) = (sized(STALLED.0, STALLED.0 / 20), STALLED.1);
        let what = format!("RSS when nobody reads, {events} events of {bytes} bytes");
        let target = if shape.watchers() == 1_000 {
            "200 MB"
        } else {
            MISSING
        };
        row(&what, target, ours.rss_stalled, plain.rss_stalled);
    }
    let each =
        |m: &Measured| m.rss_watched.saturating_sub(m.rss_idle) as f64 / shape.watchers() as f64;
    let target = if shape.watchers() == 1_000 {
        "32 KiB"
    } else {
        MISSING
    };
    table.row([
        "RSS per idle watcher".to_owned(),
        format!("{:.1} KiB", each(ours)),
        target.to_owned(),
        format!("{:.1} KiB", each(plain)),
        ratio(each(ours), each(plain)),
    ]);
}
