//! The figures of `docs/performance.md`: each measured beside its peer or its limit
//! in the same run, and printed as markdown.
//!
//! ```text
//! tests/bench/run.sh [PART...]      all of them unless named, see `parts.rs`
//! ```
//!
//! Nothing here passes or fails by the time it takes. Every process that is started
//! dies with the bench, also when it is interrupted or panics.

mod api;
mod busy;
mod cluster;
mod docker;
mod engine;
mod machine;
mod parts;
mod simulate;
mod stats;
mod sustained;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;

use muster_tests::harness::Binaries;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Environment variable that names another daemon than the one that was built with the
/// bench: a static release build, say.
const DAEMON: &str = "MUSTERD";

/// Set: every step is taken, but few times and shortly, to see that it works.
const QUICK: &str = "BENCH_QUICK";

fn main() -> anyhow::Result<ExitCode> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == api::plain::ROLE) {
        return api::plain::main(&args).map(|()| ExitCode::SUCCESS);
    }
    // Cargo adds --bench.
    args.retain(|arg| arg != "--bench");
    let jobs = parts::chosen(&args)?;
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let binaries = binaries();
    let ended = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Dropping the run kills what it started.
        tokio::select! {
            ended = parts::run(binaries, jobs) => ended,
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
        }
    });
    runtime.shutdown_background();
    ended
}

/// The programs that are measured.
fn binaries() -> Binaries {
    let built = env!("CARGO_BIN_EXE_musterd-under-test");
    Binaries {
        // Once in the life of the process.
        musterd: std::env::var(DAEMON).map_or(built, |path| Box::leak(path.into_boxed_str())),
        muster: env!("CARGO_BIN_EXE_muster-under-test"),
    }
}

/// One of the two, by what is asked of this run.
fn sized<T>(full: T, quick: T) -> T {
    match std::env::var_os(QUICK) {
        Some(_) => quick,
        None => full,
    }
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
