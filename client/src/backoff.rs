//! Waiting between tries: full jitter, so that a thousand clients of a restarted
//! daemon do not come back in one instant.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Upper end of the first wait.
pub(crate) const FIRST: Duration = Duration::from_millis(100);

/// Upper end of every later wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    rng: StdRng,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::seeded(rand::rng().random())
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self {
            failures: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Failures since the last [`Backoff::reset`].
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure: how long to wait before the next try.
    pub(crate) fn fail(&mut self) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(self.rng.random::<f64>())
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_spread_over_the_whole_range() {
        let mut longest = [Duration::ZERO; 12];
        let mut shortest = [Duration::MAX; 12];
        for seed in 0..400 {
            let mut backoff = Backoff::seeded(seed);
            for step in 0..12 {
                let wait = backoff.fail();
                longest[step] = longest[step].max(wait);
                shortest[step] = shortest[step].min(wait);
            }
        }
        for step in 0..12u32 {
            let ceiling = FIRST.saturating_mul(1 << step).min(LONGEST);
            assert!(longest[step as usize] <= ceiling);
            assert!(longest[step as usize] > ceiling.mul_f64(0.9), "step {step}");
            assert!(
                shortest[step as usize] < ceiling.mul_f64(0.1),
                "step {step}"
            );
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::seeded(1);
        for _ in 0..40 {
            assert!(backoff.fail() <= LONGEST);
        }
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.fail() <= FIRST);
    }
}
