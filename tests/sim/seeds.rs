//! Random scenarios, by seed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use muster_engine::Engine;
use muster_tests::sim::Plan;

/// Seeds played unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;

/// Seeds that once failed: one a line, what follows a `#` is a comment.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// What a seed broke.
fn play(seed: u64) -> Vec<String> {
    let sim = Plan::random(seed).play::<Engine>();
    sim.violations().iter().map(ToString::to_string).collect()
}

fn regressions() -> Vec<u64> {
    let lines = REGRESSIONS.lines();
    let seeds = lines.filter_map(|line| line.split('#').next());
    let seeds = seeds.map(str::trim).filter(|seed| !seed.is_empty());
    seeds
        .map(|seed| seed.parse().expect("a seed is a number"))
        .collect()
}

/// Plays seeds on all cores; gives those that broke something.
fn failures(seeds: &[u64]) -> Vec<(u64, Vec<String>)> {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let seed = usize::try_from(at).ok().and_then(|at| seeds.get(at));
                    let Some(seed) = seed else { return };
                    let broken = play(*seed);
                    if !broken.is_empty() {
                        let mut failed = failed.lock().expect("no holder panics");
                        println!("seed {seed}: {}", broken.join("; "));
                        failed.push((*seed, broken));
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no holder panics")
}

#[test]
fn random_seeds_break_nothing() {
    let once = failures(&regressions());
    assert!(once.is_empty(), "broken again: {once:#?}");
    let count = std::env::var("SIM_SEEDS")
        .map_or(SEEDS, |text| text.parse().expect("SIM_SEEDS is a number"));
    let seeds: Vec<u64> = (1..=count).collect();
    let failed = failures(&seeds);
    let which: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "seeds {which:?} of {count}: {failed:#?}");
}

#[test]
fn a_seed_plays_the_same_twice() {
    for seed in 1..4 {
        let hash = || Plan::random(seed).play::<Engine>().trace_hash();
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
