//! What a datagram costs in the engine, sealed, beside what sealing alone costs.

mod net;

use std::hint::black_box;
use std::time::Duration;

use muster_engine::crypto::{Key, Keyring, Sealer};
use muster_engine::time::Time;

use self::net::{Net, Work};
use crate::machine;
use crate::stats::{ratio, us};
use crate::table::Table;

/// Engines.
const NODES: usize = 64;

/// Virtual time for everybody to meet.
const START: Duration = Duration::from_secs(15);

/// Virtual time at rest that is measured.
const REST: Duration = Duration::from_secs(120);

/// Events back to back from one engine.
const EVENTS: usize = 3_000;

/// Bytes of a payload.
const PAYLOAD: usize = 100;

/// Virtual time for the events to be delivered and replicated.
const BURST: Duration = Duration::from_secs(10);

/// Datagrams that are sealed and opened to know the limit.
const SEALED: u32 = 200_000;

/// Runs the engines and the cipher.
pub(crate) fn run() -> anyhow::Result<String> {
    let mut net = Net::new(NODES, &key()?);
    net.run_for(START);
    net.take_work();
    net.run_for(REST);
    let rest = net.take_work();
    let (_, came) = net.burst(EVENTS, PAYLOAD, BURST);
    let burst = net.take_work();
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
    let share = came as f64 * 100.0 / (EVENTS * NODES) as f64;
    let bytes = usize::try_from(rest.bytes / rest.datagrams.max(1))?;
    let what = format!("datagram at rest, {bytes} bytes");
    table.row(row(what, &rest, rest.datagrams, bytes)?);
    let what = format!("delivery of {EVENTS} events of {PAYLOAD} bytes, {share:.1} % came");
    table.row(row(what, &burst, came as u64, PAYLOAD + Sealer::OVERHEAD)?);
    Ok(table.to_string())
}

fn row(what: String, work: &Work, count: u64, bytes: usize) -> anyhow::Result<[String; 6]> {
    let engine = work.spent.as_secs_f64() / count as f64;
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
    let mut sender = Sealer::new("bench", Some(Keyring::new(key()?)), 1);
    let mut receiver = Sealer::new("bench", Some(Keyring::new(key()?)), 2);
    let body = vec![7; bytes.saturating_sub(Sealer::OVERHEAD)];
    let began = machine::thread_cpu();
    for random in 0..SEALED {
        let datagram = sender.seal(u64::from(random), &body);
        black_box(receiver.open(Time::default(), &datagram)?);
    }
    let spent = machine::thread_cpu() - began;
    Ok(spent.as_secs_f64() / f64::from(SEALED))
}

fn key() -> anyhow::Result<Key> {
    Ok(Key::new(&[42; 32])?)
}
