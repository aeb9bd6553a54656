//! What a datagram costs in the engine, sealed, beside what sealing alone and foca alone
//! cost. `allocations.rs` counts the allocations of the same runs.

mod alone;
pub(crate) mod net;
mod runs;

use std::hint::black_box;

use muster_engine::crypto::{Keyring, Sealer};
use muster_engine::time::Time;

use self::net::Work;
use self::runs::{EVENTS, NODES, PAYLOAD, Runs};
use crate::stats::{MISSING, ratio, us};
use crate::table::Table;
use crate::{machine, sized};

/// Datagrams that are sealed and opened to know the limit.
const SEALED: u32 = 200_000;

/// Runs the engines, foca and the cipher.
pub(crate) fn run() -> anyhow::Result<String> {
    let runs = runs::measure(nanos, sized(runs::FULL, runs::QUICK))?;
    let columns = [
        "what",
        "count",
        "CPU each",
        "of one core",
        "sealing and opening alone",
        "engine / sealing",
    ];
    let title = format!("The engine, {NODES} of them in one thread, sealed");
    let mut table = Table::new(title, &columns);
    let Runs {
        rest,
        burst,
        alone,
        came,
    } = &runs;
    let bytes = usize::try_from(rest.bytes / rest.datagrams.max(1))?;
    let what = format!("datagram at rest, {bytes} bytes");
    table.row(row(what, rest, rest.datagrams, bytes)?);
    let share = *came as f64 * 100.0 / (EVENTS * NODES) as f64;
    let what = format!("delivery of {EVENTS} events of {PAYLOAD} bytes, {share:.1} % came");
    table.row(row(what, burst, *came as u64, PAYLOAD + Sealer::OVERHEAD)?);
    let each = seconds(alone) / alone.datagrams as f64;
    let bytes = alone.bytes / alone.datagrams.max(1);
    table.row([
        format!("foca alone: datagram at rest, {bytes} bytes, plaintext"),
        alone.datagrams.to_string(),
        us(each),
        format!("{:.0}/s", 1.0 / each),
        MISSING.to_owned(),
        MISSING.to_owned(),
    ]);
    let more = ratio(seconds(rest), seconds(alone));
    let note = format!("CPU of a node at rest, engine / foca alone: {more}.");
    Ok(format!("{table}\n{note}\n"))
}

fn nanos() -> u64 {
    u64::try_from(machine::thread_cpu().as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(work: &Work) -> f64 {
    work.spent as f64 / 1e9
}

fn row(what: String, work: &Work, count: u64, bytes: usize) -> anyhow::Result<[String; 6]> {
    let engine = seconds(work) / count as f64;
    let sealing = sealing(bytes)?;
    Ok([
        what,
        count.to_string(),
        us(engine),
        format!("{:.0}/s", 1.0 / engine),
        us(sealing),
        ratio(engine, sealing),
    ])
}

/// Seconds for sealing a datagram of `bytes` in all and opening it at the other end.
fn sealing(bytes: usize) -> anyhow::Result<f64> {
    let mut sender = Sealer::new("bench", Some(Keyring::new(runs::key()?)), 1);
    let mut receiver = Sealer::new("bench", Some(Keyring::new(runs::key()?)), 2);
    let body = vec![7; bytes.saturating_sub(Sealer::OVERHEAD)];
    let began = machine::thread_cpu();
    for random in 0..SEALED {
        let datagram = sender.seal(u64::from(random), &body);
        black_box(receiver.open(Time::default(), &datagram)?);
    }
    let spent = machine::thread_cpu() - began;
    Ok(spent.as_secs_f64() / f64::from(SEALED))
}
