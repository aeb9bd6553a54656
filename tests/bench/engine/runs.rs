//! What engines and foca are taken through, whatever is measured of it.

use std::time::Duration;

use muster_engine::crypto::Key;

use super::alone::Alone;
use super::net::{Meter, Net, Work};

/// Engines.
pub(crate) const NODES: usize = 64;

/// Events back to back from one engine.
pub(crate) const EVENTS: usize = 3_000;

/// Bytes of a payload.
pub(crate) const PAYLOAD: usize = 100;

/// Virtual time for everybody to meet.
const START: Duration = Duration::from_secs(15);

/// The same for foca alone, which goes by its announcements every 30 s.
const START_ALONE: Duration = Duration::from_secs(120);

/// Virtual time for the events to be delivered and replicated.
const BURST: Duration = Duration::from_secs(10);

/// Virtual time at rest that is measured.
pub(crate) const FULL: Duration = Duration::from_secs(120);

/// The same in a quick run.
pub(crate) const QUICK: Duration = Duration::from_secs(5);

/// What was done, and what the meter said.
#[derive(Debug)]
pub(crate) struct Runs {
    /// Engines at rest.
    pub(crate) rest: Work,
    /// Engines with events.
    pub(crate) burst: Work,
    /// Deliveries of them.
    pub(crate) came: usize,
    /// foca alone at rest, for as long as the engines.
    pub(crate) alone: Work,
}

/// Runs all.
pub(crate) fn measure(meter: Meter, at_rest: Duration) -> anyhow::Result<Runs> {
    let numbers: Vec<usize> = (0..NODES).collect();
    let mut net = Net::new(&numbers, &key()?, meter);
    net.run_for(START);
    net.take_work();
    net.run_for(at_rest);
    let rest = net.take_work();
    let (_, came) = net.burst(EVENTS, PAYLOAD, BURST);
    let burst = net.take_work();
    let mut foca = Alone::new(NODES, meter)?;
    foca.run_for(START_ALONE)?;
    anyhow::ensure!(foca.is_together(), "foca alone is not together");
    foca.take_work();
    foca.run_for(at_rest)?;
    Ok(Runs {
        rest,
        burst,
        came,
        alone: foca.take_work(),
    })
}

/// The key of everybody.
pub(crate) fn key() -> anyhow::Result<Key> {
    Ok(Key::new(&[42; 32])?)
}
