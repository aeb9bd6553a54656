//! The figures of `docs/performance.md`: each measured beside its peer or its limit
//! in the same run, and printed as a markdown table.
//!
//! ```text
//! tests/bench/run.sh [cluster] [api] [engine] [simulate]      all of them unless named
//! ```
//!
//! Nothing here passes or fails by the time it takes. Every process that is started
//! dies with the bench, also when it is interrupted or panics.

mod api;
mod cluster;
mod engine;
mod machine;
mod simulate;
mod stats;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use muster_tests::harness::Binaries;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

/// The daemon under test.
const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// Every part, in the order in which it runs.
const PARTS: [&str; 4] = ["engine", "simulate", "api", "cluster"];

fn main() -> anyhow::Result<ExitCode> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == api::plain::ROLE) {
        return api::plain::main(&args).map(|()| ExitCode::SUCCESS);
    }
    // Cargo adds --bench.
    args.retain(|arg| arg != "--bench");
    if let Some(unknown) = args.iter().find(|arg| !PARTS.contains(&arg.as_str())) {
        bail!("no part is called {unknown:?}: there are {PARTS:?}");
    }
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Dropping the run kills what it started.
        tokio::select! {
            ended = run(&args) => ended.map(|()| ExitCode::SUCCESS),
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
        }
    });
    runtime.shutdown_background();
    ended
}

async fn run(args: &[String]) -> anyhow::Result<()> {
    let wanted = |part: &str| args.is_empty() || args.iter().any(|arg| arg == part);
    print(&machine::facts()?)?;
    if wanted("engine") {
        print(&spawn_blocking(engine::run).await??)?;
    }
    if wanted("simulate") {
        print(&spawn_blocking(simulate::run).await??)?;
    }
    if wanted("api") {
        print(&api::run().await?)?;
    }
    if wanted("cluster") {
        print(&cluster::run().await?)?;
    }
    Ok(())
}

/// Prints a part of the report.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Tells whoever waits what is going on.
fn progress(text: &str) -> anyhow::Result<()> {
    writeln!(io::stderr().lock(), "bench: {text}")?;
    Ok(())
}

/// Thousands of connections need as many files, here and in what is started.
fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(())
}
