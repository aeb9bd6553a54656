//! Runs a simulated cluster and prints what it measured.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use muster_engine::Engine;
use muster_tests::sim::{Measure, PPM, Plan, Setup, Sim, Weather, measure};

/// Simulates a cluster of engines in virtual time.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// Nodes; all but the first join through the first.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// Datagrams lost, percent.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Decides every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Longest virtual time of each part, and how long traffic is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events of a burst.
    #[arg(long, default_value_t = 500)]
    events: usize,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Scenario::Start)]
    scenario: Scenario,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Seal every datagram under a key, as daemons do by default.
    #[arg(long)]
    sealed: bool,
    /// Play the random scenario of this seed instead, as the tests do.
    #[arg(long)]
    replay: Option<u64>,
    /// With --replay: write down what happens from this virtual second on.
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// With --replay: up to this one.
    #[arg(long, default_value_t = 0.0)]
    to: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scenario {
    /// A cold start: everybody starts within one second.
    Start,
    /// A cold start, then traffic at rest.
    Steady,
    /// A cold start, then three kills.
    Kill,
    /// A cold start, then events back to back from the last node.
    Burst,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(seed) = args.replay {
        return replay(seed, (args.from, args.to));
    }
    let loss = (args.loss.clamp(0.0, 100.0) / 100.0 * f64::from(PPM)).round();
    let setup = Setup {
        nodes: usize::try_from(args.nodes)?,
        seed: args.seed,
        weather: Weather {
            loss_ppm: loss as u32,
            ..Weather::default()
        },
        sealed: args.sealed,
        ..Setup::default()
    };
    let what = match args.scenario {
        Scenario::Start => Measure::Start,
        Scenario::Steady => Measure::Steady,
        Scenario::Kill => Measure::Kill,
        Scenario::Burst => Measure::Burst,
    };
    let limit = Duration::from_secs(args.seconds);
    let report = measure::<Engine>(setup, what, limit, args.events);
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => writeln!(out, "{report}")?,
        Format::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
    }
    let good = report.violations.is_empty() && report.converge_s.is_some();
    Ok(ExitCode::from(u8::from(!good)))
}

/// Plays a random scenario and tells what happens in a window and what breaks.
fn replay(seed: u64, (from, to): (f64, f64)) -> anyhow::Result<ExitCode> {
    let plan = Plan::random(seed);
    let mut sim: Sim = Sim::new(plan.setup.clone());
    sim.watch(
        Duration::try_from_secs_f64(from)?,
        Duration::try_from_secs_f64(to)?,
    );
    plan.play_on(&mut sim);
    let mut out = io::stdout().lock();
    writeln!(out, "{:?}, start {:?}", plan.setup, plan.start)?;
    for (at, action) in &plan.actions {
        writeln!(out, "{:.3} s {action:?}", at.as_secs_f64())?;
    }
    for line in sim.trace_lines() {
        writeln!(out, "{line}")?;
    }
    for violation in sim.violations() {
        writeln!(out, "BROKEN {violation}")?;
    }
    writeln!(out, "trace {:016x}", sim.trace_hash())?;
    Ok(ExitCode::from(u8::from(!sim.violations().is_empty())))
}
