//! How fast one child may send: a bucket that delays and loses nothing. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// A bucket of tokens that holds twice as many as come in per second.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Time per token; `None` for no limit.
    interval: Option<Duration>,
    /// How far it may be ahead of its time.
    ahead: Duration,
    /// When all that was taken is paid for.
    paid: Option<Instant>,
}

impl Bucket {
    /// A full one. `rate` is in tokens per second.
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self {
            interval: rate.map(|rate| Duration::from_secs(1) / rate.get()),
            ahead: Duration::from_secs(2),
            paid: None,
        }
    }

    /// Takes a token. Returns how long to wait until it is there.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let Some(interval) = self.interval else {
            return Duration::ZERO;
        };
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + interval;
        self.paid = Some(paid);
        (paid - now).saturating_sub(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_waits_its_turn() {
        let mut bucket = Bucket::new(NonZeroU32::new(100));
        let start = Instant::now();
        for _ in 0..200 {
            assert_eq!(bucket.take(start), Duration::ZERO);
        }
        assert_eq!(bucket.take(start), Duration::from_millis(10));
        assert_eq!(bucket.take(start), Duration::from_millis(20));
        let later = start + Duration::from_millis(30);
        assert_eq!(bucket.take(later), Duration::ZERO);
        assert_eq!(bucket.take(later), Duration::from_millis(10));
        let rested = start + Duration::from_secs(60);
        let passed = (0..500).filter(|_| bucket.take(rested).is_zero()).count();
        assert_eq!(passed, 200);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bucket = Bucket::new(None);
        let now = Instant::now();
        assert!((0..10_000).all(|_| bucket.take(now).is_zero()));
    }
}
