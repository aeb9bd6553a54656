//! Calls one after the other and many at once, events in, members out.

use std::time::Instant;

use muster_tests::harness::Binaries;

use super::publish::Publisher;
use super::server::Server;
use super::{snapshot, unary};
use crate::stats::{MISSING, median, ms, ratio, us};
use crate::table::Table;
use crate::{machine, progress, sized};

/// Calls one after the other.
const ONE: usize = 8_000;

/// Calls of which [`AT_ONCE`] are under way.
const MANY: usize = 40_000;

/// Calls under way.
const AT_ONCE: usize = 64;

/// Events on one stream, and bytes of each.
const EVENTS: (usize, usize) = (50_000, 200);

/// Runs of each; the median counts.
const RUNS: usize = 3;

/// Members in a snapshot, besides the daemon itself.
const MEMBERS: usize = 1_000;

/// What was measured of one server.
#[derive(Debug, Default)]
struct Measured {
    one: Vec<unary::Figures>,
    many: Vec<unary::Figures>,
    events_rate: Vec<f64>,
    events_cpu: Vec<f64>,
}

/// Measures both and compares.
pub(crate) async fn run(binaries: Binaries) -> anyhow::Result<String> {
    let (daemon, tonic) = (Server::musterd(binaries).await?, Server::plain().await?);
    let (mut ours, mut plain) = (Measured::default(), Measured::default());
    // In turns: whatever else the machine does, it does to both.
    for run in 0..RUNS {
        progress(&format!("calls: run {run}"))?;
        measure(&daemon, &mut ours).await?;
        measure(&tonic, &mut plain).await?;
    }
    drop(daemon);
    progress("calls: snapshots")?;
    let knowing = Server::musterd_knowing(binaries, MEMBERS).await?;
    let snapshots = (
        snapshot::measure(&knowing, MEMBERS + 1).await?,
        snapshot::measure(&tonic, snapshot::PLAIN_MEMBERS).await?,
    );
    let columns = [
        "what",
        "musterd",
        "target",
        "plain tonic",
        "musterd / plain",
    ];
    let mut table = Table::new("Calls on one connection, one API thread each", &columns);
    unary_rows(&mut table, &ours, &plain);
    event_rows(&mut table, &ours, &plain);
    snapshot_rows(&mut table, &snapshots.0, &snapshots.1);
    Ok(table.to_string())
}

async fn measure(server: &Server, measured: &mut Measured) -> anyhow::Result<()> {
    let (one, many) = sized((ONE, MANY), (ONE / 20, MANY / 20));
    measured.one.push(unary::measure(server, 1, one).await?);
    measured
        .many
        .push(unary::measure(server, AT_ONCE, many).await?);
    let events = sized(EVENTS.0, EVENTS.0 / 20);
    let mut publisher = Publisher::open(server.socket())?;
    publisher.send(1, EVENTS.1).await?;
    let (cpu, began) = (machine::cpu(server.pid())?, Instant::now());
    publisher.send(events, EVENTS.1).await?;
    let (took, cpu) = (began.elapsed(), machine::cpu(server.pid())? - cpu);
    measured
        .events_rate
        .push(events as f64 / took.as_secs_f64());
    measured.events_cpu.push(cpu.as_secs_f64() / events as f64);
    Ok(())
}

/// A figure of one run.
type Read = fn(&unary::Figures) -> f64;

fn unary_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    for (what, ours, plain) in [
        ("GetMember, 1 at a time".to_owned(), &ours.one, &plain.one),
        (
            format!("GetMember, {AT_ONCE} at a time"),
            &ours.many,
            &plain.many,
        ),
    ] {
        let of =
            |all: &[unary::Figures], read: Read| median(&all.iter().map(read).collect::<Vec<_>>());
        let rate = |all: &[unary::Figures]| of(all, |f| f.per_second);
        table.row([
            format!("{what}: calls/s"),
            format!("{:.0}", rate(ours)),
            "0.9 of plain".to_owned(),
            format!("{:.0}", rate(plain)),
            ratio(rate(ours), rate(plain)),
        ]);
        let (p50, p99): (Read, Read) = (
            |f| f.times.median().as_secs_f64(),
            |f| f.times.percentile(99).as_secs_f64(),
        );
        let both = |all: &[unary::Figures]| format!("{} / {}", us(of(all, p50)), us(of(all, p99)));
        table.row([
            format!("{what}: p50 / p99"),
            both(ours),
            MISSING.to_owned(),
            both(plain),
            ratio(of(ours, p99), of(plain, p99)),
        ]);
        let cpu = |all: &[unary::Figures]| of(all, |f| f.cpu_per_call);
        table.row([
            format!("{what}: server CPU"),
            us(cpu(ours)),
            MISSING.to_owned(),
            us(cpu(plain)),
            ratio(cpu(ours), cpu(plain)),
        ]);
    }
}

fn event_rows(table: &mut Table, ours: &Measured, plain: &Measured) {
    let (a, b) = (median(&ours.events_rate), median(&plain.events_rate));
    table.row([
        format!(
            "SendEvent of {} bytes, ACCEPTED, one stream: events/s",
            EVENTS.1
        ),
        format!("{a:.0}"),
        MISSING.to_owned(),
        format!("{b:.0}"),
        ratio(a, b),
    ]);
    let (a, b) = (median(&ours.events_cpu), median(&plain.events_cpu));
    table.row([
        "the same: server CPU per event".to_owned(),
        us(a),
        MISSING.to_owned(),
        us(b),
        ratio(a, b),
    ]);
}

fn snapshot_rows(table: &mut Table, ours: &snapshot::Cost, plain: &snapshot::Cost) {
    table.row([
        format!(
            "snapshot of {} members: bytes in {} messages",
            ours.members, ours.messages
        ),
        ours.bytes.to_string(),
        MISSING.to_owned(),
        format!("{}, in {} messages", plain.bytes, plain.messages),
        ratio(ours.bytes as f64, plain.bytes as f64),
    ]);
    let time = |cost: &snapshot::Cost| {
        format!("{} / {}", ms(cost.times.median()), ms(cost.times.longest()))
    };
    let seconds = |cost: &snapshot::Cost| cost.times.median().as_secs_f64();
    table.row([
        "the same: until a client has all, median / worst".to_owned(),
        time(ours),
        MISSING.to_owned(),
        time(plain),
        ratio(seconds(ours), seconds(plain)),
    ]);
    table.row([
        "the same: server CPU".to_owned(),
        us(ours.cpu),
        MISSING.to_owned(),
        us(plain.cpu),
        ratio(ours.cpu, plain.cpu),
    ]);
}
