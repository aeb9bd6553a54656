//! How often the engine allocates, beside foca alone: a program of its own, so that
//! nothing else is slowed down by the counting.

mod table;

mod engine {
    //! The same files as in the other program.
    mod alone;
    pub(crate) mod net;
    pub(crate) mod runs;
}

use std::alloc::System;
use std::io::Write as _;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::engine::net::Work;
use self::engine::runs::{self, FULL, NODES, QUICK, Runs};
use self::table::Table;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Work of one kind, and of how many things it is.
type Read = fn(&Runs) -> (&Work, u64);

fn main() -> anyhow::Result<()> {
    let at_rest = match std::env::var_os("BENCH_QUICK") {
        Some(_) => QUICK,
        None => FULL,
    };
    let report = report(at_rest)?;
    writeln!(std::io::stdout().lock(), "{report}")?;
    Ok(())
}

fn report(at_rest: Duration) -> anyhow::Result<Table> {
    let calls = runs::measure(calls, at_rest)?;
    let bytes = runs::measure(bytes, at_rest)?;
    let title = format!("Allocations of the engine, {NODES} of them, sealed");
    let columns = ["what", "count", "allocations each", "bytes allocated each"];
    let mut table = Table::new(title, &columns);
    let rows: [(&str, Read); 3] = [
        ("datagram at rest, taken in", |r| {
            (&r.rest, r.rest.datagrams)
        }),
        ("delivery of one of 3,000 events back to back", |r| {
            (&r.burst, r.came as u64)
        }),
        ("foca alone, plaintext: datagram at rest", |r| {
            (&r.alone, r.alone.datagrams)
        }),
    ];
    for (what, of) in rows {
        let each = |runs: &Runs| {
            let (work, count) = of(runs);
            format!("{:.1}", work.spent as f64 / count as f64)
        };
        let (work, count) = of(&calls);
        let count = format!("{count}, {} bytes in all datagrams", work.bytes);
        table.row([what.to_owned(), count, each(&calls), each(&bytes)]);
    }
    Ok(table)
}

/// Allocations and reallocations so far.
fn calls() -> u64 {
    let stats = COUNTED.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Bytes that were asked for so far.
fn bytes() -> u64 {
    COUNTED.stats().bytes_allocated as u64
}
