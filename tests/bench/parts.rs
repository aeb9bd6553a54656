//! What can be measured apart, and what happens when one of them fails.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use futures_util::FutureExt as _;
use muster_tests::harness::Binaries;
use tokio::task::spawn_blocking;

use crate::{api, cluster, docker, engine, machine, print, progress, simulate, sustained};

/// Every part in the order in which it runs, with the sizes that `PART-SIZE` may name.
const PARTS: [(&str, &[usize]); 9] = [
    ("engine", &[]),
    ("simulate", &[]),
    // Watchers.
    ("api", &[1, 1_000, 10_000]),
    ("calls", &[]),
    // Daemons.
    ("cluster", &[8, 32, 64]),
    ("idle", &[8, 32, 64]),
    ("gone", &[8, 32, 64]),
    ("sustained", &[]),
    ("docker", &[]),
];

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    part: &'static str,
    /// Those that are measured together; none where the part has no sizes.
    sizes: Vec<usize>,
}

/// The jobs that were asked for, in the order in which they run; all without a word.
pub(crate) fn chosen(words: &[String]) -> anyhow::Result<Vec<Job>> {
    let all: Vec<Job> = PARTS.into_iter().flat_map(jobs).collect();
    let mut chosen: Vec<Job> = Vec::new();
    for word in words {
        let named = named(word, &all);
        anyhow::ensure!(
            !named.is_empty(),
            "no part is called {word:?}: there are {}; sizes are named as in cluster-8",
            PARTS.map(|(part, _)| part).join(", ")
        );
        chosen.extend(named);
    }
    Ok(if words.is_empty() { all } else { chosen })
}

/// The tables of a part, each with what is measured at once.
fn jobs((part, sizes): (&'static str, &'static [usize])) -> Vec<Job> {
    let job = |sizes: &[usize]| Job {
        part,
        sizes: sizes.to_vec(),
    };
    match sizes {
        // A window of minutes: what weighs little shares it.
        [small, middle, large] if part == "idle" => vec![job(&[*small, *middle]), job(&[*large])],
        [] => vec![job(&[])],
        sizes => sizes.iter().map(|size| job(&[*size])).collect(),
    }
}

/// `PART`, or `PART-SIZE`.
fn named(word: &str, all: &[Job]) -> Vec<Job> {
    let whole = all.iter().filter(|job| job.part == word);
    let one = word.rsplit_once('-').and_then(|(part, size)| {
        let size: usize = size.parse().ok()?;
        let known = |job: &&Job| job.part == part && job.sizes.contains(&size);
        let part = all.iter().find(known)?.part;
        let sizes = vec![size];
        Some(Job { part, sizes })
    });
    whole.cloned().chain(one).collect()
}

/// Runs them one after the other and prints what each gives. One that fails costs the
/// others nothing; the exit code tells.
pub(crate) async fn run(binaries: Binaries, jobs: Vec<Job>) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut failed = Vec::new();
    print(&machine::facts()?)?;
    print(&machine::programs(binaries)?)?;
    for job in jobs {
        let name = job.name();
        progress(&name)?;
        let load = machine::load()?;
        let begun = Instant::now();
        match caught(one(binaries, &job)).await {
            Ok(report) => {
                print(&report)?;
                let took = begun.elapsed().as_secs();
                print(&format!("Part `{name}`: load before it {load}, {took} s."))?;
            }
            Err(error) => {
                print(&format!("\nPart `{name}` failed: {error:#}"))?;
                failed.push(name);
            }
        }
    }
    progress(&format!("{} s in all", began.elapsed().as_secs()))?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    progress(&format!("failed: {}", failed.join(", ")))?;
    Ok(ExitCode::FAILURE)
}

impl Job {
    fn name(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(ToString::to_string).collect();
        match sizes[..] {
            [] => self.part.to_owned(),
            _ => format!("{}-{}", self.part, sizes.join("-")),
        }
    }

    fn size(&self) -> usize {
        self.sizes.first().copied().unwrap_or_default()
    }
}

async fn one(binaries: Binaries, job: &Job) -> anyhow::Result<String> {
    let size = job.size();
    match job.part {
        "engine" => spawn_blocking(engine::run).await?,
        "simulate" => spawn_blocking(simulate::run).await?,
        "api" => api::watchers(binaries, size).await,
        "calls" => api::calls(binaries).await,
        "cluster" => cluster::run(binaries, size).await,
        "idle" => cluster::idle::run(binaries, &job.sizes).await,
        "gone" => cluster::gone::run(binaries, size).await,
        "sustained" => sustained::run(binaries).await,
        "docker" => docker::run(binaries).await,
        other => anyhow::bail!("{other} is not written"),
    }
}

/// A panic of the harness, which is made for tests, as an error.
async fn caught(part: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    match AssertUnwindSafe(part).catch_unwind().await {
        Ok(ended) => ended,
        Err(panic) => Err(anyhow!("{}", words(panic.as_ref()))),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words")
}
