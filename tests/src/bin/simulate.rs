//! Simulates clusters of engines in virtual time and prints what it measured.
//!
//! Exit codes: 0 when everything was reached in the time given and nothing was
//! broken, 1 when not, 2 for arguments that cannot be.

use std::fs::File;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use muster_engine::Engine;
use muster_tests::sim::{Demands, Measure, PPM, Plan, Report, Setup, Sim, Weather, measure, plots};

/// Simulates a cluster of engines in virtual time.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// Nodes; all but the first join through the first.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    nodes: u32,
    /// Datagrams lost, percent.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    loss: u32,
    /// Datagrams that come twice, percent.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    duplicate: u32,
    /// Datagrams held back by up to 50 ms, and so overtaken, percent.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    reorder: u32,
    /// One-way latency, milliseconds: FROM-TO, or one number.
    #[arg(long, value_name = "MS", default_value = "0.2-2", value_parser = delay)]
    delay: (u64, u64),
    /// Decides every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual seconds that each part may take, and over which traffic is measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Events of a burst.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Scenario::All)]
    scenario: Scenario,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Seal every datagram under a key, as daemons do by default.
    #[arg(long)]
    sealed: bool,
    /// Draw plots into this directory instead: from reports on standard input, one
    /// line of JSON each.
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    plot: Option<PathBuf>,
    /// Play the random scenario of this seed instead, as the tests do.
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// With --replay: write down what happens from this virtual second on.
    #[arg(long, value_name = "SECOND", requires = "replay", value_parser = second)]
    from: Option<Duration>,
    /// With --replay: up to this one.
    #[arg(long, value_name = "SECOND", requires = "from", value_parser = second)]
    to: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scenario {
    /// A cold start, traffic at rest, ten events one at a time, three kills.
    All,
    /// A cold start: everybody starts within one second.
    Start,
    /// A cold start, then traffic at rest.
    Rest,
    /// A cold start, then events one at a time.
    Event,
    /// A cold start, then events back to back from the last node.
    Burst,
    /// A cold start, then three kills.
    Kill,
    /// A cold start, then all are killed and start again.
    Restart,
    /// A cold start, then halves that do not hear each other for a minute.
    Split,
    /// A cold start, then an eighth of the nodes stands still for 3 s, six times.
    Freeze,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(seed) = args.replay {
        let window = args.from.map(|from| (from, args.to.unwrap_or(from)));
        return replay(seed, window);
    }
    if let Some(dir) = &args.plot {
        return draw(dir);
    }
    let limit = Duration::from_secs(args.duration);
    let events = usize::try_from(args.events)?;
    let report = measure::<Engine>(setup(&args)?, what(args.scenario), limit, events);
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => writeln!(out, "{report}")?,
        Format::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
    }
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

/// Draws the reports that come in.
fn draw(dir: &Path) -> anyhow::Result<ExitCode> {
    let mut reports: Vec<Report> = Vec::new();
    for (at, line) in io::stdin().lock().lines().enumerate() {
        let report = serde_json::from_str(&line?);
        reports.push(report.with_context(|| format!("line {} is no report", at + 1))?);
    }
    anyhow::ensure!(!reports.is_empty(), "no report came in");
    for (file, svg) in plots(&reports) {
        let path = dir.join(file);
        let written = File::create(&path).and_then(|mut file| file.write_all(svg.as_bytes()));
        written.with_context(|| format!("{} was not written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn setup(args: &Args) -> anyhow::Result<Setup> {
    Ok(Setup {
        nodes: usize::try_from(args.nodes)?,
        seed: args.seed,
        weather: Weather {
            latency_us: args.delay,
            loss_ppm: args.loss,
            duplicate_ppm: args.duplicate,
            reorder_ppm: args.reorder,
            ..Weather::default()
        },
        sealed: args.sealed,
        demands: Demands {
            // Nothing is promised of the living where more gets lost.
            no_false_failures: args.loss <= PPM / 10,
            ..Demands::default()
        },
        ..Setup::default()
    })
}

const fn what(scenario: Scenario) -> Measure {
    match scenario {
        Scenario::All => Measure::All,
        Scenario::Start => Measure::Start,
        Scenario::Rest => Measure::Rest,
        Scenario::Event => Measure::Event,
        Scenario::Burst => Measure::Burst,
        Scenario::Kill => Measure::Kill,
        Scenario::Restart => Measure::Restart,
        Scenario::Split => Measure::Split,
        Scenario::Freeze => Measure::Freeze,
    }
}

/// Plays a random scenario and tells what happens in a window and what breaks.
fn replay(seed: u64, window: Option<(Duration, Duration)>) -> anyhow::Result<ExitCode> {
    let plan = Plan::random(seed);
    let mut sim: Sim = Sim::new(plan.setup.clone());
    if let Some((from, to)) = window {
        sim.watch(from, to);
    }
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

/// Percent as parts per million.
fn percent(text: &str) -> Result<u32, String> {
    let percent: f64 = text.parse().map_err(|_e| "not a number".to_owned())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("not between 0 and 100".to_owned());
    }
    Ok((percent / 100.0 * f64::from(PPM)).round() as u32)
}

/// A range of milliseconds, or one number, as microseconds.
fn delay(text: &str) -> Result<(u64, u64), String> {
    let micros = |text: &str| {
        let millis: f64 = text
            .parse()
            .map_err(|_e| format!("{text:?} is no number"))?;
        let fits = (0.0..=60_000.0).contains(&millis);
        let micros = (millis * 1e3).round() as u64;
        fits.then_some(micros)
            .ok_or_else(|| format!("{text} is not between 0 and 60000"))
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (micros(from)?, micros(to)?);
    if from > to {
        return Err("the first is above the second".to_owned());
    }
    Ok((from, to))
}

fn second(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_e| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
